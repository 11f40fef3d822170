"""Every distinct node of a small world under one number, and every step of it run only once.

What a node does is a function of what it is (role, journal, watcher, timers) and of the event. So
an event is run on a copy of the real objects the first time that it meets a node, and looked up
from then on. What a node *is* comes from `canonical`.

Acceptors are interchangeable: no role treats one unlike another. So a node that only differs by a
renaming of the acceptors from one that was run is not run again: its outcome is the other one's,
renamed (`Node.origin`). Tests compare this with nodes that are really run.
"""

from __future__ import annotations

import msgspec

from paxos.core.errors import InvariantViolation, PaxosError
from paxos.core.learner import Learner
from paxos.core.types import Ballot, NodeId, Role, Slot, role_of

from .bounds import Bounds
from .canonical import Frozen, frozen, renamed
from .events import Crash, Deliver, Event, Link, Reply, Stand, Turn
from .live import Live, Recorder, Workshop

NODE_FAULTS = (
    PaxosError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What ends a node's process when its role raises it: in here, that is a violation."""

Permutation = tuple[int, ...]
"""Where each acceptor goes: acceptor i becomes acceptor p[i], counted from 0."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What an event does to a node: what it becomes, what it sent, whether it wrote, what it has
    applied by then. With a `fault` the rest means nothing.
    """

    node: int
    sent: int
    wrote: bool = False
    applied: bool = False
    fault: str | None = None


class Node(msgspec.Struct, frozen=True):
    """One distinct node. Either `live` is there, or it is `origin`, renamed."""

    name: NodeId
    shape: Frozen
    choices: tuple[int, ...]
    may_stand: bool
    live: Live | None = None
    origin: tuple[int, Permutation] | None = None


class Nodes:
    """The nodes of one world, by number."""

    def __init__(self, bounds: Bounds) -> None:
        self.workshop = Workshop(bounds)
        self.bounds = bounds
        self.mail = self.workshop.mail
        self.names = self.workshop.names
        self.acceptors = self.workshop.membership.acceptors
        self.known: list[Node] = []
        self.runs = 0
        self.events: list[Event] = []
        self._numbers: dict[tuple[str, Frozen], int] = {}
        self._event_numbers: dict[Event, int] = {}
        self._outcomes: dict[tuple[int, int], Outcome] = {}
        self._crashes: dict[tuple[int, int], tuple[tuple[Crash, Outcome], ...]] = {}
        self._renamed: dict[tuple[int, Permutation], int] = {}

    # ------------------------------------------------------------ numbers

    def first(self, name: NodeId) -> int:
        """Return the node as the world begins."""
        return self._enter(self.workshop.founded(name))

    def event(self, event: Event) -> int:
        """Return the number of an event."""
        number = self._event_numbers.get(event)
        if number is None:
            number = self._event_numbers[event] = len(self.events)
            self.events.append(event)
        return number

    def _enter(self, live: Live) -> int:
        key = self.key_of(live)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.known)
            workshop = self.workshop
            choices = tuple(map(self.event, workshop.choices(live)))
            node = Node(live.name, key[1], choices, workshop.may_stand(live), live=live)
            self.known.append(node)
        return number

    def key_of(self, live: Live) -> tuple[str, Frozen]:
        """Return what makes a node this one and no other. Where acceptors are interchangeable,
        an acceptor's own name is no part of it.
        """
        alike = self.bounds.symmetric and role_of(live.name) is Role.ACCEPTOR
        shape = (frozen(live.stepper), frozen(live.timers))
        return "acceptor" if alike else live.name, shape

    # ------------------------------------------------------------ steps

    def step(self, node: int, event: int) -> Outcome:
        """Return what an event does to a node."""
        key = (node, event)
        outcome = self._outcomes.get(key)
        if outcome is None:
            outcome = self._outcomes[key] = self._step(node, event)
        return outcome

    def _step(self, number: int, event: int) -> Outcome:
        node = self.known[number]
        if node.live is None:
            base, there, back = self._origin(node)
            original = self.event(self._event_renamed(self.events[event], back))
            return self._outcome_renamed(self.step(base, original), there)
        self.runs += 1
        live = self.workshop.copy(node.live)
        written, applied = _written(live), applied_by(live)
        try:
            sent = self.workshop.run(live, self.events[event])
        except NODE_FAULTS as fault:
            return Outcome(number, 0, fault=described(fault))
        wrote = _written(live) != written
        return Outcome(self._enter(live), sent, wrote, applied_by(live) != applied)

    def crashes(self, node: int, event: int | None) -> tuple[tuple[Crash, Outcome], ...]:
        """Return the ways to crash in the middle of an event, or, without one, between two, and
        the node that starts again after each.
        """
        key = (node, -1 if event is None else event)
        ways = self._crashes.get(key)
        if ways is None:
            ways = self._crashes[key] = tuple(self._crash(node, event))
        return ways

    def _crash(self, number: int, event: int | None) -> list[tuple[Crash, Outcome]]:
        node = self.known[number]
        if node.live is None:
            base, there, back = self._origin(node)
            if event is not None:
                event = self.event(self._event_renamed(self.events[event], back))
            ways = self.crashes(base, event)
            return [(crash, self._outcome_renamed(outcome, there)) for crash, outcome in ways]
        found: list[tuple[Crash, Outcome]] = []
        for crash in self._moments(node, event):
            live = self.workshop.copy(node.live)
            self.runs += 1
            try:
                if event is None:
                    journal = self.workshop.journal_after(live, crash)
                else:
                    journal = self.workshop.crashed_in(live, self.events[event], crash)
                if journal is None:
                    continue
                again, sent = self.workshop.started(live.name, journal)
            except NODE_FAULTS as fault:
                found.append((crash, Outcome(number, 0, fault=described(fault))))
            else:
                found.append((crash, Outcome(self._enter(again), sent, True)))
        return found

    def _moments(self, node: Node, event: int | None) -> list[Crash]:
        if event is not None:
            kept = range(3 if isinstance(self.events[event], Turn) else 2)
            return [*(Crash("unsynced", count) for count in kept), Crash("synced")]
        moments = [Crash("idle", 0), Crash("idle", 1)]
        if role_of(node.name) is Role.ACCEPTOR:
            moments += [Crash("lost")] if self.bounds.losses else []
            moments += [Crash("damaged")] if self.bounds.damages else []
        return moments

    # ------------------------------------------------------------ canvassing

    def reply(self, number: int, candidate: NodeId) -> tuple[Ballot, Ballot, Slot] | None:
        """Return what an acceptor would answer to a canvass: its promise, the leader that it
        hears, the decided slot. None when it does not vote. One that breaks a rule by answering,
        or is changed by it, does not answer either: the world `canvass` looks at that.
        """
        live = self.workshop.copy(self._alive(number))
        try:
            reply = self.workshop.canvassed(live, candidate)
        except NODE_FAULTS:
            return None
        if reply is None or self._enter(live) != number:
            return None
        return reply.promised, reply.leader, reply.decided

    def body(self, number: int) -> Live:
        """Return the live node behind a number: this one, or the one that it is a renaming of.
        To look at, and not to run.
        """
        origin = self.known[number].origin
        return self._alive(number if origin is None else origin[0])

    def applied(self, number: int) -> tuple[bytes, ...]:
        """Return what a learner has applied."""
        return applied_by(self.body(number))

    def _alive(self, number: int) -> Live:
        live = self.known[number].live
        if live is None:
            raise LookupError(f"node {number} is another one, renamed")
        return live

    # ------------------------------------------------------------ renaming acceptors

    def names_under(self, permutation: Permutation) -> dict[str, str]:
        """Return the new name of each acceptor."""
        return {
            name: self.acceptors[place]
            for name, place in zip(self.acceptors, permutation, strict=True)
        }

    def renamed(self, number: int, permutation: Permutation) -> int:
        """Return the node that another one is when the acceptors are renamed."""
        key = (number, permutation)
        known = self._renamed.get(key)
        if known is None:
            known = self._renamed[key] = self._rename(number, permutation)
        return known

    def _rename(self, number: int, permutation: Permutation) -> int:
        node = self.known[number]
        shape = renamed(node.shape, self.names_under(permutation))
        if shape == node.shape:
            return number
        key = (node.name, shape)
        new = self._numbers.get(key)
        if new is None:
            new = self._numbers[key] = len(self.known)
            base, before = node.origin or (number, tuple(range(len(permutation))))
            origin = (base, tuple(permutation[place] for place in before))
            self.known.append(Node(node.name, shape, node.choices, node.may_stand, origin=origin))
        return new

    def _origin(self, node: Node) -> tuple[int, Permutation, Permutation]:
        """Return the node that this one is a renaming of, and the way from there, and back."""
        if node.origin is None:
            raise LookupError(f"{node.name} was neither run nor renamed")
        base, there = node.origin
        back = tuple(there.index(place) for place in range(len(there)))
        return base, there, back

    def _event_renamed(self, event: Event, permutation: Permutation) -> Event:
        names = self.names_under(permutation)
        match event:
            case Deliver(sender=sender, item=item):
                items = self.mail.renamed(1 << item, names)
                return Deliver(NodeId(names.get(sender, sender)), items.bit_length() - 1)
            case Link(peer=peer, opens=opens):
                return Link(NodeId(names.get(peer, peer)), opens)
            case Stand(replies=replies):
                moved = [
                    Reply(NodeId(names[r.acceptor]), r.promised, r.leader, r.decided)
                    for r in replies
                ]
                return Stand(tuple(sorted(moved, key=lambda reply: reply.acceptor)))
            case _:
                return event

    def _outcome_renamed(self, outcome: Outcome, permutation: Permutation) -> Outcome:
        return Outcome(
            self.renamed(outcome.node, permutation),
            self.mail.renamed(outcome.sent, self.names_under(permutation)),
            outcome.wrote,
            outcome.applied,
            outcome.fault,
        )


def described(fault: BaseException) -> str:
    """Return a fault as a sentence."""
    if isinstance(fault, InvariantViolation):
        return str(fault)
    return f"{type(fault).__name__}: {fault}"


def applied_by(live: Live) -> tuple[bytes, ...]:
    """Return what a node has applied: nothing, unless it is a learner."""
    machine = live.role.machine if isinstance(live.role, Learner) else None
    return tuple(machine.values) if isinstance(machine, Recorder) else ()


def _written(live: Live) -> tuple[int, int]:
    return live.journal.syncs, live.journal.unsynced
