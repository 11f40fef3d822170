"""One connection of the command-line client to a door: a command out, its reply back.

A plain blocking socket and hiredis, because a command-line program must be there at once. It
never sends a command twice: whoever calls is told whether a failed one is *definite* (it did
not happen) or *indefinite* (it may have), and decides.
"""

from __future__ import annotations

import socket
import time
from typing import Any

import hiredis

from paxos.core.errors import DefiniteError, IndefiniteError, RequestError

RECEIVE_BYTES = 256 * 1024

READING = frozenset(
    b"""AUTH BACKUP CLIENT COMMAND DBSIZE DISCARD ECHO EXISTS EXPIRETIME GET GETRANGE HELLO
    INFO KEYS MGET MULTI PEXPIRETIME PING PTTL QUIT READ READONLY READWRITE RESPONSES SCAN
    SELECT STATUS STRLEN TTL TYPE UNWATCH WATCH""".split()
)
"""Commands that change nothing, so that a lost answer is a plain failure."""


class Connection:
    """A connection to a door, opened when first needed and again after it was lost.

    `timeout_s` bounds each call as a whole, connecting included. `stale` asks the gateway for
    answers from whatever its learner has applied (READONLY).
    """

    def __init__(
        self, host: str, port: int, *, password: str | None = None, stale: bool = False
    ) -> None:
        self.host = host
        self.port = port
        self.generation = 0
        """How often a connection was opened; a new one has lost WATCH and MULTI."""
        self._greeting = [[b"AUTH", password.encode()]] if password is not None else []
        if stale:
            self._greeting.append([b"READONLY"])
        self._socket: socket.socket | None = None
        self._reader = hiredis.Reader()

    def call(self, command: list[bytes], timeout_s: float) -> Any:
        """Send one command and return its reply.

        An error reply raises too. Raises DefiniteError when the command did not take effect,
        IndefiniteError when it may have.
        """
        deadline = time.monotonic() + timeout_s
        connection = self._socket or self._open(deadline)
        return self._exchange(connection, command, deadline)

    def close(self) -> None:
        """Hang up. The next call connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self, deadline: float) -> socket.socket:
        where = f"{self.host}:{self.port}"
        try:
            opened = socket.create_connection((self.host, self.port), _left(deadline))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except ConnectionRefusedError as error:
            raise DefiniteError(
                f"nobody listens at {where}; is the system running? (./run.sh)"
            ) from error
        except TimeoutError as error:
            raise DefiniteError(f"{where} does not answer") from error
        except OSError as error:
            raise DefiniteError(f"cannot reach {where}: {error.strerror or error}") from error
        self._socket = opened
        self._reader = hiredis.Reader()
        self.generation += 1
        try:
            for command in self._greeting:
                self._exchange(opened, command, deadline)
        except RequestError:
            # A connection that was not greeted must not be used for what comes next.
            self.close()
            raise
        return opened

    def _exchange(self, connection: socket.socket, command: list[bytes], deadline: float) -> Any:
        changes = command[0].upper() not in READING
        sent = False
        try:
            connection.settimeout(_left(deadline))
            # When this fails, the gateway has not got the whole command and cannot run it.
            connection.sendall(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]
            sent = True
            reply = self._reader.gets()
            while reply is False:
                connection.settimeout(_left(deadline))
                received = connection.recv(RECEIVE_BYTES)
                if not received:
                    raise ConnectionResetError(0, "the gateway closed the connection")
                self._reader.feed(received)
                reply = self._reader.gets()
        except TimeoutError as error:
            self.close()
            raise _failure("no answer in time", changes and sent) from error
        except (OSError, hiredis.ProtocolError) as error:
            self.close()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise _failure(f"connection lost: {reason}", changes and sent) from error
        except KeyboardInterrupt as error:
            self.close()
            raise _failure("interrupted", changes and sent) from error
        if isinstance(reply, hiredis.ReplyError):
            text = str(reply)
            raise IndefiniteError(text) if text.startswith("UNKNOWN") else DefiniteError(text)
        return reply


def _left(deadline: float) -> float:
    """Return the seconds left. Raises TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _failure(reason: str, may_have_happened: bool) -> RequestError:
    if may_have_happened:
        return IndefiniteError(f"{reason}; the command may have taken effect, or may yet")
    return DefiniteError(reason)
