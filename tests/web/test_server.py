from __future__ import annotations

import asyncio
import contextlib
import http.client
import signal
import socket
import time

import pytest

from paxos.core.errors import ConfigurationError
from paxos.web import server as server_module
from paxos.web.server import PageServer


async def _empty(scope, receive, send):
    raise AssertionError("nothing is asked for here")


def _start(host: str, port: int) -> None:
    async def start() -> None:
        server = PageServer(_empty, host, port)
        try:
            await server.start()
        finally:
            await server.stop()

    asyncio.run(start())


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"page port {port} .* network\.port_offset"):
            _start("127.0.0.1", port)


def test_an_address_of_another_machine_is_named():
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1"):
        _start("192.0.2.1", 0)


@pytest.mark.parametrize(("host", "port"), [("no such host", 0), ("127.0.0.1", 70000)])
def test_a_senseless_address_is_a_configuration_error(host, port):
    with pytest.raises(ConfigurationError, match="cannot listen"):
        _start(host, port)


def test_the_signal_handlers_stay_the_nodes():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    async def look() -> tuple[object, object]:
        server = PageServer(_empty, "127.0.0.1", 0)
        await server.start()
        try:
            return signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        finally:
            await server.stop()

    during = asyncio.run(look())

    assert during[0] == before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def _received_until_closed(connection: socket.socket) -> bytes:
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def _connect(site) -> socket.socket:
    return socket.create_connection(("127.0.0.1", site.port), timeout=20)


def test_a_request_that_never_ends_is_cut_off(open_site, monkeypatch):
    monkeypatch.setattr(server_module, "REQUEST_TIMEOUT_S", 0.2)
    site = open_site()
    with _connect(site) as silent, _connect(site) as half, _connect(site) as body:
        half.sendall(b"GET /state HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        body.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")

        assert _received_until_closed(silent) == b""
        assert _received_until_closed(half) == b""
        assert b"200 OK" in _received_until_closed(body)


def test_a_dripping_request_does_not_win_time(open_site, monkeypatch):
    monkeypatch.setattr(server_module, "REQUEST_TIMEOUT_S", 0.3)
    site = open_site()
    with _connect(site) as dripping:
        deadline = time.monotonic() + 20
        try:
            dripping.sendall(b"GET /state HTTP/1.1\r\n")
            while True:
                dripping.sendall(b"X: y\r\n")
                assert time.monotonic() < deadline
                dripping.settimeout(0.02)
                try:
                    if not dripping.recv(1):
                        break
                except TimeoutError:
                    continue
        except (BrokenPipeError, ConnectionResetError):
            pass

    assert site.get("/healthz").status == 200


def test_headers_that_are_too_long_and_garbage_are_refused(site):
    with _connect(site) as long, _connect(site) as garbage:
        long.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n")
        garbage.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")

        assert b"200 OK" not in _received_until_closed(long)
        assert b"400 Bad Request" in _received_until_closed(garbage)
    assert site.get("/healthz").status == 200


def test_connections_beyond_the_limit_are_closed_and_harm_nobody(open_site, monkeypatch):
    monkeypatch.setattr(server_module, "CONNECTIONS_MAX", 3)
    site = open_site()
    with contextlib.ExitStack() as stack:
        held = [
            stack.enter_context(
                contextlib.closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=20))
            )
            for _ in range(3)
        ]

        def statuses() -> list[int]:
            found = []
            for one in held:
                one.request("GET", "/healthz")
                answer = one.getresponse()
                answer.read()
                found.append(answer.status)
            return found

        assert statuses() == [200, 200, 200]
        extra = stack.enter_context(_connect(site))
        assert _received_until_closed(extra) == b""
        assert statuses() == [200, 200, 200]


def test_an_idle_follower_outlives_the_request_timeout(open_site, monkeypatch):
    monkeypatch.setattr(server_module, "REQUEST_TIMEOUT_S", 0.1)
    site = open_site()
    with site.follow() as follower, _connect(site) as silent:
        # The silent connection is cut off: so the time is over for the follower as well.
        assert _received_until_closed(silent) == b""
        site.note("late", "still there")

        assert follower.record()["what"] == "late"


@pytest.mark.parametrize("path", ["/healthz", "/logs?follow=1", "/nothing"])
def test_a_bad_body_behind_an_answer_closes_the_connection_and_raises_nothing(open_site, path):
    """Found by fuzzing: uvicorn raised out of the protocol, which ends a node."""
    site = open_site()
    unhandled: list[dict[str, object]] = []
    site.do(site._loop.set_exception_handler, lambda loop, context: unhandled.append(context))
    with _connect(site) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(12).startswith(b"HTTP/1.1 ")
        connection.sendall(b"this is no length\r\n")
        assert b"HTTP/1.1 400" not in _received_until_closed(connection)
    assert site.get("/healthz").status == 200
    assert unhandled == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_bad_body_with_its_request_is_answered_once(open_site, caplog, method):
    """Found by fuzzing: of a HEAD, too, uvicorn's own answer raised."""
    site = open_site()
    unhandled: list[dict[str, object]] = []
    site.do(site._loop.set_exception_handler, lambda loop, context: unhandled.append(context))
    with _connect(site) as connection:
        head = f"{method} /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b"this is no length\r\n")
        answer = _received_until_closed(connection)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert unhandled == []
    assert "Exception in ASGI application" not in caplog.text
