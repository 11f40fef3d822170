"""The one ordered list of `list-append` and `list-read`: direct checks, without a search.

Reads show the order itself, so there is nothing to guess. With the longest read as the order, a
history is linearizable if and only if

- every other read is a beginning of the longest one, with the same slots, and slots never fall;
- every value in it comes from an append of its own that did not fail, in the slot it was told;
- of two operations, the one that was over before the other began comes first: an append before
  the other's append stands before it; a read contains every append that was over before it began
  and none that began after it was answered; a later read is never shorter.

Appends stand at their places, reads between them: that is one order of everything, real time is
another (an interval order), and if two such orders contradict each other then some two
operations do. So one sweep over the events finds every contradiction. An acknowledged append
that no read shows stands behind all of them.

A slot may carry several values, for a batch shares one; but an append that began after another
one was answered is in a later slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .history import Operation
from .register import FOREVER, State, as_state

Entry = tuple[int, State]
"""A slot and a value."""


class Trouble(NamedTuple):
    """What contradicts what, in a sentence, and the operations that do."""

    reason: str
    offending: list[Operation]


def check(operations: Sequence[Operation]) -> Trouble | None:
    """Check the operations on the list. Returns the first contradiction found, or None."""
    reads = [
        (operation, _entries(operation.result))
        for operation in operations
        if operation.f == "list-read" and operation.outcome == "ok"
    ]
    appends = [operation for operation in operations if operation.f == "list-append"]
    for operation, entries in reads:
        for index in range(1, len(entries)):
            if entries[index - 1][0] > entries[index][0]:
                return Trouble(
                    f"process {operation.process} read slot {entries[index][0]} after slot "
                    f"{entries[index - 1][0]}",
                    [operation],
                )
    longest_operation, longest = max(reads, key=lambda read: len(read[1]), default=(None, []))
    for operation, entries in reads:
        if longest_operation is not None and entries != longest[: len(entries)]:
            return _two_orders(longest_operation, longest, operation, entries)
    order = _Order(longest_operation, longest)
    return order.match(appends, reads) or order.sweep(operations)


def _entries(result: Any) -> list[Entry]:
    return [(slot, value if type(value) is str else as_state(value)) for slot, value in result]


def _two_orders(
    longest: Operation, order: list[Entry], read: Operation, entries: list[Entry]
) -> Trouble:
    index = next(place for place, entry in enumerate(entries) if entry != order[place])
    (slot, value), (other_slot, other_value) = entries[index], order[index]
    return Trouble(
        f"two reads disagree about value {index + 1} of the list: process {read.process} saw "
        f"{value!r} in slot {slot}, process {longest.process} {other_value!r} in slot "
        f"{other_slot}",
        [longest, read],
    )


class _Order:
    """The order that the longest read shows, and which append stands where."""

    def __init__(self, read: Operation | None, entries: list[Entry]) -> None:
        self._read = read
        self._entries = entries
        self._place_of: dict[int, int] = {}
        """Of an append, by index: its place in the list."""

    def _with_read(self, *operations: Operation) -> list[Operation]:
        read = self._read
        known = [*operations]
        if read is not None and all(one.index != read.index for one in operations):
            known.append(read)
        return known

    def match(
        self, appends: Sequence[Operation], reads: Sequence[tuple[Operation, list[Entry]]]
    ) -> Trouble | None:
        """Find the append that each entry came from."""
        of_value: dict[State, list[Operation]] = {}
        for operation in appends:
            of_value.setdefault(as_state(operation.argument), []).append(operation)
        places: dict[State, list[int]] = {}
        for place, (_, value) in enumerate(self._entries):
            places.setdefault(value, []).append(place)
        shown_by = self._shown_by(reads) if len(places) < len(self._entries) else []
        for value, mine in places.items():
            trouble = self._match_value(value, mine, of_value.get(value, []), shown_by)
            if trouble is not None:
                return trouble
        return self._answered_but_passed(appends)

    def _shown_by(self, reads: Sequence[tuple[Operation, list[Entry]]]) -> list[tuple[float, int]]:
        """Return for each place when the first read that shows it was answered."""
        first = [(float("inf"), FOREVER)] * (len(self._entries) + 1)
        for operation, entries in reads:
            returned = operation.place_returned
            if returned is not None:
                first[len(entries)] = min(first[len(entries)], returned)
        for place in range(len(self._entries) - 1, -1, -1):
            first[place] = min(first[place], first[place + 1])
        return first[1:]

    def _match_value(
        self,
        value: State,
        places: list[int],
        appends: list[Operation],
        shown_by: list[tuple[float, int]],
    ) -> Trouble | None:
        able = [operation for operation in appends if operation.outcome != "fail"]
        if len(able) < len(places):
            slots = ", ".join(str(self._entries[place][0]) for place in places)
            if not appends:
                return Trouble(
                    f"the list has {value!r} in slot {slots}, which nobody appended",
                    self._with_read(),
                )
            if not able:
                return Trouble(
                    f"the list has {value!r} in slot {slots}, though its append failed",
                    self._with_read(*appends),
                )
            return Trouble(
                f"the list has {value!r} {len(places)} times (slots {slots}), but it was "
                f"appended {_times(len(able))}",
                self._with_read(*appends),
            )
        remaining = list(places)
        for operation in able:
            if operation.outcome == "ok" and operation.result is not None:
                place = next(
                    (one for one in remaining if self._entries[one][0] == operation.result), None
                )
                if place is not None:
                    remaining.remove(place)
                    self._place_of[operation.index] = place
        free = [
            operation
            for operation in able
            if operation.index not in self._place_of
            and (operation.outcome != "ok" or operation.result is None)
        ]
        for place in remaining:
            # Of those that had begun when it was first seen, the one with the least time left.
            begun = [
                operation
                for operation in free
                if not shown_by or operation.place < shown_by[place] or len(free) == 1
            ]
            if not begun:
                return self._no_append_for(place, able)
            taken = min(begun, key=_deadline)
            free.remove(taken)
            self._place_of[taken.index] = place
        return None

    def _no_append_for(self, place: int, able: list[Operation]) -> Trouble:
        slot, value = self._entries[place]
        told = [one for one in able if one.outcome == "ok" and one.result is not None]
        answers = ", ".join(str(one.result) for one in told)
        return Trouble(
            f"the list has {value!r} in slot {slot}, but its append was told slot {answers}"
            if told
            else f"the list has {value!r} in slot {slot} before it was appended",
            self._with_read(*able),
        )

    def _answered_but_passed(self, appends: Sequence[Operation]) -> Trouble | None:
        """An append that was told a slot which a read has gone past must be in that read."""
        if not self._entries:
            return None
        last = self._entries[-1][0]
        for operation in appends:
            if (
                operation.outcome == "ok"
                and operation.result is not None
                and operation.result < last
                and operation.index not in self._place_of
            ):
                return Trouble(
                    f"process {operation.process} was told slot {operation.result} for "
                    f"{operation.argument!r}, which a read as far as slot {last} does not show",
                    self._with_read(operation),
                )
        return None

    def sweep(self, operations: Sequence[Operation]) -> Trouble | None:
        """Find two operations of which the later one stands first."""
        events: list[tuple[tuple[float, int], int, Operation]] = []
        for operation in operations:
            if operation.outcome == "fail":
                continue
            events.append((operation.place, 0, operation))
            returned = operation.place_returned
            if returned is not None:
                events.append((returned, 1, operation))
        events.sort(key=lambda event: (event[0], event[1], event[2].index))
        highest, by = -1, None
        highest_slot, slot_by = -1, None
        for _, answered, operation in events:
            rank = self._rank(operation)
            slot = self._slot(operation)
            if answered:
                if rank is not None and rank > highest:
                    highest, by = rank, operation
                if slot is not None and slot > highest_slot:
                    highest_slot, slot_by = slot, operation
                continue
            if by is not None and rank is not None and rank < highest:
                return self._out_of_order(by, operation)
            if (
                slot_by is not None
                and slot is not None
                and operation.f == "list-append"
                and slot <= highest_slot
            ):
                return Trouble(
                    f"process {operation.process} appended {operation.argument!r} in slot {slot}, "
                    f"though slot {highest_slot} had been told to process {slot_by.process} "
                    "before",
                    self._with_read(slot_by, operation)
                    if operation.result is None
                    else [slot_by, operation],
                )
        return None

    def _rank(self, operation: Operation) -> int | None:
        """Return where it stands: appends at odd numbers, reads between them. None: anywhere."""
        if operation.f == "list-read":
            return 2 * len(operation.result) if operation.outcome == "ok" else None
        place = self._place_of.get(operation.index)
        if place is not None:
            return 2 * place + 1
        return 2 * len(self._entries) + 1 if operation.outcome == "ok" else None

    def _slot(self, operation: Operation) -> int | None:
        if operation.f == "list-read":
            entries = operation.result if operation.outcome == "ok" else None
            return int(entries[-1][0]) if entries else None
        place = self._place_of.get(operation.index)
        if place is not None:
            return self._entries[place][0]
        return int(operation.result) if operation.result is not None else None

    def _out_of_order(self, first: Operation, then: Operation) -> Trouble:
        one, other = first.process, then.process
        if then.f == "list-read":
            if first.f == "list-read":
                return Trouble(
                    f"process {other} read {len(then.result)} values after process {one} had "
                    f"read {len(first.result)}: a read went back in time",
                    [first, then],
                )
            # Another append of the same value may be what the read shows.
            contained = any(value == first.argument for _, value in then.result)
            return Trouble(
                f"process {other} did not read {first.argument!r}, though process {one}'s append "
                "of it had been answered before: a lost append, or a stale read",
                self._with_read(first, then) if contained else [first, then],
            )
        if first.f == "list-read":
            return Trouble(
                f"process {one} read {then.argument!r} before process {other} began to append it",
                [first, then],
            )
        return Trouble(
            f"process {one}'s append of {first.argument!r} had been answered before process "
            f"{other} began to append {then.argument!r}, yet it "
            + (
                "comes after it in the list"
                if first.index in self._place_of
                else "is not before it in the list"
            ),
            self._with_read(first, then),
        )


def _deadline(operation: Operation) -> tuple[tuple[float, int], int]:
    return (operation.place_returned or (float("inf"), FOREVER), operation.index)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
