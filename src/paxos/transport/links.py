"""Links to the other nodes: who dials whom, reconnecting, bounded queues.

One full-duplex connection per pair of nodes that talk. Between two roles always the same one
dials, so no two connections race for one pair; and nobody dials while a link stands, whoever has
made it. Which nodes there are may change at run time (`relink`): an acceptor that is no member yet
is known to nobody, and dials all that it would talk to itself.

A frame for a node without a link is dropped: the roles send again in time, and nothing stale is
ever delivered late by a queue. A link that holds more than `link_bytes_max` for a slow node is
closed. A message that a node of an older version does not know is not sent to it either (see
versions.py).

A dead host (no FIN, as after a cut cable or a disconnected container) is found by the kernel:
TCP_USER_TIMEOUT and keep-alives, so that no process has to wake up for pings.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

import msgspec

from paxos.core.effects import LINGER_MS
from paxos.core.errors import ConfigurationError, RemoteProtocolError
from paxos.core.quorum import Membership
from paxos.core.types import NodeId, Role, number_of, place_of, role_of

from .framing import FrameReader, frame
from .handshake import (
    HANDSHAKE_FRAME_BYTES_MAX,
    Handshake,
    HandshakeMessage,
    HandshakeRefused,
    Peer,
    stands_for,
)
from .versions import WIRE_VERSION, WIRE_VERSION_MIN, Speaker, disagreement, known

HANDSHAKE_SECONDS = 3.0
REDIAL_SECONDS_MIN = 0.05
REDIAL_SECONDS_MAX = 0.5
LONELY_SECONDS = 1.0
"""How long a lonely node waits for those that usually dial it, before it dials them itself."""
UNPROVEN_CONNECTIONS_MAX = 256
DEAD_PEER_MS = 3000
WRITE_HIGH_WATER_BYTES = 4 * 1024 * 1024
LINGERING_BYTES_MAX = 64 * 1024
"""Relaxed frames that are more than this are written at once: waiting would save nothing."""

_DIALS: dict[Role, tuple[Role, ...]] = {
    Role.CLIENT: (Role.PROPOSER, Role.LEARNER, Role.DISCOVERY),
    Role.PROPOSER: (Role.ACCEPTOR, Role.LEARNER, Role.PROPOSER, Role.DISCOVERY),
    Role.LEARNER: (Role.ACCEPTOR, Role.DISCOVERY),
    Role.ACCEPTOR: (Role.ACCEPTOR, Role.DISCOVERY),
    Role.DISCOVERY: (),
}


_JOINING_DIALS = (Role.ACCEPTOR, Role.PROPOSER, Role.LEARNER, Role.DISCOVERY)


def dialed_by(node: NodeId, membership: Membership) -> tuple[NodeId, ...]:
    """Return the nodes that a node dials; within one role the lower number dials the higher.

    An acceptor that is no member dials everybody that acceptors talk to, except who has its place.
    """
    role = role_of(node)
    if role is Role.ACCEPTOR and node not in membership.acceptors:
        return tuple(
            other
            for other in membership.nodes
            if role_of(other) in _JOINING_DIALS and place_of(other) != place_of(node)
        )
    return tuple(
        other
        for other in membership.nodes
        if role_of(other) in _DIALS[role]
        and (role_of(other) is not role or number_of(other) > number_of(node))
    )


class Identity(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="identity"):
    """A node has become a member of a cluster after the link was made."""

    cluster: str


class LinkEvents(Protocol):
    """Whom the links tell."""

    def on_connected(self, peer: Peer) -> None:
        """A link stands, or its peer has become a member of a cluster."""
        ...

    def on_disconnected(self, node: NodeId) -> None:
        """A link has closed."""
        ...

    def on_message(self, sender: NodeId, message: Any) -> None:
        """A message has arrived."""
        ...

    def on_refused(self, who: str, reason: str) -> None:
        """A connection was closed because of what the other side did or is."""
        ...


class Link(asyncio.Protocol):
    """One connection, from its first byte to its last."""

    def __init__(self, links: Links, wanted: NodeId | None) -> None:
        self._links = links
        self._wanted = wanted
        self.dialed = wanted is not None
        self._reader = FrameReader(HANDSHAKE_FRAME_BYTES_MAX)
        self._handshake: Handshake | None = None
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._urgent = False
        self.lingering = False
        self.peer: Peer | None = None
        self.known: frozenset[type[Any]] | None = None
        """The messages that the peer understands; None: all."""
        self.since = links.loop.time()
        self.closed: asyncio.Future[None] = links.loop.create_future()

    # asyncio calls these ------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        _set_options(transport.get_extra_info("socket"))
        if self._wanted is None and not self._links.admit(self):
            self.close_with("too many connections are waiting to prove themselves")
            return
        self._handshake = self._links.handshake(self._wanted)
        self._deadline = self._links.loop.call_later(
            HANDSHAKE_SECONDS, self.close_with, "the handshake took too long"
        )
        if hello := self._handshake.begin():
            self._say(hello)

    def data_received(self, data: bytes) -> None:
        """Cut into frames, decode, hand over. Anything wrong closes this one connection."""
        try:
            # One by one: a message may follow the proof in the same bytes, and be a large one.
            for body in self._reader.frames(data):
                if self._handshake is not None:
                    self._shake(self._handshake, body)
                elif self.peer is not None:
                    self._links.receive(self, self.peer, body)
                if self._transport is None or self._transport.is_closing():
                    return
        except HandshakeRefused as refused:
            if refused.reply is not None:
                self._say(refused.reply)
            self.close_with(str(refused))
        except RemoteProtocolError as error:
            self.close_with(str(error))
        except msgspec.DecodeError as error:
            self.close_with(f"a frame that is no message: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever cares."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._out.clear()
        self._links.forget(self)
        if not self.closed.done():
            self.closed.set_result(None)

    # ------------------------------------------------------------------------

    def _shake(self, handshake: Handshake, body: bytes) -> None:
        answer, peer = handshake.receive(body)
        if answer is not None:
            self._say(answer)
        if peer is None:
            return
        self._handshake = None
        if self._deadline is not None:
            self._deadline.cancel()
        self._links.check_version(peer)
        self._reader.frame_bytes_max = self._links.message_bytes_max
        self.peer = peer
        self.known = known(role_of(peer.node), peer.version)
        self._links.established(self, peer)

    def _say(self, message: HandshakeMessage) -> None:
        if self._transport is not None:
            self._transport.write(frame(msgspec.msgpack.encode(message)))

    def who(self) -> str:
        """Name the other side as well as it is known."""
        if self.peer is not None:
            return self.peer.node
        if self._wanted is not None:
            return self._wanted
        address = self._transport.get_extra_info("peername") if self._transport else None
        return f"{address[0]}:{address[1]}" if address else "somebody"

    def close_with(self, reason: str) -> None:
        """Close because of what the other side did or is."""
        self._links.events.on_refused(self.who(), reason)
        self.close()

    def close(self) -> None:
        """Close after what was written has been sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def send(self, framed: bytes, relaxed: bool = False) -> bool:
        """Queue a frame; tell whether the link shall be flushed at the end of this turn and was
        not yet to be. A relaxed frame stays behind, unless there are many bytes of them.
        """
        self._out.append(framed)
        self._out_bytes += len(framed)
        if self._urgent or (relaxed and self._out_bytes < LINGERING_BYTES_MAX):
            return False
        self._urgent = True
        return True

    def flush(self) -> None:
        """Write what has been queued, in one call."""
        self._urgent = self.lingering = False
        self._out_bytes = 0
        if self._transport is None or not self._out:
            return
        out, self._out = self._out, []
        if self._transport.is_closing():
            return
        self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self._transport.get_write_buffer_size() > self._links.link_bytes_max:
            self._links.events.on_refused(self.who(), "it does not read what it is sent")
            self.abort()

    @property
    def waiting_bytes(self) -> int:
        """What the other side has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport else 0


class Links:
    """All links of one node. `membership` is that of the founding; `relink` tells a newer one.

    `wire_version` is the version of the messages that it speaks at most; `needs` is the version
    that a peer must speak at least, and may rise while the node runs. While a node is `lonely`,
    others may know it by another name (an acceptor that has lost its volume does not know which
    life it was): it dials whoever of its role does not dial it. `dropped` counts messages for
    nodes without a link, `withheld` those that were newer than what the peer speaks.
    """

    def __init__(
        self,
        *,
        node: NodeId,
        membership: Membership,
        message_type: Any,
        events: LinkEvents,
        secret: bytes,
        incarnation: int,
        cluster: Callable[[], str],
        nonce: Callable[[], bytes],
        addresses: Callable[[NodeId], Iterable[tuple[str, int]]],
        message_bytes_max: int,
        link_bytes_max: int,
        wire_version: int = WIRE_VERSION,
        needs: Callable[[NodeId], int] = lambda _: WIRE_VERSION_MIN,
        lonely: Callable[[], bool] = lambda: False,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.events = events
        self.message_bytes_max = message_bytes_max
        self.link_bytes_max = link_bytes_max
        self.dropped = 0
        self.withheld = 0
        self._node = node
        self._membership = membership
        self._secret = secret
        self._incarnation = incarnation
        self._cluster = cluster
        self._nonce = nonce
        self._addresses = addresses
        self._wire_version = wire_version
        self._needs = needs
        self._lonely = lonely
        self._founding = membership.acceptors
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
            message_type | Identity
        )
        self._links: dict[NodeId, Link] = {}
        self._unproven: set[Link] = set()
        self._dirty: list[Link] = []
        self._lingering: list[Link] = []
        self._server: asyncio.Server | None = None
        self._dialers: dict[NodeId, asyncio.Task[None]] = {}

    async def start(self, bind: str, port: int) -> None:
        """Listen, and begin to dial. Raises ConfigurationError when the port cannot be had."""
        try:
            self._server = await self.loop.create_server(
                lambda: Link(self, None), bind, port, backlog=256
            )
        except OSError as error:
            raise ConfigurationError(
                f"the node-to-node port {bind}:{port} of {self._node} cannot be used: "
                f"{error.strerror or error}"
            ) from error
        self._dial_members()

    def relink(self, membership: Membership) -> None:
        """Keep links with these nodes from now on.

        A link with a node whose place another one has now is closed. So is one with a node that
        speaks a version with which it could overlook the change. Who has merely left stays linked:
        it may want to know.
        """
        self._membership = membership
        successors = {place_of(node): node for node in membership.nodes}
        for node, link in list(self._links.items()):
            successor = successors.get(place_of(node), node)
            if link.peer is not None and link.peer.version < self._needs(node):
                link.close_with(self._trouble(link.peer) or "it speaks too old a version")
            elif successor not in (node, self._node):
                link.close()
        if self._server is not None:
            self._dial_members()

    def _dial_members(self) -> None:
        """Dial those that this node dials, and no others."""
        usual = dialed_by(self._node, self._membership)
        unusual = tuple(
            node
            for node in (self._membership.acceptors if self._lonely() else ())
            if node not in usual and place_of(node) != place_of(self._node)
        )
        wanted = (*usual, *unusual)
        for node in [node for node in self._dialers if node not in wanted]:
            self._dialers.pop(node).cancel()
        for node in wanted:
            if node not in self._dialers:
                dialing = self._dial_forever(node) if node in usual else self._dial_lonely(node)
                self._dialers[node] = self.loop.create_task(dialing)

    async def stop(self) -> None:
        """Stop listening and dialing, close every link."""
        for dialer in self._dialers.values():
            dialer.cancel()
        if self._server is not None:
            self._server.close()
        for link in (*self._links.values(), *self._unproven):
            link.close()

    async def _dial_lonely(self, node: NodeId) -> None:
        """Keep one link to a node that usually dials, for as long as this one is lonely."""
        await asyncio.sleep(LONELY_SECONDS)
        await self._dial_forever(node, self._lonely)

    async def _dial_forever(self, node: NodeId, wanted: Callable[[], bool] = lambda: True) -> None:
        """Keep one link to a node; wait longer after each failure, up to half a second."""
        delay = REDIAL_SECONDS_MIN
        while wanted():
            while (standing := self._standing(node)) is not None:
                await asyncio.shield(standing.closed)
            for host, port in self._addresses(node):
                link = await self._dial(node, host, port)
                if link is None:
                    continue
                await asyncio.shield(link.closed)
                if link.peer is not None:
                    delay = REDIAL_SECONDS_MIN
                    break
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, REDIAL_SECONDS_MAX)

    def _standing(self, node: NodeId) -> Link | None:
        """Return the link with a node, or with a later life of its place."""
        return next((link for peer, link in self._links.items() if stands_for(peer, node)), None)

    async def _dial(self, node: NodeId, host: str, port: int) -> Link | None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                address = await self._look_up(host, port)
                _, link = await self.loop.create_connection(lambda: Link(self, node), address, port)
        except (OSError, TimeoutError):
            return None
        return link

    async def _look_up(self, host: str, port: int) -> str:
        """Return the first address of a host. Raises OSError.

        A lookup cannot be stopped: one that is given up goes on, and its late failure is
        retrieved here, where nobody waits for it any more.
        """
        lookup = asyncio.ensure_future(self.loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        lookup.add_done_callback(lambda late: late.cancelled() or late.exception())
        found = await asyncio.shield(lookup)
        return str(found[0][4][0])

    # links call these ---------------------------------------------------------

    def admit(self, link: Link) -> bool:
        """Take an unproven connection in, unless there are too many of them."""
        if len(self._unproven) >= UNPROVEN_CONNECTIONS_MAX:
            return False
        self._unproven.add(link)
        return True

    def handshake(self, wanted: NodeId | None) -> Handshake:
        """Return a fresh handshake for a connection."""
        return Handshake(
            node=self._node,
            cluster=self._cluster(),
            incarnation=self._incarnation,
            secret=self._secret,
            nonce=self._nonce(),
            acceptors=self._founding,
            wanted=wanted,
            wire_version=self._wire_version,
            needs=self._needs,
        )

    def check_version(self, peer: Peer) -> None:
        """Raise RemoteProtocolError when this node has come to need a newer version than was
        agreed on in the handshake, which may have begun before.
        """
        if trouble := self._trouble(peer):
            raise RemoteProtocolError(trouble)

    def _trouble(self, peer: Peer) -> str | None:
        ours = Speaker(self._node, self._wire_version, self._needs(peer.node))
        theirs = Speaker(peer.node, peer.version, WIRE_VERSION_MIN)
        return disagreement(theirs, ours)

    def established(self, link: Link, peer: Peer) -> None:
        """A connection has proven itself: it replaces an older one of the same node."""
        self._unproven.discard(link)
        older = self._links.get(peer.node)
        if older is not None:
            if self._loses(link, older, peer):
                link.close()
                return
            self._links.pop(peer.node)
            older.abort()
            self.events.on_disconnected(peer.node)
        self._links[peer.node] = link
        if self._cluster():
            # The handshake may have begun before this node had a cluster to show.
            self._write(link, Identity(cluster=self._cluster()))
        self.events.on_connected(peer)

    def _loses(self, link: Link, older: Link, peer: Peer) -> bool:
        """Tell whether a connection gives way to an older one: both sides have dialed at the same
        time, and must choose the same one of the two.
        """
        crossing = (
            link.dialed != older.dialed
            and older.peer is not None
            and older.peer.incarnation == peer.incarnation
            and self.loop.time() - older.since < HANDSHAKE_SECONDS
        )
        return crossing and link.dialed != (self._node < peer.node)

    def receive(self, link: Link, peer: Peer, body: bytes) -> None:
        """Decode one frame and hand it over. Raises RemoteProtocolError for what is no message."""
        try:
            message = self._decoder.decode(body)
        except (ValueError, RecursionError) as error:
            # Besides msgspec.DecodeError (a ValueError): text that is not UTF-8, and arrays nested
            # deeper than can be skipped.
            raise RemoteProtocolError(f"a frame that is no message: {error}") from error
        if type(message) is not Identity:
            self.events.on_message(peer.node, message)
            return
        ours = self._cluster()
        if ours and message.cluster != ours:
            raise RemoteProtocolError(f"{peer.node} belongs to cluster {message.cluster[:40]}")
        if message.cluster and message.cluster != peer.cluster:
            link.peer = msgspec.structs.replace(peer, cluster=message.cluster)
            self.events.on_connected(link.peer)

    def forget(self, link: Link) -> None:
        """A connection is gone."""
        self._unproven.discard(link)
        if link.peer is not None and self._links.get(link.peer.node) is link:
            del self._links[link.peer.node]
            self.events.on_disconnected(link.peer.node)

    # the runtime calls these --------------------------------------------------

    def send(self, to: tuple[NodeId, ...], message: Any, relaxed: bool = False) -> None:
        """Queue a message, encoded once, for each node that has a link and speaks a version that
        knows it; drop it for the others.

        A relaxed one leaves with the next that is not, or after `LINGER_MS`.
        """
        links = self._links
        framed: bytes | None = None
        for node in to:
            link = links.get(node)
            if link is None:
                self.dropped += 1
                continue
            if link.known is not None and type(message) not in link.known:
                self.withheld += 1
                continue
            if framed is None:
                framed = frame(self._encoder.encode(message))
            if link.send(framed, relaxed):
                self._dirty.append(link)
            elif relaxed and not link.lingering:
                link.lingering = True
                if not self._lingering:
                    self.loop.call_later(LINGER_MS / 1000, self._flush_lingering)
                self._lingering.append(link)

    def _flush_lingering(self) -> None:
        lingering, self._lingering = self._lingering, []
        for link in lingering:
            if link.lingering:
                link.flush()

    def flush(self) -> None:
        """Write what this turn has queued, one write per link."""
        dirty, self._dirty = self._dirty, []
        for link in dirty:
            link.flush()

    def tell_identity(self) -> None:
        """Tell every peer that this node now belongs to a cluster."""
        for link in self._links.values():
            self._write(link, Identity(cluster=self._cluster()))
        self.flush()

    def _write(self, link: Link, message: Any) -> None:
        if link.send(frame(self._encoder.encode(message))):
            self._dirty.append(link)

    @property
    def connected(self) -> dict[NodeId, Link]:
        """The links that stand, by node."""
        return self._links


def _set_options(sock: socket.socket | None) -> None:
    """No Nagle delay; let the kernel notice dead peers."""
    if sock is None:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 1),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", DEAD_PEER_MS),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
