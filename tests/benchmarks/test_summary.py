"""Medians over the rounds, ratios within a round, and what is held against the targets."""

from __future__ import annotations

import pytest
from benchmarks import summary
from benchmarks.accounting import Cost
from benchmarks.generator import Load
from benchmarks.records import Run
from benchmarks.targets import CEILINGS, RATIOS, Target
from tests.benchmarks.samples import cell, empty_run, lost, result, weighed

LOAD = Load("write", 64)


def run_of(paxos: list[float], etcd: list[float]) -> Run:
    run = empty_run()
    for number, rate in enumerate(paxos, 1):
        run.cells.append(cell(number, "paxos", LOAD, result(rate)))
    for number, rate in enumerate(etcd, 1):
        run.cells.append(cell(number, "etcd", LOAD, result(rate)))
    return run


def test_median_is_of_all_rounds_and_none_where_nothing_was_measured() -> None:
    run = run_of([30.0, 10.0, 20.0], [])
    assert summary.median(run, "paxos", LOAD, "rate") == 20.0
    assert summary.median(run, "etcd", LOAD, "rate") is None
    assert summary.median(run, "paxos", Load("write", 65), "rate") is None


def test_ratio_is_the_median_of_the_rounds_ratios_when_medians_would_say_otherwise() -> None:
    run = run_of([100.0, 200.0, 900.0], [100.0, 20.0, 30.0])
    # 1, 10 and 30; the ratio of the medians would be 200 / 30.
    assert summary.ratios(run, LOAD, "rate") == [1.0, 10.0, 30.0]
    assert summary.median_ratio(run, LOAD, "rate") == 10.0


def test_ratio_leaves_out_rounds_in_which_one_of_the_two_is_missing() -> None:
    run = run_of([100.0, 200.0, 300.0], [10.0, 10.0])
    assert summary.ratios(run, LOAD, "rate") == [10.0, 20.0]
    assert summary.median_ratio(run_of([100.0], []), LOAD, "rate") is None


@pytest.mark.parametrize(
    ("at_least", "ratio", "met"),
    [(True, 5.0, True), (True, 4.9, False), (False, 5.0, True), (False, 5.1, False)],
)
def test_target_is_met_up_to_its_bound(at_least: bool, ratio: float, met: bool) -> None:
    assert Target(LOAD, "rate", 5.0, at_least).is_met(ratio) is met


def test_verdicts_tell_only_of_loads_that_both_systems_were_given() -> None:
    verdicts = summary.verdicts(run_of([60_000.0], [10_000.0]))
    assert [(v.target.measure, v.ratio, v.is_met) for v in verdicts] == [
        ("rate", 6.0, True),
        ("p99_ms", 1.0, True),
    ]
    assert all(v.target in RATIOS for v in verdicts)


def test_own_figures_are_the_median_and_the_worst_of_all_losses() -> None:
    run = empty_run()
    run.failovers = [
        lost("paxos", "kill", 20.0),
        lost("paxos", "kill", 400.0, errors=2),
        lost("paxos", "kill", 30.0),
        lost("paxos", "stop", 700.0),
        lost("etcd", "kill", 9000.0),
    ]
    figures = summary.own_figures(run)
    assert figures["kill median ms"] == 30.0
    assert figures["kill worst ms"] == 400.0
    assert figures["kill errors"] == 2.0
    assert figures["stop worst ms"] == 700.0
    met = {v.ceiling.figure: v.is_met for v in summary.ceiling_verdicts(run)}
    assert met == {
        "kill median ms": True,
        "kill worst ms": False,
        "kill errors": False,
        "stop worst ms": True,
    }


def test_no_errors_are_allowed_where_the_ceiling_is_zero() -> None:
    run = empty_run()
    run.failovers = [lost("paxos", "kill", 20.0)]
    verdicts = {v.ceiling.figure: v for v in summary.ceiling_verdicts(run)}
    assert verdicts["kill errors"].is_met


def test_memory_is_the_sum_of_all_processes_and_the_median_of_the_rounds() -> None:
    run = empty_run()
    run.memory = [
        weighed("paxos", "idle", 100, 200),
        weighed("paxos", "idle", 100, 400),
        weighed("paxos", "idle", 100, 300),
        weighed("paxos", summary.FILLED, 3000),
    ]
    figures = summary.own_figures(run)
    assert figures["idle MiB"] == 400.0
    assert figures["idle MiB, shared once"] == 200.0
    met = {v.ceiling.figure: v.is_met for v in summary.ceiling_verdicts(run)}
    assert met == {"idle MiB": True, "filled MiB": False}


def test_every_ceiling_names_a_figure_that_can_be_measured() -> None:
    run = empty_run()
    run.failovers = [lost("paxos", kind, 1.0) for kind in ("kill", "stop")]
    run.memory = [weighed("paxos", state, 1) for state in (summary.IDLE, summary.FILLED)]
    assert {c.figure for c in CEILINGS} <= summary.own_figures(run).keys()


def test_cost_adds_up_all_roles_but_the_generators() -> None:
    run = empty_run()
    for number, acceptor_us in enumerate((1.0, 3.0, 2.0), 1):
        spent = {"acceptor": acceptor_us, "leader": 4.0, "load generator": 50.0}
        cost = Cost(spent, disk_bytes=10.0, dirtied_bytes=20.0, network_bytes=30.0, elsewhere=0.0)
        run.cells.append(cell(number, "paxos", LOAD, result(), cost))
    found = summary.median_cost(run, "paxos", LOAD, "load generator")
    assert found is not None
    assert found.cpu_us == {"acceptor": 2.0, "leader": 4.0, "load generator": 50.0}
    assert found.total_us == 6.0
    assert (found.disk_bytes, found.dirtied_bytes, found.network_bytes) == (10.0, 20.0, 30.0)
    assert summary.median_cost(run, "etcd", LOAD, "load generator") is None


def test_a_load_counts_as_disturbed_when_others_used_the_processors() -> None:
    run = empty_run()
    for number, elsewhere in enumerate((0.02, 0.4), 1):
        cost = Cost({}, 0.0, 0.0, 0.0, elsewhere)
        run.cells.append(cell(number, "paxos", LOAD, result(), cost))
    assert [one.round for one in summary.disturbed(run)] == [2]


def test_rates_around_a_loss_begin_before_it_and_end_with_the_load() -> None:
    at_s, rates = summary.rates_around(lost("paxos", "kill", 990.0), 0.1, 5.0, 0.05)
    assert at_s[0] == pytest.approx(-0.1)
    assert at_s[-1] == pytest.approx(0.9)
    assert rates[at_s.index(0.0)] == pytest.approx(7 / 0.05)
    assert sum(rates) * 0.05 == pytest.approx(12)
