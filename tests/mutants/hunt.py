"""Runs in a process of its own, on a mutated tree: seeds until the first that fails, and small
worlds until a rule does not hold.

    python hunt.py '[{"first": 47, "seeds_max": 60, "options": {}},
                     {"world": "one-slot", "states_max": 9000}]'

The seed `first` is tried before all those from 1 on. Prints one line of JSON: which package was
run, and for each search which seed, or how many steps it took, and what was found; no violation:
the mutant survived.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import paxos


def main() -> None:
    """Carry out the searches named on the command line."""
    found = [_world(one) if "world" in one else _seeds(one) for one in json.loads(sys.argv[1])]
    print(json.dumps({"paxos": paxos.__file__, "found": found}))


def _seeds(asked: dict[str, Any]) -> dict[str, Any]:
    from paxos.sim import simulation

    options = options_of(asked["options"])
    for seed in (asked["first"], *range(1, asked["seeds_max"] + 1)):
        outcome = simulation.run(seed, options)
        if outcome.violation:
            return {"took": seed, "kind": outcome.kind, "violation": outcome.violation}
    return {"took": asked["seeds_max"], "kind": "", "violation": ""}


def options_of(fields: dict[str, Any]) -> Any:
    """Return `simulation.Options` with these fields; lists become tuples."""
    from paxos.sim import simulation

    return simulation.Options(
        **{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    )


def _world(asked: dict[str, Any]) -> dict[str, Any]:
    from paxos.sim.modelcheck.bounds import world_named
    from paxos.sim.modelcheck.explorer import Explorer

    result = Explorer(world_named(asked["world"])).run(asked["states_max"])
    violation = result.violation
    if violation is None:
        return {"took": result.depth, "kind": "", "violation": ""}
    return {"took": violation.steps, "kind": "world", "violation": violation.what}


if __name__ == "__main__":
    main()
