"""Apply once, in order, per session (DESIGN rule 6)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxos.core.messages import (
    Batch,
    OpenSession,
    OutOfOrder,
    Results,
    SessionOpened,
    SessionUnknown,
)
from paxos.core.types import NodeId
from paxos.machine import sessions
from paxos.machine.sessions import RESULTS_KEPT_MAX

ONE, TWO = NodeId("client-1"), NodeId("client-2")


def replies(outcome: Any) -> Any:
    assert isinstance(outcome, Results)
    return msgspec.msgpack.decode(outcome.results)


def test_session_is_named_by_its_slot(log):
    outcomes = log.decide(OpenSession(gateway=TWO, nonce=9))
    assert outcomes == [(TWO, SessionOpened(nonce=9, session=log.machine.applied))]
    assert log.machine.status().sessions == 2


def test_same_nonce_chosen_twice_opens_one_session(log):
    first = log.decide(OpenSession(gateway=TWO, nonce=9))
    assert log.decide(OpenSession(gateway=TWO, nonce=9)) == first
    assert (
        log.decide(OpenSession(gateway=TWO, nonce=9), OpenSession(gateway=TWO, nonce=9))
        == first + first
    )
    assert log.machine.opened(TWO, 9) == first[0][1]
    assert log.machine.opened(TWO, 8) is None
    assert log.machine.opened(NodeId("client-3"), 9) is None


def test_new_session_ends_the_older_one(log):
    old = log.session
    log.do("SET k 1")
    stale = log.batch(2, [b"SET", b"k", b"stale"])
    log.open(nonce=2)
    assert log.decide(stale) == [(ONE, SessionUnknown(session=old))]
    assert log.do("GET k") == b"1"
    assert log.machine.results(ONE, old, 0) == [SessionUnknown(session=old)]
    assert log.machine.opened(ONE, 1) is None


def test_session_of_one_gateway_is_unknown_for_another(log):
    batch = msgspec.structs.replace(log.batch(1, [b"SET", b"k", b"1"]), gateway=TWO)
    assert log.decide(batch) == [(TWO, SessionUnknown(session=log.session))]
    assert log.do("EXISTS k") == 0


def test_several_gateways_open_in_one_slot(log):
    outcomes = log.decide(OpenSession(gateway=ONE, nonce=5), OpenSession(gateway=TWO, nonce=6))
    slot = log.machine.applied
    assert outcomes == [
        (ONE, SessionOpened(nonce=5, session=slot)),
        (TWO, SessionOpened(nonce=6, session=slot)),
    ]


def test_last_nonce_wins_when_a_gateway_opens_twice_in_one_slot(log):
    """Two nonces must never share a session's name."""
    outcomes = log.decide(OpenSession(gateway=ONE, nonce=5), OpenSession(gateway=ONE, nonce=6))
    assert outcomes == [(ONE, SessionOpened(nonce=6, session=log.machine.applied))]
    assert log.machine.opened(ONE, 5) is None


def test_duplicate_batch_is_answered_from_memory_and_not_applied(log):
    log.do("SET n 0")
    batch = log.batch(2, [b"INCR", b"n"])
    [(_, first)] = log.decide(batch)
    revision = log.machine.revision
    assert log.decide(batch) == [(ONE, first)]
    assert log.decide(batch, batch) == [(ONE, first), (ONE, first)]
    assert log.machine.revision == revision
    log.sequence = 2
    assert log.do("GET n") == b"1"


def test_duplicate_within_one_slot_is_applied_once(log):
    batch = log.batch(1, [b"INCR", b"n"])
    [(_, first), (_, second)] = log.decide(batch, batch)
    assert first == second
    assert replies(first) == [1]


def test_duplicate_is_told_what_is_known_when_its_results_are_forgotten(log):
    first = log.batch(1, [b"INCR", b"n"])
    log.decide(first)
    log.decide(log.batch(2, [b"INCR", b"n"], acknowledged=1))
    [(gateway, outcome)] = log.decide(first)
    assert (gateway, outcome.sequence) == (ONE, 1)
    [reply] = replies(outcome)
    assert reply["error"].startswith("UNKNOWN it was applied, once")
    assert log.decide(log.batch(0, [b"INCR", b"n"])) == []
    assert log.decide(log.batch(-5, [b"INCR", b"n"])) == []
    log.sequence = 2
    assert log.do("GET n") == b"2"


def test_batch_is_not_applied_when_its_predecessor_is_missing(log):
    early = log.batch(2, [b"SET", b"k", b"2"])
    expected = OutOfOrder(session=log.session, sequence=2, expected=1)
    assert log.decide(early) == [(ONE, expected)]
    assert log.do("EXISTS k") == 0
    assert replies(log.decide(early)[0][1]) == ["OK"]


