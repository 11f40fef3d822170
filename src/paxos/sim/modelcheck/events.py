"""What can happen to a node in a small world, and how a crash can cut it short."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from paxos.core.messages import AnyMessage
from paxos.core.types import Ballot, NodeId, Slot


class Plain(msgspec.Struct, frozen=True, gc=False):
    """Base of what is in here: equal by content, and a key of dictionaries."""


class Deliver(Plain, frozen=True):
    """A message that `sender` once sent arrives; `item` is its number in the mail."""

    sender: NodeId
    item: int


class Turn(Plain, frozen=True):
    """Two messages arrive in one turn: they are handled, and then share one sync."""

    first: Deliver
    second: Deliver


class Offer(Plain, frozen=True):
    """A client's batch arrives: the `sequence`-th that this leadership, `ballot`, is given."""

    ballot: Ballot
    sequence: int


class Reply(Plain, frozen=True):
    """What an acceptor answers to a canvass, apart from the round."""

    acceptor: NodeId
    promised: Ballot
    leader: Ballot
    decided: Slot


class Stand(Plain, frozen=True):
    """The election timer fires, and a quorum answers the canvass at once."""

    replies: tuple[Reply, ...]


class Fire(Plain, frozen=True):
    """A timer fires."""

    timer: str


class GiveUp(Plain, frozen=True):
    """A timer fires again and again, unanswered, until the node loses patience."""

    timer: str


class Link(Plain, frozen=True):
    """The link to another node opens, or closes. What is under way is not lost with it."""

    peer: NodeId
    opens: bool


Event: TypeAlias = Deliver | Turn | Offer | Stand | Fire | GiveUp | Link


class Crash(Plain, frozen=True):
    """A node crashes and starts again. `when`:

    - `idle`: between two events
    - `unsynced`: after the step of an event, before its sync; the disk happens to have kept the
      first `kept` of the records that were not synced
    - `synced`: after the sync, before anything was sent
    - `lost`: between two events, and its volume is gone
    - `damaged`: between two events, and its volume is found damaged
    """

    when: str
    kept: int = 0


class Sent(Plain, frozen=True):
    """A message on its way: to one node, or to `acceptors`, which is all of them."""

    to: str
    message: AnyMessage
