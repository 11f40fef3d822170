from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from paxos.apps import config, processes, run_file, scenario, scenario_cluster
from paxos.apps.scenario import Scenario, run_scenario
from paxos.apps.scenario_cluster import Cluster, ProcessKiller
from paxos.core.errors import DefiniteError, IndefiniteError


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> config.Configuration:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return config.load(None, {"PAXOS_NETWORK_PORT_OFFSET": "31000"})


def test_a_system_that_does_not_run_is_said_at_once(configuration):
    with pytest.raises(DefiniteError, match=r"not running; start it with \./run\.sh"):
        run_scenario(configuration)
    with pytest.raises(DefiniteError, match=r"no node answers.*\./run\.sh"):
        run_scenario(configuration, mode="local")


def test_an_unknown_mode_is_refused(configuration):
    with pytest.raises(DefiniteError, match="mode 'cloud' is not local or swarm"):
        run_scenario(configuration, mode="cloud")


def test_only_the_process_that_was_started_for_a_node_is_killed(configuration):
    """A pid may by now be somebody else's: here, this test's own."""
    me = processes.process(os.getpid())
    stranger = run_file.NodeRun(pid=me.pid, started=me.started - 1, page_port=1, peer_port=2)
    run_file.write(
        configuration.data_folder, run_file.Run(mode="local", nodes={"acceptor-1": stranger})
    )
    killer = ProcessKiller(configuration)

    with pytest.raises(DefiniteError, match="no living process of acceptor-1"):
        killer.kill("acceptor-1")
    with pytest.raises(DefiniteError, match="no living process of acceptor-2"):
        killer.kill("acceptor-2")


class FakeCluster(Cluster):
    """A cluster in memory. A killed node is back at once; `flaws` make it misbehave."""

    def __init__(self, configuration: config.Configuration, *flaws: str) -> None:
        super().__init__(configuration, self)  # type: ignore[arg-type]
        self.flaws = flaws
        self.log: list[str] = []
        self.ballot = 101
        self.killed: list[str] = []

    def kill(self, node: str) -> None:
        self.killed.append(node)
        if node.startswith("proposer") and "no election" not in self.flaws:
            self.ballot += 101

    def state(self, node: str) -> dict[str, Any]:
        slot = len(self.log)
        status: dict[str, Any] = {"highest_slot": slot, "applied": slot, "accepts": slot}
        leader = f"proposer-{self.ballot % 100}"
        if node == leader:
            status |= {"phase": "leading", "ballot": self.ballot}
        if "barred" in self.flaws and node == "acceptor-2":
            reason = "the volume was lost"
            return {"ready": False, "reason": reason, "status": {"phase": "barred"}}
        status["nodes"] = [{"node": one} for one in self.nodes]
        return {"ready": True, "uptime_s": -1.0, "status": status}

    def connection(self, port: int) -> Any:
        return self

    def call(self, command: list[bytes], timeout_s: float) -> Any:
        if command[0] == b"WRITE":
            if "errors" in self.flaws and self.killed:
                raise IndefiniteError("UNKNOWN no quorum")
            self.log.append(command[1].decode())
            if "doubled" in self.flaws and command[1].endswith(b"/slots/2"):
                self.log.append(command[1].decode())
            return len(self.log)
        first = int(command[2])
        values = list(enumerate(self.log, 1))[first - 1 :]
        if "lost" in self.flaws and self.killed:
            values = [one for one in values if not one[1].endswith("/slots/2")]
        return [[slot, value.encode()] for slot, value in values]

    def close(self) -> None:
        return


def outcome(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Run the demonstration; return its status and the checks that failed."""
    status = Scenario(cluster, quiet=True).run()
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] == (status == 0)
    return status, [check["text"] for check in report["checks"] if not check["passed"]]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing long, and load lightly."""
    monkeypatch.setattr(scenario, "LOAD_STEPS", 2)
    monkeypatch.setattr(scenario_cluster, "POLL_S", 0.001)
    for name in ("READY", "ELECTION", "PROGRESS", "RETURN"):
        monkeypatch.setattr(scenario, f"{name}_TIMEOUT_S", 0.3)


@pytest.mark.usefixtures("hasty")
def test_a_cluster_that_keeps_its_promises_passes(configuration, capsys):
    cluster = FakeCluster(configuration)

    assert outcome(cluster, capsys) == (0, [])
    assert [node.partition("-")[0] for node in cluster.killed] == [
        "proposer",
        "acceptor",
        "learner",
        "discovery",
    ]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("flaw", "complaint"),
    [
        ("no election", "a leader with a higher ballot stands"),
        ("errors", "no client saw an error"),
        ("lost", "client-1 reads every acknowledged value exactly once"),
        ("doubled", "client-2 reads every acknowledged value exactly once"),
    ],
)
def test_a_broken_promise_is_found(configuration, capsys, flaw, complaint):
    status, failed = outcome(FakeCluster(configuration, flaw), capsys)

    assert status == 1
    assert complaint in failed


def test_nothing_is_broken_while_an_acceptor_is_barred(configuration, capsys):
    cluster = FakeCluster(configuration, "barred")
    assert Scenario(cluster).run() == 1

    assert cluster.killed == []
    assert "acceptor-2 (the volume was lost)" in capsys.readouterr().out


@pytest.mark.usefixtures("hasty")
def test_for_people_every_check_has_a_mark_and_the_end_a_verdict(configuration, capsys):
    assert Scenario(FakeCluster(configuration, "lost")).run() == 1
    text = capsys.readouterr().out

    assert "✓ one proposer leads" in text
    assert "✗ client-1 reads every acknowledged value exactly once" in text
    assert "of 36 checks failed" in text
