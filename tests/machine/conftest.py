"""A log in miniature: one machine, one gateway's session, and commands that go through slots."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from paxos.core.messages import Batch, Envelope, OpenSession, Outcome, Results
from paxos.core.types import NodeId, Slot
from paxos.machine.machine import Machine

GATEWAY = NodeId("client-1")
START_MS = 1_700_000_000_000


class Log:
    """Feeds a machine slot by slot, as a decided log would."""

    def __init__(self, **limits: int) -> None:
        self.machine = Machine(**limits)
        self.values: list[bytes] = []
        self.now_ms = START_MS
        self.sequence = 0
        self.session = Slot(0)
        self.open(nonce=1)

    def decide(self, *parts: Batch | OpenSession) -> list[tuple[NodeId, Outcome]]:
        """Decide the next slot with these parts."""
        batches = [msgspec.msgpack.encode(part) for part in parts]
        envelope = Envelope(time_ms=self.now_ms, batches=batches)
        return self.decide_value(msgspec.msgpack.encode(envelope))

    def decide_value(self, value: bytes) -> list[tuple[NodeId, Outcome]]:
        """Decide the next slot with any bytes."""
        self.values.append(value)
        return self.machine.apply(Slot(len(self.values)), value)

    def open(self, *, nonce: int) -> None:
        """Open a new session of the gateway."""
        self.decide(OpenSession(gateway=GATEWAY, nonce=nonce))
        self.session = self.machine.applied
        self.sequence = 0

    def batch(self, sequence: int, *commands: Any, acknowledged: int = 0) -> Batch:
        """Return a batch of the gateway's session."""
        return Batch(
            gateway=GATEWAY,
            session=self.session,
            sequence=sequence,
            acknowledged=acknowledged,
            commands=msgspec.msgpack.encode(list(commands)),
        )

    def run(self, *commands: Any) -> list[Any]:
        """Send commands as the session's next batch, in a slot of its own; return the replies."""
        self.sequence += 1
        [(gateway, outcome)] = self.decide(self.batch(self.sequence, *commands))
        assert gateway == GATEWAY
        assert isinstance(outcome, Results)
        assert outcome.sequence == self.sequence
        assert outcome.revision == self.machine.revision
        replies: list[Any] = msgspec.msgpack.decode(outcome.results)
        return replies

    def do(self, line: str) -> Any:
        """Send one command through the log, its words separated by spaces."""
        return self.run(words(line))[0]

    def ask(self, line: str, *, wall_ms: int = 0) -> Any:
        """Answer one command from the state, without the log."""
        return self.machine.read([words(line)], wall_ms)[0]


def words(line: str) -> list[bytes]:
    return [word.encode() for word in line.split()]


@pytest.fixture
def log() -> Log:
    """A log with a session open."""
    return Log()


@pytest.fixture(scope="session")
def new_log() -> type[Log]:
    """The class itself, for tests that need several logs or other limits."""
    return Log
