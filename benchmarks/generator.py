"""The load generator: what one run of it is asked, and what it answers.

The generator is one compiled program (benchmarks/load) that speaks to every kind of server, so
that all are measured alike. It prints one JSON object; `parse` turns that into a `Result` and
refuses what it does not understand, because a silent zero would look like a measurement.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .errors import BenchmarkError

PROGRAM = Path(__file__).parent / ".build" / "load"
FEW_CONNECTIONS = 8
"""So many multiplexed connections, spread over the doors or members, when there are few."""
GRACE_S = 30.0
"""How long a run may take beyond what was asked before it counts as stuck."""


@dataclass(frozen=True)
class Load:
    """What one run does. `few` is 8 connections (or N when N is less), else one per request."""

    op: str
    """write, read, mix (95 % reads) or syncread (ZooKeeper's sync and get)."""
    outstanding: int
    few: bool = True
    value_bytes: int = 256
    keys: int = 10_000
    few_connections: int = FEW_CONNECTIONS

    @property
    def connections(self) -> int:
        """How many connections the requests are spread over."""
        return min(self.few_connections, self.outstanding) if self.few else self.outstanding

    @property
    def title(self) -> str:
        """Operation, requests outstanding and connections, in a few words."""
        return f"{self.op} {self.outstanding:,} on {self.connections:,}"

    @property
    def long_title(self) -> str:
        """The load in a few words, unique among loads."""
        return f"{self.title}, {size_title(self.value_bytes)}, {self.keys:,} keys"


def size_title(size_bytes: int) -> str:
    """Return `4 KiB` for 4096, `16 B` for 16."""
    return f"{size_bytes // 1024} KiB" if size_bytes >= 1024 else f"{size_bytes} B"


@dataclass(frozen=True)
class Result:
    """What one run measured. Times in milliseconds, `rate` in operations per second."""

    seconds: float
    operations: int
    errors: int
    rate: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    mean_ms: float
    gap_ms: float
    """The longest time between two successive acknowledged operations."""
    misses: int = 0
    """Reads that found no such key: cheap ones, of which there should be few."""
    first_error: str = ""
    started_unix_ms: int = 0
    """The wall clock's time at which the measuring began; 0 where it was not told."""
    timeline: list[tuple[int, int]] = field(default_factory=list)
    """(start of a 10 ms bucket in ms since the start, operations acknowledged in it)."""


_LATENCIES = ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms", "mean_ms", "gap_ms")


def parse(text: str) -> Result:
    """Return what the generator printed.

    Raises BenchmarkError for anything else, and when not one operation was acknowledged: then
    there are no latencies.
    """
    try:
        found: Any = json.loads(text)
        if not found["operations"]:
            raise BenchmarkError(f"nothing was acknowledged: {found.get('first_error')}")
        return Result(
            seconds=float(found["seconds"]),
            operations=int(found["operations"]),
            errors=int(found["errors"]),
            rate=float(found["rate"]),
            **{name: float(found[name]) for name in _LATENCIES},
            misses=int(found.get("misses") or 0),
            first_error=str(found.get("first_error") or ""),
            started_unix_ms=int(found.get("started_unix_ms") or 0),
            timeline=[(int(at), int(count)) for at, count in found.get("timeline") or ()],
        )
    except (ValueError, TypeError, KeyError) as error:
        raise BenchmarkError(
            f"the load generator's answer is not what it should be ({error!r}): {text[:300]!r}"
        ) from error


@dataclass(frozen=True)
class Timing:
    """How long a run loads: first unmeasured, then measured. Seconds."""

    warmup_s: float = 1.0
    measured_s: float = 3.0
    seed: int = 1
    timeline: bool = False
    fill: bool = False
    """Write every key once instead; the times mean nothing then."""
    leader_dies: bool = False
    """The leader will be lost: the load must not run inside its process."""


class RunningLoad(Protocol):
    """A load that is under way."""

    @property
    def pid(self) -> int | None:
        """The process that makes the load, unless it is one of the cluster's own."""
        ...

    @property
    def started_s(self) -> float:
        """When it was started, by time.monotonic."""
        ...

    def stop(self) -> None:
        """Ask it to end early; `finish` returns what it has measured so far."""
        ...

    def finish(self) -> Result:
        """Wait for its end. Raises BenchmarkError when it fails or is stuck."""
        ...

    def abandon(self) -> None:
        """End it at once, whatever it does; harmless when it has ended."""
        ...


def arguments(target: str, endpoints: Sequence[str], load: Load, timing: Timing) -> list[str]:
    """Return the generator's command line."""
    words = [
        str(PROGRAM),
        *("--target", target),
        *("--endpoints", ",".join(endpoints)),
        *("--op", load.op),
        *("--connections", str(load.connections)),
        *("--outstanding", str(load.outstanding)),
        *("--value-bytes", str(load.value_bytes)),
        *("--keys", str(load.keys)),
        *("--seconds", f"{timing.measured_s:g}"),
        *("--warmup-seconds", f"{timing.warmup_s:g}"),
        *("--seed", str(timing.seed)),
        "--stop-on-stdin",
    ]
    if timing.fill:
        words.append("--fill")
    if timing.timeline:
        words.append("--timeline")
    return words


class GeneratorRun:
    """The compiled generator at work. See RunningLoad."""

    def __init__(self, target: str, endpoints: Sequence[str], load: Load, timing: Timing) -> None:
        if not PROGRAM.exists():
            raise BenchmarkError(f"{PROGRAM} is missing: ./benchmarks/run builds it")
        self._limit_s = None if timing.fill else timing.warmup_s + timing.measured_s + GRACE_S
        self._started_s = time.monotonic()
        # In a session of its own: Ctrl-C is for the harness, which ends this run by itself.
        self._process = subprocess.Popen(
            arguments(target, endpoints, load, timing),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        # `communicate` would close it, which tells the generator to end.
        self._input, self._process.stdin = self._process.stdin, None

    @property
    def pid(self) -> int:
        """The generator's process."""
        return self._process.pid

    @property
    def started_s(self) -> float:
        """When it was started, by time.monotonic."""
        return self._started_s

    def stop(self) -> None:
        """Have it end early; it prints what it has measured so far."""
        if self._input is not None:
            self._input.close()

    def finish(self) -> Result:
        """Wait for its end. Raises BenchmarkError when it fails or is stuck."""
        try:
            output, complaint = self._process.communicate(timeout=self._limit_s)
        except subprocess.TimeoutExpired:
            self.abandon()
            raise BenchmarkError("the load generator did not end in time") from None
        self.stop()
        if self._process.returncode and not output.strip():
            raise BenchmarkError(
                f"the load generator failed ({_exit(self._process.returncode)}): "
                f"{complaint.strip()[-500:]}"
            )
        return parse(output)

    def abandon(self) -> None:
        """Kill it; harmless when it has ended."""
        self._process.kill()
        self._process.communicate()
        self.stop()


def _exit(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"
