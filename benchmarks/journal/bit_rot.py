"""What one flipped bit does to each engine as it comes, without our CRCs and side mark.

    PYTHONPATH=src:. python -m benchmarks.journal.bit_rot

100 synced commits of one row of 1000 bytes each, the files copied as a killed process leaves
them, one bit flipped at 300 sampled places among the bytes in use, everything read back:

    said     an error when opening or reading: the damage is noticed
    lost     rows are missing and nothing was said
    wrong    a row reads otherwise than written and nothing was said
    unharmed every row is right
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import lmdb
from rocksdict import Options, Rdict, WriteOptions

from paxos.core.effects import AcceptedEntry, Stamped
from paxos.core.types import Ballot, NodeId, Slot
from paxos.storage.file_journal import FileJournal

ROWS = 100
FLIPS = 300
VALUES = {slot: (b"%d;" % slot * 400)[:1000] for slot in range(1, ROWS + 1)}

Engine = tuple[Callable[[Path, Path], None], Callable[[Path], dict[int, bytes]]]


def write_file(folder: Path, copy: Path) -> None:
    journal = FileJournal(folder)
    journal.append(Stamped(cluster="c", node=NodeId("acceptor-1"), phase="open"))
    for slot, value in VALUES.items():
        journal.append(
            AcceptedEntry(slot=Slot(slot), ballot=Ballot(101), value=value, decided=Slot(0))
        )
        journal.sync()
    shutil.copytree(folder, copy)
    journal.close()


def read_file(folder: Path) -> dict[int, bytes]:
    journal = FileJournal(folder)
    try:
        if journal.recovered.damage:
            raise OSError(journal.recovered.damage)
        return {e.slot: e.value for e in journal.entries(Slot(1), Slot(ROWS), 10**9)}
    finally:
        journal.close()


def write_sqlite(folder: Path, copy: Path) -> None:
    folder.mkdir()
    database = sqlite3.connect(folder / "db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE votes (slot INTEGER PRIMARY KEY, value BLOB)")
    for slot, value in VALUES.items():
        database.execute("INSERT INTO votes VALUES (?, ?)", (slot, value))
    shutil.copytree(folder, copy)
    database.close()
    (copy / "db-shm").unlink()


def read_sqlite(folder: Path) -> dict[int, bytes]:
    database = sqlite3.connect(folder / "db")
    try:
        (verdict,) = database.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise OSError(verdict)
        return dict(database.execute("SELECT slot, value FROM votes"))
    finally:
        database.close()


def write_lmdb(folder: Path, copy: Path) -> None:
    store = lmdb.open(str(folder), map_size=1 << 30)
    for slot, value in VALUES.items():
        with store.begin(write=True) as transaction:
            transaction.put(slot.to_bytes(8, "big"), value)
    shutil.copytree(folder, copy)
    store.close()


def read_lmdb(folder: Path) -> dict[int, bytes]:
    store = lmdb.open(str(folder), map_size=1 << 30)
    try:
        with store.begin() as transaction:
            return {int.from_bytes(key, "big"): value for key, value in transaction.cursor()}
    finally:
        store.close()


def write_rocksdb(folder: Path, copy: Path) -> None:
    store = Rdict(str(folder), Options(raw_mode=True))
    synced = WriteOptions()
    synced.sync = True
    for slot, value in VALUES.items():
        store.put(slot.to_bytes(8, "big"), value, synced)
    shutil.copytree(folder, copy)
    store.close()


def read_rocksdb(folder: Path) -> dict[int, bytes]:
    store = Rdict(str(folder), Options(raw_mode=True))
    try:
        return {int.from_bytes(key, "big"): value for key, value in store.items()}
    finally:
        store.close()


ENGINES: dict[str, tuple[Engine, str]] = {
    "file": ((write_file, read_file), "segment-*"),
    "sqlite": ((write_sqlite, read_sqlite), "db*"),
    "lmdb": ((write_lmdb, read_lmdb), "data.mdb"),
    "rocksdb": ((write_rocksdb, read_rocksdb), "*.log"),
}


def outcome(read: Callable[[Path], dict[int, bytes]], folder: Path) -> str:
    """Read a volume back and say what became of it."""
    try:
        rows = read(folder)
    except Exception:  # each library has its own; any of them means that it said something
        return "said"
    if rows == VALUES:
        return "unharmed"
    return "lost" if all(VALUES.get(slot) == value for slot, value in rows.items()) else "wrong"


def main() -> None:
    """Flip, read, count, and print one Markdown table."""
    print(f"| engine | {' | '.join(('said', 'lost', 'wrong', 'unharmed'))} |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as base:
        for name, ((write, read), pattern) in ENGINES.items():
            whole = Path(base) / name / "whole"
            whole.parent.mkdir()
            write(whole.with_name("live"), whole)
            used = [
                (path.name, at)
                for path in sorted(whole.glob(pattern))
                for at, byte in enumerate(path.read_bytes())
                if byte
            ]
            counts: Counter[str] = Counter()
            for number in range(FLIPS):
                file_name, at = used[number * len(used) // FLIPS]
                rotten = whole.with_name("rotten")
                shutil.rmtree(rotten, ignore_errors=True)
                shutil.copytree(whole, rotten)
                with (rotten / file_name).open("r+b") as file:
                    file.seek(at)
                    byte = file.read(1)[0]
                    file.seek(at)
                    file.write(bytes([byte ^ 1 << number % 8]))
                counts[outcome(read, rotten)] += 1
                print(f"\r{name} {number + 1}/{FLIPS}  ", end="", file=sys.stderr)
            columns = (str(counts[key]) for key in ("said", "lost", "wrong", "unharmed"))
            print(f"\r| {name} | {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
