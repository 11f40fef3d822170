from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.types import (
    NO_BALLOT,
    Ballot,
    NodeId,
    Role,
    ballot_from,
    counter_of,
    node_id,
    number_of,
    owner_of,
    proposer_number_of,
    role_of,
)

counters = st.integers(min_value=1, max_value=2**40)
numbers = st.integers(min_value=1, max_value=99)


@given(counters, numbers)
def test_a_ballot_gives_back_its_counter_and_its_owner_when_taken_apart(
    counter: int, number: int
) -> None:
    """DESIGN rule 1: ballot = counter * 100 + proposer id."""
    ballot = ballot_from(counter, number)
    assert ballot == counter * 100 + number
    assert (counter_of(ballot), proposer_number_of(ballot)) == (counter, number)
    assert owner_of(ballot) == f"proposer-{number}"


@given(counters, numbers, counters, numbers)
def test_ballots_are_ordered_by_counter_first_when_compared(
    counter: int, number: int, other_counter: int, other_number: int
) -> None:
    """DESIGN rule 1: a higher counter beats any proposer number, and no two owners tie."""
    ours, theirs = ballot_from(counter, number), ballot_from(other_counter, other_number)
    assert (ours < theirs) == ((counter, number) < (other_counter, other_number))
    assert (ours == theirs) == ((counter, number) == (other_counter, other_number))


@pytest.mark.parametrize("number", [0, -1, 100, 1000])
def test_a_ballot_is_refused_when_the_number_would_reach_into_the_counter(number: int) -> None:
    """DESIGN rule 1: 1 <= id <= 99."""
    with pytest.raises(ValueError, match=r"not in 1\.\.99"):
        ballot_from(1, number)


@pytest.mark.parametrize("counter", [0, -3])
def test_a_ballot_is_refused_when_its_counter_was_never_raised(counter: int) -> None:
    """DESIGN rule 1: ballot 0 is nobody's, so counters begin at 1."""
    with pytest.raises(ValueError, match="not positive"):
        ballot_from(counter, 1)


def test_nobody_owns_ballot_zero_when_asked() -> None:
    """Ballot 0 is below every ballot: the acceptor that promised nothing."""
    assert ballot_from(1, 1) > NO_BALLOT
    with pytest.raises(ValueError, match="nobody"):
        owner_of(NO_BALLOT)


@pytest.mark.parametrize(
    ("role", "number", "name"),
    [
        (Role.DISCOVERY, 1, "discovery"),
        (Role.PROPOSER, 3, "proposer-3"),
        (Role.ACCEPTOR, 12, "acceptor-12"),
        (Role.LEARNER, 1, "learner-1"),
        (Role.CLIENT, 99, "client-99"),
    ],
)
def test_a_name_says_role_and_number_when_read_back(role: Role, number: int, name: str) -> None:
    """DESIGN: the node names people see; gateways are called client."""
    assert node_id(role, number) == name
    assert (role_of(NodeId(name)), number_of(NodeId(name))) == (role, number)


@pytest.mark.parametrize("name", ["", "gateway-1", "Proposer-1", "acceptor1"])
def test_a_name_is_refused_when_it_names_no_role(name: str) -> None:
    """DESIGN rule 10: what comes from outside is checked."""
    with pytest.raises(ValueError, match="not a valid Role"):
        role_of(NodeId(name))


def test_a_name_is_refused_when_its_number_is_none() -> None:
    """DESIGN rule 10: what comes from outside is checked."""
    with pytest.raises(ValueError, match="invalid literal"):
        number_of(NodeId("acceptor-two"))


def test_a_ballot_has_room_when_counters_grow_large() -> None:
    """DESIGN rule 1: counters only rise; Python's integers do not wrap."""
    assert counter_of(Ballot(2**63 // 100 * 100 + 7)) == 2**63 // 100
