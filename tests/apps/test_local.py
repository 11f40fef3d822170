"""A cluster of local processes: what `up` finds wrong beforehand, and stop, hold, reset, status."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from tests.apps.conftest import Standin, WaitUntil

from paxos.apps import asking, config, local, run_file, supervisor
from paxos.core.errors import ConfigurationError, DefiniteError, StorageError
from paxos.core.types import NodeId

ACCEPTOR = NodeId("acceptor-1")


def test_up_is_ready_when_a_write_has_been_read_back(standin: Standin) -> None:
    readiness = standin.up()
    assert readiness.works
    assert readiness.absent == {}
    assert "a leader stands and a write has been read back" in standin.progress
    assert not [path for path in standin.data.iterdir() if path.name.startswith("5f5f")]
    run = standin.run()
    assert run.mode == "local"
    assert run.config == str(standin.file)
    assert set(run.living()) == set(standin.configuration.nodes())
    assert run.nodes[NodeId("client-2")].door_port == standin.configuration.door_port(
        NodeId("client-2")
    )


def test_real_nodes_keep_what_was_written_when_all_are_killed_at_once(standin: Standin) -> None:
    """The same small cluster with the real supervisor and the real nodes."""
    loaded = standin.configuration
    host, port = loaded.local_host(), loaded.door_port(NodeId("client-2"))
    assert local.up(loaded, standin.progress.append, 30.0).absent == {}
    asking.commands(host, port, ["SET", "kept", "novo valor"], ["WRITE", "first"])
    standin.end()
    assert standin.run().living() == {}
    assert local.up(loaded, standin.progress.append, 30.0).absent == {}
    assert asking.commands(host, port, ["GET", "kept"]) == ["novo valor"]
    assert "first" in str(asking.commands(host, port, ["READ"]))
    assert local.stop(loaded.data_folder, standin.progress.append)


def test_up_again_says_so_and_starts_nothing(standin: Standin) -> None:
    standin.up()
    before = standin.run()
    standin.progress.clear()
    assert standin.up().works
    assert standin.progress[0] == f"already running in {standin.data}"
    assert standin.run() == before


def test_up_with_other_settings_than_those_that_run_is_refused(standin: Standin) -> None:
    standin.up()
    standin.file.write_text(
        standin.file.read_text() + "[timeouts]\nrequest_ms = 9000\n", encoding="utf-8"
    )
    changed = config.load(standin.file)
    with pytest.raises(DefiniteError, match="runs with other settings"):
        local.up(changed, standin.progress.append, 5.0, standin.launch)


def test_up_names_every_port_that_is_taken_and_by_whom(standin: Standin) -> None:
    page = standin.configuration.page_port(ACCEPTOR)
    door = standin.configuration.door_port(NodeId("client-1"))
    with (
        socket.create_server(("127.0.0.1", page)),
        socket.create_server(("127.0.0.1", door)),
        pytest.raises(DefiniteError) as caught,
    ):
        standin.up()
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(
        f"port {page}, which acceptor-1 needs, is taken by process {os.getpid()} ("
    )
    assert lines[1].startswith(f"port {door}, which client-1 needs, is taken by process")
    assert run_file.read(standin.data) is None


def test_up_names_addresses_that_are_none_once(standin: Standin) -> None:
    wrong = config.load(
        standin.file,
        {"PAXOS_NETWORK_BIND": "999.1.1.1", "PAXOS_NETWORK_HOST": "nohost.invalid"},
    )
    with pytest.raises(ConfigurationError) as caught:
        local.up(wrong, standin.progress.append, 5.0, standin.launch)
    bind, host = str(caught.value).splitlines()
    assert bind.startswith('network.bind = "999.1.1.1": nobody can listen there: ')
    assert host.startswith('network.host: "nohost.invalid" cannot be resolved here: ')


def test_up_ends_early_when_the_volumes_were_founded_otherwise(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real nodes: waiting cannot help, so the reason is told before the time is over."""
    loaded = standin.configuration
    assert local.up(loaded, standin.progress.append, 30.0).absent == {}
    assert local.stop(loaded.data_folder, standin.progress.append)
    monkeypatch.setenv("PAXOS_CLUSTER_ACCEPTORS", "2")
    other = config.load(standin.file, os.environ)
    readiness = local.up(other, standin.progress.append, 3600.0)
    assert not readiness.works
    assert "was founded with acceptor-1, but the configuration names" in readiness.trouble


def test_up_refuses_a_folder_that_cannot_be_written(standin: Standin) -> None:
    standin.data.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(StorageError, match=r"data\.folder = .* cannot be written"):
        standin.up()


def test_up_refuses_a_secret_file_that_is_not_there(standin: Standin) -> None:
    loaded = config.load(standin.file, {"PAXOS_SECRET_FILE": "none"})
    with pytest.raises(ConfigurationError, match="secret_file"):
        local.up(loaded, standin.progress.append, 5.0, standin.launch)


