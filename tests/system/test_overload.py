"""Clients that ask for far more than there is room for: they wait, nobody else does, nothing is
lost, and afterwards all is as before.

The limits are small here, so that a flood passes them within a moment, again and again.
"""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hiredis
import pytest

from paxos.core.types import NodeId
from paxos.doors import resp_connection

from .cluster import ANSWER_S, DEADLINE_S, HOST, LocalCluster, wait_until

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

KIB = 1024
MIB = 1024 * 1024

QUEUE_BYTES_MAX = MIB
VALUE_BYTES_MAX = 256 * KIB

CLUSTER = {
    "cluster": {"proposers": 2, "acceptors": 3, "learners": 2, "clients": 1},
    "limits": {
        "value_bytes_max": VALUE_BYTES_MAX,
        "batch_bytes_max": 64 * KIB,
        "gateway_queue_bytes_max": QUEUE_BYTES_MAX,
    },
}

FLOODING = 16
FLOOD_VALUE_BYTES = 4 * KIB
FLOOD_KEYS = 8
READ_BYTES = 256 * KIB
LARGE_BYTES = 32 * KIB
GATEWAY = NodeId("client-1")

GATEWAY_GROWTH_BYTES_MAX = 48 * MIB
"""Its queue, four batches under way in a few forms each, a chunk of input per client, and what
the allocator keeps: far below what a flood sends in any of these tests."""

LARGE_ANSWERS_BYTES_MAX = 2 * resp_connection.READS_OUTSTANDING_MAX * LARGE_BYTES
"""The answers to all reads that a client may have under way, as they come and as they leave."""

SOCKETS_BYTES_MAX = 24 * MIB
"""What the kernel keeps for one connection in both directions, with what the door reads at once."""


