"""Curves drawn with letters, for places where there is no picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_SPARE = 1.05
_STEPS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
"""Tops of the vertical axis, times a power of ten."""


def chart(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    width: int = 64,
    height: int = 12,
    unit: str = "",
    below: str = "",
) -> str:
    """Return the curves, each drawn with the letter that is its key, from 0 up and from 0 to the
    right; where two meet, the one that is named first is seen.

    Each column shows the highest point that falls into it. `unit` stands over the vertical axis,
    `below` under the horizontal one. Empty without a point.
    """
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return ""
    right = max(at for at, _ in points) or 1.0
    top = _round_up(max(value for _, value in points))
    grid = [[" "] * width for _ in range(height)]
    for letter, curve in reversed(list(curves.items())):
        for column, value in _columns(curve, right, width).items():
            row = min(height - 1, int(value / top * height))
            grid[row][column] = letter
    return "\n".join([*_rows(grid, top, unit), *_axis(width, right, below)]) + "\n"


def _columns(curve: Sequence[tuple[float, float]], right: float, width: int) -> dict[int, float]:
    found: dict[int, float] = {}
    for at, value in curve:
        column = min(width - 1, int(at / right * width))
        found[column] = max(value, found.get(column, 0.0))
    return found


def _rows(grid: list[list[str]], top: float, unit: str) -> list[str]:
    """Return the lines from the top down; every third tells the value at its upper edge."""
    height = len(grid)
    lines = [f"{unit:>7}"] if unit else []
    for row in reversed(range(height)):
        from_top = height - 1 - row
        label = f"{top * (row + 1) / height:,.0f}" if from_top % 3 == 0 else ""
        lines.append(f"{label:>7} |{''.join(grid[row])}".rstrip())
    return lines


def _axis(width: int, right: float, below: str) -> list[str]:
    end = f"{right:,.0f}"
    return [f"{0:>7} +{'-' * width}", f"{'':>8}0{below:^{width - 1 - len(end)}}{end}".rstrip()]


def _round_up(value: float) -> float:
    """Return the next round number above a value."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value * _SPARE))
    return next(step * unit for step in _STEPS if step * unit >= value * _SPARE)
