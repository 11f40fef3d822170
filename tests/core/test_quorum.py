from __future__ import annotations

from itertools import combinations

import msgspec
import pytest

from paxos.core.quorum import Membership
from paxos.core.types import NodeId
from paxos.sim.world import membership_of


def acceptors(*numbers: int) -> list[NodeId]:
    return [NodeId(f"acceptor-{n}") for n in numbers]


@pytest.mark.parametrize(
    ("count", "needed", "tolerated"),
    [(1, 1, 0), (2, 2, 0), (3, 2, 1), (4, 3, 1), (5, 3, 2), (7, 4, 3)],
)
def test_a_quorum_is_more_than_half_when_counted(count: int, needed: int, tolerated: int) -> None:
    """DESIGN rule 2: the size comes from the configuration."""
    membership = membership_of(acceptors=count)
    assert membership.quorum_size == needed
    assert membership.failures_tolerated == tolerated


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_any_two_quorums_share_an_acceptor_when_drawn_from_one_membership(count: int) -> None:
    """Paxos Made Simple, 2.2: "any two majorities have at least one acceptor in common"."""
    membership = membership_of(acceptors=count)
    quorums = [
        set(some)
        for size in range(count + 1)
        for some in combinations(membership.acceptors, size)
        if membership.is_quorum(some)
    ]
    assert quorums
    assert all(one & other for one in quorums for other in quorums)


def test_an_acceptor_counts_once_when_it_is_named_twice() -> None:
    """DESIGN rule 5: distinct acceptors."""
    assert not membership_of().is_quorum(acceptors(1, 1, 1))
    assert membership_of().is_quorum(acceptors(1, 1, 3))


def test_strangers_count_for_nothing_when_they_are_many() -> None:
    """DESIGN rule 2: who is registered or reachable makes no quorum."""
    strangers = [*acceptors(4, 5, 6), NodeId("learner-1"), NodeId("proposer-1")]
    assert not membership_of().is_quorum([*strangers, *acceptors(1)])


def test_nodes_stand_in_the_order_of_their_pages_when_listed() -> None:
    """DESIGN: the table of nodes."""
    assert membership_of().nodes == (
        "discovery",
        "proposer-1",
        "proposer-2",
        "proposer-3",
        "acceptor-1",
        "acceptor-2",
        "acceptor-3",
        "learner-1",
        "learner-2",
        "client-1",
        "client-2",
    )


@pytest.mark.parametrize(
    ("field", "nodes", "complaint"),
    [
        ("acceptors", (), "at least one acceptor"),
        ("gateways", (), "at least one client"),
        ("acceptors", ("acceptor-1", "acceptor-1"), "named twice"),
        ("learners", ("acceptor-1",), "not the name of a learner"),
        ("proposers", ("proposer-100",), "not the name of a proposer"),
        ("proposers", ("proposer-0",), "not the name of a proposer"),
    ],
)
def test_a_membership_is_refused_when_it_makes_no_sense(
    field: str, nodes: tuple[str, ...], complaint: str
) -> None:
    """STYLE: configuration validates itself and names the bad value."""
    fields = {name: getattr(membership_of(), name) for name in Membership.__struct_fields__}
    with pytest.raises(ValueError, match=complaint):
        Membership(**{**fields, field: nodes})


def test_a_membership_cannot_be_changed_when_it_is_made() -> None:
    """DESIGN rule 11: changes go through the log, not through a variable."""
    with pytest.raises(AttributeError):
        membership_of().acceptors = ()  # type: ignore[misc]


def test_a_membership_is_the_same_when_it_was_sent() -> None:
    """Every node of a cluster has an equal one."""
    packed = msgspec.msgpack.encode(membership_of())
    assert msgspec.msgpack.decode(packed, type=Membership) == membership_of()
