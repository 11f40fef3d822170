"""Does anything grow with time, and what do writes feel of a snapshot? This system alone.

    benchmarks/.venv/bin/python -m benchmarks.lifetime            both
    benchmarks/.venv/bin/python -m benchmarks.lifetime writes     millions of writes
    benchmarks/.venv/bin/python -m benchmarks.lifetime pause      snapshots of a million keys

`./benchmarks/run` sets up what it needs: the load generator, and matplotlib. A machine that does
nothing else is needed as well. Exit status: 0 measured, whatever came of the bounds, 1 something
could not be measured, 2 wrong usage, 130 interrupted (what had been measured until then is kept).
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from . import lifetime_records, lifetime_report, lifetime_writes
from .clusters.paxos import PaxosCluster, settings_that_differ
from .errors import BenchmarkError
from .generator import Load, Timing
from .lifetime_pause import PHASES_S, Pauses
from .lifetime_records import PULLING, QUIET, Lifetime, Pause
from .machine import describe_machine
from .options import HERE
from .progress import Progress, clock, say
from .runner import stopped_afterwards

WRITES, PAUSE = "writes", "pause"
JSON, MARKDOWN, PLOT = "results.json", "results.md", "lifetime.svg"
PUBLISHED = HERE.parent / "docs" / PLOT
OUTSTANDING = 256
PAUSE_OUTSTANDING = (64, 256)
_ASSUMED_RATE = 40_000.0
"""Writes per second, for the first estimate."""
_SAID_EVERY_S = 5.0
_INTERRUPTED = 130


def parse(words: list[str]) -> argparse.Namespace:
    """Return the options. Ends the program with status 2 on a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lifetime", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("parts", nargs="*", metavar="writes|pause", help="both by default")
    parser.add_argument("--writes", type=int, default=5_000_000, help="5,000,000 by default")
    parser.add_argument("--keys", type=int, default=10_000, help="of `writes`: 10,000 by default")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between looks: 0.5")
    parser.add_argument("--pause-keys", type=int, default=1_000_000, help="1,000,000 by default")
    parser.add_argument("--rounds", type=int, default=3, help="of `pause`, per load: 3 by default")
    parser.add_argument("--output", type=Path, help="by default a new folder in .results/")
    parser.add_argument("--data", type=Path, default=HERE / ".data", help="where clusters live")
    parser.add_argument("--publish", action="store_true", help=f"write docs/{PLOT} as well")
    parser.add_argument("--again", type=Path, help="measure nothing: write a folder's texts anew")
    asked = parser.parse_args(words)
    asked.parts = asked.parts or [WRITES, PAUSE]
    if wrong := sorted(set(asked.parts) - {WRITES, PAUSE}):
        parser.error(f"{wrong[0]!r} is neither {WRITES} nor {PAUSE}")
    if min(asked.writes, asked.keys, asked.pause_keys, asked.rounds) < 1 or asked.every <= 0:
        parser.error("every number must be above 0")
    return asked


