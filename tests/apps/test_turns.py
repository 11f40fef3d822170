"""Nodes wait for each other's turns, but not for strangers that keep every processor busy."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator

import pytest

from paxos.apps.turns import Turns, Usage, is_crowded, usage

NODE = 4711
START = Usage(100.0, 50.0, {NODE: 10.0})


def later(strangers_s: float, nodes_s: float, idle_s: float) -> Usage:
    return Usage(
        START.busy_s + strangers_s + nodes_s,
        START.idle_s + idle_s,
        {NODE: START.nodes_s[NODE] + nodes_s},
    )


@pytest.mark.parametrize(
    ("strangers_s", "nodes_s", "idle_s", "was_crowded", "crowded"),
    [
        # Two processors for two seconds: 4 s in all.
        (0.0, 0.2, 3.8, False, False),
        (0.5, 3.4, 0.1, False, False),  # the nodes themselves keep them busy
        (2.0, 1.5, 0.5, False, False),  # a busy program on one of two
        (3.2, 0.8, 0.0, False, True),  # on both
        (2.2, 1.7, 0.1, False, False),  # as many strangers, and much to do: batches do better
        (2.2, 1.7, 0.1, True, True),  # but no to and fro
        (1.3, 2.7, 0.0, True, False),
        (3.2, 0.5, 0.3, True, False),  # something idles: there is room
        (0.0, 0.0, 0.0, True, True),  # no time has passed: nothing is known
        (0.0, 0.0, 0.0, False, False),
    ],
)
def test_strangers_crowd_nodes_when_they_leave_no_room(
    strangers_s: float, nodes_s: float, idle_s: float, was_crowded: bool, crowded: bool
) -> None:
    assert is_crowded(START, later(strangers_s, nodes_s, idle_s), was_crowded) is crowded


def test_what_a_new_node_used_before_is_not_counted() -> None:
    """It would hide strangers: a node that joins brings hours of its own with it."""
    now = later(3.5, 0.5, 0.0)
    joined = Usage(now.busy_s, now.idle_s, {**now.nodes_s, NODE + 1: 3600.0})

    assert is_crowded(START, joined, False)


def test_usage_tells_the_machine_and_the_processes_that_live() -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    before = usage([os.getpid()])
    sum(range(5_000_000))
    now = usage([os.getpid(), gone.pid])

    assert list(now.nodes_s) == [os.getpid()]
    assert now.nodes_s[os.getpid()] > before.nodes_s[os.getpid()]
    assert now.busy_s > before.busy_s
    assert now.idle_s >= before.idle_s > 0


@pytest.fixture
def node() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate(b"\n")


def test_nodes_become_ordinary_and_batched_again(node: int) -> None:
    readings = iter([(0.0, 0.0), (4.0, 0.0), (8.0, 0.0), (8.0, 4.0)])

    def read(pids: Iterable[int]) -> Usage:
        busy_s, idle_s = next(readings)
        return Usage(busy_s, idle_s, dict.fromkeys(pids, 0.0))

    turns = Turns(read)
    turns.apply(node)
    assert os.sched_getscheduler(node) == os.SCHED_BATCH
    assert not turns.look([node])
    assert turns.look([node])
    assert turns.crowded
    assert os.sched_getscheduler(node) == os.SCHED_OTHER
    assert not turns.look([node])
    assert turns.look([node])
    assert not turns.crowded
    assert os.sched_getscheduler(node) == os.SCHED_BATCH


def test_all_threads_of_a_node_change() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        Turns().apply(os.getpid())
        assert os.sched_getscheduler(thread.native_id) == os.SCHED_BATCH
        crowded = Turns()
        crowded.crowded = True
        crowded.apply(0)
        assert os.sched_getscheduler(thread.native_id) == os.SCHED_OTHER
    finally:
        done.set()
        thread.join()


def test_a_node_that_has_ended_and_a_load_that_nobody_tells_are_no_error() -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()

    def read(_pids: Iterable[int]) -> Usage:
        raise FileNotFoundError("/proc/stat")

    turns = Turns(read)
    turns.apply(gone.pid)
    assert not turns.look([gone.pid])
