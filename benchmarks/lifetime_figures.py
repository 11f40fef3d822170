"""Arithmetic over a lifetime run: what grew, how far, and which bounds hold.

A log that is cut makes a saw: it grows until a snapshot, and falls. So what must not grow is the
height of its teeth. A curve is *flat* over the second half when its highest point in the last
quarter is at most `FLAT_MAX` times that of the third quarter; quarters are of the writes.

An acceptor's log takes disk in whole segments and gives it back in whole segments. What a snapshot
waits for is a little more than a number of segments, so the place in a segment at which the log is
cut wanders, and the teeth with it, up to a segment higher and back. So a disk may be
`DISK_STEP_MIB` higher, and be flat. The means, and the slope of a straight line through the second
half (least squares), are told beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .lifetime_records import PULLING, QUIET, TAKING, Lifetime, Pause, Sample, Window
from .targets import MIB

DISK_MIB_MAX = 512.0
MEMORY_MIB_MAX = 300.0
FLAT_MAX = 1.1
DISK_STEP_MIB = 16.0
"""A segment of an acceptor's log (`SEGMENT_BYTES` of its journal)."""
PAUSE_MAX = 2.0

Curve: TypeAlias = Sequence[tuple[float, float]]
"""Points (writes acknowledged, MiB)."""


@dataclass(frozen=True)
class Growth:
    """How a curve went, in MiB."""

    highest: float
    third_quarter: float
    """The highest of the third quarter."""
    last_quarter: float
    third_mean: float
    last_mean: float
    slope: float
    """MiB per million writes, over the second half."""

    @property
    def ratio(self) -> float:
        """How high the last quarter is, in heights of the third."""
        return self.last_quarter / self.third_quarter

    def is_flat(self, step: float = 0.0) -> bool:
        """Tell whether it did not grow over the second half, by more than a step of `step` MiB."""
        return self.last_quarter <= max(FLAT_MAX * self.third_quarter, self.third_quarter + step)


@dataclass(frozen=True)
class Verdict:
    """A bound beside what was measured."""

    what: str
    bound: str
    measured: str
    is_met: bool


def disk(samples: Sequence[Sample], node: str) -> list[tuple[float, float]]:
    """Return the curve of a node's disk."""
    return [(one.written, one.disk_bytes[node] / MIB) for one in samples]


def memory(samples: Sequence[Sample], node: str) -> list[tuple[float, float]]:
    """Return the curve of a node's memory, without a child: few looks find one."""
    return [(one.written, one.memory_bytes[node] / MIB) for one in samples]


def most_memory(samples: Sequence[Sample], node: str) -> float:
    """Return the most that a node was seen to hold, with what its child holds alone, in MiB."""
    return max(one.memory_bytes[node] + one.child_bytes.get(node, 0) for one in samples) / MIB


def nodes(samples: Sequence[Sample], role: str) -> list[str]:
    """Return the nodes of a role that were looked at."""
    return sorted(name for name in samples[0].memory_bytes if name.partition("-")[0] == role)


def growth(curve: Curve, total: float) -> Growth | None:
    """Return how a curve went over `total` writes; None where one of its last quarters is empty."""
    third = [mib for at, mib in curve if total / 2 <= at < total * 3 / 4]
    last = [mib for at, mib in curve if at >= total * 3 / 4]
    if not third or not last:
        return None
    steepness = slope([(at, mib) for at, mib in curve if at >= total / 2])
    return Growth(
        highest=max(mib for _, mib in curve),
        third_quarter=max(third),
        last_quarter=max(last),
        third_mean=statistics.mean(third),
        last_mean=statistics.mean(last),
        slope=steepness * 1e6,
    )


def slope(curve: Curve) -> float:
    """Return by how much the straight line through the points rises per step of 1; 0 for less than
    two different places.
    """
    if len({at for at, _ in curve}) < 2:
        return 0.0
    return statistics.linear_regression(*zip(*curve, strict=True)).slope


