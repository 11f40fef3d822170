"""Many seeds of a simulated cluster under faults, and what came of them.

Every seed is a whole cluster's life (sim/simulation.py). Processes share the seeds; the result
does not depend on how many. A seed that fails is repeated, shrunk and drawn as a ladder.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import typer

from paxos import __version__
from paxos.core.errors import ConfigurationError, DefiniteError
from paxos.sim import faults, history, shrink
from paxos.sim.ladder import ladder
from paxos.sim.recording import Recording
from paxos.sim.simulation import Options, Outcome, Run
from paxos.sim.simulation import run as run_seed

SEED_MAX = 2**53
"""A seed fits a number of JSON."""

PLAIN_PROGRESS_S = 10.0
"""How often progress is told where there is no terminal to draw a bar on."""

CHUNK = 8
"""How many seeds a process takes at a time."""


class Summary(msgspec.Struct, kw_only=True):
    """What many runs add up to. An idle run shows here: no faults, no leaders, no answers."""

    seeds: int = 0
    steps: int = 0
    simulated_hours: float = 0.0
    slots_chosen: int = 0
    leaders_elected: int = 0
    operations: dict[str, int] = {}
    faults: dict[str, int] = {}
    recovery_ms: dict[str, float] = {}
    """How long healed cores took until a write was read back: median, 99th percentile, longest."""
    seconds: float = 0.0
    steps_per_second: float = 0.0
    """Of wall-clock time, all processes together."""
    failed: list[Outcome] = []


class Tally:
    """Adds outcomes up."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._operations: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._recovery: list[float] = []
        self._summary = Summary()
        self._simulated_ms = 0.0

    def add(self, outcome: Outcome) -> None:
        """Take one run in."""
        summary = self._summary
        summary.seeds += 1
        summary.steps += outcome.steps
        summary.slots_chosen += outcome.chosen
        summary.leaders_elected += outcome.leaders
        self._simulated_ms += outcome.simulated_ms
        self._operations.update(outcome.operations)
        self._faults.update(outcome.faults)
        if outcome.violation:
            summary.failed.append(outcome)
        else:
            self._recovery.append(outcome.recovered_ms)

    @property
    def seeds(self) -> int:
        """How many runs were taken in so far."""
        return self._summary.seeds

    @property
    def failures(self) -> int:
        """How many runs failed so far."""
        return len(self._summary.failed)

    @property
    def steps(self) -> int:
        """How many role steps there were so far."""
        return self._summary.steps

    def summary(self) -> Summary:
        """Return everything so far."""
        summary = self._summary
        summary.seconds = round(time.monotonic() - self._started, 2)
        summary.steps_per_second = round(summary.steps / max(summary.seconds, 0.001))
        summary.simulated_hours = round(self._simulated_ms / 3_600_000, 3)
        summary.operations = dict(sorted(self._operations.items()))
        summary.faults = dict(sorted(self._faults.items()))
        summary.failed.sort(key=lambda outcome: outcome.seed)
        ordered = sorted(self._recovery)
        if ordered:
            last = len(ordered) - 1
            summary.recovery_ms = {
                "p50": round(ordered[last // 2], 1),
                "p99": round(ordered[int(last * 0.99)], 1),
                "max": round(ordered[-1], 1),
            }
        return summary


def run_many(
    seed: int | None,
    count: int | None,
    minutes: float | None,
    options: Options,
    *,
    jobs: int,
    keep_going: bool,
    shrinking: bool,
    as_json: bool,
) -> None:
    """Run `count` seeds from `seed` (None: drawn), or as many as fit `minutes`; tell the result.

    Raises typer.Exit with status 1 when a rule broke, DefiniteError when nothing was tested.
    """
    first = secrets.randbelow(SEED_MAX // 2) if seed is None else seed
    print(f"seeds from {first}; commit {_commit()}", file=sys.stderr, flush=True)
    tally = Tally()
    deadline = None if minutes is None else time.monotonic() + minutes * 60
    outcomes = _outcomes(first, count, deadline, options, jobs or os.cpu_count() or 1)
    with _progress(count, minutes, as_json) as tell, contextlib.closing(outcomes):
        for outcome in outcomes:
            tally.add(outcome)
            tell(tally)
            if outcome.violation and not keep_going:
                break
    summary = tally.summary()
    if as_json:
        told = {"commit": _commit(), "first": first, **msgspec.to_builtins(summary)}
        print(json.dumps(told))
    else:
        _print_summary(summary, first)
    for outcome in summary.failed[:3]:
        _explain(outcome, options, shrinking, as_json)
    if summary.failed:
        raise typer.Exit(1)
    if not summary.operations.get("ok"):
        raise DefiniteError("no client was ever answered: this run proves nothing")


# ---------------------------------------------------------------- running


def _outcomes(
    first: int, count: int | None, deadline: float | None, options: Options, jobs: int
) -> Generator[Outcome, None, None]:
    """Yield outcomes as they come, of `count` seeds or until the deadline."""
    if jobs == 1:
        seed = first
        while (count is None or seed < first + count) and not _over(deadline):
            yield run_seed(seed, options)
            seed += 1
        return
    with concurrent.futures.ProcessPoolExecutor(jobs, initializer=_ignore_interrupts) as pool:
        running: set[concurrent.futures.Future[list[Outcome]]] = set()
        seed = first
        try:
            while True:
                more = (count is None or seed < first + count) and not _over(deadline)
                while more and len(running) < jobs * 2:
                    end = seed + CHUNK if count is None else min(seed + CHUNK, first + count)
                    running.add(pool.submit(_run_some, seed, end, options))
                    seed = end
                    more = count is None or seed < first + count
                if not running:
                    return
                done, running = concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in done:
                    yield from future.result()
        finally:
            for future in running:
                future.cancel()


def _over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _run_some(first: int, end: int, options: Options) -> list[Outcome]:
    return [run_seed(seed, options) for seed in range(first, end)]


def _ignore_interrupts() -> None:
    """Ctrl-C is for the process that shows the progress; it ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def kinds_of(names: str) -> tuple[str, ...]:
    """Return the kinds of faults that a list of kinds and groups means.

    Raises ConfigurationError for a name that means nothing.
    """
    chosen: list[str] = []
    for name in (part.strip() for part in names.split(",")):
        group = faults.GROUPS.get(name)
        if group is None and name not in faults.KINDS:
            known = ", ".join((*faults.GROUPS, *faults.KINDS))
            raise ConfigurationError(f'--faults "{name}": must be of {known}')
        chosen.extend((name,) if group is None else group)
    return tuple(dict.fromkeys(chosen))


# ---------------------------------------------------------------- telling


@contextlib.contextmanager
def _progress(count: int | None, minutes: float | None, as_json: bool) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("simulating"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    started = told = time.monotonic()
    quiet = as_json or not console.is_terminal
    with Progress(*columns, console=console, disable=quiet) as bar:
        task = bar.add_task("", total=count or (minutes or 0.0) * 60)

        def tell(tally: Tally) -> None:
            nonlocal told
            now = time.monotonic()
            rate = tally.steps / max(now - started, 0.001)
            text = f"{tally.seeds:,} seeds, {rate:,.0f} steps/s, {tally.failures} failed"
            bar.update(task, completed=tally.seeds if count else now - started, description=text)
            if quiet and now - told > PLAIN_PROGRESS_S:
                told = now
                print(text, file=sys.stderr, flush=True)

        yield tell


def _print_summary(summary: Summary, first: int) -> None:
    rows = (
        ("seeds", f"{summary.seeds:,} from {first}"),
        ("role steps", f"{summary.steps:,} ({summary.steps_per_second:,.0f} per second)"),
        ("simulated", f"{summary.simulated_hours:g} hours in {summary.seconds:g} s"),
        ("slots chosen", f"{summary.slots_chosen:,}"),
        ("leaders elected", f"{summary.leaders_elected:,}"),
        ("operations", ", ".join(f"{n:,} {what}" for what, n in summary.operations.items())),
        (
            "recovery",
            ", ".join(f"{name} {ms:g} ms" for name, ms in summary.recovery_ms.items()) or "none",
        ),
        ("faults", f"{sum(summary.faults.values()):,}"),
        *((f"  {kind}", f"{n:,}") for kind, n in summary.faults.items()),
        ("violations", str(len(summary.failed))),
    )
    for name, value in rows:
        print(f"{name:18} {value}")


def _explain(outcome: Outcome, options: Options, shrinking: bool, as_json: bool) -> None:
    """Say how to repeat a failure; shrink it and draw it."""
    output = sys.stderr if as_json else sys.stdout

    def say(text: str) -> None:
        print(text, file=output, flush=True)

    say(f"\nseed {outcome.seed} failed: {outcome.kind} after {outcome.at_ms:.0f} simulated ms")
    say(f"  {outcome.violation}")
    say(f"  commit {_commit()}, trace {outcome.trace_hash}")
    say(f"  repeat it: paxos simulate --seed {outcome.seed} --seeds 1{_spelled(options)}")
    if not shrinking:
        return
    say("  shrinking ...")

    def progress(runs: int, runs_max: int, left: int) -> None:
        if sys.stderr.isatty():
            text = f"  shrinking: {left} faults left, {runs} of at most {runs_max} runs"
            print(f"\r{text:60}", end="", file=sys.stderr, flush=True)

    shrunk = shrink.shrink(outcome.seed, options, outcome, progress)
    if sys.stderr.isatty():
        print(f"\r{'':60}\r", end="", file=sys.stderr, flush=True)
    file = Path(f"simulate-{outcome.seed}.json")
    file.write_bytes(shrink.dump(shrunk))
    say(f"  shrunk to {len(shrunk.plan)} faults: paxos simulate --replay {file}")
    _draw(shrunk, say)


def _draw(shrunk: shrink.Shrunk, say: Any) -> Outcome:
    recording = Recording(Run(shrunk.seed, shrunk.options, shrunk.plan))
    outcome = recording.go()
    for line in ladder(recording):
        say(line)
    return outcome


def _spelled(options: Options) -> str:
    """Return the command line's options that differ from the defaults."""
    default = Options()
    words = []
    if options.time_ms != default.time_ms:
        words.append(f"--time {options.time_ms / 1000:g}")
    if options.kinds != default.kinds:
        words.append(f"--faults {','.join(options.kinds) or 'none'}")
    for word, name in (
        ("acceptors", "acceptors"),
        ("proposers", "proposers"),
        ("learners", "learners"),
        ("clients", "gateways"),
        ("users", "clients"),
    ):
        value = getattr(options, name)
        if value != getattr(default, name):
            words.append(f"--{word} {value}")
    return "".join(f" {word}" for word in words)


def replay(file: Path, as_json: bool) -> None:
    """Repeat a shrunk failure from its file, and draw it. Raises typer.Exit(1) if it fails."""
    try:
        shrunk = shrink.load(file.read_bytes())
    except OSError as error:
        raise ConfigurationError(f'--replay "{file}": {error.strerror}') from error
    lines: list[str] = []
    outcome = _draw(shrunk, lines.append)
    if outcome.trace_hash != shrunk.trace_hash:
        print("other code than when it failed: this is another run", file=sys.stderr)
    if as_json:
        print(json.dumps({**msgspec.to_builtins(outcome), "ladder": lines}))
    else:
        print("\n".join([outcome.violation or "no violation", *lines]))
    if outcome.violation:
        raise typer.Exit(1)


def list_faults(as_json: bool) -> None:
    """Print the kinds of faults by their groups."""
    if as_json:
        print(json.dumps({"kinds": list(faults.KINDS), "groups": faults.GROUPS}))
        return
    for name, kinds in faults.GROUPS.items():
        print(f"{name:12} {', '.join(kinds)}")


def write_history(seed: int, options: Options, file: Path) -> None:
    """Write the history of one seed's clients, for `paxos check-history`."""
    life = Run(seed, options)
    outcome = life.go()
    lines = b"".join(history.encode_line(event) for event in life.workload.history)
    try:
        file.write_bytes(lines)
    except OSError as error:
        raise DefiniteError(f"{file}: {error.strerror}") from error
    print(
        f"{len(life.workload.history)} events written to {file}; {outcome.violation or 'all well'}"
    )
    if outcome.violation:
        raise typer.Exit(1)


def _commit() -> str:
    """Return the commit of this tree, `+` when it was changed since; else the version."""
    folder = Path(__file__).parent
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return f"of version {__version__}"
    return asked.stdout.strip() or f"of version {__version__}"
