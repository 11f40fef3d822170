"""What a learner has heard an acceptor say, so that it can be held to it.

An acceptor syncs its vote before it tells it. One that comes back and holds less than it told has
lost what it synced: its volume was restored from an older copy, or its disk did not keep what it
promised to keep. Alone it cannot know (a copy is whole in itself), but the learners remember, for
as long as one of them lives, and remind it at each link. It must not vote then (DESIGN rule 8).
"""

from __future__ import annotations

from .effects import Effect, Send
from .messages import Accepted, Reminder
from .types import NO_BALLOT, Ballot, NodeId, Slot


class Witness:
    """The highest slot and the highest ballot that each acceptor has told a vote for."""

    def __init__(self) -> None:
        self._slots: dict[NodeId, Slot] = {}
        self._ballots: dict[NodeId, Ballot] = {}

    def heard(self, acceptor: NodeId, vote: Accepted) -> None:
        """Remember a vote."""
        if vote.slot > self._slots.get(acceptor, 0):
            self._slots[acceptor] = vote.slot
        if vote.ballot > self._ballots.get(acceptor, 0):
            self._ballots[acceptor] = vote.ballot

    def remind(self, acceptor: NodeId) -> list[Effect]:
        """Remind an acceptor, whose link stands anew, of what it said, if it said anything."""
        slot = self._slots.get(acceptor)
        if slot is None:
            return []
        ballot = self._ballots.get(acceptor, NO_BALLOT)
        return [Send(to=(acceptor,), message=Reminder(slot=slot, ballot=ballot))]
