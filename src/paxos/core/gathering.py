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
        self._parts: dict[NodeId, dict[int, list[AcceptedValue]]] = {}
        self._best: dict[Slot, AcceptedValue] = {}

    def add(self, sender: NodeId, promise: Promise) -> None:
        """Take a part in. An acceptor counts once all of its parts are here."""
        if (promise.ballot, promise.first, promise.last) != (self.ballot, self.first, self.last):
            return
        if sender in self.complete:
            return
        if promise.part == 0:
            # Another answer begins. What is here of an earlier one, cut short with its link, may
            # have been cut into parts elsewhere: together they could miss a vote.
            self._parts[sender] = {}
        parts = self._parts.setdefault(sender, {})
        parts[promise.part] = promise.accepted
        if len(parts) < promise.parts:
            return
        self.complete.add(sender)
        for accepted in (value for part in parts.values() for value in part):
            best = self._best.get(accepted.slot)
            if best is None or accepted.ballot > best.ballot:
                self._best[accepted.slot] = accepted

    @property
    def values(self) -> dict[Slot, bytes]:
        """Per slot the value of the highest-numbered proposal among the promises: the only one
        that may be proposed there (Paxos Made Simple, P2c).
        """
        return {slot: best.value for slot, best in self._best.items()}
