"""Random choices that are the same on every version of Python.

`random.Random` promises the sequence of `random()` for a seed, and nothing for `choice`, `sample`
or `shuffle`. A seed must mean the same run everywhere, so everything here is made of `random()`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Dice:
    """A seeded source of choices. `name` parts independent sources of one seed."""

    def __init__(self, seed: int, name: str) -> None:
        # A string seed is hashed by SHA-512 inside `random`, whatever PYTHONHASHSEED says.
        self._random = random.Random(f"{seed}/{name}").random

    def roll(self) -> float:
        """Return a number in [0, 1)."""
        return self._random()

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._random() < probability

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self._random()

    def whole(self, low: int, high: int) -> int:
        """Return a whole number in low..high, both included."""
        return low + int(self._random() * (high - low + 1))

    def pick(self, items: Sequence[Item]) -> Item:
        """Return one of the items. Raises IndexError when there is none."""
        return items[int(self._random() * len(items))]

    def weighted(self, items: Sequence[tuple[Item, float]]) -> Item:
        """Return one of the items, each as often as its weight says."""
        total = 0.0
        for _, weight in items:
            total += weight
        at = self._random() * total
        for item, weight in items:
            at -= weight
            if at < 0:
                return item
        return items[-1][0]

    def some(self, items: Sequence[Item], count: int) -> list[Item]:
        """Return `count` different items in a random order, or all when there are fewer."""
        left = list(items)
        taken: list[Item] = []
        while left and len(taken) < count:
            taken.append(left.pop(int(self._random() * len(left))))
        return taken
