"""Whether a node can do its job, by role, and one line about it for discovery's table."""

from __future__ import annotations

from collections.abc import Set
from typing import assert_never

from paxos.core.acceptor import Acceptor
from paxos.core.discovery import Discovery
from paxos.core.gateway import Gateway
from paxos.core.learner import Learner
from paxos.core.proposer import Proposer
from paxos.core.types import NodeId

from .upkeep import AcceptorUpkeep, LearnerUpkeep, restoring

NO_MEMBER = "it is no member of the cluster (any more)"
"""Why a node is not ready that the configuration in force does not name."""

SUMMARY_CHARACTERS_MAX = 300
"""How long a node's line in discovery's table may be."""


def judge(
    role: Acceptor | Proposer | Learner | Gateway | Discovery,
    connected: Set[NodeId],
) -> tuple[bool, str]:
    """Tell whether the role can do its job; if not, why, in a sentence."""
    membership = role.view.membership
    if role.node not in membership.nodes and not isinstance(role, Acceptor):
        # An acceptor says by itself what it is instead: joining, removed.
        return False, NO_MEMBER
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
            if role.snapshotting.fetching:
                own = learner.snapshots
                return False, restoring(own.restored_bytes, own.restoring_bytes)
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


def summary(
    role: Acceptor | Proposer | Learner | Gateway | Discovery,
    upkeep: AcceptorUpkeep | LearnerUpkeep | None = None,
) -> str:
    """Say in a few words how a node is doing, and what holds back the cutting of its log."""
    doing = _doing(role)
    if upkeep is not None and upkeep.held_back:
        doing = f"{doing}; {upkeep.text}"
    return doing[:SUMMARY_CHARACTERS_MAX]


def _doing(role: Acceptor | Proposer | Learner | Gateway | Discovery) -> str:
    if role.node not in role.view.membership.nodes and not isinstance(role, Acceptor):
        return NO_MEMBER
    match role:
        case Acceptor():
            acceptor = role.status()
            if not role.voting:
                return f"does not vote: {acceptor.reason}"
            doing = f"promised {acceptor.promised}, slot {acceptor.highest_slot}"
            base = acceptor.keeping.base
            return f"{doing}, cut up to {base}" if base else doing
        case Proposer():
            proposer = role.status()
            return f"{proposer.phase}, decided {proposer.decided}"
        case Learner():
            learner = role.status()
            doing = f"applied {learner.applied}, {learner.keys} keys"
            if not role.snapshotting.fetching:
                return doing
            own = learner.snapshots
            return f"{doing}, {restoring(own.restored_bytes, own.restoring_bytes)}"
        case Gateway():
            gateway = role.status()
            return f"{gateway.writes} writes, {gateway.reads} reads"
        case Discovery():
            return ""
        case _:
            assert_never(role)
