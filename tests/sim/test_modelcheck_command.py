"""`paxos modelcheck`: what it prints, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from paxos.apps.cli import main
from paxos.core.acceptor import Acceptor
from paxos.core.gathering import Gathering
from paxos.core.proposer import Proposer
from paxos.sim.modelcheck import WORLDS

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]


def told(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_world_without_a_violation_ends_with_0(capsys: Capture) -> None:
    assert main(["modelcheck", "one-slot"]) == 0
    text = capsys.readouterr().out
    assert "one-slot: complete, no violation" in text
    assert "distinct states" in text
    assert "a second leader proposes a chosen value again" in text


def test_several_worlds_end_with_a_total(capsys: Capture) -> None:
    assert main(["modelcheck", "one-slot", "one-leader", "one-slot"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("2 worlds, ")
    assert last.endswith("all complete, no violation")


def test_json_is_one_value_with_every_figure(capsys: Capture) -> None:
    assert main(["modelcheck", "one-slot", "--json"]) == 0
    (world,) = told(capsys)["worlds"]
    assert world["world"] == "one-slot"
    assert world["complete"] is True
    assert world["violation"] is None
    assert world["states"] > 1000
    assert {"depth", "moves", "seconds", "states_per_second", "role_runs"} <= world.keys()
    assert all(count > 0 for count in world["feats"].values())


def test_a_violation_ends_with_1_and_a_story(monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr(Gathering, "values", property(lambda self: {}))
    assert main(["modelcheck", "one-slot"]) == 1
    text = capsys.readouterr().out
    assert "one-slot: VIOLATION" in text
    assert "is chosen at ballot" in text
    assert "  1  proposer-1  stands for election" in text
    assert "proposer-1  proposer-2  acceptor-1" in text or "acceptor-1  acceptor-2" in text


def test_a_violation_is_in_json_with_its_steps(monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr(Gathering, "values", property(lambda self: {}))
    assert main(["modelcheck", "one-slot", "--json"]) == 1
    violation = told(capsys)["worlds"][0]["violation"]
    assert violation["confirmed"] is True
    assert violation["length"] > 5
    assert violation["steps"]
    assert violation["ladder"]


def test_a_world_in_which_nothing_is_chosen_ends_with_1(
    monkeypatch: Patch, capsys: Capture
) -> None:
    """It would pass every check, and prove nothing."""
    monkeypatch.setattr(Proposer, "_on_submit", lambda self, sender, message: [])
    assert main(["modelcheck", "one-leader"]) == 1
    assert "one-leader: IDLE" in capsys.readouterr().out
    assert main(["modelcheck", "one-leader", "--json"]) == 1
    assert told(capsys)["worlds"][0]["idle"] is True


def test_a_bound_ends_with_3(capsys: Capture) -> None:
    assert main(["modelcheck", "one-slot", "--states", "50"]) == 3
    assert "stopped at the bound" in capsys.readouterr().out


def test_a_violation_outweighs_a_bound(monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr(Acceptor, "voting", property(lambda self: True))
    assert main(["modelcheck", "one-slot", "--states", "500"]) == 3
    assert main(["modelcheck", "lost-volume", "--states", "500"]) == 1
    assert main(["modelcheck", "lost-volume", "one-slot", "--states", "500"]) == 1
    assert "rules broken in lost-volume" in capsys.readouterr().out.splitlines()[-1]


def test_the_list_names_every_world(capsys: Capture) -> None:
    assert main(["modelcheck", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [bounds.name for bounds in WORLDS]
    assert main(["modelcheck", "--list", "--quick", "--json"]) == 0
    rows = told(capsys)
    assert [row["world"] for row in rows] == [b.name for b in WORLDS if b.quick]


def test_an_unknown_world_is_wrong_usage(capsys: Capture) -> None:
    assert main(["modelcheck", "one-slat"]) == 2
    assert 'world "one-slat": must be one of' in capsys.readouterr().err


def test_the_module_is_the_command_when_it_is_run_from_another_tree() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "paxos", "modelcheck", "one-leader", "--json"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["worlds"][0]["complete"] is True
