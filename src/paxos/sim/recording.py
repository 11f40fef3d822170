"""A run, lived through with everything written down: who sent what, when it arrived, who died.

A recording is an `Observer` in front of the run's oracle: it changes nothing, so that the run ends
as it would have without it. ladder.py draws it. Refuses to judge anything: that is the oracle's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from paxos.core.acceptor import Acceptor
from paxos.core.effects import Event, Received, Send
from paxos.core.learner import Learner
from paxos.core.messages import AnyMessage
from paxos.core.trace import Trace
from paxos.core.types import NO_SLOT, NodeId, Slot

from .faults import KINDS, LEADER, Fault
from .simulation import Outcome, Run
from .world import SimulatedNode

EACH = (
    *("crash", "crash-at-sync", "crash-at-snapshot", "crash-at-part", "crash-at-cut", "away"),
    *("pause", "wipe", "bit-flip", "snapshot-disk-full", "snapshot-rot"),
    *(kind for kind in KINDS if kind.startswith(("disk-", "clock-"))),
)
"""Kinds of faults that happen to each of their nodes by itself."""


class Sending(msgspec.Struct, kw_only=True):
    """A message that left a node. Times in simulated milliseconds since the start of the run.

    `arrived` is when each receiver took it in; `parted` are those that no link led to.
    """

    at_ms: float
    sender: NodeId
    to: tuple[NodeId, ...]
    message: AnyMessage
    arrived: dict[NodeId, float] = {}
    parted: tuple[NodeId, ...] = ()


class Moment(msgspec.Struct, kw_only=True, frozen=True):
    """Something that happened to a node or in it.

    `what` is `start`, `crash`, `applied` (slots `first`..`last`), or a trace's name.
    """

    at_ms: float
    node: NodeId
    what: str
    text: str
    first: Slot = NO_SLOT
    last: Slot = NO_SLOT


class Episode(msgspec.Struct, kw_only=True, frozen=True):
    """A fault as it was done: `nodes` with the leader by its name. `ended_ms` is when it ended."""

    fault: Fault
    nodes: tuple[NodeId, ...]
    began_ms: float
    ended_ms: float

    @property
    def kind(self) -> str:
        """The fault's kind."""
        return self.fault.kind

    def who(self) -> str:
        """Return whom it happened to, as the end of a sentence; "" when it was everybody."""
        nodes, kind = self.nodes, self.kind
        if kind in ("halves", "one-way"):
            middle = len(nodes) // 2
            if kind == "one-way":
                middle = 1 + int(self.fault.amount * (len(nodes) - 1))
            between = "|" if kind == "halves" else "-/->"
            return f": {', '.join(nodes[:middle])} {between} {', '.join(nodes[middle:])}"
        if kind == "isolate":
            return f": {nodes[0]}"
        if kind in EACH:
            return f": {', '.join(nodes)}"
        return ""


