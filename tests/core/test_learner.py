from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.core.builders import (
    A1,
    A2,
    A3,
    A4,
    ACCEPTORS,
    C1,
    C2,
    CLUSTER,
    L1,
    L2,
    P1,
    PROPOSERS,
    Bench,
    a_learner,
    batch,
    choose,
    configuration,
    envelope,
    members,
    messages,
    nothing_sent,
    opening,
    records,
    sent,
    timers,
    traced,
)

from paxos.core.configuring import packed
from paxos.core.effects import Configured, Disconnected, Recovered, Relink, Send, Stamped, Start
from paxos.core.learner import FETCH_TICKS_MIN, Learner
from paxos.core.messages import (
    Accepted,
    AcceptedValue,
    AskConfiguration,
    AskHighest,
    AskValues,
    AskVotes,
    Change,
    Configuration,
    Heartbeat,
    Highest,
    Read,
    ReadResults,
    Reminder,
    Results,
    SessionOpened,
    SessionUnknown,
    SnapshotPart,
    StaleRead,
    Subscribe,
    SubscribeOpening,
    Tick,
    Unstick,
    Unsubscribe,
    Value,
    Values,
    Votes,
)
from paxos.core.settings import Limits, Settings
from paxos.core.types import Ballot, NodeId, Slot
from paxos.machine.machine import Machine
from paxos.sim.world import membership_of
from paxos.storage.memory import MemoryJournal


def vote(slot: int, ballot: int = 101) -> Accepted:
    return Accepted(ballot=Ballot(ballot), slot=Slot(slot))


def value(slot: int, data: bytes = b"", ballot: int = 101) -> Value:
    return Value(ballot=Ballot(ballot), slot=Slot(slot), value=data)


def kept(slot: int, data: bytes = b"", ballot: int = 101) -> AcceptedValue:
    return AcceptedValue(slot=Slot(slot), ballot=Ballot(ballot), value=data)


def read(number: int = 1, *commands: list[bytes]) -> Read:
    return Read(read=number, commands=msgspec.msgpack.encode(list(commands) or [[b"READ"]]))


def answers(effects: list[Any]) -> list[tuple[int, Any]]:
    return [
        (message.read, msgspec.msgpack.decode(message.results))
        for message in messages(effects, ReadResults)
    ]


def served(node_session: int = 1) -> Bench:
    """Return a learner that client-1 subscribes to, its session open in slot 1."""
    bench = a_learner()
    choose(bench, 1, opening(C1))
    bench.receive(C1, Subscribe(session=Slot(node_session), acknowledged=0))
    return bench


# ---------------------------------------------------------------- counting votes


def test_a_value_is_applied_when_a_quorum_of_distinct_acceptors_voted() -> None:
    """DESIGN rule 5; Paxos Made Simple, 2.3."""
    bench = a_learner()
    bench.receive(P1, value(1))
    bench.receive(A1, vote(1))
    bench.receive(A1, vote(1))
    assert bench.role.machine.applied == 0
    bench.receive(A3, vote(1))
    assert bench.role.machine.applied == 1


def test_votes_count_for_nothing_when_they_are_of_two_ballots() -> None:
    """DESIGN rule 5: "at one slot and one ballot"."""
    bench = a_learner()
    bench.receive(P1, value(1))
    bench.receive(A1, vote(1, 101))
    bench.receive(A2, vote(1, 202))
    assert bench.role.machine.applied == 0
    bench.receive(A2, vote(1, 101))
    assert bench.role.machine.applied == 1


def test_votes_count_for_nothing_when_no_acceptor_sent_them() -> None:
    """DESIGN rule 5: distinct configured acceptors."""
    bench = a_learner()
    bench.receive(P1, value(1))
    for stranger in (P1, "learner-2", "acceptor-9", C1):
        bench.receive(stranger, vote(1))
    bench.receive(A1, vote(1))
    assert bench.role.machine.applied == 0


def test_nothing_is_applied_past_a_gap_when_later_slots_are_chosen() -> None:
    """DESIGN rule 5: "Nothing is applied past a gap"."""
    bench = a_learner()
    choose(bench, 2, b"")
    choose(bench, 3, b"")
    assert bench.role.machine.applied == 0
    choose(bench, 1, b"")
    assert bench.role.machine.applied == 3
    assert bench.role.pending == {}


