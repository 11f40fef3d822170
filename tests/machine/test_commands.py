"""The command table, and what happens before a command's own function is called."""

from __future__ import annotations

import pytest

from paxos.machine.commands import COMMANDS, Kind

CLIENT_COMMANDS = """
    WRITE READ SET GET DEL EXISTS INCR INCRBY DECR DECRBY APPEND STRLEN MGET MSET SETNX GETSET
    GETDEL EXPIRE PEXPIRE TTL PTTL PERSIST TYPE KEYS SCAN DBSIZE
"""


def test_table_holds_the_commands_of_the_design_and_two_internal_ones():
    offered = {name.decode() for name, spec in COMMANDS.items() if not spec.internal}
    assert offered == set(CLIENT_COMMANDS.split())
    assert {name for name, spec in COMMANDS.items() if spec.internal} == {b"EXEC", b"REVISION"}


@pytest.mark.parametrize("spec", COMMANDS.values(), ids=lambda spec: spec.name.decode())
def test_arity_error_when_words_are_too_few(log, spec):
    if spec.arity == -1:
        assert spec.takes(1)
        return
    command = [spec.name] + [b"x"] * (abs(spec.arity) - 2)
    if spec.arity == 1:
        command = [spec.name, b"x"]
    assert not spec.takes(len(command))
    text = f"ERR wrong number of arguments for '{spec.name.decode().lower()}' command"
    assert log.run(command) == [{"error": text}]
    assert spec.arity_error() == text


@pytest.mark.parametrize(
    "spec", [s for s in COMMANDS.values() if s.arity > 1], ids=lambda spec: spec.name.decode()
)
def test_arity_error_when_words_are_too_many(log, spec):
    [reply] = log.run([spec.name] + [b"x"] * spec.arity)
    assert reply == {"error": spec.arity_error()}


@pytest.mark.parametrize("spec", COMMANDS.values(), ids=lambda spec: spec.name.decode())
def test_a_read_is_refused_when_the_command_writes(log, spec):
    """What is answered without the log may not change the state."""
    before = log.machine.digest()
    [reply] = log.machine.read([[spec.name] + [b"1"] * max(1, abs(spec.arity) - 1)], 0)
    refused = isinstance(reply, dict) and "must go by the log" in reply["error"]
    assert refused == (spec.kind is Kind.WRITE)
    assert log.machine.digest() == before


def test_unknown_command_is_answered_with_redis_text(log):
    assert log.run([b"FOO", b"bar", b"b z"]) == [
        {"error": "ERR unknown command 'FOO', with args beginning with: 'bar' 'b z' "}
    ]
    [reply] = log.run([b"F" * 200, b"a" * 200, b"b"])
    assert reply["error"] == (
        f"ERR unknown command '{'F' * 128}', with args beginning with: '{'a' * 128}' "
    )


def test_unknown_command_is_one_line_whatever_bytes_it_has(log):
    [reply] = log.run([b"a\r\nb\xff"])
    assert "\r" not in reply["error"]
    assert "\n" not in reply["error"]


@pytest.mark.parametrize(
    "command",
    [
        [],
        [[[b"SET"]], b"k"],
        [b"GET", [[b"k"]]],
        [b"EXEC", b"a", b"b"],
        [b"EXEC", [[b"k"]], []],
        [b"EXEC", [[1, b"k"]], []],
        [b"EXEC", [[]], []],
    ],
)
def test_malformed_command_gets_an_error_and_the_others_go_on(log, command):
    replies = log.run([b"SET", b"a", b"1"], command, [b"INCR", b"a"])
    assert replies == ["OK", {"error": "ERR malformed command"}, 2]


@pytest.mark.parametrize(
    "command",
    [
        7,
        None,
        "GET k",
        b"GET",
        {},
        [],
        [1],
        ["GET", "k"],
        [b"GET", None],
        [[b"GET"], b"k"],
        (b"GET", b"k"),
    ],
)
def test_malformed_read_gets_an_error_and_the_others_are_answered(log, command):
    log.do("SET a 1")
    replies = log.machine.read([[b"GET", b"a"], command, [b"GET", b"a"]], 0)
    assert replies == [b"1", {"error": "ERR malformed command"}, b"1"]
