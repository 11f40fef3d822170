"""One role: its step, its checks, its effects in the only legal order.

Production and simulation both run roles through this one place, so that the order *persist, sync,
then everything else* cannot be forgotten anywhere (DESIGN rules 1 and 3; the model is the `Ready`
contract of etcd-io/raft).
"""

from __future__ import annotations

from collections.abc import Callable

from .effects import Drained, Effect, Event, Journal, Persist
from .invariants import Role, watcher_for


class Stepper:
    """Runs a role.

    `step` may be called many times before `release`: everything that those steps want durable
    then shares one sync, and nothing else leaves before it.
    """

    def __init__(
        self,
        role: Role,
        journal: Journal | None,
        clock: Callable[[], float],
        dice: Callable[[], float],
    ) -> None:
        self.role = role
        self._journal = journal
        self._clock = clock
        self._dice = dice
        self._watcher = watcher_for(role)
        self._outbox: list[Effect] = []
        self._unsynced = False
        self._drained = Drained()

    def step(self, event: Event) -> None:
        """Run one step and check it. Raises InvariantViolation, and nothing has left then."""
        effects = self.role.step(event, self._clock(), self._dice())
        self._watcher.check(effects)
        for effect in effects:
            if type(effect) is Persist:
                if self._journal is None:
                    raise TypeError(f"{type(self.role).__name__} has no journal to persist in")
                self._journal.append(effect.record)
                self._unsynced = True
            else:
                self._outbox.append(effect)

    @property
    def unsynced(self) -> bool:
        """Whether the steps so far want something durable: `release` will have to sync."""
        return self._unsynced

    def release(self) -> list[Effect]:
        """Tell the role that its input is drained, make everything durable, and hand over what
        may now leave. Raises StorageError when the sync fails: then nothing leaves, ever.
        """
        self.step(self._drained)
        if self._unsynced and self._journal is not None:
            self._journal.sync()
            self._unsynced = False
        released, self._outbox = self._outbox, []
        return released
