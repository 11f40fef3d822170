"""Compare the journal's engines: commits per second and CPU per commit, interleaved.

    PYTHONPATH=src:. python -m benchmarks.journal.compare [--rounds 5] [--folder DIR] [--json FILE]

Every run is a process of its own with a fresh volume. In each round all engines take each case
in turn, so that what the machine does besides meets them all; figures are medians over the
rounds, ratios are medians of the ratios to `file` within a round. `floor` is no engine: a bare
pwrite and fdatasync of as many bytes into a file written before. It runs first and last in a
round; a round in which either falls below half of the best floor met somebody else's writes and
is thrown away, whatever the engines did in it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from paxos.core.effects import AcceptedEntry, Stamped
from paxos.core.types import Ballot, NodeId, Slot

ENGINES = {
    "floor": "",
    "file": "paxos.storage.file_journal:FileJournal",
    "sqlite": "benchmarks.journal.sqlite_journal:SqliteJournal",
    "lmdb": "benchmarks.journal.lmdb_journal:LmdbJournal",
    "rocksdb": "benchmarks.journal.rocksdb_journal:RocksdbJournal",
}
CASES = ((1, 1024, 2000), (16, 1024, 1000), (256, 1024, 150), (1, 65536, 600))
"""Votes per sync, bytes per vote, syncs."""
QUIET = 0.5
"""A round counts when the floor before and after it reaches this share of its best."""
ROUNDS_TRIED_MAX = 8
"""Give up after so many times the rounds that were asked for."""
METRICS = ("commits_per_s", "cpu_us", "p99_us", "rss_mib", "written_kib", "reopen_ms")


def written_bytes(folder: Path) -> int:
    """Return how many bytes the disk under `folder` has written, for whomever; 0 if unknown.

    The process's own count would mislead: it counts whole folios of the page cache.
    """
    device = folder.stat().st_dev
    path = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    return int(path.read_text().split()[6]) * 512 if path.exists() else 0


def run(engine: str, folder: Path, votes: int, size: int, syncs: int) -> dict[str, float]:
    """Measure one engine on one case in this process."""
    value = os.urandom(size)
    durations: list[float] = []
    if engine == "floor":
        folder.mkdir(parents=True)
        handle = os.open(folder / "floor", os.O_RDWR | os.O_CREAT)
        content = value * votes
        for offset in range(0, 64 << 20, 1 << 20):
            os.pwrite(handle, bytes(1 << 20), offset)
        os.fsync(handle)
        step = (len(content) + 511) // 512 * 512
        begin_cpu, begin_written, begin = (
            time.process_time(),
            written_bytes(folder),
            time.perf_counter(),
        )
        for number in range(syncs):
            started = time.perf_counter()
            os.pwrite(handle, content, number * step % ((64 << 20) - step) & -512)
            os.fdatasync(handle)
            durations.append(time.perf_counter() - started)
    else:
        module, _, factory = ENGINES[engine].partition(":")
        open_engine = getattr(importlib.import_module(module), factory)
        journal = open_engine(folder)
        journal.append(Stamped(cluster="c", node=NodeId("acceptor-1"), phase="open"))
        journal.sync()
        slot = 0
        begin_cpu, begin_written, begin = (
            time.process_time(),
            written_bytes(folder),
            time.perf_counter(),
        )
        for _ in range(syncs):
            started = time.perf_counter()
            for _ in range(votes):
                slot += 1
                journal.append(
                    AcceptedEntry(
                        slot=Slot(slot), ballot=Ballot(101), value=value, decided=Slot(slot - 1)
                    )
                )
            journal.sync()
            durations.append(time.perf_counter() - started)
    elapsed = time.perf_counter() - begin
    cpu = time.process_time() - begin_cpu
    written = written_bytes(folder) - begin_written
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    reopen = 0.0
    if engine != "floor":
        journal.close()
        started = time.perf_counter()
        journal = open_engine(folder)
        reopen = time.perf_counter() - started
        if journal.recovered.damage or journal.highest_slot != slot:
            raise SystemExit(f"{engine} lost votes: {journal.recovered}")
        journal.close()
    return {
        "commits_per_s": syncs / elapsed,
        "cpu_us": cpu / syncs * 1e6,
        "p99_us": sorted(durations)[len(durations) * 99 // 100] * 1e6,
        "rss_mib": rss,
        "written_kib": written / syncs / 1024,
        "reopen_ms": reopen * 1e3,
    }


def run_apart(engine: str, folder: Path, case: tuple[int, int, int]) -> dict[str, float]:
    """Measure one engine on one case in a process of its own, on a fresh volume."""
    target = folder / engine
    command = [sys.executable, "-m", "benchmarks.journal.compare", "--one", engine]
    command += [*map(str, case), "--folder", str(target)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    shutil.rmtree(target)
    figures: dict[str, float] = json.loads(answer.stdout)
    return figures


def measure(rounds: int, folder: Path) -> dict[str, Any]:
    """Run until every case has so many quiet rounds, with progress on standard error."""
    best = {
        case: max(run_apart("floor", folder, case)["commits_per_s"] for _ in range(3))
        for case in CASES
    }
    results: dict[str, Any] = {f"{votes}x{size}": {} for votes, size, _ in CASES}
    quiet = dict.fromkeys(CASES, 0)
    started = time.monotonic()
    for tried in range(1, rounds * ROUNDS_TRIED_MAX + 1):
        for case in CASES:
            if quiet[case] == rounds:
                continue
            figures = {engine: run_apart(engine, folder, case) for engine in ENGINES}
            floors = [figures["floor"], run_apart("floor", folder, case)]
            slowest = min(run["commits_per_s"] for run in floors)
            best[case] = max(best[case], *(run["commits_per_s"] for run in floors))
            if slowest >= best[case] * QUIET:
                quiet[case] += 1
                for engine, run in figures.items():
                    results[f"{case[0]}x{case[1]}"].setdefault(engine, []).append(run)
            print(
                f"\rround {tried}, quiet {'/'.join(map(str, quiet.values()))} of {rounds}, "
                f"{time.monotonic() - started:.0f} s ",
                end="",
                file=sys.stderr,
            )
        if min(quiet.values()) == rounds:
            break
    print(file=sys.stderr)
    return results


def report(results: dict[str, Any]) -> None:
    """Print one Markdown table per case."""
    for case, engines in results.items():
        if not engines:
            print(f"\n### {case}: the disk was never quiet")
            continue
        votes, size = case.split("x")
        counted = len(engines["file"])
        print(f"\n### {votes} vote(s) of {int(size) // 1024} KiB per sync ({counted} rounds)\n")
        print(
            "| engine | commits/s | of file | CPU µs/commit | p99 µs | peak MiB "
            "| disk KiB/commit | reopen ms |"
        )
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for engine, runs in engines.items():
            figures = [statistics.median(run[metric] for run in runs) for metric in METRICS]
            ratio = statistics.median(
                run["commits_per_s"] / base["commits_per_s"]
                for run, base in zip(runs, engines["file"], strict=True)
            )
            columns = [f"{figures[0]:,.0f}", f"{ratio:.2f}", *(f"{f:,.0f}" for f in figures[1:])]
            print(f"| {engine} | {' | '.join(columns)} |")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder",
        type=Path,
        help="where the volumes are made (default: a new "
        "temporary folder); it must be on the disk to be measured",
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument(
        "--one", nargs=4, metavar=("ENGINE", "VOTES", "BYTES", "SYNCS"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.one:
        engine, *numbers = arguments.one
        print(json.dumps(run(engine, arguments.folder, *map(int, numbers))))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        results = measure(arguments.rounds, Path(folder))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    report(results)


if __name__ == "__main__":
    main()
