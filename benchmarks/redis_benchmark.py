"""redis-benchmark on this system: does this project's own generator tell the truth?

It speaks the Redis protocol alone, so it cannot compare systems; its requests are outstanding in
pipelines of a fixed depth, all of which must be answered before the next ones leave.
"""

from __future__ import annotations

import csv
import io
import subprocess

from .clusters.base import Cluster
from .errors import BenchmarkError
from .records import PipelineRecord

PROGRAM = "redis-benchmark"
LOADS = {
    "1 on 1": ("-c", "1", "-n", "4000"),
    "64 on 64": ("-c", "64", "-n", "80000"),
    "256 on 8, pipelines of 32": ("-c", "8", "-P", "32", "-n", "250000"),
}
_WORK = ("-t", "set,get", "-d", "256", "-r", "10000", "--csv")
_RATE, _P50, _P99 = "rps", "p50_latency_ms", "p99_latency_ms"
_TIMEOUT_S = 120.0


def measure(cluster: Cluster, number: int) -> list[PipelineRecord]:
    """Run every load on one endpoint. Raises BenchmarkError when one fails."""
    host, _, port = cluster.endpoints()[0].rpartition(":")
    found = []
    for title, words in LOADS.items():
        try:
            done = subprocess.run(
                [PROGRAM, "-h", host, "-p", port, *_WORK, *words],
                capture_output=True,
                text=True,
                check=True,
                timeout=_TIMEOUT_S,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise BenchmarkError(f"{PROGRAM} failed: {error}") from error
        for op, rate, p50_ms, p99_ms in rows(done.stdout):
            found.append(
                PipelineRecord(number, cluster.name, f"{op} {title}", rate, p50_ms, p99_ms)
            )
    return found


def rows(text: str) -> list[tuple[str, float, float, float]]:
    """Return (SET or GET, operations per second, p50, p99) from what `--csv` prints.

    Raises BenchmarkError when that is something else.
    """
    # It complains of CONFIG on standard output before the table.
    start = text.find('"test"')
    if start < 0:
        raise BenchmarkError(f"{PROGRAM} printed no table: {text[:200]!r}")
    try:
        return [
            (
                row["test"],
                float(row["rps"]),
                float(row["p50_latency_ms"]),
                float(row["p99_latency_ms"]),
            )
            for row in csv.DictReader(io.StringIO(text[start:]))
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise BenchmarkError(f"{PROGRAM} printed a table of another form: {error!r}") from error
