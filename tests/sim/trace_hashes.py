"""Prints the trace hashes of some short simulated lives: what a seed means, in a few bytes.

Needs nothing but the simulator, so that scripts/other_pythons.sh can run it anywhere.
"""

from __future__ import annotations

from paxos.sim.simulation import Options, run

SHORT = Options(time_ms=2500.0)
RECORDED = range(1, 9)


def hashes() -> str:
    """Return a line per seed: the seed and its trace hash."""
    return "".join(f"{seed} {run(seed, SHORT).trace_hash}\n" for seed in RECORDED)


if __name__ == "__main__":
    print(hashes(), end="")