def test_a_chosen_slot_waits_when_its_value_is_not_here_yet() -> None:
    """DESIGN "One write", step 5."""
    bench = a_learner()
    for acceptor in (A1, A2):
        bench.receive(acceptor, vote(1))
    assert bench.role.machine.applied == 0
    bench.receive(P1, value(1))
    assert bench.role.machine.applied == 1


def test_the_value_of_the_chosen_ballot_is_applied_when_there_are_two() -> None:
    """DESIGN rule 5: a value proposed at another ballot may differ."""
    bench = a_learner()
    bench.receive(P1, value(1, opening(C1), ballot=101))
    bench.receive("proposer-2", value(1, opening(C2), ballot=202))
    for acceptor in (A1, A2):
        bench.receive(acceptor, vote(1, 202))
    assert bench.role.machine.opened(C2, 7) is not None
    assert bench.role.machine.opened(C1, 7) is None


def test_a_slot_is_applied_once_when_it_is_chosen_again() -> None:
    """DESIGN rule 5; a leader proposes decided values again."""
    bench = a_learner()
    choose(bench, 1, opening(C1))
    before = bench.role.machine.digest()
    choose(bench, 1, opening(C1), ballot=202)
    assert bench.role.machine.digest() == before
    assert bench.role.machine.applied == 1


def test_what_is_far_ahead_is_not_kept_when_the_learner_is_behind() -> None:
    """STYLE 19: nothing grows without bound; it is asked for in time."""
    bench = a_learner(settings=Settings(limits=Limits(catchup_slots_max=4)))
    for slot in range(1, 50):
        bench.receive(P1, value(slot + 1))
    assert len(bench.role.pending) <= 8
    assert bench.role.status().highest_seen == 50


def test_values_ahead_are_bounded_in_bytes_when_the_learner_is_behind() -> None:
    """STYLE 19; the next slot's own value is always taken."""
    bench = a_learner(settings=Settings(limits=Limits(link_bytes_max=10)))
    for slot in (3, 2, 1):
        bench.receive(P1, value(slot, b"12345678"))
    held = {slot: bool(pending.values) for slot, pending in bench.role.pending.items()}
    assert held == {3: True, 2: False, 1: True}


# ---------------------------------------------------------------- catching up


def test_the_acceptors_are_asked_when_a_gap_stays() -> None:
    """learner.py: first the votes, then a value, then the leader."""
    bench = a_learner()
    assert timers(bench.receive(A1, vote(2))) == {"gap": 40}
    assert timers(bench.receive(A2, vote(2))) == {}
    effects = bench.fire("gap")
    ask = AskVotes(first=Slot(1), last=Slot(1024))
    assert sent(effects, AskVotes) == [(ACCEPTORS, ask)]
    assert timers(effects) == {"gap": 40}
    assert messages(effects, Unstick) == []


def test_the_leader_is_asked_when_the_acceptors_did_not_settle_it() -> None:
    """DESIGN rule 7: the half-accepted write."""
    bench = a_learner()
    bench.receive(A1, vote(2))
    bench.fire("gap")
    bench.fire("gap")
    effects = bench.fire("gap")
    assert sent(effects, Unstick) == [(PROPOSERS, Unstick(first=Slot(1), last=Slot(2)))]
    assert traced(effects) == ["stuck"]


def test_nobody_is_asked_when_the_gap_closed_by_itself() -> None:
    """Most gaps are messages that overtook each other."""
    bench = a_learner()
    choose(bench, 2, b"")
    choose(bench, 1, b"")
    assert bench.fire("gap") == []


def test_a_missing_value_is_asked_of_one_who_voted_for_it() -> None:
    """DESIGN "One write", step 5: "fetches it from an acceptor"."""
    bench = a_learner()
    bench.fire("gap")
    bench.receive(A1, vote(1))
    bench.receive(A1, vote(2))
    bench.receive(A3, vote(1))
    bench.receive(A3, vote(2))
    effects = bench.fire("gap")
    [(to, ask)] = sent(effects, AskValues)
    assert to in ((A1,), (A3,))
    assert (ask.first, ask.last) == (1, 2)
    effects = bench.receive(to[0], Values(values=[kept(1), kept(2)]))
    assert bench.role.machine.applied == 2
    assert bench.role.status().missing == 0


