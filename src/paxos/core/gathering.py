"""The promises for one ballot and one range of slots, as their parts come in.

Phase 1 ends here: what a quorum promised, and the one value per slot that may be proposed ("Paxos
Made Simple", section 2.2, P2c). Refuses to count an acceptor before all of its parts are there.
"""

from __future__ import annotations

from .messages import AcceptedValue, Promise
from .types import Ballot, NodeId, Slot


class Gathering:
    """Promises for one range of slots at one ballot, as their parts come in."""

    def __init__(self, ballot: Ballot, first: Slot, last: Slot) -> None:
        self.ballot = ballot
        self.first = first
        self.last = last
        self.complete: set[NodeId] = set()
        self.base = Slot(0)
        self._ends: dict[NodeId, dict[Slot, Slot]] = {}
        self._best: dict[Slot, AcceptedValue] = {}

    def add(self, sender: NodeId, promise: Promise) -> None:
        """Take a part in. An acceptor counts once its parts cover every slot that was asked."""
        if (promise.ballot, promise.first, promise.last) != (self.ballot, self.first, self.last):
            return
        self.base = max(self.base, promise.base)
        for accepted in promise.accepted:
            best = self._best.get(accepted.slot)
            if best is None or accepted.ballot > best.ballot:
                self._best[accepted.slot] = accepted
        ends = self._ends.setdefault(sender, {})
        ends[promise.begin] = promise.end
        if self._covered(ends):
            self.complete.add(sender)

    def _covered(self, ends: dict[Slot, Slot]) -> bool:
        """Tell whether parts, by where they begin and end, follow each other without a gap."""
        begin = self.first
        while begin in ends:
            end = ends[begin]
            if end == 0 or (self.last and end >= self.last):
                return True
            if end < begin:
                return False
            begin = Slot(end + 1)
        return False

    @property
    def values(self) -> dict[Slot, bytes]:
        """Per slot the value of the highest-numbered proposal among the promises: the only one
        that may be proposed there (Paxos Made Simple, P2c). Slots up to `base` are left out:
        they are decided, and an acceptor that has cut them off tells nothing of its votes.
        """
        return {slot: best.value for slot, best in self._best.items() if slot > self.base}
