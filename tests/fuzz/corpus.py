"""The inputs that are kept: read by the tests, grown by guided runs, small for ever.

    corpus/<target>/<hash>.bin     each reaches something that no other one does
    crashes/<target>/<hash>.bin    each once broke something

What an input reaches is counted in steps from line to line of the target's modules, which Python
itself can tell. It depends on the input alone, not on the machine, so choosing is repeatable.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import msgspec

import paxos

from .inputs import Target, content_name

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
CRASHES = HERE / "crashes"
SOURCES = Path(next(iter(paxos.__path__)))

FILES_MAX = 200
BYTES_MAX = 500_000
"""What all targets' corpora may have together."""

TARGET_FILES_MAX = 22
TARGET_BYTES_MAX = 50_000
"""What one target's corpus may have."""

Step = tuple[str, int, int]
"""A file of the target, the line before (0 at a function's beginning), and the line."""


class Reach(msgspec.Struct, frozen=True):
    """What inputs reach: `lines` of the `lines_all` in the functions of a target's modules."""

    lines: int
    lines_all: int

    @property
    def percent(self) -> float:
        """The share of the lines, in percent."""
        return 100.0 * self.lines / self.lines_all


def kept(folder: Path, target: Target) -> list[bytes]:
    """Return the inputs that a folder keeps for a target, by name."""
    place = folder / target.name
    if not place.is_dir():
        return []
    return [path.read_bytes() for path in sorted(place.iterdir())]


def keep(folder: Path, target: Target, data: bytes) -> Path:
    """Keep an input and return where."""
    path = folder / target.name / content_name(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def replace(target: Target, inputs: Iterable[bytes]) -> None:
    """Let a target's corpus be these inputs."""
    place = CORPUS / target.name
    if place.is_dir():
        for path in place.iterdir():
            path.unlink()
    for data in inputs:
        keep(CORPUS, target, data)


def steps_of(target: Target, data: bytes) -> set[Step]:
    """Return every step that a target's modules make for an input."""
    names = {str(SOURCES / module): module for module in target.modules}
    found: set[Step] = set()

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        module = names.get(frame.f_code.co_filename)
        if module is None:
            return None
        before = 0

        def on_line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            if event == "line":
                found.add((module, before, frame.f_lineno))
                before = frame.f_lineno
            return on_line

        return on_line

    tracing = sys.gettrace()
    sys.settrace(on_call)
    try:
        target.run(data)
    finally:
        sys.settrace(tracing)
    return found


def chosen(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """Return the few inputs that together reach all that these do, small ones first."""
    _warm_up(target)
    reached: dict[bytes, set[Step]] = {data: steps_of(target, data) for data in set(inputs)}
    left = set().union(*reached.values()) if reached else set()
    made: list[bytes] = []
    size = 0
    while left and len(made) < TARGET_FILES_MAX:
        # The most new steps, among equals the smallest input, among those the first by content.
        best = min(reached, key=lambda data: (-len(reached[data] & left), len(data), data))
        new = reached.pop(best) & left
        if not new:
            break
        if size + len(best) <= TARGET_BYTES_MAX:
            left -= new
            size += len(best)
            made.append(best)
    return made


def reach(target: Target, inputs: Iterable[bytes]) -> Reach:
    """Return how much of a target's modules these inputs reach."""
    _warm_up(target)
    lines = {(file, line) for data in inputs for file, _, line in steps_of(target, data)}
    everything = {(module, line) for module in target.modules for line in _lines(SOURCES / module)}
    return Reach(len(lines & everything), len(everything))


def _warm_up(target: Target) -> None:
    """Run once: what is made once in a process is reached by no input."""
    target.run(target.seeds()[0])


def _lines(path: Path) -> set[int]:
    """Return the lines inside the functions of a source file that can be executed."""
    found: set[int] = set()

    def look_into(code: CodeType, inside: bool) -> None:
        if inside:
            found.update(
                line
                for _, _, line in code.co_lines()
                if line is not None and line != code.co_firstlineno
            )
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                # A class's body runs at import; CO_OPTIMIZED (1) marks functions.
                look_into(constant, bool(constant.co_flags & 1))

    look_into(compile(path.read_text(encoding="utf-8"), str(path), "exec"), False)
    return found
