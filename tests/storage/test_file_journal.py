"""Segment files: rolling over, torn tails, bit rot, and telling the two apart (rule 8)."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paxos.core.effects import (
    AcceptedEntry,
    AnyRecord,
    Counted,
    Promised,
    Recovered,
    Stamped,
)
from paxos.core.errors import StorageError, VolumeDamaged
from paxos.core.types import Ballot, Slot
from paxos.storage import FileJournal, file_journal
from paxos.storage.mark import MARK_NAME, SyncMark
from paxos.storage.recovery import segment_numbers, segment_path
from paxos.storage.segment import pack_group_head, seed_of

Vote = Callable[..., AcceptedEntry]
Shown = Callable[[Any], dict[str, Any]]
Open = Callable[[Path], FileJournal]


@pytest.fixture
def history(stamp: Stamped, vote: Vote) -> list[list[AnyRecord]]:
    """Batches of a small life: founding, promises, votes alone and together, a counter."""
    return [
        [Stamped(cluster="c0", node=stamp.node, phase="formatted")],
        [stamp],
        [Promised(ballot=Ballot(101))],
        [vote(1)],
        [vote(2), vote(3, size=700)],
        [Counted(counter=4), Promised(ballot=Ballot(203))],
        [vote(slot, 203, size=300) for slot in range(4, 12)],
        [vote(3, 203, size=1500)],
        [vote(12, 302, size=5000)],
        [vote(13, 302, size=40)],
        [vote(14, 302, size=900), Promised(ballot=Ballot(401))],
    ]


def write(journal: FileJournal, batches: list[list[AnyRecord]]) -> None:
    for batch in batches:
        for record in batch:
            journal.append(record)
        journal.sync()


def copy_of(folder: Path, target: Path) -> Path:
    """Copy a volume as a process that dies now leaves it."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(folder, target))


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def flip(path: Path, offset: int, bit: int) -> None:
    byte = path.read_bytes()[offset]
    overwrite(path, offset, bytes([byte ^ 1 << bit]))


def last_segment(folder: Path) -> Path:
    return segment_path(folder, segment_numbers(folder)[-1])


# ---------------------------------------------------------------- an ordinary life


def test_segments_follow_each_other_and_are_read_across(
    tmp_path: Path, open_small: Open, stamp: Stamped, vote: Vote
) -> None:
    journal = open_small(tmp_path)
    write(journal, [[stamp], *([vote(slot, size=1000)] for slot in range(1, 101))])
    assert len(segment_numbers(tmp_path)) > file_journal.READERS_MAX
    assert journal.entries(Slot(1), Slot(100), 10**6) == [vote(s, size=1000) for s in range(1, 101)]
    journal.close()
    journal = open_small(tmp_path)
    write(journal, [[vote(101)]])
    assert journal.entry(Slot(1)) == vote(1, size=1000)
    assert journal.entry(Slot(101)) == vote(101)
    journal.close()


def test_batch_above_the_limits_of_a_group_is_split(
    tmp_path: Path, open_small: Open, stamp: Stamped, vote: Vote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_journal, "GROUP_RECORDS_MAX", 7)
    monkeypatch.setattr(file_journal, "GROUP_BYTES_MAX", 1000)
    votes: list[AnyRecord] = [vote(slot, size=slot * 10) for slot in range(1, 120)]
    journal = open_small(tmp_path)
    write(journal, [[stamp, *votes]])
    journal.close()
    journal = open_small(tmp_path)
    assert journal.entries(Slot(1), Slot(200), 10**9) == votes
    journal.close()


def test_batch_of_thousands_of_records_is_one_group(
    tmp_path: Path, stamp: Stamped, vote: Vote
) -> None:
    votes: list[AnyRecord] = [vote(slot, size=20) for slot in range(1, 3001)]
    journal = FileJournal(tmp_path)
    write(journal, [[stamp, *votes]])
    journal.close()
    journal = FileJournal(tmp_path)
    assert journal.entries(Slot(1), Slot(3000), 10**9) == votes
    assert journal.recovered.repaired is None
    journal.close()


