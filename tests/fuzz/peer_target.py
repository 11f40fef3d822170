"""The node-to-node protocol under fuzzing: a link from its first byte, and one that is proven.

A stranger's bytes meet the framing and the handshake; a member's meet the decoder of messages.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
from random import Random
from typing import Any, cast

import msgspec

from paxos.core.errors import RemoteProtocolError
from paxos.core.messages import (
    Accept,
    Accepted,
    AcceptedValue,
    AnyMessage,
    Book,
    Heartbeat,
    LeaderState,
    Prepare,
    Promise,
    Registration,
    Results,
    Submit,
    VolumeState,
    Votes,
)
from paxos.core.quorum import Membership
from paxos.core.types import Ballot, NodeId, Role, Slot, node_id
from paxos.transport.framing import HEADER_BYTES, FrameReader, frame
from paxos.transport.handshake import Handshake, HandshakeMessage, Peer, Refusal
from paxos.transport.links import Identity, Link, Links

from .inputs import Stream, Target, mutate_list, mutate_packed, stream_mutator, streams, unpack

STRANGER, MEMBER, ANSWERER = 0, 1, 2
"""Modes: bytes from whoever dials; from a node that has proven itself; from one that is dialed."""

MESSAGE_BYTES_MAX = 2048
SECRET = b"the secret of this cluster"
CLUSTER = "c1"
US, THEM, DIALED = NodeId("acceptor-1"), NodeId("proposer-1"), NodeId("acceptor-2")
OUR_NONCE, THEIR_NONCE = b"\x01" * 16, b"\x02" * 16

MEMBERSHIP = Membership(
    acceptors=tuple(node_id(Role.ACCEPTOR, n) for n in (1, 2, 3)),
    proposers=(THEM, node_id(Role.PROPOSER, 2)),
    learners=(node_id(Role.LEARNER, 1),),
    gateways=(node_id(Role.CLIENT, 1),),
    discovery=node_id(Role.DISCOVERY),
)

_messages: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(AnyMessage)


class Ear:
    """Whom the links tell."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def on_connected(self, peer: Peer) -> None:
        assert peer.node in MEMBERSHIP.nodes
        assert peer.node != US
        self.heard.append(("connected", peer))

    def on_disconnected(self, node: NodeId) -> None:
        self.heard.append(("disconnected", node))

    def on_message(self, sender: NodeId, message: Any) -> None:
        assert _messages.decode(msgspec.msgpack.encode(message)) == message
        self.heard.append(("message", message))

    def on_refused(self, who: str, reason: str) -> None:
        assert len(reason) < 1000, "a stranger does not write our log"
        self.heard.append(("refused", reason))


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closing = False

    def set_write_buffer_limits(self, high: int) -> None:
        assert high > 0

    def get_extra_info(self, name: str) -> Any:
        return ("192.0.2.1", 4711) if name == "peername" else None

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close


@functools.cache
def _links() -> Links:
    """Make the links of one node, on a loop that is never run."""
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)

    async def make() -> Links:
        return Links(
            node=US,
            membership=MEMBERSHIP,
            message_type=AnyMessage,
            events=Ear(),
            secret=SECRET,
            incarnation=1,
            cluster=lambda: CLUSTER,
            nonce=lambda: OUR_NONCE,
            addresses=lambda node: [],
            message_bytes_max=MESSAGE_BYTES_MAX,
            link_bytes_max=1 << 20,
        )

    return loop.run_until_complete(make())


def _shake(wanted: NodeId | None, node: NodeId = THEM) -> Handshake:
    """Return the other side of a handshake with us."""
    return Handshake(
        node=node,
        cluster=CLUSTER,
        incarnation=7,
        secret=SECRET,
        nonce=THEIR_NONCE,
        acceptors=MEMBERSHIP.acceptors,
        wanted=wanted,
    )


def framed(message: Any) -> bytes:
    return frame(msgspec.msgpack.encode(message))


def _dialogue() -> tuple[bytes, bytes]:
    """Return both things that a node says which dials us: the Hello and the Proof."""
    there, here = _shake(US), _ours(None)
    hello = there.begin()
    challenge, _ = here.receive(msgspec.msgpack.encode(hello))
    proof, _ = there.receive(msgspec.msgpack.encode(challenge))
    return framed(hello), framed(proof)


def _ours(wanted: NodeId | None) -> Handshake:
    return _links().handshake(wanted)


def _answer() -> bytes:
    """Return what the node says which we dial."""
    there, here = _shake(None, DIALED), _ours(DIALED)
    challenge, _ = there.receive(msgspec.msgpack.encode(here.begin()))
    return framed(challenge)


