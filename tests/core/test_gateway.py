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
    C2,
    L1,
    L2,
    P1,
    P2,
    P3,
    Bench,
    a_gateway,
    configuration,
    delivered,
    messages,
    nothing_sent,
    sent,
    timers,
    traced,
)

from paxos.core.asking import CHANGES_MAX
from paxos.core.effects import ClientChange, ClientGone, ClientStaleReads, Effect, Relink
from paxos.core.messages import (
    AskConfiguration,
    Batch,
    ChangeMembers,
    Configuration,
    LeaderState,
    MembersChanged,
    NotLeader,
    OpenSession,
    OutOfOrder,
    Read,
    ReadResults,
    Results,
    SessionOpened,
    SessionUnknown,
    StaleRead,
    Submit,
    Subscribe,
    SubscribeOpening,
    Unsubscribe,
)
from paxos.core.settings import Limits, Settings
from paxos.core.types import Ballot, NodeId, Slot

SESSION = Slot(4)


def leads(ballot: int, *voting: NodeId, **abstaining: str) -> LeaderState:
    return LeaderState(
        ballot=Ballot(ballot),
        voting=list(voting or (A1, A2, A3)),
        abstaining={NodeId(name.replace("_", "-")): why for name, why in abstaining.items()},
    )


def results(sequence: int, *replies: Any, session: int = SESSION, slot: int = 9) -> Results:
    return Results(
        session=Slot(session),
        sequence=sequence,
        slot=Slot(slot),
        revision=1,
        results=msgspec.msgpack.encode(list(replies)),
    )


def read_results(number: int, *replies: Any) -> ReadResults:
    packed = msgspec.msgpack.encode(list(replies))
    return ReadResults(read=number, slot=Slot(9), revision=1, results=packed)


def nonce(bench: Bench) -> int:
    return int(bench.role._nonce)


def linked(settings: Settings | None = None) -> Bench:
    """Return a gateway that knows its leader and has asked for a session."""
    bench = a_gateway(settings=settings)
    for peer in (P1, P2, L1, L2):
        bench.connect(peer)
    bench.receive(P1, leads(101))
    return bench


def ready(settings: Settings | None = None) -> Bench:
    """Return a gateway with leader, learner and session."""
    bench = linked(settings)
    bench.receive(L1, SessionOpened(nonce=nonce(bench), session=SESSION))
    assert bench.role.session == SESSION
    return bench


def batches(effects: list[Any]) -> list[tuple[int, list[Any]]]:
    """Return (sequence, commands) of every batch that is submitted."""
    out = []
    for submit in messages(effects, Submit):
        batch = msgspec.msgpack.decode(submit.batch, type=Batch)
        assert batch.sequence == submit.sequence
        out.append((batch.sequence, msgspec.msgpack.decode(batch.commands)))
    return out


def write(bench: Bench, connection: int, *texts: bytes) -> list[Any]:
    bench.write(connection, *[[b"WRITE", text] for text in texts])
    return bench.drain()


# ---------------------------------------------------------------- which cluster


def test_nodes_of_another_cluster_are_nobody_when_one_was_met() -> None:
    """A backup that was restored twice makes two clusters: no gateway serves both."""
    bench = a_gateway()
    bench.connect(P1)
    bench.connect(P2, "c2")
    assert bench.role.cluster == "c2"
    assert bench.connect(L1, "c1") == []
    assert bench.receive(P1, leads(101)) != [], "one that is of no cluster yet may be of this one"
    assert [to for to, _ in sent(bench.connect(L2, "c2"), SubscribeOpening)] == [(L2,)]
    assert bench.role.status().learner == L2


# ---------------------------------------------------------------- session


def test_a_session_is_asked_of_the_log_when_a_leader_is_found() -> None:
    """DESIGN rule 6: a session is opened through the log."""
    bench = a_gateway()
    for peer in (P1, L1, L2):
        bench.connect(peer)
    effects = bench.receive(P1, leads(101))
    assert traced(effects) == ["leader_found"]
    [(to, submit)] = sent(effects, Submit)
    opening = msgspec.msgpack.decode(submit.batch, type=OpenSession)
    assert to == (P1,)
    assert opening == OpenSession(gateway=NodeId("client-1"), nonce=nonce(bench))
    told = SubscribeOpening(nonce=nonce(bench))
    assert sent(effects, SubscribeOpening) == [((L1, L2), told)]


