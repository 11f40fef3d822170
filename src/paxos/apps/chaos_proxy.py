"""The proxy that every link between nodes passes, and that breaks links as it is told.

A process of its own, so that what it costs does not stop the clients that measure. Nodes whose
configuration has `network.proxy_port` dial it in place of one another; the Hello with which a link
begins says who dials and who is wanted, and everything after it is passed on unread.

TCP loses no bytes, so neither does this: what it can do is what a network does to TCP. A *cut*
direction holds its bytes back; a link whose cut lasts as long as the kernel would go on trying
(transport.links.DEAD_PEER_MS) is reset, and whoever dials meanwhile hears nothing, or a reset where
the cut is a *refusing* one. A link healed before that delivers late what was held. A *slow*
direction delays, a *lossy* one holds now and then for as long as a retransmission takes, and
sometimes breaks. A direction that closes while it is cut tells the other end nothing.

It is told by JSON lines on standard input (first a Setting, then one Order after another), answers
each with a line, and ends when standard input does: it cannot outlive the run that it belongs to.
"""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from collections import deque
from typing import cast

import msgspec
import uvloop

from paxos.core.errors import RemoteProtocolError
from paxos.transport.framing import FrameReader
from paxos.transport.handshake import HANDSHAKE_FRAME_BYTES_MAX, Hello
from paxos.transport.links import DEAD_PEER_MS

HOST = "127.0.0.1"
HELD_BYTES_MAX = 8 * 1024 * 1024
"""What one direction holds back before its sender is no longer read from: the socket buffers of a
fat long link."""
CONNECT_TIMEOUT_S = 1.0


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one direction between two nodes. Probabilities are per chunk of bytes."""

    cut: bool = False
    refusing: bool = False
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    retransmission_ms: float = 200.0
    reset: float = 0.0

    def joined(self, other: Trouble) -> Trouble:
        """Return the trouble of both at once."""
        return Trouble(
            cut=self.cut or other.cut,
            refusing=self.refusing or other.refusing,
            delay_ms=self.delay_ms + other.delay_ms,
            jitter_ms=self.jitter_ms + other.jitter_ms,
            loss=max(self.loss, other.loss),
            retransmission_ms=max(self.retransmission_ms, other.retransmission_ms),
            reset=max(self.reset, other.reset),
        )


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """The trouble of what `sender` sends to `receiver`."""

    sender: str
    receiver: str
    trouble: Trouble


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """Where each node listens, and the seed of the dice."""

    ports: dict[str, int]
    seed: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """All rules in force from now on."""

    rules: list[Rule]


_FINE = Trouble()


class Proxy:
    """All links of one cluster."""

    def __init__(self, setting: Setting) -> None:
        self.loop = asyncio.get_running_loop()
        self.dice = random.Random(setting.seed)
        self.ports = setting.ports
        self.passages: set[Passage] = set()
        self._troubles: dict[tuple[str, str], Trouble] = {}
        self._server: asyncio.Server | None = None

    async def listen(self) -> int:
        """Listen on a free port, and return it."""
        self._server = await self.loop.create_server(lambda: Side(self), HOST, 0, backlog=256)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    def trouble(self, sender: str, receiver: str) -> Trouble:
        """Return what is wrong between two nodes now."""
        return self._troubles.get((sender, receiver), _FINE)

    def obey(self, order: Order) -> None:
        """Replace all rules."""
        self._troubles.clear()
        for rule in order.rules:
            pair = (rule.sender, rule.receiver)
            self._troubles[pair] = self.trouble(*pair).joined(rule.trouble)
        for passage in list(self.passages):
            passage.look()


class Side(asyncio.Protocol):
    """One of the two connections of a link: to the node that dialed, or to the one it wanted."""

    def __init__(self, proxy: Proxy, passage: Passage | None = None) -> None:
        self._proxy = proxy
        self._reader = FrameReader(HANDSHAKE_FRAME_BYTES_MAX)
        self._heard = b""
        self.passage = passage
        self.transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send without delay, as the nodes do."""
        self.transport = cast(asyncio.Transport, transport)
        made: socket.socket = self.transport.get_extra_info("socket")
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on; the first ones say between whom."""
        if self.passage is not None:
            self.passage.received(self, data)
            return
        self._heard += data
        try:
            # The first frame alone: what follows may be larger than a Hello, and is not looked at.
            body = next(self._reader.frames(data), None)
            hello = None if body is None else msgspec.msgpack.decode(body, type=Hello)
        except (RemoteProtocolError, ValueError):
            self.abort()
            return
        if hello is None:
            return
        if hello.node not in self._proxy.ports or hello.wanted not in self._proxy.ports:
            self.abort()
            return
        self.passage = Passage(self._proxy, self, hello.node, hello.wanted)
        self.passage.received(self, self._heard)
        self._heard = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the other side know, if the link would."""
        self.lost = True
        if self.passage is not None:
            self.passage.ended(self)

    def pause_writing(self) -> None:
        """The node does not take more now: the other one is not read from."""
        if self.passage is not None:
            self.passage.source_of(self).read(False)

    def resume_writing(self) -> None:
        """The node takes bytes again."""
        if self.passage is not None:
            self.passage.source_of(self).read(True)

    def read(self, wanted: bool) -> None:
        """Read from the node, or do not."""
        if self.transport is None or self.transport.is_closing():
            return
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def write(self, data: bytes) -> None:
        """Send bytes to the node."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        """Close after what was written."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Reset the connection."""
        if self.transport is not None:
            self.transport.abort()


