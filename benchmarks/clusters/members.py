"""A cluster of three equal programs that the harness itself starts and ends."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from abc import abstractmethod
from pathlib import Path

from benchmarks.errors import BenchmarkError

from .base import READY_TIMEOUT_S, Cluster, make_folder

MEMBERS = 3


class MemberCluster(Cluster):
    """Three members, `member-1` to `member-3`; one of them leads."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._members: dict[str, subprocess.Popen[bytes]] = {}

    @abstractmethod
    def prepare(self) -> None:
        """Choose ports and write what the members read; the folder is there and empty."""

    @abstractmethod
    def command(self, number: int) -> list[str]:
        """Return the command line of a member, 1 to 3."""

    def environment(self) -> dict[str, str] | None:
        """Return the members' environment; None for that of the harness."""
        return None

    @staticmethod
    def number(name: str) -> int:
        """Return the number of `member-2`."""
        return int(name.rpartition("-")[2])

    def start(self) -> None:
        """Found a new cluster and wait until it works. Raises BenchmarkError."""
        make_folder(self.folder)
        self.prepare()
        for number in range(1, MEMBERS + 1):
            self._spawn(f"member-{number}")
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while not self.is_healthy():
            self._complain_of_the_dead()
            if time.monotonic() > deadline_s:
                raise BenchmarkError(f"{self.name} was not ready in time; see {self.folder}")
            time.sleep(0.05)

    def _spawn(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            # Should the harness be killed, its servers go with it.
            self._members[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.command(self.number(name))],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self.environment(),
                start_new_session=True,
            )

    def _complain_of_the_dead(self) -> None:
        for name, process in self._members.items():
            if process.poll() is not None:
                log = (self.folder / f"{name}.log").read_text(errors="replace")
                raise BenchmarkError(f"{self.name}: {name} ended: {log.strip()[-500:]}")

    def stop(self) -> None:
        """End every member and delete the data. By SIGKILL: nothing of them is needed any more."""
        for process in self._members.values():
            process.kill()
        for process in self._members.values():
            process.wait()
        self._members.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> dict[str, int]:
        """Return the members' pids by name."""
        return {name: process.pid for name, process in self._members.items()}

    def roles(self) -> dict[str, str]:
        """One member is counted as the leader, the others as followers."""
        leader = self.leader()
        return {name: "leader" if name == leader else "followers" for name in self._members}

    def kill(self, name: str) -> None:
        """End a member by SIGKILL."""
        self._members[name].kill()
        self._members[name].wait()

    def pause(self, name: str) -> None:
        """Stop a member by SIGSTOP."""
        self._members[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a stopped member go on."""
        self._members[name].send_signal(signal.SIGCONT)

    def restart(self, name: str) -> None:
        """Start a killed member again with its data."""
        self._spawn(name)