def test_a_session_is_asked_for_again_when_no_answer_came() -> None:
    """The request, or its answer, may be lost; the nonce opens one session only."""
    bench = linked()
    bench.now_ms += 400
    [first] = messages(bench.fire("watch"), Submit)
    assert messages(bench.fire("watch"), Submit) == []  # each try may take a slot: not at once
    bench.now_ms += 400
    [second] = messages(bench.fire("watch"), Submit)
    assert first.batch == second.batch
    assert first.attempt < second.attempt


def test_results_are_taken_from_one_learner_when_the_session_is_open() -> None:
    """The other learner is told to be quiet."""
    bench = linked()
    effects = bench.receive(L2, SessionOpened(nonce=nonce(bench), session=SESSION))
    assert sent(effects, Unsubscribe) == [((L2,), Unsubscribe())]
    subscribe = Subscribe(session=SESSION, acknowledged=0)
    assert sent(effects, Subscribe) == [((L1,), subscribe)]


def test_a_session_of_another_life_is_ignored_when_it_comes_late() -> None:
    """DESIGN rule 6: the nonce names this process."""
    bench = linked()
    bench.receive(L1, SessionOpened(nonce=nonce(bench) + 1, session=SESSION))
    assert bench.role.session == 0


def test_writes_wait_when_there_is_no_session_yet() -> None:
    """No command enters the log outside a session."""
    bench = linked()
    assert nothing_sent(write(bench, 1, b"x"))
    assert bench.role.status().queued == 1
    bench.receive(L1, SessionOpened(nonce=nonce(bench), session=SESSION))
    assert batches(bench.drain()) == [(1, [[b"WRITE", b"x"]])]


def test_clients_are_told_unknown_when_the_session_was_replaced() -> None:
    """DESIGN rule 6: what was under way can never be asked about again: indefinite."""
    bench = ready()
    write(bench, 1, b"x")
    old = nonce(bench)
    bench.dice = 0.9
    effects = bench.receive(L1, SessionUnknown(session=SESSION))
    [(_, [reply])] = delivered(effects)
    assert reply["error"].startswith("UNKNOWN")
    assert bench.role.session == 0
    assert nonce(bench) != old
    assert messages(effects, Submit)


# ---------------------------------------------------------------- writes


def test_commands_share_a_batch_when_they_arrive_together() -> None:
    """DESIGN "One write": a batch holds what arrived together."""
    bench = ready()
    bench.write(1, [b"WRITE", b"a"])
    bench.write(2, [b"WRITE", b"b"], [b"WRITE", b"c"])
    assert batches(bench.drain()) == [(1, [[b"WRITE", b"a"], [b"WRITE", b"b"], [b"WRITE", b"c"]])]


def test_each_connection_gets_its_own_replies_when_a_batch_is_done() -> None:
    """DESIGN rule 6: "never another's"."""
    bench = ready()
    bench.write(1, [b"WRITE", b"a"])
    bench.write(2, [b"WRITE", b"b"], [b"WRITE", b"c"])
    bench.drain()
    assert delivered(bench.receive(L1, results(1, 5, 6, 7))) == [(1, [5]), (2, [6, 7])]


def test_a_batch_is_answered_once_when_both_learners_answer() -> None:
    """DESIGN rule 6."""
    bench = ready()
    write(bench, 1, b"a")
    assert delivered(bench.receive(L1, results(1, 5)))
    assert bench.receive(L2, results(1, 5)) == []


def test_results_count_for_nothing_when_they_are_of_another_session() -> None:
    """DESIGN rule 6: told its own command's result, never another's."""
    bench = ready()
    write(bench, 1, b"a")
    assert bench.receive(L1, results(1, 5, session=3)) == []


def test_sequences_rise_one_by_one_when_batches_leave() -> None:
    """DESIGN rule 6: the unit that is applied at most once."""
    bench = ready()
    numbers = [batches(write(bench, n, b"x"))[0][0] for n in range(1, 5)]
    assert numbers == [1, 2, 3, 4]


