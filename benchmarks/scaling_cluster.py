"""Real clusters of any layout on this machine: their rates, and what each role's processes did.

A layout is how many acceptors, gateways and learners there are; everything else has its default.
Counters are Linux's own, from /proc: CPU time, how often a process slept (voluntary context
switches), and how many reads and writes it made of which bytes. uvloop reads and writes sockets
with read(2) and write(2), so these count what the event loop does.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import accounting
from .clusters.base import ask_json
from .clusters.paxos import PaxosCluster
from .generator import Load, Timing
from .scaling_layout import ROLES, Layout

WARMUP_S = 0.5
MEASURED_S = 3.0
_SAMPLE_AFTER_S = 0.3
_SAMPLE_BEFORE_S = 0.1
COUNTERS = ("cpu_us", "sleeps", "reads", "writes", "bytes_in", "bytes_out")
_ROLE_OF = {"client": "gateway", "leader": "leader", "acceptor": "acceptor", "learner": "learner"}


@dataclass(frozen=True)
class Measured:
    """One load on one layout. `roles`: what all processes of a role did per second, together."""

    layout: str
    load: str
    op: str
    outstanding: int
    connections: int
    value_bytes: int
    rate: float
    p50_ms: float
    p99_ms: float
    errors: int
    slots: float
    """Slots decided per second."""
    elsewhere: float
    """The share of the machine that others used, 0 to 1."""
    generator_us: float
    """CPU time of the load generator per operation."""
    roles: dict[str, dict[str, float]]

    @property
    def few(self) -> bool:
        """Whether the requests share connections."""
        return self.connections < self.outstanding


def measure(layout: Layout, loads: list[Load], data: Path, measured_s: float) -> list[Measured]:
    """Found a cluster of that layout, fill it, load it with one load after the other, stop it.

    Raises BenchmarkError when it cannot be started or loaded.
    """
    with _environment(layout), _running(PaxosCluster(data / "scaling")) as cluster:
        for value_bytes in sorted({load.value_bytes for load in loads}, reverse=True):
            fill = Load("write", 256, value_bytes=value_bytes)
            cluster.begin(fill, Timing(warmup_s=0.0, fill=True)).finish()
        return [_load(cluster, layout, load, measured_s) for load in loads]


@contextlib.contextmanager
def _environment(layout: Layout) -> Iterator[None]:
    wanted = {
        "PAXOS_CLUSTER_ACCEPTORS": str(layout.acceptors),
        "PAXOS_CLUSTER_CLIENTS": str(layout.gateways),
        "PAXOS_CLUSTER_LEARNERS": str(layout.learners),
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                del os.environ[name]
            else:
                os.environ[name] = text


@contextlib.contextmanager
def _running(cluster: PaxosCluster) -> Iterator[PaxosCluster]:
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _load(cluster: PaxosCluster, layout: Layout, load: Load, measured_s: float) -> Measured:
    names = {name: _ROLE_OF[role] for name, role in cluster.roles().items() if role in _ROLE_OF}
    processes = {name: pid for name, pid in cluster.processes().items() if name in names}
    everybody = cluster.processes()
    running = cluster.begin(load, Timing(WARMUP_S, measured_s))
    try:
        if running.pid is not None:
            everybody = {**everybody, accounting.GENERATOR: running.pid}
        _sleep_until(running.started_s + WARMUP_S + _SAMPLE_AFTER_S)
        machine_before = accounting.sample(everybody, None)
        before, slots_before = _counters(processes), _slots(cluster)
        began_s = time.monotonic()
        _sleep_until(running.started_s + WARMUP_S + measured_s - _SAMPLE_BEFORE_S)
        after, slots_after = _counters(processes), _slots(cluster)
        passed_s = time.monotonic() - began_s
        machine_after = accounting.sample(everybody, None)
        result = running.finish()
    except BaseException:
        running.abandon()
        raise
    roles: dict[str, dict[str, float]] = {role: dict.fromkeys(COUNTERS, 0.0) for role in ROLES}
    for name, role in names.items():
        for counter in COUNTERS:
            grown = after[name][counter] - before[name][counter]
            roles[role][counter] += grown / passed_s
    cost = accounting.cost(machine_before, machine_after, result.rate, {})
    return Measured(
        layout=layout.title,
        load=load.title,
        op=load.op,
        outstanding=load.outstanding,
        connections=load.connections,
        value_bytes=load.value_bytes,
        rate=result.rate,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        errors=result.errors,
        slots=(slots_after - slots_before) / passed_s,
        elsewhere=cost.elsewhere if cost else 0.0,
        generator_us=cost.cpu_us.get(accounting.GENERATOR, 0.0) if cost else 0.0,
        roles=roles,
    )


def counters_of(stat: str, status: str, io: str) -> dict[str, float]:
    """Return what a process has done so far, from the texts of its files in /proc."""
    lines = dict(
        line.split(":", 1) for text in (status, io) for line in text.splitlines() if ":" in line
    )
    return {
        "cpu_us": accounting.cpu_seconds(stat) * 1e6,
        "sleeps": float(lines["voluntary_ctxt_switches"]),
        "reads": float(lines["syscr"]),
        "writes": float(lines["syscw"]),
        "bytes_in": float(lines["rchar"]),
        "bytes_out": float(lines["wchar"]),
    }


def _counters(processes: dict[str, int]) -> dict[str, dict[str, float]]:
    found = {}
    for name, pid in processes.items():
        folder = Path("/proc") / str(pid)
        stat, status, io = ((folder / file).read_text() for file in ("stat", "status", "io"))
        found[name] = counters_of(stat, status, io)
    return found


def _slots(cluster: PaxosCluster) -> int:
    """Return how many slots the first learner has applied."""
    run = json.loads((cluster.folder / "data" / "run.json").read_bytes())
    _, state = ask_json(int(run["nodes"]["learner-1"]["page_port"]), "/state")
    return int((state.get("status") or {}).get("applied", 0))


def _sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.monotonic()))