def test_record_above_the_limit_is_refused_before_it_is_written(
    tmp_path: Path, open_small: Open, stamp: Stamped, vote: Vote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_journal, "RECORD_BYTES_MAX", 1000)
    journal = open_small(tmp_path)
    write(journal, [[stamp]])
    with pytest.raises(StorageError, match="is above 1000"):
        journal.append(vote(1, size=2000))
    assert journal.highest_slot == 0
    journal.close()


def test_founding_that_died_half_way_is_founded_again(tmp_path: Path, open_small: Open) -> None:
    journal = open_small(tmp_path)
    journal.close()
    segment_path(tmp_path, 1).rename(tmp_path / "segment-00000001.tmp")
    journal = open_small(tmp_path)
    assert journal.recovered == Recovered()
    journal.close()


# ---------------------------------------------------------------- torn tails


def test_torn_tail_at_every_byte_is_repaired_and_loses_nothing_synced(
    tmp_path: Path,
    open_small: Open,
    history: list[list[AnyRecord]],
    stamp: Stamped,
    vote: Vote,
    shown: Shown,
) -> None:
    """Died before the sync of the last batch: what the disk has of it is dropped, and said."""
    journal = open_small(tmp_path / "a")
    write(journal, history)
    before = copy_of(tmp_path / "a", tmp_path / "before")
    write(journal, [[vote(15, 402, size=300), vote(16, 402, size=300)]])
    after = copy_of(tmp_path / "a", tmp_path / "after")
    journal.close()
    path = last_segment(after)
    assert path.name == last_segment(before).name
    old, new = (folder.joinpath(path.name).read_bytes() for folder in (before, after))
    start = next(at for at in range(len(old)) if old[at] != new[at])
    end = len(new.rstrip(b"\0"))
    journal = open_small(copy_of(before, tmp_path / "b"))
    expected = shown(journal)
    journal.close()
    for cut in range(start + 1, end):
        overwrite(before / path.name, start, new[start:cut])
        torn = copy_of(before, tmp_path / "b")
        journal = open_small(torn)
        assert journal.recovered.damage is None
        assert journal.recovered.repaired is not None
        assert "never synced" in journal.recovered.repaired
        assert shown(journal) == expected
        if cut % 50 == 0:
            write(journal, [[vote(15, 501)]])
            journal.close()
            journal = open_small(torn)
            assert journal.recovered.repaired is None
            assert journal.entry(Slot(15)) == vote(15, 501)
        journal.close()


def test_torn_sectors_in_any_order_are_repaired(
    tmp_path: Path, open_small: Open, stamp: Stamped, vote: Vote, shown: Shown
) -> None:
    """A disk may have written any of the last batch's sectors, in any order."""
    journal = FileJournal(tmp_path / "a")
    write(journal, [[stamp], [vote(1)]])
    before = copy_of(tmp_path / "a", tmp_path / "before")
    write(journal, [[vote(2, size=2200)]])
    journal.close()
    new = last_segment(tmp_path / "a").read_bytes()
    start = 512 * 3
    sectors = (len(new.rstrip(b"\0")) - start + 511) // 512
    for present in range(1, 2**sectors - 1):
        torn = copy_of(before, tmp_path / "b")
        for sector in range(sectors):
            if present >> sector & 1:
                at = start + sector * 512
                overwrite(last_segment(torn), at, new[at : at + 512])
        journal = FileJournal(torn)
        assert journal.recovered.damage is None
        assert journal.recovered.repaired is not None
        assert journal.highest_slot == 1
        journal.close()


