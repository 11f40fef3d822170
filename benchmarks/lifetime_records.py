"""What `python -m benchmarks.lifetime` has measured, and its file: every single figure, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import BenchmarkError

QUIET, TAKING, PULLING = "quiet", "taking", "pulling"
"""No snapshot anywhere; a learner takes one; the acceptors get it."""
PHASES = (QUIET, TAKING, PULLING)


@dataclass(frozen=True)
class Sample:
    """One look at the cluster while it is written to. Bytes by node."""

    at_s: float
    """Since the load began."""
    written: int
    """Writes acknowledged until then."""
    disk_bytes: dict[str, int]
    """What the files of a node's folder take on the disk."""
    memory_bytes: dict[str, int]
    """RSS."""
    child_bytes: dict[str, int]
    """What a child that takes a snapshot holds beside that and shares with nobody."""
    applied: int
    """The slot that the first learner has applied."""
    kept: int
    """The slot of the newest snapshot that a quorum of acceptors keeps, as that learner knows."""


@dataclass
class Writes:
    """A long run of writes against one cluster."""

    outstanding: int
    connections: int
    value_bytes: int
    keys: int
    written: int = 0
    errors: int = 0
    first_error: str = ""
    seconds: float = 0.0
    p99_ms: float = 0.0
    elsewhere: float = 0.0
    """The share of the machine that others used, 0 to 1."""
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Window:
    """A load that was measured for as long as a phase lasted. Times in ms, rate per second."""

    outstanding: int
    round: int
    """A quiet window of round n stands before the snapshot of round n."""
    phase: str
    seconds: float
    operations: int
    errors: int
    rate: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    elsewhere: float
    """The share of the machine that others used, 0 to 1: the child that takes a snapshot, too."""
    disk_bytes: int = 0
    """What the largest acceptor's folder took on the disk at the end."""


@dataclass
class Pause:
    """Loads with and without a snapshot, against one cluster that holds many keys."""

    keys: int
    value_bytes: int
    connections: int
    snapshot_bytes: int = 0
    windows: list[Window] = field(default_factory=list)


@dataclass
class Lifetime:
    """A whole run; what was not asked for is None."""

    started: str
    machine: dict[str, str]
    version: str
    settings: dict[str, str]
    writes: Writes | None = None
    pause: Pause | None = None


def save(run: Lifetime, file: Path) -> None:
    """Write everything. Raises OSError."""
    file.write_text(json.dumps(asdict(run), indent=1) + "\n", encoding="utf-8")


def load(file: Path) -> Lifetime:
    """Return what `save` has written. Raises BenchmarkError when it cannot."""
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
        writes, pause = found.pop("writes"), found.pop("pause")
        run = Lifetime(**found)
        if writes is not None:
            samples = [Sample(**one) for one in writes.pop("samples")]
            run.writes = Writes(**writes, samples=samples)
        if pause is not None:
            windows = [Window(**one) for one in pause.pop("windows")]
            run.pause = Pause(**pause, windows=windows)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BenchmarkError(f"{file} is not what a run has written: {error}") from error
    return run
