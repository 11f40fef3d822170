"""The learner: counts votes, applies what is chosen in order, answers gateways, serves reads.

Implements the learning of chosen values in "Paxos Made Simple" (section 2.3) and the replica's
in-order execution of "Paxos Made Moderately Complex" (section 2). It refuses to vote, to apply
past a gap, and to answer a linearizable read from what it merely happens to know.

A slot's life here: votes gather per slot and ballot; a quorum of distinct acceptors at one ballot
makes it chosen; with its value at hand and every earlier slot applied, it is applied.

Falling behind is cured in three steps, each only if the one before did not help: ask the
acceptors what they voted (`AskVotes`), ask one that voted for the value (`AskValues`), ask the
leader to see that the slots get decided (`Unstick`). A learner that starts replays the log the
same way. One that is behind its beginning gets a snapshot first (see snapshotting.py).
"""

from __future__ import annotations

from collections import deque
from typing import assert_never

import msgspec

from .backups import QUIET_STRETCH, BackupServing
from .configuring import MARK, View, change_in
from .effects import (
    Configured,
    Connected,
    Disconnected,
    Drained,
    Effect,
    Event,
    Persist,
    Received,
    Recovered,
    Relink,
    Send,
    SetTimer,
    SnapshotFailed,
    Snapshots,
    SnapshotTaken,
    Stamped,
    Start,
    TimerFired,
)
from .errors import invariant
from .keeping import NoSnapshots
from .messages import (
    UNSTICK_SLOTS_MAX,
    Accepted,
    AskBackup,
    AskConfiguration,
    AskHighest,
    AskSnapshot,
    AskValues,
    AskVotes,
    Configuration,
    Heartbeat,
    Highest,
    LearnerMessage,
    Read,
    Results,
    SnapshotKept,
    SnapshotPart,
    StaleRead,
    Subscribe,
    SubscribeOpening,
    Tick,
    Unstick,
    Unsubscribe,
    Value,
    Values,
    Votes,
)
from .quorum import Membership
from .reading import Reading, StateMachine, Waiting
from .settings import Settings
from .snapshotting import OFFER, Snapshotting, SnapshottingStatus
from .trace import Trace
from .types import Ballot, NodeId, Role, Slot, role_of
from .witness import Witness

STUCK_TOLD_TRIES = (3, 30, 300, 3000, 30000)
"""At which tries to get past a gap the log is told: without a quorum there may be many."""


FETCH_TICKS_MIN, FETCH_TICKS_MAX = 4, 64
"""For how many `gap_ms` an acceptor that was asked for values is waited for, before another is
asked; doubled each time, back to the least with an answer. A learner has one such question under
way: each answer may be megabytes, and an acceptor that only answers learners hears no leader.
"""


class LearnerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable snapshot for pages, metrics and the monitor."""

    applied: Slot
    highest_seen: Slot
    missing: int
    revision: int
    keys: int
    values: int
    sessions: int
    now_ms: int
    reads: int
    reads_waiting: int
    caught_up: bool
    epoch: int
    snapshots: SnapshottingStatus


class Pending:
    """What is known of a slot that is not applied yet."""

    __slots__ = ("chosen", "values", "votes")

    def __init__(self) -> None:
        self.votes: dict[Ballot, int] = {}
        self.values: dict[Ballot, bytes] = {}
        self.chosen: Ballot | None = None


class Learner(Reading):
    """One learner as a step function around a state machine."""

    def __init__(
        self,
        node: NodeId,
        membership: Membership,
        settings: Settings,
        machine: StateMachine,
        recovered: Recovered,
        snapshots: Snapshots | None = None,
    ) -> None:
        self.node = node
        self.machine = machine
        self.view = View(membership, recovered.configuration)
        self.snapshotting = Snapshotting(node, self.view, settings, snapshots or NoSnapshots())
        self.backups = BackupServing(node)
        self.cluster = recovered.stamp.cluster if recovered.stamp else ""
        self.pending: dict[Slot, Pending] = {}
        self._witness = Witness()
        self._founders = membership.acceptors
        self._timeouts = settings.timeouts
        self._limits = settings.limits
        # A bit for every acceptor that was ever heard of, and which of them are members now.
        self._bits: dict[NodeId, int] = {}
        self._members = 0
        self._quorum = 0
        self._count_members()
        self._window = settings.limits.catchup_slots_max * 2
        self._highest_seen = Slot(0)
        # Per gateway the highest sequence whose result it has, in the session it follows.
        self._subscribers: dict[NodeId, int] = {}
        self._gap_timer = False
        self._gap_applied = Slot(0)
        self._gap_tries = 0
        # Which acceptor was asked for values and has not answered, for how many ticks of the gap
        # timer, and how many of them it is given.
        self._fetching: NodeId | None = None
        self._fetch_ticks = 0
        self._fetch_patience = FETCH_TICKS_MIN
        # Whether the leader had to be asked for slots since this learner was last level, and up
        # to which slot it was asked, 0 when that is done.
        self._unsticking = False
        self._unstick_last = Slot(0)
        self._deadline_armed: int | None = None
        self._asked_votes: tuple[Slot, set[NodeId]] = (Slot(0), set())
        self._values_bytes = 0
        self._heard_quorum = False
        self._level_once = False
        # Reads: those gathered for the next round, those of the round under way, and those whose
        # round is over and which wait for `target` to be applied.
        self._gathered: list[Waiting] = []
        self._asking: list[Waiting] = []
        self._held: set[tuple[NodeId, int]] = set()
        self._round = 0
        self._heights: dict[NodeId, Slot] = {}
        self._waiting: deque[tuple[Slot, list[Waiting], int]] = deque()
        self._reads = 0

    # ------------------------------------------------------------ step

    def step(self, event: Event, now_ms: float, dice: float) -> list[Effect]:
        """Take one event in and return what shall be done about it.

        `now_ms` is wall-clock-like; it only tells when a key's deadline may have passed. `dice` is
        uniform in [0, 1).
        """
        match event:
            case Received(sender=sender, message=message):
                return self._on_message(sender, message, now_ms)  # type: ignore[arg-type]
            case Drained():
                return [*self._start_round(), *self._take_snapshot(now_ms)]
            case TimerFired(name=name):
                return self._on_timer(name, now_ms)
            case Connected(peer=peer):
                return [*self.view.told(peer), *self._on_connected(event)]
            case Disconnected(peer=peer):
                self._subscribers.pop(peer, None)
                if peer == self._fetching:
                    self._fetching = None
                self.snapshotting.disconnected(peer)
                self.backups.gone(peer)
                self._forget_reads(lambda waiting: waiting.gateway == peer)
                return []
            case SnapshotTaken(snapshot=snapshot):
                ready = self.backups.on_taken(snapshot, now_ms)
                return [*self.snapshotting.on_taken(snapshot), *ready]
            case SnapshotFailed(slot=slot, reason=reason):
                refused = self.backups.on_failed(slot, reason)
                return [*self.snapshotting.on_failed(slot, reason), *refused]
            case Start():
                # Rounds are numbered from a random start, so that an acceptor's late answer to an
                # earlier life of this learner never counts in a round of this one (rule 7).
                self._round = int(dice * 2**52)
                return []
            case _:
                return []

    def _on_message(self, sender: NodeId, message: LearnerMessage, now_ms: float) -> list[Effect]:
        match message:
            case Votes(epoch=epoch) | SnapshotPart(epoch=epoch) | Heartbeat(epoch=epoch) if (
                epoch > self.view.epoch
            ):
                # What it has cut off, or a snapshot, may hold a change of the members.
                return [Send(to=(sender,), message=AskConfiguration())]
            case Accepted(ballot=ballot, slot=slot):
                self._witness.heard(sender, message)
                if not self._vote(sender, slot, ballot):
                    return self._watch_gap()
                return self._apply_chosen(now_ms)
            case Value(ballot=ballot, slot=slot, value=value):
                if not self._keep_value(slot, ballot, value):
                    return self._watch_gap()
                return self._apply_chosen(now_ms)
            case Read():
                return self._on_read(sender, message, now_ms)
            case Highest():
                return self._on_highest(sender, message, now_ms)
            case StaleRead():
                return [self._answer(sender, message, now_ms)]
            case Subscribe():
                return self._on_subscribe(sender, message)
            case SubscribeOpening(nonce=nonce):
                self._subscribers[sender] = 0
                opened = self.machine.opened(sender, nonce)
                return [Send(to=(sender,), message=opened)] if opened else []
            case Unsubscribe():
                self._subscribers.pop(sender, None)
                return []
            case Heartbeat(decided=decided):
                self._highest_seen = max(self._highest_seen, decided)
                if self._heard_quorum:
                    return self._watch_gap()
                ask = Send(to=self.view.membership.acceptors, message=self._ask_votes())
                return [ask, *self._watch_gap()]
            case Votes():
                return self._on_votes(sender, message, now_ms)
            case Values():
                return self._on_values(sender, message, now_ms)
            case AskSnapshot():
                self.backups.touch(sender, now_ms)
                return self.snapshotting.on_ask(sender, message)
            case AskBackup():
                refused = self.backups.ask(sender, message, now_ms)
                if not refused:
                    self._gathered.append(Waiting(sender, message, now_ms))
                return refused
            case SnapshotPart():
                return self._on_snapshot_part(sender, message, now_ms)
            case SnapshotKept():
                self.snapshotting.on_kept(sender, message)
                return []
            case Configuration():
                return self._on_configuration(message, now_ms)
            case AskConfiguration():
                return self.view.told(sender)
            case _:
                assert_never(message)

    def _on_timer(self, name: str, now_ms: float) -> list[Effect]:
        match name:
            case "gap":
                return [*self._forget_old_reads(now_ms), *self._on_gap_timer()]
            case "round":
                return [*self._forget_old_reads(now_ms), *self._on_round_timer()]
            case "expiry":
                return self._on_expiry_timer(now_ms)
            case name if name == OFFER:
                return self.snapshotting.tick()
            case _:
                return []

    def _on_connected(self, event: Connected) -> list[Effect]:
        peer, cluster = event.peer, event.cluster
        if role_of(peer) is not Role.ACCEPTOR:
            return []
        effects: list[Effect] = []
        if cluster and not self.cluster:
            self.cluster = cluster
            stamp = Stamped(
                cluster=cluster,
                node=self.node,
                phase="open",
                acceptors=self._founders,
            )
            effects.append(Persist(record=stamp))
        effects.extend(self._witness.remind(peer, event.incarnation))
        effects.append(Send(to=(peer,), message=self._ask_votes()))
        if self._asking:
            effects.append(Send(to=(peer,), message=AskHighest(round=self._round)))
        return effects

    # ------------------------------------------------------------ learning

    def _slot(self, slot: Slot) -> Pending | None:
        """Return the book of a slot that is not applied and not too far ahead to keep."""
        if slot > self._highest_seen:
            self._highest_seen = slot
        if not self.machine.applied < slot <= self.machine.applied + self._window:
            return None
        pending = self.pending.get(slot)
        if pending is None:
            pending = self.pending[slot] = Pending()
        return pending

    def _vote(
        self, acceptor: NodeId, slot: Slot, ballot: Ballot, *, as_member: bool = False
    ) -> bool:
        """Count a vote; tell whether the next slot to apply may now be ready.

        "A value is chosen when a single proposal with that value has been accepted by a majority
        of the acceptors" (Paxos Made Simple, 2.2): one bit per distinct acceptor, one count per
        slot and ballot (rule 5). `as_member`: it tells what it holds, and knows that it is a
        member. For what was proposed to other members, nothing else counts (configuring.py).
        """
        pending = self._slot(slot)
        if pending is None or pending.chosen in pending.values:
            return False
        view = self.view
        if (slot <= view.slot and not as_member) or (slot > view.slot and ballot < view.ballot):
            return False
        bit = self._bits.get(acceptor) or self._new_bit(acceptor)
        votes = pending.votes[ballot] = pending.votes.get(ballot, 0) | bit
        if (votes & self._members).bit_count() < self._quorum:
            return False
        # A slot may be chosen at several ballots, always with the same value (P2b). One whose
        # value never arrived is given up for a later one, which acceptors can still hand out.
        pending.chosen = ballot
        return slot == self.machine.applied + 1 and ballot in pending.values

    def _keep_value(self, slot: Slot, ballot: Ballot, value: bytes) -> bool:
        """Keep a proposed value; tell whether the next slot to apply is now ready."""
        pending = self._slot(slot)
        if pending is None:
            return False
        if ballot not in pending.values:
            next_slot = slot == self.machine.applied + 1
            if self._values_bytes + len(value) > self._limits.link_bytes_max and not next_slot:
                return False  # enough is held for slots to come; it can be asked for in time
            pending.values[ballot] = value
            self._values_bytes += len(value)
        return pending.chosen == ballot and slot == self.machine.applied + 1

    def _apply_chosen(self, now_ms: float) -> list[Effect]:
        """Apply every chosen slot that follows without a gap, and answer what waited for it."""
        effects: list[Effect] = []
        machine = self.machine
        while True:
            slot = Slot(machine.applied + 1)
            pending = self.pending.get(slot)
            if pending is None or pending.chosen is None:
                break
            value = pending.values.get(pending.chosen)
            if value is None:
                break
            votes = pending.votes[pending.chosen] & self._members
            invariant(votes.bit_count() >= self._quorum, "applied what no quorum accepted")
            del self.pending[slot]
            self._values_bytes -= sum(map(len, pending.values.values()))
            self.snapshotting.applied(len(value))
            for gateway, outcome in machine.apply(slot, value):
                known = self._subscribers.get(gateway)
                if known is None or (type(outcome) is Results and outcome.sequence <= known):
                    continue
                effects.append(Send(to=(gateway,), message=outcome))
            if value[:1] == MARK:
                effects.extend(self._on_change_applied(slot, pending.chosen, value))
        if self._heard_quorum and machine.applied >= self._wanted():
            self._level_once = True
        if self._unsticking:
            effects.extend(self._go_on_unsticking())
        effects.extend(self._answer_reads(now_ms))
        effects.extend(self._watch_expiry(now_ms))
        effects.extend(self._watch_gap())
        return effects

    # ------------------------------------------------------------ catching up

    def _wanted(self) -> Slot:
        """The highest slot that must be applied for all to be well."""
        target = self._waiting[-1][0] if self._waiting else Slot(0)
        return max(self._highest_seen, target)

    def _watch_gap(self) -> list[Effect]:
        if self._gap_timer or self._wanted() <= self.machine.applied:
            return []
        self._gap_timer = True
        self._gap_applied = self.machine.applied
        return [SetTimer(name="gap", after_ms=self._timeouts.gap_ms)]

    def _on_gap_timer(self) -> list[Effect]:
        self._gap_timer = False
        wanted = self._wanted()
        if wanted <= self.machine.applied:
            self._gap_tries = 0
            self._fetching = None
            return []
        if self.machine.applied > self._gap_applied:
            self._gap_tries = 0
            return self._watch_gap()
        if self.snapshotting.fetching or self._behind_the_log():
            return [*self._get_snapshot(), *self._watch_gap()]
        if self._fetching is not None:
            self._fetch_ticks += 1
            if self._fetch_ticks < self._fetch_patience:
                return self._watch_gap()
            self._fetching = None
            self._fetch_patience = min(self._fetch_patience * 2, FETCH_TICKS_MAX)
        self._gap_tries += 1
        effects: list[Effect] = [
            Send(to=self.view.membership.acceptors, message=self._ask_votes()),
            *self._ask_missing_values(),
            *self._watch_gap(),
        ]
        if self._gap_tries % 3 == 0:
            effects.append(self._unstick())
            first, last = Slot(self.machine.applied + 1), self._unstick_last
            if self._gap_tries in STUCK_TOLD_TRIES:
                effects.append(
                    Trace(
                        what="stuck",
                        text=f"slots {first}..{last} are not decided yet: asking the leader",
                        glyph=">",
                        fields={"first": first, "last": last, "tries": self._gap_tries},
                    )
                )
        return effects

    def _unstick(self) -> Send:
        """The acceptors' votes do not settle the next slots: only the leader can."""
        first = Slot(self.machine.applied + 1)
        last = Slot(min(self._wanted(), first + UNSTICK_SLOTS_MAX - 1))
        self._unsticking, self._unstick_last = True, last
        return Send(to=self.view.membership.proposers, message=Unstick(first=first, last=last))

    def _go_on_unsticking(self) -> list[Effect]:
        """What the leader was asked for is applied: look at the next slots without a wait.

        A log that an acceptor has been lost from may need its leader every few slots.
        """
        applied = self.machine.applied
        if applied >= self._wanted():
            self._unsticking, self._unstick_last = False, Slot(0)
        elif 0 < self._unstick_last <= applied:
            self._unstick_last = Slot(0)
            return [Send(to=self.view.membership.acceptors, message=self._ask_votes())]
        return []

    def _ask_votes(self) -> AskVotes:
        first = Slot(self.machine.applied + 1)
        if self._asked_votes[0] != first:
            self._asked_votes = (first, set())
        return AskVotes(first=first, last=Slot(first + self._limits.catchup_slots_max - 1))

    def _on_votes(self, sender: NodeId, message: Votes, now_ms: float) -> list[Effect]:
        if message.highest > self._highest_seen:
            self._highest_seen = message.highest
        self.snapshotting.on_base(sender, message.base)
        as_member = message.epoch >= self.view.epoch
        for slot, ballot in message.votes:
            self._vote(sender, slot, ballot, as_member=as_member)
        effects = self._apply_chosen(now_ms)
        if not self.machine.applied:
            effects.extend(self._get_snapshot())  # a blank learner need not wait for slots first
        first, answered = self._asked_votes
        if message.first == first:
            answered.add(sender)
            if self.view.membership.is_quorum(answered):
                self._heard_quorum = True
                self._level_once |= self.machine.applied >= self._wanted()
                self._asked_votes = (first, set())
                effects.extend(self._ask_missing_values())
                pending = self.pending.get(first)
                settled = pending is not None and pending.chosen is not None
                stuck = first == self.machine.applied + 1 <= self._wanted() and not settled
                if self._unsticking and stuck and not self._unstick_last:
                    effects.append(self._unstick())
        return effects

    def _ask_missing_values(self) -> list[Effect]:
        """Ask an acceptor that voted for the first run of chosen slots whose value is missing,
        unless one was asked and may yet answer.
        """
        if self._fetching is not None:
            return []
        first = last = Slot(0)
        voters = 0
        for offset in range(1, self._limits.catchup_slots_max + 1):
            slot = Slot(self.machine.applied + offset)
            pending = self.pending.get(slot)
            chosen = pending.chosen if pending else None
            if pending is None or chosen is None or chosen in pending.values:
                if first or pending is None:
                    break
                continue
            mask = pending.votes[chosen] & self._members
            if first and not voters & mask:
                break
            voters = voters & mask if first else mask
            first, last = first or slot, slot
        if not first:
            return []
        acceptors = [a for a, bit in self._bits.items() if bit & voters]
        # A different one at each try, so that one that is slow or gone holds nobody up.
        acceptor = acceptors[(self._gap_tries + first) % len(acceptors)]
        self._fetching, self._fetch_ticks = acceptor, 0
        return [Send(to=(acceptor,), message=AskValues(first=first, last=last))]

    def _on_values(self, sender: NodeId, message: Values, now_ms: float) -> list[Effect]:
        if sender == self._fetching:
            self._fetching, self._fetch_patience = None, FETCH_TICKS_MIN
        for accepted in message.values:
            self._keep_value(accepted.slot, accepted.ballot, accepted.value)
        before = self.machine.applied
        effects = self._apply_chosen(now_ms)
        if self.machine.applied > before and self._wanted() > self.machine.applied:
            more = self._ask_missing_values()
            following = self.pending.get(Slot(self.machine.applied + 1))
            settled = following is not None and following.chosen is not None
            # Values of later slots may be fetched while the next one needs the leader again.
            stuck = self._unsticking and not self._unstick_last and not settled
            if stuck or (not more and self._fetching is None):
                ask = Send(to=self.view.membership.acceptors, message=self._ask_votes())
                more = [*more, ask]
            effects.extend(more)
        return effects

    def _behind_the_log(self) -> bool:
        """Tell whether the next slot is cut off somewhere."""
        return self.snapshotting.base > self.machine.applied

    def _get_snapshot(self) -> list[Effect]:
        if self.snapshotting.fetching or not self._behind_the_log():
            return []
        self._gap_tries += 1
        effects = self.snapshotting.get(self.machine.restoring(), self.machine.applied)
        # Others may have cut their logs since they last told, and the one asked may be silent.
        effects.append(Send(to=self.view.membership.acceptors, message=self._ask_votes()))
        return effects

    def _on_snapshot_part(
        self, sender: NodeId, message: SnapshotPart, now_ms: float
    ) -> list[Effect]:
        """Take a part of a snapshot in; take its state over when it is whole, and go on."""
        restoring, effects = self.snapshotting.on_part(sender, message)
        if restoring is None or message.slot <= self.machine.applied:
            return effects
        before = self.machine.applied
        self.machine.adopt(restoring)
        self.snapshotting.adopted(message.size)
        for slot in [slot for slot in self.pending if slot <= self.machine.applied]:
            self._values_bytes -= sum(map(len, self.pending.pop(slot).values.values()))
        self._gap_tries = 0
        self._fetching = None
        self._unsticking, self._unstick_last = False, Slot(0)
        effects.append(
            Trace(
                what="snapshot_restored",
                text=f"took over the snapshot of slot {self.machine.applied}, having applied "
                f"{before} slots before",
                fields={"slot": self.machine.applied, "size": message.size},
            )
        )
        effects.extend(self._apply_chosen(now_ms))
        effects.append(Send(to=self.view.membership.acceptors, message=self._ask_votes()))
        return effects

    def _take_snapshot(self, now_ms: float) -> list[Effect]:
        """Take a snapshot when the log has grown enough, or a backup waits for one.

        Only here, where all that had arrived is applied and effects are about to leave: so what
        is copied is the state after the slot that it is asked for.
        """
        due, newest = self.backups.due, self.snapshotting.newest
        if due is not None and newest is not None and newest.slot >= due:
            return self.backups.on_taken(newest, now_ms)
        if due is not None:
            return self.snapshotting.take_now(self.machine.applied)
        if not self._level_once:
            return []
        stretch = QUIET_STRETCH if self.backups.hold(now_ms) else 1
        return self.snapshotting.take(self.machine.applied, stretch)

    # ------------------------------------------------------------ members

    def _new_bit(self, acceptor: NodeId) -> int:
        """Return the bit of an acceptor that was not heard of before: a member to be, perhaps."""
        bit = self._bits[acceptor] = 1 << len(self._bits)
        return bit

    def _count_members(self) -> None:
        self._members = 0
        for acceptor in self.view.membership.acceptors:
            self._members |= self._bits.get(acceptor) or self._new_bit(acceptor)
        self._quorum = self.view.membership.quorum_size

    def _on_change_applied(self, slot: Slot, ballot: Ballot, value: bytes) -> list[Effect]:
        """A decided slot changes the members: go by it, and tell everybody, old and new."""
        change = change_in(value)
        if change is None or change.epoch <= self.view.epoch:
            return []
        before = self.view.membership
        configuration = Configuration(
            epoch=change.epoch, slot=slot, ballot=ballot, members=change.members
        )
        effects = self._adopt(configuration)
        everybody = dict.fromkeys((*before.nodes, *self.view.membership.nodes))
        told = tuple(node for node in everybody if node != self.node)
        return [*effects, Send(to=told, message=configuration)]

    def _on_configuration(self, message: Configuration, now_ms: float) -> list[Effect]:
        effects = self._adopt(message)
        if not effects:
            return []
        ask = Send(to=self.view.membership.acceptors, message=self._ask_votes())
        return [*effects, *self._apply_chosen(now_ms), ask]

    def _adopt(self, configuration: Configuration) -> list[Effect]:
        """Go by a newer configuration: count again what has been voted in slots to come."""
        if not self.view.adopt(configuration):
            return []
        self._count_members()
        view = self.view
        self._highest_seen = max(self._highest_seen, view.slot)
        for slot, pending in self.pending.items():
            pending.chosen = None
            pending.votes = {
                ballot: votes
                for ballot, votes in pending.votes.items()
                if slot > view.slot and ballot >= view.ballot
            }
            for ballot, votes in pending.votes.items():
                if (votes & self._members).bit_count() >= self._quorum:
                    pending.chosen = ballot
                    if ballot in pending.values:
                        break
        effects: list[Effect] = []
        if self.cluster:
            effects.append(Persist(record=Configured(configuration=configuration)))
        text = f"the members changed: epoch {view.epoch}, from slot {view.slot + 1} on"
        return [
            *effects,
            Relink(configuration=configuration),
            Trace(what="members_changed", text=text, fields={"epoch": view.epoch}),
        ]

    # ------------------------------------------------------------ results

    def _on_subscribe(self, sender: NodeId, message: Subscribe) -> list[Effect]:
        self._subscribers[sender] = message.acknowledged
        if message.session > self.machine.applied:
            return []  # a session is the slot that opened it: this learner has yet to get there
        kept = self.machine.results(sender, message.session, message.acknowledged)
        return [Send(to=(sender,), message=outcome) for outcome in kept]

    # ------------------------------------------------------------ expiry

    def _watch_expiry(self, now_ms: float) -> list[Effect]:
        deadline = self.machine.next_deadline_ms
        if deadline is None or deadline == self._deadline_armed:
            return []
        self._deadline_armed = deadline
        return [SetTimer(name="expiry", after_ms=max(0.0, deadline - now_ms) + 1)]

    def _on_expiry_timer(self, now_ms: float) -> list[Effect]:
        """A key is due: ask for an entry that carries the time. Expiry itself is decided by the
        log alone, so all learners agree on it.
        """
        self._deadline_armed = None
        deadline = self.machine.next_deadline_ms
        if deadline is None:
            return []
        if deadline > now_ms:
            return self._watch_expiry(now_ms)
        self._deadline_armed = deadline
        return [
            Send(to=self.view.membership.proposers, message=Tick(deadline_ms=deadline)),
            SetTimer(name="expiry", after_ms=self._timeouts.resend_ms),
        ]

    # ------------------------------------------------------------ status

    def _caught_up(self) -> bool:
        """Tell whether this learner is level with the log, give or take the slots that a leader
        keeps open at once: under load there is always one on its way.
        """
        lag = self._wanted() - self.machine.applied
        return self._level_once and lag <= self._limits.slots_inflight_max

    def status(self) -> LearnerStatus:
        """Return an immutable snapshot."""
        machine = self.machine.status()
        return LearnerStatus(
            applied=self.machine.applied,
            highest_seen=self._highest_seen,
            missing=max(0, self._wanted() - self.machine.applied),
            revision=machine.revision,
            keys=machine.keys,
            values=machine.values,
            sessions=machine.sessions,
            now_ms=machine.now_ms,
            reads=self._reads,
            reads_waiting=sum(len(reads) for _, reads, _ in self._waiting)
            + len(self._asking)
            + len(self._gathered),
            caught_up=self._caught_up(),
            epoch=self.view.epoch,
            snapshots=self.snapshotting.status(self.machine.applied),
        )
