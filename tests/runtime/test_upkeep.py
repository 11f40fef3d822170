"""What an operator is told of snapshots and the log: figures, and the sentence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from paxos.core.acceptor import Acceptor, AcceptorStatus
from paxos.core.discovery import Discovery
from paxos.core.effects import Recovered, SnapshotInfo
from paxos.core.keeping import KeepingStatus
from paxos.core.learner import Learner, LearnerStatus
from paxos.core.messages import SnapshotKept
from paxos.core.settings import Limits, Settings
from paxos.core.snapshotting import SnapshottingStatus
from paxos.core.stepper import Stepper
from paxos.core.types import Ballot, NodeId, Slot
from paxos.machine.machine import Machine
from paxos.runtime.addresses import Addresses
from paxos.runtime.clock import Clock
from paxos.runtime.logs import LogRing
from paxos.runtime.node import AnyRole, NodeRuntime
from paxos.runtime.upkeep import (
    AcceptorUpkeep,
    LearnerUpkeep,
    Sighting,
    acceptor_upkeep,
    kept_by_quorum,
    learner_upkeep,
    progress,
    restoring,
)
from paxos.sim.world import membership_of
from paxos.storage.memory import MemoryJournal

MIB = 2**20
L1 = NodeId("learner-1")
LIMITS = Limits(snapshot_log_bytes=64 * MIB, snapshot_log_slots=1000)
THREE = membership_of()
FIVE = membership_of(acceptors=5)


def slots(*each: int | None) -> dict[NodeId, Slot]:
    """What acceptor-1, acceptor-2, ... keep; None has told nothing."""
    return {
        NodeId(f"acceptor-{number}"): Slot(slot)
        for number, slot in enumerate(each, 1)
        if slot is not None
    }


def acceptor(
    kept: dict[NodeId, Slot],
    *,
    base: int = 0,
    highest: int = 0,
    decided: int = 0,
    volume: int | None = None,
    incoming: tuple[int, int] = (0, 0),
    membership: Any = THREE,
    node: str = "acceptor-1",
) -> AcceptorUpkeep:
    keeping = KeepingStatus(
        base=Slot(base),
        snapshot_slot=kept[NodeId(node)],
        snapshot_bytes=MIB,
        kept=kept,
        incoming=incoming[0],
        incoming_bytes=incoming[1],
        behind=False,
    )
    status = AcceptorStatus(
        phase="open",
        reason="",
        cluster="c1",
        promised=Ballot(101),
        highest_slot=Slot(highest),
        decided=Slot(decided),
        leader_ballot=Ballot(101),
        epoch=0,
        accepts=0,
        nacks=0,
        keeping=keeping,
    )
    return acceptor_upkeep(NodeId(node), status, membership, LIMITS, age_s=7.0, volume_bytes=volume)


def learner(node: str = "learner-1", **told: Any) -> LearnerUpkeep:
    usual = {
        "kept_slot": 0,
        "kept": {},
        "log_bytes": 0,
        "log_slots": 0,
        "taking": False,
        "taken_slot": 0,
        "taken_bytes": 0,
        "restored_bytes": 0,
        "restoring_bytes": 0,
    }
    status = LearnerStatus(
        applied=Slot(9),
        highest_seen=Slot(9),
        missing=0,
        epoch=0,
        revision=0,
        keys=0,
        values=0,
        sessions=0,
        now_ms=0,
        reads=0,
        reads_waiting=0,
        caught_up=True,
        snapshots=SnapshottingStatus(**{**usual, **told}),
    )
    return learner_upkeep(NodeId(node), status, THREE, LIMITS, age_s=7.0)


@pytest.mark.parametrize(
    ("told", "held_back", "text"),
    [
        (
            acceptor(slots(0, 0, 0), highest=10, volume=12 * MIB),
            False,
            "no snapshot yet: the log has grown by 12 of 64 MiB",
        ),
        (
            acceptor(slots(0), highest=400),
            False,
            "no snapshot yet: the log has grown by 400 of 1,000 slots",
        ),
        (
            acceptor(slots(0, 0, 0), highest=10, volume=200 * MIB),
            True,
            "no snapshot yet, though the log has grown by 200 of 64 MiB: "
            "look whether a learner is up",
        ),
        (
            acceptor(slots(500, 500, 500), base=500, highest=2600, volume=900 * MIB),
            True,
            "no snapshot since slot 500, though the log has grown by 2,100 of 1,000 slots: "
            "look whether a learner is up",
        ),
        (
            acceptor(slots(500, 0, 0), highest=510),
            True,
            "only acceptor-1 keeps the snapshot of slot 500: 2 are needed",
        ),
        (
            acceptor(slots(120, 500, 120), base=120, highest=510),
            True,
            "only acceptor-2 keeps the snapshot of slot 500: 2 are needed",
        ),
        (
            acceptor(slots(500, 500, None, 0, None), highest=510, membership=FIVE),
            True,
            "only acceptor-1 and acceptor-2 keep the snapshot of slot 500: 3 are needed",
        ),
        (
            acceptor(slots(500, 500, 120), base=120, highest=510, node="acceptor-3"),
            True,
            "acceptor-3 keeps no snapshot newer than slot 120 "
            "(a quorum does: the others cut without it)",
        ),
        (
            acceptor(
                slots(500, 500, 0), highest=9, incoming=(3 * MIB, 12 * MIB), node="acceptor-3"
            ),
            True,
            "acceptor-3 keeps no snapshot (a quorum does: the others cut without it); "
            "one is coming in: 3 of 12 MiB",
        ),
        (
            acceptor(slots(500, 500, 120), base=120, highest=510),
            False,
            "the log is being cut up to slot 500",
        ),
        (
            acceptor(slots(500, 500, 120), base=500, highest=510),
            False,
            "acceptor-3 keeps no snapshot newer than slot 120 "
            "(a quorum does: the others cut without it)",
        ),
        (
            acceptor(slots(500, 500, 500, 120), base=500, highest=510, membership=FIVE),
            False,
            "acceptor-4 keeps no snapshot newer than slot 120, acceptor-5 keeps no snapshot "
            "(a quorum does: the others cut without them)",
        ),
        (
            acceptor(slots(500, 500, 500), base=500, highest=510),
            False,
            "nothing holds it back: the log has grown by 10 of 1,000 slots since slot 500",
        ),
    ],
)
def test_an_acceptor_says_what_holds_its_log_back_when_asked(
    told: AcceptorUpkeep, held_back: bool, text: str
) -> None:
    """Issue: what could be truncated and what holds it back. DESIGN rule 9: a quorum keeps it."""
    assert (told.text, told.held_back) == (text, held_back)


def test_an_acceptor_counts_what_could_go_and_what_is_missing_when_asked() -> None:
    told = acceptor(slots(120, 500, 600), base=120, highest=300, decided=450)
    assert (told.kept_slot, told.log_slots, told.cuttable_slots) == (500, 180, 380)
    assert (told.missing_slots, told.snapshot_age_s) == (150, 7.0)

    blank = acceptor(slots(0))
    assert (blank.kept_slot, blank.cuttable_slots, blank.missing_slots) == (0, 0, 0)
    assert blank.snapshot_age_s is None


@pytest.mark.parametrize(
    ("told", "held_back", "text"),
    [
        (
            learner(log_bytes=12 * MIB, log_slots=3),
            False,
            "no snapshot yet: the log has grown by 12 of 64 MiB",
        ),
        (
            learner(log_bytes=MIB, log_slots=900),
            False,
            "no snapshot yet: the log has grown by 900 of 1,000 slots",
        ),
        (
            learner(taking=True, log_bytes=64 * MIB),
            False,
            "a snapshot is being taken: the log has grown by 64 of 64 MiB",
        ),
        (
            learner(taken_slot=500),
            True,
            "no acceptor keeps the snapshot of slot 500 yet: 2 are needed",
        ),
        (
            learner(taken_slot=500, kept_slot=120, kept=slots(500, 120, 120)),
            True,
            "only acceptor-1 keeps the snapshot of slot 500: 2 are needed",
        ),
        (
            learner(kept_slot=500, kept=slots(500, 500, 120)),
            False,
            "acceptor-3 keeps no snapshot newer than slot 120 "
            "(a quorum does: the others cut without it)",
        ),
        (
            learner(kept_slot=500, kept=slots(500, 500, 500), log_slots=20, log_bytes=MIB // 2),
            False,
            "nothing holds it back: the log has grown by 20 of 1,000 slots since slot 500",
        ),
        (
            learner(kept_slot=500, kept=slots(500, 500, 500), log_bytes=130 * MIB),
            True,
            "no snapshot since slot 500, though the log has grown by 130 of 64 MiB: "
            "the log of each learner says why",
        ),
        (
            learner(restored_bytes=3 * MIB, restoring_bytes=12 * MIB),
            False,
            "restoring a snapshot: 3 of 12 MiB",
        ),
    ],
)
def test_a_learner_says_what_holds_the_log_back_when_asked(
    told: LearnerUpkeep, held_back: bool, text: str
) -> None:
    assert (told.text, told.held_back) == (text, held_back)


def test_a_later_learner_takes_its_snapshot_later_when_the_first_should_have() -> None:
    """snapshotting.py: the others wait for half as long again each."""
    first, second = learner("learner-1"), learner("learner-2")
    assert (first.due_bytes, first.due_slots) == (64 * MIB, 1000)
    assert (second.due_bytes, second.due_slots) == (96 * MIB, 1500)
    assert learner("learner-1", taken_bytes=100 * MIB).due_bytes == 100 * MIB


def test_a_log_that_a_learner_is_behind_of_has_not_shrunk_when_it_is_told() -> None:
    """A learner that starts blank hears of snapshots that it has not reached yet."""
    told = learner(kept_slot=500, kept=slots(500, 500, 500), log_slots=-500)
    assert "grown by 0 of 1,000 slots" in told.text


def test_a_quorum_keeps_the_snapshot_that_enough_have_when_they_differ() -> None:
    assert kept_by_quorum(slots(500, 120).values(), THREE) == 120
    assert kept_by_quorum(slots(500).values(), THREE) == 0
    assert kept_by_quorum(slots(500, 400, 300, 200, 100).values(), FIVE) == 300


def test_a_snapshots_age_is_known_when_somebody_saw_it_come() -> None:
    seen = Sighting(Slot(500))
    seen.note(Slot(500), 10.0, witnessed=True)
    assert seen.age_s(20.0) is None
    seen.note(Slot(600), 30.0, witnessed=True)
    seen.note(Slot(600), 31.0, witnessed=True)
    assert (seen.age_s(34.5), seen.age_s(20.0)) == (4.5, 0.0)
    seen.note(Slot(700), 40.0, witnessed=False)
    assert seen.age_s(50.0) is None


@pytest.mark.parametrize(
    ("done", "size", "text"),
    [
        (0, 0, "0 of 0 bytes"),
        (12, 900, "12 of 900 bytes"),
        (512, 2048, "0.5 of 2 KiB"),
        (int(3.14 * MIB), 12 * MIB, "3.1 of 12 MiB"),
        (0, 64 * MIB, "0 of 64 MiB"),
        (2000 * MIB, 3 * 1024 * MIB, "2.0 of 3 GiB"),
    ],
)
def test_progress_is_told_in_the_unit_of_the_whole_when_sizes_differ(
    done: int, size: int, text: str
) -> None:
    assert progress(done, size) == text


def test_a_learner_waits_for_a_snapshot_when_no_part_has_come() -> None:
    assert restoring(0, 0) == "waiting for a snapshot from an acceptor"


# ---------------------------------------------------------------- the runtime around it


class HandClock(Clock):
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def now_s(self) -> float:
        return self.now


class Shelf:
    """The snapshots of a node, as the test puts them there."""

    def __init__(self, slot: int = 0) -> None:
        self.newest = SnapshotInfo(slot=Slot(slot), size=3 * MIB) if slot else None

    def put(self, slot: int) -> None:
        self.newest = SnapshotInfo(slot=Slot(slot), size=4 * MIB)

    def read(self, slot: Slot, offset: int, bytes_max: int) -> bytes:
        return b""


def runtime_of(name: str, role: AnyRole, clock: HandClock) -> NodeRuntime:
    """A runtime that has not been started: enough to ask for its state."""
    return NodeRuntime(
        node=NodeId(name),
        membership=THREE,
        settings=Settings(limits=LIMITS),
        stepper=Stepper(role, None, lambda: 0.0, lambda: 0.5),
        role=role,
        clock=clock,
        log=LogRing(),
        addresses=Addresses(lambda node: ("127.0.0.1", 1)),
        page_ports={node: 8000 + i for i, node in enumerate(THREE.nodes)},
        host="127.0.0.1",
        peer_port=1,
        incarnation=1,
        door_port=None,
    )


def test_an_acceptors_state_tells_volume_and_the_snapshots_age_when_a_page_asks() -> None:
    """Issue: journal size, snapshot slot and age. One from before the start has no known age."""

    async def whole() -> None:
        clock, shelf = HandClock(), Shelf(120)
        role = Acceptor(
            NodeId("acceptor-1"), THREE, Settings(), MemoryJournal(), Recovered(), shelf
        )
        runtime = runtime_of("acceptor-1", role, clock)
        first = runtime.state()
        assert first["volume_bytes"] is None
        assert first["status"]["keeping"]["snapshot_slot"] == 120
        assert first["upkeep"]["snapshot_age_s"] is None

        runtime.volume_bytes = lambda: 5 * MIB
        shelf.put(500)
        runtime.state()
        clock.now += 90.0
        later = runtime.state()
        assert later["volume_bytes"] == 5 * MIB
        assert later["status"]["keeping"]["snapshot_bytes"] == 4 * MIB
        assert later["upkeep"]["snapshot_age_s"] == 90.0
        rendered = runtime.metrics().decode()
        assert 'paxos_acceptor_upkeep_snapshot_age_s{node="acceptor-1"} 90.0' in rendered
        assert 'paxos_node_volume_bytes{node="acceptor-1"} 5.24288e+06' in rendered

    asyncio.run(whole())


def test_a_learners_snapshot_has_no_age_when_it_came_before_the_learner() -> None:
    async def whole() -> None:
        clock, role = HandClock(), Learner(L1, THREE, Settings(), Machine(), Recovered())
        runtime = runtime_of("learner-1", role, clock)
        assert runtime.state()["upkeep"]["text"].startswith("no snapshot yet")
        for number in (1, 2):
            kept = SnapshotKept(slot=Slot(500), base=Slot(0))
            role.snapshotting.on_kept(NodeId(f"acceptor-{number}"), kept)
        clock.now += 5.0
        upkeep = runtime.state()["upkeep"]
        assert upkeep["snapshot_age_s"] is None
        assert upkeep["text"] == (
            "acceptor-3 keeps no snapshot (a quorum does: the others cut without it)"
        )

    asyncio.run(whole())


def test_a_node_without_snapshots_has_no_upkeep_when_a_page_asks() -> None:
    async def whole() -> None:
        role = Discovery(NodeId("discovery"), THREE, Settings())
        assert runtime_of("discovery", role, HandClock()).state()["upkeep"] is None

    asyncio.run(whole())
