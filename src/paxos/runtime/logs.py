"""The node's log: a ring of the newest records in memory, and one line each on standard output.

Everything is rendered from `Trace` records that the roles' steps left behind; nobody writes log
text anywhere else. The ring never grows: the number of records, the text and the fields of each
are bounded, because all of them may carry what a client sent. It decides nothing and raises
nothing: a closed standard output only ends the printing.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, BinaryIO, Literal

import msgspec

from paxos.core.trace import Level, Trace

RECORDS_MAX = 2000
"""How many records a ring keeps by default."""

TEXT_CHARACTERS_MAX = 1000
"""A record's sentence is cut after so many characters."""

FIELDS_MAX = 16
"""A record keeps so many fields."""

FIELD_CHARACTERS_MAX = 200
"""The printed form of one field is cut after so many characters."""

LEVELS: dict[str, int] = {level.value: rank for rank, level in enumerate(Level)}
"""Rank of each level's name, the least important first."""

Style = Literal["text", "json"]

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t", 0x2028: "\\u2028"}
_CONTROL |= {0x2029: "\\u2029", 0x202E: "\\u202e"}


class LogRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log. `time` is in seconds since 1970 (UTC); `sequence` counts from 1."""

    sequence: int
    time: float
    level: str
    glyph: str
    what: str
    text: str
    fields: dict[str, Any]


def standard_output() -> BinaryIO | None:
    """Return an unbuffered handle on standard output, or None when the process has none.

    Python leaves `sys.stdout` at None when descriptor 1 was closed at the start; the number may
    by then belong to a journal or a socket, so it must not be touched.
    """
    if sys.stdout is None:
        return None
    try:
        return open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)
    except (OSError, ValueError, io.UnsupportedOperation):
        return None


def render_text(record: LogRecord, node: str = "") -> str:
    """Return a record as one line for people, without its line end."""
    moment = datetime.fromtimestamp(record.time, UTC).isoformat(timespec="milliseconds")
    fields = "".join(f" {name}={_shown(value)}" for name, value in record.fields.items())
    where = f"{node} " if node else ""
    return (
        f"{moment.removesuffix('+00:00')}Z {record.level.upper():<7} {where}"
        f"{record.glyph} {record.what}: {record.text}{fields}"
    )


def render_json(record: LogRecord, node: str = "") -> bytes:
    """Return a record as one line of JSON, without its line end."""
    content = msgspec.to_builtins(record)
    return msgspec.json.encode({"node": node, **content} if node else content)


class LogRing:
    """The newest records of one node, oldest dropped first, and who waits for the next one.

    `node` is printed in each line. Records below `level` are neither kept nor printed.
    `output` takes the printed lines; None prints nothing.
    """

    def __init__(
        self,
        capacity: int = RECORDS_MAX,
        *,
        node: str = "",
        level: Level = Level.INFO,
        style: Style = "text",
        output: BinaryIO | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"a log of {capacity} records holds nothing")
        self.capacity = capacity
        self.node = node
        self.level = level
        self.style = style
        self.output = output
        self.newest = 0
        """The sequence number of the newest record; 0 when there is none yet."""
        self._records: deque[LogRecord] = deque(maxlen=capacity)
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def oldest(self) -> int:
        """The sequence number of the oldest record that is still here; 0 when there is none."""
        return self._records[0].sequence if self._records else 0

    def add(self, trace: Trace, now: float) -> None:
        """Keep and print what happened. `now` is in seconds since 1970; never raises."""
        if LEVELS[trace.level] < LEVELS[self.level]:
            return
        self.newest += 1
        record = LogRecord(
            sequence=self.newest,
            time=now,
            level=trace.level.value,
            glyph=trace.glyph,
            what=trace.what,
            text=_clean(trace.text, TEXT_CHARACTERS_MAX),
            fields={
                _clean(name, FIELD_CHARACTERS_MAX): _bounded(value)
                for name, value in islice(trace.fields.items(), FIELDS_MAX)
            },
        )
        self._records.append(record)
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()
        self._print(record)

    def records(
        self,
        after: int | None = None,
        level: str | None = None,
        text: str | None = None,
        limit: int = RECORDS_MAX,
    ) -> list[LogRecord]:
        """Return matching records, oldest first, at most `limit`.

        These are the newest ones; with `after`, the first ones whose sequence number is above it.
        `level` asks for that level or a more important one; `text` is looked for
        in what, sentence and fields, without regard to case. Raises ValueError on a level that
        does not exist.
        """
        if level is not None and level not in LEVELS:
            raise ValueError(f"level {level!r} is not one of {', '.join(LEVELS)}")
        rank = LEVELS[level] if level is not None else 0
        wanted = text.casefold() if text else ""

        def matching(candidates: Iterator[LogRecord]) -> Iterator[LogRecord]:
            return (
                record
                for record in candidates
                if LEVELS[record.level] >= rank and (not wanted or wanted in _searched(record))
            )

        if after is not None:
            skipped = max(0, len(self._records) - max(0, self.newest - after))
            return list(islice(matching(islice(self._records, skipped, None)), limit))
        newest = list(islice(matching(reversed(self._records)), limit))
        newest.reverse()
        return newest

    async def wait_until_newer(self, after: int) -> None:
        """Return when a record with a sequence number above `after` has been added."""
        while self.newest <= after:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await waiter
            finally:
                self._waiting.discard(waiter)

    def _print(self, record: LogRecord) -> None:
        if self.output is None:
            return
        if self.style == "json":
            line = render_json(record, self.node)
        else:
            line = render_text(record, self.node).encode("utf-8", "backslashreplace")
        try:
            self.output.write(line + b"\n")
        except (BrokenPipeError, ValueError):
            # Whoever read the lines is gone for good; the ring and the pages go on.
            self.output = None
        except OSError:
            # A full disk or the like: this line is lost, a later one may get through.
            return


def _clean(text: str, characters_max: int) -> str:
    """Return `text` on one line, without control characters, encodable, and not too long."""
    cut = text if len(text) <= characters_max else text[: characters_max - 1] + "…"
    return cut.translate(_CONTROL).encode("utf-8", "backslashreplace").decode()


def _bounded(value: Any) -> Any:
    """Return a field's value as something small that JSON can carry."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # JavaScript cannot hold larger ones exactly, and a huge one would be a huge line.
        return value if abs(value) < 2**53 else _clean(hex(value), FIELD_CHARACTERS_MAX)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        start = bytes(value[: FIELD_CHARACTERS_MAX + 1])
        return _clean(start.decode("utf-8", "backslashreplace"), FIELD_CHARACTERS_MAX)
    if isinstance(value, str):
        return _clean(value[: FIELD_CHARACTERS_MAX + 1], FIELD_CHARACTERS_MAX)
    if isinstance(value, list | tuple | set | frozenset):
        # Every item is cut before it is joined, so that a long value is never printed whole.
        items = (str(_bounded(item)) for item in islice(value, FIELDS_MAX + 1))
        return _clean(", ".join(items), FIELD_CHARACTERS_MAX)
    if isinstance(value, Mapping):
        pairs = islice(value.items(), FIELDS_MAX + 1)
        items = (f"{_bounded(name)}: {_bounded(item)}" for name, item in pairs)
        return _clean(", ".join(items), FIELD_CHARACTERS_MAX)
    return _clean(repr(value), FIELD_CHARACTERS_MAX)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        plain = value and not any(character in value for character in " \"'=")
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _searched(record: LogRecord) -> str:
    fields = " ".join(f"{name}={_shown(value)}" for name, value in record.fields.items())
    return f"{record.glyph} {record.what} {record.text} {fields}".casefold()
