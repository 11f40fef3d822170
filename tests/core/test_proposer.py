from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.core.builders import (
    A1,
    A2,
    A3,
    A4,
    A31,
    ACCEPTORS,
    C1,
    C2,
    CLUSTER,
    L1,
    L2,
    LEARNERS,
    P1,
    P2,
    P3,
    Bench,
    a_leader,
    a_proposer,
    cancelled,
    canvass_reply,
    configuration,
    members,
    messages,
    nothing_sent,
    preparing,
    promise,
    records,
    sent,
    timers,
    traced,
)

from paxos.core.changing import (
    ASKING_MS_MAX,
    CHANGE,
    CHANGE_TICK_MS,
    DRAINING_MS_MAX,
    Step,
)
from paxos.core.configuring import change_in, packed
from paxos.core.effects import (
    Configured,
    Connected,
    Counted,
    Effect,
    Recovered,
    Relink,
    Send,
    Stamped,
)
from paxos.core.errors import InvariantViolation
from paxos.core.messages import (
    Abstain,
    Accept,
    Accepted,
    AcceptedValue,
    AskConfiguration,
    AskWhole,
    Canvass,
    Change,
    ChangeMembers,
    Configuration,
    Envelope,
    Heartbeat,
    HeartbeatReply,
    Joining,
    LeaderState,
    MembersChanged,
    Nack,
    NotLeader,
    Prepare,
    Submit,
    Tick,
    Unstick,
    Value,
    Whole,
)
from paxos.core.proposer import NO_OP, Phase, Proposer
from paxos.core.settings import Limits, Settings
from paxos.core.types import Ballot, NodeId, Slot
from paxos.sim.world import membership_of
from paxos.storage.memory import MemoryJournal


def kept(slot: int, ballot: int, value: bytes) -> AcceptedValue:
    return AcceptedValue(slot=Slot(slot), ballot=Ballot(ballot), value=value)


def submit(
    sequence: int,
    batch: bytes = b"batch",
    attempt: int = 1,
    stream: int = 1,
    head: int = 1,
    learner: NodeId | None = None,
) -> Submit:
    return Submit(
        stream=stream,
        attempt=attempt,
        head=head,
        sequence=sequence,
        batch=batch,
        learner=learner,
    )


def vote(bench: Bench, slot: int) -> Accepted:
    return Accepted(ballot=bench.role.ballot, slot=Slot(slot))


def proposals(effects: list[Any]) -> list[tuple[int, bytes]]:
    return [(m.slot, m.value) for m in messages(effects, Accept)]


def proposed(bench: Bench, *batches: bytes) -> list[tuple[int, bytes]]:
    """Submit batches in one stream, each drained by itself; return what was proposed."""
    out = []
    for number, batch in enumerate(batches, 1):
        bench.receive(C1, submit(number, batch))
        out += proposals(bench.drain())
    return out


# ---------------------------------------------------------------- standing


def test_a_proposer_asks_before_it_stands_when_it_knows_no_leader() -> None:
    """DESIGN "Election": a candidate first canvasses, which changes nothing."""
    bench = a_proposer()
    effects = bench.fire("election")
    assert sent(effects, Canvass) == [(ACCEPTORS, Canvass(round=1))]
    assert records(effects) == []
    assert bench.role.phase is Phase.CANVASSING


def test_the_counter_is_durable_before_the_prepare_when_standing() -> None:
    """DESIGN rule 1: "The counter is durable before the Prepare that carries it leaves"."""
    bench = a_proposer()
    effects = preparing(bench)
    assert records(effects) == [Counted(counter=1)]
    prepare = Prepare(ballot=Ballot(101), first=Slot(1), last=Slot(0))
    assert sent(effects, Prepare) == [(ACCEPTORS, prepare)]
    assert bench.role.phase is Phase.PREPARING


def test_the_ballot_is_above_every_promise_seen_when_standing() -> None:
    """DESIGN rule 1: the counter rises above what a quorum has promised."""
    bench = a_proposer(P2)
    [prepare] = messages(preparing(bench, promised=Ballot(703)), Prepare)
    assert prepare.ballot == 802


def test_the_counter_goes_on_when_the_proposer_starts_again() -> None:
    """DESIGN rule 1: never restarts at zero."""
    bench = a_proposer()
    preparing(bench)
    assert bench.journal is not None
    bench.journal.sync()
    journal = bench.journal.crash()
    role = Proposer(P1, membership_of(), Settings(), journal.recovered)
    again = Bench(role, journal)
    again.start()
    [prepare] = messages(preparing(again), Prepare)
    assert prepare.ballot == 201


def test_phase_1_begins_at_the_first_slot_not_known_decided_when_standing() -> None:
    """DESIGN rule 4."""
    [prepare] = messages(preparing(a_proposer(), decided=Slot(7)), Prepare)
    assert (prepare.first, prepare.last) == (8, 0)


def test_a_proposer_does_not_stand_when_its_volume_has_no_owner_yet() -> None:
    """DESIGN rule 8: the counter of an unfounded cluster has nowhere to go."""
    role = Proposer(P1, membership_of(), Settings(), Recovered())
    bench = Bench(role, MemoryJournal())
    bench.start()
    assert nothing_sent(preparing(bench))
    [stamp] = records(bench.connect(A1, CLUSTER))
    assert stamp == Stamped(cluster=CLUSTER, node=P1, phase="open", acceptors=ACCEPTORS)
    assert messages(preparing(bench), Prepare)


def test_a_proposer_keeps_asking_and_changes_nothing_when_no_quorum_would_follow() -> None:
    """DESIGN "Election": without a quorum it does not disturb one that has it."""
    bench = a_proposer()
    for _ in range(3):
        effects = bench.fire("election")
        assert messages(effects, Canvass)
        assert nothing_sent(bench.receive(A1, canvass_reply(bench)))
    assert bench.role.counter == 0


def test_an_unanswered_prepare_is_sent_again_and_then_given_up() -> None:
    """STYLE 19: retries have a limit; only those that did not answer are asked."""
    bench = a_proposer()
    preparing(bench)
    bench.receive(A2, promise(101))
    for _ in range(3):
        [(to, _)] = sent(bench.fire("prepare"), Prepare)
        assert to == (A1, A3)
    effects = bench.fire("prepare")
    assert "stepped_down" in traced(effects)
    assert bench.role.phase is Phase.FOLLOWING


# ---------------------------------------------------------------- phase 1 done


def test_a_proposer_leads_only_when_a_quorum_has_promised() -> None:
    """DESIGN rule 4; no phase 2 with a ballot nobody promised."""
    bench = a_proposer()
    preparing(bench)
    assert nothing_sent(bench.receive(A1, promise(101)))
    assert nothing_sent(bench.receive(A1, promise(101)))
    effects = bench.receive(A3, promise(101))
    assert traced(effects) == ["leading"]
    assert bench.role.phase is Phase.LEADING
    assert bench.role.electorate == {A1, A3}


