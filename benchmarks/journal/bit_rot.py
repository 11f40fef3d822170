"""What one flipped bit does to each engine, as it comes and with all that we put around it.

    PYTHONPATH=src:. python -m benchmarks.journal.bit_rot

100 synced commits of one row of 1000 bytes each, the files copied as a killed process leaves
them, one bit flipped at sampled places among the bytes in use, everything read back:

    said     an error when opening or reading: the damage is noticed
    lost     rows are missing and nothing was said
    wrong    a row reads otherwise than written and nothing was said
    died     the process was killed by a signal, or did not answer within some seconds
    unharmed every row is right

First the libraries as they come, without our CRCs and side mark. Then our own journals on them,
with CRCs, sums and the side mark, after a loss of power: the mark, which has no sync of its own,
is put back to batch 50 of 100 (but where it is synced with every batch), and bits are flipped in
what was written after that. Last, what
a loss of power in the middle of commit 100 leaves: whoever takes that for damage tells too much.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import lmdb
from rocksdict import Options, Rdict, WriteOptions

from paxos.core.effects import AcceptedEntry, Journal, Stamped
from paxos.core.types import Ballot, NodeId, Slot
from paxos.storage.file_journal import FileJournal
from paxos.storage.mark import MARK_NAME

from .lmdb_journal import LmdbJournal
from .rocksdb_journal import RocksdbJournal, RocksdbTailJournal
from .sqlite_journal import SqliteJournal, SqliteMarkedJournal

ROWS = 100
FLIPS = 300
TORN = 60
MARKED = 50
"""The batch that the side mark on the disk tells of when the power goes."""
SECTOR_BYTES = 512
PAGE_BYTES = 4096
PAGE_HEAD_BYTES = 152
"""Of LMDB's pages: the head and the first pointers; of its two meta pages, all in use."""
METAS_BYTES = 2 * PAGE_BYTES
SECONDS_MAX = 5
"""An engine that has not answered by then counts as dead."""
MARK_SYNCED = "sqlite, mark synced"
"""The journal whose mark a loss of power does not put back."""
SAID, WRONG = 201, 202
"""Exit codes of a reading process; up to `ROWS`, the code is how many rows are missing."""
VALUES = {slot: (b"%d;" % slot * 400)[:1000] for slot in range(1, ROWS + 1)}

Engine = tuple[Callable[[Path, Path], None], Callable[[Path], dict[int, bytes]]]


def write_journal(make: Callable[[Path], Journal], folder: Path, copy_to: dict[int, Path]) -> None:
    """Write all rows, one per batch, copying the volume after the rows that `copy_to` names."""
    journal = make(folder)
    journal.append(Stamped(cluster="c", node=NodeId("acceptor-1"), phase="open"))
    for slot, value in VALUES.items():
        journal.append(
            AcceptedEntry(slot=Slot(slot), ballot=Ballot(101), value=value, decided=Slot(0))
        )
        journal.sync()
        if slot in copy_to:
            shutil.copytree(folder, copy_to[slot])
    journal.close()


def read_journal(make: Callable[[Path], Journal], folder: Path) -> dict[int, bytes]:
    """Return all rows. Raises OSError when the journal says that it is damaged."""
    journal = make(folder)
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
    "file": (
        (
            lambda folder, copy: write_journal(FileJournal, folder, {ROWS: copy}),
            lambda folder: read_journal(FileJournal, folder),
        ),
        "segment-*",
    ),
    "sqlite": ((write_sqlite, read_sqlite), "db*"),
    "lmdb": ((write_lmdb, read_lmdb), "data.mdb"),
    "rocksdb": ((write_rocksdb, read_rocksdb), "*.log"),
}


JOURNALS: dict[str, tuple[Callable[[Path], Journal], str]] = {
    "file": (FileJournal, "segment-00000001"),
    "sqlite": (SqliteJournal, "journal.sqlite-wal"),
    MARK_SYNCED: (SqliteMarkedJournal, "journal.sqlite-wal"),
    "lmdb": (LmdbJournal, "lmdb/data.mdb"),
    "rocksdb": (RocksdbJournal, "rocksdb/*.log"),
    "rocksdb, refusing": (RocksdbTailJournal, "rocksdb/*.log"),
}
"""Our journals, and the file in each that commits go to."""

OUTCOMES = ("said", "lost", "wrong", "died", "unharmed")


def outcome(read: Callable[[Path], dict[int, bytes]], folder: Path) -> tuple[str, int]:
    """Read a volume back in a process of its own; return what became of it, and rows lost."""
    child = os.fork()
    if child == 0:
        # SIGALRM's default kills, also inside a library.
        signal.alarm(SECONDS_MAX)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            rows = read(folder)
        except Exception:  # each library has its own; any of them means that it said something
            os._exit(SAID)
        right = all(VALUES.get(slot) == value for slot, value in rows.items())
        os._exit(ROWS - len(rows) if right else WRONG)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        return "died", 0
    if code > ROWS:
        return ("said" if code == SAID else "wrong"), 0
    return ("lost" if code else "unharmed"), code


def flipped(content: bytes, at: int, bit: int) -> bytes:
    """Return the content with one bit turned over."""
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


