"""Replies to bytes, read back by hiredis."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.errors import LocalProtocolError
from paxos.doors.resp_writer import encode


@pytest.mark.parametrize(
    ("reply", "data"),
    [
        (None, b"$-1\r\n"),
        ("OK", b"+OK\r\n"),
        ("string", b"+string\r\n"),
        ("a\r\nb", b"+a  b\r\n"),
        (-2, b":-2\r\n"),
        (-3, b":-3\r\n"),
        (0, b":0\r\n"),
        (1023, b":1023\r\n"),
        (1 << 62, b":4611686018427387904\r\n"),
        (b"", b"$0\r\n\r\n"),
        (b"a\r\nb", b"$4\r\na\r\nb\r\n"),
        ([], b"*0\r\n"),
        ([1, [b"x", None], "OK"], b"*3\r\n:1\r\n*2\r\n$1\r\nx\r\n$-1\r\n+OK\r\n"),
        ({"error": "ERR no"}, b"-ERR no\r\n"),
        ({"error": "ERR a\r\nb"}, b"-ERR a  b\r\n"),
        ([{"error": "ERR no"}, 1], b"*2\r\n-ERR no\r\n:1\r\n"),
    ],
)
def test_a_reply_has_its_bytes(reply, data):
    assert encode(reply) == data


replies = st.recursive(
    st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1), st.binary(max_size=30)),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=10,
)


@given(replies)
def test_hiredis_reads_back_what_was_encoded(reply):
    reader = hiredis.Reader()
    reader.feed(encode(reply))
    assert reader.gets() == reply
    assert not reader.has_data()


@pytest.mark.parametrize("reply", [1.5, True, object()])
def test_what_is_no_reply_is_refused(reply):
    with pytest.raises(LocalProtocolError):
        encode(reply)
