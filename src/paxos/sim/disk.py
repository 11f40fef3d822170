"""A disk that loses, tears, rots, fills up, errs and hangs: the journal of a simulated node.

`MemoryJournal` already forgets what was not synced. This one adds the faults of a real disk, with
the outcomes that the real journal has (docs/operating.md): a write that the disk refuses stops the
node; a record that does not check any more raises VolumeDamaged where it is read, and is found
when the volume is opened again.
"""

from __future__ import annotations

from paxos.core.effects import AcceptedEntry, Recovered
from paxos.core.errors import StorageError, VolumeDamaged
from paxos.core.types import Slot
from paxos.storage.memory import MemoryJournal


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
        return bool(self._rotten)

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
        if self._rotten:
            damage = f"slot {min(self._rotten)} does not check"
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
    def durable(self) -> Recovered:
        """What the next life would find after a crash at this moment: for checkers."""
        return self._durable.summary.recovered()

    def _check(self, first: Slot, last: Slot) -> None:
        for slot in self._rotten:
            if first <= slot <= last:
                raise VolumeDamaged(f"slot {slot} does not check")
