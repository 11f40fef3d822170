"""The closed loop inside a PySyncObj node, on a dictionary that answers at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import pytest
from benchmarks.pysyncobj_driver import Answered, Driver, quantile


class Store:
    """Answers each write from a thread of its own, as PySyncObj does, in order."""

    def __init__(self, fail_first: int = 0) -> None:
        self.written: dict[str, str] = {}
        self.outstanding_max = 0
        self._fail = fail_first
        self._left = 0
        self._then: Callable[[], None] | None = None
        self._waiting: deque[Answered] = deque()
        self._lock = threading.Condition()
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def set(self, key: str, value: str, *, callback: Answered) -> None:
        with self._lock:
            self.written[key] = value
            self._waiting.append(callback)
            self.outstanding_max = max(self.outstanding_max, len(self._waiting))
            self._lock.notify()

    def after(self, answers: int, then: Callable[[], None]) -> None:
        self._left, self._then = answers, then

    def _answer(self) -> None:
        while True:
            with self._lock:
                while not self._waiting:
                    self._lock.wait()
                callback = self._waiting.popleft()
            failed, self._fail = bool(self._fail), max(0, self._fail - 1)
            callback(None, 5 if failed else 0)
            self._left -= 1
            if self._left == 0 and self._then is not None:
                self._then()


def test_every_key_is_written_once_when_it_fills() -> None:
    store = Store()
    result = Driver(store, outstanding=4, value_bytes=32, keys=50, seed=1).run(0.0, 0.0, fill=True)
    assert result is not None
    assert sorted(store.written) == [f"k{n:012d}" for n in range(50)]
    assert {len(value) for value in store.written.values()} == {32}
    assert result.operations == 50


def test_no_more_is_outstanding_than_was_asked() -> None:
    store = Store()
    result = Driver(store, outstanding=8, value_bytes=16, keys=500, seed=1).run(0.0, 0.0, fill=True)
    assert result is not None
    assert 1 <= store.outstanding_max <= 8
    assert result.operations == sum(count for _, count in result.timeline) == 500
    assert result.rate == pytest.approx(result.operations / result.seconds)
    assert result.p50_ms <= result.p99_ms <= result.max_ms


def test_errors_are_counted_and_no_latencies_when_writes_fail() -> None:
    store = Store(fail_first=3)
    result = Driver(store, outstanding=2, value_bytes=16, keys=20, seed=1).run(0.0, 0.0, fill=True)
    assert result is not None
    assert (result.errors, result.first_error) == (3, "FAIL_REASON 5")
    assert result.operations == 17


def test_nothing_is_told_when_nothing_was_acknowledged() -> None:
    store = Store(fail_first=5)
    driver = Driver(store, outstanding=2, value_bytes=16, keys=5, seed=1)
    assert driver.run(0.0, 0.0, fill=True) is None


def test_it_ends_early_when_it_is_stopped() -> None:
    store = Store()
    driver = Driver(store, outstanding=2, value_bytes=16, keys=9, seed=1)
    store.after(100, driver.stop)
    result = driver.run(0.0, 600.0, fill=False)
    assert result is not None
    assert 0 < result.seconds < 600.0
    assert set(store.written) <= {f"k{n:012d}" for n in range(9)}


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 50.0), (0.99, 99.0), (0.999, 100.0), (1.0, 100.0), (0.0, 1.0)]
)
def test_quantile_is_the_smallest_that_so_many_do_not_exceed(share: float, value: float) -> None:
    assert quantile([float(n) for n in range(1, 101)], share) == value
