"""A whole cluster in one thread: seeded schedule, network, disks, crashes and pauses.

The roles, the stepper and the state machine are production's own. The world replaces what is
around them: time jumps from event to event, messages travel through a network that a test can
cut, delay, drop from and reorder, and journals forget what was not synced when a node crashes.
The same seed gives the same run.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from paxos.core.acceptor import Acceptor
from paxos.core.discovery import Discovery
from paxos.core.effects import (
    CancelTimer,
    ClientReads,
    ClientStaleReads,
    ClientWrites,
    Connected,
    Deliver,
    Disconnected,
    Effect,
    Event,
    Received,
    Recovered,
    Send,
    SetTimer,
    Start,
    TimerFired,
)
from paxos.core.gateway import Gateway
from paxos.core.learner import Learner
from paxos.core.messages import AnyMessage, Book
from paxos.core.proposer import Proposer
from paxos.core.quorum import Membership
from paxos.core.settings import Settings
from paxos.core.stepper import Stepper
from paxos.core.trace import Trace
from paxos.core.types import NodeId, Role, node_id, role_of
from paxos.machine.machine import Machine
from paxos.storage.memory import MemoryJournal
from paxos.transport.links import dialed_by

AnyRole: TypeAlias = Acceptor | Proposer | Learner | Gateway | Discovery


def membership_of(
    acceptors: int = 3, proposers: int = 3, learners: int = 2, gateways: int = 2
) -> Membership:
    """Return a membership of so many nodes of each role."""

    def named(role: Role, count: int) -> tuple[NodeId, ...]:
        return tuple(node_id(role, number) for number in range(1, count + 1))

    return Membership(
        acceptors=named(Role.ACCEPTOR, acceptors),
        proposers=named(Role.PROPOSER, proposers),
        learners=named(Role.LEARNER, learners),
        gateways=named(Role.CLIENT, gateways),
        discovery=node_id(Role.DISCOVERY),
    )


class Network(msgspec.Struct, kw_only=True):
    """How messages travel. Delays in milliseconds, probabilities from 0 to 1."""

    delay_ms_min: float = 0.1
    delay_ms_max: float = 1.0
    loss: float = 0.0
    duplication: float = 0.0
    reorder: bool = False


class SimulatedNode:
    """One node: its role, its journal, its timers, whether it runs."""

    def __init__(self, name: NodeId) -> None:
        self.name = name
        self.journal: MemoryJournal | None = None
        self.role: AnyRole | None = None
        self.stepper: Stepper | None = None
        self.running = False
        self.paused = False
        self.life = 0
        self.timers: dict[str, int] = {}
        self.held: list[Event] = []


class World:
    """A cluster and the world around it. `seed` decides everything."""

    def __init__(
        self,
        seed: int = 0,
        membership: Membership | None = None,
        settings: Settings | None = None,
        network: Network | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.membership = membership or membership_of()
        self.settings = settings or Settings()
        self.network = network or Network()
        self.now_ms = 1_000_000.0
        self.traces: list[tuple[float, NodeId, Trace]] = []
        self.sent: list[tuple[float, NodeId, NodeId, AnyMessage]] = []
        self.replies: dict[int, list[Any]] = {}
        self.keep_messages = False
        self.steps = 0
        self.nodes = {name: SimulatedNode(name) for name in self.membership.nodes}
        self._cut: set[tuple[NodeId, NodeId]] = set()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._timer_ids = itertools.count(1)
        self._last_arrival: dict[tuple[NodeId, NodeId], float] = {}
        self._closed: dict[tuple[NodeId, NodeId], float] = {}
        # A dict for its order: sets of strings are ordered by PYTHONHASHSEED.
        self._linked: dict[frozenset[NodeId], tuple[NodeId, NodeId]] = {}
        for node in self.nodes.values():
            if role_of(node.name) in (Role.ACCEPTOR, Role.PROPOSER, Role.LEARNER):
                node.journal = MemoryJournal()

    # ------------------------------------------------------------ nodes

    def start(self, names: Iterable[NodeId] | None = None) -> None:
        """Start nodes (all by default) and link them with those that run."""
        for name in names if names is not None else self.membership.nodes:
            self._start(self.nodes[name])

    def _start(self, node: SimulatedNode) -> None:
        if node.running:
            return
        node.life += 1
        node.running, node.paused = True, False
        node.timers, node.held = {}, []
        node.role = self._make_role(node)
        node.stepper = Stepper(node.role, node.journal, lambda: self.now_ms, self.random.random)
        self._step(node, Start())
        for other in self.nodes.values():
            if other.running and other is not node:
                self._link(node.name, other.name)

    def _make_role(self, node: SimulatedNode) -> AnyRole:
        membership, settings = self.membership, self.settings
        recovered = node.journal.recovered if node.journal else Recovered()
        match role_of(node.name):
            case Role.PROPOSER:
                return Proposer(node.name, membership, settings, recovered)
            case Role.ACCEPTOR:
                if node.journal is None:
                    raise TypeError(f"{node.name} has no journal")
                return Acceptor(node.name, membership, settings, node.journal, recovered)
            case Role.LEARNER:
                return Learner(node.name, membership, settings, Machine(), recovered)
            case Role.CLIENT:
                return Gateway(node.name, membership, settings)
            case Role.DISCOVERY:
                return Discovery(node.name, membership, settings)

    def crash(self, name: NodeId) -> None:
        """kill -9: everything volatile is gone, and so is what was not synced."""
        node = self.nodes[name]
        if not node.running:
            return
        node.running = False
        node.role = node.stepper = None
        if node.journal is not None:
            node.journal = node.journal.crash()
        for other in self.nodes.values():
            self._unlink(name, other.name)

    def wipe(self, name: NodeId) -> None:
        """Crash a node and lose its volume."""
        self.crash(name)
        if self.nodes[name].journal is not None:
            self.nodes[name].journal = MemoryJournal()

    def pause(self, name: NodeId) -> None:
        """SIGSTOP: links stay, nothing is handled until `resume`."""
        self.nodes[name].paused = True

    def resume(self, name: NodeId) -> None:
        """SIGCONT: what arrived meanwhile is handled now."""
        node = self.nodes[name]
        node.paused = False
        held, node.held = node.held, []
        for event in held:
            self._step(node, event)

    def role(self, name: NodeId) -> Any:
        """Return a running node's role."""
        return self.nodes[name].role

    # ------------------------------------------------------------ network

    def cut(self, one: Iterable[NodeId], other: Iterable[NodeId], both: bool = True) -> None:
        """Cut the network from each of `one` to each of `other`, and back when `both`."""
        others = list(other)
        for a in one:
            for b in others:
                self._cut.add((a, b))
                if both:
                    self._cut.add((b, a))

    def heal(self) -> None:
        """Mend every cut; links that closed come back."""
        self._cut.clear()
        for a, b in itertools.combinations(self.membership.nodes, 2):
            if self.nodes[a].running and self.nodes[b].running:
                self._link(a, b)

    def _link(self, a: NodeId, b: NodeId) -> None:
        pair = frozenset((a, b))
        talk = b in dialed_by(a, self.membership) or a in dialed_by(b, self.membership)
        if not talk or pair in self._linked or (a, b) in self._cut or (b, a) in self._cut:
            return
        self._linked[pair] = (a, b)
        for one, other in ((a, b), (b, a)):
            event = Connected(peer=other, cluster=self._cluster(other))
            # A node is told of a link's end before it is told of the next one's beginning.
            delay = max(0.0, self._closed.get((one, other), 0.0) - self.now_ms)
            self._later(delay, self._delivery(one, event))

    def _unlink(self, a: NodeId, b: NodeId) -> None:
        pair = frozenset((a, b))
        if pair not in self._linked:
            return
        del self._linked[pair]
        for one, other in ((a, b), (b, a)):
            if self.nodes[one].running:
                delay = self.random.uniform(0.0, self.network.delay_ms_max)
                self._closed[one, other] = self.now_ms + delay
                self._later(delay, self._delivery(one, Disconnected(peer=other)))

    def _cluster(self, name: NodeId) -> str:
        role = self.nodes[name].role
        if isinstance(role, Acceptor):
            return role.cluster if role.voting else ""
        return role.cluster if isinstance(role, Proposer | Learner) else ""

    def _send(self, sender: NodeId, to: NodeId, message: AnyMessage) -> None:
        if isinstance(message, Book) or frozenset((sender, to)) not in self._linked:
            return
        if self.keep_messages:
            self.sent.append((self.now_ms, sender, to, message))
        network = self.network
        if (sender, to) in self._cut or self.random.random() < network.loss:
            return
        copies = 2 if self.random.random() < network.duplication else 1
        for _ in range(copies):
            arrival = self.now_ms + self.random.uniform(network.delay_ms_min, network.delay_ms_max)
            if not network.reorder:
                arrival = max(arrival, self._last_arrival.get((sender, to), 0.0))
                self._last_arrival[sender, to] = arrival
            event = Received(sender=sender, message=message)
            self._later(arrival - self.now_ms, self._delivery(to, event))

    def _delivery(self, name: NodeId, event: Event) -> Callable[[], None]:
        node = self.nodes[name]
        life = node.life

        def deliver() -> None:
            if node.running and node.life == life:
                self._step(node, event)

        return deliver

    # ------------------------------------------------------------ time

    def _later(self, delay_ms: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now_ms + delay_ms, next(self._order), action))

    def run_for(self, duration_ms: float) -> None:
        """Let simulated time pass."""
        end = self.now_ms + duration_ms
        while self._queue and self._queue[0][0] <= end:
            self._next()
        self.now_ms = end

    def run_until(self, condition: Callable[[], bool], within_ms: float = 20_000) -> bool:
        """Run until a condition holds; tell whether it did within the simulated time."""
        end = self.now_ms + within_ms
        while not condition():
            if not self._queue or self._queue[0][0] > end:
                return False
            self._next()
        return True

    def _next(self) -> None:
        at, _, action = heapq.heappop(self._queue)
        self.now_ms = max(self.now_ms, at)
        action()

    def _step(self, node: SimulatedNode, event: Event) -> None:
        if node.paused:
            node.held.append(event)
            return
        if node.stepper is None:
            return
        shown = self._cluster(node.name)
        self.steps += 1
        node.stepper.step(event)
        for effect in node.stepper.release():
            self._perform(node, effect)
        if self._cluster(node.name) != shown:
            self._tell_identity(node.name)

    def _tell_identity(self, name: NodeId) -> None:
        for a, b in self._linked.values():
            if name in (a, b):
                other = b if name == a else a
                event = Connected(peer=name, cluster=self._cluster(name))
                self._later(self.network.delay_ms_max, self._delivery(other, event))

    def _perform(self, node: SimulatedNode, effect: Effect) -> None:
        match effect:
            case Send(to=to, message=message):
                for other in to:
                    self._send(node.name, other, message)
            case SetTimer(name=name, after_ms=after_ms):
                self._set_timer(node, name, after_ms)
            case CancelTimer(name=name):
                node.timers.pop(name, None)
            case Deliver(connection=connection, replies=replies):
                self.replies.setdefault(connection, []).extend(replies)
            case Trace():
                self.traces.append((self.now_ms, node.name, effect))

    def _set_timer(self, node: SimulatedNode, name: str, after_ms: float) -> None:
        number = next(self._timer_ids)
        node.timers[name] = number
        life = node.life

        def fire() -> None:
            if node.running and node.life == life and node.timers.get(name) == number:
                del node.timers[name]
                self._step(node, TimerFired(name=name))

        self._later(after_ms, fire)

    # ------------------------------------------------------------ clients

    def submit(self, gateway: NodeId, event: ClientWrites | ClientReads | ClientStaleReads) -> None:
        """Hand client commands to a gateway."""
        self._step(self.nodes[gateway], event)

    def ask(self, gateway: NodeId, connection: int, *commands: list[bytes]) -> None:
        """Send writes over a client connection; replies gather in `replies[connection]`."""
        self.submit(gateway, ClientWrites(connection=connection, commands=list(commands)))

    def read(self, gateway: NodeId, connection: int, *commands: list[bytes]) -> None:
        """Send linearizable reads over a client connection."""
        self.submit(gateway, ClientReads(connection=connection, commands=list(commands)))

    def wait_for_replies(self, connection: int, count: int, within_ms: float = 20_000) -> list[Any]:
        """Run until a connection has so many replies in all, and return them."""
        self.run_until(lambda: len(self.replies.get(connection, [])) >= count, within_ms)
        return self.replies.get(connection, [])

    # ------------------------------------------------------------ looking

    @property
    def leader(self) -> NodeId | None:
        """The running proposer that leads with the highest ballot, if any does."""
        leading = [
            (role.ballot, name)
            for name in self.membership.proposers
            if (role := self.nodes[name].role) is not None
            and isinstance(role, Proposer)
            and role.phase.value == "leading"
        ]
        return max(leading)[1] if leading else None
