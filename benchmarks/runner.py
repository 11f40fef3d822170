"""Runs the turns of a plan, one cluster at a time, and notes what was measured.

What cannot be measured is noted with its reason, and the run goes on with the next turn.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from . import accounting, failover, overload, plan, redis_benchmark, summary
from .clusters.base import Cluster
from .errors import BenchmarkError
from .generator import Load, Result, Timing
from .plan import Stage, Turn, Wishes
from .progress import Progress, say
from .records import CellRecord, MemoryRecord, Run

FILL_OUTSTANDING = 256
HEATING_OUTSTANDING = 64
IDLE_S = 1.0
"""How long a cluster is left alone before it is weighed."""
_SAMPLE_AFTER_S = 0.3
_SAMPLE_BEFORE_S = 0.1
"""Costs are taken over the inner part of the measured time, where all is steady."""


class Runner:
    """Does everything that a plan asks. `save` is called whenever something has been measured.

    `data` is the folder that all clusters' folders lie in.
    """

    def __init__(
        self,
        wishes: Wishes,
        clusters: dict[str, Cluster],
        run: Run,
        save: Callable[[], None],
        data: Path,
        seed: int,
    ) -> None:
        self._wishes = wishes
        self._clusters = clusters
        self._run = run
        self._save = save
        self._seed = seed
        self._device = accounting.device_of(data)
        self._turns = plan.turns(wishes)
        self._estimates_s = [self._estimate_s(turn) for turn in self._turns]
        self._progress = Progress(sum(self._estimates_s))

    @property
    def estimated_s(self) -> float:
        """About how long everything takes."""
        return sum(self._estimates_s)

    def _estimate_s(self, turn: Turn) -> float:
        cluster = self._clusters[turn.system]
        return plan.estimate_s(turn, self._wishes, cluster.start_s, cluster.can)

    def run(self) -> None:
        """Do it. Every cluster is stopped whatever happens, Ctrl-C included."""
        for turn, estimated_s in zip(self._turns, self._estimates_s, strict=True):
            cluster = self._clusters[turn.system]
            try:
                with stopped_afterwards(cluster):
                    self._take(turn, cluster, estimated_s)
            except BenchmarkError as error:
                failure = f"round {turn.round}, {turn.stage.name}, {turn.system}: {error}"
                self._run.failures.append(failure)
                say(f"FAILED {failure}")
            self._save()

    def _take(self, turn: Turn, cluster: Cluster, estimated_s: float) -> None:
        stage = turn.stage
        loads = [load for load in stage.loads if cluster.can(load)]
        failovers = [
            (kind, number)
            for kind, count in (stage.failovers or {}).items()
            for number in range(1, count + 1)
        ]
        steps = 1 + len(loads) + len(failovers) + stage.pipeline
        steps += plan.OVERLOAD_STEPS * stage.overload
        step_s = estimated_s / steps
        self._tell(turn, f"starting ({stage.name})")
        cluster.start()
        time.sleep(IDLE_S)
        self._weigh(turn, cluster, "idle")
        if stage.fill_keys:
            self._fill(turn, cluster)
        if loads:
            heating = _writes(stage, HEATING_OUTSTANDING)
            _loaded(cluster, heating, Timing(0.0, self._wishes.heating_s, self._seed))
        self._progress.done(step_s)
        for load in loads:
            self._measure(turn, cluster, load)
            self._progress.done(step_s)
        if stage.pipeline:
            self._run.pipeline += redis_benchmark.measure(cluster, turn.round)
            self._progress.done(step_s)
        if stage.overload:
            self._overload(turn, cluster, step_s)
        dice = random.Random(f"{self._seed} {turn.system}")
        for kind, number in failovers:
            self._lose_leader(turn, cluster, kind, number, dice)
            self._progress.done(step_s)

    def _tell(self, turn: Turn, text: str) -> None:
        rounds = "once" if turn.stage.once else f"{turn.round}/{self._wishes.rounds}"
        self._progress.say(f"{rounds:>4} {turn.system:15} {text}")

    def _weigh(self, turn: Turn, cluster: Cluster, state: str) -> None:
        weighed = accounting.memory(cluster.processes())
        self._run.memory.append(MemoryRecord(turn.round, turn.system, state, weighed))

    def _fill(self, turn: Turn, cluster: Cluster) -> None:
        """Write each key once, and weigh the processes then where that is wanted."""
        stage = turn.stage
        load = _writes(stage, FILL_OUTSTANDING)
        result = _loaded(cluster, load, Timing(warmup_s=0.0, seed=self._seed, fill=True))
        if result.errors:
            self._tell(turn, f"{result.errors} errors while filling: {result.first_error}")
        if stage.memory:
            time.sleep(IDLE_S)
            self._weigh(turn, cluster, f"{stage.fill_keys:,} keys")

    def _measure(self, turn: Turn, cluster: Cluster, load: Load) -> None:
        timing = Timing(self._wishes.warmup_s, self._wishes.measured_s, self._seed + turn.round)
        running = cluster.begin(load, timing)
        try:
            processes = cluster.processes()
            if running.pid is not None:
                processes[accounting.GENERATOR] = running.pid
            roles = cluster.roles()
            measured_from_s = running.started_s + timing.warmup_s
            _sleep_until(measured_from_s + _SAMPLE_AFTER_S)
            first = accounting.sample(processes, self._device)
            _sleep_until(measured_from_s + timing.measured_s - _SAMPLE_BEFORE_S)
            last = accounting.sample(processes, self._device)
            result = running.finish()
        except BaseException:
            running.abandon()
            raise
        cost = accounting.cost(first, last, result.rate, roles)
        self._run.cells.append(
            CellRecord(turn.round, turn.system, turn.stage.name, load, result, cost)
        )
        disturbance = ""
        if cost is not None and cost.elsewhere > summary.ELSEWHERE_MAX:
            disturbance = f"  DISTURBED: others used {cost.elsewhere:.0%} of the processors"
        self._tell(turn, _line(load, result) + disturbance)
        self._save()

    def _overload(self, turn: Turn, cluster: Cluster, step_s: float) -> None:
        wishes = self._wishes
        timing = Timing(wishes.warmup_s, wishes.measured_s, self._seed + turn.round)

        def tell(text: str) -> None:
            self._tell(turn, text)

        is_full = wishes.form == plan.FULL
        for level in overload.measure_levels(cluster, turn.round, is_full, timing, tell):
            self._run.overload.append(level)
            self._progress.done(step_s)
            self._save()
        for neighbour in overload.measure_neighbours(cluster, turn.round, timing, tell):
            self._run.neighbours.append(neighbour)
            self._progress.done(2 * step_s)  # alone, and beside the disturbance
            self._save()

    def _lose_leader(
        self, turn: Turn, cluster: Cluster, kind: str, number: int, dice: random.Random
    ) -> None:
        record = failover.lose_leader(cluster, kind, number, dice)
        self._run.failovers.append(record)
        errors = f", {record.result.errors} errors" if record.result.errors else ""
        self._tell(turn, f"{kind} {number}: {record.leader} lost, {record.gap_ms:,.0f} ms{errors}")
        self._save()


def _writes(stage: Stage, outstanding: int) -> Load:
    """Return writes of the stage's values among its keys."""
    return Load("write", outstanding, value_bytes=stage.fill_value_bytes, keys=stage.fill_keys)


def _loaded(cluster: Cluster, load: Load, timing: Timing) -> Result:
    """Load and wait for the end."""
    running = cluster.begin(load, timing)
    try:
        return running.finish()
    except BaseException:
        running.abandon()
        raise


def _line(load: Load, result: Result) -> str:
    errors = f"  {result.errors} errors: {result.first_error}" if result.errors else ""
    return (
        f"{load.title:21} {result.rate:9,.0f}/s  p50 {result.p50_ms:8.3f}"
        f"  p99 {result.p99_ms:8.3f} ms{errors}"
    )


def _sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.monotonic()))


@contextmanager
def stopped_afterwards(cluster: Cluster) -> Iterator[None]:
    """Stop the cluster at the end; further Ctrl-C meanwhile are not heard until it is done."""
    try:
        yield
    finally:
        heard: list[int] = []

        def note(number: int, _frame: FrameType | None) -> None:
            heard.append(number)

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            cluster.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if heard:
            raise KeyboardInterrupt
