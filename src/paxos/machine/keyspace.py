"""Commands on keys whatever their values are: existence, deadlines, listing.

Every function takes the store and a command of the right arity whose arguments are all bytes.
"""

from __future__ import annotations

from .glob import PATTERN_BYTES_MAX, SEARCHED_BYTES_MAX, Matcher, compile_glob
from .integers import INT64_MAX, INT64_MIN, parse_integer
from .kv import Store
from .replies import (
    Command,
    Reply,
    error,
    invalid_expire_time,
    not_an_integer,
    printable,
    syntax_error,
)

_SCAN_COUNT = 10
"""How many keys a SCAN looks at when it does not say (Redis's own figure)."""

_CURSOR_MAX = 2**64 - 1

_STRING = "string"


def on_del(store: Store, command: Command) -> Reply:
    """DEL key [key ...]: how many were there."""
    return sum(map(store.delete, command[1:]))


def on_exists(store: Store, command: Command) -> Reply:
    """EXISTS key [key ...]: how many are there, a key named twice counted twice."""
    return sum(key in store.entries for key in command[1:])


def on_type(store: Store, command: Command) -> Reply:
    """TYPE key, as a simple status."""
    return _STRING if command[1] in store.entries else "none"


def on_revision(store: Store, command: Command) -> Reply:
    """REVISION key: the revision of its last change, 0 when absent; what WATCH remembers."""
    entry = store.entries.get(command[1])
    return 0 if entry is None else entry.mod_revision


def on_dbsize(store: Store, command: Command) -> Reply:
    """DBSIZE: how many keys there are."""
    return len(store.entries)


# ---------------------------------------------------------------- deadlines


def on_expire(store: Store, command: Command) -> Reply:
    """EXPIRE key seconds [NX | XX | GT | LT]."""
    return _expire(store, command, 1000, "expire")


def on_pexpire(store: Store, command: Command) -> Reply:
    """PEXPIRE key milliseconds [NX | XX | GT | LT]."""
    return _expire(store, command, 1, "pexpire")


def _expire(store: Store, command: Command, unit_ms: int, name: str) -> Reply:
    conditions = set()
    for word in command[3:]:
        condition = word.upper()
        if condition not in (b"NX", b"XX", b"GT", b"LT"):
            return error(f"ERR Unsupported option {printable(word)}")
        conditions.add(condition)
    if b"NX" in conditions and len(conditions) > 1:
        return error("ERR NX and XX, GT or LT options at the same time are not compatible")
    if {b"GT", b"LT"} <= conditions:
        return error("ERR GT and LT options at the same time are not compatible")
    time = parse_integer(command[2])
    if time is None:
        return not_an_integer()
    deadline_ms = time * unit_ms
    if not INT64_MIN <= deadline_ms <= INT64_MAX or deadline_ms + store.now_ms > INT64_MAX:
        return invalid_expire_time(name)
    deadline_ms += store.now_ms
    entry = store.entries.get(command[1])
    if entry is None or not _allowed(conditions, entry.deadline_ms, deadline_ms):
        return 0
    if deadline_ms <= store.now_ms:
        store.delete(command[1])
    else:
        store.set_deadline(entry, deadline_ms)
    return 1


def _allowed(conditions: set[bytes], current_ms: int, wanted_ms: int) -> bool:
    """Tell whether EXPIRE's conditions hold; no deadline (0) counts as later than any."""
    if b"NX" in conditions and current_ms:
        return False
    if b"XX" in conditions and not current_ms:
        return False
    if b"GT" in conditions and (not current_ms or wanted_ms <= current_ms):
        return False
    return not (b"LT" in conditions and current_ms and wanted_ms >= current_ms)


def on_persist(store: Store, command: Command) -> Reply:
    """PERSIST key: 1 when it had a deadline."""
    entry = store.entries.get(command[1])
    if entry is None or not entry.deadline_ms:
        return 0
    store.set_deadline(entry, 0)
    return 1


def on_ttl(store: Store, command: Command) -> Reply:
    """TTL key: seconds left, rounded; -1 without a deadline, -2 when absent."""
    left_ms = _left_ms(store, command[1])
    return left_ms if left_ms < 0 else (left_ms + 500) // 1000


def on_pttl(store: Store, command: Command) -> Reply:
    """PTTL key: milliseconds left; -1 without a deadline, -2 when absent."""
    return _left_ms(store, command[1])


def _left_ms(store: Store, key: bytes) -> int:
    entry = store.entries.get(key)
    if entry is None:
        return -2
    if not entry.deadline_ms:
        return -1
    # Past its deadline by the reader's clock, but there until the log says otherwise.
    return max(1, entry.deadline_ms - store.clock_ms)


# ---------------------------------------------------------------- listing


def on_keys(store: Store, command: Command) -> Reply:
    """KEYS pattern: oldest first."""
    if command[1] == b"*":
        return list(store.entries)
    matches = compile_glob(command[1])
    if matches is None:
        return _pattern_too_long()
    return [key for key in store.entries if matches(key)]


def on_scan(store: Store, command: Command) -> Reply:
    """SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]: the next cursor, and keys."""
    cursor_text = command[1]
    if not cursor_text.isdigit() or len(cursor_text) > 20 or int(cursor_text) > _CURSOR_MAX:
        return error("ERR invalid cursor")
    count = _SCAN_COUNT
    matches: Matcher | None = None
    wanted_type = _STRING
    words = iter(command[2:])
    for word in words:
        option = word.upper()
        argument = next(words, None)
        if argument is None:
            return syntax_error()
        if option == b"COUNT":
            number = parse_integer(argument)
            if number is None:
                return not_an_integer()
            if number < 1:
                return syntax_error()
            count = number
        elif option == b"MATCH":
            matches = compile_glob(argument)
            if matches is None:
                return _pattern_too_long()
        elif option == b"TYPE":
            wanted_type = argument.decode("utf-8", "backslashreplace").lower()
        else:
            return syntax_error()
    following, entries = store.scan(int(cursor_text), count)
    keys: list[Reply] = []
    if wanted_type == _STRING:
        keys += [entry.key for entry in entries if matches is None or matches(entry.key)]
    return [b"%d" % following, keys]


def _pattern_too_long() -> dict[str, str]:
    return error(
        f"ERR pattern is longer than {PATTERN_BYTES_MAX} bytes, or has more than "
        f"{SEARCHED_BYTES_MAX} with ? or [] among them between two stars"
    )
