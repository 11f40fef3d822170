"""A change of the members before it is proposed: what may be asked, and what it waits for."""

from __future__ import annotations

import msgspec
import pytest
from tests.core.builders import (
    A1,
    A2,
    A3,
    A4,
    A31,
    C1,
    C2,
    L1,
    P1,
    P2,
    P3,
    members,
)

from paxos.core.changing import (
    ASKING_MS_MAX,
    DRAINING_MS_MAX,
    NODES_MAX,
    Changing,
    Refused,
    Step,
    with_change,
)
from paxos.core.messages import Change, ChangeMembers, Members
from paxos.core.types import NodeId, Slot
from paxos.sim.world import membership_of

FOUNDING = membership_of()
NOBODY: frozenset[NodeId] = frozenset()


def asked(
    node: str,
    *,
    add: bool,
    of: Members | None = None,
    joined: frozenset[NodeId] = NOBODY,
    address: tuple[str, int, int] | None = None,
) -> Change | None:
    """Return what is proposed when an operator asks for a node, in epoch 4."""
    message = ChangeMembers(request=1, add=add, node=NodeId(node), address=address)
    return with_change(of or members(), message, 4, joined)


def refused(node: str, *, add: bool, of: Members | None = None) -> str:
    with pytest.raises(Refused) as refusal:
        asked(node, add=add, of=of)
    return str(refusal.value)


# ---------------------------------------------------------------- what may be asked


def test_an_acceptor_is_a_member_when_it_has_joined() -> None:
    """ADR 0003: a change adds or removes one acceptor, with the next epoch."""
    change = asked(A4, add=True, joined=frozenset({A4}))
    assert change == Change(epoch=5, members=members((A1, A2, A3, A4)))


@pytest.mark.parametrize(
    ("node", "field", "nodes"),
    [
        ("proposer-9", "proposers", (P1, P2, P3, "proposer-9")),
        ("learner-9", "learners", (L1, "learner-2", "learner-9")),
        ("client-9", "gateways", (C1, C2, "client-9")),
    ],
)
def test_other_nodes_come_in_as_they_are_when_they_are_added(
    node: str, field: str, nodes: tuple[str, ...]
) -> None:
    """ADR 0003: proposers, learners and client nodes need no such care."""
    change = asked(node, add=True)
    assert change is not None
    assert getattr(change.members, field) == nodes


def test_nodes_stand_in_the_order_of_their_numbers_when_one_is_added() -> None:
    """The first of them is asked first, everywhere alike."""
    change = asked(A31, add=True, of=members((A1, A2, A4)), joined=frozenset({A31}))
    assert change is not None
    assert change.members.acceptors == (A1, A2, A31, A4)


def test_an_address_is_kept_at_the_place_when_one_was_given() -> None:
    """A node that the configuration file does not know is found by what the log says."""
    change = asked("learner-9", add=True, address=("h", 1, 2))
    assert change is not None
    assert change.members.addresses == {"learner-9": ("h", 1, 2)}
    kept = asked("client-9", add=True, of=change.members)
    assert kept is not None
    assert kept.members.addresses == {"learner-9": ("h", 1, 2)}


def test_an_address_goes_with_its_node_when_that_is_removed() -> None:
    """Whoever comes next to that place may be elsewhere."""
    there = msgspec.structs.replace(members((A1, A2, A4)), addresses={A4: ("h", 1, 2)})
    change = asked(A4, add=False, of=there)
    assert change is not None
    assert change.members.addresses == {}


@pytest.mark.parametrize("address", [("", 1, 1), ("h", 0, 1), ("h", 1, 65_536), ("h" * 254, 1, 1)])
def test_an_address_is_refused_when_it_cannot_be_one(address: tuple[str, int, int]) -> None:
    """DESIGN rule 10: every node would have to live with it."""
    with pytest.raises(Refused, match=r"^ERR learner-9 cannot be at"):
        asked("learner-9", add=True, address=address)


def test_an_acceptor_is_no_member_when_it_is_removed() -> None:
    """It is not asked whether it has joined, nor anything else: it may be gone."""
    assert asked(A2, add=False) == Change(epoch=5, members=members((A1, A3)))


@pytest.mark.parametrize(("node", "add"), [(A1, True), (A4, False), (A31, False), (P1, True)])
def test_nothing_is_proposed_when_the_members_are_so_already(node: str, add: bool) -> None:
    """What is asked for twice is done once."""
    assert asked(node, add=add) is None


@pytest.mark.parametrize(
    "node",
    [
        *("", "nobody-1", "discovery", "discovery-1", "acceptor-x", "acceptor-0", "acceptor--1"),
        *(f"acceptor-{NODES_MAX + 1}", f"proposer-{NODES_MAX + 1}", "acceptor-"),
        *("proposer", "proposer-+7", "proposer- 7", "proposer-07", "proposer-\u0667"),
        *("learner-7.0", "learner-7.01", "learner-7.", "learner-7.1.1"),
    ],
)
@pytest.mark.parametrize("add", [True, False])
def test_what_is_no_node_of_the_log_is_refused(node: str, add: bool) -> None:
    """DESIGN rules 1 and 10: a ballot has room for 99 proposers, and names come from outside. Of
    two spellings of one number, neither may be a member beside the other.
    """
    assert refused(node, add=add) == f"ERR {node!r} is no acceptor, proposer, learner or client"


