"""`run.json` in the data folder: how this cluster was started and which processes it is.

Written whole by one process at a time (the supervisor, or run.sh for a Swarm) and replaced
atomically, so a reader never sees half of one. It is a hint: whoever acts on a pid in it checks
that the process is still the one that was meant (processes.Process).
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from paxos.core.errors import StorageError
from paxos.core.types import NodeId

from .processes import Process

NAME = "run.json"


class NodeRun(msgspec.Struct, kw_only=True):
    """One node as the supervisor sees it. `state`: running, waiting (for its restart), held."""

    pid: int
    started: int
    """The process's start in clock ticks since the machine's: tells it from a later one."""
    page_port: int
    peer_port: int
    door_port: int | None = None
    state: str = "running"
    restarts: int = 0
    exit: str = ""
    """How it ended last, such as `status 78` or `signal SIGKILL`; empty when it never did."""

    @property
    def process(self) -> Process:
        """The node's process."""
        return Process(self.pid, self.started)


class Run(msgspec.Struct, kw_only=True):
    """A cluster's start. `mode` is local or swarm; a Swarm's nodes are not listed here."""

    mode: str
    stopped: bool = False
    """A Swarm that was stopped: nothing runs, but its volumes hold what `reset` would delete."""
    started: str = ""
    """When, as a person reads it (ISO 8601, UTC)."""
    supervisor: int = 0
    supervisor_started: int = 0
    config: str | None = None
    fingerprint: str = ""
    """Of the configuration in force, to notice that it has been changed since."""
    nodes: dict[NodeId, NodeRun] = {}

    @property
    def supervisor_process(self) -> Process:
        """The supervisor's process."""
        return Process(self.supervisor, self.supervisor_started)

    def living(self) -> dict[NodeId, NodeRun]:
        """Return the nodes whose processes live."""
        return {node: run for node, run in self.nodes.items() if run.process.lives}


def read(data_folder: Path) -> Run | None:
    """Return what run.json says; None when there is none, or none that can be understood.

    Raises StorageError when there is one that this user may not read.
    """
    try:
        return msgspec.json.decode((data_folder / NAME).read_bytes(), type=Run)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    except OSError as error:
        raise StorageError(f"{data_folder / NAME} cannot be read ({error.strerror})") from error


def write(data_folder: Path, run: Run) -> None:
    """Replace run.json. Raises OSError when the folder cannot be written."""
    text = msgspec.json.format(msgspec.json.encode(run), indent=2)
    draft = data_folder / f".{NAME}.{os.getpid()}"
    draft.write_bytes(text + b"\n")
    draft.replace(data_folder / NAME)


def remove(data_folder: Path) -> None:
    """Forget how the cluster was started."""
    (data_folder / NAME).unlink(missing_ok=True)
