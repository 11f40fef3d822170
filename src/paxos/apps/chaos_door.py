"""A client's connection to a door, for programs that hold many of them in one event loop.

hiredis on an asyncio stream. It sends nothing twice and says exactly how far a request came:
NotSent (it cannot have happened) or Lost (it may have). Error replies are values here, because
what they mean for a history is the workload's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis

from paxos.core.errors import DefiniteError, IndefiniteError

RECEIVE_BYTES = 256 * 1024
CONNECT_TIMEOUT_S = 1.0


class NotSent(DefiniteError):
    """Nobody listens, or the greeting failed: nothing of the request was sent."""


class Lost(IndefiniteError):
    """The connection broke, or no answer came in time, after something was sent."""


class Door:
    """One connection, opened with the first request and again after it was lost.

    A connection that failed in the middle of a request is closed: a late answer must not be taken
    for that of the next request.
    """

    def __init__(self, host: str, port: int, password: str | None) -> None:
        self.host = host
        self.port = port
        self._password = password
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._replies = hiredis.Reader()

    async def connect(self) -> None:
        """Connect, unless there is a connection. Raises NotSent."""
        if self._streams is not None:
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                self._streams = await asyncio.open_connection(self.host, self.port)
                self._replies = hiredis.Reader()
                greeting = [] if self._password is None else [(b"AUTH", self._password.encode())]
                for reply in await self._exchange(*self._streams, greeting):
                    if isinstance(reply, hiredis.ReplyError):
                        raise ConnectionRefusedError(str(reply))
        except (OSError, EOFError) as error:
            self.close()
            raise NotSent(f"{self.host}:{self.port} cannot be reached: {error!r}") from error

    async def ask(self, commands: Sequence[tuple[bytes, ...]], timeout_s: float) -> list[Any]:
        """Send commands in one write and return their replies; errors are hiredis.ReplyError.

        `timeout_s` bounds it, connecting excluded. Raises NotSent or Lost.
        """
        await self.connect()
        if self._streams is None:
            raise NotSent("closed meanwhile")
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(*self._streams, commands)
        except (OSError, hiredis.ProtocolError, EOFError) as error:
            self.close()
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise Lost(reason or type(error).__name__) from error
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """Hang up at once; the next request connects again."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        commands: Sequence[tuple[bytes, ...]],
    ) -> list[Any]:
        writer.write(b"".join(map(packed, commands)))
        await writer.drain()
        replies: list[Any] = []
        while len(replies) < len(commands):
            reply = self._replies.gets()
            if reply is not False:
                replies.append(reply)
                continue
            received = await reader.read(RECEIVE_BYTES)
            if not received:
                raise EOFError("the door closed the connection")
            self._replies.feed(received)
        return replies


def packed(command: tuple[bytes, ...]) -> bytes:
    """Return a command as RESP."""
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in command)
