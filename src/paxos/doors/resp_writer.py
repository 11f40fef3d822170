"""Neutral replies to RESP2 bytes.

A reply is None, int, bytes, str (a simple status), list of replies, or {"error": "CODE text"}.
This room encodes; it knows no command and no connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from paxos.core.errors import LocalProtocolError

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
NIL = b"$-1\r\n"
NIL_ARRAY = b"*-1\r\n"

SMALL_INTEGER_MAX = 1023
"""Integers from -2 (TTL of a missing key) up to this have their bytes ready."""

_CONSTANTS: dict[Any, bytes] = {
    None: NIL,
    "OK": OK,
    "PONG": b"+PONG\r\n",
    **{number: b":%d\r\n" % number for number in range(-2, SMALL_INTEGER_MAX + 1)},
}

_LINE_ENDS = str.maketrans("\r\n", "  ")


def encode_error(text: str) -> bytes:
    """Return an error reply. Line ends inside `text` become spaces, as in Redis."""
    return b"-%b\r\n" % text.translate(_LINE_ENDS).encode("utf-8", "surrogateescape")


def encode(reply: Any) -> bytes:
    """Return one reply's bytes. Raises LocalProtocolError for a value that is no reply."""
    out: list[bytes] = []
    encode_into((reply,), out.append)
    return out[0] if len(out) == 1 else b"".join(out)


def encode_into(replies: Iterable[Any], append: Callable[[bytes], None]) -> None:
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
            encode_into(reply, append)
        elif kind is dict:
            append(encode_error(reply["error"]))
        elif kind is str or kind is int or reply is None:
            ready = constant(reply)
            if ready is not None:
                append(ready)
            elif kind is int:
                append(b":%d\r\n" % reply)
            else:
                append(b"+%b\r\n" % reply.translate(_LINE_ENDS).encode())
        else:
            raise LocalProtocolError(f"{kind.__name__} is no reply")
