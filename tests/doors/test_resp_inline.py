"""Inline lines are split as Redis splits them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.doors.resp_inline import split_line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", []),
        (b"   ", []),
        (b"SET a b", [b"SET", b"a", b"b"]),
        (b"\tSET  a\vb ", [b"SET", b"a", b"b"]),
        (b'WRITE "novo valor"', [b"WRITE", b"novo valor"]),
        (b"WRITE 'novo valor'", [b"WRITE", b"novo valor"]),
        (b'a "" b', [b"a", b"", b"b"]),
        (b'a"b c"', [b"ab c"]),
        (rb'"\n\r\t\b\a\\\"\q"', [b'\n\r\t\b\a\\"q']),
        (rb'"\x41\xfF\x4"', [b"A\xffx4"]),
        (rb"'a\'b\n'", [rb"a'b\n"]),
        (b'"it\'s" \'say "x"\'', [b"it's", b'say "x"']),
        (b'"a"b', None),
        (b"'a'b", None),
        (b'"a', None),
        (b"'a", None),
        (b'"a\\', None),
        (b'a" b', None),
    ],
)
def test_a_line_is_split_into_words(line, words):
    assert split_line(line) == words


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_hex_escapes_can_say_anything(words):
    line = b" ".join(b'"' + b"".join(b"\\x%02x" % byte for byte in word) + b'"' for word in words)
    assert split_line(line) == words


@given(st.binary(max_size=60))
def test_random_lines_never_crash(line):
    words = split_line(line)
    assert words is None or all(type(word) is bytes for word in words)
