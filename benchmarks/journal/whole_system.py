"""The whole system's throughput with each journal engine, side by side, interleaved.

    PYTHONPATH=src:. python -m benchmarks.journal.whole_system [--rounds 7] [--json FILE]
        [--engines file sqlite ...]

One cluster of eleven processes per engine, all running at once, loaded one after the other by
redis-benchmark (SET, values of 256 bytes, 10,000 keys), so that what the machine does besides
meets them all. Figures are medians over the rounds; "of file" is the median of the ratios within
a round. Needs redis-benchmark (Debian: redis-tools) and, for LMDB and RocksDB, lmdb and rocksdict.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENGINES = {
    "file": "paxos.storage.file_journal:FileJournal",
    "sqlite": "benchmarks.journal.sqlite_journal:SqliteJournal",
    "sqlite, mark synced": "benchmarks.journal.sqlite_journal:SqliteMarkedJournal",
    "lmdb": "benchmarks.journal.lmdb_journal:LmdbJournal",
    "rocksdb": "benchmarks.journal.rocksdb_journal:RocksdbJournal",
}
LOADS = {
    "1 outstanding": ("-c", "1", "-n", "3000"),
    "64 on 64 connections": ("-c", "64", "-n", "30000"),
    "256 on 8 connections": ("-c", "8", "-P", "32", "-n", "150000"),
}
WORK = ("-t", "set", "-d", "256", "-r", "10000", "-q")
OFFSET = 4000
"""Port offset of the first cluster; each further one adds 20."""


def say(text: str) -> None:
    """Tell progress."""
    print(text, file=sys.stderr, flush=True)


def environment(engine: str, folder: Path, number: int) -> dict[str, str]:
    """Return what a cluster with this engine is started with."""
    return {
        **os.environ,
        "PAXOS_JOURNAL_ENGINE": ENGINES[engine],
        "PAXOS_DATA": str(folder / str(number)),
        "PAXOS_NETWORK_PORT_OFFSET": str(OFFSET + 20 * number),
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
    }


def paxos(verb: str, settings: dict[str, str]) -> None:
    """Run the command line program. Raises CalledProcessError when it fails."""
    program = Path(sys.executable).with_name("paxos")
    subprocess.run([program, verb], env=settings, check=True, capture_output=True)


def load(settings: dict[str, str], arguments: tuple[str, ...]) -> float:
    """Return the SETs per second that one run of redis-benchmark reaches."""
    port = 6001 + int(settings["PAXOS_NETWORK_PORT_OFFSET"])
    done = subprocess.run(
        ["redis-benchmark", "-p", str(port), *WORK, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.findall(r"SET: ([\d.]+) requests per second", done.stdout)
    return float(found[-1])


def main() -> int:
    """Measure and print a Markdown table per load."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    options = parser.parse_args()
    if "file" not in options.engines:
        parser.error("--engines needs file, to which the others are compared")
    folder = Path(tempfile.mkdtemp(prefix="paxos-engines-"))
    clusters = {e: environment(e, folder, n) for n, e in enumerate(options.engines)}
    rates: dict[str, dict[str, list[float]]] = {
        name: {engine: [] for engine in options.engines} for name in LOADS
    }
    try:
        for engine, settings in clusters.items():
            say(f"starting eleven processes with {engine}")
            paxos("up", settings)
        for number in range(options.rounds + 1):
            for name, arguments in LOADS.items():
                for engine, settings in clusters.items():
                    rate = load(settings, arguments)
                    if number:  # the first round warms up
                        rates[name][engine].append(rate)
                    say(f"round {number}/{options.rounds}, {name}: {engine} {rate:,.0f}/s")
    finally:
        for settings in clusters.values():
            paxos("stop", settings)
        shutil.rmtree(folder)
    print("| outstanding | " + " | ".join(f"{e}, SET/s | of file" for e in options.engines) + " |")
    print("| --- |" + " ---: |" * (2 * len(options.engines)))
    for name, by_engine in rates.items():
        cells = []
        for engine in options.engines:
            ratios = [a / b for a, b in zip(by_engine[engine], by_engine["file"], strict=True)]
            cells.append(f"{statistics.median(by_engine[engine]):,.0f}")
            cells.append(f"{statistics.median(ratios):.2f}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    if options.json:
        options.json.write_text(json.dumps(rates, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
