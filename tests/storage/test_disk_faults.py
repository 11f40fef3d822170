"""Disks that fail, on real files, with the message that an operator sees (DESIGN rule 8).

Each test says what is found, and what one volume cannot find out alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paxos.core.effects import AcceptedEntry, AnyRecord, Cut, Promised, Recovered, Stamped
from paxos.core.errors import StorageError
from paxos.core.types import Ballot, NodeId, Slot
from paxos.storage import FileJournal, SnapshotFiles, open_volume
from paxos.storage.base import BASE_NAME
from paxos.storage.file_journal import SEGMENT_BYTES
from paxos.storage.mark import MARK_NAME
from paxos.storage.recovery import segment_numbers, segment_path

from .children import in_child, make_read_only, on_small_disk
from .streams import slot_of, snapshot_of

Vote = Callable[..., AcceptedEntry]
Open = Callable[[Path], FileJournal]
MIB = 1024 * 1024
SNAPSHOT_BYTES = 100_000

# The test runner has threads, which a child that only opens volumes never touches.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where a small disk can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def fill(disk: Path) -> None:
    """Leave no room on a disk."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    handle = os.open(disk / "filler", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(handle, 0, free)
    os.close(handle)


def vote_until_it_fails(journal: Any, vote: Vote) -> tuple[int, str]:
    """Sync large votes one by one; return the last that was synced, and why no more was."""
    slot = journal.highest_slot
    try:
        while True:
            journal.append(vote(slot + 1, size=MIB))
            journal.sync()
            slot += 1
    except StorageError as error:
        return slot, str(error)


# ---------------------------------------------------------------- full, read-only, torn


def test_full_disk_stops_the_node_and_what_was_synced_is_there_when_there_is_room(
    disk: Path, stamp: Stamped, vote: Vote
) -> None:
    def work() -> list[Any]:
        folder = disk / "volume"
        journal, snapshots = open_volume(folder, slot_of)
        journal.append(stamp)
        journal.sync()
        fill(disk)
        slot, text = vote_until_it_fails(journal, vote)
        # Nothing may be assumed after a failure: it stays so even with room again.
        (disk / "filler").unlink()
        _, still = vote_until_it_fails(journal, vote)
        assert still == text
        journal.close()
        snapshots.close()
        journal, snapshots = open_volume(folder, slot_of)
        assert journal.recovered.damage is None
        assert journal.highest_slot == slot
        for one in range(1, slot + 1):
            assert journal.entry(Slot(one)) == vote(one, size=MIB)
        journal.append(vote(slot + 1, size=MIB))
        journal.sync()
        assert journal.highest_slot == slot + 1
        return [slot, text]

    slot, text = on_small_disk(disk, 2 * SEGMENT_BYTES + 4 * MIB, work)
    assert slot >= 10
    assert text == (
        f"the volume {disk / 'volume'} could not be written: No space left on device (make room "
        "there); what was synced is kept: start the node again when that is put right"
    )


def test_full_disk_refuses_a_snapshot_and_the_log_goes_on(
    disk: Path, stamp: Stamped, vote: Vote
) -> None:
    def work() -> list[str]:
        folder = disk / "volume"
        journal, snapshots = open_volume(folder, slot_of)
        journal.append(stamp)
        journal.append(vote(1))
        journal.sync()
        texts = []
        try:
            snapshots.write_part(Slot(1), 20 * MIB, 0, snapshot_of(1, 1000))
        except StorageError as error:
            texts.append(str(error))
        assert snapshots.newest is None
        assert not list(folder.glob("snapshot*"))
        # The check may be passed, and the room taken by others meanwhile.
        greedy = SnapshotFiles(folder, slot_of, bytes_spare=0)
        content = snapshot_of(1, 3 * MIB)
        greedy.write_part(Slot(1), len(content), 0, content[:MIB])
        fill(disk)
        assert not greedy.write_part(Slot(1), len(content), MIB, content[MIB : 2 * MIB])
        assert greedy.write_part(Slot(1), len(content), 2 * MIB, content[2 * MIB :])
        journal.append(vote(2))
        journal.sync()
        assert journal.highest_slot == 2
        return texts

    texts = on_small_disk(disk, SEGMENT_BYTES + 32 * MIB, work)
    where = f"MiB are free in {disk / 'volume'}: make room there"
    assert len(texts) == 1
    assert texts[0].startswith("the snapshot of slot 1 needs 20 MiB and is to leave 32 MiB")
    assert texts[0].endswith(where)


