"""Breadth-first through every state of a small world.

A state is one number for each node (its cell: what it is and what it has sent) and the faults that
are left to happen. Breadth is counted in single steps of nodes, so the first violation that is met
is one of the shortest. Of states that differ only by a renaming of the acceptors, one is kept
(`_canonical`). The two proposers are never exchanged: their numbers order their ballots.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import permutations, product
from typing import TypeAlias

import msgspec

from . import checks
from .bounds import Bounds
from .cells import Cells
from .learning import Learning
from .moves import Move, Moves, Path
from .nodes import Nodes

State: TypeAlias = tuple[int, ...]
"""The cells of acceptors, proposers and learner, and then crashes, losses and damages left."""

PROGRESS_STATES = 2_000
"""So many states are looked at between two reports of progress."""


class Progress(msgspec.Struct, frozen=True):
    """How far a search is. `depth` in steps; `waiting` states are known and not looked at yet."""

    states: int
    depth: int
    waiting: int


class Violation(msgspec.Struct, frozen=True):
    """A rule that does not hold, and the moves that lead there: each the place of a node, and its
    steps.
    """

    what: str
    moves: tuple[tuple[int, Path], ...]

    @property
    def steps(self) -> int:
        """The length of the counter-example."""
        return sum(len(path) for _, path in self.moves)


class Result(msgspec.Struct, frozen=True):
    """What a search found. `feats` counts the states in which each of `checks.FEATS` is so.
    Complete: every state within the bounds was looked at.
    """

    world: str
    states: int
    moves: int
    depth: int
    complete: bool
    feats: dict[str, int]
    runs: int
    violation: Violation | None

    @property
    def idle(self) -> bool:
        """Whether everything was looked at, and nothing is ever chosen."""
        return self.complete and not self.feats[checks.CHOSEN]


class Explorer:
    """One search of one world. Not `reduced`: every silent step is a move, and every state is
    kept, renamed or not: slow, for comparison.
    """

    def __init__(self, bounds: Bounds, *, reduced: bool = True) -> None:
        self.bounds = bounds
        self.nodes = Nodes(bounds)
        self.cells = Cells(self.nodes)
        self.moves = Moves(self.cells, reduced=reduced)
        self.rows: list[State] = []
        self._count = len(self.nodes.names)
        self._permutations = tuple(permutations(range(len(self.nodes.acceptors))))
        sink = not {"AskVotes", "AskValues", "Unstick"} & set(bounds.delivered)
        self._cut_short = False
        self._movers = self._count - 1 if reduced and sink else self._count
        most = (bounds.crashes, bounds.losses, bounds.damages)
        every = list(product(*(range(count + 1) for count in most)))
        self._budgets = {
            budget: tuple(
                other
                for other in every
                if other != budget and all(a >= b for a, b in zip(other, budget, strict=True))
            )
            for budget in every
        }
        self._symmetric = reduced and bounds.symmetric
        self._acceptors = len(self.nodes.acceptors)
        self._quorum = self._acceptors // 2 + 1
        self._numbers: dict[State, int] = {}
        self._depths = array("H")
        self._parents = array("q")
        self._buckets: list[list[int]] = []
        self._broken: list[_Broken] = []
        self._judged: dict[State, _Verdict] = {}
        self._tally: dict[State, int] = {}
        self._made = 0

    @property
    def first(self) -> State:
        """The state in which the world begins."""
        bounds = self.bounds
        cells = (self.cells.first(name) for name in self.nodes.names)
        return (*cells, bounds.crashes, bounds.losses, bounds.damages)

    # ------------------------------------------------------------ searching

    def run(
        self, states_max: int | None = None, report: Callable[[Progress], None] | None = None
    ) -> Result:
        """Look at every state, or at no more than `states_max`, until a rule does not hold."""
        self._meet(self._canonical(self.first), 0, -1)
        depth = looked = 0
        while depth < len(self._buckets):
            for number in self._buckets[depth]:
                if number < 0:
                    return self._result(depth, self._counter_example(self._broken[-number - 1]))
                if self._depths[number] != depth:
                    continue  # it was met again, sooner
                if states_max is not None and len(self.rows) >= states_max:
                    return self._result(depth, None, complete=False)
                self._look(number, depth)
                looked += 1
                if report is not None and looked % PROGRESS_STATES == 0:
                    report(Progress(len(self.rows), depth, len(self.rows) - looked))
            self._buckets[depth] = []
            depth += 1
        broken = self._learn() if self.moves.reduced else None
        if broken is not None:
            return self._result(broken.depth, self._counter_example(broken))
        complete = not (self.moves.cut_short or self._cut_short)
        return self._result(depth - 1, None, complete=complete)

    def _look(self, number: int, depth: int) -> None:
        """Make every move from a state."""
        row = self.rows[number]
        budget = self._budget(row)
        for place in range(self._movers):
            for move in self.moves.of(place, row, budget):
                self._made += 1
                then = depth + len(move.path)
                if move.fault is not None:
                    self._broke(_Broken(move.fault, number, None, then), then)
                else:
                    self._meet(self._canonical(self.moved(row, place, move)), then, number)

    def _meet(self, state: State, depth: int, parent: int) -> None:
        """Note a state that can be reached in so many steps."""
        number = self._numbers.get(state)
        if number is None:
            if self._dominated(state, depth):
                return
            verdict = self._judge(state)
            if verdict.fault is not None:
                self._broke(_Broken(verdict.fault, parent, state, depth), depth)
                return
            number = self._numbers[state] = len(self.rows)
            self.rows.append(state)
            self._depths.append(depth)
            self._parents.append(parent)
        elif depth < self._depths[number]:
            self._depths[number] = depth
            self._parents[number] = parent
        else:
            return
        self._bucket(depth).append(number)

    def _dominated(self, state: State, depth: int) -> bool:
        """Tell whether the same cells were met as soon, with more faults left to happen: then
        whatever can happen from here can happen from there.
        """
        row, budget = state[: self._count], state[self._count :]
        for other in self._budgets[budget]:
            number = self._numbers.get(row + other)
            if number is not None and self._depths[number] <= depth:
                return True
        return False

    def _broke(self, broken: _Broken, depth: int) -> None:
        self._broken.append(broken)
        self._bucket(depth).append(-len(self._broken))

    def _bucket(self, depth: int) -> list[int]:
        while len(self._buckets) <= depth:
            self._buckets.append([])
        return self._buckets[depth]

    def _judge(self, state: State) -> _Verdict:
        """Say what is wrong with a state, if anything is; tally its feats."""
        row = state[: self._count]
        for cell in row:
            fault = self.cells.faults[cell]
            if fault is not None:
                return _Verdict(fault)
        marks = self.cells.marks
        key = tuple([marks[cell] for cell in row])
        verdict = self._judged.get(key)
        if verdict is None:
            learner = self.cells.known[row[-1]].node
            verdict = self._judged[key] = self._judgement(row, self.nodes.applied(learner))
        if verdict.fault is None:
            self._tally[key] = self._tally.get(key, 0) + 1
        return verdict

    def _judgement(self, row: State, applied: tuple[bytes, ...]) -> _Verdict:
        cells, last = self.cells, self._count - 1
        proposed: dict[checks.Place, bytes] = {}
        for cell in row[self._acceptors : last]:
            proposed.update(cells.proposed[cell])
        votes = [cells.votes[cell] for cell in row[: self._acceptors]]
        decided = max(cells.decided[cell] for cell in row)
        return _Verdict(*checks.judged(votes, proposed, applied, decided, self._quorum))

    # ------------------------------------------------------------ the learner, apart

    def _learn(self) -> _Broken | None:
        """Play to the learner what it may hear; return the soonest violation, if there is one."""
        sent: dict[tuple[int, ...], tuple[int, int, State]] = {}
        for number, state in enumerate(self.rows):
            inbox, depth = self._heard(state), self._depths[number]
            if inbox not in sent or depth < sent[inbox][1]:
                sent[inbox] = (number, depth, state[: self._count])
        learning = Learning(self.nodes, self.bounds.heard_max, sent, self._wrong_to_apply)
        found = learning.search()
        self._cut_short |= learning.cut_short
        if found is None:
            return None
        return _Broken(found.what, found.state, None, found.depth, found.path)

    def _wrong_to_apply(self, row: State, applied: tuple[bytes, ...]) -> str | None:
        return self._judgement(row, applied).fault

    def _heard(self, state: State) -> tuple[int, ...]:
        """Return what was sent to the learner."""
        last = self._count - 1
        return tuple([self.cells.to[cell][last] for cell in state[:last]])

    def _result(self, depth: int, violation: Violation | None, complete: bool = False) -> Result:
        feats = dict.fromkeys(checks.FEATS, 0)
        for key, count in self._tally.items():
            for feat in self._judged[key].feats:
                feats[feat] += count
        return Result(
            self.bounds.name,
            len(self.rows),
            self._made,
            depth,
            complete,
            feats,
            self.nodes.runs,
            violation,
        )

    # ------------------------------------------------------------ renaming acceptors

    def _canonical(self, state: State) -> State:
        """Return the one state that stands for all that differ by a renaming of the acceptors:
        acceptors in the order of their cells, and, where that leaves a choice, the least rest.
        """
        if not self._symmetric:
            return state
        count, acceptors = self._count, self._acceptors
        heads, rest = state[:acceptors], state[acceptors:count]
        mentions, renamed = self.cells.mentions, self.cells.renamed
        ordered = tuple(sorted(heads))
        if not any([mentions(cell) for cell in rest]):
            return ordered + state[acceptors:]
        best: State | None = None
        for permutation in self._permutations:
            if heads == tuple([ordered[place] for place in permutation]):
                other = tuple([renamed(cell, permutation) for cell in rest])
                if best is None or other < best:
                    best = other
        if best is None:
            raise LookupError("no permutation puts the acceptors in order")
        return ordered + best + state[count:]

    def moved(self, row: State, place: int, move: Move) -> State:
        """Return the state after a move, every acceptor having said what it can."""
        cells = [*row[:place], move.cell, *row[place + 1 : self._count]]
        budget = row[self._count :]
        if move.crashes or move.losses or move.damages:
            crashes, losses, damages = self._budget(row)
            budget = (crashes - move.crashes, losses - move.losses, damages - move.damages)
        if self.moves.reduced and (place >= self._acceptors or not self.bounds.symmetric):
            self._settle(cells)
        return (*cells, *budget)

    def _settle(self, cells: list[int]) -> None:
        """Let every acceptor say what it can; where they hear one another, as often as it takes."""
        changed = True
        while changed:
            changed = False
            for place in range(self._acceptors):
                cell = self.moves.settled(place, cells)
                changed |= cell != cells[place] and not self.bounds.symmetric
                cells[place] = cell

    def _budget(self, state: State) -> tuple[int, int, int]:
        """Return the faults that are left to happen."""
        crashes, losses, damages = state[self._count :]
        return crashes, losses, damages

    # ------------------------------------------------------------ counter-examples

    def _counter_example(self, broken: _Broken) -> Violation:
        """Walk from the first state to a violation, with every acceptor under its own name."""
        chain: list[tuple[int, State | None]] = []
        if not broken.learning:
            chain.append((broken.depth, broken.state))
        number = broken.parent
        while number > 0:
            chain.append((self._depths[number], self.rows[number]))
            number = self._parents[number]
        row, depth = self.first, 0
        moves: list[tuple[int, Path]] = []
        for then, target in reversed(chain):
            place, move = self._way(row, target, then - depth)
            moves.append((place, move.path))
            row, depth = self.moved(row, place, move), then
        if broken.learning:
            moves.append((self._count - 1, broken.learning))
        return Violation(broken.what, tuple(moves))

    def _way(self, row: State, target: State | None, length: int) -> tuple[int, Move]:
        """Return the move from a state to another, or to a fault."""
        for place in range(self._movers):
            for move in self.moves.of(place, row, self._budget(row)):
                if len(move.path) != length or (move.fault is None) != (target is not None):
                    continue
                if target is None or self._canonical(self.moved(row, place, move)) == target:
                    return place, move
        raise LookupError("a state that was reached cannot be reached")


class _Broken(msgspec.Struct, frozen=True):
    """A violation as it was met: in a state, or, without one, in a move from `parent`."""

    what: str
    parent: int
    state: State | None
    depth: int
    learning: Path = ()


class _Verdict(msgspec.Struct, frozen=True):
    """What is wrong with a state, if anything is, and its feats."""

    fault: str | None
    feats: frozenset[str] = frozenset()
