"""The Markdown report, and that results.json can be read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import records, report
from benchmarks.accounting import Cost
from benchmarks.errors import BenchmarkError
from benchmarks.generator import Load
from benchmarks.records import PipelineRecord, Run
from tests.benchmarks.samples import cell, empty_run, lost, result, weighed

LOAD = Load("write", 64)


def whole_run() -> Run:
    run = empty_run()
    run.settings = {"PAXOS_LIMITS_BATCHES_INFLIGHT_MAX": "1"}
    cost = Cost({"acceptor": 12.5, "discovery": 0.0}, 10.0, 20.0, 30.0, elsewhere=0.5)
    run.cells = [
        cell(1, "paxos", LOAD, result(60_000.0, p99_ms=2.0), cost),
        cell(1, "etcd", LOAD, result(10_000.0, p99_ms=20.0)),
        cell(1, "zookeeper", Load("read", 64), result(44_000.0)),
    ]
    run.failovers = [lost("paxos", "kill", 20.0), lost("etcd", "kill", 1200.0, errors=4)]
    run.memory = [weighed("paxos", "idle", 300)]
    run.pipeline = [PipelineRecord(1, "paxos", "SET 1 on 1", 1700.0, 0.5, 1.0)]
    run.failures = ["round 1, failover, zookeeper: nobody leads"]
    return run


def test_targets_say_reached_or_missed() -> None:
    text = report.markdown(whole_run())
    assert "| write 64 on 8: rate | 60,000/s | 10,000/s | 6.00 | at least 5 | reached |" in text
    assert "| write 64 on 8: p99 | 2.00 ms | 20.0 ms | 0.10 | at most 1 | reached |" in text
    slow = empty_run()
    slow.cells = [
        cell(1, "paxos", LOAD, result(20_000.0)),
        cell(1, "etcd", LOAD, result(10_000.0)),
    ]
    assert "2.00 | at least 5 | **missed** |" in report.markdown(slow)


def test_report_has_a_section_for_everything_that_was_measured() -> None:
    text = report.markdown(whole_run())
    assert "| 64 on 8 | 60,000 | 1.00 | 2.00 | 10,000 | 1.00 | 20.0 | 6.00 |" in text
    assert "not linearizable" in text
    assert "| 12.5 | acceptor 12.5 | 10.0 | 20.0 | 30.0 |" in text
    assert "| kill -9, etcd | 1 | 1,200 | 1,200 | 1,200 | 4 |" in text
    assert "| idle, paxos | 1 | 300 | 150 |" in text
    assert "| SET 1 on 1 | 1,700 | 0.50 | 1.00 |" in text
    assert "- round 1, failover, zookeeper: nobody leads" in text
    assert "**disturbed:** in 1 of 3 measurements" in text
    assert "**not a default:** PAXOS_LIMITS_BATCHES_INFLIGHT_MAX=1" in text


def test_report_has_no_empty_sections_when_little_was_measured() -> None:
    text = report.markdown(empty_run())
    assert "##" not in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    tables = [block for block in report.markdown(whole_run()).split("\n\n") if block[0] == "|"]
    assert len(tables) >= 6
    for block in tables:
        assert len({line.count("|") for line in block.splitlines()}) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.123, "0.12"), (9.999, "10.00"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_numbers_have_about_three_digits(value: float | None, text: str) -> None:
    assert report.number(value) == text


def test_a_run_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    run = whole_run()
    records.write(run, tmp_path / "results.json")
    assert records.read(tmp_path / "results.json") == run
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": [1]}'])
def test_reading_refuses_what_is_no_run(tmp_path: Path, text: str) -> None:
    file = tmp_path / "results.json"
    file.write_text(text)
    with pytest.raises(BenchmarkError, match="not the JSON of a run"):
        records.read(file)


def test_reading_says_so_when_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="cannot be read"):
        records.read(tmp_path / "results.json")
