"""Random faults against a whole cluster in one thread; the seed decides everything.

Safety: whatever is killed, paused, cut off or slowed down, nothing acknowledged is lost, nothing is
applied twice, learners agree and reads never go back. Liveness: once the world heals, every client
gets its answers (DESIGN, "Rules that are never broken").
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from paxos.core.effects import ClientReads, ClientWrites
from paxos.core.types import NodeId
from paxos.sim.world import Network, World


class Client:
    """One client connection that sends one command after the other and keeps what it was told."""

    def __init__(self, world: World, number: int, gateway: NodeId) -> None:
        self.world = world
        self.number = number
        self.gateway = gateway
        self.life = world.nodes[gateway].life
        self.connection = number
        self.asked: list[bytes] = []
        self.acknowledged: set[bytes] = set()
        self.maybe: set[bytes] = set()
        self.never: set[bytes] = set()
        self.waiting: tuple[str, bytes] | None = None
        self.answers = 0
        self.listed = 0
        self.errors: list[str] = []
        self.sent = 0

    def turn(self) -> None:
        """Take an answer in, if there is one, and send the next command."""
        if self.waiting is not None:
            kind, value = self.waiting
            if self.world.nodes[self.gateway].life != self.life:
                self.maybe.add(value)  # the gateway died with the connection
                self.reconnect()
            else:
                replies = self.world.replies.get(self.connection, [])
                if len(replies) == self.answers:
                    return
                self.take(kind, value, replies[self.answers])
        if not self.world.nodes[self.gateway].running:
            return
        self.sent += 1
        value = b"%d-%d" % (self.number, self.sent)
        if self.world.random.random() < 0.6:
            self.waiting = ("write", value)
            event: Any = ClientWrites(connection=self.connection, commands=[[b"WRITE", value]])
        else:
            self.waiting = ("read", b"")
            event = ClientReads(connection=self.connection, commands=[[b"READ"]])
        self.world.submit(self.gateway, event)

    def take(self, kind: str, value: bytes, reply: Any) -> None:
        """Judge one answer."""
        self.answers += 1
        self.waiting = None
        if isinstance(reply, dict):
            self.errors.append(reply["error"])
            if kind == "write":
                definite = reply["error"].startswith("UNAVAILABLE")
                (self.never if definite else self.maybe).add(value)
        elif kind == "write":
            self.acknowledged.add(value)
        else:
            values = [entry[1] for entry in reply]
            assert len(values) >= self.listed, "a read went back in time"
            self.listed = len(values)
            missing = self.acknowledged - set(values)
            assert not missing, f"acknowledged and yet not read: {missing}"

    def reconnect(self) -> None:
        """Open a new connection to the same gateway."""
        self.life = self.world.nodes[self.gateway].life
        self.connection += 1000
        self.answers = 0
        self.waiting = None


def harm(world: World, dice: random.Random) -> None:
    """Do one random thing to the world."""
    names = list(world.membership.nodes)
    what = dice.random()
    name = dice.choice(names)
    node = world.nodes[name]
    if what < 0.3:
        world.crash(name)
    elif what < 0.6:
        down = [n for n in names if not world.nodes[n].running]
        world.start(down[: dice.randint(1, 3)])
    elif what < 0.7 and node.running:
        world.pause(name)
    elif what < 0.8:
        for other in names:
            if world.nodes[other].paused:
                world.resume(other)
    elif what < 0.9:
        half = dice.sample(names, len(names) // 2)
        rest = [n for n in names if n not in half]
        world.cut(half, rest, both=dice.random() < 0.7)
    else:
        world.heal()


def restore(world: World) -> None:
    """Let everything run and talk again."""
    world.network.loss = 0.0
    for name, node in world.nodes.items():
        if node.paused:
            world.resume(name)
    world.start()
    world.heal()


SEEDS_PER_TEST = 10


@pytest.mark.parametrize("first", range(0, 200, SEEDS_PER_TEST))
def test_nothing_acknowledged_is_lost_when_everything_fails(first: int) -> None:
    """DESIGN rules 1 to 8, attacked by crashes, pauses, cuts, loss, duplicates and reordering."""
    acknowledged = sum(run(seed) for seed in range(first, first + SEEDS_PER_TEST))
    assert acknowledged > 10 * SEEDS_PER_TEST, "an idle run proves nothing"


def run(seed: int) -> int:
    """Live through one seed; return how many writes were acknowledged."""
    dice = random.Random(seed)
    network = Network(
        loss=dice.choice([0.0, 0.05, 0.2]),
        duplication=dice.choice([0.0, 0.1]),
        reorder=dice.random() < 0.3,
        delay_ms_max=dice.choice([1.0, 5.0, 30.0]),
    )
    world = World(seed, network=network)
    world.start()
    assert world.run_until(lambda: world.leader is not None), "no leader in a fresh cluster"
    gateways = world.membership.gateways
    clients = [Client(world, n, gateways[n % len(gateways)]) for n in range(1, 6)]
    for _ in range(120):
        if dice.random() < 0.3:
            harm(world, dice)
        for client in clients:
            client.turn()
        world.run_for(dice.uniform(1, 150))
    restore(world)

    def settled() -> bool:
        for client in clients:
            if client.waiting is not None:
                before = client.answers
                replies = world.replies.get(client.connection, [])
                if world.nodes[client.gateway].life != client.life:
                    client.maybe.add(client.waiting[1])
                    client.reconnect()
                elif len(replies) > before:
                    client.take(*client.waiting, replies[before])
        return all(client.waiting is None for client in clients)

    assert world.run_until(settled, within_ms=30_000), "an answer never came"
    learners = [world.role(name) for name in world.membership.learners]
    world.ask(gateways[0], 99_000_001, [b"WRITE", b"last"])
    assert isinstance(world.wait_for_replies(99_000_001, 1)[0], int), "no progress after healing"

    def level() -> bool:
        return len({learner.machine.applied for learner in learners}) == 1

    assert world.run_until(level, within_ms=30_000), "a learner stays behind"
    assert len({learner.machine.digest() for learner in learners}) == 1, "learners differ"
    world.read(gateways[1], 99_000_002, [b"READ"])
    values = [entry[1] for entry in world.wait_for_replies(99_000_002, 1)[0]]
    assert len(values) == len(set(values)), "a value was applied twice"
    acknowledged = set().union(*(client.acknowledged for client in clients))
    assert acknowledged <= set(values)
    never = set().union(*(client.never for client in clients))
    assert not never & set(values), "a write that 'did not happen' happened"
    return len(acknowledged)
