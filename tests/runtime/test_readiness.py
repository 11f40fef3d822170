from __future__ import annotations

from typing import Any

import pytest

from paxos.core.types import NodeId
from paxos.runtime.readiness import judge, summary
from paxos.sim.world import World


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
        assert judge(world.role(name), world.membership, connected) == (True, ""), name


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
    role, world = fresh(name)
    assert judge(role, world.membership, frozenset()) == (False, reason)


def test_an_acceptor_is_not_ready_when_its_volume_may_not_vote() -> None:
    """DESIGN rule 8: it says why."""
    role, world = fresh("acceptor-1")
    ready, reason = judge(role, world.membership, frozenset())
    assert not ready
    assert "blank" in reason
    assert "waiting for acceptor-2, acceptor-3" in reason


def test_discovery_is_ready_when_it_runs() -> None:
    role, world = fresh("discovery")
    assert judge(role, world.membership, frozenset()) == (True, "")


def test_a_learner_is_not_ready_when_it_reaches_no_quorum_of_acceptors(world: World) -> None:
    """DESIGN rule 7: it could answer no linearizable read."""
    learner = world.role(NodeId("learner-1"))
    connected = frozenset({NodeId("acceptor-1"), NodeId("proposer-1"), NodeId("proposer-2")})
    ready, reason = judge(learner, world.membership, connected)
    assert (ready, reason) == (False, "no quorum of acceptors can be reached")


def test_a_learner_is_not_ready_when_it_is_behind() -> None:
    world = World(1)
    world.start()
    assert world.run_until(lambda: world.leader is not None)
    learner = world.role(NodeId("learner-1"))
    learner._highest_seen = learner.machine.applied + 300
    connected = frozenset(world.membership.acceptors)
    assert judge(learner, world.membership, connected) == (
        False,
        "300 slots behind, catching up",
    )


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
    assert len(summary(role)) <= 200
