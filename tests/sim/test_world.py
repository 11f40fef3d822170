"""The simulated world itself: one seed decides everything, and its faults are real ones."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import msgspec

from paxos.core.effects import Counted, Stamped
from paxos.core.messages import Canvass
from paxos.core.types import Role, node_id
from paxos.sim.world import Network, World, membership_of

PROPOSER_1 = node_id(Role.PROPOSER, 1)
ACCEPTORS = membership_of().acceptors


def history(seed: int) -> str:
    """Live through a short life with faults; return a digest of every message sent."""
    world = World(seed, network=Network(loss=0.05, duplication=0.05))
    world.keep_messages = True
    world.start()
    world.run_until(lambda: world.leader is not None)
    for number in range(10):
        world.ask(world.membership.gateways[0], 1, [b"WRITE", b"%d" % number])
        world.run_for(20)
        if number == 5 and world.leader is not None:
            world.crash(world.leader)
    world.run_for(2000)
    digest = hashlib.sha256()
    for at, sender, to, message in world.sent:
        digest.update(msgspec.msgpack.encode((at, sender, to, message)))
    return digest.hexdigest()


def test_world_repeats_itself_when_the_seed_is_the_same() -> None:
    """STYLE 23: deterministic, down to the last byte of the last message."""
    assert history(7) == history(7)
    assert history(7) != history(8)


def test_world_repeats_itself_when_hashes_are_seeded_differently() -> None:
    """No set of strings may decide an order."""
    code = "from tests.sim.test_world import history; print(history(7))"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1


def test_crash_forgets_what_was_not_synced() -> None:
    """A crash keeps the journal as the last sync left it."""
    world = World(1)
    journal = world.nodes[PROPOSER_1].journal
    assert journal is not None
    world.start()
    journal.append(Stamped(cluster="c", node=PROPOSER_1, phase="open"))
    journal.append(Counted(counter=9))
    world.crash(PROPOSER_1)
    found = world.nodes[PROPOSER_1].journal
    assert found is not None
    assert found.recovered.counter == 0


def test_pause_holds_everything_back_when_resumed_it_is_handled() -> None:
    """SIGSTOP loses nothing; SIGCONT handles what had arrived."""
    world = World(2)
    world.start()
    assert world.run_until(lambda: world.leader is not None)
    leader = world.leader
    assert leader is not None
    world.pause(leader)
    gateway = world.membership.gateways[0]
    world.ask(gateway, 1, [b"SET", b"k", b"v"])
    assert world.wait_for_replies(1, 1) == ["OK"]
    world.resume(leader)
    world.run_for(500)
    assert world.role(leader).phase.value == "follower"


def test_cut_loses_messages_when_one_way_only_that_way() -> None:
    """One-way cuts let the other direction through."""
    world = World(3)
    world.start()
    assert world.run_until(lambda: world.leader is not None)
    world.keep_messages = True
    world.cut(ACCEPTORS[:1], world.membership.proposers, both=False)
    world.run_for(800)
    to_acceptor = [m for _, _, to, m in world.sent if to == ACCEPTORS[0]]
    assert to_acceptor
    leader = world.leader
    assert leader is not None
    assert ACCEPTORS[0] not in world.role(leader).status().voting
    assert not any(isinstance(m, Canvass) for m in to_acceptor)
