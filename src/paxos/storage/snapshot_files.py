"""Snapshots in a volume's folder: files `snapshot-<slot>`, of which the newest counts.

A file's content is the stream that travels, byte for byte; what it means is the business of the
`verify` that is handed in. One comes in part by part as a draft, `snapshot.tmp`; each part is
synced when it is written, so that the end has little left to sync. Once whole, and every checksum
verified, it gets its name, the folder is synced, and older snapshots go.

Reads are checked against checksums that are taken down while a file is verified: one that rots
while it is in use is found before any of it travels.

Parts are written by one thread; `newest` and `read` may be used by another meanwhile. The folder
belongs to a journal, which holds its lock.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from paxos.core.effects import SnapshotInfo
from paxos.core.errors import StorageError, VolumeDamaged
from paxos.core.types import Slot

from .folder import reason_of, storage_errors, sync_folder, write_whole
from .incoming import Incoming, Verify, check_not_older

DRAFT_NAME = "snapshot.tmp"
TAKING_NAME = "snapshot-taking.tmp"
"""Where a node's own snapshot is written before it is adopted."""
BYTES_SPARE = 32 * 1024 * 1024
"""What a snapshot that comes in leaves free: the log needs room more urgently."""

_NAME = re.compile(r"snapshot-(\d{20})")
_DRAFT = re.compile(r"snapshot.*\.tmp")
_BLOCK_BYTES = 64 * 1024
_MIB = 1024 * 1024


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A whole snapshot, open for reading, with the checksum of each of its blocks."""

    path: Path
    handle: int
    info: SnapshotInfo
    checksums: list[int]


class SnapshotFiles:
    """`Snapshots` (see core/effects.py) in a folder, and the way into it.

    `damage` is None, or says what is wrong with the newest file; `newest` is then None, and the
    files are left as they are. Everything that cannot be read or written raises StorageError.
    `bytes_spare` is how much a snapshot that comes in leaves free on the disk.
    """

    def __init__(self, folder: Path, verify: Verify, *, bytes_spare: int = BYTES_SPARE) -> None:
        self.damage: str | None = None
        self._folder = folder
        self._verify = verify
        self._bytes_spare = bytes_spare
        self._incoming = Incoming()
        self._draft = -1
        self._kept: _Kept | None = None
        # Held while a descriptor is used by the reader, or is changed for another.
        self._changing = threading.Lock()
        with storage_errors(f"the snapshots in {folder} cannot be opened"):
            self._open()

    # ------------------------------------------------------------ reading

    @property
    def newest(self) -> SnapshotInfo | None:
        """The newest snapshot that is whole."""
        kept = self._kept
        return None if kept is None else kept.info

    @property
    def bytes_on_disk(self) -> int:
        """How many bytes the newest snapshot and the one that comes in take."""
        kept = self._kept
        return self._incoming.size + (0 if kept is None else kept.info.size)

    def read(self, slot: Slot, offset: int, bytes_max: int) -> bytes:
        """Return bytes of the snapshot of `slot` from `offset` on; b"" when it is not here (any
        more) or ends there. Raises VolumeDamaged when it cannot be read or fails its checksums.
        """
        with self._changing:
            kept = self._kept
            if kept is None or kept.info.slot != slot or not 0 <= offset < kept.info.size:
                return b""
            first = offset // _BLOCK_BYTES
            last = min(offset + max(bytes_max, 0), kept.info.size)
            length = min(-(-last // _BLOCK_BYTES) * _BLOCK_BYTES, kept.info.size)
            length -= first * _BLOCK_BYTES
            try:
                content = os.pread(kept.handle, length, first * _BLOCK_BYTES)
            except OSError as error:
                raise VolumeDamaged(
                    f"{kept.path} at offset {offset}: cannot be read: {reason_of(error)}"
                ) from error
        if len(content) != length:
            at = first * _BLOCK_BYTES + len(content)
            raise VolumeDamaged(f"{kept.path} at offset {at}: the snapshot is cut short")
        view = memoryview(content)
        for number, start in enumerate(range(0, length, _BLOCK_BYTES), start=first):
            if zlib.crc32(view[start : start + _BLOCK_BYTES]) != kept.checksums[number]:
                raise VolumeDamaged(
                    f"{kept.path} at offset {number * _BLOCK_BYTES}: the snapshot of slot {slot} "
                    "fails its checksum"
                )
        begin = offset - first * _BLOCK_BYTES
        return content[begin : begin + last - offset]

    # ------------------------------------------------------------ writing

    @property
    def taking(self) -> Path:
        """The path to write an own snapshot to, for `adopt`; what a crash leaves is removed."""
        return self._folder / TAKING_NAME

    def write_part(self, slot: Slot, size: int, offset: int, data: bytes) -> bool:
        """Write and sync a part of the snapshot of `slot`, `size` bytes in all; tell whether it
        is whole now, and the newest. Offset 0 drops another that had begun. Blocks.

        Raises StorageError, and nothing is left of it: parts that do not follow each other, no
        room, a disk that refuses, or a whole that fails its checksums or is of another slot.
        """
        try:
            with storage_errors(f"the snapshot of slot {slot} cannot be written"):
                return self._write_part(slot, size, offset, data)
        except StorageError:
            self.discard()
            raise

    def adopt(self, path: Path, slot: Slot) -> SnapshotInfo:
        """Take in a whole snapshot that lies at `path`, in the same folder; return it. Blocks.

        It is verified, but not synced: whoever takes its own snapshots can take another. Raises
        StorageError when it is not whole or not of `slot`, and removes it.
        """
        with storage_errors(f"the snapshot of slot {slot} cannot be kept"):
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._keep(path, handle, slot)
            except (OSError, StorageError):
                os.close(handle)
                with contextlib.suppress(OSError):
                    path.unlink()
                raise
        return SnapshotInfo(slot=slot, size=os.fstat(handle).st_size)

    def discard(self) -> None:
        """Drop what has come in of a snapshot that is not whole."""
        self._incoming.stop()
        if self._draft == -1:
            return
        os.close(self._draft)
        self._draft = -1
        # At the worst it takes room until the next draft, or the next start, takes its place.
        with contextlib.suppress(OSError):
            (self._folder / DRAFT_NAME).unlink()

    def clear(self) -> None:
        """Remove every snapshot, damaged or not: for a node that can do without. Raises
        StorageError.
        """
        self.discard()
        with storage_errors(f"the snapshots in {self._folder} cannot be removed"):
            self._replace(None)
            for path in self._paths():
                path.unlink()
        self.damage = None

    def close(self) -> None:
        """Release the files and drop what is not whole. A second call does nothing."""
        self.discard()
        self._replace(None)

    # ------------------------------------------------------------ inside

    def _open(self) -> None:
        """Verify the newest snapshot; remove drafts and older ones. Raises OSError."""
        for name in os.listdir(self._folder):
            if _DRAFT.fullmatch(name):
                (self._folder / name).unlink()
        paths = self._paths()
        if not paths:
            return
        path = paths[-1]
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        slot = Slot(int(path.name.rpartition("-")[2]))
        try:
            kept = self._verified(path, handle, slot)
        except VolumeDamaged as damage:
            os.close(handle)
            self.damage = f"{path}: {damage}"
            return
        except BaseException:
            os.close(handle)
            raise
        self._replace(kept)
        for older in paths[:-1]:
            older.unlink()

    def _write_part(self, slot: Slot, size: int, offset: int, data: bytes) -> bool:
        if offset == 0:
            self._begin(slot, size)
        self._incoming.check(slot, size, offset, len(data))
        write_whole(self._draft, [data], offset)
        os.fdatasync(self._draft)
        self._incoming.offset += len(data)
        if not self._incoming.whole:
            return False
        os.fsync(self._draft)
        self._keep(self._folder / DRAFT_NAME, self._draft, slot, durably=True)
        # The draft's descriptor is the snapshot's now.
        self._draft = -1
        self._incoming.stop()
        return True

    def _begin(self, slot: Slot, size: int) -> None:
        self.discard()
        self._incoming.begin(slot, size, self.newest)
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize
        if size + self._bytes_spare > free:
            raise StorageError(
                f"the snapshot of slot {slot} needs {-(-size // _MIB)} MiB and is to leave "
                f"{self._bytes_spare // _MIB} MiB to the log, but {free // _MIB} MiB are free in "
                f"{self._folder}: make room there"
            )
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._draft = os.open(self._folder / DRAFT_NAME, flags, 0o644)
        os.posix_fallocate(self._draft, 0, size)

    def _keep(self, draft: Path, handle: int, slot: Slot, *, durably: bool = False) -> None:
        """Verify a draft and put it in the place of the newest. Raises OSError, StorageError;
        `handle` belongs to the store when it returns.
        """
        check_not_older(slot, self.newest)
        path = self._folder / f"snapshot-{slot:020d}"
        try:
            kept = self._verified(path, handle, slot)
        except VolumeDamaged as damage:
            # What came is wrong; nothing of this volume is damaged.
            raise StorageError(
                f"the snapshot of slot {slot} did not come whole: {damage}"
            ) from damage
        os.rename(draft, path)
        if durably:
            sync_folder(self._folder)
        self._replace(kept)
        # What stays behind takes room until the next start, and nothing else.
        with contextlib.suppress(OSError):
            for other in self._paths():
                if other != path:
                    other.unlink()

    def _verified(self, path: Path, handle: int, slot: Slot) -> _Kept:
        """Read a snapshot whole. Raises VolumeDamaged when it is not that of `slot`; OSError."""
        checksums: list[int] = []
        chunks = _chunks(handle, checksums)
        found = self._verify(chunks)
        for _ in chunks:
            raise VolumeDamaged("the snapshot ends before its file does")
        if found != slot:
            raise VolumeDamaged(f"the snapshot is damaged at byte 0: it is of slot {found}")
        info = SnapshotInfo(slot=slot, size=os.fstat(handle).st_size)
        return _Kept(path=path, handle=handle, info=info, checksums=checksums)

    def _replace(self, kept: _Kept | None) -> None:
        with self._changing:
            old, self._kept = self._kept, kept
            if old is not None:
                os.close(old.handle)

    def _paths(self) -> list[Path]:
        """Return the snapshots' files, the oldest first. Raises OSError."""
        return [
            self._folder / name
            for name in sorted(os.listdir(self._folder))
            if _NAME.fullmatch(name)
        ]


def _chunks(handle: int, checksums: list[int]) -> Iterator[bytes]:
    """Yield a file's bytes and note the checksum of each block. Raises OSError."""
    offset = 0
    while chunk := os.pread(handle, _BLOCK_BYTES, offset):
        checksums.append(zlib.crc32(chunk))
        yield chunk
        offset += len(chunk)