def test_commands_gather_when_as_many_batches_are_under_way_as_may_be() -> None:
    """DESIGN: a batch "grows only while something is" in flight; STYLE 19."""
    bench = ready()
    for number in range(1, 5):
        write(bench, number, b"x")
    assert nothing_sent(write(bench, 5, b"y"))
    assert nothing_sent(write(bench, 6, b"z"))
    bench.receive(L1, results(1, 1))
    assert batches(bench.drain()) == [(5, [[b"WRITE", b"y"], [b"WRITE", b"z"]])]


def test_a_batch_is_closed_when_it_would_grow_too_large() -> None:
    """STYLE 19: batch_bytes_max, batch_commands_max; one larger command travels alone."""
    bench = ready(Settings(limits=Limits(batch_bytes_max=60)))
    bench.write(1, [b"WRITE", b"x" * 500])
    bench.write(2, [b"WRITE", b"a"])
    bench.write(3, [b"WRITE", b"b"])
    bench.write(4, [b"WRITE", b"c" * 30])
    assert [len(commands) for _, commands in batches(bench.drain())] == [1, 2, 1]
    bench = ready(Settings(limits=Limits(batch_commands_max=2)))
    for connection in range(1, 6):
        bench.write(connection, [b"WRITE", b"a"])
    assert [len(commands) for _, commands in batches(bench.drain())] == [2, 2, 1]


def test_connections_take_turns_when_one_has_sent_far_more() -> None:
    """One with many commands delays one with a single command by a chunk of each, not by all."""
    limits = Limits(batches_inflight_max=1, batch_commands_max=2)
    bench = ready(Settings(limits=limits))
    write(bench, 1, b"first")
    for number in range(4):
        bench.write(1, [b"WRITE", b"a%d" % number])
    bench.write(2, [b"WRITE", b"b"])
    bench.write(1, [b"WRITE", b"a4"])
    sent: list[bytes] = []
    for sequence in range(1, 5):
        bench.receive(L1, results(sequence, *[sequence] * 2))
        sent += [command[1] for _, commands in batches(bench.drain()) for command in commands]
    assert sent == [b"a0", b"b", b"a1", b"a2", b"a3", b"a4"]


def test_replies_come_in_order_when_results_overtake_each_other() -> None:
    """Order within a connection: clients never see results overtake."""
    bench = ready()
    write(bench, 1, b"a")
    write(bench, 1, b"b")
    assert delivered(bench.receive(L1, results(2, 22))) == []
    assert delivered(bench.receive(L1, results(1, 11))) == [(1, [11]), (1, [22])]


def test_nobody_is_answered_when_the_connection_is_gone() -> None:
    """ClientGone: its answers are wanted no more; the batch still finishes."""
    bench = ready()
    write(bench, 1, b"a")
    bench.step(ClientGone(connection=1))
    assert delivered(bench.receive(L1, results(1, 5))) == []
    assert bench.role.status().inflight == 0


def test_confirmations_are_remembered_up_to_a_bound_when_results_come() -> None:
    """DESIGN: `responses` prints what the learners confirmed; STYLE 19."""
    bench = ready(Settings(limits=Limits(responses_max=2)))
    for number in (1, 2, 3):
        write(bench, 1, b"a")
        bench.receive(L1, results(number, 5, slot=10 + number))
    assert [(c.sequence, c.slot, c.commands) for c in bench.role.confirmations] == [
        (2, 12, 1),
        (3, 13, 1),
    ]


def test_doors_are_asked_to_wait_when_too_much_is_queued() -> None:
    """STYLE 19: gateway_queue_bytes_max."""
    bench = a_gateway(settings=Settings(limits=Limits(gateway_queue_bytes_max=100)))
    bench.write(1, [b"WRITE", b"x" * 50])
    assert not bench.role.overloaded
    bench.write(1, [b"WRITE", b"x" * 50])
    assert bench.role.overloaded


# ---------------------------------------------------------------- order within a connection


def test_reads_join_the_log_when_writes_of_their_connection_are_under_way() -> None:
    """gateway.py: commands of one connection take effect in the order in which they were sent."""
    bench = ready()
    bench.write(1, [b"WRITE", b"a"])
    bench.read(1, [b"READ"])
    effects = bench.drain()
    assert batches(effects) == [(1, [[b"WRITE", b"a"], [b"READ"]])]
    assert messages(effects, Read) == []


