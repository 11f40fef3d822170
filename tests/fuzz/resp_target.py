"""The Redis protocol under fuzzing: the reader alone, and a whole connection of a door.

The reader is compared with a reference that is as slow and as simple as can be; the connection
stands in front of the real state machine. Limits are made small, so that small inputs meet them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import ModuleType
from typing import Any

import msgspec
from tests.doors.conftest import FakeGateway, House, Talk

from paxos.core.settings import Limits
from paxos.doors import resp_connection, resp_dialogue, resp_reader, resp_replies
from paxos.doors.resp_commands import ALL_COMMANDS
from paxos.doors.resp_inline import split_line
from paxos.doors.resp_reader import CommandReader, OversizedCommand
from paxos.machine.commands import COMMANDS, Kind
from paxos.machine.execution import decode_commands, run_batch, run_reads
from paxos.machine.kv import Store

from .inputs import Stream, Target, mutate_bytes, mutate_list, stream_mutator, streams, unpack

VALUE_BYTES_MAX = 300
SLACK_BYTES = 100
INLINE_BYTES_MAX = 200
COUNT_MAX = 150
OUTPUT_HIGH_BYTES = 4096
WAITING_BYTES_MAX = 4096

RESTRICTED, HELD_BACK, PASSWORD = 1, 2, 4
"""Modes: an unauthenticated reader; a gateway that answers late; a door with a password."""

LIMITED: dict[ModuleType, dict[str, int]] = {
    resp_reader: {
        "SLACK_BYTES": SLACK_BYTES,
        "INLINE_BYTES_MAX": INLINE_BYTES_MAX,
        "COUNT_MAX": COUNT_MAX,
    },
    resp_connection: {
        "OUTPUT_HIGH_BYTES": OUTPUT_HIGH_BYTES,
        "SAID_BYTES_MAX": OUTPUT_HIGH_BYTES,
        "WAITING_BYTES_MAX": WAITING_BYTES_MAX,
        "_SLICE": 16,
        "WRITES_OUTSTANDING_MAX": 64,
        "READS_OUTSTANDING_MAX": 32,
    },
    resp_dialogue: {"SAID_BYTES_MAX": OUTPUT_HIGH_BYTES, "WATCHED_KEYS_MAX": 16},
}


@contextmanager
def small_limits() -> Iterator[None]:
    """Let small inputs meet the limits."""
    before = {
        module: {name: getattr(module, name) for name in to} for module, to in LIMITED.items()
    }
    try:
        for module, to in LIMITED.items():
            vars(module).update(to)
        yield
    finally:
        for module, limits in before.items():
            vars(module).update(limits)


# ---------------------------------------------------------------- the reader alone


def feed(stream: Stream) -> tuple[list[Any], str | None]:
    """Return the commands and the error of a reader that is fed as a connection feeds it."""
    reader = CommandReader(VALUE_BYTES_MAX)
    restricted = bool(stream.mode & RESTRICTED)
    commands: list[Any] = []
    fed = 0
    for chunk in stream.chunks():
        data = chunk
        fed += len(chunk)
        while data:
            reader.restrict(restricted)
            commands += reader.feed(data)
            left, reader.deferred = reader.deferred, b""
            assert len(left) < len(data), "what is put off must become less"
            data = left
        if reader.error is not None:
            assert reader.feed(b"PING\r\n") == [], "nothing more is looked at"
            break
        assert 0 <= reader.partial_bytes <= min(fed, partial_bytes_max())
    return commands, reader.error


def partial_bytes_max() -> int:
    """How much of one command a reader may hold: its words and the headers around them."""
    return VALUE_BYTES_MAX + SLACK_BYTES + INLINE_BYTES_MAX + 20 * (COUNT_MAX + 1)


def reference(stream: Stream) -> tuple[list[Any], bool]:
    """Return what a reader has to find, and whether it has to fail: Redis's rules, one by one."""
    restricted = bool(stream.mode & RESTRICTED)
    body, at = stream.body, 0
    commands: list[Any] = []
    while at < len(body):
        if body[at : at + 1] != b"*":
            end = body.find(b"\n", at)
            if end < 0 or end - at > INLINE_BYTES_MAX:
                return commands, len(body) - at > INLINE_BYTES_MAX
            words = split_line(body[at:end].removesuffix(b"\r"))
            if words is None:
                return commands, True
            if words:
                commands.append(sized(words))
            at = end + 1
            continue
        header = number_at(body, at + 1, COUNT_MAX, minus_one=True)
        if not isinstance(header, tuple):
            return commands, header == "wrong"
        count, at = header
        if restricted and count > resp_reader.RESTRICTED_COUNT_MAX:
            return commands, True
        words, total = [], 0
        for _ in range(count):
            if at >= len(body):
                return commands, False
            if body[at : at + 1] != b"$":
                return commands, True
            header = number_at(body, at + 1, VALUE_BYTES_MAX + SLACK_BYTES)
            if not isinstance(header, tuple):
                return commands, header == "wrong"
            length, at = header
            total += length
            if total > VALUE_BYTES_MAX + SLACK_BYTES:
                return commands, True
            tail = body[at + length : at + length + 2]
            if not b"\r\n".startswith(tail):
                return commands, True
            if tail != b"\r\n":
                return commands, False
            words.append(body[at : at + length])
            at += length + 2
        if words:
            commands.append(sized(words))
    return commands, False


