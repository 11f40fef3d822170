"""What clients asked and were told: the events of a history, and the operations they make up.

A history is a text file, one JSON object per line, in Jepsen's words:

    {"process": 3, "type": "invoke", "f": "write", "key": "k1", "value": 7, "time": 12.5}
    {"process": 3, "type": "ok", "f": "write", "key": "k1", "value": 7, "time": 14.0}

A process has one operation at a time. How it ended is one of three things:

    ok      it happened, and this is its answer
    fail    it did not happen, and never will
    info    unknown: it may take effect at any later time, or never; so does one without an end

| f           | value when invoked | value when ok                                            |
| ----------- | ------------------ | -------------------------------------------------------- |
| read, get   | null               | the value: a string, an integer or null                  |
| write, put  | the value          |                                                          |
| cas         | [old, new]         | it was old and is new; `fail` with the error NOT_OLD     |
|             |                    | claims that it was something else                        |
| incr        | null               | the new integer; null counts as 0                        |
| append      | the text           | the new length, or null if not known; null counts as ""  |
| delete      | null               |                                                          |
| list-append | the value          | the slot it got, or null; the one ordered list, key null |
| list-read   | null               | [[slot, value], ...] in order                            |

An integer and its decimal text are the same value, as in Redis. Times are milliseconds on one
clock; where two are equal the order of the lines decides. This module reads and writes and knows
nothing of what is correct: that is linearizability.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

import msgspec

from paxos.core.errors import PaxosError

TYPES = ("invoke", "ok", "fail", "info")
FUNCTIONS = (
    "read",
    "write",
    "cas",
    "incr",
    "append",
    "delete",
    "list-append",
    "list-read",
)
LIST_FUNCTIONS = ("list-append", "list-read")
ALIASES = {"get": "read", "put": "write"}
"""Names of Jepsen's key-value logs for the same things."""

NOT_OLD = "not-old"
"""The error of a failed `cas` that was compared: the value was something else at some moment
between invocation and answer. Any other failed `cas` claims nothing but that it did not happen."""

LINE_CHARACTERS_MAX = 64 * 1024 * 1024
"""A longer line is no event."""


class HistoryError(PaxosError):
    """A history cannot be read or makes no sense. The message names the line."""


