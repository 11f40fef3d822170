"""Each invariant, broken on purpose: a doctored role or doctored effects must raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.core.builders import (
    A1,
    A4,
    C1,
    L1,
    P1,
    Bench,
    a_gateway,
    a_leader,
    a_learner,
    a_proposer,
    an_acceptor,
    choose,
    configuration,
    joining_journal,
    opening,
    preparing,
    promise,
)
from tests.core.test_discovery import a_discovery
from tests.core.test_proposer import proposed

from paxos.core.effects import AcceptedEntry, Counted, Deliver, Effect, Persist, Promised, Send
from paxos.core.errors import InvariantViolation
from paxos.core.invariants import DiscoveryWatcher, watcher_for
from paxos.core.messages import Accept, Accepted, Heartbeat, Prepare, Promise
from paxos.core.proposer import Phase
from paxos.core.types import Ballot, NodeId, Slot
from paxos.sim.world import membership_of


def persist_entry(slot: int, ballot: int) -> Persist:
    return Persist(
        record=AcceptedEntry(slot=Slot(slot), ballot=Ballot(ballot), value=b"v", decided=Slot(0))
    )


def persist_promise(ballot: int) -> Persist:
    return Persist(record=Promised(ballot=Ballot(ballot)))


def send(message: Any) -> Send:
    return Send(to=(P1,), message=message)


def accepted(slot: int, ballot: int) -> Send:
    return send(Accepted(ballot=Ballot(ballot), slot=Slot(slot)))


def prepare(ballot: int) -> Send:
    return send(Prepare(ballot=Ballot(ballot), first=Slot(1), last=Slot(0)))


def accept(slot: int, ballot: int = 101, value: bytes = b"v") -> Send:
    message = Accept(ballot=Ballot(ballot), slot=Slot(slot), value=value, decided=Slot(0))
    return send(message)


def breaks(bench: Bench, complaint: str, *effects: Effect) -> None:
    with pytest.raises(InvariantViolation, match=complaint):
        bench.watcher.check(list(effects))


# ---------------------------------------------------------------- acceptor: rules 3 and 8


@pytest.fixture
def acceptor() -> Bench:
    """An acceptor that promised 202 and voted at 202 in slot 1."""
    bench = an_acceptor()
    bench.receive(
        "proposer-2", Accept(ballot=Ballot(202), slot=Slot(1), value=b"v", decided=Slot(1))
    )
    return bench


def test_a_falling_promise_is_caught_when_it_happens(acceptor: Bench) -> None:
    """DESIGN rule 3."""
    acceptor.role.promised = Ballot(101)
    breaks(acceptor, "promise fell")


def test_a_falling_decided_slot_is_caught_when_it_happens(acceptor: Bench) -> None:
    """STYLE 14: state what must not hold."""
    acceptor.role.decided = Slot(0)
    breaks(acceptor, "decided slot fell")


def test_a_volatile_promise_is_caught_when_nothing_is_persisted(acceptor: Bench) -> None:
    """DESIGN rule 3: persisted before the reply leaves."""
    acceptor.role.promised = Ballot(301)
    breaks(acceptor, "without being persisted")


def test_a_volatile_promise_is_caught_when_something_lower_is_persisted(acceptor: Bench) -> None:
    """DESIGN rule 3."""
    acceptor.role.promised = Ballot(401)
    breaks(acceptor, "without being persisted", persist_promise(301))


def test_a_vote_below_the_promise_is_caught_when_it_is_persisted(acceptor: Bench) -> None:
    """Paxos Made Simple, P1a."""
    breaks(acceptor, "below the promise", persist_entry(2, 101))


def test_a_promise_that_rises_not_is_caught_when_it_is_persisted(acceptor: Bench) -> None:
    """DESIGN rule 3: promises only rise."""
    breaks(acceptor, "falls", persist_promise(202))


def test_a_vote_without_a_record_is_caught_when_it_is_told(acceptor: Bench) -> None:
    """DESIGN rule 3: a vote that is not in the journal is no vote."""
    breaks(acceptor, "not in the journal", accepted(9, 202))


def test_a_vote_of_another_ballot_is_caught_when_it_is_told(acceptor: Bench) -> None:
    """DESIGN rule 3."""
    breaks(acceptor, "not in the journal", accepted(1, 101))


def test_a_vote_is_caught_when_the_volume_may_not_vote(acceptor: Bench) -> None:
    """DESIGN rule 8."""
    acceptor.role._bar("for the test")
    breaks(acceptor, "may not vote", accepted(1, 202))


def told(ballot: int) -> Send:
    return send(promise(ballot))


def test_a_promise_is_caught_when_the_volume_may_not_vote(acceptor: Bench) -> None:
    """DESIGN rule 8."""
    acceptor.role._bar("for the test")
    breaks(acceptor, "may not vote", told(202))


def test_a_promise_of_another_ballot_is_caught_when_it_is_told(acceptor: Bench) -> None:
    """DESIGN rule 3: what is promised is what is written down."""
    assert isinstance(told(101).message, Promise)
    breaks(acceptor, "not the journal's", told(101))


def test_a_vote_and_a_promise_are_caught_when_their_acceptor_is_joining() -> None:
    """DESIGN rule 11: it is no member until the log says so."""
    bench = an_acceptor(A4, joining_journal(A4))
    breaks(bench, "a vote left", accepted(1, 0))
    breaks(bench, "a promise left", told(0))


def test_a_vote_is_caught_when_its_acceptor_was_removed(acceptor: Bench) -> None:
    """DESIGN rule 11: it is no member any more."""
    acceptor.receive(P1, configuration(acceptors=(NodeId("acceptor-2"), NodeId("acceptor-3"))))
    breaks(acceptor, "may not vote", accepted(1, 202))


def test_an_honest_vote_passes_when_it_is_told_again(acceptor: Bench) -> None:
    """The watcher does not cry wolf."""
    acceptor.watcher.check([accepted(1, 202), told(202)])
    assert acceptor.role.voting


# ---------------------------------------------------------------- proposer: rules 1, 2 and 4


def lower_decided(bench: Bench) -> None:
    bench.role.decided = Slot(0)


def lower_counter(bench: Bench) -> None:
    bench.role.counter = 0


def shrink_electorate(bench: Bench) -> None:
    bench.role.electorate = frozenset({A1, L1})


def forget_office(bench: Bench) -> None:
    bench.role.phase = Phase.FOLLOWING


@pytest.fixture
def leader() -> Bench:
    """A leader of ballot 101 with slot 1 decided and slots 2 and 3 open."""
    bench = a_leader()
    proposed(bench, b"a", b"b", b"c")
    for acceptor in ("acceptor-1", "acceptor-2"):
        bench.receive(acceptor, Accepted(ballot=Ballot(101), slot=Slot(1)))
    return bench


@pytest.mark.parametrize(
    ("doctor", "complaint"),
    [
        (lower_decided, "decided slot fell"),
        (lower_counter, "counter fell"),
        (shrink_electorate, "without the promises of a quorum"),
        (forget_office, "slots are open"),
    ],
)
def test_a_leaders_state_is_caught_when_it_is_doctored(
    leader: Bench, doctor: Callable[[Bench], None], complaint: str
) -> None:
    """DESIGN rules 1, 2 and 4."""
    doctor(leader)
    breaks(leader, complaint)


@pytest.mark.parametrize(
    ("effect", "complaint"),
    [
        (Persist(record=Counted(counter=1)), "used twice"),
        (prepare(102), "somebody else's ballot"),
        (prepare(201), "volatile counter"),
        (accept(2, ballot=201), "nobody promised"),
        (accept(2, value=b"another"), "second value"),
        (accept(9), "second value"),
    ],
)
def test_a_leaders_message_is_caught_when_it_is_doctored(
    leader: Bench, effect: Effect, complaint: str
) -> None:
    """DESIGN rules 1 and 4."""
    breaks(leader, complaint, effect)


def test_a_ballot_below_an_earlier_one_is_caught_when_it_is_prepared(leader: Bench) -> None:
    """DESIGN rule 1: ballots rise."""
    leader.role.counter = 2
    leader.watcher.check([Persist(record=Counted(counter=2)), prepare(201)])
    breaks(leader, "below an earlier one", prepare(101))


def test_a_skipped_slot_is_caught_when_it_is_proposed(leader: Bench) -> None:
    """DESIGN rule 4: no gaps."""
    leader.role.open[Slot(5)] = leader.role.open[Slot(3)]
    breaks(leader, "skipped a slot", accept(5, value=leader.role.open[Slot(5)].value))


def test_a_proposal_is_caught_when_it_comes_after_a_change_that_is_not_chosen(
    leader: Bench,
) -> None:
    """DESIGN rule 11: the slots after a change belong to other members."""
    leader.role.barrier = Slot(2)
    value = leader.role.open[Slot(2)].value
    leader.watcher.check([accept(2, value=value)])
    complaint = "proposed after a change of the members that is not chosen"
    breaks(leader, complaint, accept(3, value=leader.role.open[Slot(3)].value))


def test_a_leader_is_caught_when_the_members_change_and_it_leads_on(leader: Bench) -> None:
    """DESIGN rule 2: two promises are a quorum of three, and none of four."""
    leader.role.membership = membership_of(acceptors=4)
    breaks(leader, "without the promises of a quorum")


def test_a_heartbeat_is_caught_when_its_sender_does_not_lead() -> None:
    """Only a leader says that it leads."""
    beat = Heartbeat(ballot=Ballot(101), decided=Slot(0), round=1)
    breaks(a_proposer(), "does not lead", send(beat))


def test_a_proposal_is_caught_when_its_sender_is_only_preparing() -> None:
    """STYLE "What goes wrong": phase 2 with a ballot nobody promised."""
    bench = a_proposer()
    preparing(bench)
    breaks(bench, "without leading", accept(1))


# ---------------------------------------------------------------- learner: rule 5


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("applied", 0, "applied slot fell"),
        ("revision", -1, "revision fell"),
        ("now_ms", -1, "time fell"),
        ("revision", 99, "without a slot being applied"),
    ],
)
def test_a_machine_is_caught_when_it_goes_back_or_moves_by_itself(
    field: str, value: int, complaint: str
) -> None:
    """DESIGN rule 5."""
    bench = a_learner()
    choose(bench, 1, opening())
    setattr(bench.role.machine, field, value)
    breaks(bench, complaint)


def test_a_slot_is_caught_when_it_is_applied_and_still_being_learned() -> None:
    """DESIGN rule 5: applied once."""
    bench = a_learner()
    choose(bench, 1, b"")
    bench.role.pending[Slot(1)] = object()
    breaks(bench, "still being learned")


# ---------------------------------------------------------------- gateway: rule 6


def test_a_sequence_is_caught_when_it_falls() -> None:
    """DESIGN rule 6."""
    bench = a_gateway()
    bench.role.sequence = 5
    bench.watcher.check([])
    bench.role.sequence = 4
    breaks(bench, "sequence fell")


def test_a_sequence_may_begin_again_when_the_session_is_a_new_one() -> None:
    """DESIGN rule 6: sequence numbers count within a session."""
    bench = a_gateway()
    bench.role.sequence = 5
    bench.watcher.check([])
    bench.role.session, bench.role.sequence = Slot(9), 0
    bench.watcher.check([])
    assert bench.role.session == 9


@pytest.mark.parametrize(
    ("flights", "complaint"),
    [((4, 5, 6), "ahead of its session"), ((3, 5), "sequence number is missing")],
)
def test_a_batch_is_caught_when_its_number_makes_no_sense(
    flights: tuple[int, ...], complaint: str
) -> None:
    """DESIGN rule 6: without gaps."""
    bench = a_gateway()
    bench.role.sequence = 5
    bench.role.flights = dict.fromkeys(flights)
    breaks(bench, complaint)


def test_a_delivery_is_caught_when_it_is_empty() -> None:
    """Replies go out only for what was asked."""
    breaks(a_gateway(), "empty delivery", Deliver(connection=1, replies=[]))


# ---------------------------------------------------------------- all


def test_every_role_has_a_watcher_when_asked() -> None:
    """STYLE 15."""
    kinds = {
        type(watcher_for(bench.role)).__name__
        for bench in (a_proposer(), an_acceptor(), a_learner(), a_gateway(), a_discovery())
    }
    assert len(kinds) == 5
    assert "DiscoveryWatcher" in kinds
    watcher = DiscoveryWatcher()
    watcher.check([Deliver(connection=1, replies=[])])


def test_what_is_no_role_is_refused_when_a_watcher_is_wanted() -> None:
    """No role runs unwatched."""
    with pytest.raises(TypeError, match="str is no role"):
        watcher_for(C1)  # type: ignore[arg-type]
