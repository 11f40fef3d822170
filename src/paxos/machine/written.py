"""WRITE and READ: the cluster's one list of values, each with the slot that chose it."""

from __future__ import annotations

from bisect import bisect_left

from .integers import parse_integer
from .kv import Store
from .replies import Command, Reply, error, not_an_integer, syntax_error


def on_write(store: Store, command: Command) -> Reply:
    """WRITE value: append it; the slot that chose it."""
    return store.append_value(command[1])


def on_read(store: Store, command: Command) -> Reply:
    """READ [FROM slot] [LIMIT count]: [slot, value] pairs in the order of the log.

    One slot may carry several values (writes share batches); LIMIT counts values, so a page
    may end inside a slot.
    """
    first_slot = 0
    limit = len(store.written_values)
    words = iter(command[1:])
    for word in words:
        option = word.upper()
        argument = next(words, None)
        if option not in (b"FROM", b"LIMIT") or argument is None:
            return syntax_error()
        number = parse_integer(argument)
        if number is None:
            return not_an_integer()
        if option == b"FROM":
            first_slot = number
        elif number < 0:
            return error("ERR LIMIT can't be negative")
        else:
            limit = number
    start = bisect_left(store.written_slots, first_slot)
    stop = start + limit
    pairs = zip(store.written_slots[start:stop], store.written_values[start:stop], strict=True)
    return [[slot, value] for slot, value in pairs]
