"""The bytes of a segment file: its header, and groups of records.

    segment   header (512 bytes), then groups, then zeros up to the reserved size
    header    magic, format version, segment number, volume, first batch number, CRC
    group     starts at a multiple of 512 bytes, so that no sector holds bytes of two groups
              | magic | CRC | batch number | records | payload bytes |   24 bytes
              | payload length | payload CRC | slot |                   16 bytes per record
              | payload | payload | ...                                 msgpack records

A group's CRC covers its numbers and its table, seeded with the volume's random number so that
a group of another volume never passes; the table holds each payload's CRC, so every byte is
covered once, and one record can be verified alone. `slot` is 0 for records that are not votes;
it is in the table so that a damaged vote can be named. Integers are little-endian, CRCs are
zlib's CRC-32.

This module computes; it opens no file.
"""

from __future__ import annotations

import struct
import zlib

import msgspec

SEGMENT_VERSION = 1
ALIGNMENT = 512
SEGMENT_HEADER_BYTES = 512
RECORD_BYTES_MAX = 64 * 1024 * 1024
"""The largest encoded record."""
GROUP_RECORDS_MAX = 65_536
"""The most records of one group; a larger sync is split."""
GROUP_BYTES_MAX = 64 * 1024 * 1024
"""A group is closed before it would pass this; a single larger record goes alone."""
SEGMENT_BYTES_MAX = 256 * 1024 * 1024
"""No segment file is longer: a longer one was not written by this program."""

_SEGMENT_MAGIC = b"PAXOSSEG"
_SEGMENT = struct.Struct("<8sIIQQ")
_CRC = struct.Struct("<I")

_GROUP_MAGIC = b"PXGR"
_GROUP = struct.Struct("<4sIQII")
_NUMBERS = struct.Struct("<QII")
_ROW = struct.Struct("<IIQ")


class SegmentHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment says of itself. `first_batch` is the number of its first group."""

    number: int
    volume: int
    first_batch: int


class LiveSegment(msgspec.Struct, kw_only=True):
    """What a journal knows of a segment that is there: its first batch, its length in bytes and
    the highest slot of its votes, 0 when it has none.
    """

    first_batch: int
    bytes: int
    highest_slot: int = 0


class RecordPlace(msgspec.Struct, frozen=True, gc=False):
    """One record inside a segment: its payload's offset and length in bytes, CRC, and slot."""

    slot: int
    offset: int
    length: int
    checksum: int


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group whose numbers and table are whole. `end` is where the next group starts."""

    batch: int
    offset: int
    end: int
    records: list[RecordPlace]


def pack_segment_header(header: SegmentHeader) -> bytes:
    """Return the header's bytes, padded to `SEGMENT_HEADER_BYTES`."""
    body = _SEGMENT.pack(
        _SEGMENT_MAGIC, SEGMENT_VERSION, header.number, header.volume, header.first_batch
    )
    return (body + _CRC.pack(zlib.crc32(body))).ljust(SEGMENT_HEADER_BYTES, b"\0")


def unpack_segment_header(content: bytes) -> SegmentHeader | None:
    """Return the header at the start of a segment; None when it is not whole."""
    if len(content) < SEGMENT_HEADER_BYTES:
        return None
    (crc,) = _CRC.unpack_from(content, _SEGMENT.size)
    if crc != zlib.crc32(content[: _SEGMENT.size]):
        return None
    magic, version, number, volume, first_batch = _SEGMENT.unpack_from(content)
    if magic != _SEGMENT_MAGIC or version != SEGMENT_VERSION:
        return None
    return SegmentHeader(number=number, volume=volume, first_batch=first_batch)


def seed_of(volume: int) -> int:
    """Return the CRC seed of a volume's groups."""
    return zlib.crc32(volume.to_bytes(8, "little"))


def pack_group_head(
    batch: int, rows: list[tuple[int, int, int]], payload_bytes: int, seed: int
) -> bytes:
    """Return a group's numbers and table; rows are (length, CRC, slot) in payload order."""
    table = b"".join([_ROW.pack(*row) for row in rows])
    crc = zlib.crc32(table, zlib.crc32(_NUMBERS.pack(batch, len(rows), payload_bytes), seed))
    return _GROUP.pack(_GROUP_MAGIC, crc, batch, len(rows), payload_bytes) + table


def group_bytes(records: int, payload_bytes: int) -> int:
    """Return how many bytes a group takes, padding aside."""
    return _GROUP.size + _ROW.size * records + payload_bytes


def aligned(offset: int) -> int:
    """Return the first multiple of `ALIGNMENT` that is not below `offset`."""
    return (offset + ALIGNMENT - 1) & -ALIGNMENT


def read_group(content: bytes, offset: int, seed: int) -> Group | None:
    """Return the group at `offset` if its numbers and table are whole; payloads are not checked.

    Every length is checked against `content` before it is used.
    """
    if offset + _GROUP.size > len(content):
        return None
    magic, crc, batch, count, payload_bytes = _GROUP.unpack_from(content, offset)
    if magic != _GROUP_MAGIC or not 1 <= count <= GROUP_RECORDS_MAX:
        return None
    table_at = offset + _GROUP.size
    payload_at = table_at + _ROW.size * count
    if payload_at + payload_bytes > len(content):
        return None
    table = content[table_at:payload_at]
    if crc != zlib.crc32(table, zlib.crc32(_NUMBERS.pack(batch, count, payload_bytes), seed)):
        return None
    records: list[RecordPlace] = []
    at = payload_at
    for length, checksum, slot in _ROW.iter_unpack(table):
        records.append(RecordPlace(slot, at, length, checksum))
        at += length
    if at != payload_at + payload_bytes:
        return None
    return Group(batch=batch, offset=offset, end=aligned(at), records=records)


def damaged_records(content: bytes, group: Group) -> list[RecordPlace]:
    """Return the records of a group whose payloads fail their checksums."""
    view = memoryview(content)
    return [
        place
        for place in group.records
        if zlib.crc32(view[place.offset : place.offset + place.length]) != place.checksum
    ]


def _plausible(content: bytes, offset: int, batch: int, groups_between: int) -> bool:
    """Tell whether the group at `offset` says a number that it can have."""
    if offset + _GROUP.size > len(content):
        return False
    number: int = _GROUP.unpack_from(content, offset)[2]
    return batch < number <= batch + groups_between


def find_later_group(content: bytes, offset: int, batch: int, seed: int) -> Group | None:
    """Return the first whole group at or after `offset` with a number above `batch`.

    Group `batch` itself begins at `offset`, and every group takes `ALIGNMENT` bytes or more: that
    bounds the numbers that can be met, and what is looked into. A client's values may be full of
    what looks like groups, and each could claim a table of a mebibyte.
    """
    at = content.find(_GROUP_MAGIC, offset)
    while at >= 0:
        if at % ALIGNMENT == 0 and _plausible(content, at, batch, (at - offset) // ALIGNMENT):
            group = read_group(content, at, seed)
            if group is not None and group.batch > batch:
                return group
        at = content.find(_GROUP_MAGIC, at + 1)
    return None
