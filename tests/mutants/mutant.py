"""What a mutant is: a fault put into the source on purpose, and who must notice it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from paxos.sim import faults

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "paxos"

SEEDS_MAX = 150
"""A mutant that lives through so many seeds of the simulator has survived."""

STATES_MAX = 60_000
"""A mutant that lives through so many states of a small world has survived."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """`old` becomes `new` in a file below src/paxos. `old` occurs there exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """Seeds from 1 upwards. `options` are fields of `paxos.sim.simulation.Options`."""

    options: Mapping[str, object] = field(default_factory=dict)
    seeds_max: int = SEEDS_MAX


@dataclass(frozen=True, kw_only=True)
class World:
    """A small world of the model checker, by its name."""

    name: str
    states_max: int = STATES_MAX


@dataclass(frozen=True, kw_only=True)
class UnitTest:
    """One test that must fail, for faults that no simulated world reaches soon enough."""

    node: str


Killer: TypeAlias = Simulator | World | UnitTest


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One fault. Each of its killers must notice it.

    `rule` is the number of the rule in docs/safety.md that it breaks, or `order` (a connection's
    commands take effect in order), or `liveness`. `fault` says in a sentence what is wrong.
    """

    name: str
    rule: str
    fault: str
    changes: tuple[Change, ...]
    killers: tuple[Killer, ...]


def change(file: str, old: str, new: str) -> Change:
    """Return a change."""
    return Change(file=file, old=old, new=new)


def blind(check: str) -> Change:
    """Return the change that takes one check out of core/invariants.py."""
    return change("core/invariants.py", check, "pass")


def unwatched(mutant: Mutant, *blinds: Change, killers: tuple[Killer, ...]) -> Mutant:
    """Return the same fault without the watcher's check that sees it at once: what lies behind
    must find it as well.
    """
    return Mutant(
        name=f"{mutant.name}-unwatched",
        rule=mutant.rule,
        fault=f"{mutant.fault} The watcher's check is gone as well.",
        changes=(*mutant.changes, *blinds),
        killers=killers,
    )


# ---------------------------------------------------------------- faults that suit a mutant

_SHORT: Mapping[str, object] = {"time_ms": 3000.0, "gap_ms": 80.0}

ANYTHING = Simulator(options={"time_ms": 3000.0})
"""Every kind of fault."""

DUELS = Simulator(
    options={"kinds": ["isolate", "one-way", "quorum-loss", "random-cuts", "loss"], **_SHORT}
)
"""Leaders that follow each other quickly, with slots left open."""

PARTIAL = Simulator(options={"kinds": ["quorum-loss", "constrained", "chained"], **_SHORT})
"""The partial partitions of Omni-Paxos."""

LIVES = Simulator(options={"kinds": ["crash", "power", "crash-at-sync", "delay", "clog"], **_SHORT})
"""Nodes that die and come back while old messages are still under way."""

USURPERS = Simulator(
    options={
        "kinds": ["usurp", "crash", "delay", "clog", "loss"],
        "time_ms": 2000.0,
        "gap_ms": 80.0,
    }
)
"""Gateways whose name another process takes over."""

WIPES = Simulator(options={"kinds": ["wipe", "crash"], "time_ms": 1500.0, "gap_ms": 80.0})
"""Volumes that are lost."""

ROT = Simulator(options={"kinds": ["bit-flip", "crash"], "time_ms": 2000.0})
"""Bits that flip on disks."""

_UPKEEP: Mapping[str, object] = {
    "kinds": [
        *("crash-at-snapshot", "crash-at-part", "crash-at-cut", "everybody-killed", "away"),
        *("snapshot-disk-full", "crash", "isolate", "quorum-loss", "split", "loss", "reorder"),
    ],
    "time_ms": 3000.0,
    "gap_ms": 100.0,
}

SNAPSHOTS = Simulator(options=_UPKEEP)
"""Nodes that die or are away while snapshots are taken and kept, and logs are cut."""

SNAPSHOTS_OF_FIVE = Simulator(options={**_UPKEEP, "acceptors": 5})
"""The same, among five acceptors."""

MEMBERS = Simulator(
    options={"kinds": list(faults.GROUPS["members"]), "time_ms": 4000.0, "gap_ms": 100.0}
)
"""Operators add, remove and replace nodes while others die, are away and cannot be reached."""

LOST_MEMBERS = Simulator(
    options={
        "kinds": ["members", "delay", "loss", "reorder", "one-way", "random-cuts"],
        "time_ms": 4000.0,
        "gap_ms": 40.0,
        "clients": 12,
        "acceptors": 3,
    }
)
"""The same, with many clients, and messages that come late or never."""

CLOGS = Simulator(
    options={
        "kinds": ["clog"],
        "time_ms": 1500.0,
        "gap_ms": 60.0,
        "clients": 10,
        "acceptors": 3,
    }
)
"""Directions that hold their messages back, with many clients that read what others wrote."""

TAKEOVERS = Simulator(
    options={
        "kinds": ["usurp", "clog"],
        "time_ms": 1500.0,
        "gap_ms": 60.0,
        "acceptors": 3,
        "proposers": 1,
    }
)
"""Gateways whose name is taken over often, while what they had sent is held back."""

SCATTERED = UnitTest(
    node="tests/sim/test_lost_acceptor.py::"
    "test_learner_catches_up_quickly_when_every_slot_needs_the_leader"
)
"""A log that acceptors cannot make whole by themselves, since one of them is lost."""

RESTARTS = Simulator(
    options={
        "kinds": ["crash", "clog"],
        "time_ms": 2000.0,
        "gap_ms": 25.0,
        "clients": 14,
        "acceptors": 3,
        "proposers": 1,
        "gateways": 2,
    }
)
"""Few nodes, which die again and again while old messages are held back."""
