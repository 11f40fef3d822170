"""Writes the tables of docs/scaling.md, between two marks, from the figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import scaling_fit
from .errors import BenchmarkError
from .scaling_cluster import Measured
from .scaling_figures import Check, Figures, Point
from .scaling_layout import ROLES, Layout

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scaling.md"
BEGIN = "<!-- tables: written by `python -m benchmarks.scaling report` -->"
END = "<!-- end of tables -->"
LINK_BYTES_PER_S = 0.94e9 / 8
"""What a network of 1 Gbit/s carries of TCP's payload."""
_SHOWN = ("3x1x1", "3x1x2", "3x2x1", "3x2x2", "3x3x2", "3x4x2", "3x2x4", "3x3x3", "3x4x4")
_MORE_ACCEPTORS = ("5x2x2", "7x2x2", "5x4x4", "7x4x4")


def write(figures: Figures) -> None:
    """Replace what stands between the marks. Raises BenchmarkError when a mark is missing."""
    text = PAGE.read_text(encoding="utf-8")
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise BenchmarkError(f"{PAGE} has no place for tables: {BEGIN} ... {END}")
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables(figures)}\n{END}{after}", encoding="utf-8")


def tables(figures: Figures) -> str:
    """Return all tables as Markdown."""
    parts = (
        ("### Where a machine for each node would take it (simulated)", _separate(figures)),
        ("### Who is busy, as the load grows (simulated, 3x2x2)", _busy(figures)),
        ("### On this machine (measured)", _machine(figures)),
        ("### What things cost (CPU microseconds)", _prices(figures)),
        ("### What travels, in bytes per operation (measured)", _travels(figures)),
        ("### How far to trust it", _checks(figures)),
    )
    return "\n".join(f"{title}\n\n{table}" for title, table in parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is words, the others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _thousands(rate: float) -> str:
    return f"{rate / 1000:,.0f} k" if rate >= 10_000 else f"{rate:,.0f}"


# ---------------------------------------------------------------- simulated


KINDS = (
    ("write", True, "writes/s, 8 connections"),
    ("write", False, "writes/s, one each"),
    ("read", True, "reads/s, 8 connections"),
    ("read", False, "reads/s, one each"),
)
"""Operation, whether requests share connections, and both in words."""


def best(figures: Figures, layout: str, op: str, few: bool) -> Point | None:
    """Return the run with the highest rate of any load of that kind; None when there is none."""
    found = [one for one in figures.simulated if (one.layout, one.op, one.few) == (layout, op, few)]
    return max(found, key=lambda one: one.rate, default=None)


def _separate(figures: Figures) -> str:
    head = ["acceptors x gateways x learners"]
    for _, _, words in KINDS:
        head += [words, "busiest"]
    rows = []
    for layout in (*_SHOWN, *_MORE_ACCEPTORS):
        row = [layout]
        for op, few, _ in KINDS:
            one = best(figures, layout, op, few)
            row += [_thousands(one.rate), _first(one)] if one else ["", ""]
        rows.append(row)
    return _table(head, rows)


def _first(one: Point) -> str:
    share = one.busy[one.first] + (one.disk if one.first == "acceptor" else 0.0)
    # A turn that began while nothing was counted yet can make it a little more.
    return f"{one.first} {min(share, 1.0):.0%}"


def _busy(figures: Figures) -> str:
    head = ["per gateway", "rate", "p50 ms", "p99 ms", *ROLES, "disk"]
    rows = []
    for one in figures.simulated:
        if one.layout == Layout().title:
            load = f"{one.op} {one.outstanding:,} on {one.connections:,}"
            shares = [f"{min(one.busy[role], 1.0):.0%}" for role in ROLES]
            times = [f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}"]
            rows.append([load, _thousands(one.rate), *times, *shares, f"{one.disk:.0%}"])
    return _table(head, rows)


# ---------------------------------------------------------------- measured


def by_layout(measured: Sequence[Measured]) -> dict[str, dict[str, list[Measured]]]:
    """Return the rounds by layout and load, in the order in which they were measured."""
    found: dict[str, dict[str, list[Measured]]] = {}
    for one in measured:
        found.setdefault(one.layout, {}).setdefault(one.load, []).append(one)
    return found


def cpu_us(one: Measured) -> float:
    """Return what all nodes together spent on one operation."""
    return sum(did["cpu_us"] for did in one.roles.values()) / one.rate


def _machine(figures: Figures) -> str:
    found = by_layout(figures.measured)
    loads = list(dict.fromkeys(one.load for one in figures.measured))
    head = ["acceptors x gateways x learners"]
    for load in loads:
        head += [f"{load}: rate", "CPU µs"]
    rows = []
    for layout, by_load in found.items():
        row = [layout]
        for load in loads:
            rounds = by_load.get(load, [])
            row.append(_thousands(statistics.median(one.rate for one in rounds)) if rounds else "")
            row.append(f"{statistics.median(map(cpu_us, rounds)):.1f}" if rounds else "")
        rows.append(row)
    return _table(head, rows)


# ---------------------------------------------------------------- prices


_WORDS = {
    "wakes": "woken up",
    "reads": "a socket read",
    "writes": "a socket written",
    "messages_in": "a message taken in",
    "messages_out": "a message encoded",
    "written": "a command written",
    "fetched": "a command read",
    "bytes": "1,000 bytes",
}


def _prices(figures: Figures) -> str:
    prices = figures.price_list()
    rows = []
    for counter, words in _WORDS.items():
        factor = 1000.0 if counter == "bytes" else 1.0
        found = (prices.roles[role].get(counter, 0.0) * factor for role in ROLES)
        rows.append([words, *(f"{price:.2f}" if price else "-" for price in found)])
    sync = prices.sync
    rows.append(["a sync", "-", "-", f"{sync.cpu_us:.0f}, and {sync.wait_us:.0f} waiting", "-"])
    return _table(["", *ROLES], rows)


def _travels(figures: Figures) -> str:
    """Tell what all nodes of a role take in and send, and what fills one node's network."""
    head = ["", *ROLES, f"fills {LINK_BYTES_PER_S * 8 / 1e9:.2f} Gbit/s"]
    rows = []
    for one in figures.calibration:
        if (one.outstanding, one.few, one.value_bytes) != (256, True, 256):
            continue
        layout = Layout.parse(one.layout)
        cells, most = [], 0.0
        for role in ROLES:
            taken = one.roles[role]["bytes_in"] / one.rate
            # What an acceptor writes to its journal is counted with its sockets; its votes are
            # small.
            sent = one.roles[role]["bytes_out"] / one.rate if role != "acceptor" else 0.0
            cells.append(f"{taken:,.0f} in" + (f", {sent:,.0f} out" if sent else ""))
            most = max(most, taken / layout.count(role), sent / layout.count(role))
        rows.append([one.op, *cells, f"{_thousands(LINK_BYTES_PER_S / most)}/s"])
    return _table(head, rows)


def _checks(figures: Figures) -> str:
    prices = figures.price_list()
    by_load = {one.load: one for one in figures.calibration if one.value_bytes == 256}
    head = ["load", "measured/s", "simulated/s", "ratio", *(f"CPU, {role}" for role in ROLES)]
    rows = []
    for check in figures.checks:
        fitted = [scaling_fit.explained(prices, by_load[check.load], role) for role in ROLES]
        ratios = [
            f"{ratio:.2f} ({share:.2f})" if ratio is not None and share is not None else "-"
            for ratio, share in zip(_ratios(check), fitted, strict=True)
        ]
        ratio = check.simulated_rate / check.measured_rate
        rates = [_thousands(check.measured_rate), _thousands(check.simulated_rate)]
        rows.append([check.load, *rates, f"{ratio:.2f}", *ratios])
    return _table(head, rows)


def _ratios(check: Check) -> list[float | None]:
    """Return simulated CPU time per operation, divided by what was measured."""
    return [
        check.simulated_us[role] / spent if (spent := check.measured_us[role]) > 0.0 else None
        for role in ROLES
    ]
