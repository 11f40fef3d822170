"""An acceptor's upkeep: the snapshots that it keeps, where its log is cut, how it catches up.

None of this decides anything. A snapshot says what decided slots did; the log is cut only below
one that a quorum of acceptors keeps, so that it survives the loss of any f of them (DESIGN rule
9).

An acceptor sees to it that it holds what was chosen in every decided slot after its cut, so that
it can stand in when another fails. For a slot t that a leader of ballot c has called decided:

- Its own vote at ballot c or higher is for the chosen value: t was chosen at c or below, and every
  ballot from there on has the same value ("Paxos Made Simple", section 2.2, P2b).
- Otherwise the highest ballot among its own vote and those of f others is. Together they are a
  quorum, one of which voted at the ballot at which t was chosen. (Without a vote of its own, those
  who chose t are f + 1 of the 2f others, and any f of them will do.)

After a change of the members the same holds for the slots before it, by the new members: a quorum
of them held what was chosen there before the change was proposed (configuring.py), and each tells
its votes as a member of the new configuration. One that is no member yet asks a whole quorum.

A value that is missing by this is fetched from one that voted for it, and written at that ballot.
Such an entry misleads no proposer, even below this acceptor's promise: no other value can be
chosen there.

    learner-1            acceptor-1              acceptor-2..3
       | SnapshotOffer      |                       |
       |------------------->|                       |
       |   AskSnapshot      |                       |
       |<-------------------|                       |
       |   SnapshotPart     |                       |
       |------------------->| written, synced       |
       :                    : ... until it is whole |
       |                    | SnapshotKept          |
       |<-------------------|---------------------->|
       |                    |      SnapshotKept     |
       |                    |<----------------------| a quorum keeps it: cut
"""

from __future__ import annotations

import msgspec

from .configuring import View
from .effects import (
    AcceptedEntry,
    AcceptedLog,
    Cut,
    Effect,
    PartWritten,
    Persist,
    Send,
    SetTimer,
    SnapshotFailed,
    SnapshotInfo,
    Snapshots,
    WritePart,
)
from .messages import (
    AskSnapshot,
    AskValues,
    AskVotes,
    SnapshotKept,
    SnapshotOffer,
    SnapshotPart,
    Values,
    Votes,
)
from .settings import Settings
from .trace import Level, Trace
from .types import NO_BALLOT, Ballot, NodeId, Role, Slot, role_of

UPKEEP = "upkeep"
"""The name of the timer that upkeep runs by."""

PATIENCE_TICKS = 5
"""After so many ticks without progress, what was asked of one node is asked of another."""


LOOK_SLOTS_MAX = 4096
"""How many slots are looked at in one go: an acceptor has votes to cast meanwhile."""


CUT_VERSION = 2
"""Since this version of the messages proposers and learners know that a log may be cut."""


class NoSnapshots:
    """The snapshots of a node that keeps none."""

    @property
    def newest(self) -> SnapshotInfo | None:
        """None: there is none."""
        return None

    def read(self, slot: Slot, offset: int, bytes_max: int) -> bytes:
        """Return b"": nothing is here."""
        return b""


def part_of(snapshots: Snapshots, message: AskSnapshot, bytes_max: int, epoch: int) -> SnapshotPart:
    """Return the part that was asked for, or the beginning of the newest when that is another.

    `epoch` is that of the configuration in force after its slot, or a newer one.
    """
    newest = snapshots.newest
    if newest is None:
        return SnapshotPart(slot=Slot(0), size=0, offset=0, data=b"", epoch=epoch)
    offset = message.offset if message.slot in (0, newest.slot) else 0
    return SnapshotPart(
        slot=newest.slot,
        size=newest.size,
        offset=offset,
        data=snapshots.read(newest.slot, offset, bytes_max),
        epoch=epoch,
    )


class KeepingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable snapshot for pages, metrics and the monitor.

    `base` is the last slot that was cut off, `snapshot_slot` that of the newest snapshot, of
    `snapshot_bytes`. `kept` says which slot's snapshot each acceptor keeps. `incoming` is how many
    bytes of a snapshot have come in, of `incoming_bytes`. `behind` tells that decided slots
    are missing here. `held_back_by` are the proposers and learners of an older version, for whose
    sake the log is not cut.
    """

    base: Slot
    snapshot_slot: Slot
    snapshot_bytes: int
    kept: dict[NodeId, Slot]
    incoming: int
    incoming_bytes: int
    behind: bool
    held_back_by: tuple[NodeId, ...] = ()


class Incoming:
    """A snapshot on its way in: from whom, and how far it has come."""

    __slots__ = ("asked", "offset", "size", "slot", "source", "ticks")

    def __init__(self, source: NodeId, slot: Slot) -> None:
        self.source = source
        self.slot = slot
        self.size = 0
        # What has come in, of which the last part may not be written yet, and what was asked for.
        self.offset = 0
        self.asked = 0
        self.ticks = 0

    def ask(self) -> list[Effect]:
        """Ask for the part that follows, unless that has been done, or there is none."""
        if self.asked == self.offset or self.offset == self.size:
            return []
        self.asked = self.offset
        return [Send(to=(self.source,), message=AskSnapshot(slot=self.slot, offset=self.offset))]


class Keeping:
    """The upkeep of one acceptor's volume, as a part of its step."""

    def __init__(
        self,
        node: NodeId,
        view: View,
        settings: Settings,
        log: AcceptedLog,
        snapshots: Snapshots,
    ) -> None:
        self.chosen: dict[Slot, Ballot] = {}
        """Decided slots that were asked about, and the ballot at which they hold the choice."""
        self._node = node
        self._view = view
        self._others = tuple(a for a in view.membership.acceptors if a != node)
        self._limits = settings.limits
        self._tick_ms = settings.timeouts.upkeep_ms
        self._log = log
        self._snapshots = snapshots
        newest = snapshots.newest
        self._base = log.base
        self._kept: dict[NodeId, Slot] = {node: newest.slot if newest else Slot(0)}
        self._bases: dict[NodeId, Slot] = {}
        self._old: set[NodeId] = set()
        # After a start, those of an older version shall have time to come back before a first cut.
        self._patience = PATIENCE_TICKS if newest and not log.base else 0
        self._incoming: Incoming | None = None
        self._tries = 0
        # Catching up: the slots up to here are whole, up to `_target` they should be, which
        # leaders up to the ballot `_claimed` have called decided; and what the others have voted
        # from `_first` to `_last`.
        self._solid = log.base
        self._target = Slot(0)
        self._claimed = NO_BALLOT
        self._first = Slot(0)
        self._last = Slot(0)
        self._votes: dict[NodeId, dict[Slot, Ballot]] = {}
        self._asked: NodeId | None = None
        self._ticks = 0
        self._behind = False
        self._again = False

    @property
    def kept_here(self) -> Slot:
        """The slot of the newest snapshot that is kept here; 0 when none is."""
        return self._kept[self._node]

    # ------------------------------------------------------------ members

    @property
    def whole(self) -> Slot:
        """Up to which slot every one is known to be whole here, in the log or a snapshot."""
        return max(self._solid, self._base)

    def reconfigured(self, view: View) -> None:
        """Go by other members from now on; what was asked of the ones before counts no more."""
        self._view = view
        self._others = tuple(a for a in view.membership.acceptors if a != self._node)
        self._first = Slot(0)
        self._votes = {}
        self._asked = None
        self.chosen.clear()
        if self._incoming is not None and self._incoming.source not in view.membership.nodes:
            self._incoming = None

    def look(self, decided: Slot, claimed: Ballot) -> list[Effect]:
        """Look now whether everything up to `decided` is whole here: the leader of ballot
        `claimed` has called it decided.
        """
        self._target, self._claimed = max(self._target, decided), max(self._claimed, claimed)
        return self._look()

    def joined(self) -> str:
        """Say how far an acceptor has come that is no member yet."""
        if self._incoming is not None and self._incoming.size:
            return f"{self._incoming.offset} of {self._incoming.size} bytes of a snapshot are here"
        return f"it holds what was chosen up to slot {self.whole}, {self._target} are decided"

    # ------------------------------------------------------------ what others keep

    def start(self) -> list[Effect]:
        """Begin: the node's volume is open."""
        return [SetTimer(name=UPKEEP, after_ms=self._tick_ms)]

    @property
    def has_cut(self) -> bool:
        """Whether the log has been cut: older proposers and learners must be refused from now."""
        return self._base > 0

    def met(self, peer: NodeId, version: int) -> None:
        """Note which version of the messages a node speaks.

        The log is not cut for as long as one that would overlook it is among the proposers or
        learners, connected or away: it would have to be refused when it comes back.
        """
        if version >= CUT_VERSION:
            self._old.discard(peer)
        elif role_of(peer) in (Role.PROPOSER, Role.LEARNER):
            self._old.add(peer)

    def connected(self, peer: NodeId) -> list[Effect]:
        """Tell a node that a link stands to what is kept here."""
        return [Send(to=(peer,), message=self._told())] if self._kept[self._node] else []

    def disconnected(self, peer: NodeId) -> None:
        """Stop waiting for a node."""
        if self._incoming is not None and self._incoming.source == peer:
            self._incoming = None
        if self._asked == peer:
            self._asked = None

    def _told(self) -> SnapshotKept:
        return SnapshotKept(slot=self._kept[self._node], base=self._base)

    def on_kept(self, sender: NodeId, message: SnapshotKept) -> list[Effect]:
        """Note what another acceptor keeps; cut when that makes a quorum."""
        if sender not in self._others:
            return []
        self._kept[sender] = max(message.slot, self._kept.get(sender, Slot(0)))
        self._bases[sender] = max(message.base, self._bases.get(sender, Slot(0)))
        return self._cut()

    def _cut(self) -> list[Effect]:
        """Cut below what a quorum keeps, this acceptor among them, if nobody would overlook it."""
        if self._old or self._patience:
            return []
        members = self._view.membership
        kept = sorted((self._kept.get(a, Slot(0)) for a in members.acceptors), reverse=True)
        by_quorum = kept[members.quorum_size - 1]
        # Whoever has cut its log knew of a quorum.
        slot = min(max([by_quorum, *self._bases.values()]), self._kept[self._node])
        if slot <= self._base:
            return []
        self._base = slot
        return [
            Persist(record=Cut(slot=slot)),
            Trace(
                what="log_cut",
                text=f"a quorum keeps the snapshot of slot {slot}: cut the log up to there",
                fields={"slot": slot},
            ),
        ]

    # ------------------------------------------------------------ a snapshot comes in

    def on_offer(self, sender: NodeId, message: SnapshotOffer) -> list[Effect]:
        """Ask for what a learner offers, unless it is no newer than what is here.

        One that is on its way comes first, even an older one: under a heavy load the next is
        taken before this one is whole, and who always began anew would never keep any.
        """
        if message.slot <= self._kept[self._node]:
            return [Send(to=(sender,), message=self._told())]
        if self._incoming is not None:
            return []  # it is offered again
        return self._ask_snapshot(sender, message.slot)

    def _ask_snapshot(self, source: NodeId, slot: Slot) -> list[Effect]:
        self._incoming = Incoming(source, slot)
        return [Send(to=(source,), message=AskSnapshot(slot=slot, offset=0))]

    def on_part(self, sender: NodeId, message: SnapshotPart) -> list[Effect]:
        """Have a part written that was asked for, and nothing else."""
        incoming = self._incoming
        if incoming is None or sender != incoming.source:
            return []
        if message.slot != incoming.slot and message.offset == 0:
            incoming.slot, incoming.size = message.slot, 0
            incoming.offset = incoming.asked = 0
        useful = message.slot == incoming.slot > self._kept[self._node] and message.data
        if not useful or message.offset + len(message.data) > message.size:
            self._incoming = None
            return []
        if message.offset != incoming.offset or incoming.size not in (0, message.size):
            return []  # asked for twice, answered twice
        incoming.size = message.size
        incoming.ticks = 0
        incoming.offset += len(message.data)
        part = WritePart(
            slot=message.slot, size=message.size, offset=message.offset, data=message.data
        )
        # The next one may come while the first is written; those after it wait for the disk.
        return [part, *(incoming.ask() if message.offset == 0 else [])]

    def on_written(self, event: PartWritten) -> list[Effect]:
        """Ask for the next part, or tell everybody that the snapshot is kept, and cut."""
        incoming = self._incoming
        newest = self._snapshots.newest
        if newest is not None and newest.slot > self._kept[self._node]:
            self._kept[self._node] = newest.slot
            if incoming is not None and incoming.slot <= newest.slot:
                self._incoming = None
            return [
                Trace(
                    what="snapshot_kept",
                    text=f"keeps the snapshot of slot {newest.slot}, {newest.size} bytes",
                    fields={"slot": newest.slot, "size": newest.size},
                ),
                *self._cut(),
                Send(to=(*self._others, *self._view.membership.learners), message=self._told()),
            ]
        if incoming is None or event.slot != incoming.slot:
            return []
        incoming.ticks = 0
        return incoming.ask()

    def on_failed(self, event: SnapshotFailed) -> list[Effect]:
        """Give up a snapshot that could not be written; it will be offered again."""
        if self._incoming is not None and self._incoming.slot == event.slot:
            self._incoming = None
        return [
            Trace(
                what="snapshot_failed",
                text=f"the snapshot of slot {event.slot} could not be kept: {event.reason}",
                level=Level.WARNING,
                glyph="!",
            )
        ]

    def on_ask(self, sender: NodeId, message: AskSnapshot) -> list[Effect]:
        """Hand out a part of what is kept here."""
        bytes_max = self._limits.snapshot_part_bytes
        part = part_of(self._snapshots, message, bytes_max, self._view.epoch)
        return [Send(to=(sender,), message=part)]

    # ------------------------------------------------------------ catching up

    def tick(self, decided: Slot, claimed: Ballot) -> list[Effect]:
        """Look whether what was decided a tick ago is whole here; see to it if it is not.

        Leaders of ballots up to `claimed` have called the slots up to `decided` decided.
        """
        timer = SetTimer(name=UPKEEP, after_ms=self._tick_ms)
        self._patience = max(0, self._patience - 1)
        if self._incoming is not None:
            self._incoming.ticks += 1
            if self._incoming.ticks > PATIENCE_TICKS:
                self._incoming = None
        if self._asked is not None:
            self._ticks += 1
            if self._ticks > PATIENCE_TICKS:
                self._asked = None
        # What a quorum keeps may have been learned from answers, too.
        effects = [*self._cut(), *self._look(again=True)]
        self._target, self._claimed = decided, claimed
        return [timer, *effects]

    def _look(self, *, again: bool = False) -> list[Effect]:
        """Find the first run of slots that are not known to be whole, and ask about it; about
        one that nobody knew anything of only `again`, a tick later.
        """
        first = Slot(max(self._solid, self._base) + 1)
        last = Slot(min(self._target, first + LOOK_SLOTS_MAX - 1))
        own = dict(self._log.votes(first, last)) if first <= last else {}
        slot = first
        while slot <= last and self._whole(slot, own.get(slot)):
            slot = Slot(slot + 1)
        self._solid = Slot(slot - 1)
        self._again = last < slot <= self._target
        self._behind = slot <= last and slot not in own
        if slot > last:
            self._first = Slot(0)
            self.chosen.clear()
            return []
        if self._incoming is not None or self._asked is not None:
            return []
        if slot == self._first and not again:
            return []
        if source := self._who_cut(slot):
            return self._ask_snapshot(source, Slot(0))
        end = slot
        longest = Slot(min(last, slot + self._limits.catchup_slots_max - 1))
        while end < longest and not self._whole(Slot(end + 1), own.get(Slot(end + 1))):
            end = Slot(end + 1)
        self._first, self._last, self._votes = slot, end, {}
        self.chosen.clear()
        if not self._answers_needed:
            return self._judge()  # a quorum by itself: there is nobody to ask
        return [Send(to=self._others, message=AskVotes(first=slot, last=end))]

    def _whole(self, slot: Slot, ballot: Ballot | None) -> bool:
        """Tell whether the entry of a decided slot is known to hold what was chosen."""
        return ballot is not None and (ballot >= self._claimed or self.chosen.get(slot) == ballot)

    def _who_cut(self, slot: Slot) -> NodeId | None:
        """Return one that has cut off `slot` and keeps a snapshot that is lacking here, another one
        at each try: it may be gone.
        """
        own = self._kept[self._node]
        sources = [
            a
            for a in self._others
            if self._bases.get(a, Slot(0)) >= slot and self._kept.get(a, Slot(0)) > own
        ]
        if not sources:
            return None
        self._tries += 1
        return sources[self._tries % len(sources)]

    def on_votes(self, sender: NodeId, message: Votes) -> list[Effect]:
        """Note what another acceptor voted in the missing slots; f answers tell what was chosen."""
        if sender not in self._others:
            return []
        self._bases[sender] = max(message.base, self._bases.get(sender, Slot(0)))
        self._kept[sender] = max(message.base, self._kept.get(sender, Slot(0)))
        if not self._first or message.first != self._first or message.epoch < self._view.epoch:
            return []
        if message.base >= self._first:
            # It has cut off what it is asked about, so its silence there says nothing; the
            # snapshot that it keeps does.
            return []
        # An answer to an earlier and shorter question speaks for that alone.
        self._last = min(self._last, message.last)
        self._votes[sender] = dict(message.votes)
        return self._judge() if len(self._votes) >= self._answers_needed else []

    @property
    def _answers_needed(self) -> int:
        """How many others make a quorum, with this acceptor where it is a member."""
        members = self._view.membership
        return members.quorum_size - (self._node in members.acceptors)

    def _judge(self) -> list[Effect]:
        """A quorum has told: the highest ballot of each slot is the choice."""
        self.chosen.clear()
        for votes in (dict(self._log.votes(self._first, self._last)), *self._votes.values()):
            for slot, ballot in votes.items():
                if slot <= self._last:
                    self.chosen[slot] = max(ballot, self.chosen.get(slot, ballot))
        return self._fetch() or self._look()

    def _fetch(self) -> list[Effect]:
        """Ask one that voted at the highest ballots for the first run of what is missing."""
        if self._asked is not None:
            return []
        own = dict(self._log.votes(self._first, self._last))
        wanted = [s for s in sorted(self.chosen) if own.get(s, NO_BALLOT) < self.chosen[s]]
        if not wanted:
            return []
        first = last = wanted[0]
        sender = next(
            a for a, votes in self._votes.items() if votes.get(first) == self.chosen[first]
        )
        for slot in wanted[1:]:
            if slot != last + 1 or self._votes[sender].get(slot) != self.chosen[slot]:
                break
            last = slot
        self._asked, self._ticks = sender, 0
        return [Send(to=(sender,), message=AskValues(first=first, last=last))]

    def on_values(self, sender: NodeId, message: Values) -> list[AcceptedEntry]:
        """Return the entries to write: what is missing, at the ballots that hold the choice."""
        if sender != self._asked:
            return []
        self._asked = None
        entries = [
            # What is decided is not repeated: no leader of this ballot said it.
            AcceptedEntry(slot=one.slot, ballot=one.ballot, value=one.value, decided=Slot(0))
            for one in message.values
            if one.slot > self._base
            and self.chosen.get(one.slot) == one.ballot
            and (one.slot, one.ballot) not in self._log.votes(one.slot, one.slot)
        ]
        # An answer of no use is not asked for again at once: votes may have changed since.
        self._again = bool(entries)
        return entries

    def drained(self) -> list[Effect]:
        """Go on at once after values have been written: ask for more, or for the next run."""
        if not self._again:
            return []
        self._again = False
        return self._fetch() or self._look()

    # ------------------------------------------------------------ status

    def status(self) -> KeepingStatus:
        """Return an immutable snapshot."""
        newest = self._snapshots.newest
        return KeepingStatus(
            base=self._base,
            snapshot_slot=newest.slot if newest else Slot(0),
            snapshot_bytes=newest.size if newest else 0,
            kept=dict(sorted(self._kept.items())),
            incoming=self._incoming.offset if self._incoming else 0,
            incoming_bytes=self._incoming.size if self._incoming else 0,
            behind=self._behind,
            held_back_by=tuple(sorted(self._old)),
        )