def sample(places: list[int], count: int) -> list[int]:
    """Return so many of the places, evenly spread; all of them if there are no more."""
    count = min(count, len(places))
    return [places[number * len(places) // count] for number in range(count)]


def changed(old: bytes, new: bytes) -> list[int]:
    """Return the places in use whose byte is not what it was."""
    old = old.ljust(len(new), b"\0")
    return [at for at, byte in enumerate(new) if byte and byte != old[at]]


def tell(text: str) -> None:
    """Show progress."""
    print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)


def table(columns: Iterable[str]) -> None:
    """Begin a Markdown table: words to the left, numbers to the right."""
    names = list(columns)
    print(f"\n| {' | '.join(names)} |")
    print("| --- |" + " ---: |" * (len(names) - 1), flush=True)


def as_they_come(base: Path) -> None:
    """Flip bits under the bare libraries."""
    table(("as it comes", *OUTCOMES))
    for name, ((write, read), pattern) in ENGINES.items():
        whole = base / name / "whole"
        whole.parent.mkdir(parents=True)
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
            path = rotten / file_name
            path.write_bytes(flipped(path.read_bytes(), at, number % 8))
            counts[outcome(read, rotten)[0]] += 1
            tell(f"{name} {number + 1}/{FLIPS}")
        tell("")
        print(f"\r| {name} | {' | '.join(str(counts[key]) for key in OUTCOMES)} |", flush=True)


class Power:
    """One journal's volume as losses of power leave it: the mark is at batch 50 of 100."""

    def __init__(self, name: str, base: Path) -> None:
        self.name = name
        self._make, pattern = JOURNALS[name]
        self._base = base
        copies = {at: base / str(at) for at in (MARKED, ROWS - 1, ROWS)}
        write_journal(self._make, base / "live", copies)
        for copy in () if name == MARK_SYNCED else (ROWS - 1, ROWS):
            shutil.copy(copies[MARKED] / MARK_NAME, copies[copy] / MARK_NAME)
        self._log = next(copies[ROWS].glob(pattern)).relative_to(copies[ROWS])
        self._marked, self._before, self.whole = (
            (copies[at] / self._log).read_bytes() for at in copies
        )
        self.last = changed(self._before, self.whole)
        later = set(self.last)
        self.earlier = [
            at
            for at in changed(self._marked, self._before.ljust(len(self.whole), b"\0"))
            if at not in later
        ]

    def outcome(self, rows: int, log: bytes) -> tuple[str, int]:
        """Open the volume as it was after so many rows, with this log."""
        folder = self._base / "opened"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._base / str(rows), folder)
        (folder / self._log).write_bytes(log)
        return outcome(lambda path: read_journal(self._make, path), folder)

    def flip(self, places: list[int], title: str) -> None:
        """Flip one bit at each place and print a row of the table."""
        counts: Counter[str] = Counter()
        lost: list[int] = [0]
        for number, at in enumerate(places):
            what, rows = self.outcome(ROWS, flipped(self.whole, at, number % 8))
            counts[what] += 1
            lost.append(rows)
            tell(f"{self.name} {title} {number + 1}/{len(places)}")
        tell("")
        cells = (str(counts[key]) for key in OUTCOMES)
        print(f"\r| {self.name}: {title} | {' | '.join(cells)} | {max(lost)} |", flush=True)

    def torn(self) -> dict[str, list[bytes]]:
        """Return logs in which commit 100 was cut off in three ways."""
        dice = random.Random(1)
        old, new = self._before, self.whole
        # LMDB writes its two meta pages only after what they point to is synced.
        kept = METAS_BYTES if self.name == "lmdb" else 0
        new = old[:kept] + new[kept:]
        grown = old.ljust(len(new), b"\0")
        places = [at for at in self.last if at >= kept]
        cuts = sample(places, TORN)
        sectors = sorted({at // SECTOR_BYTES for at in places})
        holed = []
        for _ in range(TORN):
            log = bytearray(new)
            for sector in dice.sample(sectors, dice.randint(1, len(sectors))):
                span = slice(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
                log[span] = grown[span]
            holed.append(bytes(log))
        return {
            "cut short": [new[:at] + old[at:] for at in cuts],
            "cut short, the file already longer": [new[:at] + grown[at:] for at in cuts],
            "any sectors missing": holed,
        }

    def tear(self) -> None:
        """Open each torn volume and print a row of the table for each way."""
        for way, logs in self.torn().items():
            counts = Counter(self.outcome(ROWS - 1, log) for log in logs)
            right = counts["lost", 1] + counts["unharmed", 0]
            print(f"| {self.name}: {way} | {right} | {len(logs) - right} |", flush=True)


def main() -> None:
    """Flip, tear, read, count, and print Markdown tables."""
    with tempfile.TemporaryDirectory() as folder:
        as_they_come(Path(folder) / "bare")
        volumes = [Power(name, Path(folder) / name) for name in JOURNALS]
        table(("after a loss of power", *OUTCOMES, "most rows lost"))
        for volume in volumes:
            volume.flip(sample(volume.earlier, FLIPS), f"batches {MARKED + 1} to {ROWS - 1}")
            volume.flip(sample(volume.last, FLIPS // 3), f"batch {ROWS}")
            if volume.name == "lmdb":
                pages = len(volume.whole) // PAGE_BYTES
                heads = [p * PAGE_BYTES + at for p in range(pages) for at in range(PAGE_HEAD_BYTES)]
                volume.flip(sample(heads, 2 * FLIPS), "page heads, all batches")
        table(("torn by a loss of power", "opened, all acknowledged there", "said damage or died"))
        for volume in volumes:
            volume.tear()


if __name__ == "__main__":
    main()