def test_whole_batch_whose_process_died_before_the_mark_is_kept(
    tmp_path: Path, open_small: Open, history: list[list[AnyRecord]], vote: Vote, shown: Shown
) -> None:
    journal = open_small(tmp_path / "a")
    write(journal, history[:-1])
    mark = (tmp_path / "a" / MARK_NAME).read_bytes()
    write(journal, history[-1:])
    journal.close()
    (tmp_path / "a" / MARK_NAME).write_bytes(mark)
    journal = open_small(tmp_path / "a")
    assert journal.recovered.damage is None
    assert journal.recovered.promised == 401
    assert journal.entry(Slot(14)) == vote(14, 302, size=900)
    journal.close()
    assert SyncMark.open(tmp_path / "a").batch == len(history)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_crash_at_a_random_point_keeps_what_was_synced(
    data: st.DataObject, tmp_path: Path, stamp: Stamped, shown: Shown, vote: Vote
) -> None:
    """Cut the file anywhere at or after the end of the last synced batch."""
    folder = tmp_path / "a"
    shutil.rmtree(folder, ignore_errors=True)
    sizes = data.draw(st.lists(st.lists(st.integers(0, 1500), min_size=1, max_size=5), max_size=6))
    journal = FileJournal(folder, segment_bytes=2**16)
    write(journal, [[stamp]])
    path = segment_path(folder, 1)
    slot = 0
    images = [((folder / MARK_NAME).read_bytes(), len(path.read_bytes().rstrip(b"\0")), slot)]
    for batch in sizes:
        for size in batch:
            slot += 1
            journal.append(vote(slot, size=size))
        journal.sync()
        end = len(path.read_bytes().rstrip(b"\0"))
        images.append(((folder / MARK_NAME).read_bytes(), end, slot))
    journal.close()
    at = data.draw(st.integers(0, len(images) - 1))
    mark, end, synced = images[at]
    limit = images[at + 1][1] - 1 if at + 1 < len(images) else path.stat().st_size
    # A vote may end with two zero bytes that belong to it and not to the blank rest: the length
    # of an empty value, and that no slot is decided.
    cut = data.draw(st.integers(end + 2, max(end + 2, limit)))
    content = path.read_bytes()
    blank = data.draw(st.booleans())
    path.write_bytes(content[:cut] + (bytes(len(content) - cut) if blank else b""))
    (folder / MARK_NAME).write_bytes(mark)
    journal = FileJournal(folder)
    assert journal.recovered.damage is None
    assert journal.highest_slot == synced
    assert [slot for slot, _ in journal.votes(Slot(1), Slot(999))] == list(range(1, synced + 1))
    write(journal, [[vote(synced + 1)]])
    journal.close()
    journal = FileJournal(folder)
    assert journal.recovered.damage is None
    assert journal.entry(Slot(synced + 1)) == vote(synced + 1)
    journal.close()


# ---------------------------------------------------------------- bit rot


def test_single_bit_flip_anywhere_is_found_or_harmless(
    tmp_path: Path, open_small: Open, history: list[list[AnyRecord]], shown: Shown
) -> None:
    """Never a silently lower promise, never a lost vote, in any file of the volume."""
    journal = open_small(tmp_path / "a")
    write(journal, history)
    journal.close()
    journal = open_small(tmp_path / "a")
    expected = shown(journal)
    journal.close()
    found = harmless = 0
    for name in sorted(path.name for path in (tmp_path / "a").iterdir()):
        original = (tmp_path / "a" / name).read_bytes()
        used = len(original.rstrip(b"\0"))
        for offset in [*range(0, used, 7), *range(used, len(original), 211)]:
            rotten = copy_of(tmp_path / "a", tmp_path / "b")
            flip(rotten / name, offset, offset % 8)
            journal = open_small(rotten)
            if journal.recovered.damage is None:
                assert shown(journal) == expected
                harmless += 1
            else:
                assert name in journal.recovered.damage
                assert "at offset" in journal.recovered.damage
                assert journal.highest_slot == 0
                found += 1
            journal.close()
    assert found > 800
    assert harmless > 10


def test_flip_in_the_last_synced_batch_is_damage_and_names_its_slots(
    tmp_path: Path, open_small: Open, history: list[list[AnyRecord]], vote: Vote
) -> None:
    journal = open_small(tmp_path)
    write(journal, [*history, [vote(15), vote(16, size=200), vote(17)]])
    journal.close()
    path = last_segment(tmp_path)
    at = path.read_bytes().find(b"16/101")
    flip(path, at, 3)
    journal = open_small(tmp_path)
    damage = journal.recovered.damage
    assert damage is not None
    assert str(path) in damage
    assert "slots 16;" in damage
    assert journal.recovered == Recovered(damage=damage)
    for call in (lambda: journal.append(vote(18)), journal.sync):
        with pytest.raises(VolumeDamaged, match="slots 16;"):
            call()
    journal.close()


