"""Clusters of stand-in nodes on ports of their own, whose processes end with the test."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paxos.apps import config, local, processes, readiness, run_file
from paxos.apps.config import Configuration

STANDIN = Path(__file__).with_name("standin_supervisor.py")
_OFFSETS = itertools.count()


def free_port_offset() -> int:
    """Return an offset at which none of a default cluster's ports is taken now.

    That is not enough: of two clusters that start on the same ports together, one's pages answer
    for the other's nodes. So each pytest-xdist worker looks in a range of its own, all of them
    below the ports of tests/system, and at remainders of 50 that no other worker has, nor `paxos
    chaos`, which takes any multiple of 50.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for step in _OFFSETS:
        offset = 2000 + worker * 600 + step % 12 * 50 + 12 + worker % 4 * 10
        loaded = config.load(None, {"PAXOS_NETWORK_PORT_OFFSET": str(offset)})
        ports = [port for node in loaded.nodes() for port in loaded.ports(node)]
        if not any(processes.port_trouble("127.0.0.1", port) for port in ports):
            return offset
    raise AssertionError("unreachable: the count never ends")


class Standin:
    """A small cluster of stand-in nodes: one of each role, two client nodes."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "paxos.toml"
        self.file.write_text(
            "[cluster]\nproposers = 1\nacceptors = 1\nlearners = 1\nclients = 2\n"
            f"[network]\nport_offset = {free_port_offset()}\n",
            encoding="utf-8",
        )
        self.configuration: Configuration = config.load(self.file)
        self.progress: list[str] = []

    @property
    def data(self) -> Path:
        return self.configuration.data_folder

    def launch(self, configuration: Configuration, output: Path) -> int:
        arguments = [sys.executable, str(STANDIN), "--config", str(configuration.source)]
        return local.spawn_detached(arguments, output)

    def up(self, timeout_s: float = 20.0) -> local.Readiness:
        return local.up(self.configuration, self.progress.append, timeout_s, self.launch)

    def run(self) -> run_file.Run:
        run = run_file.read(self.data)
        assert run is not None
        return run

    def end(self) -> None:
        """End everything that may still run, the rude way."""
        run = run_file.read(self.data)
        if run is None:
            return
        everything = [run.supervisor_process, *(node.process for node in run.nodes.values())]
        for one in everything:
            processes.send(one, signal.SIGKILL)
        processes.wait_until_gone(everything, 10.0)


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    monkeypatch.chdir(tmp_path)
    cluster = Standin(tmp_path)
    yield cluster
    cluster.end()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `up` wait but briefly for nodes that the test keeps from being ready."""
    monkeypatch.setattr(readiness, "STRAGGLERS_S", 0.2)


WaitUntil = Callable[[Callable[[], object]], None]


@pytest.fixture
def wait_until() -> WaitUntil:
    """Wait until a condition holds; fail after twenty seconds."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20.0
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            time.sleep(0.01)

    return wait
