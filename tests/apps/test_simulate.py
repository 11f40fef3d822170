"""`paxos simulate` as a user runs it: good runs, wrong usage, a failure from seed to ladder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.mutants.mutant import Mutant, change
from tests.mutants.planting import plant

LOWEST_BALLOT = Mutant(
    name="lowest-ballot",
    rule="4",
    fault="A new leader proposes again the lowest-ballot value of the promises.",
    changes=(
        change(
            "core/gathering.py", "accepted.ballot > best.ballot", "accepted.ballot < best.ballot"
        ),
    ),
    killers=(),
)


def simulate(*words: str, cwd: Path, tree: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if tree is not None:
        environment["PYTHONPATH"] = str(tree)
    return subprocess.run(
        [sys.executable, "-m", "paxos.apps.cli", "simulate", *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_summary_says_how_much_happened_when_all_is_well(tmp_path: Path) -> None:
    done = simulate("--seed", "1", "--seeds", "4", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["seeds"] == 4
    assert told["failed"] == []
    assert told["steps"] > 4000
    assert told["slots_chosen"] > 100
    assert told["leaders_elected"] >= 4
    assert sum(told["faults"].values()) > 10
    assert "seeds from 1; commit " in done.stderr


def test_summary_is_the_same_when_more_processes_share_the_seeds(tmp_path: Path) -> None:
    one, two = (
        json.loads(
            simulate("--seed", "5", "--seeds", "9", "--jobs", jobs, "--json", cwd=tmp_path).stdout
        )
        for jobs in ("1", "2")
    )
    for changing in ("seconds", "steps_per_second"):
        del one[changing], two[changing]
    assert one == two


def test_first_seed_is_drawn_and_printed_when_none_is_given(tmp_path: Path) -> None:
    firsts = {
        json.loads(simulate("--seeds", "1", "--json", cwd=tmp_path).stdout)["first"]
        for _ in range(2)
    }
    assert len(firsts) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--faults", "meteor"), '--faults "meteor": must be of crashes, disks'),
        (("--seed", "-1"), '--seed "-1": must be in 0..'),
        (("--replay", "nowhere.json"), '--replay "nowhere.json": No such file'),
    ],
)
def test_wrong_usage_is_told_when_an_option_means_nothing(
    words: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    done = simulate(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr


def test_kinds_of_faults_are_listed_when_asked(tmp_path: Path) -> None:
    groups = json.loads(simulate("--faults", "list", "--json", cwd=tmp_path).stdout)
    assert {"crash", "one-way", "bit-flip", "clock-jump"} <= set(groups["kinds"])
    assert set(groups["groups"]["all"]) == set(groups["kinds"])


def test_history_is_judged_the_same_when_written_and_checked(tmp_path: Path) -> None:
    done = simulate("--seed", "3", "--history", "h.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    judged = subprocess.run(
        [sys.executable, "-m", "paxos.apps.cli", "check-history", "h.jsonl"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "linearizable" in judged.stdout


@pytest.mark.slow
def test_failure_is_told_from_seed_to_ladder_when_a_rule_breaks(tmp_path: Path) -> None:
    """A seed that fails: its number, the commit, the command, a shrunk plan, a ladder, a file."""
    tree = plant(LOWEST_BALLOT, tmp_path / "tree")
    options = ("--faults", "split,constrained", "--time", "2")
    words = (*options, "--seed", "1", "--seeds", "200", "--jobs", "1")
    done = simulate(*words, cwd=tmp_path, tree=tree)
    assert done.returncode == 1, done.stdout + done.stderr
    seed = done.stdout.partition("\nseed ")[2].partition(" ")[0]
    again = f"repeat it: paxos simulate --seed {seed} --seeds 1 --time 2 --faults split,constrained"
    assert again in done.stdout
    assert "commit" in done.stdout
    assert "VIOLATION: " in done.stdout
    assert "Accept(ballot " in done.stdout
    replayed = simulate("--replay", f"simulate-{seed}.json", "--json", cwd=tmp_path, tree=tree)
    assert replayed.returncode == 1
    told = json.loads(replayed.stdout)
    assert told["kind"] == "safety"
    # Right code lives through the same faults.
    mended = simulate("--replay", f"simulate-{seed}.json", cwd=tmp_path)
    assert mended.returncode == 0, mended.stdout
    assert "no violation" in mended.stdout
