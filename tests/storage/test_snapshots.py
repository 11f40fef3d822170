"""What every store of snapshots promises, on disk and in memory, and the files of the former."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paxos.core.effects import AcceptedEntry, Cut, Recovered, SnapshotInfo, Stamped
from paxos.core.errors import StorageError, VolumeDamaged
from paxos.core.types import Slot
from paxos.storage import FileJournal, MemoryJournal, MemorySnapshots, SnapshotFiles, open_volume
from paxos.storage.snapshot_files import DRAFT_NAME

from .streams import slot_of, snapshot_of

Vote = Callable[..., AcceptedEntry]
SIZE = 200_000
PART = 64_000


class Store:
    """A store across its lives."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._now: Any = None

    def open(self) -> Any:
        """Return the store as the next life finds it."""
        if self._folder is None:
            self._now = MemorySnapshots(slot_of) if self._now is None else self._now.crash()
        else:
            if self._now is not None:
                self._now.close()
            self._now = SnapshotFiles(self._folder, slot_of, bytes_spare=0)
        return self._now


@pytest.fixture(params=["memory", "files"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store of each kind, with nothing in it."""
    return Store(None if request.param == "memory" else tmp_path)


def write(store: Any, slot: int, content: bytes, parts: int | None = None) -> bool:
    """Write a snapshot part by part, or its first parts; tell whether it is whole."""
    whole = False
    for offset in list(range(0, len(content), PART))[:parts]:
        assert not whole
        data = content[offset : offset + PART]
        whole = store.write_part(Slot(slot), len(content), offset, data)
    return whole


def read(store: Any, slot: int, bytes_max: int = 50_001) -> bytes:
    """Read a snapshot to its end."""
    content = b""
    while data := store.read(Slot(slot), len(content), bytes_max):
        assert len(data) <= bytes_max
        content += data
    return content


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("snapshot"))


# ---------------------------------------------------------------- what both promise


def test_empty_store_has_nothing(store: Store) -> None:
    snapshots = store.open()
    assert snapshots.newest is None
    assert snapshots.read(Slot(1), 0, 100) == b""


def test_snapshot_is_the_newest_once_its_last_part_is_written(store: Store) -> None:
    snapshots = store.open()
    content = snapshot_of(40, SIZE)
    assert not write(snapshots, 40, content, parts=3)
    assert snapshots.newest is None
    assert snapshots.read(Slot(40), 0, 100) == b""
    assert snapshots.write_part(Slot(40), SIZE, 3 * PART, content[3 * PART :])
    for _ in range(2):
        assert snapshots.newest == SnapshotInfo(slot=Slot(40), size=SIZE)
        assert read(snapshots, 40) == content
        snapshots = store.open()


def test_reading_takes_any_offset_and_length(store: Store) -> None:
    snapshots = store.open()
    content = snapshot_of(40, SIZE)
    write(snapshots, 40, content)
    for offset in (0, 1, 65_535, 65_536, 131_073, SIZE - 1, SIZE, SIZE + 1):
        for length in (0, 1, 65_536, 100_000, SIZE, 2 * SIZE):
            assert snapshots.read(Slot(40), offset, length) == content[offset : offset + length]
    assert snapshots.read(Slot(39), 0, 100) == b""
    assert snapshots.read(Slot(40), -1, 100) == b""


def test_newer_snapshot_takes_the_place_of_the_older(store: Store) -> None:
    snapshots = store.open()
    for slot in (40, 70):
        assert write(snapshots, slot, snapshot_of(slot, SIZE))
    assert snapshots.newest == SnapshotInfo(slot=Slot(70), size=SIZE)
    assert snapshots.read(Slot(40), 0, 100) == b""
    assert read(store.open(), 70) == snapshot_of(70, SIZE)


def test_same_snapshot_may_come_again(store: Store) -> None:
    snapshots = store.open()
    for _ in range(2):
        assert write(snapshots, 40, snapshot_of(40, SIZE))
        assert read(snapshots, 40) == snapshot_of(40, SIZE)


def test_older_snapshot_is_refused(store: Store) -> None:
    snapshots = store.open()
    write(snapshots, 70, snapshot_of(70, SIZE))
    with pytest.raises(StorageError, match="slot 40 is older than that of slot 70"):
        write(snapshots, 40, snapshot_of(40, SIZE))
    assert read(snapshots, 70) == snapshot_of(70, SIZE)


def test_first_part_drops_another_that_had_begun(store: Store) -> None:
    snapshots = store.open()
    write(snapshots, 40, snapshot_of(40, SIZE), parts=2)
    assert write(snapshots, 30, snapshot_of(30, SIZE + 5))
    assert read(snapshots, 30) == snapshot_of(30, SIZE + 5)


def test_draft_is_gone_in_the_next_life(store: Store) -> None:
    snapshots = store.open()
    write(snapshots, 40, snapshot_of(40, SIZE))
    write(snapshots, 70, snapshot_of(70, SIZE), parts=3)
    snapshots = store.open()
    assert snapshots.newest == SnapshotInfo(slot=Slot(40), size=SIZE)
    with pytest.raises(StorageError, match="does not follow"):
        snapshots.write_part(Slot(70), SIZE, 3 * PART, b"rest")


@pytest.mark.parametrize(
    ("slot", "size", "offset", "data", "text"),
    [
        (40, SIZE, 2 * PART, b"x", "does not follow"),
        (41, SIZE, PART, b"x", "does not follow"),
        (40, SIZE + 1, PART, b"x", "does not follow"),
        (40, SIZE, PART, b"", "a part of 0 bytes"),
        (40, SIZE, PART, bytes(SIZE), "a part of 200000 bytes"),
        (0, SIZE, 0, b"x", "out of bounds"),
        (40, 0, 0, b"x", "out of bounds"),
        (40, 2**41, 0, b"x", "out of bounds"),
    ],
)
def test_part_that_does_not_follow_ends_the_attempt(
    slot: int, size: int, offset: int, data: bytes, text: str, store: Store
) -> None:
    snapshots = store.open()
    write(snapshots, 40, snapshot_of(40, SIZE), parts=1)
    with pytest.raises(StorageError, match=text):
        snapshots.write_part(Slot(slot), size, offset, data)
    with pytest.raises(StorageError, match="does not follow: the next is at 0"):
        snapshots.write_part(Slot(40), SIZE, PART, b"x")
    assert write(snapshots, 40, snapshot_of(40, SIZE))


def test_snapshot_that_does_not_check_is_not_kept_and_harms_nothing(store: Store) -> None:
    snapshots = store.open()
    write(snapshots, 30, snapshot_of(30, SIZE))
    rotten = bytearray(snapshot_of(40, SIZE))
    rotten[150_000] ^= 1
    with pytest.raises(StorageError, match=r"did not come whole: .* wrong checksum") as raised:
        write(snapshots, 40, bytes(rotten))
    assert not isinstance(raised.value, VolumeDamaged)
    with pytest.raises(StorageError, match="is of slot 50"):
        write(snapshots, 40, snapshot_of(50, SIZE))
    assert read(store.open(), 30) == snapshot_of(30, SIZE)


# ---------------------------------------------------------------- files


def test_only_the_newest_file_stays(tmp_path: Path) -> None:
    snapshots = SnapshotFiles(tmp_path, slot_of, bytes_spare=0)
    assert snapshots.bytes_on_disk == 0
    for slot in (40, 70):
        write(snapshots, slot, snapshot_of(slot, SIZE))
    assert names(tmp_path) == ["snapshot-00000000000000000070"]
    write(snapshots, 90, snapshot_of(90, SIZE + 7), parts=1)
    assert names(tmp_path) == ["snapshot-00000000000000000070", DRAFT_NAME]
    # Room is taken at once, so that a full disk is met at the beginning.
    assert (tmp_path / DRAFT_NAME).stat().st_size == SIZE + 7
    assert snapshots.bytes_on_disk == 2 * SIZE + 7
    snapshots.discard()
    assert names(tmp_path) == ["snapshot-00000000000000000070"]
    snapshots.close()
    snapshots.close()


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    (tmp_path / DRAFT_NAME).write_bytes(b"half")
    (tmp_path / "snapshot-taking.tmp").write_bytes(b"half")
    for slot in (40, 70):
        (tmp_path / f"snapshot-{slot:020d}").write_bytes(snapshot_of(slot, SIZE))
    snapshots = SnapshotFiles(tmp_path, slot_of)
    assert snapshots.newest == SnapshotInfo(slot=Slot(70), size=SIZE)
    assert names(tmp_path) == ["snapshot-00000000000000000070"]
    snapshots.close()


def test_own_snapshot_is_adopted_when_it_is_whole(tmp_path: Path) -> None:
    snapshots = SnapshotFiles(tmp_path, slot_of)
    snapshots.taking.write_bytes(snapshot_of(40, SIZE))
    info = snapshots.adopt(snapshots.taking, Slot(40))
    assert info == snapshots.newest == SnapshotInfo(slot=Slot(40), size=SIZE)
    assert read(snapshots, 40) == snapshot_of(40, SIZE)
    for content, text in ((b"cut short", "did not come whole"), (b"", "did not come whole")):
        snapshots.taking.write_bytes(content)
        with pytest.raises(StorageError, match=text):
            snapshots.adopt(snapshots.taking, Slot(70))
        assert not snapshots.taking.exists()
    with pytest.raises(StorageError, match="cannot be kept: No such file"):
        snapshots.adopt(snapshots.taking, Slot(70))
    assert snapshots.newest == info
    snapshots.close()


def test_bytes_behind_the_end_of_a_snapshot_are_found(tmp_path: Path) -> None:
    """A verify that stops at its end does not vouch for what follows."""

    def hasty(chunks: Any) -> Slot:
        return slot_of([next(iter(chunks))])

    snapshots = SnapshotFiles(tmp_path, hasty)
    snapshots.taking.write_bytes(snapshot_of(40, 65_536))
    snapshots.adopt(snapshots.taking, Slot(40))
    snapshots.taking.write_bytes(snapshot_of(50, 65_536) + b"more")
    with pytest.raises(StorageError, match="ends before its file does"):
        snapshots.adopt(snapshots.taking, Slot(50))
    snapshots.close()


def test_rot_under_an_open_snapshot_is_found_when_it_is_read(tmp_path: Path) -> None:
    snapshots = SnapshotFiles(tmp_path, slot_of, bytes_spare=0)
    write(snapshots, 40, snapshot_of(40, SIZE))
    path = tmp_path / "snapshot-00000000000000000040"
    with path.open("r+b") as file:
        file.seek(70_000)
        file.write(b"\xff")
    assert snapshots.read(Slot(40), 0, 65_536) == snapshot_of(40, SIZE)[:65_536]
    with pytest.raises(VolumeDamaged, match="at offset 65536: the snapshot of slot 40 fails"):
        snapshots.read(Slot(40), 65_536, 1)
    os.truncate(path, 100_000)
    with pytest.raises(VolumeDamaged, match="at offset 100000: the snapshot is cut short"):
        snapshots.read(Slot(40), 0, 150_000)
    snapshots.close()


def test_snapshot_can_be_read_while_the_next_comes_in(tmp_path: Path) -> None:
    """The loop reads, a worker writes: what is read is of one snapshot, or nothing."""
    snapshots = SnapshotFiles(tmp_path, slot_of, bytes_spare=0)
    write(snapshots, 1, snapshot_of(1, SIZE))
    failed: list[BaseException] = []

    def come_in() -> None:
        try:
            for slot in range(2, 60):
                write(snapshots, slot, snapshot_of(slot, SIZE))
        except BaseException as error:
            failed.append(error)
            raise

    worker = threading.Thread(target=come_in)
    worker.start()
    seen = set()
    while worker.is_alive():
        newest = snapshots.newest
        assert newest is not None
        data = snapshots.read(newest.slot, 100_000, 50_000)
        assert data in (b"", snapshot_of(newest.slot, SIZE)[100_000:150_000])
        seen.add(newest.slot)
    worker.join()
    assert failed == []
    assert snapshots.newest == SnapshotInfo(slot=Slot(59), size=SIZE)
    assert len(seen) > 1
    snapshots.close()


def test_snapshot_without_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    snapshots = SnapshotFiles(tmp_path, slot_of, bytes_spare=2 * free)
    with pytest.raises(StorageError, match=r"needs 1 MiB .* MiB are free in .*: make room"):
        write(snapshots, 40, snapshot_of(40, SIZE))
    assert names(tmp_path) == []
    snapshots.close()


@pytest.mark.parametrize("name", ["posix_fallocate", "pwritev", "fdatasync", "fsync", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_disk_that_refuses_ends_the_attempt_with_its_words(
    name: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(code, os.strerror(code))

    snapshots = SnapshotFiles(tmp_path, slot_of, bytes_spare=0)
    write(snapshots, 30, snapshot_of(30, SIZE))
    with monkeypatch.context() as patch:
        patch.setattr(os, name, refuse)
        text = f"snapshot of slot 40 cannot be written: {os.strerror(code)}"
        with pytest.raises(StorageError, match=text):
            write(snapshots, 40, snapshot_of(40, SIZE))
    assert names(tmp_path) == ["snapshot-00000000000000000030"]
    assert read(snapshots, 30) == snapshot_of(30, SIZE)
    assert write(snapshots, 40, snapshot_of(40, SIZE))
    snapshots.close()


def test_clear_removes_everything(tmp_path: Path) -> None:
    (tmp_path / f"snapshot-{40:020d}").write_bytes(b"rotten")
    snapshots = SnapshotFiles(tmp_path, slot_of, bytes_spare=0)
    assert snapshots.damage is not None
    assert snapshots.newest is None
    snapshots.clear()
    assert (snapshots.damage, names(tmp_path)) == (None, [])
    assert write(snapshots, 10, snapshot_of(10, SIZE))
    snapshots.clear()
    assert (snapshots.newest, names(tmp_path)) == (None, [])
    snapshots.close()


# ---------------------------------------------------------------- together with the log


def close(opened: tuple[Any, SnapshotFiles]) -> Recovered:
    """Close a volume; return what it had recovered."""
    journal, snapshots = opened
    recovered = journal.recovered
    journal.close()
    snapshots.close()
    return recovered  # type: ignore[no-any-return]


@pytest.fixture
def cut_folder(tmp_path: Path, stamp: Stamped, vote: Vote) -> Path:
    """A volume with a snapshot of slot 20, cut below slot 15."""
    folder = tmp_path / "volume"
    journal, snapshots = open_volume(folder, slot_of)
    assert journal.recovered == Recovered()
    for record in (stamp, *(vote(slot) for slot in range(1, 25))):
        journal.append(record)
    journal.sync()
    assert write(snapshots, 20, snapshot_of(20, SIZE))
    journal.append(Cut(slot=Slot(15)))
    journal.sync()
    close((journal, snapshots))
    return folder


def test_volume_tells_of_its_snapshot(cut_folder: Path, stamp: Stamped) -> None:
    journal, snapshots = open_volume(cut_folder, slot_of)
    info = SnapshotInfo(slot=Slot(20), size=SIZE)
    assert journal.recovered.snapshot == snapshots.newest == info
    assert journal.recovered.base == 15
    assert journal.recovered.stamp == stamp
    close((journal, snapshots))


def test_flip_anywhere_in_the_snapshot_bars_the_volume(cut_folder: Path, vote: Vote) -> None:
    path = cut_folder / f"snapshot-{20:020d}"
    content = path.read_bytes()
    for offset in (*range(20), 100, 65_536, 150_000, SIZE - 1):
        rotten = bytearray(content)
        rotten[offset] ^= 1 << offset % 8
        path.write_bytes(bytes(rotten))
        journal, snapshots = open_volume(cut_folder, slot_of)
        damage = journal.recovered.damage
        assert damage is not None
        assert f"{path}: the snapshot is damaged at byte" in damage
        assert journal.recovered == Recovered(damage=damage)
        assert (journal.base, journal.highest_slot, journal.entry(Slot(18))) == (0, 0, None)
        assert snapshots.newest is None
        with pytest.raises(VolumeDamaged, match="the snapshot is damaged at byte"):
            journal.append(vote(30))
        close((journal, snapshots))
    assert path.exists()


def test_snapshot_that_is_missing_or_too_old_bars_the_volume(
    cut_folder: Path, tmp_path: Path
) -> None:
    path = cut_folder / f"snapshot-{20:020d}"
    path.unlink()
    text = "slots up to 15 were cut off and the snapshot that holds them is missing"
    assert close(open_volume(cut_folder, slot_of)) == Recovered(damage=text)
    (cut_folder / f"snapshot-{14:020d}").write_bytes(snapshot_of(14, SIZE))
    assert close(open_volume(cut_folder, slot_of)) == Recovered(damage=text)
    (cut_folder / f"snapshot-{15:020d}").write_bytes(snapshot_of(15, SIZE))
    assert close(open_volume(cut_folder, slot_of)).base == 15


def test_snapshot_without_its_log_bars_the_volume(cut_folder: Path) -> None:
    """A lost log is never taken for a blank volume, not even the second time."""
    for path in cut_folder.iterdir():
        if not path.name.startswith("snapshot"):
            path.unlink()
    for _ in range(2):
        assert "the log that it belongs to is missing" in str(
            close(open_volume(cut_folder, slot_of)).damage
        )


def test_damage_of_the_log_is_told_before_that_of_the_snapshot(cut_folder: Path) -> None:
    (cut_folder / f"snapshot-{20:020d}").write_bytes(b"rotten")
    (cut_folder / "mark").unlink()
    assert "mark is missing" in str(close(open_volume(cut_folder, slot_of)).damage)


def test_failed_opening_of_the_snapshots_lets_the_volume_go(
    cut_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(StorageError, match="cannot be opened: Input/output error"):
        open_volume(cut_folder, refuse)
    assert close(open_volume(cut_folder, slot_of)).damage is None


def test_engine_that_is_only_measured_has_snapshots_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = "benchmarks.journal.sqlite_journal:SqliteJournal"
    monkeypatch.setenv("PAXOS_JOURNAL_ENGINE", engine)
    journal, snapshots = open_volume(tmp_path, slot_of)
    assert not isinstance(journal, FileJournal)
    assert snapshots.newest is None
    close((journal, snapshots))


def test_journal_in_memory_is_barred_like_one_on_disk(stamp: Stamped, vote: Vote) -> None:
    journal = MemoryJournal()
    for record in (stamp, vote(1), vote(2), Cut(slot=Slot(1))):
        journal.append(record)
    journal.sync()
    info = SnapshotInfo(slot=Slot(1), size=100)
    journal = journal.crash()
    journal.admit(info)
    assert (journal.recovered.base, journal.recovered.snapshot) == (1, info)
    journal = journal.crash()
    journal.admit(None)
    assert journal.recovered.damage is not None
    assert journal.entry(Slot(2)) is None
    with pytest.raises(StorageError, match="slots up to 1 were cut off"):
        journal.append(vote(3))


def test_copy_of_a_volume_made_at_any_moment_of_a_snapshot_opens(
    cut_folder: Path, tmp_path: Path
) -> None:
    """What a crash leaves between two parts."""
    journal, snapshots = open_volume(cut_folder, slot_of)
    content = snapshot_of(30, SIZE)
    for parts in range(5):
        write(snapshots, 30, content, parts=parts)
        copy = Path(shutil.copytree(cut_folder, tmp_path / f"copy-{parts}"))
        recovered = close(open_volume(copy, slot_of))
        assert recovered.damage is None
        assert recovered.snapshot == SnapshotInfo(slot=Slot(30 if parts == 4 else 20), size=SIZE)
    close((journal, snapshots))
