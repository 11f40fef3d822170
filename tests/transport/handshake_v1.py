"""The handshake of version 1, as the nodes that are out there speak it.

A frozen record: nothing here is ever changed, whatever becomes of `paxos.transport.handshake`.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TypeAlias

import msgspec

from paxos.core.errors import RemoteProtocolError
from paxos.core.types import NodeId

PROTOCOL_VERSION = 1
NONCE_BYTES = 16
HANDSHAKE_FRAME_BYTES_MAX = 4096


class Hello(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="hello"):
    """The dialer says who it is and whom it wants."""

    version: int
    node: str
    wanted: str
    cluster: str
    acceptors: tuple[str, ...]
    incarnation: int
    nonce: bytes


class Challenge(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="challenge"):
    """The listener says who it is and proves that it knows the secret."""

    version: int
    node: str
    cluster: str
    acceptors: tuple[str, ...]
    incarnation: int
    nonce: bytes
    proof: bytes


class Proof(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="proof"):
    """The dialer proves that it knows the secret."""

    proof: bytes


class Refusal(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="refusal"):
    """Why the other side will not talk; the connection closes after it."""

    reason: str


HandshakeMessage: TypeAlias = Hello | Challenge | Proof | Refusal

_decoder: msgspec.msgpack.Decoder[HandshakeMessage] = msgspec.msgpack.Decoder(HandshakeMessage)


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Who the handshake found at the other end."""

    node: NodeId
    cluster: str
    incarnation: int


class HandshakeRefused(RemoteProtocolError):
    """The handshake failed; `reply` is what to send before closing, if anything."""

    def __init__(self, reason: str, reply: HandshakeMessage | None = None) -> None:
        super().__init__(reason)
        self.reply = reply


class Handshake:
    """One side of a handshake. `wanted` is the node that a dialer means to reach, None for a
    listener. `known` are the nodes of the configuration, `acceptors` those that make quorums.
    """

    def __init__(
        self,
        *,
        node: NodeId,
        cluster: str,
        incarnation: int,
        secret: bytes,
        nonce: bytes,
        known: frozenset[NodeId],
        acceptors: tuple[NodeId, ...],
        wanted: NodeId | None,
    ) -> None:
        self._node = node
        self._cluster = cluster
        self._incarnation = incarnation
        self._secret = secret
        self._nonce = nonce
        self._known = known
        self._acceptors = acceptors
        self._wanted = wanted
        self._hello: Hello | None = None
        self._peer: Peer | None = None

    def begin(self) -> Hello | None:
        """Return what a dialer says first; a listener waits."""
        if self._wanted is None:
            return None
        self._hello = Hello(
            version=PROTOCOL_VERSION,
            node=self._node,
            wanted=self._wanted,
            cluster=self._cluster,
            acceptors=self._acceptors,
            incarnation=self._incarnation,
            nonce=self._nonce,
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
        if message.wanted != self._node:
            raise self._refuse(f"this is {self._node}, not {message.wanted[:40]}")
        self._check(message)
        self._hello = message
        self._peer = Peer(
            node=NodeId(message.node), cluster=message.cluster, incarnation=message.incarnation
        )
        return Challenge(
            version=PROTOCOL_VERSION,
            node=self._node,
            cluster=self._cluster,
            acceptors=self._acceptors,
            incarnation=self._incarnation,
            nonce=self._nonce,
            proof=self._proof(b"listener", message, *self._ours()),
        )

    def _on_challenge(self, message: Challenge) -> tuple[Proof, Peer]:
        if message.node != self._wanted or self._hello is None:
            raise self._refuse(f"{message.node[:40]} answered in place of {self._wanted}")
        self._check(message)
        ours = (message.node, message.cluster, message.acceptors, message.nonce)
        if not hmac.compare_digest(message.proof, self._proof(b"listener", self._hello, *ours)):
            raise self._refuse("the cluster secrets differ")
        self._peer = Peer(
            node=NodeId(message.node), cluster=message.cluster, incarnation=message.incarnation
        )
        return Proof(proof=self._proof(b"dialer", self._hello, *ours)), self._peer

    def _on_proof(self, message: Proof) -> tuple[None, Peer | None]:
        if self._hello is None:
            raise self._refuse("Proof is out of turn")
        ours = self._proof(b"dialer", self._hello, *self._ours())
        if not hmac.compare_digest(message.proof, ours):
            raise self._refuse("the cluster secrets differ")
        return None, self._peer

    def _check(self, message: Hello | Challenge) -> None:
        node, cluster = message.node, message.cluster
        if message.version != PROTOCOL_VERSION:
            raise self._refuse(f"protocol version {message.version} is not {PROTOCOL_VERSION}")
        if node not in self._known or node == self._node:
            raise self._refuse(f"{node[:40]} is not another node of this configuration")
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

    def _ours(self) -> tuple[str, str, tuple[str, ...], bytes]:
        return self._node, self._cluster, self._acceptors, self._nonce

    def _proof(
        self,
        side: bytes,
        hello: Hello,
        node: str,
        cluster: str,
        acceptors: tuple[str, ...],
        nonce: bytes,
    ) -> bytes:
        spoken = msgspec.msgpack.encode((side, hello, node, cluster, acceptors, nonce))
        return hmac.digest(self._secret, spoken, hashlib.sha256)

    def _refuse(self, reason: str) -> HandshakeRefused:
        return HandshakeRefused(reason, Refusal(reason=reason))
