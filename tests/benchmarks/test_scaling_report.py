"""The figures' file and the tables made from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import scaling_figures, scaling_report
from benchmarks.errors import BenchmarkError
from benchmarks.scaling_cluster import Measured
from benchmarks.scaling_costs import Prices, Sync
from benchmarks.scaling_figures import Check, Figures, Point
from benchmarks.scaling_layout import ROLES

SHARES = {"gateway": 0.9, "leader": 0.2, "acceptor": 0.3, "learner": 0.5}


def point(outstanding: int, connections: int, rate: float, disk: float = 0.1) -> Point:
    """Return a simulated run."""
    return Point(
        layout="3x2x2",
        op="write",
        outstanding=outstanding,
        connections=connections,
        rate=rate,
        p50_ms=1.0,
        p99_ms=2.0,
        busy=dict(SHARES),
        disk=disk,
        cpu_us=dict.fromkeys(ROLES, 1.0),
    )


def figures() -> Figures:
    """Return a little of everything."""
    did = {
        "cpu_us": 250_000.0,
        "sleeps": 1000.0,
        "reads": 2000.0,
        "writes": 6000.0,
        "bytes_in": 30e6,
        "bytes_out": 140e6,
    }
    load = Measured(
        layout="3x2x2",
        load="write 256 on 8",
        op="write",
        outstanding=256,
        connections=8,
        value_bytes=256,
        rate=100_000.0,
        p50_ms=1.0,
        p99_ms=2.0,
        errors=0,
        slots=1000.0,
        elsewhere=0.0,
        generator_us=2.0,
        roles={role: dict(did) for role in ROLES},
    )
    return Figures(
        commit="1",
        cores=2,
        prices=Prices({role: {"wakes": 5.0} for role in ROLES}, Sync(90.0, 1.0, 0.0, 60.0, 0.0)),
        calibration=[load],
        checks=[Check(load.load, 100_000.0, 110_000.0, dict.fromkeys(ROLES, 2.5), {**SHARES})],
        measured=[load],
        simulated=[point(64, 8, 90_000.0), point(256, 8, 250_000.0), point(64, 64, 60_000.0)],
    )


def test_figures_come_back_when_they_were_saved(tmp_path: Path) -> None:
    scaling_figures.save(figures(), tmp_path / "figures.json")
    assert scaling_figures.load(tmp_path / "figures.json") == figures()
    assert scaling_figures.load(tmp_path / "none.json") == Figures()


def test_figures_are_refused_when_the_file_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "figures.json").write_text('{"commit": 1}')
    with pytest.raises(BenchmarkError, match="is not what"):
        scaling_figures.load(tmp_path / "figures.json")


def test_an_acceptor_is_first_when_it_waits_for_its_disk_most_of_the_time() -> None:
    assert point(64, 8, 1.0).first == "gateway"
    assert point(64, 8, 1.0, disk=0.7).first == "acceptor"


def test_the_best_run_of_a_kind_is_found_when_there_are_several() -> None:
    found = scaling_report.best(figures(), "3x2x2", "write", few=True)
    assert found is not None
    assert found.outstanding == 256
    assert scaling_report.best(figures(), "3x2x2", "read", few=True) is None


def test_tables_name_the_busiest_role_and_what_fills_the_network() -> None:
    text = scaling_report.tables(figures())
    assert "| 3x2x2 | 250 k | gateway 90% | 60 k | gateway 90% |  |  |  |  |" in text
    # The leader sends 1,400 bytes for each write.
    assert "| write | 300 in, 1,400 out |" in text
    assert "| 84 k/s |" in text
    assert "| write 256 on 8 | 100 k | 110 k | 1.10 |" in text


def test_tables_are_refused_when_nothing_was_measured() -> None:
    with pytest.raises(BenchmarkError, match="no prices"):
        scaling_report.tables(Figures())


def test_only_what_stands_between_the_marks_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "scaling.md"
    monkeypatch.setattr(scaling_report, "PAGE", page)
    page.write_text(f"before\n{scaling_report.BEGIN}\nold\n{scaling_report.END}\nafter\n")
    scaling_report.write(figures())
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    page.write_text("no marks")
    with pytest.raises(BenchmarkError, match="no place for tables"):
        scaling_report.write(figures())
