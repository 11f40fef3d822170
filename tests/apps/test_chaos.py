"""`paxos chaos` before anything is broken: what it refuses, and what it says that it would do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from paxos.apps import chaos
from paxos.apps.chaos_local import is_complaint
from paxos.apps.cli import main


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of anybody's, a data folder of its own."""
    for name in list(os.environ):
        if name.startswith("PAXOS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PAXOS_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["chaos", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--faults", "kill,rain"), 'faults "rain": must be some of kill, pause'),
        (("--faults", "disconnect"), '"disconnect" cannot be done to a cluster of its own'),
        (("--faults", ","), "proves nothing"),
        (("--attach", "--faults", "partition"), '"partition" cannot be done to the running'),
        (("--attach", "--swarm"), "contradict one another"),
        (("--seconds", "1"), "must be from 5 to 3600"),
    ],
)
def test_wrong_usage_is_refused_with_a_reason(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], reason: str
) -> None:
    status, _, error = told(capsys, *words)
    assert status == 2
    assert reason in error


def test_a_cluster_that_does_not_run_cannot_be_broken(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, _ = told(capsys, "--attach", "--yes", "--json", "--seconds", "5")
    assert status == 1
    assert "no cluster of local processes runs" in json.loads(out)["error"][0]
    assert not (tmp_path / "data" / "run.json").exists()


def test_nothing_is_broken_when_the_question_is_not_answered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    status, _, error = told(capsys, "--attach")
    assert status == 1
    assert "Programs that use it will see errors" in error
    assert "nothing was broken" in error


def test_the_plan_is_shown_and_nothing_started(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, _ = told(capsys, "--plan", "--seed", "7", "--faults", "pause,kill")
    assert status == 0
    kinds = {line.split()[4] for line in out.splitlines()[1:]}
    assert kinds == {"kill:", "pause:"}
    assert not (tmp_path / "data").exists()


def test_the_command_to_repeat_names_everything_that_matters() -> None:
    words = chaos._command(9.5, 3, 4, 50.0, "kill", attach=True, swarm=False)
    assert " ".join(words) == (
        "paxos chaos --seed 3 --seconds 9.5 --clients 4 --rate 50 --faults kill --attach"
    )


@pytest.mark.parametrize(
    ("line", "complains"),
    [
        ("! fatal: stopping at once: StorageError: ... : No space left on device", False),
        ("! fatal: stopping at once: StorageError: ... : File too large", False),
        ("! fatal: stopping at once: InvariantViolation: a promise fell", True),
        ("! fatal: stopping at once: KeyError: 'x'", True),
        ("acceptor-1 cannot run: the volume x is damaged: ...", True),
        ("the volume is damaged: segment-1 at offset 7", True),
        ("= leading: leading with ballot 101", False),
    ],
)
def test_a_log_complains_when_no_fault_explains_the_line(line: str, complains: bool) -> None:
    assert is_complaint(line) is complains
