"""A gateway asks for changes of the members, for clients, until they are made.

What is asked for is a state, not a step: that a node be a member, or be none. So it can be asked
again, of whoever leads, and any configuration that is as was asked for is the answer. Refuses to
call a change refused when an earlier leader may have proposed it.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Any

from .configuring import View
from .effects import ClientChange, Deliver, Effect, Relink, Send
from .flights import unavailable, unknown
from .messages import ChangeMembers, Configuration, MembersChanged
from .settings import Timeouts
from .types import Ballot, NodeId

CHANGES_MAX = 16
"""How many changes of the members one gateway asks for at once."""


class Asked:
    """A change of the members that a client waits for, and which leaders were asked for it."""

    __slots__ = ("ballots", "event", "since_ms")

    def __init__(self, event: ClientChange, now_ms: float) -> None:
        self.event = event
        self.since_ms = now_ms
        self.ballots: set[Ballot] = set()


class Asking(metaclass=ABCMeta):
    """The part of a gateway's step that has to do with members; gateway.py is the whole."""

    view: View
    _timeouts: Timeouts
    _changes: dict[int, Asked]
    _change_number: int
    _leader: NodeId | None
    _ballot: Ballot
    _learner: NodeId | None

    @abstractmethod
    def whats_missing(self) -> str:
        """Say in a sentence what keeps requests from being served; "" when nothing does."""

    @abstractmethod
    def _next_learner(self) -> NodeId | None: ...

    @abstractmethod
    def _switch_learner(self, learner: NodeId | None, now_ms: float) -> list[Effect]: ...

    def _on_client_change(self, event: ClientChange, now_ms: float) -> list[Effect]:
        """Ask the leader for a change of the members, until it is so or time is up."""
        if len(self._changes) >= CHANGES_MAX:
            error = f"ERR {CHANGES_MAX} changes of the members are under way here: wait for them"
            return [Deliver(connection=event.connection, replies=[{"error": error}])]
        self._change_number += 1
        asked = Asked(event, now_ms)
        self._changes[self._change_number] = asked
        return self._ask_for_change(self._change_number, asked)

    def _ask_for_change(self, number: int, asked: Asked) -> list[Effect]:
        if self._leader is None:
            return []
        asked.ballots.add(self._ballot)
        message = ChangeMembers(
            request=number, add=asked.event.add, node=asked.event.node, address=asked.event.address
        )
        return [Send(to=(self._leader,), message=message)]

    def _ask_for_changes_again(self, now_ms: float) -> list[Effect]:
        """What is asked for twice is done once: the leader answers by what the members are."""
        effects: list[Effect] = []
        for number, asked in list(self._changes.items()):
            if now_ms - asked.since_ms <= self._timeouts.request_ms:
                effects += self._ask_for_change(number, asked)
                continue
            missing = self.whats_missing() or "no answer came"
            why = f"{missing} (waited {self._timeouts.request_ms / 1000:g} s)"
            error = unknown(why) if asked.ballots else unavailable("write", why)
            effects += self._answer_change(number, error)
        return effects

    def _answer_change(self, number: int, reply: Any) -> list[Effect]:
        asked = self._changes.pop(number)
        return [Deliver(connection=asked.event.connection, replies=[reply])]

    def _on_members_changed(self, message: MembersChanged) -> list[Effect]:
        asked = self._changes.get(message.request)
        if asked is None or (message.error and len(asked.ballots) > 1):
            # An earlier leader may have proposed what this one refuses: only the log can tell.
            return []
        reply = {"error": message.error} if message.error else message.epoch
        return self._answer_change(message.request, reply)

    def _on_configuration(self, message: Configuration, now_ms: float) -> list[Effect]:
        """Go by a newer configuration: other learners to read from, other proposers to ask."""
        if not self.view.adopt(message):
            return []
        effects: list[Effect] = [Relink(configuration=message)]
        nodes = self.view.membership.nodes
        for number, asked in list(self._changes.items()):
            if (asked.event.node in nodes) == asked.event.add:
                effects += self._answer_change(number, message.epoch)
        if self._leader is not None and self._leader not in nodes:
            self._leader = None
        if self._learner is not None and self._learner not in nodes:
            effects += self._switch_learner(self._next_learner(), now_ms)
        return effects
