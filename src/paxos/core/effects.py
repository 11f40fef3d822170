"""What goes into a role (events) and what a role may ask for (effects).

`role.step(event, now_ms, dice) -> list[Effect]` is the only way into a role. The stepper
releases the effects in the one legal order: persist, sync, then everything else.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import msgspec

from .messages import Address, AnyMessage, Configuration
from .trace import Trace
from .types import Ballot, NodeId, Slot


class Plain(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of events and effects."""


# ---------------------------------------------------------------- records: what a volume keeps


class Record(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """Base of everything that is ever written to a node's journal."""


class Stamped(Record, tag="stamp", frozen=True, kw_only=True):
    """This volume belongs to one cluster, one node. phase: `formatted` (founding), `joining` (made
    for an acceptor that is no member yet) or `open`.

    `acceptors` are those that the cluster was founded with: quorums are counted from them, so a
    configuration that names others must not be believed (rules 2 and 11).
    """

    cluster: str
    node: NodeId
    phase: str
    acceptors: tuple[NodeId, ...] = ()

    def disagreement(self, acceptors: tuple[NodeId, ...]) -> str | None:
        """Say what is wrong with a configuration that names these acceptors, if anything is."""
        if set(self.acceptors) == set(acceptors):
            return None
        return (
            f"cluster {self.cluster} was founded with {', '.join(self.acceptors)}, but the "
            f"configuration names {', '.join(acceptors)}: set cluster.acceptors back"
        )


class Promised(Record, tag="promise", frozen=True, kw_only=True):
    """An acceptor's promise: it will not take part in any lower ballot."""

    ballot: Ballot


class AcceptedEntry(Record, tag="accept", frozen=True, kw_only=True):
    """An acceptor's vote. It raises the promise to `ballot` too (DESIGN rule 3).

    The slot's highest-ballot entry is the one that counts. `decided` is what the leader said.
    """

    slot: Slot
    ballot: Ballot
    value: bytes
    decided: Slot


class Counted(Record, tag="count", frozen=True, kw_only=True):
    """A proposer's ballot counter, durable before the Prepare that carries it (rule 1)."""

    counter: int


class Cut(Record, tag="cut", frozen=True, kw_only=True):
    """An acceptor's log ends below: slots up to `slot` are decided, a quorum of acceptors, this
    one among them, keeps a snapshot of what they did, and their entries are gone (rule 9).
    """

    slot: Slot


class Configured(Record, tag="configure", frozen=True, kw_only=True):
    """The newest configuration that this node knows."""

    configuration: Configuration


AnyRecord: TypeAlias = Stamped | Promised | AcceptedEntry | Counted | Cut | Configured


class SnapshotInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A whole snapshot: the machine's state after `slot`, as a stream of `size` bytes."""

    slot: Slot
    size: int


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What a volume knew when it was opened. All zero and no stamp: blank.

    `damage` is None, or says in a sentence what is wrong with the volume (then nothing of the
    rest may be trusted, and an acceptor on it does not vote: rule 8).
    `repaired` is None, or says what a crash had left half-written and was dropped.
    `base` is the last slot that was cut off; `snapshot` the newest whole snapshot; `configuration`
    the newest one that was known here, None for that of the founding.
    """

    stamp: Stamped | None = None
    promised: Ballot = Ballot(0)
    counter: int = 0
    decided: Slot = Slot(0)
    damage: str | None = None
    repaired: str | None = None
    base: Slot = Slot(0)
    snapshot: SnapshotInfo | None = None
    configuration: Configuration | None = None


class AcceptedLog(Protocol):
    """An acceptor's reading view of its own journal. Sees what was appended, synced or not."""

    @property
    def base(self) -> Slot:
        """The last slot that was cut off (`Cut`): no view shows entries up to it. 0: none was."""
        ...

    @property
    def highest_slot(self) -> Slot:
        """The highest slot with an accepted entry, cut off or not; 0 when there is none."""
        ...

    def entry(self, slot: Slot) -> AcceptedEntry | None:
        """Return the highest-ballot entry of a slot. Raises VolumeDamaged on a bad checksum."""
        ...

    def votes(self, first: Slot, last: Slot) -> list[tuple[Slot, Ballot]]:
        """Return (slot, highest ballot) for the accepted slots in first..last, in order."""
        ...

    def entries(self, first: Slot, last: Slot, bytes_max: int) -> list[AcceptedEntry]:
        """Return the entries of first..last in order, at least one if there is any, stopping
        before the sum of their values would pass `bytes_max`. Raises VolumeDamaged.
        """
        ...

    def missing(self, first: Slot, last: Slot, limit: int) -> list[tuple[Slot, Slot]]:
        """Return the runs (first, last) of slots in first..last that have no entry and were not
        cut off, in order, at most `limit` of them.
        """
        ...


class Snapshots(Protocol):
    """A role's reading view of the snapshots on its own node."""

    @property
    def newest(self) -> SnapshotInfo | None:
        """The newest snapshot that is whole: durable where it is kept, an acceptor's volume."""
        ...

    def read(self, slot: Slot, offset: int, bytes_max: int) -> bytes:
        """Return bytes of the snapshot of `slot` from `offset` on; b"" when it is not here (any
        more) or ends there. Raises VolumeDamaged when it cannot be read.
        """
        ...


class Journal(AcceptedLog, Protocol):
    """A node's durable memory: what was synced survives the process and the machine."""

    @property
    def recovered(self) -> Recovered:
        """What was found when the journal was opened."""
        ...

    def append(self, record: AnyRecord) -> None:
        """Take a record in. It is durable only after the next `sync`."""
        ...

    def sync(self) -> None:
        """Return when everything appended is on stable storage. Raises StorageError: fatal."""
        ...

    def close(self) -> None:
        """Release the files. What was not synced may be lost."""
        ...


# ---------------------------------------------------------------- events


class Start(Plain, frozen=True, kw_only=True):
    """The node begins (first event, once)."""


class Received(Plain, frozen=True, kw_only=True):
    """A message arrived."""

    sender: NodeId
    message: AnyMessage


class Connected(Plain, frozen=True, kw_only=True):
    """A link to a node stands; `cluster` is the identity it showed, "" when it has none yet.

    `version` is that of the messages that both sides speak (`paxos.transport.versions`);
    `incarnation` is another one each time that the peer's process begins.
    """

    peer: NodeId
    cluster: str
    version: int = 3
    incarnation: int = 0


class Disconnected(Plain, frozen=True, kw_only=True):
    """The link to a node closed: a hint that it may have died (liveness only)."""

    peer: NodeId


class TimerFired(Plain, frozen=True, kw_only=True):
    """A timer that the role set has run out."""

    name: str


class Drained(Plain, frozen=True, kw_only=True):
    """All input that had arrived is handed over: what was gathered may leave now.

    The stepper gives it to every role before it releases effects. So a batch holds what arrived
    together, and nothing ever waits for a clock.
    """


class ClientWrites(Plain, frozen=True, kw_only=True):
    """Commands of one client connection for the log, in order. To a gateway."""

    connection: int
    commands: list[Any]


class ClientReads(Plain, frozen=True, kw_only=True):
    """Read-only commands of one client connection, linearizable. To a gateway."""

    connection: int
    commands: list[Any]


class ClientStaleReads(Plain, frozen=True, kw_only=True):
    """Read-only commands of one client connection that asked for stale answers. To a gateway."""

    connection: int
    commands: list[Any]


class ClientBackup(Plain, frozen=True, kw_only=True):
    """One client connection asks for a backup of the present state. To a gateway, which delivers
    [slot, size in bytes] when it can be had.
    """

    connection: int


class ClientBackupPart(Plain, frozen=True, kw_only=True):
    """A client connection asks for the next part of the backup that it has asked for. To a
    gateway, which delivers its bytes, none at the end.
    """

    connection: int
    slot: Slot
    offset: int


class ClientChange(Plain, frozen=True, kw_only=True):
    """A client connection asks that a node be a member, or be none. To a gateway, which delivers
    the epoch of a configuration in which it is so.
    """

    connection: int
    add: bool
    node: NodeId
    address: Address | None = None


class ClientGone(Plain, frozen=True, kw_only=True):
    """A client connection closed; its answers are wanted no more. To a gateway."""

    connection: int


class SnapshotTaken(Plain, frozen=True, kw_only=True):
    """What `TakeSnapshot` asked for is whole, and can be read. To a learner."""

    snapshot: SnapshotInfo


class PartWritten(Plain, frozen=True, kw_only=True):
    """Everything up to `offset` of the snapshot that comes in is written. At its `size` it is
    whole, verified, durable, and the newest. To an acceptor.
    """

    slot: Slot
    offset: int


class SnapshotFailed(Plain, frozen=True, kw_only=True):
    """A snapshot could not be taken or kept, and why; nothing is left of the attempt."""

    slot: Slot
    reason: str


Event: TypeAlias = (
    Start
    | Received
    | Connected
    | Disconnected
    | TimerFired
    | Drained
    | ClientWrites
    | ClientReads
    | ClientStaleReads
    | ClientBackup
    | ClientBackupPart
    | ClientChange
    | ClientGone
    | SnapshotTaken
    | PartWritten
    | SnapshotFailed
)


# ---------------------------------------------------------------- effects


class Persist(Plain, frozen=True, kw_only=True):
    """Make a record durable before any other effect of this step leaves."""

    record: AnyRecord


LINGER_MS = 5.0
"""How long a message that nobody waits for may stay behind, in milliseconds."""


class Send(Plain, frozen=True, kw_only=True):
    """Send one message to some nodes. Lost when there is no link: roles send again in time.

    A `relaxed` one is waited for by nobody: it may stay behind for up to `LINGER_MS`, to travel
    with others, so that its receiver wakes up once for many. It leaves before whatever is sent to
    the same node later, so the order of messages on a link is the order of their `Send`s.
    """

    to: tuple[NodeId, ...]
    message: AnyMessage
    relaxed: bool = False


class SetTimer(Plain, frozen=True, kw_only=True):
    """Ask for `TimerFired(name)` after a while; replaces a running timer of that name."""

    name: str
    after_ms: float


class CancelTimer(Plain, frozen=True, kw_only=True):
    """Stop a timer, if it runs."""

    name: str


class Deliver(Plain, frozen=True, kw_only=True):
    """Hand replies to a client connection, one per command, in the order of its commands.

    A reply is None, int, bytes, str (a simple status such as "OK"), list of replies, or a dict
    {"error": "CODE text"}.
    """

    connection: int
    replies: list[Any]


class TakeSnapshot(Plain, frozen=True, kw_only=True):
    """Copy the machine's state after `slot`, the last one applied, aside without stopping;
    `SnapshotTaken` or `SnapshotFailed` follows. It takes the place of an older one.
    """

    slot: Slot


class WritePart(Plain, frozen=True, kw_only=True):
    """Write a part of a snapshot that comes in, in the background; `PartWritten` or
    `SnapshotFailed` follows. Parts come in order, from `offset` 0, which drops any other that
    had begun to come in.
    """

    slot: Slot
    size: int
    offset: int
    data: bytes


class Relink(Plain, frozen=True, kw_only=True):
    """This configuration is in force here from now on: keep links with its nodes."""

    configuration: Configuration


Effect: TypeAlias = (
    Persist | Send | SetTimer | CancelTimer | Deliver | Trace | TakeSnapshot | WritePart | Relink
)
