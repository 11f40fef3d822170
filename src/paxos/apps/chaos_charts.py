"""The pictures of a chaos report: time runs to the right, all of them share one axis.

Curves are SVG that stretches with the page; words beside them are HTML, placed in per cent, so that
they keep their size on a phone. Nothing here knows a browser's script.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence

from .chaos_plan import KINDS
from .chaos_record import Done, Gap, Lead, Point, Record

WIDTH = 1000.0
HEIGHT = 200.0
TICKS = 8
LATENCY_MS = (0.5, 10_000.0)
"""The least range that the latency axis shows."""


def escaped(text: object) -> str:
    """Return text as it may stand anywhere in HTML."""
    return html.escape(str(text))


def shown_s(seconds: float) -> str:
    """Return a time as a person reads it."""
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def shown_ms(milliseconds: float) -> str:
    """Return a latency as a person reads it."""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:g} s"
    return f"{milliseconds:g} ms"


def timeline(record: Record) -> str:
    """Return all pictures, one below the other."""
    return "\n".join(
        (
            lanes(record),
            _picture("Operations per second", _throughput(record), _rate_labels(record), record),
            _picture("Latency", _latency(record), _latency_labels(record), record),
            _leaders(record),
            _axis(record),
        )
    )


def lanes(record: Record) -> str:
    """Return a row for each kind of fault, with a band for each time that it was in force."""
    rows = []
    for kind in KINDS:
        faults = [fault for fault in record.faults if fault.kind == kind]
        if not faults:
            continue
        bands = "".join(_band(fault, record.ended_s) for fault in faults)
        rows.append(
            f'<div class="lane"><span class="name">{escaped(kind)}</span>'
            f'<div class="track">{bands}</div></div>'
        )
    return f'<div class="lanes">{"".join(rows)}</div>'


def _band(fault: Done, ended_s: float) -> str:
    trouble = f": {fault.trouble}" if fault.trouble else ""
    words = (
        f"{fault.number}. {fault.label}, {fault.began_s:.1f} s to {fault.ended_s:.1f} s{trouble}"
    )
    void = " void" if fault.trouble else ""
    return (
        f'<a class="band {fault.kind}{void}" href="#fault-{fault.number}" '
        f'title="{escaped(words)}" style="{_place(fault.began_s, fault.ended_s, ended_s)}">'
        f"{fault.number}</a>"
    )


def _place(began_s: float, ended_s: float, whole_s: float) -> str:
    left = 100 * min(1.0, began_s / whole_s)
    width = 100 * min(1.0, ended_s / whole_s) - left
    return f"left:{left:.2f}%;width:{max(width, 0.3):.2f}%"


def _picture(title: str, curves: str, labels: str, record: Record) -> str:
    """Return one plot, with the faults as shades behind it."""
    shades = "".join(
        f'<i class="shade {fault.kind}" '
        f'style="{_place(fault.began_s, fault.ended_s, record.ended_s)}"></i>'
        for fault in record.faults
        if not fault.trouble
    )
    healed = (
        f'<i class="healed" title="everything was healed at {record.healed_s:.1f} s" '
        f'style="left:{100 * record.healed_s / record.ended_s:.2f}%"></i>'
    )
    return (
        f'<figure><figcaption>{title}</figcaption><div class="plot">{shades}{healed}'
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escaped(title)} over time">{curves}</svg>{labels}</div></figure>'
    )


# ---------------------------------------------------------------- throughput


def _rate_max(record: Record) -> float:
    rates = [(p.ok + p.fail + p.info) / record.point_s for p in record.points]
    return _round_up(max([1.0, *rates]))


def _round_up(number: float) -> float:
    """Return the next of 1, 2, 2.5, 5, 10, 20, 25, ..."""
    power: float = 10.0 ** math.floor(math.log10(number))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= number * 0.999)


def _throughput(record: Record) -> str:
    top = _rate_max(record)
    middle = _middles(record)

    def at(count: Callable[[Point], int]) -> list[tuple[float, float]]:
        return [
            (x, HEIGHT * (1 - count(point) / record.point_s / top))
            for x, point in zip(middle, record.points, strict=True)
        ]

    curve = at(lambda point: point.ok)
    area = [(curve[0][0], HEIGHT), *curve, (curve[-1][0], HEIGHT)] if curve else []
    bars = "".join(
        _bar(x, (point.fail + point.info) / record.point_s / top, record)
        for x, point in zip(middle, record.points, strict=True)
        if point.fail + point.info
    )
    return (
        f'{_grid(4)}<path class="area" d="{_path(area)}"/>'
        f'<path class="ok" d="{_path(curve)}"/>{bars}'
    )


def _bar(x: float, share: float, record: Record) -> str:
    width = max(2.0, WIDTH * record.point_s / record.ended_s * 0.7)
    height = max(3.0, HEIGHT * share)
    return (
        f'<rect class="bad" x="{x - width / 2:.1f}" y="{HEIGHT - height:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}"/>'
    )


def _rate_labels(record: Record) -> str:
    top = _rate_max(record)
    marks = "".join(_mark(gap, record.ended_s) for gap in record.gaps)
    return _scale([(1.0, f"{top:g}"), (0.5, f"{top / 2:g}"), (0.0, "0")]) + marks


def _mark(gap: Gap, ended_s: float) -> str:
    """Return the mark of a time without an acknowledged write."""
    words = f"no write acknowledged for {gap.lasted_s:.2f} s from {gap.began_s:.1f} s on"
    text = shown_s(gap.lasted_s) if gap.lasted_s >= ended_s / 30 else ""
    place = _place(gap.began_s, gap.began_s + gap.lasted_s, ended_s)
    return f'<b class="gap" title="{escaped(words)}" style="{place}">{text}</b>'


# ---------------------------------------------------------------- latency


def _latency_range(record: Record) -> tuple[float, float]:
    found = [ms for p in record.points for ms in (p.p50_ms, p.p99_ms) if ms]
    low = 10.0 ** math.floor(math.log10(min([LATENCY_MS[0] * 2, *found])))
    high = 10.0 ** math.ceil(math.log10(max([LATENCY_MS[0] * 20, *found])))
    return low, high


def _latency(record: Record) -> str:
    low, high = _latency_range(record)
    decades = round(math.log10(high / low))

    def curve(of: Callable[[Point], float | None]) -> str:
        parts: list[list[tuple[float, float]]] = [[]]
        for x, point in zip(_middles(record), record.points, strict=True):
            ms = of(point)
            if ms is None:
                parts.append([])
                continue
            share = math.log10(max(ms, low) / low) / math.log10(high / low)
            parts[-1].append((x, HEIGHT * (1 - share)))
        return " ".join(_path(_wide(part)) for part in parts if part)

    return (
        f'{_grid(decades)}<path class="p99" d="{curve(lambda point: point.p99_ms)}"/>'
        f'<path class="p50" d="{curve(lambda point: point.p50_ms)}"/>'
    )


def _wide(part: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return a lone point as a short line: a path of one point cannot be seen."""
    return (
        part if len(part) > 1 else [(part[0][0] - 1.5, part[0][1]), (part[0][0] + 1.5, part[0][1])]
    )