def test_writes_wait_when_reads_of_their_connection_are_under_way() -> None:
    """gateway.py: "while its reads are under way, its writes wait"."""
    bench = ready()
    bench.read(1, [b"READ"])
    [read] = messages(bench.drain(), Read)
    bench.write(1, [b"WRITE", b"a"])
    bench.read(1, [b"READ"])
    assert nothing_sent(bench.drain())
    bench.receive(L1, read_results(read.read, []))
    assert batches(bench.drain()) == [(1, [[b"WRITE", b"a"], [b"READ"]])]


def test_other_connections_go_on_when_one_waits() -> None:
    """Order is a promise within a connection, not between them."""
    bench = ready()
    bench.read(1, [b"READ"])
    bench.write(2, [b"WRITE", b"a"])
    effects = bench.drain()
    assert len(messages(effects, Read)) == len(messages(effects, Submit)) == 1


# ---------------------------------------------------------------- reads


def test_reads_go_to_a_learner_and_come_back_when_nothing_is_written() -> None:
    """DESIGN rule 7."""
    bench = ready()
    bench.read(1, [b"GET", b"k"])
    bench.read(2, [b"READ"])
    [(to, read)] = sent(bench.drain(), Read)
    assert to == (L1,)
    assert msgspec.msgpack.decode(read.commands) == [[b"GET", b"k"], [b"READ"]]
    effects = bench.receive(L1, read_results(read.read, None, []))
    assert delivered(effects) == [(1, [None]), (2, [[]])]


def test_a_stale_read_says_so_when_it_is_asked_for() -> None:
    """DESIGN rule 7: an explicit choice."""
    bench = ready()
    bench.stale_read(1, [b"READ"])
    effects = bench.drain()
    assert len(messages(effects, StaleRead)) == 1
    assert messages(effects, Read) == []


def test_reads_are_asked_elsewhere_when_the_learner_goes() -> None:
    """DESIGN: any learner can answer."""
    bench = ready()
    bench.read(1, [b"READ"])
    [read] = messages(bench.drain(), Read)
    effects = bench.disconnect(L1)
    assert sent(effects, Read) == [((L2,), read)]
    assert sent(effects, Subscribe) == [((L2,), Subscribe(session=SESSION, acknowledged=0))]


def test_an_answer_of_an_earlier_life_is_ignored_when_it_comes_late() -> None:
    """DESIGN rule 6: reads are numbered from a random start."""
    bench = ready()
    bench.read(1, [b"READ"])
    [read] = messages(bench.drain(), Read)
    assert bench.receive(L1, read_results(read.read - 1, [])) == []
    assert bench.receive(L1, read_results(read.read + 1, [])) == []


def test_gateways_spread_over_learners_when_there_are_several() -> None:
    """client-1 prefers learner-1, client-2 learner-2."""
    bench = a_gateway(C2)
    bench.connect(L1)
    assert bench.role.status().learner == L1
    bench.connect(L2)
    assert bench.role.status().learner == L2


# ---------------------------------------------------------------- who leads


def test_batches_go_to_the_new_leader_when_it_changes() -> None:
    """PMMC 2: a client sends again until it learns the result, whoever leads."""
    bench = ready()
    write(bench, 1, b"a")
    write(bench, 2, b"b")
    effects = bench.receive(P2, leads(202))
    assert [to for to, _ in sent(effects, Submit)] == [(P2,), (P2,)]
    assert [number for number, _ in batches(effects)] == [1, 2]
    assert {m.attempt for m in messages(effects, Submit)} == {bench.role._attempt}


def test_an_older_leader_is_not_believed_when_a_higher_ballot_is_known() -> None:
    """STYLE "What goes wrong": a leader recorded without a ballot."""
    bench = ready()
    bench.receive(P2, leads(202))
    assert bench.receive(P1, leads(101)) == []
    assert bench.role.status().leader == P2


