"""What a decoded frame may hold, under fuzzing: slot values, batches, commands, patterns.

Values (`machine_values`): any bytes may be decided. Two machines that are given them are in the
same state, whatever they were, and none of them raises.

Commands (`machine_commands`): lines of words, as a client would type them, through the log. A
line that starts with `&` belongs to a transaction with its neighbours; one that starts with `?`
is read, not logged. Patterns are compared with a matcher that is as simple as can be.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any
from unittest.mock import patch

import msgspec

from paxos.core.messages import Batch, Envelope, OpenSession, OutOfOrder, Results, SessionUnknown
from paxos.core.types import NodeId, Slot
from paxos.doors.resp_inline import split_line
from paxos.machine import glob
from paxos.machine.commands import COMMANDS
from paxos.machine.execution import decode_commands
from paxos.machine.integers import parse_integer
from paxos.machine.machine import Machine

from .inputs import Target, mutate_bytes, mutate_list, mutate_packed

VALUE_BYTES_MAX = 500
RESULTS_BYTES_MAX = 2000
REPLY_BYTES_MAX = 400
"""More than any single reply that is not bytes or a list: an error that quotes what was sent."""

PATTERN_BYTES_MAX = 100
"""The longest pattern that is compared with the reference, which takes its time."""

GATEWAY = NodeId("client-1")
NOW_MS = 1_700_000_000_000

_encode = msgspec.msgpack.encode


def machine() -> Machine:
    return Machine(value_bytes_max=VALUE_BYTES_MAX, results_bytes_max=RESULTS_BYTES_MAX)


def opening() -> bytes:
    """Return the value that opens session 1."""
    return slot_value(OpenSession(gateway=GATEWAY, nonce=1))


def slot_value(*parts: Batch | OpenSession, time_ms: int = NOW_MS) -> bytes:
    return _encode(Envelope(time_ms=time_ms, batches=[_encode(part) for part in parts]))


def batch(sequence: int, commands: Any, acknowledged: int = 0) -> Batch:
    return Batch(
        gateway=GATEWAY,
        session=Slot(1),
        sequence=sequence,
        acknowledged=acknowledged,
        commands=_encode(commands),
    )


def apply(log: Machine, value: bytes) -> list[tuple[NodeId, Any]]:
    """Apply the next slot's value and check what must hold whatever it is."""
    revision, now_ms = log.revision, log.now_ms
    outcomes = log.apply(Slot(log.applied + 1), value)
    assert log.revision >= revision
    assert log.now_ms >= now_ms
    deadline_ms = log.next_deadline_ms
    assert deadline_ms is None or deadline_ms > log.now_ms
    for _, outcome in outcomes:
        assert msgspec.msgpack.decode(_encode(outcome), type=type(outcome)) == outcome
        if isinstance(outcome, Results):
            replies = msgspec.msgpack.decode(outcome.results, type=list[Any])
            bound = RESULTS_BYTES_MAX + REPLY_BYTES_MAX * len(replies) + 5
            assert len(outcome.results) <= bound
        assert not isinstance(outcome, OutOfOrder) or outcome.sequence > outcome.expected
        assert not isinstance(outcome, SessionUnknown) or outcome.session >= -(2**63)
    return outcomes


def same(one: Machine, values: list[bytes]) -> None:
    """Another replica that is given the same log is in the same state."""
    other = machine()
    for value in values:
        other.apply(Slot(other.applied + 1), value)
    assert other.digest() == one.digest()
    assert other.status() == one.status()


# ---------------------------------------------------------------- any values


def values_of(data: bytes) -> Iterator[bytes]:
    """Yield the values in an input, each with its length of two bytes in front."""
    at = 0
    while at + 2 <= len(data):
        size = int.from_bytes(data[at : at + 2], "big") % 2048
        yield data[at + 2 : at + 2 + size]
        at += 2 + size


def joined(values: list[bytes]) -> bytes:
    return b"".join(len(value).to_bytes(2, "big") + value for value in values)


def run_values(data: bytes) -> None:
    """Apply any values; replicas agree, and what was kept for a gateway is bounded."""
    values = [opening(), *values_of(data)]
    log = machine()
    for value in values:
        apply(log, value)
    same(log, values)
    for value in values_of(data):
        commands = decode_commands(value)
        if commands is not None:
            before = log.digest()
            assert len(log.read(commands, NOW_MS + 1)) == len(commands)
            assert log.digest() == before, "reading changes nothing"


