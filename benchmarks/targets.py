"""What the project has set itself to reach, against etcd in the same round or by itself.

Defaults, values of 256 bytes, every write synced, all processes of a system on one machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from .generator import Load
from .plan import TARGET_LOADS

MIB = 1024 * 1024
SUBJECT = "paxos"


@dataclass(frozen=True)
class Target:
    """A bound on a ratio to the baseline of the same round (the median over the rounds)."""

    load: Load
    measure: str
    """rate, p50_ms or p99_ms of a Result."""
    bound: float
    at_least: bool

    def is_met(self, ratio: float) -> bool:
        """Tell whether a ratio is within the bound."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound


_RATES = (1.5, 5.0, 3.0, 10.0, 4.0, 6.0, 10.0)

RATIOS: tuple[Target, ...] = (
    *(Target(load, "rate", r, True) for load, r in zip(TARGET_LOADS, _RATES, strict=True)),
    Target(TARGET_LOADS[0], "p50_ms", 0.7, False),
    *(Target(load, "p99_ms", 1.0, False) for load in TARGET_LOADS),
)


@dataclass(frozen=True)
class Ceiling:
    """A bound on one of this system's own figures."""

    title: str
    figure: str
    """Which figure of report.own_figures."""
    bound: float
    unit: str


CEILINGS: tuple[Ceiling, ...] = (
    Ceiling("kill -9 of the leader, median gap", "kill median ms", 100.0, "ms"),
    Ceiling("kill -9 of the leader, worst gap", "kill worst ms", 300.0, "ms"),
    Ceiling("kill -9 of the leader, errors at the client", "kill errors", 0.0, ""),
    Ceiling("SIGSTOP of the leader, worst gap", "stop worst ms", 1000.0, "ms"),
    Ceiling("memory of all processes, idle (RSS)", "idle MiB", 450.0, "MiB"),
    Ceiling("memory with 1,000,000 keys of 256 B (RSS)", "filled MiB", 2560.0, "MiB"),
)
