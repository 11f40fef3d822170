"""A snapshot that comes in part by part: what may follow what.

Shared by the store on disk and the one in memory; it computes, and opens no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from paxos.core.effects import SnapshotInfo
from paxos.core.errors import StorageError
from paxos.core.types import Slot

from .summary import NUMBER_MAX

Verify = Callable[[Iterable[bytes]], Slot]
"""Reads a snapshot's stream whole and returns its slot. Raises VolumeDamaged with the offset."""

SNAPSHOT_BYTES_MAX = 2**40
"""No snapshot is larger."""


def check_not_older(slot: Slot, newest: SnapshotInfo | None) -> None:
    """Raise StorageError when a newer snapshot than that of `slot` is kept."""
    if newest is not None and slot < newest.slot:
        raise StorageError(
            f"the snapshot of slot {slot} is older than that of slot {newest.slot}, which is kept"
        )


class Incoming:
    """Which snapshot comes in, and how much of it has come. `begin` starts each one."""

    def __init__(self) -> None:
        self.slot = Slot(0)
        self.size = 0
        self.offset = 0

    @property
    def whole(self) -> bool:
        """Whether all of it has come."""
        return 0 < self.size == self.offset

    def begin(self, slot: Slot, size: int, newest: SnapshotInfo | None) -> None:
        """Expect the first part of a snapshot. Raises StorageError when it makes no sense."""
        self.stop()
        if not 1 <= slot <= NUMBER_MAX or not 1 <= size <= SNAPSHOT_BYTES_MAX:
            raise StorageError(f"a snapshot of slot {slot} and {size} bytes is out of bounds")
        check_not_older(slot, newest)
        self.slot, self.size = slot, size

    def check(self, slot: Slot, size: int, offset: int, length: int) -> None:
        """Raise StorageError unless these bytes are what comes next."""
        if (slot, size, offset) != (self.slot, self.size, self.offset) or not self.size:
            expected = f"{self.offset} of slot {self.slot}, {self.size} bytes" if self.size else "0"
            raise StorageError(
                f"the snapshot's part at {offset} of slot {slot}, {size} bytes, does not follow: "
                f"the next is at {expected}"
            )
        if not 1 <= length <= size - offset:
            raise StorageError(
                f"a part of {length} bytes at {offset} of a snapshot of {size} bytes"
            )

    def stop(self) -> None:
        """Expect nothing."""
        self.slot, self.size, self.offset = Slot(0), 0, 0
