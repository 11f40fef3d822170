"""What messages carry for clients, in words: slots' values, batches, reads.

Nodes on a value's way never open it; who explains a run has to. Reads what roles of this very run
have encoded, so nothing is doubted here.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from paxos.core.messages import Batch, BatchLike, Envelope, OpenSession
from paxos.core.types import NodeId, Slot

from .history import Operation

VALUE_CHARACTERS_MAX = 60
"""A value's description is cut after so many characters."""

_batches: msgspec.msgpack.Decoder[BatchLike] = msgspec.msgpack.Decoder(Batch | OpenSession)
_envelopes = msgspec.msgpack.Decoder(Envelope)

BatchId: TypeAlias = tuple[NodeId, Slot, int]
"""Gateway, session, sequence: gateways whose sessions one slot opened share its number."""


def carries(encoded: bytes, operation: Operation) -> bool:
    """Tell whether a batch holds the operation's command."""
    batch = batch_of(encoded)
    if not isinstance(batch, Batch):
        return False
    argument = operation.argument
    wanted = argument[1] if operation.f == "cas" else argument
    if operation.f in ("write", "cas", "append", "list-append"):
        return str(wanted).encode() in batch.commands
    name = {"incr": b"INCR", "delete": b"DEL"}.get(operation.f, b"")
    return any(
        command[:2] == [name, (operation.key or "").encode()]
        for command in commands_of(batch.commands)
    )


def asks(encoded: bytes, operation: Operation) -> bool:
    """Tell whether commands of a read ask what the operation asks."""
    if operation.f == "list-read":
        wanted = [b"READ"]
    elif operation.f == "read":
        wanted = [b"GET", (operation.key or "").encode()]
    else:
        return False
    return wanted in commands_of(encoded)


def commands_of(encoded: bytes) -> list[Any]:
    """Return the commands of a batch or a read, each a list that begins with its name."""
    commands: list[Any] = msgspec.msgpack.decode(encoded)
    return commands


def batch_of(encoded: bytes) -> BatchLike:
    """Return what a gateway submitted."""
    return _batches.decode(encoded)


def id_of(encoded: bytes) -> BatchId | None:
    """Return which batch a gateway submitted; None for the opening of a session."""
    batch = batch_of(encoded)
    if isinstance(batch, OpenSession):
        return None
    return (batch.gateway, batch.session, batch.sequence)


def batches_of(value: bytes) -> set[BatchId]:
    """Return which batches a slot's value holds."""
    if not value:
        return set()
    envelope = _envelopes.decode(value)
    return {known for encoded in envelope.batches if (known := id_of(encoded)) is not None}


def described(value: bytes) -> str:
    """Return what a slot's value holds, in a few words."""
    if not value:
        return "a no-op"
    envelope = _envelopes.decode(value)
    words = []
    for encoded in envelope.batches:
        batch = batch_of(encoded)
        if isinstance(batch, OpenSession):
            words.append(f"a session for {batch.gateway}")
            continue
        commands = "; ".join(spelled(command) for command in commands_of(batch.commands))
        words.append(f"{commands} ({batch.gateway}, batch {batch.sequence})")
    text = ", ".join(words) or "the time alone"
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[:VALUE_CHARACTERS_MAX]}..."


def spelled(command: Any) -> str:
    """Return a command as a person would type it; a transaction as what it would do."""
    if command and command[0] == b"EXEC":
        return "; ".join(spelled(inner) for inner in command[2])
    return " ".join(word.decode("latin-1") for word in command if isinstance(word, bytes))


def stamp_of(value: bytes) -> int:
    """Return the leader's wall-clock stamp in a slot's value, in milliseconds; 0 for a no-op."""
    return _envelopes.decode(value).time_ms if value else 0
