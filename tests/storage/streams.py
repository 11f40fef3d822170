"""Snapshots as storage knows them: bytes that something else can read, and tell the slot of."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from paxos.core.errors import VolumeDamaged
from paxos.core.types import Slot

_HEAD_BYTES = 12


def snapshot_of(slot: int, size: int) -> bytes:
    """Return a stream of `size` bytes, more than twelve, that names its slot."""
    body = (b"%d;" % slot * size)[: size - _HEAD_BYTES]
    named = slot.to_bytes(8, "little")
    return named + zlib.crc32(body, zlib.crc32(named)).to_bytes(4, "little") + body


def slot_of(chunks: Iterable[bytes]) -> Slot:
    """Read a stream that `snapshot_of` made. Raises VolumeDamaged."""
    content = b"".join(chunks)
    crc = zlib.crc32(content[_HEAD_BYTES:], zlib.crc32(content[:8]))
    if crc.to_bytes(4, "little") != content[8:_HEAD_BYTES]:
        raise VolumeDamaged("the snapshot is damaged at byte 12: wrong checksum")
    return Slot(int.from_bytes(content[:8], "little"))
