"""Every script in scripts/ says what it said when it was recorded. See runner.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.scenarios.runner import SCRIPTS, Player, ScriptError, play, sections

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.name for path in SCRIPTS.glob("*.txt"))


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_says_what_was_recorded_when_played(
    name: str, request: pytest.FixtureRequest
) -> None:
    """DESIGN "Rules that are never broken" and "Election", as readable scripts."""
    script = SCRIPTS / name
    recorded = script.read_text(encoding="utf-8")
    played = play(recorded)
    if request.config.getoption("rewrite", False):
        script.write_text(played, encoding="utf-8")
    else:
        assert played == recorded


@pytest.mark.parametrize("seed", ["1", "4242"])
def test_a_scenario_says_the_same_when_strings_hash_otherwise(seed: str) -> None:
    """STYLE 23: tests are deterministic; no order may come from a set of strings."""
    names = ["failover.txt", "half-accepted-write.txt", "lost-volume.txt"]
    played = subprocess.run(
        [sys.executable, "-m", "tests.scenarios.runner", *names],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "src"},
        check=True,
        capture_output=True,
        text=True,
    )
    recorded = "".join((SCRIPTS / name).read_text(encoding="utf-8") for name in names)
    assert played.stdout == recorded


def test_all_scenarios_are_there_when_listed() -> None:
    """An empty folder would pass as well."""
    assert len(NAMES) >= 15


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("start all", "no line of dashes"),
        ("dance\n----", "unknown command"),
        ("start acceptor-9\n----", "names no node"),
        ("cut acceptor-1\n----", "two sides"),
        ("run-until bedtime\n----", "run-until bedtime"),
        ("world moons=2\n----", "unknown: moons"),
        ("damage client-1 x\n----", "no volume"),
        ("start all\npipeline client-1 sing\n----", "no step"),
    ],
)
def test_a_script_is_refused_when_it_cannot_be_played(script: str, complaint: str) -> None:
    """A slip in a script must not pass for a scenario."""
    with pytest.raises(ScriptError, match=complaint):
        play(script)


def test_comments_and_commands_are_kept_when_a_script_is_recorded_anew() -> None:
    """--rewrite changes what was said and nothing else."""
    text = "# Why.\n\n# And here.\nstart acceptor-1\nstatus acceptor-1 acceptor-2\n----\nold\n"
    [comment, section] = sections(text)
    assert comment.commands == []
    assert section.expected == ["old"]
    played = play(text)
    assert played.startswith("# Why.\n\n# And here.\nstart acceptor-1\nstatus acceptor-1")
    assert played.endswith("acceptor-2: down\n")
    assert play(played) == played


def test_a_world_that_says_nothing_is_well_when_nothing_runs() -> None:
    """The runner's own check of agreement has nothing to compare."""
    player = Player()
    player.check_agreement()
    assert player.run("status all")[0] == "discovery: down"
