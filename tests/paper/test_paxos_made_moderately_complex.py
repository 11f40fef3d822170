"""Van Renesse and Altinbuken, "Paxos Made Moderately Complex" (2015): what we rely on.

Its replicas are our learners (with the gateways as the other half), its leaders our proposers, a
scout is a proposer that prepares, a commander an open slot. Invariants are quoted with their names
(R1.., A1.., C1..); what stands without quotation marks is said in our words.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.builders import (
    A1,
    A2,
    A3,
    ACCEPTORS,
    C1,
    C2,
    LEARNERS,
    P1,
    P2,
    P3,
    Bench,
    a_leader,
    a_learner,
    a_proposer,
    an_acceptor,
    batch,
    choose,
    envelope,
    messages,
    opening,
    preparing,
    promise,
    sent,
)

from paxos.core.messages import (
    Accept,
    Accepted,
    AcceptedValue,
    Nack,
    Prepare,
    Promise,
    Results,
    Submit,
    Subscribe,
    Value,
)
from paxos.core.proposer import Phase
from paxos.core.settings import Limits, Settings
from paxos.core.types import Ballot, NodeId, Slot, ballot_from
from paxos.sim.world import World


def accept(ballot: int, slot: int = 1, value: bytes = b"v") -> Accept:
    return Accept(ballot=Ballot(ballot), slot=Slot(slot), value=value, decided=Slot(0))


def prepare(ballot: int) -> Prepare:
    return Prepare(ballot=Ballot(ballot), first=Slot(1), last=Slot(0))


def kept(slot: int, ballot: int, value: bytes) -> AcceptedValue:
    return AcceptedValue(slot=Slot(slot), ballot=Ballot(ballot), value=value)


def proposals(effects: list[Any]) -> list[tuple[int, bytes]]:
    return [(m.slot, m.value) for m in messages(effects, Accept)]


def submit(bench: Bench, sequence: int, packed: bytes = b"batch") -> list[Any]:
    message = Submit(stream=1, attempt=1, head=1, sequence=sequence, batch=packed)
    bench.receive(C1, message)
    return bench.drain()


@pytest.fixture
def world() -> World:
    """A cluster under load whose leaders keep dying."""
    world = World(5)
    world.keep_messages = True
    world.start()
    assert world.run_until(lambda: world.leader is not None)
    number = 0
    for _ in range(4):
        for gateway in (C1, C2):
            number += 1
            world.ask(gateway, number, [b"WRITE", b"%d" % number])
        world.run_for(1)
        leader = world.leader
        if leader is not None:
            world.crash(leader)
        world.run_for(700)
        world.start()
    assert world.run_until(lambda: all(world.replies.get(n) for n in range(1, number + 1)))
    world.run_for(1000)
    return world


def applied(world: World, name: NodeId) -> list[tuple[int, bytes]]:
    """Return the list of values as one learner has it."""
    return [(slot, value) for slot, value in world.role(name).machine.read([[b"READ"]], 0)[0]]


# ---------------------------------------------------------------- replicas


def test_no_two_commands_are_decided_for_one_slot_when_leaders_die(world: World) -> None:
    """R1: "There are no two different commands decided for the same slot"."""
    chosen: dict[int, bytes] = {}
    votes: dict[tuple[int, int], set[NodeId]] = {}
    proposed = {(m.ballot, m.slot): m.value for _, _, _, m in world.sent if isinstance(m, Accept)}
    for _, sender, _, message in world.sent:
        if isinstance(message, Accepted):
            votes.setdefault((message.ballot, message.slot), set()).add(sender)
    for (ballot, slot), voters in votes.items():
        if world.membership.is_quorum(voters):
            value = proposed[Ballot(ballot), Slot(slot)]
            assert chosen.setdefault(slot, value) == value
    assert len(chosen) > 8


def test_all_commands_before_it_are_decided_when_a_slot_is_applied(world: World) -> None:
    """R2: "All commands up to slot_out are in the set of decisions"."""
    for name in LEARNERS:
        last = world.role(name).machine.applied
        for slot in range(1, last + 1):
            entries = [world.role(a).log.entry(Slot(slot)) for a in ACCEPTORS]
            assert sum(entry is not None for entry in entries) >= 2


def test_the_state_is_that_of_the_commands_in_order_when_applied(world: World) -> None:
    """R3: "For all replicas rho, rho.state is the result of applying the commands
    <s, c_s> in decisions to initial_state for all s up to slot_out, in order of slot number."
    """
    one, other = (applied(world, name) for name in LEARNERS)
    assert one == other
    assert [slot for slot, _ in one] == sorted(slot for slot, _ in one)
    assert sorted(value for _, value in one) == sorted(b"%d" % n for n in range(1, 9))


def test_the_applied_slot_never_falls_when_time_goes_on() -> None:
    """R4: "For each rho, the variable rho.slot_out cannot decrease over time"."""
    learner = a_learner()
    seen = [0]
    for slot, ballot in ((1, 101), (3, 101), (2, 101), (1, 202), (3, 202), (2, 303)):
        choose(learner, slot, b"", ballot)
        seen.append(learner.role.machine.applied)
    assert seen == sorted(seen)
    assert seen[-1] == 3


def test_proposals_stay_in_the_window_when_many_are_waiting() -> None:
    """R5: "A replica proposes commands only for slots for which it knows the configuration":
    slot_in < slot_out + WINDOW. Ours is the leader's: slots_inflight_max.
    """
    leader = a_leader(settings=Settings(limits=Limits(slots_inflight_max=2)))
    slots = [slot for n in range(1, 6) for slot, _ in proposals(submit(leader, n))]
    assert slots == [1, 2]
    assert max(leader.role.open) < leader.role.decided + 1 + 2


def test_a_command_is_executed_once_when_it_is_decided_in_two_slots() -> None:
    """Replicas, function perform(): a command that was decided for an earlier slot too has been
    performed already; only slot_out goes up.
    """
    learner = a_learner()
    choose(learner, 1, opening(C1))
    choose(learner, 2, envelope(batch(1, [b"INCR", b"n"])))
    before = learner.role.machine.revision
    choose(learner, 3, envelope(batch(1, [b"INCR", b"n"])))
    assert learner.role.machine.applied == 3
    assert learner.role.machine.revision == before
    assert learner.role.machine.read([[b"GET", b"n"]], 0) == [b"1"]


def test_a_command_is_proposed_again_when_another_took_its_slot(world: World) -> None:
    """Replicas: a command whose slot went to another one is returned to the requests and proposed
    again. Ours: the gateway sends it again. None of the writes that met a dying leader is missing,
    and none is there twice.
    """
    values = [value for _, value in applied(world, LEARNERS[0])]
    assert len(values) == len(set(values)) == 8


# ---------------------------------------------------------------- acceptors


def test_an_acceptor_only_adopts_higher_ballots_when_asked() -> None:
    """A1: "An acceptor can only adopt strictly increasing ballot numbers"."""
    acceptor = an_acceptor()
    adopted = []
    for sender, ballot in ((P1, 101), (P3, 303), (P2, 202), (P1, 301), (P1, 401)):
        acceptor.receive(sender, prepare(ballot))
        adopted.append(acceptor.role.promised)
    assert adopted == [101, 303, 303, 303, 401]


def test_an_acceptor_only_accepts_its_current_ballot_when_asked() -> None:
    """A2: "An acceptor alpha can only accept <b, s, c> if b = alpha.ballot_num." A higher ballot is
    adopted by accepting it (DESIGN rule 3).
    """
    acceptor = an_acceptor()
    acceptor.receive(P2, prepare(202))
    assert messages(acceptor.receive(P1, accept(101)), Accepted) == []
    assert messages(acceptor.receive(P2, accept(202)), Accepted)
    acceptor.receive(P3, accept(303, slot=2))
    assert acceptor.role.promised == 303


def test_an_acceptor_never_takes_back_what_it_accepted_when_ballots_rise() -> None:
    """A3: "An acceptor cannot remove pvalues from accepted." (The highest per slot is enough:
    see reduced state, below.)"""
    acceptor = an_acceptor()
    acceptor.receive(P1, accept(101, 1, b"a"))
    acceptor.receive(P1, accept(101, 2, b"b"))
    acceptor.receive(P2, accept(202, 2, b"b"))
    acceptor.receive(P3, prepare(303))
    [answer] = messages(acceptor.receive(P1, prepare(401)), Promise)
    assert answer.accepted == [kept(1, 101, b"a"), kept(2, 202, b"b")]


def test_one_ballot_and_slot_has_one_command_when_anybody_accepted(world: World) -> None:
    """A4: "Suppose alpha and alpha' are acceptors, with <b, s, c> in alpha.accepted and
    <b, s, c'> in alpha'.accepted. Then c = c'."
    """
    held: dict[tuple[int, int], bytes] = {}
    for _, _, _, message in world.sent:
        if isinstance(message, Accept | Value):
            key = (message.ballot, message.slot)
            assert held.setdefault(key, message.value) == message.value
    assert len(held) > 8


def test_a_decided_command_is_all_that_follows_when_a_majority_accepted(world: World) -> None:
    """A5: "Suppose that for each alpha among a majority of acceptors, <b, s, c> in alpha.accepted.
    If b' > b and <b', s, c'> in alpha'.accepted, then c = c'."
    """
    votes: dict[tuple[int, int], set[NodeId]] = {}
    for _, sender, _, message in world.sent:
        if isinstance(message, Accepted):
            votes.setdefault((message.slot, message.ballot), set()).add(sender)
    proposed = {(m.slot, m.ballot): m.value for _, _, _, m in world.sent if isinstance(m, Accept)}
    decided: dict[int, bytes] = {}
    for slot, ballot in sorted(votes):
        value = proposed[Slot(slot), Ballot(ballot)]
        if slot in decided:
            assert value == decided[slot]
        elif world.membership.is_quorum(votes[slot, ballot]):
            decided[slot] = value
    assert decided


def test_an_acceptor_answers_with_its_ballot_when_it_refuses() -> None:
    """Acceptors: p1b and p2b carry the acceptor's current ballot number, so that a leader learns
    that it was preempted.
    """
    acceptor = an_acceptor()
    acceptor.receive(P2, prepare(202))
    for request in (prepare(101), accept(101)):
        [nack] = messages(acceptor.receive(P1, request), Nack)
        assert nack.promised == 202


# ---------------------------------------------------------------- commanders


def test_at_most_one_commander_works_when_a_slot_is_open() -> None:
    """C1: "For any b and s, at most one command c is selected and at most one commander for
    <b, s, c> is spawned."
    """
    leader = a_leader()
    submit(leader, 1, b"one")
    submit(leader, 2, b"two")
    slots = sorted(leader.role.open)
    assert slots == [1, 2]
    leader.now_ms += 1000
    again = proposals(leader.fire("resend"))
    assert again == [(slot, leader.role.open[slot].value) for slot in slots]


def test_a_later_ballot_selects_the_decided_command_when_a_majority_accepted() -> None:
    """C2: "Suppose that for each alpha among a majority of acceptors, <b, s, c> in alpha.accepted.
    If b' > b and a commander is spawned for <b', s, c'>, then c = c'."
    """
    acceptors = {name: an_acceptor(name) for name in ACCEPTORS}
    for name in (A1, A2):
        acceptors[name].receive(P1, accept(101, 1, b"decided"))
    for others in ((A1, A3), (A2, A3), (A1, A2)):
        proposer = a_proposer(P3)
        promised = max(bench.role.promised for bench in acceptors.values())
        [request] = messages(preparing(proposer, promised=promised), Prepare)
        effects: list[Any] = []
        for name in others:
            [answer] = messages(acceptors[name].receive(P3, request), Promise)
            effects = proposer.receive(name, answer)
        assert proposals(effects) == [(1, b"decided")]


def test_a_commander_ends_when_a_majority_has_accepted() -> None:
    """Commanders: one is done when p2b messages of a majority came for its own ballot."""
    leader = a_leader()
    submit(leader, 1)
    leader.receive(A1, Accepted(ballot=Ballot(101), slot=Slot(1)))
    leader.receive(A2, Accepted(ballot=Ballot(102), slot=Slot(1)))
    assert list(leader.role.open) == [1]
    leader.receive(A3, Accepted(ballot=Ballot(101), slot=Slot(1)))
    assert leader.role.open == {}


def test_a_commander_is_preempted_when_an_acceptor_has_a_higher_ballot() -> None:
    """Commanders: a p2b message with another ballot means that a higher one is under way: the
    leader is preempted, and the commander ends.
    """
    leader = a_leader()
    submit(leader, 1)
    leader.receive(A1, Nack(ballot=Ballot(101), promised=Ballot(202)))
    assert leader.role.open == {}
    assert leader.role.phase is Phase.FOLLOWING


# ---------------------------------------------------------------- scouts, leaders


def test_a_ballot_is_adopted_only_when_a_majority_answered_the_scout() -> None:
    """Scouts: one is done when p1b messages of a majority have come for its own ballot."""
    proposer = a_proposer()
    preparing(proposer)
    proposer.receive(A2, promise(101))
    assert proposer.role.phase is Phase.PREPARING
    proposer.receive(A3, promise(101))
    assert proposer.role.phase is Phase.LEADING


def test_the_highest_ballot_counts_per_slot_when_a_leader_adopts() -> None:
    """Leaders, function pmax: for each slot the command with the highest ballot number."""
    proposer = a_proposer()
    preparing(proposer, promised=Ballot(303))
    proposer.receive(A1, promise(401, kept(1, 101, b"a1"), kept(2, 303, b"b3")))
    effects = proposer.receive(A2, promise(401, kept(1, 202, b"a2"), kept(2, 101, b"b1")))
    assert proposals(effects) == [(1, b"a2"), (2, b"b3")]


def test_adopted_commands_come_first_when_a_leader_becomes_active() -> None:
    """Leaders: on adoption, pmax of the pvalues replaces what the leader would have proposed itself
    in those slots; then it becomes active.
    """
    proposer = a_proposer()
    assert proposals(submit(proposer, 1, b"too early")) == []
    preparing(proposer)
    proposer.receive(A1, promise(101, kept(1, 3, b"adopted")))
    effects = proposer.receive(A2, promise(101))
    assert proposals(effects) == [(1, b"adopted")]
    [(slot, _)] = proposals(submit(proposer, 1, b"own"))
    assert slot == 2


def test_a_preempted_leader_tries_a_higher_ballot_when_it_stands_again() -> None:
    """Leaders: preempted by (r', lambda') above its own, one goes on with (r' + 1, self())."""
    leader = a_leader(P2)
    leader.receive(A1, Nack(ballot=leader.role.ballot, promised=Ballot(703)))
    [request] = messages(preparing(leader), Prepare)
    assert request.ballot == 802


def test_a_leader_is_passive_when_it_has_been_preempted() -> None:
    """Leaders: a preempted leader is not active; it proposes nothing until a ballot is adopted."""
    leader = a_leader()
    leader.receive(A1, Nack(ballot=Ballot(101), promised=Ballot(202)))
    assert proposals(submit(leader, 1)) == []


def test_ballots_are_ordered_pairs_when_compared() -> None:
    """Ballot numbers are pairs of an integer and a leader, ordered lexicographically."""
    pairs = [(counter, leader) for counter in range(1, 5) for leader in range(1, 5)]
    ballots = [ballot_from(*pair) for pair in pairs]
    assert sorted(zip(ballots, pairs, strict=True)) == list(zip(ballots, pairs, strict=True))


# ---------------------------------------------------------------- liveness, pragmatics


def test_leaders_part_when_they_preempt_each_other() -> None:
    """When Paxos works: two leaders could preempt one another for ever; so a preempted one waits,
    longer each time.
    """
    proposer = a_proposer()
    waits = []
    for _ in range(4):
        preparing(proposer)
        nack = Nack(ballot=proposer.role.ballot, promised=proposer.role.ballot)
        effects = proposer.receive(A1, nack)
        waits.append([e.after_ms for e in effects if getattr(e, "name", "") == "election"][-1])
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]


