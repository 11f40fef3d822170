"""The log on disk, cut: which files go, what is told when one of the rest is wrong (rule 9)."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paxos.core.effects import (
    AcceptedEntry,
    Configured,
    Counted,
    Cut,
    Promised,
    Recovered,
    Stamped,
)
from paxos.core.errors import StorageError
from paxos.core.types import Ballot, NodeId, Slot
from paxos.storage import FileJournal, shortening
from paxos.storage.base import BASE_NAME, read_base
from paxos.storage.mark import MARK_NAME
from paxos.storage.recovery import segment_numbers, segment_path
from paxos.storage.slot_index import SlotIndex

Vote = Callable[..., AcceptedEntry]
Shown = Callable[[Any], dict[str, Any]]
Open = Callable[[Path], FileJournal]


@pytest.fixture
def long(tmp_path: Path, open_small: Open, stamp: Stamped, vote: Vote) -> Path:
    """A volume of 40 slots in many segments; the first says things that no later one repeats."""
    folder = tmp_path / "long"
    journal = open_small(folder)
    founding = Stamped(cluster="c0", node=stamp.node, phase="formatted")
    for record in (founding, stamp, Promised(ballot=Ballot(901)), Counted(counter=7)):
        journal.append(record)
        journal.sync()
    for slot in range(1, 41):
        journal.append(vote(slot, size=1000))
        journal.sync()
    journal.close()
    assert len(segment_numbers(folder)) > 10
    return folder


def cut(folder: Path, slot: int, open_small: Open) -> None:
    """Cut a volume's log and close it."""
    journal = open_small(folder)
    journal.append(Cut(slot=Slot(slot)))
    journal.sync()
    journal.close()


def damage_of(folder: Path, open_small: Open) -> str:
    """Return what is wrong with a volume; it must refuse to vote."""
    journal = open_small(folder)
    damage = journal.recovered.damage
    assert damage is not None
    assert journal.recovered == Recovered(damage=damage)
    assert (journal.base, journal.highest_slot) == (0, 0)
    with pytest.raises(StorageError, match="damaged"):
        journal.append(Promised(ballot=Ballot(999)))
    journal.close()
    return damage


def test_segments_below_the_cut_go_and_nothing_that_they_said_is_lost(
    long: Path, open_small: Open, stamp: Stamped, vote: Vote
) -> None:
    before = segment_numbers(long)
    journal = open_small(long)
    assert journal.bytes_on_disk == 4096 * len(before) + 1024
    journal.append(Cut(slot=Slot(30)))
    journal.sync()
    journal.close()
    after = segment_numbers(long)
    assert after == before[-len(after) :]
    assert len(after) < len(before) / 2
    journal = open_small(long)
    assert journal.recovered == Recovered(
        stamp=stamp, promised=Ballot(901), counter=7, decided=Slot(39), base=Slot(30)
    )
    assert journal.highest_slot == 40
    assert journal.bytes_on_disk == sum(
        path.stat().st_size for path in long.iterdir() if path.name != "lock"
    )
    assert journal.entries(Slot(1), Slot(40), 10**9) == [vote(s, size=1000) for s in range(31, 41)]
    journal.close()


def test_configuration_is_kept_in_the_base_when_its_segment_goes(
    tmp_path: Path,
    open_small: Open,
    stamp: Stamped,
    vote: Vote,
    configured: Callable[..., Configured],
) -> None:
    """No later segment repeats it: who forgot it would count by the founding's quorums."""
    journal = open_small(tmp_path)
    journal.append(stamp)
    journal.append(configured(3))
    for slot in range(3, 41):
        journal.append(vote(slot, size=1000))
        journal.sync()
    first = segment_numbers(tmp_path)[0]
    journal.append(Cut(slot=Slot(30)))
    journal.sync()
    journal.close()
    assert segment_numbers(tmp_path)[0] > first
    volume = open_small(tmp_path)
    base = read_base(tmp_path, volume._mark.volume)
    assert base is not None
    assert base.configuration == configured(3).configuration
    for epoch in (3, 4):
        assert volume.recovered.configuration == configured(epoch).configuration
        volume.append(configured(4))
        volume.sync()
        volume.close()
        volume = open_small(tmp_path)
    volume.close()


def test_segment_that_is_written_to_never_goes(
    long: Path, open_small: Open, stamp: Stamped, vote: Vote
) -> None:
    last = segment_numbers(long)[-1]
    cut(long, 40, open_small)
    assert segment_numbers(long) == [last]
    journal = open_small(long)
    assert (journal.base, journal.highest_slot) == (40, 40)
    journal.append(vote(41, 902))
    journal.sync()
    journal.close()
    assert open_small(long).entry(Slot(41)) == vote(41, 902)


