"""Where each slot's highest-ballot entry lies, 24 bytes a slot, and the cache of recent ones.

Rows live in pages of 256 slots, so that a dense log costs little and a single far-off slot
cannot make the index huge.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from paxos.core.effects import AcceptedEntry
from paxos.core.types import NO_BALLOT, NO_SLOT, Ballot, Slot

_ROW = struct.Struct("<QIIII")
_PAGE_BITS = 8
_PAGE_MASK = (1 << _PAGE_BITS) - 1
_PAGE_BYTES = _ROW.size << _PAGE_BITS

ENTRY_OVERHEAD_BYTES = 300
"""About what a cached entry costs besides its value (structs, integers, dictionary)."""


def gaps(
    present: Iterable[tuple[int, int]], first: Slot, last: Slot, limit: int
) -> list[tuple[Slot, Slot]]:
    """Return at most `limit` runs of first..last between the runs (first, last) of `present`,
    which come in order.
    """
    found: list[tuple[Slot, Slot]] = []
    at: int = first
    for begin, end in present:
        if len(found) >= limit or begin > last:
            break
        if begin > at:
            found.append((Slot(at), Slot(begin - 1)))
        at = max(at, end + 1)
    if at <= last and len(found) < limit:
        found.append((Slot(at), last))
    return found


class SlotIndex:
    """Slot -> (ballot, segment, offset, length, checksum). Segment 0: not written yet.

    Knows nothing of slots up to `base`, which were cut off. `highest_slot` is the highest that
    was ever put in or cut off.
    """

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._taken: dict[int, int] = {}
        self.base: Slot = NO_SLOT
        self.highest_slot: Slot = NO_SLOT

    def ballot(self, slot: Slot) -> Ballot:
        """Return the ballot of a slot's entry; 0 when there is none."""
        page = self._pages.get(slot >> _PAGE_BITS)
        if page is None:
            return NO_BALLOT
        return Ballot(_ROW.unpack_from(page, (slot & _PAGE_MASK) * _ROW.size)[0])

    def row(self, slot: Slot) -> tuple[int, int, int, int, int]:
        """Return (ballot, segment, offset, length, checksum); all 0 when there is no entry."""
        page = self._pages.get(slot >> _PAGE_BITS)
        if page is None:
            return (0, 0, 0, 0, 0)
        return _ROW.unpack_from(page, (slot & _PAGE_MASK) * _ROW.size)

    def put(
        self, slot: int, ballot: int, segment: int, offset: int, length: int, checksum: int
    ) -> bool:
        """Set a slot's row unless it holds a higher ballot or was cut off; tell whether it
        was set.
        """
        if slot <= self.base:
            return False
        number = slot >> _PAGE_BITS
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = bytearray(_PAGE_BYTES)
            self._taken[number] = 0
        at = (slot & _PAGE_MASK) * _ROW.size
        old: int = _ROW.unpack_from(page, at)[0]
        if old > ballot:
            return False
        if old == 0:
            self._taken[number] += 1
        _ROW.pack_into(page, at, ballot, segment, offset, length, checksum)
        if slot > self.highest_slot:
            self.highest_slot = Slot(slot)
        return True

    def votes(self, first: Slot, last: Slot) -> Iterator[tuple[Slot, Ballot]]:
        """Yield (slot, ballot) of the accepted slots in first..last, in order."""
        last = min(last, self.highest_slot)
        for number in self._numbers(first, last):
            yield from self._votes_in(number, first, last)

    def missing(self, first: Slot, last: Slot, limit: int) -> list[tuple[Slot, Slot]]:
        """Return the runs of slots in first..last without a row and above the base, at most
        `limit` of them.
        """
        first = Slot(max(first, self.base + 1))
        return gaps(self._present(first, last), first, last, limit)

    def cut(self, slot: Slot) -> None:
        """Forget the rows of slots up to `slot`, for good."""
        self.base = max(self.base, slot)
        self.highest_slot = max(self.highest_slot, slot)
        number = (slot + 1) >> _PAGE_BITS
        for gone in [held for held in self._pages if held < number]:
            del self._pages[gone], self._taken[gone]
        page = self._pages.get(number)
        if page is not None:
            rows = (slot + 1) & _PAGE_MASK
            page[: rows * _ROW.size] = bytes(rows * _ROW.size)
            self._taken[number] = sum(1 for row in _ROW.iter_unpack(page) if row[0])

    def _numbers(self, first: Slot, last: Slot) -> range | list[int]:
        """Return the numbers of the pages of first..last in order, and maybe of some more that
        do not exist.
        """
        numbers = range(first >> _PAGE_BITS, (last >> _PAGE_BITS) + 1)
        if len(numbers) > len(self._pages):
            return sorted(number for number in self._pages if number in numbers)
        return numbers

    def _present(self, first: Slot, last: Slot) -> Iterator[tuple[int, int]]:
        """Yield runs of accepted slots that cover those of first..last, in order."""
        last = min(last, self.highest_slot)
        for number in self._numbers(first, last):
            if self._taken.get(number) == _PAGE_MASK + 1:
                yield number << _PAGE_BITS, (number << _PAGE_BITS) + _PAGE_MASK
            else:
                for slot, _ in self._votes_in(number, first, last):
                    yield slot, slot

    def _votes_in(self, number: int, first: Slot, last: Slot) -> Iterator[tuple[Slot, Ballot]]:
        page = self._pages.get(number)
        if page is None:
            return
        # Only the rows asked for: an acceptor looks one slot up for every Accept.
        base = number << _PAGE_BITS
        slot = max(first, base)
        end = min(last, base + _PAGE_MASK) + 1
        rows = memoryview(page)[(slot - base) * _ROW.size : (end - base) * _ROW.size]
        for ballot, _, _, _, _ in _ROW.iter_unpack(rows):
            if ballot:
                yield Slot(slot), Ballot(ballot)
            slot += 1


class RecentEntries:
    """The entries appended last, bounded in bytes.

    `put` never drops anything, so what is not on disk yet stays readable; `trim` does.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes = 0
        self._bytes_max = bytes_max
        self._entries: OrderedDict[Slot, AcceptedEntry] = OrderedDict()

    def get(self, slot: Slot) -> AcceptedEntry | None:
        """Return a slot's entry if it is here."""
        return self._entries.get(slot)

    def put(self, entry: AcceptedEntry) -> None:
        """Take an entry in as the newest, in place of an older one of the slot."""
        old = self._entries.pop(entry.slot, None)
        if old is not None:
            self.bytes -= len(old.value) + ENTRY_OVERHEAD_BYTES
        self._entries[entry.slot] = entry
        self.bytes += len(entry.value) + ENTRY_OVERHEAD_BYTES

    def trim(self) -> None:
        """Drop the oldest until the bound holds."""
        while self.bytes > self._bytes_max:
            _, entry = self._entries.popitem(last=False)
            self.bytes -= len(entry.value) + ENTRY_OVERHEAD_BYTES
