"""A lifetime run in words: Markdown, and its curves drawn with letters."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from . import lifetime_figures as figures
from .lifetime_chart import chart
from .lifetime_figures import Curve
from .lifetime_records import PHASES, QUIET, Lifetime, Pause, Sample, Window, Writes
from .summary import ELSEWHERE_MAX
from .targets import MIB

_ROLES = (("acceptor", "disk"), ("learner", "disk"), ("acceptor", "memory"), ("learner", "memory"))
_CURVES: dict[str, Callable[[Sequence[Sample], str], list[tuple[float, float]]]] = {
    "disk": figures.disk,
    "memory": figures.memory,
}


def markdown(run: Lifetime) -> str:
    """Return all of it."""
    parts = ["# Lifetime", _about(run), _bounds(run)]
    if run.writes is not None:
        parts += [_writes(run.writes), f"```\n{drawn(run.writes)}```"]
    if run.pause is not None:
        parts.append(_pause(run.pause))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _about(run: Lifetime) -> str:
    machine = "; ".join(f"{name}: {text}" for name, text in run.machine.items())
    settings = ", ".join(f"{name}={text}" for name, text in run.settings.items()) or "all defaults"
    return f"{run.version}, {run.started}. Settings: {settings}. {machine}."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is words, the others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _bounds(run: Lifetime) -> str:
    rows = [
        [one.what, one.bound, one.measured, "met" if one.is_met else "**missed**"]
        for one in figures.verdicts(run)
    ]
    return "## Bounds\n\n" + _table(["", "bound", "measured", ""], rows)


# ---------------------------------------------------------------- writes


def _writes(writes: Writes) -> str:
    rows = []
    for role, what in _ROLES:
        for node in figures.nodes(writes.samples, role):
            grown = figures.growth(_CURVES[what](writes.samples, node), writes.written)
            if grown is not None:
                cells = [f"{grown.highest:.1f}"]
                cells.append(f"{grown.third_quarter:.1f} ({grown.third_mean:.1f})")
                cells.append(f"{grown.last_quarter:.1f} ({grown.last_mean:.1f})")
                rows.append(
                    [f"{node}, {what}", *cells, f"{grown.ratio:.2f}", f"{grown.slope:+.2f}"]
                )
    head = ["MiB", "highest", "third quarter", "last quarter", "ratio", "MiB per million writes"]
    return f"## Writes\n\n{_told(writes)}\n\n{_table(head, rows)}"


def _told(writes: Writes) -> str:
    errors = f"{writes.errors} errors ({writes.first_error})" if writes.errors else "no errors"
    kept = len({one.kept for one in writes.samples} - {0})
    child = max((sum(one.child_bytes.values()) for one in writes.samples), default=0)
    rate = writes.written / writes.seconds
    return (
        f"{writes.written:,} acknowledged writes of {writes.value_bytes} bytes over"
        f" {writes.keys:,} keys in {writes.seconds:.0f} s ({rate:,.0f}/s,"
        f" p99 {writes.p99_ms:.1f} ms), {writes.outstanding} outstanding on"
        f" {writes.connections} connections, {errors}. {len(writes.samples)} looks;"
        f" at least {kept} snapshots were kept; a child that took one was seen with up to"
        f" {child / MIB:.1f} MiB of its own. Others used {writes.elsewhere:.0%} of the"
        " processors.\n\n"
        "Third quarter and last quarter: the highest there (and the mean). The last column is the"
        " slope of a line through the second half."
    )


def drawn(writes: Writes) -> str:
    """Return the highest of each kind over the writes, drawn with letters."""
    samples = writes.samples
    curves = {
        "#": _highest([figures.disk(samples, n) for n in figures.nodes(samples, "acceptor")]),
        "l": _highest([figures.memory(samples, n) for n in figures.nodes(samples, "learner")]),
        "a": _highest([figures.memory(samples, n) for n in figures.nodes(samples, "acceptor")]),
    }
    legend = "# largest acceptor's disk   l largest learner's memory   a acceptor's memory\n"
    return chart(curves, unit="MiB", below="writes acknowledged") + legend


def _highest(curves: Sequence[Curve]) -> list[tuple[float, float]]:
    """Return the highest of curves that have their points at the same places."""
    return [
        (points[0][0], max(value for _, value in points)) for points in zip(*curves, strict=True)
    ]


# ---------------------------------------------------------------- pause


def _pause(pause: Pause) -> str:
    parts = [
        f"## Pause\n\n{pause.keys:,} keys of {pause.value_bytes} bytes, a snapshot of"
        f" {pause.snapshot_bytes / MIB:.0f} MiB; writes on {pause.connections} connections. Medians"
        " of the rounds; disk is the most that an acceptor took at a window's end; the ratio is"
        " that of a round's p99 to the mean of the quiet windows before and after it.\n"
    ]
    rows = [
        _phase_row(pause, outstanding, phase)
        for outstanding in figures.loads(pause)
        for phase in PHASES
    ]
    head = ["outstanding, phase", "windows", "seconds", "writes/s", "p50 ms", "p99 ms", "p99.9 ms"]
    parts.append(
        _table([*head, "longest ms", "errors", "disk, MiB", "p99, ratio", "the rounds"], rows)
    )
    return "\n".join([*parts, _disturbed(pause)])


def _phase_row(pause: Pause, outstanding: int, phase: str) -> list[str]:
    found = list(figures.windows(pause, outstanding, phase).values())
    words = f"{outstanding}, {phase}"
    if not found:
        return [words, "0", *[""] * 10]

    def middle(figure: Callable[[Window], float]) -> float:
        return statistics.median(map(figure, found))

    ratios = figures.ratios(pause, outstanding, phase) if phase != QUIET else []
    return [
        words,
        str(len(found)),
        f"{middle(lambda one: one.seconds):.1f}",
        f"{middle(lambda one: one.rate):,.0f}",
        f"{middle(lambda one: one.p50_ms):.2f}",
        f"{middle(lambda one: one.p99_ms):.2f}",
        f"{middle(lambda one: one.p999_ms):.2f}",
        f"{max(one.max_ms for one in found):.1f}",
        str(sum(one.errors for one in found)),
        f"{max(one.disk_bytes for one in found) / MIB:.0f}",
        f"{statistics.median(ratios):.2f}" if ratios else "",
        ", ".join(f"{ratio:.2f}" for ratio in ratios),
    ]


def _disturbed(pause: Pause) -> str:
    """Say how many of the quiet windows were disturbed; in the others, a child is at work."""
    quiet = [one for one in pause.windows if one.phase == QUIET]
    bad = sum(one.elsewhere > ELSEWHERE_MAX for one in quiet)
    return (
        f"In {bad} of {len(quiet)} quiet windows other programs used more than"
        f" {ELSEWHERE_MAX:.0%} of the processors."
    )
