"""Clients of a simulated cluster: a closed loop on every gateway, and what it measures."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from paxos.core.effects import ClientReads, ClientWrites, Deliver
from paxos.core.types import NodeId

from .scaling_costs import Prices
from .scaling_layout import ROLES, Layout
from .scaling_world import NETWORK_MS, Busy, CostWorld

KEYS = 1000
SETTLING_MS = 2000.0
"""How long a new cluster is given to elect a leader and to open sessions."""
_KEY = b"k%012d"


@dataclass(frozen=True)
class Demand:
    """What clients ask of every gateway, or of the first `gateways` of them: so many requests
    outstanding on so many connections. `client_us` is what one operation costs the clients.
    """

    op: str
    outstanding: int
    connections: int
    value_bytes: int = 256
    client_us: float = 0.0
    gateways: int | None = None


@dataclass(frozen=True)
class Simulated:
    """What a run showed. `busy` is the share of its time that a role's busiest node works, from
    0 to 1, `disk` how long acceptors wait for their disks; `cpu_us` is by role, per operation.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    busy: dict[str, float]
    disk: float
    cpu_us: dict[str, float]


class Clients:
    """Keeps so many requests outstanding on every gateway."""

    def __init__(self, world: CostWorld, demand: Demand, network_ms: float, seed: int) -> None:
        self.latencies_ms: list[float] = []
        self.operations = 0
        self.measuring = False
        self._world = world
        self._demand = demand
        self._network_ms = network_ms
        self._dice = random.Random(seed)
        self._asked: dict[int, deque[float]] = {}
        self._value = self._dice.randbytes(demand.value_bytes)
        world.on_deliver = self._on_deliver

    def begin(self) -> None:
        """Send the first requests, spread over a little time."""
        connection = 0
        for gateway in self._world.membership.gateways[: self._demand.gateways]:
            share, more = divmod(self._demand.outstanding, self._demand.connections)
            for number in range(self._demand.connections):
                connection += 1
                self._asked[connection] = deque()
                count = share + (number < more)
                self._world.after(self._dice.random(), self._asking(gateway, connection, count))

    def _asking(self, gateway: NodeId, connection: int, count: int) -> Callable[[], None]:
        return lambda: self._ask(gateway, connection, count)

    def _ask(self, gateway: NodeId, connection: int, count: int) -> None:
        self._asked[connection].extend([self._world.now_ms] * count)
        keys = [_KEY % self._dice.randrange(KEYS) for _ in range(count)]
        event: ClientWrites | ClientReads
        if self._demand.op == "write":
            commands = [[b"SET", key, self._value] for key in keys]
            event = ClientWrites(connection=connection, commands=commands)
        else:
            event = ClientReads(connection=connection, commands=[[b"GET", key] for key in keys])
        self._world.after(self._network_ms, lambda: self._world.submit(gateway, event))

    def _on_deliver(self, gateway: NodeId, delivered: list[Deliver]) -> None:
        world = self._world
        for one in delivered:
            if one.connection in self._asked:
                world.after(self._network_ms, self._receiving(gateway, one))

    def _receiving(self, gateway: NodeId, one: Deliver) -> Callable[[], None]:
        count = len(one.replies)

        def received() -> None:
            asked = self._asked[one.connection]
            for _ in range(count):
                at_ms = asked.popleft()
                if self.measuring:
                    self.operations += 1
                    self.latencies_ms.append(self._world.now_ms - at_ms)
            again = self._asking(gateway, one.connection, count)
            if self._demand.client_us:
                self._world.work(self._demand.client_us * count / 1000, again)
            else:
                again()

        return received


def simulate(
    layout: Layout,
    demand: Demand,
    prices: Prices,
    *,
    warmup_ms: float,
    measured_ms: float,
    network_ms: float = NETWORK_MS,
    cores: int | None = None,
    seed: int = 1,
) -> Simulated:
    """Load a cluster of that layout for a while. The same arguments give the same outcome."""
    world = CostWorld(layout, prices, seed, network_ms, cores)
    settle(world, demand)
    clients = Clients(world, demand, network_ms, seed)
    clients.begin()
    world.run_for(warmup_ms)
    for name in world.busy:
        world.busy[name] = Busy()
    clients.measuring = True
    world.run_for(measured_ms)
    return _outcome(world, clients, measured_ms)


def settle(world: CostWorld, demand: Demand) -> None:
    """Start the nodes, wait until they can serve, and write every key once."""
    world.start()
    world.run_for(SETTLING_MS)
    value = bytes(demand.value_bytes)
    gateway = world.membership.gateways[0]
    world.ask(gateway, 0, *([b"SET", _KEY % key, value] for key in range(KEYS)))
    world.run_for(SETTLING_MS)


def _outcome(world: CostWorld, clients: Clients, measured_ms: float) -> Simulated:
    latencies_ms = sorted(clients.latencies_ms) or [0.0]
    busy = dict.fromkeys(ROLES, 0.0)
    cpu_us = dict.fromkeys(ROLES, 0.0)
    disk = 0.0
    for name, done in world.busy.items():
        role = world.role_name(name)
        if role not in busy:
            continue
        busy[role] = max(busy[role], done.cpu_ms / measured_ms)
        cpu_us[role] += done.cpu_ms * 1000 / max(1, clients.operations)
        if role == "acceptor":
            disk = max(disk, done.disk_ms / measured_ms)
    return Simulated(
        rate=clients.operations * 1000 / measured_ms,
        p50_ms=latencies_ms[len(latencies_ms) // 2],
        p99_ms=latencies_ms[len(latencies_ms) * 99 // 100],
        busy=busy,
        disk=disk,
        cpu_us=cpu_us,
    )
