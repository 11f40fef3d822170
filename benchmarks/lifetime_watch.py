"""Looks at a running cluster: what its nodes take on disk and in memory, and its snapshots."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import accounting
from .clusters.paxos import PaxosCluster
from .lifetime_records import Sample

_BLOCK_BYTES = 512
"""The unit of st_blocks, whatever the file system's own."""


@dataclass(frozen=True)
class Look:
    """What there was to see at one moment. See Sample, which it becomes when the load has ended."""

    at_unix_ms: float
    revision: int
    """How many changes the first learner has applied, since the founding."""
    disk_bytes: dict[str, int]
    memory_bytes: dict[str, int]
    child_bytes: dict[str, int]
    applied: int
    kept: int

    def sample(self, started_unix_ms: float, written: int) -> Sample:
        """Return this as a sample of a load that began then."""
        return Sample(
            at_s=round((self.at_unix_ms - started_unix_ms) / 1000, 3),
            written=written,
            disk_bytes=self.disk_bytes,
            memory_bytes=self.memory_bytes,
            child_bytes=self.child_bytes,
            applied=self.applied,
            kept=self.kept,
        )


def look(cluster: PaxosCluster, nodes: dict[str, int]) -> Look:
    """Look now; `nodes` are pids by name. Raises BenchmarkError."""
    at_unix_ms = time.time() * 1000
    disk = {name: folder_bytes(cluster.volume(name)) for name in nodes}
    held = accounting.memory(nodes)
    children = {name: accounting.children_bytes(pid) for name, pid in nodes.items()}
    status = cluster.state("learner-1")["status"]
    return Look(
        at_unix_ms=at_unix_ms,
        revision=int(status["revision"]),
        disk_bytes=disk,
        memory_bytes={name: one.rss_bytes for name, one in held.items()},
        child_bytes={name: held for name, held in children.items() if held},
        applied=int(status["applied"]),
        kept=int(status["snapshots"]["kept_slot"]),
    )


def watched(cluster: PaxosCluster) -> dict[str, int]:
    """Return the pids of the nodes that keep something, by name."""
    return {
        name: pid
        for name, pid in sorted(cluster.processes().items())
        if name.startswith(("acceptor-", "learner-"))
    }


def folder_bytes(folder: Path) -> int:
    """Return what a folder's files take on the disk; one that goes meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_blocks * _BLOCK_BYTES
            except FileNotFoundError:
                continue
    return total


# ---------------------------------------------------------------- snapshots


@dataclass(frozen=True)
class Snapshots:
    """Where the cluster's snapshots are."""

    taking: bool
    """A learner takes one."""
    taken: int
    """The slot of the newest that a learner took; 0 for none."""
    kept: int
    """Every acceptor keeps one of this slot or later; 0 when one keeps none."""
    coming: bool
    """One comes in at an acceptor."""

    @property
    def is_quiet(self) -> bool:
        """Whether nobody has anything to do with one."""
        return not self.taking and not self.coming and self.kept >= self.taken


def snapshots(cluster: PaxosCluster, nodes: Sequence[str]) -> Snapshots:
    """Ask all acceptors and learners among the nodes. Raises BenchmarkError when one is silent."""
    states: dict[str, dict[str, Any]] = {name: cluster.state(name)["status"] for name in nodes}
    learners = [one["snapshots"] for name, one in states.items() if name.startswith("learner-")]
    acceptors = [one["keeping"] for name, one in states.items() if name.startswith("acceptor-")]
    return Snapshots(
        taking=any(one["taking"] for one in learners),
        taken=max(int(one["taken_slot"]) for one in learners),
        kept=min(int(one["snapshot_slot"]) for one in acceptors),
        coming=any(one["incoming_bytes"] for one in acceptors),
    )


def kept_by_all(cluster: PaxosCluster, nodes: Sequence[str], slot: int) -> bool:
    """Tell whether every acceptor among the nodes keeps a snapshot of the slot or later. Raises
    BenchmarkError. It asks no more of them than it must: they are being measured.
    """
    return all(
        int(cluster.state(name)["status"]["keeping"]["snapshot_slot"]) >= slot
        for name in nodes
        if name.startswith("acceptor-")
    )
