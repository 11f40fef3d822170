"""A simulated cluster in which work takes time: every node is a server with one core.

The roles, the stepper and the state machine are production's own, as everywhere in the simulator.
Here a turn of a node's loop occupies it for what the turn costs by a price list (see
`scaling_costs`), an acceptor's sync for as long as its disk takes, and whatever arrives meanwhile
is held and shares the next turn, as in the real loop. Batches grow by that alone.

Clients are a closed loop: what a gateway answers on a connection is replaced as soon as the
answer has travelled to the client and the next request back. By default each node has a core, as
on a machine of its own, and clients cost nothing. With `cores`, all nodes and the clients take
turns on so many, as on one machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paxos.core.effects import (
    LINGER_MS,
    ClientReads,
    ClientWrites,
    Deliver,
    Effect,
    Event,
    Received,
    Send,
)
from paxos.core.learner import Learner
from paxos.core.messages import AnyMessage, ReadResults
from paxos.core.types import NodeId, Role, role_of
from paxos.sim.world import Network, SimulatedNode, World, membership_of

from .scaling_costs import Prices, Turn
from .scaling_layout import Layout

NETWORK_MS = 0.1
"""One way, between any two machines."""
_MESSAGE_BYTES = 40
"""About what a message has besides its payload, its frame included."""
_COMMAND_BYTES = 30
_PAYLOADS = ("batch", "value", "results", "commands")


@dataclass
class Busy:
    """What one node has done since the counting began."""

    cpu_ms: float = 0.0
    disk_ms: float = 0.0
    turns: int = 0


class CostWorld(World):
    """A `World` in which work takes time. See the module."""

    def __init__(
        self,
        layout: Layout,
        prices: Prices,
        seed: int = 0,
        network_ms: float = NETWORK_MS,
        cores: int | None = None,
    ) -> None:
        super().__init__(
            seed,
            membership_of(layout.acceptors, 3, layout.learners, layout.gateways),
            network=Network(delay_ms_min=network_ms * 0.8, delay_ms_max=network_ms * 1.2),
        )
        self.prices = prices
        self.busy: dict[NodeId, Busy] = {name: Busy() for name in self.nodes}
        self.on_deliver: Callable[[NodeId, list[Deliver]], None] = lambda _node, _effects: None
        self._cores = Cores(self, cores)
        # Whoever shares a machine shares its disk.
        self._disk = Cores(self, 1 if cores is not None else None)
        self._behind: dict[NodeId, dict[NodeId, list[AnyMessage]]] = {}
        self._debt: dict[NodeId, Turn] = {}

    def work(self, duration_ms: float, done: Callable[[], None]) -> None:
        """Let clients work for a while, on a core when the machine is shared."""
        self._cores.run(duration_ms, done)

    # ------------------------------------------------------------ turns

    def _step(self, node: SimulatedNode, event: Event) -> None:
        """Hold what arrives. An idle node wakes up for it, and takes what arrives until then."""
        node.held.append(event)
        if not node.syncing and node.running:
            node.syncing = True
            wake_ms = self.prices.wake_ms(self.role_name(node.name))
            self.busy[node.name].cpu_ms += wake_ms
            self._cores.run(wake_ms, lambda: self._turn(node))

    def _turn(self, node: SimulatedNode) -> None:
        """Take in everything that has arrived; occupy the node, then let its effects leave."""
        if node.stepper is None:
            return
        shown = self._cluster(node.name)
        turn = self._debt.pop(node.name, Turn())
        held, node.held = node.held, []
        self._count_in(node, held, turn)
        revision = _revision(node)
        effects = self._handle(node, held, turn)
        turn.written += _revision(node) - revision
        self._count_out(node, effects, turn)
        role = self.role_name(node.name)
        cpu_ms, disk_ms = self.prices.turn_ms(role, turn), self.prices.disk_ms(turn)
        busy = self.busy[node.name]
        busy.cpu_ms += cpu_ms
        busy.disk_ms += disk_ms
        busy.turns += 1

        def finished() -> None:
            if disk_ms:
                self._disk.run(disk_ms, lambda: self._finish(node, effects, shown))
            else:
                self._finish(node, effects, shown)

        # The core that woke the node up is still its own.
        self._cores.go_on(cpu_ms, finished)

    def _handle(self, node: SimulatedNode, events: list[Event], turn: Turn) -> list[Effect]:
        """Let the role handle a turn's events; return what shall leave."""
        for event in events:
            self._take(node, event)
        if node.stepper is None:
            return []
        if node.journal is not None and node.stepper.unsynced:
            turn.persisted = node.journal.unsynced
            turn.persisted_bytes = turn.bytes
        return node.stepper.release()

    def _finish(self, node: SimulatedNode, effects: list[Effect], shown: str) -> None:
        delivered: list[Deliver] = []
        for effect in effects:
            if type(effect) is Deliver:
                delivered.append(effect)
            else:
                self._perform(node, effect)
        if delivered:
            self.on_deliver(node.name, delivered)
        if self._cluster(node.name) != shown:
            self._tell_identity(node.name)
        if node.held:
            self._cores.run(0.0, lambda: self._turn(node))
        else:
            node.syncing = False

    def role_name(self, name: NodeId) -> str:
        """Return what a node is counted under: the proposer that leads is the leader."""
        role = role_of(name)
        if role is Role.PROPOSER:
            return "leader" if name == self.leader else "proposer"
        return "gateway" if role is Role.CLIENT else role.value

    # ------------------------------------------------------------ counting

    def _count_in(self, node: SimulatedNode, events: list[Event], turn: Turn) -> None:
        sources: dict[Any, None] = {}
        for event in events:
            match event:
                case Received(sender=sender, message=message):
                    sources[sender] = None
                    turn.messages_in += 1
                    turn.bytes += size_of(message)
                case ClientWrites(connection=connection, commands=commands):
                    sources[connection] = None
                    turn.written += len(commands)
                    turn.bytes += sum(map(_command_bytes, commands))
                case ClientReads(connection=connection, commands=commands):
                    sources[connection] = None
                    turn.fetched += len(commands)
                    turn.bytes += sum(map(_command_bytes, commands))
                case _:
                    pass
        turn.reads += len(sources)

    def _count_out(self, node: SimulatedNode, effects: list[Effect], turn: Turn) -> None:
        targets: dict[Any, None] = {}
        for effect in effects:
            if type(effect) is Send:
                turn.messages_out += 1
                turn.bytes += size_of(effect.message) * len(effect.to)
                if not effect.relaxed:
                    targets.update(dict.fromkeys(effect.to))
                if type(effect.message) is ReadResults:
                    turn.fetched += items_of(effect.message.results)
            elif type(effect) is Deliver:
                targets[effect.connection] = None
                turn.bytes += sum(map(_reply_bytes, effect.replies))
        turn.writes += len(targets)

    def _linger(self, node: SimulatedNode, to: NodeId, message: AnyMessage) -> None:
        """Keep a relaxed message until something urgent goes the same way, or for LINGER_MS, as
        the real links do; then its node wakes up once to write them all.
        """
        behind = self._behind.setdefault(node.name, {})
        if not behind:
            self.after(LINGER_MS, lambda: self._flush_all(node))
        behind.setdefault(to, []).append(message)

    def _flush(self, node: SimulatedNode, to: NodeId) -> None:
        for message in self._behind.get(node.name, {}).pop(to, ()):
            self._send(node.name, to, message)

    def _flush_all(self, node: SimulatedNode) -> None:
        behind = self._behind.pop(node.name, {})
        for to, messages in behind.items():
            for message in messages:
                self._send(node.name, to, message)
        debt = self._debt.setdefault(node.name, Turn())
        debt.writes += len(behind)


