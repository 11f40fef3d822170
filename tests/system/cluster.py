"""A real cluster of local processes for tests: its own data folder and ports, kills, states.

It is started and stopped by the command line, as a person would; single nodes are held, killed
and stopped by the pids in run.json. Whatever a test waits for is a condition with a deadline.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from paxos.apps import asking, config, layout, local, processes, run_file
from paxos.apps.config import Configuration
from paxos.core.types import NodeId, Role, role_of

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"

DEADLINE_S = 60.0
"""How long a condition may take to come true: far above what it takes on a busy machine."""

ANSWER_S = 30.0
"""How long a client waits for an answer; a gateway gives up after timeouts.request_ms."""

TAIL_LINES = 15
"""How much of each node's log a failed test shows."""

_OFFSETS = itertools.count(os.getpid() % 20)

Settings = Mapping[str, Mapping[str, object]]
"""section -> key -> value of the configuration file."""


def wait_until(condition: Callable[[], object], what: str, seconds: float = DEADLINE_S) -> None:
    """Wait until a condition holds. Raises AssertionError that says what did not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.01)


def free_port_offset() -> int:
    """Return an offset at which none of a large cluster's ports is taken now.

    Each pytest-xdist worker looks in a range of its own; none of the ranges overlaps another
    one's pages, doors or node-to-node ports.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for step in _OFFSETS:
        offset = 7000 + worker % 2 * 900 + step % 20 * 45
        if not any(processes.port_trouble(HOST, port) for port in _ports(offset)):
            return offset
    raise AssertionError("unreachable: the count never ends")


def _ports(offset: int) -> list[int]:
    firsts_and_counts = ((8000, 20), (17000, 20), (6001, 4))
    return [first + offset + n for first, count in firsts_and_counts for n in range(count)]


def _session(leader: int) -> list[int]:
    """Return the processes of the session that a supervisor began; its nodes are in it."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(folder.name)) == leader:
                    found.append(int(folder.name))
    return found


def written(file: Path, settings: Settings) -> Path:
    """Write a configuration file and return it."""
    lines: list[str] = []
    for section, keys in settings.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def environment() -> dict[str, str]:
    """Return this process's environment without any configuration of another cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PAXOS_")}
    return kept | {"PYTHONPATH": str(ROOT / "src")}


def program(*words: str, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
    """Run a Python program of this project to its end."""
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment(),
        timeout=timeout_s,
        check=False,
    )


