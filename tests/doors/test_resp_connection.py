"""Bounds: what waits, what is paused, what is closed; and splitting changes nothing."""

from __future__ import annotations

import itertools

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxos.core.settings import Limits
from paxos.doors import resp
from paxos.doors.resp_connection import (
    OUTPUT_HIGH_BYTES,
    READS_OUTSTANDING_MAX,
    WAITING_BYTES_MAX,
    WRITES_OUTSTANDING_MAX,
)
from paxos.doors.resp_replies import SAYING_OVERHEAD_BYTES
from paxos.doors.resp_transaction import LOCAL_REPLIES_BYTES_MAX

SCRIPT = (
    b"SET a 1\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\nINCR a\r\nWATCH a b\r\nGET a\r\nMULTI\r\n"
    b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$7\r\n\r\n*1\r\n$\r\nPING\r\nEXEC\r\nGET b\r\nnosuch\r\nGET\r\n"
    b"READONLY\r\nMGET a b\r\nREADWRITE\r\nMULTI\r\nnosuch\r\nEXEC\r\n*0\r\n\r\nECHO end\r\n"
    b"DEL a\r\nQUIT\r\n"
)


@given(st.data())
@settings(max_examples=200)
def test_answers_are_the_same_however_bytes_and_replies_are_split(house, data):
    whole = house().talk().say(SCRIPT)
    assert whole.endswith(b"$3\r\nend\r\n:1\r\n+OK\r\n")
    home = house(at_once=data.draw(st.booleans()))
    talk = home.talk()
    cuts = data.draw(st.lists(st.integers(0, len(SCRIPT)), max_size=10))
    edges = [0, *sorted(cuts), len(SCRIPT)]
    heard = b""
    for first, last in itertools.pairwise(edges):
        heard += talk.say(SCRIPT[first:last])
        home.gateway.pump(data.draw(st.integers(0, 3)))
    while home.gateway.pump(data.draw(st.integers(1, 3))):
        heard += talk.heard()
    assert heard + talk.heard() == whole
    assert talk.transport.closing


@given(st.lists(st.binary(max_size=100), max_size=8))
def test_random_bytes_never_crash_a_connection(house, chunks):
    home = house()
    talk, other = home.talk(), home.talk()
    for chunk in chunks:
        talk.say(chunk)
    talk.hang_up()
    assert other.say(b"PING\r\n") == b"+PONG\r\n"
    assert home.door.stats()["input_bytes"] == 0


words = st.sampled_from(
    [
        b"SET",
        b"GET",
        b"MULTI",
        b"EXEC",
        b"WATCH",
        b"UNWATCH",
        b"DISCARD",
        b"PING",
        b"CLIENT",
        b"COMMAND",
        b"DOCS",
        b"HELLO",
        b"AUTH",
        b"2",
        b"RESET",
        b"READONLY",
        b"a",
        b"b",
        b"INFO",
        b"LIST",
        b"\xff",
        b"3",
        b"SETNAME",
        b"RESPONSES",
        b"STATUS",
        b"SELECT",
        b"0",
        b"DBSIZE",
        b"INCR",
        b"n",
    ]
)


@given(st.lists(st.lists(words, min_size=1, max_size=4), max_size=20), st.booleans())
def test_every_command_gets_exactly_one_answer(house, commands, at_once):
    home = house(at_once=at_once)
    talk = home.talk()
    lines = b"".join(hiredis.pack_command(tuple(command)) for command in commands)
    heard = talk.say(lines)
    while home.gateway.pump(1):
        heard += talk.heard()
    reader = hiredis.Reader()
    reader.feed(heard + talk.heard())
    count = 0
    while reader.gets() is not False:
        count += 1
    assert count == len(commands)
    assert not reader.has_data()


def test_600_megabytes_announced_are_refused_at_once(house):
    home = house()
    talk = home.talk()
    assert (
        talk.say(b"SET a 1\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$600000000\r\nabc")
        == b"+OK\r\n-ERR Protocol error: invalid bulk length\r\n"
    )
    assert talk.transport.closing
    assert [trace.what for trace in home.traces] == ["client_failed"]
    assert home.door.stats()["failed_connections"] == 1


def test_a_value_over_the_limit_is_named_and_the_connection_lives(house):
    home = house(limits=Limits(value_bytes_max=100_000))
    talk = home.talk()
    data = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n" + b"x" * 100_000 + b"\r\nPING\r\n"
    assert talk.say(data) == (
        b"-ERR a command of 100004 bytes is larger than limits.value_bytes_max (100000 bytes)\r\n"
        b"+PONG\r\n"
    )
    assert home.gateway.events == []


def test_an_error_waits_for_the_answers_before_it(house):
    home = house(at_once=False)
    talk = home.talk()
    assert talk.say(b"SET a 1\r\n*x\r\n") == b""
    assert not talk.transport.closing
    home.gateway.pump()
    assert talk.heard() == b"+OK\r\n-ERR Protocol error: invalid multibulk length\r\n"
    assert talk.transport.closing