def test_hearsay_names_no_leader_when_the_leader_itself_said_nothing() -> None:
    """A follower's report is a hint; the leader must be linked and speak for itself."""
    bench = a_gateway()
    bench.connect(P2)
    bench.receive(P2, leads(101))
    assert bench.role.status().leader is None


def test_nobody_leads_when_the_leader_says_it_does_not() -> None:
    """messages.NotLeader; the link that closes says the same."""
    bench = ready()
    bench.receive(P1, NotLeader(stream=SESSION, sequence=1, ballot=Ballot(0)))
    assert bench.role.status().leader is None
    bench = ready()
    bench.disconnect(P1)
    assert bench.role.status().leader is None
    bench = ready()
    bench.receive(P1, leads(0))
    assert bench.role.status().leader is None


def test_everything_is_sent_again_when_a_batch_was_chosen_out_of_order() -> None:
    """messages.OutOfOrder; once per attempt."""
    bench = ready()
    write(bench, 1, b"a")
    write(bench, 2, b"b")
    bench.now_ms += 10
    order = OutOfOrder(session=SESSION, sequence=2, expected=1)
    assert [number for number, _ in batches(bench.receive(L1, order))] == [1, 2]
    assert bench.receive(L1, order) == []


# ---------------------------------------------------------------- time


def test_a_batch_is_asked_for_elsewhere_when_no_answer_comes() -> None:
    """settings.retry_ms: results from another learner, the batch at the leader again."""
    bench = ready()
    write(bench, 1, b"a")
    bench.now_ms += 401
    effects = bench.fire("watch")
    assert sent(effects, Subscribe) == [((L2,), Subscribe(session=SESSION, acknowledged=0))]
    assert [number for number, _ in batches(effects)] == [1]
    assert timers(effects) == {"watch": 100}
    assert bench.role.status().retries == 1


def test_a_new_attempt_begins_when_the_same_was_asked_for_in_vain() -> None:
    """gateway.NEW_ATTEMPT_TRIES: part of an attempt may be lost on its way."""
    bench = ready()
    [first] = messages(write(bench, 1, b"a"), Submit)
    attempts = []
    for _ in range(5):
        bench.now_ms += 2001
        bench.role.flights[1].arrived_ms = bench.now_ms
        attempts += [m.attempt for m in messages(bench.fire("watch"), Submit)]
    assert attempts[0] == first.attempt
    assert attempts[-1] > first.attempt


def test_a_write_is_definitely_not_done_when_it_never_left() -> None:
    """STYLE 17: definite: it did not happen; and the sentence says what is missing."""
    bench = a_gateway()
    bench.write(1, [b"WRITE", b"a"])
    bench.drain()
    bench.now_ms += 5000
    [(_, [reply])] = delivered(bench.fire("watch"))
    assert reply["error"] == (
        "UNAVAILABLE the write did not happen: no proposer can be reached (waited 5 s)"
    )


def test_a_write_is_unknown_when_it_left_and_no_result_came() -> None:
    """STYLE 17: indefinite: it may have happened; the batch stays under way."""
    bench = ready()
    write(bench, 1, b"a")
    bench.now_ms += 5000
    [(_, [reply])] = delivered(bench.fire("watch"))
    assert reply["error"].startswith("UNKNOWN the outcome is not known")
    assert bench.role.status().inflight == 1
    assert delivered(bench.receive(L1, results(1, 5))) == []
    assert bench.role.status().inflight == 0


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        (leads(101, A1, acceptor_2="its volume is blank"), "1 of 3 acceptors vote and 2 are"),
        (leads(101, A1, acceptor_2="its volume is blank"), "acceptor-2 does not vote: its volume"),
        (leads(101, A1), "acceptor-3 does not answer"),
    ],
)
def test_an_error_names_what_is_missing_when_there_is_no_quorum(
    state: LeaderState, complaint: str
) -> None:
    """DESIGN rule 8: says why, where the user looks."""
    bench = ready()
    bench.receive(P1, state)
    bench.read(1, [b"READ"])
    bench.drain()
    bench.now_ms += 5000
    [(_, [reply])] = delivered(bench.fire("watch"))
    assert reply["error"].startswith("UNAVAILABLE the read was not answered: no quorum")
    assert complaint in reply["error"]


