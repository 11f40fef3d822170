"""This system and its peers under the same loads, in turn: see README.md, and `--help`.

Exit status: 0 measured, 1 something could not be measured, 2 wrong usage, 130 interrupted (what
had been measured until then is kept).
"""

from __future__ import annotations

import argparse
import datetime
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from . import output, records
from .clusters.base import Cluster
from .clusters.catalogue import CLUSTERS
from .clusters.paxos import settings_that_differ
from .errors import BenchmarkError
from .machine import describe_machine
from .options import HERE, parse, wishes_of
from .progress import clock, say
from .records import Run
from .runner import Runner

_INTERRUPTED = 130


def main(words: list[str] | None = None) -> int:
    """Measure, and write results.json, results.md and the plots. Returns the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _compare(parse(sys.argv[1:] if words is None else words))
    except (BenchmarkError, OSError, subprocess.CalledProcessError) as error:
        say(f"benchmarks/run: {error}")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _compare(options: argparse.Namespace) -> int:
    started = datetime.datetime.now(datetime.UTC)
    folder: Path = options.output or HERE / ".results" / f"{started:%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    options.data.mkdir(parents=True, exist_ok=True)
    wishes = wishes_of(options)
    clusters: dict[str, Cluster] = {
        name: CLUSTERS[name]((options.data / name).resolve()) for name in wishes.systems
    }
    run = Run(
        started=started.isoformat(timespec="seconds"),
        form=wishes.form,
        rounds=wishes.rounds,
        seconds=wishes.measured_s,
        machine=describe_machine(options.data),
        versions={name: cluster.version() for name, cluster in clusters.items()},
        settings=settings_that_differ(),
    )
    file = folder / output.JSON
    runner = Runner(
        wishes, clusters, run, lambda: records.write(run, file), options.data, options.seed
    )
    say(f"about {clock(runner.estimated_s)}; results go to {folder}")
    status = 0
    try:
        runner.run()
    except KeyboardInterrupt:
        say("interrupted: every server has been stopped; what was measured is kept")
        status = _INTERRUPTED
    print(output.write(run, folder))
    return status or (1 if run.failures else 0)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
