"""Real sockets on the loopback, the loop of production, and waiting for conditions only."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import uvloop

from paxos.core.messages import AnyMessage
from paxos.core.quorum import Membership
from paxos.core.types import NodeId
from paxos.sim.world import membership_of
from paxos.transport.framing import FrameReader, frame
from paxos.transport.handshake import Handshake, Peer
from paxos.transport.links import Links

SECRET = b"the cluster's secret"
DEADLINE_S = 10.0


async def until(condition: Callable[[], Any], what: str) -> None:
    """Turn the loop until a condition holds. Raises AssertionError at the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + DEADLINE_S
    while not condition():
        assert loop.time() < end, f"never: {what}"
        await asyncio.sleep(0.001)


class Station:
    """One node's links, and everything they told."""

    def __init__(self, net: Net, node: str, **changes: Any) -> None:
        self.net = net
        self.node = NodeId(node)
        self.cluster = ""
        self.connected: list[Peer] = []
        self.disconnected: list[NodeId] = []
        self.messages: list[tuple[NodeId, Any]] = []
        self.refused: list[tuple[str, str]] = []
        fields: dict[str, Any] = {
            "node": self.node,
            "membership": net.membership,
            "message_type": AnyMessage,
            "events": self,
            "secret": SECRET,
            "incarnation": 1,
            "cluster": lambda: self.cluster,
            "nonce": net.nonce,
            "addresses": net.addresses,
            "message_bytes_max": 100_000,
            "link_bytes_max": 1_000_000,
            **changes,
        }
        self.links = Links(**fields)

    def on_connected(self, peer: Peer) -> None:
        self.connected.append(peer)
        self.links.flush()  # as the runtime does at the end of the turn

    def on_disconnected(self, node: NodeId) -> None:
        self.disconnected.append(node)

    def on_message(self, sender: NodeId, message: Any) -> None:
        self.messages.append((sender, message))

    def on_refused(self, who: str, reason: str) -> None:
        self.refused.append((who, reason))

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason in self.refused]

    async def start(self) -> Station:
        port = self.net.ports.get(self.node, 0)
        await self.links.start("127.0.0.1", port)
        assert self.links._server is not None
        self.net.ports[self.node] = self.links._server.sockets[0].getsockname()[1]
        return self

    def send(self, to: str, message: Any) -> None:
        self.links.send((NodeId(to),), message)
        self.links.flush()


class Net:
    """The stations of one test, by name; a node that has not started has no address."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.ports: dict[NodeId, int] = {}
        self.stations: list[Station] = []
        self.visitors: list[Knock] = []
        self._nonces = itertools.count()

    def nonce(self) -> bytes:
        return next(self._nonces).to_bytes(16, "big")

    def addresses(self, node: NodeId) -> list[tuple[str, int]]:
        return [("127.0.0.1", self.ports[node])] if node in self.ports else []

    async def station(self, node: str, cluster: str = "", **changes: Any) -> Station:
        """Start the links of a node."""
        station = Station(self, node, **changes)
        station.cluster = cluster
        self.stations.append(station)
        return await station.start()

    async def stop(self) -> None:
        for visitor in self.visitors:
            visitor.close()
            await asyncio.gather(visitor.writer.wait_closed(), return_exceptions=True)
        for station in self.stations:
            dialers = list(station.links._dialers.values())
            await station.links.stop()
            await asyncio.gather(*dialers, return_exceptions=True)
        await until(
            lambda: not any(s.links._links or s.links._unproven for s in self.stations),
            "every link has closed",
        )


class Knock:
    """A raw connection to a station: for saying what no correct node says."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, station: Station
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.station = station
        self.frames = FrameReader(1_000_000)
        self._ready: list[bytes] = []

    async def say(self, message: Any) -> None:
        self.writer.write(frame(msgspec.msgpack.encode(message)))
        await self.writer.drain()

    async def hear(self) -> bytes:
        """Return the next frame. Raises AssertionError when the connection closes before it."""
        while not self._ready:
            data = await asyncio.wait_for(self.reader.read(65536), DEADLINE_S)
            assert data, "the connection closed"
            self._ready += self.frames.feed(data)
        return self._ready.pop(0)

    async def closed(self) -> bool:
        """Wait for the other side to close."""
        try:
            while await asyncio.wait_for(self.reader.read(65536), DEADLINE_S):
                pass
        except ConnectionError:
            pass
        return True

    async def shake(self, node: str, afterwards: bytes = b"", **changes: Any) -> None:
        """Take part in the handshake as a node; say something more in the proof's own bytes."""
        fields: dict[str, Any] = {
            "node": NodeId(node),
            "cluster": "",
            "incarnation": 1,
            "secret": SECRET,
            "nonce": self.station.net.nonce(),
            "acceptors": self.station.net.membership.acceptors,
            "wanted": self.station.node,
            **changes,
        }
        handshake = Handshake(**fields)
        await self.say(handshake.begin())
        answer, _ = handshake.receive(await self.hear())
        self.writer.write(frame(msgspec.msgpack.encode(answer)) + afterwards)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.transport.abort()


Play = Callable[[Callable[[Net], Awaitable[None]]], None]


@pytest.fixture
def play() -> Play:
    """Run a test's coroutine on uvloop with a net that is taken down afterwards."""

    def run(test: Callable[[Net], Awaitable[None]]) -> None:
        async def whole() -> None:
            net = Net(membership_of())
            try:
                await test(net)
            finally:
                await net.stop()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(whole())

    return run


async def knock(station: Station) -> Knock:
    """Open a raw connection to a station."""
    port = station.net.ports[station.node]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    visitor = Knock(reader, writer, station)
    station.net.visitors.append(visitor)
    return visitor
