"""Reads histories that Jepsen wrote: logs of one register, and EDN, one map to a line.

    INFO  jepsen.util - 2    :invoke    :cas    [3 0]
    {:process 0, :type :invoke, :f :append, :key "0", :value "x 0 0 y"}

Nothing is judged here. Lines of a log that tell of no operation of a process are passed over
(other loggers, the nemesis); every line of an EDN history must be a map.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .history import NOT_OLD, Event, HistoryError, checked

DEPTH_MAX = 64
"""Deeper nesting in an EDN value is no operation's value."""

_ENTRY = re.compile(r"(?:^|\s)(\S+)\s+:(invoke|ok|fail|info)\b\s*(.*)$")
_TOKEN = re.compile(
    r"""[\s,]*(?:
        (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<number>[+-]?[0-9]+(?P<fraction>\.[0-9]+(?:[eE][+-]?[0-9]+)?)?)(?=[\s,\]\[(){}]|$)
      | (?P<word>:?[^\s,"\[\](){}:;][^\s,"\[\](){};]*)
      | (?P<mark>[\[\](){}])
    )""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "b": "\b", "f": "\f"}
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_WORDS = {"nil": None, "true": True, "false": False}


def read_log(text: str) -> tuple[list[Event], list[int]]:
    """Return the events of a register's log, and the number of each one's line.

    Raises HistoryError naming the line that begins as an operation and is none.
    """
    events: list[Event] = []
    lines: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        found = _ENTRY.search(line)
        if found is None or not found[1].isdecimal():
            if found is None and line.strip() and not re.match(r"\s*(INFO|WARN|DEBUG|ERROR)", line):
                raise HistoryError(f"line {number}: not a line of a Jepsen log: {line[:80]!r}")
            continue
        events.append(_log_event(int(found[1]), found[2], found[3], number))
        lines.append(number)
    if not events:
        raise HistoryError("no line of it tells of an operation")
    return events, lines


def _log_event(process: int, kind: str, rest: str, line: int) -> Event:
    values = parse(rest, line)
    if len(values) != 2 or not isinstance(values[0], str) or not values[0].startswith(":"):
        raise HistoryError(f"line {line}: expected a function and one value, not {rest[:80]!r}")
    return _event(process, kind, values[0][1:], None, values[1], 0.0, line)


def read_edn(text: str) -> tuple[list[Event], list[int]]:
    """Return the events of an EDN history, one map to a line, and the number of each one's line.

    Times there are nanoseconds. Raises HistoryError naming the line that is no operation.
    """
    events: list[Event] = []
    lines: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        values = parse(line, number)
        if len(values) != 1 or not isinstance(values[0], dict):
            raise HistoryError(f"line {number}: not one map: {line[:80]!r}")
        entry = values[0]
        process = entry.get(":process")
        kind, function = entry.get(":type"), entry.get(":f")
        if isinstance(process, str) and process.startswith(":"):
            continue
        if (
            not isinstance(process, int)
            or not isinstance(kind, str)
            or not isinstance(function, str)
        ):
            raise HistoryError(f"line {number}: needs :process, :type and :f")
        key = entry.get(":key")
        time = entry.get(":time", 0)
        events.append(
            _event(
                process,
                kind.removeprefix(":"),
                function.removeprefix(":"),
                None if key is None else str(key),
                entry.get(":value"),
                time / 1e6 if isinstance(time, int | float) else 0.0,
                number,
            )
        )
        lines.append(number)
    return events, lines


def _event(
    process: int, kind: str, function: str, key: str | None, value: Any, time: float, line: int
) -> Event:
    error = ""
    if isinstance(value, str) and value.startswith(":"):
        # A word in place of a value, such as :timed-out, says why there is none.
        error, value = value[1:], None
    if kind == "fail" and function == "cas" and value is not None:
        # The store had compared, and answered so.
        error = NOT_OLD
    return checked(
        Event(process=process, type=kind, f=function, key=key, value=value, time=time, error=error),
        line,
    )


def parse(text: str, line: int) -> list[Any]:
    """Return the values in a line of EDN; keywords keep their colon, lists are lists.

    Raises HistoryError, naming the line, when it is not EDN of the kind that histories use.
    """
    at = 0
    top: list[Any] = []
    stack: list[tuple[str, list[Any]]] = [("", top)]
    while at < len(text.rstrip(" \t\r\n,")):
        token = _TOKEN.match(text, at)
        if token is None:
            raise HistoryError(f"line {line}: cannot be read from {text[at : at + 40]!r} on")
        at = token.end()
        mark = token["mark"]
        if mark is None:
            stack[-1][1].append(_atom(token, line))
        elif mark in _CLOSING:
            if len(stack) > DEPTH_MAX:
                raise HistoryError(f"line {line}: nested deeper than {DEPTH_MAX}")
            stack.append((mark, []))
        else:
            opened, items = stack.pop()
            if not stack or _CLOSING[opened] != mark:
                raise HistoryError(f'line {line}: a "{mark}" that closes nothing')
            stack[-1][1].append(_map(items, line) if opened == "{" else items)
    if len(stack) > 1:
        raise HistoryError(f'line {line}: a "{stack[-1][0]}" that is not closed')
    return top


def _atom(token: re.Match[str], line: int) -> Any:
    if token["string"] is not None:
        return re.sub(
            r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), token["string"][1:-1]
        )
    if token["number"] is not None:
        if token["fraction"] is not None:
            return float(token["number"])
        if len(token["number"]) > 400:
            raise HistoryError(f"line {line}: a number of {len(token['number'])} digits")
        return int(token["number"])
    return _WORDS.get(token["word"], token["word"])


def _map(items: Sequence[Any], line: int) -> dict[Any, Any]:
    if len(items) % 2:
        raise HistoryError(f"line {line}: a map with a key that has no value")
    if not all(isinstance(key, str) for key in items[::2]):
        raise HistoryError(f"line {line}: a map whose keys are not words")
    return dict(zip(items[::2], items[1::2], strict=True))