def test_a_half_closed_client_gets_its_answers(house):
    home = house(at_once=False)
    talk = home.talk()
    talk.say(b"SET a 1\r\nGET a\r\nSET b")
    assert talk.connection.eof_received()
    assert talk.heard() == b""
    home.gateway.pump()
    assert talk.heard() == b"+OK\r\n$1\r\n1\r\n"
    assert talk.transport.closing


def test_one_client_too_many_is_told_so(house):
    home = house(connections_max=2)
    first, _second, third = home.talk(), home.talk(), home.talk()
    assert third.heard() == b"-ERR max number of clients reached\r\n"
    assert third.transport.closing
    third.hang_up()
    assert home.door.connections == 2
    first.hang_up()
    assert home.talk().say(b"PING\r\n") == b"+PONG\r\n"
    assert home.door.stats()["rejected_connections"] == 1


@pytest.mark.parametrize(
    ("command", "bound"),
    [
        (b"SET a 1\r\n", WRITES_OUTSTANDING_MAX),
        (b"GET a\r\n", READS_OUTSTANDING_MAX),
    ],
)
def test_commands_wait_when_too_many_are_outstanding(house, command, bound):
    home = house(at_once=False)
    talk = home.talk()
    total = bound * 2 + 700
    talk.say(command * total)
    assert bound <= sum(len(event.commands) for event in home.gateway.events) < bound + 512
    assert not talk.transport.reading
    heard = b""
    while home.gateway.pump(100):
        heard += talk.heard()
    assert sum(len(event.commands) for event in home.gateway.events) == total
    assert heard == (b"+OK\r\n" if bound == WRITES_OUTSTANDING_MAX else b"$-1\r\n") * total
    assert talk.transport.reading


def test_everybody_waits_while_the_gateway_is_overloaded(house):
    home = house()
    talk, other = home.talk(), home.talk()
    home.gateway.overloaded = True
    assert talk.say(b"SET a 1\r\n") == b"+OK\r\n"
    late = home.talk()
    assert [t.transport.reading for t in (talk, other, late)] == [False] * 3
    home.gateway.overloaded = False
    home.door.resume()
    assert [t.transport.reading for t in (talk, other, late)] == [True] * 3


def test_a_client_that_does_not_read_waits_and_goes_on(house):
    home = house()
    talk = home.talk()
    home.gateway.data[b"a"] = b"x" * 400_000
    talk.transport.taken = False
    for _ in range(3):
        talk.say(b"GET a\r\n")
    assert talk.transport.unsent > OUTPUT_HIGH_BYTES
    assert not talk.transport.reading
    talk.say(b"GET a\r\n")
    assert len(home.gateway.events) == 3
    assert home.door.stats()["output_bytes"] > OUTPUT_HIGH_BYTES
    talk.transport.taken = True
    talk.transport.take()
    assert talk.transport.reading
    assert len(home.gateway.events) == 4
    assert talk.heard().count(b"\r\n") == 2
    assert home.door.stats()["output_bytes"] == 0


def test_a_client_that_never_reads_is_closed(house):
    home = house(at_once=False, output_bytes_max=5_000_000)
    talk = home.talk()
    home.gateway.data[b"a"] = b"x" * 400_000
    talk.transport.taken = False
    talk.say(b"GET a\r\n" * 20)
    while home.gateway.pump(1) and not talk.transport.aborted:
        home.loop.turn()
    assert talk.transport.aborted
    assert talk.transport.unsent < 6_000_000
    assert [trace.what for trace in home.traces] == ["client_output_overflow"]
    talk.hang_up()
    assert home.gateway.gone == [1]
    assert home.door.stats()["output_bytes"] == 0
    home.gateway.pump()


def test_unfinished_input_of_all_clients_together_is_bounded(house, monkeypatch):
    monkeypatch.setattr(resp, "INPUT_BYTES_MAX", 250_000)
    home = house()
    talks = [home.talk() for _ in range(3)]
    for talk in talks:
        heard = talk.say(b"*2\r\n$4\r\nECHO\r\n$1000000\r\n" + b"x" * 100_000)
    assert heard == b"-ERR this node holds too much unfinished input; try again later\r\n"
    assert [talk.transport.closing for talk in talks] == [False, False, True]
    talks[0].hang_up()
    talks[2].hang_up()
    assert home.talk().say(b"MULTI\r\n" + b"SET a b\r\n" * 100).count(b"+QUEUED") == 100
    spoilt = home.talk()
    heard = spoilt.say(b"MULTI\r\n" + b"SET a b\r\n" * 1000)
    assert heard.endswith(b"too much unfinished input; try again later\r\n")


def test_a_closing_connection_does_not_linger_for_ever(house):
    home = house()
    talk = home.talk()
    talk.transport.taken = False
    talk.say(b"QUIT\r\n")
    assert talk.transport.closing
    for callback in home.loop.later:
        callback()
    assert talk.transport.aborted


# ---------------------------------------------------------------- asking for more than is sent


