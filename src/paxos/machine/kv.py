"""The keyed part of the state machine, on etcd's model from the start.

One global revision counts effective changes; every key knows the revision that created it, the
one that changed it last, and how often it was changed since it was created (its version). What
changes nothing moves no revision. A log command is one change, however many keys it touches:
`Store.commit` closes it, so an EXEC needs nothing special to be one revision.

It refuses to read a clock: `now_ms` comes with the log, and keys go only when the log's time
has reached their deadline, so that all replicas agree (DESIGN rule 12).
"""

from __future__ import annotations

from bisect import bisect_left
from heapq import heapify, heappop, heappush
from operator import attrgetter

import msgspec

from paxos.core.types import NO_SLOT, Slot

_SLACK = 64
"""Dead weight that the lazily cleaned lists may carry however small the live part is."""

_SCAN_STEPS_MAX = 10
"""A scan looks at so many entries, live or dead, for each that it was asked to return."""


class Entry(msgspec.Struct, gc=False, eq=False, array_like=True, forbid_unknown_fields=True):
    """A key and its value. `version` 0 marks one that was deleted; `deadline_ms` 0 is none.

    `serial` counts creations of keys in the whole store and never changes while the key lives:
    the order of scans. Snapshots hold entries in this very form: changing it changes the
    version of their format.
    """

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    deadline_ms: int
    serial: int