def value_seeds() -> list[bytes]:
    """Return logs of gateways, and values that no gateway makes."""
    commands = [[b"SET", b"k", b"v"], [b"GET", b"k"], [b"EXEC", [[b"k", 1]], [[b"INCR", b"n"]]]]
    first, second = batch(1, commands), batch(2, [[b"KEYS", b"*"]], 1)
    logs = [
        [slot_value(first), slot_value(second)],
        [slot_value(first, second, first), slot_value(first)],
        [slot_value(second), slot_value(OpenSession(gateway=GATEWAY, nonce=2)), slot_value(first)],
        [slot_value(batch(1, [[b"SET", b"k", b"v", b"PX", b"5"]])), slot_value(time_ms=NOW_MS + 5)],
        [
            slot_value(batch(1, [[b"SET", b"k", b"v" * 99]])),
            slot_value(batch(2, [[b"EXEC", [], [[b"MGET"] + [b"k"] * 5] * 9], [b"GET", b"k"]])),
        ],
        [slot_value(batch(1, b"no commands")), slot_value(batch(2, []))],
        [b"", b"\x90", b"\x92\x00\x91\xc4\x01\x90", b"\x93\x00\x90" + b"\x91" * 1500],
        [slot_value(time_ms=2**64 - 1), slot_value(first)],
        [_encode(commands), _encode([[b"READ"], [b"SET", b"a", b"b"], b"", [b"REVISION", b"k"]])],
    ]
    return [joined(log) for log in logs]


def mutate_values(data: bytes, dice: Random) -> bytes:
    """Change what one value says, or their order."""
    if dice.randrange(4) == 0:
        return mutate_bytes(data, dice)
    return joined([v[:2047] for v in mutate_list(list(values_of(data)), dice, mutate_packed)])


# ---------------------------------------------------------------- commands


def run_commands(data: bytes) -> None:
    """Carry out what a client typed, line by line, and check patterns and numbers."""
    log = machine()
    values = [opening()]
    apply(log, values[0])
    sequence = 0
    for number, commands, read in groups(data):
        if read:
            before = log.digest()
            replies = log.read(commands, NOW_MS + number)
            assert log.digest() == before, "reading changes nothing"
            check_pattern(log, commands[0], replies[0])
            continue
        sequence += 1
        part = batch(sequence, commands, sequence - 1)
        values.append(slot_value(part, time_ms=NOW_MS + number * 7))
        [(gateway, outcome)] = apply(log, values[-1])
        assert gateway == GATEWAY
        assert isinstance(outcome, Results)
        assert len(msgspec.msgpack.decode(outcome.results)) == len(commands)
    same(log, values)


def groups(data: bytes) -> Iterator[tuple[int, list[Any], bool]]:
    """Yield (line, commands, whether they are read) of an input."""
    transaction: list[list[bytes]] = []
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        inside = line[:1] == b"&"
        if transaction and not inside:
            yield number, [[b"EXEC", [], transaction]], False
            transaction = []
        words = split_line(line[1:] if line[:1] in (b"&", b"?") else line)
        if not words:
            continue
        words[0] = words[0].upper()
        if inside:
            transaction.append(words)
        else:
            yield number, [words], line[:1] == b"?"
    if transaction:
        yield len(lines), [[b"EXEC", [], transaction]], False


def check_pattern(log: Machine, command: list[bytes], reply: Any) -> None:
    """KEYS returns what the reference matches; a number is read as Redis reads it."""
    for word in command[1:]:
        number = parse_integer(word)
        assert number is None or (b"%d" % number == word and -(2**63) <= number < 2**63)
    if command[0] != b"KEYS" or len(command) != 2 or not isinstance(reply, list):
        return
    if len(command[1]) > PATTERN_BYTES_MAX:
        return
    [keys] = log.read([[b"KEYS", b"*"]], NOW_MS)
    if isinstance(keys, list) and all(len(key) <= 2 * PATTERN_BYTES_MAX for key in keys):
        assert reply == [key for key in keys if matches(command[1], key)]
    texts = (b"", b"a", b"]", b"\\", command[1], command[1] * 2, command[1].replace(b"*", b""))
    for searched_bytes_max in (glob.SEARCHED_BYTES_MAX, 3):
        with patch.object(glob, "SEARCHED_BYTES_MAX", searched_bytes_max):
            match = glob.compile_glob(command[1])
        for text in texts if match is not None else ():
            assert bool(match(text)) == matches(command[1], text)


def matches(pattern: bytes, text: bytes) -> bool:
    """Tell whether a pattern matches, in Redis's words: all places that could be reached in it,
    byte by byte of the text.
    """
    signs = list(signs_of(pattern))

    def reachable(places: set[int]) -> set[int]:
        for place in range(len(signs)):
            if place in places and signs[place] is None:  # a star may match nothing
                places.add(place + 1)
        return places

    places = reachable({0})
    for byte in text:
        stays = {place for place in places if place < len(signs) and signs[place] is None}
        moves = {
            place + 1
            for place in places
            if place < len(signs) and (allowed := signs[place]) is not None and byte in allowed
        }
        places = reachable(stays | moves)
    return len(signs) in places


