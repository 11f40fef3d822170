"""What is wrong is named before anything starts; other sizes, and two clusters side by side."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from .cluster import HOST, LocalCluster, Settings, client, free_port_offset, paxos, written
from .load import Load

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

NewCluster = Callable[[Settings], LocalCluster]


def settings(folder: Path, **sections: dict[str, object]) -> Path:
    """Write a configuration with free ports, its data in this folder unless told otherwise."""
    usual: dict[str, dict[str, object]] = {
        "network": {"port_offset": free_port_offset()},
        "data": {"folder": str(folder / "data")},
    }
    return written(folder / "paxos.toml", usual | sections)


def test_taken_ports_are_all_named_and_nothing_starts(tmp_path: Path) -> None:
    offset = free_port_offset()
    file = settings(tmp_path, network={"port_offset": offset})
    with contextlib.ExitStack() as stack:
        for port in (6001 + offset, 8004 + offset, 17007 + offset):
            taken = stack.enter_context(socket.socket())
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind((HOST, port))
            taken.listen()
        done = paxos("up", "--config", str(file))
    assert done.returncode == 1
    for port, node in ((6001, "client-1"), (8004, "acceptor-1"), (17007, "learner-1")):
        assert f"port {port + offset}, which {node} needs, is taken by process" in done.stderr
    assert "network.port_offset" in done.stderr
    assert not (tmp_path / "data" / "run.json").exists()
    assert not (tmp_path / "data" / "acceptor-1").exists()


def test_every_mistake_of_a_configuration_is_named_at_once(tmp_path: Path) -> None:
    file = settings(
        tmp_path,
        cluster={"acceptors": 0, "learnrs": 2},
        timeouts={"suspect_ms": "soon"},
        limits={"value_bytes_max": 1 << 40},
        log={"level": "loud"},
    )
    for words in (["up"], ["node", "acceptor", "1"]):
        done = paxos(*words, "--config", str(file))
        assert done.returncode == 2
        lines = done.stderr.splitlines()
        for mistake in (
            "cluster.acceptors = 0 (paxos.toml): must be ",
            'cluster.learnrs (paxos.toml): no such key; did you mean "learners"?',
            'timeouts.suspect_ms = "soon" (paxos.toml): must be ',
            "limits.value_bytes_max = 1099511627776 (paxos.toml): must be ",
            'log.level = "loud" (paxos.toml): must be ',
        ):
            assert any(mistake in line for line in lines), done.stderr
    assert not (tmp_path / "data").exists()


def test_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    # A file in the place of the folder refuses every user, root as well.
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "data", Path("/proc/paxos")):
        done = paxos("up", "--config", str(settings(tmp_path, data={"folder": str(folder)})))
        assert done.returncode == 1
        assert f'data.folder = "{folder}" cannot be written (' in done.stderr
    assert (tmp_path / "file").read_text(encoding="utf-8") == "not a folder"


def test_secret_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("short", encoding="utf-8")
    for name, reason in (("short", "holds 5 bytes"), ("none", "cannot be read")):
        file = settings(tmp_path, security={"secret_file": str(tmp_path / name)})
        done = paxos("up", "--config", str(file))
        assert done.returncode == 2
        assert f'security.secret_file = "{tmp_path / name}" {reason}' in done.stderr


@pytest.mark.parametrize(
    ("counts", "victims"),
    [
        (
            {"proposers": 3, "acceptors": 5, "learners": 2, "clients": 1},
            ("acceptor-1", "acceptor-4", "proposer-2", "learner-1"),
        ),
        ({"proposers": 2, "acceptors": 1, "learners": 1, "clients": 2}, ("discovery",)),
        ({"proposers": 1, "acceptors": 4, "learners": 3, "clients": 3}, ("acceptor-4",)),
    ],
)
def test_other_numbers_of_nodes_work(
    new_cluster: NewCluster, counts: dict[str, int], victims: tuple[str, ...]
) -> None:
    cluster = new_cluster({"cluster": counts})
    cluster.wait_until_all_ready()
    assert len(cluster.nodes) == 1 + sum(counts.values())
    with Load(cluster, doors=range(1, counts["clients"] + 1)) as load:
        load.go_on(20)
        for node in victims:
            cluster.hold(node)
        load.go_on(20)
        for node in victims:
            cluster.release(node)
            cluster.wait_until_ready(node)
        load.verify()
    cluster.stop()


def test_two_clusters_side_by_side_know_nothing_of_one_another(new_cluster: NewCluster) -> None:
    small: Settings = {"cluster": {"proposers": 2, "learners": 1, "clients": 1}}
    one, other = new_cluster(small), new_cluster(small)
    for name, cluster in (("one", one), ("other", other)):
        cluster.wait_until_all_ready()
        assert client(cluster.door(), "write", name).returncode == 0
        assert cluster.redis().set("whose", name)
    one.kill_everything()
    assert other.redis().get("whose") == b"other"
    assert [value for _, value in other.values(number=1)] == [b"other"]
    one.up()
    assert one.redis().get("whose") == b"one"
    assert [value for _, value in one.values(number=1)] == [b"one"]
    assert one.state("acceptor-1")["cluster"] != other.state("acceptor-1")["cluster"]


def test_cluster_that_runs_is_not_started_again_with_other_settings(
    new_cluster: NewCluster,
) -> None:
    cluster = new_cluster({"cluster": {"proposers": 1, "learners": 1, "clients": 1}})
    pids = cluster.pids()
    again = cluster.command("up")
    assert again.returncode == 0
    assert "already running" in again.stderr
    text = cluster.file.read_text(encoding="utf-8")
    cluster.file.write_text(text + "[timeouts]\nrequest_ms = 4000\n", encoding="utf-8")
    changed = cluster.command("up")
    assert changed.returncode == 1
    assert "runs with other settings than these" in changed.stderr
    assert cluster.pids() == pids
