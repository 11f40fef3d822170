"""This system: eleven processes that `paxos up` starts, with their real defaults.

The environment's PAXOS_... settings are handed on, so that a setting can be tried; the report
names those that are set. A paxos.toml in the repository is not read: the program runs in the
cluster's own folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.errors import BenchmarkError

from .base import HOST, Cluster, ask_json, is_free, make_folder

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".venv" / "bin" / "paxos"
_OWN = ("PAXOS_DATA", "PAXOS_NETWORK_PORT_OFFSET", "PAXOS_CONFIG")
_FIRST_OFFSET, _LAST_OFFSET, _OFFSET_STEP = 5000, 14000, 50
_PORTS = (8000, 17000, 6001)
"""Where pages, peers and doors begin without an offset."""
_PORTS_EACH = 20
_PAGE_S = 10.0
"""A busy node may take its time to show its state."""


def settings_that_differ() -> dict[str, str]:
    """Return the environment's settings that the cluster will be started with."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith("PAXOS_") and name not in _OWN
    }


class PaxosCluster(Cluster):
    """This system. Clients go to the doors of its client nodes."""

    name: ClassVar[str] = "paxos"
    target: ClassVar[str] = "resp"
    start_s: ClassVar[float] = 2.5

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._environment: dict[str, str] = {}

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Found a new cluster and wait until a write has been read back. Raises BenchmarkError."""
        offset = _free_offset()
        self._environment = {
            **{name: text for name, text in os.environ.items() if name != "PAXOS_CONFIG"},
            "PAXOS_DATA": str(self._data),
            "PAXOS_NETWORK_PORT_OFFSET": str(offset),
        }
        if (self._data / "run.json").exists():
            self._paxos("stop")  # left over from a run that was killed
        make_folder(self.folder)
        self._paxos("up")

    def _paxos(self, *words: str) -> None:
        program = subprocess.Popen(
            [PROGRAM, *words],
            env=self._environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, complaint = program.communicate()
        except KeyboardInterrupt:
            # Half of an `up` would leave a supervisor that no `stop` knows of yet.
            program.communicate()
            raise
        if program.returncode:
            reason = (complaint.strip().splitlines() or ["it said nothing"])[-1]
            raise BenchmarkError(f"paxos {' '.join(words)} failed: {reason}")

    def stop(self) -> None:
        """End every process and delete the data."""
        if not self._environment or not self._data.exists():
            return
        for pid in self.processes().values():
            _signal(pid, signal.SIGCONT)
        self._paxos("stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self) -> dict[str, Any]:
        try:
            found = json.loads((self._data / "run.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _nodes(self) -> dict[str, dict[str, Any]]:
        return dict(self._run().get("nodes", {}))

    def volume(self, name: str) -> Path:
        """Return the folder in which a node keeps what must last."""
        return self._data / name

    def state(self, name: str) -> dict[str, Any]:
        """Return what a node's page says of it (`/state`). Raises BenchmarkError."""
        status, state = ask_json(int(self._nodes()[name]["page_port"]), "/state", timeout_s=_PAGE_S)
        if status != 200:
            raise BenchmarkError(f"{name} does not tell its state")
        return state

    def endpoints(self) -> list[str]:
        """Return the doors."""
        return [f"{HOST}:{n['door_port']}" for n in self._nodes().values() if n["door_port"]]

    def processes(self) -> dict[str, int]:
        """Return the nodes' pids and the supervisor's."""
        run = self._run()
        found = {str(name): int(node["pid"]) for name, node in run.get("nodes", {}).items()}
        if run.get("supervisor"):
            found["supervisor"] = int(run["supervisor"])
        return found

    def roles(self) -> dict[str, str]:
        """Count a node under its role, and the proposer that leads as the leader."""
        leader = self.leader()
        return {
            name: "leader" if name == leader else name.partition("-")[0]
            for name in self.processes()
        }

    def leader(self) -> str | None:
        """Ask the proposers; the highest ballot is who leads."""
        leading = []
        for name, node in self._nodes().items():
            if name.startswith("proposer-"):
                _, state = ask_json(int(node["page_port"]), "/state")
                status = state.get("status") or {}
                if status.get("phase") == "leading":
                    leading.append((int(status["ballot"]), name))
        return max(leading)[1] if leading else None

    def kill(self, name: str) -> None:
        """End a node by SIGKILL. The supervisor starts it again after 0.3 s, as it always does."""
        _signal(self.processes()[name], signal.SIGKILL)

    def pause(self, name: str) -> None:
        """Stop a node by SIGSTOP."""
        _signal(self.processes()[name], signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a stopped node go on."""
        _signal(self.processes()[name], signal.SIGCONT)

    def restart(self, name: str) -> None:
        """Do nothing: the supervisor starts a node again by itself."""

    def is_healthy(self) -> bool:
        """Tell whether every node runs and is ready, and one proposer leads."""
        nodes = self._nodes()
        if not nodes or any(node["state"] != "running" for node in nodes.values()):
            return False
        ready = all(ask_json(int(n["page_port"]), "/readyz")[0] == 200 for n in nodes.values())
        return ready and self.leader() is not None

    def version(self) -> str:
        """Return the program's version and the commit."""
        said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True)
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        return " ".join(f"{said.stdout.strip()} {commit.stdout.strip()}".split())


def _free_offset() -> int:
    """Return an offset at which all ports are free. Raises BenchmarkError when there is none."""
    for offset in range(_FIRST_OFFSET, _LAST_OFFSET, _OFFSET_STEP):
        if all(is_free(first + offset + n) for first in _PORTS for n in range(_PORTS_EACH)):
            return offset
    raise BenchmarkError("no free ports for eleven nodes")


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
