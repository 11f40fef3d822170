"""The messages of version 1, as the nodes that are out there speak them.

A frozen record: nothing here is ever changed, whatever becomes of `paxos.core.messages`.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from paxos.core.types import Ballot, NodeId, Slot


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    pass


class Batch(Message, tag="b", frozen=True, kw_only=True):
    gateway: NodeId
    session: Slot
    sequence: int
    acknowledged: int
    commands: bytes


class OpenSession(Message, tag="o", frozen=True, kw_only=True):
    gateway: NodeId
    nonce: int


BatchLike: TypeAlias = Batch | OpenSession


class Envelope(Message, frozen=True, kw_only=True):
    time_ms: int
    batches: list[bytes]


class Submit(Message, tag="submit", frozen=True, kw_only=True):
    stream: int
    attempt: int
    head: int
    sequence: int
    batch: bytes
    learner: NodeId | None = None


class CanvassReply(Message, tag="canvass_reply", frozen=True, kw_only=True):
    round: int
    promised: Ballot
    leader: Ballot
    decided: Slot


class AcceptedValue(Message, frozen=True, kw_only=True):
    slot: Slot
    ballot: Ballot
    value: bytes


class Promise(Message, tag="promise", frozen=True, kw_only=True):
    ballot: Ballot
    first: Slot
    last: Slot
    begin: Slot
    end: Slot
    accepted: list[AcceptedValue]


class Accepted(Message, tag="accepted", frozen=True, kw_only=True):
    ballot: Ballot
    slot: Slot


class Nack(Message, tag="nack", frozen=True, kw_only=True):
    ballot: Ballot
    promised: Ballot


class Abstain(Message, tag="abstain", frozen=True, kw_only=True):
    reason: str


class Heartbeat(Message, tag="heartbeat", frozen=True, kw_only=True):
    ballot: Ballot
    decided: Slot
    round: int


class HeartbeatReply(Message, tag="heartbeat_reply", frozen=True, kw_only=True):
    ballot: Ballot
    round: int


class Unstick(Message, tag="unstick", frozen=True, kw_only=True):
    first: Slot
    last: Slot


class Tick(Message, tag="tick", frozen=True, kw_only=True):
    deadline_ms: int


class Canvass(Message, tag="canvass", frozen=True, kw_only=True):
    round: int


class Prepare(Message, tag="prepare", frozen=True, kw_only=True):
    ballot: Ballot
    first: Slot
    last: Slot


class Accept(Message, tag="accept", frozen=True, kw_only=True):
    ballot: Ballot
    slot: Slot
    value: bytes
    decided: Slot
    relaxed: tuple[NodeId, ...] = ()


class AskHighest(Message, tag="ask_highest", frozen=True, kw_only=True):
    round: int


class AskVotes(Message, tag="ask_votes", frozen=True, kw_only=True):
    first: Slot
    last: Slot


class AskValues(Message, tag="ask_values", frozen=True, kw_only=True):
    first: Slot
    last: Slot


class AskVolume(Message, tag="ask_volume", frozen=True, kw_only=True):
    pass


class VolumeState(Message, tag="volume_state", frozen=True, kw_only=True):
    cluster: str
    phase: str


class Value(Message, tag="value", frozen=True, kw_only=True):
    ballot: Ballot
    slot: Slot
    value: bytes


class Highest(Message, tag="highest", frozen=True, kw_only=True):
    round: int
    slot: Slot


class Votes(Message, tag="votes", frozen=True, kw_only=True):
    first: Slot
    last: Slot
    highest: Slot
    votes: list[tuple[Slot, Ballot]]


class Values(Message, tag="values", frozen=True, kw_only=True):
    values: list[AcceptedValue]


class Subscribe(Message, tag="subscribe", frozen=True, kw_only=True):
    session: Slot
    acknowledged: int


class SubscribeOpening(Message, tag="subscribe_opening", frozen=True, kw_only=True):
    nonce: int


class Unsubscribe(Message, tag="unsubscribe", frozen=True, kw_only=True):
    pass


class Read(Message, tag="read", frozen=True, kw_only=True):
    read: int
    commands: bytes


class StaleRead(Message, tag="stale_read", frozen=True, kw_only=True):
    read: int
    commands: bytes


class LeaderState(Message, tag="leader_state", frozen=True, kw_only=True):
    ballot: Ballot
    voting: list[NodeId]
    abstaining: dict[NodeId, str]


class NotLeader(Message, tag="not_leader", frozen=True, kw_only=True):
    stream: int
    sequence: int
    ballot: Ballot


class Results(Message, tag="results", frozen=True, kw_only=True):
    session: Slot
    sequence: int
    slot: Slot
    revision: int
    results: bytes


class SessionOpened(Message, tag="session_opened", frozen=True, kw_only=True):
    nonce: int
    session: Slot


class SessionUnknown(Message, tag="session_unknown", frozen=True, kw_only=True):
    session: Slot


class OutOfOrder(Message, tag="out_of_order", frozen=True, kw_only=True):
    session: Slot
    sequence: int
    expected: int


class ReadResults(Message, tag="read_results", frozen=True, kw_only=True):
    read: int
    slot: Slot
    revision: int
    results: bytes


class Register(Message, tag="register", frozen=True, kw_only=True):
    node: NodeId
    host: str
    peer_port: int
    page_port: int
    incarnation: int
    cluster: str
    leader: Ballot
    summary: str


class Registration(Message, frozen=True, kw_only=True):
    node: NodeId
    host: str
    peer_port: int
    page_port: int
    incarnation: int


class Book(Message, tag="book", frozen=True, kw_only=True):
    entries: list[Registration]


Outcome: TypeAlias = Results | SessionOpened | SessionUnknown | OutOfOrder

ProposerMessage: TypeAlias = (
    Submit
    | CanvassReply
    | Promise
    | Accepted
    | Nack
    | Abstain
    | Heartbeat
    | HeartbeatReply
    | Unstick
    | Tick
)

AcceptorMessage: TypeAlias = (
    Canvass
    | Prepare
    | Accept
    | Heartbeat
    | AskHighest
    | AskVotes
    | AskValues
    | AskVolume
    | VolumeState
)

LearnerMessage: TypeAlias = (
    Value
    | Accepted
    | Highest
    | Votes
    | Values
    | Subscribe
    | SubscribeOpening
    | Unsubscribe
    | Heartbeat
    | Read
    | StaleRead
)

GatewayMessage: TypeAlias = LeaderState | NotLeader | Outcome | ReadResults

DiscoveryMessage: TypeAlias = Register

AnyMessage: TypeAlias = (
    ProposerMessage | AcceptorMessage | LearnerMessage | GatewayMessage | DiscoveryMessage | Book
)
