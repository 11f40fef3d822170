"""Three nodes of PySyncObj, a Raft library for Python: with its defaults, and tuned.

Neither ever syncs: PySyncObj calls fsync nowhere, so what it has acknowledged is in the page cache
at best. With its defaults it keeps everything in memory alone. The load is made inside the leader's
process, as a program that uses the library would; only where the leader is to be lost is it made
inside a follower's.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.errors import BenchmarkError
from benchmarks.generator import GRACE_S, Load, Result, Timing, parse

from .base import HOST, free_ports
from .members import MEMBERS, MemberCluster

ROOT = Path(__file__).resolve().parents[2]
FIRST_PORT = 14379
_TIMEOUT_S = 1.0


class PySyncObjCluster(MemberCluster):
    """PySyncObj with its own defaults."""

    name: ClassVar[str] = "pysyncobj"
    target: ClassVar[str] = "pysyncobj"
    start_s: ClassVar[float] = 3.0
    ops: ClassVar[frozenset[str]] = frozenset({"write"})
    """Its reads look into the local dictionary: neither linearizable nor any work."""
    few_only: ClassVar[bool] = True

    def settings(self, number: int) -> dict[str, object]:
        """Return the SyncObjConf of a node."""
        return {}

    def prepare(self) -> None:
        """Choose ports: three for the nodes, three to tell them what to do."""
        self._ports = free_ports(2 * MEMBERS, FIRST_PORT)

    def _address(self, number: int) -> str:
        return f"{HOST}:{self._ports[number - 1]}"

    def _control(self, number: int) -> int:
        return self._ports[MEMBERS + number - 1]

    def command(self, number: int) -> list[str]:
        """Return the command line of a node."""
        everybody = range(1, MEMBERS + 1)
        wanted = {
            "self": self._address(number),
            "others": [self._address(n) for n in everybody if n != number],
            "control": self._control(number),
            "settings": self.settings(number),
        }
        return [sys.executable, "-m", "benchmarks.pysyncobj_node", json.dumps(wanted)]

    def environment(self) -> dict[str, str] | None:
        """The nodes' program is in this repository."""
        return {**os.environ, "PYTHONPATH": str(ROOT)}

    def endpoints(self) -> list[str]:
        """Return the nodes' addresses, to which no client connects."""
        return [self._address(number) for number in range(1, MEMBERS + 1)]

    def _status(self, number: int) -> dict[str, Any]:
        """Ask a node how it is; nothing when it does not answer."""
        try:
            with socket.create_connection((HOST, self._control(number)), _TIMEOUT_S) as asked:
                asked.settimeout(_TIMEOUT_S)
                asked.sendall(b'{"do": "status"}\n')
                found = json.loads(asked.makefile("rb").readline())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def leader(self) -> str | None:
        """Ask every node whether it leads."""
        for number in range(1, MEMBERS + 1):
            if self._status(number).get("leading"):
                return f"member-{number}"
        return None

    def is_healthy(self) -> bool:
        """Tell whether all nodes are ready and connected, and one leads."""
        statuses = [self._status(number) for number in range(1, MEMBERS + 1)]
        return (
            all(one.get("ready") and one.get("peers") == MEMBERS - 1 for one in statuses)
            and sum(bool(one.get("leading")) for one in statuses) == 1
        )

    def begin(self, load: Load, timing: Timing) -> LoadInside:
        """Start loading inside the leader, or inside a follower when the leader will be lost."""
        leader = self.leader()
        if leader is None:
            raise BenchmarkError(f"{self.name}: nobody leads")
        number = self.number(leader)
        if timing.leader_dies:
            number = number % MEMBERS + 1
        return LoadInside(self._control(number), load, timing)

    def version(self) -> str:
        """Return the library's version and what was set."""
        return f"PySyncObj {metadata.version('pysyncobj')}, in memory, never synced"


class TunedPySyncObjCluster(PySyncObjCluster):
    """PySyncObj set for speed, as its documentation says, with its journal."""

    name: ClassVar[str] = "pysyncobj-tuned"

    def settings(self, number: int) -> dict[str, object]:
        """A message per command instead of one per 100 ms, and a journal for each node."""
        return {
            "appendEntriesUseBatch": False,
            "journalFile": str(self.folder / f"journal-{number}"),
            "fullDumpFile": str(self.folder / f"dump-{number}"),
        }

    def version(self) -> str:
        """Return the library's version and what was set."""
        return (
            f"PySyncObj {metadata.version('pysyncobj')}, appendEntriesUseBatch=False, journalFile, "
            "fullDumpFile, never synced"
        )


class LoadInside:
    """A load that runs inside a node. See generator.RunningLoad."""

    pid: int | None = None
    """It is the node's own process, and its CPU time is in the node's."""

    def __init__(self, port: int, load: Load, timing: Timing) -> None:
        request = {
            "do": "load",
            "outstanding": load.outstanding,
            "value_bytes": load.value_bytes,
            "keys": load.keys,
            "seed": timing.seed,
            "warmup_s": timing.warmup_s,
            "measured_s": timing.measured_s,
            "fill": timing.fill,
        }
        self._limit_s = None if timing.fill else timing.warmup_s + timing.measured_s + GRACE_S
        self.started_s = time.monotonic()
        try:
            self._socket = socket.create_connection((HOST, port), _TIMEOUT_S)
            self._socket.settimeout(self._limit_s)
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise BenchmarkError(f"the node at port {port} takes no load: {error}") from error

    def stop(self) -> None:
        """Have it end early."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def finish(self) -> Result:
        """Wait for its end. Raises BenchmarkError when it fails or is stuck."""
        with self._socket:
            try:
                return parse(self._socket.makefile("r", encoding="utf-8").readline())
            except OSError as error:
                raise BenchmarkError(f"the load inside a node broke: {error}") from error

    def abandon(self) -> None:
        """End it at once: the node sees the connection close."""
        self._socket.close()
