"""What a turn of a node's loop costs: a price list, and how it is fitted to measurements.

A turn is what a node does between two waits for input. Its price is linear in what it did: times
that the node slept before (being woken up), sockets read and written, messages taken in and
encoded, commands written and fetched (read), bytes. Prices are CPU microseconds on the machine
that was measured. An acceptor's turn that persists pays for the journal besides, and waits for
its disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

STEP_COUNTERS = ("messages_in", "messages_out", "written", "fetched", "bytes")
"""What the roles' own steps are priced by."""
LOOP_COUNTERS = ("sleeps", "reads", "writes", "socket_bytes")
"""What the event loop and the system calls are priced by: the same for every role."""
_SWEEPS_MAX = 20_000
_SETTLED = 1e-10


@dataclass
class Turn:
    """What one turn did."""

    reads: int = 0
    writes: int = 0
    messages_in: int = 0
    messages_out: int = 0
    written: int = 0
    fetched: int = 0
    bytes: int = 0
    persisted: int = 0
    persisted_bytes: int = 0

    def counts(self) -> dict[str, float]:
        """Return it by counter."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Sync:
    """What making records durable costs: CPU, and how long the disk takes beyond it."""

    cpu_us: float
    cpu_record_us: float
    cpu_byte_us: float
    wait_us: float
    wait_byte_us: float


@dataclass(frozen=True)
class Prices:
    """CPU microseconds by role and counter; `wakes` is what being woken up costs."""

    roles: Mapping[str, Mapping[str, float]]
    sync: Sync

    def wake_ms(self, role: str) -> float:
        """Return what being woken up costs a node."""
        return self._of(role).get("wakes", 0.0) / 1000

    def turn_ms(self, role: str, turn: Turn) -> float:
        """Return the CPU time of a turn, without that of waking up."""
        total_us = priced(self._of(role), turn.counts())
        if turn.persisted:
            sync = self.sync
            total_us += sync.cpu_us + sync.cpu_record_us * turn.persisted
            total_us += sync.cpu_byte_us * turn.persisted_bytes
        return total_us / 1000

    def disk_ms(self, turn: Turn) -> float:
        """Return how long a turn waits for the disk; 0 for one that persists nothing."""
        if not turn.persisted:
            return 0.0
        return (self.sync.wait_us + self.sync.wait_byte_us * turn.persisted_bytes) / 1000

    def _of(self, role: str) -> Mapping[str, float]:
        """Return a role's prices; those of a leader for who does next to nothing."""
        return self.roles.get(role) or self.roles["leader"]


def sum_in_order(terms: Iterable[float]) -> float:
    """Add up floats one after the other: the same result with every version of Python."""
    total = 0.0
    for term in terms:
        total += term
    return total


@dataclass(frozen=True)
class Row:
    """One observation: what was counted, what it took, and how much it weighs in the fit."""

    counts: Mapping[str, float]
    took_us: float
    weight: float


def fit(rows: Sequence[Row], counters: Sequence[str]) -> dict[str, float]:
    """Return the prices, none of them negative, with the least sum of weighted squared errors.

    By coordinate descent on the normal equations; a counter that never counted has price 0.
    """
    scales = {
        name: max((abs(row.counts.get(name, 0.0)) for row in rows), default=0.0) or 1.0
        for name in counters
    }
    columns = [[row.counts.get(name, 0.0) / scales[name] for row in rows] for name in counters]
    weights = [row.weight for row in rows]
    wanted = [row.took_us for row in rows]
    gram = [
        [sum_in_order(w * x * y for w, x, y in zip(weights, a, b, strict=True)) for b in columns]
        for a in columns
    ]
    right = [
        sum_in_order(w * x * y for w, x, y in zip(weights, a, wanted, strict=True)) for a in columns
    ]
    found = [0.0] * len(counters)
    for _ in range(_SWEEPS_MAX):
        moved = 0.0
        for i in range(len(counters)):
            if gram[i][i] == 0.0:
                continue
            others = sum_in_order(gram[i][j] * found[j] for j in range(len(counters)) if j != i)
            better = max(0.0, (right[i] - others) / gram[i][i])
            moved = max(moved, abs(better - found[i]))
            found[i] = better
        if moved <= _SETTLED * max(1.0, *found):
            break
    return {name: price / scales[name] for name, price in zip(counters, found, strict=True)}


def priced(prices: Mapping[str, float], counts: Mapping[str, float]) -> float:
    """Return what counts cost by a price list, in microseconds."""
    return sum_in_order(prices.get(name, 0.0) * count for name, count in counts.items())
