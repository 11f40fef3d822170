"""The network of a small world: what was ever sent, as sets of numbered messages.

What was sent can arrive any number of times, at any time, or never: so loss, duplication and
reordering need no steps of their own, and no bounds. (Lamport's specifications of Paxos model the
network in the same way.) A message outlives its sender's crash and its receiver's.

A set is an int, one bit for each message. A message to all acceptors is one item; who sent it is
known from whose set it is in.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from paxos.core.effects import Effect, Send
from paxos.core.messages import Accepted, AnyMessage
from paxos.core.types import NodeId

ACCEPTORS = "acceptors"


class Mail:
    """Numbers messages by receiver and content. `kinds` are those that are not always lost;
    `votes` is the set of all that are votes.
    """

    def __init__(
        self, names: tuple[NodeId, ...], acceptors: tuple[NodeId, ...], kinds: frozenset[str]
    ) -> None:
        self.receivers: list[str] = []
        self.messages: list[AnyMessage] = []
        self.addressed: dict[NodeId, int] = dict.fromkeys(names, 0)
        self.votes = 0
        self._singles = 0
        self._acceptors = acceptors
        self._kinds = kinds
        self._numbers: dict[tuple[str, str, bytes], int] = {}
        self._encoder = msgspec.msgpack.Encoder()

    def number(self, to: str, message: AnyMessage) -> int:
        """Return the number of a message to a receiver."""
        key = (to, type(message).__name__, self._encoder.encode(message))
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.messages)
            self.receivers.append(to)
            self.messages.append(message)
            if isinstance(message, Accepted):
                self.votes |= 1 << number
            if to in self._acceptors:
                self._singles |= 1 << number
            for name in self._acceptors if to == ACCEPTORS else (NodeId(to),):
                self.addressed[name] |= 1 << number
        return number

    def posted(self, effects: list[Effect]) -> int:
        """Return what a node's effects send, without what is always lost, as a set."""
        sent = 0
        for effect in effects:
            if type(effect) is not Send or type(effect.message).__name__ not in self._kinds:
                continue
            to: list[str] = [name for name in effect.to if name in self.addressed]
            if all(name in to for name in self._acceptors):
                to = [ACCEPTORS, *(name for name in to if name not in self._acceptors)]
            for name in to:
                sent |= 1 << self.number(name, effect.message)
        return sent

    def listed(self, items: int) -> list[int]:
        """Return the numbers in a set, in order."""
        numbers = []
        while items:
            low = items & -items
            numbers.append(low.bit_length() - 1)
            items ^= low
        return numbers

    def joined(self, sent: int, more: int) -> int:
        """Return what was sent and more, without what went to one acceptor and to all as well."""
        every = sent | more
        singles = every & self._singles
        for number in self.listed(singles):
            message = self.messages[number]
            key = (ACCEPTORS, type(message).__name__, self._encoder.encode(message))
            twin = self._numbers.get(key)
            if twin is not None and every >> twin & 1:
                every &= ~(1 << number)
        return every

    def among(self, items: int) -> list[AnyMessage]:
        """Return the messages in a set, in the order of their numbers."""
        return [self.messages[number] for number in self.listed(items)]

    def renamed(self, items: int, names: Mapping[str, str]) -> int:
        """Return a set with its receivers renamed."""
        changed = 0
        for number in self.listed(items):
            to = self.receivers[number]
            new = names.get(to, to)
            same = new == to
            changed |= 1 << (number if same else self.number(new, self.messages[number]))
        return changed
