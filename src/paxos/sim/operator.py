"""An operator of a simulated cluster: adds, removes and replaces nodes while everything fails.

It does what `paxos member` does: asks for a change through some gateway, again and again until the
log has decided it, stops who is out, makes a volume for who is to come in, starts it. Two may be at
work at once, each with a wish of its own. A wish that was begun is seen through, however many
failures that takes, or given up where it has become senseless.
"""

from __future__ import annotations

from collections.abc import Callable

from paxos.core.effects import ClientChange, Stamped
from paxos.core.messages import Configuration
from paxos.core.types import NodeId, Role, in_life, life_of, node_id, place_of, role_of

from .dice import Dice
from .world import World

CHANGES = 95_000_000
"""Connections of operators begin here, above those of clients and of the run's own questions."""

LOOK_MS = 25.0
"""How often an operator looks for an answer."""

PATIENCE_MS = 2500.0
"""After so long without an answer it asks through another gateway."""

ACCEPTORS_MAX = 5

Step = Callable[[], bool]
"""Does a part of a wish; tells whether it is done."""


class Operator:
    """One operator. `done` counts its wishes that came true, by kind."""

    def __init__(self, world: World, seed: int, number: int, time_ms: float) -> None:
        self.done: dict[str, int] = {}
        self.refused = 0
        self._world = world
        self._dice = Dice(seed, f"operator {number}")
        self._connection = CHANGES + number * 1_000_000
        self._steps: list[Step] = []
        self._kind = ""
        self._asked_ms = float("-inf")
        self._stopped = False
        self._number = number
        at = self._dice.between(300.0, 1500.0)
        while at < time_ms:
            world.after(at, self._wish)
            at += self._dice.between(200.0, 2500.0)
        world.after(LOOK_MS, self._look)

    @property
    def busy(self) -> bool:
        """Whether a wish is under way."""
        return bool(self._steps)

    def stop(self) -> None:
        """Wish for nothing more; what is under way goes on."""
        self._stopped = True

    # ------------------------------------------------------------ wishes

    def _wish(self) -> None:
        if self._stopped or self._steps or not self._founded():
            return
        dice, members = self._dice, self._world.membership
        kind = dice.pick(("replace", "replace", "add", "remove", "learner", "proposer"))
        acceptors = members.acceptors
        if kind == "add" and len(acceptors) >= ACCEPTORS_MAX:
            kind = "remove"
        if kind == "remove" and len(acceptors) <= 3:
            kind = "add"
        self._kind = kind
        if kind == "replace":
            self._replace(dice.pick(acceptors))
        elif kind == "add":
            self._come_in(self._free(Role.ACCEPTOR))
        elif kind == "remove":
            self._go(dice.pick(acceptors))
        else:
            self._other(Role.LEARNER if kind == "learner" else Role.PROPOSER)

    def _other(self, role: Role) -> None:
        members = self._world.membership
        nodes = members.learners if role is Role.LEARNER else members.proposers
        # The founding learners stay: the run's last questions are about them.
        others = [node for node in nodes if node not in self._world.founding.learners]
        if len(nodes) >= 4 or (len(others) > 1 and self._dice.chance(0.5)):
            self._go(self._dice.pick(others))
        else:
            self._come_in(self._free(role))

    def _founded(self) -> bool:
        return bool(self._world.identity)

    def _free(self, role: Role) -> NodeId:
        """Return a node whose place nobody has had."""
        taken = {place_of(node) for node in self._world.nodes}
        # Each operator has numbers of its own, or two would start the same node.
        number = 10 + self._number  # and go on in steps of two
        while node_id(role, number) in taken:
            number += 2
        return node_id(role, number)

    def _replace(self, node: NodeId) -> None:
        place = place_of(node)
        # No two volumes are ever made for one name: each operator has lives of its own.
        life = max(life_of(n) for n in self._world.nodes if place_of(n) == place) + 1
        heir = in_life(place, life + (life + self._number) % 2)
        self._go(node)
        self._come_in(heir)

    def _come_in(self, node: NodeId) -> None:
        self._steps += [lambda: self._make(node), lambda: self._ask(node, add=True)]

    def _go(self, node: NodeId) -> None:
        self._steps += [lambda: self._ask(node, add=False), lambda: self._retire(node)]

    # ------------------------------------------------------------ steps

    def _look(self) -> None:
        while self._steps and self._steps[0]():
            self._steps.pop(0)
            if not self._steps:
                self.done[self._kind] = self.done.get(self._kind, 0) + 1
        self._world.after(LOOK_MS, self._look)

    def _make(self, node: NodeId) -> bool:
        """Make a node, with a volume that was made for this cluster, and start it."""
        world = self._world
        stamp = Stamped(
            cluster=world.identity,
            node=node,
            phase="joining",
            acceptors=world.founding.acceptors,
        )
        world.add(node, stamp if role_of(node) is Role.ACCEPTOR else None)
        world.start([node])
        return True

    def _retire(self, node: NodeId) -> bool:
        self._world.retire(node)
        return True

    def _ask(self, node: NodeId, *, add: bool) -> bool:
        """Ask for a change until the answer is an epoch: then the log has decided it."""
        world = self._world
        if add and node in world.retired:
            # It came in, and before this operator heard of it the other one took it out again.
            self.refused += 1
            self._connection += 1
            return True
        replies = world.replies.get(self._connection, [])
        if replies and not isinstance(replies[0], dict):
            self._connection += 1
            self._asked_ms = float("-inf")
            return True
        if replies or world.now_ms - self._asked_ms > PATIENCE_MS:
            if replies and replies[0]["error"].startswith("ERR"):
                # The other operator has made it impossible: the last one, or gone already.
                self.refused += 1
                self._steps = [self._steps[0]]
                self._connection += 1
                return True
            self._connection += 1
            gateways = [name for name in world.membership.gateways if world.nodes[name].running]
            self._asked_ms = world.now_ms
            if gateways:
                event = ClientChange(connection=self._connection, add=add, node=node)
                world.submit(self._dice.pick(gateways), event)
        return False


def newest(world: World) -> Configuration | None:
    """Return the newest configuration that any running node knows; None while there is none."""
    known = [node.role.view.configuration for node in world.nodes.values() if node.role is not None]
    found = max(known, key=lambda one: one.epoch, default=None)
    return found if found is not None and found.epoch else None
