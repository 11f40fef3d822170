"""A long run and snapshots: what is flat, which bounds hold, curves in letters, and the file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from benchmarks import lifetime, lifetime_figures, lifetime_records, lifetime_report
from benchmarks.accounting import own_bytes
from benchmarks.errors import BenchmarkError
from benchmarks.lifetime_chart import chart
from benchmarks.lifetime_figures import growth, slope
from benchmarks.lifetime_records import (
    PULLING,
    QUIET,
    TAKING,
    Lifetime,
    Pause,
    Sample,
    Window,
    Writes,
)
from benchmarks.lifetime_watch import Snapshots, folder_bytes

MIB = 1024 * 1024
MILLION = 1_000_000


def sample(written: int, disk_mib: float, memory_mib: float = 40.0, child_mib: float = 0) -> Sample:
    return Sample(
        at_s=written / 1000,
        written=written,
        disk_bytes={"acceptor-1": int(disk_mib * MIB), "learner-1": MIB},
        memory_bytes={"acceptor-1": 50 * MIB, "learner-1": int(memory_mib * MIB)},
        child_bytes={"learner-1": int(child_mib * MIB)} if child_mib else {},
        applied=written // 10,
        kept=written // 20,
    )


def writes(disks_mib: list[float], **others: float) -> Writes:
    """A run of 8 million writes that was looked at in equal steps."""
    step = 8 * MILLION // len(disks_mib)
    made = Writes(outstanding=256, connections=8, value_bytes=256, keys=10_000)
    made.samples = [sample(n * step, mib, **others) for n, mib in enumerate(disks_mib, 1)]
    made.written, made.seconds = 8 * MILLION, 80.0
    return made


def window(number: int, phase: str, p99_ms: float, outstanding: int = 64) -> Window:
    return Window(
        outstanding=outstanding,
        round=number,
        phase=phase,
        seconds=4.0,
        operations=4000,
        errors=0,
        rate=1000.0,
        p50_ms=1.0,
        p99_ms=p99_ms,
        p999_ms=p99_ms,
        max_ms=p99_ms,
        elsewhere=0.0,
        disk_bytes=600 * MIB,
    )


def paused(*windows: Window) -> Lifetime:
    run = lived()
    run.pause = Pause(MILLION, 256, 8, 300 * MIB, list(windows))
    return run


def lived(done: Writes | None = None) -> Lifetime:
    return Lifetime("2026-01-01T00:00:00+00:00", {"kernel": "6"}, "paxos 1", {}, done)


def told(run: Lifetime) -> dict[str, tuple[str, bool]]:
    return {one.what: (one.measured, one.is_met) for one in lifetime_figures.verdicts(run)}


def test_a_saw_is_flat_when_its_teeth_are_equally_high() -> None:
    grown = growth([(n, 50.0 + 10 * (n % 4)) for n in range(1, 81)], 80)
    assert grown is not None
    assert (grown.highest, grown.third_quarter, grown.last_quarter, grown.ratio) == (80, 80, 80, 1)


def test_what_was_high_at_first_alone_says_nothing_about_the_second_half() -> None:
    grown = growth([(10, 500.0), (50, 100.0), (60, 100.0), (80, 105.0), (100, 105.0)], 100)
    assert grown is not None
    assert grown.highest == 500
    assert grown.ratio == pytest.approx(1.05)


def test_a_step_is_no_growth_where_things_come_in_steps() -> None:
    grown = growth([(60, 80.0), (70, 80.0), (80, 96.0), (90, 80.0)], 100)
    assert grown is not None
    assert not grown.is_flat()
    assert grown.is_flat(16.0)
    assert not grown.is_flat(15.0)
    assert (grown.third_mean, grown.last_mean) == (80, 88)


def test_slope_is_told_per_million_writes_of_the_second_half() -> None:
    curve = [(0.0, 900.0), *((n * MILLION, 100.0 + 3 * n) for n in range(4, 9))]
    grown = growth(curve, 8 * MILLION)
    assert grown is not None
    assert grown.slope == pytest.approx(3.0)


def test_there_is_no_growth_without_a_look_in_both_last_quarters() -> None:
    assert growth([(10, 1.0), (60, 1.0)], 100) is None
    assert growth([(10, 1.0), (80, 1.0)], 100) is None
    assert growth([], 100) is None


def test_slope_is_0_where_there_is_no_line() -> None:
    assert slope([]) == 0
    assert slope([(1.0, 5.0), (1.0, 9.0)]) == 0
    assert slope([(0.0, 1.0), (2.0, 5.0)]) == pytest.approx(2.0)


def test_acknowledged_writes_are_counted_up_to_each_moment() -> None:
    timeline = [(0, 5), (10, 7), (20, 1)]
    assert lifetime_figures.counted(timeline, [0.0, 10.0, 15.0, 99.0]) == [0, 5, 12, 13]
    assert lifetime_figures.counted([], [5.0]) == [0]


def test_bounds_hold_while_everything_stays_low_and_flat() -> None:
    assert told(lived(writes([80.0] * 16))) == {
        "each acceptor's disk": ("80 MiB", True),
        "each acceptor's disk, last quarter to the third": ("1.00", True),
        "each learner's memory, with its child's": ("40 MiB", True),
        "each learner's memory, last quarter to the third": ("1.00", True),
    }


def test_bounds_are_missed_when_the_disk_grows_or_is_full() -> None:
    verdicts = told(lived(writes([float(n) for n in range(100, 900, 50)])))
    assert verdicts["each acceptor's disk"] == ("850 MiB", False)
    assert verdicts["each acceptor's disk, last quarter to the third"] == ("1.42", False)


def test_what_a_child_holds_alone_counts_as_its_learners_memory() -> None:
    verdicts = told(lived(writes([80.0] * 16, memory_mib=250.0, child_mib=60.0)))
    assert verdicts["each learner's memory, with its child's"] == ("310 MiB", False)


def test_a_child_that_one_look_finds_is_no_growth() -> None:
    run = writes([80.0] * 16)
    run.samples[-1] = sample(8 * MILLION, 80.0, child_mib=20.0)
    verdicts = told(lived(run))
    assert verdicts["each learner's memory, with its child's"] == ("60 MiB", True)
    assert verdicts["each learner's memory, last quarter to the third"] == ("1.00", True)


def test_a_run_that_was_interrupted_at_once_has_no_verdicts() -> None:
    assert told(lived()) == {}
    assert told(lived(Writes(256, 8, 256, 10_000))) == {}


def test_ratio_is_to_the_quiet_windows_on_both_sides() -> None:
    run = paused(
        window(1, QUIET, 1.0),
        window(1, TAKING, 3.0),
        window(1, PULLING, 2.0),
        window(2, QUIET, 3.0),
        window(2, TAKING, 8.0),
        window(3, QUIET, 1.0),
    )
    assert run.pause is not None
    assert lifetime_figures.ratios(run.pause, 64, TAKING) == [1.5, 4.0]
    assert told(run) == {
        "p99 of 64 writes outstanding, while a snapshot is taken": ("2.75", False),
        "p99 of 64 writes outstanding, while acceptors get it": ("1.00", True),
    }


def test_loads_are_not_mixed() -> None:
    run = paused(
        window(1, QUIET, 1.0),
        window(1, TAKING, 1.0),
        window(1, QUIET, 10.0, outstanding=256),
        window(1, TAKING, 20.0, outstanding=256),
    )
    assert run.pause is not None
    assert lifetime_figures.loads(run.pause) == [64, 256]
    assert lifetime_figures.ratios(run.pause, 64, TAKING) == [1.0]
    assert lifetime_figures.ratios(run.pause, 256, TAKING) == [2.0]


def test_a_cluster_is_quiet_when_every_acceptor_has_the_newest_snapshot() -> None:
    assert Snapshots(taking=False, taken=5, kept=5, coming=False).is_quiet
    assert Snapshots(taking=False, taken=0, kept=0, coming=False).is_quiet
    assert not Snapshots(taking=True, taken=5, kept=5, coming=False).is_quiet
    assert not Snapshots(taking=False, taken=5, kept=4, coming=False).is_quiet
    assert not Snapshots(taking=False, taken=5, kept=5, coming=True).is_quiet


def test_chart_shows_the_highest_of_each_column_from_0_up() -> None:
    curve = [(0.0, 2.0), (1.0, 9.0), (1.5, 1.0), (4.0, 5.0)]
    assert chart({"#": curve}, width=4, height=3, unit="MiB") == (
        "    MiB\n     10 | #\n        |   #\n        |#\n      0 +----\n        0  4\n"
    )


def test_chart_has_the_curve_that_is_named_first_on_top() -> None:
    both = chart({"a": [(1.0, 1.0)], "b": [(1.0, 1.0)]}, width=8)
    assert "a" in both
    assert "b" not in both


def test_chart_of_nothing_is_empty() -> None:
    assert chart({"#": []}) == ""


@pytest.mark.parametrize("top", [0.0, 0.3, 1.0, 7.0, 99.0, 512.0, 12_345.0])
def test_chart_has_room_for_its_highest_point(top: float) -> None:
    lines = chart({"#": [(0.0, top), (10.0, 0.0)]}).splitlines()
    assert sum("#" in line for line in lines) in (1, 2)
    assert math.isclose(len(lines), 14)


def test_report_tells_bounds_curves_and_phases() -> None:
    run = paused(window(1, QUIET, 1.0), window(1, TAKING, 3.0), window(2, QUIET, 1.0))
    run.writes = writes([80.0] * 16)
    text = lifetime_report.markdown(run)
    assert "| each acceptor's disk | under 512 MiB | 80 MiB | met |" in text
    assert "| acceptor-1, disk | 80.0 | 80.0 (80.0) | 80.0 (80.0) | 1.00 | +0.00 |" in text
    assert "8,000,000 acknowledged writes" in text
    assert (
        "| 64, taking | 1 | 4.0 | 1,000 | 1.00 | 3.00 | 3.00 | 3.0 | 0 | 600 | 3.00 | 3.00 |"
        in text
    )
    assert "at most 2 times | 3.00 | **missed** |" in text
    assert max(map(len, lifetime_report.drawn(run.writes).splitlines())) <= 80


def test_a_run_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    run = paused(window(1, QUIET, 1.0))
    run.writes = writes([80.0] * 4, child_mib=1.0)
    lifetime_records.save(run, tmp_path / "results.json")
    assert lifetime_records.load(tmp_path / "results.json") == run


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"cells": []}', encoding="utf-8")
    with pytest.raises(BenchmarkError, match="not what a run has written"):
        lifetime_records.load(tmp_path / "results.json")


def test_disk_is_counted_in_allocated_blocks(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "data").write_bytes(b"x" * 100_000)
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(64 * MIB)
    assert 100_000 <= folder_bytes(tmp_path) < MIB
    assert folder_bytes(tmp_path / "nowhere") == 0


def test_pages_that_a_process_shares_are_not_its_own() -> None:
    rollup = "Rss: 500 kB\nShared_Dirty: 400 kB\nPrivate_Clean: 60 kB\nPrivate_Dirty: 40 kB\n"
    assert own_bytes(rollup) == 100 * 1024


def test_options_have_what_was_asked_for_as_defaults() -> None:
    asked = lifetime.parse([])
    assert (asked.parts, asked.writes, asked.keys) == (["writes", "pause"], 5_000_000, 10_000)
    assert asked.pause_keys == MILLION


@pytest.mark.parametrize("words", [["reads"], ["--writes", "0"], ["--every", "0"]])
def test_wrong_options_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        lifetime.parse(words)
    assert refused.value.code == 2