def test_own_replies_are_written_while_they_gather(house, monkeypatch):
    """A chunk of COMMANDs made a thousand times its size in one go."""
    home = house(output_bytes_max=4 * OUTPUT_HIGH_BYTES)
    talk = home.talk()
    talk.transport.taken = False
    written: list[int] = []
    write = talk.transport.write
    monkeypatch.setattr(
        talk.transport, "write", lambda data: (written.append(len(data)), write(data))
    )
    talk.say(b"COMMAND\r\n" * 20_000)
    assert max(written) < OUTPUT_HIGH_BYTES + 64 * 1024
    assert sum(written) < 2 * OUTPUT_HIGH_BYTES + 64 * 1024, "then it waits for the client"
    before = len(written)
    talk.transport.take()
    assert len(written) > before


@pytest.mark.parametrize(
    ("said", "bytes_each"), [(b"PING\r\n", SAYING_OVERHEAD_BYTES), (b"ECHO " + b"x" * 999, 1000)]
)
def test_own_replies_behind_the_gateways_are_bounded(house, said, bytes_each):
    """PINGs behind a write that nobody answers were kept without end."""
    home = house(at_once=False)
    talk = home.talk()
    line = said.removesuffix(b"\r\n") + b"\r\n"
    talk.say(b"SET a 1\r\n")
    sent = 0
    while talk.transport.reading:
        talk.say(line * 100)
        sent += 100
        assert sent * bytes_each < 3 * WAITING_BYTES_MAX + 100_000, "it has to stop reading"
    home.gateway.pump()
    answers = talk.heard()
    while home.gateway.pump() or talk.connection._held:
        answers += talk.heard()
    assert answers.startswith(b"+OK\r\n")
    assert talk.transport.reading
    reply = b"+PONG\r\n" if said.startswith(b"PING") else b"$999\r\n"
    assert answers.count(reply) == sent


@pytest.mark.parametrize("command", [b"COMMAND", b"CLIENT LIST", b"INFO", b"STATUS", b"RESPONSES"])
def test_large_replies_are_made_one_by_one_when_it_is_their_turn(house, command):
    home = house(at_once=False)
    talk = home.talk()
    assert talk.say(b"SET a 1\r\n" + (command + b"\r\n") * 3 + b"GET a\r\n") == b""
    assert not talk.transport.reading, "the rest is held"
    home.gateway.pump(1)
    assert talk.heard().startswith(b"+OK\r\n")
    home.gateway.pump()
    assert talk.heard() == b"$1\r\n1\r\n"
    assert talk.transport.reading


def test_an_exec_full_of_large_replies_is_bounded(house):
    talk = house().talk()
    talk.say(b"MULTI\r\nSET a 1\r\n" + b"COMMAND\r\n" * 1000)
    answer = talk.say(b"EXEC\r\n")
    assert answer.startswith(b"*1001\r\n+OK\r\n*")
    assert len(answer) < LOCAL_REPLIES_BYTES_MAX + 100_000
    assert (
        answer.count(b"-ERR the reply would take more than 1048576 bytes; ask for less\r\n") > 500
    )


def test_watched_keys_are_bounded_and_count_as_held(house):
    """Keys of any size were watched, and nobody counted them."""
    home = house(limits=Limits(value_bytes_max=10_000))
    talk = home.talk()
    assert talk.say(b"WATCH " + b"k" * 6000 + b"\r\n") == b"+OK\r\n"
    assert home.door.stats()["input_bytes"] >= 6000
    assert talk.say(b"WATCH " + b"l" * 6000 + b"\r\n") == (
        b"-ERR the watched keys are larger than limits.value_bytes_max (10000 bytes)\r\n"
    )
    talk.say(b"UNWATCH\r\n")
    assert home.door.stats()["input_bytes"] == 0


def test_held_commands_count_as_held(house):
    home = house(at_once=False)
    talk = home.talk()
    talk.say(b"WATCH a\r\nMULTI\r\nEXEC\r\n" + b"GET a\r\n" * 1000)
    assert home.door.stats()["input_bytes"] >= 1000 * 2 * 40
    home.gateway.pump()
    while talk.heard() or home.gateway.pump():
        pass
    assert home.door.stats()["input_bytes"] == 0


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"CLIENT SETNAME ", b"-ERR Client names cannot be longer than 256 bytes.\r\n"),
        (b"HELLO 3 SETNAME ", b"-ERR Client names cannot be longer than 256 bytes.\r\n"),
        (b"CLIENT SETINFO LIB-NAME ", b"-ERR lib-name cannot be longer than 256 bytes.\r\n"),
        (b"CLIENT SETINFO LIB-VER ", b"-ERR lib-ver cannot be longer than 256 bytes.\r\n"),
    ],
)
def test_names_that_the_door_keeps_are_short(talk, line, error):
    assert talk.say(line + b"x" * 257 + b"\r\n") == error
    assert not talk.say(line + b"x" * 256 + b"\r\n").startswith(b"-")
