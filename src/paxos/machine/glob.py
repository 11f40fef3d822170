r"""Redis's glob patterns, as KEYS and SCAN MATCH use them, in bounded time.

`*` any bytes, `?` one byte, `[abc]` `[a-z]` `[^a]` one of a set, `\x` x itself. fnmatch is
another language (`[!a]`, no escapes). A pattern becomes one regular expression in which every
`*` is an atomic group that stops at the first place where what follows it fits: a later `*` can
make up for any earlier choice, so going back is never needed, and matching takes at most
(bytes of key) x (bytes of pattern) steps where a backtracking matcher takes exponential time.
Keys may be megabytes long, so a long pattern is taken apart at its stars instead: what stands at
either end is compared once, plain text between stars is found in linear time, and what has
wildcards in it must be short. So no pattern takes more than (bytes of key) x `SEARCHED_BYTES_MAX`.

Departure from Redis: its `stringmatchlen` finds that `*` does not match the empty string unless
the whole pattern is `*`; here it always does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

PATTERN_BYTES_MAX = 4096
"""The longest pattern; a longer one is refused."""

SEARCHED_BYTES_MAX = 128
"""The most bytes that something between two stars with `?` or `[]` in it may match; one with more
is refused."""

Matcher = Callable[[bytes], Any]
"""Takes a key; answers something true when it matches."""


def compile_glob(pattern: bytes) -> Matcher | None:
    """Return a matcher for a pattern, or None when it passes one of the limits above."""
    if len(pattern) > PATTERN_BYTES_MAX:
        return None
    first, *rest = _segments(pattern)
    if not rest:
        return _compiled(first.expression + rb"\Z").match
    *middle, last = rest
    if len(pattern) > SEARCHED_BYTES_MAX:
        return _compile_long(first, [segment for segment in middle if segment.size], last)
    found = b"".join(b"(?>.*?" + segment.expression + b")" for segment in middle if segment.size)
    return _compiled(first.expression + found + b".*" + last.expression + rb"\Z").match


def _compiled(expression: bytes) -> re.Pattern[bytes]:
    return re.compile(expression, re.DOTALL)


class _Segment:
    """What stands between two stars: it matches `size` bytes, and is `text` if only that."""

    __slots__ = ("expression", "plain", "size", "text")

    def __init__(self) -> None:
        self.expression = b""
        self.text = b""
        self.size = 0
        self.plain = True

    def take(self, byte: bytes) -> None:
        """Match one byte more, this one."""
        self.expression += re.escape(byte)
        self.text += byte
        self.size += 1

    def take_one_of(self, expression: bytes) -> None:
        """Match one byte more, by an expression."""
        self.expression += expression
        self.size += 1
        self.plain = False


def _compile_long(first: _Segment, middle: list[_Segment], last: _Segment) -> Matcher | None:
    """Return a matcher for what must begin and end so, with `middle` in that order in between."""
    if any(not one.plain and one.size > SEARCHED_BYTES_MAX for one in middle):
        return None
    begins = _compiled(first.expression).match
    ends = _compiled(last.expression).match
    least = first.size + last.size
    searches = [_finder(segment) for segment in middle]

    def matches(key: bytes) -> bool:
        end = len(key) - last.size
        if len(key) < least or not begins(key) or not ends(key, end):
            return False
        at = first.size
        for search in searches:
            at = search(key, at, end)
            if at < 0:
                return False
        return True

    return matches


def _finder(segment: _Segment) -> Callable[[bytes, int, int], int]:
    """Return a function that tells where the first match within at..end ends; -1: nowhere."""
    if segment.plain:

        def find(key: bytes, at: int, end: int) -> int:
            found = key.find(segment.text, at, end)
            return found if found < 0 else found + segment.size

        return find
    search = _compiled(segment.expression).search

    def find_one_of(key: bytes, at: int, end: int) -> int:
        found = search(key, at, end)
        return -1 if found is None else found.end()

    return find_one_of


def _segments(pattern: bytes) -> list[_Segment]:
    """Split a pattern at its stars."""
    segments = [_Segment()]
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"*":
            segments.append(_Segment())
        elif byte == b"?":
            segments[-1].take_one_of(b".")
        elif byte == b"[":
            allowed, at = _class(pattern, at)
            segments[-1].take_one_of(_one_of(allowed))
        else:
            if byte == b"\\" and at < len(pattern):
                byte = pattern[at : at + 1]
                at += 1
            segments[-1].take(byte)
    return segments


def _class(pattern: bytes, at: int) -> tuple[set[int], int]:
    """Read a class from after its `[`; return the bytes it allows and where it ends.

    As in Redis: one that is not closed ends with the pattern, a range may be written backwards,
    and `]` always closes (so `[]` allows nothing).
    """
    negated = pattern[at : at + 1] == b"^"
    at += negated
    named: set[int] = set()
    while at < len(pattern):
        left = len(pattern) - at
        if pattern[at] == 0x5C and left >= 2:  # a backslash
            named.add(pattern[at + 1])
            at += 2
        elif pattern[at] == 0x5D:  # the closing bracket
            at += 1
            break
        elif left >= 3 and pattern[at + 1] == 0x2D:  # a range
            low, high = sorted((pattern[at], pattern[at + 2]))
            named.update(range(low, high + 1))
            at += 3
        else:
            named.add(pattern[at])
            at += 1
    return (set(range(256)) - named if negated else named), at


def _one_of(allowed: set[int]) -> bytes:
    if not allowed:
        return b"(?!)"
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(allowed)) + b"]"
