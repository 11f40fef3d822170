"""A node that is all show: what its pages need, set by the test."""

from __future__ import annotations

import time
from typing import Any

from paxos.core.trace import Level, Trace
from paxos.runtime.logs import LogRing

NEIGHBOURS = [
    (name, 8000 + index)
    for index, name in enumerate(
        ["discovery"]
        + [f"proposer-{number}" for number in (1, 2, 3)]
        + [f"acceptor-{number}" for number in (1, 2, 3)]
        + [f"learner-{number}" for number in (1, 2)]
        + [f"client-{number}" for number in (1, 2)]
    )
]

BALLOT = 1203

STATUSES: dict[str, dict[str, Any]] = {
    "discovery": {
        "nodes": [
            {
                "node": name,
                "role": name.partition("-")[0],
                "host": "127.0.0.1",
                "peer_port": port + 9000,
                "page_port": port,
                "incarnation": 1760000000 + port,
                "age_s": 0.2 * (port - 8000),
                "cluster": "5f1f3a",
                "leader_ballot": BALLOT,
                "summary": f"promised {BALLOT}, slot 123456",
            }
            for name, port in NEIGHBOURS
            if name not in ("discovery", "acceptor-2")
        ],
        "missing": ["acceptor-2"],
        "leader": "proposer-3",
        "ballot": BALLOT,
    },
    "proposer": {
        "phase": "leading",
        "ballot": BALLOT,
        "leader": "proposer-3",
        "leader_ballot": BALLOT,
        "decided": 123456,
        "next_slot": 123460,
        "inflight": 3,
        "queued": 0,
        "voting": ["acceptor-1", "acceptor-3"],
        "abstaining": {"acceptor-2": "its volume is blank in a cluster that already lives"},
        "elections": 2,
        "proposals": 123467,
    },
    "acceptor": {
        "phase": "open",
        "reason": "",
        "promised": BALLOT,
        "highest_slot": 123459,
        "decided": 123456,
        "leader_ballot": BALLOT,
        "accepts": 123459,
        "nacks": 4,
        "keeping": {
            "base": 100000,
            "snapshot_slot": 100000,
            "snapshot_bytes": 12_400_000,
            "kept": {"acceptor-1": 100000, "acceptor-2": 120000, "acceptor-3": 120000},
            "incoming": 3_250_000,
            "incoming_bytes": 12_600_000,
            "behind": False,
        },
    },
    "learner": {
        "applied": 123456,
        "highest_seen": 123456,
        "missing": 0,
        "revision": 100221,
        "keys": 100003,
        "values": 14,
        "sessions": 2,
        "now_ms": 1760000000000,
        "reads": 5000,
        "snapshots": {
            "kept_slot": 120000,
            "kept": {"acceptor-1": 100000, "acceptor-2": 120000, "acceptor-3": 120000},
            "log_bytes": 12_582_912,
            "log_slots": 3456,
            "taking": False,
            "taken_slot": 120000,
            "taken_bytes": 12_600_000,
            "restored_bytes": 0,
            "restoring_bytes": 0,
        },
    },
    "client": {
        "leader": "proposer-3",
        "ballot": BALLOT,
        "quorum": {
            "needed": 2,
            "of": 3,
            "voting": ["acceptor-1", "acceptor-3"],
            "abstaining": {"acceptor-2": "blank volume"},
        },
        "learner": "learner-1",
        "session": 12,
        "queued": 0,
        "inflight": 1,
        "connections": 50,
        "writes": 1234567,
        "reads": 7654321,
        "errors": 0,
        "write_ms": {"p50": 1.234, "p99": 12.9},
        "read_ms": {"p50": 0.812, "p99": 3.41},
        "door": 6001,
    },
}


UPKEEPS: dict[str, dict[str, Any]] = {
    "acceptor": {
        "kept_slot": 120000,
        "log_slots": 23459,
        "cuttable_slots": 20000,
        "missing_slots": 0,
        "snapshot_age_s": None,
        "held_back": True,
        "text": "acceptor-1 keeps no snapshot newer than slot 100,000 (a quorum does: the others "
        "cut without it); one is coming in: 3.1 of 12 MiB",
    },
    "learner": {
        "due_bytes": 67_108_864,
        "due_slots": 100000,
        "snapshot_age_s": 185.0,
        "held_back": False,
        "text": "acceptor-1 keeps no snapshot newer than slot 100,000 (a quorum does: the others "
        "cut without it)",
    },
}


class FakeView:
    """A `NodeView` whose answers are plain attributes."""

    def __init__(self, node: str = "proposer-3") -> None:
        self.node = node
        self.role = node.partition("-")[0]
        self.neighbours = list(NEIGHBOURS)
        self.log = LogRing(node=node)
        self.healthy = (True, "")
        self.ready = (True, "")
        self.status = dict(STATUSES[self.role])
        self.upkeep = dict(UPKEEPS[self.role]) if self.role in UPKEEPS else None
        self.membership: dict[str, Any] = {
            "epoch": 0,
            "slot": 0,
            **{
                f"{role}s": [name for name, _ in NEIGHBOURS if name.startswith(role)]
                for role in ("proposer", "acceptor", "learner", "client")
            },
            "member": True,
        }
        self.started = time.time() - 4000.0

    def state(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "role": self.role,
            "version": "0.1.0",
            "cluster": "5f1f3a2b9c",
            "pid": 4711,
            "uptime_s": time.time() - self.started,
            "incarnation": 1760000000123456,
            "healthy": self.healthy[0],
            "ready": self.ready[0],
            "reason": self.healthy[1] or self.ready[1],
            "memory_bytes": 41_234_567,
            "volume_bytes": 73_400_320 if self.role in ("acceptor", "learner") else None,
            "links": [
                {"peer": name, "connected": name != "acceptor-2", "since_s": 4000.0 - port % 100}
                for name, port in self.neighbours
                if name != self.node
            ],
            "membership": self.membership,
            "upkeep": self.upkeep,
            "status": self.status,
        }

    def health(self) -> tuple[bool, str]:
        return self.healthy

    def readiness(self) -> tuple[bool, str]:
        return self.ready

    def metrics(self) -> bytes:
        return b"# TYPE paxos_slots counter\npaxos_slots 7\n"

    def note(self, what: str, text: str, level: Level = Level.INFO, **fields: Any) -> None:
        """Add a line to the log."""
        glyph = "!" if level in (Level.WARNING, Level.ERROR) else "="
        self.log.add(
            Trace(what=what, text=text, level=level, glyph=glyph, fields=fields), time.time()
        )
