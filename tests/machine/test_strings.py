"""String commands, held to what redis-server 7.0 answers."""

from __future__ import annotations

import pytest

SYNTAX = {"error": "ERR syntax error"}
NOT_INTEGER = {"error": "ERR value is not an integer or out of range"}
BAD_EXPIRE = {"error": "ERR invalid expire time in 'set' command"}
OVERFLOW = {"error": "ERR increment or decrement would overflow"}
MAX = 2**63 - 1


def test_get_of_an_absent_key_is_nil(log):
    assert log.do("GET k") is None


def test_set_then_get_is_binary_safe(log):
    key, value = b"\x00\r\n\xff", bytes(range(256))
    assert log.run([b"SET", key, value], [b"GET", key], [b"SET", b"", b""], [b"GET", b""]) == [
        "OK",
        value,
        "OK",
        b"",
    ]


def test_set_nx_and_xx(log):
    assert log.do("SET k 1 XX") is None
    assert log.do("SET k 1 NX") == "OK"
    assert log.do("SET k 2 nx") is None
    assert log.do("SET k 3 xx") == "OK"
    assert log.do("GET k") == b"3"


def test_set_get_answers_the_value_before(log):
    assert log.do("SET k 1 GET") is None
    assert log.do("SET k 2 GET") == b"1"
    assert log.do("SET k 3 NX GET") == b"2"
    assert log.do("GET k") == b"2"
    assert log.do("SET other 3 XX GET") is None
    assert log.do("EXISTS other") == 0


@pytest.mark.parametrize(
    "options",
    [
        "NX XX",
        "XX NX",
        "bogus",
        "EX",
        "PX",
        "EX 10 PX 10",
        "EX 10 KEEPTTL",
        "KEEPTTL PX 1",
        "EXAT 5 EX 5",
        "PXAT",
        "KEEPTTL EXAT 1",
        "GET x",
    ],
)
def test_set_is_a_syntax_error_when_options_exclude_each_other(log, options):
    assert log.do(f"SET k v {options}") == SYNTAX
    assert log.do("EXISTS k") == 0


@pytest.mark.parametrize("time", ["x", "1.5", "01", "+1", "9223372036854775808", "-"])
@pytest.mark.parametrize("unit", ["EX", "PX", "EXAT", "PXAT"])
def test_set_when_the_time_is_not_an_integer(log, unit, time):
    assert log.do(f"SET k v {unit} {time}") == NOT_INTEGER


@pytest.mark.parametrize(
    "options",
    [
        "EX 0",
        "PX 0",
        "EX -1",
        "PXAT -5",
        "EXAT 0",
        f"EX {MAX}",
        f"PX {MAX}",
        "EX 9223372036854776",
        f"EXAT {MAX}",
    ],
)
def test_set_when_the_time_is_not_positive_or_overflows(log, options):
    assert log.do(f"SET k v {options}") == BAD_EXPIRE
    assert log.do("EXISTS k") == 0


def test_set_takes_the_last_time_when_an_option_is_repeated(log):
    assert log.do("SET k v EX 10 EX 20") == "OK"
    assert log.do("TTL k") == 20


def test_set_times_are_counted_from_the_log(log):
    log.do("SET a v EX 10")
    log.do("SET b v PX 1500")
    log.do(f"SET c v EXAT {log.now_ms // 1000 + 7}")
    log.do(f"SET d v PXAT {log.now_ms + 8}")
    log.do("SET e v")
    assert [log.do(f"PTTL {key}") for key in "abcde"] == [10000, 1500, 7000, 8, -1]


def test_set_clears_the_deadline_unless_keepttl(log):
    log.do("SET k 1 EX 10")
    log.do("SET k 2 KEEPTTL")
    assert log.do("TTL k") == 10
    log.do("SET k 3")
    assert log.do("TTL k") == -1
    assert log.do("SET new 1 KEEPTTL") == "OK"
    assert log.do("TTL new") == -1


