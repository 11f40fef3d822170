"""`paxos check-history`: is a recorded history linearizable, and if not, what contradicts what?

Exit status: 0 every history is linearizable, 1 one is not, 2 a file cannot be read, 3 undecided
within the budget. A history that is not linearizable outweighs a file that cannot be read, and
that one an undecided history.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli import DONE, FAILED, UNKNOWN_OUTCOME, WRONG_USAGE

if TYPE_CHECKING:
    from paxos.sim.history import Event, Operation
    from paxos.sim.linearizability import Verdict

INTERRUPTED = 130
BUDGET = 3_000_000
"""Configurations; some ten seconds and a gigabyte at the worst."""

LADDER_OPERATIONS_MAX = 40
"""A longer part is cut off on the terminal; --json and the picture have all of it."""

FILE_BYTES_MAX = 2 * 1024**3
PROGRESS_AFTER_S = 1.0


class Format(StrEnum):
    """How a history is written."""

    AUTO = "auto"
    JSONL = "jsonl"
    JEPSEN = "jepsen"
    KV = "kv"


def check_history(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Histories.", show_default=False)
    ],
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write the picture here, whatever the verdict; for several files, a folder. "
            "Else to FILE.html, and only when FILE is not linearizable.",
            show_default=False,
        ),
    ] = None,
    initial: Annotated[
        str | None,
        typer.Option(
            help="Every key's first value, as JSON or a plain text; else null, "
            'and "" for key-value logs.',
            show_default=False,
        ),
    ] = None,
    written_as: Annotated[
        Format,
        typer.Option(
            "--format",
            help="jsonl: one JSON event a line, as paxos chaos and simulate write it. "
            "jepsen: a register's log. kv: EDN, one map a line.",
        ),
    ] = Format.AUTO,
    budget: Annotated[
        int, typer.Option(min=1, help="Configurations to visit before giving up, undecided.")
    ] = BUDGET,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value.")] = False,
) -> None:
    """Check recorded histories for linearizability, and show what contradicts what.

    Operations that ended with info, or not at all, may take effect at any later time, or never.
    Keys are independent, and so is the ordered list of list-append and list-read.

    Exit status: 0 linearizable, 1 not linearizable, 2 a file cannot be read, 3 undecided.
    """
    try:
        reports = [
            _check(file, _picture_path(file, html, len(files)), html, written_as, initial, budget)
            for file in files
        ]
    except KeyboardInterrupt:
        # Not the 1 that an abort has elsewhere: that would be a verdict here.
        print("paxos: interrupted before there was a verdict", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    status = next(
        (
            status
            for status in (FAILED, WRONG_USAGE, UNKNOWN_OUTCOME)
            if any(report["exit"] == status for report in reports)
        ),
        DONE,
    )
    if as_json:
        text = json.dumps({"exit": status, "histories": reports}, indent=2, default=str)
        print(text)
    else:
        for report in reports:
            _tell(report)
    raise typer.Exit(status)


def _picture_path(file: Path, html: Path | None, count: int) -> Path:
    if html is None:
        return file.with_name(f"{file.name}.html")
    return html / f"{file.name}.html" if count > 1 or html.is_dir() else html


class _Progress:
    """Says on standard error what takes longer than a second."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic() + PROGRESS_AFTER_S

    def __call__(self, done: int, of: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_AFTER_S
            print(f"{self._what}: {done:,} of {of:,} keys decided", file=sys.stderr, flush=True)


def _check(
    file: Path,
    picture: Path,
    html: Path | None,
    written_as: Format,
    initial: str | None,
    budget: int,
) -> dict[str, Any]:
    """Check one file. Returns what there is to tell."""
    from paxos.sim import linearizability
    from paxos.sim.history import HistoryError, operations

    report: dict[str, Any] = {"file": str(file), "linearizable": None, "exit": WRONG_USAGE}
    try:
        found_as, events, lines = read(file, written_as)
        report["format"] = found_as
        history = operations(events, lines)
    except HistoryError as error:
        report["error"] = f"{file}: {error}"
        return report
    report["operations"] = len(history)
    if len(history) > 100_000:
        print(f"{file}: checking {len(history):,} operations", file=sys.stderr, flush=True)
    try:
        verdict = linearizability.check(
            history, first_value(initial, found_as, events), budget, _Progress(str(file))
        )
    except linearizability.Undecided as error:
        report.update(error=f"{file}: {error} (--budget)", exit=UNKNOWN_OUTCOME)
        return report
    report.update(
        linearizable=verdict.linearizable,
        keys=verdict.checked.keys,
        configurations=verdict.checked.configurations,
        exit=DONE if verdict.linearizable else FAILED,
    )
    if not verdict.linearizable:
        report.update(
            key=verdict.key,
            reason=verdict.reason,
            offending=[_plain(operation) for operation in verdict.offending],
            ladder=ladder(
                verdict.offending[:LADDER_OPERATIONS_MAX],
                shutil.get_terminal_size((100, 24)).columns,
            ),
        )
    if html is not None or not verdict.linearizable:
        _draw(report, picture, file.name, history, verdict)
    return report


def read(file: Path, written_as: Format) -> tuple[Format, list[Event], list[int]]:
    """Return how a history is written, its events, and the number of each one's line.

    Raises HistoryError when the file cannot be read or is no history.
    """
    from paxos.sim import jepsen
    from paxos.sim.history import HistoryError, read_numbered_events

    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise HistoryError(f"larger than {FILE_BYTES_MAX:,} bytes")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise HistoryError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise HistoryError(f"line {line}: not UTF-8 text") from error
    if not text.strip():
        raise HistoryError("line 1: the file is empty")
    if written_as is Format.AUTO:
        written_as = _looks_like(text)
    if written_as is Format.JEPSEN:
        return written_as, *jepsen.read_log(text)
    if written_as is Format.KV:
        return written_as, *jepsen.read_edn(text)
    return written_as, *read_numbered_events(text)


def _looks_like(text: str) -> Format:
    start = text.lstrip()[:200]
    if not start.startswith("{"):
        return Format.JEPSEN
    return Format.KV if start[1:].lstrip().startswith(":") else Format.JSONL


def first_value(initial: str | None, written_as: Format, events: Sequence[Event]) -> Any:
    """Return every key's first value: the one asked for, or the one that such histories have."""
    if initial is not None:
        try:
            return json.loads(initial)
        except ValueError:
            return None if initial == "nil" else initial
    functions = {event.f for event in events}
    is_text_store = bool(functions & {"get", "put"}) and functions <= {"get", "put", "append"}
    return "" if is_text_store else None


def _plain(operation: Operation) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(operation)
    return plain


def _draw(
    report: dict[str, Any], picture: Path, name: str, history: list[Operation], verdict: Verdict
) -> None:
    from .history_picture import page

    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_text(page(name, history, verdict), encoding="utf-8")
    except OSError as error:
        # The verdict is worth more than its picture.
        report["warning"] = f"no picture: {picture}: {error.strerror}"
    else:
        report["picture"] = str(picture)


def _tell(report: dict[str, Any]) -> None:
    if "error" in report:
        print(f"paxos: {report['error']}", file=sys.stderr)
        return
    counted = f"{report['operations']:,} operations"
    if report["keys"]:
        counted += f", {report['keys']:,} key{'' if report['keys'] == 1 else 's'}"
    if report["linearizable"]:
        print(f"{report['file']}: linearizable ({counted})")
    else:
        where = f", key {report['key']}" if report["key"] is not None else ""
        print(f"{report['file']}: NOT LINEARIZABLE{where} ({counted})")
        print(f"\n  {report['reason']}.\n\n  The shortest part that contradicts itself:\n")
        print("\n".join(f"  {line}" for line in report["ladder"]))
        more = len(report["offending"]) - LADDER_OPERATIONS_MAX
        if more > 0:
            print(f"  and {more:,} operations more")
        print()
    if "picture" in report:
        print(f"  picture: {report['picture']}")
    if "warning" in report:
        print(f"paxos: {report['warning']}", file=sys.stderr)


def ladder(operations: Sequence[Operation], columns: int = 100) -> list[str]:
    """Return operations as lines in time order: a column per process where `columns` characters
    have room for that, else a list."""
    from paxos.sim.wording import answer, asked

    events: list[tuple[tuple[float, int], int, Operation]] = []
    for operation in operations:
        events.append((operation.place, 0, operation))
        if operation.returned is not None:
            ended = 1 << 60 if operation.ended is None else operation.ended
            events.append(((operation.returned, ended), 1, operation))
    events.sort(key=lambda event: (event[0], event[1], event[2].index))
    timed = any(place[0] for place, _, _ in events)
    cells: list[tuple[str, int, str]] = []
    for place, ends, operation in events:
        when = f"{place[0]:.3f} ms" if timed else f"event {place[1] + 1}"
        text = f"┌ {asked(operation)}"
        if ends:
            unknown = "? (no answer: any time from here on, or never)"
            text = f"└ {unknown if operation.outcome == 'info' else answer(operation) or 'ok'}"
        cells.append((when, operation.process, text))
    for operation in operations:
        if operation.returned is None:
            cells.append(("", operation.process, "┆ never answered"))
    processes = list(dict.fromkeys(process for _, process, _ in cells))
    width = {
        process: max(
            len(f"process {process}"), *(len(text) for _, one, text in cells if one == process)
        )
        for process in processes
    }
    first = max(len(when) for when, _, _ in cells)
    if first + sum(width.values()) + 3 * len(processes) <= columns - 2:
        head = "".join(f"   {f'process {process}'.ljust(width[process])}" for process in processes)
        lines = [f"{''.ljust(first)}{head}"]
        for when, process, text in cells:
            row = "".join(
                f"   {(text if one == process else '').ljust(width[one])}" for one in processes
            )
            lines.append(f"{when.rjust(first)}{row}")
    else:
        room = max(len(f"process {process}") for process in processes)
        lines = [
            f"{when.rjust(first)}   {f'process {process}'.ljust(room)}   {text}"
            for when, process, text in cells
        ]
    return [line.rstrip() for line in lines]
