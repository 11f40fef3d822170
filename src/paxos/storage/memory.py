"""A journal in memory that forgets like a disk: for the simulator and for tests of roles.

It keeps two states: the live one, which the role reads, and the durable one, which `sync`
moves forward and `crash` falls back to. It never touches the world.
"""

from __future__ import annotations

import msgspec

from paxos.core.effects import AcceptedEntry, AnyRecord, Recovered
from paxos.core.errors import StorageError
from paxos.core.types import NO_SLOT, Ballot, Slot

from .summary import Summary


class _State:
    """All that a volume holds, as of some record."""

    __slots__ = ("entries", "highest_slot", "summary")

    def __init__(self) -> None:
        self.summary = Summary()
        self.entries: dict[Slot, AcceptedEntry] = {}
        self.highest_slot = NO_SLOT

    def absorb(self, record: AnyRecord) -> None:
        self.summary.absorb(record)
        if isinstance(record, AcceptedEntry):
            old = self.entries.get(record.slot)
            if old is None or record.ballot >= old.ballot:
                self.entries[record.slot] = record
                self.highest_slot = max(self.highest_slot, record.slot)

    def copy(self) -> _State:
        other = _State()
        other.summary = self.summary.copy()
        other.entries = dict(self.entries)
        other.highest_slot = self.highest_slot
        return other


class MemoryJournal:
    """A `Journal` (see core/effects.py) with the crash semantics of a disk.

    `syncs` counts the syncs that had something to do. Use `crash` to get the journal that the
    node's next life finds; the old object then refuses everything.
    """

    def __init__(self) -> None:
        self.syncs = 0
        self._durable = _State()
        self._live = _State()
        self._unsynced: list[AnyRecord] = []
        self._recovered = Recovered()
        self._closed = False

    @property
    def recovered(self) -> Recovered:
        """What was found when this life of the journal began."""
        return self._recovered

    @property
    def unsynced(self) -> int:
        """How many records a crash could lose now."""
        return len(self._unsynced)

    @property
    def highest_slot(self) -> Slot:
        """The highest slot with an accepted entry; 0 when there is none."""
        return self._live.highest_slot

    def entry(self, slot: Slot) -> AcceptedEntry | None:
        """Return the highest-ballot entry of a slot."""
        return self._live.entries.get(slot)

    def votes(self, first: Slot, last: Slot) -> list[tuple[Slot, Ballot]]:
        """Return (slot, highest ballot) for the accepted slots in first..last, in order."""
        return [(entry.slot, entry.ballot) for entry in self._range(first, last)]

    def entries(self, first: Slot, last: Slot, bytes_max: int) -> list[AcceptedEntry]:
        """Return the entries of first..last in order, at least one if there is any, stopping
        before the sum of their values would pass `bytes_max`.
        """
        chosen: list[AcceptedEntry] = []
        total = 0
        for entry in self._range(first, last):
            total += len(entry.value)
            if chosen and total > bytes_max:
                break
            chosen.append(entry)
        return chosen

    def append(self, record: AnyRecord) -> None:
        """Take a record in. Raises StorageError when closed, crashed or damaged, and
        LocalProtocolError for a record that no correct node writes here.
        """
        self._check_usable()
        self._live.absorb(record)
        self._unsynced.append(record)

    def sync(self) -> None:
        """Make everything appended durable. Raises StorageError when closed or damaged."""
        self._check_usable()
        if not self._unsynced:
            return
        for record in self._unsynced:
            self._durable.absorb(record)
        self._unsynced.clear()
        self.syncs += 1

    def close(self) -> None:
        """Refuse everything from now on. What was not synced is lost if a crash follows."""
        self._closed = True

    def crash(
        self, *, kept: int = 0, damage: str | None = None, after: MemoryJournal | None = None
    ) -> MemoryJournal:
        """Return the journal as the next life finds it; this object is closed.

        Of the unsynced records the first `kept` survive, as a disk may happen to have them.
        With `damage` the volume is found damaged, with that text. `after` is the new object to
        fill, for kinds of journals made of this one.
        Raises ValueError when `kept` is not in 0..`unsynced`.
        """
        if not 0 <= kept <= len(self._unsynced):
            raise ValueError(f"kept {kept} is not in 0..{len(self._unsynced)}")
        self._closed = True
        after = after or MemoryJournal()
        after.syncs = self.syncs
        if damage is not None:
            after._recovered = Recovered(damage=damage)
            return after
        after._durable = self._durable.copy()
        for record in self._unsynced[:kept]:
            after._durable.absorb(record)
        after._live = after._durable.copy()
        after._recovered = after._live.summary.recovered()
        return after

    def tell_repaired(self, text: str) -> None:
        """Let this life know that a half-written tail was dropped when the volume was opened."""
        self._recovered = msgspec.structs.replace(self._recovered, repaired=text)

    def _range(self, first: Slot, last: Slot) -> list[AcceptedEntry]:
        entries = self._live.entries
        last = min(last, self._live.highest_slot)
        if last - first < len(entries):
            return [entries[Slot(n)] for n in range(first, last + 1) if n in entries]
        return [entries[slot] for slot in sorted(entries) if first <= slot <= last]

    def _check_usable(self) -> None:
        if self._closed:
            raise StorageError("the journal is closed")
        if self._recovered.damage is not None:
            raise StorageError(f"the volume is damaged: {self._recovered.damage}")