def test_a_promise_counts_for_nothing_when_it_is_of_another_ballot() -> None:
    """DESIGN rule 5, for promises: one ballot."""
    bench = a_proposer()
    preparing(bench)
    bench.receive(A1, promise(101))
    assert nothing_sent(bench.receive(A2, promise(201)))
    assert bench.role.phase is Phase.PREPARING


def test_a_promise_counts_only_when_all_its_parts_are_there() -> None:
    """messages.Promise: "they count only when all are there"."""
    bench = a_proposer()
    preparing(bench)
    bench.receive(A1, promise(101))
    half = promise(101, kept(1, 3, b"one"), begin=1, end=1)
    assert nothing_sent(bench.receive(A2, half))
    assert bench.role.phase is Phase.PREPARING
    rest = promise(101, kept(2, 3, b"two"), begin=2)
    assert proposals(bench.receive(A2, rest)) == [(1, b"one"), (2, b"two")]


def test_no_vote_falls_between_parts_when_two_answers_were_cut_differently() -> None:
    """DESIGN rule 4: an answer whose end was lost may be completed by another answer's parts,
    however they come in, and yet no slot goes unasked.
    """
    bench = a_proposer()
    preparing(bench)
    bench.receive(A1, promise(101))
    # Of the first answer, the part for slot 2 is lost.
    bench.receive(A2, promise(101, kept(1, 3, b"one"), begin=1, end=1))
    bench.receive(A2, promise(101, kept(4, 3, b"four"), begin=4))
    # The second answer is cut elsewhere and comes in the wrong order.
    bench.receive(A2, promise(101, kept(3, 3, b"three"), begin=3))
    assert bench.role.phase is Phase.PREPARING
    first = promise(101, kept(1, 3, b"one"), kept(2, 3, b"two"), begin=1, end=2)
    assert [slot for slot, _ in proposals(bench.receive(A2, first))] == [1, 2, 3, 4]


def test_the_highest_ballots_value_is_proposed_again_when_promises_differ() -> None:
    """Paxos Made Simple, P2c; DESIGN rule 4."""
    bench = a_proposer(P3)
    preparing(bench, promised=Ballot(402))
    bench.receive(A1, promise(503, kept(1, 101, b"old"), kept(2, 402, b"b")))
    effects = bench.receive(A2, promise(503, kept(1, 202, b"new"), kept(2, 101, b"a")))
    assert proposals(effects) == [(1, b"new"), (2, b"b")]
    assert {m.ballot for m in messages(effects, Accept)} == {503}


def test_gaps_are_filled_with_no_ops_when_leading_begins() -> None:
    """DESIGN rule 4; Paxos Made Simple, 3."""
    bench = a_proposer()
    preparing(bench, decided=Slot(2))
    bench.receive(A1, promise(101, kept(4, 3, b"four"), first=3))
    effects = bench.receive(A2, promise(101, kept(6, 3, b"six"), first=3))
    assert proposals(effects) == [(3, NO_OP), (4, b"four"), (5, NO_OP), (6, b"six")]
    assert bench.role.next_slot == 7


def test_new_commands_come_after_what_was_taken_over_when_leading_begins() -> None:
    """DESIGN rule 4: "and only then takes new commands"."""
    bench = a_proposer()
    preparing(bench)
    bench.receive(A1, promise(101, kept(1, 3, b"old")))
    bench.receive(A2, promise(101))
    [(slot, value)] = proposed(bench, b"new")
    assert slot == 2
    assert msgspec.msgpack.decode(value, type=Envelope).batches == [b"new"]


# ---------------------------------------------------------------- leading


def test_a_value_goes_to_acceptors_and_learners_at_once_when_proposed() -> None:
    """DESIGN "One write", step 3."""
    bench = a_leader()
    bench.receive(C1, submit(1))
    effects = bench.drain()
    [(to, accept)] = sent(effects, Accept)
    [(learners, value)] = sent(effects, Value)
    assert (to, learners) == (ACCEPTORS, LEARNERS)
    assert (accept.ballot, accept.slot) == (101, 1)
    assert (value.ballot, value.slot, value.value) == (101, 1, accept.value)


def test_batches_share_a_slot_when_they_arrive_together() -> None:
    """DESIGN "One write": "No artificial waiting"; what waits together goes together."""
    bench = a_leader()
    bench.receive(C1, submit(1, b"one"))
    bench.receive(C2, submit(1, b"two"))
    [(slot, value)] = proposals(bench.drain())
    assert slot == 1
    assert msgspec.msgpack.decode(value, type=Envelope).batches == [b"one", b"two"]


def test_slots_are_pipelined_when_earlier_ones_are_open() -> None:
    """DESIGN "One write": "Slots are pipelined"."""
    bench = a_leader()
    assert [slot for slot, _ in proposed(bench, b"a", b"b", b"c")] == [1, 2, 3]
    assert sorted(bench.role.open) == [1, 2, 3]


def test_batches_wait_when_the_window_is_full() -> None:
    """Paxos Made Simple, 3: at most alpha slots ahead; STYLE 19."""
    bench = a_leader(settings=Settings(limits=Limits(slots_inflight_max=2)))
    assert [slot for slot, _ in proposed(bench, b"a", b"b", b"c")] == [1, 2]
    assert bench.role.status().queued == 1
    bench.receive(A1, vote(bench, 1))
    bench.receive(A3, vote(bench, 1))
    assert [slot for slot, _ in proposals(bench.drain())] == [3]


def test_a_batch_is_dropped_when_the_queue_is_full() -> None:
    """STYLE 19: the gateway sends it again in time."""
    limits = Limits(slots_inflight_max=1, leader_queue_bytes_max=10)
    bench = a_leader(settings=Settings(limits=limits))
    proposed(bench, b"a")
    bench.receive(C1, submit(2, b"123456"))
    assert bench.receive(C2, submit(1, b"123456")) == []
    assert bench.role.status().queued == 1


def test_a_batch_waits_alone_when_it_is_larger_than_the_queue_may_be() -> None:
    """Found by the simulator: dropped each time, it was never proposed."""
    limits = Limits(slots_inflight_max=1, leader_queue_bytes_max=3)
    bench = a_leader(settings=Settings(limits=limits))
    proposed(bench, b"a")
    bench.receive(C1, submit(2, b"123456"))
    assert bench.role.status().queued == 1


def test_a_slot_is_decided_when_a_quorum_of_distinct_acceptors_voted() -> None:
    """DESIGN rules 2 and 5."""
    bench = a_leader()
    proposed(bench, b"a")
    bench.receive(A1, vote(bench, 1))
    bench.receive(A1, vote(bench, 1))
    bench.receive(L1, vote(bench, 1))
    assert bench.role.decided == 0
    bench.receive(A2, vote(bench, 1))
    assert bench.role.decided == 1
    assert not bench.role.open