def test_read_only_disk_is_told_at_the_start(disk: Path) -> None:
    def work() -> Any:
        make_read_only(disk)
        return open_volume(disk / "volume", slot_of)

    text = on_small_disk(disk, 4 * MIB, work)
    assert text == (
        f"the data folder {disk / 'volume'} cannot be made: Read-only file system (mount it for "
        "writing; the system's log says why it is not)"
    )


def test_disk_that_becomes_read_only_stops_the_log_and_refuses_snapshots(
    disk: Path, stamp: Stamped, vote: Vote
) -> None:
    def work() -> list[Any]:
        journal, snapshots = open_volume(disk / "volume", slot_of)
        journal.append(stamp)
        journal.sync()
        make_read_only(disk)
        try:
            snapshots.write_part(Slot(1), 1000, 0, snapshot_of(1, 1000))
            refused = ""
        except StorageError as error:
            refused = str(error)
        slot, text = vote_until_it_fails(journal, vote)
        journal.close()
        return [refused, slot, text]

    refused, slot, text = on_small_disk(disk, 4 * SEGMENT_BYTES, work)
    assert "snapshot of slot 1 cannot be written: Read-only file system" in refused
    assert slot >= 10
    assert "could not be written: Read-only file system (mount it for writing" in text


def test_torn_tail_is_repaired_and_said(tmp_path: Path, stamp: Stamped, vote: Vote) -> None:
    """A process that dies in the middle of a write: RLIMIT_FSIZE cuts a real one in two."""

    def work() -> str:
        import resource

        journal, _ = open_volume(tmp_path, slot_of)
        for record in (stamp, vote(1)):
            journal.append(record)
            journal.sync()
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        journal.append(vote(2, size=9000))
        journal.sync()
        return "synced"

    assert "File too large (raise the process's limit" in in_child(work)
    path = segment_path(tmp_path, 1)
    journal, snapshots = open_volume(tmp_path, slot_of)
    assert journal.recovered.damage is None
    assert journal.recovered.repaired == (
        f"{path} at offset 1536: batch 3 was never synced and is half-written; its 3464 bytes "
        "were dropped"
    )
    assert journal.highest_slot == 1
    journal.close()
    snapshots.close()


# ---------------------------------------------------------------- bits that flip


@pytest.fixture
def lived_in(tmp_path: Path, open_small: Open, stamp: Stamped, vote: Vote) -> Path:
    """A volume with everything in it: segments, a base, a mark, a snapshot of slot 25."""
    folder = tmp_path / "volume"
    journal = open_small(folder)
    batches: list[list[AnyRecord]] = [[stamp], *([vote(slot, size=900)] for slot in range(1, 31))]
    batches += [[Cut(slot=Slot(20))], [Promised(ballot=Ballot(501))]]
    batches += [[vote(slot, 501, size=40), vote(slot + 1, 501, size=40)] for slot in (31, 33, 35)]
    for batch in batches:
        for record in batch:
            journal.append(record)
        journal.sync()
    snapshots = SnapshotFiles(folder, slot_of, bytes_spare=0)
    assert snapshots.write_part(Slot(25), SNAPSHOT_BYTES, 0, snapshot_of(25, SNAPSHOT_BYTES))
    snapshots.close()
    journal.close()
    return folder


def recovered_from(folder: Path) -> Recovered:
    """Open a volume, close it, and return what it knew."""
    journal, snapshots = open_volume(folder, slot_of)
    recovered = journal.recovered
    if recovered.damage is not None:
        with pytest.raises(StorageError, match="the volume is damaged"):
            journal.append(Promised(ballot=Ballot(999)))
    journal.close()
    snapshots.close()
    return recovered


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("header", r"segment-\d+ at offset 0: the segment's header fails its checksum"),
        ("head", r"segment-\d+ at offset \d+: batch \d+ was synced and is not whole, with unknown"),
        ("table", r"segment-\d+ at offset \d+: batch \d+ was synced and is not whole, with unknow"),
        ("payload", r"segment-\d+ at offset \d+: .* fail their checksums \(slots 34; the first at"),
        ("base", "base at offset 0: the base fails its checksum"),
        ("snapshot", r"snapshot-0+25: the snapshot is damaged at byte \d+"),
    ],
)
def test_bit_that_flipped_is_found_and_says_where(where: str, text: str, lived_in: Path) -> None:
    last = segment_path(lived_in, segment_numbers(lived_in)[-1])
    payload = last.read_bytes().index(b"34/501")
    group = last.read_bytes().rindex(b"PXGR", 0, payload)
    path, offset = {
        "header": (last, 20),
        "head": (last, group + 9),
        "table": (last, group + 26),
        "payload": (last, payload + 3),
        "base": (lived_in / BASE_NAME, 40),
        "snapshot": (lived_in / f"snapshot-{25:020d}", 77_777),
    }[where]
    flip(path, offset)
    with pytest.raises(AssertionError, match=text):
        assert recovered_from(lived_in).damage is None


