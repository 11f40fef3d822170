"""Arithmetic over a run: medians over the rounds, and ratios within a round.

A ratio is always one system's figure divided by another's of the same round; what is told is the
median of those, which is not the ratio of the medians.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from .failover import KILL, STOP
from .generator import Load
from .plan import BASELINE, MANY_KEYS
from .records import CellRecord, FailoverRecord, Run
from .targets import CEILINGS, MIB, RATIOS, SUBJECT, Ceiling, Target

IDLE = "idle"
ELSEWHERE_MAX = 0.15
"""Where others use a larger share of the processors, the figure is not to be trusted."""
FILLED = f"{MANY_KEYS:,} keys"


def cells(run: Run, system: str, load: Load) -> dict[int, CellRecord]:
    """Return what was measured of one load on one system, by round."""
    return {c.round: c for c in run.cells if c.system == system and c.load == load}


def measure(cell: CellRecord, name: str) -> float:
    """Return one of a result's figures by its name, such as `p99_ms`."""
    return float(getattr(cell.result, name))


def median(run: Run, system: str, load: Load, name: str) -> float | None:
    """Return the median of a figure over the rounds; None when there is none."""
    found = [measure(cell, name) for cell in cells(run, system, load).values()]
    return statistics.median(found) if found else None


def ratios(
    run: Run, load: Load, name: str, system: str = SUBJECT, baseline: str = BASELINE
) -> list[float]:
    """Return the ratio of a figure in each round in which both systems have it."""
    these, those = cells(run, system, load), cells(run, baseline, load)
    return [
        measure(these[number], name) / measure(those[number], name)
        for number in sorted(these.keys() & those.keys())
        if measure(those[number], name) > 0
    ]


def median_ratio(
    run: Run, load: Load, name: str, system: str = SUBJECT, baseline: str = BASELINE
) -> float | None:
    """Return the median of the ratios of the same round; None when there is none."""
    found = ratios(run, load, name, system, baseline)
    return statistics.median(found) if found else None


@dataclass(frozen=True)
class Verdict:
    """A target beside what was measured."""

    target: Target
    subject: float
    baseline: float
    ratio: float

    @property
    def is_met(self) -> bool:
        """Tell whether the target has been reached."""
        return self.target.is_met(self.ratio)


@dataclass(frozen=True)
class CeilingVerdict:
    """A ceiling beside what was measured."""

    ceiling: Ceiling
    figure: float

    @property
    def is_met(self) -> bool:
        """Tell whether the figure stays below the ceiling (nothing at all where that is 0)."""
        return self.figure < self.ceiling.bound or self.figure == self.ceiling.bound == 0


def verdicts(run: Run) -> list[Verdict]:
    """Return the targets against the baseline for which there are figures."""
    found = []
    for target in RATIOS:
        ratio = median_ratio(run, target.load, target.measure)
        subject = median(run, SUBJECT, target.load, target.measure)
        baseline = median(run, BASELINE, target.load, target.measure)
        if ratio is not None and subject is not None and baseline is not None:
            found.append(Verdict(target, subject, baseline, ratio))
    return found


def ceiling_verdicts(run: Run) -> list[CeilingVerdict]:
    """Return this system's own targets for which there are figures."""
    figures = own_figures(run)
    return [CeilingVerdict(c, figures[c.figure]) for c in CEILINGS if c.figure in figures]


def own_figures(run: Run, system: str = SUBJECT) -> dict[str, float]:
    """Return the figures that ceilings refer to, as far as they were measured."""
    found: dict[str, float] = {}
    for kind in (KILL, STOP):
        lost = [one for one in run.failovers if one.system == system and one.kind == kind]
        if lost:
            found[f"{kind} median ms"] = statistics.median(one.gap_ms for one in lost)
            found[f"{kind} worst ms"] = max(one.gap_ms for one in lost)
            found[f"{kind} errors"] = float(sum(one.result.errors for one in lost))
    for name, state in (("idle", IDLE), ("filled", FILLED)):
        weighed = [m for m in run.memory if m.system == system and m.state == state]
        if weighed:
            found[f"{name} MiB"] = statistics.median(m.rss_bytes for m in weighed) / MIB
            found[f"{name} MiB, shared once"] = (
                statistics.median(m.pss_bytes for m in weighed) / MIB
            )
    return found


def disturbed(run: Run) -> list[CellRecord]:
    """Return the loads during which other programs worked too much."""
    return [c for c in run.cells if c.cost is not None and c.cost.elsewhere > ELSEWHERE_MAX]


@dataclass(frozen=True)
class MedianCost:
    """Medians over the rounds of what one operation costs."""

    cpu_us: dict[str, float]
    total_us: float
    """All of the system's processes, without the load generator."""
    disk_bytes: float
    dirtied_bytes: float
    network_bytes: float


def median_cost(run: Run, system: str, load: Load, generator: str) -> MedianCost | None:
    """Return what one operation costs; None when that was not measured.

    `generator` names the role of the load generator, which is told but not added up.
    """
    costs = [cell.cost for cell in cells(run, system, load).values() if cell.cost is not None]
    if not costs:
        return None
    roles = sorted({role for cost in costs for role in cost.cpu_us})
    return MedianCost(
        {role: statistics.median(cost.cpu_us.get(role, 0.0) for cost in costs) for role in roles},
        statistics.median(
            sum(spent for role, spent in cost.cpu_us.items() if role != generator) for cost in costs
        ),
        statistics.median(cost.disk_bytes for cost in costs),
        statistics.median(cost.dirtied_bytes for cost in costs),
        statistics.median(cost.network_bytes for cost in costs),
    )


def rates_around(
    one: FailoverRecord, before_s: float, after_s: float, bucket_s: float
) -> tuple[list[float], list[float]]:
    """Return times, and the writes per second acknowledged from each to the next.

    The leader is lost at 0; times go from `-before_s` to `after_s`, or to where the load ended.
    """
    counts: dict[int, int] = {}
    for at_ms, count in one.result.timeline:
        place = int((at_ms - one.lost_at_ms) / 1000 // bucket_s)
        counts[place] = counts.get(place, 0) + count
    first = round(-before_s / bucket_s)
    last = min(round(after_s / bucket_s), max(counts, default=first))
    places = range(first, last)
    return [p * bucket_s for p in places], [counts.get(p, 0) / bucket_s for p in places]