def number_at(body: bytes, at: int, most: int, minus_one: bool = False) -> tuple[int, int] | str:
    """Return a header's number and where it ends; "wrong", or "more" when it is incomplete."""
    end = body.find(b"\r\n", at, at - 1 + 16)
    if end < 0:
        return "wrong" if len(body) - (at - 1) >= 16 else "more"
    digits = body[at:end]
    if minus_one and digits == b"-1":
        return 0, end + 2
    if not re.fullmatch(rb"0|[1-9][0-9]*", digits) or int(digits) > most:
        return "wrong"
    return int(digits), end + 2


def sized(words: list[bytes]) -> Any:
    """Return the words, or what stands for too many bytes of them."""
    size = sum(map(len, words))
    return size if size > VALUE_BYTES_MAX else words


def run_reader(data: bytes) -> None:
    """Feed the reader in chunks and whole; compare both with the reference and themselves."""
    stream = unpack(data)
    with small_limits():
        found, error = feed(stream)
        assert (found, error) == feed(Stream(stream.mode, b"", stream.body))
        shown = [c.size if isinstance(c, OversizedCommand) else c for c in found]
        assert (shown, error is not None) == reference(stream)
        plain = [command for command in found if not isinstance(command, OversizedCommand)]
        assert all(type(word) is bytes for command in plain for word in command)
        again = encoded(plain)
        if all(len(command) <= COUNT_MAX for command in plain):
            assert feed(Stream(0, b"", again)) == (plain, None)


# ---------------------------------------------------------------- a whole connection


class MachineGateway(FakeGateway):
    """A gateway with the real state machine behind it."""

    def __init__(self, *, at_once: bool) -> None:
        super().__init__(at_once=at_once)
        self.store = Store(value_bytes_max=1000)

    def carry_out(self, command: list[Any]) -> Any:
        spec = COMMANDS[command[0]]
        if spec.kind is Kind.READ:
            return run_reads(self.store, [command], 10_000)[0]
        packed = msgspec.msgpack.encode([command])
        assert decode_commands(packed) == [command], "it survives the way to the log"
        return run_batch(self.store, [command], 10_000)[0]


