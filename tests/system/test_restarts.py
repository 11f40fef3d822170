"""Everything killed at once, everything stopped and started, and life without discovery."""

from __future__ import annotations

import signal

import pytest

from paxos.apps import processes
from paxos.core.types import Role

from .cluster import DEADLINE_S, HOST, LocalCluster, wait_until
from .load import Load

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]


@pytest.mark.parametrize("round_number", [1, 2, 3])
def test_kill_9_of_all_eleven_in_the_middle_of_writes(
    cluster: LocalCluster, round_number: int
) -> None:
    with Load(cluster, may_lose=(1, 2)) as load:
        load.go_on(20 * round_number)
        cluster.kill_everything()
        load.stop()
        acknowledged = load.acknowledged
        cluster.up()
        load.verify()
    assert acknowledged >= 4 * 20 * round_number


def test_killed_supervisor_changes_nothing_and_the_next_one_takes_over(
    cluster: LocalCluster,
) -> None:
    pids = cluster.pids()
    supervisor = cluster.run().supervisor_process
    with Load(cluster) as load:
        load.go_on(20)
        processes.send(supervisor, signal.SIGKILL)
        assert processes.wait_until_gone([supervisor], DEADLINE_S) == []
        load.go_on(20)
        cluster.up()
        load.go_on(20)
        load.verify()
    assert cluster.pids() == pids
    assert cluster.run().supervisor_process.lives


def stopped(cluster: LocalCluster) -> None:
    """Stop everything and check that nothing is left."""
    run = cluster.run()
    cluster.stop()
    assert run.living() == {}
    assert not run.supervisor_process.lives
    ports = [port for node in cluster.nodes for port in cluster.configuration.ports(node)]
    assert [port for port in ports if processes.port_trouble(HOST, port)] == []


def test_stop_right_after_the_nodes_were_taken_over_stops_everything(
    cluster: LocalCluster,
) -> None:
    """`up` returns when the new supervisor is the one that `stop` will ask, and not before."""
    supervisor = cluster.run().supervisor_process
    processes.send(supervisor, signal.SIGKILL)
    assert processes.wait_until_gone([supervisor], DEADLINE_S) == []
    assert cluster.command("up").returncode == 0
    stopped(cluster)


def test_stop_and_start_keep_everything(cluster: LocalCluster) -> None:
    with Load(cluster) as load:
        load.go_on()
        load.stop()
    keys_before = int(cluster.redis(1).dbsize())
    stopped(cluster)
    cluster.up()
    load.verify()
    assert int(cluster.redis(2).dbsize()) == keys_before


def test_every_node_restarted_one_after_the_other(cluster: LocalCluster) -> None:
    """A rolling restart: one node at a time, with SIGTERM. Gateways last, without their clients."""
    with Load(cluster) as load:
        for node in cluster.nodes:
            if node in cluster.of(Role.CLIENT):
                continue
            load.go_on(10)
            cluster.hold(node)
            load.go_on(10)
            cluster.release(node)
            cluster.wait_until_ready(node)
        load.verify()
    for node in cluster.of(Role.CLIENT):
        cluster.hold(node)
        cluster.release(node)
        cluster.wait_until_ready(node)
    load.verify_kept()


def test_nobody_misses_discovery_and_it_learns_everything_again(cluster: LocalCluster) -> None:
    def known() -> set[str]:
        return {entry["node"] for entry in cluster.status("discovery").get("nodes", [])}

    everybody = {str(node) for node in cluster.nodes} - {"discovery"}
    wait_until(lambda: known() >= everybody, "discovery knows everybody")
    with Load(cluster) as load:
        load.go_on()
        cluster.hold("discovery")
        load.go_on()
        # An election, an acceptor and a learner that come back: none of them needs it.
        for node in (cluster.leader(), "acceptor-3", "learner-2"):
            cluster.kill(node)
            load.go_on()
            cluster.wait_until_ready(node)
        cluster.release("discovery")
        cluster.wait_until_ready("discovery")
        wait_until(lambda: known() >= everybody, "discovery knows everybody again")
        load.go_on()
        load.verify()
    leader = cluster.leader()
    wait_until(lambda: cluster.status("discovery")["leader"] == leader, "it knows who leads")
    assert cluster.status("discovery")["ballot"] == cluster.status(leader)["ballot"]
