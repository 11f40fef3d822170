"""Commands on string values, with Redis's semantics and error texts.

Every function takes the store and a command of the right arity whose arguments are all bytes.
Writing a value clears the key's deadline unless the command is said to keep it (INCR, APPEND,
SET KEEPTTL).
"""

from __future__ import annotations

import msgspec

from .integers import INT64_MAX, INT64_MIN, parse_integer
from .kv import Store
from .replies import (
    OK,
    Command,
    Reply,
    error,
    invalid_expire_time,
    not_an_integer,
    syntax_error,
)

_UNITS = {b"EX": (1000, True), b"PX": (1, True), b"EXAT": (1000, False), b"PXAT": (1, False)}
"""Milliseconds in one unit, and whether it is counted from now."""


class _Options(msgspec.Struct, gc=False):
    """The options of SET. `condition` is NX, XX or empty; `unit` a key of `_UNITS` or empty."""

    condition: bytes = b""
    previous: bool = False
    keep_deadline: bool = False
    unit: bytes = b""
    time: bytes = b""


def on_set(store: Store, command: Command) -> Reply:
    """SET key value [NX | XX] [GET] [EX | PX | EXAT | PXAT time | KEEPTTL]."""
    if len(command) == 3:
        store.put(command[1], command[2])
        return OK
    options = _parse_options(command)
    if options is None:
        return syntax_error()
    deadline_ms = 0
    if options.unit:
        parsed = _deadline(store, options)
        if isinstance(parsed, dict):
            return parsed
        deadline_ms = parsed
    key = command[1]
    entry = store.entries.get(key)
    previous = None if entry is None else entry.value
    if options.condition == (b"XX" if entry is None else b"NX"):
        return previous if options.previous else None
    if options.keep_deadline and entry is not None:
        deadline_ms = entry.deadline_ms
    if options.unit and deadline_ms <= store.now_ms:
        # A time that is already past: the key is gone the moment it is set.
        store.delete(key)
    else:
        store.put(key, command[2], deadline_ms)
    return previous if options.previous else OK


def _parse_options(command: Command) -> _Options | None:
    """Read SET's options with the exclusions of Redis's parseExtendedStringArgumentsOrReply."""
    options = _Options()
    words = iter(command[3:])
    for word in words:
        option = word.upper()
        if option in (b"NX", b"XX") and options.condition in (b"", option):
            options.condition = option
        elif option == b"GET":
            options.previous = True
        elif option == b"KEEPTTL" and not options.unit:
            options.keep_deadline = True
        elif option in _UNITS and not options.keep_deadline and options.unit in (b"", option):
            time = next(words, None)
            if time is None:
                return None
            options.unit, options.time = option, time
        else:
            return None
    return options


def _deadline(store: Store, options: _Options) -> int | dict[str, str]:
    time = parse_integer(options.time)
    if time is None:
        return not_an_integer()
    milliseconds, relative = _UNITS[options.unit]
    deadline_ms = time * milliseconds
    if time <= 0 or deadline_ms > INT64_MAX:
        return invalid_expire_time("set")
    if relative:
        deadline_ms += store.now_ms
        if deadline_ms > INT64_MAX:
            return invalid_expire_time("set")
    return deadline_ms


def on_get(store: Store, command: Command) -> Reply:
    """GET key."""
    entry = store.entries.get(command[1])
    return None if entry is None else entry.value


def on_setnx(store: Store, command: Command) -> Reply:
    """SETNX key value: 1 when the key was absent."""
    if command[1] in store.entries:
        return 0
    store.put(command[1], command[2])
    return 1


def on_getset(store: Store, command: Command) -> Reply:
    """GETSET key value: the value before."""
    previous = on_get(store, command)
    store.put(command[1], command[2])
    return previous


def on_getdel(store: Store, command: Command) -> Reply:
    """GETDEL key: the value before."""
    previous = on_get(store, command)
    store.delete(command[1])
    return previous


def on_mget(store: Store, command: Command) -> Reply:
    """MGET key [key ...]."""
    find = store.entries.get
    return [None if (entry := find(key)) is None else entry.value for key in command[1:]]


def on_mset(store: Store, command: Command) -> Reply:
    """MSET key value [key value ...]: all at once, one revision."""
    if len(command) % 2 == 0:
        return error("ERR wrong number of arguments for 'mset' command")
    for at in range(1, len(command), 2):
        store.put(command[at], command[at + 1])
    return OK


def on_incr(store: Store, command: Command) -> Reply:
    """INCR key."""
    return _add(store, command[1], 1)


def on_decr(store: Store, command: Command) -> Reply:
    """DECR key."""
    return _add(store, command[1], -1)


def on_incrby(store: Store, command: Command) -> Reply:
    """INCRBY key increment."""
    increment = parse_integer(command[2])
    return not_an_integer() if increment is None else _add(store, command[1], increment)


def on_decrby(store: Store, command: Command) -> Reply:
    """DECRBY key decrement."""
    decrement = parse_integer(command[2])
    if decrement is None:
        return not_an_integer()
    if decrement == INT64_MIN:
        # It has no negative of 64 bits.
        return error("ERR decrement would overflow")
    return _add(store, command[1], -decrement)


def _add(store: Store, key: bytes, increment: int) -> Reply:
    entry = store.entries.get(key)
    before = 0 if entry is None else parse_integer(entry.value)
    if before is None:
        return not_an_integer()
    after = before + increment
    if not INT64_MIN <= after <= INT64_MAX:
        return error("ERR increment or decrement would overflow")
    store.put(key, b"%d" % after, 0 if entry is None else entry.deadline_ms)
    return after


def on_append(store: Store, command: Command) -> Reply:
    """APPEND key value: the length after."""
    key, addition = command[1], command[2]
    entry = store.entries.get(key)
    length = len(addition) + (0 if entry is None else len(entry.value))
    if length > store.value_bytes_max:
        return error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
    if entry is None:
        store.put(key, addition)
    else:
        store.put(key, entry.value + addition, entry.deadline_ms)
    return length


def on_strlen(store: Store, command: Command) -> Reply:
    """STRLEN key: bytes of the value, 0 when absent."""
    entry = store.entries.get(command[1])
    return 0 if entry is None else len(entry.value)
