"""Every command that the RESP door knows, and what COMMAND tells of it.

The machine's commands come from its own table; the door adds those that never reach the log.
Names, arities and flags follow Redis.
"""

from __future__ import annotations

from typing import Any

from paxos.machine.commands import COMMANDS, CommandSpec, Kind


def _door(
    name: str, arity: int, flags: str, first: int = 0, last: int = 0, step: int = 0
) -> CommandSpec:
    return CommandSpec(
        name=name.encode(),
        arity=arity,
        kind=Kind.READ,
        flags=frozenset(flags.split()),
        first_key=first,
        last_key=last,
        step=step,
    )


DOOR_COMMANDS: dict[bytes, CommandSpec] = {
    spec.name: spec
    for spec in (
        _door("AUTH", -2, "noscript loading stale fast no_auth"),
        _door("BACKUP", -2, "admin noscript"),
        _door("CLIENT", -2, "noscript loading stale"),
        _door("COMMAND", -1, "loading stale"),
        _door("DISCARD", 1, "noscript loading stale fast"),
        _door("ECHO", 2, "loading stale fast"),
        _door("EXEC", 1, "noscript loading stale"),
        _door("HELLO", -1, "noscript loading stale fast no_auth"),
        _door("INFO", -1, "loading stale"),
        _door("MEMBER", -2, "admin noscript"),
        _door("MULTI", 1, "noscript loading stale fast"),
        _door("PING", -1, "fast"),
        _door("QUIT", -1, "noscript loading stale fast no_auth"),
        _door("READONLY", 1, "loading stale fast"),
        _door("READWRITE", 1, "loading stale fast"),
        _door("RESET", 1, "noscript loading stale fast no_auth"),
        _door("RESPONSES", -1, "loading stale fast"),
        _door("SELECT", 2, "loading stale fast"),
        _door("STATUS", 1, "loading stale fast"),
        _door("UNWATCH", 1, "noscript loading stale fast"),
        _door("WATCH", -2, "noscript loading stale fast", 1, -1, 1),
    )
}
"""The commands that the door carries out itself, by upper-case name."""

CLIENT_COMMANDS: dict[bytes, CommandSpec] = {
    name: spec for name, spec in COMMANDS.items() if not spec.internal
}
"""The machine's commands that a client may send, by upper-case name."""

_WORDS_ANY = 1 << 62


def _bounds(spec: CommandSpec) -> tuple[Kind, int, int]:
    if spec.arity >= 0:
        return spec.kind, spec.arity, spec.arity
    return spec.kind, -spec.arity, _WORDS_ANY


READY_COMMANDS: dict[bytes, tuple[Kind, int, int]] = {
    name: _bounds(spec) for name, spec in CLIENT_COMMANDS.items()
}
"""For the hot path: kind, fewest and most words of a client's machine command, by its name."""

