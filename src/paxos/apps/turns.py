"""Whether the nodes that share this machine wait for each other's turns to end.

A node that is interrupted between two of its messages, by the receiver of the first, sends the
second one late. Under SCHED_BATCH (Linux, no privilege needed) a process that wakes up interrupts
nobody, and many requests gain a good deal by that. But then it does not interrupt strangers
either: with a busy program on every processor a lone write waits for that program at each of its
steps (docs/performance.md#beside-busy-programs has the figures). So nodes are batched while there
is room beside them, and are ordinary processes while strangers keep every processor busy.

Only who knows which processes are the nodes can tell strangers from them: the supervisor. A node
that has a container to itself stays as its engine started it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

CROWDED_SHARE = 0.6
"""Strangers that use this share of all processors, none of which idles, crowd the nodes."""
ROOMY_SHARE = 0.35
"""They no longer do when they use less than this; ordinary nodes take more of a full machine than
batched ones, so that the two differ."""
IDLE_SHARE = 0.05
"""Less than this is "none idles": counters move in steps of 10 ms."""

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Usage(msgspec.Struct, frozen=True):
    """What has been used of the machine's processors since its start, in seconds.

    `nodes_s` is by pid: what a process used before it was known is not held against anybody.
    """

    busy_s: float
    idle_s: float
    nodes_s: Mapping[int, float]


def usage(pids: Iterable[int]) -> Usage:
    """Read what all processors and these processes have used. Raises OSError, ValueError."""
    user, nice, system, idle, waiting, irq, softirq, steal = map(
        int, (_PROC / "stat").read_text(encoding="ascii").split()[1:9]
    )
    nodes_s = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
            fields = text.rpartition(")")[2].split()
            nodes_s[pid] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    busy = user + nice + system + irq + softirq + steal
    return Usage(busy / _TICKS_PER_S, (idle + waiting) / _TICKS_PER_S, nodes_s)


def is_crowded(before: Usage, now: Usage, was_crowded: bool) -> bool:
    """Tell whether strangers kept every processor busy between two readings."""
    busy_s, idle_s = now.busy_s - before.busy_s, now.idle_s - before.idle_s
    all_s = busy_s + idle_s
    if all_s <= 0:
        return was_crowded
    nodes_s = sum(
        used_s - before.nodes_s[pid] for pid, used_s in now.nodes_s.items() if pid in before.nodes_s
    )
    share = ROOMY_SHARE if was_crowded else CROWDED_SHARE
    return idle_s <= IDLE_SHARE * all_s and busy_s - nodes_s >= share * all_s


class Turns:
    """Keeps all nodes' way of waiting for a processor as the machine's load wants it."""

    def __init__(self, read: Callable[[Iterable[int]], Usage] = usage) -> None:
        self._read = read
        self._before: Usage | None = None
        self.crowded = False
        """Whether the nodes are ordinary processes, because strangers leave no room."""

    def look(self, pids: Iterable[int]) -> bool:
        """Compare with the last look, and change these nodes if need be. True: it has changed.

        Where the system does not tell its load, nodes stay as they are.
        """
        nodes = list(pids)
        try:
            now = self._read(nodes)
        except (OSError, ValueError):
            return False
        before, self._before = self._before, now
        if before is None or (crowded := is_crowded(before, now, self.crowded)) == self.crowded:
            return False
        self.crowded = crowded
        for pid in nodes:
            self.apply(pid)
        return True

    def apply(self, pid: int) -> None:
        """Have one process, 0 for the caller's own, wait as the others do.

        A process that has ended meanwhile, and a system that knows no batches, are no error.
        """
        if not hasattr(os, "SCHED_BATCH"):
            return
        policy = os.SCHED_OTHER if self.crowded else os.SCHED_BATCH
        with contextlib.suppress(OSError):
            for thread in os.listdir(_PROC / str(pid or "self") / "task"):
                os.sched_setscheduler(int(thread), policy, os.sched_param(0))
