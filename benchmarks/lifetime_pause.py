"""What writes feel of a snapshot of a large state: the same load without one and during one.

A round is a quiet window, in which no learner takes a snapshot and no acceptor gets one; then one
is asked for (`BACKUP BEGIN`, which has a learner take a snapshot at once, as it otherwise does
when the log has grown enough), and a load is measured until it has been taken; then one until
every acceptor has got it. After the last round another quiet window follows. What the cluster does
of its own accord it goes on doing: a quiet window into which a snapshot falls is measured again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from . import accounting
from .clusters.paxos import PaxosCluster
from .door import ask
from .errors import BenchmarkError
from .generator import Load, RunningLoad, Timing
from .lifetime_records import PULLING, QUIET, TAKING, Window
from .lifetime_watch import Snapshots, folder_bytes, kept_by_all, snapshots, watched

QUIET_S = 4.0
WARMUP_S = 1.0
SHORT_WARMUP_S = 0.3
"""Before the acceptors' part is measured: they do not wait for it."""
LONGEST_S = 180.0
"""No phase may take longer."""
QUIET_TRIES = 10
_LOOK_S = 0.5
"""Between looks: each takes a millisecond or two of every node that is asked."""
_BEGUN_S = 0.05
"""So long after its start the generator has surely connected."""

Done = Callable[[float], None]
"""Gets the estimated seconds of what has been done."""
PHASES_S = {QUIET: QUIET_S + WARMUP_S, TAKING: 12.0, PULLING: 45.0}
"""About how long each takes with a million keys."""


class Pauses:
    """Measures rounds on one cluster that has been filled. Raises BenchmarkError."""

    def __init__(self, cluster: PaxosCluster, load: Load, done: Done) -> None:
        self._cluster = cluster
        self._load = load
        self._done = done
        self._nodes = list(watched(cluster))
        self._door = cluster.endpoints()[0]
        self.snapshot_bytes = 0

    def rounds(self, number: int) -> Iterator[Window]:
        """Yield the windows of so many rounds, and a quiet one at the end."""
        for one in range(1, number + 1):
            yield self._quiet(one)
            slot, window = self._taking(one)
            yield window
            pulling, is_done = self._pulling(one, slot)
            if pulling is not None:
                yield pulling
            if not is_done:
                raise BenchmarkError(f"some acceptor had not got a snapshot after {LONGEST_S:g} s")
        yield self._quiet(number + 1)

    def wait_until_quiet(self) -> Snapshots:
        """Wait until no snapshot is on its way; return what there is then."""
        deadline_s = time.monotonic() + LONGEST_S
        while not (found := snapshots(self._cluster, self._nodes)).is_quiet:
            if time.monotonic() > deadline_s:
                raise BenchmarkError(f"snapshots were not done after {LONGEST_S:g} s")
            time.sleep(_LOOK_S)
        return found

    def _quiet(self, number: int) -> Window:
        for _ in range(QUIET_TRIES):
            before = self.wait_until_quiet()
            with self._loading(WARMUP_S) as load:
                _sleep_until(load.measured_from_s + QUIET_S)
                window = self._ended(load, number, QUIET)
            if snapshots(self._cluster, self._nodes) == before:
                self._done(PHASES_S[QUIET])
                return window
        raise BenchmarkError("a snapshot fell into every window that should have been quiet")

    def _taking(self, number: int) -> tuple[int, Window]:
        """Return the snapshot's slot, and the window in which it was taken."""
        self.wait_until_quiet()
        with self._loading(WARMUP_S) as load:
            _sleep_until(load.measured_from_s)
            said = ask(self._door, b"BACKUP", b"BEGIN", answer_s=LONGEST_S)
            window = self._ended(load, number, TAKING)
        slot, self.snapshot_bytes = (int(word) for word in said.split(b":")[1:3])
        self._done(PHASES_S[TAKING])
        return slot, window

    def _pulling(self, number: int, slot: int) -> tuple[Window | None, bool]:
        """Return the window until every acceptor keeps a snapshot of the slot or later, and whether
        they ever did. There is no window when they did before there was anything to measure.
        """
        with self._loading(SHORT_WARMUP_S) as load:
            until_s = load.measured_from_s + LONGEST_S
            while not (is_done := kept_by_all(self._cluster, self._nodes, slot)):
                if time.monotonic() > until_s:
                    break
                time.sleep(_LOOK_S)
            self._done(PHASES_S[PULLING])
            if time.monotonic() < load.measured_from_s + _LOOK_S:
                return None, is_done
            return self._ended(load, number, PULLING), is_done

    def _ended(self, load: _Loading, number: int, phase: str) -> Window:
        acceptors = [name for name in self._nodes if name.startswith("acceptor-")]
        disk_bytes = max(folder_bytes(self._cluster.volume(name)) for name in acceptors)
        return load.end(number, phase, disk_bytes)

    @contextlib.contextmanager
    def _loading(self, warmup_s: float) -> Iterator[_Loading]:
        running = self._cluster.begin(self._load, Timing(warmup_s, LONGEST_S))
        try:
            yield _Loading(self._load, running, self._cluster.processes(), warmup_s)
        finally:
            running.abandon()  # which does nothing where it has ended


class _Loading:
    """A load that goes on until it is told to end."""

    def __init__(
        self, load: Load, running: RunningLoad, processes: dict[str, int], warmup_s: float
    ) -> None:
        self.measured_from_s = running.started_s + warmup_s + _BEGUN_S
        self._load = load
        self._running = running
        self._processes = dict(processes)
        if running.pid is not None:
            self._processes[accounting.GENERATOR] = running.pid
        self._first = accounting.sample(self._processes, None)

    def end(self, number: int, phase: str, disk_bytes: int) -> Window:
        """End it, and return what was measured. Raises BenchmarkError."""
        last = accounting.sample(self._processes, None)
        self._running.stop()
        found = self._running.finish()
        cost = accounting.cost(self._first, last, found.rate, {})
        return Window(
            outstanding=self._load.outstanding,
            round=number,
            phase=phase,
            seconds=found.seconds,
            operations=found.operations,
            errors=found.errors,
            rate=found.rate,
            p50_ms=found.p50_ms,
            p99_ms=found.p99_ms,
            p999_ms=found.p999_ms,
            max_ms=found.max_ms,
            elsewhere=cost.elsewhere if cost else 0.0,
            disk_bytes=disk_bytes,
        )


def _sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.monotonic()))
