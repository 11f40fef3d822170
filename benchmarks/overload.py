"""More load than there is room for: does throughput hold, and does anybody else notice?

Three questions, to this system alone:

- *Levels.* Closed loops with ever more writes outstanding, then floods: clients that send as fast
  as their sockets take it and wait for nothing. The level that saturates is the first to reach
  nearly the highest rate; what counts is the rate with four times as much outstanding, or with
  four times as many flooding clients.
- *Neighbours.* A client with few requests outstanding is measured alone and beside one that
  floods the same gateway, one that asks for large values and never reads them, one that reads a
  byte a second, a stopped learner and a stopped acceptor.
- *Memory.* The highest that a gateway held during each level.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from .clusters.base import Cluster
from .door import ask, command, connected
from .generator import Load, Result, RunningLoad, Timing, size_title
from .records import NeighbourRecord, OverloadRecord

FEWER_LEVELS = (64, 256, 1024, 4096)
LEVELS = (*FEWER_LEVELS, 16384)
MANY_CONNECTIONS_MAX = 4096
LARGE_VALUE_BYTES = 65536
LARGE_LEVELS = (16, 64, 256, 1024)
LARGE_KEYS = 256
FLOODING = (2, 8)
"""How many clients flood: one at each gateway, and four."""
FLOOD_OUTSTANDING = 65_536
LARGE_FLOOD_OUTSTANDING = 256
"""What each flooding client has under way: more than its gateway takes before it reads no more."""
FLOOD_WARMUP_S = 3.0
"""At least so long, because the first of what a flood sends are answered too early to count."""

SATURATED = 0.9
"""A level with this share of the highest rate saturates."""
OVER = 4
"""How many times the load that saturates is looked at."""
KEPT_MIN = 0.8
"""The share of the highest rate that must be left then."""

NEIGHBOUR_OUTSTANDING = 4
LARGE_READS = 5000
READER_PAUSE_S = 1.0
_BIG_KEY = b"overload:big"
_FLOODS = ", floods"

Say = Callable[[str], None]


def levels(is_full: bool) -> list[tuple[str, Load]]:
    """Return the loads of all series, in order; quick has fewer."""
    few = LEVELS if is_full else FEWER_LEVELS
    many = [level for level in LEVELS if level <= MANY_CONNECTIONS_MAX]
    found = [("256 B on 8 connections", Load("write", level)) for level in few]
    found += [
        ("256 B on a connection each", Load("write", level, few=False))
        for level in (many if is_full else many[1:])
    ]
    found += [(f"256 B{_FLOODS}", _flood(clients, FLOOD_OUTSTANDING)) for clients in FLOODING]
    large = size_title(LARGE_VALUE_BYTES)
    found += [
        (
            f"{large} on 8 connections",
            Load("write", level, value_bytes=LARGE_VALUE_BYTES, keys=LARGE_KEYS),
        )
        for level in LARGE_LEVELS
    ]
    found += [
        (f"{large}{_FLOODS}", _flood(clients, LARGE_FLOOD_OUTSTANDING, LARGE_VALUE_BYTES))
        for clients in FLOODING
    ]
    return found


def _flood(clients: int, each: int, value_bytes: int = 256) -> Load:
    return Load(
        "write",
        clients * each,
        value_bytes=value_bytes,
        keys=LARGE_KEYS if value_bytes > 256 else 10_000,
        few_connections=clients,
    )


def pressure(series: str, load: Load) -> int:
    """Return what a series steps up: flooding clients, or requests outstanding."""
    return load.connections if series.endswith(_FLOODS) else load.outstanding


def measure_levels(
    cluster: Cluster, round_number: int, is_full: bool, timing: Timing, say: Say
) -> Iterator[OverloadRecord]:
    """Yield each level as it has been measured. Raises BenchmarkError."""
    for series, load in levels(is_full):
        gateways = _gateways(cluster)
        _forget_peaks(gateways)
        if series.endswith(_FLOODS):
            warmup_s = max(FLOOD_WARMUP_S, timing.warmup_s)
            result = _finished(cluster.begin(load, replace(timing, warmup_s=warmup_s)))
        else:
            result = _finished(cluster.begin(load, timing))
        held = max(map(_peak_bytes, gateways.values()))
        say(
            f"{series}, {pressure(series, load):,}: {result.rate:,.0f}/s"
            f"  p99 {result.p99_ms:,.1f} ms  gateway {held / 1024 / 1024:.0f} MiB{_errors(result)}"
        )
        yield OverloadRecord(round_number, cluster.name, series, load, result, held)


def measure_neighbours(
    cluster: Cluster, round_number: int, timing: Timing, say: Say
) -> Iterator[NeighbourRecord]:
    """Yield what a well-behaved client sees alone and beside each disturbance."""
    door = cluster.endpoints()[0]
    ask(door, b"SET", _BIG_KEY, b"x" * LARGE_VALUE_BYTES)
    for name, disturb in _disturbances(cluster, door).items():
        for op in ("write", "read"):
            load = Load(op, NEIGHBOUR_OUTSTANDING, few=False)
            alone = _finished(_begin_at(cluster, door, load, timing))
            with disturb():
                beside = _finished(_begin_at(cluster, door, load, timing))
            cluster.wait_until_healthy()
            say(
                f"{op} beside {name}: {beside.rate:,.0f}/s of {alone.rate:,.0f}/s, p99"
                f" {beside.p99_ms:,.1f} ms after {alone.p99_ms:,.1f} ms{_errors(beside)}"
            )
            yield NeighbourRecord(round_number, cluster.name, name, op, alone, beside)


Disturbance = Callable[[], contextlib.AbstractContextManager[None]]


def _disturbances(cluster: Cluster, door: str) -> dict[str, Disturbance]:
    return {
        "a flood of writes": lambda: _flooded(cluster, door),
        "a client that never reads": lambda: _asked(door, None),
        "a client that reads a byte a second": lambda: _asked(door, READER_PAUSE_S),
        "a stopped learner": lambda: _paused(cluster, "learner-2"),
        "a stopped acceptor": lambda: _paused(cluster, "acceptor-3"),
    }


@contextmanager
def _flooded(cluster: Cluster, door: str) -> Iterator[None]:
    """Four clients flood one door."""
    load = _flood(OVER, FLOOD_OUTSTANDING)
    running = _begin_at(cluster, door, load, Timing(0.0, 3600.0))
    try:
        yield
    finally:
        running.stop()
        running.abandon()


@contextmanager
def _asked(door: str, pause_s: float | None) -> Iterator[None]:
    """A client asks for far more than it takes: a byte in every `pause_s`, or nothing at all."""
    done = threading.Event()
    request = command(b"GET", _BIG_KEY) * LARGE_READS
    with connected(door) as asking:
        asking.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while request:
                request = request[asking.send(request) :]

        def read_slowly(each_s: float) -> None:
            while not done.wait(each_s):
                with contextlib.suppress(BlockingIOError, ConnectionResetError):
                    asking.recv(1)

        reader = None
        if pause_s is not None:
            reader = threading.Thread(target=read_slowly, args=(pause_s,))
            reader.start()
        try:
            yield
        finally:
            done.set()
            if reader is not None:
                reader.join()


@contextmanager
def _paused(cluster: Cluster, name: str) -> Iterator[None]:
    cluster.pause(name)
    try:
        yield
    finally:
        cluster.resume(name)


# ---------------------------------------------------------------- helpers


def _begin_at(cluster: Cluster, door: str, load: Load, timing: Timing) -> RunningLoad:
    """Start a load at one door alone."""
    return cluster.begin_at([door], load, timing)


def _finished(running: RunningLoad) -> Result:
    try:
        return running.finish()
    except BaseException:
        running.abandon()
        raise


def _errors(result: Result) -> str:
    return f"  {result.errors} errors: {result.first_error}" if result.errors else ""


def _gateways(cluster: Cluster) -> dict[str, int]:
    """Return the pids of the processes that clients talk to."""
    return {n: pid for n, pid in cluster.processes().items() if n.startswith("client-")}


def _forget_peaks(processes: Mapping[str, int]) -> None:
    """Have the kernel count the highest memory from now on. Raises OSError."""
    for pid in processes.values():
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


# ---------------------------------------------------------------- arithmetic


def verdict(rates: Mapping[int, float]) -> tuple[int, int, float] | None:
    """Return the pressure that saturates, the least of `OVER` times that, and the share of the
    highest rate that is left there, from the rate at each pressure; None where nothing is that
    high.
    """
    highest = max(rates.values(), default=0.0)
    saturating = min((p for p, rate in rates.items() if rate >= SATURATED * highest), default=0)
    over = min((p for p in rates if p >= OVER * saturating), default=None)
    if over is None or not highest:
        return None
    return saturating, over, rates[over] / highest
