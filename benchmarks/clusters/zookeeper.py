"""Three ZooKeeper servers from Debian's zookeeper, with the settings of Debian's zoo.cfg.

Two settings differ because the measuring needs it: more than 60 connections from one address are
allowed, and the administration's HTTP server is off, whose port three servers cannot share.
"""

from __future__ import annotations

import re
import socket
import subprocess
from typing import ClassVar

from .base import HOST, free_ports
from .members import MEMBERS, MemberCluster

FIRST_PORT = 13379
_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_CLASS_PATH = "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar"
_WORD_TIMEOUT_S = 1.0


class ZooKeeperCluster(MemberCluster):
    """ZooKeeper. A plain read is answered by the server that is asked: not linearizable."""

    name: ClassVar[str] = "zookeeper"
    target: ClassVar[str] = "zookeeper"
    start_s: ClassVar[float] = 3.5
    ops: ClassVar[frozenset[str]] = frozenset({"write", "read", "syncread", "mix"})

    def prepare(self) -> None:
        """Choose ports and write each server's configuration and number."""
        self._ports = free_ports(3 * MEMBERS, FIRST_PORT)
        servers = "\n".join(
            f"server.{n}={HOST}:{self._ports[MEMBERS + n - 1]}:{self._ports[2 * MEMBERS + n - 1]}"
            for n in range(1, MEMBERS + 1)
        )
        for number in range(1, MEMBERS + 1):
            data = self.folder / f"member-{number}"
            data.mkdir()
            (data / "myid").write_text(f"{number}\n")
            (self.folder / f"zoo-{number}.cfg").write_text(
                f"tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={data}\n"
                f"clientPort={self._client_port(number)}\nmaxClientCnxns=0\n"
                f"admin.enableServer=false\n{servers}\n"
            )

    def _client_port(self, number: int) -> int:
        return self._ports[number - 1]

    def command(self, number: int) -> list[str]:
        """Return the command line of a server: what zkServer.sh would run."""
        return [
            "java",
            f"-Dzookeeper.log.dir={self.folder / f'member-{number}'}",
            "-Dzookeeper.root.logger=INFO,ROLLINGFILE",
            *("-cp", _CLASS_PATH),
            _MAIN,
            str(self.folder / f"zoo-{number}.cfg"),
        ]

    def endpoints(self) -> list[str]:
        """Return the servers' client addresses."""
        return [f"{HOST}:{self._client_port(number)}" for number in range(1, MEMBERS + 1)]

    def _mode(self, number: int) -> str:
        """Return leader or follower; nothing for a server that does not serve."""
        found = re.search(r"^Mode: (\w+)$", self._srvr(number), re.MULTILINE)
        return found.group(1) if found else ""

    def _srvr(self, number: int) -> str:
        """Return the answer to the four-letter word `srvr`; nothing when there is none."""
        try:
            with socket.create_connection((HOST, self._client_port(number)), _WORD_TIMEOUT_S) as s:
                s.settimeout(_WORD_TIMEOUT_S)
                s.sendall(b"srvr")
                parts = []
                while part := s.recv(4096):
                    parts.append(part)
        except OSError:
            return ""
        return b"".join(parts).decode(errors="replace")

    def leader(self) -> str | None:
        """Ask every server what it is."""
        for number in range(1, MEMBERS + 1):
            if self._mode(number) == "leader":
                return f"member-{number}"
        return None

    def is_healthy(self) -> bool:
        """Tell whether there are a leader and two followers that serve."""
        modes = sorted(self._mode(number) for number in range(1, MEMBERS + 1))
        return modes == ["follower", "follower", "leader"]

    def version(self) -> str:
        """Return the package's version."""
        said = subprocess.run(
            ["dpkg-query", "--show", "--showformat", "zookeeper ${Version}", "zookeeper"],
            capture_output=True,
            text=True,
            check=True,
        )
        return said.stdout
