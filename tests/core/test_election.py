from __future__ import annotations

import pytest
from tests.core.builders import A1, A2, A3, L1, P1

from paxos.core.election import Election
from paxos.core.messages import CanvassReply
from paxos.core.settings import Timeouts
from paxos.core.types import Ballot, Slot
from paxos.sim.world import membership_of


@pytest.fixture
def election() -> Election:
    return Election(P1, membership_of(), Timeouts())


def reply(round_: int, leader: int = 0, promised: int = 0, decided: int = 0) -> CanvassReply:
    return CanvassReply(
        round=round_, leader=Ballot(leader), promised=Ballot(promised), decided=Slot(decided)
    )


def test_a_leader_is_alive_when_it_was_heard_within_the_suspicion(election: Election) -> None:
    """DESIGN "Election": a silent leader is replaced after a timeout."""
    assert not election.leader_alive(0)
    assert election.heard(Ballot(101), 1000)
    assert election.leader_alive(1350)
    assert not election.leader_alive(1351)


def test_a_leader_is_new_when_its_ballot_was_not_followed_before(election: Election) -> None:
    """So that "following" is told once, not at each heartbeat."""
    assert election.heard(Ballot(101), 0)
    assert not election.heard(Ballot(101), 1)
    assert election.heard(Ballot(202), 2)


def test_a_leader_is_gone_at_once_when_it_is_lost(election: Election) -> None:
    """DESIGN "Election": the closing of its connection is an immediate hint."""
    election.heard(Ballot(101), 1000)
    election.lost()
    assert not election.leader_alive(1000)
    assert election.leader == 0


def test_a_quorum_would_follow_when_distinct_acceptors_are_free(election: Election) -> None:
    """DESIGN rules 2 and 5: distinct configured acceptors."""
    round_ = election.canvass()
    assert not election.on_reply(A1, reply(round_))
    assert not election.on_reply(A1, reply(round_))
    assert not election.on_reply(L1, reply(round_))
    assert election.on_reply(A2, reply(round_))


def test_a_canvass_fails_when_a_quorum_hears_a_leader(election: Election) -> None:
    """Omni-Paxos, 2 (chained partition): who cannot hear the leader disturbs nobody."""
    round_ = election.canvass()
    assert not election.on_reply(A1, reply(round_))
    assert not election.on_reply(A2, reply(round_, leader=303))
    assert not election.on_reply(A3, reply(round_, leader=303))


def test_an_answer_counts_no_more_when_a_new_round_began(election: Election) -> None:
    """Late answers prove nothing about the present."""
    first = election.canvass()
    election.on_reply(A1, reply(first))
    second = election.canvass()
    assert second == first + 1
    assert not election.on_reply(A2, reply(first))
    assert not election.on_reply(A2, reply(second))
    assert election.on_reply(A3, reply(second))


def test_the_highest_answers_are_kept_when_acceptors_differ(election: Election) -> None:
    """DESIGN rules 1 and 4: start above every promise, prepare from the first undecided."""
    assert (election.highest_promised, election.highest_decided) == (0, 0)
    round_ = election.canvass()
    election.on_reply(A1, reply(round_, promised=303, decided=4))
    election.on_reply(A2, reply(round_, promised=201, decided=9))
    assert (election.highest_promised, election.highest_decided) == (303, 9)


def test_waiting_grows_and_stays_bounded_when_candidacies_fail(election: Election) -> None:
    """DESIGN "Election": waits are random and grow, so that rivals part."""
    longest = []
    for failures in range(8):
        election.failures = failures
        waits = [election.backoff_ms(dice) for dice in (0.0, 0.5, 0.999)]
        assert waits == sorted(waits)
        longest.append(waits[-1])
    assert longest[0] < longest[1] < longest[2] < longest[3]
    assert longest[3] == longest[7] <= 60 * 8


def test_waiting_is_never_zero_when_a_candidacy_failed(election: Election) -> None:
    """The rival needs a moment to be heard."""
    assert election.backoff_ms(0.0) == 0.0
    election.failures = 1
    assert election.backoff_ms(0.0) > 0.0


def test_patience_is_at_least_the_suspicion_when_drawn(election: Election) -> None:
    """DESIGN rule 12: a timeout about liveness only."""
    assert election.suspicion_ms(0.0) == 350
    assert 350 < election.suspicion_ms(0.999) < 350 + 60


def test_failures_are_forgotten_when_a_leader_is_heard(election: Election) -> None:
    """The next election begins quickly again."""
    election.failures = 5
    election.heard(Ballot(101), 0)
    assert election.failures == 0