def test_another_acceptor_is_asked_when_the_first_did_not_answer() -> None:
    """An acceptor that is gone holds nobody up for long."""
    bench = a_learner()
    for acceptor in (A1, A2):
        bench.receive(acceptor, vote(1))
    asked = [to for _ in range(40) for to, _ in sent(bench.fire("gap"), AskValues)]
    assert {(A1,), (A2,)} == set(asked)
    # More patience each time: an answer of megabytes takes its time on a busy machine.
    assert len(asked) == 4


def test_nobody_is_asked_for_values_while_an_answer_is_under_way() -> None:
    """Each answer may be megabytes: an acceptor that only reads for learners hears no leader."""
    bench = a_learner()
    for slot in (1, 2, 3):
        for acceptor in (A1, A2):
            bench.receive(acceptor, vote(slot))
    [(to, _)] = sent(bench.fire("gap"), AskValues)
    for _ in range(FETCH_TICKS_MIN - 1):
        assert nothing_sent(bench.fire("gap"))
    told = [(Slot(n), Ballot(101)) for n in (1, 2, 3)]
    votes = Votes(first=Slot(1), last=Slot(1024), highest=Slot(3), votes=told)
    for acceptor in (A1, A2):
        assert messages(bench.receive(acceptor, votes), AskValues) == []
    [ask] = messages(bench.receive(to[0], Values(values=[kept(1)])), AskValues)
    assert (ask.first, ask.last) == (2, 3)


def test_another_acceptor_is_asked_at_once_when_the_link_of_the_asked_one_closes() -> None:
    """What was asked over a link that is gone is not answered."""
    bench = a_learner()
    for acceptor in (A1, A2):
        bench.receive(acceptor, vote(1))
    [((asked,), _)] = sent(bench.fire("gap"), AskValues)
    bench.step(Disconnected(peer=asked))
    [((other,), _)] = sent(bench.fire("gap"), AskValues)
    assert other != asked


def test_votes_told_by_a_quorum_lead_to_values_when_catching_up() -> None:
    """A learner that starts replays the whole log."""
    bench = a_learner()
    [(to, ask)] = sent(bench.connect(A1, CLUSTER), AskVotes)
    assert (to, ask.first) == ((A1,), 1)
    told = [(Slot(1), Ballot(101)), (Slot(2), Ballot(101))]
    votes = Votes(first=Slot(1), last=Slot(1024), highest=Slot(2), votes=told)
    assert messages(bench.receive(A1, votes), AskValues) == []
    [ask_values] = messages(bench.receive(A2, votes), AskValues)
    assert (ask_values.first, ask_values.last) == (1, 2)


def test_more_is_asked_when_an_answer_brought_only_the_beginning() -> None:
    """messages.Values: "may end before the last that was asked"."""
    bench = a_learner()
    for slot in (1, 2, 3):
        for acceptor in (A1, A2):
            bench.receive(acceptor, vote(slot))
    effects = bench.receive(A1, Values(values=[kept(1)]))
    [ask] = messages(effects, AskValues)
    assert (ask.first, ask.last) == (2, 3)


def test_the_learner_knows_it_is_behind_when_the_leader_says_so() -> None:
    """messages.Heartbeat: slots up to `decided` are decided."""
    bench = a_learner()
    beat = Heartbeat(ballot=Ballot(101), decided=Slot(7), round=1)
    assert timers(bench.receive(P1, beat)) == {"gap": 40}
    status = bench.role.status()
    assert (status.highest_seen, status.missing, status.caught_up) == (7, 7, False)


def test_the_identity_is_kept_when_an_acceptor_shows_one() -> None:
    """DESIGN rule 8: a learner is a witness that the cluster lives."""
    role = Learner(L1, membership_of(), Settings(), Machine(), Recovered())
    bench = Bench(role, MemoryJournal())
    assert records(bench.connect(A1, "")) == []
    stamp = Stamped(cluster=CLUSTER, node=L1, phase="open", acceptors=ACCEPTORS)
    assert records(bench.connect(A2, CLUSTER)) == [stamp]
    assert records(bench.connect(A3, CLUSTER)) == []


# ---------------------------------------------------------------- results


def write(sequence: int, text: bytes = b"x", gateway: NodeId = C1) -> bytes:
    return envelope(batch(sequence, [b"WRITE", text], gateway=gateway))


