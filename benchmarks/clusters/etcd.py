"""Three etcd members from Debian's etcd-server, defaults but for names, ports and folders."""

from __future__ import annotations

import subprocess
from typing import ClassVar

from .base import HOST, ask_json, free_ports
from .members import MEMBERS, MemberCluster

FIRST_PORT = 12379


class EtcdCluster(MemberCluster):
    """etcd. Clients go to all three members; reads are linearizable (etcd's default)."""

    name: ClassVar[str] = "etcd"
    target: ClassVar[str] = "etcd"
    start_s: ClassVar[float] = 3.0

    def prepare(self) -> None:
        """Choose ports: three for clients, three for peers."""
        self._ports = free_ports(2 * MEMBERS, FIRST_PORT)

    def _client_port(self, number: int) -> int:
        return self._ports[number - 1]

    def _peer(self, number: int) -> str:
        return f"http://{HOST}:{self._ports[MEMBERS + number - 1]}"

    def command(self, number: int) -> list[str]:
        """Return the command line of a member."""
        client = f"http://{HOST}:{self._client_port(number)}"
        members = ",".join(f"member-{n}={self._peer(n)}" for n in range(1, MEMBERS + 1))
        return [
            "etcd",
            *("--name", f"member-{number}"),
            *("--data-dir", str(self.folder / f"member-{number}")),
            *("--listen-client-urls", client),
            *("--advertise-client-urls", client),
            *("--listen-peer-urls", self._peer(number)),
            *("--initial-advertise-peer-urls", self._peer(number)),
            *("--initial-cluster", members),
            *("--initial-cluster-state", "new"),
        ]

    def endpoints(self) -> list[str]:
        """Return the members' client addresses."""
        return [f"{HOST}:{self._client_port(number)}" for number in range(1, MEMBERS + 1)]

    def leader(self) -> str | None:
        """Ask every member whether it leads."""
        for number in range(1, MEMBERS + 1):
            _, status = ask_json(self._client_port(number), "/v3/maintenance/status", {})
            member = status.get("header", {}).get("member_id")
            if member is not None and member == status.get("leader"):
                return f"member-{number}"
        return None

    def is_healthy(self) -> bool:
        """Tell whether each member's linearizable read succeeds (that is what /health does)."""
        for number in range(1, MEMBERS + 1):
            status, health = ask_json(self._client_port(number), "/health")
            if status != 200 or str(health.get("health")) != "true":
                return False
        return self.leader() is not None

    def version(self) -> str:
        """Return what `etcd --version` says."""
        said = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True)
        return said.stdout.partition("\n")[0].replace("Version: ", "")
