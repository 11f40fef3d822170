"""A whole cluster in one thread: seeded schedule, network, disks, clocks, crashes and pauses.

The roles, the stepper and the state machine are production's own. The world replaces what is
around them: time jumps from event to event, messages travel through a network that a test can
cut, clog, delay, drop from and reorder, and journals forget what was not synced when a node
crashes. A sync may take its time; events that arrive meanwhile are held and then share the next
one, as in the real loop. Snapshots are taken and written beside that. The same seed gives the same
run.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

import msgspec

from paxos.core.acceptor import Acceptor
from paxos.core.discovery import Discovery
from paxos.core.effects import (
    LINGER_MS,
    CancelTimer,
    ClientChange,
    ClientGone,
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
    Relink,
    Send,
    SetTimer,
    Stamped,
    Start,
    TakeSnapshot,
    TimerFired,
    WritePart,
)
from paxos.core.errors import StorageError
from paxos.core.gateway import Gateway
from paxos.core.learner import Learner
from paxos.core.messages import AnyMessage, Book, SnapshotPart
from paxos.core.proposer import Proposer
from paxos.core.quorum import Membership
from paxos.core.settings import Settings
from paxos.core.stepper import Stepper
from paxos.core.trace import Trace
from paxos.core.types import NodeId, Role, Slot, node_id, role_of
from paxos.machine.machine import Machine

from .disk import SimulatedJournal, SimulatedSnapshots
from .snapshot_work import SnapshotWork

_TALK = frozenset(
    map(
        frozenset,
        (
            (Role.CLIENT, Role.PROPOSER),
            (Role.CLIENT, Role.LEARNER),
            (Role.PROPOSER, Role.ACCEPTOR),
            (Role.PROPOSER, Role.LEARNER),
            (Role.PROPOSER, Role.PROPOSER),
            (Role.LEARNER, Role.ACCEPTOR),
            (Role.ACCEPTOR, Role.ACCEPTOR),
            *((role, Role.DISCOVERY) for role in Role if role is not Role.DISCOVERY),
        ),
    )
)
"""Which roles have links with one another, as in `transport.links`."""

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


class Observer(Protocol):
    """Who watches the world: checkers, and the hash of what happened."""

    def started(self, node: SimulatedNode) -> None:
        """A node begins a life; its role is made and has taken no step yet."""
        ...

    def crashed(self, node: SimulatedNode, why: str) -> None:
        """A node has died."""
        ...

    def stepped(self, node: SimulatedNode, event: Event) -> None:
        """A node has taken an event in; nothing of that step has left it."""
        ...

    def synced(self, node: SimulatedNode) -> None:
        """What a node wanted durable is durable; nothing of those steps has left it."""
        ...

    def taking(self, node: SimulatedNode, slot: Slot) -> None:
        """A learner's state is copied aside, to become the snapshot of `slot`."""
        ...

    def kept(self, node: SimulatedNode) -> None:
        """A snapshot has become whole and durable on a node; its role does not know it yet."""
        ...

    def sent(self, node: SimulatedNode, effect: Send) -> None:
        """A node sends a message: all that it wanted durable before is durable."""
        ...

    def delivered(self, connection: int, replies: list[Any]) -> None:
        """A client is told replies."""
        ...


