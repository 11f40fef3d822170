"""A volume in memory that forgets like a disk: for the simulator and for tests of roles.

The journal keeps two states: the live one, which the role reads, and the durable one, which `sync`
moves forward and `crash` falls back to. The snapshots keep what is whole, and forget what is not.
They never touch the world.
"""

from __future__ import annotations

import msgspec

from paxos.core.effects import AcceptedEntry, AnyRecord, Cut, Recovered, SnapshotInfo
from paxos.core.errors import StorageError, VolumeDamaged
from paxos.core.types import NO_SLOT, Ballot, Slot

from .incoming import Incoming, Verify, check_not_older
from .slot_index import gaps
from .summary import Summary, with_snapshot


class _State:
    """All that a volume holds, as of some record."""

    __slots__ = ("entries", "highest_slot", "summary")

    def __init__(self) -> None:
        self.summary = Summary()
        self.entries: dict[Slot, AcceptedEntry] = {}
        self.highest_slot = NO_SLOT

    def absorb(self, record: AnyRecord) -> None:
        self.summary.absorb(record)
        if isinstance(record, Cut):
            base = self.summary.base
            self.entries = {slot: kept for slot, kept in self.entries.items() if slot > base}
            self.highest_slot = max(self.highest_slot, base)
        elif isinstance(record, AcceptedEntry) and record.slot > self.summary.base:
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
    def base(self) -> Slot:
        """The last slot that was cut off: no view shows entries up to it. 0: none was."""
        return self._live.summary.base

    @property
    def highest_slot(self) -> Slot:
        """The highest slot with an accepted entry, cut off or not; 0 when there is none."""
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

    def missing(self, first: Slot, last: Slot, limit: int) -> list[tuple[Slot, Slot]]:
        """Return the runs of slots in first..last that have no entry and were not cut off, in
        order, at most `limit` of them.
        """
        first = Slot(max(first, self.base + 1))
        present = ((entry.slot, entry.slot) for entry in self._range(first, last))
        return gaps(present, first, last, limit)

    def append(self, record: AnyRecord) -> None:
        """Take a record in; a cut at or below the base does nothing. Raises StorageError when
        closed, crashed or damaged, and LocalProtocolError for a record that no correct node
        writes here.
        """
        self._check_usable()
        if isinstance(record, Cut) and record.slot <= self.base:
            return
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

    def admit(self, snapshot: SnapshotInfo | None, damage: str | None = None) -> None:
        """Take in the newest snapshot that lay beside the log when this life began, or what is
        wrong with it; see `FileJournal.admit`.
        """
        self._recovered = with_snapshot(self._recovered, snapshot, damage)
        if self._recovered.damage is not None:
            self._live = _State()

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


class MemorySnapshots:
    """`Snapshots` (see core/effects.py) with the crash semantics of a disk, and the way into
    them that `SnapshotFiles` has.

    `verify` reads a snapshot's stream and returns its slot.
    """

    def __init__(self, verify: Verify) -> None:
        self._verify = verify
        self._incoming = Incoming()
        self._draft: list[bytes] = []
        self._newest: SnapshotInfo | None = None
        self._content = b""

    @property
    def newest(self) -> SnapshotInfo | None:
        """The newest snapshot that is whole."""
        return self._newest

    def read(self, slot: Slot, offset: int, bytes_max: int) -> bytes:
        """Return bytes of the snapshot of `slot` from `offset` on; b"" when it is not here (any
        more) or ends there.
        """
        if self._newest is None or self._newest.slot != slot or offset < 0:
            return b""
        return self._content[offset : offset + max(bytes_max, 0)]

    def write_part(self, slot: Slot, size: int, offset: int, data: bytes) -> bool:
        """Write a part of the snapshot of `slot`, `size` bytes in all; tell whether it is whole
        now, durable, and the newest. Offset 0 drops another that had begun.

        Raises StorageError, and nothing is left of it: parts that do not follow each other, or a
        whole that fails its checksums or is of another slot.
        """
        try:
            if offset == 0:
                self._draft = []
                self._incoming.begin(slot, size, self._newest)
            self._incoming.check(slot, size, offset, len(data))
            self._draft.append(data)
            self._incoming.offset += len(data)
            if not self._incoming.whole:
                return False
            self.adopt(slot, b"".join(self._draft))
        except StorageError:
            self.discard()
            raise
        self.discard()
        return True

    def adopt(self, slot: Slot, content: bytes) -> SnapshotInfo:
        """Take in a whole snapshot as the newest; return it. Raises StorageError when it is not
        whole, or not of `slot`.
        """
        check_not_older(slot, self._newest)
        try:
            found = self._verify([content])
        except VolumeDamaged as damage:
            raise StorageError(
                f"the snapshot of slot {slot} did not come whole: {damage}"
            ) from damage
        if found != slot:
            raise StorageError(f"the snapshot said to be of slot {slot} is of slot {found}")
        self._newest, self._content = SnapshotInfo(slot=slot, size=len(content)), content
        return self._newest

    def discard(self) -> None:
        """Drop what has come in of a snapshot that is not whole."""
        self._draft = []
        self._incoming.stop()

    def crash(self) -> MemorySnapshots:
        """Return what the next life finds: the newest that is whole, and nothing of a draft."""
        after = MemorySnapshots(self._verify)
        after._newest, after._content = self._newest, self._content
        return after
