# The checks run where matplotlib is not installed.
# mypy: disable-error-code="import-not-found"
"""Draws a run as SVG: latency against throughput, and what clients see while a leader is lost."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib.pyplot as plt

from . import summary
from .drawing import BLUE, GREEN, GREY, ORANGE, VIOLET, save, styled
from .failover import KILL, STOP, STOPPED_S
from .generator import Load
from .plan import OUTSTANDING, SYSTEMS
from .records import FailoverRecord, Run

LATENCY = "latency.svg"
FAILOVER = "failover.svg"
BUCKET_S = 0.05
"""Over what the acknowledged writes of a time line are averaged."""
BEFORE_S = 1.0
AFTER_S = {KILL: 3.0, STOP: 7.0}
COLOURS = {
    "paxos": BLUE,
    "etcd": ORANGE,
    "zookeeper": GREEN,
    "pysyncobj": GREY,
    "pysyncobj-tuned": VIOLET,
}
_MARKS = {"paxos": "o", "etcd": "s", "zookeeper": "^", "pysyncobj": "x", "pysyncobj-tuned": "D"}
_NAMES = {"pysyncobj": "pysyncobj (no sync)", "pysyncobj-tuned": "pysyncobj-tuned (no sync)"}
"""What the legend must add to a name."""
_NUMBERS_AT = {"paxos": (5, -9), "etcd": (6, -3)}
"""Where the number of requests outstanding stands, in typographic points from its point. The other
systems' points are the same numbers, and too close for words."""
Point: TypeAlias = tuple[int, float, float, float]
"""Requests outstanding, rate, p50 and p99."""
_PANELS = (
    ("write", True, "writes, 8 connections"),
    ("write", False, "writes, a connection per request"),
    ("read", True, "linearizable reads, 8 connections"),
    ("read", False, "linearizable reads, a connection per request"),
)


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw what the run has figures for. Returns the files."""
    drawn = []
    with styled():
        if figure := _latency(run):
            drawn.append(save(figure, folder / LATENCY))
        if figure := _failovers(run):
            drawn.append(save(figure, folder / FAILOVER))
    return drawn


# ---------------------------------------------------------------- latency against throughput


def _latency(run: Run) -> Any:
    """Return a panel per operation and kind of connections; None when there is nothing to draw."""
    panels = []
    for op, few, title in _PANELS:
        curves = _curves(run, op, few)
        if any(len(points) > 1 for points in curves.values()):
            panels.append((title, curves))
    if not panels:
        return None
    rows = (len(panels) + 1) // 2
    columns = min(2, len(panels))
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(4.6 * columns, 3.4 * rows + 0.5),
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for axes, (title, curves) in zip(grid.flat, panels, strict=False):
        _latency_panel(axes, title, curves)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    lines, names = _legend([s for s in SYSTEMS if any(curves.get(s) for _, curves in panels)])
    if len(panels) < rows * columns:
        figure.tight_layout()
        figure.legend(lines, names, loc="center", bbox_to_anchor=(0.77, 0.27), fontsize=10)
    else:
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.45 / figure.get_figheight()))
        figure.legend(lines, names, loc="upper center", ncols=len(names), fontsize=8)
    return figure


def _curves(run: Run, op: str, few: bool) -> dict[str, list[Point]]:
    """Return the points of each system, from one request outstanding to many."""
    found: dict[str, list[Point]] = {}
    for system in SYSTEMS:
        if op == "read" and system == "zookeeper":
            continue  # not linearizable, so it would be drawn where it does not belong
        for outstanding in OUTSTANDING:
            load = Load(op, outstanding, few or outstanding == 1)
            figures = [summary.median(run, system, load, m) for m in ("rate", "p50_ms", "p99_ms")]
            rate, p50_ms, p99_ms = figures
            if rate is not None and p50_ms is not None and p99_ms is not None:
                found.setdefault(system, []).append((outstanding, rate, p50_ms, p99_ms))
    return found


def _latency_panel(axes: Any, title: str, curves: dict[str, list[Point]]) -> None:
    for system, points in curves.items():
        if len(points) == 1:
            continue  # no curve, and drawn in the panel of few connections
        numbers, rates, p50s_ms, p99s_ms = zip(*points, strict=True)
        look = {"color": COLOURS[system], "marker": _MARKS[system], "markersize": 4}
        axes.plot(rates, p50s_ms, linewidth=1.6, **look)
        axes.plot(rates, p99s_ms, linewidth=1.0, linestyle=":", alpha=0.8, **look)
        if system not in _NUMBERS_AT:
            continue
        for number, rate, p50_ms in zip(numbers, rates, p50s_ms, strict=True):
            axes.annotate(
                f"{number:,}",
                (rate, p50_ms),
                xytext=_NUMBERS_AT[system],
                textcoords="offset points",
                fontsize=7,
                color=COLOURS[system],
            )
    axes.set(xscale="log", yscale="log", ylabel="ms", title=title)
    axes.set_xlabel("operations per second; at the points: how many are outstanding")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_plain)
        axis.set_minor_formatter("")
    # Shared axes hide them where another panel is below; some panels have none.
    axes.tick_params(labelbottom=True)


def _plain(value: float, _position: int) -> str:
    """Return 10,000 for 10000.0 and 0.1 for 0.1."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _legend(systems: list[str]) -> tuple[list[Any], list[str]]:
    """Return a line for each system and each of the two latencies, and what to call it."""
    lines: list[Any] = []
    for system in systems:
        look = {"color": COLOURS[system], "marker": _MARKS[system], "markersize": 4}
        lines += plt.plot([], [], **look)
    lines += plt.plot([], [], color="#444444", linestyle="-")
    lines += plt.plot([], [], color="#444444", linestyle=":")
    return lines, [*(_NAMES.get(system, system) for system in systems), "p50", "p99"]