def counted(timeline: Sequence[tuple[int, int]], moments_ms: Sequence[float]) -> list[int]:
    """Return how many had been acknowledged at each of the moments, which are in order: all of the
    buckets that began before it.
    """
    found, total, at = [], 0, 0
    for moment_ms in moments_ms:
        while at < len(timeline) and timeline[at][0] < moment_ms:
            total += timeline[at][1]
            at += 1
        found.append(total)
    return found


# ---------------------------------------------------------------- pause


def windows(pause: Pause, outstanding: int, phase: str) -> dict[int, Window]:
    """Return the windows of a phase by round."""
    return {
        one.round: one
        for one in pause.windows
        if (one.outstanding, one.phase) == (outstanding, phase)
    }


def loads(pause: Pause) -> list[int]:
    """Return how many requests were outstanding in the loads, in the order of measuring."""
    return list(dict.fromkeys(one.outstanding for one in pause.windows))


def ratios(pause: Pause, outstanding: int, phase: str) -> list[float]:
    """Return the p99 of each round's phase, divided by the mean of the p99 in the quiet windows
    before and after it.
    """
    quiet = windows(pause, outstanding, QUIET)
    found = []
    for number, one in sorted(windows(pause, outstanding, phase).items()):
        beside = [quiet[n].p99_ms for n in (number, number + 1) if n in quiet]
        if beside:
            found.append(one.p99_ms / statistics.mean(beside))
    return found


# ---------------------------------------------------------------- bounds


def verdicts(run: Lifetime) -> list[Verdict]:
    """Return every bound for which there are figures."""
    return [*_writes_verdicts(run), *_pause_verdicts(run)]


def _writes_verdicts(run: Lifetime) -> list[Verdict]:
    if run.writes is None or not run.writes.samples:
        return []
    samples, total = run.writes.samples, run.writes.written
    acceptors, learners = nodes(samples, "acceptor"), nodes(samples, "learner")
    disks = [disk(samples, node) for node in acceptors]
    memories = [memory(samples, node) for node in learners]
    most_disk = max(mib for curve in disks for _, mib in curve)
    most = max(most_memory(samples, node) for node in learners)
    return [
        _below("each acceptor's disk", most_disk, DISK_MIB_MAX),
        *_flat("each acceptor's disk", [growth(one, total) for one in disks], DISK_STEP_MIB),
        _below("each learner's memory, with its child's", most, MEMORY_MIB_MAX),
        *_flat("each learner's memory", [growth(one, total) for one in memories], 0.0),
    ]


def _below(what: str, highest: float, mib_max: float) -> Verdict:
    return Verdict(what, f"under {mib_max:.0f} MiB", f"{highest:.0f} MiB", highest < mib_max)


def _flat(what: str, grown: Sequence[Growth | None], step: float) -> list[Verdict]:
    """Return the verdict on what may grow by a step of `step` MiB; none without a second half."""
    found = [one for one in grown if one is not None]
    if len(found) < len(grown):
        return []
    bound = f"at most {FLAT_MAX:g} times" + (f", or {step:.0f} MiB more" if step else "")
    steepest = f"{max(one.ratio for one in found):.2f}"
    is_met = all(one.is_flat(step) for one in found)
    return [Verdict(f"{what}, last quarter to the third", bound, steepest, is_met)]


_PAUSE_WORDS = {TAKING: "while a snapshot is taken", PULLING: "while acceptors get it"}


def _pause_verdicts(run: Lifetime) -> list[Verdict]:
    if run.pause is None:
        return []
    found = []
    for outstanding in loads(run.pause):
        for phase, words in _PAUSE_WORDS.items():
            if measured := ratios(run.pause, outstanding, phase):
                middle = statistics.median(measured)
                what = f"p99 of {outstanding} writes outstanding, {words}"
                bound = f"at most {PAUSE_MAX:g} times"
                found.append(Verdict(what, bound, f"{middle:.2f}", middle <= PAUSE_MAX))
    return found
