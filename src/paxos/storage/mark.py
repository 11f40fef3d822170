"""The side mark: a small file that says "synced through batch N".

A journal's tail alone cannot tell a batch that was being written when the process died from
one that was synced and rotted since: both are an invalid group with nothing after it. So after
each sync, and before it returns, N goes to this file, *without a sync of its own*: that costs
under a microsecond. The kernel keeps it when the process dies, however it dies, and writes it
back within seconds. Two slots take turns, each with its checksum, so a mark half-written or
rotted leaves the one before.

The mark is never ahead of the truth (batch N was on stable storage before the mark was
written), so "the journal ends below the mark" is always damage. It may be behind after the
machine itself stops (power, kernel): then only the journal's very last batch is in doubt, since
each batch is written after the sync of the one before.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from paxos.core.errors import VolumeDamaged

from .folder import write_new_file

MARK_NAME = "mark"
MARK_BYTES = 1024

_MAGIC = b"PAXOSMK1"
_BODY = struct.Struct("<8sQQ")
_CRC = struct.Struct("<I")
_SLOT_BYTES = _BODY.size + _CRC.size
_SLOT_OFFSETS = (0, 512)


class SyncMark:
    """An open mark file. `volume` is a random number that all files of a volume share, `batch`
    the highest batch known to be synced, `repaired` says that one slot was unreadable.
    """

    def __init__(
        self, handle: int, *, volume: int, batch: int, repaired: str | None = None
    ) -> None:
        self.volume = volume
        self.batch = batch
        self.repaired = repaired
        self._handle = handle

    @classmethod
    def create(cls, folder: Path, volume: int) -> SyncMark:
        """Make the mark of a new volume, durably, with nothing synced. Raises OSError."""
        slot = _pack(volume, 0).ljust(_SLOT_OFFSETS[1], b"\0")
        return cls(write_new_file(folder / MARK_NAME, slot * 2), volume=volume, batch=0)

    @classmethod
    def open(cls, folder: Path) -> SyncMark:
        """Open an existing mark. Raises VolumeDamaged when neither slot is whole; OSError."""
        path = folder / MARK_NAME
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        content = os.pread(handle, MARK_BYTES, 0)
        found = [_unpack(content, number) for number in (0, 1)]
        whole = [slot for slot in found if slot is not None]
        if not whole or len({volume for volume, _ in whole}) > 1:
            os.close(handle)
            raise VolumeDamaged(f"{path} at offset 0: no slot of the sync mark is whole")
        repaired = None
        if len(whole) < len(found):
            repaired = f"{path}: one slot of the sync mark was not whole; the other was used"
        volume, batch = max(whole)
        return cls(handle, volume=volume, batch=batch, repaired=repaired)

    def write(self, batch: int) -> None:
        """Note that everything through `batch` is on stable storage. Raises OSError."""
        slot = _pack(self.volume, batch)
        if os.pwrite(self._handle, slot, _SLOT_OFFSETS[batch & 1]) != _SLOT_BYTES:
            raise OSError("the sync mark was cut short")
        self.batch = batch

    def sync(self) -> None:
        """Make the mark durable: worth it when files change and at an orderly end only."""
        os.fdatasync(self._handle)

    def close(self) -> None:
        """Release the file."""
        os.close(self._handle)


def _pack(volume: int, batch: int) -> bytes:
    body = _BODY.pack(_MAGIC, volume, batch)
    return body + _CRC.pack(zlib.crc32(body))


def _unpack(content: bytes, number: int) -> tuple[int, int] | None:
    offset = _SLOT_OFFSETS[number]
    slot = content[offset : offset + _SLOT_BYTES]
    if len(slot) != _SLOT_BYTES:
        return None
    magic, volume, batch = _BODY.unpack_from(slot)
    (crc,) = _CRC.unpack_from(slot, _BODY.size)
    if magic != _MAGIC or crc != zlib.crc32(slot[: _BODY.size]):
        return None
    if batch and batch & 1 != number:
        # Whole, but written for the other place: a sector that went astray.
        return None
    return volume, batch
