"""The supervisor: it restarts what dies, leaves alone what is held, and outlives nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.apps.conftest import Standin, WaitUntil

from paxos.apps import local, processes, run_file, supervisor
from paxos.core.types import NodeId

ACCEPTOR = NodeId("acceptor-1")


def test_node_that_is_killed_comes_back(standin: Standin, wait_until: WaitUntil) -> None:
    assert standin.up().works
    before = standin.run().nodes[ACCEPTOR]
    assert processes.send(before.process, signal.SIGKILL)
    wait_until(lambda: standin.run().nodes[ACCEPTOR].restarts == 1)
    after = standin.run().nodes[ACCEPTOR]
    assert after.pid != before.pid
    assert after.exit == "signal SIGKILL"
    assert local.wait_until_node_ready(standin.configuration, ACCEPTOR, 20.0) == ""


@pytest.mark.usefixtures("impatient")
def test_node_that_crashes_again_and_again_waits_longer_each_time(
    standin: Standin, wait_until: WaitUntil
) -> None:
    standin.data.mkdir()
    (standin.data / f"{ACCEPTOR}.crashes").touch()
    readiness = standin.up()
    assert readiness.works
    assert set(readiness.absent) == {ACCEPTOR}
    log = supervisor.log_folder(standin.configuration) / "supervisor.log"
    wait_until(lambda: "again in 1.2 s" in log.read_text())
    text = log.read_text()
    assert text.index("again in 0.3 s") < text.index("again in 0.6 s") < text.index("again in 1.2")
    node_log = supervisor.log_folder(standin.configuration) / f"{ACCEPTOR}.log"
    assert "RuntimeError: this node crashes" in node_log.read_text()


@pytest.mark.usefixtures("impatient")
def test_node_that_refuses_is_not_started_again_soon(standin: Standin) -> None:
    standin.data.mkdir()
    (standin.data / f"{ACCEPTOR}.refuses").touch()
    assert set(standin.up().absent) == {ACCEPTOR}
    run = standin.run().nodes[ACCEPTOR]
    assert (run.state, run.exit, run.restarts) == ("waiting", "status 78", 0)
    log = supervisor.log_folder(standin.configuration) / "supervisor.log"
    assert "acceptor-1 ended (status 78), again in 30.0 s" in log.read_text()


def test_nodes_outlive_a_killed_supervisor_and_the_next_one_takes_them_over(
    standin: Standin, wait_until: WaitUntil
) -> None:
    standin.up()
    before = standin.run()
    assert processes.send(before.supervisor_process, signal.SIGKILL)
    assert not processes.wait_until_gone([before.supervisor_process], 10.0)
    assert set(before.living()) == set(standin.configuration.nodes())
    assert processes.send(before.nodes[ACCEPTOR].process, signal.SIGKILL)
    assert not processes.wait_until_gone([before.nodes[ACCEPTOR].process], 10.0)

    assert standin.up().absent == {}
    after = standin.run()
    assert after.supervisor != before.supervisor
    for node, run in after.nodes.items():
        assert (run.pid == before.nodes[node].pid) is (node != ACCEPTOR)
    # A node that was taken over is restarted like any other.
    learner = NodeId("learner-1")
    assert processes.send(after.nodes[learner].process, signal.SIGKILL)
    wait_until(lambda: standin.run().nodes[learner].restarts == 1)
    assert local.wait_until_node_ready(standin.configuration, learner, 20.0) == ""


def test_everything_killed_at_once_just_starts_again(standin: Standin) -> None:
    standin.up()
    standin.end()
    assert standin.run().living() == {}
    readiness = standin.up()
    assert readiness.works
    assert readiness.absent == {}


def test_nodes_are_told_apart_in_the_process_list(standin: Standin) -> None:
    standin.up()
    pid = standin.run().nodes[ACCEPTOR].pid
    assert Path(f"/proc/{pid}/comm").read_text() == "acceptor-1\n"
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip()
    assert command == b"paxos node acceptor 1"


def test_stop_order_is_gateways_first_and_discovery_last(standin: Standin) -> None:
    standin.up()
    assert local.stop(standin.data, standin.progress.append)
    logs = supervisor.log_folder(standin.configuration)
    ended = {
        node: int((logs / f"{node}.log").read_text().rsplit(maxsplit=1)[-1])
        for node in standin.configuration.nodes()
    }
    order = sorted(ended, key=lambda node: ended[node])
    assert set(order[:2]) == {"client-1", "client-2"}
    assert order[2:] == ["proposer-1", "learner-1", "acceptor-1", "discovery"]


def test_log_is_moved_when_it_has_grown_and_its_writer_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "node.log"
    with file.open("ab", buffering=0) as writer:
        writer.write(b"a" * 50)
        supervisor.bound_log(file, bytes_max=50)
        assert file.stat().st_size == 50
        writer.write(b"b")
        supervisor.bound_log(file, bytes_max=50)
        writer.write(b"new\n")
    assert file.read_bytes() == b"new\n"
    assert (tmp_path / "node.log.1").read_bytes() == b"a" * 50 + b"b"
    supervisor.bound_log(tmp_path / "none.log", bytes_max=50)
    assert not (tmp_path / "none.log").exists()


def test_second_supervisor_of_one_folder_ends(standin: Standin, wait_until: WaitUntil) -> None:
    standin.up()
    output = standin.data / "second.log"
    second = processes.process(standin.launch(standin.configuration, output))
    wait_until(lambda: not second.lives)
    _, status = os.waitpid(second.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert "already has a supervisor" in output.read_text()
    assert run_file.read(standin.data) == standin.run()