def test_decided_stops_at_the_gap_when_a_later_slot_is_chosen_first() -> None:
    """STYLE 1: decided = chosen, and every slot before it too."""
    bench = a_leader()
    proposed(bench, b"a", b"b")
    for acceptor in (A1, A2):
        bench.receive(acceptor, vote(bench, 2))
    assert bench.role.decided == 0
    for acceptor in (A1, A2):
        bench.receive(acceptor, vote(bench, 1))
    assert bench.role.decided == 2


def test_a_vote_counts_for_nothing_when_it_is_of_an_earlier_ballot() -> None:
    """DESIGN rule 5: one ballot."""
    bench = a_leader(P2)
    proposed(bench, b"a")
    for acceptor in ACCEPTORS:
        bench.receive(acceptor, Accepted(ballot=Ballot(101), slot=Slot(1)))
    assert bench.role.decided == 0


def test_a_sequence_is_proposed_once_and_in_order_when_a_gateway_repeats_itself() -> None:
    """messages.Submit: "without gap or repetition" within a stream and attempt."""
    bench = a_leader()

    def taken(message: Submit) -> bool:
        bench.receive(C1, message)
        return bool(proposals(bench.drain()))

    assert not taken(submit(6, head=5))  # its predecessor got lost
    assert taken(submit(5, head=5))
    assert not taken(submit(5, head=5))
    assert not taken(submit(7, head=5))
    assert taken(submit(6, head=6))
    assert taken(submit(5, attempt=2, head=5))
    assert not taken(submit(6, attempt=1, head=5))
    assert taken(submit(1, stream=2))


def test_a_batch_is_refused_when_the_proposer_does_not_lead() -> None:
    """DESIGN: a client is told where the leader is; nothing is done with its batch."""
    bench = a_proposer()
    beat = Heartbeat(ballot=Ballot(303), decided=Slot(0), round=1)
    bench.receive(P3, beat)
    effects = bench.receive(C1, submit(4, stream=9))
    refusal = NotLeader(stream=9, sequence=4, ballot=Ballot(303))
    assert sent(effects, NotLeader) == [((C1,), refusal)]


def test_an_unanswered_accept_is_sent_again_to_those_who_did_not_vote() -> None:
    """Lost messages are sent again, each slot after a longer wait than before."""
    bench = a_leader()
    proposed(bench, b"a")
    bench.receive(A2, vote(bench, 1))
    assert proposals(bench.fire("resend")) == []
    bench.now_ms += 150
    [(to, _)] = sent(bench.fire("resend"), Accept)
    assert to == (A1, A3)
    bench.now_ms += 150
    assert proposals(bench.fire("resend")) == []
    bench.now_ms += 150
    assert len(proposals(bench.fire("resend"))) == 1


def test_open_slots_are_sent_at_once_when_a_link_comes_back() -> None:
    """An acceptor or a learner that returns need not wait for a timer."""
    bench = a_leader()
    proposed(bench, b"a", b"b")
    bench.receive(A3, vote(bench, 1))
    assert [m.slot for _, m in sent(bench.connect(A3, CLUSTER), Accept)] == [2]
    assert [m.slot for _, m in sent(bench.connect(L2), Value)] == [1, 2]


def test_stamps_never_fall_when_the_clock_does() -> None:
    """DESIGN rule 12: no clock, however wrong, can break safety."""
    bench = a_leader()
    bench.now_ms = 5000.7
    [(_, first)] = proposed(bench, b"a")
    bench.now_ms = 100.0
    bench.receive(C2, submit(1))
    [(_, second)] = proposals(bench.drain())
    stamps = [msgspec.msgpack.decode(v, type=Envelope).time_ms for v in (first, second)]
    assert stamps == [5000, 5000]


# ---------------------------------------------------------------- losing office


def test_a_leader_steps_down_when_an_acceptor_promised_more() -> None:
    """Paxos Made Moderately Complex, 2.2: preemption."""
    bench = a_leader()
    proposed(bench, b"a")
    effects = bench.receive(A1, Nack(ballot=Ballot(101), promised=Ballot(502)))
    assert traced(effects) == ["stepped_down"]
    assert (bench.role.phase, bench.role.open, bench.role.ballot) == (Phase.FOLLOWING, {}, 0)
    assert {"heartbeat", "resend", "prepare"} <= cancelled(effects)
    [prepare] = messages(preparing(bench), Prepare)
    assert prepare.ballot == 601


def test_a_nack_is_ignored_when_it_is_of_an_earlier_ballot() -> None:
    """A late answer to an earlier candidacy ends nothing."""
    bench = a_leader()
    assert bench.receive(A1, Nack(ballot=Ballot(1), promised=Ballot(2))) == []
    assert bench.role.phase is Phase.LEADING


def test_a_leader_steps_down_when_no_quorum_answers_its_heartbeats() -> None:
    """DESIGN "Election": "a leader that loses its quorum steps down"."""
    bench = a_leader()
    beats = 0
    while bench.role.phase is Phase.LEADING:
        bench.fire("heartbeat")
        beats += 1
        answer = HeartbeatReply(ballot=Ballot(101), round=bench.role._round)
        bench.receive(A1, answer)
    assert beats == 5  # 350 ms of patience in beats of 100 ms


def test_a_leader_stays_when_a_quorum_answers_its_heartbeats() -> None:
    """DESIGN "Election"."""
    bench = a_leader()
    for _ in range(20):
        assert messages(bench.fire("heartbeat"), Heartbeat)
        for acceptor in (A1, A3):
            answer = HeartbeatReply(ballot=Ballot(101), round=bench.role._round)
            bench.receive(acceptor, answer)
    assert bench.role.phase is Phase.LEADING
    assert bench.role.status().voting == [A1, A3]


def test_a_leader_follows_when_a_higher_ballot_leads() -> None:
    """Paxos Made Moderately Complex, 2.2."""
    bench = a_leader()
    beat = Heartbeat(ballot=Ballot(202), decided=Slot(5), round=1)
    effects = bench.receive(P2, beat)
    assert traced(effects) == ["stepped_down", "following"]
    assert (bench.role.phase, bench.role.decided) == (Phase.FOLLOWING, 5)
    assert bench.role.status().leader == P2


def test_a_leader_stays_when_a_lower_ballot_says_it_leads() -> None:
    """An older leader learns the truth from the acceptors."""
    bench = a_leader(P2)
    beat = Heartbeat(ballot=Ballot(101), decided=Slot(0), round=1)
    assert bench.receive(P1, beat) == []
    assert bench.role.phase is Phase.LEADING


