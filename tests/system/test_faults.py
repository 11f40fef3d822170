"""kill -9 and SIGSTOP of each role in turn under load: no client sees an error, nothing is lost.

The exception is what cannot be otherwise: the clients of a gateway that is itself killed lose
their connection, and with it the answer to one command each.
"""

from __future__ import annotations

import signal

import pytest

from paxos.core.types import Role

from .cluster import LocalCluster, wait_until
from .load import Load

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

VICTIMS = ("leader", "follower", "acceptor", "learner", "discovery", "client")


def named(cluster: LocalCluster, victim: str) -> str:
    """Return the node that plays a part now."""
    match victim:
        case "leader":
            return cluster.leader()
        case "follower":
            leader = cluster.leader()
            return next(node for node in cluster.of(Role.PROPOSER) if node != leader)
        case "acceptor":
            return "acceptor-2"
        case "learner":
            return str(cluster.status("client-1")["learner"])
        case "client":
            return "client-1"
        case _:
            return "discovery"


@pytest.mark.parametrize("victim", VICTIMS)
def test_kill_9_under_load(cluster: LocalCluster, victim: str) -> None:
    node = named(cluster, victim)
    with Load(cluster, may_lose=(1,) if victim == "client" else ()) as load:
        load.go_on()
        cluster.kill(node)
        load.go_on()
        cluster.wait_until_ready(node)
        load.go_on()
        load.verify()


@pytest.mark.parametrize("victim", VICTIMS)
def test_sigstop_under_load(cluster: LocalCluster, victim: str) -> None:
    node = named(cluster, victim)
    others = (2,) if victim == "client" else (1, 2)
    with Load(cluster) as load:
        load.go_on()
        cluster.signal(node, signal.SIGSTOP)
        load.go_on(doors=others)
        cluster.signal(node, signal.SIGCONT)
        load.go_on()
        cluster.wait_until_ready(node)
        load.verify()


def test_leader_killed_again_and_again(cluster: LocalCluster) -> None:
    with Load(cluster) as load:
        ballots = []
        for _ in range(3):
            load.go_on(20)
            leader = cluster.leader()
            ballots.append(int(cluster.status(leader)["ballot"]))
            cluster.kill(leader)
        load.go_on()
        load.verify()
    ballots.append(int(cluster.status(cluster.leader())["ballot"]))
    assert ballots == sorted(set(ballots)), "every leader has a ballot above all before it"


def test_stopped_leader_wakes_up_and_follows(cluster: LocalCluster) -> None:
    """A leader that slept through an election is told by the acceptors' Nack (section 3)."""
    leader = cluster.leader()
    with Load(cluster) as load:
        load.go_on()
        cluster.signal(leader, signal.SIGSTOP)
        load.go_on()
        cluster.signal(leader, signal.SIGCONT)
        wait_until(lambda: cluster.status(leader)["phase"] == "follower", f"{leader} follows")
        load.go_on()
        load.verify()
    assert cluster.leader() != leader


def test_kill_9_of_one_of_every_role_at_once(cluster: LocalCluster) -> None:
    victims = [cluster.leader(), "acceptor-1", "learner-1", "discovery"]
    with Load(cluster) as load:
        load.go_on()
        for node in victims:
            cluster.signal(node, signal.SIGKILL)
        load.go_on()
        for node in victims:
            cluster.wait_until_ready(node)
        load.go_on()
        load.verify()
