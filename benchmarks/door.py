"""A client connection of the harness itself: one command at a time at a door that speaks RESP.

For what the load generator does not do: a large value, a backup. It is slow, and measures nothing.
"""

from __future__ import annotations

import socket

from .errors import BenchmarkError

_ANSWER_S = 10.0
_REPLY_BYTES_MAX = 1024


def connected(door: str, answer_s: float = _ANSWER_S) -> socket.socket:
    """Return a connection with HOST:PORT that waits `answer_s` at most. Raises BenchmarkError."""
    host, _, port = door.rpartition(":")
    try:
        connection = socket.create_connection((host, int(port)), timeout=_ANSWER_S)
    except OSError as error:
        raise BenchmarkError(f"no connection with {door}: {error}") from error
    connection.settimeout(answer_s)
    return connection


def command(*words: bytes) -> bytes:
    """Return a command as it travels."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


def ask(door: str, *words: bytes, answer_s: float = _ANSWER_S) -> bytes:
    """Return the reply to a command that is answered with a few bytes. Raises BenchmarkError, also
    when the door says that it is an error.
    """
    asked = words[0].decode()
    try:
        with connected(door, answer_s) as client:
            client.sendall(command(*words))
            said = client.recv(_REPLY_BYTES_MAX)
    except OSError as error:
        raise BenchmarkError(f"{door} did not answer {asked}: {error}") from error
    if not said or said.startswith(b"-"):
        raise BenchmarkError(f"{door} answered {asked} with {said!r}")
    return said