def test_a_heartbeat_is_ignored_when_its_ballot_is_not_the_senders() -> None:
    """DESIGN rule 1."""
    bench = a_proposer()
    beat = Heartbeat(ballot=Ballot(202), decided=Slot(0), round=1)
    assert bench.receive(P3, beat) == []
    assert bench.role.status().leader is None


def test_a_follower_stands_by_when_the_leader_is_heard() -> None:
    """DESIGN "Election": heartbeats."""
    bench = a_proposer()
    beat = Heartbeat(ballot=Ballot(303), decided=Slot(0), round=1)
    assert timers(bench.receive(P3, beat)) == {"election": 380}
    bench.now_ms += 350
    assert nothing_sent(bench.fire("election"))
    bench.now_ms += 1
    effects = bench.fire("election")
    assert traced(effects) == ["leader_silent"]
    assert messages(effects, Canvass)


def test_a_follower_suspects_at_once_when_the_leaders_link_closes() -> None:
    """DESIGN "Election": "an immediate hint: ... replaced in a few tens of milliseconds"."""
    bench = a_proposer()
    bench.receive(P3, Heartbeat(ballot=Ballot(303), decided=Slot(0), round=1))
    assert bench.disconnect(P2) == []
    effects = bench.disconnect(P3)
    assert traced(effects) == ["leader_link_closed"]
    assert timers(effects)["election"] < 60


# ---------------------------------------------------------------- telling gateways


def test_gateways_learn_who_leads_when_that_changes() -> None:
    """DESIGN: status shows leader, ballot, quorum."""
    bench = a_proposer()
    [(to, state)] = sent(bench.connect(C1), LeaderState)
    assert (to, state.ballot) == ((C1,), 0)
    preparing(bench)
    bench.receive(A1, promise(101))
    [(to, state)] = sent(bench.receive(A2, promise(101)), LeaderState)
    assert (to, state.ballot) == ((C1,), 101)


def test_gateways_learn_why_an_acceptor_abstains_when_it_says_so() -> None:
    """DESIGN rule 8: "It says why"."""
    bench = a_proposer()
    bench.connect(C2)
    effects = bench.receive(A3, Abstain(reason="its volume is blank"))
    assert traced(effects) == ["acceptor_abstains"]
    [state] = messages(effects, LeaderState)
    assert state.abstaining == {A3: "its volume is blank"}
    assert bench.receive(A3, Abstain(reason="its volume is blank")) == []
    bench.fire("election")
    bench.receive(A3, canvass_reply(bench))
    assert bench.role.status().abstaining == {}


# ---------------------------------------------------------------- helping learners


def unstick(first: int, last: int) -> Unstick:
    return Unstick(first=Slot(first), last=Slot(last))


def test_slots_above_the_log_are_filled_when_a_learner_waits_for_them() -> None:
    """DESIGN rule 7: "mind the read of a half-accepted write"."""
    bench = a_leader()
    assert proposals(bench.receive(L1, unstick(1, 3))) == [(1, NO_OP), (2, NO_OP), (3, NO_OP)]


def test_filling_stays_in_the_window_when_far_is_asked() -> None:
    """DESIGN rule 10: a message cannot make a leader open the whole log."""
    bench = a_leader(settings=Settings(limits=Limits(slots_inflight_max=4)))
    assert len(proposals(bench.receive(L1, unstick(1, 10**9)))) == 4


def decided_leader(*values: bytes) -> Bench:
    bench = a_leader()
    proposed(bench, *values)
    for slot in range(1, len(values) + 1):
        for acceptor in (A1, A2):
            bench.receive(acceptor, vote(bench, slot))
    assert bench.role.decided == len(values)
    return bench


def test_decided_slots_are_prepared_again_when_a_learner_is_stuck() -> None:
    """messages.Unstick: plain phase 1 and 2 at the leader's own ballot."""
    bench = decided_leader(b"a", b"b")
    effects = bench.receive(L1, unstick(1, 2))
    assert messages(effects, Prepare) == [Prepare(ballot=Ballot(101), first=Slot(1), last=Slot(2))]
    assert bench.role.decided == 2
    answer = promise(101, kept(1, 101, b"a"), kept(2, 101, b"b"), last=2)
    assert nothing_sent(bench.receive(A3, promise(101, kept(1, 1, b"x"), last=2)))
    assert proposals(bench.receive(A1, answer)) == [(1, b"a"), (2, b"b")]


def test_a_lost_vote_stops_the_process_when_a_decided_slot_has_none_left() -> None:
    """DESIGN rule 3: a quorum without a vote for a decided slot has lost what it had synced."""
    bench = decided_leader(b"a")
    bench.receive(L1, unstick(1, 1))
    bench.receive(A1, promise(101, last=1))
    with pytest.raises(InvariantViolation, match="acceptor-1, acceptor-3 lost"):
        bench.receive(A3, promise(101, last=1))


def test_only_a_leader_helps_when_a_learner_is_stuck() -> None:
    """No phase 2 without the promises of a quorum."""
    assert a_proposer().receive(L1, unstick(1, 5)) == []
    assert a_leader().receive(L1, unstick(5, 1)) == []


def test_a_due_deadline_enters_the_log_once_when_learners_ask() -> None:
    """DESIGN: expiry happens only through the log, so learners agree."""
    bench = a_leader()
    bench.now_ms = 5000
    assert bench.receive(L1, Tick(deadline_ms=5001)) == []
    [(slot, value)] = proposals(bench.receive(L1, Tick(deadline_ms=4990)))
    assert slot == 1
    assert msgspec.msgpack.decode(value, type=Envelope) == Envelope(time_ms=5000, batches=[])
    assert bench.receive(L2, Tick(deadline_ms=4990)) == []


def test_status_is_an_immutable_snapshot_when_taken() -> None:
    """STYLE 21."""
    bench = decided_leader(b"a")
    proposed_slot = bench.role.status()
    bench.receive(C2, submit(1))
    bench.drain()
    assert msgspec.to_builtins(proposed_slot) == {
        "phase": "leading",
        "ballot": 101,
        "leader": "proposer-1",
        "leader_ballot": 101,
        "decided": 1,
        "next_slot": 2,
        "inflight": 0,
        "queued": 0,
        "voting": ["acceptor-1", "acceptor-2", "acceptor-3"],
        "abstaining": {},
        "epoch": 0,
        "elections": 1,
        "proposals": 1,
    }


def test_an_unknown_timer_does_nothing_when_it_fires() -> None:
    """A timer of an earlier phase may still fire."""
    assert a_leader().fire("prepare") == []
    assert a_leader().fire("unheard-of") == []
    assert a_proposer().fire("heartbeat") == []
    assert a_proposer().fire("resend") == []


# ---------------------------------------------------------------- who is told at once


def accepts(effects: list[Effect]) -> list[tuple[tuple[NodeId, ...], bool, tuple[NodeId, ...]]]:
    """Return (to, relaxed, who does not wait for the votes) of every Accept that is sent."""
    return [
        (effect.to, effect.relaxed, effect.message.relaxed)
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Accept)
    ]


