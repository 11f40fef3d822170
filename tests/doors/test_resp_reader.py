"""Bytes to commands: any split gives the same, and nothing foul gets through."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paxos.doors.resp_reader import (
    COUNT_MAX,
    INLINE_BYTES_MAX,
    SLACK_BYTES,
    CommandReader,
    OversizedCommand,
)

LIMIT = 200_000
FOUL_VALUES = (
    b"",
    b"\r\n",
    b"*2147483647\r\n",
    b"\r\n*2147483647\r\n",
    b"$600000000\r\n",
    b"\r\n$",
    b"\r\n+OK\r\n",
    b"PING\r\n",
    b"*",
    b"LARGE",
)
LARGE = b"x" * 120_000
"""Stands where a command says LARGE: enough to be walked, not parsed at once."""


def packed(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


def read_whole(stream: bytes) -> tuple[list[list[bytes]], str | None]:
    return read_split(stream, [])


def read_split(stream: bytes, cuts: list[int]) -> tuple[list[list[bytes]], str | None]:
    reader = CommandReader(LIMIT)
    commands: list[list[bytes]] = []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for first, last in itertools.pairwise(edges):
        if first < last:
            commands += reader.feed(stream[first:last])
    return commands, reader.error


word = st.one_of(st.binary(max_size=40), st.sampled_from(FOUL_VALUES))
few_words = st.lists(word, min_size=1, max_size=5)
# Two large ones are above the limit of a command.
resp_command = few_words.filter(lambda words: words.count(b"LARGE") < 2).map(lambda w: (None, w))
inline_word = st.from_regex(rb"[A-Za-z0-9_]{1,12}", fullmatch=True)
inline_command = st.builds(
    lambda words, end: (b" ".join(words) + end, words),
    st.lists(inline_word, min_size=1, max_size=4),
    st.sampled_from([b"\r\n", b"\n"]),
)
nothing = st.sampled_from([(b"*0\r\n", None), (b"*-1\r\n", None), (b"\r\n", None)])
streams = st.lists(st.one_of(resp_command, inline_command, nothing), max_size=8)
cut_lists = st.lists(st.integers(min_value=0, max_value=1_000_000), max_size=12)


@given(streams, cut_lists)
@example([(None, [b"SET", b"a", b"*2147483647\r\n"])], [3, 7])
def test_commands_are_the_same_however_the_bytes_are_split(parts, cuts):
    stream, expected = b"", []
    for data, words in parts:
        if data is None:
            words = [LARGE if word == b"LARGE" else word for word in words]
            data = packed(words)
        stream += data
        if words is not None:
            expected.append(words)
    commands, error = read_split(stream, cuts)
    assert error is None
    assert len(commands) == len(expected)
    for command, words in zip(commands, expected, strict=True):
        if sum(map(len, words)) > LIMIT:
            assert isinstance(command, OversizedCommand)
        else:
            assert command == words


def test_every_single_byte_alone_makes_the_same_commands():
    foul = [b"SET", b"a", b"\r\n*3\r\n"]
    stream = packed(foul) + b"PING\r\n" + packed([b"GET", b"a"]) + b"*0\r\n"
    expected = [foul, [b"PING"], [b"GET", b"a"]]
    assert read_split(stream, list(range(len(stream)))) == (expected, None)


VIOLATIONS = [
    (b"*3\r\n$3\r\nSET\r\n$600000000\r\nabc", "Protocol error: invalid bulk length"),
    (b"*2147483647\r\n", "Protocol error: invalid multibulk length"),
    (b"*%d\r\n" % (COUNT_MAX + 1), "Protocol error: invalid multibulk length"),
    (b"*99999999999999999999\r\n", "Protocol error: invalid multibulk length"),
    (b"*-2\r\n", "Protocol error: invalid multibulk length"),
    (b"*x\r\n", "Protocol error: invalid multibulk length"),
    (b"*\r\n", "Protocol error: invalid multibulk length"),
    (b"*01\r\n", "Protocol error: invalid multibulk length"),
    (b"*1\n$4\nPING\n*1\n$4\nPING\n", "Protocol error: invalid multibulk length"),
    (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
    (b"*1\r\n$\r\n", "Protocol error: invalid bulk length"),
    (b"*1\r\n$+4\r\nPING\r\n", "Protocol error: invalid bulk length"),
    (b"*1\r\n*1\r\n$4\r\nPING\r\n", "Protocol error: expected '$', got '*'"),
    (b"*1\r\n:5\r\n", "Protocol error: expected '$', got ':'"),
    (b"*1\r\n+OK\r\n", "Protocol error: expected '$', got '+'"),
    (b"*1\r\n-ERR\r\n", "Protocol error: expected '$', got '-'"),
    (b"*1\r\n=5\r\ntxt:a\r\n", "Protocol error: expected '$', got '='"),
    (b"*1\r\n_\r\n", "Protocol error: expected '$', got '_'"),
    (b"*1\r\nPING\r\n", "Protocol error: expected '$', got 'P'"),
    (b"*2\r\n$4\r\nECHO\r\n\xff", "Protocol error: expected '$', got '\udcff'"),
    (b"*1\r\n$4\r\nPINGxx", "Protocol error: expected CRLF after a bulk string"),
    (b'SET "a\r\n', "Protocol error: unbalanced quotes in request"),
    (b"x" * (INLINE_BYTES_MAX + 1), "Protocol error: too big inline request"),
]


@pytest.mark.parametrize(("foul", "error"), VIOLATIONS)
@pytest.mark.parametrize("before", [b"", packed([b"PING"]), b"PING\r\n"])
@given(cut_lists)
def test_a_violation_is_named_and_what_came_before_it_is_kept(before, foul, error, cuts):
    expected = [[b"PING"]] if before else []
    assert read_split(before + foul, cuts) == (expected, error)


def test_nothing_is_read_after_a_violation():
    reader = CommandReader(LIMIT)
    assert reader.feed(b"*x\r\n") == []
    assert reader.feed(packed([b"PING"])) == []


@pytest.mark.parametrize(
    "header",
    [
        b"*2147483647\r\n",
        b"*1048577\r\n",
        b"*1\r\n$536870912\r\n",
        b"*1048576\r\n" * 9,
        b"*99999\r\n" * 200,
        b"*99\r\n" * 10_000,
    ],
)
def test_an_announcement_alone_takes_no_memory(header):
    tracemalloc.start()
    try:
        reader = CommandReader(8 * 1024 * 1024)
        reader.feed(header)
        assert reader.error is not None
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_command_over_the_limit_is_replaced_and_the_next_one_is_read():
    stream = packed([b"SET", b"k", b"x" * (LIMIT + 1)]) + packed([b"PING"])
    for cuts in ([], [10, 100_000, LIMIT]):
        commands, error = read_split(stream, cuts)
        assert error is None
        assert isinstance(commands[0], OversizedCommand)
        assert commands[0].size == LIMIT + 5
        assert commands[1] == [b"PING"]


def test_a_command_of_exactly_the_limit_is_taken():
    command = [b"SET", b"k", b"x" * (LIMIT - 4)]
    assert read_whole(packed(command)) == ([command], None)


def test_many_words_cannot_pass_the_limit_together():
    stream = packed([b"MSET", *[b"x" * 70_000] * 4])
    commands, error = read_split(stream, list(range(0, len(stream), 50_000)))
    assert commands == []
    assert error == f"Protocol error: command is larger than {LIMIT} bytes"


def test_partial_bytes_never_pass_the_limit_by_more_than_a_chunk():
    reader = CommandReader(LIMIT)
    chunk = b"x" * 50_000
    reader.feed(b"*2\r\n$3\r\nSET\r\n$%d\r\n" % (LIMIT + SLACK_BYTES - 3))
    highest = 0
    for _ in range(20):
        reader.feed(chunk)
        highest = max(highest, reader.partial_bytes)
    assert reader.error is not None
    assert highest <= LIMIT + SLACK_BYTES + len(chunk)


def test_partial_bytes_tell_what_is_held():
    reader = CommandReader(LIMIT)
    reader.feed(packed([b"PING"]) + b"*2\r\n$4\r\nEC")
    assert reader.partial_bytes == 10
    reader.feed(b"HO\r\n$1\r\nx")
    assert reader.partial_bytes == 19
    reader.feed(b"\r\nSET a")
    assert reader.partial_bytes == 5
    assert reader.feed(b" b\r\n") == [[b"SET", b"a", b"b"]]
    assert reader.partial_bytes == 0


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_random_bytes_never_crash(chunks):
    reader = CommandReader(LIMIT)
    for chunk in chunks:
        for command in reader.feed(chunk):
            assert command
            assert all(type(part) is bytes for part in command)


tokens = st.sampled_from(
    [
        b"*",
        b"$",
        b"\r\n",
        b"\n",
        b"1",
        b"2",
        b"-1",
        b"0",
        b"999999",
        b"+",
        b":",
        b"(",
        b"=",
        b"%",
        b"a",
        b"*1\r\n",
        b"*2\r\n",
        b"$1\r\na\r\n",
        b"$4\r\nPING\r\n",
        b"PING\r\n",
        b'"',
        b"\x00",
        b"#t",
    ]
)


@given(st.lists(tokens, max_size=25).map(b"".join), cut_lists)
def test_foul_streams_mean_the_same_however_they_are_split(stream, cuts):
    """The quick way, the walk and every mixture of them agree on every stream."""
    whole, split = read_whole(stream), read_split(stream, cuts)
    bytewise = read_split(stream, list(range(len(stream))))
    assert whole == split == bytewise


def test_the_restricted_may_not_announce_much():
    for foul, error in (
        (packed([b"a"] * 11), "Protocol error: unauthenticated multibulk length"),
        (b"*1\r\n$16385\r\n", "Protocol error: unauthenticated bulk length"),
    ):
        reader = CommandReader(LIMIT)
        reader.restrict(True)
        assert reader.feed(foul) == []
        assert reader.error == error


def test_what_only_the_restricted_may_not_is_deferred_behind_other_commands():
    large = [b"a"] * 11
    for lifted in (True, False):
        reader = CommandReader(LIMIT)
        reader.restrict(True)
        assert reader.feed(packed([b"AUTH", b"x"]) + packed(large)) == [[b"AUTH", b"x"]]
        assert reader.error is None
        rest, reader.deferred = reader.deferred, b""
        reader.restrict(not lifted)
        assert reader.feed(rest) == ([large] if lifted else [])
        assert (reader.error is None) == lifted


def test_an_empty_line_does_not_swallow_the_chunk_when_that_ends_in_cr():
    """Found by fuzzing: the whole chunk was taken for one line, its values for words."""
    reader = CommandReader(1000)
    commands = reader.feed(b"\n*2\r\n$3\r\nGET\r\n$9\r\nFLUSH ALL\r\nPING\r")
    assert commands == [[b"GET", b"FLUSH ALL"]]
    assert reader.feed(b"\n") == [[b"PING"]]


@pytest.mark.parametrize("nothing", [b"*0\r\n", b"*-1\r\n"])
def test_a_line_behind_an_empty_command_does_not_disturb_the_parser(nothing):
    """Found by fuzzing: hiredis had been fed the line, and raised in the middle of the loop."""
    reader = CommandReader(1000)
    assert reader.feed(nothing + b"$4\r\nG\r\n*1") == [[b"$4"], [b"G"]]
    assert reader.feed(b"\r\n$4\r\nPING\r\n") == [[b"PING"]]
    assert reader.error is None


def test_a_command_past_the_limit_is_refused_alike_when_it_comes_at_once():
    words = b"*4\r\n$50000\r\n" + b"x" * 50_000 + b"\r\n"
    whole, pieces = CommandReader(1000), CommandReader(1000)
    data = words + b"$50000\r\n" + b"y" * 50_000 + b"\r\n$1\r\nz\r\n$1\r\nz\r\n"
    assert whole.feed(data) == []
    for start in range(0, len(data), 7000):
        assert pieces.feed(data[start : start + 7000]) == []
    assert whole.error == pieces.error == "Protocol error: command is larger than 1000 bytes"
