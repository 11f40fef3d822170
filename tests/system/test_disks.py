"""Disks that fail under real nodes: full, read-only, with errors, hanging.

Each of these disks is a file system of its own in a file, so that it can be filled, frozen and
made to fail alone. That takes root and loop devices; without them these tests fail.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .cluster import LocalCluster, Settings, wait_until
from .load import Load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("system"),
    pytest.mark.timeout(300),
]

MIB = 1024 * 1024
DISK_BYTES = 96 * MIB


def run(*words: str) -> None:
    """Run a program of the system's administration."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)} (needs root and loop devices): {done.stderr}"


class Disk:
    """A file system in a file of `backing`, mounted at `folder`."""

    def __init__(self, backing: Path, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        self._ends = ExitStack()
        image = backing / f"{folder.name}.image"
        with image.open("wb") as file:
            file.truncate(DISK_BYTES)
        # Nothing is left for later: its first write must not fail for want of a table.
        options = "lazy_itable_init=0,lazy_journal_init=0"
        run("mkfs.ext4", "-q", "-m", "0", "-E", options, str(image))
        folder.mkdir(parents=True, exist_ok=True)
        run("mount", "-o", "loop", str(image), str(folder))
        self._ends.callback(run, "umount", "--lazy", str(folder))

    def fill(self, free_bytes: int) -> None:
        """Leave so much room."""
        size = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize - free_bytes
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)

    def empty(self) -> None:
        """Give the room back."""
        self._filler.unlink()

    def freeze(self) -> None:
        """Let every write and sync hang."""
        run("fsfreeze", "--freeze", str(self.folder))
        self._ends.callback(self.thaw)

    def thaw(self) -> None:
        """Let them go on. A second call does nothing."""
        subprocess.run(["fsfreeze", "--unfreeze", str(self.folder)], check=False)

    def remount(self, how: str) -> None:
        """Mount again, `ro` or `rw`."""
        run("mount", "-o", f"remount,{how}", str(self.folder))

    def end(self) -> None:
        """Unmount it."""
        self._ends.close()


Make = Callable[..., tuple[LocalCluster, dict[str, Disk]]]


@pytest.fixture
def with_disks(tmp_path: Path, clusters: list[LocalCluster]) -> Iterator[Make]:
    """Make a cluster in which some nodes have a disk of their own."""
    made: dict[str, Disk] = {}

    def make(
        *nodes: str, backing: Path = tmp_path, settings: Settings | None = None
    ) -> tuple[LocalCluster, dict[str, Disk]]:
        folder = tmp_path / "cluster-1"
        folder.mkdir()
        cluster = LocalCluster(folder, settings or {})
        clusters.append(cluster)
        for node in nodes:
            made[node] = Disk(backing, cluster.volume(node))
        cluster.start()
        return cluster, made

    yield make
    for disk in made.values():
        disk.thaw()
    for cluster in clusters:
        cluster.end()
    clusters.clear()
    for disk in made.values():
        disk.end()


def back_and_whole(cluster: LocalCluster, node: str) -> None:
    """Wait until an acceptor votes again and has every decided slot."""
    cluster.wait_until_ready(node)

    def whole() -> bool:
        status = cluster.status(node)
        return status.get("phase") == "open" and status["keeping"]["behind"] is False

    wait_until(whole, f"{node} votes and has caught up")


def large_values(cluster: LocalCluster, count: int) -> None:
    """Write so many mebibytes."""
    connection = cluster.redis(1)
    for number in range(count):
        assert connection.set(f"large:{number % 4}", os.urandom(MIB))


def test_acceptor_with_a_full_disk_stops_says_so_and_comes_back_when_there_is_room(
    with_disks: Make,
) -> None:
    cluster, disks = with_disks("acceptor-3")
    with Load(cluster) as load:
        load.go_on(20)
        disks["acceptor-3"].fill(free_bytes=MIB)
        large_values(cluster, 24)
        wait_until(
            lambda: "No space left on device" in cluster.log("acceptor-3"), "it says what is wrong"
        )
        load.go_on(50)
        disks["acceptor-3"].empty()
        back_and_whole(cluster, "acceptor-3")
        # It has all that it missed: another one may now fail.
        cluster.hold("acceptor-1")
        load.go_on(50)
        cluster.release("acceptor-1")
        load.verify()


def test_acceptor_on_a_disk_that_turns_read_only_stops_and_comes_back(with_disks: Make) -> None:
    cluster, disks = with_disks("acceptor-2")
    with Load(cluster) as load:
        load.go_on(20)
        # The volume's files stay open for writing until the node ends.
        cluster.hold("acceptor-2")
        disks["acceptor-2"].remount("ro")
        cluster.release("acceptor-2")
        wait_until(lambda: "Read-only file system" in cluster.log("acceptor-2"), "it says so")
        load.go_on(50)
        disks["acceptor-2"].remount("rw")
        back_and_whole(cluster, "acceptor-2")
        load.verify()


def test_acceptor_whose_sync_fails_stops_at_once(with_disks: Make, tmp_path: Path) -> None:
    """After a failed sync nothing may be assumed of what it was to write."""
    backing = tmp_path / "small"
    backing.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={40 * MIB}", "tmpfs", str(backing))
    try:
        cluster, _ = with_disks("acceptor-3", backing=backing)
        with Load(cluster) as load:
            load.go_on(20)
            # The disk says that it has room; what carries it has none left.
            large_values(cluster, 40)
            wait_until(
                lambda: "Input/output error" in cluster.log("acceptor-3"), "it says what is wrong"
            )
            load.go_on(50)
            load.verify()
        assert "could not be written" in cluster.log("acceptor-3")
    finally:
        run("umount", "--lazy", str(backing))


def test_acceptors_and_leader_with_hanging_disks_hold_nobody_up(with_disks: Make) -> None:
    cluster, disks = with_disks("acceptor-1", "proposer-1", "proposer-2", "proposer-3")
    leader = cluster.leader()
    with Load(cluster) as load:
        load.go_on(20)
        # acceptor-1 is among those that a leader asks first.
        disks["acceptor-1"].freeze()
        disks[leader].freeze()
        load.go_on(200)
        disks["acceptor-1"].thaw()
        disks[leader].thaw()
        back_and_whole(cluster, "acceptor-1")
        load.verify()


def test_a_candidate_with_a_hanging_disk_does_not_keep_the_others_from_leading(
    with_disks: Make,
) -> None:
    cluster, disks = with_disks("proposer-1", "proposer-2", "proposer-3")
    leader = cluster.leader()
    others = [node for node in ("proposer-1", "proposer-2", "proposer-3") if node != leader]
    with Load(cluster) as load:
        load.go_on(20)
        disks[others[0]].freeze()
        cluster.hold(leader)
        load.go_on(100)
        assert cluster.leader() == others[1]
        disks[others[0]].thaw()
        cluster.release(leader)
        load.verify()
