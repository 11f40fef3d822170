"""Tells on stderr what is under way, and about how long it will take yet."""

from __future__ import annotations

import sys
import time


class Progress:
    """Counts the estimated seconds of what has been done; scales the rest by how wrong it was."""

    def __init__(self, estimated_s: float) -> None:
        self._estimated_s = estimated_s
        self._done_s = 0.0
        self._started_s = time.monotonic()

    def done(self, estimated_s: float) -> None:
        """Note that something whose estimate was so much has been done."""
        self._done_s += estimated_s

    def left(self) -> str:
        """Return about how long it takes yet, such as `~4:10 left`."""
        passed_s = time.monotonic() - self._started_s
        # The first few seconds say little about how wrong the estimate is.
        trust = min(1.0, self._done_s / 60.0)
        pace = 1.0 + trust * (passed_s / self._done_s - 1.0) if self._done_s else 1.0
        return f"~{clock(max(0.0, self._estimated_s - self._done_s) * pace)} left"

    def say(self, text: str) -> None:
        """Tell a line, with the time left."""
        say(f"[{self.left():>13}] {text}")


def clock(seconds: float) -> str:
    """Return `4:10` for 250 seconds, `1:04:10` for an hour more."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def say(text: str) -> None:
    """Tell a line on stderr."""
    print(text, file=sys.stderr, flush=True)
