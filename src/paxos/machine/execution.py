"""How a command is carried out: from its name to its function, alone, in a batch or in EXEC.

Nothing that arrives here can raise: a command that cannot be understood is answered with an
error, the same on every replica. Commands that `decode_commands` returned are of three kinds:
all bytes; EXEC, which looks at its own arguments; or empty, which stands for anything else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec

from . import keyspace, strings, written
from .commands import COMMANDS, Kind
from .kv import Store
from .replies import Command, Reply, bytes_of, error, malformed_command, unknown_command

Step = Callable[[Store, Command], Reply]

_EXEC = b"EXEC"
_EXEC_SPEC = COMMANDS[_EXEC]

_plain_commands = msgspec.msgpack.Decoder(list[list[bytes]])
_any_commands = msgspec.msgpack.Decoder(list[list[bytes | list[list[bytes | int]]]])


def decode_commands(data: bytes) -> list[Command] | None:
    """Return the commands in a msgpack array of commands; None when it is not one.

    Typed, so that the depth of what is accepted is fixed: a verdict that depended on how deep
    the interpreter's stack happens to be could differ between replicas.
    """
    try:
        return _plain_commands.decode(data)
    except ValueError:
        pass
    try:
        commands: list[Command] = _any_commands.decode(data)
    except ValueError:
        return None
    return [command if _is_plain(command) or command[:1] == [_EXEC] else [] for command in commands]


def run_batch(store: Store, commands: list[Command], bytes_max: int) -> list[Reply]:
    """Carry out decoded commands of the log in order, each as one change; return the replies.

    Replies that would take the whole past `bytes_max` bytes are replaced by errors: a small
    batch can ask for any amount of data, and all learners would drown in it at once.
    """
    replies: list[Reply] = []
    room = bytes_max
    for command in commands:
        reply = _run(store, command, room)
        store.next_revision = store.revision + 1  # Store.commit, without the call
        if reply is _PAST_ROOM:
            reply = _too_large(command, bytes_max)
        elif type(reply) in _SIZED:
            size = bytes_of(reply)
            if size > room:
                reply = _too_large(command, bytes_max)
            else:
                room -= size
        replies.append(reply)
    return replies


def run_reads(store: Store, commands: list[Any], bytes_max: int) -> list[Reply]:
    """Answer read-only commands from the state as it is; anything else gets an error.

    The commands need not have been checked before. `bytes_max` is as in `run_batch`.
    """
    plain = [command if _is_plain(command) and _only_reads(command) else [] for command in commands]
    replies = run_batch(store, plain, bytes_max)
    return [
        reply if checked else _unreadable(command)
        for command, checked, reply in zip(commands, plain, replies, strict=True)
    ]


def _run(store: Store, command: Command, room: int) -> Reply:
    if not command:
        return malformed_command()
    if command[0] == _EXEC:
        right = len(command) == _EXEC_SPEC.arity
        return _run_exec(store, command, room) if right else error(_EXEC_SPEC.arity_error())
    step = _STEPS.get(command[0])
    if step is None:
        return unknown_command(command)
    run, words_min, words_max = step
    if not words_min <= len(command) <= words_max:
        return error(COMMANDS[command[0]].arity_error())
    return run(store, command)


def _run_exec(store: Store, command: Command, room: int) -> Reply:
    """EXEC watches commands: all commands as one change, or None when a watched key changed.

    `watches` are [key, mod_revision] pairs, 0 for a key that was absent. A command that fails
    is answered with its error; the others take effect all the same (as in Redis).

    Replies that take more than `room` bytes together are dropped, for `_PAST_ROOM`, as soon as
    they do: five bytes of KEYS can ask for as much as there is, and an EXEC holds a million.
    """
    _, watches, commands = command
    if type(watches) is not list or type(commands) is not list:
        return malformed_command()
    if any([type(part) for part in watch] != [bytes, int] for watch in watches):
        return malformed_command()
    for key, revision in watches:
        entry = store.entries.get(key)
        if revision != (0 if entry is None else entry.mod_revision):
            return None
    replies: list[Reply] = []
    room -= bytes_of(replies)
    for inner in commands:
        if room < 0 and _is_plain(inner) and _only_reads(inner):
            continue  # it changes nothing, and nobody will be told
        reply = _run_inside(store, inner)
        if room >= 0:
            replies.append(reply)
            room -= bytes_of(reply)
            if room < 0:
                replies.clear()
    return replies if room >= 0 else _PAST_ROOM


def _run_inside(store: Store, command: Command) -> Reply:
    if not _is_plain(command):
        return malformed_command()
    if command[0] == _EXEC:
        return error("ERR EXEC inside EXEC is not allowed")
    return _run(store, command, 0)


def _is_plain(command: Any) -> bool:
    """Tell whether this is a name and arguments, all bytes."""
    return type(command) is list and bool(command) and all(type(word) is bytes for word in command)


def _only_reads(command: Command) -> bool:
    """Tell whether a plain command may be answered without the log (or does not exist)."""
    spec = COMMANDS.get(command[0])
    return spec is None or spec.kind is Kind.READ


def _unreadable(command: Any) -> Reply:
    if not _is_plain(command):
        return malformed_command()
    return error(f"ERR '{command[0].decode().lower()}' changes the state: it must go by the log")


def _too_large(command: Command, bytes_max: int) -> Reply:
    if COMMANDS[command[0]].kind is Kind.READ:
        return error(f"ERR the reply would take more than {bytes_max} bytes; ask for less")
    return error(f"ERR it took effect, but its reply would take more than {bytes_max} bytes")


_PAST_ROOM = "past room"
"""What `_run_exec` answers, this very object, when the replies are too large to be kept."""

_SIZED = frozenset((bytes, list))
"""The forms of a reply that can be of any size."""

_FUNCTIONS: dict[bytes, Step] = {
    b"WRITE": written.on_write,
    b"READ": written.on_read,
    b"SET": strings.on_set,
    b"GET": strings.on_get,
    b"SETNX": strings.on_setnx,
    b"GETSET": strings.on_getset,
    b"GETDEL": strings.on_getdel,
    b"MGET": strings.on_mget,
    b"MSET": strings.on_mset,
    b"INCR": strings.on_incr,
    b"INCRBY": strings.on_incrby,
    b"DECR": strings.on_decr,
    b"DECRBY": strings.on_decrby,
    b"APPEND": strings.on_append,
    b"STRLEN": strings.on_strlen,
    b"DEL": keyspace.on_del,
    b"EXISTS": keyspace.on_exists,
    b"EXPIRE": keyspace.on_expire,
    b"PEXPIRE": keyspace.on_pexpire,
    b"PERSIST": keyspace.on_persist,
    b"TTL": keyspace.on_ttl,
    b"PTTL": keyspace.on_pttl,
    b"TYPE": keyspace.on_type,
    b"KEYS": keyspace.on_keys,
    b"SCAN": keyspace.on_scan,
    b"DBSIZE": keyspace.on_dbsize,
    b"REVISION": keyspace.on_revision,
}

_STEPS: dict[bytes, tuple[Step, int, int]] = {
    name: (run, abs(COMMANDS[name].arity), max(COMMANDS[name].arity, 0) or sys.maxsize)
    for name, run in _FUNCTIONS.items()
}
"""Each command's function and the least and the greatest number of words, name included."""