def test_a_leader_is_not_disturbed_when_it_is_heard(world: World) -> None:
    """When Paxos works: leaders watch the active one and start no ballot while it answers."""
    before = sum(trace.what == "preparing" for _, _, trace in world.traces)
    world.run_for(10_000)
    assert sum(trace.what == "preparing" for _, _, trace in world.traces) == before


def test_requests_go_to_the_leader_only_when_it_is_known() -> None:
    """Paxos made pragmatic: it is enough to send a request to the leader that is thought active."""
    world = World(1)
    world.keep_messages = True
    world.start()
    gateway = world.role(C1)
    assert world.run_until(lambda: bool(gateway.session))
    world.sent.clear()
    world.ask(C1, 1, [b"WRITE", b"x"])
    world.wait_for_replies(1, 1)
    receivers = {to for _, _, to, message in world.sent if isinstance(message, Submit)}
    assert receivers == {world.leader}


def test_an_acceptor_keeps_the_highest_pvalue_per_slot_when_it_accepts_again() -> None:
    """Paxos made pragmatic, reduced state: per slot, the last accepted pvalue is enough."""
    acceptor = an_acceptor()
    for ballot, proposer in ((101, P1), (202, P2), (303, P3)):
        acceptor.receive(proposer, accept(ballot, 1, b"%d" % ballot))
    assert acceptor.role.log.votes(1, 9) == [(1, 303)]


def test_reads_leave_no_trace_in_the_log_when_they_are_linearizable() -> None:
    """Paxos made pragmatic: a read-only command need not take a slot."""
    world = World(1)
    world.start()
    assert world.run_until(lambda: bool(world.role(C1).session))
    world.run_for(1000)
    before = world.role(A1).log.highest_slot
    for number in range(1, 20):
        world.read(C1, number, [b"READ"])
        assert world.wait_for_replies(number, 1) == [[]]
    assert world.role(A1).log.highest_slot == before


def test_a_learner_answers_its_own_gateway_when_a_batch_is_applied() -> None:
    """Replicas: the response goes to the client that the command names."""
    learner = a_learner()
    choose(learner, 1, opening(C1))
    for gateway in (C1, C2):
        learner.receive(gateway, Subscribe(session=Slot(1), acknowledged=0))
    effects = choose(learner, 2, envelope(batch(1, [b"INCR", b"n"])))
    assert [to for to, _ in sent(effects, Results)] == [(C1,)]
