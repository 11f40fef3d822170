"""A simulated node's slow work on snapshots, beside its turns: as runtime/snapshots.py does it.

A learner's state is copied at once, as a forked child sees it, and is a snapshot a while later. An
acceptor's parts are written one after the other, each in its time, whatever its journal does
meanwhile. What was not finished when the node dies is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paxos.core.effects import Event, PartWritten, SnapshotFailed, SnapshotTaken, WritePart
from paxos.core.errors import StorageError
from paxos.core.learner import Learner
from paxos.core.types import Slot
from paxos.machine.machine import Machine
from paxos.machine.snapshot import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import SimulatedNode, World

HUNG_MS = 10.0
"""How often a part that waits for a hung disk looks whether it moves again."""


class SnapshotWork:
    """The snapshots that are being taken and written in one world. `step` hands events to roles.

    `taking_ms` and `part_ms` are the bounds of how long it takes to take one and to write a part of
    one; `taking_fails` is how likely it is that one cannot be taken.
    """

    def __init__(self, world: World, step: Callable[[SimulatedNode, Event], None]) -> None:
        self.taking_ms = (1.0, 20.0)
        self.part_ms = (0.1, 1.0)
        self.taking_fails = 0.0
        self._world = world
        self._step = step

    @property
    def under_way(self) -> bool:
        """Whether some learner takes a snapshot, or some acceptor writes a part of one."""
        now_ms = self._world.now_ms
        return any(
            node.running and (node.taking or node.disk_free_ms > now_ms)
            for node in self._world.nodes.values()
        )

    def take(self, node: SimulatedNode, slot: Slot) -> None:
        """Copy a learner's state now, and tell it in a while that this is the snapshot of `slot`.

        Raises TypeError for a node that has no state.
        """
        machine = node.role.machine if isinstance(node.role, Learner) else None
        snapshots = node.snapshots
        if not isinstance(machine, Machine) or snapshots is None:
            raise TypeError(f"{node.name} has no state to take a snapshot of")
        world = self._world
        if world.observer is not None:
            world.observer.taking(node, slot)
        content = b"".join(encode(machine))
        fails = world.random.random() < self.taking_fails
        takes_ms = world.random.uniform(*self.taking_ms)
        node.taking = True

        def taken() -> None:
            node.taking = False
            if fails:
                reason = "the child that wrote it was ended by signal 9"
                self._step(node, SnapshotFailed(slot=slot, reason=reason))
            else:
                self._step(node, SnapshotTaken(snapshot=snapshots.adopt(slot, content)))

        if self._ambushed(node, "taking"):
            self._die(node, takes_ms * world.random.random(), "while it took a snapshot")
        self._later(node, takes_ms, taken)

    def write(self, node: SimulatedNode, part: WritePart) -> None:
        """Write a part when those before it are written, and tell the node."""
        world = self._world
        begins_ms = max(node.disk_free_ms, world.now_ms)
        takes_ms = world.random.uniform(*self.part_ms)
        node.disk_free_ms = begins_ms + takes_ms
        if self._ambushed(node, "part"):
            wait_ms = begins_ms - world.now_ms + 2 * takes_ms * world.random.random()
            self._die(node, wait_ms, "while it wrote a part of a snapshot")
        self._later(node, node.disk_free_ms - world.now_ms, lambda: self._written(node, part))

    def part_left(self, node: SimulatedNode) -> None:
        """A part of a node's snapshot was sent to somebody."""
        if self._world.random.random() < 0.5 and self._ambushed(node, "pulled"):
            self._die(node, 0.0, "while its snapshot was pulled")

    def _written(self, node: SimulatedNode, part: WritePart) -> None:
        if node.journal is not None and node.journal.hung:
            node.disk_free_ms = max(node.disk_free_ms, self._world.now_ms) + HUNG_MS
            self._later(node, HUNG_MS, lambda: self._written(node, part))
            return
        if node.snapshots is None:
            return
        try:
            whole = node.snapshots.write_part(part.slot, part.size, part.offset, part.data)
        except StorageError as error:
            self._step(node, SnapshotFailed(slot=part.slot, reason=str(error)))
            return
        if whole and self._world.observer is not None:
            self._world.observer.kept(node)
        self._step(node, PartWritten(slot=part.slot, offset=part.offset + len(part.data)))

    def _ambushed(self, node: SimulatedNode, doing: str) -> bool:
        if node.ambush is None or node.ambush[0] != doing:
            return False
        node.ambush = "dying", ""
        return True

    def _die(self, node: SimulatedNode, wait_ms: float, doing: str) -> None:
        def die() -> None:
            # Not where the fault has ended meanwhile.
            if node.ambush == ("dying", ""):
                self._world.crash(node.name, why=f"killed {doing}")

        self._later(node, wait_ms, die)

    def _later(self, node: SimulatedNode, wait_ms: float, action: Callable[[], None]) -> None:
        """Do something in a while, unless the node's life is over by then."""
        life = node.life

        def act() -> None:
            if node.running and node.life == life:
                action()

        self._world.after(wait_ms, act)