class Recording:
    """A run and all that happens in it. Made before the run begins; `go` lives through it.

    `outcome` is None until then.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.outcome: Outcome | None = None
        self.sendings: list[Sending] = []
        self.moments: list[Moment] = []
        self.episodes: list[Episode] = []
        self.began_ms = self.run.world.now_ms
        self._of_message: dict[tuple[NodeId, int], list[Sending]] = {}
        self._applied: dict[NodeId, Slot] = {}
        world = self.run.world
        world.keep_messages = True
        world.observer = self
        for fault in self.run.plan:
            world.after(fault.at_ms, self._noting(fault))

    def go(self) -> Outcome:
        """Live through the run, once, and return what came of it."""
        self.outcome = self.run.go()
        self._note_traces()
        self._note_missing_links()
        self.moments.sort(key=lambda moment: moment.at_ms)
        return self.outcome

    @property
    def now_ms(self) -> float:
        """Simulated milliseconds since the start of the run."""
        return self.run.world.now_ms - self.began_ms

    # ------------------------------------------------------------ watching

    def started(self, node: SimulatedNode) -> None:
        """Write a life's beginning down; see `Observer`."""
        self._applied[node.name] = NO_SLOT
        self._note(node.name, "start", _found(node))
        self.run.oracle.started(node)

    def crashed(self, node: SimulatedNode, why: str) -> None:
        """Write a death down; see `Observer`."""
        self._note(node.name, "crash", why)
        self.run.oracle.crashed(node, why)

    def stepped(self, node: SimulatedNode, event: Event) -> None:
        """Write an arrival, and what it let a learner apply, down; see `Observer`."""
        if isinstance(event, Received):
            self._arrive(node.name, event)
        if isinstance(node.role, Learner):
            before, now = self._applied[node.name], node.role.machine.applied
            if now > before:
                self._applied[node.name] = now
                text = f"slot {now}" if now == before + 1 else f"slots {before + 1}..{now}"
                self._note(node.name, "applied", text, Slot(before + 1), now)
        self.run.oracle.stepped(node, event)

    def synced(self, node: SimulatedNode) -> None:
        """Pass on that something is durable; see `Observer`."""
        self.run.oracle.synced(node)

    def taking(self, node: SimulatedNode, slot: Slot) -> None:
        """Pass on that a snapshot is being taken; see `Observer`."""
        self.run.oracle.taking(node, slot)

    def kept(self, node: SimulatedNode) -> None:
        """Pass on that a snapshot has become durable; see `Observer`."""
        self.run.oracle.kept(node)

    def sent(self, node: SimulatedNode, effect: Send) -> None:
        """Write a message down before it is judged; see `Observer`."""
        sending = Sending(at_ms=self.now_ms, sender=node.name, to=effect.to, message=effect.message)
        self.sendings.append(sending)
        self._of_message.setdefault((node.name, id(effect.message)), []).append(sending)
        self.run.oracle.sent(node, effect)

    def delivered(self, connection: int, replies: list[Any]) -> None:
        """Pass on what a client is told; see `Observer`."""
        self.run.oracle.delivered(connection, replies)

    # ------------------------------------------------------------ writing down

    def _note(
        self, node: NodeId, what: str, text: str, first: Slot = NO_SLOT, last: Slot = NO_SLOT
    ) -> None:
        self.moments.append(
            Moment(at_ms=self.now_ms, node=node, what=what, text=text, first=first, last=last)
        )

    def _arrive(self, node: NodeId, event: Received) -> None:
        """The earliest sending of this very message that has not arrived here has arrived."""
        for sending in self._of_message.get((event.sender, id(event.message)), ()):
            if node in sending.to and node not in sending.arrived:
                sending.arrived[node] = self.now_ms
                return

    def _noting(self, fault: Fault) -> Callable[[], None]:
        """Return what writes a fault down at its moment, just before it begins."""

        def note() -> None:
            healed_ms = self.run.options.time_ms
            if self.now_ms > healed_ms:
                return
            world = self.run.world
            leader = world.leader or world.membership.proposers[0]
            nodes = tuple(dict.fromkeys(leader if n == LEADER else n for n in fault.nodes))
            ended_ms = min(fault.at_ms + fault.for_ms, healed_ms)
            self.episodes.append(
                Episode(fault=fault, nodes=nodes, began_ms=self.now_ms, ended_ms=ended_ms)
            )

        return note

    def _note_traces(self) -> None:
        for at, node, trace in self.run.world.traces:
            self.moments.append(_moment(at - self.began_ms, node, trace))

    def _note_missing_links(self) -> None:
        """The world keeps what went into a link: for the others there was none."""
        linked = {
            (at - self.began_ms, sender, to, id(message))
            for at, sender, to, message in self.run.world.sent
        }
        for sending in self.sendings[:-1]:
            sending.parted = tuple(
                to
                for to in sending.to
                if (sending.at_ms, sending.sender, to, id(sending.message)) not in linked
            )


def _moment(at_ms: float, node: NodeId, trace: Trace) -> Moment:
    return Moment(at_ms=at_ms, node=node, what=trace.what, text=trace.text)


def _found(node: SimulatedNode) -> str:
    """Say what a node finds on its volume when it starts."""
    if node.journal is None:
        return "with nothing to remember"
    recovered = node.journal.recovered
    if recovered.damage is not None:
        return f"its volume is damaged: {recovered.damage}"
    if recovered.stamp is None:
        return "its volume is blank"
    words = [f"{recovered.repaired}" if recovered.repaired else "its volume is whole"]
    if isinstance(node.role, Acceptor):
        words.append(f"promised {recovered.promised}, highest slot {node.journal.highest_slot}")
    elif recovered.counter:
        words.append(f"ballot counter {recovered.counter}")
    return ", ".join(words)
