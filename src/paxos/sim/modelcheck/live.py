"""The nodes of a small world, alive: the real roles, run through the real stepper.

Every event of the search ends here, at `Stepper.step` and `Stepper.release`, with the real
journal in memory, and a crash is the real recovery: a new role from what the journal still has.

Time and dice are constant, but for this: when a timer fires or a canvass arrives, it is long
after everything else. So a leader is always suspected when a timer says so, and acceptors always
follow a candidate. Clocks may be wrong in any way without breaking safety (rule 12); which timer
fires when is a choice of the search.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import product
from typing import Any, TypeAlias, TypeVar, assert_never

from paxos.core.acceptor import Acceptor
from paxos.core.effects import (
    CancelTimer,
    Connected,
    Disconnected,
    Effect,
    Received,
    Send,
    SetTimer,
    Stamped,
    Start,
    TimerFired,
)
from paxos.core.effects import Event as RoleEvent
from paxos.core.errors import InvariantViolation
from paxos.core.learner import Learner
from paxos.core.messages import Canvass, CanvassReply, Nack, Outcome, Promise, Submit, Unstick
from paxos.core.office import Phase
from paxos.core.proposer import Proposer
from paxos.core.quorum import Membership
from paxos.core.settings import Settings
from paxos.core.snapshotting import Restoring
from paxos.core.stepper import Stepper
from paxos.core.types import Ballot, NodeId, Role, Slot, counter_of, node_id, role_of
from paxos.storage.memory import MemoryJournal

from .bounds import Bounds
from .copying import copied
from .events import Crash, Deliver, Event, Fire, GiveUp, Link, Offer, Stand, Turn
from .mail import Mail

CLUSTER = "c1"
CLIENT = node_id(Role.CLIENT, 1)
EARLY_MS = 1_000.0
LATE_MS = 1_000_000.0
DICE = 0.5

PATIENCE_MAX = 20
"""What has not changed a node after firing so often never will."""


M = TypeVar("M")


class Recorder:
    """A learner's state machine that keeps what was applied, and nothing else."""

    def __init__(self) -> None:
        self.applied = Slot(0)
        self.revision = 0
        self.now_ms = 0
        self.values: list[bytes] = []

    @property
    def next_deadline_ms(self) -> int | None:
        """Nothing expires."""
        return None

    def apply(self, slot: Slot, value: bytes) -> list[tuple[NodeId, Outcome]]:
        """Keep the next slot's value. Raises InvariantViolation when it is not the next."""
        if slot != self.applied + 1:
            raise InvariantViolation(f"applied slot {slot} after slot {self.applied}")
        self.applied = slot
        self.revision += 1
        self.values.append(value)
        return []

    def read(self, commands: list[Any], wall_ms: int) -> list[Any]:
        """Answer nothing: nobody reads in a small world."""
        return []

    def results(self, gateway: NodeId, session: Slot, after: int) -> list[Outcome]:
        """Keep no results."""
        return []

    def opened(self, gateway: NodeId, nonce: int) -> None:
        """Open no sessions."""
        return None

    def restoring(self) -> Restoring:
        """Refuse: nobody takes snapshots in a small world."""
        raise InvariantViolation("a snapshot was asked for")

    def adopt(self, restoring: Restoring) -> None:
        """Refuse: nobody takes snapshots in a small world."""
        raise InvariantViolation("a snapshot was adopted")

    def status(self) -> int:
        """Return how much was applied."""
        return self.revision


class Clock:
    """The constant time, and the later one."""

    def __init__(self) -> None:
        self.now_ms = EARLY_MS

    def __call__(self) -> float:
        """Return the time, in milliseconds."""
        return self.now_ms


class Live:
    """One running node: its stepper (role, watcher), its journal, the timers that are set."""

    __slots__ = ("journal", "name", "stepper", "timers")

    def __init__(self, name: NodeId, stepper: Stepper, journal: MemoryJournal) -> None:
        self.name = name
        self.stepper = stepper
        self.journal = journal
        self.timers: set[str] = set()

    @property
    def role(self) -> Any:
        """The role itself."""
        return self.stepper.role


