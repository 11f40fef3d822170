r"""The bytes of a snapshot: a prelude, then frames, each of which proves all that came before.

    snapshot  prelude, frame HEAD, frames ENTRIES, frames VALUES,
              for each session a frame SESSION and its frames RESULTS, frame END, nothing more
    prelude   | magic "PAXSNAP\0"  | format version | CRC of the 12 bytes before |    16 bytes
    frame     | kind | items | payload bytes | running CRC | head CRC |              20 bytes
              | payload |                                                            msgpack
    running   over every byte of the stream up to the end of this payload, CRCs of frames aside
    head CRC  over the 16 bytes before it, seeded with the running CRC of the frame before

Integers are little-endian and of 4 bytes, CRCs are zlib's CRC-32. A payload is at most
`FRAME_BYTES` long, but for a single item that is larger:

    HEAD     [slot, revision, now_ms, serial, keys, dead, values, sessions, value_bytes_max,
             results_bytes_max]
    ENTRIES  array32 of [key, value, create_revision, mod_revision, version, deadline_ms, serial]
             by serial; dead ones, of version 0 and without a key, keep their places in scans
    VALUES   array32 of [slot, value], in the order of the log
    SESSION  [gateway, nonce, slot, last, results kept], by gateway
    RESULTS  array32 of [sequence, slot, revision, results], without gaps up to the session's last
    END      [entries, values, sessions, results, bytes before this frame]

Every length is checked before it is used, and at most one frame is kept in memory. What a
payload means is none of this module's business, HEAD and END apart.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Annotated, Any

import msgspec

from paxos.core.errors import VolumeDamaged, invariant
from paxos.core.types import NO_SLOT, Slot

SNAPSHOT_VERSION = 1
FRAME_BYTES = 128 * 1024
"""A payload of several items is no longer than this."""
FRAME_BYTES_MAX = 128 * 1024 * 1024
"""No payload is longer: a single item is at most about one record of the log (64 MiB)."""

_MAGIC = b"PAXSNAP\0"
_PRELUDE = struct.Struct("<8sI")
_CRC = struct.Struct("<I")
_NUMBERS = struct.Struct("<III")
_HEAD = struct.Struct("<IIIII")
_PRELUDE_BYTES = _PRELUDE.size + _CRC.size
_ARRAY = struct.Struct(">BI")
_ARRAY32 = 0xDD

Count = Annotated[int, msgspec.Meta(ge=0)]


class SnapshotDamaged(VolumeDamaged):
    """A snapshot is not what was written: `what` is wrong, `offset` bytes from its start."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(f"the snapshot is damaged at byte {offset}: {what}")
        self.offset = offset
        self.what = what


class Kind(IntEnum):
    """What a frame holds."""

    HEAD = 1
    ENTRIES = 2
    VALUES = 3
    SESSION = 4
    RESULTS = 5
    END = 6


_FOLLOWING: dict[Kind | None, frozenset[int]] = {
    None: frozenset({Kind.HEAD}),
    Kind.HEAD: frozenset({Kind.ENTRIES, Kind.VALUES, Kind.SESSION, Kind.END}),
    Kind.ENTRIES: frozenset({Kind.ENTRIES, Kind.VALUES, Kind.SESSION, Kind.END}),
    Kind.VALUES: frozenset({Kind.VALUES, Kind.SESSION, Kind.END}),
    Kind.SESSION: frozenset({Kind.SESSION, Kind.RESULTS, Kind.END}),
    Kind.RESULTS: frozenset({Kind.SESSION, Kind.RESULTS, Kind.END}),
}
_RUNS = frozenset({Kind.ENTRIES, Kind.VALUES, Kind.RESULTS})


