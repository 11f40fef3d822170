"""How a mutant is hunted: in the simulator, in small worlds, by a test; in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import ROOT, Killer, Mutant, Simulator, UnitTest, World

HUNT = Path(__file__).with_name("hunt.py")
WITHIN_S = 100
"""No hunt takes longer: a mutant that makes a run hang is not found that way."""
_SEED = re.compile(r"seed (\d+)")


@dataclass(frozen=True, kw_only=True)
class Kill:
    """How one killer fared. `by` is who saw the fault, "" when nobody did; `took` is the seed that
    showed it, or the steps of the shortest counter-example, or 0 for a test.
    """

    killer: Killer
    by: str
    took: int
    what: str

    def __str__(self) -> str:
        if not self.by:
            return "SURVIVED"
        match self.killer:
            case Simulator():
                return f"{self.by}, seed {self.took}"
            case World(name=name):
                return f"world {name}, {self.took} steps"
            case UnitTest(node=node):
                return node.rpartition("::")[2].replace("test_", "test ", 1).replace("_", " ")


class HuntFailed(AssertionError):
    """The hunt itself went wrong: that is no kill."""


def hunt(mutant: Mutant, tree: Path, known: str = "") -> list[Kill]:
    """Let each of a mutant's killers loose on the tree it was planted in. Raises HuntFailed.

    `known` is what found it the last time, as it stands in the table: the simulator begins with
    the seeds that are named there.
    """
    searches = [killer for killer in mutant.killers if not isinstance(killer, UnitTest)]
    kills = _search(mutant.name, searches, tree, known) if searches else []
    tests = [killer for killer in mutant.killers if isinstance(killer, UnitTest)]
    return [*kills, *(_test(mutant.name, test, tree) for test in tests)]


def _search(name: str, killers: list[Simulator | World], tree: Path, known: str) -> list[Kill]:
    seeds = iter(map(int, _SEED.findall(known)))
    searches = [_asked(killer, seeds) for killer in killers]
    done = _run([sys.executable, str(HUNT), json.dumps(searches)], tree)
    if done.returncode != 0:
        raise HuntFailed(f"{name}: the search itself fell over:\n{done.stderr}")
    answer = json.loads(done.stdout)
    if not answer["paxos"].startswith(str(tree)):
        raise HuntFailed(f"{name}: {answer['paxos']} was run instead of the mutant")
    return [
        Kill(
            killer=killer,
            by=seen_by(found["kind"], found["violation"]),
            took=found["took"],
            what=found["violation"],
        )
        for killer, found in zip(killers, answer["found"], strict=True)
    ]


def _asked(killer: Simulator | World, known_seeds: Iterator[int]) -> dict[str, object]:
    match killer:
        case Simulator(options=options, seeds_max=seeds_max):
            first = next(known_seeds, 1)
            return {"options": dict(options), "seeds_max": seeds_max, "first": first}
        case World(name=name, states_max=states_max):
            return {"world": name, "states_max": states_max}


def _test(name: str, test: UnitTest, tree: Path) -> Kill:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=line", "-p", "no:cacheprovider"]
    command += ["-p", "no:xdist", "-o", f"pythonpath={tree} {ROOT}", test.node]
    done = _run(command, tree)
    # 1: tests were run and some failed. Everything else is no verdict on the mutant.
    if done.returncode not in (0, 1):
        raise HuntFailed(f"{name}: pytest could not run {test.node}:\n{done.stdout}{done.stderr}")
    by = "test" if done.returncode == 1 else ""
    return Kill(killer=test, by=by, took=0, what=done.stdout.strip().rpartition("\n")[2])


def _run(command: list[str], tree: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(tree)
    try:
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=WITHIN_S
        )
    except subprocess.TimeoutExpired as late:
        raise HuntFailed(f"no end after {WITHIN_S} s: {' '.join(command)}") from late


def seen_by(kind: str, violation: str) -> str:
    """Name the checker that a violation comes from; "" without one."""
    if kind in ("", "liveness", "world"):
        return kind
    for start, checker in (
        ("an invariant broke", "invariant"),
        ("the history is not linearizable", "linearizability"),
        ("a node fell over", "a node fell over"),
        ("LocalProtocolError", "journal"),
        ("client ", "client"),
    ):
        if violation.startswith(start):
            return checker
    return "oracle"
