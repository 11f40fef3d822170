"""Discovery: the address book. Soft state only, and nothing that safety or progress needs.

Nodes register and renew; what is not renewed for three intervals is forgotten. Killed and
restarted blank, it knows everything again within one interval (DESIGN rule 2: with it down, or
lying, the cluster stays safe and goes on working). It refuses to elect: the leader it shows is the
highest ballot that the nodes themselves report.
"""

from __future__ import annotations

import msgspec

from .configuring import View
from .effects import (
    Connected,
    Drained,
    Effect,
    Event,
    Received,
    Relink,
    Send,
    SetTimer,
    Start,
    TimerFired,
)
from .messages import AskConfiguration, Book, Configuration, Register, Registration
from .quorum import Membership
from .settings import Settings
from .trace import Level, Trace
from .types import NO_BALLOT, Ballot, NodeId, owner_of, role_of


class RegisteredStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the book, as shown to people and programs."""

    node: NodeId
    role: str
    host: str
    peer_port: int
    page_port: int
    incarnation: int
    age_s: float
    cluster: str
    leader_ballot: Ballot
    summary: str


class DiscoveryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable snapshot: the whole book, and the leader as the nodes report it."""

    nodes: list[RegisteredStatus]
    missing: list[NodeId]
    leader: NodeId | None
    ballot: Ballot


class Discovery:
    """The discovery node as a step function."""

    def __init__(self, node: NodeId, membership: Membership, settings: Settings) -> None:
        self.node = node
        self.book: dict[NodeId, Register] = {}
        self.view = View(membership)
        self._timeouts = settings.timeouts
        self._heard_ms: dict[NodeId, float] = {}
        self._clock_ms = 0.0

    def step(self, event: Event, now_ms: float, dice: float) -> list[Effect]:
        """Take one event in and return what shall be done about it."""
        self._clock_ms = now_ms
        match event:
            case Received(sender=sender, message=Register() as message):
                return self._on_register(sender, message, now_ms)
            case Received(message=Configuration() as message):
                return self._on_configuration(message)
            case Received(sender=sender, message=AskConfiguration()):
                return self.view.told(sender)
            case Connected(peer=peer):
                return self.view.told(peer)
            case Start() | TimerFired():
                return [*self._forget(now_ms), self._timer()]
            case Drained():
                return []
            case _:
                return []

    def _on_configuration(self, message: Configuration) -> list[Effect]:
        if not self.view.adopt(message):
            return []
        gone = [node for node in self.book if node not in self.view.membership.nodes]
        for node in gone:
            del self.book[node], self._heard_ms[node]
        return [Relink(configuration=message)]

    def _timer(self) -> Effect:
        return SetTimer(name="forget", after_ms=self._timeouts.registration_ms)

    def _on_register(self, sender: NodeId, message: Register, now_ms: float) -> list[Effect]:
        if message.node != sender or sender not in self.view.membership.nodes:
            return [
                Trace(
                    what="registration_refused",
                    text=f"{sender} tried to register as {message.node}",
                    level=Level.WARNING,
                    glyph="!",
                )
            ]
        known = self.book.get(sender)
        if known is not None and message.incarnation < known.incarnation:
            return []  # a message of the node's earlier life
        self.book[sender] = message
        self._heard_ms[sender] = now_ms
        effects: list[Effect] = []
        if known is None or known.incarnation != message.incarnation:
            effects.append(
                Trace(
                    what="registered",
                    text=f"{sender} registered at {message.host}:{message.peer_port}",
                    glyph="<",
                    fields={"node": sender, "incarnation": message.incarnation},
                )
            )
        entries = [
            Registration(
                node=r.node,
                host=r.host,
                peer_port=r.peer_port,
                page_port=r.page_port,
                incarnation=r.incarnation,
            )
            for r in self.book.values()
        ]
        return [*effects, Send(to=(sender,), message=Book(entries=entries))]

    def _forget(self, now_ms: float) -> list[Effect]:
        oldest = now_ms - 3 * self._timeouts.registration_ms
        silent = [node for node, heard in self._heard_ms.items() if heard < oldest]
        for node in silent:
            del self.book[node], self._heard_ms[node]
        return [
            Trace(
                what="forgotten",
                text=f"{node} has not renewed its registration",
                level=Level.WARNING,
                fields={"node": node},
            )
            for node in silent
        ]

    def status(self) -> DiscoveryStatus:
        """Return an immutable snapshot."""
        ballot = max((r.leader for r in self.book.values()), default=NO_BALLOT)
        nodes = self.view.membership.nodes
        order = {node: i for i, node in enumerate(nodes)}
        return DiscoveryStatus(
            nodes=[
                RegisteredStatus(
                    node=r.node,
                    role=role_of(r.node).value,
                    host=r.host,
                    peer_port=r.peer_port,
                    page_port=r.page_port,
                    incarnation=r.incarnation,
                    age_s=round((self._clock_ms - self._heard_ms[r.node]) / 1000, 1),
                    cluster=r.cluster,
                    leader_ballot=r.leader,
                    summary=r.summary,
                )
                for r in sorted(self.book.values(), key=lambda r: order[r.node])
            ],
            missing=[
                n for n in self.view.membership.nodes if n not in self.book and n != self.node
            ],
            leader=owner_of(ballot) if ballot else None,
            ballot=ballot,
        )