def test_tail_wiped_out_below_the_mark_is_damage(
    tmp_path: Path, open_small: Open, history: list[list[AnyRecord]]
) -> None:
    """Zeros where a synced batch was look like a clean end: only the mark knows better."""
    journal = open_small(tmp_path)
    write(journal, history)
    journal.close()
    path = last_segment(tmp_path)
    content = path.read_bytes()
    at = content.rfind(b"PXGR")
    overwrite(path, at, bytes(len(content) - at))
    journal = open_small(tmp_path)
    assert journal.recovered.damage is not None
    assert f"batch {len(history)} was synced" in journal.recovered.damage
    assert f"offset {at}" in journal.recovered.damage
    journal.close()


def test_invalid_batch_with_a_whole_one_after_it_is_damage_even_above_the_mark(
    tmp_path: Path, stamp: Stamped, vote: Vote
) -> None:
    """After a power loss the mark may be old; a later batch proves the earlier one was synced."""
    journal = FileJournal(tmp_path)
    write(journal, [[stamp]])
    mark = (tmp_path / MARK_NAME).read_bytes()
    write(journal, [[vote(1)], [vote(2)]])
    journal.close()
    (tmp_path / MARK_NAME).write_bytes(mark)
    path = segment_path(tmp_path, 1)
    flip(path, path.read_bytes().find(b"1/101"), 0)
    journal = FileJournal(tmp_path)
    assert journal.recovered.damage is not None
    assert "slots 1;" in journal.recovered.damage
    journal.close()


@pytest.mark.parametrize("which", [0, 1, -1], ids=["first", "middle", "last"])
def test_missing_segment_is_damage(
    which: int, tmp_path: Path, open_small: Open, history: list[list[AnyRecord]]
) -> None:
    journal = open_small(tmp_path)
    write(journal, history)
    journal.close()
    numbers = segment_numbers(tmp_path)
    assert len(numbers) > 2
    segment_path(tmp_path, numbers[which]).unlink()
    journal = open_small(tmp_path)
    assert journal.recovered.damage is not None
    journal.close()


def test_missing_mark_or_all_segments_missing_is_damage(
    tmp_path: Path, open_small: Open, history: list[list[AnyRecord]]
) -> None:
    """A lost volume is never taken for a blank one."""
    journal = open_small(tmp_path / "a")
    write(journal, history)
    journal.close()
    without_mark = copy_of(tmp_path / "a", tmp_path / "b")
    (without_mark / MARK_NAME).unlink()
    journal = open_small(without_mark)
    assert "mark is missing" in str(journal.recovered.damage)
    journal.close()
    only_mark = copy_of(tmp_path / "a", tmp_path / "c")
    for number in segment_numbers(only_mark):
        segment_path(only_mark, number).unlink()
    journal = open_small(only_mark)
    assert "every segment is missing" in str(journal.recovered.damage)
    journal.close()


def test_segment_of_another_volume_is_damage(
    tmp_path: Path, open_small: Open, history: list[list[AnyRecord]]
) -> None:
    for name in ("a", "b"):
        journal = open_small(tmp_path / name)
        write(journal, history)
        journal.close()
    shutil.copy(segment_path(tmp_path / "b", 2), segment_path(tmp_path / "a", 2))
    journal = open_small(tmp_path / "a")
    assert "another volume" in str(journal.recovered.damage)
    journal.close()


@pytest.mark.parametrize(
    ("payload", "slot", "text"),
    [
        (msgspec.msgpack.encode(Promised(ballot=Ballot(101))), 0, "without a stamp"),
        (b"\x92\xa5stamp", 0, "not one that this program writes"),
        (msgspec.msgpack.encode(["brand new record", 1]), 0, "not one that this program writes"),
    ],
    ids=["no stamp", "cut msgpack", "unknown record"],
)
def test_whole_batch_with_senseless_records_is_damage(
    payload: bytes, slot: int, text: str, tmp_path: Path, open_small: Open
) -> None:
    """Checked on write and again on read: a right checksum does not make a right record."""
    journal = open_small(tmp_path)
    journal.close()
    seed = seed_of(SyncMark.open(tmp_path).volume)
    row = (len(payload), zlib.crc32(payload), slot)
    overwrite(segment_path(tmp_path, 1), 512, pack_group_head(1, [row], row[0], seed) + payload)
    journal = open_small(tmp_path)
    assert text in str(journal.recovered.damage)
    journal.close()


