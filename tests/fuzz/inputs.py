"""What a fuzzer's bytes mean to a target that reads a stream, and how inputs are made and bent.

    | mode | how many sizes | sizes ... | body ...

`mode` chooses the situation (before or after authentication, who dials ...); the sizes say how
the body is cut into chunks, over and over, as a network would cut it. With no sizes, it comes
whole. Every sequence of bytes means something, so a fuzzer never runs into a wall here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import msgspec

SIZES_MAX = 7

Run = Callable[[bytes], None]
Mutate = Callable[[bytes, Random], bytes]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A reader under fuzzing.

    `run` feeds bytes as production does and raises whatever is wrong. `seeds` are valid inputs;
    `mutate` bends an input knowing its structure. `modules` are the files of `src/paxos` whose
    coverage counts. `bytes_max` bounds an input's length.
    """

    name: str
    run: Run
    seeds: Callable[[], list[bytes]]
    mutate: Mutate
    modules: tuple[str, ...]
    bytes_max: int = 2500


class Stream(msgspec.Struct, frozen=True):
    """An input of a target that reads a stream."""

    mode: int
    sizes: bytes
    body: bytes

    def pack(self) -> bytes:
        """Return the bytes that `unpack` reads this from."""
        return bytes((self.mode, len(self.sizes))) + self.sizes + self.body

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        if not self.sizes:
            if self.body:
                yield self.body
            return
        position = turn = 0
        while position < len(self.body):
            size = chunk_bytes(self.sizes[turn % len(self.sizes)])
            yield self.body[position : position + size]
            position += size
            turn += 1


def chunk_bytes(size: int) -> int:
    """Return how many bytes a size stands for: 1 to 128, then steps of 64."""
    return size + 1 if size < 128 else (size - 126) * 64


def unpack(data: bytes) -> Stream:
    """Return what a fuzzer's bytes mean."""
    mode = data[0] if data else 0
    count = data[1] % (SIZES_MAX + 1) if len(data) > 1 else 0
    return Stream(mode, data[2 : 2 + count], data[2 + count :])


def streams(modes: Sequence[int], bodies: Sequence[bytes]) -> list[bytes]:
    """Return seeds: each body in each mode, whole and in two kinds of pieces."""
    cuts = (b"", b"\x00", b"\x06\x1e\x02")
    return [
        Stream(mode, cuts[(number + turn) % 3], body).pack()
        for number, body in enumerate(bodies)
        for turn, mode in enumerate(modes)
    ]


def content_name(data: bytes) -> str:
    """Return the name under which an input is kept: a hash of its content."""
    return f"{hashlib.sha256(data).hexdigest()[:16]}.bin"


# ---------------------------------------------------------------- bending

_INTERESTING = (
    b"\0", b"\xff", b"\r\n", b"\n", b"*", b"$", b"-1", b"0", b"99999999999", b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff", b"9223372036854775807", b"-9223372036854775808", b"\xc1", b"\xdd", b" ",
)  # fmt: skip


def mutate_bytes(data: bytes, dice: Random) -> bytes:
    """Return bytes with one small change that knows nothing of their structure."""
    at = dice.randrange(len(data) + 1)
    end = min(len(data), at + dice.choice((1, 1, 2, 4, 16, 64)))
    kind = dice.randrange(6)
    if kind == 0 and at < len(data):
        return data[:at] + bytes((data[at] ^ (1 << dice.randrange(8)),)) + data[at + 1 :]
    if kind == 1:
        return data[:at] + data[end:]
    if kind == 2:
        return data[:end] + data[at:end] * dice.randrange(1, 4) + data[end:]
    if kind == 3:
        return data[:at] + dice.choice(_INTERESTING) + data[end:]
    if kind == 4:
        return data[:at] + dice.choice(_INTERESTING) + data[at:]
    return data[:at]


def mutate_list(parts: list[Any], dice: Random, change: Callable[[Any, Random], Any]) -> list[Any]:
    """Return a list with one part changed, doubled, dropped, or put elsewhere."""
    if not parts:
        return parts
    made = list(parts)
    at = dice.randrange(len(made))
    kind = dice.randrange(6)
    if kind <= 2:
        made[at] = change(made[at], dice)
    elif kind == 3:
        made.insert(dice.randrange(len(made) + 1), made[at])
    elif kind == 4:
        del made[at]
    else:
        made.insert(dice.randrange(len(made)), made.pop(at))
    return made


_NUMBERS = (0, 1, -1, 2, 99, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**64 - 1, -(2**63))


def mutate_value(value: Any, dice: Random) -> Any:
    """Return a decoded msgpack value with one change somewhere; bytes inside are looked into."""
    if dice.randrange(12) == 0:
        return dice.choice((None, 0, b"", "", [], {}, True, 1.5, [[]], "\u20ac", b"\xff"))
    match value:
        case bool():
            return not value
        case int():
            return dice.choice((*_NUMBERS, value + 1, max(value - 1, -(2**63)), value ^ 1 << 7))
        case str():
            return mutate_bytes(value.encode(), dice).decode("utf-8", "replace")
        case bytes():
            return mutate_packed(value, dice) if dice.randrange(2) else mutate_bytes(value, dice)
        case list():
            return mutate_list(value, dice, mutate_value)
        case dict():
            return {key: mutate_value(one, dice) for key, one in value.items()}
    return dice.choice((0, b"x", []))


def mutate_packed(data: bytes, dice: Random) -> bytes:
    """Return msgpack with one change to what it says; other bytes with any change."""
    try:
        value = msgspec.msgpack.decode(data)
        return msgspec.msgpack.encode(mutate_value(value, dice))
    except (ValueError, OverflowError, RecursionError, TypeError, msgspec.MsgspecError):
        return mutate_bytes(data, dice)


def stream_mutator(change_body: Mutate, modes: Sequence[int]) -> Mutate:
    """Return a mutator of streams: mostly the body is changed, now and then the rest."""

    def mutate(data: bytes, dice: Random) -> bytes:
        stream = unpack(data)
        kind = dice.randrange(8)
        if kind == 0:
            return Stream(dice.choice(modes), stream.sizes, stream.body).pack()
        if kind == 1:
            sizes = bytes(dice.randrange(256) for _ in range(dice.randrange(SIZES_MAX + 1)))
            return Stream(stream.mode, sizes, stream.body).pack()
        body = mutate_bytes(stream.body, dice) if kind < 4 else change_body(stream.body, dice)
        return Stream(stream.mode, stream.sizes, body).pack()

    return mutate
