"""What MULTI and WATCH gather on a connection until EXEC hands it to the log as one command.

The machine compares the watched keys' revisions when the log reaches the EXEC; nothing is locked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .resp_commands import CLIENT_COMMANDS
from .resp_writer import encode_error, encode_into

WATCHED_KEYS_MAX = 4096
"""How many keys one connection may watch at once."""

LOCAL_REPLIES_BYTES_MAX = 1024 * 1024
"""How many bytes of an EXEC's reply the door may make by itself: COMMAND, CLIENT and their like
are answered with a thousand times what they took to ask."""

_TOO_LARGE = encode_error(
    f"ERR the reply would take more than {LOCAL_REPLIES_BYTES_MAX} bytes; ask for less"
)

_COMMAND_OVERHEAD_BYTES = 64
_WORD_OVERHEAD_BYTES = 40
"""About what Python keeps for a command and for each of its words besides their bytes."""


class Transaction:
    """The commands between MULTI and EXEC. `dirty`: one was refused, so EXEC must refuse too.

    `payload_bytes` counts the commands' words; `held_bytes` what they take in memory, about.
    """

    __slots__ = ("_commands", "dirty", "held_bytes", "payload_bytes")

    def __init__(self) -> None:
        self._commands: list[list[bytes]] = []
        self.dirty = False
        self.payload_bytes = 0
        self.held_bytes = 0

    def queue(self, command: list[bytes], size: int) -> None:
        """Add a command whose words have `size` bytes and whose name is in upper case."""
        self._commands.append(command)
        self.payload_bytes += size
        self.held_bytes += size + _COMMAND_OVERHEAD_BYTES + _WORD_OVERHEAD_BYTES * len(command)

    def for_machine(self) -> list[list[bytes]]:
        """Return the commands that the machine shall carry out."""
        return [command for command in self._commands if command[0] in CLIENT_COMMANDS]

    def encode_replies(
        self, results: list[Any], local: Callable[[list[bytes]], bytes], version: int
    ) -> bytes:
        """Return all replies in order: the machine's `results`, and `local` for the others."""
        remaining = iter(results)
        out = [b"*%d\r\n" % len(self._commands)]
        room = LOCAL_REPLIES_BYTES_MAX
        for command in self._commands:
            if command[0] in CLIENT_COMMANDS:
                encode_into((next(remaining),), out.append, version)
                continue
            reply = local(command) if room > 0 else _TOO_LARGE
            room -= len(reply)
            out.append(reply if room >= 0 else _TOO_LARGE)
        return b"".join(out)


class Watches:
    """The keys watched, with the revisions they had. `pending` revisions are still to come.

    `failed`: a revision could not be read, so no transaction may rely on these watches.
    `key_bytes` are the keys' own, `held_bytes` is what they take in memory, about.
    """

    __slots__ = ("_revisions", "failed", "key_bytes", "pending")

    def __init__(self) -> None:
        self._revisions: dict[bytes, int] = {}
        self.key_bytes = 0
        self.pending = 0
        self.failed = False

    def __len__(self) -> int:
        return len(self._revisions)

    def expect(self, keys: list[bytes]) -> list[bytes]:
        """Note that `keys` are watched from now on; return those whose revision must be read."""
        new = [key for key in dict.fromkeys(keys) if key not in self._revisions]
        self._revisions.update(dict.fromkeys(new, 0))
        self.pending += len(new)
        self.key_bytes += sum(map(len, new))
        return new

    @property
    def held_bytes(self) -> int:
        """What the watched keys take in memory, in bytes, about."""
        return self.key_bytes + len(self._revisions) * _COMMAND_OVERHEAD_BYTES

    def arrived(self, key: bytes, reply: Any) -> bool:
        """Take in the reply to one key's REVISION; return False if it is no integer: an error."""
        self.pending -= 1
        if type(reply) is not int:
            self.failed = True
            return False
        self._revisions[key] = reply
        return True

    def pairs(self) -> list[list[Any]]:
        """Return [key, revision] for each watched key, as EXEC carries them."""
        return [[key, revision] for key, revision in self._revisions.items()]