class Store:
    """All keys, and the cluster's list of values. Only the commands' functions change it.

    `slot`, `now_ms` and `clock_ms` are inputs, set by the machine before commands run:
    `clock_ms` is what a remaining time to live is counted from.
    """

    __slots__ = (
        "_deadlines",
        "_order",
        "_volatile",
        "clock_ms",
        "entries",
        "next_revision",
        "now_ms",
        "revision",
        "serial",
        "slot",
        "value_bytes_max",
        "written_slots",
        "written_values",
    )

    def __init__(self, *, value_bytes_max: int) -> None:
        self.value_bytes_max = value_bytes_max
        self.slot: Slot = NO_SLOT
        self.now_ms = 0
        self.clock_ms = 0
        self.revision = 0
        self.next_revision = 1
        self.serial = 0
        self.entries: dict[bytes, Entry] = {}
        self.written_slots: list[Slot] = []
        self.written_values: list[bytes] = []
        # Entries by serial, the dead among them until they are half of it.
        self._order: list[Entry] = []
        # A heap of (deadline, key); a pair counts only while it is the key's deadline.
        self._deadlines: list[tuple[int, bytes]] = []
        self._volatile = 0

    # ------------------------------------------------------------ revisions

    def commit(self) -> None:
        """End one change: what is changed from here on belongs to the next revision."""
        self.next_revision = self.revision + 1

    def touch(self, entry: Entry) -> None:
        """Count a change of an entry."""
        entry.mod_revision = self.revision = self.next_revision
        entry.version += 1

    # ------------------------------------------------------------ changes

    def put(self, key: bytes, value: bytes, deadline_ms: int = 0) -> None:
        """Set a key's value and deadline, creating the key when it is absent."""
        entry = self.entries.get(key)
        revision = self.revision = self.next_revision
        if entry is None:
            self.serial += 1
            entry = Entry(key, value, revision, revision, 1, 0, self.serial)
            self.entries[key] = entry
            self._order.append(entry)
        else:
            entry.value = value
            entry.mod_revision = revision
            entry.version += 1
        if deadline_ms != entry.deadline_ms:
            self._schedule(entry, deadline_ms)

    def set_deadline(self, entry: Entry, deadline_ms: int) -> None:
        """Change when an entry goes; 0 for never."""
        self.touch(entry)
        self._schedule(entry, deadline_ms)

    def delete(self, key: bytes) -> bool:
        """Remove a key; False, and no change, when it is absent."""
        entry = self.entries.pop(key, None)
        if entry is None:
            return False
        self.revision = self.next_revision
        self._schedule(entry, 0)
        entry.version = 0
        entry.key = entry.value = b""
        if len(self._order) > 2 * len(self.entries) + _SLACK:
            self._order = [entry for entry in self._order if entry.version]
        return True

    def append_value(self, value: bytes) -> Slot:
        """Append to the cluster's list of values; return the slot that did it."""
        self.revision = self.next_revision
        self.written_slots.append(self.slot)
        self.written_values.append(value)
        return self.slot

    # ------------------------------------------------------------ expiry

    @property
    def next_deadline_ms(self) -> int | None:
        """The nearest deadline of any key; None when no key has one."""
        deadlines = self._deadlines
        while deadlines:
            deadline_ms, key = deadlines[0]
            entry = self.entries.get(key)
            if entry is not None and entry.deadline_ms == deadline_ms:
                return deadline_ms
            heappop(deadlines)
        return None

    def expire_due(self) -> None:
        """Remove every key whose deadline `now_ms` has reached, each as a change of its own.

        In the order of (deadline, key), so that every replica counts the same revisions.
        """
        while (deadline_ms := self.next_deadline_ms) is not None and deadline_ms <= self.now_ms:
            self.delete(self._deadlines[0][1])
            self.commit()

    def _schedule(self, entry: Entry, deadline_ms: int) -> None:
        self._volatile += bool(deadline_ms) - bool(entry.deadline_ms)
        entry.deadline_ms = deadline_ms
        if deadline_ms:
            heappush(self._deadlines, (deadline_ms, entry.key))
            if len(self._deadlines) > 2 * self._volatile + _SLACK:
                self._drop_stale_deadlines()

    def _drop_stale_deadlines(self) -> None:
        entries = self.entries
        self._deadlines = [
            pair
            for pair in set(self._deadlines)
            if (entry := entries.get(pair[1])) is not None and entry.deadline_ms == pair[0]
        ]
        heapify(self._deadlines)

    # ------------------------------------------------------------ snapshots

    @property
    def ordered(self) -> list[Entry]:
        """All entries by serial, dead ones that scans still pass over among them; no copy."""
        return self._order

    def restore_entries(self, run: list[Entry]) -> None:
        """Take in the next of the entries that `ordered` gave, into a store whose numbers stand.

        Dead ones too: what a scan answers depends on them, and a scan may be part of an EXEC,
        whose answer is state. Raises ValueError when they cannot be of such a store.
        """
        entries = self.entries
        before = self._order[-1].serial if self._order else 0
        for entry in run:
            if not before < entry.serial <= self.serial:
                raise ValueError(f"serial {entry.serial} after {before} of {self.serial}")
            before = entry.serial
            if not 0 < entry.create_revision <= entry.mod_revision <= self.revision:
                raise ValueError(f"revisions of serial {before} above {self.revision}")
            if entry.version < 0 or entry.deadline_ms < 0:
                raise ValueError(f"version or deadline of serial {before} below 0")
            if entry.version:
                entries[entry.key] = entry
            if entry.deadline_ms:
                if not entry.version:
                    raise ValueError(f"serial {before} is dead and has a deadline")
                heappush(self._deadlines, (entry.deadline_ms, entry.key))
                self._volatile += 1
        self._order += run

    def restore_values(self, run: list[tuple[Slot, bytes]]) -> None:
        """Take in the next values of the list. Raises ValueError when their slots fall."""
        slots = self.written_slots
        before = slots[-1] if slots else NO_SLOT
        for slot, value in run:
            if not before <= slot <= self.slot:
                raise ValueError(f"a value of slot {slot} after {before} of {self.slot}")
            before = slot
            slots.append(slot)
            self.written_values.append(value)

    # ------------------------------------------------------------ scanning

    def scan(self, cursor: int, count: int) -> tuple[int, list[Entry]]:
        """Return the next cursor and at most `count` live entries; cursor 0 begins and ends.

        Entries come from the youngest to the oldest and the cursor is the serial of the last
        one looked at. A key keeps its serial while it lives, so one that is there during the
        whole scan is returned, once; new keys have higher serials than any cursor, so a scan
        ends however many are made meanwhile. Nothing is remembered between calls, and any
        replica can go on with another's cursor.
        """
        order = self._order
        end = bisect_left(order, cursor, key=attrgetter("serial")) if cursor else len(order)
        at = end
        stop = max(0, end - count * _SCAN_STEPS_MAX)
        found: list[Entry] = []
        while at > stop and len(found) < count:
            at -= 1
            if order[at].version:
                found.append(order[at])
        return (order[at].serial if at else 0), found
