"""What the parts of a proposer share: its state, and what they ask of one another.

proposer.py is the whole; reopening.py and reconfiguring.py are rooms of their own. Refuses to do
anything.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from enum import StrEnum

from .changing import Changing
from .configuring import View
from .effects import Effect
from .election import Election
from .gathering import Gathering
from .messages import Change, Prepare
from .quorum import Membership
from .settings import Limits, Timeouts
from .types import Ballot, NodeId, Slot

NO_OP = b""
"""The value that fills a gap: it holds no batch at all."""


class Phase(StrEnum):
    """What a proposer is doing."""

    FOLLOWING = "follower"
    CANVASSING = "canvassing"
    PREPARING = "preparing"
    LEADING = "leading"


class Open:
    """A slot that this leader has proposed and that is not chosen yet."""

    __slots__ = ("sent_ms", "tries", "value", "votes")

    def __init__(self, value: bytes, now_ms: float) -> None:
        self.value = value
        self.votes: set[NodeId] = set()
        self.sent_ms = now_ms
        self.tries = 1


class Office(metaclass=ABCMeta):
    """A proposer, as its parts see it. The attributes are described where they are set."""

    node: NodeId
    ballot: Ballot
    phase: Phase
    decided: Slot
    next_slot: Slot
    open: dict[Slot, Open]
    barrier: Slot
    cluster: str
    view: View
    membership: Membership
    _timeouts: Timeouts
    _limits: Limits
    _others: tuple[NodeId, ...]
    _election: Election
    _gathering: Gathering | None
    _prepare_tries: int
    _open_bytes: int
    _stamped_ms: int
    _changing: Changing | None
    _joining: frozenset[NodeId]
    _older: set[NodeId]
    _barrier_change: Change | None
    _barrier_chosen: bool

    @abstractmethod
    def _step_down(self, why: str, dice: float) -> list[Effect]: ...

    @abstractmethod
    def _prepare(self, gathering: Gathering) -> Prepare: ...

    @abstractmethod
    def _propose(
        self, slot: Slot, value: bytes, now_ms: float, relaxed: tuple[NodeId, ...] = ()
    ) -> list[Effect]: ...

    @abstractmethod
    def _propose_next(
        self, value: bytes, now_ms: float, relaxed: tuple[NodeId, ...] = ()
    ) -> list[Effect]: ...

    @abstractmethod
    def _window_open(self, size: int) -> bool: ...

    @abstractmethod
    def _stamp(self, batches: list[bytes], now_ms: float) -> bytes: ...
