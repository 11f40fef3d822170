"""The figures behind docs/scaling.md, in one JSON file that the programs of `scaling` share.

Each command of `scaling` replaces its own part of the file and leaves the others as they are.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import BenchmarkError
from .scaling_cluster import Measured
from .scaling_costs import Prices, Sync

FILE = Path(__file__).parent / "scaling_figures.json"
_DIGITS = 5


@dataclass(frozen=True)
class Point:
    """One simulated run. `outstanding` and `connections` are per gateway.

    `busy` is the share of its time that a role's busiest node works, 0 to 1; `disk` the share
    that the busiest acceptor waits for its disk besides. `cpu_us` is by role, per operation.
    """

    layout: str
    op: str
    outstanding: int
    connections: int
    rate: float
    p50_ms: float
    p99_ms: float
    busy: dict[str, float]
    disk: float
    cpu_us: dict[str, float]

    @property
    def few(self) -> bool:
        """Whether the requests share connections."""
        return self.connections < self.outstanding

    @property
    def first(self) -> str:
        """The role nearest to its limit; an acceptor that waits for its disk cannot work."""
        shares = {**self.busy, "acceptor": self.busy["acceptor"] + self.disk}
        return max(shares, key=lambda role: shares[role])


@dataclass(frozen=True)
class Check:
    """One load as it was measured here, and as the simulator has it with as many cores."""

    load: str
    measured_rate: float
    simulated_rate: float
    measured_us: dict[str, float]
    simulated_us: dict[str, float]


@dataclass
class Figures:
    """Everything that is known. What has not been done yet is empty."""

    commit: str = ""
    cores: int = 0
    steps: dict[str, dict[str, float]] = field(default_factory=dict)
    prices: Prices | None = None
    calibration: list[Measured] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    simulated: list[Point] = field(default_factory=list)

    def price_list(self) -> Prices:
        """Return the prices. Raises BenchmarkError when they have not been measured."""
        if self.prices is None:
            raise BenchmarkError("there are no prices yet: `python -m benchmarks.scaling measure`")
        return self.prices


def load(file: Path = FILE) -> Figures:
    """Return what the file says; nothing when there is none. Raises BenchmarkError."""
    if not file.exists():
        return Figures()
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
        prices = found["prices"]
        return Figures(
            commit=found["commit"],
            cores=found["cores"],
            steps=found["steps"],
            prices=Prices(prices["roles"], Sync(**prices["sync"])) if prices else None,
            calibration=[Measured(**one) for one in found["calibration"]],
            checks=[Check(**one) for one in found["checks"]],
            measured=[Measured(**one) for one in found["measured"]],
            simulated=[Point(**one) for one in found["simulated"]],
        )
    except (ValueError, TypeError, KeyError) as error:
        raise BenchmarkError(f"{file} is not what `scaling` writes: {error!r}") from error


def save(figures: Figures, file: Path = FILE) -> None:
    """Write the file, a line for each record."""
    parts = []
    for name, part in _rounded(dataclasses.asdict(figures)).items():
        if isinstance(part, list) and part:
            text = "[\n" + ",\n".join(map(json.dumps, part)) + "\n]"
        else:
            text = json.dumps(part)
        parts.append(f"{json.dumps(name)}: {text}")
    file.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    """Return the same with floats of so many significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