def test_cut_again_and_again_keeps_the_volume_small(
    tmp_path: Path, open_small: Open, stamp: Stamped, vote: Vote
) -> None:
    journal = open_small(tmp_path)
    journal.append(stamp)
    for slot in range(1, 301):
        journal.append(vote(slot, size=700))
        journal.sync()
        if slot % 20 == 0:
            journal.append(Cut(slot=Slot(slot - 10)))
            journal.sync()
        if slot % 70 == 0:
            journal.close()
            journal = open_small(tmp_path)
            assert journal.recovered.damage is None
            assert journal.recovered.repaired is None
    journal.close()
    assert len(segment_numbers(tmp_path)) < 10
    journal = open_small(tmp_path)
    assert journal.base == 290
    assert journal.entries(Slot(1), Slot(300), 10**9) == [
        vote(slot, size=700) for slot in range(291, 301)
    ]
    journal.close()


def test_sync_does_not_wait_until_segments_are_gone(
    long: Path, open_small: Open, vote: Vote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unlinking takes as long as dozens of syncs: a vote must not wait for it."""
    may_go = threading.Event()
    unlink = Path.unlink

    def slow(path: Path) -> None:
        assert may_go.wait(60)
        unlink(path)

    journal = open_small(long)
    before = segment_numbers(long)
    bytes_before = journal.bytes_on_disk
    monkeypatch.setattr(Path, "unlink", slow)
    journal.append(Cut(slot=Slot(30)))
    journal.sync()
    journal.append(vote(41, 902))
    journal.sync()
    assert segment_numbers(long) == before
    assert journal.entry(Slot(35)) == vote(35, size=1000)
    assert journal.bytes_on_disk >= bytes_before
    may_go.set()
    journal.close()
    assert len(segment_numbers(long)) < len(before)


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_crash_while_segments_go_loses_nothing(
    steps: int, long: Path, tmp_path: Path, open_small: Open, shown: Shown
) -> None:
    """0: before the base is written; otherwise that many segments less one are gone."""
    before = segment_numbers(long)
    whole = Path(shutil.copytree(long, tmp_path / "whole"))
    cut(whole, 30, open_small)
    again = open_small(whole)
    expected = shown(again)
    again.close()
    crashed = Path(shutil.copytree(whole, tmp_path / "crashed"))
    gone = [number for number in before if number not in segment_numbers(whole)]
    for number in gone[max(0, steps - 1) :]:
        shutil.copy(segment_path(long, number), segment_path(crashed, number))
    if steps == 0:
        (crashed / BASE_NAME).rename(crashed / (BASE_NAME + ".tmp"))
    journal = open_small(crashed)
    assert journal.recovered.damage is None
    assert journal.recovered.repaired is None
    assert shown(journal) == expected
    if steps:
        assert segment_numbers(crashed) == segment_numbers(whole)
    # What the crash kept from going goes with the next sync.
    journal.append(Promised(ballot=Ballot(1001)))
    journal.sync()
    journal.close()
    assert segment_numbers(crashed) == segment_numbers(whole)
    journal = open_small(crashed)
    assert shown(journal) == {**expected, "promised": 1001}
    journal.close()


def test_flip_anywhere_in_the_base_is_damage_and_names_it(
    long: Path, tmp_path: Path, open_small: Open
) -> None:
    cut(long, 30, open_small)
    content = (long / BASE_NAME).read_bytes()
    for offset in range(len(content)):
        rotten = bytearray(content)
        rotten[offset] ^= 1 << offset % 8
        (long / BASE_NAME).write_bytes(bytes(rotten))
        assert f"{long / BASE_NAME} at offset 0" in damage_of(long, open_small)
    for size in range(len(content)):
        (long / BASE_NAME).write_bytes(content[:size])
        assert f"{long / BASE_NAME} at offset" in damage_of(long, open_small)
    (long / BASE_NAME).write_bytes(content + b"\0")
    assert f"{long / BASE_NAME} at offset" in damage_of(long, open_small)


def test_missing_base_is_damage(long: Path, open_small: Open) -> None:
    cut(long, 30, open_small)
    (long / BASE_NAME).unlink()
    text = f"{segment_path(long, 1)} at offset 0: the segment is missing"
    assert damage_of(long, open_small) == text


def test_missing_segment_mark_or_everything_beside_the_base_is_damage(
    long: Path, tmp_path: Path, open_small: Open
) -> None:
    cut(long, 30, open_small)
    numbers = segment_numbers(long)
    for number in numbers:
        folder = Path(shutil.copytree(long, tmp_path / f"without-{number}"))
        segment_path(folder, number).unlink()
        assert "at offset" in damage_of(folder, open_small)
    folder = Path(shutil.copytree(long, tmp_path / "without-mark"))
    (folder / MARK_NAME).unlink()
    assert "mark is missing" in damage_of(folder, open_small)
    for number in numbers:
        segment_path(folder, number).unlink()
    assert "mark is missing" in damage_of(folder, open_small)
    folder = Path(shutil.copytree(long, tmp_path / "without-segments"))
    for number in numbers:
        segment_path(folder, number).unlink()
    assert "every segment is missing" in damage_of(folder, open_small)


def test_base_of_another_volume_is_damage(
    long: Path, tmp_path: Path, open_small: Open, vote: Vote
) -> None:
    other = open_small(tmp_path / "other")
    other.append(Stamped(cluster="c1", node=NodeId("acceptor-1"), phase="open"))
    for slot in range(1, 41):
        other.append(vote(slot, size=1000))
        other.sync()
    other.close()
    for folder in (long, tmp_path / "other"):
        cut(folder, 30, open_small)
    shutil.copy(tmp_path / "other" / BASE_NAME, long / BASE_NAME)
    assert "the base belongs to another volume" in damage_of(long, open_small)


def test_older_base_is_damage(long: Path, tmp_path: Path, open_small: Open) -> None:
    cut(long, 15, open_small)
    older = (long / BASE_NAME).read_bytes()
    cut(long, 30, open_small)
    (long / BASE_NAME).write_bytes(older)
    assert "the segment is missing" in damage_of(long, open_small)


def test_base_newer_than_the_segments_is_damage(
    long: Path, tmp_path: Path, open_small: Open
) -> None:
    cut(long, 15, open_small)
    older = Path(shutil.copytree(long, tmp_path / "older"))
    cut(long, 18, open_small)
    newer = read_base(long, open_small(long)._mark.volume)
    assert newer is not None
    assert newer.first in segment_numbers(older)
    shutil.copy(long / BASE_NAME, older / BASE_NAME)
    assert f"batch {newer.batch} was synced" in damage_of(older, open_small)


def test_base_says_what_was_synced_when_the_mark_is_behind(long: Path, open_small: Open) -> None:
    """After a power loss the mark may be old; the base is durable."""
    old_mark = (long / MARK_NAME).read_bytes()
    cut(long, 30, open_small)
    (long / MARK_NAME).write_bytes(old_mark)
    path = segment_path(long, segment_numbers(long)[-1])
    content = path.read_bytes()
    at = content.rfind(b"PXGR")
    path.write_bytes(content[:at] + bytes(len(content) - at))
    assert f"{path} at offset {at}" in damage_of(long, open_small)


def test_segments_that_cannot_be_removed_stop_the_journal(
    long: Path, open_small: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    journal = open_small(long)
    with monkeypatch.context() as patch:
        patch.setattr(shortening, "write_base", refuse)
        journal.append(Cut(slot=Slot(30)))
        journal.sync()
        journal._shortener.close()
    for _ in range(2):
        with pytest.raises(StorageError, match="could not be shortened: No space left"):
            journal.sync()
    journal.close()
    journal = open_small(long)
    assert journal.recovered.damage is None
    assert (journal.base, journal.highest_slot) == (30, 40)
    journal.close()


def test_failure_to_remove_segments_is_told_at_the_latest_when_closed(
    long: Path, open_small: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    journal = open_small(long)
    journal.append(Cut(slot=Slot(30)))
    monkeypatch.setattr(Path, "unlink", refuse)
    journal.sync()
    with pytest.raises(StorageError, match="could not be shortened: Read-only file system"):
        journal.close()


def test_rows_of_full_pages_go_with_a_cut_in_the_middle_of_one() -> None:
    index = SlotIndex()
    for slot in range(1, 2000):
        index.put(slot, 101, 1, 0, 1, 1)
    index.cut(Slot(700))
    assert next(iter(index.votes(Slot(1), Slot(9999)))) == (701, 101)
    assert index.missing(Slot(1), Slot(2000), 9) == [(2000, 2000)]
    assert not index.put(700, 201, 1, 0, 1, 1)
    assert index.row(Slot(700))[0] == 0
    index.cut(Slot(1999))
    assert list(index.votes(Slot(1), Slot(9999))) == []
    assert index.highest_slot == 1999
