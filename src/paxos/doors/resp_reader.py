"""Bytes from a client to commands: RESP arrays of bulk strings, and inline lines.

hiredis parses. This room adds what hiredis, a parser for answers, does not do for a server:

- it knows where each command ends, so that inline lines work between arrays;
- it refuses what is no command: nested arrays, numbers, simple strings, missing line ends;
- it bounds everything before it is buffered or allocated (DESIGN rule 10): hiredis would make
  a list of two thousand million places for the five bytes of a header that asks for them.

The hot path costs two passes at C speed per chunk: a scan for headers with large numbers, and
a comparison of what was parsed, encoded again, with what was received. Anything else (a large
value, a client that is not authenticated, a foul byte) goes through `_Walker`, which reads
every header before hiredis sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

import hiredis

from .resp_inline import split_line

COUNT_MAX = 1024 * 1024
"""The most words one command may have; Redis's own limit."""

INLINE_BYTES_MAX = 64 * 1024
"""The longest inline line; Redis's own limit."""

SLACK_BYTES = 64 * 1024
"""How far past the size limit a command may announce itself and still be answered with an error
that leaves the connection open; beyond that, the connection is closed."""

RESTRICTED_COUNT_MAX = 10
RESTRICTED_BULK_BYTES_MAX = 16 * 1024
"""What a client may send before it is authenticated; Redis's own limits."""

_HEADER_BYTES_MAX = 16
"""No valid header is longer: a sign, ten digits, CR and LF."""

_STAR, _DOLLAR = b"*$"

_SHAPE = bytes.maketrans(b"0123456789", b"0" * 10)
_LARGE_BULK = b"$000000"
_LARGE_COUNT = b"*000"
"""What `_SHAPE` makes of headers that announce 100,000 or more bytes, or 100 or more words.

The latter is low because hiredis nests arrays without bound, and makes room for each at once.
"""


Command: TypeAlias = list[bytes]

_encode = cast(Callable[[tuple[bytes, ...]], bytes], hiredis.pack_command)  # its stub is wrong


class OversizedCommand(list[bytes]):
    """A command that passes the size limit. Its words are gone; `size` is what they had, in bytes.

    It looks like a command without a name, so it can match no table of commands by accident.
    """

    def __init__(self, size: int) -> None:
        super().__init__((b"",))
        self.size = size


