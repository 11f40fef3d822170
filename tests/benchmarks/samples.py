"""Made-up measurements for the tests of the arithmetic."""

from __future__ import annotations

from benchmarks.accounting import Cost, Memory
from benchmarks.generator import Load, Result
from benchmarks.records import CellRecord, FailoverRecord, MemoryRecord, Run

MIB = 1024 * 1024


def result(
    rate: float = 1000.0,
    p50_ms: float = 1.0,
    p99_ms: float = 2.0,
    gap_ms: float = 3.0,
    errors: int = 0,
    timeline: list[tuple[int, int]] | None = None,
) -> Result:
    return Result(
        seconds=3.0,
        operations=round(rate * 3),
        errors=errors,
        rate=rate,
        p50_ms=p50_ms,
        p90_ms=p50_ms,
        p99_ms=p99_ms,
        p999_ms=p99_ms,
        max_ms=p99_ms,
        mean_ms=p50_ms,
        gap_ms=gap_ms,
        first_error="lost" if errors else "",
        timeline=timeline or [],
    )


def cell(
    round_number: int,
    system: str,
    load: Load,
    measured: Result,
    cost: Cost | None = None,
    stage: str = "throughput",
) -> CellRecord:
    return CellRecord(round_number, system, stage, load, measured, cost)


def lost(system: str, kind: str, gap_ms: float, errors: int = 0) -> FailoverRecord:
    timeline = [(0, 5), (10, 7), (1000, 4)]
    measured = result(gap_ms=gap_ms, errors=errors, timeline=timeline)
    return FailoverRecord(1, system, kind, "proposer-1", 10.0, gap_ms, measured)


def weighed(system: str, state: str, *rss_mib: int) -> MemoryRecord:
    processes = {
        f"node-{n}": Memory(rss_bytes=mib * MIB, pss_bytes=mib * MIB // 2)
        for n, mib in enumerate(rss_mib)
    }
    return MemoryRecord(1, system, state, processes)


def empty_run() -> Run:
    return Run(started="2026-01-01T00:00:00+00:00", form="quick", rounds=3, seconds=3.0)