def test_status_is_an_immutable_snapshot_when_taken() -> None:
    """STYLE 21."""
    bench = ready()
    write(bench, 1, b"a", b"b")
    bench.now_ms += 4
    bench.receive(L1, results(1, 1, 2))
    bench.read(2, [b"READ"])
    status = msgspec.to_builtins(bench.role.status())
    assert status == {
        "leader": "proposer-1",
        "ballot": 101,
        "quorum": {
            "needed": 2,
            "of": 3,
            "voting": ["acceptor-1", "acceptor-2", "acceptor-3"],
            "abstaining": {},
        },
        "learner": "learner-1",
        "session": 4,
        "queued": 1,
        "inflight": 0,
        "writes": 2,
        "reads": 0,
        "errors": 0,
        "retries": 0,
        "write_ms": {"p50": 4.0, "p99": 4.0},
        "read_ms": {"p50": 0.0, "p99": 0.0},
    }


def test_nothing_is_answered_before_what_stands_in_front_of_it_when_it_was_parked() -> None:
    """DESIGN rule 6: a client is told its own command's result or an error, never another's. A
    write that was parked behind a read is old when it is queued; it must not run out of time
    before what was queued earlier.
    """
    bench = ready(Settings(limits=Limits(batches_inflight_max=1)))
    bench.read(1, [b"GET", b"k"])
    bench.drain()
    [asked] = bench.role._read_flights
    bench.write(1, [b"WRITE", b"parked"])
    bench.now_ms += 4000
    assert batches(write(bench, 2, b"first"))
    bench.receive(L1, read_results(asked, None))
    bench.drain()
    bench.now_ms += 1500  # the parked write is 5.5 s old, the one in front of it 1.5 s
    assert delivered(bench.fire("watch")) == []
    bench.now_ms += 4000
    assert [connection for connection, _ in delivered(bench.fire("watch"))] == [2, 1]


def test_a_later_read_never_sees_less_when_an_earlier_one_was_asked_again() -> None:
    """DESIGN rule 7: reads of one connection are answered in order, and never go back in time."""
    bench = ready()
    bench.read(1, [b"GET", b"k"])
    bench.drain()
    bench.read(1, [b"GET", b"k"])
    bench.drain()
    earlier, later = bench.role._read_flights
    old = msgspec.structs.replace(read_results(later, b"old"), slot=Slot(3))
    assert delivered(bench.receive(L1, old)) == []
    effects = bench.receive(L1, read_results(earlier, b"new"))
    assert delivered(effects) == [(1, [b"new"])]
    assert [read.read for read in messages(effects, Read)] == [later]
    assert delivered(bench.receive(L1, read_results(later, b"new"))) == [(1, [b"new"])]


def test_stale_reads_are_answered_when_linearizable_ones_wait_for_a_quorum() -> None:
    """A stale read is an explicit choice: it needs no quorum, so none may hold it up."""
    bench = ready(Settings(limits=Limits(batches_inflight_max=1)))
    bench.read(1, [b"GET", b"k"])
    bench.drain()
    bench.step(ClientStaleReads(connection=2, commands=[[b"GET", b"k"]]))
    [stale] = messages(bench.drain(), StaleRead)
    assert delivered(bench.receive(L1, read_results(stale.read, b"v"))) == [(2, [b"v"])]


# ---------------------------------------------------------------- members

WITH_A4 = configuration(acceptors=(*ACCEPTORS, A4))


def asks(bench: Bench, node: NodeId = A4, *, add: bool = True, connection: int = 1) -> list[Effect]:
    """Let a client ask for a change of the members."""
    return bench.step(ClientChange(connection=connection, add=add, node=node))


def request_of(effects: list[Effect]) -> int:
    [message] = messages(effects, ChangeMembers)
    return message.request


def test_the_leader_is_asked_when_a_client_asks_for_a_change() -> None:
    """messages.ChangeMembers; the address goes along for one that no configuration file knows."""
    bench = ready()
    event = ClientChange(connection=1, add=True, node=A4, address=("h", 1, 2))
    [(to, message)] = sent(bench.step(event), ChangeMembers)
    assert to == (P1,)
    assert (message.add, message.node, message.address) == (True, A4, ("h", 1, 2))


