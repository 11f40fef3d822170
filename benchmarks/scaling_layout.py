"""A layout: how many nodes there are of each role that can be multiplied."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import BenchmarkError

ROLES = ("gateway", "leader", "acceptor", "learner")
"""What work is counted under. The other proposers and discovery do next to nothing."""


@dataclass(frozen=True, order=True)
class Layout:
    """So many acceptors, gateways and learners; one of three proposers leads."""

    acceptors: int = 3
    gateways: int = 2
    learners: int = 2

    @property
    def title(self) -> str:
        """`3x2x2` for 3 acceptors, 2 gateways, 2 learners."""
        return f"{self.acceptors}x{self.gateways}x{self.learners}"

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Return the layout of such a title. Raises BenchmarkError for anything else."""
        try:
            acceptors, gateways, learners = map(int, text.split("x"))
        except ValueError:
            raise BenchmarkError(f"{text!r} is no layout; 3x2x2 would be one") from None
        return cls(acceptors, gateways, learners)

    def count(self, role: str) -> int:
        """Return how many nodes do a role's work."""
        counts = {
            "gateway": self.gateways,
            "leader": 1,
            "acceptor": self.acceptors,
            "learner": self.learners,
        }
        return counts[role]
