"""The proxy passes links on, and cuts, delays and breaks them as it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from paxos.apps import chaos_proxy
from paxos.apps.chaos_links import ProxyProcess
from paxos.apps.chaos_proxy import Order, Proxy, Rule, Setting, Trouble
from paxos.transport.framing import frame
from paxos.transport.handshake import Hello

DEADLINE_S = 20.0
CUT = Trouble(cut=True)


def hello(node: str = "proposer-1", wanted: str = "acceptor-1") -> bytes:
    """The first frame of a link."""
    message = Hello(
        version=1,
        node=node,
        wanted=wanted,
        cluster="",
        acceptors=("acceptor-1",),
        incarnation=1,
        nonce=b"x" * 16,
    )
    return frame(msgspec.msgpack.encode(message))


class Listener:
    """Stands in for a node: keeps what it hears, and who called."""

    def __init__(self) -> None:
        self.heard = b""
        self.writers: list[asyncio.StreamWriter] = []
        self.lost = 0
        self.news = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                self.heard += data
                self.news.set()
        self.lost += 1
        self.news.set()
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self.news.clear()
                await self.news.wait()


class Network:
    """A proxy in this process, one listening node behind it."""

    def __init__(self, proxy: Proxy, port: int, node: Listener) -> None:
        self.proxy = proxy
        self.node = node
        self._port = port

    async def dial(
        self, first: bytes | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        streams = await asyncio.open_connection("127.0.0.1", self._port)
        streams[1].write(hello() if first is None else first)
        return streams

    def lay(self, *rules: tuple[str, str, Trouble]) -> None:
        self.proxy.obey(
            Order(rules=[Rule(sender=a, receiver=b, trouble=trouble) for a, b, trouble in rules])
        )


@contextlib.asynccontextmanager
async def network() -> AsyncIterator[Network]:
    node = Listener()
    server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = Proxy(Setting(ports={"proposer-1": 9, "acceptor-1": port}, seed=1))
    dialed = await proxy.listen()
    yield Network(proxy, dialed, node)
    for passage in list(proxy.passages):
        passage.abort()
    server.close()
    proxy.close()
    await node.until(lambda: node.lost == len(node.writers))
    await server.wait_closed()


def go(act: Callable[[Network], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with network() as made:
            await act(made)

    asyncio.run(inside())


async def hears(reader: asyncio.StreamReader) -> bytes:
    """What comes next; nothing when the link ends, by a reset as well."""
    async with asyncio.timeout(DEADLINE_S):
        try:
            return await reader.read(65_536)
        except ConnectionError:
            return b""


def test_bytes_are_passed_on_both_ways() -> None:
    async def act(net: Network) -> None:
        reader, writer = await net.dial()
        await net.node.until(lambda: net.node.heard == hello())
        writer.write(b"there")
        await net.node.until(lambda: net.node.heard == hello() + b"there")
        net.node.writers[0].write(b"back")
        assert await hears(reader) == b"back"
        writer.close()
        await net.node.until(lambda: net.node.lost == 1)

    go(act)


def test_a_hello_that_comes_in_pieces_is_understood() -> None:
    async def act(net: Network) -> None:
        whole = hello()
        _, writer = await net.dial(whole[:3])
        await writer.drain()
        writer.write(whole[3:9])
        await writer.drain()
        writer.write(whole[9:] + b"more")
        await net.node.until(lambda: net.node.heard == whole + b"more")
        writer.close()

    go(act)


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n\r\n", frame(b"\xc1"), hello(node="nobody"), hello(wanted="x")]
)
def test_a_stranger_is_hung_up_on(first: bytes) -> None:
    async def act(net: Network) -> None:
        reader, writer = await net.dial(first)
        assert await hears(reader) == b""
        assert net.node.writers == []
        writer.close()

    go(act)


def test_what_a_cut_holds_back_arrives_in_order_when_it_heals() -> None:
    async def act(net: Network) -> None:
        reader, writer = await net.dial()
        await net.node.until(lambda: net.node.heard == hello())
        net.lay(("proposer-1", "acceptor-1", CUT))
        writer.write(b"one,")
        await writer.drain()
        net.node.writers[0].write(b"the other way is open")
        assert await hears(reader) == b"the other way is open"
        writer.write(b"two")
        await writer.drain()
        assert net.node.heard == hello()
        net.lay()
        await net.node.until(lambda: net.node.heard == hello() + b"one,two")
        writer.close()

    go(act)


def test_a_link_is_reset_when_it_is_cut_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos_proxy, "DEAD_PEER_MS", 20)

    async def act(net: Network) -> None:
        reader, writer = await net.dial()
        await net.node.until(lambda: net.node.heard == hello())
        net.lay(("acceptor-1", "proposer-1", CUT))
        assert await hears(reader) == b""
        await net.node.until(lambda: net.node.lost == 1)
        writer.close()

    go(act)


def test_who_dials_into_a_silent_cut_hears_nothing_until_it_heals() -> None:
    async def act(net: Network) -> None:
        net.lay(("proposer-1", "acceptor-1", CUT))
        _, writer = await net.dial()
        await writer.drain()
        async with asyncio.timeout(DEADLINE_S):
            while not net.proxy.passages:
                await asyncio.sleep(0)
        assert net.node.writers == []
        net.lay()
        await net.node.until(lambda: net.node.heard == hello())
        writer.close()

    go(act)


def test_a_refusing_cut_resets_links_and_whoever_dials() -> None:
    async def act(net: Network) -> None:
        reader, writer = await net.dial()
        await net.node.until(lambda: net.node.heard == hello())
        net.lay(("proposer-1", "acceptor-1", Trouble(cut=True, refusing=True)))
        assert await hears(reader) == b""
        await net.node.until(lambda: net.node.lost == 1)
        again, second = await net.dial()
        assert await hears(again) == b""
        assert len(net.node.writers) == 1
        writer.close()
        second.close()

    go(act)


def test_a_death_is_not_heard_through_a_cut() -> None:
    async def act(net: Network) -> None:
        _, writer = await net.dial()
        await net.node.until(lambda: net.node.heard == hello())
        net.lay(("proposer-1", "acceptor-1", CUT))
        (passage,) = net.proxy.passages
        writer.transport.abort()
        async with asyncio.timeout(DEADLINE_S):
            while not passage.dialer_lost:
                await asyncio.sleep(0)
        assert net.node.lost == 0
        net.lay()
        await net.node.until(lambda: net.node.lost == 1)

    go(act)


def test_delayed_bytes_keep_their_order() -> None:
    async def act(net: Network) -> None:
        _, writer = await net.dial()
        await net.node.until(lambda: net.node.heard == hello())
        slow = Trouble(delay_ms=5, jitter_ms=30, loss=0.3, retransmission_ms=20)
        net.lay(("proposer-1", "acceptor-1", slow))
        sent = b"".join(b"%03d," % number for number in range(100))
        for start in range(0, len(sent), 4):
            writer.write(sent[start : start + 4])
            await writer.drain()
        await net.node.until(lambda: len(net.node.heard) == len(hello()) + len(sent))
        assert net.node.heard == hello() + sent
        writer.close()

    go(act)


def test_a_breaking_link_breaks() -> None:
    async def act(net: Network) -> None:
        reader, writer = await net.dial()
        await net.node.until(lambda: net.node.heard == hello())
        net.lay(("proposer-1", "acceptor-1", Trouble(reset=1.0)))
        writer.write(b"x")
        assert await hears(reader) == b""
        writer.close()

    go(act)


def test_two_troubles_of_one_direction_add_up() -> None:
    joined = Trouble(cut=True, delay_ms=3, loss=0.1).joined(Trouble(delay_ms=4, loss=0.05, reset=1))
    assert joined == Trouble(cut=True, delay_ms=7, loss=0.1, reset=1)


def test_the_proxys_process_obeys_and_ends_with_its_input(tmp_path: Path) -> None:
    async def inside() -> None:
        node = Listener()
        server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        proxy = await ProxyProcess.start(tmp_path / "log")
        dialed = await proxy.listen(Setting(ports={"proposer-1": 9, "acceptor-1": port}, seed=1))
        refused = Trouble(cut=True, refusing=True)
        rule = Rule(sender="proposer-1", receiver="acceptor-1", trouble=refused)
        await proxy.lay(1, [rule])
        await proxy.lay(2, [rule])
        await proxy.lift(1)
        reader, writer = await asyncio.open_connection("127.0.0.1", dialed)
        writer.write(hello())
        assert await hears(reader) == b""
        writer.close()
        await proxy.lift(2)
        reader, writer = await asyncio.open_connection("127.0.0.1", dialed)
        writer.write(hello())
        await node.until(lambda: node.heard == hello())
        await proxy.end()
        assert await hears(reader) == b""
        writer.close()
        await node.until(lambda: node.lost == 1)
        server.close()
        await server.wait_closed()

    asyncio.run(inside())
    assert (tmp_path / "log").read_text() == ""
