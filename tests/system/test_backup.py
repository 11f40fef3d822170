"""A backup of a real cluster under load, and real clusters that begin with it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from paxos.core.types import Role

from .cluster import ANSWER_S, HOST, LocalCluster, wait_until, written
from .conftest import NewCluster
from .processes import Node

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

WRITERS = 4
VALUE = b"x" * 500


class Writers:
    """Clients that append values of their own to the list until told to stop."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._told: dict[bytes, int] = {}
        self._counts: list[int] = []
        self._errors: list[str] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def told(self) -> dict[bytes, int]:
        """Every value that was acknowledged so far, with its slot."""
        return dict(self._told.copy())

    @property
    def count(self) -> int:
        """The highest number that a client was told."""
        return max(self._counts.copy(), default=0)

    def go_on(self, count: int) -> None:
        """Wait until so many more values were acknowledged, without an error."""
        before = len(self._told)
        wait_until(lambda: len(self._told) >= before + count or self._errors, "writes go on")
        assert self._errors == []

    def _write(self, number: int) -> None:
        connection = self._cluster.redis(1 + number % 2)
        sent = 0
        while not self._stopping.is_set():
            sent += 1
            value = b"%d:%d:%b" % (number, sent, VALUE)
            try:
                self._told[value] = int(connection.execute_command("WRITE", value))
                self._counts.append(int(connection.incr("count")))
            except redis.RedisError as error:
                self._errors.append(f"{type(error).__name__}: {error}")
                return


def plain(cluster: LocalCluster, *words: str) -> dict[str, Any]:
    """Run a command to its good end; return what it tells."""
    done = cluster.command(*words, "--json")
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{cluster.tails()}"
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def restored(
    clusters: list[LocalCluster], folder: Path, file: Path, settings: dict[str, Any]
) -> tuple[LocalCluster, str]:
    """Restore a backup into a cluster of its own, not started yet; return its identity too."""
    folder.mkdir()
    cluster = LocalCluster(folder, settings)
    clusters.append(cluster)
    return cluster, str(plain(cluster, "restore", str(file))["cluster"])


def test_a_cluster_restored_from_a_backup_under_load_holds_exactly_what_was_decided_by_then(
    new_cluster: NewCluster, clusters: list[LocalCluster], tmp_path: Path
) -> None:
    """Everything acknowledged before it was asked for is in it, nothing after its slot is, and
    nothing is applied twice: the gateways' old sessions came along, and mean nothing any more."""
    first = new_cluster({})
    file = tmp_path / "one.backup"
    with Writers(first) as writers:
        writers.go_on(300)
        before, count = writers.told, writers.count
        head = plain(first, "backup", str(file), "--port", str(first.door(1)))
        writers.go_on(100)
    assert set(before.values()) <= set(range(1, head["slot"] + 1))
    assert len(writers.told) > head["values"] >= len(before), "writes went on meanwhile"
    assert plain(first, "backup", "verify", str(file)) == head
    expected = [(slot, value) for slot, value in first.values() if slot <= head["slot"]]

    second, identity = restored(clusters, tmp_path / "second", file, {})
    second.start()
    assert second.values() == expected
    assert {value: slot for slot, value in expected if value in before} == before
    found = int(second.redis(1).get("count") or 0)
    assert count <= found <= head["revision"]
    assert [int(second.redis(door).incr("count")) for door in (1, 2, 1)] == [
        found + 1,
        found + 2,
        found + 3,
    ]
    assert int(second.redis(2).execute_command("WRITE", "new")) > head["slot"]
    assert second.values() == [*expected, (second.values()[-1][0], b"new")]
    assert {second.state(node)["cluster"] for node in second.of(Role.ACCEPTOR)} == {identity}

    # And all of it again from that cluster's own volumes, snapshots and logs.
    second.kill_everything()
    second.up()
    assert int(second.redis(1).get("count") or 0) == found + 3
    # The first one never noticed.
    assert {value for _, value in first.values()} >= set(writers.told)
    refused = first.command("restore", str(file))
    assert refused.returncode == 1
    assert "there are volumes already" in refused.stderr