def test_results_are_kept_for_a_gateway_that_subscribes_again(log):
    outcomes = [log.decide(log.batch(n, [b"INCR", b"n"]))[0][1] for n in (1, 2, 3)]
    assert log.machine.results(ONE, log.session, 0) == outcomes
    assert log.machine.results(ONE, log.session, 2) == outcomes[2:]
    assert log.machine.results(ONE, log.session, 3) == []
    assert log.machine.results(TWO, log.session, 0) == [SessionUnknown(session=log.session)]


def test_results_say_nothing_of_a_session_whose_slot_lies_ahead(log):
    """Another learner may be ahead of this one: that is not an unknown session."""
    assert log.machine.results(ONE, log.machine.applied + 1, 0) == []


def test_acknowledged_results_are_forgotten(log):
    for n in range(1, 11):
        log.decide(log.batch(n, [b"INCR", b"n"], acknowledged=n - 3))
    kept = log.machine.results(ONE, log.session, 0)
    assert [results.sequence for results in kept] == [8, 9, 10]


def test_acknowledging_the_future_keeps_the_newest_results(log):
    [(_, outcome)] = log.decide(log.batch(1, [b"INCR", b"n"], acknowledged=2**62))
    assert log.machine.results(ONE, log.session, 0) == [outcome]


def test_results_kept_are_bounded_in_number(log):
    for n in range(1, RESULTS_KEPT_MAX + 11):
        log.decide(log.batch(n, [b"INCR", b"n"]))
    kept = log.machine.results(ONE, log.session, 0)
    assert [results.sequence for results in kept] == list(range(11, RESULTS_KEPT_MAX + 11))


def test_results_kept_are_bounded_in_bytes(log, monkeypatch):
    monkeypatch.setattr(sessions, "RESULTS_KEPT_BYTES_MAX", 1000)
    log.do("SET k " + "x" * 300)
    for n in range(2, 11):
        log.decide(log.batch(n, [b"GET", b"k"]))
    kept = log.machine.results(ONE, log.session, 0)
    assert [results.sequence for results in kept] == [8, 9, 10]


@pytest.mark.parametrize(
    "commands",
    [
        b"",
        b"\xc1",
        b"\x01",
        b"\x91\x01",
        b"\x91" * 3000,
        b"\xdd\xff\xff\xff\xff",
        b"\x91\x91\xa1a",
        b"\x90\x90",
    ],
)
def test_undecodable_commands_use_up_their_sequence(log, commands):
    batch = msgspec.structs.replace(log.batch(1), commands=commands)
    [(_, outcome)] = log.decide(batch)
    assert replies(outcome) == []
    log.sequence = 1
    assert log.do("SET k v") == "OK"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_each_batch_takes_effect_once_and_in_order_however_it_is_delivered(new_log, data):
    """Batches of two gateways, repeated, reordered, packed into slots at will."""
    log = new_log()
    log.decide(OpenSession(gateway=TWO, nonce=1))
    session = {ONE: log.session, TWO: log.machine.applied}
    total = 6
    deliveries = data.draw(
        st.lists(
            st.lists(st.tuples(st.sampled_from([ONE, TWO]), st.integers(1, total)), max_size=4),
            max_size=30,
        )
    )
    # Whatever was lost is sent again in the end.
    deliveries += [[(gateway, n)] for gateway in (ONE, TWO) for n in range(1, total + 1)]
    answers: dict[tuple[NodeId, int], Any] = {}
    applied = {ONE: 0, TWO: 0}
    for parts in deliveries:
        batches = [
            Batch(
                gateway=gateway,
                session=session[gateway],
                sequence=n,
                acknowledged=0,
                commands=msgspec.msgpack.encode(
                    [[b"APPEND", gateway.encode(), b"%d," % n], [b"INCR", b"n"]]
                ),
            )
            for gateway, n in parts
        ]
        outcomes = log.decide(*batches)
        assert [gateway for gateway, _ in outcomes] == [gateway for gateway, _ in parts]
        for (gateway, n), (_, outcome) in zip(parts, outcomes, strict=True):
            if n > applied[gateway] + 1:
                due = applied[gateway] + 1
                assert outcome == OutOfOrder(session=session[gateway], sequence=n, expected=due)
                continue
            applied[gateway] = max(applied[gateway], n)
            assert outcome == answers.setdefault((gateway, n), outcome)
            assert outcome.sequence == n
    in_order = b"".join(b"%d," % n for n in range(1, total + 1))
    assert log.machine.read([[b"MGET", ONE.encode(), TWO.encode(), b"n"]], 0) == [
        [in_order, in_order, b"%d" % (2 * total)]
    ]
