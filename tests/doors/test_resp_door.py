"""Real sockets, and the clients that people use."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest
import redis
import uvloop
from redis.backoff import NoBackoff
from redis.retry import Retry

from paxos.core.settings import Limits
from paxos.core.types import NodeId
from paxos.doors.resp import RespDoor

HOST = "127.0.0.1"


class Running:
    """A door on a real port, in a thread with a loop of its own."""

    def __init__(self, house: Callable, **options: object) -> None:
        self.gateway = house().gateway
        self.door = RespDoor(
            self.gateway, limits=Limits(), node=NodeId("client-1"), **{"password": None, **options}
        )
        self.gateway.deliver = self.door.deliver
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.port = self.run(self.door.start(HOST, 0))

    def run(self, work) -> object:
        future: Future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout=20)

    def close(self) -> None:
        self.run(self.door.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=20)
        self._loop.close()

    def client(self, **options: object) -> redis.Redis:
        # A refused password is an answer: no trying again with ever longer pauses.
        once = Retry(NoBackoff(), 0)
        return redis.Redis(host=HOST, port=self.port, socket_timeout=20, retry=once, **options)

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=20)

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.005)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        self.run(self._until(holds))


@pytest.fixture
def running(house) -> Iterator[Callable[..., Running]]:
    """Start doors; they are stopped after the test."""
    with contextlib.ExitStack() as stack:

        def start(**options: object) -> Running:
            started = Running(house, **options)
            stack.callback(started.close)
            return started

        yield start


def read_all(connection: socket.socket) -> bytes:
    heard = b""
    while chunk := connection.recv(65536):
        heard += chunk
    return heard


def test_redis_py_writes_reads_and_pipelines(running):
    with running().client() as client:
        assert client.set("a", "1")
        assert client.get("a") == b"1"
        assert client.incr("a") == 2
        pipeline = client.pipeline(transaction=False)
        for number in range(5000):
            pipeline.set(f"k{number}", number)
        assert pipeline.execute() == [True] * 5000
        assert client.mget("k0", "k4999", "no") == [b"0", b"4999", None]
        assert client.execute_command("WRITE", "novo valor") == 1
        assert client.execute_command("READ") == [[1, b"novo valor"]]
        assert client.info("paxos")["paxos_leader"] == "proposer-1"


def test_redis_py_transactions_notice_other_writers(running):
    door = running()
    with door.client() as client, door.client() as other, client.pipeline() as pipeline:
        pipeline.watch("a")
        assert pipeline.get("a") is None
        pipeline.multi()
        pipeline.set("a", "mine").get("a")
        assert pipeline.execute() == [True, b"mine"]
        pipeline.watch("a")
        other.set("a", "theirs")
        pipeline.multi()
        pipeline.set("a", "mine")
        with pytest.raises(redis.WatchError):
            pipeline.execute()
        assert client.get("a") == b"theirs"


def test_redis_py_authenticates(running):
    door = running(password="geheim")
    with door.client(password="geheim") as client:
        assert client.ping()
    with door.client(password="wrong") as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with door.client() as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_large_values_go_in_and_come_out(running):
    value = bytes(range(256)) * 4096 * 7
    with running().client() as client:
        assert client.set("large", value)
        assert client.get("large") == value
        with pytest.raises(redis.ResponseError, match=r"larger than limits\.value_bytes_max"):
            client.set("large", b"x" * (8 * 1024 * 1024))
        assert client.ping()


def test_a_line_from_a_terminal_works_and_a_half_closed_one_is_answered(running):
    with running().connect() as connection:
        connection.sendall(b"WRITE 'novo valor'\nREAD\nnosuch\n")
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == (
            b":1\r\n*1\r\n*2\r\n:1\r\n$10\r\nnovo valor\r\n"
            b"-ERR unknown command 'nosuch', with args beginning with: \r\n"
        )


def test_a_foul_client_is_closed_and_harms_nobody(running):
    door = running()
    with door.client() as client, door.connect() as foul, door.connect() as half:
        half.sendall(b"*3\r\n$3\r\nSE")
        foul.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$600000000\r\n")
        assert read_all(foul) == b"-ERR Protocol error: invalid bulk length\r\n"
        assert client.set("a", "1")
    door.wait_until(lambda: door.door.connections == 0)
    assert door.gateway.gone


def test_a_client_that_never_reads_is_closed(running):
    door = running(output_bytes_max=4_000_000)
    door.gateway.data[b"a"] = b"x" * 1_000_000
    with door.connect() as deaf, door.client() as client:
        deaf.sendall(b"GET a\r\n" * 200)
        door.wait_until(lambda: len(door.gateway.gone) == 1)
        assert client.ping()


def test_one_client_too_many_is_refused(running):
    door = running(connections_max=1)
    with door.client(single_connection_client=True) as client, door.connect() as refused:
        assert client.ping()
        assert read_all(refused) == b"-ERR max number of clients reached\r\n"


def test_stop_closes_every_client_even_a_deaf_one(running):
    door = running()
    door.gateway.data[b"a"] = b"x" * 20_000_000
    with door.connect() as idle, door.connect() as deaf:
        idle.sendall(b"PING\r\n")
        assert idle.recv(100) == b"+PONG\r\n"
        deaf.sendall(b"GET a\r\n")
        door.wait_until(lambda: door.door.stats()["output_bytes"] > 0)
        door.run(door.door.stop())
        assert idle.recv(100) == b""
        assert door.door.connections == 0


def test_redis_cli_and_its_pipe_work(running):
    door = running()
    assert shutil.which("redis-cli"), "redis-cli is missing: apt-get install redis-tools"
    command = ["redis-cli", "-h", HOST, "-p", str(door.port)]
    done = subprocess.run(
        [*command, "SET", "a", "x y"], capture_output=True, timeout=30, check=True
    )
    assert done.stdout == b"OK\n"
    lines = b"".join(b"SET word:%d %d\r\n" % (number, number) for number in range(20_000))
    done = subprocess.run(
        [*command, "--pipe"], input=lines, capture_output=True, timeout=60, check=True
    )
    assert b"errors: 0, replies: 20000" in done.stdout
    assert len(door.gateway.data) == 20_001