class Cores:
    """A machine's cores, taken in turn; or, without a number, one for each who asks."""

    def __init__(self, world: World, count: int | None) -> None:
        self._world = world
        self._free = count
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()

    def run(self, duration_ms: float, done: Callable[[], None]) -> None:
        """Occupy a core for a while, as soon as one is free."""
        if self._free == 0:
            self._waiting.append((duration_ms, done))
            return
        if self._free is not None:
            self._free -= 1
        self._begin(duration_ms, done)

    def go_on(self, duration_ms: float, done: Callable[[], None]) -> None:
        """Occupy the core that one has, in the `done` of its last use, for a while longer."""
        if self._free is not None:
            self._free -= 1
        self._begin(duration_ms, done)

    def _begin(self, duration_ms: float, done: Callable[[], None]) -> None:
        def ended() -> None:
            if self._free is None:
                done()
                return
            self._free += 1
            done()
            while self._free and self._waiting:
                self._free -= 1
                self._begin(*self._waiting.popleft())

        self._world.after(duration_ms, ended)


# ---------------------------------------------------------------- sizes and counts


def size_of(message: AnyMessage) -> int:
    """Return about how many bytes a message's frame has."""
    payloads = (getattr(message, name, b"") for name in _PAYLOADS)
    return _MESSAGE_BYTES + sum(len(payload) for payload in payloads)


def items_of(packed: bytes) -> int:
    """Return how many items a msgpack array has, by its header."""
    first = packed[0]
    if first & 0xF0 == 0x90:
        return first & 0x0F
    width = {0xDC: 2, 0xDD: 4}[first]
    return int.from_bytes(packed[1 : 1 + width], "big")


def _command_bytes(command: list[bytes]) -> int:
    return _COMMAND_BYTES + sum(map(len, command))


def _reply_bytes(reply: Any) -> int:
    return len(reply) + 10 if isinstance(reply, bytes) else 5


def _revision(node: SimulatedNode) -> int:
    """Return a learner's revision: it grows by one with every write that is applied."""
    return node.role.machine.revision if isinstance(node.role, Learner) else 0