def test_bit_that_flipped_in_the_mark_is_repaired_by_its_other_half(
    lived_in: Path, tmp_path: Path
) -> None:
    for offset in (3, 515):
        folder = Path(shutil.copytree(lived_in, tmp_path / f"flipped-{offset}"))
        flip(folder / MARK_NAME, offset)
        recovered = recovered_from(folder)
        assert recovered.damage is None
        assert "one slot of the sync mark was not whole" in str(recovered.repaired)
    for offset in (3, 515):
        flip(lived_in / MARK_NAME, offset)
    assert recovered_from(lived_in).damage == (
        f"{lived_in / MARK_NAME} at offset 0: no slot of the sync mark is whole"
    )


# ---------------------------------------------------------------- files and volumes that are gone


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (BASE_NAME, "segment-00000001 at offset 0: the segment is missing"),
        (MARK_NAME, "mark at offset 0: the sync mark is missing"),
        (f"snapshot-{25:020d}", "slots up to 20 were cut off and the snapshot that holds them is"),
    ],
)
def test_deleted_file_is_found(name: str, text: str, lived_in: Path) -> None:
    (lived_in / name).unlink()
    assert text in str(recovered_from(lived_in).damage)


def test_any_deleted_segment_is_found(lived_in: Path, tmp_path: Path) -> None:
    for number in segment_numbers(lived_in):
        folder = Path(shutil.copytree(lived_in, tmp_path / f"without-{number}"))
        segment_path(folder, number).unlink()
        assert "at offset" in str(recovered_from(folder).damage)


def test_deleted_volume_is_blank_and_only_the_others_know_better(lived_in: Path) -> None:
    """Not to be found here: the acceptor asks the others before it formats a blank volume."""
    shutil.rmtree(lived_in)
    assert recovered_from(lived_in) == Recovered()


def test_files_of_another_volume_are_found_and_a_whole_one_shows_its_stamp(
    lived_in: Path, tmp_path: Path, open_small: Open, vote: Vote
) -> None:
    """A whole foreign volume is sound: its stamp names another node, which the role compares."""
    other = tmp_path / "other"
    journal = open_small(other)
    foreign = Stamped(cluster="c2", node=NodeId("acceptor-2"), phase="open")
    for record in (foreign, *(vote(slot, size=900) for slot in range(1, 31)), Cut(slot=Slot(20))):
        journal.append(record)
        journal.sync()
    journal.close()
    shutil.copy(lived_in / f"snapshot-{25:020d}", other)
    assert recovered_from(other).stamp == foreign
    number = segment_numbers(other)[-1]
    for name in (BASE_NAME, MARK_NAME, segment_path(other, number).name):
        mixed = Path(shutil.copytree(lived_in, tmp_path / f"mixed-{name}"))
        shutil.copy(other / name, mixed / name)
        assert "another volume" in str(recovered_from(mixed).damage)


def test_older_copy_of_the_whole_folder_is_sound_and_only_the_others_know_better(
    lived_in: Path, tmp_path: Path, vote: Vote
) -> None:
    """Restored from a backup, mark and all: every checksum holds, and promises made since are
    forgotten. One volume cannot tell; whoever heard those promises and votes can. A copy that was
    put back over a newer one in part is found.
    """
    older = Path(shutil.copytree(lived_in, tmp_path / "older"))
    journal, snapshots = open_volume(lived_in, slot_of)
    journal.append(Promised(ballot=Ballot(901)))
    for slot in range(37, 60):
        journal.append(vote(slot, 901, size=900))
        journal.sync()
    journal.append(Cut(slot=Slot(25)))
    journal.sync()
    journal.close()
    snapshots.close()
    recovered = recovered_from(older)
    assert (recovered.damage, recovered.repaired, recovered.promised) == (None, None, 501)
    name = segment_path(older, segment_numbers(older)[-1]).name
    mixed = Path(shutil.copytree(lived_in, tmp_path / "one segment"))
    shutil.copy(older / name, mixed / name)
    assert "at offset 0: the segment begins with batch" in str(recovered_from(mixed).damage)
    everything_but_the_mark = Path(shutil.copytree(older, tmp_path / "all but the mark"))
    shutil.copy(lived_in / MARK_NAME, everything_but_the_mark)
    assert "was synced and is not whole" in str(recovered_from(everything_but_the_mark).damage)
    only_the_mark = Path(shutil.copytree(lived_in, tmp_path / "only the mark"))
    shutil.copy(older / MARK_NAME, only_the_mark)
    assert recovered_from(only_the_mark) == recovered_from(lived_in)