def test_a_client_is_told_the_epoch_when_its_change_is_made() -> None:
    """effects.ClientChange: "the epoch of a configuration in which it is so"."""
    bench = ready()
    request = request_of(asks(bench))
    effects = bench.receive(P1, MembersChanged(request=request, epoch=7))
    assert delivered(effects) == [(1, [7])]
    assert bench.receive(P1, MembersChanged(request=request, epoch=8)) == [], "once"


@pytest.mark.parametrize(
    "error", ["ERR acceptor-4 is the last acceptor", "UNAVAILABLE acceptor-4 has not joined"]
)
def test_a_client_is_told_the_leaders_words_when_its_change_is_refused(error: str) -> None:
    """STYLE 17: both are definite: it was not even proposed."""
    bench = ready()
    request = request_of(asks(bench))
    effects = bench.receive(P1, MembersChanged(request=request, epoch=0, error=error))
    assert delivered(effects) == [(1, [{"error": error}])]


def test_an_answer_is_nobodys_when_it_is_for_another_request() -> None:
    """DESIGN rule 6: a client is told its own command's result, never another's."""
    bench = ready()
    request = request_of(asks(bench))
    assert bench.receive(P1, MembersChanged(request=request + 1, epoch=7)) == []
    other = request_of(asks(bench, A3, add=False, connection=2))
    effects = bench.receive(P1, MembersChanged(request=other, epoch=7))
    assert delivered(effects) == [(2, [7])]


def test_requests_are_numbered_anew_when_the_gateway_starts() -> None:
    """A late answer to an earlier life answers nothing (rule 6, as with reads)."""
    numbers = set()
    for dice in (0.1, 0.2):
        bench = a_gateway()
        bench.dice = dice
        bench.start()
        bench.connect(P1)
        bench.receive(P1, leads(101))
        numbers.add(request_of(asks(bench)))
    assert len(numbers) == 2


def test_a_change_is_asked_for_again_when_no_answer_came() -> None:
    """Under the same number, of whoever leads then: "What is asked for twice is done once"."""
    bench = ready()
    request = request_of(asks(bench))
    assert sent(bench.fire("watch"), ChangeMembers) == [
        ((P1,), ChangeMembers(request=request, add=True, node=A4))
    ]
    bench.receive(P2, leads(202))
    assert sent(bench.fire("watch"), ChangeMembers) == [
        ((P2,), ChangeMembers(request=request, add=True, node=A4))
    ]


def test_a_refusal_is_no_answer_when_an_earlier_leader_was_asked_as_well() -> None:
    """STYLE 17: that one may have proposed it, and the change may be chosen yet: not definite."""
    bench = ready()
    request = request_of(asks(bench))
    bench.receive(P2, leads(202))
    bench.fire("watch")
    refusal = MembersChanged(request=request, epoch=0, error="UNAVAILABLE another is under way")
    assert bench.receive(P2, refusal) == []
    assert bench.receive(P1, refusal) == []
    assert messages(bench.fire("watch"), ChangeMembers)
    bench.now_ms += 5001
    [(_, [reply])] = delivered(bench.fire("watch"))
    assert reply["error"].startswith("UNKNOWN ")


def test_an_answer_counts_whoever_gives_it_when_the_change_is_made() -> None:
    """What is so is so."""
    bench = ready()
    request = request_of(asks(bench))
    bench.receive(P2, leads(202))
    bench.fire("watch")
    assert delivered(bench.receive(P1, MembersChanged(request=request, epoch=7))) == [(1, [7])]


def test_so_many_changes_are_asked_for_at_once_and_no_more() -> None:
    """STYLE 19: everything has a limit, and says so."""
    bench = ready()
    for connection in range(CHANGES_MAX):
        assert delivered(asks(bench, connection=connection)) == []
    [(connection, [reply])] = delivered(asks(bench, connection=99))
    assert connection == 99
    assert reply["error"].startswith(f"ERR {CHANGES_MAX} changes of the members are under way")
    bench.step(ClientGone(connection=0))
    assert messages(asks(bench, connection=99), ChangeMembers)


