"""Glob patterns against Redis's own matcher (util.c, stringmatchlen), and bounded time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxos.machine import glob
from paxos.machine.glob import PATTERN_BYTES_MAX, SEARCHED_BYTES_MAX, compile_glob


def redis_match(pattern: bytes, string: bytes) -> bool:
    """Redis 7.0's stringmatchlen, word for word as far as Python goes."""
    at, s = 0, 0
    while at < len(pattern) and s < len(string):
        byte = pattern[at]
        if byte == ord("*"):
            while pattern[at + 1 : at + 2] == b"*":
                at += 1
            if at + 1 == len(pattern):
                return True
            return any(
                redis_match(pattern[at + 1 :], string[skipped:])
                for skipped in range(s, len(string))
            )
        if byte == ord("?"):
            s += 1
        elif byte == ord("["):
            at += 1
            negated = pattern[at : at + 1] == b"^"
            at += negated
            match = False
            while True:
                if at + 1 < len(pattern) and pattern[at] == ord("\\"):
                    at += 1
                    match |= pattern[at] == string[s]
                elif at >= len(pattern):
                    at -= 1
                    break
                elif pattern[at] == ord("]"):
                    break
                elif at + 2 < len(pattern) and pattern[at + 1] == ord("-"):
                    low, high = sorted((pattern[at], pattern[at + 2]))
                    at += 2
                    match |= low <= string[s] <= high
                else:
                    match |= pattern[at] == string[s]
                at += 1
            if match == negated:
                return False
            s += 1
        else:
            if byte == ord("\\") and at + 1 < len(pattern):
                at += 1
            if pattern[at] != string[s]:
                return False
            s += 1
        at += 1
        if s == len(string):
            while pattern[at : at + 1] == b"*":
                at += 1
            break
    return at == len(pattern) and s == len(string)


@pytest.mark.parametrize(
    ("pattern", "string", "expected"),
    [
        (b"*", b"", True),
        (b"**", b"", True),  # our departure: see the module
        (b"", b"", True),
        (b"", b"a", False),
        (b"h?llo", b"hello", True),
        (b"h?llo", b"hllo", False),
        (b"h*llo", b"heeeello", True),
        (b"h[ae]llo", b"hallo", True),
        (b"h[ae]llo", b"hillo", False),
        (b"h[^e]llo", b"hello", False),
        (b"h[a-b]llo", b"hbllo", True),
        (b"h[b-a]llo", b"hallo", True),
        (b"h[!e]llo", b"hello", True),
        (b"[]a]", b"a", False),
        (b"[abc", b"c", True),
        (b"a\\*", b"a*", True),
        (b"a\\*", b"ab", False),
        (b"a\\", b"a\\", True),
        (b"[\\]]", b"]", True),
        (b"a.c", b"abc", False),
        (b"a*b*c", b"a\nb\nc", True),
        (b"\xff?", b"\xff\n", True),
    ],
)
def test_glob_examples(pattern, string, expected):
    matches = compile_glob(pattern)
    assert matches is not None
    assert bool(matches(string)) == expected


@settings(max_examples=1500, deadline=None)
@given(
    st.lists(st.sampled_from(list(b"ab*?[]^-\\c")), max_size=10).map(bytes),
    st.lists(st.sampled_from(list(b"abc]-^\\[")), min_size=1, max_size=8).map(bytes),
)
def test_glob_agrees_with_redis(pattern, string):
    matches = compile_glob(pattern)
    assert matches is not None
    assert bool(matches(string)) == redis_match(pattern, string)


def test_glob_finishes_when_a_backtracking_matcher_would_not():
    matches = compile_glob(b"*a" * 60 + b"*b")
    assert matches is not None
    assert not matches(b"a" * 5000)
    matches = compile_glob(b"*[ab]?" * 60 + b"c")
    assert matches is not None
    assert not matches(b"a" * 5000)


def test_glob_is_refused_when_too_long():
    assert compile_glob(b"*" * (PATTERN_BYTES_MAX + 1)) is None
    assert compile_glob(b"[a-z]" * (PATTERN_BYTES_MAX // 5)) is not None


@given(
    st.text(alphabet="ab*?[^-]\\", max_size=12).map(str.encode),
    st.text(alphabet="ab]", max_size=10).map(str.encode),
)
def test_glob_taken_apart_agrees_with_the_whole(pattern, string):
    whole = compile_glob(pattern)
    first, *rest = glob._segments(pattern)
    if rest:
        *middle, last = rest
        parts = glob._compile_long(first, [one for one in middle if one.size], last)
        assert parts(string) == bool(whole(string))


def test_glob_with_long_text_between_stars_is_linear_in_a_long_key():
    """Four thousand bytes of pattern took seconds for each megabyte of key."""
    text = b"a" * 4000
    match = compile_glob(b"x*" + text + b"b*y")
    long_key = b"x" + b"a" * 4_000_000
    assert not match(long_key + b"y")
    assert match(long_key + b"by")
    assert not match(b"y" + long_key + b"by")


def test_glob_with_many_wildcards_between_stars_is_refused():
    most = b"?" * SEARCHED_BYTES_MAX
    assert compile_glob(b"*" + most + b"?a*") is None
    assert compile_glob(b"*" + b"[ab]" * (SEARCHED_BYTES_MAX + 1) + b"*") is None
    match = compile_glob(b"*a" + most[1:] + b"*")
    assert match(b"xa" + b"y" * (SEARCHED_BYTES_MAX - 1))
    assert not match(b"xa" + b"y" * (SEARCHED_BYTES_MAX - 2))
    # At either end they are compared once, so there may be any number.
    assert compile_glob(most + b"??*")(b"z" * (SEARCHED_BYTES_MAX + 2))
