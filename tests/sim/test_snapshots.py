"""Snapshots, cuts and catching up in a simulated cluster whose nodes die at the worst moments."""

from __future__ import annotations

import pytest

from paxos.core.acceptor import Phase
from paxos.core.messages import SnapshotPart
from paxos.core.settings import Limits, Settings, Timeouts
from paxos.core.types import NodeId, Role, Slot, node_id
from paxos.sim import faults
from paxos.sim.oracle import Oracle
from paxos.sim.simulation import Options, run
from paxos.sim.upkeep import lacking
from paxos.sim.world import World

A1, A2, A3 = (node_id(Role.ACCEPTOR, number) for number in (1, 2, 3))
L1, L2 = (node_id(Role.LEARNER, number) for number in (1, 2))
CLIENT = node_id(Role.CLIENT, 1)
SLOTS = 5

SETTINGS = Settings(
    timeouts=Timeouts(upkeep_ms=100),
    limits=Limits(snapshot_log_slots=SLOTS, snapshot_part_bytes=100),
)


class Cluster:
    """A world with its oracle, in which a leader stands, and one client that writes."""

    def __init__(self, seed: int = 1) -> None:
        self.world = World(seed, settings=SETTINGS)
        self.world.set_sync_ms(0.1, 0.5)
        self.oracle = Oracle(self.world)
        self.writes = 0
        self.world.start()
        assert self.world.run_until(lambda: self.world.leader is not None)

    def write(self, count: int = 1) -> None:
        """Append so many values, each in a slot of its own."""
        for _ in range(count):
            self.writes += 1
            self.world.ask(CLIENT, 1, [b"WRITE", b"%d" % self.writes])
            replies = self.world.wait_for_replies(1, self.writes)
            assert len(replies) == self.writes
            assert isinstance(replies[-1], int), replies[-1]

    def base(self, name: NodeId) -> Slot:
        journal = self.world.nodes[name].journal
        assert journal is not None
        return journal.durable_base

    def kept(self, name: NodeId) -> Slot:
        snapshots = self.world.nodes[name].snapshots
        assert snapshots is not None
        return snapshots.newest.slot if snapshots.newest else Slot(0)

    def wait_for_cuts(self, *names: NodeId, after: int = 0) -> None:
        """Wait until these acceptors have cut their logs after this slot."""
        assert self.world.run_until(lambda: all(self.base(name) > after for name in names))

    def wait_for_whole(self, name: NodeId) -> None:
        """Wait until an acceptor could stand in for any other."""

        def whole() -> bool:
            status = self.world.role(name).status()
            return not self.oracle.lacking(self.world.nodes[name]) and not status.keeping.behind

        assert self.world.run_until(whole)

    def wait_for_level(self, name: NodeId) -> None:
        """Wait until a learner has applied all that is decided now."""
        goal = self.oracle.decided
        assert self.world.run_until(lambda: self.world.role(name).machine.applied >= goal)

    def read_blank(self, name: NodeId) -> None:
        """Let a learner begin anew, and see that it gets everything and differs from nobody."""
        self.world.wipe(name)
        self.world.start([name])
        self.wait_for_level(name)
        values = self.world.role(name).machine.read([[b"READ"]], 0)[0]
        assert [value for _, value in values] == [b"%d" % n for n in range(1, self.writes + 1)]


def test_logs_are_cut_again_and_again_when_writes_go_on() -> None:
    cluster = Cluster()
    for _ in range(4):
        before = min(cluster.base(name) for name in (A1, A2, A3))
        cluster.write(SLOTS + 1)
        cluster.wait_for_cuts(A1, A2, A3, after=before)
    assert cluster.oracle.upkeep.cuts >= 12
    journal = cluster.world.nodes[A1].journal
    assert journal is not None
    assert journal.votes(Slot(1), cluster.base(A1)) == []
    cluster.read_blank(L2)
    assert cluster.oracle.adoptions == 1, "a blank learner gets a snapshot, and not every slot"


def test_a_snapshot_comes_in_several_parts_when_it_is_larger_than_one() -> None:
    cluster = Cluster()
    cluster.world.keep_messages = True
    cluster.write(SLOTS * 4)
    cluster.wait_for_cuts(A1)
    parts = {
        message.offset
        for _, _, to, message in cluster.world.sent
        if isinstance(message, SnapshotPart) and to == A1
    }
    assert max(parts) >= 2 * SETTINGS.limits.snapshot_part_bytes