def test_results_go_to_the_gateway_that_sent_the_batch_when_applied() -> None:
    """DESIGN "One write", step 6."""
    bench = served()
    effects = choose(bench, 2, write(1))
    [(to, results)] = sent(effects, Results)
    assert to == (C1,)
    assert (results.session, results.sequence, results.slot) == (1, 1, 2)
    assert msgspec.msgpack.decode(results.results) == [2]


def test_no_results_go_when_nobody_subscribed() -> None:
    """One learner answers a gateway, not each of them."""
    bench = served()
    bench.receive(C1, Unsubscribe())
    assert messages(choose(bench, 2, write(1)), Results) == []
    bench = served()
    bench.disconnect(C1)
    assert messages(choose(bench, 2, write(1)), Results) == []


def test_kept_results_are_told_again_when_a_gateway_subscribes() -> None:
    """DESIGN rule 6: through failover; the gateway changed learners."""
    bench = served()
    choose(bench, 2, write(1))
    choose(bench, 3, write(2))
    effects = bench.receive(C1, Subscribe(session=Slot(1), acknowledged=1))
    assert [(r.sequence, r.slot) for r in messages(effects, Results)] == [(2, 3)]


def test_nothing_is_told_when_the_session_lies_ahead() -> None:
    """A learner that is behind must not call a session unknown."""
    bench = a_learner()
    assert bench.receive(C1, Subscribe(session=Slot(9), acknowledged=0)) == []


def test_a_replaced_session_is_unknown_when_a_gateway_subscribes() -> None:
    """messages.SessionUnknown: "a newer one has replaced it"."""
    bench = served()
    choose(bench, 2, opening(C1, nonce=8))
    effects = bench.receive(C1, Subscribe(session=Slot(1), acknowledged=0))
    assert messages(effects, SessionUnknown) == [SessionUnknown(session=Slot(1))]


def test_an_opening_is_told_when_it_was_chosen_before_and_after() -> None:
    """messages.SubscribeOpening."""
    bench = a_learner()
    assert bench.receive(C1, SubscribeOpening(nonce=7)) == []
    opened = SessionOpened(nonce=7, session=Slot(1))
    assert messages(choose(bench, 1, opening(C1)), SessionOpened) == [opened]
    effects = bench.receive(C1, SubscribeOpening(nonce=7))
    assert messages(effects, SessionOpened) == [opened]


def test_a_learner_is_caught_up_when_a_quorum_has_told_and_it_is_level_give_or_take() -> None:
    """Under load there is always a slot on its way; that is no lag. At the start nothing is
    known, and that is no proof of being level.
    """
    bench = a_learner()
    assert not bench.role.status().caught_up
    for acceptor in (A1, A2):
        bench.connect(acceptor)
        told = Votes(
            first=Slot(1), last=Slot(1024), highest=Slot(1), votes=[(Slot(1), Ballot(101))]
        )
        bench.receive(acceptor, told)
    assert not bench.role.status().caught_up
    bench.receive(A1, Values(values=[kept(1)]))
    assert bench.role.status().caught_up
    bench.receive(P1, Heartbeat(ballot=Ballot(101), decided=Slot(60), round=1))
    assert bench.role.status().caught_up
    bench.receive(P1, Heartbeat(ballot=Ballot(101), decided=Slot(600), round=2))
    assert not bench.role.status().caught_up


# ---------------------------------------------------------------- reads


def highest(round_: int, slot: int) -> Highest:
    return Highest(round=round_, slot=Slot(slot))


def test_a_read_asks_a_quorum_and_answers_when_that_height_is_applied() -> None:
    """DESIGN rule 7."""
    bench = served()
    choose(bench, 2, write(1, b"seen"))
    bench.receive(C1, read(5))
    effects = bench.drain()
    assert sent(effects, AskHighest) == [(ACCEPTORS, AskHighest(round=1))]
    assert answers(bench.receive(A1, highest(1, 2))) == []
    assert answers(bench.receive(A1, highest(1, 2))) == []
    assert answers(bench.receive(A2, highest(1, 1))) == [(5, [[[2, b"seen"]]])]


