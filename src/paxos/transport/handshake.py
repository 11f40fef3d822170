"""Who is there: a mutual challenge and response with the cluster's secret, before any message.

    dialer                                   listener
      | Hello(node, cluster, nonce,             |
      |       speaks, needs)                    |
      |---------------------------------------->|
      |     Challenge(node, cluster, nonce,     |
      |               proof, speaks, needs)     |
      |<----------------------------------------|
      | Proof(proof)                            |
      |---------------------------------------->|
      |            (or, from either side, Refusal(reason), then the connection closes)

A proof is an HMAC-SHA-256, keyed with the secret, over both sides' names, clusters and nonces, so
that it can be neither replayed nor reflected. Sans-I/O: bytes of nonce are an argument.

Whoever knows the secret may be any node at all: which nodes are members changes while others run,
and roles know what a stranger's word is worth. A dialer may know an earlier life of an acceptor
than the one that has its place now: the link is then one with the later life.

`speaks` is the highest version of the messages that a node knows, `needs` the lowest that it can do
with on this link (see versions.py). Nodes of version 1 know nothing of them: they leave both
unread, say neither, and prove only what they know. So that they still understand a newer node, the
handshake keeps its own version, and the proof takes in the versions when both sides say them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from paxos.core.errors import RemoteProtocolError
from paxos.core.types import NodeId, life_of, place_of

from .versions import WIRE_VERSION, WIRE_VERSION_MIN, Speaker, disagreement

HANDSHAKE_VERSION = 1
"""The version of the handshake alone. A node of any other is refused, whatever else it speaks."""

NONCE_BYTES = 16
HANDSHAKE_FRAME_BYTES_MAX = 4096

_NAME = re.compile(
    r"discovery|(proposer|learner|client)-[1-9]\d?|acceptor-[1-9]\d?(\.[1-9]\d{0,8})?", re.ASCII
)
"""A well-formed name: only acceptors have later lives."""


class Hello(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="hello"):
    """The dialer says who it is and whom it wants."""

    version: int
    node: str
    wanted: str
    cluster: str
    acceptors: tuple[str, ...]
    incarnation: int
    nonce: bytes
    speaks: int = 1
    needs: int = 1


class Challenge(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="challenge"):
    """The listener says who it is and proves that it knows the secret."""

    version: int
    node: str
    cluster: str
    acceptors: tuple[str, ...]
    incarnation: int
    nonce: bytes
    proof: bytes
    speaks: int = 1
    needs: int = 1


class Proof(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="proof"):
    """The dialer proves that it knows the secret."""

    proof: bytes


class Refusal(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="refusal"):
    """Why the other side will not talk; the connection closes after it."""

    reason: str


HandshakeMessage: TypeAlias = Hello | Challenge | Proof | Refusal

_decoder: msgspec.msgpack.Decoder[HandshakeMessage] = msgspec.msgpack.Decoder(HandshakeMessage)


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Who the handshake found at the other end. `version` is that of the messages both speak."""

    node: NodeId
    cluster: str
    incarnation: int
    version: int = WIRE_VERSION


class HandshakeRefused(RemoteProtocolError):
    """The handshake failed; `reply` is what to send before closing, if anything."""

    def __init__(self, reason: str, reply: HandshakeMessage | None = None) -> None:
        super().__init__(reason)
        self.reply = reply


