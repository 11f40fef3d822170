# The checks run where matplotlib is not installed.
# mypy: disable-error-code="import-not-found"
"""How every plot looks, and how it is written.

On a white ground of its own, so that it can be read on a dark page as well. The same figures give
the same bytes, so that a plot in the repository changes only with its figures.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

BLUE, ORANGE, GREEN, VIOLET, GREY = "#0b5fd8", "#d9610a", "#2b8a3e", "#6b5b95", "#a0a0a8"
_LONG_NUMBER = re.compile(r"\d+\.\d{3,}(?!\d|e)")
_STYLE = {
    "svg.hashsalt": "paxos",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e4e4ea",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


@contextmanager
def styled(others: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Draw in the house's style, `others` on top of it."""
    matplotlib.use("svg")
    with plt.rc_context({**_STYLE, **(others or {})}):
        yield


def save(figure: Any, file: Path) -> Path:
    """Write a figure as SVG, free its memory, and return the file. Raises OSError.

    Coordinates are rounded to a hundredth of a point: a quarter less to keep.
    """
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    file.write_text(_LONG_NUMBER.sub(_rounded, drawn.getvalue()), encoding="utf-8")
    return file


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found.group()):.2f}".rstrip("0").rstrip(".")