class _Walker:
    """Follows the structure of RESP commands, header by header, and refuses bad ones.

    It holds no value's bytes, only where it is: so it can be stopped anywhere in a stream.
    """

    __slots__ = (
        "_bytes_left",
        "_head",
        "_limit",
        "_size",
        "_words_left",
        "error",
        "refused",
        "restricted",
    )

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._words_left = 0
        self._bytes_left = 0  # of the bulk string being passed, with its line end
        self._head = b""  # a header that the last chunk ended in
        self._size = 0
        self.restricted = False
        self.error: str | None = None
        self.refused = False  # the error is one that only a restricted client gets

    @property
    def idle(self) -> bool:
        """Tell whether it stands between two commands."""
        return not self._words_left and not self._head

    def walk(self, data: bytes, position: int, *, once: bool = False) -> int:
        """Walk `data` from `position`; return where the last complete command ended.

        Stops at the first command's end if `once`, before an inline line, and at the first
        violation, which is then in `error`.
        """
        boundary = position
        end = len(data)
        while position < end:
            if self._bytes_left:
                position = self._pass_bulk(data, position)
                if self.error is not None or self._bytes_left:
                    break
                self._words_left -= 1
                if not self._words_left:
                    boundary = position
                    if once:
                        break
                continue
            if not self._words_left and not self._head and data[position] != _STAR:
                break
            after = self._read_header(data, position)
            if after < 0:
                break
            position = after
            if not self._words_left:  # "*0" or "*-1": nothing at all, as in Redis
                boundary = position
                if once:
                    break
        return boundary

    def _pass_bulk(self, data: bytes, position: int) -> int:
        """Pass the bytes of a bulk string and check its line end. Return the new position."""
        left = self._bytes_left
        if left > 2:
            step = min(left - 2, len(data) - position)
            position += step
            left -= step
        if left <= 2:
            line_end = data[position : position + left]
            if not b"\r\n"[2 - left :].startswith(line_end):
                self.error = "Protocol error: expected CRLF after a bulk string"
            position += len(line_end)
            left -= len(line_end)
        self._bytes_left = left
        return position

    def _read_header(self, data: bytes, position: int) -> int:
        """Read the header at `position`. Return where it ends; -1: incomplete, or wrong."""
        head = data[position : position + _HEADER_BYTES_MAX]
        held = len(self._head)
        if held:
            head = self._head + head
        length = head.find(b"\r\n", 0, _HEADER_BYTES_MAX)
        counts = not self._words_left
        if head[0] != (_STAR if counts else _DOLLAR):
            # Only inside a command: a first byte other than `*` makes an inline line.
            found = head[:1].decode("utf-8", "surrogateescape")
            self.error = f"Protocol error: expected '$', got '{found}'"
            return -1
        if length < 0:
            if len(head) >= _HEADER_BYTES_MAX:
                self.error = _length_error(counts)
            else:
                self._head = head
            return -1
        self._head = b""
        digits = head[1:length]
        if counts:
            self._begin(digits)
        else:
            self._announce(digits)
        return -1 if self.error is not None else position + length + 2 - held

    def _begin(self, digits: bytes) -> None:
        """Take a command's number of words."""
        count = 0 if digits == b"-1" else _number(digits)
        if count < 0 or count > COUNT_MAX:
            self.error = _length_error(True)
        elif self.restricted and count > RESTRICTED_COUNT_MAX:
            self.error = "Protocol error: unauthenticated multibulk length"
            self.refused = True
        else:
            self._words_left = count
            self._size = 0

    def _announce(self, digits: bytes) -> None:
        """Take a word's number of bytes."""
        count = _number(digits)
        if count < 0 or count > self._limit + SLACK_BYTES:
            self.error = _length_error(False)
            return
        if self.restricted and count > RESTRICTED_BULK_BYTES_MAX:
            self.error = "Protocol error: unauthenticated bulk length"
            self.refused = True
            return
        self._size += count
        if self._size > self._limit + SLACK_BYTES:
            self.error = f"Protocol error: command is larger than {self._limit} bytes"
            return
        self._bytes_left = count + 2


def _number(digits: bytes) -> int:
    """Return a header's number; -1 for what is none. As strict as hiredis: no sign, no 007."""
    if not digits.isdigit() or (digits[0] == 0x30 and len(digits) > 1):
        return -1
    return int(digits)


def _length_error(counts: bool) -> str:
    return (
        "Protocol error: invalid multibulk length"
        if counts
        else "Protocol error: invalid bulk length"
    )


