"""Reading a volume of segment files back: what is whole, what is torn, what is damaged.

A torn tail is a group that the process or the machine was writing when it died: nobody was told
of it, so it is dropped ("repaired"). Bit rot is a group that was synced and does not check any
more: somebody may have been told, so the volume must not vote (DESIGN rule 8). An invalid group
is taken for torn only if it can never have been synced:

1. nothing whole follows it (a batch is written only after the sync of the one before), and
2. it is in the last segment (a segment is begun only after the sync of the one before), and
3. its number is above the side mark (see mark.py), which says what was synced, and above what
   the base file (see base.py) was written after.

What remains in doubt: after the *machine* stopped (power, kernel), the mark on disk may be some
seconds old, and the very last batch alone may be invalid above it. It is taken for torn: the
usual cause by far. Were it synced and rotted in that same outage, its votes would be lost here
unnoticed. Batches before the last one are proved by their successors even then. After an
orderly end, or any death of the process alone, nothing is in doubt.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from paxos.core.effects import AnyRecord
from paxos.core.errors import LocalProtocolError, VolumeDamaged

from .base import Base
from .folder import write_whole
from .mark import SyncMark
from .segment import (
    SEGMENT_BYTES_MAX,
    SEGMENT_HEADER_BYTES,
    Group,
    LiveSegment,
    RecordPlace,
    damaged_records,
    find_later_group,
    read_group,
    seed_of,
    unpack_segment_header,
)

_SEGMENT_NAME = re.compile(r"segment-(\d{8})")
_SLOTS_NAMED_MAX = 8

Absorb = Callable[[AnyRecord, int, int, RecordPlace], None]
"""Called for each whole record in order, with its batch, its segment and its place there."""


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """Where the next batch goes. `handle` is the last segment, open for writing; `segments` are
    all, in order.
    """

    handle: int
    segments: dict[int, LiveSegment]
    offset: int
    batch: int
    repaired: str | None


def segment_path(folder: Path, number: int) -> Path:
    """Return the path of a segment file."""
    return folder / f"segment-{number:08d}"


def segment_numbers(folder: Path) -> list[int]:
    """Return the numbers of the segment files in a folder, in order. Raises OSError."""
    matches = (_SEGMENT_NAME.fullmatch(name) for name in os.listdir(folder))
    return sorted(int(match[1]) for match in matches if match)


def recover(
    folder: Path, numbers: list[int], mark: SyncMark, base: Base | None, absorb: Absorb
) -> Tail:
    """Read all segments, repair a torn tail, and make sure that what was read is durable.

    `numbers` are those of the segments that are there, from where the base says that they begin.
    Raises VolumeDamaged naming the file, the offset and, if known, the slots; OSError.
    """
    return _Recovery(folder, mark, base, absorb).run(numbers)


_decoder: msgspec.msgpack.Decoder[AnyRecord] = msgspec.msgpack.Decoder(AnyRecord)


class _Recovery:
    """One pass over a volume. `_batch` is the last whole batch so far."""

    def __init__(self, folder: Path, mark: SyncMark, base: Base | None, absorb: Absorb) -> None:
        self._folder = folder
        self._mark = mark
        self._absorb = absorb
        self._seed = seed_of(mark.volume)
        self._segments: dict[int, LiveSegment] = {}
        self._first = 1
        self._batch = 0
        self._slot = 0
        self._synced = mark.batch
        if base is not None:
            self._first = base.first
            self._batch = base.first_batch - 1
            self._slot = base.slot
            # Each is written after a sync; the base is durable even where the mark is behind.
            self._synced = max(mark.batch, base.batch)

    def run(self, numbers: list[int]) -> Tail:
        for expected, number in enumerate(numbers, start=self._first):
            path = segment_path(self._folder, number)
            if number != expected:
                raise VolumeDamaged(
                    f"{segment_path(self._folder, expected)} at offset 0: the segment is missing"
                )
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if number == numbers[-1]:
                    return self._last(path, number, handle)
                content = self._read(path, number, handle)
                end, _ = self._walk(path, number, content)
                if not _blank(content, end):
                    raise self._damage(path, content, end)
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
        raise VolumeDamaged(
            f"{segment_path(self._folder, self._first)} at offset 0: every segment is missing, and "
            f"{self._synced} batches were synced"
        )

    def _last(self, path: Path, number: int, handle: int) -> Tail:
        content = self._read(path, number, handle)
        end, last_group = self._walk(path, number, content)
        repaired = self._mark.repaired
        if self._batch < self._synced or (
            find_later_group(content, end, self._batch + 1, self._seed) is not None
        ):
            raise self._damage(path, content, end)
        if not _blank(content, end):
            torn = len(content[end:].rstrip(b"\0"))
            text = (
                f"{path} at offset {end}: batch {self._batch + 1} was never synced and is "
                f"half-written; its {torn} bytes were dropped"
            )
            repaired = text if repaired is None else f"{repaired}; {text}"
            write_whole(handle, [bytes(torn)], end)
        if last_group is not None and self._batch > self._mark.batch:
            # It may be whole in the kernel's memory only: the process died before its sync, or
            # the sync failed and the kernel forgot that it was not on disk. Written again, it is.
            whole = content[last_group.offset : last_group.end]
            write_whole(handle, [whole], last_group.offset)
        os.fsync(handle)
        self._mark.write(self._batch)
        return Tail(
            handle=handle,
            segments=self._segments,
            offset=end,
            batch=self._batch,
            repaired=repaired,
        )

    def _read(self, path: Path, number: int, handle: int) -> bytes:
        """Return a segment's bytes once its header is known to be right."""
        size = os.fstat(handle).st_size
        if size > SEGMENT_BYTES_MAX:
            raise VolumeDamaged(f"{path} at offset {SEGMENT_BYTES_MAX}: the file is too long")
        content = os.pread(handle, size, 0)
        if len(content) != size:
            raise VolumeDamaged(f"{path} at offset {len(content)}: the file cannot be read on")
        header = unpack_segment_header(content)
        if header is None:
            raise VolumeDamaged(f"{path} at offset 0: the segment's header fails its checksum")
        if header.volume != self._mark.volume:
            raise VolumeDamaged(f"{path} at offset 0: the segment belongs to another volume")
        if header.number != number:
            raise VolumeDamaged(f"{path} at offset 0: this is segment {header.number}")
        if header.first_batch != self._batch + 1:
            raise VolumeDamaged(
                f"{path} at offset 0: the segment begins with batch {header.first_batch}, but "
                f"the one before ends with batch {self._batch}: batches are missing, with "
                f"unknown slots after slot {self._slot}"
            )
        self._segments[number] = LiveSegment(first_batch=header.first_batch, bytes=size)
        return content

    def _walk(self, path: Path, number: int, content: bytes) -> tuple[int, Group | None]:
        """Take in the whole groups that follow each other; return where they end."""
        offset = SEGMENT_HEADER_BYTES
        last: Group | None = None
        while True:
            group = read_group(content, offset, self._seed)
            if group is None or group.batch != self._batch + 1 or damaged_records(content, group):
                return offset, last
            for place in group.records:
                self._take(path, number, group.batch, content, place)
            self._batch = group.batch
            offset, last = group.end, group

    def _take(
        self, path: Path, number: int, batch: int, content: bytes, place: RecordPlace
    ) -> None:
        try:
            record = _decoder.decode(
                memoryview(content)[place.offset : place.offset + place.length]
            )
            self._absorb(record, batch, number, place)
        except (ValueError, RecursionError, LocalProtocolError) as error:
            # Besides msgspec.DecodeError (a ValueError): text that is not UTF-8, and arrays nested
            # deeper than can be skipped.
            raise VolumeDamaged(
                f"{path} at offset {place.offset}: the checksum holds but the record is not "
                f"one that this program writes: {error}"
            ) from error
        if place.slot:
            self._slot = place.slot
            live = self._segments[number]
            live.highest_slot = max(live.highest_slot, place.slot)

    def _damage(self, path: Path, content: bytes, offset: int) -> VolumeDamaged:
        """Say what is wrong with the group at `offset`, which must be batch `_batch + 1`."""
        batch = self._batch + 1
        where = f"{path} at offset {offset}: batch {batch}"
        group = read_group(content, offset, self._seed)
        if group is None or group.batch != batch:
            return VolumeDamaged(
                f"{where} was synced and is not whole, with unknown slots after slot {self._slot}"
            )
        bad = damaged_records(content, group)
        slots = sorted({place.slot for place in bad if place.slot})
        named = ", ".join(map(str, slots[:_SLOTS_NAMED_MAX]))
        more = " and more" if len(slots) > _SLOTS_NAMED_MAX else ""
        what = f"slots {named}{more}" if slots else "no votes"
        return VolumeDamaged(
            f"{where} was synced and {len(bad)} of its {len(group.records)} records fail their "
            f"checksums ({what}; the first at offset {bad[0].offset})"
        )


def _blank(content: bytes, offset: int) -> bool:
    return content[offset:] == bytes(max(0, len(content) - offset))