def test_a_quorum_is_asked_at_once_and_the_others_later_when_one_learner_is_waited_for() -> None:
    """proposer._propose: one lone write shall not wake up every process of the cluster."""
    bench = a_leader()
    bench.receive(C1, submit(1, learner=L1))
    effects = bench.drain()
    assert accepts(effects) == [((A1, A2), False, (L2, P1)), ((A3,), True, (L2, P1))]
    assert [to for to, _ in sent(effects, Value)] == [LEARNERS]


def test_each_learner_is_told_at_once_when_gateways_wait_for_both() -> None:
    """Batches that share a slot hurry everybody that one of them hurries."""
    bench = a_leader()
    bench.receive(C1, submit(1, learner=L1))
    bench.receive(C2, submit(1, learner=L2, stream=2))
    assert accepts(bench.drain()) == [((A1, A2), False, (P1,)), ((A3,), True, (P1,))]


def test_everybody_hurries_when_a_gateway_names_no_learner() -> None:
    """messages.Submit: "None: it waits for any"."""
    bench = a_leader()
    bench.receive(C1, submit(1))
    assert accepts(bench.drain()) == [(ACCEPTORS, False, ())]


def test_the_leader_wants_votes_at_once_when_its_window_fills() -> None:
    """proposer._relaxed: a leader that waits for votes late would have to hold batches back."""
    bench = a_leader(settings=Settings(limits=Limits(slots_inflight_max=8)))
    hurried = []
    for number in range(1, 5):
        bench.receive(C1, submit(number, learner=L1))
        hurried += [P1 not in relaxed for _, late, relaxed in accepts(bench.drain()) if not late]
    assert hurried == [False, False, True, True]


def test_an_open_slot_is_sent_to_every_silent_acceptor_when_nothing_was_heard() -> None:
    """A message that stayed behind may be lost: what is sent again hurries everybody."""
    bench = a_leader()
    bench.receive(C1, submit(1, learner=L1))
    bench.drain()
    bench.receive(A1, vote(bench, 1))
    bench.now_ms += 1000
    assert accepts(bench.fire("resend")) == [((A2, A3), False, ())]


def test_an_acceptor_is_asked_later_when_it_has_not_answered_the_heartbeat() -> None:
    """proposer._in_turn: a silent acceptor must not be one of those that everybody waits for."""
    bench = a_leader()
    for acceptor in (A2, A3):
        bench.receive(acceptor, HeartbeatReply(ballot=bench.role.ballot, round=1))
    bench.fire("heartbeat")
    bench.receive(C1, submit(1, learner=L1))
    assert [to for to, late, _ in accepts(bench.drain()) if not late] == [(A2, A3)]


def test_an_acceptor_is_asked_later_when_its_link_closes() -> None:
    """proposer._in_turn: the closing of a link is an immediate hint."""
    bench = a_leader()
    for acceptor in (A1, A2, A3):
        bench.receive(acceptor, HeartbeatReply(ballot=bench.role.ballot, round=1))
    bench.disconnect(A2)
    bench.receive(C1, submit(1, learner=L1))
    assert [to for to, late, _ in accepts(bench.drain()) if not late] == [(A1, A3)]


# ---------------------------------------------------------------- members: who may be added


FOUR = (A1, A2, A3, A4)


def change(node: NodeId, *, add: bool = True, request: int = 1) -> ChangeMembers:
    return ChangeMembers(request=request, add=add, node=node)


def whole(bench: Bench, slot: int, *acceptors: NodeId) -> list[Effect]:
    """Let acceptors say how far they are; return the effects of the last answer."""
    effects: list[Effect] = []
    for acceptor in acceptors:
        effects = bench.receive(acceptor, Whole(ballot=bench.role.ballot, slot=Slot(slot)))
    return effects


def chosen(bench: Bench, slot: int, *acceptors: NodeId) -> list[Effect]:
    """Let acceptors vote in a slot; return the effects of the last vote."""
    effects: list[Effect] = []
    for acceptor in acceptors or (A1, A2):
        effects = bench.receive(acceptor, vote(bench, slot))
    return effects


def joined_leader(*batches: bytes) -> Bench:
    """Return a leader with these slots decided, which acceptor-4 has joined."""
    bench = a_leader()
    proposed(bench, *batches)
    for slot in range(1, len(batches) + 1):
        chosen(bench, slot)
    bench.receive(A4, Joining())
    return bench


def proposing(bench: Bench, node: NodeId = A4, *, add: bool = True) -> list[Effect]:
    """Ask for a change and let everybody be whole; return the effects that propose it."""
    bench.receive(C1, change(node, add=add))
    effects = whole(bench, bench.role.decided, *FOUR)
    assert bench.role.barrier
    return effects


def answers(effects: list[Effect]) -> list[tuple[tuple[NodeId, ...], int, int, str]]:
    return [(to, m.request, m.epoch, m.error) for to, m in sent(effects, MembersChanged)]


def test_an_acceptor_that_joins_is_sent_what_is_proposed_and_counts_for_nothing() -> None:
    """ADR 0003: it catches up while the leader goes on, and is no member yet."""
    bench = joined_leader()
    bench.receive(C1, submit(1))
    assert accepts(bench.drain()) == [(ACCEPTORS, False, ()), ((A4,), True, ())]
    for acceptor in (A1, A4):
        bench.receive(acceptor, vote(bench, 1))
    assert bench.role.decided == 0
    [(to, _)] = [(to, m) for to, m in sent(bench.fire("heartbeat"), Heartbeat) if A1 in to]
    assert A4 in to
    bench.disconnect(A4)
    bench.receive(C1, submit(2))
    assert accepts(bench.drain()) == [(ACCEPTORS, False, ())]


def test_an_acceptor_is_told_that_it_is_a_member_when_it_still_asks_to_become_one() -> None:
    """What told it was lost, and a quorum may need its vote."""
    bench = a_proposer()
    made = configuration(acceptors=FOUR)
    bench.receive(A1, made)
    assert sent(bench.receive(A4, Joining()), Configuration) == [((A4,), made)]


@pytest.mark.parametrize("peer", [A1, P2, L1, C1])
def test_nobody_joins_when_it_is_a_member_or_no_acceptor(peer: NodeId) -> None:
    """messages.Joining: "An acceptor that is no member yet"."""
    bench = a_leader()
    bench.receive(peer, Joining())
    bench.receive(C1, submit(1))
    assert accepts(bench.drain()) == [(ACCEPTORS, False, ())]


# ---------------------------------------------------------------- members: the leader's steps