@pytest.mark.parametrize("doing", ["taking", "pulled"])
def test_the_next_learner_takes_the_snapshot_when_the_first_dies_at_it(doing: str) -> None:
    cluster = Cluster()
    cluster.write(2)
    cluster.world.crash_when(L1, doing)
    cluster.write(SLOTS)
    assert cluster.world.run_until(lambda: not cluster.world.nodes[L1].running)
    cluster.write(SLOTS * 2)
    cluster.wait_for_cuts(A1, A2, A3)
    cluster.read_blank(L1)


def test_an_acceptor_gets_the_snapshot_anew_when_it_dies_at_a_part() -> None:
    cluster = Cluster()
    cluster.world.crash_when(A2, "part")
    cluster.write(SLOTS + 1)
    assert cluster.world.run_until(lambda: not cluster.world.nodes[A2].running)
    cluster.world.start([A2])
    cluster.write(SLOTS + 1)
    cluster.wait_for_cuts(A1, A2, A3)
    cluster.wait_for_whole(A2)


@pytest.mark.parametrize("point", faults.POINTS)
def test_nothing_is_forgotten_when_an_acceptor_dies_at_its_cut(point: str) -> None:
    """The oracle compares what it finds with what it had told (rules 3 and 9)."""
    cluster = Cluster()
    cluster.world.crash_when(A2, "cut", point)
    cluster.write(SLOTS + 1)
    assert cluster.world.run_until(lambda: not cluster.world.nodes[A2].running)
    cut = cluster.base(A2)
    assert cut > 0 if point in ("after", "telling") else True
    cluster.world.start([A2])
    role = cluster.world.role(A2)
    assert role.voting
    assert role.decided >= cut
    cluster.write(SLOTS + 1)
    cluster.wait_for_cuts(A1, A2, A3, after=cut)
    cluster.wait_for_whole(A2)


def test_another_may_fail_when_an_acceptor_that_was_away_is_whole_again() -> None:
    """Some of what it missed was cut off meanwhile, some was not."""
    cluster = Cluster()
    cluster.write(2)
    cluster.world.crash(A3)
    cluster.write(SLOTS * 3 + 2)
    cluster.wait_for_cuts(A1, A2)
    assert cluster.base(A3) == 0
    assert lacking(cluster.world.nodes[A3], cluster.oracle.decided, cluster.oracle.chosen)
    cluster.world.start([A3])
    cluster.wait_for_whole(A3)
    assert cluster.base(A3) > 0
    cluster.world.wipe(A1)
    cluster.world.start([A1])
    cluster.write(3)
    assert cluster.world.role(A1).phase is Phase.BARRED
    cluster.read_blank(L1)
    cluster.read_blank(L2)


def test_an_acceptor_fetches_slots_when_they_were_not_cut_off() -> None:
    cluster = Cluster()
    cluster.world.crash(A3)
    cluster.write(SLOTS - 3)
    cluster.world.start([A3])
    cluster.wait_for_whole(A3)
    assert cluster.base(A3) == 0
    assert cluster.world.role(A3).status().accepts < cluster.oracle.decided - 1


def test_a_learner_gets_a_snapshot_when_it_was_away_while_the_log_was_cut() -> None:
    cluster = Cluster()
    cluster.world.pause(L2)
    cluster.write(SLOTS * 3)
    cluster.wait_for_cuts(A1, A2, A3)
    cluster.world.crash(L2)
    cluster.world.start([L2])
    cluster.wait_for_level(L2)
    assert cluster.oracle.adoptions == 1


def test_votes_go_on_when_there_is_no_room_for_a_snapshot() -> None:
    cluster = Cluster()
    for name in (A1, A2, A3):
        snapshots = cluster.world.nodes[name].snapshots
        assert snapshots is not None
        snapshots.refuses = "no space left on device"
    cluster.write(SLOTS * 3)
    failed = [trace.text for _, _, trace in cluster.world.traces if trace.what == "snapshot_failed"]
    assert "no space left on device" in failed[0]
    assert {cluster.base(name) for name in (A1, A2, A3)} == {0}
    for name in (A1, A2, A3):
        snapshots = cluster.world.nodes[name].snapshots
        assert snapshots is not None
        snapshots.refuses = None
    cluster.write(SLOTS)
    cluster.wait_for_cuts(A1, A2, A3)


