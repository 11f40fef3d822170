"""What a learner has heard an acceptor say, so that it can be held to it.

An acceptor syncs its vote before it tells it. One that comes back and holds less than it told has
lost what it synced: its volume was restored from an older copy, or its disk did not keep what it
promised to keep. Alone it cannot know (a copy is whole in itself), but the learners remember, for
as long as one of them lives, and remind it at each link. It must not vote then (DESIGN rule 8).

An acceptor is reminded of what it told in its *earlier* lives, and holds that against what its
volume held when this life began: what it has voted since covers no hole.
"""

from __future__ import annotations

from .effects import Effect, Send
from .messages import Accepted, Reminder
from .types import NO_BALLOT, NO_SLOT, Ballot, NodeId, Slot

_NOTHING = (NO_SLOT, NO_BALLOT)


class Witness:
    """The highest slot and the highest ballot that each acceptor has told a vote for."""

    def __init__(self) -> None:
        self._heard: dict[NodeId, tuple[Slot, Ballot]] = {}
        self._before: dict[NodeId, tuple[Slot, Ballot]] = {}
        self._lives: dict[NodeId, int] = {}

    def heard(self, acceptor: NodeId, vote: Accepted) -> None:
        """Remember a vote."""
        slot, ballot = self._heard.get(acceptor, _NOTHING)
        if vote.slot > slot or vote.ballot > ballot:
            self._heard[acceptor] = max(vote.slot, slot), max(vote.ballot, ballot)

    def remind(self, acceptor: NodeId, incarnation: int) -> list[Effect]:
        """Remind an acceptor, whose link stands anew, of what it said in the lives before this
        one, if it said anything.
        """
        if self._lives.get(acceptor) != incarnation:
            self._lives[acceptor] = incarnation
            self._before[acceptor] = self._heard.get(acceptor, _NOTHING)
        slot, ballot = self._before[acceptor]
        if not slot:
            return []
        return [Send(to=(acceptor,), message=Reminder(slot=slot, ballot=ballot))]
