"""One coverage-guided run of one target, in a process of its own: libFuzzer ends the process.

    python -m tests.fuzz.guided_child TARGET [libFuzzer's options and folders]

`tests.fuzz.guided` starts it. Half of the changes to an input are libFuzzer's, which knows what
new code an input has reached; the other half are the target's own, which knows its structure.
"""

from __future__ import annotations

import sys
from random import Random

import atheris

with atheris.instrument_imports(include=["paxos", "h11"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run until libFuzzer ends the process."""
    target = TARGETS[sys.argv[1]]

    def mutate(data: bytes, bytes_max: int, seed: int) -> bytes:
        dice = Random(seed)
        if dice.randrange(2):
            return bytes(atheris.Mutate(data, bytes_max))
        for _ in range(dice.choice((1, 1, 2, 4))):
            data = target.mutate(data, dice)
        return data[:bytes_max]

    atheris.Setup([sys.argv[0], *sys.argv[2:]], target.run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
