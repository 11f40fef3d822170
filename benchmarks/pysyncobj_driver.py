"""The closed loop inside a PySyncObj node's process: what the compiled generator does elsewhere.

PySyncObj is a library: its client is the program that it is part of, so there is no connection
between the load and the node, and no generator in another process. Writes are calls of a
replicated dictionary's `set`; each that has been answered (its callback called) is replaced at once
from within the callback. Times are taken from the call to the callback.
"""

from __future__ import annotations

import functools
import itertools
import random
import string
import threading
import time
from collections.abc import Callable
from typing import Protocol

from .generator import Result

BUCKET_MS = 10
DRAIN_TIMEOUT_S = 5.0
_PRINTABLE = string.ascii_letters + string.digits
_SURPLUS = 4096
"""Values are pieces of one random text that is so much longer than a value."""

Answered = Callable[[object, int], None]
"""What a write's callback is given: its result, and 0 or why it failed."""


class Writes(Protocol):
    """A replicated dictionary's way to write."""

    def set(self, key: str, value: str, *, callback: Answered) -> None:
        """Write, and call back once it is known how it went."""


class Driver:
    """One load: `run` blocks until it is over, `stop` ends it early from another thread."""

    def __init__(
        self, store: Writes, outstanding: int, value_bytes: int, keys: int, seed: int
    ) -> None:
        self._store = store
        self._outstanding = outstanding
        self._value_bytes = value_bytes
        self._keys = keys
        self._dice = random.Random(seed)
        self._text = "".join(self._dice.choices(_PRINTABLE, k=value_bytes + _SURPLUS))
        self._next_fill: int | None = None
        self._open = outstanding
        self._over = threading.Event()
        self._from_s = 0.0
        self._until_s = 0.0
        self._latencies_s: list[float] = []
        self._answers_s: list[float] = []
        self._errors = 0
        self._first_error = ""

    def run(self, warmup_s: float, measured_s: float, fill: bool) -> Result | None:
        """Load, and return what was measured; None when nothing was acknowledged."""
        started_s = time.perf_counter()
        self._from_s = started_s + warmup_s
        self._until_s = self._from_s + measured_s
        if fill:
            self._next_fill = 0
            self._until_s = float("inf")
        started_unix_ms = round((time.time() + warmup_s) * 1000)
        for _ in range(self._outstanding):
            self._write()
        while not self._over.wait(timeout=0.05) and time.perf_counter() < self._until_s:
            pass
        # What is outstanding at the end may never be answered, when the leader has been lost.
        self._over.wait(timeout=DRAIN_TIMEOUT_S)
        ended_s = min(self._until_s, time.perf_counter())
        return self._result(ended_s, started_unix_ms) if self._latencies_s else None

    def stop(self) -> None:
        """End it: nothing is written any more, and nothing counts."""
        self._until_s = min(self._until_s, time.perf_counter())

    def _write(self) -> None:
        key = self._key()
        if key is None or time.perf_counter() >= self._until_s:
            self._open -= 1
            if not self._open:
                self._over.set()
            return
        first = self._dice.randrange(_SURPLUS)
        value = self._text[first : first + self._value_bytes]
        answered = functools.partial(self._on_answer, time.perf_counter())
        self._store.set(key, value, callback=answered)

    def _key(self) -> str | None:
        """Return the next key; None when every key has been written once and that was all."""
        if self._next_fill is None:
            return f"k{self._dice.randrange(self._keys):012d}"
        number = self._next_fill
        self._next_fill = number + 1
        return f"k{number:012d}" if number < self._keys else None

    def _on_answer(self, sent_s: float, _result: object, error: int) -> None:
        now_s = time.perf_counter()
        if self._from_s <= now_s < self._until_s:
            if error:
                self._errors += 1
                self._first_error = self._first_error or f"FAIL_REASON {error}"
            else:
                self._latencies_s.append(now_s - sent_s)
                self._answers_s.append(now_s)
        self._write()

    def _result(self, ended_s: float, started_unix_ms: int) -> Result:
        seconds = ended_s - self._from_s
        ordered = sorted(self._latencies_s)
        moments = [self._from_s, *self._answers_s, ended_s]
        gap_s = max(after - before for before, after in itertools.pairwise(moments))
        return Result(
            seconds=seconds,
            operations=len(ordered),
            errors=self._errors,
            rate=len(ordered) / seconds,
            p50_ms=quantile(ordered, 0.5) * 1000,
            p90_ms=quantile(ordered, 0.9) * 1000,
            p99_ms=quantile(ordered, 0.99) * 1000,
            p999_ms=quantile(ordered, 0.999) * 1000,
            max_ms=ordered[-1] * 1000,
            mean_ms=sum(ordered) / len(ordered) * 1000,
            gap_ms=gap_s * 1000,
            first_error=self._first_error,
            started_unix_ms=started_unix_ms,
            timeline=self._timeline(seconds),
        )

    def _timeline(self, seconds: float) -> list[tuple[int, int]]:
        counts = [0] * (int(seconds * 1000 / BUCKET_MS) + 1)
        for at_s in self._answers_s:
            counts[int((at_s - self._from_s) * 1000 / BUCKET_MS)] += 1
        return [(place * BUCKET_MS, count) for place, count in enumerate(counts)]


def quantile(ordered: list[float], share: float) -> float:
    """Return the smallest value that at least `share` of an ascending list do not exceed."""
    return ordered[min(len(ordered) - 1, max(0, -(-int(len(ordered) * share * 1e6) // 10**6) - 1))]
