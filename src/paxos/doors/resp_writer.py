"""Neutral replies to RESP bytes, in protocol version 2 or 3.

A reply is None, int, bytes, str (a simple status), list of replies, or {"error": "CODE text"}.
The door's own replies may be a `Map` too. For these, the versions differ only in how they write
nothing and maps. This room encodes; it knows no command and no connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from paxos.core.errors import LocalProtocolError

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
NIL = b"$-1\r\n"
NIL_ARRAY = b"*-1\r\n"
NULL = b"_\r\n"
"""Version 3's one way to say nothing; version 2 has `NIL` and `NIL_ARRAY`."""

SMALL_INTEGER_MAX = 1023
"""Integers from -2 (TTL of a missing key) up to this have their bytes ready."""

_CONSTANTS: dict[Any, bytes] = {
    "OK": OK,
    "PONG": b"+PONG\r\n",
    **{number: b":%d\r\n" % number for number in range(-2, SMALL_INTEGER_MAX + 1)},
}

_LINE_ENDS = str.maketrans("\r\n", "  ")


def encode_error(text: str) -> bytes:
    """Return an error reply. Line ends inside `text` become spaces, as in Redis."""
    return b"-%b\r\n" % text.translate(_LINE_ENDS).encode("utf-8", "surrogateescape")


class Map(dict[Any, Any]):
    """A reply of names and values: a map in version 3, in version 2 a flat array of both."""


def nil_array(version: int) -> bytes:
    """Return the bytes of an array that is not there."""
    return NIL_ARRAY if version == 2 else NULL


def encode(reply: Any, version: int = 2) -> bytes:
    """Return one reply's bytes. Raises LocalProtocolError for a value that is no reply."""
    out: list[bytes] = []
    encode_into((reply,), out.append, version)
    return out[0] if len(out) == 1 else b"".join(out)


def encode_into(replies: Iterable[Any], append: Callable[[bytes], None], version: int = 2) -> None:
    """Give each reply's bytes to `append`, in order, possibly in pieces.

    Raises LocalProtocolError for a value that is no reply.
    """
    constant = _CONSTANTS.get
    for reply in replies:
        kind = type(reply)
        if kind is bytes:
            append(b"$%d\r\n%b\r\n" % (len(reply), reply))
        elif kind is list or kind is tuple:
            append(b"*%d\r\n" % len(reply))
            encode_into(reply, append, version)
        elif reply is None:
            append(NIL if version == 2 else NULL)
        elif kind is dict:
            append(encode_error(reply["error"]))
        elif kind is Map:
            append(b"*%d\r\n" % (2 * len(reply)) if version == 2 else b"%%%d\r\n" % len(reply))
            for pair in reply.items():
                encode_into(pair, append, version)
        elif kind is str or kind is int:
            ready = constant(reply)
            if ready is not None:
                append(ready)
            elif kind is int:
                append(b":%d\r\n" % reply)
            else:
                append(b"+%b\r\n" % reply.translate(_LINE_ENDS).encode())
        else:
            raise LocalProtocolError(f"{kind.__name__} is no reply")