def bulk(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


class Flooder:
    """One connection that sends as fast as its socket takes it, and reads what comes."""

    def __init__(self, port: int, number: int) -> None:
        self.number = number
        self.sent = 0
        self.answered = 0
        self.other_answers: list[object] = []
        self._waiting = b""
        self._parser = hiredis.Reader()
        self.socket = socket.create_connection((HOST, port), timeout=ANSWER_S)
        self.socket.setblocking(False)

    def key(self, place: int) -> bytes:
        return b"flood:%d:%d" % (self.number, place)

    def value(self, count: int) -> bytes:
        return b"%d:%d:" % (self.number, count) + b"x" * FLOOD_VALUE_BYTES

    def send(self) -> None:
        """Send on until the socket takes no more."""
        with contextlib.suppress(BlockingIOError):
            while True:
                if not self._waiting:
                    self.next_command()
                self._waiting = self._waiting[self.socket.send(self._waiting) :]

    def next_command(self) -> None:
        self._waiting = bulk(b"SET", self.key(self.sent % FLOOD_KEYS), self.value(self.sent))
        self.sent += 1

    def finish_command(self) -> bool:
        """Send the rest of what was begun; tell whether there is none left."""
        with contextlib.suppress(BlockingIOError):
            while self._waiting:
                self._waiting = self._waiting[self.socket.send(self._waiting) :]
        return not self._waiting

    def receive(self) -> None:
        """Take in what has been answered."""
        received = self.socket.recv(READ_BYTES)
        if not received:
            self.other_answers.append("closed")
            return
        self._parser.feed(received)
        while (reply := self._parser.gets()) is not False:
            self.answered += 1
            if reply != b"OK":
                self.other_answers.append(reply)


class Flood:
    """A context manager: flooders at one door, until its end; then every answer is awaited."""

    def __init__(self, port: int) -> None:
        self.flooders = [Flooder(port, number) for number in range(FLOODING)]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(DEADLINE_S)
        for flooder in self.flooders:
            flooder.socket.close()

    @property
    def sent(self) -> int:
        return sum(flooder.sent for flooder in self.flooders)

    @property
    def answered(self) -> int:
        return sum(flooder.answered for flooder in self.flooders)

    @property
    def other_answers(self) -> list[object]:
        return [answer for flooder in self.flooders for answer in flooder.other_answers]

    def stop_and_drain(self) -> None:
        """Send nothing new, and wait until everything that was sent is answered."""
        self._stopping.set()
        wait_until(
            lambda: not self._thread.is_alive() or self.other_answers,
            "every request of the flood is answered",
        )

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            for flooder in self.flooders:
                selector.register(flooder.socket, both, flooder)
            left = set(self.flooders)
            while left:
                for key, events in selector.select(timeout=0.1):
                    flooder = key.data
                    if events & selectors.EVENT_READ:
                        flooder.receive()
                    if not self._stopping.is_set():
                        if events & selectors.EVENT_WRITE:
                            flooder.send()
                    elif flooder.finish_command():
                        selector.modify(flooder.socket, selectors.EVENT_READ, flooder)
                        if flooder.answered >= flooder.sent or flooder.other_answers:
                            selector.unregister(flooder.socket)
                            left.discard(flooder)


@contextmanager
def bounded_memory(
    cluster: LocalCluster, growth_bytes_max: int = GATEWAY_GROWTH_BYTES_MAX
) -> Iterator[None]:
    """The gateway never grows by more than it may, and nobody ends."""
    pids = cluster.pids()
    before = cluster.memory()[GATEWAY]
    cluster.forget_peaks()
    yield
    assert cluster.pids() == pids
    grown = cluster.peaks()[GATEWAY] - before
    assert grown <= growth_bytes_max


def as_before(cluster: LocalCluster) -> None:
    """Wait until the gateway holds nothing and serves."""
    wait_until(
        lambda: (status := cluster.status(GATEWAY))["queued"] == status["inflight"] == 0,
        "nothing is queued or under way",
    )
    cluster.wait_until_ready(GATEWAY)
    assert cluster.redis().set("after", "all") is True
    assert cluster.redis().get("after") == b"all"


def test_floods_wait_and_everything_is_answered_when_the_queue_is_full(
    cluster: LocalCluster,
) -> None:
    with bounded_memory(cluster), Flood(cluster.door()) as flood:
        # Many times as much as may be queued: the doors stop and go on again and again.
        enough = 40 * QUEUE_BYTES_MAX // FLOOD_VALUE_BYTES
        wait_until(lambda: flood.answered > enough, "the flood goes on")
        flood.stop_and_drain()
        assert flood.other_answers == []
        assert flood.answered == flood.sent
    assert cluster.status(GATEWAY)["errors"] == 0
    for flooder in flood.flooders:
        last = range(flooder.sent - FLOOD_KEYS, flooder.sent)
        found = cluster.redis().mget([flooder.key(count % FLOOD_KEYS) for count in last])
        assert found == [flooder.value(count) for count in last]
    as_before(cluster)


def test_single_commands_are_answered_while_others_flood_without_end(
    cluster: LocalCluster,
) -> None:
    connection = cluster.redis()
    connection.delete("single")
    with Flood(cluster.door()) as flood:
        wait_until(lambda: flood.answered > FLOODING * FLOOD_KEYS, "the flood is under way")
        for count in range(1, 11):
            assert connection.incr("single") == count
            assert int(connection.get("single") or 0) == count
        newcomer = cluster.redis()
        assert newcomer.incr("single") == 11
        flood.stop_and_drain()
        assert flood.other_answers == []
    as_before(cluster)


class Greedy(Flooder):
    """Asks for large values as fast as it can; reads nothing until it is told to."""

    def next_command(self) -> None:
        command = (b"GET", b"large") if self.sent % 2 else (b"ECHO", b"e" * FLOOD_VALUE_BYTES)
        self._waiting = bulk(*command)
        self.sent += 1


def test_client_that_never_reads_waits_and_others_are_served(cluster: LocalCluster) -> None:
    connection = cluster.redis()
    large = b"v" * LARGE_BYTES
    connection.set("large", large)
    connection.delete("served")
    name = b"greedy"
    with bounded_memory(cluster, GATEWAY_GROWTH_BYTES_MAX + LARGE_ANSWERS_BYTES_MAX):
        greedy = Greedy(cluster.door(), 0)
        with contextlib.closing(greedy.socket):
            greedy.socket.send(bulk(b"CLIENT", b"SETNAME", name))

            def is_paused() -> bool:
                greedy.send()
                return unread(connection, name) >= resp_connection.OUTPUT_HIGH_BYTES

            wait_until(is_paused, "the client has left so much unread that it is paused")
            for count in range(1, 51):
                assert connection.incr("served") == count
                assert connection.get("large") == large
                greedy.send()
            # What it may still send is what the kernel's buffers take, however long it tries.
            asked = greedy.sent * FLOOD_VALUE_BYTES // 2
            assert asked < SOCKETS_BYTES_MAX
            # At last it reads: every request is answered, in order.
            drain(greedy, large)
    as_before(cluster)


def unread(connection: Any, name: bytes) -> int:
    """Return what a client has left unread, as the door says it; 0 when it is not there."""
    listed = connection.client_list()
    return max((int(one["omem"]) for one in listed if one["name"] == name.decode()), default=0)


def drain(greedy: Greedy, large: bytes) -> None:
    """Send the rest of what was begun, and read every answer."""
    parser = hiredis.Reader()
    answered = -1  # the name comes first
    while not greedy.finish_command() or answered < greedy.sent:
        readable, _, _ = select.select([greedy.socket], [], [], ANSWER_S)
        assert readable, f"stuck after {answered} of {greedy.sent} answers"
        received = greedy.socket.recv(READ_BYTES)
        assert received, f"closed after {answered} of {greedy.sent} answers"
        parser.feed(received)
        while (reply := parser.gets()) is not False:
            expected = large if answered % 2 else b"e" * FLOOD_VALUE_BYTES
            assert reply == (expected if answered >= 0 else b"OK")
            answered += 1
