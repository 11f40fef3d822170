"""A learner's snapshots: when it takes one, how the acceptors get it, how it comes by one itself.

A learner's state is made of the log alone, and it keeps nothing that must last: what makes a
snapshot safe is that a quorum of acceptors keeps it (see keeping.py). The learner with the lowest
number takes it; the others wait for half as long again each, in case that one is gone.

A learner that is behind where the acceptors' logs begin cannot learn those slots any more. It asks
an acceptor for its snapshot, part by part, builds a state from it aside, and takes that over when
it is whole. Nobody waits for it meanwhile.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from .configuring import View
from .effects import Effect, Send, SetTimer, SnapshotInfo, Snapshots, TakeSnapshot
from .errors import VolumeDamaged
from .keeping import PATIENCE_TICKS, part_of
from .messages import AskSnapshot, SnapshotKept, SnapshotOffer, SnapshotPart
from .settings import Settings
from .trace import Level, Trace
from .types import NodeId, Slot, number_of

OFFER = "offer"
"""The name of the timer by which a snapshot is offered again."""


PULLED_STRETCH = 4
"""While an acceptor pulls a snapshot that a quorum keeps, the log may grow by so many times the
usual before the next is taken: this one would have to begin anew with it."""


class Restoring(Protocol):
    """A state that is being built from a snapshot's stream (`paxos.machine.snapshot`)."""

    @property
    def done(self) -> bool:
        """Whether the whole stream has been taken in."""
        ...

    def feed(self, data: bytes) -> None:
        """Take the next bytes in. Raises VolumeDamaged where they are not what was written."""
        ...


class SnapshottingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable snapshot for pages, metrics and the monitor.

    `log_bytes` and `log_slots` is how far the log has grown since the snapshot of slot
    `kept_slot`, the newest that a quorum keeps. `taken_slot` is the newest taken here, with
    `taken_bytes`. `restored_bytes` of `restoring_bytes` have come in when this learner is
    getting one.
    """

    kept_slot: Slot
    kept: dict[NodeId, Slot]
    log_bytes: int
    log_slots: int
    taking: bool
    taken_slot: Slot
    taken_bytes: int
    restored_bytes: int
    restoring_bytes: int


class Fetch:
    """A snapshot that this learner is getting: from whom, and how far it has come."""

    __slots__ = ("offset", "restoring", "size", "slot", "source", "ticks")

    def __init__(self, source: NodeId, restoring: Restoring) -> None:
        self.source = source
        self.restoring = restoring
        self.slot = Slot(0)
        self.size = 0
        self.offset = 0
        self.ticks = 0


class Snapshotting:
    """The part of a learner's step that has to do with snapshots."""

    def __init__(self, node: NodeId, view: View, settings: Settings, snapshots: Snapshots) -> None:
        self._view = view
        self._tick_ms = settings.timeouts.upkeep_ms
        self._snapshots = snapshots
        # In halves: learner-1 waits for 2 of them, learner-2 for 3, and so on.
        self._halves = number_of(node) + 1
        self._bytes_max = settings.limits.snapshot_log_bytes
        self._slots_max = settings.limits.snapshot_log_slots
        self._part_bytes = settings.limits.snapshot_part_bytes
        self._kept: dict[NodeId, Slot] = {}
        self._bases: dict[NodeId, Slot] = {}
        self._kept_slot = Slot(0)
        # The bytes of all values applied here, and as they stood at the newest kept snapshot, at
        # the one taken here, and the slots of these.
        self._bytes = 0
        self._kept_bytes = 0
        self._taken_at = (Slot(0), 0)
        self._taking = False
        self._taken: SnapshotInfo | None = None
        self._last_size = 0
        self._fetch: Fetch | None = None
        self._tries = 0
        # Whether a part was asked for since the last tick, or the one before it.
        self._pulled = 0

    # ------------------------------------------------------------ taking

    def applied(self, size: int) -> None:
        """Count a value that was applied."""
        self._bytes += size

    @property
    def newest(self) -> SnapshotInfo | None:
        """The newest that was taken here and can be read."""
        return self._snapshots.newest

    def take(self, applied: Slot, stretch: int = 1) -> list[Effect]:
        """Ask for a snapshot of the state after `applied` when the log has grown enough: by
        `stretch` times what it otherwise takes.

        None while the last one is pulled and no quorum keeps it: with the next the acceptors would
        begin anew, under a heavy load again and again, and the log would never be cut.
        """
        if self._taking or self._fetch is not None:
            return []
        if self._pulled and self._lacking():
            if self._taken is not None and self._taken.slot > self._kept_slot:
                return []
            stretch = max(stretch, PULLED_STRETCH)
        since_slot, since_bytes = max(
            (self._kept_slot, self._kept_bytes), (self._taken_at[0], self._taken_at[1])
        )
        bytes_max = max(self._bytes_max, self._last_size) * self._halves * stretch // 2
        if (
            self._bytes - since_bytes < bytes_max
            and applied - since_slot < self._slots_max * self._halves * stretch // 2
        ):
            return []
        return self.take_now(applied)

    def take_now(self, applied: Slot) -> list[Effect]:
        """Ask for a snapshot of the state after `applied`, once none is being taken."""
        if self._taking:
            return []
        self._taking = True
        self._taken_at = (applied, self._bytes)
        return [TakeSnapshot(slot=applied)]

    def on_taken(self, snapshot: SnapshotInfo) -> list[Effect]:
        """Offer what has been taken to every acceptor."""
        self._taking = False
        self._taken = snapshot
        self._last_size = snapshot.size
        return [
            Trace(
                what="snapshot_taken",
                text=f"took a snapshot of slot {snapshot.slot}, {snapshot.size} bytes",
                fields={"slot": snapshot.slot, "size": snapshot.size},
            ),
            *self.offer(),
        ]

    def on_failed(self, slot: Slot, reason: str) -> list[Effect]:
        """Wait until the log has grown again before the next attempt."""
        self._taking = False
        return [
            Trace(
                what="snapshot_failed",
                text=f"no snapshot of slot {slot} could be taken: {reason}",
                level=Level.WARNING,
                glyph="!",
            )
        ]

    def offer(self) -> list[Effect]:
        """Offer the snapshot to the acceptors that do not keep it; again until all do."""
        lacking = self._lacking()
        if self._taken is None or not lacking:
            return []
        message = SnapshotOffer(
            slot=self._taken.slot, size=self._taken.size, epoch=self._view.epoch
        )
        timer = SetTimer(name=OFFER, after_ms=self._tick_ms * PATIENCE_TICKS)
        return [Send(to=lacking, message=message), timer]

    def _lacking(self) -> tuple[NodeId, ...]:
        if self._taken is None:
            return ()
        slot = self._taken.slot
        return tuple(a for a in self._view.membership.acceptors if self._kept.get(a, 0) < slot)

    def on_ask(self, sender: NodeId, message: AskSnapshot) -> list[Effect]:
        """Hand out a part of what was taken here."""
        self._pulled = 2
        part = part_of(self._snapshots, message, self._part_bytes, self._view.epoch)
        return [Send(to=(sender,), message=part)]

    def on_kept(self, sender: NodeId, message: SnapshotKept) -> None:
        """Note what an acceptor keeps."""
        if sender not in self._view.membership.acceptors:
            return
        self._kept[sender] = max(message.slot, self._kept.get(sender, Slot(0)))
        self.on_base(sender, message.base)
        members = self._view.membership
        kept = sorted((self._kept.get(a, Slot(0)) for a in members.acceptors), reverse=True)
        by_quorum = kept[members.quorum_size - 1]
        if by_quorum <= self._kept_slot:
            return
        self._kept_slot = by_quorum
        slot, taken_bytes = self._taken_at
        # Where another took it, its slot is a moment ago.
        self._kept_bytes = taken_bytes if slot == self._kept_slot else self._bytes

    # ------------------------------------------------------------ getting one

    def on_base(self, acceptor: NodeId, base: Slot) -> None:
        """Note where an acceptor's log begins."""
        self._bases[acceptor] = max(base, self._bases.get(acceptor, Slot(0)))

    @property
    def base(self) -> Slot:
        """The last slot that some acceptor has cut off."""
        return max(self._bases.values(), default=Slot(0))

    @property
    def fetching(self) -> bool:
        """Whether a snapshot is on its way here."""
        return self._fetch is not None

    def get(self, restoring: Restoring, applied: Slot) -> list[Effect]:
        """Begin to get the newest snapshot from an acceptor that has cut its log after `applied`,
        another one at each try.
        """
        members = self._view.membership.acceptors
        sources = [a for a, base in sorted(self._bases.items()) if base > applied and a in members]
        if self._fetch is not None or not sources:
            return []
        self._tries += 1
        source = sources[self._tries % len(sources)]
        self._fetch = Fetch(source, restoring)
        return [
            Send(to=(source,), message=AskSnapshot(slot=Slot(0), offset=0)),
            SetTimer(name=OFFER, after_ms=self._tick_ms),
            Trace(
                what="snapshot_asked",
                text=f"behind the beginning of the log: asking {source} for its snapshot",
                fields={"base": self.base},
            ),
        ]

    def on_part(
        self, sender: NodeId, message: SnapshotPart
    ) -> tuple[Restoring | None, list[Effect]]:
        """Take a part in. Returns the state once it is whole, and what to do."""
        fetch = self._fetch
        if fetch is None or sender != fetch.source:
            return None, []
        if not fetch.slot:
            fetch.slot, fetch.size = message.slot, message.size
        if message.slot != fetch.slot or not message.data:
            # It has a newer one by now, or none any more: begin anew.
            self._fetch = None
            return None, []
        if message.offset != fetch.offset:
            return None, []
        try:
            fetch.restoring.feed(message.data)
        except VolumeDamaged as damage:
            self._fetch = None
            return None, [
                Trace(
                    what="snapshot_damaged",
                    text=f"the snapshot of slot {fetch.slot} from {sender} is damaged: {damage}",
                    level=Level.ERROR,
                    glyph="!",
                )
            ]
        fetch.offset += len(message.data)
        fetch.ticks = 0
        if fetch.restoring.done:
            self._fetch = None
            return fetch.restoring, []
        ask = AskSnapshot(slot=fetch.slot, offset=fetch.offset)
        return None, [Send(to=(sender,), message=ask)]

    def adopted(self, size: int) -> None:
        """The state is now that of a snapshot of so many bytes."""
        self._last_size = size
        self._kept_bytes = self._bytes

    def disconnected(self, peer: NodeId) -> None:
        """Stop waiting for a node."""
        if self._fetch is not None and self._fetch.source == peer:
            self._fetch = None

    def tick(self) -> list[Effect]:
        """Give up a source that does not answer; offer again what was not taken."""
        self._pulled = max(0, self._pulled - 1)
        if self._fetch is None:
            return self.offer()
        self._fetch.ticks += 1
        if self._fetch.ticks > PATIENCE_TICKS:
            self._fetch = None
            return self.offer()
        return [SetTimer(name=OFFER, after_ms=self._tick_ms)]

    # ------------------------------------------------------------ status

    def status(self, applied: Slot) -> SnapshottingStatus:
        """Return an immutable snapshot."""
        taken, fetch = self._taken, self._fetch
        return SnapshottingStatus(
            kept_slot=self._kept_slot,
            kept=dict(sorted(self._kept.items())),
            log_bytes=self._bytes - self._kept_bytes,
            log_slots=applied - self._kept_slot,
            taking=self._taking,
            taken_slot=taken.slot if taken else Slot(0),
            taken_bytes=taken.size if taken else 0,
            restored_bytes=fetch.offset if fetch else 0,
            restoring_bytes=fetch.size if fetch else 0,
        )