def test_a_read_waits_when_an_acceptor_has_accepted_more() -> None:
    """DESIGN rule 7: "mind the read of a half-accepted write"."""
    bench = served()
    assert bench.fire("gap") == []
    bench.receive(C1, read(5))
    bench.drain()
    bench.receive(A1, highest(1, 0))
    effects = bench.receive(A2, highest(1, 2))
    assert answers(effects) == []
    assert timers(effects) == {"gap": 40}
    assert bench.role.status().missing == 1
    assert answers(choose(bench, 2, write(1, b"late"))) == [(5, [[[2, b"late"]]])]


def test_a_read_joins_the_next_round_when_one_is_under_way() -> None:
    """learner.py: "A read may only join a round that starts after it arrived"."""
    bench = served()
    bench.receive(C1, read(5))
    bench.drain()
    bench.receive(C1, read(6))
    assert nothing_sent(bench.drain())
    bench.receive(A1, highest(1, 1))
    effects = bench.receive(A2, highest(1, 1))
    assert [number for number, _ in answers(effects)] == [5]
    assert messages(effects, AskHighest) == [AskHighest(round=2)]
    assert answers(bench.receive(A1, highest(1, 1))) == []
    bench.receive(A1, highest(2, 1))
    assert [n for n, _ in answers(bench.receive(A3, highest(2, 1)))] == [6]


def test_no_round_is_done_when_strangers_answer() -> None:
    """DESIGN rule 2: a quorum of configured acceptors."""
    bench = served()
    bench.receive(C1, read(5))
    bench.drain()
    for stranger in ("acceptor-8", "acceptor-9", P1, "learner-2"):
        assert answers(bench.receive(stranger, highest(1, 1))) == []
    assert bench.role.status().reads_waiting == 1


def test_no_answer_counts_when_it_is_for_an_earlier_life_of_the_learner() -> None:
    """DESIGN rule 7: an answer from before the read arrived might miss an acknowledged write."""
    before = a_learner()
    before.receive(C1, read(5))
    [asked] = messages(before.drain(), AskHighest)
    after = a_learner()
    after.step(Start())  # with other dice
    after.receive(C1, read(6))
    [asking] = messages(after.drain(), AskHighest)
    for acceptor in ACCEPTORS:
        assert answers(after.receive(acceptor, highest(asked.round, 0))) == []
    late = [after.receive(acceptor, highest(asking.round, 0)) for acceptor in ACCEPTORS]
    assert [number for effects in late for number, _ in answers(effects)] == [6]


def test_silent_acceptors_are_asked_again_when_a_round_is_not_done() -> None:
    """Lost messages are sent again."""
    bench = served()
    bench.receive(C1, read(5))
    assert timers(bench.drain()) == {"round": 150}
    bench.receive(A2, highest(1, 1))
    assert sent(bench.fire("round"), AskHighest) == [((A1, A3), AskHighest(round=1))]
    assert AskHighest(round=1) in messages(bench.connect(A3), AskHighest)
    bench.receive(A1, highest(1, 1))
    assert bench.fire("round") == []


def test_a_stale_read_is_answered_at_once_when_asked_for() -> None:
    """DESIGN rule 7: "stale reads are an explicit choice"."""
    bench = served()
    stale = StaleRead(read=9, commands=msgspec.msgpack.encode([[b"READ"]]))
    assert answers(bench.receive(C1, stale)) == [(9, [[]])]


def test_a_read_is_answered_with_an_error_when_it_cannot_be_read() -> None:
    """DESIGN rule 10: bytes from outside harm nobody else."""
    bench = served()
    stale = StaleRead(read=9, commands=b"\xc1 not msgpack")
    [(number, [error])] = answers(bench.receive(C1, stale))
    assert number == 9
    assert error["error"].startswith("ERR unreadable")


# ---------------------------------------------------------------- expiry


def test_the_leader_is_asked_for_time_when_a_key_is_due() -> None:
    """DESIGN: expiry is decided by the log alone, so all learners agree."""
    bench = served()
    bench.now_ms = 10_000
    command = [b"SET", b"k", b"v", b"PX", b"500"]
    effects = choose(bench, 2, envelope(batch(1, command), time_ms=10_000))
    assert timers(effects)["expiry"] == 501
    bench.now_ms = 10_400
    assert timers(bench.fire("expiry")) == {"expiry": 101}
    bench.now_ms = 10_501
    effects = bench.fire("expiry")
    assert sent(effects, Tick) == [(PROPOSERS, Tick(deadline_ms=10_500))]
    assert bench.role.status().keys == 1
    choose(bench, 3, envelope(time_ms=10_501))
    assert bench.role.status().keys == 0
    assert bench.fire("expiry") == []