def test_rot_under_an_open_journal_is_found_when_the_slot_is_read(
    tmp_path: Path, open_small: Open, stamp: Stamped, vote: Vote
) -> None:
    journal = open_small(tmp_path)
    write(journal, [[stamp], *([vote(slot, size=900)] for slot in range(1, 20))])
    path = segment_path(tmp_path, 1)
    flip(path, path.read_bytes().find(b"1/101"), 5)
    with pytest.raises(VolumeDamaged, match=r"segment-00000001 at offset \d+: slot 1 fails"):
        journal.entry(Slot(1))
    with pytest.raises(VolumeDamaged, match="slot 1 fails"):
        journal.entries(Slot(1), Slot(5), 10**6)
    assert journal.entry(Slot(19)) == vote(19, size=900)
    journal.close()


def test_segment_file_of_absurd_length_is_damage(
    tmp_path: Path, open_small: Open, stamp: Stamped
) -> None:
    journal = open_small(tmp_path)
    write(journal, [[stamp]])
    journal.close()
    with segment_path(tmp_path, 1).open("r+b") as file:
        file.truncate(2**40)
    journal = open_small(tmp_path)
    assert "too long" in str(journal.recovered.damage)
    journal.close()


def test_mark_slot_in_the_place_of_the_other_is_not_whole(
    tmp_path: Path, open_small: Open, history: list[list[AnyRecord]]
) -> None:
    """Found by fuzzing: an older slot written over the newer one took a batch back silently."""
    journal = open_small(tmp_path)
    write(journal, history)
    journal.close()
    mark = tmp_path / MARK_NAME
    content = mark.read_bytes()
    older = (len(history) + 1) % 2 * 512
    newer = 512 - older
    astray = bytearray(content)
    astray[newer : newer + 512] = content[older : older + 512]
    mark.write_bytes(bytes(astray))
    again = open_small(tmp_path)
    assert again.recovered.damage is None
    assert "one slot of the sync mark was not whole" in (again.recovered.repaired or "")
    again.close()


def test_rotten_mark_of_a_volume_without_segments_is_damage(
    tmp_path: Path, open_small: Open, stamp: Stamped
) -> None:
    """With one batch, the mark's other slot still says that nothing was synced."""
    journal = open_small(tmp_path)
    write(journal, [[stamp]])
    journal.close()
    mark = tmp_path / MARK_NAME
    mark.write_bytes(mark.read_bytes()[:512] + bytes(512))
    segment_path(tmp_path, 1).unlink()
    journal = open_small(tmp_path)
    assert "every segment is missing" in (journal.recovered.damage or "")
    journal.close()


@pytest.mark.parametrize(
    "foul",
    [
        b"\x95\xa5stamp\xa1\xff\xa1a\xa4open\x90",
        b"\x96\xa5stamp\xa1c\xa1a\xa4open\x90" + b"\x91" * 5000,
    ],
    ids=["no UTF-8", "nested deeper than can be skipped"],
)
def test_whole_batch_with_a_record_that_cannot_be_decoded_is_damage(
    tmp_path: Path, open_small: Open, stamp: Stamped, foul: bytes
) -> None:
    """Not all that msgspec raises is its own DecodeError."""
    journal = open_small(tmp_path)
    write(journal, [[stamp]])
    volume, path = journal._mark.volume, last_segment(tmp_path)
    journal.close()
    head = pack_group_head(2, [(len(foul), zlib.crc32(foul), 0)], len(foul), seed_of(volume))
    content = path.read_bytes()
    made = head + foul
    path.write_bytes((content[:1024] + made).ljust(len(content), b"\0"))
    journal = open_small(tmp_path)
    assert "is not one that this program writes" in (journal.recovered.damage or "")
    journal.close()
