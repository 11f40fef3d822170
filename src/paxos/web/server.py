"""Serves a node's pages inside the node's own event loop.

uvicorn does the HTTP. Added here is what a node needs and a web server for public sites does
not: no signal handlers, no log of its own, no periodic wake-ups, a clear error for a port that
is taken, and bounds on connections and on how long a request may take to arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from paxos.core.errors import ConfigurationError

CONNECTIONS_MAX = 256
"""Connections that a node's pages hold at once; a further one is closed as it comes."""

REQUEST_BYTES_MAX = 16 * 1024
"""The longest request line and headers together; longer ones are answered with 400."""

REQUEST_TIMEOUT_S = 10.0
"""How long a request may take to arrive, from the connection or its first byte on."""

KEEP_ALIVE_S = 5
"""How long a connection may stay idle between requests."""

STOP_TIMEOUT_S = 2
"""How long answers that are under way may take when the node stops."""

PEER_SILENT_MS = 30_000
"""A reader that takes nothing for so long is given up, so that it holds no listener's place."""

_BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n"
)


class PageProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with a limit on connections and on the time a request may take."""

    deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection in, or turn it away when there are too many."""
        if len(self.connections) >= CONNECTIONS_MAX:
            self.transport = transport
            transport.abort()
            return
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_SILENT_MS)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and see to it that the rest of a request follows in time."""
        super().data_received(data)
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request; where an answer has begun, there is no room for another one.

        uvicorn's own method makes the answer with h11, which raises, in the middle of the node's
        loop, when the request was answered already or was a HEAD, which takes no body.
        """
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = msg.encode()
            self.transport.write(_BAD_REQUEST % len(body) + body)
        if self.cycle is not None:
            # An answer that is being made has nowhere to go any more.
            self.cycle.disconnected = True
        self.transport.close()

    def shutdown(self) -> None:
        """End the connection in good order, unless it is closing already."""
        if not self.transport.is_closing():
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Keep a deadline while the client owes us a part of its request."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._unwatch()
        elif self.deadline is None:
            self.deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self.transport.abort)

    def _unwatch(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


class EmbeddedServer(uvicorn.Server):
    """uvicorn as a guest: the node owns the signals, and nothing wakes up without a request."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the node."""
        yield

    async def main_loop(self) -> None:
        """Wait until the node stops. (uvicorn's own polls ten times a second.)"""
        self.ready.set()
        await self.stopping.wait()


def page_config(app: ASGIApp) -> uvicorn.Config:
    """Return how uvicorn serves `app` inside a node."""
    return uvicorn.Config(
        app,
        http=PageProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        h11_max_incomplete_event_size=REQUEST_BYTES_MAX,
        backlog=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )


class PageServer:
    """Serves `app` at `host`:`port` from the running loop."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self.app = app
        self.host = host
        self.port = port
        """The port; when 0 was asked for, the one that was given after `start`."""
        self._server: EmbeddedServer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Raises ConfigurationError, naming the port, when that is not possible."""
        listener = self._listen()
        self.port = listener.getsockname()[1]
        self._server = EmbeddedServer(page_config(self.app))
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="pages")
        started = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait({self._task, started}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Stop listening, end the followers of the log, and let short answers finish."""
        if self._server is None or self._task is None:
            return
        stop_following = getattr(getattr(self.app, "state", None), "stop_following", None)
        if stop_following is not None:
            stop_following()
        self._server.stopping.set()
        await self._task
        self._server = self._task = None

    def _listen(self) -> socket.socket:
        """Return a listening socket. Raises ConfigurationError when there can be none."""
        if not 0 <= self.port <= 65535:
            # The resolver would quietly take the number's lower 16 bits.
            raise ConfigurationError(f"the pages cannot listen at port {self.port}: 0..65535 exist")
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except OSError as error:
            raise ConfigurationError(
                f"the pages cannot listen at {self.host!r}, port {self.port}: {error}; "
                "give the address of one of this machine's interfaces, or 0.0.0.0"
            ) from error
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(CONNECTIONS_MAX)
        except OSError as error:
            listener.close()
            raise ConfigurationError(_refusal(self.host, self.port, error)) from error
        listener.setblocking(False)
        return listener


def _refusal(host: str, port: int, error: OSError) -> str:
    """Return why no page can be served here and what to do about it."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"page port {port} at {host} is taken by another program; stop that one, "
            "or move this cluster with network.port_offset (PAXOS_NETWORK_PORT_OFFSET)"
        )
    if error.errno == errno.EACCES:
        return f"page port {port} at {host} needs privileges; choose a port above 1023"
    return f"the pages cannot listen at {host}, port {port}: {error.strerror or error}"
