"""What `paxos bench` counts, and how it shows it: arithmetic without clock or network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

FRACTION_BITS = 7
"""A latency is kept to one part in 2**7, which is better than one per cent."""
LATENCY_US_MAX = (1 << 32) - 1
"""More than an hour; what takes longer is counted as this."""
_BUCKETS = ((32 - FRACTION_BITS) << FRACTION_BITS) + (1 << FRACTION_BITS)


class Histogram:
    """How often each latency was seen, in buckets that grow with the latency.

    Up to 2**8 µs each microsecond has a bucket of its own; above, each doubling has 2**7 of them.
    """

    __slots__ = ("_counts", "_max_us", "_sum_us", "count")

    def __init__(self) -> None:
        self.count = 0
        self._counts = [0] * _BUCKETS
        self._max_us = 0
        self._sum_us = 0

    def add(self, seconds: float, times: int = 1) -> None:
        """Count a latency, `times` times. A negative one counts as none at all."""
        microseconds = min(max(0, round(seconds * 1e6)), LATENCY_US_MAX)
        shift = max(0, microseconds.bit_length() - FRACTION_BITS - 1)
        self._counts[(shift << FRACTION_BITS) + (microseconds >> shift)] += times
        self.count += times
        self._sum_us += microseconds * times
        if times and microseconds > self._max_us:
            self._max_us = microseconds

    @property
    def max_ms(self) -> float | None:
        """The longest, exactly; None when nothing was counted."""
        return self._max_us / 1000 if self.count else None

    @property
    def mean_ms(self) -> float | None:
        """The mean, exactly; None when nothing was counted."""
        return self._sum_us / self.count / 1000 if self.count else None

    def percentile_ms(self, percent: float) -> float | None:
        """Return what `percent` of all latencies do not pass, never too little by more than the
        width of a bucket; None when nothing was counted."""
        wanted = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for place, times in enumerate(self._counts):
            seen += times
            if seen >= wanted:
                return min(_highest_us(place), self._max_us) / 1000
        return None


def _highest_us(place: int) -> int:
    """Return the largest latency that the bucket at a place holds."""
    shift = max(0, (place >> FRACTION_BITS) - 1)
    return ((place - (shift << FRACTION_BITS) + 1) << shift) - 1


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one operation's load. `rate` is per second, of what was acknowledged."""

    op: str
    seconds: float
    """How long requests were sent."""
    operations: int
    """How many were acknowledged; the last ones perhaps a moment after `seconds`."""
    errors: int
    first_error: str
    rate: float
    """Of what was acknowledged within `seconds`."""
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    mean_ms: float | None
    slots: int | None = None
    """How many slots the log decided meanwhile, as the doors saw it; None when they do not say."""
    commands_per_slot: float | None = None
    """How many commands a slot held on average, as far as they came through these doors. Reads
    that follow an unanswered write on their connection are among them: they go through the log to
    keep their order. None without any slot."""


class LogMark(msgspec.Struct, frozen=True):
    """How far the log has come, as the doors tell: the highest slot that one of them had a write
    chosen in, and how many commands of theirs went through the log. None: they do not say."""

    slot: int | None
    commands: int | None


def figures(
    op: str,
    latencies: Histogram,
    *,
    seconds: float,
    in_time: int,
    errors: int,
    first_error: str,
    before: LogMark,
    after: LogMark,
) -> Figures:
    """Return the figures of one load. `in_time` is how many were acknowledged in `seconds`."""
    slots = commands_per_slot = None
    if before.slot is not None and after.slot is not None and after.slot >= before.slot:
        slots = after.slot - before.slot
        if slots and before.commands is not None and after.commands is not None:
            # A gateway that was started again meanwhile counts from nothing: that is no figure.
            commands = after.commands - before.commands
            commands_per_slot = commands / slots if commands >= 0 else None
    return Figures(
        op=op,
        seconds=seconds,
        operations=latencies.count,
        errors=errors,
        first_error=first_error,
        rate=in_time / seconds if seconds > 0 else 0.0,
        p50_ms=latencies.percentile_ms(50),
        p90_ms=latencies.percentile_ms(90),
        p99_ms=latencies.percentile_ms(99),
        max_ms=latencies.max_ms,
        mean_ms=latencies.mean_ms,
        slots=slots,
        commands_per_slot=commands_per_slot,
    )


COLUMNS = (
    "operation",
    "per second",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "max ms",
    "errors",
    "slots",
    "per slot",
)


def table(rows: Sequence[Figures]) -> str:
    """Return the figures in columns for a person, and below them the first error of each row."""
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    for row in rows:
        if row.errors:
            count = "1 error" if row.errors == 1 else f"{row.errors:,} errors, the first"
            lines += ["", f"{row.op}: {count}: {row.first_error}"]
    return "\n".join(lines)


def _cells(row: Figures) -> tuple[str, ...]:
    return (
        row.op,
        f"{row.rate:,.0f}",
        *(_milliseconds(value) for value in (row.p50_ms, row.p90_ms, row.p99_ms, row.max_ms)),
        f"{row.errors:,}",
        "-" if row.slots is None else f"{row.slots:,}",
        "-" if row.commands_per_slot is None else f"{row.commands_per_slot:,.1f}",
    )


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 100 else f"{value:,.0f}"
