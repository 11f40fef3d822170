"""Leslie Lamport, "Paxos Made Simple" (2001): one test per sentence that we rely on.

Each docstring quotes the sentence with its section. The roles are production's own, on the bench
of tests/core/builders.py or in a simulated world.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from tests.core.builders import (
    A1,
    A2,
    A3,
    A4,
    ACCEPTORS,
    C1,
    L1,
    LEARNERS,
    P1,
    P2,
    P3,
    PROPOSERS,
    Bench,
    a_leader,
    a_learner,
    a_proposer,
    an_acceptor,
    members,
    messages,
    preparing,
    promise,
    records,
    sent,
)

from paxos.core.configuring import packed
from paxos.core.effects import AcceptedEntry, Counted, Persist, Promised, Send
from paxos.core.messages import (
    Accept,
    Accepted,
    AcceptedValue,
    Change,
    Nack,
    Prepare,
    Promise,
    Submit,
    Unstick,
    Value,
)
from paxos.core.proposer import NO_OP, Phase
from paxos.core.settings import Limits, Settings
from paxos.core.types import Ballot, NodeId, Slot, ballot_from, owner_of
from paxos.sim.world import World, membership_of


def prepare(ballot: int) -> Prepare:
    return Prepare(ballot=Ballot(ballot), first=Slot(1), last=Slot(0))


def accept(ballot: int, value: bytes = b"v", slot: int = 1) -> Accept:
    return Accept(ballot=Ballot(ballot), slot=Slot(slot), value=value, decided=Slot(0))


def kept(slot: int, ballot: int, value: bytes) -> AcceptedValue:
    return AcceptedValue(slot=Slot(slot), ballot=Ballot(ballot), value=value)


def proposals(effects: list[Any]) -> list[tuple[int, bytes]]:
    return [(m.slot, m.value) for m in messages(effects, Accept)]


def submitted(bench: Bench, *batches: bytes) -> list[tuple[int, bytes]]:
    """Hand batches to a leader, each drained by itself; return what it proposes."""
    out = []
    for number, batch in enumerate(batches, 1):
        message = Submit(stream=1, attempt=1, head=1, sequence=number, batch=batch)
        bench.receive(C1, message)
        out += proposals(bench.drain())
    return out


def a_world(seed: int = 1) -> World:
    """Return a cluster that has served one write."""
    world = World(seed)
    world.keep_messages = True
    world.start()
    assert world.run_until(lambda: world.leader is not None)
    world.ask(C1, 1, [b"WRITE", b"first"])
    assert world.wait_for_replies(1, 1)
    return world


def values(world: World, gateway: NodeId, connection: int) -> list[bytes]:
    world.read(gateway, connection, [b"READ"])
    return [value for _, value in world.wait_for_replies(connection, 1)[0]]


# ---------------------------------------------------------------- 2.1 the problem


def test_only_a_proposed_value_is_chosen_when_values_are_chosen() -> None:
    """2.1: "Only a value that has been proposed may be chosen"."""
    world = a_world()
    world.ask(C1, 2, [b"WRITE", b"a"], [b"WRITE", b"b"])
    world.wait_for_replies(2, 2)
    assert set(values(world, C1, 3)) == {b"first", b"a", b"b"}
    proposed = {(m.slot, m.value) for _, _, _, m in world.sent if isinstance(m, Accept)}
    for name in ACCEPTORS:
        log = world.role(name).log
        held = {(e.slot, e.value) for e in log.entries(1, log.highest_slot, 10**9)}
        assert held <= proposed


def test_only_a_single_value_is_chosen_when_proposers_differ() -> None:
    """2.1: "Only a single value is chosen"."""
    acceptors = {name: an_acceptor(name) for name in ACCEPTORS}
    learner = a_learner()
    for ballot, value in ((101, b""), (202, b"other"), (303, b"third")):
        proposer = owner_of(Ballot(ballot))
        for name in (A1, A2):
            for vote in messages(acceptors[name].receive(proposer, accept(ballot)), Accepted):
                learner.receive(name, vote)
        learner.receive(proposer, Value(ballot=Ballot(101), slot=Slot(1), value=value))
    assert learner.role.machine.applied == 1
    before = learner.role.machine.digest()
    learner.receive(A3, Accepted(ballot=Ballot(303), slot=Slot(1)))
    assert learner.role.machine.digest() == before


def test_a_value_is_learned_only_when_it_has_been_chosen() -> None:
    """2.1: "A process never learns that a value has been chosen unless it actually has been"."""
    learner = a_learner()
    learner.receive(P1, Value(ballot=Ballot(101), slot=Slot(1), value=b""))
    learner.receive(A1, Accepted(ballot=Ballot(101), slot=Slot(1)))
    assert learner.role.machine.applied == 0


@pytest.mark.parametrize("seed", range(5))
def test_safety_holds_when_messages_are_late_duplicated_and_lost(seed: int) -> None:
    """2.1: "Messages can take arbitrarily long to be delivered, can be duplicated, and can be
    lost, but they are not corrupted."
    """
    world = World(seed)
    world.network.loss = 0.2
    world.network.duplication = 0.3
    world.network.reorder = True
    world.network.delay_ms_max = 40
    world.start()
    assert world.run_until(lambda: world.leader is not None)
    sent_values = [b"%d" % n for n in range(10)]
    for number, value in enumerate(sent_values):
        world.ask(C1, number, [b"WRITE", value])
    world.run_until(lambda: all(world.replies.get(n) for n in range(10)))
    assert values(world, NodeId("client-2"), 99) == sent_values


def test_nothing_is_forgotten_when_agents_fail_by_stopping_and_restart() -> None:
    """2.1: "Agents operate at arbitrary speed, may fail by stopping, and may restart"."""
    world = a_world()
    for name in (*ACCEPTORS, *PROPOSERS, *LEARNERS):
        world.crash(name)
    world.start()
    assert values(world, C1, 2) == [b"first"]


# ---------------------------------------------------------------- 2.2 choosing a value


def test_any_two_majorities_share_an_acceptor_when_drawn() -> None:
    """2.2: "Because any two majorities have at least one acceptor in common, this works if an
    acceptor can accept at most one value."
    """
    membership = membership_of(acceptors=5)
    majorities = list(combinations(membership.acceptors, membership.quorum_size))
    assert all(set(a) & set(b) for a in majorities for b in majorities)


def test_the_first_proposal_is_accepted_when_nothing_came_before() -> None:
    """P1: "An acceptor must accept the first proposal that it receives"."""
    effects = an_acceptor().receive(P1, accept(101))
    assert messages(effects, Accepted) == [Accepted(ballot=Ballot(101), slot=Slot(1))]


def test_different_proposals_have_different_numbers_when_proposers_differ() -> None:
    """2.2: "we require that different proposals have different numbers"; 2.5: "Different
    proposers choose their numbers from disjoint sets of numbers, so two different proposers never
    issue a proposal with the same number."
    """
    ballots = [ballot_from(counter, number) for counter in range(1, 50) for number in range(1, 100)]
    assert len(set(ballots)) == len(ballots)
    assert all(owner_of(b) == f"proposer-{b % 100}" for b in ballots)
    numbers = {messages(preparing(a_proposer(p)), Prepare)[0].ballot for p in PROPOSERS}
    assert numbers == {101, 102, 103}


def test_a_value_is_chosen_when_a_majority_has_accepted_one_proposal() -> None:
    """2.2: "A value is chosen when a single proposal with that value has been accepted by a
    majority of the acceptors. In that case, we say that the proposal (as well as its value) has
    been chosen."
    """
    learner = a_learner()
    learner.receive(P1, Value(ballot=Ballot(101), slot=Slot(1), value=b""))
    for name in (A1, A2):
        assert learner.role.machine.applied == 0
        learner.receive(name, Accepted(ballot=Ballot(101), slot=Slot(1)))
    assert learner.role.machine.applied == 1


def test_every_higher_proposal_has_the_chosen_value_when_one_is_chosen() -> None:
    """P2: "If a proposal with value v is chosen, then every higher-numbered proposal that is
    chosen has value v." P2b: "... every higher-numbered proposal issued by any proposer has value
    v." Whichever majority promises, one of its members voted.
    """
    for voters in combinations(ACCEPTORS, 2):
        for promisers in combinations(ACCEPTORS, 2):
            acceptors = {name: an_acceptor(name) for name in ACCEPTORS}
            for name in voters:
                acceptors[name].receive(P1, accept(101, b"chosen"))
            proposer = a_proposer(P2)
            [request] = messages(preparing(proposer, promised=Ballot(101)), Prepare)
            effects: list[Any] = []
            for name in promisers:
                [answer] = messages(acceptors[name].receive(P2, request), Promise)
                effects = proposer.receive(name, answer)
            assert proposals(effects) == [(1, b"chosen")]


def test_every_acceptor_accepts_the_chosen_value_when_it_accepts_later() -> None:
    """P2a: "If a proposal with value v is chosen, then every higher-numbered proposal accepted by
    any acceptor has value v." Acceptor-3, which never heard of it, included.
    """
    world = a_world()
    leader = world.leader
    assert leader is not None
    world.cut([A3], world.membership.nodes)
    world.ask(C1, 2, [b"WRITE", b"chosen"])
    [slot] = world.wait_for_replies(2, 1)
    held = world.role(A1).log.entry(slot)
    world.crash(leader)
    world.heal()
    world.crash(A1)
    assert world.run_until(lambda: world.leader not in (None, leader))
    world.read(NodeId("client-2"), 3, [b"READ"])
    assert [v for _, v in world.wait_for_replies(3, 1)[0]] == [b"first", b"chosen"]
    later = world.role(A3).log.entry(slot)
    if later is not None:
        assert later.ballot > held.ballot
        assert later.value == held.value


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [
        ([], [], None),
        ([kept(1, 101, b"a")], [], b"a"),
        ([kept(1, 101, b"a")], [kept(1, 202, b"b")], b"b"),
        ([kept(1, 303, b"c")], [kept(1, 202, b"b")], b"c"),
        ([kept(1, 202, b"b")], [kept(1, 202, b"b")], b"b"),
    ],
)
def test_the_highest_numbered_value_is_proposed_when_a_majority_answered(
    first: list[AcceptedValue], second: list[AcceptedValue], value: bytes | None
) -> None:
    """P2c: "there is a set S consisting of a majority of acceptors such that either (a) no acceptor
    in S has accepted any proposal numbered less than n, or (b) v is the value of the
    highest-numbered proposal among all proposals numbered less than n accepted by the acceptors in
    S." In case (a) the proposer is free to choose: here, a client's value.
    """
    proposer = a_proposer()
    preparing(proposer, promised=Ballot(303))
    proposer.receive(A1, promise(401, *first))
    effects = proposer.receive(A2, promise(401, *second))
    assert proposals(effects) == ([] if value is None else [(1, value)])
    [(slot, _)] = submitted(proposer, b"a client's")
    assert slot == (1 if value is None else 2)


def test_an_acceptor_accepts_when_it_has_not_promised_more() -> None:
    """P1a: "An acceptor can accept a proposal numbered n iff it has not responded to a prepare
    request having a number greater than n."
    """
    for promised, ballot, accepts in ((202, 101, False), (202, 202, True), (202, 301, True)):
        acceptor = an_acceptor()
        acceptor.receive(owner_of(Ballot(promised)), prepare(promised))
        effects = acceptor.receive(owner_of(Ballot(ballot)), accept(ballot))
        assert bool(messages(effects, Accepted)) is accepts


def test_an_acceptor_may_ignore_any_request_when_it_must_not_vote() -> None:
    """2.2: "An acceptor can ignore any request without compromising safety": one on a volume that
    it cannot vouch for does, and the others go on.
    """
    world = a_world()
    world.wipe(A2)
    world.start([A2])
    assert world.run_until(lambda: world.role(A2).phase == "barred")
    world.ask(C1, 2, [b"WRITE", b"second"])
    assert world.wait_for_replies(2, 1)
    assert values(world, C1, 3) == [b"first", b"second"]
    assert world.role(A2).log.highest_slot == 0


def test_no_promise_is_made_when_one_for_a_higher_number_was() -> None:
    """2.2: "there is no reason for the acceptor to respond to the new prepare request, since it
    will not accept the proposal [...] So we have the acceptor ignore such a prepare request." We
    depart: it answers with a Nack (2.2 goes on: "It is probably a good idea to abandon a
    proposal if some proposer has begun trying to issue a higher-numbered one").
    """
    acceptor = an_acceptor()
    acceptor.receive(P2, prepare(202))
    effects = acceptor.receive(P1, prepare(101))
    assert messages(effects, Promise) == []
    assert messages(effects, Nack) == [Nack(ballot=Ballot(101), promised=Ballot(202))]


def test_a_proposal_is_abandoned_when_a_higher_number_has_begun() -> None:
    """2.2: "if an acceptor ignores a prepare or accept request because it has already received a
    prepare request with a higher number, then it should probably inform the proposer, who should
    then abandon its proposal."
    """
    for bench in (a_leader(), a_proposer()):
        if bench.role.phase is not Phase.LEADING:
            preparing(bench)
        nack = Nack(ballot=bench.role.ballot, promised=Ballot(502))
        effects = bench.receive(A1, nack)
        assert bench.role.phase is Phase.FOLLOWING
        assert bench.role.open == {}
        assert messages(effects, Accept) == []


def test_highest_accepted_and_highest_answered_are_remembered_when_it_fails() -> None:
    """2.2: "an acceptor needs to remember only the highest-numbered proposal that it has ever
    accepted and the number of the highest-numbered prepare request to which it has responded.
    Because P2c must be kept invariant regardless of failures, an acceptor must remember this
    information even if it fails and then restarts."
    """
    acceptor = an_acceptor()
    acceptor.receive(P1, accept(101, b"old"))
    acceptor.receive(P2, accept(202, b"new"))
    acceptor.receive(P3, prepare(303))
    assert acceptor.journal is not None
    acceptor.journal.sync()
    again = an_acceptor(journal=acceptor.journal.crash())
    assert messages(again.receive(P2, accept(202, b"late", slot=2)), Nack)
    [answer] = messages(again.receive(P1, prepare(401)), Promise)
    assert answer.accepted == [kept(1, 202, b"new")]


def test_a_proposer_may_forget_everything_but_its_number_when_it_fails() -> None:
    """2.2: "the proposer can always abandon a proposal and forget all about it, as long as it never
    tries to issue another proposal with the same number."
    """
    world = a_world()
    leader = world.leader
    assert leader is not None
    used = [role.ballot for role in (world.role(leader),)]
    for name in PROPOSERS:
        world.crash(name)
    world.start()
    assert world.run_until(lambda: world.leader is not None)
    assert world.role(world.leader).ballot not in used
    assert values(world, C1, 2) == [b"first"]


# ---------------------------------------------------------------- 2.2 the algorithm


def test_phase_1a_goes_to_a_majority_when_a_number_is_selected() -> None:
    """Phase 1 (a): "A proposer selects a proposal number n and sends a prepare request with number
    n to a majority of acceptors." (To all of them.)"""
    [(to, request)] = sent(preparing(a_proposer()), Prepare)
    assert membership_of().is_quorum(to)
    assert request.ballot == 101


def test_phase_1b_promises_and_tells_when_the_number_is_greater() -> None:
    """Phase 1 (b): "If an acceptor receives a prepare request with number n greater than that of
    any prepare request to which it has already responded, then it responds to the request with a
    promise not to accept any more proposals numbered less than n and with the highest-numbered
    proposal (if any) that it has accepted."
    """
    acceptor = an_acceptor()
    acceptor.receive(P1, accept(101, b"v"))
    [answer] = messages(acceptor.receive(P2, prepare(202)), Promise)
    assert (answer.ballot, answer.accepted) == (202, [kept(1, 101, b"v")])
    assert messages(acceptor.receive(P1, accept(101, b"w", slot=2)), Nack)


def test_phase_2a_begins_when_a_majority_has_responded() -> None:
    """Phase 2 (a): "If the proposer receives a response to its prepare requests (numbered n) from a
    majority of acceptors, then it sends an accept request to each of those acceptors for a proposal
    numbered n with a value v, where v is the value of the highest-numbered proposal among the
    responses, or is any value if the responses reported no proposals."
    """
    proposer = a_proposer()
    preparing(proposer)
    assert proposals(proposer.receive(A1, promise(101, kept(1, 3, b"v")))) == []
    effects = proposer.receive(A3, promise(101))
    [(to, request)] = sent(effects, Accept)
    assert {A1, A3} <= set(to)
    assert (request.ballot, request.slot, request.value) == (101, 1, b"v")


def test_phase_2b_accepts_when_no_greater_prepare_was_answered() -> None:
    """Phase 2 (b): "If an acceptor receives an accept request for a proposal numbered n, it accepts
    the proposal unless it has already responded to a prepare request having a number greater than
    n."
    """
    acceptor = an_acceptor()
    acceptor.receive(P2, prepare(202))
    assert messages(acceptor.receive(P1, accept(101)), Accepted) == []
    assert messages(acceptor.receive(P2, accept(202)), Accepted)


# ---------------------------------------------------------------- 2.3 learning


def test_each_acceptor_tells_all_learners_when_it_accepts() -> None:
    """2.3: "The obvious algorithm is to have each acceptor, whenever it accepts a proposal, respond
    to all learners, sending them the proposal." (The value travels from the leader.)"""
    [(to, _)] = sent(an_acceptor().receive(P1, accept(101)), Accepted)
    assert set(LEARNERS) <= set(to)
    leader = a_leader()
    message = Submit(stream=1, attempt=1, head=1, sequence=1, batch=b"x")
    leader.receive(C1, message)
    [(learners, _)] = sent(leader.drain(), Value)
    assert learners == LEARNERS


def test_the_acceptors_are_asked_when_a_message_was_lost() -> None:
    """2.3: "Because of message loss, a value could be chosen with no learner ever finding out. The
    learner could ask the acceptors what proposals they have accepted."
    """
    world = a_world()
    leader = world.leader
    assert leader is not None
    world.cut([*ACCEPTORS, leader], LEARNERS)
    world.ask(C1, 2, [b"WRITE", b"unheard"])
    world.run_for(300)
    assert not world.replies.get(2)
    assert world.role(A1).log.highest_slot == world.role(A2).log.highest_slot
    world.heal()
    world.crash(leader)
    assert world.wait_for_replies(2, 1)
    assert values(world, C1, 3) == [b"first", b"unheard"]


def test_a_new_proposal_settles_it_when_an_acceptor_is_gone() -> None:
    """2.3: "failure of an acceptor could make it impossible to know whether or not a majority had
    accepted a particular proposal. In that case, learners will find out what value is chosen only
    when a new proposal is chosen. If a learner needs to know whether a value has been chosen, it
    can have a proposer issue a proposal."
    """
    leader = a_leader()
    effects = leader.receive(L1, Unstick(first=Slot(1), last=Slot(1)))
    assert proposals(effects) == [(1, NO_OP)]


# ---------------------------------------------------------------- 2.4 progress


def test_one_proposer_alone_proposes_when_several_run() -> None:
    """2.4: "To guarantee progress, a distinguished proposer must be selected as the only one to try
    issuing proposals."
    """
    world = a_world()
    world.run_for(5000)
    phases = sorted(str(world.role(name).phase) for name in PROPOSERS)
    assert phases == ["follower", "follower", "leading"]


def test_it_succeeds_when_its_number_is_high_enough() -> None:
    """2.4: "If the distinguished proposer can communicate successfully with a majority of
    acceptors, and if it uses a proposal with number greater than any already used, then it will
    succeed in issuing a proposal that is accepted."
    """
    world = a_world()
    old = world.leader
    assert old is not None
    ballot = world.role(old).ballot
    world.crash(old)
    world.crash(A1)
    assert world.run_until(lambda: world.leader is not None)
    assert world.role(world.leader).ballot > ballot
    world.ask(C1, 2, [b"WRITE", b"second"])
    assert isinstance(world.wait_for_replies(2, 1)[0], int)


def test_safety_holds_when_several_believe_that_they_lead() -> None:
    """2.4: "safety is ensured regardless of the success or failure of the election"."""
    acceptors = {name: an_acceptor(name) for name in ACCEPTORS}
    one, two = a_leader(P1), a_proposer(P2)
    [request] = messages(preparing(two, promised=Ballot(101)), Prepare)
    effects: list[Any] = []
    for name in (A2, A3):
        [answer] = messages(acceptors[name].receive(P2, request), Promise)
        effects = two.receive(name, answer)
    assert one.role.phase is two.role.phase is Phase.LEADING
    assert proposals(effects) == []
    votes = 0
    for name in ACCEPTORS:
        votes += len(messages(acceptors[name].receive(P1, accept(101, b"one")), Accepted))
    assert votes == 1  # acceptor-1 alone: no majority, whatever proposer-1 believes


# ---------------------------------------------------------------- 2.5 the implementation


def test_the_response_is_recorded_before_it_is_sent_when_an_acceptor_answers() -> None:
    """2.5: "Stable storage, preserved during failures, is used to maintain the information that the
    acceptor must remember. An acceptor records its intended response in stable storage before
    actually sending the response."
    """
    acceptor = an_acceptor()
    for message, kind in ((prepare(101), Promised), (accept(101), AcceptedEntry)):
        effects = acceptor.receive(P1, message)
        first = next(i for i, e in enumerate(effects) if isinstance(e, Persist))
        answer = next(i for i, e in enumerate(effects) if isinstance(e, Send))
        assert type(records(effects)[0]) is kind
        assert first < answer


def test_the_highest_number_is_remembered_when_a_proposer_begins_again() -> None:
    """2.5: "Each proposer remembers (in stable storage) the highest-numbered proposal it has tried
    to issue, and begins phase 1 with a higher proposal number than any it has already used."
    """
    proposer = a_proposer()
    used = []
    for _ in range(4):
        effects = preparing(proposer)
        [record] = records(effects)
        [request] = messages(effects, Prepare)
        assert record == Counted(counter=request.ballot // 100)
        used.append(request.ballot)
        nack = Nack(ballot=request.ballot, promised=Ballot(request.ballot + 1))
        proposer.receive(A1, nack)
    assert used == sorted(set(used))


# ---------------------------------------------------------------- 3 a state machine


def test_every_server_has_the_same_state_when_it_executed_the_same_commands() -> None:
    """3: "Because the state machine is deterministic, all servers will produce the same sequences
    of states and outputs if they all execute the same sequence of commands."
    """
    world = a_world()
    for number in range(2, 12):
        world.ask(C1, number, [b"INCR", b"n"], [b"WRITE", b"x"])
        world.wait_for_replies(number, 2)
    world.run_for(1000)
    one, other = (world.role(name).machine for name in LEARNERS)
    assert one.applied == other.applied > 10
    assert one.digest() == other.digest()


def test_the_value_of_an_instance_is_the_command_at_its_place_when_decided() -> None:
    """3: "the value chosen by the ith instance being the ith state machine command in the
    sequence."
    """
    world = a_world()
    slots = []
    for number in range(2, 6):
        world.ask(C1, number, [b"WRITE", b"%d" % number])
        slots += world.wait_for_replies(number, 1)
    assert slots == sorted(set(slots))
    assert values(world, C1, 9) == [b"first", b"2", b"3", b"4", b"5"]


def test_phase_1_runs_once_for_infinitely_many_instances_when_leadership_begins() -> None:
    """3: "A newly chosen leader executes phase 1 for infinitely many instances of the consensus
    algorithm"; "it can do this by sending a single reasonably short message to the other servers".
    """
    proposer = a_proposer()
    requests = messages(preparing(proposer, decided=Slot(134)), Prepare)
    assert requests == [Prepare(ballot=Ballot(101), first=Slot(135), last=Slot(0))]
    proposer.receive(A1, promise(101, first=135))
    proposer.receive(A2, promise(101, first=135))
    assert [slot for slot, _ in submitted(proposer, b"a", b"b", b"c")] == [135, 136, 137]


def test_an_acceptor_answers_for_all_instances_in_one_message_when_asked() -> None:
    """3: "In phase 1, an acceptor responds with more than a simple OK only if it has already
    received a phase 2 message from some proposer."
    """
    acceptor = an_acceptor()
    [empty] = messages(acceptor.receive(P1, prepare(101)), Promise)
    assert empty.accepted == []
    acceptor.receive(P1, accept(101, b"135", slot=135))
    acceptor.receive(P1, accept(101, b"140", slot=140))
    [answer] = messages(acceptor.receive(P2, prepare(202)), Promise)
    assert answer.accepted == [kept(135, 101, b"135"), kept(140, 101, b"140")]


def test_a_gap_is_filled_with_a_no_op_when_the_new_leader_finds_one() -> None:
    """3: "we let it fill the gap immediately by proposing, as commands 136 and 137, a special
    'no-op' command that leaves the state unchanged."
    """
    proposer = a_proposer()
    preparing(proposer, decided=Slot(134))
    proposer.receive(A1, promise(101, kept(135, 3, b"135"), first=135))
    effects = proposer.receive(A2, promise(101, kept(138, 3, b"138"), first=135))
    assert proposals(effects) == [(135, b"135"), (136, NO_OP), (137, NO_OP), (138, b"138")]
    learner = a_learner()
    before = learner.role.machine.revision
    learner.receive(P1, Value(ballot=Ballot(101), slot=Slot(1), value=NO_OP))
    for name in (A1, A2):
        learner.receive(name, Accepted(ballot=Ballot(101), slot=Slot(1)))
    assert learner.role.machine.applied == 1
    assert learner.role.machine.revision == before


def test_commands_are_proposed_before_earlier_ones_are_chosen_when_leading() -> None:
    """3: "The leader can propose command 142 before it learns that its proposed command 141 has
    been chosen"; "a leader can get alpha commands ahead."
    """
    limits = Limits(slots_inflight_max=3)
    leader = a_leader(settings=Settings(limits=limits))
    assert [slot for slot, _ in submitted(leader, *[b"x"] * 9)] == [1, 2, 3]
    for name in (A1, A2):
        leader.receive(name, Accepted(ballot=leader.role.ballot, slot=Slot(2)))
    effects = leader.drain()
    assert len(messages(effects, Accept)) == 1


def test_a_server_executes_a_command_only_when_all_before_it_are_executed() -> None:
    """3: "it can't execute commands 138-140, which it also knows, because commands 136 and 137 have
    yet to be chosen."
    """
    learner = a_learner()
    for slot in (1, 4, 5, 2):
        learner.receive(P1, Value(ballot=Ballot(101), slot=Slot(slot), value=NO_OP))
        for name in (A2, A3):
            learner.receive(name, Accepted(ballot=Ballot(101), slot=Slot(slot)))
    assert learner.role.machine.applied == 2


def test_the_state_machine_says_who_the_acceptors_are_when_a_command_has_changed_them() -> None:
    """3, on reconfiguration: "The current set of servers can be made part of the state and can be
    changed with ordinary state-machine commands." Instance i + alpha is executed by the servers
    that the state names after command i: here alpha is 1 around a change, so that nothing is
    proposed after one that is not chosen.
    """
    change = packed(Change(epoch=1, members=members((A1, A2, A3, A4))))
    leader = a_proposer()
    preparing(leader)
    leader.receive(A1, promise(101, kept(1, 3, change)))
    leader.receive(A2, promise(101))
    assert submitted(leader, b"next") == []
    learner = a_learner()
    learner.receive(P1, Value(ballot=Ballot(101), slot=Slot(1), value=change))
    learner.receive(P1, Value(ballot=Ballot(101), slot=Slot(2), value=NO_OP))
    for name in (A1, A2):
        for slot in (1, 2):
            vote = Accepted(ballot=Ballot(101), slot=Slot(slot))
            learner.receive(name, vote)
        leader.receive(name, Accepted(ballot=Ballot(101), slot=Slot(1)))
    assert learner.role.machine.applied == 1, "two of four are no majority"
    assert leader.role.phase is Phase.PREPARING
    learner.receive(A4, Accepted(ballot=Ballot(101), slot=Slot(2)))
    assert learner.role.machine.applied == 2
    for name in (A1, A2, A4):
        leader.receive(name, promise(101, first=2))
    assert leader.role.electorate == {A1, A2, A4}
    assert [slot for slot, _ in proposals(leader.drain())] == [2]
