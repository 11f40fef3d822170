"""The proposer: leads when elected, gives every batch a slot, sees each slot through.

Implements phase 1a/2a of "Paxos Made Simple" for a log of slots (section 3): phase 1 runs once
per leadership for all slots from the first that is not known decided; phase 2 is pipelined. It
refuses to open a value, to know a client, and to propose without the promises of a quorum.

Life of a proposer:

    FOLLOWING --suspicion--> CANVASSING --a quorum would follow--> PREPARING
        ^                        |                                     | a quorum promised
        |<---leader heard--------+------------nack--------------------|
        |                                                              v
        +<----nack, or no quorum answers the heartbeats------------ LEADING

When a change of the members is chosen (configuring.py, changing.py), a leader is PREPARING again
for a moment: the slots after it are another quorum's, which must promise the same ballot. It keeps
its office meanwhile, and its queue.
"""

from __future__ import annotations

from collections import deque
from typing import assert_never

import msgspec

from .changing import CHANGE, Changing, Step
from .configuring import View, change_in
from .effects import (
    CancelTimer,
    Connected,
    Counted,
    Disconnected,
    Drained,
    Effect,
    Event,
    Persist,
    Received,
    Recovered,
    Send,
    SetTimer,
    Stamped,
    Start,
    TimerFired,
)
from .election import Election
from .gathering import Gathering
from .messages import (
    Abstain,
    Accept,
    Accepted,
    AskConfiguration,
    Canvass,
    CanvassReply,
    Change,
    ChangeMembers,
    Configuration,
    Envelope,
    Heartbeat,
    HeartbeatReply,
    Joining,
    LeaderState,
    Nack,
    NotLeader,
    Prepare,
    Promise,
    ProposerMessage,
    Submit,
    Tick,
    Unstick,
    Value,
    Whole,
)
from .office import NO_OP, Open, Phase
from .quorum import Membership
from .reconfiguring import Reconfiguring
from .reopening import Reopening
from .settings import Settings
from .trace import Level, Trace
from .types import (
    NO_BALLOT,
    Ballot,
    NodeId,
    Role,
    Slot,
    ballot_from,
    counter_of,
    number_of,
    owner_of,
    role_of,
)

CHANGE_VERSION = 3
"""Since this version of the messages nodes know that the members may change."""

TELL_ALL_ROUNDS = 5
"""Every so many heartbeats, learners and gateways are told too: what they missed, they learn."""


class ProposerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable snapshot for pages, metrics and the monitor."""

    phase: str
    ballot: Ballot
    leader: NodeId | None
    leader_ballot: Ballot
    decided: Slot
    next_slot: Slot
    inflight: int
    queued: int
    voting: list[NodeId]
    abstaining: dict[NodeId, str]
    epoch: int
    elections: int
    proposals: int


class Proposer(Reconfiguring, Reopening):
    """One proposer as a step function."""

    def __init__(
        self, node: NodeId, membership: Membership, settings: Settings, recovered: Recovered
    ) -> None:
        self.node = node
        self.counter = recovered.counter
        self.ballot = NO_BALLOT
        self.phase = Phase.FOLLOWING
        self.decided = recovered.decided
        self.next_slot = Slot(1)
        self.open: dict[Slot, Open] = {}
        self.cluster = recovered.stamp.cluster if recovered.stamp else ""
        self.electorate: frozenset[NodeId] = frozenset()
        self._number = number_of(node)
        self.view = View(membership, recovered.configuration)
        self.membership = self.view.membership
        self.barrier = Slot(0)
        """The slot with a change of the members that is not chosen yet, above which this leader
        proposes nothing; 0: there is none."""
        self._founders = membership.acceptors
        self._timeouts = settings.timeouts
        self._limits = settings.limits
        self._others = tuple(p for p in self.membership.proposers if p != node)
        self._election = Election(node, self.membership, settings.timeouts)
        self._in_office = False
        self._changing: Changing | None = None
        # Acceptors that are no members and would become some: they are sent what is proposed.
        self._joining: frozenset[NodeId] = frozenset()
        self._older: set[NodeId] = set()
        # What stands in the barrier's slot, and whether it is chosen there.
        self._barrier_change: Change | None = None
        self._barrier_chosen = False
        self._gathering: Gathering | None = None
        self._prepare_tries = 0
        self._queue: deque[tuple[bytes, NodeId | None]] = deque()
        self._queue_bytes = 0
        self._open_bytes = 0
        self._streams: dict[NodeId, tuple[int, int, int]] = {}
        self._stamped_ms = 0
        self._round = 0
        self._acknowledged: dict[NodeId, int] = {}
        self._abstaining: dict[NodeId, str] = {}
        self._announced: LeaderState | None = None
        self._gateways: set[NodeId] = set()
        # The acceptors that have not answered the latest heartbeat: they are asked last.
        self._silent: frozenset[NodeId] = frozenset()
        self._elections = 0
        self._proposals = 0

    # ------------------------------------------------------------ step

    def step(self, event: Event, now_ms: float, dice: float) -> list[Effect]:
        """Take one event in and return what shall be done about it.

        `now_ms` is a clock that only liveness (and the stamps for expiry) depend on; `dice` is
        uniform in [0, 1).
        """
        match event:
            case Received(sender=sender, message=message):
                return self._on_message(sender, message, now_ms, dice)  # type: ignore[arg-type]
            case Drained():
                return self._propose_queued(now_ms)
            case TimerFired(name=name):
                return self._on_timer(name, now_ms, dice)
            case Connected():
                return self._on_connected(event, now_ms)
            case Disconnected(peer=peer):
                return self._on_disconnected(peer, dice)
            case Start():
                return self._on_start(dice)
            case _:
                return []

    def _on_message(
        self, sender: NodeId, message: ProposerMessage, now_ms: float, dice: float
    ) -> list[Effect]:
        match message:
            case Accepted():
                return self._on_accepted(sender, message, now_ms, dice)
            case Heartbeat(epoch=epoch) | CanvassReply(epoch=epoch) | Promise(epoch=epoch) if (
                epoch > self.view.epoch
            ):
                # What it calls decided may hold a change of the members.
                return [Send(to=(sender,), message=AskConfiguration())]
            case Submit():
                return self._on_submit(sender, message)
            case HeartbeatReply():
                return self._on_heartbeat_reply(sender, message)
            case Heartbeat():
                return self._on_heartbeat(sender, message, now_ms, dice)
            case CanvassReply():
                return self._on_canvass_reply(sender, message)
            case Promise():
                return self._on_promise(sender, message, now_ms)
            case Nack():
                return self._on_nack(message, dice)
            case Abstain():
                return self._on_abstain(sender, message)
            case Unstick():
                return self._on_unstick(message, now_ms)
            case Tick():
                return self._on_tick(message, now_ms)
            case Configuration():
                return self._on_configuration(message, now_ms, dice)
            case AskConfiguration():
                return self.view.told(sender)
            case Joining():
                return self._on_joining(sender)
            case Whole():
                return self._on_whole(sender, message, now_ms, dice)
            case ChangeMembers():
                return self._on_change_members(sender, message, now_ms, dice)
            case _:
                assert_never(message)

    def _on_timer(self, name: str, now_ms: float, dice: float) -> list[Effect]:
        match name:
            case "election":
                return self._on_election_timer(now_ms, dice)
            case "heartbeat":
                return self._on_heartbeat_timer(dice)
            case "resend":
                return self._on_resend_timer(now_ms)
            case "prepare":
                return self._on_prepare_timer(dice)
            case name if name == CHANGE:
                return self._on_change_timer(now_ms, dice)
            case _:
                return []

    def _on_start(self, dice: float) -> list[Effect]:
        return [SetTimer(name="election", after_ms=self._election.backoff_ms(dice))]

    def _on_connected(self, event: Connected, now_ms: float) -> list[Effect]:
        peer, cluster = event.peer, event.cluster
        role = role_of(peer)
        effects: list[Effect] = self.view.told(peer)
        if event.version < CHANGE_VERSION and role is not Role.DISCOVERY:
            self._older.add(peer)
        else:
            self._older.discard(peer)
        if role is Role.ACCEPTOR:
            if cluster and not self.cluster:
                self.cluster = cluster
                stamp = Stamped(
                    cluster=cluster,
                    node=self.node,
                    phase="open",
                    acceptors=self._founders,
                )
                effects.append(Persist(record=stamp))
            if self.phase is Phase.LEADING and peer in self.membership.acceptors:
                effects.extend(
                    Send(to=(peer,), message=self._accept(slot, open_.value))
                    for slot, open_ in sorted(self.open.items())
                    if peer not in open_.votes
                )
        elif role is Role.LEARNER and self.phase is Phase.LEADING:
            effects.extend(
                Send(
                    to=(peer,),
                    message=Value(ballot=self.ballot, slot=slot, value=open_.value),
                )
                for slot, open_ in sorted(self.open.items())
            )
        elif role is Role.CLIENT:
            self._gateways.add(peer)
            effects.append(Send(to=(peer,), message=self._leader_state()))
        elif role is Role.PROPOSER and self.phase is Phase.LEADING:
            effects.append(Send(to=(peer,), message=self._heartbeat()))
        return effects

    def _on_disconnected(self, peer: NodeId, dice: float) -> list[Effect]:
        self._gateways.discard(peer)
        self._abstaining.pop(peer, None)
        if role_of(peer) is Role.ACCEPTOR:
            self._silent |= {peer}
            self._joining -= {peer}
        leader = self._election.leader
        if leader == NO_BALLOT or owner_of(leader) != peer or self.phase is not Phase.FOLLOWING:
            return []
        # The closing of the leader's link is an immediate hint; canvassing finds out the truth.
        self._election.lost()
        return [
            Trace(
                what="leader_link_closed",
                text=f"the link to leader {peer} closed: suspecting it",
                fields={"ballot": leader},
            ),
            SetTimer(name="election", after_ms=self._election.backoff_ms(dice)),
        ]

    # ------------------------------------------------------------ standing for election

    def _on_election_timer(self, now_ms: float, dice: float) -> list[Effect]:
        if self.phase in (Phase.LEADING, Phase.PREPARING):
            return []
        member = self.node in self.membership.proposers
        if self._election.leader_alive(now_ms) or not member:
            return [SetTimer(name="election", after_ms=self._election.suspicion_ms(dice))]
        effects: list[Effect] = []
        if self._election.leader != NO_BALLOT:
            silent = owner_of(self._election.leader)
            effects.append(
                Trace(
                    what="leader_silent",
                    text=f"nothing heard from leader {silent}: suspecting it",
                    fields={"ballot": self._election.leader},
                )
            )
            self._election.lost()
        if self.phase is Phase.CANVASSING:
            self._election.failures += 1
            effects.extend(self._announce())
        self.phase = Phase.CANVASSING
        round_ = self._election.canvass()
        return [
            *effects,
            Send(to=self.membership.acceptors, message=Canvass(round=round_)),
            SetTimer(name="election", after_ms=10 + self._election.backoff_ms(dice)),
        ]

    def _on_canvass_reply(self, sender: NodeId, message: CanvassReply) -> list[Effect]:
        self._abstaining.pop(sender, None)
        if self.phase is not Phase.CANVASSING or not self._election.on_reply(sender, message):
            return []
        if not self.cluster:
            return []  # the volume has no owner yet (rule 8): the counter has nowhere to go
        # A quorum would follow. The counter rises above every ballot that a quorum has seen.
        seen = counter_of(self._election.highest_promised)
        self.counter = max(self.counter, seen) + 1
        self.ballot = ballot_from(self.counter, self._number)
        self.decided = max(self.decided, self._election.highest_decided)
        self.phase = Phase.PREPARING
        self._elections += 1
        self._prepare_tries = 0
        self._gathering = Gathering(self.ballot, Slot(self.decided + 1), Slot(0))
        return [
            Persist(record=Counted(counter=self.counter)),
            CancelTimer(name="election"),
            Trace(
                what="preparing",
                text=f"preparing ballot {self.ballot} from slot {self.decided + 1}",
                fields={"ballot": self.ballot, "first": self.decided + 1},
            ),
            Send(to=self.membership.acceptors, message=self._prepare(self._gathering)),
            SetTimer(name="prepare", after_ms=self._timeouts.resend_ms),
        ]

    def _prepare(self, gathering: Gathering) -> Prepare:
        return Prepare(ballot=gathering.ballot, first=gathering.first, last=gathering.last)

    def _on_prepare_timer(self, dice: float) -> list[Effect]:
        if self.phase is not Phase.PREPARING or self._gathering is None:
            return []
        self._prepare_tries += 1
        if self._prepare_tries > 3:
            return self._step_down("no quorum answered the prepare", dice)
        missing = tuple(a for a in self.membership.acceptors if a not in self._gathering.complete)
        return [
            Send(to=missing, message=self._prepare(self._gathering)),
            SetTimer(name="prepare", after_ms=self._timeouts.resend_ms),
        ]

    def _on_promise(self, sender: NodeId, message: Promise, now_ms: float) -> list[Effect]:
        gathering = self._gathering
        if gathering is None or message.ballot != self.ballot:
            return []
        gathering.add(sender, message)
        if not self.membership.is_quorum(gathering.complete):
            return []
        self._gathering = None
        if self.phase is Phase.PREPARING:
            return self._take_office(gathering, now_ms)
        return self._repropose(gathering, now_ms)

    def _take_office(self, gathering: Gathering, now_ms: float) -> list[Effect]:
        """Phase 1 is complete: propose again what the promises carry, fill gaps, then lead.

        "The leader [...] executes phase 2 with the value of the highest-numbered proposal [...]
        and proposes a special 'no-op' command that leaves the state unchanged" for the gaps
        (Paxos Made Simple, section 3).
        """
        values = gathering.values
        first = max(gathering.first, Slot(gathering.base + 1))
        self.decided = max(self.decided, gathering.base)
        last = max(values, default=Slot(first - 1))
        # What promises carry after a change was proposed to other members, if it was at all.
        change = next((s for s in sorted(values) if self._changes(values[s])), None)
        if change is not None:
            last = change
            self._stop_at(change, change_in(values[change]))
        self.phase = Phase.LEADING
        self.electorate = frozenset(gathering.complete)
        self.open = {}
        self._open_bytes = 0
        if not self._in_office:
            self._queue.clear()
            self._queue_bytes = 0
            self._streams = {}
            self._stamped_ms = 0  # what an earlier leadership stamped may never have been chosen
        self._in_office = True
        self.next_slot = first
        self._round = 0
        self._acknowledged = dict.fromkeys(self.membership.acceptors, 0)
        self._silent = frozenset()
        effects: list[Effect] = [
            CancelTimer(name="prepare"),
            CancelTimer(name="election"),
            Trace(
                what="leading",
                text=f"leading with ballot {self.ballot} from slot {first}, "
                f"{last - first + 1} open slots taken over",
                fields={"ballot": self.ballot, "first": first, "open": len(values)},
            ),
        ]
        self._election.heard(self.ballot, now_ms)
        while self.next_slot <= last:
            effects.extend(self._propose_next(values.get(self.next_slot, NO_OP), now_ms))
        effects.extend(self._beat())
        return effects

    def _on_nack(self, message: Nack, dice: float) -> list[Effect]:
        self._election_seen(message.promised)
        if message.ballot != self.ballot or self.phase not in (Phase.PREPARING, Phase.LEADING):
            return []
        return self._step_down(f"an acceptor promised ballot {message.promised}", dice)

    def _election_seen(self, ballot: Ballot) -> None:
        """Remember a higher ballot, so that the next candidacy starts above it. Not durable:
        only the counter of a ballot that is used must be.
        """
        self.counter = max(self.counter, counter_of(ballot))

    def _step_down(self, why: str, dice: float) -> list[Effect]:
        """Stop proposing at once. Whatever is open will be recovered by whoever leads next."""
        ballot = self.ballot
        self.phase = Phase.FOLLOWING
        self.ballot = NO_BALLOT
        self._stop_at(Slot(0), None)
        self._in_office = False
        self._changing = None
        self.open = {}
        self._open_bytes = 0
        self._queue.clear()
        self._queue_bytes = 0
        self._streams = {}
        self._gathering = None
        self._election.lost()
        self._election.failures += 1
        return [
            CancelTimer(name="heartbeat"),
            CancelTimer(name="resend"),
            CancelTimer(name="prepare"),
            CancelTimer(name=CHANGE),
            SetTimer(name="election", after_ms=self._election.backoff_ms(dice)),
            Trace(
                what="stepped_down",
                text=f"no longer leading or preparing with ballot {ballot}: {why}",
                level=Level.WARNING,
                fields={"ballot": ballot},
            ),
            *self._announce(),
        ]

    # ------------------------------------------------------------ heartbeats

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            ballot=self.ballot, decided=self.decided, round=self._round, epoch=self.view.epoch
        )

    def _beat(self) -> list[Effect]:
        self._round += 1
        effects: list[Effect] = [
            Send(to=self._hearers(), message=self._heartbeat()),
            SetTimer(name="heartbeat", after_ms=self._timeouts.heartbeat_ms),
        ]
        if self._round % TELL_ALL_ROUNDS == 1:
            effects.append(Send(to=self.membership.learners, message=self._heartbeat()))
            self._announced = None
        return [*effects, *self._announce()]

    def _hearers(self) -> tuple[NodeId, ...]:
        return (*self.membership.acceptors, *sorted(self._joining), *self._others)

    def _on_heartbeat_timer(self, dice: float) -> list[Effect]:
        """Rounds are counted, not milliseconds: a leader that was paused has missed no answer
        to a heartbeat that it did not send.
        """
        if self.phase is not Phase.LEADING:
            return []
        if not self.membership.is_quorum(self._answering()):
            return self._step_down("no quorum of acceptors answers the heartbeats", dice)
        self._silent = frozenset(a for a, r in self._acknowledged.items() if r < self._round)
        return self._beat()

    def _answering(self) -> list[NodeId]:
        patience = -(-self._timeouts.suspect_ms // self._timeouts.heartbeat_ms)
        oldest = self._round - patience
        return [a for a, round_ in self._acknowledged.items() if round_ >= oldest]

    def _on_heartbeat_reply(self, sender: NodeId, message: HeartbeatReply) -> list[Effect]:
        member = sender in self.membership.acceptors
        if self.phase is Phase.LEADING and message.ballot == self.ballot and member:
            self._acknowledged[sender] = max(message.round, self._acknowledged.get(sender, 0))
            self._abstaining.pop(sender, None)
        return []

    def _on_heartbeat(
        self, sender: NodeId, message: Heartbeat, now_ms: float, dice: float
    ) -> list[Effect]:
        ballot = message.ballot
        if ballot == NO_BALLOT or owner_of(ballot) != sender:
            return []
        if self.phase in (Phase.PREPARING, Phase.LEADING) and ballot < self.ballot:
            return []  # an older leader; the acceptors' nacks will tell it
        effects: list[Effect] = []
        if self.phase in (Phase.PREPARING, Phase.LEADING):
            effects = self._step_down(f"{sender} leads with ballot {ballot}", dice)
        if ballot < self._election.leader and self._election.leader_alive(now_ms):
            return effects
        self.phase = Phase.FOLLOWING
        self._election_seen(ballot)
        self.decided = max(self.decided, message.decided)
        if self._election.heard(ballot, now_ms):
            # A follower asks no acceptor: what it was told before would only grow stale.
            self._abstaining.clear()
            effects.append(
                Trace(
                    what="following",
                    text=f"following {sender} with ballot {ballot}",
                    fields={"ballot": ballot},
                )
            )
        effects.append(SetTimer(name="election", after_ms=self._election.suspicion_ms(dice)))
        return effects

    # ------------------------------------------------------------ telling the gateways

    def _leader_state(self) -> LeaderState:
        if self.phase is Phase.LEADING:
            voting = [a for a in self._answering() if a not in self._abstaining]
        else:
            voting = list(self._election.replies)
        return LeaderState(
            ballot=self._election.leader,
            voting=sorted(voting),
            abstaining=dict(sorted(self._abstaining.items())),
        )

    def _announce(self) -> list[Effect]:
        state = self._leader_state()
        if state == self._announced:
            return []
        self._announced = state
        return [Send(to=tuple(sorted(self._gateways)), message=state)] if self._gateways else []

    def _on_abstain(self, sender: NodeId, message: Abstain) -> list[Effect]:
        if self._abstaining.get(sender) == message.reason:
            return []
        self._abstaining[sender] = message.reason
        return [
            Trace(
                what="acceptor_abstains",
                text=f"{sender} does not vote: {message.reason}",
                level=Level.WARNING,
                glyph="<",
                fields={"acceptor": sender},
            ),
            *self._announce(),
        ]

    # ------------------------------------------------------------ proposing

    def _on_submit(self, sender: NodeId, message: Submit) -> list[Effect]:
        if not self._in_office:
            return [
                Send(
                    to=(sender,),
                    message=NotLeader(
                        stream=message.stream,
                        sequence=message.sequence,
                        ballot=self._election.leader,
                    ),
                )
            ]
        # Within one stream and attempt, each sequence is proposed once and in order; a batch
        # whose predecessor got lost on the way waits for the gateway to send both again.
        known = self._streams.get(sender)
        if known is not None and known[0] == message.stream and message.attempt < known[1]:
            return []
        begun = known is not None and known[:2] == (message.stream, message.attempt)
        due = known[2] + 1 if known is not None and begun else message.head
        if message.sequence != due:
            return []
        size = self._queue_bytes + len(message.batch)
        if self._queue and size > self._limits.leader_queue_bytes_max:
            return []
        self._streams[sender] = (message.stream, message.attempt, message.sequence)
        self._queue.append((message.batch, message.learner))
        self._queue_bytes += len(message.batch)
        return []

    def _propose_queued(self, now_ms: float) -> list[Effect]:
        """Give the waiting batches slots, as far as the window is open. Batches that waited
        together share a slot.
        """
        if self.phase is not Phase.LEADING:
            return []
        effects: list[Effect] = []
        queue = self._queue
        while queue and self._window_open(len(queue[0][0])):
            taken = [queue.popleft()]
            size = len(taken[0][0])
            while queue and size + len(queue[0][0]) <= self._limits.batch_bytes_max:
                taken.append(queue.popleft())
                size += len(taken[-1][0])
            self._queue_bytes -= size
            value = self._stamp([batch for batch, _ in taken], now_ms)
            relaxed = self._relaxed({learner for _, learner in taken})
            effects.extend(self._propose_next(value, now_ms, relaxed))
        return effects

    def _relaxed(self, waiting: set[NodeId | None]) -> tuple[NodeId, ...]:
        """Return who may hear of the votes for a slot later: learners whose results nobody waits
        for, and this leader itself while its window is wide open. One lone write would otherwise
        wake up every process of the cluster, most of them for nothing.
        """
        if None in waiting:
            return ()
        idle = tuple(learner for learner in self.membership.learners if learner not in waiting)
        pressed = bool(self._queue) or (
            len(self.open) * 4 >= self._limits.slots_inflight_max
            or self._open_bytes * 4 >= self._limits.slots_inflight_bytes_max
        )
        return idle if pressed else (*idle, self.node)

    def _window_open(self, size: int) -> bool:
        draining = self._changing is not None and self._changing.step is not Step.ASKING
        if draining or self.barrier:
            return False
        if not self.open:
            return True
        return (
            len(self.open) < self._limits.slots_inflight_max
            and self._open_bytes + size <= self._limits.slots_inflight_bytes_max
        )

    def _stamp(self, batches: list[bytes], now_ms: float) -> bytes:
        self._stamped_ms = max(self._stamped_ms, int(now_ms))
        return msgspec.msgpack.encode(Envelope(time_ms=self._stamped_ms, batches=batches))

    def _propose_next(
        self, value: bytes, now_ms: float, relaxed: tuple[NodeId, ...] = ()
    ) -> list[Effect]:
        slot = self.next_slot
        self.next_slot = Slot(slot + 1)
        return self._propose(slot, value, now_ms, relaxed)

    def _propose(
        self, slot: Slot, value: bytes, now_ms: float, relaxed: tuple[NodeId, ...] = ()
    ) -> list[Effect]:
        """Open a slot. In a hurry (nobody `relaxed`) every acceptor is asked at once, otherwise
        a quorum, and the others with the next ones: they write many votes with one sync.
        """
        effects: list[Effect] = []
        if not self.open:
            effects.append(SetTimer(name="resend", after_ms=self._timeouts.resend_ms))
        self.open[slot] = Open(value, now_ms)
        self._open_bytes += len(value)
        self._proposals += 1
        first, later = self._in_turn() if relaxed else (self.membership.acceptors, ())
        accept = self._accept(slot, value, relaxed)
        told = Value(ballot=self.ballot, slot=slot, value=value)
        effects.append(Send(to=first, message=accept))
        effects.append(Send(to=self.membership.learners, message=told))
        if later or self._joining:
            relaxed_to = (*later, *sorted(self._joining))
            effects.append(Send(to=relaxed_to, message=accept, relaxed=True))
        return effects

    def _in_turn(self) -> tuple[tuple[NodeId, ...], tuple[NodeId, ...]]:
        """Return a quorum of acceptors that is asked at once, if need be silent ones among them,
        and those that are asked later.
        """
        acceptors, silent = self.membership.acceptors, self._silent
        if silent:
            acceptors = tuple(sorted(acceptors, key=silent.__contains__))
        quorum = self.membership.quorum_size
        return acceptors[:quorum], acceptors[quorum:]

    def _accept(self, slot: Slot, value: bytes, relaxed: tuple[NodeId, ...] = ()) -> Accept:
        return Accept(
            ballot=self.ballot,
            slot=slot,
            value=value,
            decided=self.decided,
            relaxed=relaxed,
            epoch=self.view.epoch,
        )

    def _on_accepted(
        self, sender: NodeId, message: Accepted, now_ms: float, dice: float
    ) -> list[Effect]:
        if message.ballot != self.ballot or self.phase is not Phase.LEADING:
            return []
        slot = message.slot
        open_ = self.open.get(slot)
        if open_ is None:
            return []
        open_.votes.add(sender)
        if not self.membership.is_quorum(open_.votes):
            return []
        del self.open[slot]
        self._open_bytes -= len(open_.value)
        while self.decided + 1 < self.next_slot and self.decided + 1 not in self.open:
            self.decided = Slot(self.decided + 1)
        effects: list[Effect] = [] if self.open else [CancelTimer(name="resend")]
        change = self._barrier_change
        self._barrier_chosen |= slot == self.barrier
        if change is not None and self._barrier_chosen and self.decided >= self.barrier:
            decided = Configuration(
                epoch=change.epoch,
                slot=self.barrier,
                ballot=self.ballot,
                members=change.members,
            )
            effects += self._on_configuration(decided, now_ms, dice)
        elif not self.open and self._changing is not None:
            effects += self._go_on_changing(now_ms, ask=True)
        return effects

    def _on_resend_timer(self, now_ms: float) -> list[Effect]:
        """Send what went unanswered again, each slot after a longer wait than before."""
        if self.phase is not Phase.LEADING or not self.open:
            return []
        effects: list[Effect] = [SetTimer(name="resend", after_ms=self._timeouts.resend_ms)]
        for slot, open_ in self.open.items():
            if now_ms - open_.sent_ms < self._timeouts.resend_ms * open_.tries:
                continue
            open_.sent_ms = now_ms
            open_.tries = min(open_.tries + 1, 8)
            silent = tuple(a for a in self.membership.acceptors if a not in open_.votes)
            effects.append(Send(to=silent, message=self._accept(slot, open_.value)))
            effects.append(
                Send(
                    to=self.membership.learners,
                    message=Value(ballot=self.ballot, slot=slot, value=open_.value),
                )
            )
        return effects

    # ------------------------------------------------------------ status

    def status(self) -> ProposerStatus:
        """Return an immutable snapshot."""
        state = self._leader_state()
        return ProposerStatus(
            phase=self.phase.value,
            ballot=self.ballot,
            leader=owner_of(state.ballot) if state.ballot else None,
            leader_ballot=state.ballot,
            decided=self.decided,
            next_slot=self.next_slot,
            inflight=len(self.open),
            queued=len(self._queue),
            voting=state.voting,
            abstaining=state.abstaining,
            epoch=self.view.epoch,
            elections=self._elections,
            proposals=self._proposals,
        )
