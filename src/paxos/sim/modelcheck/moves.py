"""What one node can do next, given what the others have sent.

Most steps of a node are *silent*: they change what the node knows, and nobody can tell: nothing
new was sent, nothing was written, nothing was applied. A promise that does not complete a quorum is
silent, so is an acceptance that a leader counts. A silent step commutes with every step of every
other node, because messages stay in the network: whatever the others do first, it can still be
done, with the same result. It also makes no difference to what is checked: that speaks of messages,
journals and applied values. So silent steps are put off until the node's own next visible step
needs them (Lipton 1975), and a move is: some silent steps, and one visible step. Silent steps which
that visible step does not need are put off beyond it: a move is left out when its last silent step
could as well come after its visible one, with the same node and the same messages as a result. That
reordering keeps the length, so the shortest counter-example stays as short.

Every single step, silent or not, is a real step of the real code under its watcher.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations
from typing import TypeAlias

import msgspec

from paxos.core.types import NO_BALLOT, Ballot, NodeId, Role, Slot, role_of

from . import checks
from .cells import Cell, Cells
from .events import Crash, Deliver, Event, Fire, GiveUp, Reply, Stand, Turn
from .nodes import Outcome

Path: TypeAlias = tuple[tuple[int, Crash | None], ...]
"""Steps of one node: events, each with how it was cut short."""

Inbox: TypeAlias = tuple[int, ...]
"""What each of those who may send to a node has sent to it."""

SILENT_STATES_MAX = 1000
"""How many different things a node may come to know in silence. Correct code stays far below; code
that counts messages instead of acceptors would never end."""

NO_EVENT = -1
"""In a path: the node crashed between two events."""


class Move(msgspec.Struct, frozen=True, gc=False):
    """Some steps of one node, and the cell that it is then. `path` has an event and a crash for
    each. `crashes`, `losses`, `damages` are what it takes from the world's budget.
    """

    cell: int
    path: Path
    crashes: int = 0
    losses: int = 0
    damages: int = 0
    fault: str | None = None


class Moves:
    """The moves of one world. Not `reduced`: every silent step is a move of its own."""

    def __init__(self, cells: Cells, *, reduced: bool = True) -> None:
        self.cells = cells
        self.nodes = cells.nodes
        self.bounds = cells.nodes.bounds
        self.reduced = reduced
        self.searches = 0
        self._names = self.nodes.names
        self._voters = len(self.nodes.acceptors)
        self._senders = [self._senders_to(name) for name in self._names]
        self._found: dict[tuple[object, ...], tuple[Move, ...]] = {}
        self._canvasses = [
            role_of(name) is Role.PROPOSER and not self.bounds.canvass_messages
            for name in self._names
        ]
        self.cut_short = False
        self._settled: dict[tuple[int, Inbox], int] = {}
        self._deliveries: dict[tuple[int, int], tuple[int, ...]] = {}
        self._answers: dict[tuple[int, NodeId], int] = {}
        self._answers_known: list[tuple[Ballot, Ballot, Slot] | None] = []

    def _senders_to(self, name: NodeId) -> tuple[int, ...]:
        """Return the places of those whose messages may reach a node."""
        alike = self.bounds.symmetric and role_of(name) is Role.ACCEPTOR
        return tuple(
            place
            for place, other in enumerate(self._names)
            if other != name and not (alike and role_of(other) is Role.ACCEPTOR)
        )

    def of(self, place: int, row: Sequence[int], budget: tuple[int, int, int]) -> tuple[Move, ...]:
        """Return what the node at a place can do next. `row` has every node's cell; `budget` is
        how many crashes, lost volumes and damaged volumes are left.
        """
        cell, to = row[place], self.cells.to
        inbox = tuple([to[row[sender]][place] for sender in self._senders[place]])
        answers: tuple[int, ...] = ()
        if self._canvasses[place] and self.cells.known[cell].left:
            answers = tuple([self._answer(row[i], place) for i in range(self._voters)])
        key = (cell, inbox, answers, budget)
        found = self._found.get(key)
        if found is None:
            self.searches += 1
            found = self._found[key] = tuple(self._search(place, cell, inbox, answers, budget))
        return found

    def settled(self, place: int, row: Sequence[int]) -> int:
        """Return the cell of the acceptor at a place, with everything said that it could say
        without changing.
        """
        to = self.cells.to
        inbox = tuple([to[row[sender]][place] for sender in self._senders[place]])
        return self._settle(place, row[place], inbox)

    def _settle(self, place: int, number: int, inbox: Inbox) -> int:
        key = (number, inbox)
        settled = self._settled.get(key)
        if settled is None:
            cell = self.cells.known[number]
            said = 0
            for _, outcome in self.answers(place, number, inbox):
                said |= outcome.sent
            whole = Cell(cell.node, cell.sent | said, cell.left, cell.used)
            settled = self._settled[key] = self.cells.enter(self._names[place], whole)
        return settled

    def answers(self, place: int, number: int, inbox: Inbox) -> list[tuple[int, Outcome]]:
        """Return the events that make an acceptor say something new, and change nothing else."""
        cell = self.cells.known[number]
        return [
            (event, outcome)
            for event in self._delivered(place, inbox)
            if _answers(outcome := self.nodes.step(cell.node, event), cell, self.nodes.mail.votes)
        ]

    # ------------------------------------------------------------ what may happen

    def _answer(self, cell: int, place: int) -> int:
        """Return the number of what the acceptor of a cell would answer to a canvass; numbers
        are shared by acceptors that answer the same.
        """
        node, candidate = self.cells.known[cell].node, self._names[place]
        number = self._answers.get((node, candidate))
        if number is None:
            reply = self.nodes.reply(node, candidate)
            if reply not in self._answers_known:
                self._answers_known.append(reply)
            number = self._answers[node, candidate] = self._answers_known.index(reply)
        return number

    def _stands(self, answers: tuple[int, ...]) -> list[int]:
        """Return the ways to stand for election: one for each quorum that would answer."""
        willing = [
            Reply(name, *known)
            for name, answer in zip(self.nodes.acceptors, answers, strict=False)
            if (known := self._answers_known[answer]) is not None
        ]
        quorum = self._voters // 2 + 1
        return [self.nodes.event(Stand(replies)) for replies in combinations(willing, quorum)]

    def _delivered(self, place: int, inbox: Inbox) -> list[int]:
        """Return the deliveries of everything in an inbox."""
        events: list[int] = []
        for sender, items in zip(self._senders[place], inbox, strict=True):
            key = (sender, items)
            if key not in self._deliveries:
                self._deliveries[key] = tuple(
                    self.nodes.event(Deliver(self._names[sender], item))
                    for item in self.nodes.mail.listed(items)
                )
            events.extend(self._deliveries[key])
        return events

    def _turns(self, deliveries: list[int]) -> list[int]:
        """Return the ways to handle two messages in one turn."""
        events = [self.nodes.events[event] for event in deliveries]
        return [
            self.nodes.event(Turn(first, second))
            for first, second in permutations(events, 2)
            if isinstance(first, Deliver) and isinstance(second, Deliver)
        ]

    def _own(self, node: int, left: int, stands: list[int]) -> list[int]:
        """Return the events that a node needs nobody for. Without any try left, it need not lose
        patience: it would only fall silent, and it may do that anyway.
        """
        known = self.nodes.known[node]
        events = [
            event for event in known.choices if left or not _takes_try(self.nodes.events[event])
        ]
        return [*events, *stands] if left and known.may_stand else events

    # ------------------------------------------------------------ searching

    def _search(
        self,
        place: int,
        number: int,
        inbox: Inbox,
        answers: tuple[int, ...],
        budget: tuple[int, int, int],
    ) -> list[Move]:
        """Find the moves of a cell: breadth-first through what it may come to know in silence."""
        cell = self.cells.known[number]
        deliveries, stands = self._delivered(place, inbox), self._stands(answers)
        turns = self._turns(deliveries) if self.bounds.turns and place < self._voters else []
        found = _Found(self, place, number, inbox, budget)
        came: dict[int, tuple[int, int] | None] = {cell.node: None}
        order = [cell.node]
        learner = self.reduced and role_of(self._names[place]) is Role.LEARNER
        found.crash(cell.node, None, ())
        for node in order:
            before = came[node]
            path = self._path(came, node)
            for event in [*deliveries, *turns, *self._own(node, cell.left, stands)]:
                outcome = self.nodes.step(node, event)
                if found.faulty(outcome, event, path):
                    continue
                if found.settles and _answers(outcome, cell, self.nodes.mail.votes):
                    continue
                if self._silent(outcome, event, cell.sent):
                    if not self.reduced:
                        found.add(outcome, event, path)
                    elif learner and len(path) >= self.bounds.heard_before_call:
                        continue
                    elif len(order) == SILENT_STATES_MAX:
                        self.cut_short = True
                    elif outcome.node not in came:
                        came[outcome.node] = (node, event)
                        order.append(outcome.node)
                    continue
                if before is not None and self._can_wait(before, event, outcome, cell, stands):
                    continue
                found.add(outcome, event, path)
                if outcome.wrote:
                    found.crash(node, event, path)
        return list(found.moves.values())

    def _silent(self, outcome: Outcome, event: int, sent: int) -> bool:
        """Tell whether nobody can tell that a step was made; `sent` was sent before."""
        if outcome.wrote or outcome.applied:
            return False
        new = outcome.sent & ~sent and self.nodes.mail.joined(sent, outcome.sent) != sent
        return not new and not _spends(self.nodes.events[event])

    def _can_wait(
        self, before: tuple[int, int], event: int, outcome: Outcome, cell: Cell, stands: list[int]
    ) -> bool:
        """Tell whether the silent step that led to this visible one could as well come after it.
        `before` is the silent step: where it began, and its event.
        """
        node, silent = before
        own = self.nodes.events
        if not isinstance(own[event], Deliver) and event not in self._own(node, cell.left, stands):
            return False
        sooner = self.nodes.step(node, event)
        same = (outcome.sent, outcome.wrote, outcome.applied)
        if sooner.fault or (sooner.sent, sooner.wrote, sooner.applied) != same:
            return False
        left = cell.left - _spends(own[event])
        if not isinstance(own[silent], Deliver) and silent not in self._own(sooner.node, left, []):
            return False
        later = self.nodes.step(sooner.node, silent)
        if later.fault or later.node != outcome.node:
            return False
        return self._silent(later, silent, cell.sent | sooner.sent)

    @staticmethod
    def _path(came: dict[int, tuple[int, int] | None], node: int) -> Path:
        """Return the silent steps that led to a node."""
        steps: list[tuple[int, Crash | None]] = []
        before = came[node]
        while before is not None:
            node, event = before
            steps.append((event, None))
            before = came[node]
        return tuple(reversed(steps))


class _Found:
    """The moves that were found of one cell. Of those that lead to one cell the shortest is kept,
    which comes first.
    """

    def __init__(
        self,
        moves: Moves,
        place: int,
        number: int,
        inbox: Inbox,
        budget: tuple[int, int, int],
    ) -> None:
        self.settles = moves.reduced and place < len(moves.nodes.acceptors)
        self.moves: dict[object, Move] = {}
        self._learner = moves.reduced and place == len(moves.nodes.names) - 1
        self._all, self._place, self._inbox = moves, place, inbox
        self._cells, self._nodes = moves.cells, moves.nodes
        self._name = self._nodes.names[place]
        self._number, self._cell = number, self._cells.known[number]
        self._budget = budget

    def add(self, outcome: Outcome, event: int, path: Path) -> None:
        """Keep a step that was made whole. A learner that has called for help starts again: what
        it had heard is of no more use to it, see `Learning`.
        """
        spends = _spends(self._nodes.events[event])
        node, steps = outcome.node, (*path, (event, None))
        if spends and self._learner:
            node, steps = self._nodes.first(self._name), (*steps, (NO_EVENT, Crash("idle")))
        left, used = self._cell.left - spends, self._cell.used
        sent = self._nodes.mail.joined(self._cell.sent, outcome.sent)
        cell = Cell(node, sent, left, used)
        self._keep(cell, Move(0, steps))

    def faulty(self, outcome: Outcome, event: int, path: Path) -> bool:
        """Tell whether a step broke a rule, and keep it if so."""
        fault = outcome.fault
        if fault is None and self._cell.used and outcome.sent:
            low = min(checks.ballots(self._nodes.mail.among(outcome.sent)), default=None)
            if low is not None and low <= self._cell.used:
                fault = f"{self._name} used ballot {low}, which an earlier life of it may have used"
        if fault is not None:
            move = Move(self._number, (*path, (event, None)), fault=fault)
            self.moves.setdefault(fault, move)
        return fault is not None

    def crash(self, node: int, event: int | None, path: Path) -> None:
        """Keep the crashes in the middle of an event, or, without one, between two."""
        number = NO_EVENT if event is None else event
        used = max(checks.ballots(self._nodes.mail.among(self._cell.sent)), default=NO_BALLOT)
        for crash, outcome in self._nodes.crashes(node, event):
            cost = (
                int(crash.when not in ("lost", "damaged")),
                int(crash.when == "lost"),
                int(crash.when == "damaged"),
            )
            if any(need > have for need, have in zip(cost, self._budget, strict=True)):
                continue
            steps = (*path, (number, crash))
            if outcome.fault is not None:
                move = Move(self._number, steps, *cost, fault=outcome.fault)
                self.moves.setdefault(outcome.fault, move)
                continue
            sent = self._nodes.mail.joined(self._cell.sent, outcome.sent)
            self._keep(Cell(outcome.node, sent, self._cell.left, used), Move(0, steps, *cost))

    def _keep(self, cell: Cell, move: Move) -> None:
        number = self._cells.enter(self._name, cell)
        if self.settles:
            number = self._all._settle(self._place, number, self._inbox)
        cost = (move.crashes, move.losses, move.damages)
        if number != self._number:
            move = Move(number, move.path, *cost)
            self.moves.setdefault((number, cost), move)


def _answers(outcome: Outcome, cell: Cell, votes: int) -> bool:
    """Tell whether a step says something new and changes nothing. A vote is never a mere answer:
    when it was told makes a difference to what is chosen.
    """
    new = outcome.sent & ~cell.sent
    return (
        bool(new)
        and not new & votes
        and outcome.node == cell.node
        and not outcome.wrote
        and outcome.fault is None
    )


def _spends(event: Event) -> bool:
    """Tell whether an event is one of those that a world counts."""
    match event:
        case Stand() | Fire(timer="election") | GiveUp(timer="gap"):
            return True
        case _:
            return False


def _takes_try(event: Event) -> bool:
    """Tell whether an event is of use only to a node that has a try left."""
    return _spends(event) or isinstance(event, GiveUp)
