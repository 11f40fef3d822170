"""Levels of overload: what is stepped up, where it saturates, what is left, and the report."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import overload, records, report
from benchmarks.generator import Load
from benchmarks.records import NeighbourRecord, OverloadRecord, Run
from tests.benchmarks.samples import empty_run, result

MIB = 1024 * 1024


def level(outstanding: int, rate: float, errors: int = 0) -> OverloadRecord:
    load = Load("write", outstanding)
    return OverloadRecord(1, "paxos", "few", load, result(rate, errors=errors), 50 * MIB)


def overloaded_run() -> Run:
    run = empty_run()
    run.overload = [level(64, 50_000.0), level(256, 98_000.0), level(1024, 100_000.0, errors=2)]
    alone, beside = result(1000.0, p99_ms=1.0), result(900.0, p99_ms=4.0)
    run.neighbours = [NeighbourRecord(1, "paxos", "a flood", "read", alone, beside)]
    return run


@pytest.mark.parametrize("is_full", [False, True])
def test_every_series_has_a_level_four_times_another_one(is_full: bool) -> None:
    series: dict[str, list[int]] = {}
    for name, load in overload.levels(is_full):
        series.setdefault(name, []).append(overload.pressure(name, load))
    for pressures in series.values():
        assert pressures == sorted(set(pressures))
        assert pressures[-1] >= overload.OVER * pressures[0]


def test_flooding_clients_are_stepped_up_when_they_wait_for_nothing() -> None:
    floods = [(n, load) for n, load in overload.levels(False) if "floods" in n]
    assert {overload.pressure(name, load) for name, load in floods} == set(overload.FLOODING)
    for _, load in floods:
        assert load.connections in overload.FLOODING


def test_verdict_looks_at_four_times_the_level_that_saturates() -> None:
    rates = {64: 50.0, 256: 95.0, 1024: 100.0, 4096: 70.0}
    assert overload.verdict(rates) == (256, 1024, 1.0)
    collapsing = {64: 95.0, 256: 100.0, 1024: 40.0}
    assert overload.verdict(collapsing) == (64, 256, 1.0)
    assert overload.verdict({2: 100.0, 8: 14.0}) == (2, 8, 0.14)


def test_there_is_no_verdict_when_nothing_was_loaded_four_times_as_much() -> None:
    assert overload.verdict({}) is None
    assert overload.verdict({64: 50.0, 256: 100.0}) is None
    assert overload.verdict({2: 0.0, 8: 0.0}) is None


def test_report_tells_levels_and_what_neighbours_see() -> None:
    text = report.markdown(overloaded_run())
    assert "| few: 1,024 | 100,000 | 1.00 | 2.00 | 2.00 | 50.0 | 2 |" in text
    assert "| read beside a flood | 1,000 | 900 | 0.90 | 1.00 | 4.00 | 4.00 | 0 |" in text


def test_report_says_whether_enough_is_left_of_the_peak() -> None:
    run = overloaded_run()
    run.overload = [level(64, 100_000.0), level(256, 85_000.0)]
    assert "| few | 64 | 256 | 85,000 | 0.85 | reached |" in report.markdown(run)
    run.overload[1] = level(256, 70_000.0)
    assert "| few | 64 | 256 | 70,000 | 0.70 | **missed** |" in report.markdown(run)


def test_overload_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    run = overloaded_run()
    records.write(run, tmp_path / "results.json")
    assert records.read(tmp_path / "results.json") == run