def test_a_leader_goes_on_and_asks_when_a_change_is_asked_for() -> None:
    """changing.py, ASKING: "the leader goes on as ever, and asks the new members"."""
    bench = joined_leader(b"a", b"b")
    effects = bench.receive(C1, change(A4))
    asked = AskWhole(ballot=Ballot(101), decided=Slot(2), epoch=0)
    assert sent(effects, AskWhole) == [(FOUR, asked)]
    assert timers(effects) == {CHANGE: CHANGE_TICK_MS}
    assert traced(effects) == ["change_asked"]
    bench.receive(C1, submit(3))
    assert {slot for slot, _ in proposals(bench.drain())} == {3}


def test_those_that_are_not_whole_are_asked_again_when_time_passes() -> None:
    """changing.CHANGE_TICK_MS; who is whole already is left in peace."""
    bench = joined_leader(b"a")
    bench.receive(C1, change(A4))
    whole(bench, 1, A1, A2)
    [(to, _)] = sent(bench.fire(CHANGE), AskWhole)
    assert to == (A3, A4)


def test_a_leader_proposes_nothing_more_when_the_members_are_whole_but_slots_are_open() -> None:
    """changing.py, DRAINING: "it proposes nothing more; when nothing is open, it asks again, about
    everything"."""
    bench = joined_leader(b"a")
    bench.receive(C1, change(A4))
    bench.receive(C1, submit(2, b"open"))
    assert {slot for slot, _ in proposals(bench.drain())} == {2}
    effects = whole(bench, 1, *FOUR)
    assert proposals(effects) == []
    bench.receive(C1, submit(3, b"waits"))
    assert proposals(bench.drain()) == []
    effects = chosen(bench, 2)
    asked = AskWhole(ballot=Ballot(101), decided=Slot(2), epoch=0)
    assert sent(effects, AskWhole) == [(FOUR, asked)]
    assert proposals(effects) == []


def test_a_change_is_proposed_when_all_are_whole_and_nothing_is_open() -> None:
    """changing.py, PROPOSED: "the change has slot s, and nothing is proposed after it"."""
    bench = joined_leader(b"a")
    bench.receive(C1, change(A4))
    bench.receive(C1, submit(2, b"waits"))
    assert proposals(whole(bench, 1, A1, A2, A3)) == []
    effects = whole(bench, 1, A4)
    proposal = Change(epoch=1, members=members(FOUR))
    assert proposals(effects) == [(2, packed(proposal))] * 2
    assert answers(effects) == [], "it is not chosen yet"
    assert accepts(effects) == [(ACCEPTORS, False, ()), ((A4,), True, ())]
    assert proposals(bench.drain()) == []
    bench.receive(L1, Tick(deadline_ms=1))
    bench.receive(L1, unstick(3, 9))
    assert bench.role.next_slot == 3
    assert bench.role.barrier == 2


def test_an_acceptor_is_not_asked_whether_it_is_whole_when_it_is_to_leave() -> None:
    """It may be dead: that is why it leaves."""
    bench = a_leader()
    effects = bench.receive(C1, change(A3, add=False))
    assert messages(effects, AskWhole) == []
    [(slot, value), *_] = proposals(effects)
    assert slot == 1
    assert change_in(value) == Change(epoch=1, members=members((A1, A2)))


def test_a_change_of_other_nodes_is_proposed_at_once_when_nothing_is_open() -> None:
    """changing.Changing.lacking: they keep nothing that a quorum rests on."""
    bench = joined_leader(b"a")
    effects = bench.receive(C1, change(NodeId("learner-9")))
    [(slot, value), *_] = proposals(effects)
    made = change_in(value)
    assert slot == 2
    assert made is not None
    assert made.members.learners == (*LEARNERS, "learner-9")


@pytest.mark.parametrize("told", [Whole(ballot=Ballot(99), slot=Slot(1))])
def test_an_answer_counts_for_nothing_when_it_is_to_another_ballot(told: Whole) -> None:
    """An earlier leadership asked, about an earlier log."""
    bench = joined_leader(b"a")
    bench.receive(C1, change(A4))
    for acceptor in FOUR:
        assert bench.receive(acceptor, told) == []
    assert bench.role.barrier == 0


# ---------------------------------------------------------------- members: after the change


def test_the_new_members_promise_before_a_leader_goes_on_when_its_change_is_chosen() -> None:
    """changing.py: "phase 1 for the slots after s with the new members, at the same ballot"."""
    bench = joined_leader(b"a")
    proposing(bench)
    effects = chosen(bench, 2)
    made = configuration(1, 2, acceptors=FOUR)
    assert records(effects) == [Configured(configuration=made)]
    assert Relink(configuration=made) in effects
    [(told, _)] = sent(effects, Configuration)
    assert set(told) == {*membership_of().nodes, A4} - {P1}
    prepare = Prepare(ballot=Ballot(101), first=Slot(3), last=Slot(0))
    assert sent(effects, Prepare) == [(FOUR, prepare)]
    assert answers(effects) == [((C1,), 1, 1, "")]
    assert (bench.role.phase, bench.role.decided) == (Phase.PREPARING, 2)
    for acceptor in (A1, A2):
        assert bench.receive(acceptor, promise(101, first=3)) == []
    effects = bench.receive(A4, promise(101, first=3))
    assert traced(effects) == ["leading"]
    assert bench.role.electorate == {A1, A2, A4}
    assert {m.epoch for m in messages(effects, Heartbeat)} == {1}


def test_the_office_and_the_queue_are_kept_when_the_members_change() -> None:
    """proposer.py: "It keeps its office meanwhile, and its queue": no client is sent away."""
    bench = joined_leader(b"a")
    proposing(bench)
    bench.receive(C1, submit(2, b"before"))
    chosen(bench, 2)
    assert bench.receive(C1, submit(3, b"between")) == []
    assert nothing_sent(bench.drain())
    for acceptor in (A1, A2, A4):
        bench.receive(acceptor, promise(101, first=3))
    [(slot, value)] = proposals(bench.drain())
    assert slot == 3
    assert msgspec.msgpack.decode(value, type=Envelope).batches == [b"before", b"between"]
    assert bench.role.status().elections == 1


def test_three_of_four_decide_when_a_fourth_has_come_in() -> None:
    """DESIGN rule 2: from the slot after the change on, the new quorum counts."""
    bench = joined_leader()
    proposing(bench)
    chosen(bench, 1)
    for acceptor in (A1, A2, A4):
        bench.receive(acceptor, promise(101, first=2))
    bench.receive(C1, submit(1))
    bench.drain()
    chosen(bench, 2, A1, A4)
    assert bench.role.decided == 1
    chosen(bench, 2, A3)
    assert bench.role.decided == 2


def test_what_promises_carry_is_proposed_again_when_the_new_members_hold_it() -> None:
    """DESIGN rule 4, for the slots after a change: a later leader's epoch may have begun."""
    bench = joined_leader()
    proposing(bench)
    chosen(bench, 1)
    for acceptor in (A1, A2):
        bench.receive(acceptor, promise(101, first=2))
    effects = bench.receive(A4, promise(101, kept(3, 99, b"three"), first=2))
    assert proposals(effects) == [(2, NO_OP), (3, b"three")]