class CommandReader:
    """One connection's bytes in, its commands out.

    `error` is None until the client breaks the protocol; then it holds Redis's own text, and
    nothing more is read. `partial_bytes` is how much of an incomplete command is held.
    `deferred` are bytes to be fed again once the commands returned have been carried out: an
    AUTH among them may allow what follows it.
    """

    __slots__ = (
        "_line",
        "_parser",
        "_value_bytes_max",
        "_walker",
        "deferred",
        "error",
        "partial_bytes",
    )

    def __init__(self, value_bytes_max: int) -> None:
        """Bound a command's words together to `value_bytes_max` bytes."""
        self._value_bytes_max = value_bytes_max
        self._parser = hiredis.Reader()
        self._walker = _Walker(value_bytes_max)
        self._line = b""
        self.partial_bytes = 0
        self.deferred = b""
        self.error: str | None = None

    def restrict(self, restricted: bool) -> None:
        """Apply, or lift, the narrow limits for clients that are not authenticated."""
        self._walker.restricted = restricted

    def feed(self, data: bytes) -> list[Command]:
        """Take a chunk in; return the commands that it completes, in order.

        Check `error` afterwards: the commands returned came before the violation. Never raises
        for anything a client can send.
        """
        if self.error is not None:
            return []
        held = self.partial_bytes
        if self._line:
            data, self._line, held = self._line + data, b"", 0
        commands: list[Command] = []
        position = 0
        if not self._walker.idle:
            position = self._finish_command(data, commands)
        if position < len(data) and self.error is None and self._walker.idle:
            position = self._read_fast(data, position, commands)
        while position < len(data) and self.error is None and self._walker.idle:
            if data[position] == _STAR:
                position = self._read_walking(data, position, commands)
            else:
                position = self._read_line(data, position, commands)
        self.partial_bytes = len(data) - position + len(self._line) + (0 if position else held)
        if held + len(data) > self._value_bytes_max:
            self._refuse_oversized(commands)
        return commands

    def _finish_command(self, data: bytes, commands: list[Command]) -> int:
        """Complete the command that earlier chunks began. Return where it ends, or 0."""
        position = self._walker.walk(data, 0, once=True)
        self.error = self._walker.error
        if self.error is None:
            # Incomplete still: everything up to the chunk's end belongs to it.
            size = len(data) if not self._walker.idle else position
            self._parser.feed(data, 0, size)
            commands += self._parsed()
        return position

    def _read_fast(self, data: bytes, position: int, commands: list[Command]) -> int:
        """Parse all of the chunk's rest at once, if it is what well-behaved clients send.

        Returns the position reached, which is the old one when it is not.
        """
        if self._walker.restricted or data[position] != _STAR:
            return position
        if len(data) - position > self._value_bytes_max + SLACK_BYTES:
            return position  # a command in here may be one that only the walker refuses
        shape = data.translate(_SHAPE)
        if _LARGE_BULK in shape or _LARGE_COUNT in shape:
            return position
        self._parser.feed(data, position, len(data) - position)
        try:
            parsed = self._parsed()
            again = b"".join(map(_encode, map(tuple, parsed)))
        except (hiredis.ProtocolError, TypeError):
            # An inline line in between, a nested array, a null: the walker sorts it out.
            return self._start_over(position)
        boundary = position + len(again)
        if not data.startswith(again, position) or (
            boundary < len(data) and data[boundary] != _STAR
        ):
            return self._start_over(position)
        commands += parsed
        if boundary < len(data):
            boundary = self._walker.walk(data, boundary)
            self.error = self._walker.error
            if self._walker.idle and boundary < len(data):
                # An inline line behind "*0": hiredis takes it for the beginning of a reply.
                return self._start_over(boundary)
        return boundary

    def _start_over(self, position: int) -> int:
        """Forget what the parser has read of this chunk."""
        self._parser = hiredis.Reader()
        return position

    def _read_walking(self, data: bytes, position: int, commands: list[Command]) -> int:
        """Check the commands from `position` on header by header, then parse those."""
        boundary = self._walker.walk(data, position)
        self.error = self._walker.error
        if self._walker.refused and (commands or boundary > position):
            self._walker = _Walker(self._value_bytes_max)
            self._walker.restricted = True
            self._parser.feed(data, position, boundary - position)
            commands += self._parsed()
            self.deferred, self.error = data[boundary:], None
            return len(data)
        end = len(data) if self.error is None and not self._walker.idle else boundary
        self._parser.feed(data, position, end - position)
        commands += self._parsed()
        return boundary

    def _parsed(self) -> list[Command]:
        """Return the commands that the parser has complete. Raises hiredis.ProtocolError."""
        return [command for command in iter(self._parser.gets, False) if command]

    def _read_line(self, data: bytes, position: int, commands: list[Command]) -> int:
        """Read one inline line. Return where the next command starts."""
        end = data.find(b"\n", position, position + INLINE_BYTES_MAX + 1)
        if end < 0:
            if len(data) - position > INLINE_BYTES_MAX:
                self.error = "Protocol error: too big inline request"
            else:
                self._line = data[position:]
            return len(data)
        words = split_line(data[position:end].removesuffix(b"\r"))
        if words is None:
            self.error = "Protocol error: unbalanced quotes in request"
        elif words:
            commands.append(words)
        return end + 1

    def _refuse_oversized(self, commands: list[Command]) -> None:
        """Replace the commands whose words pass the size limit together."""
        for index, command in enumerate(commands):
            size = sum(map(len, command))
            if size > self._value_bytes_max:
                commands[index] = OversizedCommand(size)
