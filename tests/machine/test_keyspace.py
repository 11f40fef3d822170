"""Commands on keys, held to what redis-server 7.0 answers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SYNTAX = {"error": "ERR syntax error"}
NOT_INTEGER = {"error": "ERR value is not an integer or out of range"}


def test_del_exists_type_dbsize(log):
    log.do("MSET a 1 b 2 c 3")
    assert log.do("EXISTS a a nope") == 2
    assert log.do("TYPE a") == "string"
    assert log.do("TYPE nope") == "none"
    assert log.do("DBSIZE") == 3
    assert log.do("DEL a a b nope") == 2
    assert log.do("DEL a") == 0
    assert log.do("DBSIZE") == 1


def test_ttl_and_pttl(log):
    log.do("SET a 1")
    log.do("SET b 1 PX 1499")
    log.do("SET c 1 PX 1500")
    assert [log.do(f"TTL {key}") for key in ("nope", "a", "b", "c")] == [-2, -1, 1, 2]
    assert [log.do(f"PTTL {key}") for key in ("nope", "a", "b")] == [-2, -1, 1499]


def test_expire_persist(log):
    assert log.do("EXPIRE k 10") == 0
    assert log.do("PERSIST k") == 0
    log.do("SET k 1")
    assert log.do("PERSIST k") == 0
    assert log.do("EXPIRE k 10") == 1
    assert log.do("PTTL k") == 10_000
    assert log.do("PEXPIRE k 77") == 1
    assert log.do("PTTL k") == 77
    assert log.do("PERSIST k") == 1
    assert log.do("TTL k") == -1


@pytest.mark.parametrize("time", ["0", "-1", "-9223372036854775"])
def test_expire_deletes_when_the_time_is_not_positive(log, time):
    log.do("SET k 1")
    assert log.do(f"EXPIRE k {time}") == 1
    assert log.do("EXISTS k") == 0


@pytest.mark.parametrize(
    ("before", "option", "changed"),
    [
        ("", "NX", 1),
        ("", "XX", 0),
        ("", "GT", 0),
        ("", "LT", 1),
        ("EX 50", "NX", 0),
        ("EX 50", "XX", 1),
        ("EX 50", "GT", 1),
        ("EX 50", "LT", 0),
        ("EX 200", "GT", 0),
        ("EX 200", "LT", 1),
        ("EX 100", "GT", 0),
        ("EX 100", "LT", 0),
        ("EX 50", "XX GT", 1),
        ("EX 200", "XX GT", 0),
        ("", "xx lt", 0),
    ],
)
def test_expire_conditions(log, before, option, changed):
    log.do(f"SET k 1 {before}")
    ttl, revision = log.do("TTL k"), log.machine.revision
    assert log.do(f"EXPIRE k 100 {option}") == changed
    assert log.do("TTL k") == (100 if changed else ttl)
    assert log.machine.revision == revision + changed


def test_expire_when_a_condition_fails_does_not_delete(log):
    log.do("SET k 1 EX 10")
    assert log.do("EXPIRE k -1 GT") == 0
    assert log.do("EXISTS k") == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("10 NX XX", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("10 GT NX", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("10 GT LT", "ERR GT and LT options at the same time are not compatible"),
        ("10 zz", "ERR Unsupported option zz"),
        ("x", "ERR value is not an integer or out of range"),
        ("x zz", "ERR Unsupported option zz"),
        ("9223372036854776", "ERR invalid expire time in 'expire' command"),
        ("9223372036854775", "ERR invalid expire time in 'expire' command"),
        ("-9223372036854776", "ERR invalid expire time in 'expire' command"),
    ],
)
def test_expire_errors(log, arguments, text):
    log.do("SET k 1")
    assert log.do(f"EXPIRE k {arguments}") == {"error": text}
    assert log.do("TTL k") == -1


def test_pexpire_when_the_time_overflows(log):
    text = "ERR invalid expire time in 'pexpire' command"
    assert log.do("PEXPIRE k 9223372036854775807") == {"error": text}


def test_keys_matches_patterns(log):
    log.do("MSET user:1 a user:2 b item:1 c")
    assert log.do("KEYS *") == [b"user:1", b"user:2", b"item:1"]
    assert log.do("KEYS user:*") == [b"user:1", b"user:2"]
    assert log.do("KEYS *:[^2]") == [b"user:1", b"item:1"]
    assert log.do("KEYS nope*") == []


def test_keys_and_scan_when_the_pattern_is_too_long(log):
    shown = "ERR pattern is longer than 4096 bytes, or has more than 128 with ? or [] among them"
    text = {"error": f"{shown} between two stars"}
    assert log.do(f"KEYS {'a' * 4097}") == text
    assert log.do(f"SCAN 0 MATCH {'a' * 4097}") == text
    assert log.do(f"KEYS {'a' * 4096}") == []


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "18446744073709551616", "1" * 30])
def test_scan_when_the_cursor_is_invalid(log, cursor):
    assert log.do(f"SCAN {cursor}") == {"error": "ERR invalid cursor"}


@pytest.mark.parametrize(
    ("options", "reply"),
    [
        ("COUNT", SYNTAX),
        ("MATCH", SYNTAX),
        ("bogus 1", SYNTAX),
        ("COUNT 0", SYNTAX),
        ("COUNT -1", SYNTAX),
        ("COUNT x", NOT_INTEGER),
        ("MATCH * TYPE", SYNTAX),
    ],
)
def test_scan_when_the_options_are_wrong(log, options, reply):
    assert log.do(f"SCAN 0 {options}") == reply


def test_scan_options(log):
    log.do("MSET a1 x a2 x b1 x")
    assert log.do("SCAN 0") == [b"0", [b"b1", b"a2", b"a1"]]
    assert log.do("SCAN 0 match a* count 100") == [b"0", [b"a2", b"a1"]]
    assert log.do("SCAN 0 TYPE String") == [b"0", [b"b1", b"a2", b"a1"]]
    assert log.do("SCAN 0 TYPE list") == [b"0", []]
    assert log.do("SCAN 18446744073709551615") == [b"0", [b"b1", b"a2", b"a1"]]


def test_scan_pages_through_everything_without_repeats(log):
    names = [b"key:%d" % number for number in range(1000)]
    log.run(*([b"SET", name, b"x"] for name in names))
    seen, cursor, calls = [], b"0", 0
    while calls == 0 or cursor != b"0":
        cursor, keys = log.ask(f"SCAN {cursor.decode()} COUNT 7")
        assert len(keys) <= 7
        seen += keys
        calls += 1
    assert seen == names[::-1]
    assert calls == 143


def test_scan_ends_when_keys_are_made_faster_than_it_reads(log):
    log.do("MSET a x b x c x")
    cursor, calls = b"0", 0
    while calls == 0 or cursor != b"0":
        cursor, _ = log.do(f"SCAN {cursor.decode()} COUNT 1")
        log.run(*([b"SET", b"new:%d:%d" % (calls, at), b"x"] for at in range(20)))
        calls += 1
        assert calls <= 3


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_scan_returns_what_is_there_throughout_whatever_else_happens(new_log, data):
    """Redis's guarantee: elements present from start to end of a full iteration are returned."""
    log = new_log()
    stable = {b"stable:%d" % number for number in range(data.draw(st.integers(0, 60)))}
    restless = [b"restless:%d" % number for number in range(200)]
    order = data.draw(st.permutations(sorted(stable) + restless[:100]))
    log.run(*([b"SET", key, b"x"] for key in order))
    seen: list[bytes] = []
    cursor, calls = b"0", 0
    while calls == 0 or cursor != b"0":
        count = data.draw(st.integers(1, 40))
        cursor, keys = log.ask(f"SCAN {cursor.decode()} COUNT {count}")
        seen += keys
        calls += 1
        gone = data.draw(st.lists(st.sampled_from(restless), max_size=60))
        made = data.draw(st.lists(st.sampled_from(restless), max_size=20))
        log.run(
            *([b"DEL", key] for key in gone),
            *([b"SET", key, b"y"] for key in made),
            *([b"SET", key, b"z"] for key in sorted(stable)[::3]),
        )
    assert stable <= set(seen)
    assert all(seen.count(key) == 1 for key in stable)


def test_scan_stays_bounded_when_most_entries_are_dead(log):
    log.run(*([b"SET", b"%d" % number, b"x"] for number in range(500)))
    log.run(*([b"DEL", b"%d" % number] for number in range(450)))
    cursor, keys = log.ask("SCAN 0 COUNT 1000")
    assert cursor == b"0"
    assert keys == [b"%d" % number for number in range(499, 449, -1)]
    assert len(log.machine._store._order) <= 2 * 50 + 65
