"""The routes of a node's pages.

    /view-logs         the page for people (page.py); / leads there
    /view-logs/state   its upper half alone, which the page refreshes itself with
    /state             the state as JSON, indented when a browser asks or with ?pretty=1
    /logs              the log as JSON lines or text; ?follow=1 keeps it coming
    /healthz /readyz   200, or 503; either way as JSON, with the reason
    /metrics           for Prometheus

Nothing here changes anything, and nothing is answered before the whole query has been checked.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paxos.runtime.logs import LogRecord, LogRing, render_text

from . import page, queries
from .present import state_html
from .view import NodeView

LISTENERS_MAX = 64
"""How many clients may follow one node's log at once."""

BATCH_MAX = 200
"""How many records a follower is sent in one piece."""

KEEP_ALIVE_S = 15.0
"""A follower with nothing to tell is sent a comment so often, so that both ends notice a death."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Sent with every answer."""


class SecurityHeaders:
    """Adds `HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and its answer back."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        await self.app(scope, receive, send_with_headers)


class Followers:
    """Those who follow a node's log: how many there are, and a way to end them all.

    `boot` tells one life of the log from the next, whose sequence numbers start from 1 again.
    """

    def __init__(self, log: LogRing) -> None:
        self.log = log
        self.boot = secrets.token_hex(4)
        self.count = 0
        self.stopped = asyncio.Event()

    async def events(self, query: queries.LogQuery) -> AsyncIterator[str]:
        """Yield the log as Server-Sent Events, first what is there and then what comes."""
        self.count += 1
        try:
            position = query.after
            if query.boot is not None and query.boot != self.boot:
                position = None
                yield "event: restarted\ndata: \n\n"
            if position is None:
                found = self.log.records(None, query.level, query.text, query.limit)
                position = self.log.newest
                # Sent even when empty: the client learns at once that it is connected.
                yield ": the log follows\n\n" + self._events(found)
            while not self.stopped.is_set():
                if not await self._wait_until_newer(position):
                    yield ": still here\n\n"
                    continue
                skipped = self.log.oldest - 1 - position
                if skipped > 0:
                    yield f"event: skipped\ndata: {skipped}\n\n"
                newest = self.log.newest
                found = self.log.records(position, query.level, query.text, BATCH_MAX)
                position = found[-1].sequence if len(found) == BATCH_MAX else newest
                if found:
                    yield self._events(found)
        finally:
            self.count -= 1

    async def _wait_until_newer(self, position: int) -> bool:
        """Wait for a newer record. False when none came in time, or the node stops."""
        newer = asyncio.ensure_future(self.log.wait_until_newer(position))
        stopped = asyncio.ensure_future(self.stopped.wait())
        try:
            await asyncio.wait(
                {newer, stopped}, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED
            )
            return newer.done()
        finally:
            newer.cancel()
            stopped.cancel()

    def _events(self, found: list[LogRecord]) -> str:
        return "".join(
            f"id: {self.boot}.{record.sequence}\ndata: {_json(record)}\n\n" for record in found
        )


def make_app(view: NodeView) -> Starlette:
    """Return the pages of one node. `app.state.stop_following()` ends the followers of its log."""
    followers = Followers(view.log)

    async def home(request: Request) -> Response:
        return RedirectResponse("/view-logs", status_code=307)

    async def view_logs(request: Request) -> Response:
        query = queries.log_query(request.query_params.multi_items())
        return _html(
            page.view_logs_html(
                view.node, view.state(), view.neighbours, _host(request), query.level, query.text
            )
        )

    async def state_fragment(request: Request) -> Response:
        queries.no_query(request.query_params.multi_items())
        return _html(state_html(view.state(), view.neighbours, _host(request)))

    async def state(request: Request) -> Response:
        pretty = queries.state_query(request.query_params.multi_items())
        body = msgspec.json.encode(view.state())
        if pretty or _is_browser(request):
            body = msgspec.json.format(body, indent=2) + b"\n"
        return Response(body, media_type="application/json")

    async def logs(request: Request) -> Response:
        query = queries.log_query(request.query_params.multi_items())
        if query.follow and request.method == "GET":
            if followers.count >= LISTENERS_MAX:
                return PlainTextResponse(
                    f"{LISTENERS_MAX} clients follow this log already; try again later\n",
                    status_code=503,
                    headers={"retry-after": "5"},
                )
            return StreamingResponse(followers.events(query), media_type="text/event-stream")
        found = view.log.records(query.after, query.level, query.text, query.limit)
        if query.format == "text" or (query.format is None and _is_browser(request)):
            return PlainTextResponse("".join(f"{render_text(record)}\n" for record in found))
        lines = "".join(f"{_json(record)}\n" for record in found)
        return Response(lines, media_type="application/x-ndjson")

    async def metrics(request: Request) -> Response:
        return Response(view.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def condition(
        name: str, judge: Callable[[], tuple[bool, str]]
    ) -> Callable[..., Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            good, reason = judge()
            body = msgspec.json.encode({"node": view.node, name: good, "reason": reason}) + b"\n"
            return Response(body, 200 if good else 503, media_type="application/json")

        return answer

    def fixed(name: str) -> Callable[..., Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return Response(page.asset(name), media_type=page.ASSETS[name])

        return answer

    async def refuse(request: Request, error: Exception) -> Response:
        return PlainTextResponse(f"{error}\n", status_code=400)

    app = Starlette(
        routes=[
            Route("/", home),
            Route("/view-logs", view_logs),
            Route("/view-logs/state", state_fragment),
            Route("/state", state),
            Route("/logs", logs),
            Route("/healthz", condition("healthy", view.health)),
            Route("/readyz", condition("ready", view.readiness)),
            Route("/metrics", metrics),
            *(Route(f"/assets/{name}", fixed(name)) for name in page.ASSETS),
        ],
        middleware=[Middleware(SecurityHeaders)],
        exception_handlers={queries.BadQuery: refuse},
    )
    # A redirect would be built from whatever the Host header says.
    app.router.redirect_slashes = False
    app.state.stop_following = followers.stopped.set
    return app


def _html(content: str) -> Response:
    return Response(content, media_type="text/html")


def _host(request: Request) -> str:
    return page.host_name(request.headers.get("host", ""))


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _json(record: LogRecord) -> str:
    return msgspec.json.encode(record).decode()
