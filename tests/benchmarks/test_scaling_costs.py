"""Prices: fitted to observations, and what a turn costs by them."""

from __future__ import annotations

import random

import pytest
from benchmarks.errors import BenchmarkError
from benchmarks.scaling_cluster import Measured, counters_of
from benchmarks.scaling_costs import LOOP_COUNTERS, Prices, Row, Sync, Turn, fit, priced
from benchmarks.scaling_fit import counts_of, explained, fit_loop
from benchmarks.scaling_layout import ROLES, Layout

SYNC = Sync(cpu_us=100.0, cpu_record_us=5.0, cpu_byte_us=0.001, wait_us=50.0, wait_byte_us=0.01)


def test_fit_finds_the_prices_when_observations_follow_them() -> None:
    dice = random.Random(7)
    truth = {"reads": 7.0, "writes": 9.0, "bytes": 0.002}
    rows = []
    for _ in range(40):
        counts = {"reads": dice.randrange(50), "writes": dice.randrange(50)}
        counts["bytes"] = dice.randrange(50_000)
        rows.append(Row(counts, priced(truth, counts), 1.0))
    assert fit(rows, tuple(truth)) == pytest.approx(truth, rel=1e-3)


def test_fit_gives_no_negative_price_when_one_would_fit_better() -> None:
    rows = [Row({"a": n, "b": 2.0 * n + 1.0}, 3.0 * n - 1.0, 1.0) for n in range(1, 20)]
    assert min(fit(rows, ("a", "b")).values()) >= 0.0


def test_fit_gives_price_zero_when_a_counter_never_counted() -> None:
    rows = [Row({"a": 1.0}, 5.0, 1.0), Row({"a": 2.0}, 10.0, 1.0)]
    assert fit(rows, ("a", "never")) == pytest.approx({"a": 5.0, "never": 0.0})


def test_a_turn_pays_for_journal_and_disk_when_it_persists() -> None:
    prices = Prices({"acceptor": {"reads": 4.0, "messages_in": 2.0}}, SYNC)
    idle = Turn(reads=1, messages_in=3)
    assert prices.turn_ms("acceptor", idle) == pytest.approx(0.010)
    assert prices.disk_ms(idle) == 0.0
    busy = Turn(reads=1, messages_in=3, persisted=2, persisted_bytes=1000)
    assert prices.turn_ms("acceptor", busy) == pytest.approx(0.010 + 0.111)
    assert prices.disk_ms(busy) == pytest.approx(0.060)


def test_counters_are_read_when_the_files_of_proc_are_as_usual() -> None:
    stat = "42 (paxos) S 1 42 42 0 -1 4194560 500 0 0 0 150 50 0 0 20 0 1 0 1000 0 0"
    status = "Name:\tpaxos\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t99\n"
    io = "rchar: 1000\nwchar: 2000\nsyscr: 3\nsyscw: 4\nread_bytes: 0\n"
    counted = counters_of(stat, status, io)
    assert counted.pop("cpu_us") > 0.0
    assert counted == {
        "sleeps": 12.0,
        "reads": 3.0,
        "writes": 4.0,
        "bytes_in": 1000.0,
        "bytes_out": 2000.0,
    }


def measured(op: str, scale: float) -> Measured:
    """Return a load whose roles did so much."""
    did = {
        "cpu_us": 300_000.0,
        "sleeps": 3000.0 * scale,
        "reads": 5000.0 * scale,
        "writes": 11_000.0 * scale,
        "bytes_in": 1e6,
        "bytes_out": 2e6,
    }
    return Measured(
        layout="3x2x2",
        load=f"{op} 64 on 8",
        op=op,
        outstanding=64,
        connections=8,
        value_bytes=256,
        rate=10_000.0,
        p50_ms=1.0,
        p99_ms=2.0,
        errors=0,
        slots=1000.0 * scale,
        elsewhere=0.0,
        generator_us=2.0,
        roles={role: dict(did) for role in ROLES},
    )


def test_every_learner_is_counted_when_writes_are_applied_and_one_when_reads_are_answered() -> None:
    assert counts_of(measured("write", 1.0), "learner")["written"] == 20_000.0
    assert counts_of(measured("write", 1.0), "gateway")["written"] == 10_000.0
    assert counts_of(measured("read", 1.0), "learner")["fetched"] == 10_000.0
    assert counts_of(measured("read", 1.0), "leader")["fetched"] == 0.0


def test_the_calls_of_syncs_are_not_counted_with_sockets_when_an_acceptor_writes() -> None:
    counts = counts_of(measured("write", 1.0), "acceptor")
    assert counts["syncs"] == 5000.0
    assert counts["writes"] == 1000.0
    assert counts_of(measured("read", 1.0), "acceptor")["writes"] == 11_000.0


def test_fitted_prices_explain_what_was_spent_when_it_follows_a_price_list() -> None:
    loop = dict(zip(LOOP_COUNTERS, (10.0, 8.0, 6.0, 0.001), strict=True))
    seen = []
    for op in ("write", "read"):
        for scale in (0.5, 1.0, 2.0, 4.0):
            one = measured(op, scale)
            for role in ROLES:
                counts = counts_of(one, role)
                one.roles[role]["cpu_us"] = priced(loop, counts) + 90.0 * counts["syncs"]
            seen.append(one)
    prices = fit_loop({role: {} for role in ROLES}, seen, SYNC)
    assert prices.sync.wait_us == SYNC.wait_us
    for one in seen:
        for role in ROLES:
            assert explained(prices, one, role) == pytest.approx(1.0, abs=0.05)


def test_a_layout_is_refused_when_it_is_not_three_numbers() -> None:
    assert Layout.parse("5x4x3") == Layout(acceptors=5, gateways=4, learners=3)
    assert Layout(5, 4, 3).title == "5x4x3"
    assert [Layout(5, 4, 3).count(role) for role in ROLES] == [4, 1, 5, 3]
    with pytest.raises(BenchmarkError, match="no layout"):
        Layout.parse("5x4")
