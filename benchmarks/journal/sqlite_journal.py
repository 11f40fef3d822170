"""The journal on SQLite: WAL mode, synchronous=FULL, one transaction per sync.

SQLite drops the tail of its WAL at the first frame whose checksum fails, without a word, be it
torn or rotted; and it does not checksum its pages. So every row carries a CRC, one row carries
the number of the batch with the count and the sum of all rows' CRCs, and the side mark (see
src/paxos/storage/mark.py) says which batch was synced: a tail that went missing shows as a batch
below the mark.

What remains in doubt is more than for segment files: after the machine itself stopped, the mark
may be old, and rot anywhere above it cuts off every batch behind it unnoticed (see bit_rot.py).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from paxos.core.effects import AcceptedEntry, AnyRecord, Recovered, Stamped
from paxos.core.errors import LocalProtocolError, StorageError, VolumeDamaged
from paxos.core.types import Ballot, Slot
from paxos.storage.folder import FolderLock, make_folder, storage_errors, sync_folder
from paxos.storage.mark import MARK_NAME, SyncMark
from paxos.storage.segment import RECORD_BYTES_MAX
from paxos.storage.slot_index import RecentEntries, SlotIndex
from paxos.storage.summary import Summary

DATABASE_NAME = "journal.sqlite"
CACHE_BYTES_MAX = 16 * 1024 * 1024
"""The most recent entries that are kept in memory."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY CHECK (id = 1), body BLOB, checksum INT);
CREATE TABLE IF NOT EXISTS entries (slot INTEGER PRIMARY KEY, body BLOB, checksum INT);
"""
_PUT_STATE = "INSERT OR REPLACE INTO state VALUES (1, ?, ?)"
_PUT_ENTRY = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)"


class _State(msgspec.Struct, array_like=True):
    """The one row that every transaction rewrites."""

    volume: int
    batch: int
    stamp: Stamped | None
    promised: int
    counter: int
    decided: int
    count: int
    sum: int


_encode = msgspec.msgpack.Encoder().encode
_entry_decoder = msgspec.msgpack.Decoder(AcceptedEntry)
_state_decoder = msgspec.msgpack.Decoder(_State)


class SqliteJournal:
    """A `Journal` (see core/effects.py) in a folder.

    Raises StorageError when the folder cannot be made, locked, read or written. Damage does not
    raise: it is in `recovered.damage`, reading views are then empty, and writing is refused.
    """

    def __init__(self, folder: Path, *, cache_bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._folder = folder
        self._path = folder / DATABASE_NAME
        self._index = SlotIndex()
        self._recent = RecentEntries(cache_bytes_max)
        self._summary = Summary()
        self._rows: dict[int, tuple[int, bytes, int]] = {}
        self._dirty = False
        self._batch = self._count = self._sum = 0
        self._failure: StorageError | None = None
        self._held = contextlib.ExitStack()
        make_folder(folder)
        self._held.callback(FolderLock(folder).release)
        try:
            with storage_errors(f"the volume {folder} cannot be opened"):
                self._recovered = self._open()
        except BaseException:
            self._held.close()
            raise

    @property
    def recovered(self) -> Recovered:
        """What was found when the journal was opened."""
        return self._recovered

    @property
    def base(self) -> Slot:
        """0: these engines are measured, and never cut their logs."""
        return Slot(0)

    @property
    def highest_slot(self) -> Slot:
        """The highest slot with an accepted entry; 0 when there is none."""
        return self._index.highest_slot

    def entry(self, slot: Slot) -> AcceptedEntry | None:
        """Return the highest-ballot entry of a slot.

        Raises VolumeDamaged when it fails its checksum, StorageError when it cannot be read.
        """
        recent = self._recent.get(slot)
        if recent is not None:
            return recent
        if not self._index.ballot(slot):
            return None
        with _sqlite_errors(self._path):
            row = self._database.execute(
                "SELECT body, checksum FROM entries WHERE slot = ?", (slot,)
            ).fetchone()
        if row is None or zlib.crc32(row[0]) != row[1]:
            raise VolumeDamaged(f"{self._path}: slot {slot} fails its checksum")
        return _entry_decoder.decode(row[0])

    def votes(self, first: Slot, last: Slot) -> list[tuple[Slot, Ballot]]:
        """Return (slot, highest ballot) for the accepted slots in first..last, in order."""
        return list(self._index.votes(first, last))

    def entries(self, first: Slot, last: Slot, bytes_max: int) -> list[AcceptedEntry]:
        """Return the entries of first..last in order, at least one if there is any, stopping
        before the sum of their values would pass `bytes_max`. Raises as `entry` does.
        """
        chosen: list[AcceptedEntry] = []
        total = 0
        for slot, _ in self._index.votes(first, last):
            entry = self.entry(slot)
            if entry is None:
                continue
            total += len(entry.value)
            if chosen and total > bytes_max:
                break
            chosen.append(entry)
        return chosen

    def missing(self, first: Slot, last: Slot, limit: int) -> list[tuple[Slot, Slot]]:
        """Return the runs of slots in first..last that have no entry, at most `limit` of them."""
        return self._index.missing(first, last, limit)

    def append(self, record: AnyRecord) -> None:
        """Take a record in; the reading views show it at once, `sync` makes it durable.

        Raises StorageError after a failure, on a damaged or closed volume, or for a record
        above `RECORD_BYTES_MAX`; LocalProtocolError for one that no correct node writes here.
        """
        if self._failure is not None:
            raise self._failure
        if type(record) is AcceptedEntry:
            body = _encode(record)
            if len(body) > RECORD_BYTES_MAX:
                raise StorageError(f"a record of {len(body)} bytes is above {RECORD_BYTES_MAX}")
            self._summary.absorb(record)
            checksum = zlib.crc32(body)
            if self._note(record, checksum, len(body)):
                self._rows[record.slot] = (record.slot, body, checksum)
        else:
            self._summary.absorb(record)
        self._dirty = True

    def sync(self) -> None:
        """Return when everything appended is on stable storage; nothing to do if nothing was.

        Raises StorageError: nothing may be assumed then, and the journal is of no more use.
        """
        if self._failure is not None:
            raise self._failure
        if not self._dirty:
            return
        try:
            with storage_errors(f"the volume {self._folder} could not be written"):
                self._commit()
        except StorageError as error:
            self._failure = error
            raise
        self._recent.trim()

    def close(self) -> None:
        """Release the files. What was not synced may be lost. A second call does nothing.

        Raises StorageError when the database or the side mark cannot be closed in order.
        """
        try:
            if self._failure is None:
                with storage_errors(f"the sync mark of {self._folder} could not be synced"):
                    self._mark.sync()
        finally:
            self._failure = StorageError(f"the volume {self._folder} is closed")
            with _sqlite_errors(self._path):
                self._held.close()

    # ------------------------------------------------------------ inside

    def _open(self) -> Recovered:
        """Read the volume, or found a blank one. Raises OSError and StorageError."""
        try:
            self._open_mark()
            with _sqlite_errors(self._path):
                self._connect()
                recovered = self._read()
        except VolumeDamaged as damage:
            self._index = SlotIndex()
            self._recent = RecentEntries(0)
            self._failure = VolumeDamaged(f"the volume is damaged: {damage}")
            return Recovered(damage=str(damage))
        # What SQLite took from its WAL may be in the kernel's memory only: the process died
        # before its sync. A commit syncs it all.
        self._commit()
        return recovered

    def _open_mark(self) -> None:
        path = self._folder / MARK_NAME
        if path.exists():
            self._mark = SyncMark.open(self._folder)
        elif self._path.exists():
            raise VolumeDamaged(f"{path} at offset 0: the sync mark is missing")
        else:
            volume = int.from_bytes(os.urandom(8), "little") >> 1
            self._mark = SyncMark.create(self._folder, volume)
        self._held.callback(self._mark.close)
        if self._mark.batch and not self._path.exists():
            raise VolumeDamaged(f"{self._path}: the database is missing")

    def _connect(self) -> None:
        self._database = sqlite3.connect(self._path, isolation_level=None)
        self._held.callback(self._database.close)
        # Alone on the file (see FolderLock), SQLite needs no shared memory for its WAL.
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_SCHEMA)
        sync_folder(self._folder)

    def _read(self) -> Recovered:
        """Verify and take in everything. Raises VolumeDamaged."""
        (verdict,) = self._database.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise VolumeDamaged(f"{self._path}: {verdict}")
        state = self._read_state()
        for slot, body, checksum in self._database.execute(
            "SELECT slot, body, checksum FROM entries ORDER BY slot"
        ):
            if not isinstance(body, bytes) or zlib.crc32(body) != checksum:
                raise VolumeDamaged(f"{self._path}: slot {slot} fails its checksum")
            entry = _entry_decoder.decode(body)
            if entry.slot != slot:
                raise VolumeDamaged(f"{self._path}: slot {entry.slot} is in the row of {slot}")
            self._note(entry, checksum, len(body))
        if (self._count, self._sum) != (state.count, state.sum):
            raise VolumeDamaged(
                f"{self._path}: {self._count} slots are there and {state.count} were written, "
                f"or one is an older version"
            )
        if state.batch < self._mark.batch:
            raise VolumeDamaged(
                f"{self._path}-wal: the database ends with batch {state.batch}, but batch "
                f"{self._mark.batch} was synced; unknown slots are missing"
            )
        self._batch = state.batch
        self._summary.stamp = state.stamp
        self._summary.promised = Ballot(state.promised)
        self._summary.counter = state.counter
        self._summary.decided = Slot(state.decided)
        return self._summary.recovered(repaired=self._mark.repaired)

    def _read_state(self) -> _State:
        row = self._database.execute("SELECT body, checksum FROM state").fetchone()
        if row is None:
            if self._mark.batch:
                raise VolumeDamaged(f"{self._path}: the state row is missing")
            return _State(self._mark.volume, 0, None, 0, 0, 0, 0, 0)
        if not isinstance(row[0], bytes) or zlib.crc32(row[0]) != row[1]:
            raise VolumeDamaged(f"{self._path}: the state row fails its checksum")
        state = _state_decoder.decode(row[0])
        if state.volume != self._mark.volume:
            raise VolumeDamaged(f"{self._path}: the database belongs to another volume")
        if state.stamp is None and (state.promised or state.counter or state.count):
            raise VolumeDamaged(f"{self._path}: there are records but no stamp")
        return state

    def _note(self, entry: AcceptedEntry, checksum: int, length: int) -> bool:
        """Take an entry into the index; tell whether it is its slot's highest."""
        old_ballot, _, _, _, old_checksum = self._index.row(entry.slot)
        if not self._index.put(entry.slot, entry.ballot, 0, 0, length, checksum):
            return False
        if old_ballot:
            self._sum -= old_checksum
        else:
            self._count += 1
        self._sum += checksum
        self._recent.put(entry)
        return True

    def _commit(self) -> None:
        """Write what is pending in one transaction, then the mark. Raises OSError."""
        batch = self._batch + 1
        summary = self._summary
        body = _encode(
            _State(
                self._mark.volume,
                batch,
                summary.stamp,
                summary.promised,
                summary.counter,
                summary.decided,
                self._count,
                self._sum,
            )
        )
        rows = list(self._rows.values())
        self._rows.clear()
        self._dirty = False
        with _sqlite_errors(self._path, damage=False):
            self._database.execute("BEGIN")
            if len(rows) == 1:
                self._database.execute(_PUT_ENTRY, rows[0])
            elif rows:
                self._database.executemany(_PUT_ENTRY, rows)
            self._database.execute(_PUT_STATE, (body, zlib.crc32(body)))
            self._database.execute("COMMIT")
        self._mark.write(batch)
        self._batch = batch


class SqliteMarkedJournal(SqliteJournal):
    """The same with a second sync, of the side mark, before `sync` returns: what was
    acknowledged is then never above the mark, not even after a loss of power.
    """

    def _commit(self) -> None:
        super()._commit()
        self._mark.sync()


@contextlib.contextmanager
def _sqlite_errors(path: Path, *, damage: bool = True) -> Iterator[None]:
    """Turn SQLite's errors into StorageError, or VolumeDamaged where the file is to blame."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        if damage:
            raise VolumeDamaged(f"{path}: {error}") from error
        raise StorageError(f"{path}: {error}") from error
    except (msgspec.DecodeError, LocalProtocolError) as error:
        raise VolumeDamaged(f"{path}: a row is not one that this program writes") from error
