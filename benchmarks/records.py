"""What a run has measured, as it is kept in results.json; and how to read it again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .accounting import Cost, Memory
from .errors import BenchmarkError
from .generator import Load, Result


@dataclass(frozen=True)
class CellRecord:
    """One load on one system in one round."""

    round: int
    system: str
    stage: str
    load: Load
    result: Result
    cost: Cost | None


@dataclass(frozen=True)
class MemoryRecord:
    """What the processes of one cluster held. `state`: idle, or how many keys there were."""

    round: int
    system: str
    state: str
    processes: dict[str, Memory]

    @property
    def rss_bytes(self) -> int:
        """All processes together; what they share is counted in each."""
        return sum(one.rss_bytes for one in self.processes.values())

    @property
    def pss_bytes(self) -> int:
        """All processes together; what they share is counted once."""
        return sum(one.pss_bytes for one in self.processes.values())


@dataclass(frozen=True)
class FailoverRecord:
    """One leader lost under steady writes."""

    number: int
    system: str
    kind: str
    """kill or stop."""
    leader: str
    lost_at_ms: float
    """When it was lost, on the time line of `result`."""
    gap_ms: float
    """The longest time without an acknowledged write, up to the end of the load."""
    result: Result


@dataclass(frozen=True)
class PipelineRecord:
    """What redis-benchmark measured."""

    round: int
    system: str
    title: str
    rate: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class OverloadRecord:
    """One level of a series of ever higher loads."""

    round: int
    system: str
    series: str
    load: Load
    result: Result
    gateway_peak_bytes: int
    """The highest that any gateway held meanwhile (RSS)."""


@dataclass(frozen=True)
class NeighbourRecord:
    """What a client with few requests outstanding saw alone, and beside a disturbance."""

    round: int
    system: str
    disturbance: str
    op: str
    alone: Result
    beside: Result


@dataclass
class Run:
    """Everything that one run has measured."""

    started: str
    form: str
    rounds: int
    seconds: float
    """How long each load was measured."""
    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    """PAXOS_... settings that were not this system's defaults."""
    cells: list[CellRecord] = field(default_factory=list)
    memory: list[MemoryRecord] = field(default_factory=list)
    failovers: list[FailoverRecord] = field(default_factory=list)
    pipeline: list[PipelineRecord] = field(default_factory=list)
    overload: list[OverloadRecord] = field(default_factory=list)
    neighbours: list[NeighbourRecord] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """What could not be measured, and why."""


def write(run: Run, file: Path) -> None:
    """Replace a file by the run, so that an interrupted one leaves what it has."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(run), indent=1) + "\n", encoding="utf-8")
    draft.replace(file)


def read(file: Path) -> Run:
    """Return the run that a file holds. Raises BenchmarkError for any other file."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        found["cells"] = [_cell(one) for one in found["cells"]]
        found["memory"] = [_memory(one) for one in found["memory"]]
        found["failovers"] = [
            FailoverRecord(**{**one, "result": _result(one["result"])})
            for one in found["failovers"]
        ]
        found["pipeline"] = [PipelineRecord(**one) for one in found["pipeline"]]
        found["overload"] = [
            OverloadRecord(**{**one, "load": Load(**one["load"]), "result": _result(one["result"])})
            for one in found.get("overload", [])
        ]
        found["neighbours"] = [
            NeighbourRecord(
                **{**one, "alone": _result(one["alone"]), "beside": _result(one["beside"])}
            )
            for one in found.get("neighbours", [])
        ]
        return Run(**found)
    except OSError as error:
        raise BenchmarkError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BenchmarkError(f"{file} is not the JSON of a run: {error!r}") from error


def _cell(found: dict[str, Any]) -> CellRecord:
    cost = Cost(**found["cost"]) if found["cost"] else None
    load, result = Load(**found["load"]), _result(found["result"])
    return CellRecord(**{**found, "load": load, "result": result, "cost": cost})


def _memory(found: dict[str, Any]) -> MemoryRecord:
    processes = {name: Memory(**one) for name, one in found["processes"].items()}
    return MemoryRecord(**{**found, "processes": processes})


def _result(found: dict[str, Any]) -> Result:
    return Result(**{**found, "timeline": [(at, count) for at, count in found["timeline"]]})
