"""The one clock of a node: wall-clock milliseconds that never jump.

Anchored to the wall clock when the process starts and driven by the monotonic clock from there,
so that a clock that is set while the node runs disturbs no timeout.
"""

from __future__ import annotations

import time


class Clock:
    """Milliseconds since 1970, monotonic within this process."""

    def __init__(self) -> None:
        self._anchor_ms = time.time() * 1000 - time.monotonic() * 1000

    def now_ms(self) -> float:
        """Return the present in milliseconds."""
        return self._anchor_ms + time.monotonic() * 1000

    def now_s(self) -> float:
        """Return the present in seconds."""
        return self.now_ms() / 1000