def test_two_clusters_of_one_backup_refuse_each_other_even_at_crossed_addresses(
    new_cluster: NewCluster, clusters: list[LocalCluster], tmp_path: Path
) -> None:
    """One restored twice has two identities, also where both know the same secret."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"known to both of them")
    settings = {"security": {"secret_file": str(secret)}}
    source = new_cluster(settings)
    source.redis(1).set("key", "value")
    file = tmp_path / "one.backup"
    plain(source, "backup", str(file), "--port", str(source.door(1)))
    source.stop()
    one, identity = restored(clusters, tmp_path / "one", file, settings)
    other, strange = restored(clusters, tmp_path / "other", file, settings)
    assert identity != strange
    other.start()
    other.stop()  # now its learners and proposers are stamped as well
    one.start()
    one.hold("acceptor-3")
    crossed = written(
        tmp_path / "crossed.toml",
        {
            **settings,
            "network": {"port_offset": one.configuration.network.port_offset},
            "data": {"folder": str(other.configuration.data_folder)},
        },
    )
    with Node(crossed, "acceptor", 3) as stranger:
        refusal = f"belongs to cluster {identity}, acceptor-3 to {strange}"
        wait_until(lambda: refusal in stranger.log(), "the stranger is refused")
        said = f"belongs to cluster {identity}, acceptor-3 to {strange}"
        wait_until(
            lambda: any(said in one.log(node) for node in one.of(Role.PROPOSER)),
            "a proposer says whom it refuses",
        )
        assert one.redis(1).set("key", "of one")
        assert [link["peer"] for link in one.state("acceptor-1")["links"] if link["connected"]]
        for node in one.nodes:
            if node not in ("acceptor-3", "discovery"):
                links = {link["peer"]: link["connected"] for link in one.state(node)["links"]}
                assert not links.get("acceptor-3"), f"{node} talks to a stranger"
    one.release("acceptor-3")
    one.wait_until_all_ready()
    # A client node's process is of the cluster that it serves, and of no other.
    wait_until(
        lambda: {one.state(node)["cluster"] for node in one.of(Role.CLIENT)} == {identity},
        "the client nodes know whose they are",
    )
    one.hold("learner-1")
    with Node(crossed, "learner", 1) as stranger:
        wait_until(
            lambda: (
                f"client-1 belongs to cluster {identity}" in stranger.log()
                or f"belongs to cluster {strange}, client-1 to {identity}" in stranger.log()
            ),
            "the stranger is refused by a client node",
        )
    one.release("learner-1")
    one.wait_until_all_ready()
    assert one.redis(2).get("key") == b"of one"
    one.stop()
    other.up()
    assert other.redis(1).get("key") == b"value"


def test_a_backup_is_refused_in_words_and_leaves_no_file_when_it_cannot_be_had(
    new_cluster: NewCluster, tmp_path: Path
) -> None:
    cluster = new_cluster({})
    file = tmp_path / "one.backup"
    port = str(cluster.door(1))
    with redis.Redis(HOST, cluster.door(1), socket_timeout=ANSWER_S) as busy:
        slot, size = busy.execute_command("BACKUP", "BEGIN")
        done = cluster.command("backup", str(file), "--port", port)
        assert done.returncode == 1
        assert "BUSY a backup is under way through this client node" in done.stderr
        part = busy.execute_command("BACKUP", "PART", slot, 0)
        assert len(part) == size
        assert busy.execute_command("BACKUP", "PART", slot, size) == b""
    assert plain(cluster, "backup", str(file), "--port", port)["slot"] >= slot
    content = file.read_bytes()
    for offset in range(0, len(content), max(1, len(content) // 12)):
        flipped = bytearray(content)
        flipped[offset] ^= 1
        (tmp_path / "flipped").write_bytes(flipped)
        done = cluster.command("backup", "verify", str(tmp_path / "flipped"))
        assert (done.returncode, "damaged at byte" in done.stderr) == (1, True)
    for node in ("acceptor-1", "acceptor-2"):
        cluster.hold(node)
    done = cluster.command("backup", str(tmp_path / "two"), "--port", port)
    assert done.returncode == 1
    assert "UNAVAILABLE no backup was taken: learner-1 could not learn" in done.stderr
    for node in cluster.of(Role.LEARNER):
        cluster.hold(node)
    done = cluster.command("backup", str(tmp_path / "two"), "--port", port)
    assert done.returncode == 1
    assert "no learner can be reached" in done.stderr
    assert sorted(path.name for path in tmp_path.glob("two*")) == []
    assert cluster.command("backup").returncode == 2
