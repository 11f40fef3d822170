# The checks run where matplotlib is not installed.
# mypy: disable-error-code="import-not-found"
"""Draws docs/scaling.svg: what adding a node of each role does, simulated and measured."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from .drawing import BLUE, GREEN, ORANGE, VIOLET, save, styled
from .scaling_figures import Figures
from .scaling_layout import ROLES, Layout
from .scaling_report import KINDS, best, by_layout

FILE = Path(__file__).resolve().parents[1] / "docs" / "scaling.svg"
_STYLE = {"axes.titlesize": 8.5, "axes.titleweight": "bold", "legend.fontsize": 7.5}
_COLOURS = (BLUE, ORANGE, GREEN, VIOLET)
_ROLE_COLOURS = dict(zip(ROLES, _COLOURS, strict=True))
_AXES = (
    ("acceptors", (3, 5, 7)),
    ("gateways", (1, 2, 3, 4)),
    ("learners", (1, 2, 3, 4)),
)
_COST_SHOWN = ("3x2x2", "5x2x2", "7x2x2", "3x4x2", "3x2x4", "3x4x4")


def write(figures: Figures) -> None:
    """Draw the file."""
    with styled(_STYLE):
        figure, grid = plt.subplots(2, 3, figsize=(11.0, 6.6))
        _growth(grid[0][0], figures, "write", "Writes")
        _growth(grid[0][1], figures, "read", "Reads")
        _busy(grid[0][2], figures)
        _measured(grid[1][0], figures, "write 256 on 8", "Writes")
        _measured(grid[1][1], figures, "read 256 on 8", "Reads")
        _cost(grid[1][2], figures)
        figure.tight_layout(h_pad=2.0)
        save(figure, FILE)


def _growth(axes: Any, figures: Figures, op: str, words: str) -> None:
    """Draw the simulated limit against the number of gateways, a line per number of learners."""
    for colour, learners in zip(_COLOURS, (1, 2, 4), strict=False):
        for few, style in ((True, "-"), (False, ":")):
            points = [
                (n, one.rate / 1000)
                for n in (1, 2, 3, 4)
                if (one := best(figures, Layout(3, n, learners).title, op, few)) is not None
            ]
            numbers, rates = zip(*points, strict=True) if points else ((), ())
            label = f"{learners} learner{'s' * (learners > 1)}" if few else None
            axes.plot(numbers, rates, style, color=colour, marker="o", markersize=3, label=label)
    axes.plot([], [], ":", color="#666666", label="one connection each")
    axes.set_title(f"{words}, a machine per node (simulated)")
    axes.set(xlabel="gateways", ylabel="thousands per second", xticks=(1, 2, 3, 4))
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)  # the legend stands above the lines
    axes.legend(loc="upper left", ncols=2)


def _busy(axes: Any, figures: Figures) -> None:
    """Draw how busy the roles of the default layout are at their limit."""
    found = [
        (words.replace("/s, ", "\n"), one)
        for op, few, words in KINDS
        if (one := best(figures, Layout().title, op, few)) is not None
    ]
    for number, role in enumerate(ROLES):
        places = [at + (number - 1.5) * 0.2 for at in range(len(found))]
        shares = [one.busy[role] * 100 for _, one in found]
        axes.bar(places, shares, 0.18, color=_ROLE_COLOURS[role], label=role)
        if role == "acceptor":
            disk = [one.disk * 100 for _, one in found]
            style = {"color": "none", "edgecolor": _ROLE_COLOURS[role], "hatch": "////"}
            axes.bar(places, disk, 0.18, bottom=shares, label="its disk", linewidth=0.6, **style)
    axes.set_title("Who is busy, 3x2x2 at its limit (simulated)")
    axes.set_xticks(range(len(found)), [words for words, _ in found], fontsize=7)
    axes.set(ylabel="% of the busiest node's time", ylim=(0, 140), yticks=range(0, 101, 25))
    axes.legend(loc="upper center", ncols=3, columnspacing=1.0)


def _measured(axes: Any, figures: Figures, load: str, words: str) -> None:
    """Draw the measured rate against the number of nodes of each role."""
    found = by_layout(figures.measured)
    for colour, (role, numbers) in zip(_COLOURS, _AXES, strict=False):
        points = []
        for number in numbers:
            rounds = found.get(Layout(**{role: number}).title, {}).get(load, [])
            if rounds:
                points.append((number, statistics.median(one.rate for one in rounds) / 1000))
        if points:
            at, rates = zip(*points, strict=True)
            axes.plot(at, rates, marker="o", markersize=3, color=colour, label=role)
    axes.set_title(f"{words}, all on {figures.cores} cores (measured)")
    axes.set(xlabel="nodes of that role, the others as in 3x2x2", ylabel="thousands per second")
    axes.set_xticks(range(1, 8))
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right")


def _cost(axes: Any, figures: Figures) -> None:
    """Draw what one operation costs all nodes together, measured, by role."""
    found = by_layout(figures.measured)
    shown = [title for title in _COST_SHOWN if title in found]
    for at, title in enumerate(shown):
        for offset, load in ((-0.2, "write 256 on 8"), (0.2, "read 256 on 8")):
            rounds = found[title].get(load, [])
            bottom = 0.0
            for role in ROLES:
                spent = statistics.median(
                    [one.roles[role]["cpu_us"] / one.rate for one in rounds] or [0.0]
                )
                label = role if not at and offset < 0 else None
                axes.bar(
                    at + offset, spent, 0.34, bottom=bottom, color=_ROLE_COLOURS[role], label=label
                )
                bottom += spent
            axes.text(at + offset, bottom + 0.2, load[0], ha="center", fontsize=7, color="#666666")
    axes.set_title("CPU of a write (w), a read (r) (measured)")
    axes.set_xticks(range(len(shown)), shown, fontsize=8)
    axes.set_ylabel("µs, all nodes together")
    axes.legend(loc="upper left", ncols=2)
    axes.margins(y=0.3)