def test_secret_is_made_once_and_for_this_user_alone(standin: Standin) -> None:
    local.make_data_folder(standin.data)
    local.make_secret(standin.configuration)
    path = standin.configuration.security.secret_file
    first = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(standin.configuration.secret()) == 64
    local.make_secret(standin.configuration)
    assert path.read_bytes() == first


def test_up_tells_why_the_supervisor_ended(standin: Standin) -> None:
    def broken(configuration: config.Configuration, output: Path) -> int:
        return local.spawn_detached(["/bin/sh", "-c", "echo no such thing; exit 1"], output)

    readiness = local.up(standin.configuration, standin.progress.append, 10.0, broken)
    assert not readiness.works
    assert readiness.trouble == "the supervisor ended: no such thing"
    assert set(readiness.absent) == set(standin.configuration.nodes())


def test_stop_ends_every_process_and_keeps_the_data(standin: Standin) -> None:
    standin.up()
    run = standin.run()
    assert local.stop(standin.data, standin.progress.append)
    assert run.living() == {}
    assert not run.supervisor_process.lives
    assert run_file.read(standin.data) is None
    assert standin.configuration.security.secret_file.exists()
    assert not local.stop(standin.data, standin.progress.append)


def test_held_node_stays_down_until_it_is_released(standin: Standin, wait_until: WaitUntil) -> None:
    standin.up()
    local.hold(standin.configuration, ACCEPTOR)
    wait_until(lambda: standin.run().nodes[ACCEPTOR].state == "held")
    assert ACCEPTOR not in standin.run().living()
    [report] = [one for one in local.status(standin.configuration) if one.node == ACCEPTOR]
    assert (report.state, report.ready, report.reason) == ("held", False, "does not answer")
    local.release(standin.configuration, ACCEPTOR)
    assert local.wait_until_node_ready(standin.configuration, ACCEPTOR, 20.0) == ""
    wait_until(lambda: standin.run().nodes[ACCEPTOR].state == "running")


def test_up_releases_what_is_held(standin: Standin) -> None:
    standin.up()
    local.hold(standin.configuration, ACCEPTOR)
    assert standin.up().absent == {}


def test_hold_needs_a_running_cluster_and_a_known_node(standin: Standin) -> None:
    with pytest.raises(DefiniteError, match="no cluster of local processes runs"):
        local.hold(standin.configuration, ACCEPTOR)
    with pytest.raises(ConfigurationError, match="has no acceptor-9"):
        local.hold(standin.configuration, NodeId("acceptor-9"))


@pytest.mark.usefixtures("impatient")
def test_node_that_is_not_ready_is_told_with_its_reason(standin: Standin) -> None:
    standin.data.mkdir()
    (standin.data / f"{ACCEPTOR}.unready").touch()
    readiness = standin.up()
    assert readiness.works
    assert readiness.absent == {ACCEPTOR: "a test said so"}


def test_status_tells_every_node(standin: Standin) -> None:
    assert {report.state for report in local.status(standin.configuration)} == {"unknown"}
    standin.up()
    reports = local.status(standin.configuration)
    assert [report.node for report in reports] == list(standin.configuration.nodes())
    assert all(report.ready and report.state == "running" for report in reports)
    assert all(report.status == {"phase": "up"} for report in reports)


def test_reset_deletes_what_is_ours_and_nothing_else(standin: Standin) -> None:
    standin.up()
    (standin.data / "acceptor-1").mkdir()
    (standin.data / "acceptor-1" / "journal").write_bytes(b"x")
    (standin.data / "holiday.jpg").write_bytes(b"x")
    deleted = local.reset(standin.configuration, standin.progress.append)
    assert [path.name for path in standin.data.iterdir()] == ["holiday.jpg"]
    assert {"acceptor-1", "logs", "cluster.secret"} <= {path.name for path in deleted}
    assert local.reset(standin.configuration, standin.progress.append) == []


def test_run_file_of_somebody_else_is_not_believed(standin: Standin) -> None:
    """A pid that now belongs to another process is never taken for a node."""
    standin.data.mkdir()
    me = os.getpid()
    stale = run_file.NodeRun(pid=me, started=1, page_port=1, peer_port=2)
    run_file.write(
        standin.data,
        run_file.Run(mode="local", supervisor=me, supervisor_started=1, nodes={ACCEPTOR: stale}),
    )
    assert standin.run().living() == {}
    assert not local.stop(standin.data, standin.progress.append)
    (standin.data / run_file.NAME).write_text("{ half", encoding="utf-8")
    assert run_file.read(standin.data) is None
    assert not local.is_supervised(standin.configuration)
    held = supervisor.lock(standin.data)
    assert held is not None
    held.close()
