r"""Redis's glob patterns, as KEYS and SCAN MATCH use them, in bounded time.

`*` any bytes, `?` one byte, `[abc]` `[a-z]` `[^a]` one of a set, `\x` x itself. fnmatch is
another language (`[!a]`, no escapes). A pattern becomes one regular expression in which every
`*` is an atomic group that stops at the first place where what follows it fits: a later `*` can
make up for any earlier choice, so going back is never needed, and matching takes at most
(bytes of key) x (bytes of pattern) steps where a backtracking matcher takes exponential time.

Departure from Redis: its `stringmatchlen` finds that `*` does not match the empty string unless
the whole pattern is `*`; here it always does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

PATTERN_BYTES_MAX = 4096
"""The longest pattern; a longer one is refused."""

Matcher = Callable[[bytes], Any]
"""Takes a key; answers something true when it matches."""


def compile_glob(pattern: bytes) -> Matcher | None:
    """Return a matcher for a pattern, or None when it is longer than `PATTERN_BYTES_MAX`."""
    if len(pattern) > PATTERN_BYTES_MAX:
        return None
    first, *rest = _segments(pattern)
    if not rest:
        expression = first
    else:
        *middle, last = rest
        found = b"".join(b"(?>.*?" + segment + b")" for segment in middle if segment)
        expression = first + found + b".*" + last
    return re.compile(expression + rb"\Z", re.DOTALL).match


def _segments(pattern: bytes) -> list[bytes]:
    """Split a pattern at its stars; each piece is an expression of a fixed number of bytes."""
    segments = [b""]
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"*":
            segments.append(b"")
        elif byte == b"?":
            segments[-1] += b"."
        elif byte == b"[":
            allowed, at = _class(pattern, at)
            segments[-1] += _one_of(allowed)
        else:
            if byte == b"\\" and at < len(pattern):
                byte = pattern[at : at + 1]
                at += 1
            segments[-1] += re.escape(byte)
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