def test_a_second_node_of_one_place_is_refused_when_the_first_is_a_member() -> None:
    """types.place_of: one place has one volume, and its ports."""
    assert refused(A31, add=True) == (
        "ERR acceptor-3 has the place of acceptor-3.1: remove it first"
    )


def test_an_acceptor_is_refused_when_it_has_not_joined() -> None:
    """changing.py: one that lacks decided slots must not make a quorum with another that does."""
    assert refused(A4, add=True).startswith("UNAVAILABLE acceptor-4 has not joined")


@pytest.mark.parametrize("node", [A1, P1, L1, C1])
def test_the_last_node_of_a_role_is_never_removed(node: NodeId) -> None:
    """changing.py: "Refuses to remove the last node of a role"."""
    alone = members((A1,), (P1,), (L1,), (C1,))
    assert "a cluster needs one" in refused(node, add=False, of=alone)


# ---------------------------------------------------------------- who must be whole


def changing(acceptors: tuple[NodeId, ...], old: tuple[NodeId, ...] = (A1, A2, A3)) -> Changing:
    change = Change(epoch=1, members=members(acceptors))
    return Changing(C1, 7, change, msgspec.structs.replace(FOUNDING, acceptors=old), 1000.0)


def whole(change: Changing, slot: int, *acceptors: NodeId) -> None:
    for acceptor in acceptors:
        change.on_whole(acceptor, Slot(slot))


def test_all_that_are_not_known_to_be_whole_are_asked_when_some_are_lacking() -> None:
    """changing.lacking: any of them may come to be one of the quorum."""
    change = changing((A1, A2, A3, A4))
    assert change.lacking(Slot(9)) == (A1, A2, A3, A4)
    whole(change, 9, A2)
    assert change.lacking(Slot(9)) == (A1, A3, A4)


def test_a_quorum_is_not_enough_when_the_new_acceptor_is_lacking() -> None:
    """ADR 0003: "and every acceptor that is new in it, has said that it is whole"."""
    change = changing((A1, A2, A3, A4))
    whole(change, 9, A1, A2, A3)
    assert change.lacking(Slot(9)) == (A4,)
    whole(change, 9, A4)
    assert change.lacking(Slot(9)) == ()


def test_the_new_acceptor_is_not_enough_when_no_quorum_of_the_new_members_is_whole() -> None:
    """ADR 0003: "each decided slot that is not cut off is held by a member of every quorum"."""
    change = changing((A1, A2, A3, A4))
    whole(change, 9, A4, A1)
    assert change.lacking(Slot(9)) == (A2, A3)
    whole(change, 9, A3)
    assert change.lacking(Slot(9)) == ()


def test_one_that_leaves_counts_for_nothing_when_it_is_whole() -> None:
    """The quorum is one of the new members: with two of them it is both."""
    change = changing((A1, A2))
    whole(change, 9, A1, A3)
    assert change.lacking(Slot(9)) == (A2,)


def test_who_was_whole_is_asked_again_when_more_is_decided() -> None:
    """changing.py: "when nothing is open, it asks again, about everything"."""
    change = changing((A1, A2, A3, A4))
    whole(change, 9, A1, A2, A3, A4)
    assert change.lacking(Slot(9)) == ()
    assert change.lacking(Slot(10)) == (A1, A2, A3, A4)
    whole(change, 8, A1)
    assert change.lacking(Slot(9)) == (), "what was once whole stays so"


def test_nobody_need_be_whole_when_the_log_is_empty() -> None:
    """Before slot 1 there is nothing to hold."""
    assert changing((A1, A2, A3, A4)).lacking(Slot(0)) == ()


def test_nobody_is_asked_when_the_acceptors_stay_the_same() -> None:
    """ADR 0003: learners keep nothing, and ballots are a proposer's own by its number."""
    assert changing((A1, A2, A3)).lacking(Slot(9)) == ()


# ---------------------------------------------------------------- how long it may take


@pytest.mark.parametrize(
    ("step", "longest"), [(Step.ASKING, ASKING_MS_MAX), (Step.DRAINING, DRAINING_MS_MAX)]
)
def test_a_step_is_given_up_when_it_takes_too_long(step: Step, longest: float) -> None:
    """STYLE 19; DESIGN rule 12: the service does not wait for a member that is not whole soon."""
    change = changing((A1, A2, A3, A4))
    change.go_on(step, 2000.0)
    assert not change.out_of_time(2000.0 + longest)
    assert change.out_of_time(2000.1 + longest)


def test_a_change_is_never_given_up_when_it_is_proposed() -> None:
    """What has left may be chosen: only the log can say."""
    change = changing((A1, A2, A3, A4))
    change.go_on(Step.PROPOSED, 0.0)
    assert not change.out_of_time(1e9)