def test_a_leader_steps_down_when_the_new_members_do_not_promise() -> None:
    """STYLE 19; DESIGN: a leader that has no quorum leads no more, whatever it led before."""
    bench = joined_leader()
    proposing(bench)
    bench.receive(C1, submit(1))
    chosen(bench, 1)
    for _ in range(3):
        [(to, _)] = sent(bench.fire("prepare"), Prepare)
        assert to == FOUR
    assert "stepped_down" in traced(bench.fire("prepare"))
    assert messages(bench.receive(C1, submit(2)), NotLeader)
    assert bench.role.status().queued == 0


def test_a_leader_that_is_no_member_steps_down_when_its_removal_is_chosen() -> None:
    """It tells nobody that it leads; who stays stands for election."""
    bench = a_leader()
    bench.receive(C1, change(P1, add=False))
    effects = chosen(bench, 1)
    assert traced(effects) == ["members_changed", "stepped_down"]
    assert bench.role.phase is Phase.FOLLOWING
    assert messages(effects, Prepare) == []
    assert nothing_sent(bench.fire("election")), "it stands no more"


def test_a_leader_steps_down_when_another_leader_changed_the_members() -> None:
    """proposer._on_configuration: "Any other change was made by another leader"."""
    bench = a_leader()
    proposed(bench, b"a")
    effects = bench.receive(L1, configuration(1, 4, 202, acceptors=FOUR))
    assert traced(effects) == ["members_changed", "stepped_down"]
    assert (bench.role.phase, bench.role.decided) == (Phase.FOLLOWING, 4)
    assert bench.role.open == {}
    [(to, _)] = sent(bench.fire("election"), Canvass)
    assert to == FOUR


def test_a_client_is_not_told_that_its_change_is_made_when_anothers_was_in_its_slot() -> None:
    """DESIGN rule 6: "A client is told its own command's result or an error, never another's". This
    leader does not know yet that another one leads; a learner tells it what was chosen.
    """
    bench = joined_leader(b"a")
    proposing(bench)
    effects = bench.receive(L1, configuration(1, 2, 202, acceptors=(A1, A2)))
    assert answers(effects) == []
    assert traced(effects) == ["members_changed", "stepped_down"]
    assert bench.role.membership.acceptors == (A1, A2)


def test_a_leader_leads_on_when_a_learner_is_the_first_to_tell_it_of_its_change() -> None:
    """Votes reach a learner and the leader in any order."""
    bench = joined_leader(b"a")
    proposing(bench)
    effects = bench.receive(L1, configuration(1, 2, acceptors=FOUR))
    assert answers(effects) == [((C1,), 1, 1, "")]
    assert [to for to, _ in sent(effects, Prepare)] == [FOUR]
    assert chosen(bench, 2) == []


def test_a_candidate_begins_anew_when_the_members_changed_meanwhile() -> None:
    """The promises that it gathered are of a quorum that counts no more."""
    bench = a_proposer()
    preparing(bench)
    bench.receive(A1, promise(101))
    effects = bench.receive(A2, configuration(1, 4, 99, acceptors=FOUR))
    assert "stepped_down" in traced(effects)
    assert bench.receive(A2, promise(101)) == []
    [prepare] = messages(
        [*preparing(bench, epoch=1, decided=Slot(4)), *bench.receive(A3, canvass_reply(bench))],
        Prepare,
    )
    assert (prepare.ballot, prepare.first) == (201, 5)


# ---------------------------------------------------------------- members: taking a change over


def carried(*slots: tuple[int, bytes]) -> list[AcceptedValue]:
    return [kept(slot, 99, value) for slot, value in slots]


def test_a_new_leader_proposes_up_to_a_change_when_promises_carry_one() -> None:
    """ADR 0003: "A leader that finds a change among its promises proposes again up to it, and
    gathers promises anew, from the new configuration, for what comes after"."""
    bench = a_proposer()
    preparing(bench)
    change = packed(Change(epoch=1, members=members(FOUR)))
    bench.receive(A1, promise(101, *carried((2, change), (3, b"later"))))
    effects = bench.receive(A2, promise(101))
    assert proposals(effects) == [(1, NO_OP), (2, change)]
    assert bench.role.barrier == 2
    proposed_nothing = [bench.receive(C1, submit(1)), bench.drain()]
    assert proposed_nothing == [[], []]
    assert messages(chosen(bench, 2), Prepare) == [], "slot 1 is open: the change is not decided"
    [(to, prepare)] = sent(chosen(bench, 1), Prepare)
    assert (to, prepare.first) == (FOUR, 3)


def test_a_change_that_promises_carry_is_a_value_like_any_when_its_epoch_is_in_force() -> None:
    """messages.Change: "where its epoch is above the one in force"."""
    bench = a_proposer()
    bench.receive(A1, configuration(1, 4, acceptors=(A1, A2)))
    preparing(bench, epoch=1)
    late = packed(Change(epoch=1, members=members((A1, A3))))
    bench.receive(A1, promise(101, *carried((5, late), (6, b"six")), first=5))
    effects = bench.receive(A2, promise(101, first=5))
    assert proposals(effects) == [(5, late), (6, b"six")]
    assert bench.role.barrier == 0
    assert messages(chosen(bench, 5), Prepare) == []
    assert bench.role.view.epoch == 1


# ---------------------------------------------------------------- members: in vain


@pytest.mark.parametrize(
    ("step", "longest"), [(Step.ASKING, ASKING_MS_MAX), (Step.DRAINING, DRAINING_MS_MAX)]
)
def test_a_change_is_given_up_in_time_when_a_member_does_not_become_whole(
    step: Step, longest: float
) -> None:
    """changing.py: "a member that is not whole soon ends the change, not the service"."""
    bench = joined_leader(b"a")
    bench.receive(C1, change(A4))
    if step is Step.DRAINING:
        bench.receive(C1, submit(2, b"open"))
        bench.drain()
        whole(bench, 1, *FOUR)
        chosen(bench, 2)
    bench.receive(C1, submit(2 if step is Step.ASKING else 3, b"waits"))
    bench.now_ms += longest
    assert answers(bench.fire(CHANGE)) == []
    bench.now_ms += 1
    effects = bench.fire(CHANGE)
    assert traced(effects) == ["change_given_up"]
    [(to, request, epoch, error)] = answers(effects)
    assert (to, request, epoch) == ((C1,), 1, 0)
    assert error.startswith("UNAVAILABLE the members were not changed: acceptor-1, acceptor-2, ")
    assert proposals(bench.drain()), "what waited goes on"
    assert bench.fire(CHANGE) == []