def test_a_change_waits_when_nobody_leads_and_is_asked_for_when_somebody_does() -> None:
    bench = a_gateway()
    bench.connect(P1)
    assert messages(asks(bench), ChangeMembers) == []
    bench.receive(P1, leads(101))
    assert messages(bench.fire("watch"), ChangeMembers)


def test_a_change_that_left_has_an_unknown_outcome_when_time_is_up() -> None:
    """STYLE 17: indefinite, it may have happened."""
    bench = ready()
    asks(bench)
    bench.now_ms += 5000
    assert delivered(bench.fire("watch")) == []
    bench.now_ms += 1
    [(connection, [reply])] = delivered(bench.fire("watch"))
    assert connection == 1
    assert reply["error"].startswith("UNKNOWN ")
    assert delivered(bench.fire("watch")) == []


def test_a_change_that_never_left_did_not_happen_when_time_is_up() -> None:
    """STYLE 17: definite."""
    bench = a_gateway()
    asks(bench)
    bench.now_ms += 5001
    [(_, [reply])] = delivered(bench.fire("watch"))
    assert reply["error"].startswith("UNAVAILABLE ")
    assert "no proposer can be reached" in reply["error"]


def test_a_client_is_told_the_epoch_when_a_configuration_shows_that_it_is_so() -> None:
    """The leader that made the change may have died before it could say so."""
    bench = ready()
    asks(bench)
    asks(bench, A3, add=False, connection=2)
    effects = bench.receive(L1, WITH_A4)
    assert delivered(effects) == [(1, [1])]
    assert Relink(configuration=WITH_A4) in effects
    effects = bench.receive(L1, configuration(2, 9, acceptors=(A1, A2, A4)))
    assert delivered(effects) == [(2, [2])]


def test_a_change_is_asked_for_no_more_when_its_client_has_gone() -> None:
    """effects.ClientGone: "its answers are wanted no more"."""
    bench = ready()
    request = request_of(asks(bench))
    bench.step(ClientGone(connection=1))
    assert messages(bench.fire("watch"), ChangeMembers) == []
    assert delivered(bench.receive(P1, MembersChanged(request=request, epoch=7))) == []


def test_another_learner_is_read_from_when_the_first_is_removed() -> None:
    """gateway._on_configuration: "other learners to read from"; what is under way goes along."""
    bench = ready()
    bench.read(1, [b"GET", b"k"])
    bench.drain()
    effects = bench.receive(P1, configuration(learners=(L2,)))
    assert sent(effects, Unsubscribe) == [((L1,), Unsubscribe())]
    assert [to for to, _ in sent(effects, Subscribe)] == [(L2,)]
    assert [to for to, _ in sent(effects, Read)] == [(L2,)]


def test_nothing_is_sent_to_a_leader_when_it_is_removed() -> None:
    """It steps down as soon as it hears of it; until then it would only say so."""
    bench = ready()
    bench.receive(L1, configuration(proposers=(P2, P3)))
    assert batches(write(bench, 1, b"x")) == []
    bench.receive(P2, leads(202))
    assert [to for to, _ in sent(bench.drain(), Submit)] == [(P2,)]


def test_a_gateway_tells_the_configuration_when_it_is_asked_or_linked_with() -> None:
    """messages.Configuration: "Whoever knows a newer one tells it"."""
    bench = ready()
    assert nothing_sent(bench.receive(P1, AskConfiguration()))
    bench.receive(L1, WITH_A4)
    assert sent(bench.receive(P1, AskConfiguration()), Configuration) == [((P1,), WITH_A4)]
    assert sent(bench.connect(P2), Configuration) == [((P2,), WITH_A4)]
    assert bench.receive(L2, configuration(1)) == []


def test_what_is_missing_is_said_by_the_members_of_now_when_they_have_changed() -> None:
    """A client is told of four acceptors and three votes needed, not of the founding's."""
    bench = ready()
    bench.receive(L1, WITH_A4)
    bench.receive(P1, leads(101, A1, A2))
    assert bench.role.whats_missing() == (
        "no quorum: 2 of 4 acceptors vote and 3 are needed; acceptor-3 does not answer, "
        "acceptor-4 does not answer"
    )
    assert (bench.role.status().quorum.needed, bench.role.status().quorum.of) == (3, 4)