class Handshake:
    """One side of a handshake. `wanted` is the node that a dialer means to reach, None for a
    listener. `acceptors` are those that the cluster was founded with. `wire_version` is what this
    node speaks, `needs` what it must speak with a node at least.
    """

    def __init__(
        self,
        *,
        node: NodeId,
        cluster: str,
        incarnation: int,
        secret: bytes,
        nonce: bytes,
        acceptors: tuple[NodeId, ...],
        wanted: NodeId | None,
        wire_version: int = WIRE_VERSION,
        needs: Callable[[NodeId], int] = lambda _: WIRE_VERSION_MIN,
    ) -> None:
        self._node = node
        self._cluster = cluster
        self._incarnation = incarnation
        self._secret = secret
        self._nonce = nonce
        self._acceptors = acceptors
        self._wanted = wanted
        self._speaks = wire_version
        self._needs = needs
        self._hello: Hello | None = None
        self._challenge: Challenge | None = None
        self._peer: Peer | None = None

    def begin(self) -> Hello | None:
        """Return what a dialer says first; a listener waits."""
        if self._wanted is None:
            return None
        self._hello = Hello(
            version=HANDSHAKE_VERSION,
            node=self._node,
            wanted=self._wanted,
            cluster=self._cluster,
            acceptors=self._acceptors,
            incarnation=self._incarnation,
            nonce=self._nonce,
            speaks=self._speaks,
            needs=self._needs(self._wanted),
        )
        return self._hello

    def receive(self, body: bytes) -> tuple[HandshakeMessage | None, Peer | None]:
        """Take the other side's next frame in; return what to answer, and the peer once both
        sides have proven themselves. Raises HandshakeRefused.
        """
        try:
            message = _decoder.decode(body)
        except (ValueError, RecursionError) as error:
            # Besides msgspec.DecodeError (a ValueError): text that is not UTF-8, and arrays nested
            # deeper than can be skipped.
            raise self._refuse(f"this is no handshake: {error}") from error
        match message:
            case Hello() if self._wanted is None and self._hello is None:
                return self._on_hello(message), None
            case Challenge() if self._wanted is not None and self._peer is None:
                return self._on_challenge(message)
            case Proof() if self._peer is not None and self._wanted is None:
                return self._on_proof(message)
            case Refusal():
                raise HandshakeRefused(f"the other side refuses: {message.reason[:200]}")
            case _:
                raise self._refuse(f"{type(message).__name__} is out of turn")

    def _on_hello(self, message: Hello) -> Challenge:
        if not stands_for(self._node, message.wanted):
            raise self._refuse(f"this is {self._node}, not {message.wanted[:40]}")
        self._peer = self._check(message)
        self._hello = message
        challenge = Challenge(
            version=HANDSHAKE_VERSION,
            node=self._node,
            cluster=self._cluster,
            acceptors=self._acceptors,
            incarnation=self._incarnation,
            nonce=self._nonce,
            proof=b"",
            speaks=self._speaks,
            needs=self._needs(self._peer.node),
        )
        self._challenge = msgspec.structs.replace(
            challenge, proof=self._proof(b"listener", message, challenge)
        )
        return self._challenge

    def _on_challenge(self, message: Challenge) -> tuple[Proof, Peer]:
        wanted = self._wanted
        if wanted is None or self._hello is None or not stands_for(message.node, wanted):
            raise self._refuse(f"{message.node[:40]} answered in place of {self._wanted}")
        peer = self._check(message)
        if not hmac.compare_digest(message.proof, self._proof(b"listener", self._hello, message)):
            raise self._refuse("the cluster secrets differ")
        self._peer = peer
        return Proof(proof=self._proof(b"dialer", self._hello, message)), peer

    def _on_proof(self, message: Proof) -> tuple[None, Peer | None]:
        if self._hello is None or self._challenge is None:
            raise self._refuse("Proof is out of turn")
        ours = self._proof(b"dialer", self._hello, self._challenge)
        if not hmac.compare_digest(message.proof, ours):
            raise self._refuse("the cluster secrets differ")
        return None, self._peer

    def _check(self, message: Hello | Challenge) -> Peer:
        node, cluster = message.node, message.cluster
        if message.version != HANDSHAKE_VERSION:
            raise self._refuse(f"handshake version {message.version} is not {HANDSHAKE_VERSION}")
        if not _NAME.fullmatch(node) or node == self._node:
            raise self._refuse(f"{node[:40]} is not the name of another node")
        if cluster and self._cluster and cluster != self._cluster:
            raise self._refuse(
                f"{node} belongs to cluster {cluster[:40]}, {self._node} to {self._cluster}"
            )
        if set(message.acceptors) != set(self._acceptors):
            # Two nodes that count quorums from different sets must not work together (rule 2).
            raise self._refuse(
                f"{node} is configured with {len(message.acceptors)} acceptors, {self._node} "
                f"with {len(self._acceptors)} or others: cluster.acceptors must be the same"
            )
        if len(message.nonce) != NONCE_BYTES:
            raise self._refuse("a nonce of the wrong length")
        if not 1 <= message.needs <= message.speaks:
            raise self._refuse(f"versions {message.needs} to {message.speaks} are none")
        peer = NodeId(node)
        ours = Speaker(self._node, self._speaks, self._needs(peer))
        theirs = Speaker(node, message.speaks, message.needs)
        if trouble := disagreement(ours, theirs):
            raise self._refuse(trouble)
        return Peer(
            node=peer,
            cluster=cluster,
            incarnation=message.incarnation,
            version=min(self._speaks, message.speaks),
        )

    def _proof(self, side: bytes, hello: Hello, challenge: Challenge) -> bytes:
        """Return what proves that a side knows the secret, over all that was said before it."""
        dialer = (
            "hello",
            hello.version,
            hello.node,
            hello.wanted,
            hello.cluster,
            hello.acceptors,
            hello.incarnation,
            hello.nonce,
        )
        listener = (challenge.node, challenge.cluster, challenge.acceptors, challenge.nonce)
        spoken: tuple[object, ...] = (side, dialer, *listener)
        if min(hello.speaks, challenge.speaks) > 1:
            spoken += (hello.speaks, hello.needs, challenge.speaks, challenge.needs)
        return hmac.digest(self._secret, msgspec.msgpack.encode(spoken), hashlib.sha256)

    def _refuse(self, reason: str) -> HandshakeRefused:
        return HandshakeRefused(reason, Refusal(reason=reason))


def stands_for(node: str, wanted: str) -> bool:
    """Tell whether a node is the one that is wanted, or a later life of its place."""
    if node == wanted:
        return True
    if not (_NAME.fullmatch(node) and _NAME.fullmatch(wanted)):
        return False
    one, other = NodeId(node), NodeId(wanted)
    return place_of(one) == place_of(other) and life_of(one) > life_of(other)