def test_status_is_an_immutable_snapshot_when_taken() -> None:
    """STYLE 21."""
    bench = served()
    choose(bench, 2, write(1))
    bench.receive(C1, read(1))
    assert msgspec.to_builtins(bench.role.status()) == {
        "applied": 2,
        "highest_seen": 2,
        "missing": 0,
        "revision": 1,
        "keys": 0,
        "values": 1,
        "sessions": 1,
        "now_ms": 0,
        "reads": 0,
        "reads_waiting": 1,
        "caught_up": False,
        "epoch": 0,
        "snapshots": {
            "kept_slot": 0,
            "kept": {},
            "log_bytes": len(opening()) + len(write(1)),
            "log_slots": 2,
            "taking": False,
            "taken_slot": 0,
            "taken_bytes": 0,
            "restored_bytes": 0,
            "restoring_bytes": 0,
        },
    }


def test_reads_do_not_pile_up_when_there_is_no_quorum() -> None:
    """DESIGN rule 10: a gateway asks again and again, and gives up in the end."""
    bench = a_learner()
    for _ in range(3):
        bench.receive(C1, read(5))
        bench.drain()
    assert bench.role.status().reads_waiting == 1
    bench.receive(C1, read(6))
    bench.now_ms += 6000
    bench.fire("round")
    assert bench.role.status().reads_waiting == 0
    bench.receive(C1, read(7))
    bench.drain()
    bench.disconnect(C1)
    assert bench.role.status().reads_waiting == 0


def test_an_acceptor_is_reminded_of_what_it_told_in_its_earlier_lives_when_it_comes_back() -> None:
    bench = a_learner()
    assert messages(bench.connect(A1, incarnation=1), Reminder) == []
    for slot, ballot in ((3, 101), (2, 202)):
        bench.receive(A1, Accepted(ballot=Ballot(ballot), slot=Slot(slot)))
    assert messages(bench.connect(A1, incarnation=1), Reminder) == []
    told = [((A1,), Reminder(slot=Slot(3), ballot=Ballot(202)))]
    assert sent(bench.connect(A1, incarnation=2), Reminder) == told
    # What it votes in this life is no part of what its volume must have begun with.
    bench.receive(A1, Accepted(ballot=Ballot(301), slot=Slot(9)))
    assert sent(bench.connect(A1, incarnation=2), Reminder) == told
    assert sent(bench.connect(A1, incarnation=3), Reminder) == [
        ((A1,), Reminder(slot=Slot(9), ballot=Ballot(301)))
    ]
    assert messages(bench.connect(A2, incarnation=2), Reminder) == []


# ---------------------------------------------------------------- members


FOUR = (A1, A2, A3, A4)


def changing(epoch: int = 1, acceptors: tuple[NodeId, ...] = FOUR) -> bytes:
    return packed(Change(epoch=epoch, members=members(acceptors)))


def votes(*pairs: tuple[int, int], epoch: int, first: int = 1) -> Votes:
    told = [(Slot(slot), Ballot(ballot)) for slot, ballot in pairs]
    return Votes(first=Slot(first), last=Slot(1024), highest=Slot(0), votes=told, epoch=epoch)


def applied(bench: Bench) -> int:
    return int(bench.role.machine.applied)


def test_a_learner_goes_by_a_change_and_tells_everybody_when_it_is_applied() -> None:
    """learner._on_change_applied: old and new members; ADR 0003: whoever knows that the slot is
    decided knows the configuration after it."""
    bench = a_learner()
    effects = choose(bench, 1, changing(acceptors=(A1, A2, A4)), ballot=202)
    made = configuration(1, 1, 202, acceptors=(A1, A2, A4))
    assert records(effects) == [Configured(configuration=made)]
    assert Relink(configuration=made) in effects
    [(told, message)] = sent(effects, Configuration)
    assert message == made
    assert set(told) == {*membership_of().nodes, A4} - {L1}
    assert bench.role.status().epoch == 1


