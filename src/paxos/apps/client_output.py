"""How the command-line client shows answers: for a person at a terminal, plain, or as JSON.

On a terminal: tables and colour. Elsewhere: one record per line, fields between tabs, control
characters escaped, so that scripts can rely on lines. JSON: one document per command.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import hiredis

from paxos.web import format as shown

from .client_requests import Request

TABLE_ROWS_MAX = 1000
"""Longer answers are printed plainly even on a terminal: measuring columns would take long."""

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_ESCAPES |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t", ord("\\"): "\\\\"}

RESPONSE_COLUMNS = ("slot", "revision", "sequence", "commands", "age_ms")


def show(request: Request, reply: Any, elapsed_ms: float) -> bool:
    """Print a reply. False when it is not what the command's reply should be."""
    try:
        content = _CONTENT[request.name](reply)
    except (TypeError, ValueError, LookupError):
        show_error(f"unexpected answer: {_text(reply)[:200]}", json_output=request.options.json)
        return False
    if request.options.json:
        print(json.dumps({**content, "ms": round(elapsed_ms, 3)}, ensure_ascii=True))
        return True
    if request.name == "write":
        print(f"chosen in slot {content['slot']}")
    elif request.name == "read":
        rows = [(str(slot), _line(value)) for slot, value in reply]
        _table(("slot", "value"), rows, "no values yet")
    elif request.name == "responses":
        _responses(content["responses"])
    elif request.name == "status":
        _status(content)
    else:
        _reply(reply)
    return True


def show_error(
    text: str, *, unknown: bool = False, usage: bool = False, json_output: bool = False
) -> None:
    """Print what went wrong: as JSON to standard output, or to standard error."""
    if json_output:
        outcome, status = ("unknown", 3) if unknown else ("usage", 2) if usage else ("failed", 1)
        print(json.dumps({"error": text, "outcome": outcome, "exit": status}))
        return
    kind = "unknown outcome" if unknown else "error"
    colour = "33" if unknown else "31"
    sys.stdout.flush()
    print(f"{_coloured(kind + ':', colour, sys.stderr)} {text}", file=sys.stderr)


def show_timing(elapsed_ms: float, note: str) -> None:
    """Print how long an answer took."""
    print(_coloured(f"({shown.milliseconds(elapsed_ms)}{note})", "2", sys.stdout))


# ---------------------------------------------------------------- replies as content


def _write_content(reply: Any) -> dict[str, Any]:
    return {"slot": int(reply)}


def _read_content(reply: Any) -> dict[str, Any]:
    return {"values": [{"slot": int(slot), "value": _json_value(value)} for slot, value in reply]}


def _responses_content(reply: Any) -> dict[str, Any]:
    return {
        "responses": [
            {name: int(cell) for name, cell in zip(RESPONSE_COLUMNS, row, strict=True)}
            for row in reply
        ]
    }


def _status_content(reply: Any) -> dict[str, Any]:
    content = json.loads(reply)
    if not isinstance(content, dict):
        raise TypeError("a status is an object")
    return content


def _other_content(reply: Any) -> dict[str, Any]:
    return {"reply": _json_value(reply)}


_CONTENT = {
    "write": _write_content,
    "read": _read_content,
    "responses": _responses_content,
    "status": _status_content,
    "": _other_content,
}


