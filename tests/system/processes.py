"""One node as a process of its own, started by `paxos node`, outside any supervisor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .cluster import DEADLINE_S, environment


class Node:
    """A context manager: the process lives inside it and is killed at its end."""

    def __init__(self, file: Path, role: str, number: int) -> None:
        self._log = file.with_suffix(".log")
        self._command = [
            sys.executable,
            *("-m", "paxos.apps.cli", "node", role, str(number), "--config", str(file)),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Node:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env=environment()
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_S)

    def log(self) -> str:
        """Return what it has said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")
