"""A fake node's pages on a real port, served from a loop in a thread, as a node's loop would."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from paxos.web.app import make_app
from paxos.web.server import PageServer


def _load_fake() -> Any:
    """Return the module fake_view, which is no package's (pytest imports by path here)."""
    name = "fake_view"
    if name not in sys.modules:
        path = Path(__file__).with_name("fake_view.py")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


FakeView = _load_fake().FakeView


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site:
    """A fake node's running pages."""

    def __init__(self, view: Any) -> None:
        self.view = view
        self.app = make_app(view)
        self.server = PageServer(self.app, "127.0.0.1", 0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pages")
        self._thread.start()
        self.run(self.server.start())
        self.port = self.server.port

    def run(self, work: Any) -> Any:
        """Run a coroutine in the loop of the pages."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20.0)

    def do(self, function: Callable[..., object], *arguments: Any, **named: Any) -> None:
        """Call a function in the loop of the pages."""

        async def call() -> None:
            function(*arguments, **named)

        self.run(call())

    def note(self, what: str, text: str, *arguments: Any, **fields: Any) -> None:
        """Add a line to the node's log."""
        self.do(self.view.note, what, text, *arguments, **fields)

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Ask for a path and return the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def follow(self, query: str = "") -> Follower:
        """Follow the log."""
        return Follower(self.port, f"/logs?follow=1{query}")

    def close(self) -> None:
        self.run(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Follower:
    """A client that follows a log, reading event by event."""

    def __init__(self, port: int, path: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._connection.request("GET", path)
        self.answer = self._connection.getresponse()

    def event(self) -> dict[str, str]:
        """Return the next event; comments are skipped; {} at the end of the stream."""
        event: dict[str, str] = {}
        while line := self.answer.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name and line != b"\n":
                event[name] = value
            elif event:
                return event
        return event

    def record(self) -> dict[str, Any]:
        """Return the record in the next event."""
        return json.loads(self.event()["data"])

    def close(self) -> None:
        self.answer.close()
        self._connection.close()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture
def open_site() -> Iterator[Callable[..., Site]]:
    """Open the pages of a fake node by name."""
    sites: list[Site] = []

    def open_one(node: str = "proposer-3") -> Site:
        sites.append(Site(FakeView(node)))
        return sites[-1]

    yield open_one
    for site in sites:
        site.close()


@pytest.fixture
def site(open_site: Callable[..., Site]) -> Site:
    """The pages of a fake proposer."""
    return open_site()