class NodeClock:
    """What a node takes for the time: the world's time, as a broken clock would show it.

    `rate` is how fast it runs (0: it stands). Timers run with it, except where it stands.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._shown_ms = world.now_ms
        self._since_ms = world.now_ms
        self.rate = 1.0
        self.highest_ms = world.now_ms

    def now_ms(self) -> float:
        """Return what the clock shows."""
        if self.rate == 1.0 and self._shown_ms == self._since_ms:
            return self._world.now_ms
        shown = self._shown_ms + (self._world.now_ms - self._since_ms) * self.rate
        self.highest_ms = max(self.highest_ms, shown)
        return shown

    def set(self, rate: float, jump_ms: float = 0.0) -> None:
        """Run at another rate from now on, after a jump."""
        self._shown_ms = self.now_ms() + jump_ms
        self._since_ms = self._world.now_ms
        self.rate = rate
        self.highest_ms = max(self.highest_ms, self._shown_ms)

    def mend(self) -> None:
        """Run rightly again, and show no time before what was shown: so does the real clock,
        which is monotonic within a process.
        """
        behind = self.highest_ms - self.now_ms()
        self.set(1.0, max(0.0, behind))


class SimulatedNode:
    """One node: its role, its journal, its clock, its timers, whether it runs.

    `held` is what arrived while the node was paused or in a sync. `doom` is None, or at which
    point of its next sync the node shall die: see `World.crash_at_sync`. `ambush` is None, or what
    it shall die at with the point in it: see `World.crash_when`. `taking` tells that a snapshot of
    its state is being written; `disk_free_ms` is when the last part of one is.
    """

    def __init__(self, name: NodeId, world: World) -> None:
        self.name = name
        self.journal: SimulatedJournal | None = None
        self.snapshots: SimulatedSnapshots | None = None
        self.role: AnyRole | None = None
        self.stepper: Stepper | None = None
        self.clock = NodeClock(world)
        self.running = False
        self.paused = False
        self.syncing = False
        self.release_due = False
        self.doom: str | None = None
        self.ambush: tuple[str, str] | None = None
        self.taking = False
        self.disk_free_ms = 0.0
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
        self.founding = membership or membership_of()
        self.membership = self.founding
        """The members by the log, as whoever watches the world has seen it decide."""
        self.retired: set[NodeId] = set()
        self.settings = settings or Settings()
        self.network = network or Network()
        # What the network is like when no fault makes it worse.
        self.calm = msgspec.structs.replace(self.network)
        self.now_ms = 1_000_000.0
        self.traces: list[tuple[float, NodeId, Trace]] = []
        self.sent: list[tuple[float, NodeId, NodeId, AnyMessage]] = []
        self.replies: dict[int, list[Any]] = {}
        self.keep_messages = False
        self.steps = 0
        self.observer: Observer | None = None
        self.sync_ms = (0.0, 0.0)
        self.make_machine: Callable[[NodeId], Machine] = lambda _: Machine()
        self.nodes = {name: SimulatedNode(name, self) for name in self.membership.nodes}
        # How many times each direction is cut: partitions may overlap.
        self._cut: dict[tuple[NodeId, NodeId], int] = {}
        # Directions that hold messages back until a time, to deliver them all then.
        self._clogged: dict[tuple[NodeId, NodeId], float] = {}
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.snapshot_work = SnapshotWork(self, self._step)
        self._timer_ids = itertools.count(1)
        self._last_arrival: dict[tuple[NodeId, NodeId], float] = {}
        # Relaxed messages that stay behind, per link and life of their sender.
        self._lingering: dict[tuple[NodeId, NodeId], tuple[int, list[AnyMessage]]] = {}
        # When a node is told that its link to another has closed, and that the next one stands.
        self._closed: dict[tuple[NodeId, NodeId], float] = {}
        self._opened: dict[tuple[NodeId, NodeId], float] = {}
        # A dict for its order: sets of strings are ordered by PYTHONHASHSEED.
        self._linked: dict[frozenset[NodeId], tuple[NodeId, NodeId]] = {}
        for node in self.nodes.values():
            self._furnish(node)

    # ------------------------------------------------------------ nodes

    def start(self, names: Iterable[NodeId] | None = None) -> None:
        """Start nodes (all by default) and link them with those that run."""
        for name in names if names is not None else tuple(self.nodes):
            self._start(self.nodes[name])

    def _furnish(self, node: SimulatedNode) -> None:
        if role_of(node.name) in (Role.ACCEPTOR, Role.PROPOSER, Role.LEARNER):
            node.journal = self._new_journal()
        if role_of(node.name) is Role.ACCEPTOR:
            node.snapshots = SimulatedSnapshots()

    def add(self, name: NodeId, stamp: Stamped | None = None) -> None:
        """Put a new node into the world, with a blank volume or one that was stamped for it."""
        node = self.nodes[name] = SimulatedNode(name, self)
        self._furnish(node)
        if stamp is not None and node.journal is not None:
            node.journal.append(stamp)
            node.journal.sync()
            node.journal = node.journal.next_life()

    def retire(self, name: NodeId) -> None:
        """Stop a node for good."""
        self.crash(name, why="retired")
        self.retired.add(name)

    @property
    def identity(self) -> str:
        """The identity of the cluster, once an acceptor is open; "" before."""
        for node in self.nodes.values():
            stamp = node.journal.durable.stamp if node.journal is not None else None
            if stamp is not None and stamp.phase == "open":
                return stamp.cluster
        return ""

    def _start(self, node: SimulatedNode) -> None:
        if node.running or node.name in self.retired:
            return
        if self._refuses_to_start(node):
            return
        node.life += 1
        node.running, node.paused = True, False
        node.syncing = node.release_due = False
        node.doom = node.ambush = None
        node.taking, node.disk_free_ms = False, 0.0
        node.timers, node.held = {}, []
        node.role = self._make_role(node)
        node.stepper = Stepper(node.role, node.journal, node.clock.now_ms, self.random.random)
        if self.observer is not None:
            self.observer.started(node)
        self._step(node, Start())
        if not node.running:
            return
        for other in self.nodes.values():
            if other.running and other is not node:
                self._link(node.name, other.name)

    def _refuses_to_start(self, node: SimulatedNode) -> bool:
        """An acceptor stays up on a damaged volume and says so; the others stop at once."""
        damaged = node.journal is not None and node.journal.recovered.damage is not None
        return damaged and role_of(node.name) is not Role.ACCEPTOR

    def _make_role(self, node: SimulatedNode) -> AnyRole:
        membership, settings = self.founding, self.settings
        recovered = node.journal.recovered if node.journal else Recovered()
        match role_of(node.name):
            case Role.PROPOSER:
                return Proposer(node.name, membership, settings, recovered)
            case Role.ACCEPTOR:
                if node.journal is None:
                    raise TypeError(f"{node.name} has no journal")
                return Acceptor(
                    node.name, membership, settings, node.journal, recovered, node.snapshots
                )
            case Role.LEARNER:
                machine = self.make_machine(node.name)
                # A learner keeps no snapshot from one life to the next.
                node.snapshots = SimulatedSnapshots()
                return Learner(node.name, membership, settings, machine, recovered, node.snapshots)
            case Role.CLIENT:
                return Gateway(node.name, membership, settings)
            case Role.DISCOVERY:
                return Discovery(node.name, membership, settings)

    def crash(self, name: NodeId, kept: float = 0.0, why: str = "killed") -> None:
        """kill -9, or power lost: everything volatile is gone, and what was not synced is gone
        but for a share of it, from 0 to 1: the disk may have written the first part of a batch.
        """
        node = self.nodes[name]
        if not node.running:
            return
        node.running = False
        node.role = node.stepper = None
        if node.journal is not None:
            unsynced = node.journal.unsynced
            node.journal = node.journal.next_life(kept=int(kept * (unsynced + 0.999)))
        if node.snapshots is not None and role_of(name) is Role.ACCEPTOR:
            node.snapshots = node.snapshots.next_life()
            if node.journal is not None:
                node.journal.admit(node.snapshots.newest, node.snapshots.damage)
        if self.observer is not None:
            self.observer.crashed(node, why)
        for other in self.nodes.values():
            self._unlink(name, other.name)

    def _new_journal(self) -> SimulatedJournal:
        journal = SimulatedJournal()
        journal.sync_ms = self.sync_ms
        return journal

    def set_sync_ms(self, low: float, high: float) -> None:
        """Let every sync of every disk take between so many simulated milliseconds."""
        self.sync_ms = (low, high)
        for node in self.nodes.values():
            if node.journal is not None:
                node.journal.sync_ms = self.sync_ms

    def crash_at_sync(self, name: NodeId, point: str) -> None:
        """Let a running node die at its next sync: `before` it, when nothing is on disk; in its
        middle (`torn`), when a part is; `after` it, when all is and nobody was told; or while it
        tells (`telling`), when some messages have left and others have not.
        """
        if self.nodes[name].running:
            self.nodes[name].doom = point

    def crash_when(self, name: NodeId, doing: str, point: str = "") -> None:
        """Let a running node die at what it does next with a snapshot: `taking` one; when it is
        `pulled` part by part; when it writes a `part`; or, at a `point` as in `crash_at_sync`, at
        the sync that carries a `cut`.
        """
        if self.nodes[name].running:
            self.nodes[name].ambush = doing, point

    def wipe(self, name: NodeId) -> None:
        """Crash a node and lose its volume."""
        self.crash(name)
        node = self.nodes[name]
        if node.journal is not None:
            node.journal = self._new_journal()
        if node.snapshots is not None:
            node.snapshots = SimulatedSnapshots()

    def pause(self, name: NodeId) -> None:
        """SIGSTOP: links stay, nothing is handled until `resume`."""
        self.nodes[name].paused = True

    def resume(self, name: NodeId) -> None:
        """SIGCONT: what arrived meanwhile is handled now."""
        node = self.nodes[name]
        node.paused = False
        if node.release_due:
            self._release(node)
        if not node.syncing:
            self._step_held(node)

    def role(self, name: NodeId) -> Any:
        """Return a running node's role."""
        return self.nodes[name].role

    # ------------------------------------------------------------ network

    def cut(self, one: Iterable[NodeId], other: Iterable[NodeId], both: bool = True) -> None:
        """Cut the network from each of `one` to each of `other`, and back when `both`."""
        others = list(other)
        for a in one:
            for b in others:
                self._cut[a, b] = self._cut.get((a, b), 0) + 1
                if both:
                    self._cut[b, a] = self._cut.get((b, a), 0) + 1

    def mend(self, directions: Iterable[tuple[NodeId, NodeId]]) -> None:
        """Take one cut off each of these directions."""
        for direction in directions:
            count = self._cut.pop(direction, 0)
            if count > 1:
                self._cut[direction] = count - 1
        self._link_all()

    def clog(self, directions: Iterable[tuple[NodeId, NodeId]], for_ms: float) -> None:
        """Hold messages back in these directions for a while, then deliver them all."""
        for direction in directions:
            self._clogged[direction] = self.now_ms + for_ms

    def flap(self, a: NodeId, b: NodeId) -> None:
        """Close the link of two nodes and open it again at once."""
        self._unlink(a, b)
        if self.nodes[a].running and self.nodes[b].running:
            self._link(a, b)

    def heal(self) -> None:
        """Mend every cut and clog; links that closed come back."""
        self._cut.clear()
        self._clogged.clear()
        self._link_all()

    def _link_all(self) -> None:
        for a, b in itertools.combinations(tuple(self.nodes), 2):
            if self.nodes[a].running and self.nodes[b].running:
                self._link(a, b)

    def _link(self, a: NodeId, b: NodeId) -> None:
        pair = frozenset((a, b))
        if (
            frozenset((role_of(a), role_of(b))) not in _TALK
            or pair in self._linked
            or (a, b) in self._cut
            or (b, a) in self._cut
        ):
            return
        self._linked[pair] = (a, b)
        for one, other in ((a, b), (b, a)):
            event = self._connected(other)
            # A node is told of a link's end before it is told of the next one's beginning, and
            # of that before anything comes over it.
            self._opened[one, other] = max(self.now_ms, self._closed.get((one, other), 0.0))
            self.after(self._opened[one, other] - self.now_ms, self._delivery(one, event))

    def _unlink(self, a: NodeId, b: NodeId) -> None:
        pair = frozenset((a, b))
        if pair not in self._linked:
            return
        del self._linked[pair]
        for one, other in ((a, b), (b, a)):
            if self.nodes[one].running:
                delay = self.random.uniform(0.0, self.network.delay_ms_max)
                self._closed[one, other] = self.now_ms + delay
                self.after(delay, self._delivery(one, Disconnected(peer=other)))

    def _connected(self, peer: NodeId) -> Connected:
        life = self.nodes[peer].life
        return Connected(peer=peer, cluster=self._cluster(peer), incarnation=life)

    def _cluster(self, name: NodeId) -> str:
        role = self.nodes[name].role
        if isinstance(role, Acceptor):
            return role.cluster if role.voting or role.joining else ""
        return role.cluster if isinstance(role, Proposer | Learner) else ""

    def inject(self, sender: NodeId, to: NodeId, message: AnyMessage) -> None:
        """Send a message in a node's name that its role has not sent."""
        self._send(sender, to, message)

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
            arrival = max(arrival, self._opened.get((to, sender), 0.0))
            if self._clogged:
                arrival = max(arrival, self._clogged.get((sender, to), 0.0))
            if not network.reorder:
                arrival = max(arrival, self._last_arrival.get((sender, to), 0.0))
                self._last_arrival[sender, to] = arrival
            event = Received(sender=sender, message=message)
            self.after(arrival - self.now_ms, self._delivery(to, event))

    def _delivery(self, name: NodeId, event: Event) -> Callable[[], None]:
        node = self.nodes[name]
        life = node.life

        def deliver() -> None:
            if node.running and node.life == life:
                self._step(node, event)

        return deliver

    # ------------------------------------------------------------ time

    def after(self, delay_ms: float, action: Callable[[], None]) -> None:
        """Do something after so many simulated milliseconds."""
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
        if node.paused or node.syncing:
            node.held.append(event)
            return
        if node.stepper is None:
            return
        shown = self._cluster(node.name)
        self._take(node, event)
        self._end_turn(node)
        if self._cluster(node.name) != shown:
            self._tell_identity(node.name)

    def _step_held(self, node: SimulatedNode) -> None:
        """Take in everything that was held; it is one turn of the node's loop."""
        if not node.held or node.paused or node.syncing or node.stepper is None:
            return
        shown = self._cluster(node.name)
        held, node.held = node.held, []
        for event in held:
            self._take(node, event)
        self._end_turn(node)
        if self._cluster(node.name) != shown:
            self._tell_identity(node.name)

    def _take(self, node: SimulatedNode, event: Event) -> None:
        if node.stepper is None:
            return
        self.steps += 1
        try:
            node.stepper.step(event)
        except StorageError as error:
            self.crash(node.name, why=str(error))
            return
        if self.observer is not None:
            self.observer.stepped(node, event)

    def _end_turn(self, node: SimulatedNode) -> None:
        """Sync what the turn wants durable, which may take a while, and let the rest leave."""
        if node.stepper is None:
            return
        journal = node.journal
        if journal is None or not node.stepper.unsynced:
            self._release(node)
            return
        if node.ambush is not None and node.ambush[0] == "cut" and journal.cutting:
            node.doom = node.ambush[1]
        if node.doom in ("before", "torn"):
            kept = self.random.random() if node.doom == "torn" else 0.0
            self.crash(node.name, kept, f"killed at a sync ({node.doom})")
            return
        low, high = journal.sync_ms
        if high == 0.0 and not journal.hung:
            self._release(node)
            return
        node.syncing = True
        self._wait_for_disk(node, self.random.uniform(low, high))

    def _wait_for_disk(self, node: SimulatedNode, after_ms: float) -> None:
        life = node.life

        def done() -> None:
            if not node.running or node.life != life or not node.syncing:
                return
            if node.journal is not None and node.journal.hung:
                self._wait_for_disk(node, 10.0)
                return
            node.syncing = False
            if node.paused:
                node.release_due = True
                return
            self._release(node)
            self._step_held(node)

        self.after(after_ms, done)

    def _release(self, node: SimulatedNode) -> None:
        node.release_due = False
        if node.stepper is None:
            return
        unsynced = node.stepper.unsynced
        doom = node.doom if unsynced else None
        try:
            effects = node.stepper.release()
        except StorageError as error:
            self.crash(node.name, why=str(error))
            return
        if unsynced and self.observer is not None:
            self.observer.synced(node)
        if doom == "telling":
            effects = self._some_of(effects)
        if doom != "after":
            for effect in effects:
                self._perform(node, effect)
        if doom is not None and node.running:
            self.crash(node.name, why=f"killed at a sync ({doom})")

    def _some_of(self, effects: list[Effect]) -> list[Effect]:
        """Return what leaves of a turn's effects when their node dies on the way: each message to
        some of its receivers.
        """
        told: list[Effect] = []
        for effect in effects:
            if type(effect) is Send:
                to = tuple(name for name in effect.to if self.random.random() < 0.5)
                told.append(Send(to=to, message=effect.message, relaxed=effect.relaxed))
        return told

    def _tell_identity(self, name: NodeId) -> None:
        for a, b in self._linked.values():
            if name in (a, b):
                other = b if name == a else a
                event = self._connected(name)
                self.after(self.network.delay_ms_max, self._delivery(other, event))

    def _perform(self, node: SimulatedNode, effect: Effect) -> None:
        match effect:
            case Send(to=to, message=message, relaxed=relaxed):
                if self.observer is not None:
                    self.observer.sent(node, effect)
                for other in to:
                    if relaxed:
                        self._linger(node, other, message)
                    else:
                        self._flush(node, other)
                        self._send(node.name, other, message)
                if type(message) is SnapshotPart:
                    self.snapshot_work.part_left(node)
            case TakeSnapshot(slot=slot):
                self.snapshot_work.take(node, slot)
            case WritePart():
                self.snapshot_work.write(node, effect)
            case SetTimer(name=name, after_ms=after_ms):
                self._set_timer(node, name, after_ms)
            case CancelTimer(name=name):
                node.timers.pop(name, None)
            case Deliver(connection=connection, replies=replies):
                self.replies.setdefault(connection, []).extend(replies)
                if self.observer is not None:
                    self.observer.delivered(connection, replies)
            case Relink():
                pass  # here every two nodes have a link whose roles talk
            case Trace():
                self.traces.append((self.now_ms, node.name, effect))

    def _linger(self, node: SimulatedNode, to: NodeId, message: AnyMessage) -> None:
        """Keep a relaxed message until something urgent goes the same way, or for a while. One
        that its node leaves behind when it dies is lost.
        """
        life, messages = self._lingering.get((node.name, to), (0, []))
        if messages and life == node.life:
            messages.append(message)
            return
        self._lingering[node.name, to] = (node.life, [message])
        self.after(self.random.uniform(0.0, LINGER_MS), lambda: self._flush(node, to))

    def _flush(self, node: SimulatedNode, to: NodeId) -> None:
        """Send what has stayed behind."""
        life, messages = self._lingering.pop((node.name, to), (0, []))
        if node.running and life == node.life:
            for message in messages:
                self._send(node.name, to, message)

    def _set_timer(self, node: SimulatedNode, name: str, after_ms: float) -> None:
        number = next(self._timer_ids)
        node.timers[name] = number
        life = node.life

        def fire() -> None:
            if node.running and node.life == life and node.timers.get(name) == number:
                del node.timers[name]
                self._step(node, TimerFired(name=name))

        # A timer runs with its node's clock; where that stands, the loop's own still turns.
        self.after(after_ms / (node.clock.rate or 1.0), fire)

    # ------------------------------------------------------------ clients

    def submit(
        self,
        gateway: NodeId,
        event: ClientWrites | ClientReads | ClientStaleReads | ClientChange | ClientGone,
    ) -> None:
        """Hand client commands to a gateway, or tell it that a client has gone."""
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