class Event(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One line of a history. `time` in milliseconds."""

    process: int
    type: str
    f: str
    key: str | None = None
    value: Any = None
    time: float = 0.0
    error: str = ""
    node: str = ""


class Operation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An operation: invoked, and ended in one way or not at all.

    `invoked` and `returned` in milliseconds; `returned` is None when nothing more was heard. An
    `info` has a time when the client gave up, but may take effect later.
    `index` counts operations in the order of their invocation, from 0. `began` and `ended` are
    the places of the two events in the history and decide where times are equal; an operation
    made by hand may leave them out, then equal times mean "at the same time".
    """

    index: int
    process: int
    f: str
    key: str | None = None
    argument: Any = None
    result: Any = None
    invoked: float
    returned: float | None = None
    outcome: str = "info"
    error: str = ""
    node: str = ""
    began: int = -1
    ended: int | None = None

    @property
    def place(self) -> tuple[float, int]:
        """Where its invocation stands in the order of all events."""
        return (self.invoked, self.began)

    @property
    def place_returned(self) -> tuple[float, int] | None:
        """Where its answer stands in the order of all events; None when there is none."""
        if self.returned is None or self.outcome == "info":
            return None
        # Without a known place it comes after whatever else happened at that time.
        return (self.returned, 1 << 60 if self.ended is None else self.ended)


def read_events(lines: str | Iterable[str]) -> list[Event]:
    """Return the events of a JSON-lines history; empty lines are nothing.

    Raises HistoryError naming the line that is not an event.
    """
    return read_numbered_events(lines)[0]


def read_numbered_events(lines: str | Iterable[str]) -> tuple[list[Event], list[int]]:
    """Return the events of a JSON-lines history, and the number of each one's line.

    Raises HistoryError naming the line that is not an event.
    """
    decode = msgspec.json.Decoder(Event).decode
    events: list[Event] = []
    numbers: list[int] = []
    rows = lines.split("\n") if isinstance(lines, str) else lines
    for number, line in enumerate(rows, start=1):
        if not line or line.isspace():
            continue
        if len(line) > LINE_CHARACTERS_MAX:
            raise HistoryError(f"line {number}: longer than {LINE_CHARACTERS_MAX} characters")
        try:
            event = decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise HistoryError(f"line {number}: not an event: {error}") from error
        events.append(checked(event, number))
        numbers.append(number)
    return events, numbers


def checked(event: Event, line: int) -> Event:
    """Return the event if its words are known. Raises HistoryError naming the line."""
    if event.type not in TYPES:
        raise HistoryError(f'line {line}: type "{event.type}" is none of {", ".join(TYPES)}')
    if event.f not in FUNCTIONS and event.f not in ALIASES:
        raise HistoryError(f'line {line}: f "{event.f}" is none of {", ".join(FUNCTIONS)}')
    return event


def encode_line(event: Event) -> bytes:
    """Return an event as a line of a JSON-lines history, line feed included."""
    return msgspec.json.encode(event) + b"\n"


class Writer:
    """Writes events to a binary file as they happen. The caller opens, flushes and closes it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._encoder = msgspec.json.Encoder()

    def write(self, event: Event) -> None:
        """Append one event."""
        self._file.write(self._encoder.encode(event) + b"\n")


def operations(events: Iterable[Event], lines: list[int] | None = None) -> list[Operation]:
    """Pair invocations with their ends; returns operations in the order of invocation.

    Events are taken in the order of their times, equal times in the order given. `lines` are the
    events' line numbers when they are not 1, 2, 3. Raises HistoryError, naming the line, when an
    end has no invocation, a process has two operations at once, or a value cannot be right.
    """
    given = events if isinstance(events, list) else list(events)
    order: Iterable[int] = range(len(given))
    if any(given[i].time > given[i + 1].time for i in range(len(given) - 1)):
        order = sorted(order, key=lambda place: given[place].time)
    open_of: dict[int, int] = {}
    begun: list[int] = []
    ends: dict[int, int] = {}
    place_of: dict[int, int] = {}
    for place, at in enumerate(order):
        event = given[at]
        if event.type == "invoke":
            if event.process in open_of:
                raise HistoryError(
                    f"line {_line(at, lines)}: process {event.process} invokes {event.f} while "
                    f"its {given[open_of[event.process]].f} of line "
                    f"{_line(open_of[event.process], lines)} has no end"
                )
            open_of[event.process] = at
            begun.append(at)
        else:
            start = open_of.pop(event.process, None)
            if start is None:
                raise HistoryError(
                    f"line {_line(at, lines)}: process {event.process} ends a {event.f} that it "
                    "has not invoked"
                )
            invocation = given[start]
            if event.f != invocation.f or event.key != invocation.key:
                raise HistoryError(
                    f"line {_line(at, lines)}: process {event.process} ends {event.f} "
                    f"{event.key or ''} but its open operation, of line {_line(start, lines)}, "
                    f"is {invocation.f} {invocation.key or ''}"
                )
            ends[start] = at
        place_of[at] = place
    return [
        _operation(index, given, start, ends.get(start), place_of, lines)
        for index, start in enumerate(begun)
    ]


def _line(at: int, lines: list[int] | None) -> int:
    return at + 1 if lines is None else lines[at]


def _operation(
    index: int,
    events: list[Event],
    start: int,
    end: int | None,
    place_of: dict[int, int],
    lines: list[int] | None,
) -> Operation:
    invocation = events[start]
    completion = events[end] if end is not None else None
    outcome = completion.type if completion is not None else "info"
    f = ALIASES.get(invocation.f, invocation.f)
    _check_argument(f, invocation, _line(start, lines))
    result = None
    if end is not None and outcome == "ok":
        result = _result(f, events[end].value, _line(end, lines))
    return Operation(
        index=index,
        process=invocation.process,
        f=f,
        key=invocation.key,
        argument=invocation.value if f not in ("read", "incr", "delete", "list-read") else None,
        result=result,
        invoked=invocation.time,
        returned=completion.time if completion is not None else None,
        outcome=outcome,
        error=completion.error if completion is not None else "",
        node=invocation.node,
        began=place_of[start],
        ended=place_of[end] if end is not None else None,
    )


def _check_argument(f: str, event: Event, line: int) -> None:
    value = event.value
    if f == "cas" and not (isinstance(value, list | tuple) and len(value) == 2):
        raise HistoryError(f"line {line}: the value of cas must be [old, new], not {value!r}")
    if f == "append" and not isinstance(value, str):
        raise HistoryError(f"line {line}: the value of append must be a text, not {value!r}")
    if f in LIST_FUNCTIONS and event.key is not None:
        raise HistoryError(f"line {line}: {f} is about the one list and has no key")


def _result(f: str, value: Any, line: int) -> Any:
    """Return what the operation answered, None where it answers nothing worth knowing."""
    if f in ("write", "cas", "delete"):
        return None
    if f == "incr":
        if value is not None and not _is_integer(value):
            raise HistoryError(f"line {line}: incr answers an integer, not {value!r}")
        return None if value is None else int(value)
    if f in ("append", "list-append"):
        # Jepsen's logs repeat the argument here.
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    if f == "list-read" and not _is_list(value):
        raise HistoryError(f"line {line}: list-read answers [[slot, value], ...]")
    return value


def _is_integer(value: Any) -> bool:
    if isinstance(value, str):
        return value.removeprefix("-").isdecimal() and value.isascii()
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(item, list | tuple)
        and len(item) == 2
        and isinstance(item[0], int)
        and not isinstance(item[0], bool)
        for item in value
    )