def signs_of(pattern: bytes) -> Iterator[frozenset[int] | None]:
    """Yield the bytes that each sign of a pattern allows; None for a star."""
    at = 0
    while at < len(pattern):
        sign = pattern[at : at + 1]
        at += 1
        if sign == b"*":
            yield None
        elif sign == b"?":
            yield frozenset(range(256))
        elif sign == b"[":
            allowed, at = bracket(pattern, at)
            yield frozenset(allowed)
        else:
            if sign == b"\\" and at < len(pattern):
                sign = pattern[at : at + 1]
                at += 1
            yield frozenset(sign)


def bracket(pattern: bytes, p: int) -> tuple[set[int], int]:
    """Return the bytes that a class allows and where it ends, as stringmatchlen reads it."""
    negated = p < len(pattern) and pattern[p : p + 1] == b"^"
    p += negated
    allowed: set[int] = set()
    while True:
        if len(pattern) - p >= 2 and pattern[p : p + 1] == b"\\":
            p += 1
            allowed.add(pattern[p])
        elif p >= len(pattern):
            p -= 1
            break
        elif pattern[p : p + 1] == b"]":
            break
        elif len(pattern) - p >= 3 and pattern[p + 1 : p + 2] == b"-":
            start, end = sorted((pattern[p], pattern[p + 2]))
            allowed |= set(range(start, end + 1))
            p += 2
        else:
            allowed.add(pattern[p])
        p += 1
    return (set(range(256)) - allowed if negated else allowed), p + 1


_LINES = (
    b"SET k v", b"SET k 5 EX 10 NX", b"SET k v PXAT 1700000000008 GET", b"SET k v KEEPTTL XX",
    b"GET k", b"SETNX n 1", b"GETSET n 2", b"GETDEL n", b"MGET a b k", b"MSET a 1 b 2 abc 3",
    b"INCR n", b"INCRBY n 9223372036854775806", b"DECR n", b"DECRBY n -9223372036854775808",
    b"APPEND s xxxxxxxxxxxxxxxxxxxxxxxxx", b"STRLEN s", b"DEL a b", b"EXISTS a a", b"WRITE v",
    b"EXPIRE k 1 GT", b"PEXPIRE k 7 LT", b"EXPIRE k -1", b"PERSIST k", b"TTL k", b"PTTL k",
    b"TYPE k", b"? KEYS *", b"? KEYS [a-c]*", b"? KEYS \\*[^b\\]]?*", b"? SCAN 0 MATCH a* COUNT 1",
    b"? SCAN 3 TYPE string", b"? KEYS a*b?*[c]*d", b"? KEYS *bc*?c*", b"DBSIZE", b"REVISION k",
    b"READ FROM 2 LIMIT 1", b"? READ",
    b"& INCR n", b"& GET n", b"& KEYS *", b"& NOPE", b"& EXEC", b"SET 'a b' \"\\x00\\xff\"",
)  # fmt: skip


def command_seeds() -> list[bytes]:
    """Return what people type: every line alone, and stories of several."""
    stories = [b"\n".join(_LINES), b"\n".join(_LINES[::-1]), b"\n".join(_LINES[::3] * 2)]
    setting = b"\n".join((b"MSET a 1 ab 2 abc 3 b]c 4 * 5", b"SET k v PX 50"))
    return stories + [setting + b"\n" + line for line in _LINES]


_WORDS = (
    *COMMANDS,
    b"?",
    b"&",
    b"-1",
    b"0",
    b"GT",
    b"LIMIT",
    b"[a-",
    b"*a*",
    b"9223372036854775807",
)


def mutate_commands(data: bytes, dice: Random) -> bytes:
    """Change one word of a line, or the order of lines."""

    def change(line: bytes, dice: Random) -> bytes:
        if dice.randrange(4) == 0:
            return dice.choice(_LINES)
        words = mutate_list(line.split(b" "), dice, change_word)
        return b" ".join(words)

    def change_word(word: bytes, dice: Random) -> bytes:
        return dice.choice(_WORDS) if dice.randrange(2) else mutate_bytes(word, dice)

    return b"\n".join(mutate_list(data.split(b"\n"), dice, change))


_MACHINE = tuple(
    f"machine/{name}.py" for name in ("machine", "execution", "sessions", "kv", "replies")
)

VALUES = Target(
    name="machine_values",
    run=run_values,
    seeds=value_seeds,
    mutate=mutate_values,
    modules=_MACHINE,
)
COMMANDS_TARGET = Target(
    name="machine_commands",
    run=run_commands,
    seeds=command_seeds,
    mutate=mutate_commands,
    modules=(
        *_MACHINE,
        *(f"machine/{name}.py" for name in ("glob", "integers", "keyspace", "strings", "written")),
    ),
    bytes_max=1500,
)
