"""A node with its history: what the search moves, six of them to a state.

Nodes that are alike but have sent different messages, or have different tries left, are different
cells. Each is checked once, when it first appears (`Cells.faults`), and knows what it has sent to
each other node, so that the search never opens a message.
"""

from __future__ import annotations

import msgspec

from paxos.core.types import Ballot, NodeId, Role, Slot, role_of

from . import checks
from .nodes import Nodes, Permutation


class Cell(msgspec.Struct, frozen=True):
    """A node and its history: what it has sent, what it has left to do (candidacies, calls for
    help), the highest ballot that its earlier lives used.
    """

    node: int
    sent: int
    left: int
    used: Ballot


class Cells:
    """The cells of one world, by number."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.known: list[Cell] = []
        self.faults: list[str | None] = []
        self.votes: list[frozenset[checks.Place]] = []
        self.proposed: list[dict[checks.Place, bytes]] = []
        self.decided: list[Slot] = []
        self.marks: list[int] = []
        self._bounds = nodes.bounds
        self._names = nodes.names
        self._numbers: dict[tuple[str, Cell], int] = {}
        self._owners: list[NodeId] = []
        self.to: list[tuple[int, ...]] = []
        self._mark_numbers: dict[object, int] = {}
        self._renamed: dict[tuple[int, Permutation], int] = {}
        self._mentions: dict[int, bool] = {}
        count = len(nodes.acceptors)
        self._swaps = tuple(
            tuple({i: i + 1, i + 1: i}.get(place, place) for place in range(count))
            for i in range(count - 1)
        )

    # ------------------------------------------------------------ cells

    def first(self, name: NodeId) -> int:
        """Return a node's cell as the world begins."""
        left = 0
        if role_of(name) is Role.PROPOSER:
            left = self._bounds.candidacies[self._names.index(name) - len(self.nodes.acceptors)]
        elif role_of(name) is Role.LEARNER:
            left = self._bounds.stuck
        return self.enter(name, Cell(self.nodes.first(name), 0, left, Ballot(0)))

    def enter(self, name: NodeId, cell: Cell) -> int:
        """Return the number of a cell."""
        alike = self._bounds.symmetric and role_of(name) is Role.ACCEPTOR
        key = ("acceptor" if alike else name, cell)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.known)
            self._add(name, cell)
        return number

    def _add(self, name: NodeId, cell: Cell) -> None:
        mail = self.nodes.mail
        told = mail.among(cell.sent)
        live = self.nodes.body(cell.node)
        values, fault = checks.proposals(told)
        fault = fault or checks.acceptor_fault(live, told)
        self.known.append(cell)
        self._owners.append(name)
        self.faults.append(fault)
        self.votes.append(checks.votes_of(told))
        self.proposed.append(values)
        self.to.append(tuple(cell.sent & mail.addressed[other] for other in self._names))
        self.decided.append(checks.decided(live, told))
        applied = self.nodes.applied(cell.node)
        mark = (self.votes[-1], tuple(sorted(values.items())), self.decided[-1], applied)
        self.marks.append(self._mark_numbers.setdefault(mark, len(self._mark_numbers)))

    # ------------------------------------------------------------ renaming acceptors

    def mentions(self, cell: int) -> bool:
        """Tell whether renaming acceptors makes a difference to a cell."""
        known = self._mentions.get(cell)
        if known is None:
            known = any(self.renamed(cell, swap) != cell for swap in self._swaps)
            self._mentions[cell] = known
        return known

    def renamed(self, cell: int, permutation: Permutation) -> int:
        """Return a cell with the acceptors renamed."""
        key = (cell, permutation)
        new = self._renamed.get(key)
        if new is None:
            old, nodes = self.known[cell], self.nodes
            node = nodes.renamed(old.node, permutation)
            sent = nodes.mail.renamed(old.sent, nodes.names_under(permutation))
            renamed = Cell(node, sent, old.left, old.used)
            new = self.enter(self._owners[cell], renamed)
            self._renamed[key] = new
        return new