class Workshop:
    """Makes, copies, runs and crashes the nodes of one world."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.membership = Membership(
            acceptors=_named(Role.ACCEPTOR, bounds.acceptors),
            proposers=_named(Role.PROPOSER, len(bounds.candidacies)),
            learners=_named(Role.LEARNER, 1),
            gateways=(CLIENT,),
            discovery=node_id(Role.DISCOVERY),
        )
        self.settings = Settings(limits=bounds.limits)
        self.names = (
            *self.membership.acceptors,
            *self.membership.proposers,
            *self.membership.learners,
        )
        self.mail = Mail(self.names, self.membership.acceptors, frozenset(bounds.delivered))
        self._clock = Clock()
        self._timers = {"election"}
        if bounds.gives_up:
            self._timers |= {"prepare", "heartbeat"}
        if bounds.beats:
            self._timers |= {"heartbeat"}
        if bounds.stuck:
            self._timers |= {"gap"}
        self._shared = (self._clock,)

    # ------------------------------------------------------------ lives

    def founded(self, name: NodeId) -> Live:
        """Return a node of a cluster that is founded, on a volume that holds its stamp alone."""
        journal = MemoryJournal()
        journal.append(
            Stamped(cluster=CLUSTER, node=name, phase="open", acceptors=self.membership.acceptors)
        )
        journal.sync()
        return self.started(name, journal.crash())[0]

    def started(self, name: NodeId, journal: MemoryJournal) -> tuple[Live, int]:
        """Start a node on a journal. Returns it, and what it sends at once."""
        membership, settings, found = self.membership, self.settings, journal.recovered
        role: Acceptor | Proposer | Learner
        match role_of(name):
            case Role.ACCEPTOR:
                role = Acceptor(name, membership, settings, journal, found)
            case Role.PROPOSER:
                role = Proposer(name, membership, settings, found)
            case _:
                role = Learner(name, membership, settings, Recorder(), found)
        stepper = Stepper(role, journal, self._clock, _dice)
        live = Live(name, stepper, journal)
        sent = self.mail.posted(self._feed(live, Start()))
        if not isinstance(role, Acceptor):
            for acceptor in membership.acceptors:
                link = Connected(peer=acceptor, cluster=CLUSTER)
                sent |= self.mail.posted(self._feed(live, link))
        return live, sent

    def copy(self, live: Live) -> Live:
        """Return an independent copy of a node, with all that it holds."""
        return copied(live, self._shared)

    # ------------------------------------------------------------ running

    def run(self, live: Live, event: Event) -> int:
        """Let a node handle an event. Returns what it sent. Raises what its role raises."""
        sent = 0
        if isinstance(event, Turn):
            self._take_turn(live, event)
            return self.mail.posted(self._release(live))
        script = self._script(live, event)
        step = next(script, None)
        while step is not None:
            effects = self._feed(live, step)
            self._check_said(live, effects)
            sent |= self.mail.posted(effects)
            step = _next(script, effects)
        self._check_heeded(live, event)
        return sent

    def crashed_in(self, live: Live, event: Event, crash: Crash) -> MemoryJournal | None:
        """Let a node crash while it handles an event, at the first step that writes. Returns its
        journal as the next life finds it; None when nothing is written, or less than was kept.
        """
        if isinstance(event, Turn):
            self._take_turn(live, event)
            return self._cut_short(live, crash)
        script = self._script(live, event)
        step = next(script, None)
        while step is not None:
            before = live.journal.unsynced
            self._step(live, step)
            if live.journal.unsynced > before:
                return self._cut_short(live, crash)
            step = _next(script, self._release(live))
        return None

    def _take_turn(self, live: Live, turn: Turn) -> None:
        for event in (turn.first, turn.second):
            message = self.mail.messages[event.item]
            self._step(live, Received(sender=event.sender, message=message))

    def _cut_short(self, live: Live, crash: Crash) -> MemoryJournal | None:
        """Crash a node that has stepped and not released."""
        if crash.when == "synced":
            live.stepper.release()
        kept = crash.kept
        return live.journal.crash(kept=kept) if kept <= live.journal.unsynced else None

    def journal_after(self, live: Live, crash: Crash) -> MemoryJournal | None:
        """Let a node crash between two events. Returns its journal as the next life finds it;
        None when there is less to keep than was kept.
        """
        match crash.when:
            case "lost":
                return MemoryJournal()
            case "damaged":
                return live.journal.crash(damage="a checksum does not match")
            case _ if crash.kept > live.journal.unsynced:
                return None
            case _:
                return live.journal.crash(kept=crash.kept)

    def _feed(self, live: Live, step: RoleEvent) -> list[Effect]:
        self._step(live, step)
        return self._release(live)

    def _release(self, live: Live) -> list[Effect]:
        effects = live.stepper.release()
        self._set_timers(live, effects)
        return effects

    def _step(self, live: Live, step: RoleEvent) -> None:
        late = isinstance(step, TimerFired) or (
            isinstance(step, Received) and isinstance(step.message, Canvass)
        )
        self._clock.now_ms = LATE_MS if late else EARLY_MS
        if isinstance(step, TimerFired):
            live.timers.discard(step.name)
        live.stepper.step(step)

    def _set_timers(self, live: Live, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SetTimer) and effect.name in self._timers:
                live.timers.add(effect.name)
            elif isinstance(effect, CancelTimer):
                live.timers.discard(effect.name)

    def _script(self, live: Live, event: Event) -> Script:
        """Yield the steps of an event; each is answered with the effects that it released."""
        match event:
            case Deliver(sender=sender, item=item):
                yield Received(sender=sender, message=self.mail.messages[item])
            case Offer(ballot=ballot, sequence=sequence):
                yield Received(sender=CLIENT, message=_submit(ballot, sequence))
            case Fire(timer=timer):
                yield TimerFired(name=timer)
            case GiveUp(timer=timer):
                for _ in range(PATIENCE_MAX):
                    effects = yield TimerFired(name=timer)
                    if timer not in live.timers or _sent(effects, Unstick):
                        return
            case Stand(replies=replies):
                effects = yield TimerFired(name="election")
                for canvass in _sent(effects, Canvass):
                    for reply in replies:
                        if live.role.phase is not Phase.CANVASSING:
                            return
                        answer = CanvassReply(
                            round=canvass.round,
                            promised=reply.promised,
                            leader=reply.leader,
                            decided=reply.decided,
                        )
                        yield Received(sender=reply.acceptor, message=answer)
            case Link(peer=peer, opens=opens):
                yield Connected(peer=peer, cluster=CLUSTER) if opens else Disconnected(peer=peer)
            case Turn():
                raise TypeError("a turn is no script: its steps are released together")
            case _:
                assert_never(event)

    def _check_said(self, live: Live, effects: list[Effect]) -> None:
        """An acceptor promises what it now holds to, and no less."""
        if isinstance(live.role, Acceptor):
            for promise in _sent(effects, Promise):
                if promise.ballot != live.role.promised:
                    what = f"a promise of ballot {promise.ballot} by one that promised another"
                    raise InvariantViolation(what)

    def _check_heeded(self, live: Live, event: Event) -> None:
        """A nack ends a candidacy and a leadership, and the next ballot is above what it names."""
        if not isinstance(event, Deliver) or not isinstance(live.role, Proposer):
            return
        message = self.mail.messages[event.item]
        if not isinstance(message, Nack):
            return
        role = live.role
        busy = role.phase in (Phase.PREPARING, Phase.LEADING)
        if busy and role.ballot == message.ballot:
            what = f"{live.name} goes on with ballot {message.ballot} after a nack"
            raise InvariantViolation(what)
        if role.counter < counter_of(message.promised):
            what = f"{live.name} would stand below ballot {message.promised}, which a nack named"
            raise InvariantViolation(what)

    # ------------------------------------------------------------ what may happen next

    def choices(self, live: Live) -> tuple[Event, ...]:
        """Return the events that a node is ready for without any message from another node. A
        canvass that is answered at once is not among them: see `may_stand`.
        """
        bounds, role = self.bounds, live.role
        events: list[Event] = []
        if isinstance(role, Acceptor):
            return ()
        if bounds.links:
            links = product(self.membership.acceptors, (True, False))
            events.extend(Link(acceptor, opens) for acceptor, opens in links)
        if isinstance(role, Learner):
            return (*events, GiveUp("gap")) if "gap" in live.timers else tuple(events)
        if role.phase is Phase.LEADING:
            stream, _, given = role._streams.get(CLIENT, (0, 0, 0))
            sequence = given + 1 if stream == role.ballot else 1
            if sequence <= bounds.submits and role.next_slot + len(role._queue) <= bounds.slots:
                events.append(Offer(role.ballot, sequence))
        if bounds.canvass_messages and "election" in live.timers:
            events.append(Fire("election"))
            if "heartbeat" in live.timers and role._round <= bounds.beats:
                events.append(Fire("heartbeat"))
        if bounds.gives_up:
            events.extend(GiveUp(name) for name in ("heartbeat", "prepare") if name in live.timers)
        return tuple(events)

    def canvassed(self, live: Live, candidate: NodeId) -> CanvassReply | None:
        """Return an acceptor's answer to a candidate's canvass, or None when it abstains."""
        effects = self._feed(live, Received(sender=candidate, message=Canvass(round=0)))
        return next(iter(_sent(effects, CanvassReply)), None)

    def may_stand(self, live: Live) -> bool:
        """Tell whether a node may stand for election now, with a canvass answered at once."""
        proposer = isinstance(live.role, Proposer) and not self.bounds.canvass_messages
        return proposer and "election" in live.timers


Script: TypeAlias = Generator[RoleEvent, list[Effect], None]


def _next(script: Script, effects: list[Effect]) -> RoleEvent | None:
    """Answer a script with the effects of its last step; return its next step, if there is one."""
    try:
        return script.send(effects)
    except StopIteration:
        return None


def _sent(effects: list[Effect], kind: type[M]) -> list[M]:
    """Return the messages of one kind among effects."""
    sends = [effect.message for effect in effects if isinstance(effect, Send)]
    return [message for message in sends if isinstance(message, kind)]


def _submit(ballot: Ballot, sequence: int) -> Submit:
    """Return a client's batch. No two leaderships are given the same, so that a value tells by
    itself which ballot first proposed it.
    """
    batch = f"{ballot}{'abcdefgh'[sequence - 1]}".encode()
    return Submit(stream=ballot, attempt=1, head=1, sequence=sequence, batch=batch)


def _named(role: Role, count: int) -> tuple[NodeId, ...]:
    return tuple(node_id(role, number) for number in range(1, count + 1))


def _dice() -> float:
    return DICE
