"""The table of machine commands: names, arity, kind and where their keys stand.

This is what doors and gateways need to know of a command before the log sees it. How one is
carried out is in `execution.py`; a command that only a door understands (PING, MULTI ...) has
no place here. Arity, flags and key positions follow Redis's COMMAND table.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """Whether a command goes through the log or is answered from the applied state."""

    READ = "read"
    WRITE = "write"


class CommandSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One machine command.

    `name` is upper case. `arity` counts the name too; negative means "at least" (Redis's
    convention). `flags` are Redis's words; `internal` marks a command that gateways make and
    no client may send. Keys stand at `first_key`, every `step`, up to `last_key` (negative:
    counted from the end); all three are 0 when a command names no key.
    """

    name: bytes
    arity: int
    kind: Kind
    flags: frozenset[str]
    first_key: int
    last_key: int
    step: int

    @property
    def internal(self) -> bool:
        """Tell whether only gateways may use this command."""
        return "internal" in self.flags

    def takes(self, count: int) -> bool:
        """Tell whether `count` words, the name included, are a right number for this command."""
        return count == self.arity if self.arity >= 0 else count >= -self.arity

    def arity_error(self) -> str:
        """Return Redis's error text for a wrong number of arguments."""
        return f"ERR wrong number of arguments for '{self.name.decode().lower()}' command"


def _spec(
    name: str, arity: int, flags: str, first: int = 0, last: int = 0, step: int = 0
) -> CommandSpec:
    words = frozenset(flags.split())
    kind = Kind.WRITE if "write" in words else Kind.READ
    return CommandSpec(
        name=name.encode(),
        arity=arity,
        kind=kind,
        flags=words,
        first_key=first,
        last_key=last,
        step=step,
    )


COMMANDS: dict[bytes, CommandSpec] = {
    spec.name: spec
    for spec in (
        # The cluster's list of values.
        _spec("WRITE", 2, "write denyoom fast"),
        _spec("READ", -1, "readonly"),
        # Strings.
        _spec("SET", -3, "write denyoom", 1, 1, 1),
        _spec("GET", 2, "readonly fast", 1, 1, 1),
        _spec("SETNX", 3, "write denyoom fast", 1, 1, 1),
        _spec("GETSET", 3, "write denyoom fast", 1, 1, 1),
        _spec("GETDEL", 2, "write fast", 1, 1, 1),
        _spec("MGET", -2, "readonly fast", 1, -1, 1),
        _spec("MSET", -3, "write denyoom", 1, -1, 2),
        _spec("INCR", 2, "write denyoom fast", 1, 1, 1),
        _spec("INCRBY", 3, "write denyoom fast", 1, 1, 1),
        _spec("DECR", 2, "write denyoom fast", 1, 1, 1),
        _spec("DECRBY", 3, "write denyoom fast", 1, 1, 1),
        _spec("APPEND", 3, "write denyoom fast", 1, 1, 1),
        _spec("STRLEN", 2, "readonly fast", 1, 1, 1),
        # Keys.
        _spec("DEL", -2, "write", 1, -1, 1),
        _spec("EXISTS", -2, "readonly fast", 1, -1, 1),
        _spec("EXPIRE", -3, "write fast", 1, 1, 1),
        _spec("PEXPIRE", -3, "write fast", 1, 1, 1),
        _spec("PERSIST", 2, "write fast", 1, 1, 1),
        _spec("TTL", 2, "readonly fast", 1, 1, 1),
        _spec("PTTL", 2, "readonly fast", 1, 1, 1),
        _spec("TYPE", 2, "readonly fast", 1, 1, 1),
        _spec("KEYS", 2, "readonly"),
        _spec("SCAN", -2, "readonly"),
        _spec("DBSIZE", 1, "readonly fast"),
        # Made by gateways for MULTI ... EXEC and WATCH.
        _spec("EXEC", 3, "write internal"),
        _spec("REVISION", 2, "readonly fast internal", 1, 1, 1),
    )
}
"""Every machine command by its upper-case name."""
