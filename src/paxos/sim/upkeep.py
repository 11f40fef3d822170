"""Whether what is forgotten may be: the oracle's book of cuts and snapshots (DESIGN rule 9).

It knows what every disk held at any time, and trusts no node's word. A log may be cut up to a slot
only where every slot up to there is chosen and f + 1 acceptors have a whole snapshot of it or of a
later one: whichever f are lost, one of those remains. A lost volume counts for what it held, since
it is one of the f.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from paxos.core.types import NodeId, Role, Slot, role_of

from .world import SimulatedNode

Check = Callable[[bool, str], None]
"""Raises SafetyViolation with the text unless the first is true."""


class Upkeep:
    """What the disks of all acceptors keep, and where their logs begin."""

    def __init__(self, acceptors: tuple[NodeId, ...], check: Check) -> None:
        self.cuts = 0
        self.snapshots = 0
        # Every configuration's acceptors: who cuts may not have heard of the newest.
        self._acceptors = [acceptors]
        self._check = check
        self._kept: dict[NodeId, Slot] = {}
        self._bases: dict[NodeId, Slot] = {}
        # Each one's base before its latest sync: what it had ready to tell may still name that.
        self._earlier: dict[NodeId, Slot] = {}

    def reconfigured(self, acceptors: tuple[NodeId, ...]) -> None:
        """Note the acceptors of a new configuration."""
        self._acceptors.append(acceptors)

    def kept(self, node: SimulatedNode) -> None:
        """Note a snapshot that is whole and durable now."""
        newest = node.snapshots.newest if node.snapshots else None
        before = self._kept.get(node.name, Slot(0))
        slot = newest.slot if newest else Slot(0)
        self._check(slot >= before, f"{node.name} replaced its snapshot of {before} by {slot}")
        self.snapshots += slot > before
        self._kept[node.name] = slot

    def found(self, node: SimulatedNode) -> None:
        """Compare what an acceptor's next life finds on an undamaged disk with what it held."""
        newest = node.snapshots.newest if node.snapshots else None
        kept = self._kept.get(node.name, Slot(0))
        self._check(
            (newest.slot if newest else 0) >= kept,
            f"{node.name} kept the snapshot of slot {kept} and has lost it",
        )
        base = node.journal.durable.base if node.journal else Slot(0)
        cut = self._bases.get(node.name, Slot(0))
        self._check(base >= cut, f"{node.name} had cut its log up to slot {cut} and finds {base}")

    def synced(self, node: SimulatedNode, decided: Slot) -> None:
        """Judge where an acceptor's log begins now. Slots up to `decided` are chosen."""
        if role_of(node.name) is not Role.ACCEPTOR or node.journal is None:
            return
        base = node.journal.durable_base
        before = self._earlier[node.name] = self._bases.get(node.name, Slot(0))
        if base <= before:
            return
        self._bases[node.name] = base
        self.cuts += 1
        self._check(
            base <= decided,
            f"{node.name} cut its log up to slot {base}, and {decided + 1} is not chosen",
        )
        own = self._kept.get(node.name, Slot(0))
        self._check(
            own >= base,
            f"{node.name} cut its log up to slot {base} and keeps the snapshot of slot {own}",
        )
        copies = [name for name, slot in self._kept.items() if slot >= base]
        # Counted here, and not asked of the code under test.
        self._check(
            any(
                len(set(copies) & set(acceptors)) >= len(acceptors) // 2 + 1
                for acceptors in self._acceptors
            ),
            f"{node.name} cut its log up to slot {base}, of which only {', '.join(copies)} keep a "
            "snapshot",
        )

    def check_told(self, node: SimulatedNode, base: Slot) -> None:
        """Judge the base that an acceptor tells: others propose and ask nothing up to there."""
        held = node.journal.durable_base if node.journal else Slot(0)
        earlier = self._earlier.get(node.name, Slot(0))
        self._check(
            earlier <= base <= held,
            f"{node.name} says that its log begins after slot {base}, and it begins after {held}",
        )


def lacking(
    node: SimulatedNode, decided: Slot, chosen: Mapping[Slot, tuple[int, bytes]]
) -> list[Slot]:
    """Return the slots up to `decided` that an acceptor has neither cut off nor in its log with
    the chosen value: were another acceptor lost, it could not stand in there.
    """
    journal = node.journal
    if journal is None:
        return []
    found = []
    for number in range(journal.durable_base + 1, decided + 1):
        slot = Slot(number)
        entry = journal.durable_entry(slot)
        if entry is None or entry.value != chosen[slot][1]:
            found.append(slot)
    return found