def attend(stream: Stream) -> tuple[list[tuple[str, Any]], bytes, bool]:
    """Return all that one link tells and says, and whether it closed."""
    links = _links()
    links._links.clear()  # of a run that failed
    links._unproven.clear()
    links._dirty.clear()
    links.events = ear = Ear()
    wire = Wire()
    link = Link(links, DIALED if stream.mode % 3 == ANSWERER else None)
    link.connection_made(cast(asyncio.Transport, wire))
    if stream.mode % 3 == MEMBER:
        for said in _dialogue():
            link.data_received(said)
        assert [what for what, _ in ear.heard] == ["connected"]
    for chunk in stream.chunks():
        if wire.closing:
            break
        link.data_received(chunk)
        if not wire.closing:
            held = len(link._reader._kept)
            assert held < link._reader.frame_bytes_max + HEADER_BYTES
            announced = bytes(link._reader._kept[:HEADER_BYTES])
            if len(announced) == HEADER_BYTES:
                assert 0 < int.from_bytes(announced, "big") <= link._reader.frame_bytes_max
            assert link._reader.partial == bool(held)
    assert wire.closing == any(what == "refused" for what, _ in ear.heard)
    links.flush()
    link.connection_lost(None)
    assert not links._links
    assert not links._unproven
    assert not link._out
    return ear.heard, wire.written, wire.closing


def run(data: bytes) -> None:
    """Feed one link in chunks and whole: it tells, says and does the same."""
    stream = unpack(data)
    assert attend(stream) == attend(Stream(stream.mode, b"", stream.body))


def _examples() -> list[Any]:
    value = AcceptedValue(slot=Slot(3), ballot=Ballot(101), value=b"value")
    return [
        Prepare(ballot=Ballot(101), first=Slot(1), last=Slot(0)),
        Promise(
            ballot=Ballot(101),
            first=Slot(1),
            last=Slot(0),
            begin=Slot(1),
            end=Slot(0),
            accepted=[value],
        ),
        Accept(ballot=Ballot(101), slot=Slot(4), value=b"x" * 40, decided=Slot(3)),
        Accepted(ballot=Ballot(101), slot=Slot(4)),
        Heartbeat(ballot=Ballot(101), decided=Slot(4), round=9),
        Votes(first=Slot(1), last=Slot(9), highest=Slot(4), votes=[(Slot(4), Ballot(101))]),
        LeaderState(ballot=Ballot(101), voting=[US], abstaining={DIALED: "its volume is blank"}),
        Submit(stream=1, attempt=2, head=3, sequence=4, batch=b"batch"),
        Results(session=Slot(1), sequence=2, slot=Slot(3), revision=4, results=b"\x90"),
        VolumeState(cluster=CLUSTER, phase="open"),
        Book(entries=[Registration(node=US, host="::1", peer_port=1, page_port=2, incarnation=3)]),
        Identity(cluster=CLUSTER),
        Identity(cluster="another"),
    ]


def seeds() -> list[bytes]:
    """Return whole dialogues of members, and some that are none."""
    hello, proof = _dialogue()
    messages = b"".join(map(framed, _examples()))
    refusal: HandshakeMessage = Refusal(reason="no")
    strangers = (
        hello + proof + messages,
        hello,
        hello + hello,
        framed(refusal),
        b"\0\0\0\0",
        b"\xff" * 9,
    )
    answers = (_answer() + messages, _answer() + _answer(), hello, framed(refusal))
    each = [framed(message) for message in _examples()]
    deep = frame(b"\x93\xa6accept" + b"\x91" * 1500)
    return [
        *streams((STRANGER,), strangers),
        *streams((ANSWERER,), answers),
        *streams(
            (MEMBER,), (messages, *each, deep, frame(b"\x91\xa1\xff"), b"\0\0\x08\x01" + b"x" * 99)
        ),
    ]


def mutate_frames(body: bytes, dice: Random) -> bytes:
    """Change what one frame says, or their order, and frame them well."""
    try:
        bodies = FrameReader(1 << 16).feed(body)
    except RemoteProtocolError:
        bodies = [body]
    return b"".join(frame(one) for one in mutate_list(bodies, dice, mutate_packed) if one)


PEER = Target(
    name="peer",
    run=run,
    seeds=seeds,
    mutate=stream_mutator(mutate_frames, (STRANGER, MEMBER, ANSWERER)),
    modules=("transport/framing.py", "transport/handshake.py", "transport/links.py"),
)
