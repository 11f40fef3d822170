"""Writes what a run has measured as Markdown (and the plots), and prints it.

python -m benchmarks.report FOLDER     once more, from its results.json
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from . import overload, summary
from .accounting import GENERATOR
from .failover import KILL, STOP
from .generator import Load
from .plan import BASELINE, SYSTEMS
from .records import NeighbourRecord, OverloadRecord, Run
from .targets import MIB, SUBJECT

TITLES = {
    "write": "Writes",
    "read": "Reads",
    "syncread": "Reads, ZooKeeper's made linearizable as far as it can (sync, then get)",
    "mix": "95 % reads, 5 % writes",
}
LEAST_US = 0.05
"""A role that spends less on an operation is not listed."""
_ORDER = ("write", "read", "syncread", "mix")


def markdown(run: Run) -> str:
    """Return the whole report."""
    parts = [
        _head(run),
        _targets(run),
        *_loads(run),
        _costs(run),
        _failovers(run),
        *_overload(run),
        _memory(run),
        _pipeline(run),
        _failures(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are figures."""
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    return "\n".join([*lines, *(_row(row) for row in rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rate(value: float | None) -> str:
    """Return operations per second for a person."""
    return "" if value is None else f"{value:,.0f}"


def number(value: float | None) -> str:
    """Return about three digits of a number."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _systems(run: Run, found: set[str]) -> list[str]:
    return [system for system in SYSTEMS if system in found]


def _head(run: Run) -> str:
    facts = [f"- {name}: {text}" for name, text in run.machine.items()]
    facts += [f"- {name}: {text}" for name, text in run.versions.items()]
    facts += [f"- **not a default:** {name}={text}" for name, text in run.settings.items()]
    if spoilt := summary.disturbed(run):
        facts.append(
            f"- **disturbed:** in {len(spoilt)} of {len(run.cells)} measurements other programs "
            f"used more than {summary.ELSEWHERE_MAX:.0%} of the processors"
        )
    return (
        f"Measured {run.started}, {run.form}: {run.rounds} rounds, {run.seconds:g} s per load. "
        "Figures are medians over the rounds; ratios are medians of the ratios within a round."
        "\n\n" + "\n".join(facts)
    )


def _targets(run: Run) -> str:
    parts = []
    if found := summary.verdicts(run):
        rows = [
            (
                f"{v.target.load.title}: {_MEASURES[v.target.measure]}",
                _figure(v.target.measure, v.subject),
                _figure(v.target.measure, v.baseline),
                f"{v.ratio:.2f}",
                f"{'at least' if v.target.at_least else 'at most'} {v.target.bound:g}",
                _met(v.is_met),
            )
            for v in found
        ]
        head = ("load", SUBJECT, BASELINE, "ratio", "target", "")
        parts.append(f"## Targets against {BASELINE}\n\n{table(head, rows)}")
    if own := summary.ceiling_verdicts(run):
        rows_own = [
            (
                v.ceiling.title,
                f"{number(v.figure)} {v.ceiling.unit}".strip(),
                f"under {v.ceiling.bound:,.0f} {v.ceiling.unit}" if v.ceiling.bound else "none",
                _met(v.is_met),
            )
            for v in own
        ]
        parts.append(f"## Own targets\n\n{table(('what', SUBJECT, 'target', ''), rows_own)}")
    return "\n\n".join(parts)


_MEASURES = {"rate": "rate", "p50_ms": "p50", "p99_ms": "p99"}


def _figure(measure: str, value: float) -> str:
    return f"{rate(value)}/s" if measure == "rate" else f"{number(value)} ms"


def _met(is_met: bool) -> str:
    return "reached" if is_met else "**missed**"


def _loads(run: Run) -> list[str]:
    """Return one table per stage and operation."""
    parts = []
    stages = dict.fromkeys(cell.stage for cell in run.cells)
    for stage in stages:
        in_stage = [cell for cell in run.cells if cell.stage == stage]
        for op in _ORDER:
            loads = list(dict.fromkeys(c.load for c in in_stage if c.load.op == op))
            if loads:
                systems = _systems(run, {c.system for c in in_stage if c.load.op == op})
                title = TITLES[op] if stage == "throughput" else f"{TITLES[op]}, {stage}"
                parts.append(
                    f"## {title}\n\n{_load_table(run, loads, systems)}{_remark(op, systems)}"
                )
    return parts


def _remark(op: str, systems: Sequence[str]) -> str:
    """Return what a reader of the table must know of these systems, as a paragraph of its own."""
    remarks = []
    if op in ("read", "mix") and "zookeeper" in systems:
        remarks.append(
            "ZooKeeper's reads are not linearizable: the member that is asked answers by itself."
        )
    if any(system.startswith("pysyncobj") for system in systems):
        remarks.append(
            "PySyncObj has no connections, its load runs inside the leader's process; and it never "
            "syncs."
        )
    return "\n\n" + " ".join(remarks) if remarks else ""


def _load_table(run: Run, loads: list[Load], systems: list[str]) -> str:
    head = ["outstanding on connections"]
    for system in systems:
        head += [f"{system}, per s", "p50 ms", "p99 ms"]
    compared = [s for s in systems if s != BASELINE] if BASELINE in systems else []
    head += [f"{system} / {BASELINE}" for system in compared]
    rows = []
    for load in loads:
        row = [load.title.partition(" ")[2]]
        for system in systems:
            row.append(rate(summary.median(run, system, load, "rate")))
            row.append(number(summary.median(run, system, load, "p50_ms")))
            row.append(number(summary.median(run, system, load, "p99_ms")))
        row += [number(summary.median_ratio(run, load, "rate", s)) for s in compared]
        rows.append(row)
    return table(head, rows)


def _costs(run: Run) -> str:
    loads = list(dict.fromkeys(cell.load for cell in run.cells if cell.cost is not None))
    rows = []
    for load in loads:
        for system in _systems(run, {cell.system for cell in run.cells}):
            found = summary.median_cost(run, system, load, GENERATOR)
            if found is not None:
                by_role = ", ".join(
                    f"{role} {number(spent)}"
                    for role, spent in sorted(found.cpu_us.items(), key=lambda item: -item[1])
                    if spent >= LEAST_US
                )
                rows.append(
                    (
                        load.long_title,
                        system,
                        number(found.total_us),
                        by_role,
                        number(found.disk_bytes),
                        number(found.dirtied_bytes),
                        number(found.network_bytes),
                    )
                )
    if not rows:
        return ""
    head = ("load", "system", "CPU µs", "by role", "disk", "dirtied", "network")
    return (
        "## Cost of one operation\n\n"
        "CPU of all processes of the system; the load generator's is among the roles but not added "
        "up. Bytes: `disk` is what the block device was given, the file system's journal included; "
        "`dirtied` what processes made dirty in the page cache, a page or more for every sync; "
        "`network` all that went over loopback, to the clients and back as well."
        f"\n\n{table(head, rows)}"
    )


def _failovers(run: Run) -> str:
    rows = []
    for kind, title in ((KILL, "kill -9"), (STOP, "SIGSTOP for 5 s")):
        for system in _systems(run, {one.system for one in run.failovers}):
            lost = [f for f in run.failovers if f.system == system and f.kind == kind]
            if lost:
                gaps = [one.gap_ms for one in lost]
                rows.append(
                    (
                        f"{title}, {system}",
                        str(len(lost)),
                        number(min(gaps)),
                        number(statistics.median(gaps)),
                        number(max(gaps)),
                        str(sum(one.result.errors for one in lost)),
                    )
                )
    if not rows:
        return ""
    head = ("leader lost", "times", "least ms", "median ms", "worst ms", "errors at clients")
    return (
        "## Failover\n\nThe longest time without an acknowledged write, of 16 outstanding on 4 "
        f"connections.\n\n{table(head, rows)}"
    )


def _overload(run: Run) -> list[str]:
    """Return the tables of the levels, of what is left of the peak, and of the neighbours."""
    by_series: dict[str, dict[int, list[OverloadRecord]]] = {}
    for one in run.overload:
        levels = by_series.setdefault(one.series, {})
        levels.setdefault(overload.pressure(one.series, one.load), []).append(one)
    rows: list[Sequence[str]] = []
    kept: list[Sequence[str]] = []
    for series, levels in by_series.items():
        rates = {at: _mid([one.result.rate for one in found]) for at, found in levels.items()}
        for at, found in levels.items():
            results = [one.result for one in found]
            rows.append(
                (
                    f"{series}: {at:,}",
                    rate(rates[at]),
                    number(_mid([one.p50_ms for one in results])),
                    number(_mid([one.p99_ms for one in results])),
                    number(max(one.max_ms for one in results)),
                    number(max(one.gateway_peak_bytes for one in found) / MIB),
                    str(sum(one.errors for one in results)),
                )
            )
        if (found_at := overload.verdict(rates)) is not None:
            saturating, over, share = found_at
            reached = _met(share >= overload.KEPT_MIN)
            kept.append(
                (series, f"{saturating:,}", f"{over:,}", rate(rates[over]), number(share), reached)
            )
    parts = []
    if rows:
        columns = (
            "outstanding, or clients",
            "per s",
            "p50 ms",
            "p99 ms",
            "max",
            "gateway MiB",
            "err",
        )
        parts.append(
            "## Overload\n\nWrites. A flood's clients send as fast as their sockets take it; its "
            "latency counts from when they hand a request to their own buffer."
            f"\n\n{table(columns, rows)}"
        )
    if kept:
        summed = ("series", "saturated at", "four times that", "per s", "of the peak", "")
        parts.append(table(summed, kept))
    if run.neighbours:
        parts.append(_neighbours(run.neighbours))
    return parts


def _neighbours(found: Sequence[NeighbourRecord]) -> str:
    rows = []
    for disturbance, op in dict.fromkeys((one.disturbance, one.op) for one in found):
        these = [one for one in found if (one.disturbance, one.op) == (disturbance, op)]
        rows.append(
            (
                f"{op} beside {disturbance}",
                rate(_mid([one.alone.rate for one in these])),
                rate(_mid([one.beside.rate for one in these])),
                number(_mid([one.beside.rate / one.alone.rate for one in these])),
                number(_mid([one.alone.p99_ms for one in these])),
                number(_mid([one.beside.p99_ms for one in these])),
                number(max(one.beside.max_ms for one in these)),
                str(sum(one.beside.errors for one in these)),
            )
        )
    head = (
        "4 outstanding on 4",
        "alone, per s",
        "beside",
        "ratio",
        "p99 alone",
        "p99",
        "max",
        "err",
    )
    return f"## A client beside others that misbehave\n\n{table(head, rows)}"


def _mid(values: Iterable[float]) -> float:
    return statistics.median(values)


def _memory(run: Run) -> str:
    rows = []
    for state in dict.fromkeys(one.state for one in run.memory):
        for system in _systems(run, {one.system for one in run.memory}):
            weighed = [m for m in run.memory if m.system == system and m.state == state]
            if weighed:
                rows.append(
                    (
                        f"{state}, {system}",
                        str(len(weighed[0].processes)),
                        number(statistics.median(m.rss_bytes for m in weighed) / MIB),
                        number(statistics.median(m.pss_bytes for m in weighed) / MIB),
                    )
                )
    if not rows:
        return ""
    head = ("all processes", "processes", "RSS, MiB", "PSS, MiB")
    return (
        "## Memory\n\nRSS counts what processes share once in each of them, PSS once in all. "
        f"{SUBJECT}: eleven nodes and their supervisor."
        f"\n\n{table(head, rows)}"
    )


def _pipeline(run: Run) -> str:
    rows = []
    for title in dict.fromkeys(one.title for one in run.pipeline):
        found = [one for one in run.pipeline if one.title == title]
        rows.append(
            (
                title,
                rate(statistics.median(one.rate for one in found)),
                number(statistics.median(one.p50_ms for one in found)),
                number(statistics.median(one.p99_ms for one in found)),
            )
        )
    if not rows:
        return ""
    head = ("redis-benchmark", "per s", "p50 ms", "p99 ms")
    return f"## redis-benchmark on {SUBJECT}\n\n{table(head, rows)}"


def _failures(run: Run) -> str:
    if not run.failures:
        return ""
    return "## Not measured\n\n" + "\n".join(f"- {failure}" for failure in run.failures)
