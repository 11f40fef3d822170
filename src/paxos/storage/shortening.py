"""Removing the segments below a cut, beside the loop.

Unlinking a segment of 16 MiB takes some milliseconds (measured: 3.6 on ext4, as long as dozens
of syncs), and a vote must not wait for it. Nothing depends on when this ends: the cut is durable in
the log, so a crash at any moment loses nothing but the space. The order within is what counts:
the new base file is durable before the first segment goes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .base import write_base
from .folder import reason_of
from .recovery import segment_path


class Shortener:
    """Replaces a volume's base file and removes segments, one request after the other.

    `failure` is None, or why a request failed: the disk is of no more use then. `bytes_left` is
    what the segments take that are yet to be removed.
    """

    def __init__(self, folder: Path) -> None:
        self.failure: str | None = None
        self._folder = folder
        self._bytes_asked = 0
        self._bytes_removed = 0
        # One thread, which begins with the first request.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shortener")

    @property
    def bytes_left(self) -> int:
        """How many bytes are asked to go and are not gone yet."""
        return self._bytes_asked - self._bytes_removed

    def begin(self, content: bytes, gone: dict[int, int]) -> None:
        """Begin to write the base file and to remove segments, given by number and length."""
        self._bytes_asked += sum(gone.values())
        self._worker.submit(self._shorten, content, gone)

    def close(self) -> None:
        """Wait until everything begun has ended. A second call does nothing."""
        self._worker.shutdown()

    def _shorten(self, content: bytes, gone: dict[int, int]) -> None:
        if self.failure is not None:
            return
        try:
            write_base(self._folder, content)
            for number, size in gone.items():
                segment_path(self._folder, number).unlink()
                self._bytes_removed += size
        except OSError as error:
            self.failure = reason_of(error)
