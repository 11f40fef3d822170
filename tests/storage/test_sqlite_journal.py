"""SQLite as an engine: what it would lose without a word is found."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paxos.core.effects import AcceptedEntry, Promised, Recovered, Stamped
from paxos.core.errors import VolumeDamaged
from paxos.core.types import Ballot, Slot
from paxos.storage.mark import MARK_NAME
from paxos.storage.sqlite_journal import DATABASE_NAME, SqliteJournal

Vote = Callable[..., AcceptedEntry]
Shown = Callable[[Any], dict[str, Any]]
Open = Callable[[Path], SqliteJournal]


def flip(path: Path, offset: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)


@pytest.fixture
def killed(tmp_path: Path, open_small_sqlite: Open, stamp: Stamped, vote: Vote) -> Path:
    """A volume as a killed process leaves it: part in the database, part in the WAL."""
    journal = open_small_sqlite(tmp_path / "a")
    for record in (stamp, Promised(ballot=Ballot(101)), *(vote(slot) for slot in range(1, 6))):
        journal.append(record)
        journal.sync()
    journal.close()
    journal = open_small_sqlite(tmp_path / "a")
    for slot in range(4, 12):
        journal.append(vote(slot, 302, size=700))
        journal.sync()
    shutil.copytree(tmp_path / "a", tmp_path / "killed")
    journal.close()
    return tmp_path / "killed"


def test_plain_sqlite_drops_the_wal_after_a_flip_without_a_word(tmp_path: Path) -> None:
    """The reason for the side mark (docs/adr/0001)."""
    database = sqlite3.connect(tmp_path / "a", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE votes (slot INTEGER PRIMARY KEY, value BLOB)")
    for slot in range(1, 101):
        database.execute("INSERT INTO votes VALUES (?, ?)", (slot, bytes(1000)))
    shutil.copy(tmp_path / "a", tmp_path / "b")
    shutil.copy(tmp_path / "a-wal", tmp_path / "b-wal")
    database.close()
    flip(tmp_path / "b-wal", (tmp_path / "b-wal").stat().st_size // 2, 0)
    database = sqlite3.connect(tmp_path / "b")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    (count,) = database.execute("SELECT count(*) FROM votes").fetchone()
    assert count < 60
    database.close()


def test_single_bit_flip_anywhere_is_found_or_harmless(
    killed: Path, tmp_path: Path, open_small_sqlite: Open, shown: Shown
) -> None:
    journal = open_small_sqlite(Path(shutil.copytree(killed, tmp_path / "b")))
    expected = shown(journal)
    assert expected["highest"] == 11
    journal.close()
    found = harmless = 0
    for name in (DATABASE_NAME, f"{DATABASE_NAME}-wal", MARK_NAME):
        size = (killed / name).stat().st_size
        for offset in range(0, size, 7 if name == MARK_NAME else 131):
            shutil.rmtree(tmp_path / "b")
            shutil.copytree(killed, tmp_path / "b")
            flip(tmp_path / "b" / name, offset, offset % 8)
            journal = open_small_sqlite(tmp_path / "b")
            if journal.recovered.damage is None:
                assert shown(journal) == expected
                harmless += 1
            else:
                assert journal.recovered == Recovered(damage=journal.recovered.damage)
                found += 1
            journal.close()
    assert found > 50
    assert harmless > 10


def test_lost_wal_database_or_mark_is_damage(
    killed: Path, tmp_path: Path, open_small_sqlite: Open
) -> None:
    for name in (f"{DATABASE_NAME}-wal", DATABASE_NAME, MARK_NAME):
        folder = Path(shutil.copytree(killed, tmp_path / f"without {name}"))
        (folder / name).unlink()
        journal = open_small_sqlite(folder)
        assert journal.recovered.damage is not None
        journal.close()


def test_row_that_is_gone_or_changed_is_damage(
    killed: Path, tmp_path: Path, open_small_sqlite: Open, stamp: Stamped, vote: Vote
) -> None:
    for statement in (
        "DELETE FROM entries WHERE slot = 7",
        "UPDATE entries SET body = x'00' WHERE slot = 7",
        "UPDATE entries SET slot = 70 WHERE slot = 7",
        "DELETE FROM state",
        "UPDATE state SET checksum = checksum + 1",
    ):
        folder = Path(shutil.copytree(killed, tmp_path / "b"))
        database = sqlite3.connect(folder / DATABASE_NAME)
        database.execute(statement)
        database.commit()
        database.close()
        journal = open_small_sqlite(folder)
        assert journal.recovered.damage is not None
        with pytest.raises(VolumeDamaged):
            journal.append(vote(20))
        journal.close()
        shutil.rmtree(folder)


def test_rot_under_an_open_journal_is_found_when_the_slot_is_read(
    tmp_path: Path, open_small_sqlite: Open, stamp: Stamped, vote: Vote
) -> None:
    journal = open_small_sqlite(tmp_path)
    journal.append(stamp)
    for slot in range(1, 20):
        journal.append(vote(slot, size=900))
        journal.sync()
    journal._database.execute("UPDATE entries SET checksum = 0 WHERE slot = 1")
    with pytest.raises(VolumeDamaged, match="slot 1 fails"):
        journal.entry(Slot(1))
    assert journal.entry(Slot(2)) == vote(2, size=900)
    journal.close()
