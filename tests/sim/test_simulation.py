"""Whole simulated lives: the same seed is the same run, everywhere, and idle runs do not pass."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from tests.sim.trace_hashes import SHORT, hashes

from paxos.sim import faults
from paxos.sim.simulation import ELECTION_TIMEOUTS_MAX, Options, Run, run
from paxos.sim.world import membership_of

HASHES = Path(__file__).with_name("trace_hashes.txt")
"""Trace hashes that were recorded once, and hold on every Python: `--rewrite` records them anew."""

SEEDS = Path(__file__).parents[1] / "seeds.txt"
"""Every seed that ever failed."""

ROOT = Path(__file__).parents[2]
FRESH_SEEDS = 300
SEEDS_PER_TEST = 10


@pytest.mark.parametrize("first", range(0, FRESH_SEEDS, SEEDS_PER_TEST))
def test_no_rule_breaks_when_everything_fails(first: int) -> None:
    """DESIGN rules 1 to 12 under every kind of fault; then progress, then agreement."""
    outcomes = [run(seed) for seed in range(first, first + SEEDS_PER_TEST)]
    assert [(one.seed, one.violation) for one in outcomes if one.violation] == []
    # An idle run proves nothing.
    operations = sum((Counter(one.operations) for one in outcomes), Counter[str]())
    assert operations["ok"] > 100 * SEEDS_PER_TEST
    assert sum(one.chosen for one in outcomes) > 50 * SEEDS_PER_TEST
    assert sum(one.leaders for one in outcomes) >= SEEDS_PER_TEST
    assert sum(sum(one.faults.values()) for one in outcomes) > 5 * SEEDS_PER_TEST
    assert sum(one.cuts for one in outcomes) > 10 * SEEDS_PER_TEST
    assert sum(one.adoptions for one in outcomes) > 0


def test_every_kind_of_fault_happens_when_many_seeds_run() -> None:
    """The plans of the seeds above use every kind."""
    options = faults.Options(kinds=tuple(faults.KINDS), time_ms=5000.0, gap_ms=250.0)
    planned = Counter(
        fault.kind
        for seed in range(FRESH_SEEDS)
        for fault in faults.make_plan(seed, membership_of(), options)
    )
    assert min(planned[kind] for kind in faults.KINDS) > FRESH_SEEDS / 10


@pytest.mark.parametrize("line", SEEDS.read_text().splitlines())
def test_a_seed_passes_when_it_failed_once(line: str) -> None:
    """tests/seeds.txt: what failed once is tried for ever."""
    words = line.partition("#")[0].split()
    for seed in map(int, words):
        assert run(seed).violation == ""


def test_trace_hash_is_the_recorded_one_when_run_on_this_python(
    request: pytest.FixtureRequest,
) -> None:
    """One file for every version: recorded on one, checked on whichever runs the tests."""
    if request.config.getoption("--rewrite"):
        HASHES.write_text(hashes())
    assert hashes() == HASHES.read_text()


def test_trace_hash_is_the_same_when_hashes_of_strings_differ() -> None:
    """No set or dict of strings may decide an order."""
    for hash_seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "tests/sim/trace_hashes.py"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT}/src"},
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        assert told.stdout == HASHES.read_text()


def test_trace_hash_differs_when_the_seed_does() -> None:
    """The hash says something."""
    assert len({run(seed, SHORT).trace_hash for seed in range(5)}) == 5


def test_a_plan_is_the_same_when_made_again() -> None:
    """Plain data, and a pure function of the seed."""
    options = faults.Options(kinds=tuple(faults.KINDS), time_ms=5000.0, gap_ms=250.0)
    once = faults.make_plan(4, membership_of(), options)
    assert once == faults.make_plan(4, membership_of(), options)
    assert msgspec.json.decode(msgspec.json.encode(once), type=list[faults.Fault]) == once


def test_no_more_than_f_acceptors_lose_their_volume_when_a_plan_is_made() -> None:
    """With more gone for good there would be nothing left to test."""
    options = faults.Options(kinds=("wipe", "bit-flip"), time_ms=60_000.0, gap_ms=100.0)
    for seed in range(50):
        membership = membership_of(acceptors=3 if seed % 2 else 5)
        victims = {
            name
            for fault in faults.make_plan(seed, membership, options)
            for name in fault.nodes
            if name in membership.acceptors
        }
        assert len(victims) <= membership.failures_tolerated


@pytest.mark.parametrize("kind", faults.KINDS)
def test_a_fault_ends_when_its_time_is_over(kind: str) -> None:
    """Each kind alone, again and again: the cluster lives through it and recovers."""
    outcomes = [run(seed, Options(kinds=(kind,), time_ms=3000.0)) for seed in range(3)]
    assert [one.violation for one in outcomes] == ["", "", ""]
    assert sum(one.faults.get(kind, 0) for one in outcomes) > 0


def test_liveness_fails_when_no_core_can_work() -> None:
    """The second phase is a check that can fail: here no message ever arrives."""
    life = Run(1, SHORT)
    life.world.calm.loss = 1.0
    outcome = life.go()
    assert outcome.kind == "liveness"
    assert str(ELECTION_TIMEOUTS_MAX) in outcome.violation


def test_a_healed_core_is_bounded_when_there_are_no_faults() -> None:
    """Without faults nothing needs to recover, and every kind of operation is answered."""
    outcome = run(3, Options(kinds=()))
    assert outcome.violation == ""
    assert outcome.faults == {}
    assert set(outcome.operations) <= {"ok", "fail"}