def _latency_labels(record: Record) -> str:
    low, high = _latency_range(record)
    decades = round(math.log10(high / low))
    return _scale([(n / decades, shown_ms(low * 10.0**n)) for n in range(decades + 1)])


# ---------------------------------------------------------------- shared


def _middles(record: Record) -> list[float]:
    return [
        min(WIDTH, WIDTH * (point.at_s + record.point_s / 2) / record.ended_s)
        for point in record.points
    ]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if place else 'M'}{x:.1f},{y:.1f}" for place, (x, y) in enumerate(points))


def _grid(parts: int) -> str:
    lines = (HEIGHT * n / parts for n in range(1, parts))
    return "".join(f'<path class="grid" d="M0,{y:.1f}H{WIDTH:g}"/>' for y in lines)


def _scale(labels: Iterable[tuple[float, str]]) -> str:
    """Return the words of a plot's axis: how far up, and what."""
    return "".join(
        f'<span class="scale" style="bottom:{100 * share:.1f}%">{escaped(text)}</span>'
        for share, text in labels
    )


def _leaders(record: Record) -> str:
    """Return who led when, as far as it was seen."""
    parts = (_reign(lead, record.ended_s) for lead in record.leads)
    return (
        f'<div class="lane leaders"><span class="name">leader</span>'
        f'<div class="track">{"".join(parts)}</div></div>'
    )


def _reign(lead: Lead, ended_s: float) -> str:
    until_s = ended_s if lead.until_s is None else min(lead.until_s, ended_s)
    words = f"{lead.node} led with ballot {lead.ballot}, {lead.at_s:.1f} s to {until_s:.1f} s"
    number = lead.node.rpartition("-")[2]
    return (
        f'<span class="reign p{int(number) % 3}" title="{escaped(words)}" '
        f'style="{_place(lead.at_s, until_s, ended_s)}">{number}</span>'
    )


def _axis(record: Record) -> str:
    step = _round_up(record.ended_s / TICKS)
    marks = []
    at_s = 0.0
    while at_s <= record.ended_s - step * 0.3:
        marks.append(f'<span style="left:{100 * at_s / record.ended_s:.2f}%">{at_s:g}</span>')
        at_s += step
    return f'<div class="axis">{"".join(marks)}<span class="unit">s</span></div>'
