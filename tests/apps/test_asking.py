"""Short questions to nodes: answers, errors, silence and nonsense."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from paxos.apps import asking

Answering = Callable[[bytes], int]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Start a server that says one thing to everybody after the first bytes; returns its port."""
    servers: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(server: socket.socket, answer: bytes) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            if answer:
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65_536)
            else:
                # Silence: nothing until the other side gives up.
                connection.recv(65_536)

    def start(answer: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        threads.append(threading.Thread(target=serve, args=(server, answer)))
        threads[-1].start()
        port: int = server.getsockname()[1]
        return port

    yield start
    for thread in threads:
        thread.join()
    for server in servers:
        server.close()


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_page_gives_status_and_json(answering: Answering) -> None:
    port = answering(b'HTTP/1.1 503 No\r\nContent-Length: 14\r\n\r\n{"ready":false}')
    assert asking.page("127.0.0.1", port, "/readyz") == asking.Page(503, None)
    port = answering(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"ready":true}')
    assert asking.page("127.0.0.1", port, "/readyz") == asking.Page(200, {"ready": True})


def test_page_that_nobody_serves_is_told_and_not_raised(answering: Answering) -> None:
    nobody = asking.page("127.0.0.1", unused_port(), "/")
    assert nobody.status == 0
    assert "Connection refused" in nobody.trouble
    nonsense = asking.page("127.0.0.1", answering(b"nonsense\r\n\r\n"), "/")
    assert nonsense.status == 0
    assert "BadStatusLine" in nonsense.trouble
    silence = asking.page("127.0.0.1", answering(b""), "/", timeout_s=0.1)
    assert "timed out" in silence.trouble


def test_commands_give_the_replies_without_that_of_auth(answering: Answering) -> None:
    port = answering(b"+OK\r\n:7\r\n$3\r\nyes\r\n")
    replies = asking.commands("127.0.0.1", port, ["INCR", "x"], ["GET", "y"], password="secret")
    assert replies == [7, "yes"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"-NOQUORUM 1 of 3 acceptors\r\n", "NOQUORUM 1 of 3 acceptors"),
        (b"$3\r\nha", "closed the connection"),
        (b"!nonsense\r\n", "does not speak RESP"),
        (b"", "timed out"),
    ],
)
def test_commands_that_get_no_reply_raise(answering: Answering, answer: bytes, told: str) -> None:
    port = answering(answer)
    with pytest.raises(asking.CommandError, match=told):
        asking.commands("127.0.0.1", port, ["PING"], timeout_s=0.2)


def test_commands_to_a_door_that_is_shut_raise() -> None:
    with pytest.raises(asking.CommandError, match="Connection refused"):
        asking.commands("127.0.0.1", unused_port(), ["PING"])
