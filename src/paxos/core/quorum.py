"""Who is enough.

Quorums are majorities of the *configured* acceptors, never of those that are registered,
visible or reachable (DESIGN rule 2). Any two majorities of one set share a member, which is
all that the safety proof asks of them ("Paxos Made Simple", section 2.2).
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from .types import NodeId, Role, life_of, number_of, place_of, role_of


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes of a cluster by role, as configured. Immutable; equal on every node.

    Raises ValueError when a list is empty, repeats a node, or names a node of another role.
    """

    acceptors: tuple[NodeId, ...]
    proposers: tuple[NodeId, ...]
    learners: tuple[NodeId, ...]
    gateways: tuple[NodeId, ...]
    discovery: NodeId

    def __post_init__(self) -> None:
        for role, nodes in (
            (Role.ACCEPTOR, self.acceptors),
            (Role.PROPOSER, self.proposers),
            (Role.LEARNER, self.learners),
            (Role.CLIENT, self.gateways),
        ):
            if not nodes:
                raise ValueError(f"a cluster needs at least one {role.value}")
            if len(set(map(place_of, nodes))) != len(nodes):
                raise ValueError(f"a {role.value} is named twice: {', '.join(nodes)}")
            for node in nodes:
                if role_of(node) is not role or not 1 <= number_of(node) <= 99 or life_of(node) < 0:
                    raise ValueError(f"{node} is not the name of a {role.value}")

    @property
    def quorum_size(self) -> int:
        """How many distinct acceptors are enough: more than half of the configured ones."""
        return len(self.acceptors) // 2 + 1

    @property
    def failures_tolerated(self) -> int:
        """f: how many acceptors may be gone while the cluster still decides."""
        return len(self.acceptors) - self.quorum_size

    def is_quorum(self, nodes: Collection[NodeId]) -> bool:
        """Tell whether these nodes hold a majority of the configured acceptors.

        Nodes that are not configured acceptors count for nothing, and none counts twice.
        """
        return len(set(nodes) & set(self.acceptors)) >= self.quorum_size

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Every node, in the order of its page port: discovery first, gateways last."""
        return (self.discovery, *self.proposers, *self.acceptors, *self.learners, *self.gateways)