class Measuring:
    """Measures what was asked for into `run`, a new cluster for each part."""

    def __init__(self, asked: argparse.Namespace, cluster: PaxosCluster, run: Lifetime) -> None:
        self._asked = asked
        self._cluster = cluster
        self._run = run
        self._fill_s = asked.pause_keys / _ASSUMED_RATE + PHASES_S[PULLING]
        self._progress = Progress(self.estimated_s)
        self._written = 0
        self._said_s = 0.0

    @property
    def estimated_s(self) -> float:
        """About how long everything takes."""
        rounds_s = self._asked.rounds * sum(PHASES_S.values()) + PHASES_S[QUIET]
        parts_s = {
            WRITES: self._asked.writes / _ASSUMED_RATE,
            PAUSE: self._fill_s + len(PAUSE_OUTSTANDING) * rounds_s,
        }
        return float(sum(parts_s[part] for part in set(self._asked.parts)))

    def measure(self) -> None:
        """Do it. The cluster is stopped whatever happens."""
        for part, do in ((WRITES, self._writes), (PAUSE, self._pause)):
            if part in self._asked.parts:
                with stopped_afterwards(self._cluster):
                    self._cluster.start()
                    self._cluster.wait_until_healthy()
                    do()

    def _writes(self) -> None:
        load = Load("write", OUTSTANDING, keys=self._asked.keys)
        wanted, every_s = self._asked.writes, self._asked.every
        self._run.writes = lifetime_writes.measure(
            self._cluster, load, wanted, every_s, self._note_writes
        )

    def _note_writes(self, written: int, text: str) -> None:
        self._progress.done((written - self._written) / _ASSUMED_RATE)
        self._written = written
        if time.monotonic() - self._said_s >= _SAID_EVERY_S:
            self._said_s = time.monotonic()
            self._progress.say(text)

    def _pause(self) -> None:
        keys: int = self._asked.pause_keys
        pause = self._run.pause = Pause(keys, 256, Load("write", OUTSTANDING).connections)
        self._progress.say(f"writing {keys:,} keys")
        fill = Load("write", OUTSTANDING, keys=keys)
        self._cluster.begin(fill, Timing(warmup_s=0.0, fill=True)).finish()
        for outstanding in PAUSE_OUTSTANDING:
            load = Load("write", outstanding, keys=keys)
            pauses = Pauses(self._cluster, load, self._progress.done)
            pauses.wait_until_quiet()
            if self._fill_s:
                self._progress.done(self._fill_s)
                self._fill_s = 0.0
            for window in pauses.rounds(self._asked.rounds):
                pause.windows.append(window)
                pause.snapshot_bytes = pauses.snapshot_bytes
                self._progress.say(
                    f"{outstanding} outstanding, round {window.round}, {window.phase}:"
                    f" {window.rate:,.0f}/s  p99 {window.p99_ms:.2f} ms  in {window.seconds:.1f} s"
                )


def write(run: Lifetime, folder: Path, *, publish: bool) -> str:
    """Write everything into a folder. Returns the Markdown. Raises OSError."""
    lifetime_records.save(run, folder / JSON)
    text = lifetime_report.markdown(run)
    (folder / MARKDOWN).write_text(text, encoding="utf-8")
    if run.writes is not None and run.writes.samples:
        # Only here: --help and the tests do without matplotlib.
        plot = importlib.import_module("benchmarks.lifetime_plot")
        plot.write(run.writes, folder / PLOT)
        if publish:
            plot.write(run.writes, PUBLISHED)
    return text


def _measure(asked: argparse.Namespace) -> int:
    started = datetime.datetime.now(datetime.UTC)
    folder: Path = asked.output or HERE / ".results" / f"{started:%Y%m%d-%H%M%S}-lifetime"
    folder.mkdir(parents=True, exist_ok=True)
    asked.data.mkdir(parents=True, exist_ok=True)
    cluster = PaxosCluster((asked.data / "lifetime").resolve())
    run = Lifetime(
        started=started.isoformat(timespec="seconds"),
        machine=describe_machine(asked.data),
        version=cluster.version(),
        settings=settings_that_differ(),
    )
    measuring = Measuring(asked, cluster, run)
    say(f"about {clock(measuring.estimated_s)}; results go to {folder}")
    status = 0
    try:
        measuring.measure()
    except BenchmarkError as error:
        say(f"FAILED {error}")
        status = 1
    except KeyboardInterrupt:
        say("interrupted: the cluster has been stopped; what was measured is kept")
        status = _INTERRUPTED
    print(write(run, folder, publish=asked.publish and not status))
    return status


def main(words: list[str] | None = None) -> int:
    """Measure, and write results.json, results.md and the plot. Returns the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    asked = parse(sys.argv[1:] if words is None else words)
    try:
        if asked.again is None:
            return _measure(asked)
        print(write(lifetime_records.load(asked.again / JSON), asked.again, publish=asked.publish))
    except (BenchmarkError, OSError, subprocess.CalledProcessError) as error:
        say(f"benchmarks.lifetime: {error}")
        return 1
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