_SUMMARIES: dict[bytes, tuple[str, str]] = {
    b"APPEND": ("string", "Appends a string to the value of a key."),
    b"AUTH": ("connection", "Authenticates the connection."),
    b"BACKUP": ("server", "Begins a backup of everything, and returns its parts."),
    b"CLIENT": ("connection", "Tells about, and names, this node's client connections."),
    b"COMMAND": ("server", "Tells about the commands."),
    b"DBSIZE": ("server", "Returns the number of keys."),
    b"DECR": ("string", "Decrements the integer value of a key by one."),
    b"DECRBY": ("string", "Decrements the integer value of a key."),
    b"DEL": ("generic", "Deletes keys."),
    b"DISCARD": ("transactions", "Discards a transaction."),
    b"ECHO": ("connection", "Returns the given string."),
    b"EXEC": ("transactions", "Executes a transaction as one entry of the log."),
    b"EXISTS": ("generic", "Counts how many of the keys exist."),
    b"EXPIRE": ("generic", "Sets the expiration time of a key in seconds."),
    b"GET": ("string", "Returns the string value of a key."),
    b"GETDEL": ("string", "Returns the string value of a key after deleting the key."),
    b"GETSET": ("string", "Returns the previous string value of a key after setting a new one."),
    b"HELLO": ("connection", "Greets the server and chooses the version of the protocol."),
    b"INCR": ("string", "Increments the integer value of a key by one."),
    b"INCRBY": ("string", "Increments the integer value of a key by a number."),
    b"INFO": ("server", "Returns information about this node."),
    b"KEYS": ("generic", "Returns all keys that match a pattern."),
    b"MEMBER": ("server", "Lists the cluster's members, and adds or removes one."),
    b"MGET": ("string", "Returns the string values of keys."),
    b"MSET": ("string", "Sets the string values of keys in one step."),
    b"MULTI": ("transactions", "Starts a transaction."),
    b"PERSIST": ("generic", "Removes the expiration time of a key."),
    b"PEXPIRE": ("generic", "Sets the expiration time of a key in milliseconds."),
    b"PING": ("connection", "Returns PONG, or the given string."),
    b"PTTL": ("generic", "Returns the expiration time of a key in milliseconds."),
    b"QUIT": ("connection", "Closes the connection."),
    b"READ": ("values", "Returns the cluster's list of values with the slots that chose them."),
    b"READONLY": ("connection", "Allows stale reads on this connection."),
    b"READWRITE": ("connection", "Makes reads on this connection linearizable again."),
    b"RESET": ("connection", "Resets the connection."),
    b"RESPONSES": ("values", "Returns what the learners confirmed to this node."),
    b"SCAN": ("generic", "Iterates over the keys."),
    b"SELECT": ("connection", "Chooses the database, of which there is one: 0."),
    b"SET": ("string", "Sets the string value of a key."),
    b"SETNX": ("string", "Sets the string value of a key that does not exist."),
    b"STATUS": ("values", "Returns this node's view of the cluster as JSON."),
    b"STRLEN": ("string", "Returns the length of a string value."),
    b"TTL": ("generic", "Returns the expiration time of a key in seconds."),
    b"TYPE": ("generic", "Returns the type of the value at a key."),
    b"UNWATCH": ("transactions", "Forgets the watched keys."),
    b"WATCH": ("transactions", "Watches keys: if one changes, the transaction is not executed."),
    b"WRITE": ("values", "Appends a value to the cluster's list and returns its slot."),
}

ALL_COMMANDS: dict[bytes, CommandSpec] = dict(sorted({**CLIENT_COMMANDS, **DOOR_COMMANDS}.items()))
"""Every command a client may send, by upper-case name."""


def unknown_command(words: list[bytes]) -> str:
    """Return Redis's error text for a command that nobody knows."""
    name = words[0][:128].decode("utf-8", "surrogateescape")
    shown = b""
    for word in words[1:]:
        if len(shown) >= 128:
            break
        shown += b"'%b' " % word[: 128 - len(shown)]
    rest = shown.decode("utf-8", "surrogateescape")
    return f"ERR unknown command '{name}', with args beginning with: {rest}"


def unknown_subcommand(command: str, word: bytes) -> str:
    """Return Redis's error text for a subcommand that nobody knows."""
    shown = word[:128].decode("utf-8", "surrogateescape")
    return f"ERR unknown subcommand '{shown}'. Try {command} HELP."


def wrong_arity(name: str) -> str:
    """Return Redis's error text for a wrong number of words; `name` is in lower case."""
    return f"ERR wrong number of arguments for '{name}' command"


def describe(spec: CommandSpec) -> list[Any]:
    """Return what COMMAND INFO says of one command."""
    return [
        spec.name.lower(),
        spec.arity,
        sorted(spec.flags),
        spec.first_key,
        spec.last_key,
        spec.step,
        [],
        [],
        [],
        [],
    ]


def document(spec: CommandSpec) -> dict[bytes, bytes]:
    """Return what COMMAND DOCS says of one command."""
    group, summary = _SUMMARIES.get(spec.name, ("generic", ""))
    return {b"summary": summary.encode(), b"group": group.encode()}
