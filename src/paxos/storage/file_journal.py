"""The journal as append-only segment files with checksums.

Each sync writes the pending records as one group (see segment.py) with one `pwritev`, then one
`fdatasync`, then the side mark (see mark.py). Segments are preallocated and zeroed a little
ahead of the tail, so that a sync has data to write and no metadata. What a volume holds is read
back and verified whole when it is opened (see recovery.py); values are read from disk later and
verified again, except the most recent ones, which stay in memory.

A `Cut` is a record like others. Once it is synced, segments that hold nothing above it are
removed in the background (see shortening.py), after a base file has taken over what they said
(see base.py).

It never rewrites what was synced, never guesses about damage, and is used by one thread. After
a failed write or sync nothing is assumed: every later call fails with the first failure.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections import OrderedDict
from pathlib import Path

import msgspec

from paxos.core.effects import (
    AcceptedEntry,
    AnyRecord,
    Cut,
    Recovered,
    SnapshotInfo,
    Stamped,
)
from paxos.core.errors import LocalProtocolError, StorageError, VolumeDamaged
from paxos.core.types import Ballot, Slot

from .base import BASE_NAME, Base, pack_base, read_base
from .folder import (
    FolderLock,
    make_folder,
    reason_of,
    storage_errors,
    write_new_file,
    write_whole,
)
from .mark import MARK_BYTES, MARK_NAME, SyncMark
from .recovery import Tail, recover, segment_numbers, segment_path
from .segment import (
    GROUP_BYTES_MAX,
    GROUP_RECORDS_MAX,
    RECORD_BYTES_MAX,
    SEGMENT_HEADER_BYTES,
    LiveSegment,
    RecordPlace,
    SegmentHeader,
    aligned,
    group_bytes,
    pack_group_head,
    pack_segment_header,
    seed_of,
)
from .shortening import Shortener
from .slot_index import RecentEntries, SlotIndex
from .summary import Summary, with_snapshot

SEGMENT_BYTES = 16 * 1024 * 1024
"""How much is preallocated at a time; a larger group gets a segment of its own size."""
CACHE_BYTES_MAX = 16 * 1024 * 1024
"""The most recent entries that are kept in memory."""
READERS_MAX = 32
"""How many older segments are held open for reading."""

_ZEROED_BYTES = 256 * 1024
"""Zeros are written so far ahead: the first write to a preallocated block costs a metadata
commit (measured: 25 us of 130), a later one does not. Large groups would not profit."""
_ZEROED_GROUP_BYTES_MAX = 32 * 1024

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(AcceptedEntry)


class FileJournal:
    """A `Journal` (see core/effects.py) in a folder. Open it with `open_journal`.

    Raises StorageError when the folder cannot be made, locked, read or written. Damage does not
    raise: it is in `recovered.damage`, reading views are then empty, and writing is refused.
    `segment_bytes` and `cache_bytes_max` are limits in bytes (tests make them small).
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        cache_bytes_max: int = CACHE_BYTES_MAX,
    ) -> None:
        self._folder = folder
        self._segment_bytes_new = segment_bytes
        self._index = SlotIndex()
        self._recent = RecentEntries(cache_bytes_max)
        self._summary = Summary()
        self._covered = 0
        self._segments: dict[int, LiveSegment] = {}
        self._base_bytes = 0
        self._cut = False
        self._shortener = Shortener(folder)
        self._readers: OrderedDict[int, int] = OrderedDict()
        self._payloads: list[bytes] = []
        self._rows: list[tuple[int, int, int]] = []
        self._ballots: list[int] = []
        self._payload_bytes = 0
        self._failure: StorageError | None = None
        self._handle = -1
        self._held = contextlib.ExitStack()
        make_folder(folder)
        self._held.callback(FolderLock(folder).release)
        try:
            with storage_errors(f"the volume {folder} cannot be opened"):
                self._recovered = self._open()
        except BaseException:
            self._release()
            raise

    # ------------------------------------------------------------ reading

    @property
    def recovered(self) -> Recovered:
        """What was found when the journal was opened."""
        return self._recovered

    @property
    def base(self) -> Slot:
        """The last slot that was cut off: no view shows entries up to it. 0: none was."""
        return self._index.base

    @property
    def highest_slot(self) -> Slot:
        """The highest slot with an accepted entry, cut off or not; 0 when there is none."""
        return self._index.highest_slot

    @property
    def bytes_on_disk(self) -> int:
        """How many bytes the volume's files take: segments, base and mark."""
        segments = sum(segment.bytes for segment in self._segments.values())
        return segments + self._shortener.bytes_left + self._base_bytes + MARK_BYTES

    def entry(self, slot: Slot) -> AcceptedEntry | None:
        """Return the highest-ballot entry of a slot.

        Raises VolumeDamaged when it fails its checksum, StorageError when it cannot be read.
        """
        if slot <= self._index.base:
            return None
        recent = self._recent.get(slot)
        if recent is not None:
            return recent
        ballot, segment, offset, length, checksum = self._index.row(slot)
        if ballot == 0:
            return None
        where = f"{segment_path(self._folder, segment)} at offset {offset}"
        with storage_errors(f"{where}: slot {slot} cannot be read"):
            payload = os.pread(self._reader(segment), length, offset)
        if len(payload) != length or zlib.crc32(payload) != checksum:
            raise VolumeDamaged(f"{where}: slot {slot} fails its checksum")
        return _decoder.decode(payload)

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
        """Return the runs of slots in first..last that have no entry and were not cut off, in
        order, at most `limit` of them.
        """
        return self._index.missing(first, last, limit)

    # ------------------------------------------------------------ writing

    def append(self, record: AnyRecord) -> None:
        """Take a record in; the reading views show it at once, `sync` makes it durable. A cut
        at or below the base does nothing, and a vote there is not shown.

        Raises StorageError after a failure, on a damaged or closed volume, or for a record
        above `RECORD_BYTES_MAX`; LocalProtocolError for one that no correct node writes here.
        """
        if self._failure is not None:
            raise self._failure
        if type(record) is Cut and record.slot <= self._summary.base:
            return
        payload = _encode(record)
        length = len(payload)
        if length > RECORD_BYTES_MAX:
            raise StorageError(f"a record of {length} bytes is above {RECORD_BYTES_MAX}")
        self._summary.absorb(record)
        checksum = zlib.crc32(payload)
        if type(record) is AcceptedEntry:
            slot, ballot = record.slot, record.ballot
            if self._index.put(slot, ballot, 0, 0, length, checksum):
                self._recent.put(record)
            self._rows.append((length, checksum, slot))
            self._ballots.append(ballot)
        else:
            if type(record) is Cut:
                self._index.cut(record.slot)
                self._cut = True
            self._rows.append((length, checksum, 0))
            self._ballots.append(0)
        self._payloads.append(payload)
        self._payload_bytes += length

    def sync(self) -> None:
        """Return when everything appended is on stable storage; nothing to do if nothing was.

        Raises StorageError: nothing may be assumed then, and the journal is of no more use.
        """
        if self._failure is not None:
            raise self._failure
        if self._shortener.failure is not None:
            self._failure = self._not_shortened()
            raise self._failure
        if not self._payloads:
            return
        payloads, rows, ballots = self._payloads, self._rows, self._ballots
        size = self._payload_bytes
        self._payloads, self._rows, self._ballots, self._payload_bytes = [], [], [], 0
        try:
            if len(rows) <= GROUP_RECORDS_MAX and size <= GROUP_BYTES_MAX:
                self._write_group(payloads, rows, ballots, size)
            else:
                self._write_groups(payloads, rows, ballots)
        except OSError as error:
            self._failure = StorageError(
                f"the volume {self._folder} could not be written: {reason_of(error)}; what was "
                "synced is kept: start the node again when that is put right"
            )
            raise self._failure from error
        self._recent.trim()
        if self._cut:
            self._cut = False
            self._shorten()

    def admit(self, snapshot: SnapshotInfo | None, damage: str | None = None) -> None:
        """Take in what was found beside the log when the volume was opened: the newest snapshot,
        or what is wrong with it. `recovered` then tells of it, and the volume may turn out to be
        damaged by it. Call it once, before anything else.
        """
        self._recovered = with_snapshot(self._recovered, snapshot, damage)
        if self._recovered.damage is not None and self._failure is None:
            self._bar(self._recovered.damage)

    def close(self) -> None:
        """Release the files. What was not synced may be lost. A second call does nothing.

        Raises StorageError when the side mark cannot be synced, or segments below a cut could
        not be removed.
        """
        self._shortener.close()
        try:
            if self._failure is None:
                if self._shortener.failure is not None:
                    raise self._not_shortened()
                with storage_errors(f"the sync mark of {self._folder} could not be synced"):
                    self._mark.sync()
        finally:
            self._failure = StorageError(f"the volume {self._folder} is closed")
            self._release()

    # ------------------------------------------------------------ inside

    def _open(self) -> Recovered:
        """Read the volume, or found a blank one. Raises OSError."""
        try:
            mark, numbers = self._mark_and_segments()
            base = read_base(self._folder, mark.volume)
            # A new mark is whole or not there at all: one that is not has seen more.
            if base is None and not numbers and mark.batch == 0 and mark.repaired is None:
                self._segment, self._batch = 0, 0
                self._begin_segment(SEGMENT_HEADER_BYTES)
                return Recovered()
            if base is not None:
                self._begin_from(base)
            # A crash had come between the base and the end of what it replaces.
            below = [number for number in numbers if base is not None and number < base.first]
            tail = recover(self._folder, numbers[len(below) :], mark, base, self._absorb)
        except VolumeDamaged as damage:
            self._bar(str(damage))
            return Recovered(damage=str(damage))
        for number in below:
            segment_path(self._folder, number).unlink()
        self._continue_at(tail)
        return self._summary.recovered(repaired=tail.repaired)

    def _mark_and_segments(self) -> tuple[SyncMark, list[int]]:
        numbers = segment_numbers(self._folder)
        path = self._folder / MARK_NAME
        if path.exists():
            mark = SyncMark.open(self._folder)
        elif numbers or (self._folder / BASE_NAME).exists():
            raise VolumeDamaged(f"{path} at offset 0: the sync mark is missing")
        else:
            mark = SyncMark.create(self._folder, int.from_bytes(os.urandom(8), "little"))
        self._held.callback(mark.close)
        self._mark = mark
        self._seed = seed_of(mark.volume)
        return mark, numbers

    def _bar(self, damage: str) -> None:
        """Show nothing and take nothing in from now on."""
        self._index = SlotIndex()
        self._recent = RecentEntries(0)
        self._failure = VolumeDamaged(f"the volume is damaged: {damage}")

    def _begin_from(self, base: Base) -> None:
        """Begin with what the segments that are gone have said."""
        self._summary = base.summary()
        self._covered = base.batch
        self._index.cut(base.slot)
        self._index.highest_slot = base.highest_slot
        self._base_bytes = (self._folder / BASE_NAME).stat().st_size

    def _absorb(self, record: AnyRecord, batch: int, segment: int, place: RecordPlace) -> None:
        # The base has later stamps than segments from before it was written; the rest only rises.
        if batch > self._covered or not isinstance(record, Stamped):
            self._summary.absorb(record)
        if isinstance(record, Cut) and record.slot > self._index.base:
            self._index.cut(record.slot)
            self._cut = True
        if not isinstance(record, AcceptedEntry):
            return
        if record.slot != place.slot:
            raise LocalProtocolError(f"the table says slot {place.slot}, not {record.slot}")
        if self._index.put(
            record.slot, record.ballot, segment, place.offset, place.length, place.checksum
        ):
            self._recent.put(record)
            self._recent.trim()

    def _continue_at(self, tail: Tail) -> None:
        self._handle = tail.handle
        self._segments = tail.segments
        self._segment, last = list(tail.segments.items())[-1]
        self._segment_bytes = last.bytes
        self._tail = self._zeroed = tail.offset
        self._batch = tail.batch

    def _begin_segment(self, room: int) -> None:
        """Make the next segment, with at least so much room for groups. Raises OSError."""
        number = self._segment + 1
        size = max(self._segment_bytes_new, SEGMENT_HEADER_BYTES + aligned(room))
        header = SegmentHeader(number=number, volume=self._mark.volume, first_batch=self._batch + 1)
        handle = write_new_file(
            segment_path(self._folder, number), pack_segment_header(header), bytes_reserved=size
        )
        if self._handle != -1:
            self._keep_reader(self._segment, self._handle)
        self._handle = handle
        self._segment = number
        self._segment_bytes = size
        self._segments[number] = LiveSegment(first_batch=header.first_batch, bytes=size)
        self._tail = self._zeroed = SEGMENT_HEADER_BYTES
        self._mark.sync()

    def _write_groups(
        self, payloads: list[bytes], rows: list[tuple[int, int, int]], ballots: list[int]
    ) -> None:
        """Write a sync that is too large for one group as several, each synced in turn."""
        first = size = 0
        for at, (length, _, _) in enumerate(rows):
            if at > first and (at - first == GROUP_RECORDS_MAX or size + length > GROUP_BYTES_MAX):
                self._write_group(payloads[first:at], rows[first:at], ballots[first:at], size)
                first, size = at, 0
            size += length
        self._write_group(payloads[first:], rows[first:], ballots[first:], size)

    def _write_group(
        self,
        payloads: list[bytes],
        rows: list[tuple[int, int, int]],
        ballots: list[int],
        payload_bytes: int,
    ) -> None:
        """Write, sync and mark one group, and note where its votes lie. Raises OSError."""
        size = group_bytes(len(rows), payload_bytes)
        if self._tail + size > self._segment_bytes:
            self._begin_segment(size)
        start = self._tail
        end = start + size
        if end > self._zeroed and size <= _ZEROED_GROUP_BYTES_MAX:
            self._zeroed = min(end + _ZEROED_BYTES, self._segment_bytes)
            os.pwrite(self._handle, bytes(self._zeroed - start), start)
        batch = self._batch + 1
        head = pack_group_head(batch, rows, payload_bytes, self._seed)
        write_whole(self._handle, [head, *payloads], start)
        os.fdatasync(self._handle)
        self._mark.write(batch)
        self._batch = batch
        self._tail = aligned(end)
        offset = start + len(head)
        segment = self._segment
        highest = 0
        for (length, checksum, slot), ballot in zip(rows, ballots, strict=True):
            if slot:
                self._index.put(slot, ballot, segment, offset, length, checksum)
                if slot > highest:
                    highest = slot
            offset += length
        live = self._segments[segment]
        live.highest_slot = max(live.highest_slot, highest)

    def _shorten(self) -> None:
        """Begin to remove the oldest segments, as far as all their votes are cut off."""
        base = self._index.base
        gone: dict[int, int] = {}
        for number, segment in self._segments.items():
            if number == self._segment or segment.highest_slot > base:
                break
            gone[number] = segment.bytes
        stamp = self._summary.stamp
        if not gone or stamp is None:
            return
        for number in gone:
            del self._segments[number]
            reader = self._readers.pop(number, None)
            if reader is not None:
                os.close(reader)
        first, segment = next(iter(self._segments.items()))
        content = pack_base(
            self._mark.volume,
            Base(
                first=first,
                first_batch=segment.first_batch,
                batch=self._batch,
                slot=base,
                highest_slot=self._index.highest_slot,
                stamp=stamp,
                promised=self._summary.promised,
                counter=self._summary.counter,
                decided=self._summary.decided,
                configuration=self._summary.configuration,
            ),
        )
        self._base_bytes = len(content)
        self._shortener.begin(content, gone)

    def _not_shortened(self) -> StorageError:
        return StorageError(
            f"the volume {self._folder} could not be shortened: {self._shortener.failure}"
        )

    def _reader(self, segment: int) -> int:
        """Return a descriptor to read a segment with. Raises OSError."""
        if segment == self._segment:
            return self._handle
        handle = self._readers.get(segment)
        if handle is None:
            handle = os.open(segment_path(self._folder, segment), os.O_RDONLY | os.O_CLOEXEC)
            self._keep_reader(segment, handle)
        else:
            self._readers.move_to_end(segment)
        return handle

    def _keep_reader(self, segment: int, handle: int) -> None:
        self._readers[segment] = handle
        if len(self._readers) > READERS_MAX:
            _, oldest = self._readers.popitem(last=False)
            os.close(oldest)

    def _release(self) -> None:
        if self._handle != -1:
            os.close(self._handle)
            self._handle = -1
        for handle in self._readers.values():
            os.close(handle)
        self._readers.clear()
        self._held.close()