def _json_value(value: Any) -> Any:
    """Return a reply as JSON can hold it; bytes that are no text as {"base64": ...}."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, hiredis.ReplyError):
        return {"error": str(value)}
    if isinstance(value, dict):
        return {_text(name): _json_value(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_json_value(one) for one in value]
    return value


# ---------------------------------------------------------------- for people


def _responses(rows: list[dict[str, Any]]) -> None:
    if _is_terminal(sys.stdout):
        cells = [
            (
                *(shown.count(row[name]) for name in RESPONSE_COLUMNS[:-1]),
                f"{shown.duration(row['age_ms'] / 1000)} ago",
            )
            for row in rows
        ]
        names = ("slot", "revision", "sequence", "commands", "confirmed")
        _table(names, cells, "no responses yet", numbers=4)
    else:
        for row in rows:
            print("\t".join(str(row[name]) for name in RESPONSE_COLUMNS))


def _status(content: dict[str, Any]) -> None:
    facts: list[tuple[str, str]] = []
    for name, value in content.items():
        label = name.removesuffix("_ms").replace("_", " ")
        if name.endswith("_ms") and isinstance(value, dict):
            text = ", ".join(f"{part} {shown.milliseconds(one)}" for part, one in value.items())
            facts.append((f"{label} latency", text))
        elif name == "quorum" and isinstance(value, dict):
            facts += [(f"quorum: {part}", shown.plain(one)) for part, one in value.items()]
        elif name in ("ballot", "door", "pid", "incarnation"):
            facts.append((label, str(value)))
        elif name.endswith("bytes"):
            facts.append((label.removesuffix(" bytes"), shown.size(value)))
        elif name.endswith("_s"):
            facts.append((label.removesuffix(" s"), shown.duration(value)))
        else:
            facts.append((label, shown.plain(value)))
    width = max((len(label) for label, _ in facts), default=0)
    for label, text in facts:
        print(f"{_coloured(f'{label:<{width}}', '2', sys.stdout)}  {text.translate(_ESCAPES)}")


def _table(
    names: tuple[str, ...], rows: Sequence[tuple[str, ...]], empty: str, numbers: int = 1
) -> None:
    """Print rows: a table on a terminal, else tab-separated. The first columns hold numbers."""
    if not _is_terminal(sys.stdout):
        for row in rows:
            print("\t".join(row))
        return
    if not rows:
        print(_coloured(empty, "2", sys.stdout))
        return
    if len(rows) > TABLE_ROWS_MAX:
        width = max(len(row[0]) for row in rows)
        for row in rows:
            print("  ".join((row[0].rjust(width), *row[1:])))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for index, name in enumerate(names):
        table.add_column(name, justify="right" if index < numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(no_color=_no_colour()).print(table)


def _reply(reply: Any, indent: str = "") -> None:
    """Print any reply: as redis-cli does on a terminal, raw elsewhere."""
    terminal = _is_terminal(sys.stdout)
    if isinstance(reply, dict):
        reply = [part for pair in reply.items() for part in pair]
    if isinstance(reply, list | set | tuple):
        if not reply and terminal:
            print("(empty)")
        for position, one in enumerate(reply, 1):
            head = f"{position}) " if terminal else ""
            if terminal:
                print(indent if position > 1 else "", head, sep="", end="")
            _reply(one, indent + " " * len(head))
    elif isinstance(reply, int) and terminal:
        print(f"(integer) {reply}")
    elif reply is None:
        print("(nil)" if terminal else "")
    elif isinstance(reply, hiredis.ReplyError):
        print(_coloured(f"(error) {reply}", "31", sys.stdout))
    elif terminal:
        print(_line(reply) if isinstance(reply, bytes) else _text(reply).translate(_ESCAPES))
    elif isinstance(reply, bytes):
        sys.stdout.flush()
        sys.stdout.buffer.write(reply + b"\n")
        sys.stdout.buffer.flush()
    else:
        print(_text(reply))


def _line(value: bytes) -> str:
    """Return a value on one line, with what cannot be printed escaped."""
    return (
        value.decode("utf-8", "surrogateescape")
        .translate(_ESCAPES)
        .encode("utf-8", "surrogateescape")
        .decode("utf-8", "backslashreplace")
    )


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty()


def _no_colour() -> bool:
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def _coloured(text: str, code: str, stream: TextIO) -> str:
    return f"\033[{code}m{text}\033[0m" if _is_terminal(stream) and not _no_colour() else text