class Head(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """The numbers of a machine, and how much of everything follows.

    `dead` counts deleted entries that scans still pass over; the last two are the machine's
    limits in bytes, which are part of what the log means.
    """

    slot: Annotated[Slot, msgspec.Meta(ge=0)]
    revision: Count
    now_ms: Count
    serial: Count
    keys: Count
    dead: Count
    values: Count
    sessions: Count
    value_bytes_max: Count
    results_bytes_max: Count


NO_HEAD = Head(
    slot=NO_SLOT,
    revision=0,
    now_ms=0,
    serial=0,
    keys=0,
    dead=0,
    values=0,
    sessions=0,
    value_bytes_max=0,
    results_bytes_max=0,
)
"""What is known of a stream before its head has come."""


class SnapshotHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a whole stream says of itself: the state after `slot`. `size` is in bytes, `version`
    that of the format; `keys`, `values` (of the WRITE list) and `sessions` are counts.
    """

    slot: Slot
    revision: int
    keys: int
    values: int
    sessions: int
    size: int
    version: int


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A frame whose checksums hold. `offset` is where it begins; `payload` is only good until
    the next frame is asked for.
    """

    kind: Kind
    offset: int
    payload: memoryview | bytearray


_heads = msgspec.msgpack.Decoder(Head)
_ends = msgspec.msgpack.Decoder(tuple[int, int, int, int, int])
_encode = msgspec.msgpack.Encoder().encode


class FrameWriter:
    """Makes a stream, one piece of bytes per frame; the prelude comes with the first."""

    __slots__ = ("_checksum", "_items", "_size")

    def __init__(self) -> None:
        self._checksum = 0
        self._size = 0
        self._items = dict.fromkeys(Kind, 0)

    def head(self, head: Head) -> bytes:
        """Return the beginning of the stream."""
        start = _PRELUDE.pack(_MAGIC, SNAPSHOT_VERSION)
        start += _CRC.pack(zlib.crc32(start))
        self._checksum = zlib.crc32(start)
        self._size = len(start)
        return start + self._frame(Kind.HEAD, 1, _encode(head))

    def session(self, session: Any) -> bytes:
        """Return the frame that begins a session."""
        return self._frame(Kind.SESSION, 1, _encode(session))

    def runs(self, kind: Kind, items: Iterable[Any]) -> Iterator[bytes]:
        """Return the frames of any number of items."""
        run: list[bytes] = []
        size = _ARRAY.size
        for item in map(_encode, items):
            size += len(item)
            if size > FRAME_BYTES and run:
                yield self._run(kind, run)
                run = []
                size = _ARRAY.size + len(item)
            run.append(item)
        if run:
            yield self._run(kind, run)

    def end(self) -> bytes:
        """Return the last frame."""
        return self._frame(Kind.END, 1, _encode(_totals(self._items, self._size)))

    def _run(self, kind: Kind, run: list[bytes]) -> bytes:
        return self._frame(kind, len(run), _ARRAY.pack(_ARRAY32, len(run)) + b"".join(run))

    def _frame(self, kind: Kind, items: int, payload: bytes) -> bytes:
        invariant(len(payload) <= FRAME_BYTES_MAX, "a frame of a snapshot is too long")
        before = self._checksum
        numbers = _NUMBERS.pack(kind, items, len(payload))
        self._checksum = zlib.crc32(payload, zlib.crc32(numbers, before))
        head = numbers + _CRC.pack(self._checksum)
        self._items[kind] += items
        self._size += _HEAD.size + len(payload)
        return head + _CRC.pack(zlib.crc32(head, before)) + payload


class FrameReader:
    """Takes any cut of a stream and gives back its frames.

    Keeps at most one frame that is not whole. Raises SnapshotDamaged at the first byte that
    cannot be right, as soon as it can be told; after that it is of no more use.
    """

    __slots__ = (
        "_checksum",
        "_frame",
        "_items",
        "_kind",
        "_need",
        "_part",
        "ended",
        "head",
        "size",
    )

    def __init__(self) -> None:
        self.head = NO_HEAD
        self.ended = False
        """The last frame has come, and all totals are right."""
        self.size = 0
        """How many bytes have been taken in."""
        self._part = bytearray()
        self._need = _PRELUDE_BYTES
        # What the next bytes are: with a kind a frame follows it, and with a frame its payload.
        self._kind: Kind | None = None
        self._frame: tuple[Kind, int, int, int] | None = None
        self._checksum = 0
        self._items = dict.fromkeys(Kind, 0)

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Frame]:
        """Take in the next bytes; return the frames that they complete, as they are looked at."""
        view = memoryview(data)
        at = 0
        while at < len(view):
            if self.ended:
                raise SnapshotDamaged(self.size, "bytes follow the end")
            piece = view[at : at + self._need - len(self._part)]
            at += len(piece)
            self.size += len(piece)
            if self._frame is not None:
                self._checksum = zlib.crc32(piece, self._checksum)
            unit: memoryview | bytearray = piece
            if len(piece) < self._need:
                self._part += piece
                if len(self._part) < self._need:
                    return
                unit, self._part = self._part, bytearray()
            frame = self._on_unit(unit)
            if frame is not None:
                yield frame

    def finish(self) -> SnapshotHead:
        """Return what a whole stream says of itself. Raises SnapshotDamaged when it is cut off."""
        head = self.head
        if not self.ended:
            raise SnapshotDamaged(self.size, "it ends too early")
        return SnapshotHead(
            slot=head.slot,
            revision=head.revision,
            keys=head.keys,
            values=head.values,
            sessions=head.sessions,
            size=self.size,
            version=SNAPSHOT_VERSION,
        )

    def _on_unit(self, unit: memoryview | bytearray) -> Frame | None:
        if self._frame is not None:
            return self._on_payload(*self._frame, unit)
        if self.size == _PRELUDE_BYTES:
            self._on_prelude(unit)
        else:
            self._on_frame_head(unit)
        return None

    def _on_prelude(self, unit: memoryview | bytearray) -> None:
        magic, version = _PRELUDE.unpack_from(unit)
        if magic != _MAGIC:
            raise SnapshotDamaged(0, "it is no snapshot of this program")
        if _CRC.unpack_from(unit, _PRELUDE.size)[0] != zlib.crc32(unit[: _PRELUDE.size]):
            raise SnapshotDamaged(8, "wrong checksum of the format version")
        if version > SNAPSHOT_VERSION:
            raise SnapshotDamaged(
                8,
                f"no damage, but format version {version}: it was made by a newer version of this "
                f"program, and this one reads up to {SNAPSHOT_VERSION}",
            )
        if version != SNAPSHOT_VERSION:
            raise SnapshotDamaged(8, f"format version {version} has never existed")
        self._checksum = zlib.crc32(unit)
        self._need = _HEAD.size

    def _on_frame_head(self, unit: memoryview | bytearray) -> None:
        offset = self.size - _HEAD.size
        kind, items, length, checksum, head_checksum = _HEAD.unpack(unit)
        if head_checksum != zlib.crc32(unit[: -_CRC.size], self._checksum):
            raise SnapshotDamaged(offset, "wrong checksum of a frame's head")
        if kind not in _FOLLOWING[self._kind]:
            raise SnapshotDamaged(offset, f"a frame of kind {kind} is out of place")
        items_max = FRAME_BYTES if kind in _RUNS else 1
        # Each item takes a byte or more, so no list is made larger than what came.
        if not 1 <= items <= min(length, items_max) or length > FRAME_BYTES_MAX:
            raise SnapshotDamaged(offset, f"a frame of {items} items and {length} bytes")
        self._kind = Kind(kind)
        self._frame = (self._kind, items, offset, checksum)
        self._checksum = zlib.crc32(unit[: _NUMBERS.size], self._checksum)
        self._need = length

    def _on_payload(
        self,
        kind: Kind,
        items: int,
        offset: int,
        checksum: int,
        payload: memoryview | bytearray,
    ) -> Frame | None:
        if checksum != self._checksum:
            raise SnapshotDamaged(offset, "wrong checksum of a frame")
        self._frame = None
        self._need = _HEAD.size
        frame = Frame(kind, offset, payload)
        if kind is Kind.END:
            self._on_end(frame)
            return frame
        self._items[kind] += items
        if kind is Kind.HEAD:
            self.head = decode(_heads, frame)
        elif kind in _RUNS and bytes(payload[: _ARRAY.size]) != _ARRAY.pack(_ARRAY32, items):
            raise SnapshotDamaged(offset, f"a frame of {items} items that holds another number")
        return frame

    def _on_end(self, frame: Frame) -> None:
        offset = frame.offset
        totals = decode(_ends, frame)
        head = self.head
        expected = _totals(self._items, offset)
        if totals != expected:
            raise SnapshotDamaged(offset, f"it says {totals} in all, and has {expected}")
        promised = (head.keys + head.dead, head.values, head.sessions)
        if promised != expected[:3]:
            raise SnapshotDamaged(offset, f"it promised {promised}, and has {expected[:3]}")
        self.ended = True


def decode(decoder: msgspec.msgpack.Decoder[Any], frame: Frame) -> Any:
    """Return a frame's contents. Raises SnapshotDamaged when they are of another form."""
    try:
        return decoder.decode(frame.payload)
    except (ValueError, RecursionError) as error:
        raise SnapshotDamaged(frame.offset, f"a frame that cannot be read: {error}") from error


def _totals(items: dict[Kind, int], size: int) -> tuple[int, int, int, int, int]:
    return (
        items[Kind.ENTRIES],
        items[Kind.VALUES],
        items[Kind.SESSION],
        items[Kind.RESULTS],
        size,
    )
