"""The running cluster as the guided demonstration sees and breaks it: states, doors, kills.

A node is killed with SIGKILL (local processes) or with its container (Swarm). It is never
started again from here: the local supervisor and Swarm do that by themselves, and that they do
is part of what is shown.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import msgspec

from paxos.core.errors import DefiniteError, RequestError
from paxos.core.types import Role, role_of

from . import asking, processes, run_file
from .client_connection import Connection
from .config import Configuration

CALL_TIMEOUT_S = 15.0
"""How long one write or read of the demonstration may take. A gateway gives up well before."""

DOCKER_TIMEOUT_S = 30.0
POLL_S = 0.05
STACK = "paxos"


class Killer(Protocol):
    """Kills a node's process, whatever it runs in."""

    def kill(self, node: str) -> None:
        """Kill at once. Raises DefiniteError, saying why, when the node cannot be killed."""
        ...


class ProcessKiller:
    """Kills local processes, by the pids in run.json."""

    def __init__(self, configuration: Configuration) -> None:
        self._folder = configuration.data_folder

    def kill(self, node: str) -> None:
        """Send SIGKILL. Only ever to a process that the supervisor started for this node."""
        run = run_file.read(self._folder)
        one = {str(name): entry for name, entry in (run.nodes if run else {}).items()}.get(node)
        if one is None or not one.process.lives:
            raise DefiniteError(f"{self._folder}/run.json names no living process of {node}")
        processes.send(one.process, signal.SIGKILL)


class ContainerKiller:
    """Kills the containers of a Swarm stack's services that run on this machine."""

    def kill(self, node: str) -> None:
        """Run `docker kill` on the containers of the node's service."""
        service = f"{STACK}_{node}"
        listed = _docker("ps", "-q", "--filter", f"label=com.docker.swarm.service.name={service}")
        if not listed:
            raise DefiniteError(f"service {service} has no container on this machine")
        _docker("kill", *listed.split())


def _docker(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, timeout=DOCKER_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DefiniteError(f"docker {arguments[0]}: {error}") from error
    if done.returncode:
        raise DefiniteError(f"docker {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


class Cluster:
    """What the demonstration asks of a running cluster."""

    def __init__(self, configuration: Configuration, killer: Killer) -> None:
        self.configuration = configuration
        self.killer = killer
        self.host = configuration.local_host()
        self.nodes = [str(node) for node in configuration.nodes()]
        self.doors = [
            (str(node), configuration.door_port(node))
            for node in configuration.nodes()
            if role_of(node) is Role.CLIENT
        ]
        self._pages = {str(node): configuration.page_port(node) for node in configuration.nodes()}

    def of(self, role: Role) -> list[str]:
        """Return the nodes of a role."""
        return [node for node in self.nodes if node.partition("-")[0] == role.value]

    def state(self, node: str) -> dict[str, Any]:
        """Return a node's state; empty when it does not answer."""
        answer = asking.page(self.host, self._pages[node], "/state", 1.0)
        return answer.content if isinstance(answer.content, dict) else {}

    def states(self) -> dict[str, dict[str, Any]]:
        """Return the state of every node, asked at once."""
        with ThreadPoolExecutor(max_workers=len(self.nodes)) as pool:
            return dict(zip(self.nodes, pool.map(self.state, self.nodes), strict=True))

    def status(self, node: str) -> dict[str, Any]:
        """Return what a node's role says of itself; empty when it does not answer."""
        status = self.state(node).get("status")
        return status if isinstance(status, dict) else {}

    def leader(self) -> tuple[str, int] | None:
        """Return the proposer that leads, and its ballot; of two that think so, the higher."""
        leading = []
        for node in self.of(Role.PROPOSER):
            status = self.status(node)
            if status.get("phase") == "leading":
                leading.append((int(status.get("ballot") or 0), node))
        if not leading:
            return None
        ballot, node = max(leading)
        return node, ballot

    def connection(self, port: int) -> Connection:
        """Return a connection to a door, not opened yet."""
        return Connection(self.host, port, password=self.configuration.security.password)

    def write(self, port: int, value: str) -> int:
        """Append a value through a door and return its slot. Raises RequestError."""
        connection = self.connection(port)
        try:
            return int(connection.call([b"WRITE", value.encode()], CALL_TIMEOUT_S))
        finally:
            connection.close()

    def values(self, port: int, first_slot: int) -> list[tuple[int, str]]:
        """Return the values from a slot on, with their slots, through a door.

        Raises RequestError.
        """
        connection = self.connection(port)
        try:
            reply = connection.call([b"READ", b"FROM", b"%d" % first_slot], CALL_TIMEOUT_S)
        finally:
            connection.close()
        return [(int(slot), bytes(value).decode("utf-8", "replace")) for slot, value in reply]


def wait_until(condition: Callable[[], object], timeout_s: float) -> bool:
    """Wait until a condition holds. False when `timeout_s` was over first."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the clients in the background saw. `slowest_ms` is the longest answer of all."""

    written: list[str]
    reads: int
    slowest_ms: float
    errors: list[str]

    @property
    def text(self) -> str:
        """The report in a few words."""
        failed = f"{len(self.errors)} errors" if self.errors else "no error"
        return (
            f"{len(self.written)} writes, {self.reads} reads, {failed}, "
            f"slowest {self.slowest_ms:.0f} ms"
        )


class Load:
    """Clients in the background, one per door, that write and read while something breaks.

    A context manager; what it saw is in `report` after it ends.
    """

    PAUSE_S = 0.005

    def __init__(
        self, cluster: Cluster, label: str, first_slot: int, doors: Sequence[tuple[str, int]]
    ) -> None:
        self._cluster = cluster
        self._label = label
        self._first_slot = first_slot
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._written: list[str] = []
        self._reads = 0
        self._slowest_s = 0.0
        self._errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=one, name=f"load {one[0]}") for one in doors
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def done(self) -> int:
        """How many writes have been acknowledged so far."""
        return len(self._written)

    @property
    def reads_done(self) -> int:
        """How many reads have been answered so far."""
        return self._reads

    @property
    def report(self) -> LoadReport:
        """What was seen so far."""
        with self._lock:
            return LoadReport(
                written=list(self._written),
                reads=self._reads,
                slowest_ms=self._slowest_s * 1000,
                errors=list(self._errors),
            )

    def _run(self, client: str, port: int) -> None:
        connection = self._cluster.connection(port)
        number = 0
        while not self._stop.wait(self.PAUSE_S):
            number += 1
            value = f"{self._label}/{client}/{number}"
            self._once(connection, client, [b"WRITE", value.encode()], value)
            read = [b"READ", b"FROM", b"%d" % self._first_slot, b"LIMIT", b"1"]
            self._once(connection, client, read, None)
        connection.close()

    def _once(
        self, connection: Connection, client: str, command: list[bytes], value: str | None
    ) -> None:
        began = time.monotonic()
        try:
            connection.call(command, CALL_TIMEOUT_S)
        except RequestError as error:
            with self._lock:
                self._errors.append(f"{client}: {command[0].decode()}: {error}")
            # Not in a hurry to fail again.
            self._stop.wait(0.2)
            return
        with self._lock:
            self._slowest_s = max(self._slowest_s, time.monotonic() - began)
            if value is None:
                self._reads += 1
            else:
                self._written.append(value)
