"""What the harness asks of a cluster of any system, and the helpers that they share."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.errors import BenchmarkError
from benchmarks.generator import GeneratorRun, Load, RunningLoad, Timing

HOST = "127.0.0.1"
READY_TIMEOUT_S = 60.0
_LOOK_S = 0.02
_EPHEMERAL = 32768
"""Linux gives connections ports from here on; servers' ports stay below."""


class Cluster(ABC):
    """One system's three-node cluster on this machine, with its default settings.

    All its data lies in `folder`, which `start` makes anew and `stop` deletes.
    """

    name: ClassVar[str]
    target: ClassVar[str]
    """What the load generator calls its protocol."""
    start_s: ClassVar[float]
    """About how long start and stop take together, for the estimate."""
    ops: ClassVar[frozenset[str]] = frozenset({"write", "read", "mix"})
    """The operations that can be compared."""
    few_only: ClassVar[bool] = False
    """There are no connections whose number could be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def start(self) -> None:
        """Found a new cluster and wait until it works. Raises BenchmarkError."""

    @abstractmethod
    def stop(self) -> None:
        """End every process and delete the data; harmless when it does not run."""

    @abstractmethod
    def endpoints(self) -> list[str]:
        """Return the addresses that clients connect to, as HOST:PORT."""

    @abstractmethod
    def processes(self) -> dict[str, int]:
        """Return the pids of all processes by name."""

    @abstractmethod
    def roles(self) -> dict[str, str]:
        """Return the role that each process is counted under, by the process's name."""

    @abstractmethod
    def leader(self) -> str | None:
        """Return the name of the process that leads; None while none does."""

    @abstractmethod
    def kill(self, name: str) -> None:
        """End a process by SIGKILL."""

    @abstractmethod
    def pause(self, name: str) -> None:
        """Stop a process by SIGSTOP; the machine goes on acknowledging its packets."""

    @abstractmethod
    def resume(self, name: str) -> None:
        """Let a stopped process go on (SIGCONT)."""

    @abstractmethod
    def restart(self, name: str) -> None:
        """Start a killed process again; nothing when something else does."""

    @abstractmethod
    def is_healthy(self) -> bool:
        """Tell whether every node is there and works, and one leads."""

    @abstractmethod
    def version(self) -> str:
        """Return what was measured, with its version."""

    def begin(self, load: Load, timing: Timing) -> RunningLoad:
        """Start loading. Raises BenchmarkError when it cannot be started."""
        return self.begin_at(self.endpoints(), load, timing)

    def begin_at(self, endpoints: Sequence[str], load: Load, timing: Timing) -> RunningLoad:
        """Start loading at some of the endpoints. Raises BenchmarkError, likewise."""
        return GeneratorRun(self.target, endpoints, load, timing)

    def can(self, load: Load) -> bool:
        """Tell whether this load can be measured here."""
        return load.op in self.ops and (load.few or not self.few_only)

    def wait_until_healthy(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until everything works. Raises BenchmarkError when it does not in time."""
        wait_until(self.is_healthy, timeout_s, f"{self.name}: not healthy after {timeout_s:g} s")


def wait_until(condition: Callable[[], bool], timeout_s: float, failure: str) -> None:
    """Wait until a condition holds. Raises BenchmarkError with `failure` when it never does."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise BenchmarkError(failure)
        time.sleep(_LOOK_S)


def make_folder(folder: Path) -> None:
    """Make an empty folder, whatever was there. Raises BenchmarkError when it cannot."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise BenchmarkError(f"{folder} cannot be made: {error.strerror}") from error


def free_ports(count: int, first: int) -> list[int]:
    """Return `count` ports in a row on which nobody listens, the first one `first` or above.

    Raises BenchmarkError when there are none below those that Linux gives to connections.
    """
    for start in range(first, _EPHEMERAL - count, count):
        block = list(range(start, start + count))
        if all(map(is_free, block)):
            return block
    raise BenchmarkError(f"no {count} free ports in a row above {first}")


def is_free(port: int) -> bool:
    """Tell whether one can listen on a port."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
    return True


def ask_json(
    port: int, path: str, body: Mapping[str, Any] | None = None, timeout_s: float = 1.0
) -> tuple[int, dict[str, Any]]:
    """GET (or POST `body` to) a page; returns its status and its JSON, (0, {}) for no answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    with contextlib.closing(connection):
        try:
            if body is None:
                connection.request("GET", path)
            else:
                connection.request("POST", path, json.dumps(body))
            answer = connection.getresponse()
            content = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return 0, {}
    return answer.status, content if isinstance(content, dict) else {}