# ---------------------------------------------------------------- failover


def _failovers(run: Run) -> Any:
    """Return a panel per system and kind; None when no leader was lost."""
    kinds = [kind for kind in (KILL, STOP) if any(one.kind == kind for one in run.failovers)]
    systems = [s for s in SYSTEMS if any(one.system == s for one in run.failovers)]
    if not kinds:
        return None
    figure, grid = plt.subplots(
        len(systems),
        len(kinds),
        figsize=(5.0 * len(kinds), 1.6 * len(systems) + 0.7),
        squeeze=False,
    )
    for row, system in zip(grid, systems, strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            lost = [one for one in run.failovers if (one.system, one.kind) == (system, kind)]
            _failover_panel(axes, system, kind, lost)
    for axes, kind in zip(grid[0], kinds, strict=True):
        what = "killed (kill -9)" if kind == KILL else f"stopped for {STOPPED_S:g} s (SIGSTOP)"
        axes.set_title(f"The leader is {what} at 0\n\n", loc="center")
    for axes in grid[-1]:
        axes.set_xlabel("seconds")
    figure.supylabel("writes acknowledged per second", fontsize=9)
    figure.tight_layout()
    return figure


def _failover_panel(axes: Any, system: str, kind: str, lost: list[FailoverRecord]) -> None:
    """Draw every time line faintly, and the one with the median gap over them."""
    axes.set_xlim(-BEFORE_S, AFTER_S[kind])
    if not lost:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="#888888")
        axes.set_yticks([])
        return
    middle = sorted(lost, key=lambda one: one.gap_ms)[(len(lost) - 1) // 2]
    for one in lost:
        at_s, rates = summary.rates_around(one, BEFORE_S, AFTER_S[kind], BUCKET_S)
        clear = {"linewidth": 1.4} if one is middle else {"linewidth": 0.5, "alpha": 0.35}
        axes.plot(at_s, rates, drawstyle="steps-post", color=COLOURS[system], **clear)
    axes.axvline(0, color="#c92a2a", linewidth=0.8)
    if kind == STOP:
        axes.axvline(STOPPED_S, color="#c92a2a", linewidth=0.8, linestyle=":")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_plain)
    gaps = [one.gap_ms for one in lost]
    axes.set_title(
        f"{system}: median gap {statistics.median(gaps):,.0f} ms, worst {max(gaps):,.0f} ms",
        loc="right",
        fontsize=9,
    )