def paxos(*words: str, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return program("-m", "paxos.apps.cli", *words, timeout_s=timeout_s)


def client(port: int, *words: str, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
    """Run client/client_cli.py at a door."""
    script = str(ROOT / "client" / "client_cli.py")
    return program(script, "localhost", str(port), *words, timeout_s=timeout_s)


class LocalCluster:
    """One cluster in one folder. `settings` go into its configuration file."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self._settings = settings
        self._clients: list[redis.Redis] = []
        self.move()

    def move(self) -> None:
        """Take other ports."""
        network = {**self._settings.get("network", {}), "port_offset": free_port_offset()}
        data = {"folder": str(self.folder / "data")}
        sections = {**self._settings, "network": network, "data": data}
        self.file = written(self.folder / "paxos.toml", sections)
        self._loaded: Configuration = config.load(self.file)
        # Kills go by the pids in this folder: it must be this test's own.
        assert self.configuration.data_folder == (self.folder / "data").resolve()

    @property
    def configuration(self) -> Configuration:
        """What is configured, with the nodes that were added and removed since."""
        return self._loaded.with_layout(layout.read(self._loaded.data_folder))

    # ------------------------------------------------------------ the whole

    def start(self) -> None:
        """Start for the first time; on other ports when somebody was quicker to take these."""
        for _ in range(5):
            done = self.command("up")
            if done.returncode == 0:
                return
            if "is taken by" not in done.stderr:
                break
            self.move()
        raise AssertionError(f"paxos up: {done.stdout}{done.stderr}\n{self.tails()}")

    def up(self) -> None:
        """Start what does not run, and wait until all is ready."""
        done = self.command("up")
        assert done.returncode == 0, f"paxos up: {done.stdout}{done.stderr}"
        self.wait_until_all_ready()

    def stop(self) -> None:
        """Stop everything gracefully."""
        done = self.command("stop")
        assert done.returncode == 0, f"paxos stop: {done.stdout}{done.stderr}"

    def kill_everything(self) -> None:
        """Send SIGKILL to all nodes in one go, the supervisor first so that none comes back."""
        run = self.run()
        processes.send(run.supervisor_process, signal.SIGKILL)
        assert processes.wait_until_gone([run.supervisor_process], DEADLINE_S) == []
        # It may have started a node that it had no time to write down: its session tells.
        everything = {node.process for node in run.nodes.values()}
        everything |= {processes.process(pid) for pid in _session(run.supervisor)}
        for one in everything:
            processes.send(one, signal.SIGKILL)
        assert processes.wait_until_gone(everything, DEADLINE_S) == []

    def heal(self) -> None:
        """Wake what is stopped, start what is held or dead: after a test that may have failed."""
        if (run := run_file.read(self.configuration.data_folder)) is not None:
            for node in run.nodes.values():
                processes.send(node.process, signal.SIGCONT)
        if self.unready():
            self.up()

    def end(self) -> None:
        """Close the clients and end every process, the rude way."""
        for one in self._clients:
            one.close()
        if run_file.read(self.configuration.data_folder) is not None:
            self.kill_everything()

    def command(self, *words: str, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run the command line with this cluster's configuration."""
        return paxos(*words, "--config", str(self.file), timeout_s=timeout_s)

    def run(self) -> run_file.Run:
        """Return which processes the nodes are."""
        run = run_file.read(self.configuration.data_folder)
        assert run is not None, "there is no run.json"
        return run

    # ------------------------------------------------------------ nodes

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Every node."""
        return self.configuration.nodes()

    def of(self, role: Role) -> list[NodeId]:
        """Return the nodes of a role."""
        return [node for node in self.nodes if role_of(node) is role]

    def process(self, node: str) -> processes.Process:
        """Return a node's process."""
        return self.run().nodes[NodeId(node)].process

    def pids(self) -> dict[NodeId, int]:
        """Return every node's pid."""
        return {node: one.pid for node, one in self.run().nodes.items()}

    def signal(self, node: str, number: signal.Signals) -> None:
        """Signal a node. The supervisor starts one that was killed again by itself."""
        assert processes.send(self.process(node), number), f"{node} does not run"

    def kill(self, node: str) -> None:
        """Send SIGKILL and wait until the process has gone."""
        process = self.process(node)
        assert processes.send(process, signal.SIGKILL), f"{node} does not run"
        assert processes.wait_until_gone([process], DEADLINE_S) == []

    def hold(self, node: str) -> None:
        """Stop a node and keep it down until `release`."""
        local.hold(self.configuration, NodeId(node))

    def release(self, node: str) -> None:
        """Start a held node again."""
        local.release(self.configuration, NodeId(node))

    def volume(self, node: str) -> Path:
        """Return the folder of a node's durable memory."""
        return self.configuration.volume(NodeId(node))

    def log(self, node: str) -> str:
        """Return what a node has written to its log."""
        file = self.configuration.data_folder / "logs" / f"{node}.log"
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def tails(self) -> str:
        """Return the end of every node's log, for a failed test."""
        names = ["supervisor", *self.nodes]
        return "\n".join(
            f"---- {name}\n" + "\n".join(self.log(name).splitlines()[-TAIL_LINES:])
            for name in names
        )

    # ------------------------------------------------------------ what they say

    def page(self, node: str, path: str) -> asking.Page:
        """Ask a node's page port."""
        return asking.page(HOST, self.configuration.page_port(NodeId(node)), path, ANSWER_S)

    def text(self, node: str, path: str) -> str:
        """Return a node's page as text."""
        url = f"http://{HOST}:{self.configuration.page_port(NodeId(node))}{path}"
        with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
            return str(answer.read().decode())

    def state(self, node: str) -> dict[str, Any]:
        """Return a node's /state; empty when it does not answer."""
        answer = self.page(node, "/state")
        return answer.content if isinstance(answer.content, dict) else {}

    def status(self, node: str) -> dict[str, Any]:
        """Return what a node's role says of itself; empty when it does not answer."""
        status: dict[str, Any] = self.state(node).get("status", {})
        return status

    def memory(self) -> dict[NodeId, int]:
        """Return every node's resident memory in bytes."""
        return {node: int(self.state(node)["memory_bytes"]) for node in self.nodes}

    def forget_peaks(self) -> None:
        """Let the kernel count every node's highest memory from now on."""
        for pid in self.pids().values():
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")

    def peaks(self) -> dict[NodeId, int]:
        """Return every node's highest resident memory since `forget_peaks`, in bytes."""
        peaks = {}
        for node, pid in self.pids().items():
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            peaks[node] = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        return peaks

    def unready(self) -> list[NodeId]:
        """Return the nodes that are not ready. Do not ask while one is stopped by SIGSTOP."""
        return [node for node in self.nodes if self.page(node, "/readyz").status != 200]

    def wait_until_ready(self, node: str) -> None:
        """Wait until one node is ready."""
        wait_until(lambda: self.page(node, "/readyz").status == 200, f"{node} is ready")

    def wait_until_all_ready(self) -> None:
        """Wait until every node is ready."""
        deadline = time.monotonic() + DEADLINE_S
        while waiting := self.unready():
            reasons = {node: self.page(node, "/readyz").content for node in waiting}
            assert time.monotonic() < deadline, f"not ready in {DEADLINE_S:.0f} s: {reasons}"
            time.sleep(0.02)

    def leader(self) -> NodeId:
        """Return the proposer that leads, waiting for one; of two that think so, the later."""
        leading: list[tuple[int, NodeId]] = []

        def found() -> bool:
            for node in self.of(Role.PROPOSER):
                status = self.status(node)
                if status.get("phase") == "leading":
                    leading.append((int(status["ballot"]), node))
            return bool(leading)

        wait_until(found, "a proposer leads")
        return max(leading)[1]

    # ------------------------------------------------------------ clients

    def door(self, number: int = 1) -> int:
        """Return the port of a client node's door."""
        return self.configuration.door_port(NodeId(f"client-{number}"))

    def redis(self, number: int = 1, **options: Any) -> redis.Redis:
        """Return a client of a door that never tries anything twice by itself."""
        made = redis.Redis(
            host=HOST,
            port=self.door(number),
            socket_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
            **options,
        )
        self._clients.append(made)
        return made

    def values(self, first_slot: int = 0, number: int = 2) -> list[tuple[int, bytes]]:
        """Return the list of values from a slot on, with slots."""
        pairs = self.redis(number).execute_command("READ", "FROM", first_slot)
        return [(int(slot), bytes(value)) for slot, value in pairs]
