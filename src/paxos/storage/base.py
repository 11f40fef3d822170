"""The base file: where a volume's log begins once segments have been removed below a cut.

    base      | magic | format version | volume | body bytes | CRC | body |

The body says which segment must exist first and what the removed ones added up to, so nothing
that they said is lost: the stamp, the promise, the counter, the slots. It is a summary of *all*
that was synced when it was written, through batch `batch`; recovery reads the segments that are
left over it, and all numbers only ever rise.

It is replaced whole (see `write_new_file`) before a segment goes, and `first` rises each time. So
an older base names a segment that is missing, and a missing base leaves segment 1 missing.
A volume that never lost a segment has none: a cut itself is a record in the log.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import msgspec

from paxos.core.effects import Stamped
from paxos.core.errors import VolumeDamaged
from paxos.core.messages import Configuration
from paxos.core.types import Ballot, Slot

from .folder import write_new_file
from .summary import Summary

BASE_NAME = "base"
BASE_VERSION = 1
BASE_BYTES_MAX = 1024 * 1024
"""No base file is longer: most of it are the names of the acceptors."""

_MAGIC = b"PAXOSBAS"
_HEAD = struct.Struct("<8sIQI")
_CRC = struct.Struct("<I")
_BODY_AT = _HEAD.size + _CRC.size


class Base(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where the log begins: with segment `first`, whose first batch is `first_batch`.

    `slot` is the last one cut off, `highest_slot` the highest ever accepted or cut off. These
    and the rest are as of batch `batch`, which was synced before this was written.
    """

    first: int
    first_batch: int
    batch: int
    slot: Slot
    highest_slot: Slot
    stamp: Stamped
    promised: Ballot
    counter: int
    decided: Slot
    configuration: Configuration | None = None

    def summary(self) -> Summary:
        """Return what the records through `batch` add up to."""
        summary = Summary()
        summary.stamp, summary.promised = self.stamp, self.promised
        summary.counter, summary.decided = self.counter, self.decided
        summary.base, summary.configuration = self.slot, self.configuration
        return summary


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Base)


def pack_base(volume: int, base: Base) -> bytes:
    """Return the bytes of the base file of a volume."""
    body = _encode(base)
    head = _HEAD.pack(_MAGIC, BASE_VERSION, volume, len(body))
    return head + _CRC.pack(zlib.crc32(body, zlib.crc32(head))) + body


def write_base(folder: Path, content: bytes) -> None:
    """Put a base file in place of the one before, durably. Raises OSError."""
    os.close(write_new_file(folder / BASE_NAME, content))


def read_base(folder: Path, volume: int) -> Base | None:
    """Return the base of a volume; None when it has none.

    Raises VolumeDamaged when it is not whole or is another volume's; OSError.
    """
    path = folder / BASE_NAME
    try:
        with path.open("rb") as file:
            content = file.read(BASE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    return _unpack(path, content, volume)


def _unpack(path: Path, content: bytes, volume: int) -> Base:
    if len(content) < _BODY_AT:
        raise VolumeDamaged(f"{path} at offset {len(content)}: the base is cut short")
    magic, version, owner, length = _HEAD.unpack_from(content)
    (crc,) = _CRC.unpack_from(content, _HEAD.size)
    body = content[_BODY_AT:]
    if magic != _MAGIC or crc != zlib.crc32(body, zlib.crc32(content[: _HEAD.size])):
        raise VolumeDamaged(f"{path} at offset 0: the base fails its checksum")
    if len(body) != length:
        raise VolumeDamaged(f"{path} at offset {_BODY_AT}: {len(body)} bytes, not {length}")
    if version != BASE_VERSION:
        raise VolumeDamaged(
            f"{path} at offset 0: format version {version}, and this program reads {BASE_VERSION}"
        )
    if owner != volume:
        raise VolumeDamaged(f"{path} at offset 0: the base belongs to another volume")
    try:
        base = _decoder.decode(body)
    except (ValueError, RecursionError) as error:
        raise VolumeDamaged(
            f"{path} at offset {_BODY_AT}: the checksum holds but the base is not one that this "
            f"program writes: {error}"
        ) from error
    if base.first < 2 or not 1 <= base.first_batch <= base.batch + 1:
        raise VolumeDamaged(
            f"{path} at offset {_BODY_AT}: segment {base.first} of batch {base.first_batch} "
            f"cannot be the first through batch {base.batch}"
        )
    return base
