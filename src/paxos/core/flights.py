"""What a gateway has under way: commands that arrived together, batches, connections, latencies.

The bookkeeping of the gateway's role, without any of its decisions.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import Any, TypeAlias

import msgspec

from .effects import (
    ClientBackup,
    ClientBackupPart,
    ClientReads,
    ClientStaleReads,
    ClientWrites,
)
from .types import Ballot, NodeId, Slot

ClientCommands: TypeAlias = (
    ClientWrites | ClientReads | ClientStaleReads | ClientBackup | ClientBackupPart
)
Origin: TypeAlias = tuple[int, int]
"""(connection, how many of its commands)."""


NEW_ATTEMPT_TRIES = 3
"""A batch that was asked for so often without an answer is submitted as a new attempt."""


class LatencyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds over the last few thousand answers."""

    p50: float
    p99: float


class QuorumStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Which acceptors the leader counts on."""

    needed: int
    of: int
    voting: list[NodeId]
    abstaining: dict[NodeId, str]


class GatewayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable snapshot for pages, metrics, the monitor and `status`."""

    leader: NodeId | None
    ballot: Ballot
    quorum: QuorumStatus
    learner: NodeId | None
    session: Slot
    queued: int
    inflight: int
    writes: int
    reads: int
    errors: int
    retries: int
    write_ms: LatencyStatus
    read_ms: LatencyStatus


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """What a learner confirmed to this gateway."""

    slot: Slot
    revision: int
    sequence: int
    commands: int
    at_ms: float


class Chunk:
    """Commands of one connection that arrived together."""

    __slots__ = ("arrived_ms", "commands", "connection", "size")

    def __init__(self, connection: int, commands: list[Any], arrived_ms: float) -> None:
        self.connection = connection
        self.commands = commands
        self.arrived_ms = arrived_ms
        self.size = size_of(commands)


class FairQueue:
    """Chunks that wait to be sent. Connections take turns, a chunk each, so that one with many
    commands delays one with a single command by a chunk; each keeps the order of its own.
    """

    __slots__ = ("_next", "_rest")

    def __init__(self) -> None:
        # The first chunk of every connection that has some, in the order of their turns, and
        # what each has behind that.
        self._next: deque[Chunk] = deque()
        self._rest: dict[int, deque[Chunk] | None] = {}

    def __bool__(self) -> bool:
        return bool(self._next)

    @property
    def first(self) -> Chunk:
        """The chunk whose turn it is; IndexError when there is none."""
        return self._next[0]

    def append(self, chunk: Chunk) -> None:
        """Put a chunk behind those of its connection."""
        if chunk.connection not in self._rest:
            self._rest[chunk.connection] = None
            self._next.append(chunk)
            return
        rest = self._rest[chunk.connection]
        if rest is None:
            rest = self._rest[chunk.connection] = deque()
        rest.append(chunk)

    def popleft(self) -> Chunk:
        """Take the chunk whose turn it is; its connection's next one waits for a turn anew."""
        chunk = self._next.popleft()
        if rest := self._rest[chunk.connection]:
            self._next.append(rest.popleft())
        else:
            del self._rest[chunk.connection]
        return chunk

    def expire(self, oldest_ms: float) -> list[Chunk]:
        """Take out what arrived no later than `oldest_ms`, each connection's in its order."""
        if not any(chunk.arrived_ms <= oldest_ms for chunk in self._next):
            return []  # what stands behind a first chunk is no older
        expired: list[Chunk] = []
        kept: list[Chunk] = []
        for first in self._next:
            for chunk in (first, *(self._rest[first.connection] or ())):
                (expired if chunk.arrived_ms <= oldest_ms else kept).append(chunk)
        self._next.clear()
        self._rest.clear()
        for chunk in kept:
            self.append(chunk)
        return expired


class Flight:
    """A batch of writes, or a group of reads, that is under way."""

    __slots__ = (
        "arrived_ms",
        "asked_ms",
        "commands",
        "count",
        "learner",
        "origins",
        "packed",
        "replies",
        "slot",
        "stale",
        "tries",
    )

    def __init__(self, chunks: list[Chunk], now_ms: float) -> None:
        self.commands = [command for chunk in chunks for command in chunk.commands]
        self.count = len(self.commands)
        self.origins: list[Origin] = [(c.connection, len(c.commands)) for c in chunks]
        # Its oldest commands': they come from several connections, which take turns.
        self.arrived_ms = min(chunk.arrived_ms for chunk in chunks)
        self.asked_ms = now_ms
        self.tries = 1
        self.packed = b""
        self.replies: list[Any] | None = None
        self.learner: NodeId | None = None
        self.stale = False
        self.slot = Slot(0)


class Connection:
    """What a client connection has under way: one kind at a time, the rest parked in order."""

    __slots__ = ("kind", "outstanding", "parked")

    def __init__(self) -> None:
        self.kind = ""
        self.outstanding = 0
        self.parked: deque[tuple[str, Chunk]] = deque()


class Latencies:
    """The last few thousand latencies, for percentiles."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=2048)

    def add(self, ms: float) -> None:
        """Take one in."""
        self._last.append(ms)

    def status(self) -> LatencyStatus:
        """Return the median and the 99th percentile; zeros while there is nothing."""
        ordered = sorted(self._last)
        if not ordered:
            return LatencyStatus(p50=0.0, p99=0.0)
        last = len(ordered) - 1
        return LatencyStatus(
            p50=round(ordered[last // 2], 3), p99=round(ordered[int(last * 0.99)], 3)
        )


def size_of(commands: list[Any]) -> int:
    """Return about how many bytes commands take in a batch.

    Nearly all commands are lists of bytes, which are counted without a step of Python for each.
    """
    words = list(chain.from_iterable(commands))
    if set(map(type, words)) == _BYTES_ONLY:
        return 5 * (len(commands) + len(words)) + sum(map(len, words))
    return sum(map(_nested_size, commands))


_BYTES_ONLY = {bytes}


def _nested_size(command: Any) -> int:
    if isinstance(command, bytes):
        return len(command) + 5
    if isinstance(command, list):
        return 5 + sum(map(_nested_size, command))
    return 9


def unknown(why: str) -> dict[str, str]:
    """Return the error of an outcome that is not known, and why it is not."""
    return {"error": f"UNKNOWN the outcome is not known, it may have happened or may yet: {why}"}


def unavailable(what: str, why: str) -> dict[str, str]:
    """Return the error of a `write` or `read` that did not happen, and why."""
    did_not = "the write did not happen" if what == "write" else "the read was not answered"
    return {"error": f"UNAVAILABLE {did_not}: {why}"}


def up_to_expired(flights: dict[int, Flight], oldest_ms: float) -> list[int]:
    """Return the flights up to the last that has run out of time. Those before it may hold
    earlier commands of the same connections, which must be answered first."""
    numbers = list(flights)
    while numbers and flights[numbers[-1]].arrived_ms > oldest_ms:
        numbers.pop()
    return numbers
