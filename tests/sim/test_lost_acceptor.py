"""A log whose votes are scattered because an acceptor is gone for good can still be learned."""

from __future__ import annotations

from paxos.core.types import NodeId, Role, node_id
from paxos.sim.world import World

SLOTS = 300
LOST, ONE, OTHER = node_id(Role.ACCEPTOR, 3), node_id(Role.ACCEPTOR, 1), node_id(Role.ACCEPTOR, 2)


def scattered() -> World:
    """Return a world in which no two acceptors that are left voted in the same slots."""
    world = World(5)
    world.start()
    assert world.run_until(lambda: world.leader is not None)
    leader, gateway = world.leader, world.membership.gateways[0]
    assert leader is not None
    world.ask(gateway, 1, [b"WRITE", b"first"])
    world.wait_for_replies(1, 1)
    for number in range(SLOTS):
        absent: NodeId = ONE if number % 2 else OTHER
        world.cut([leader], [absent], both=False)
        world.ask(gateway, 1, [b"WRITE", b"%d" % number])
        world.wait_for_replies(1, number + 2)
        world.mend([(leader, absent)])
    return world


def test_learner_catches_up_quickly_when_every_slot_needs_the_leader() -> None:
    """The wait before the leader is asked is for the first slots alone, not for every 64 of them:
    300 slots take less simulated time than two such waits."""
    world = scattered()
    world.wipe(LOST)
    learner = world.membership.learners[1]
    world.wipe(learner)
    world.start([learner])
    begun = world.now_ms
    goal = world.role(world.membership.learners[0]).machine.applied
    assert goal > SLOTS
    assert world.run_until(lambda: world.role(learner).machine.applied >= goal)
    assert world.now_ms - begun < 2 * 3 * world.settings.timeouts.gap_ms + 40
    digests = {world.role(name).machine.digest() for name in world.membership.learners}
    assert len(digests) == 1