def test_set_with_a_time_that_is_past_leaves_no_key(log):
    assert log.do("SET k 1 EXAT 1") == "OK"
    revision = log.machine.revision
    assert revision == 0
    log.do("SET k 1")
    assert log.do("SET k 2 GET PXAT 1") == b"1"
    assert log.do("GET k") is None
    assert log.machine.revision == 2


def test_setnx_getset_getdel(log):
    assert log.do("SETNX k 1") == 1
    assert log.do("SETNX k 2") == 0
    assert log.do("GETSET k 3") == b"1"
    assert log.do("GETSET other 3") is None
    assert log.do("GETDEL k") == b"3"
    assert log.do("GETDEL k") is None
    assert log.do("EXISTS k other") == 1


def test_getset_clears_the_deadline(log):
    log.do("SET k 1 EX 10")
    log.do("GETSET k 2")
    assert log.do("TTL k") == -1


def test_mset_and_mget(log):
    assert log.do("MSET a 1 b 2 a 3") == "OK"
    assert log.do("MGET a nope b a") == [b"3", None, b"2", b"3"]
    assert log.machine.revision == 1


def test_mset_when_a_value_is_missing(log):
    text = "ERR wrong number of arguments for 'mset' command"
    assert log.do("MSET a 1 b") == {"error": text}
    assert log.do("DBSIZE") == 0


def test_incr_family(log):
    assert log.do("INCR k") == 1
    assert log.do("INCRBY k 41") == 42
    assert log.do("DECR k") == 41
    assert log.do("DECRBY k -9") == 50
    assert log.do("INCRBY k -100") == -50
    assert log.do("GET k") == b"-50"


def test_incr_keeps_the_deadline(log):
    log.do("SET k 1 EX 10")
    log.do("INCR k")
    assert log.do("TTL k") == 10


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x",
        b"1.0",
        b" 1",
        b"1 ",
        b"01",
        b"+1",
        b"-0",
        b"1_0",
        b"9223372036854775808",
        b"-9223372036854775809",
        b"1" * 40,
    ],
)
def test_incr_when_the_value_is_not_an_integer(log, value):
    assert log.run([b"SET", b"k", value], [b"INCR", b"k"], [b"GET", b"k"]) == [
        "OK",
        NOT_INTEGER,
        value,
    ]


@pytest.mark.parametrize("number", ["", "x", "1.0", "01", "9223372036854775808"])
def test_incrby_and_decrby_when_the_argument_is_not_an_integer(log, number):
    assert log.run([b"INCRBY", b"k", number.encode()], [b"DECRBY", b"k", number.encode()]) == [
        NOT_INTEGER,
        NOT_INTEGER,
    ]


def test_incr_when_it_would_overflow(log):
    log.do(f"SET k {MAX}")
    assert log.do("INCR k") == OVERFLOW
    assert log.do("INCRBY k 1") == OVERFLOW
    log.do(f"SET k {-MAX - 1}")
    assert log.do("DECR k") == OVERFLOW
    assert log.do("DECRBY k 1") == OVERFLOW
    assert log.do(f"DECRBY k {-MAX - 1}") == {"error": "ERR decrement would overflow"}
    assert log.do(f"INCRBY k {MAX}") == -1


def test_append_and_strlen(log):
    assert log.do("STRLEN k") == 0
    assert log.do("APPEND k abc") == 3
    log.do("EXPIRE k 10")
    assert log.do("APPEND k de") == 5
    assert log.do("GET k") == b"abcde"
    assert log.do("STRLEN k") == 5
    assert log.do("TTL k") == 10


def test_append_when_the_value_would_pass_the_limit(new_log):
    log = new_log(value_bytes_max=8)
    assert log.do("APPEND k 12345678") == 8
    text = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
    assert log.do("APPEND k 9") == {"error": text}
    assert log.do("APPEND other 123456789") == {"error": text}
    assert log.do("GET k") == b"12345678"
    assert log.do("EXISTS other") == 0