def converse(stream: Stream) -> tuple[bytes, bool]:
    """Return all that a client hears, and whether the door closed the connection."""
    house = House(password="secret" if stream.mode & PASSWORD else None, limits=LIMITS)
    gateway = MachineGateway(at_once=not stream.mode & HELD_BACK)
    house.gateway = gateway
    house.door.port = gateway
    gateway.deliver = house.door.deliver
    talk = house.talk()
    for chunk in stream.chunks():
        if not settle(house, talk, until_reading=True):
            break
        talk.connection.data_received(chunk)
        check_bounds(talk, len(chunk))
    settle(house, talk, until_reading=False)
    closed = talk.transport.closing
    if not closed:
        talk.connection.eof_received()
        settle(house, talk, until_reading=False)
        assert talk.transport.closing, "it ends once everything is answered"
    talk.hang_up()
    assert house.door.connections == 0
    assert house.door.stats()["input_bytes"] == house.door.stats()["output_bytes"] == 0
    return bytes(talk.transport.written), closed


def settle(house: House, talk: Talk, *, until_reading: bool) -> bool:
    """Turn the loop until the door reads again, or nothing moves; tell whether it can read."""
    while True:
        house.loop.turn()
        if talk.transport.closing:
            return False
        if until_reading and talk.transport.reading:
            return True
        if not house.gateway.pump(8):
            house.loop.turn()
            return not talk.transport.closing and talk.transport.reading


def check_bounds(talk: Talk, chunk_bytes: int) -> None:
    """A connection holds no more than its limits say, whatever it was sent: `chunk_bytes` last."""
    connection = talk.connection
    replies = connection._replies
    # Own replies that wait to be written: the limit, and the one that passed it.
    assert sum(map(len, replies.out)) <= 2 * OUTPUT_HIGH_BYTES + REPLY_BYTES_MAX
    # Own replies that wait for the gateway's: the limit, and what one slice of commands adds.
    slice_bytes = 16 * (resp_replies.SAYING_OVERHEAD_BYTES + VALUE_BYTES_MAX + ERROR_BYTES_MAX)
    assert replies.waiting_bytes <= WAITING_BYTES_MAX + slice_bytes
    assert replies.outstanding <= 64 + 16 + 16
    # What is held of one chunk counts by the objects it takes: most for commands of one byte.
    objects = chunk_bytes * (resp_connection._COMMAND_BYTES + resp_connection._WORD_BYTES)
    assert connection.input_bytes <= partial_bytes_max() + 110 * VALUE_BYTES_MAX + objects
    if connection._held or connection._must_wait():
        assert not talk.transport.reading or connection._dialogue.stopped


ERROR_BYTES_MAX = 400
"""More than an error that quotes what was sent."""

REPLY_BYTES_MAX = 32 * 1024
"""More than the largest single reply that a door makes by itself here (COMMAND DOCS)."""

LIMITS = Limits(value_bytes_max=VALUE_BYTES_MAX)

_VOLATILE = re.compile(rb"INFO|LIST", re.IGNORECASE)
"""What tells of the connection's own counters, which depend on how its bytes came."""


def run_door(data: bytes) -> None:
    """Talk to a door in chunks and whole: the client hears the same."""
    stream = unpack(data)
    with small_limits():
        heard = converse(stream)
        if not _VOLATILE.search(stream.body):
            assert heard == converse(Stream(stream.mode, b"", stream.body))


# ---------------------------------------------------------------- seeds


def encoded(commands: list[list[bytes]]) -> bytes:
    """Return commands as RESP arrays."""
    return b"".join(
        b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)
        for words in commands
    )


def _lines(*lines: str) -> bytes:
    return encoded([line.encode().split() for line in lines])


