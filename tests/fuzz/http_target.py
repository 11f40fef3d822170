"""HTTP under fuzzing: the pages' protocol on a transport that is a buffer, in front of all routes.

Nothing that a client sends may raise out of a callback of the loop: in a node that ends the
process. So nothing is caught here, and an error of a route counts as well.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import re
from random import Random
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.web.fake_view import FakeView
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.server import ServerState

from paxos.web.app import make_app
from paxos.web.server import PageProtocol, page_config

from .inputs import Stream, Target, mutate_bytes, mutate_list, stream_mutator, streams, unpack

REQUEST_BYTES_MAX = 700
TURNS_MAX = 60
"""How often the loop may turn until a request is answered; each takes about ten."""

STATUSES = {200, 307, 400, 404, 405, 503}
LINGERING, HURRIED, STOPPING = 1, 2, 4
"""Modes: the client stays until the timers run out; its bytes come faster than it is served; the
node stops before it has gone."""


class Buffer:
    """A transport that keeps what is written and does as it is told about reading."""

    def __init__(self) -> None:
        self.written = b""
        self.closing = False
        self.reading = True

    def get_extra_info(self, name: str) -> Any:
        return {"peername": ("192.0.2.1", 4711), "sockname": ("192.0.2.2", 80)}.get(name)

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Watched:
    """An application, with a note of every answer that it begins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.statuses: list[int] = []
        self.failures: list[Exception] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses.append(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            self.failures.append(error)
            raise


class House:
    """Pages, and the loop that they are served from."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._on_unhandled)
        self.unhandled: list[dict[str, Any]] = []
        view = FakeView("proposer-3")
        for number in range(5):
            view.note("step", f"step {number}")
        self.app = Watched(make_app(view))
        self.config = page_config(self.app)
        self.config.load()

    def _on_unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.unhandled.append(context)

    def turn(self, state: ServerState, most: int = TURNS_MAX) -> None:
        """Turn the loop until no request is under way, or `most` times."""
        for _ in range(most):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            if not state.tasks:
                return


@functools.cache
def house() -> House:
    """Return the one house of this process."""
    made = House()
    atexit.register(made.loop.close)
    return made


def visit(stream: Stream) -> tuple[list[int], bytes, bool]:
    """Return the statuses of the answers, what was written, and whether the server closed."""
    home = house()
    home.app.statuses, home.app.failures, home.unhandled = [], [], []
    state = ServerState()
    protocol = PageProtocol(config=home.config, server_state=state, app_state={}, _loop=home.loop)
    protocol.conn._max_incomplete_event_size = REQUEST_BYTES_MAX
    wire = Buffer()
    protocol.connection_made(cast(asyncio.Transport, wire))
    for chunk in stream.chunks():
        if not wire.reading or not stream.mode & HURRIED:
            home.turn(state, 12)
        if wire.closing or not wire.reading:
            break
        protocol.data_received(chunk)
        assert len(protocol.conn._receive_buffer) <= REQUEST_BYTES_MAX + len(chunk)
        assert protocol.cycle is None or len(protocol.cycle.body) <= HIGH_WATER_LIMIT + len(chunk)
    home.turn(state)
    closed = wire.closing
    if stream.mode & LINGERING and not closed:
        for timer in (protocol.timeout_keep_alive_task, protocol.deadline):
            if timer is not None and not timer.cancelled() and not wire.closing:
                timer._run()
    if stream.mode & STOPPING:
        protocol.shutdown()
    if wire.closing or not stream.mode & LINGERING:
        protocol.connection_lost(None)
    else:
        protocol.connection_lost(ConnectionResetError())
        protocol._unset_keepalive_if_required()
    home.turn(state)
    assert not state.tasks, "nobody is served who has gone"
    assert not state.connections
    assert protocol.deadline is None
    assert home.app.failures == []
    assert home.unhandled == []
    assert set(home.app.statuses) <= STATUSES
    assert wire.written.startswith(b"HTTP/1.1 ") or not wire.written
    return home.app.statuses, wire.written, closed


_BODY = re.compile(rb"content-length|transfer-encoding", re.IGNORECASE)


def run(data: bytes) -> None:
    """Ask in chunks and whole: without bodies, whose end an answer does not wait for, and within
    what a request may be incomplete with, the answers are the same. Whether a log is still
    followed at the end is the chunks' doing: bytes after the last request that a connection
    takes end it, if they come during the answer.
    """
    stream = unpack(data)
    statuses, written, closed = visit(stream)
    comparable = len(stream.body) <= REQUEST_BYTES_MAX and not _BODY.search(stream.body)
    if comparable and not stream.mode & HURRIED:
        again, written_again, closed_again = visit(Stream(stream.mode, b"", stream.body))
        assert statuses == again
        assert closed == closed_again or b"text/event-stream" in written
        assert written.count(b"HTTP/1.1 400") == written_again.count(b"HTTP/1.1 400")


_PATHS = (
    "/", "/view-logs", "/view-logs/state", "/state?pretty=1", "/logs?limit=2&format=text",
    "/logs?after=1&level=info&text=step", "/logs?follow=1", "/logs?follow=1&after=3&boot=ab12",
    "/healthz", "/readyz", "/metrics", "/assets/page.css", "/nothing", "/state/", "/logs?limit=0",
    "/%2e%2e/etc", "/logs?text=%ff%00",
)  # fmt: skip


def request(path: str, method: str = "GET", headers: str = "", body: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}".encode()


def seeds() -> list[bytes]:
    """Return requests that are served, and some that are not."""
    chunked = "Transfer-Encoding: chunked\r\n"
    bodies = [
        *(request(path) for path in _PATHS),
        b"".join(request(path) for path in ("/healthz", "/state", "/logs")),
        request("/state", headers="Accept: text/html\r\nConnection: close\r\n") + b"more",
        request("/state", "HEAD"),
        request("/logs?follow=1", "HEAD"),
        request("/state", "POST", "Content-Length: 5\r\n", "hello") + request("/healthz"),
        request("/state", "POST", "Content-Length: 50\r\n", "hello"),
        request("/state", "POST", chunked, "5\r\nhello\r\n0\r\n\r\n") + request("/healthz"),
        request("/state", "POST", chunked, "zz\r\n\r\n"),
        request("/state", "POST", chunked + "Expect: 100-continue\r\n"),
        request("/logs?follow=1", headers=chunked, body="zz\r\n"),
        request("/", "OPTIONS", "Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"\0\1\2\r\n\r\n",
        b"GET /" + b"x" * 800,
        request("/", headers="X: " + "y" * 650 + "\r\n"),
    ]
    return streams((0, LINGERING, HURRIED, STOPPING | HURRIED), bodies)


_HEADERS = (
    b"Host: x", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Connection: close",
    b"Expect: 100-continue", b"Accept: text/html", b"Connection: keep-alive", b"", b"0",
    b"GET /state HTTP/1.1", b"GET /logs?follow=1 HTTP/1.1", b"POST /state HTTP/1.1", b"3", b"abc",
)  # fmt: skip


def mutate_lines(body: bytes, dice: Random) -> bytes:
    """Change one line of a request, or their order."""

    def change(line: bytes, dice: Random) -> bytes:
        return dice.choice(_HEADERS) if dice.randrange(2) else mutate_bytes(line, dice)

    return b"\r\n".join(mutate_list(body.split(b"\r\n"), dice, change))


HTTP = Target(
    name="http",
    run=run,
    seeds=seeds,
    mutate=stream_mutator(mutate_lines, range(8)),
    modules=("web/server.py", "web/app.py", "web/queries.py"),
)
