"""Real chaos on the real stack: containers killed, paused, cut off and disconnected for 30 s."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

# The stack of this module: `stack` deploys it and removes it with its data.
from tests.system.swarm.test_swarm import (
    PAGES,
    base_image,
    containers,
    is_ready,
    must,
    own_folder,
    run,
    stack,
    start,
    wait_until,
)

from paxos.sim import history, linearizability

__all__ = ["base_image", "own_folder", "stack", "start"]

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("swarm")]

IS_ROOT = os.geteuid() == 0
# Packet rules inside containers' networks need root; everything else an engine that answers.
KINDS = {"kill", "pause", "disconnect", "discovery"} | ({"partition"} if IS_ROOT else set())
READY_SECONDS_MAX = 120


def rules_left() -> list[str]:
    """What the run has left of its packet rules in the containers' networks."""
    found = []
    for service in PAGES if IS_ROOT else ():
        for container in containers(service):
            pid = must("docker", "inspect", "--format", "{{.State.Pid}}", container).strip()
            saved = must("nsenter", "--target", pid, "--net", "iptables-save")
            found += [f"{service}: {line}" for line in saved.splitlines() if "PAXOS-CHAOS" in line]
    return found


def test_clients_see_one_consistent_store_while_the_stack_breaks(tmp_path: Path) -> None:
    for service in PAGES:
        wait_until(lambda one=service: is_ready(one), f"{service} is ready", READY_SECONDS_MAX)
    report = tmp_path / "report.html"
    words = ("chaos", "--swarm", "--yes", "--seed", "1", "--seconds", "30", "--json")
    done = run(".venv/bin/paxos", *words, "--report", str(report), timeout=400)
    assert done.stdout, done.stderr
    record = json.loads(done.stdout)
    assert [check for check in record["checks"] if not check["passed"]] == [], done.stderr
    assert done.returncode == 0
    assert {fault["kind"] for fault in record["faults"] if not fault["trouble"]} == KINDS
    lines = report.with_suffix(".jsonl").read_text(encoding="utf-8")
    operations = history.operations(history.read_events(lines))
    assert linearizability.check(operations).linearizable
    assert len(operations) > 100
    assert "Swarm stack" in report.read_text(encoding="utf-8")


def test_nothing_stays_broken_when_the_chaos_is_over() -> None:
    for service in PAGES:
        wait_until(lambda one=service: is_ready(one), f"{service} is ready", READY_SECONDS_MAX)
        assert len(containers(service, "status=running")) == 1
    assert must("docker", "ps", "--quiet", "--filter", "status=paused").split() == []
    assert rules_left() == []
    keys = must("./client/client_cli.py", "localhost", "6001", "keys", "chaos:*", "--json")
    assert "chaos:" not in keys
