"""Short questions to nodes on this machine: a page's JSON, a few commands at a door.

Plain blocking sockets: what `paxos up`, `status` and `health` need, and nothing that a program
which uses the store should be built on.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any

import hiredis
import msgspec

from paxos.core.errors import IndefiniteError


class Page(msgspec.Struct, frozen=True):
    """An answer of a node's page: HTTP status (0: none came), JSON or None, and why none."""

    status: int
    content: Any
    trouble: str = ""


def page(host: str, port: int, path: str, timeout_s: float = 2.0) -> Page:
    """Ask a node's page port. Never raises for what a node or the network does."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return Page(0, None, f"{type(error).__name__}: {error}" if str(error) else repr(error))
    finally:
        connection.close()
    try:
        return Page(answer.status, json.loads(body))
    except ValueError:
        return Page(answer.status, None)


class CommandError(IndefiniteError):
    """A command at a door was answered with an error, or not at all; the message says which."""


def commands(
    host: str, port: int, *wanted: list[str], password: str | None = None, timeout_s: float = 6.0
) -> list[Any]:
    """Send commands to a RESP door and return their replies.

    Raises CommandError on the first error reply, on a timeout and when nobody listens.
    """
    everything = [["AUTH", password], *wanted] if password is not None else list(wanted)
    reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
    replies: list[Any] = []
    deadline = time.monotonic() + timeout_s
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(b"".join(map(_packed, everything)))
            while len(replies) < len(everything):
                reply = reader.gets()
                if reply is False:
                    connection.settimeout(max(0.01, deadline - time.monotonic()))
                    received = connection.recv(65_536)
                    if not received:
                        raise CommandError(f"the door at port {port} closed the connection")
                    reader.feed(received)
                elif isinstance(reply, hiredis.ReplyError):
                    raise CommandError(str(reply))
                else:
                    replies.append(reply)
    except OSError as error:
        raise CommandError(f"the door at port {port}: {error or type(error).__name__}") from error
    except hiredis.ProtocolError as error:
        raise CommandError(f"the door at port {port} does not speak RESP: {error}") from error
    return replies[len(everything) - len(wanted) :]


def _packed(command: list[str]) -> bytes:
    """Return a command as RESP: an array of bulk strings."""
    parts = [word.encode("utf-8", "surrogateescape") for word in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)
