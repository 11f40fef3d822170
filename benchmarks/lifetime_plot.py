# The checks run where matplotlib is not installed.
# mypy: disable-error-code="import-not-found"
"""Draws a long run of writes: the disk of each acceptor, the memory of learners and acceptors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from . import lifetime_figures as figures
from .drawing import BLUE, GREEN, GREY, ORANGE, VIOLET, save, styled
from .lifetime_records import Writes

_COLOURS = {
    "acceptor-1": BLUE,
    "acceptor-2": ORANGE,
    "acceptor-3": GREEN,
    "learner-1": VIOLET,
    "learner-2": "#c2255c",
}


def write(writes: Writes, file: Path) -> Path:
    """Draw the file, and return it. Raises OSError."""
    with styled({"axes.titlesize": 9, "axes.titleweight": "bold", "legend.fontsize": 8}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10.0, 3.4))
        acceptors = figures.nodes(writes.samples, "acceptor")
        learners = figures.nodes(writes.samples, "learner")
        _panel(left, writes, acceptors, figures.disk)
        _finish(left, "Disk of each acceptor", figures.DISK_MIB_MAX, "bound")
        _panel(right, writes, [*learners, *acceptors], figures.memory)
        _finish(right, "Memory (RSS)", figures.MEMORY_MIB_MAX, "bound, for learners")
        figure.tight_layout(w_pad=2.0)
        return save(figure, file)


def _panel(axes: Any, writes: Writes, nodes: list[str], curve: Callable[..., Any]) -> None:
    for node in nodes:
        at, mib = zip(*curve(writes.samples, node), strict=True)
        millions = [one / 1e6 for one in at]
        axes.plot(millions, mib, color=_COLOURS.get(node, GREY), linewidth=1.0, label=node)


def _finish(axes: Any, title: str, bound_mib: float, words: str) -> None:
    axes.axhline(bound_mib, color="#c92a2a", linewidth=0.8, linestyle=":", label=words)
    axes.set_title(title)
    axes.set(xlabel="million writes acknowledged", ylabel="MiB")
    axes.set_xlim(left=0)
    axes.set_ylim(0, bound_mib * 1.25)
    axes.legend(loc="upper left", ncols=3)
