"""The Journal contract over any ordered key-value store that can write a batch durably.

For measuring LMDB and RocksDB on the same work as the engines in src/paxos/storage: one key per
slot with its record and CRC, one key that every batch rewrites (with the count and the sum of all
slots' CRCs, so that a slot that went missing shows), and the side mark.
"""

from __future__ import annotations

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

import msgspec

from paxos.core.effects import AcceptedEntry, AnyRecord, Recovered, Stamped
from paxos.core.errors import StorageError, VolumeDamaged
from paxos.core.types import Ballot, Slot
from paxos.storage.folder import FolderLock, make_folder, storage_errors
from paxos.storage.mark import MARK_NAME, SyncMark
from paxos.storage.slot_index import RecentEntries, SlotIndex
from paxos.storage.summary import Summary

CACHE_BYTES_MAX = 16 * 1024 * 1024
STATE_KEY = b"state"
SLOT_PREFIX = b"slot"

_encode = msgspec.msgpack.Encoder().encode
_entry_decoder = msgspec.msgpack.Decoder(AcceptedEntry)
_state_decoder = msgspec.msgpack.Decoder(tuple[int, Stamped | None, int, int, int, int, int, int])


class KeyValueJournal(ABC):
    """A `Journal` (see core/effects.py); a subclass brings the store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = SlotIndex()
        self._recent = RecentEntries(CACHE_BYTES_MAX)
        self._summary = Summary()
        self._rows: dict[bytes, bytes] = {}
        self._batch = self._count = self._sum = 0
        self._dirty = self._closed = False
        make_folder(folder)
        self._lock = FolderLock(folder)
        with storage_errors(f"the volume {folder} cannot be opened"):
            if (folder / MARK_NAME).exists():
                self._mark = SyncMark.open(folder)
            else:
                self._mark = SyncMark.create(folder, int.from_bytes(os.urandom(8), "little"))
            self._open_store(folder)
            try:
                self._recovered = self._read()
            except VolumeDamaged as damage:
                self._recovered = Recovered(damage=str(damage))

    @abstractmethod
    def _open_store(self, folder: Path) -> None: ...

    @abstractmethod
    def _get(self, key: bytes) -> bytes | None: ...

    @abstractmethod
    def _slots(self) -> Iterable[bytes]: ...

    @abstractmethod
    def _write(self, rows: dict[bytes, bytes]) -> None: ...

    @abstractmethod
    def _close_store(self) -> None: ...

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
        """Return the highest-ballot entry of a slot. Raises VolumeDamaged on a bad checksum."""
        recent = self._recent.get(slot)
        if recent is not None or not self._index.ballot(slot):
            return recent
        return _entry_decoder.decode(self._checked(self._get(_key(slot)), f"slot {slot}"))

    def votes(self, first: Slot, last: Slot) -> list[tuple[Slot, Ballot]]:
        """Return (slot, highest ballot) for the accepted slots in first..last, in order."""
        return list(self._index.votes(first, last))

    def entries(self, first: Slot, last: Slot, bytes_max: int) -> list[AcceptedEntry]:
        """Return the entries of first..last in order, at least one if there is any."""
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
        """Take a record in. It is durable only after the next `sync`."""
        if self._closed or self._recovered.damage:
            raise StorageError(f"the volume {self._folder} is closed or damaged")
        self._summary.absorb(record)
        if type(record) is AcceptedEntry:
            body = _encode(record)
            if self._note(record, body):
                self._rows[_key(record.slot)] = _checksummed(body)
                self._recent.put(record)
        self._dirty = True

    def sync(self) -> None:
        """Return when everything appended is on stable storage."""
        if not self._dirty:
            return
        summary = self._summary
        self._batch += 1
        state = (
            self._batch,
            summary.stamp,
            summary.promised,
            summary.counter,
            summary.decided,
            self._mark.volume,
            self._count,
            self._sum,
        )
        self._rows[STATE_KEY] = _checksummed(_encode(state))
        with storage_errors(f"the volume {self._folder} could not be written"):
            self._write(self._rows)
            self._mark.write(self._batch)
        self._rows = {}
        self._dirty = False
        self._recent.trim()

    def close(self) -> None:
        """Release the files. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._close_store()
            self._mark.close()
            self._lock.release()

    def _read(self) -> Recovered:
        content = self._get(STATE_KEY)
        if content is None:
            if self._mark.batch:
                raise VolumeDamaged(f"{self._folder}: the store is empty")
            return Recovered()
        batch, stamp, promised, counter, decided, _, count, total = _state_decoder.decode(
            self._checked(content, "the state")
        )
        if batch < self._mark.batch:
            raise VolumeDamaged(
                f"{self._folder}: ends with batch {batch}, {self._mark.batch} was synced"
            )
        for content in self._slots():
            body = self._checked(content, "a slot")
            self._note(_entry_decoder.decode(body), body)
        if (self._count, self._sum) != (count, total):
            raise VolumeDamaged(
                f"{self._folder}: {self._count} slots are there and {count} were written, or one "
                f"is an older version"
            )
        self._batch = batch
        self._summary.stamp = stamp
        self._summary.promised = Ballot(promised)
        self._summary.counter = counter
        self._summary.decided = Slot(decided)
        return self._summary.recovered()

    def _note(self, entry: AcceptedEntry, body: bytes) -> bool:
        """Take an entry into the index; tell whether it is its slot's highest."""
        old_ballot, _, _, _, old_checksum = self._index.row(entry.slot)
        checksum = zlib.crc32(body)
        if not self._index.put(entry.slot, entry.ballot, 0, 0, len(body), checksum):
            return False
        self._count += not old_ballot
        self._sum += checksum - old_checksum
        return True

    def _checked(self, content: bytes | None, what: str) -> bytes:
        if content is None or zlib.crc32(content[:-4]) != int.from_bytes(content[-4:], "little"):
            raise VolumeDamaged(f"{self._folder}: {what} fails its checksum")
        return content[:-4]


def _key(slot: int) -> bytes:
    return SLOT_PREFIX + slot.to_bytes(8, "big")


def _checksummed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")
