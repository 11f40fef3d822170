"""Frames: four bytes of length, big-endian, then that many bytes of msgpack.

Sans-I/O. Every length is checked before a byte of the frame is kept (DESIGN rule 10).
"""

from __future__ import annotations

from collections.abc import Iterator

from paxos.core.errors import LocalProtocolError, RemoteProtocolError

HEADER_BYTES = 4


def frame(body: bytes) -> bytes:
    """Return the body with its length in front. Raises LocalProtocolError from 4 GiB on."""
    if len(body) >= 1 << 32:
        raise LocalProtocolError(f"a frame of {len(body)} bytes cannot be sent")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


class FrameReader:
    """Cuts a byte stream into frames. `frame_bytes_max` bounds what it will ever hold."""

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._kept = bytearray()

    @property
    def partial(self) -> bool:
        """Whether part of a frame is held."""
        return bool(self._kept)

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes in, return the bodies of the frames they complete.

        Raises RemoteProtocolError for an empty frame or one above the limit.
        """
        return list(self.frames(data))

    def frames(self, data: bytes) -> Iterator[bytes]:
        """Take bytes in, yield the bodies of the frames they complete, one by one.

        Each length is checked when its turn comes, so that what a frame says may raise the limit
        for the next one in the same bytes. Raises RemoteProtocolError as `feed` does. Bytes are
        kept for later only when all frames were taken.
        """
        if self._kept:
            self._kept += data
            if not self._complete(self._kept):
                return
            data = bytes(self._kept)
            self._kept.clear()
        start, end = 0, len(data)
        while end - start >= HEADER_BYTES:
            body = start + HEADER_BYTES
            size = self._size(data, start)
            if end - body < size:
                break
            yield data[body : body + size]
            start = body + size
        if start < end:
            self._kept += data[start:] if start else data

    def _complete(self, kept: bytearray) -> bool:
        if len(kept) < HEADER_BYTES:
            return False
        return len(kept) - HEADER_BYTES >= self._size(kept, 0)

    def _size(self, data: bytes | bytearray, start: int) -> int:
        size = int.from_bytes(data[start : start + HEADER_BYTES], "big")
        if not 0 < size <= self.frame_bytes_max:
            raise RemoteProtocolError(
                f"a frame of {size} bytes was announced; 1 to {self.frame_bytes_max} are allowed"
            )
        return size
