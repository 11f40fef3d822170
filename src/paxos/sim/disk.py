"""A disk that loses, tears, rots, fills up, errs and hangs: what a simulated node keeps.

`MemoryJournal` and `MemorySnapshots` already forget what was not whole and synced. These add the
faults of a real disk, with the outcomes that the real ones have (docs/operating.md): a write to the
journal that the disk refuses stops the node; a snapshot that it refuses is given up, and nothing
else; what does not check any more raises VolumeDamaged where it is read, and is found when the
volume is opened again.
"""

from __future__ import annotations

from paxos.core.effects import AcceptedEntry, Cut, Recovered, SnapshotInfo
from paxos.core.errors import StorageError, VolumeDamaged
from paxos.core.types import Slot
from paxos.machine.snapshot import verify
from paxos.storage.memory import MemoryJournal, MemorySnapshots


class SimulatedJournal(MemoryJournal):
    """A `Journal` on a disk that a test can hurt.

    `refuses` is None, or why the disk takes no more writes (no space, an I/O error).
    `sync_ms` are the bounds of how long a sync takes, in simulated milliseconds.
    `hung` makes the next syncs take until it is cleared.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refuses: str | None = None
        self.sync_ms = (0.0, 0.0)
        self.hung = False
        self._rotten: set[Slot] = set()

    def rot(self, slot: Slot) -> None:
        """Flip a bit in the record of an accepted slot: whoever reads it finds out."""
        self._rotten.add(slot)

    def rot_one(self, share: float) -> None:
        """Flip a bit in the accepted slot that stands at this share, from 0 to 1, of them all."""
        slots = list(self._durable.entries)
        if slots:
            self.rot(slots[int(share * (len(slots) - 1))])

    @property
    def rotten(self) -> bool:
        """Whether some record does not check any more."""
        return bool(self._rot_left)

    @property
    def cutting(self) -> bool:
        """Whether the next sync makes a cut durable."""
        return any(isinstance(record, Cut) for record in self._unsynced)

    @property
    def _rot_left(self) -> list[Slot]:
        """The slots that rot and were not cut off since."""
        base = self._durable.summary.base
        return [slot for slot in sorted(self._rotten) if slot > base]

    def entry(self, slot: Slot) -> AcceptedEntry | None:
        """Return the highest-ballot entry of a slot. Raises VolumeDamaged where a bit flipped."""
        self._check(slot, slot)
        return super().entry(slot)

    def entries(self, first: Slot, last: Slot, bytes_max: int) -> list[AcceptedEntry]:
        """Return the entries of first..last; see `MemoryJournal.entries`. Raises VolumeDamaged."""
        chosen = super().entries(first, last, bytes_max)
        if chosen:
            self._check(first, chosen[-1].slot)
        return chosen

    def sync(self) -> None:
        """Make everything appended durable. Raises StorageError when the disk refuses."""
        if self.refuses is not None and self.unsynced:
            raise StorageError(self.refuses)
        super().sync()

    def next_life(self, *, kept: int = 0) -> SimulatedJournal:
        """Return the journal as the next life finds it: rot is found now; see `crash`."""
        torn = 0 < kept < self.unsynced
        damage = None
        if self._rot_left:
            damage = f"slot {self._rot_left[0]} does not check"
        after = SimulatedJournal()
        self.crash(kept=kept, damage=damage, after=after)
        after.refuses, after.sync_ms, after.hung = self.refuses, self.sync_ms, self.hung
        if torn and after.recovered.damage is None:
            after.tell_repaired("the last batch was half-written and was never synced")
        return after

    def durable_entry(self, slot: Slot) -> AcceptedEntry | None:
        """Return what a crash at this moment could not take away: for checkers."""
        return self._durable.entries.get(slot)

    @property
    def durable_base(self) -> Slot:
        """The last slot that is cut off for good: for checkers."""
        return self._durable.summary.base

    @property
    def durable(self) -> Recovered:
        """What the next life would find after a crash at this moment: for checkers."""
        return self._durable.summary.recovered()

    def _check(self, first: Slot, last: Slot) -> None:
        if not self._rotten:
            return
        for slot in self._rot_left:
            if first <= slot <= last:
                raise VolumeDamaged(f"slot {slot} does not check")


class SimulatedSnapshots(MemorySnapshots):
    """`Snapshots` on a disk that a test can hurt.

    `refuses` is None, or why the disk takes no part. `damage` is None, or what is wrong with the
    newest snapshot as this life found it.
    """

    def __init__(self) -> None:
        super().__init__(lambda chunks: verify(chunks).slot)
        self.refuses: str | None = None
        self.damage: str | None = None
        self._rotten = False

    def rot(self) -> None:
        """Flip a bit in the newest snapshot: whoever reads it finds out, unless a newer one comes
        first.
        """
        self._rotten = super().newest is not None

    @property
    def rotten(self) -> bool:
        """Whether the newest snapshot does not check any more."""
        return self._rotten

    @property
    def newest(self) -> SnapshotInfo | None:
        """The newest snapshot that is whole."""
        return None if self.damage else super().newest

    def read(self, slot: Slot, offset: int, bytes_max: int) -> bytes:
        """Return bytes of a snapshot; see `MemorySnapshots.read`. Raises VolumeDamaged."""
        if self._rotten:
            raise VolumeDamaged(f"the snapshot of slot {slot} does not check")
        return super().read(slot, offset, bytes_max)

    def write_part(self, slot: Slot, size: int, offset: int, data: bytes) -> bool:
        """Write a part; see `MemorySnapshots.write_part`. Raises StorageError when the disk
        refuses, and nothing is left of it.
        """
        if self.refuses is not None:
            self.discard()
            raise StorageError(self.refuses)
        return super().write_part(slot, size, offset, data)

    def adopt(self, slot: Slot, content: bytes) -> SnapshotInfo:
        """Take in a whole snapshot; see `MemorySnapshots.adopt`. Rot goes with the older one."""
        info = super().adopt(slot, content)
        self._rotten = False
        return info

    def next_life(self) -> SimulatedSnapshots:
        """Return the snapshots as the next life finds them: nothing of a draft, and rot."""
        after = SimulatedSnapshots()
        after._newest, after._content = self._newest, self._content
        after.refuses, after._rotten = self.refuses, self._rotten
        if self._rotten:
            after.damage = "the newest snapshot does not check"
        return after
