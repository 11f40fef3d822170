"""Whether a node can do its job, by role, and one line about it for discovery's table."""

from __future__ import annotations

from collections.abc import Set
from typing import assert_never

from paxos.core.acceptor import Acceptor
from paxos.core.discovery import Discovery
from paxos.core.gateway import Gateway
from paxos.core.learner import Learner
from paxos.core.proposer import Proposer
from paxos.core.quorum import Membership
from paxos.core.types import NodeId


def judge(
    role: Acceptor | Proposer | Learner | Gateway | Discovery,
    membership: Membership,
    connected: Set[NodeId],
) -> tuple[bool, str]:
    """Tell whether the role can do its job; if not, why, in a sentence."""
    match role:
        case Acceptor():
            status = role.status()
            return role.voting, status.reason
        case Proposer():
            leader = role.status().leader
            return leader is not None, "" if leader else "no leader is known"
        case Learner():
            learner = role.status()
            if not membership.is_quorum(connected):
                return False, "no quorum of acceptors can be reached"
            slots = "slot" if learner.missing == 1 else "slots"
            behind = f"{learner.missing} {slots} behind, catching up"
            if not learner.missing:
                behind = "no quorum of acceptors has told yet how far the log reaches"
            return learner.caught_up, "" if learner.caught_up else behind
        case Gateway():
            gateway = role.status()
            if gateway.leader is None or gateway.learner is None:
                return False, role.whats_missing()
            return bool(gateway.session), "" if gateway.session else "its session is being opened"
        case Discovery():
            return True, ""
        case _:
            assert_never(role)


def summary(role: Acceptor | Proposer | Learner | Gateway | Discovery) -> str:
    """Say in a few words how a node is doing."""
    match role:
        case Acceptor():
            acceptor = role.status()
            doing = f"promised {acceptor.promised}, slot {acceptor.highest_slot}"
            return doing if role.voting else f"does not vote: {acceptor.reason}"[:200]
        case Proposer():
            proposer = role.status()
            return f"{proposer.phase}, decided {proposer.decided}"
        case Learner():
            learner = role.status()
            return f"applied {learner.applied}, {learner.keys} keys"
        case Gateway():
            gateway = role.status()
            return f"{gateway.writes} writes, {gateway.reads} reads"
        case Discovery():
            return ""
        case _:
            assert_never(role)
