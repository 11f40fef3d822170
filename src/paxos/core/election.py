"""When to try to lead: liveness only.

Nothing in here can break safety, which rests on ballots, promises and quorums alone. The rules
(DESIGN "Election"):

- A leader is suspected when its link closes, or after `suspect_ms` of silence.
- A suspicious proposer first canvasses: would a quorum of acceptors follow it? An acceptor that
  hears from a leader says no. So a proposer that merely cannot hear the leader (a chained
  partition) or that reaches no quorum disturbs nobody, and the one proposer that reaches a quorum
  (constrained election) meets no resistance.
- Waiting times are random and grow with each failure, so that rivals part.

Anchors: the pre-vote of Ongaro's thesis (9.6), and the partial partitions of Omni-Paxos (section
2: quorum loss, constrained election, chained).
"""

from __future__ import annotations

from .messages import CanvassReply
from .quorum import Membership
from .settings import Timeouts
from .types import NO_BALLOT, Ballot, NodeId, Slot


class Election:
    """A proposer's view of who leads, and of whether it should stand itself."""

    def __init__(self, node: NodeId, membership: Membership, timeouts: Timeouts) -> None:
        self.leader = NO_BALLOT
        self.failures = 0
        self.round = 0
        self.replies: dict[NodeId, CanvassReply] = {}
        self._membership = membership
        self._timeouts = timeouts
        self._heard_ms = float("-inf")

    def reconfigured(self, membership: Membership) -> None:
        """Count on other acceptors from now on."""
        self._membership = membership
        self.replies = {}

    def heard(self, ballot: Ballot, now_ms: float) -> bool:
        """Note a sign of life from the leader of `ballot`; tell whether it is a new leader."""
        self._heard_ms = now_ms
        self.failures = 0
        new = ballot != self.leader
        self.leader = ballot
        return new

    def lost(self) -> None:
        """Note that the leader is gone."""
        self.leader = NO_BALLOT
        self._heard_ms = float("-inf")

    def leader_alive(self, now_ms: float) -> bool:
        """Tell whether the leader was heard within `suspect_ms`."""
        return self.leader != NO_BALLOT and now_ms - self._heard_ms <= self._timeouts.suspect_ms

    def suspicion_ms(self, dice: float) -> float:
        """How long to wait for the next sign of life before standing."""
        return self._timeouts.suspect_ms + dice * self._timeouts.backoff_ms

    def backoff_ms(self, dice: float) -> float:
        """How long to wait before the next try: random, doubled by each failure up to 8 times."""
        longest = self._timeouts.backoff_ms << min(self.failures, 3)
        # Never zero after a failure: the rival needs a moment to be heard.
        return dice * longest / 2 if self.failures == 0 else longest / 4 + dice * longest * 3 / 4

    def canvass(self) -> int:
        """Begin a new round of asking the acceptors; earlier answers count no more."""
        self.round += 1
        self.replies = {}
        return self.round

    def on_reply(self, sender: NodeId, reply: CanvassReply) -> bool:
        """Take an answer in; tell whether a quorum would now follow."""
        if reply.round != self.round:
            return False
        self.replies[sender] = reply
        willing = [node for node, r in self.replies.items() if r.leader == NO_BALLOT]
        return self._membership.is_quorum(willing)

    @property
    def highest_promised(self) -> Ballot:
        """The highest promise that any acceptor reported in this round."""
        return max((r.promised for r in self.replies.values()), default=NO_BALLOT)

    @property
    def highest_decided(self) -> Slot:
        """The highest decided slot that any acceptor reported in this round."""
        return max((r.decided for r in self.replies.values()), default=Slot(0))
