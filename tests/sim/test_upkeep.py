"""The oracle's book of cuts and snapshots says so when what is forgotten may not be (rule 9)."""

from __future__ import annotations

import pytest

from paxos.core.effects import AcceptedEntry, Cut, SnapshotInfo, Stamped
from paxos.core.types import Ballot, NodeId, Role, Slot, node_id
from paxos.sim.oracle import SafetyViolation
from paxos.sim.upkeep import Upkeep, lacking
from paxos.sim.world import SimulatedNode, World

A1, A2, A3 = (node_id(Role.ACCEPTOR, number) for number in (1, 2, 3))


class Kept:
    """Snapshots of which only the newest one's slot matters."""

    def __init__(self, slot: int) -> None:
        self.newest = SnapshotInfo(slot=Slot(slot), size=1) if slot else None


def check(holds: bool, what: str) -> None:
    if not holds:
        raise SafetyViolation(what)


def book(**kept: int) -> tuple[Upkeep, dict[NodeId, SimulatedNode]]:
    """Return a book, and three acceptors, with snapshots like a1=5."""
    world = World()
    upkeep = Upkeep((A1, A2, A3), check)
    for number, name in enumerate((A1, A2, A3), start=1):
        node = world.nodes[name]
        assert node.journal is not None
        node.journal.append(Stamped(cluster="c", node=name, phase="open", acceptors=(A1, A2, A3)))
        node.journal.sync()
        node.snapshots = Kept(kept.get(f"a{number}", 0))  # type: ignore[assignment]
        upkeep.kept(node)
    return upkeep, world.nodes


def cut(node: SimulatedNode, slot: int) -> SimulatedNode:
    assert node.journal is not None
    node.journal.append(Cut(slot=Slot(slot)))
    node.journal.sync()
    return node


def test_a_cut_is_right_when_a_quorum_keeps_a_snapshot_of_it_or_of_a_later_slot() -> None:
    upkeep, nodes = book(a1=5, a3=9)
    upkeep.synced(cut(nodes[A1], 5), Slot(9))
    assert upkeep.cuts == 1


def test_a_cut_is_right_when_a_quorum_of_any_configuration_keeps_a_snapshot() -> None:
    """Who cuts may not have heard of the newest; a change waits until the new ones are whole."""
    upkeep, nodes = book(a1=5)
    with pytest.raises(SafetyViolation, match="only acceptor-1 keep"):
        upkeep.synced(cut(nodes[A1], 5), Slot(9))
    upkeep, nodes = book(a1=5)
    upkeep.reconfigured((A1,))
    upkeep.synced(cut(nodes[A1], 5), Slot(9))
    assert upkeep.cuts == 1


@pytest.mark.parametrize(
    ("kept", "decided", "why"),
    [
        ({"a1": 5, "a2": 4}, 9, "only acceptor-1 keep"),
        ({"a2": 5, "a3": 5}, 9, "keeps the snapshot of slot 0"),
        ({"a1": 5, "a2": 5}, 4, "5 is not chosen"),
    ],
)
def test_a_cut_is_wrong_when_something_is_missing(
    kept: dict[str, int], decided: int, why: str
) -> None:
    upkeep, nodes = book(**kept)
    with pytest.raises(SafetyViolation, match=why):
        upkeep.synced(cut(nodes[A1], 5), Slot(decided))


def test_a_snapshot_may_not_become_older_nor_be_lost() -> None:
    upkeep, nodes = book(a1=5)
    nodes[A1].snapshots = Kept(4)  # type: ignore[assignment]
    with pytest.raises(SafetyViolation, match="replaced its snapshot of 5 by 4"):
        upkeep.kept(nodes[A1])
    with pytest.raises(SafetyViolation, match="has lost it"):
        upkeep.found(nodes[A1])


def test_a_base_is_what_the_disk_says_when_it_is_told() -> None:
    upkeep, nodes = book(a1=5, a2=5)
    upkeep.synced(cut(nodes[A1], 5), Slot(5))
    upkeep.check_told(nodes[A1], Slot(5))
    with pytest.raises(SafetyViolation, match="begins after slot 6"):
        upkeep.check_told(nodes[A1], Slot(6))
    upkeep.check_told(nodes[A1], Slot(0))  # it was ready to be told before the cut
    upkeep.synced(nodes[A1], Slot(5))
    with pytest.raises(SafetyViolation, match="begins after slot 0"):
        upkeep.check_told(nodes[A1], Slot(0))


def test_a_slot_is_lacking_when_it_holds_nothing_or_another_value() -> None:
    _, nodes = book(a1=1, a2=1)
    node = cut(nodes[A1], 1)
    assert node.journal is not None
    for slot, value in ((2, b"chosen"), (4, b"another")):
        node.journal.append(
            AcceptedEntry(slot=Slot(slot), ballot=Ballot(101), value=value, decided=Slot(0))
        )
    node.journal.sync()
    chosen = {Slot(slot): (101, b"chosen") for slot in range(1, 5)}
    assert lacking(node, Slot(4), chosen) == [3, 4]
