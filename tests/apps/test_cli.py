"""The command line: exit statuses, JSON, and what is told to whom."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.apps.conftest import Standin

from paxos import __version__
from paxos.apps import cli, config, local
from paxos.apps.config_keys import example
from paxos.core.errors import ConfigurationError, DefiniteError, IndefiniteError, StorageError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def run_standins(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make `paxos up` start stand-in nodes; return the options that select them."""
    up = local.up

    def up_standin(
        configuration: config.Configuration, report: local.Report, timeout_s: float
    ) -> local.Readiness:
        return up(configuration, report, timeout_s, standin.launch)

    monkeypatch.setattr(local, "up", up_standin)
    return ["--config", str(standin.file)]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DefiniteError("x"), 1),
        (StorageError("x"), 1),
        (ConfigurationError("x"), 2),
        (IndefiniteError("x"), 3),
    ],
)
def test_exit_status_says_what_is_known(error: Exception, status: int) -> None:
    assert isinstance(error, DefiniteError | StorageError | ConfigurationError | IndefiniteError)
    assert cli.told_error(error, as_json=False) == status
    assert cli.told_error(error, as_json=True) == status


@pytest.mark.parametrize(
    ("role", "number", "node"),
    [
        ("acceptor", 2, "acceptor-2"),
        ("acceptor-2", None, "acceptor-2"),
        ("learner", 1, "learner-1"),
        ("discovery", None, "discovery"),
    ],
)
def test_node_is_named_by_role_and_number(role: str, number: int | None, node: str) -> None:
    assert cli.named_node(role, number) == node


@pytest.mark.parametrize("words", [["stop", "acceptor"], ["health", "learner"], ["node", "client"]])
def test_a_node_is_never_guessed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    assert "which one? Add its number" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["up", "--nonsense", "--json"], ["--json", "nonsense"], ["start", "--json"],
     ["health", "--json"], ["stop", "acceptor", "--json"]],
)  # fmt: skip
def test_wrong_usage_is_json_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["exit"] == 2
    assert told["error"]


def test_json_may_stand_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--json", "config"]) == 0
    assert "cluster" in json.loads(capsys.readouterr().out)


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"paxos {__version__}\n"


def test_a_spoilt_configuration_does_not_keep_a_cluster_from_being_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PAXOS_CLUSTER_ACCEPTORS", "x")
    assert cli.main(["stop"]) == 0
    assert cli.main(["mode"]) == 0
    assert capsys.readouterr().out == "nothing was running\nnone\n"
    assert cli.main(["mode", "--check"]) == 2
    (tmp_path / "paxos.toml").write_text("[data\n")
    assert cli.main(["stop"]) == 2, "which folder is meant cannot be known"
    monkeypatch.setenv("PAXOS_DATA", str(tmp_path))
    assert cli.main(["stop"]) == 0


def test_status_has_one_line_per_node_on_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert cli.main(["status"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 11 + 1
    assert max(map(len, lines)) <= 80


def test_unknown_role_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["node", "actor"]) == 2
    assert 'role "actor": must be one of discovery, proposer, acceptor' in capsys.readouterr().err


def test_node_that_the_cluster_lacks_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["node", "acceptor", "7"]) == 2
    assert "this cluster has no acceptor-7" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["nonsense"], ["up", "--nonsense"], ["start"]])
def test_wrong_usage_is_2(words: list[str]) -> None:
    assert cli.main(words) == 2


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    commands = ("up", "stop", "start", "reset", "status", "config", "node", "health", "wait",
                "monitor", "scenario")  # fmt: skip
    for command in commands:
        assert f" {command} " in text


def test_config_prints_what_is_in_force(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAXOS_CLUSTER_ACCEPTORS", "5")
    assert cli.main(["config"]) == 0
    assert "acceptors = 5\n" in capsys.readouterr().out
    assert cli.main(["config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cluster"]["acceptors"] == 5
    assert cli.main(["config", "--example"]) == 0
    assert capsys.readouterr().out == example()


def test_config_tells_every_mistake_on_a_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "paxos.toml").write_text("[cluster]\nacceptors = 0\nlearners = 0\n")
    assert cli.main(["config"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" = ")[0] for line in lines] == [
        "paxos: cluster.acceptors",
        "paxos: cluster.learners",
    ]
    assert cli.main(["config", "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["error"]) == 2


def test_up_status_stop_reset_with_json(
    standin: Standin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = run_standins(standin, monkeypatch)
    assert cli.main(["up", *options, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ready"] is True
    assert told["doors"] == [standin.configuration.door_port(node) for node in ("client-1",
                             "client-2")]  # fmt: skip
    assert cli.main(["status", *options, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["mode"], told["ready"], len(told["nodes"])) == ("local", True, 6)
    assert cli.main(["wait", *options]) == 0
    assert "client_cli.py localhost" in capsys.readouterr().out
    assert cli.main(["health", "acceptor", "1", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["healthy"] is True
    assert cli.main(["stop", "acceptor", "1", *options, "--json"]) == 0
    assert cli.main(["health", "acceptor-1", *options]) == 1
    assert "Connection refused" in capsys.readouterr().out
    assert cli.main(["status", *options]) == 1
    assert "held" in capsys.readouterr().out
    assert cli.main(["start", "acceptor", "1", *options]) == 0
    assert "acceptor-1 is ready" in capsys.readouterr().out
    assert cli.main(["stop", *options]) == 0
    assert "stopped; the data stays" in capsys.readouterr().out
    assert cli.main(["stop", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"stopped": False}
    assert cli.main(["reset", *options, "--yes", "--json"]) == 0
    assert str(standin.data / "logs") in json.loads(capsys.readouterr().out)["deleted"]


def test_up_that_does_not_become_ready_fails_and_says_why(
    standin: Standin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = run_standins(standin, monkeypatch)
    standin.data.mkdir()
    (standin.data / "client-1.refuses").touch()
    assert cli.main(["up", *options, "--timeout", "0.5"]) == 1
    told = capsys.readouterr().err
    assert "paxos: client-1 is not ready: does not answer" in told
    assert "paxos: the cluster is not ready: client-1 is not ready" in told


def test_reset_asks_and_no_is_no(
    standin: Standin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    standin.data.mkdir()
    (standin.data / "acceptor-1").mkdir()
    monkeypatch.setattr("typer.confirm", lambda *_arguments, **_options: False)
    assert cli.main(["reset", "--config", str(standin.file)]) == 1
    assert "nothing was deleted" in capsys.readouterr().err
    assert (standin.data / "acceptor-1").exists()


def test_mode_is_remembered_for_run_sh(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for words in ([], ["--set-stopped"], ["--set-swarm"], [], ["--set-stopped"], []):
        assert cli.main(["mode", *words]) == 0
        told.append(capsys.readouterr().out.strip())
    assert told == ["none", "none", "swarm", "swarm", "swarm-stopped", "swarm-stopped"]


def test_stop_leaves_a_swarm_to_run_sh(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["mode", "--set-swarm"])
    assert cli.main(["stop"]) == 1
    assert "./run.sh stop stops it" in capsys.readouterr().err


def test_node_and_health_import_nothing_that_only_people_need() -> None:
    """Eleven processes start at once; typer and rich would be a second of them."""
    program = (
        "import sys; from paxos.apps import cli; cli.main(['health', 'acceptor']);"
        "print(sorted({'typer', 'rich', 'prompt_toolkit'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