def test_another_is_taken_when_one_cannot_be() -> None:
    cluster = Cluster()
    cluster.world.snapshot_work.taking_fails = 1.0
    cluster.write(SLOTS * 2)
    assert {cluster.kept(name) for name in (A1, A2, A3)} == {0}
    cluster.world.snapshot_work.taking_fails = 0.0
    cluster.write(SLOTS * 2)
    cluster.wait_for_cuts(A1, A2, A3)


def test_an_acceptor_does_not_vote_when_its_snapshot_rots() -> None:
    """What was cut off is in the snapshot alone: without it the volume is not whole (rule 8)."""
    cluster = Cluster()
    cluster.write(SLOTS + 1)
    cluster.wait_for_cuts(A1, A2, A3)
    snapshots = cluster.world.nodes[A1].snapshots
    assert snapshots is not None
    snapshots.rot()
    for _ in range(2):
        cluster.world.crash(A1)
        cluster.world.start([A1])
        assert cluster.world.role(A1).phase is Phase.BARRED
        assert "snapshot" in cluster.world.role(A1).reason
    cluster.write(SLOTS * 2)
    cluster.read_blank(L1)


def test_rot_in_a_snapshot_is_found_when_it_is_read() -> None:
    cluster = Cluster()
    cluster.write(SLOTS + 1)
    cluster.wait_for_cuts(A1, A2, A3)
    for name in (A1, A2):
        snapshots = cluster.world.nodes[name].snapshots
        assert snapshots is not None
        snapshots.rot()
    # Whoever is asked finds out, and a learner turns to the next: one of three is enough for it.
    barred: list[NodeId] = []
    for _ in range(10):
        cluster.read_blank(L2)
        acceptors = {name: cluster.world.role(name) for name in (A1, A2, A3)}
        barred = [name for name, role in acceptors.items() if role.phase is Phase.BARRED]
        if barred:
            break
    assert barred
    assert A3 not in barred
    assert "does not check" in acceptors[barred[0]].reason


KILLED = Options(kinds=("everybody-killed",), time_ms=3000.0, gap_ms=150.0)
SEEDS_PER_TEST = 10


@pytest.mark.parametrize("first", range(0, 60, SEEDS_PER_TEST))
def test_nothing_is_lost_when_everybody_is_killed_while_a_snapshot_is_on_its_way(
    first: int,
) -> None:
    """Hundreds of times in all, at random moments of snapshots, cuts and catching up."""
    outcomes = [run(seed, KILLED) for seed in range(first, first + SEEDS_PER_TEST)]
    assert [(one.seed, one.violation) for one in outcomes if one.violation] == []
    assert sum(one.faults["everybody-killed"] for one in outcomes) > 5 * SEEDS_PER_TEST
    assert sum(one.cuts for one in outcomes) > 5 * SEEDS_PER_TEST


@pytest.mark.parametrize("first", range(0, 60, SEEDS_PER_TEST))
def test_all_get_level_when_nodes_are_away_while_logs_are_cut(first: int) -> None:
    kinds = faults.GROUPS["snapshots"]
    options = Options(kinds=kinds, time_ms=4000.0, gap_ms=100.0)
    outcomes = [run(seed, options) for seed in range(first, first + SEEDS_PER_TEST)]
    assert [(one.seed, one.violation) for one in outcomes if one.violation] == []
    assert sum(one.cuts for one in outcomes) > 10 * SEEDS_PER_TEST
    assert sum(one.adoptions for one in outcomes) > SEEDS_PER_TEST


def test_a_learner_turns_to_another_acceptor_when_the_one_asked_is_silent() -> None:
    """Nobody tells it that the link is dead: it stands, and nothing comes through any more."""
    cluster = Cluster()
    world = cluster.world
    cluster.write(SLOTS + 1)
    cluster.wait_for_cuts(A1, A2, A3)
    for silent in (A1, A2, A3):
        world.wipe(L2)
        world.start([L2])
        assert world.run_until(lambda: world.role(L2).snapshotting.base > 0)
        if world.role(L2).machine.applied == 0:
            world.cut([silent], [L2])
        cluster.wait_for_level(L2)
        world.heal()
