"""A role's named timers on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timers:
    """Named one-shot timers; setting one replaces it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fired: Callable[[str], None]) -> None:
        self._loop = loop
        self._fired = fired
        self._handles: dict[str, asyncio.TimerHandle] = {}

    def set(self, name: str, after_ms: float) -> None:
        """Let `fired(name)` be called after a while."""
        running = self._handles.get(name)
        if running is not None:
            running.cancel()
        self._handles[name] = self._loop.call_later(after_ms / 1000, self._fire, name)

    def cancel(self, name: str) -> None:
        """Stop a timer, if it runs."""
        running = self._handles.pop(name, None)
        if running is not None:
            running.cancel()

    def cancel_all(self) -> None:
        """Stop every timer."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _fire(self, name: str) -> None:
        self._handles.pop(name, None)
        self._fired(name)