def test_a_change_is_applied_like_any_slot_when_its_epoch_is_in_force() -> None:
    """messages.Change: it takes effect "where its epoch is above the one in force"; a learner that
    begins anew meets the changes of long ago."""
    bench = a_learner()
    bench.receive(A1, configuration(2, 1, acceptors=FOUR))
    for acceptor in (A1, A2, A4):
        bench.receive(acceptor, votes((1, 101), epoch=2))
    bench.receive(P1, value(1, changing(1, (A1, A2))))
    assert applied(bench) == 1
    assert (bench.role.view.epoch, bench.role.view.membership.acceptors) == (2, FOUR)


def test_a_new_quorum_is_needed_when_the_members_have_changed() -> None:
    """DESIGN rule 2: from the slot after the change on."""
    bench = a_learner()
    choose(bench, 1, changing())
    choose(bench, 2, b"")
    assert applied(bench) == 1
    bench.receive(A4, vote(2))
    assert applied(bench) == 2


def test_votes_that_came_early_are_counted_anew_when_a_change_is_applied() -> None:
    """ADR 0003: "votes that came early are counted again after a change"."""
    bench = a_learner()
    choose(bench, 2, b"")
    assert bench.role.pending[Slot(2)].chosen == 101, "by the members of then"
    choose(bench, 1, changing())
    assert applied(bench) == 1
    bench.receive(A3, vote(2))
    assert applied(bench) == 2


def test_early_votes_are_enough_when_the_new_members_are_among_them() -> None:
    """A learner hears the votes of a member to be before it knows what that is."""
    bench = a_learner()
    bench.receive(P1, value(2))
    for acceptor in (A2, A4):
        bench.receive(acceptor, vote(2))
    choose(bench, 1, changing(acceptors=(A1, A2, A4)))
    assert applied(bench) == 2


def test_the_votes_of_a_removed_acceptor_count_for_nothing_after_the_change() -> None:
    """DESIGN rules 2 and 11."""
    bench = a_learner()
    choose(bench, 2, b"")
    choose(bench, 1, changing(acceptors=(A2, A3)))
    assert applied(bench) == 1
    bench.receive(A1, vote(2))
    assert applied(bench) == 1
    bench.receive(A3, vote(2))
    assert applied(bench) == 2


def test_ballots_below_the_change_count_for_nothing_after_it() -> None:
    """configuring.py: "A vote counts for a slot after s when its ballot is c or higher": what an
    older proposer left there was proposed to other quorums."""
    bench = a_learner()
    choose(bench, 2, b"", ballot=101)
    bench.receive(A3, vote(2, 101))
    choose(bench, 1, changing(acceptors=(A1, A2)), ballot=202)
    assert applied(bench) == 1
    for acceptor in (A1, A2):
        bench.receive(acceptor, vote(2, 201))
        bench.receive(acceptor, votes((2, 201), epoch=1))
    bench.receive(P1, value(2, b"", 201))
    assert applied(bench) == 1
    choose(bench, 2, b"", ballot=202)
    assert applied(bench) == 2


def test_only_what_new_members_hold_counts_up_to_a_change_that_was_told() -> None:
    """configuring.py: "Slots up to s are judged by what the new members hold, once they know that
    they are members"."""
    bench = a_learner()
    choose(bench, 2, b"")
    bench.receive(L2, configuration(1, 3, acceptors=FOUR))
    assert bench.role.pending[Slot(2)].votes == {}
    for acceptor in FOUR:
        bench.receive(acceptor, vote(1))
        bench.receive(acceptor, votes((1, 101), epoch=0))
    bench.receive(P1, value(1))
    assert applied(bench) == 0
    for acceptor in (A1, A2, A4):
        bench.receive(acceptor, votes((1, 101), (2, 101), (3, 101), epoch=1))
    assert applied(bench) == 2
    bench.receive(P1, value(3, changing()))
    assert applied(bench) == 3


def test_the_new_members_are_asked_at_once_when_a_change_was_told() -> None:
    """What was counted counts no more, and nobody tells it again unasked."""
    bench = a_learner()
    effects = bench.receive(L2, configuration(1, 3, acceptors=FOUR))
    [(to, ask)] = sent(effects, AskVotes)
    assert (to, ask.first) == (FOUR, 1)
    assert bench.role.status().missing == 3
    assert bench.receive(L2, configuration(1, 3, acceptors=FOUR)) == []


