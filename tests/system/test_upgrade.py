"""A rolling upgrade: a cluster that speaks version 1 becomes one of version 2, node by node.

The old nodes are today's, held back by PAXOS_WIRE_VERSION: what real ones say is in
tests/transport. A new supervisor takes the old nodes over, as after an upgrade of the program on
disk; each node that it starts from then on is new.
"""

from __future__ import annotations

import shutil
import signal

import pytest

from paxos.apps import processes
from paxos.core.types import NodeId, Role
from paxos.transport.versions import MEMBERS_VERSION, WIRE_VERSION, WIRE_VERSION_VARIABLE

from . import cluster as cluster_module
from . import processes as processes_module
from .cluster import DEADLINE_S, LocalCluster, environment, wait_until
from .conftest import NewCluster
from .load import Load
from .processes import Node

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

SETTINGS = {"limits": {"snapshot_log_slots": 100}, "timeouts": {"upkeep_ms": 50}}
"""The log is cut as soon as it may be."""


def environment_of_old() -> dict[str, str]:
    return environment() | {WIRE_VERSION_VARIABLE: "1"}


@pytest.fixture
def old(new_cluster: NewCluster) -> LocalCluster:
    """A cluster whose nodes all speak version 1; whatever is started from now on is new."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_module, "environment", environment_of_old)
        cluster = new_cluster(SETTINGS)
    cluster.wait_until_all_ready()
    supervisor = cluster.run().supervisor_process
    processes.send(supervisor, signal.SIGKILL)
    assert processes.wait_until_gone([supervisor], DEADLINE_S) == []
    pids = cluster.pids()
    cluster.up()
    assert cluster.pids() == pids
    return cluster


def upgrade(cluster: LocalCluster, node: NodeId) -> None:
    cluster.hold(node)
    cluster.release(node)
    cluster.wait_until_ready(node)


def spoken(cluster: LocalCluster, node: str) -> dict[str, int]:
    """Return which version a node speaks with each other one."""
    links = cluster.state(node)["links"]
    return {link["peer"]: link["version"] for link in links if link["connected"]}


def base(cluster: LocalCluster, acceptor: NodeId) -> int:
    """Return up to which slot an acceptor has cut its log."""
    return int(cluster.status(acceptor)["keeping"]["base"])


def upgrade_all_but_gateways(cluster: LocalCluster, load: Load) -> None:
    """Upgrade node by node, acceptors first, and stay half-way for a while."""
    order = [
        *cluster.of(Role.ACCEPTOR),
        *cluster.of(Role.LEARNER),
        *cluster.of(Role.PROPOSER),
        *cluster.of(Role.DISCOVERY),
    ]
    half = len(order) // 2
    for node in order[:half]:
        load.go_on(10)
        upgrade(cluster, node)
    # The acceptors and a learner are new; the other learner and all proposers are not.
    assert set(spoken(cluster, order[0]).values()) == {1, WIRE_VERSION}
    load.go_on(150)
    for node in order[half:-1]:
        assert [base(cluster, acceptor) for acceptor in cluster.of(Role.ACCEPTOR)] == [0, 0, 0]
        load.go_on(10)
        upgrade(cluster, node)
    load.go_on(10)
    upgrade(cluster, order[-1])


def test_no_request_fails_when_nodes_are_upgraded_one_after_the_other(old: LocalCluster) -> None:
    """Half of the nodes stay old for a while; the log is cut when the last old one has gone."""
    for node in old.nodes:
        assert set(spoken(old, node).values()) == {1}
    with Load(old) as load:
        upgrade_all_but_gateways(old, load)
        # Gateways neither propose nor learn: while they are old, the others are free to cut.
        for acceptor in old.of(Role.ACCEPTOR):
            wait_until(lambda one=acceptor: base(old, one) > 0, f"{acceptor} has cut its log")
        load.go_on(10)
        load.verify()
    for node in old.of(Role.CLIENT):
        upgrade(old, node)
    old.wait_until_all_ready()
    for node in old.nodes:
        assert set(spoken(old, node).values()) == {WIRE_VERSION}
    load.verify_kept()


def test_an_old_learner_is_told_to_be_upgraded_when_the_log_has_been_cut(
    new_cluster: NewCluster,
) -> None:
    """It could never get past what was cut off: it is refused, and nobody else is harmed."""
    cluster = new_cluster(SETTINGS)
    with Load(cluster) as load:
        load.go_on(150)
        for acceptor in cluster.of(Role.ACCEPTOR):
            wait_until(lambda one=acceptor: base(cluster, one) > 0, f"{acceptor} has cut its log")
        cluster.hold("learner-2")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(processes_module, "environment", environment_of_old)
            with Node(cluster.file, "learner", 2) as late:
                said = "learner-2 speaks version 1 of the messages between nodes, acceptor-"
                wait_until(lambda: said in late.log(), "it says why it is refused")
                wait_until(lambda: said in cluster.log("acceptor-1"), "so does an acceptor")
                load.go_on(10)
                assert cluster.page("learner-2", "/readyz").status != 200
        cluster.release("learner-2")
        cluster.wait_until_ready("learner-2")
        load.verify()


def environment_before_members() -> dict[str, str]:
    return environment() | {WIRE_VERSION_VARIABLE: str(MEMBERS_VERSION - 1)}


def test_members_change_only_when_every_node_is_upgraded(new_cluster: NewCluster) -> None:
    """versions.py: who would overlook a change is upgraded first, and is refused afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_module, "environment", environment_before_members)
        cluster = new_cluster(SETTINGS)
    supervisor = cluster.run().supervisor_process
    processes.send(supervisor, signal.SIGKILL)
    assert processes.wait_until_gone([supervisor], DEADLINE_S) == []
    cluster.up()
    words = ("member", "remove", "proposer-3", "--timeout", "5")
    assert cluster.command(*words).returncode != 0, "nobody knows what is asked"
    with Load(cluster, may_lose=(1, 2)) as load:
        for node in cluster.nodes:
            if node != "learner-2":
                upgrade(cluster, node)
        load.go_on(10)
        said = cluster.command(*words)
        assert said.returncode == 1
        assert "learner-2 must be upgraded first" in said.stderr
        load.go_on(10)
        upgrade(cluster, NodeId("learner-2"))
        assert cluster.command(*words).returncode == 0
        assert cluster.command("member", "replace", "acceptor-1").returncode == 0
        load.go_on(10)
        load.stop()
        assert load.errors == []
        load.verify_kept()
    cluster.hold("learner-1")
    # An older program has never heard of what this volume holds since.
    shutil.rmtree(cluster.volume("learner-1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes_module, "environment", environment_before_members)
        with Node(cluster.file, "learner", 1) as late:
            told = "learner-1 speaks version 2 of the messages between nodes, acceptor-"
            wait_until(lambda: told in late.log(), "it says why it is refused")
    cluster.release("learner-1")
    cluster.wait_until_ready("learner-1")