class Way:
    """One direction of a link, and what is held back in it, in order."""

    def __init__(self, proxy: Proxy, sender: str, receiver: str, source: Side) -> None:
        self._proxy = proxy
        self._pair = (sender, receiver)
        self._held: deque[tuple[float, bytes]] = deque()
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.source = source
        self.sink: Side | None = None
        self.ending = False

    @property
    def trouble(self) -> Trouble:
        """What is wrong with this direction now."""
        return self._proxy.trouble(*self._pair)

    def take(self, data: bytes) -> bool:
        """Pass bytes on, now or later. False when the link shall break instead."""
        trouble = self.trouble
        if trouble is _FINE and not self._held and self.sink is not None:
            self.sink.write(data)
            return True
        dice = self._proxy.dice
        if trouble.reset and dice.random() < trouble.reset:
            return False
        delay_ms = trouble.delay_ms + dice.random() * trouble.jitter_ms
        if trouble.loss and dice.random() < trouble.loss:
            delay_ms += trouble.retransmission_ms
        due_s = self._proxy.loop.time() + delay_ms / 1000
        if self._held:
            due_s = max(due_s, self._held[-1][0])
        self._held.append((due_s, data))
        self._held_bytes += len(data)
        if self._held_bytes > HELD_BYTES_MAX:
            self.source.read(False)
        self.go_on()
        return True

    def go_on(self) -> None:
        """Send what is due, and come back for the rest."""
        sink = self.sink
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if sink is None or self.trouble.cut:
            return
        now_s = self._proxy.loop.time()
        was_full = self._held_bytes > HELD_BYTES_MAX
        while self._held and self._held[0][0] <= now_s:
            data = self._held.popleft()[1]
            self._held_bytes -= len(data)
            sink.write(data)
        if was_full and self._held_bytes <= HELD_BYTES_MAX:
            self.source.read(True)
        if self._held:
            self._timer = self._proxy.loop.call_at(self._held[0][0], self.go_on)
        elif self.ending:
            sink.close()

    def forget(self) -> None:
        """Drop what is held: the link has gone."""
        self._held.clear()
        self._held_bytes = 0
        if self._timer is not None:
            self._timer.cancel()


class Passage:
    """One link between two nodes, from the Hello to its end."""

    def __init__(self, proxy: Proxy, dialer: Side, node: str, wanted: str) -> None:
        self._proxy = proxy
        self._wanted = wanted
        self._there = Way(proxy, node, wanted, dialer)
        self._target = Side(proxy, self)
        self._back = Way(proxy, wanted, node, self._target)
        self._back.sink = dialer
        self._cut_timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        proxy.passages.add(self)
        self.look()

    @property
    def dialer_lost(self) -> bool:
        """Whether the node that dialed has closed, though the other may not have heard of it."""
        return self._there.source.lost

    def look(self) -> None:
        """The rules may have changed: break, connect, send or hold as they say."""
        troubles = (self._there.trouble, self._back.trouble)
        cut = any(trouble.cut for trouble in troubles)
        if cut and any(trouble.refusing for trouble in troubles):
            self.abort()
            return
        if not cut and self._cut_timer is not None:
            self._cut_timer.cancel()
            self._cut_timer = None
        elif cut and self._cut_timer is None:
            self._cut_timer = self._proxy.loop.call_later(DEAD_PEER_MS / 1000, self.abort)
        if not cut and self._connecting is None:
            self._connecting = self._proxy.loop.create_task(self._connect())
        self._there.go_on()
        self._back.go_on()

    async def _connect(self) -> None:
        port = self._proxy.ports[self._wanted]
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._proxy.loop.create_connection(lambda: self._target, HOST, port)
        except (OSError, TimeoutError):
            self.abort()
            return
        if self not in self._proxy.passages:
            self._target.abort()
            return
        self._there.sink = self._target
        self._there.go_on()

    def received(self, side: Side, data: bytes) -> None:
        """Bytes have come from one of the nodes."""
        way = self._back if side is self._target else self._there
        if not way.take(data):
            self.abort()

    def source_of(self, sink: Side) -> Side:
        """Return the side whose bytes go to this one."""
        return self._there.source if sink is self._target else self._target

    def ended(self, side: Side) -> None:
        """One connection has closed; the other follows when the link lets it know."""
        if self.dialer_lost and (self._target.lost or self._target.transport is None):
            self.abort()
            return
        way = self._back if side is self._target else self._there
        way.ending = True
        way.go_on()

    def abort(self) -> None:
        """Reset both connections and forget the link."""
        self._proxy.passages.discard(self)
        if self._cut_timer is not None:
            self._cut_timer.cancel()
        for way in (self._there, self._back):
            way.forget()
            way.source.abort()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=16 * 1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    proxy = Proxy(msgspec.json.decode(await reader.readline(), type=Setting))
    print(await proxy.listen(), flush=True)
    while line := await reader.readline():
        proxy.obey(msgspec.json.decode(line, type=Order))
        print("done", flush=True)


def main() -> int:
    """Entry point of the proxy's process."""
    uvloop.run(_serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