def test_a_change_is_not_given_up_when_it_is_proposed() -> None:
    """It may be chosen: nobody may be told that it was not made."""
    bench = joined_leader(b"a")
    proposing(bench)
    bench.now_ms += 60_000
    assert answers(bench.fire(CHANGE)) == []
    assert answers(chosen(bench, 2)) == [((C1,), 1, 1, "")]


def test_nobody_is_answered_when_a_leader_steps_down_in_the_middle_of_a_change() -> None:
    """The next leader may find it among its promises: the gateway asks again."""
    bench = joined_leader(b"a")
    proposing(bench)
    effects = bench.receive(A1, Nack(ballot=Ballot(101), promised=Ballot(202)))
    assert "stepped_down" in traced(effects)
    assert answers(effects) == []
    assert bench.role.barrier == 0
    assert bench.fire(CHANGE) == []


# ---------------------------------------------------------------- members: answers


def test_a_change_is_answered_at_once_when_the_members_are_so_already() -> None:
    """What is asked for twice is done once: the answer may have been lost."""
    bench = a_leader()
    assert answers(bench.receive(C1, change(A1, request=9))) == [((C1,), 9, 0, "")]
    bench = joined_leader(b"a")
    proposing(bench)
    chosen(bench, 2)
    for acceptor in (A1, A2, A4):
        bench.receive(acceptor, promise(101, first=3))
    assert answers(bench.receive(C1, change(A4))) == [((C1,), 1, 1, "")]


def test_a_change_is_begun_once_when_a_gateway_asks_again() -> None:
    """The gateway asks again and again, until there is an answer."""
    bench = joined_leader(b"a")
    bench.receive(C1, change(A4))
    assert bench.receive(C1, change(A4)) == []
    whole(bench, 1, *FOUR)
    assert bench.receive(C1, change(A4)) == []


def test_a_new_leader_is_silent_about_changes_while_it_does_not_know_whose_one_is() -> None:
    """It may be the very one that the gateway asks for again: no refusal would be true."""
    bench = a_proposer()
    preparing(bench)
    change_of_another = packed(Change(epoch=1, members=members(FOUR)))
    bench.receive(A1, promise(101, *carried((1, change_of_another))))
    bench.receive(A2, promise(101))
    assert bench.receive(C1, change(A4)) == []
    chosen(bench, 1)
    for acceptor in (A1, A2, A4):
        bench.receive(acceptor, promise(101, first=2))
    assert answers(bench.receive(C1, change(A4))) == [((C1,), 1, 1, "")]


@pytest.mark.parametrize("proposed_already", [False, True])
def test_a_second_change_is_refused_when_one_is_under_way(proposed_already: bool) -> None:
    """changing.py: majorities of sets that differ by one member share one; of two, they may not."""
    bench = joined_leader(b"a")
    bench.receive(C1, change(A4))
    if proposed_already:
        whole(bench, 1, *FOUR)
    [(to, request, _, error)] = answers(bench.receive(C2, change(A3, add=False, request=5)))
    assert (to, request) == ((C2,), 5)
    assert error.startswith("UNAVAILABLE another change of the members is under way")


def test_a_senseless_change_is_refused_with_what_is_wrong() -> None:
    """with_change's refusals reach the client."""
    [(_, _, _, error)] = answers(a_leader().receive(C1, change(A31)))
    assert error == "ERR acceptor-3 has the place of acceptor-3.1: remove it first"
    [(_, _, _, error)] = answers(a_leader().receive(C1, change(A4)))
    assert error.startswith("UNAVAILABLE acceptor-4 has not joined")


def test_who_does_not_lead_is_silent_when_a_change_is_asked_for() -> None:
    """The gateway asks whoever leads then."""
    assert a_proposer().receive(C1, change(A3, add=False)) == []
    bench = joined_leader()
    proposing(bench)
    chosen(bench, 1)
    assert bench.role.phase is Phase.PREPARING
    assert bench.receive(C1, change(A3, add=False)) == []


def test_members_do_not_change_while_an_older_version_is_connected() -> None:
    """proposer.CHANGE_VERSION: one that overlooks a change would count by the old quorum."""
    bench = joined_leader()
    bench.step(Connected(peer=L2, cluster="", version=2))
    [(_, _, _, error)] = answers(bench.receive(C1, change(A4)))
    assert error.startswith("ERR learner-2 must be upgraded first")
    bench.step(Connected(peer=L2, cluster="", version=3))
    assert answers(bench.receive(C1, change(A4))) == []


# ---------------------------------------------------------------- members: epochs


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        (P2, Heartbeat(ballot=Ballot(202), decided=Slot(9), round=1, epoch=1)),
        (A1, msgspec.structs.replace(promise(101), epoch=1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_proposer_asks_for_the_configuration_when_a_message_is_of_a_newer_epoch(
    sender: NodeId, message: object
) -> None:
    """configuring.py: what it calls decided may hold a change of the members."""
    bench = a_proposer()
    preparing(bench)
    assert sent(bench.receive(sender, message), AskConfiguration) == [
        ((sender,), AskConfiguration())
    ]
    assert (bench.role.decided, bench.role.phase) == (0, Phase.PREPARING)
    assert bench.role._gathering.complete == set()


def test_a_candidate_does_not_count_an_acceptor_when_that_knows_a_newer_epoch() -> None:
    """DESIGN rule 11: what is decided by then was decided by others."""
    bench = a_proposer()
    bench.fire("election")
    for acceptor in ACCEPTORS:
        effects = bench.receive(acceptor, canvass_reply(bench, epoch=1, decided=Slot(7)))
        assert [e.message for e in effects if isinstance(e, Send)] == [AskConfiguration()]
    assert (bench.role.phase, bench.role.decided) == (Phase.CANVASSING, 0)


def test_a_proposer_tells_the_configuration_when_it_is_asked_or_linked_with() -> None:
    """messages.Configuration: "Whoever knows a newer one tells it"."""
    bench = a_proposer()
    assert nothing_sent(bench.receive(A1, AskConfiguration()))
    bench.receive(A1, configuration())
    assert sent(bench.receive(A2, AskConfiguration()), Configuration) == [((A2,), configuration())]
    assert sent(bench.connect(L1), Configuration) == [((L1,), configuration())]
    assert bench.receive(A1, configuration()) == []


def test_a_proposer_goes_by_its_configuration_when_it_starts_again() -> None:
    """effects.Configured: the newest that it knows is on its volume."""
    bench = a_proposer()
    bench.receive(A1, configuration(acceptors=FOUR))
    assert bench.journal is not None
    bench.journal.sync()
    journal = bench.journal.crash()
    again = Bench(Proposer(P1, membership_of(), Settings(), journal.recovered), journal)
    again.start()
    assert (again.role.view.epoch, again.role.decided) == (1, 5)
    [(to, _)] = sent(again.fire("election"), Canvass)
    assert to == FOUR
