"""The one loop of a node: step, persist, sync, send.

Everything that arrives in one turn of the event loop is stepped first; then, once, what those
steps want durable is synced, and only then everything they want sent leaves, one write per link.
So votes that arrive together share one sync, and batches hold what arrived together.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import msgspec

from paxos import __version__
from paxos.core.acceptor import Acceptor
from paxos.core.discovery import Discovery
from paxos.core.effects import (
    CancelTimer,
    Connected,
    Deliver,
    Disconnected,
    Event,
    Received,
    Relink,
    Send,
    SetTimer,
    Start,
    TakeSnapshot,
    TimerFired,
    WritePart,
)
from paxos.core.gateway import Gateway
from paxos.core.learner import Learner
from paxos.core.messages import Book, Register
from paxos.core.proposer import Proposer
from paxos.core.quorum import Membership
from paxos.core.settings import Settings
from paxos.core.stepper import Stepper
from paxos.core.trace import Level, Trace
from paxos.core.types import (
    NO_BALLOT,
    Ballot,
    NodeId,
    Role,
    Slot,
    number_of,
    place_of,
    role_of,
)
from paxos.transport.handshake import Peer
from paxos.transport.links import Links
from paxos.transport.versions import WIRE_VERSION

from . import metrics, readiness
from .addresses import Addresses
from .clock import Clock
from .logs import LogRing
from .snapshots import SnapshotWork
from .timers import Timers
from .upkeep import AcceptorUpkeep, LearnerUpkeep, Sighting, acceptor_upkeep, learner_upkeep

AnyRole = Acceptor | Proposer | Learner | Gateway | Discovery


class NodeRuntime:
    """Runs one role. Tells doors what to deliver, and pages what there is to see."""

    def __init__(
        self,
        *,
        node: NodeId,
        membership: Membership,
        settings: Settings,
        stepper: Stepper,
        role: AnyRole,
        clock: Clock,
        log: LogRing,
        addresses: Addresses,
        page_ports: dict[NodeId, int],
        host: str,
        peer_port: int,
        incarnation: int,
        door_port: int | None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.log = log
        self.role_object = role
        self._node = node
        self._discovery = membership.discovery
        self._settings = settings
        self._stepper = stepper
        self._clock = clock
        self._addresses = addresses
        self._page_ports = page_ports
        self._host = host
        self._peer_port = peer_port
        self._incarnation = incarnation
        self._door_port = door_port
        self._started_s = clock.now_s()
        self._timers = Timers(self.loop, self._on_timer)
        self._links: Links | None = None
        self._release_due = False
        self._stopped = False
        self._cluster_shown = ""
        self._down_since: dict[NodeId, float] = {}
        self._refusals: dict[tuple[str, str], float] = {}
        self.deliver: Callable[[list[Deliver]], None] | None = None
        self.resume: Callable[[], None] | None = None
        self.connections: Callable[[], int] | None = None
        self.snapshots: SnapshotWork | None = None
        self.volume_bytes: Callable[[], int] | None = None
        # A learner hears of the kept snapshots from the acceptors, an acceptor has its own.
        self._sighting = Sighting(role.keeping.kept_here if isinstance(role, Acceptor) else Slot(0))
        self._registration: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------ life

    async def start(self, links: Links, bind: str) -> None:
        """Listen and dial, then let the role begin. Raises ConfigurationError for a taken port."""
        self._links = links
        self._relink()
        await links.start(bind, self._peer_port)
        self.note(
            Trace(
                what="started",
                text=f"{self._node} {__version__} started, process {os.getpid()}",
                fields={"incarnation": self._incarnation},
            )
        )
        self.submit(Start())
        self._register()

    async def stop(self) -> None:
        """Release what is due, then close everything."""
        if self._release_due:
            self._release()
        self._stopped = True
        self._timers.cancel_all()
        if self._registration is not None:
            self._registration.cancel()
        if self.snapshots is not None:
            self.snapshots.stop()
        if self._links is not None:
            await self._links.stop()
        self.note(Trace(what="stopped", text=f"{self._node} stopped"))

    # ------------------------------------------------------------ the loop

    def submit(self, event: Event) -> None:
        """Step the role with an event; its effects leave at the end of this turn."""
        if self._stopped:
            return
        self._stepper.step(event)
        if not self._release_due:
            self._release_due = True
            self.loop.call_soon(self._release)

    def _release(self) -> None:
        """Persist, sync, send: the end of a turn."""
        self._release_due = False
        if self._stopped or self._links is None:
            return
        links = self._links
        deliveries: list[Deliver] = []
        for effect in self._stepper.release():
            kind = type(effect)
            if kind is Send:
                links.send(effect.to, effect.message, effect.relaxed)  # type: ignore[union-attr]
            elif kind is Deliver:
                deliveries.append(effect)  # type: ignore[arg-type]
            elif kind is SetTimer:
                self._timers.set(effect.name, effect.after_ms)  # type: ignore[union-attr]
            elif kind is CancelTimer:
                self._timers.cancel(effect.name)  # type: ignore[union-attr]
            elif kind is Trace:
                self.note(effect)  # type: ignore[arg-type]
            elif kind is Relink:
                self._relink()
            elif kind is WritePart and self.snapshots is not None:
                self.snapshots.write(effect)  # type: ignore[arg-type]
            elif kind is TakeSnapshot and self.snapshots is not None:
                self.snapshots.take(effect.slot)  # type: ignore[union-attr]
        if deliveries and self.deliver is not None:
            self.deliver(deliveries)
        links.flush()
        if (cluster := self.cluster()) != self._cluster_shown:
            self._cluster_shown = cluster
            links.tell_identity()
        role = self.role_object
        # Looked at in every turn: a queue can pass its bound and fall below it within one.
        if self.resume is not None and isinstance(role, Gateway) and role.relieved:
            self.resume()

    def _relink(self) -> None:
        """Keep links with the members of the newest configuration that the role knows."""
        view = self.role_object.view
        self._addresses.adopt(view.configuration.members.addresses)
        if self._links is not None:
            self._links.relink(view.membership)

    def _on_timer(self, name: str) -> None:
        self.submit(TimerFired(name=name))

    def note(self, trace: Trace) -> None:
        """Write one thing that happened into the log."""
        self.log.add(trace, self._clock.now_s())

    @property
    def overloaded(self) -> bool:
        """Whether the role asks doors to stop reading."""
        return isinstance(self.role_object, Gateway) and self.role_object.overloaded

    # ------------------------------------------------------------ links tell

    def on_connected(self, peer: Peer) -> None:
        """A link stands."""
        self._down_since.pop(peer.node, None)
        if peer.version < WIRE_VERSION:
            self.note(
                Trace(
                    what="link_older",
                    text=f"version {peer.version} of the messages is spoken with {peer.node}: "
                    "what is newer is not sent",
                    level=Level.DEBUG,
                )
            )
        self.submit(
            Connected(
                peer=peer.node,
                cluster=peer.cluster,
                version=peer.version,
                incarnation=peer.incarnation,
            )
        )

    def on_disconnected(self, node: NodeId) -> None:
        """A link has closed."""
        if self._stopped:
            return
        self._down_since[node] = self._clock.now_s()
        self.note(Trace(what="link_down", text=f"the link to {node} closed", level=Level.DEBUG))
        self.submit(Disconnected(peer=node))

    def on_message(self, sender: NodeId, message: Any) -> None:
        """A message has arrived."""
        if type(message) is Book:
            self._addresses.learn(message)
            return
        self.submit(Received(sender=sender, message=message))

    def on_refused(self, who: str, reason: str) -> None:
        """A connection was closed because of what the other side did. One line per cause and
        minute: a stranger that knocks again and again shall not fill the log.
        """
        if self._stopped:
            return
        now = self._clock.now_s()
        host = who.rpartition(":")[0] or who
        if now - self._refusals.get((host, reason), -60.0) < 60:
            return
        if len(self._refusals) >= 1000:
            self._refusals.clear()
        self._refusals[host, reason] = now
        self.note(
            Trace(
                what="connection_refused",
                text=f"closed the connection with {who}: {reason}",
                level=Level.WARNING,
                glyph="!",
            )
        )

    # ------------------------------------------------------------ discovery

    def _register(self) -> None:
        """Tell discovery who and where this node is, again and again."""
        if self._stopped or self._links is None or self._node == self._discovery:
            return
        register = Register(
            node=self._node,
            host=self._host,
            peer_port=self._peer_port,
            page_port=self._page_ports[place_of(self._node)],
            incarnation=self._incarnation,
            cluster=self.cluster(),
            leader=self._leader_ballot(),
            summary=readiness.summary(self.role_object, self._upkeep()),
        )
        self._links.send((self._discovery,), register)
        self._links.flush()
        self._registration = self.loop.call_later(
            self._settings.timeouts.registration_ms / 1000, self._register
        )

    def _leader_ballot(self) -> Ballot:
        """Return the ballot that this node itself has seen lead; 0 where roles do not know."""
        role = self.role_object
        if isinstance(role, Proposer):
            return role.status().leader_ballot
        if isinstance(role, Acceptor):
            return role.status().leader_ballot
        return NO_BALLOT

    def cluster(self) -> str:
        """Return the identity of the cluster that this node is a member of, or ""."""
        role = self.role_object
        if isinstance(role, Acceptor):
            # One that joins was made for that cluster, and must get into no other.
            return role.cluster if role.voting or role.joining else ""
        if isinstance(role, Proposer | Learner | Gateway):
            return role.cluster
        return ""

    # ------------------------------------------------------------ what pages and doors see

    @property
    def node(self) -> str:
        """The node's name."""
        return self._node

    @property
    def role(self) -> str:
        """The node's role."""
        return role_of(self._node).value

    @property
    def neighbours(self) -> list[tuple[str, int]]:
        """Every member whose page port is known, with it."""
        ports = {node: self._page_port(node) for node in self.role_object.view.membership.nodes}
        return [(node, port) for node, port in ports.items() if port is not None]

    def _page_port(self, node: NodeId) -> int | None:
        return self._page_ports.get(place_of(node)) or self._addresses.page_port(node)

    def _membership(self) -> dict[str, Any]:
        """Return what `/state` shows of the configuration in force."""
        view = self.role_object.view
        members = view.membership
        return {
            "epoch": view.epoch,
            "slot": view.slot,
            "acceptors": list(members.acceptors),
            "proposers": list(members.proposers),
            "learners": list(members.learners),
            "clients": list(members.gateways),
            "member": self._node in members.nodes,
        }

    def members(self) -> dict[str, Any]:
        """Return what `MEMBER LIST` shows: the configuration in force, as this node knows it."""
        known = self._membership()
        roles = ("proposers", "acceptors", "learners", "clients")
        return {
            "epoch": known["epoch"],
            "slot": known["slot"],
            "cluster": self.cluster(),
            **{role: [self._described(node) for node in known[role]] for role in roles},
        }

    def _described(self, node: NodeId) -> dict[str, Any]:
        """Return what is known here of one member: where it is, and for acceptors if it votes."""
        described: dict[str, Any] = {"node": node, "page_port": self._page_port(node)}
        if role_of(node) is Role.ACCEPTOR and isinstance(self.role_object, Gateway):
            quorum = self.role_object.status().quorum
            described["voting"] = node in quorum.voting
            if node in quorum.abstaining:
                described["reason"] = quorum.abstaining[node]
        return described

    def state(self) -> dict[str, Any]:
        """Return what `/state` shows."""
        healthy, _ = self.health()
        ready, reason = self.readiness()
        now = self._clock.now_s()
        status = msgspec.to_builtins(self.role_object.status())
        if isinstance(self.role_object, Gateway):
            status["connections"] = self.connections() if self.connections else 0
            status["door"] = self._door_port
        return {
            "node": self._node,
            "role": self.role,
            "number": number_of(self._node),
            "version": __version__,
            "cluster": self.cluster(),
            "pid": os.getpid(),
            "uptime_s": round(now - self._started_s, 1),
            "incarnation": self._incarnation,
            "healthy": healthy,
            "ready": ready,
            "reason": reason,
            "memory_bytes": _memory_bytes(),
            "volume_bytes": self._volume_bytes(),
            "membership": self._membership(),
            "links": self._links_state(now),
            "runtime": {
                "messages_dropped": self._links.dropped if self._links else 0,
                "messages_withheld": self._links.withheld if self._links else 0,
            },
            "upkeep": msgspec.to_builtins(self._upkeep()),
            "status": status,
        }

    def _volume_bytes(self) -> int | None:
        return self.volume_bytes() if self.volume_bytes is not None else None

    def _upkeep(self) -> AcceptorUpkeep | LearnerUpkeep | None:
        """Look at what the role says of its snapshots; None where it has none.

        Called once a registration at least, so that a snapshot's age is right to a second or so.
        """
        role, now = self.role_object, self._clock.now_s()
        if isinstance(role, Acceptor):
            acceptor = role.status()
            self._sighting.note(acceptor.keeping.snapshot_slot, now, witnessed=True)
            return acceptor_upkeep(
                self._node,
                acceptor,
                role.view.membership,
                self._settings.limits,
                age_s=self._sighting.age_s(now),
                volume_bytes=self._volume_bytes(),
            )
        if isinstance(role, Learner):
            learner = role.status()
            kept = learner.snapshots.kept_slot
            # One that is ahead of what is applied here was there before this learner.
            self._sighting.note(kept, now, witnessed=learner.applied >= kept)
            return learner_upkeep(
                self._node,
                learner,
                role.view.membership,
                self._settings.limits,
                age_s=self._sighting.age_s(now),
            )
        return None

    def _links_state(self, now: float) -> list[dict[str, Any]]:
        connected = self._links.connected if self._links else {}
        state: list[dict[str, Any]] = []
        # Members first; then whoever else has a link: one that joins, one that was removed.
        for peer in dict.fromkeys((*self.role_object.view.membership.nodes, *connected)):
            link = connected.get(peer)
            if link is not None:
                since = self.loop.time() - link.since
                version = link.peer.version if link.peer is not None else 0
                state.append(
                    {
                        "peer": peer,
                        "connected": True,
                        "since_s": round(since, 1),
                        "version": version,
                    }
                )
            elif peer in self._down_since:
                since = now - self._down_since[peer]
                state.append({"peer": peer, "connected": False, "since_s": round(since, 1)})
        return state

    def health(self) -> tuple[bool, str]:
        """The process lives and its loop turns, or nobody would be answering."""
        return True, ""

    def readiness(self) -> tuple[bool, str]:
        """Tell whether this node can do its job; if not, why."""
        connected = frozenset(self._links.connected) if self._links else frozenset()
        return readiness.judge(self.role_object, connected)

    def metrics(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return metrics.render(self.state())

    # the doors' port

    def status(self) -> dict[str, Any]:
        """Return what the `STATUS` command shows."""
        state = self.state()
        return {
            "node": state["node"],
            "ready": state["ready"],
            "reason": state["reason"],
            **state["status"],
        }

    def responses(self, limit: int | None) -> list[tuple[int, int, int, int, float]]:
        """Return the latest confirmations, oldest first."""
        role = self.role_object
        if not isinstance(role, Gateway):
            return []
        now_ms = self._clock.now_ms()
        confirmations = list(role.confirmations)
        if limit is not None:
            confirmations = confirmations[-limit:] if limit > 0 else []
        return [
            (c.slot, c.revision, c.sequence, c.commands, round((now_ms - c.at_ms) / 1000, 3))
            for c in confirmations
        ]

    @property
    def ready(self) -> bool:
        """Whether the gateway can serve."""
        return self.readiness()[0]


def _memory_bytes() -> int:
    """Return this process's resident memory in bytes."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
