"""EXEC and REVISION: what MULTI ... EXEC and WATCH become in the log; and revisions at large."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest


def execute(log: Any, watches: list[Any], *lines: str) -> Any:
    return log.run([b"EXEC", watches, [[w.encode() for w in line.split()] for line in lines]])[0]


def test_exec_is_one_revision(log):
    log.do("SET a 0")
    replies = execute(log, [], "SET a 1", "INCR a", "SET b x", "DEL b", "WRITE v", "GET a")
    assert replies == ["OK", 2, "OK", 1, log.machine.applied, b"2"]
    assert log.machine.revision == 2
    assert log.ask("REVISION a") == 2
    log.do("SET c 1")
    assert log.ask("REVISION c") == 3


def test_exec_without_effect_moves_no_revision(log):
    assert execute(log, [], "GET a", "DEL a") == [None, 0]
    assert execute(log, []) == []
    assert log.machine.revision == 0


def test_exec_is_refused_whole_when_a_watched_key_changed(log):
    log.do("SET a 1")
    seen = log.ask("REVISION a")
    log.do("SET a 1")
    assert execute(log, [[b"a", seen]], "SET b 1") is None
    assert log.do("EXISTS b") == 0
    assert execute(log, [[b"a", seen + 1], [b"b", 0]], "SET b 1") == ["OK"]
    assert execute(log, [[b"a", seen + 1], [b"b", 0]], "SET b 2") is None


def test_exec_is_refused_when_a_watched_key_was_deleted_and_made_again(log):
    log.do("SET a 1")
    seen = log.ask("REVISION a")
    log.do("DEL a")
    assert log.ask("REVISION a") == 0
    log.do("SET a 1")
    assert execute(log, [[b"a", seen]], "SET b 1") is None


def test_exec_is_refused_when_a_watched_key_expired(log):
    log.do("SET a 1 PX 5")
    seen = log.ask("REVISION a")
    log.now_ms += 5
    assert execute(log, [[b"a", seen]], "SET b 1") is None


def test_exec_goes_on_when_a_command_fails(log):
    replies = execute(log, [], "SET a x", "INCR a", "NOPE", "GET", "EXEC 1 2", "GET a")
    assert replies == [
        "OK",
        {"error": "ERR value is not an integer or out of range"},
        {"error": "ERR unknown command 'NOPE', with args beginning with: "},
        {"error": "ERR wrong number of arguments for 'get' command"},
        {"error": "ERR EXEC inside EXEC is not allowed"},
        b"x",
    ]


def test_exec_answers_for_malformed_commands_inside(log):
    [reply] = log.run([b"EXEC", [], [[], [b"GET", 1], [b"SET", b"a", b"1"]]])
    malformed = {"error": "ERR malformed command"}
    assert reply == [malformed, malformed, "OK"]


def test_exec_shares_a_batch_with_plain_commands(log):
    replies = log.run([b"SET", b"a", b"1"], [b"EXEC", [], [[b"INCR", b"a"]]], [b"INCR", b"a"])
    assert replies == ["OK", [2], 3]
    assert log.machine.revision == 3


@pytest.mark.parametrize(
    "line",
    [
        "SET k v",
        "SET k same",
        "APPEND k x",
        "INCR n",
        "EXPIRE k 10",
        "PERSIST t",
        "DEL k",
        "GETDEL k",
        "GETSET k v",
        "MSET k v z v",
        "DEL k n t",
        "SETNX new v",
        "WRITE v",
        "SET k v EXAT 1",
        "EXPIRE k -1",
    ],
)
def test_revision_moves_by_one_when_a_command_has_an_effect(log, line):
    log.do("SET k same")
    log.do("SET n 1")
    log.do("SET t 1 EX 10")
    log.do(line)
    assert log.machine.revision == 4


@pytest.mark.parametrize(
    "line",
    [
        "GET k",
        "SET k v NX",
        "SET nope v XX",
        "SETNX k v",
        "DEL nope",
        "GETDEL nope",
        "INCR k",
        "INCRBY n x",
        "EXPIRE nope 10",
        "EXPIRE k 10 XX",
        "PERSIST k",
        "MSET k",
        "SET k v EX 0",
        "SET nope v EXAT 1",
        "TTL t",
        "SCAN 0",
        "NOPE",
    ],
)
def test_revision_stays_when_a_command_has_no_effect(log, line):
    log.do("SET k same")
    log.do("SET n 1")
    log.do("SET t 1 EX 10")
    log.do(line)
    assert log.machine.revision == 3


def test_key_counts_as_in_etcd(log):
    """create_revision, mod_revision and version per key, as etcd's KeyValue has them."""
    log.do("SET other x")
    log.do("SET k 1")
    log.do("SET k 2")
    log.do("EXPIRE k 10")
    entry = log.machine._store.entries[b"k"]
    assert (entry.create_revision, entry.mod_revision, entry.version) == (2, 4, 3)
    log.do("DEL k")
    log.do("SET k 3")
    entry = log.machine._store.entries[b"k"]
    assert (entry.create_revision, entry.mod_revision, entry.version) == (6, 6, 1)


def test_exec_keeps_no_more_replies_than_fit(new_log):
    """Every reply was kept until the last one was there, however many."""
    log = new_log(results_bytes_max=10_000)
    log.run([b"MSET", *[b"%040d" % (number // 2) for number in range(200)]])
    tracemalloc.start()
    [reply] = log.run([b"EXEC", [], [*[[b"KEYS", b"*"]] * 20_000, [b"SET", b"after", b"1"]]])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reply == {"error": "ERR it took effect, but its reply would take more than 10000 bytes"}
    assert log.do("GET after") == b"1"
    assert peak < 8_000_000, "the commands themselves, several times over, and not the keys"


def test_exec_keeps_the_replies_that_just_fit(new_log):
    for size, fits in ((92, True), (93, False)):
        log = new_log(results_bytes_max=200)
        log.run([b"SET", b"k", b"v" * size])
        [reply] = log.run([b"EXEC", [], [[b"GET", b"k"], [b"GET", b"k"]]])
        assert (reply == [b"v" * size] * 2) is fits
