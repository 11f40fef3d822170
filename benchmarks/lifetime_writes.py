"""A long run of writes against one cluster, which is looked at until enough are acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable

from . import accounting, lifetime_figures
from .clusters.paxos import PaxosCluster
from .errors import BenchmarkError
from .generator import Load, Timing
from .lifetime_records import Writes
from .lifetime_watch import Look, look, watched
from .targets import MIB

LONGEST_S = 6 * 3600.0
"""No run takes longer, however slow the machine is."""
PATIENCE_S = 60.0
"""For so long nothing may be written before the run is given up."""

Note = Callable[[int, str], None]
"""Gets how many writes have been done so far, and what there is to tell."""


def measure(cluster: PaxosCluster, load: Load, wanted: int, every_s: float, note: Note) -> Writes:
    """Write until `wanted` are acknowledged, and look every `every_s`. Raises BenchmarkError."""
    nodes = watched(cluster)
    looks = [look(cluster, nodes)]
    running = cluster.begin(load, Timing(warmup_s=0.0, measured_s=LONGEST_S, timeline=True))
    try:
        processes = cluster.processes()
        if running.pid is not None:
            processes[accounting.GENERATOR] = running.pid
        first = accounting.sample(processes, None)
        # What is applied may not be acknowledged yet: so many more, and enough are.
        _watch(cluster, nodes, looks, wanted + load.outstanding, every_s, note)
        last = accounting.sample(processes, None)
        running.stop()
        result = running.finish()
    except BaseException:
        running.abandon()
        raise
    del looks[0]
    begun_ms = result.started_unix_ms
    written = lifetime_figures.counted(
        result.timeline, [one.at_unix_ms - begun_ms for one in looks]
    )
    cost = accounting.cost(first, last, result.rate, {})
    return Writes(
        outstanding=load.outstanding,
        connections=load.connections,
        value_bytes=load.value_bytes,
        keys=load.keys,
        written=result.operations,
        errors=result.errors,
        first_error=result.first_error,
        seconds=result.seconds,
        p99_ms=result.p99_ms,
        elsewhere=cost.elsewhere if cost else 0.0,
        samples=[one.sample(begun_ms, n) for one, n in zip(looks, written, strict=True)],
    )


def _watch(
    cluster: PaxosCluster,
    nodes: dict[str, int],
    looks: list[Look],
    wanted: int,
    every_s: float,
    note: Note,
) -> None:
    """Add looks until so many changes have been applied since the first one."""
    next_s = moved_s = time.monotonic()
    while (done := looks[-1].revision - looks[0].revision) < wanted:
        next_s = max(next_s + every_s, time.monotonic())
        time.sleep(max(0.0, next_s - time.monotonic()))
        looks.append(look(cluster, nodes))
        now_s = time.monotonic()
        if looks[-1].revision - looks[0].revision > done:
            moved_s = now_s
        elif now_s - moved_s > PATIENCE_S:
            raise BenchmarkError(f"nothing was written for {PATIENCE_S:g} s, after {done:,} writes")
        note(done, _line(looks[-1], looks[-1].revision - looks[0].revision))


def _line(one: Look, done: int) -> str:
    disks = [held for name, held in one.disk_bytes.items() if name.startswith("acceptor-")]
    learners = [held for name, held in one.memory_bytes.items() if name.startswith("learner-")]
    return (
        f"{done:,} writes, acceptors' disks up to {max(disks) / MIB:.0f} MiB,"
        f" learners' memory up to {max(learners) / MIB:.0f} MiB"
    )