_BODIES = (
    _lines("SET k v", "GET k", "DEL k", "GET k"),
    _lines("MULTI", "SET k 1", "INCR k", "PING", "GET k", "EXEC", "GET k"),
    _lines("WATCH a b", "GET a", "MULTI", "SET a 1", "EXEC", "UNWATCH"),
    _lines("HELLO 3 AUTH default secret SETNAME me", "CLIENT ID", "COMMAND COUNT", "GET x"),
    _lines("AUTH secret", "SET k v EX 10", "TTL k", "PERSIST k", "RESET", "PING"),
    _lines("WRITE a", "WRITE b", "READ FROM 0 LIMIT 1", "RESPONSES 1", "STATUS"),
    _lines("MSET a 1 b 2 c 3", "MGET a b c d", "KEYS *", "SCAN 0 MATCH ?[a-c]* COUNT 2", "DBSIZE"),
    _lines("READONLY", "GET k", "READWRITE", "GET k", "SELECT 0", "ECHO hi", "QUIT", "GET k"),
    _lines("DISCARD", "EXEC", "MULTI", "MULTI", "NOPE", "EXEC", "GET", "SET k"),
    b'SET "a b" \'c\\\'d\'\r\nGET "\\x61\\n"\r\n\r\nPING\nPING x\r\n',
    b"*0\r\n*-1\r\n" + _lines("PING") + b"PING\r\n" + _lines("PING"),
    encoded([[b"SET", b"k", b"x" * 250]]) + encoded([[b"SET", b"k", b"x" * 350]]) + _lines("PING"),
    encoded([[b"MGET", *[b"k"] * 120]]) + _lines("PING"),
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$600\r\n",
    b"*1\r\n:1\r\n",
    b"*1\r\n*1\r\n$4\r\nPING\r\n",
    b"PING" + b"x" * 250,
    b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
    _lines("GET k", *["PING"] * 40, *["COMMAND"] * 3),
    _lines(*["COMMAND"] * 8),
    _lines("MULTI", *["COMMAND"] * 12, "EXEC"),
    _lines("INCR n", *["ECHO a"] * 200),
    b"*1\r\n$004\r\nPING\r\n",
    b"\n*1\r\n$4\r\nPING\r",
    _lines("CLIENT SETINFO LIB-NAME x", "CLIENT LIST", "INFO", "COMMAND DOCS GET", "CLIENT HELP"),
)


def seeds() -> list[bytes]:
    """Return dialogues that a client may well have, and some of what it may not."""
    return streams((0, HELD_BACK, PASSWORD | RESTRICTED), _BODIES)


_WORDS = (*ALL_COMMANDS, b"EX", b"NX", b"MATCH", b"COUNT", b"3", b"-1", b"k", b"*", b"", b"secret")


def _change_word(word: bytes, dice: Random) -> bytes:
    return dice.choice(_WORDS) if dice.randrange(2) else mutate_bytes(word, dice)


def _change_command(command: list[bytes], dice: Random) -> list[bytes]:
    if dice.randrange(8) == 0:
        return [dice.choice(_WORDS), *command[1:]]
    return mutate_list(command, dice, _change_word)


def mutate_dialogue(body: bytes, dice: Random) -> bytes:
    """Change one command of a dialogue, or their order, and encode them well."""
    commands = [c for c in CommandReader(1 << 16).feed(body) if not isinstance(c, OversizedCommand)]
    changed = mutate_list(commands, dice, _change_command)
    rest = b"" if dice.randrange(4) else mutate_bytes(body, dice)[: dice.randrange(64)]
    return encoded([command for command in changed if command]) + rest


READER = Target(
    name="resp_reader",
    run=run_reader,
    seeds=seeds,
    mutate=stream_mutator(mutate_dialogue, (0, RESTRICTED)),
    modules=("doors/resp_reader.py", "doors/resp_inline.py"),
)
DOOR = Target(
    name="resp_door",
    run=run_door,
    seeds=seeds,
    mutate=stream_mutator(mutate_dialogue, (0, HELD_BACK, PASSWORD, PASSWORD | HELD_BACK)),
    modules=(
        "doors/resp_auth.py",
        "doors/resp_commands.py",
        "doors/resp_connection.py",
        "doors/resp_dialogue.py",
        "doors/resp_local.py",
        "doors/resp_replies.py",
        "doors/resp_transaction.py",
        "doors/resp_writer.py",
    ),
)
