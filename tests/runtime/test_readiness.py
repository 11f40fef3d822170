from __future__ import annotations

from typing import Any

import msgspec
import pytest

from paxos.core.messages import SnapshotPart
from paxos.core.types import NodeId, Slot
from paxos.runtime.readiness import SUMMARY_CHARACTERS_MAX, judge, summary
from paxos.runtime.upkeep import AcceptorUpkeep
from paxos.sim.world import World

MIB = 2**20
A1 = NodeId("acceptor-1")


@pytest.fixture(scope="module")
def world() -> World:
    """A cluster that serves."""
    world = World(1)
    world.start()
    gateways = [world.role(name) for name in world.membership.gateways]
    assert world.run_until(lambda: all(g.session and g.status().leader for g in gateways))
    world.ask(world.membership.gateways[0], 1, [b"SET", b"k", b"v"])
    assert world.wait_for_replies(1, 1) == ["OK"]
    world.run_for(1000)
    return world


def fresh(name: str) -> tuple[Any, World]:
    """Return the role of a node that is all alone."""
    world = World(1)
    world.start([NodeId(name)])
    return world.role(NodeId(name)), world


def test_every_node_is_ready_when_the_cluster_serves(world: World) -> None:
    connected = frozenset(world.membership.nodes)
    for name in world.membership.nodes:
        assert judge(world.role(name), connected) == (True, ""), name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("proposer-1", "no leader is known"),
        ("learner-1", "no quorum of acceptors can be reached"),
        ("client-1", "no proposer can be reached"),
    ],
)
def test_a_node_says_what_is_missing_when_it_is_alone(name: str, reason: str) -> None:
    """DESIGN: /readyz; a reason in a sentence."""
    role, _ = fresh(name)
    assert judge(role, frozenset()) == (False, reason)


def test_an_acceptor_is_not_ready_when_its_volume_may_not_vote() -> None:
    """DESIGN rule 8: it says why."""
    role, _ = fresh("acceptor-1")
    ready, reason = judge(role, frozenset())
    assert not ready
    assert "blank" in reason
    assert "waiting for acceptor-2, acceptor-3" in reason


@pytest.mark.parametrize("name", ["proposer-2", "learner-2", "client-2"])
def test_a_node_is_not_ready_when_it_is_no_member(name: str) -> None:
    """DESIGN rule 11: who is a member is what the log decided."""
    role, world = fresh(name)
    gone = {
        "proposers": world.membership.proposers[:1],
        "learners": world.membership.learners[:1],
        "gateways": world.membership.gateways[:1],
    }
    role.view.membership = msgspec.structs.replace(world.membership, **gone)
    reason = "it is no member of the cluster (any more)"
    assert judge(role, frozenset(world.membership.acceptors)) == (False, reason)
    assert summary(role) == reason


def test_discovery_is_ready_when_it_runs() -> None:
    role, _ = fresh("discovery")
    assert judge(role, frozenset()) == (True, "")


def test_a_learner_is_not_ready_when_it_reaches_no_quorum_of_acceptors(world: World) -> None:
    """DESIGN rule 7: it could answer no linearizable read."""
    learner = world.role(NodeId("learner-1"))
    connected = frozenset({NodeId("acceptor-1"), NodeId("proposer-1"), NodeId("proposer-2")})
    ready, reason = judge(learner, connected)
    assert (ready, reason) == (False, "no quorum of acceptors can be reached")


def test_a_learner_is_not_ready_when_it_is_behind() -> None:
    world = World(1)
    world.start()
    assert world.run_until(lambda: world.leader is not None)
    learner = world.role(NodeId("learner-1"))
    learner._highest_seen = learner.machine.applied + 300
    connected = frozenset(world.membership.acceptors)
    assert judge(learner, connected) == (
        False,
        "300 slots behind, catching up",
    )


class Half:
    """A state that is being restored and has not got all."""

    done = False

    def feed(self, data: bytes) -> None:
        """Take it."""


def restoring_learner() -> tuple[Any, World]:
    """Return a learner that has got 3 MiB of a snapshot's 12."""
    learner, world = fresh("learner-1")
    learner.snapshotting.on_base(A1, Slot(900))
    learner.snapshotting.get(Half(), 0)
    return learner, world


def test_a_learner_is_not_ready_when_it_restores_a_snapshot() -> None:
    """It says how far it has come."""
    learner, world = restoring_learner()
    connected = frozenset(world.membership.acceptors)
    waiting = (False, "waiting for a snapshot from an acceptor")
    assert judge(learner, connected) == waiting

    part = SnapshotPart(slot=Slot(900), size=12 * MIB, offset=0, data=bytes(3 * MIB))
    learner.snapshotting.on_part(A1, part)
    assert judge(learner, connected) == (
        False,
        "restoring a snapshot: 3 of 12 MiB",
    )
    assert summary(learner) == "applied 0, 0 keys, restoring a snapshot: 3 of 12 MiB"


def test_a_node_says_what_holds_its_log_back_when_it_registers(world: World) -> None:
    """So that discovery's table shows it."""
    held = AcceptorUpkeep(
        kept_slot=Slot(0),
        log_slots=9,
        cuttable_slots=0,
        missing_slots=0,
        snapshot_age_s=None,
        held_back=True,
        text="only acceptor-1 keeps the snapshot of slot 500: 2 are needed",
    )
    acceptor = world.role(A1)
    free = msgspec.structs.replace(held, held_back=False)
    assert summary(acceptor, held) == f"{summary(acceptor)}; {held.text}"
    assert summary(acceptor, free) == summary(acceptor)
    long = msgspec.structs.replace(held, text="x" * 1000)
    assert len(summary(acceptor, long)) == SUMMARY_CHARACTERS_MAX


def test_an_acceptor_says_where_its_log_begins_when_it_has_been_cut() -> None:
    world = World(1)
    world.start()
    assert world.run_until(lambda: world.leader is not None)
    acceptor = world.role(A1)
    acceptor.keeping._base = Slot(7)
    assert summary(acceptor).endswith(", cut up to 7")


def test_each_node_sums_itself_up_in_a_few_words_when_it_registers(world: World) -> None:
    """DESIGN: discovery's table."""
    words = {name: summary(world.role(name)) for name in world.membership.nodes}
    assert words[NodeId("discovery")] == ""
    assert words[NodeId("client-1")] == "1 writes, 0 reads"
    assert words[NodeId("learner-2")].endswith(" 1 keys")
    assert any(text.startswith("leading, decided") for text in words.values())
    assert words[NodeId("acceptor-1")].startswith("promised ")


def test_an_acceptor_that_does_not_vote_says_so_shortly_when_it_registers() -> None:
    """DESIGN rule 10: what goes into messages is bounded."""
    role, _ = fresh("acceptor-1")
    assert summary(role).startswith("does not vote: its volume is blank")
    assert len(summary(role)) <= SUMMARY_CHARACTERS_MAX