@pytest.mark.parametrize(
    "message",
    [
        votes((1, 101), epoch=1),
        SnapshotPart(slot=Slot(9), size=1, offset=0, data=b"x", epoch=1),
        Heartbeat(ballot=Ballot(101), decided=Slot(9), round=1, epoch=1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_learner_asks_for_the_configuration_when_a_message_is_of_a_newer_epoch(
    message: object,
) -> None:
    """configuring.py: "and leaves the message unread"."""
    bench = a_learner()
    assert bench.receive(A1, message) == [Send(to=(A1,), message=AskConfiguration())]
    assert (bench.role.pending, bench.role.status().highest_seen) == ({}, 0)


def test_a_learner_tells_the_configuration_when_it_is_asked_or_linked_with() -> None:
    """messages.Configuration: "Whoever knows a newer one tells it"."""
    bench = a_learner()
    assert nothing_sent(bench.receive(A1, AskConfiguration()))
    made = configuration(1, 3, acceptors=FOUR)
    bench.receive(A1, made)
    assert sent(bench.receive(P1, AskConfiguration()), Configuration) == [((P1,), made)]
    assert sent(bench.connect(C1), Configuration) == [((C1,), made)]


def test_a_learner_goes_by_its_configuration_when_it_starts_again() -> None:
    """effects.Configured: the newest that it knows is on its volume; its state begins anew."""
    bench = a_learner()
    bench.receive(A1, configuration(1, 3, acceptors=FOUR))
    assert bench.journal is not None
    bench.journal.sync()
    journal = bench.journal.crash()
    role = Learner(L1, membership_of(), Settings(), Machine(), journal.recovered)
    again = Bench(role, journal)
    again.start()
    choose(again, 1, b"")
    assert (again.role.view.epoch, applied(again)) == (1, 0)


# ---------------------------------------------------------------- members: reads


def asking(bench: Bench) -> tuple[tuple[NodeId, ...], int]:
    """Let a read arrive; return whom the learner asks, and in which round."""
    bench.receive(C1, read())
    [(to, ask)] = sent(bench.drain(), AskHighest)
    return to, ask.round


def test_a_read_is_asked_again_when_the_members_changed_before_its_slot_was_applied() -> None:
    """DESIGN rule 7: "The quorum is that of the configuration in force after the slot waited for;
    where applying changed it, the learner asks again"."""
    bench = served()
    to, round_ = asking(bench)
    assert to == ACCEPTORS
    for acceptor in (A1, A2):
        bench.receive(acceptor, Highest(round=round_, slot=Slot(2)))
    effects = choose(bench, 2, changing())
    assert answers(effects) == []
    [(to, ask)] = sent(effects, AskHighest)
    assert to == FOUR
    assert ask.round == round_ + 1
    for acceptor in (A1, A3):
        assert answers(bench.receive(acceptor, Highest(round=ask.round, slot=Slot(2)))) == []
    effects = bench.receive(A4, Highest(round=ask.round, slot=Slot(2)))
    assert [number for number, _ in answers(effects)] == [1]


def test_a_new_quorum_answers_a_read_when_the_members_change_in_its_round() -> None:
    """DESIGN rule 7: two of three had answered; of four, three are needed."""
    bench = served()
    _, round_ = asking(bench)
    bench.receive(A1, Highest(round=round_, slot=Slot(1)))
    choose(bench, 2, changing())
    assert answers(bench.receive(A2, Highest(round=round_, slot=Slot(1)))) == []
    [(to, _)] = sent(bench.fire("round"), AskHighest)
    assert to == (A3, A4)
    effects = bench.receive(A4, Highest(round=round_, slot=Slot(2)))
    assert [number for number, _ in answers(effects)] == [1]


def test_the_answer_of_a_removed_acceptor_counts_for_nothing_in_a_read() -> None:
    """DESIGN rules 2 and 7."""
    bench = served()
    _, round_ = asking(bench)
    bench.receive(A1, Highest(round=round_, slot=Slot(1)))
    choose(bench, 2, changing(acceptors=(A2, A3)))
    assert answers(bench.receive(A2, Highest(round=round_, slot=Slot(2)))) == []
    assert answers(bench.receive(A3, Highest(round=round_, slot=Slot(2))))
