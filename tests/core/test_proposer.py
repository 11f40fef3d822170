from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.core.builders import (
    A1,
    A2,
    A3,
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
    messages,
    nothing_sent,
    preparing,
    promise,
    records,
    sent,
    timers,
    traced,
)

from paxos.core.effects import Counted, Effect, Recovered, Send, Stamped
from paxos.core.errors import InvariantViolation
from paxos.core.messages import (
    Abstain,
    Accept,
    Accepted,
    AcceptedValue,
    Canvass,
    Envelope,
    Heartbeat,
    HeartbeatReply,
    LeaderState,
    Nack,
    NotLeader,
    Prepare,
    Submit,
    Tick,
    Unstick,
    Value,
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
