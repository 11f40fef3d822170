"""The simulated cluster in which work takes time, and its clients."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from benchmarks.scaling_clients import Demand, Simulated, simulate
from benchmarks.scaling_costs import Prices, Sync
from benchmarks.scaling_layout import ROLES, Layout
from benchmarks.scaling_world import items_of

BASE = {
    "wakes": 5.0,
    "reads": 5.0,
    "writes": 5.0,
    "messages_in": 3.0,
    "messages_out": 3.0,
    "bytes": 0.001,
}
SYNC = Sync(cpu_us=40.0, cpu_record_us=1.0, cpu_byte_us=0.0, wait_us=60.0, wait_byte_us=0.0)
DEAR = 30.0
"""Microseconds a command, of a role that shall be busy first."""


def prices(sync: Sync = SYNC, **dear: str) -> Prices:
    """Return a price list in which one role's commands (`written` or `fetched`) are dear."""
    roles = {role: dict(BASE) for role in ROLES}
    for role, counter in dear.items():
        roles[role][counter] = DEAR
    return Prices(roles, sync)


def run(layout: Layout, demand: Demand, costs: Prices, **more: Any) -> Simulated:
    """Return a short run."""
    return simulate(layout, demand, costs, warmup_ms=20.0, measured_ms=40.0, **more)


def test_a_run_repeats_when_its_arguments_are_the_same() -> None:
    demand = Demand("write", 32, 4)
    assert run(Layout(), demand, prices()) == run(Layout(), demand, prices())


@pytest.mark.parametrize("op", ["write", "read"])
def test_a_second_gateway_doubles_the_rate_when_gateways_are_dear(op: str) -> None:
    counter = "written" if op == "write" else "fetched"
    costs = prices(gateway=counter)
    one = run(Layout(3, 1, 2), Demand(op, 64, 64), costs)
    two = run(Layout(3, 2, 2), Demand(op, 64, 64), costs)
    assert one.busy["gateway"] > 0.8
    assert max(one.busy, key=lambda role: one.busy[role]) == "gateway"
    assert two.rate == pytest.approx(2.0 * one.rate, rel=0.2)


def test_more_learners_serve_more_reads_but_no_more_writes_when_learners_are_dear() -> None:
    costs = prices(learner="fetched")
    one = run(Layout(3, 2, 1), Demand("read", 64, 8), costs)
    two = run(Layout(3, 2, 2), Demand("read", 64, 8), costs)
    assert one.busy["learner"] > 0.8
    assert two.rate > 1.6 * one.rate
    costs = prices(learner="written")
    one = run(Layout(3, 2, 1), Demand("write", 64, 8), costs)
    two = run(Layout(3, 2, 2), Demand("write", 64, 8), costs)
    assert two.rate < 1.1 * one.rate


def test_nobody_works_more_than_there_are_cores_when_a_machine_is_shared() -> None:
    demand = Demand("write", 64, 8, client_us=2.0)
    alone = run(Layout(), demand, prices(gateway="written"))
    shared = run(Layout(), demand, prices(gateway="written"), cores=1)
    spent = sum(shared.cpu_us.values()) * shared.rate / 1e6
    assert 0.5 < spent <= 1.05
    assert shared.rate < alone.rate


def test_a_slow_disk_slows_writes_and_not_reads() -> None:
    slow = prices(Sync(40.0, 1.0, 0.0, 2000.0, 0.0))
    assert run(Layout(), Demand("write", 8, 8), slow).p50_ms > 2.0
    assert run(Layout(), Demand("read", 8, 8), slow).p50_ms < 2.0
    assert run(Layout(), Demand("write", 8, 8), slow).disk > 0.5


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65535, 65536])
def test_items_are_counted_when_a_packed_array_has_any_length(count: int) -> None:
    assert items_of(msgspec.msgpack.encode([1] * count)) == count
