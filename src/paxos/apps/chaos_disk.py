"""Full disks: an acceptor's volume that really cannot be written any more.

With root, the volume of an acceptor that the plan will fill is a memory file system of its own,
in a mount namespace of this process and its children: it is filled by shrinking it to what is
used, and nothing of it is left when the last process of the run has ended, however it ended.
Without root, the acceptor's process is given a file size limit (RLIMIT_FSIZE), which fails its
writes in the same place.

Either way nothing happens before the acceptor needs room, so whoever fills a disk also writes
(see WRITES): an acceptor makes room 16 MiB at a time.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
from collections.abc import Iterable
from pathlib import Path

from paxos.core.errors import DefiniteError

from .processes import Process

WRITES = 24
WRITE_BYTES = 1024 * 1024
"""What is written while a disk is full: more than an acceptor keeps room for."""

LIMIT_BYTES = 256 * 1024
"""Above the size of its log, which must go on, and below what one large write reaches."""

_CLONE_NEWNS = 0x00020000
_MS_REMOUNT = 32
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_ROOMY = b"size=50%"

_libc = ctypes.CDLL(None, use_errno=True)


def _mount(target: Path, kind: str, flags: int, data: bytes | None) -> None:
    """Raise OSError when the kernel refuses."""
    done = _libc.mount(b"none", os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data)
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def leave_mounts() -> str:
    """Go into a mount namespace of our own, for good. Returns why that cannot be, or nothing.

    Only the calling thread goes, and what it starts afterwards: call it before there are others.
    """
    if _libc.unshare(ctypes.c_int(_CLONE_NEWNS)) != 0:
        return os.strerror(ctypes.get_errno())
    try:
        _mount(Path("/"), "none", _MS_REC | _MS_PRIVATE, None)
    except OSError as error:
        return error.strerror or str(error)
    return ""


class MemoryDisk:
    """One volume on a memory file system of its own."""

    def __init__(self, folder: Path) -> None:
        """Mount it on a folder, which is made. Raises OSError."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        _mount(folder, "tmpfs", 0, _ROOMY)

    def fill(self) -> None:
        """Leave no room. Raises OSError."""
        found = os.statvfs(self.folder)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        _mount(self.folder, "tmpfs", _MS_REMOUNT, b"size=%d" % max(used, found.f_frsize))

    def free(self) -> None:
        """Give it room again. Raises OSError."""
        _mount(self.folder, "tmpfs", _MS_REMOUNT, _ROOMY)

    def remove(self, keep: bool) -> None:
        """Unmount it; with `keep`, leave its files in the folder. Raises OSError."""
        aside = self.folder.with_name(f"{self.folder.name}.kept")
        if keep:
            shutil.copytree(self.folder, aside)
        if _libc.umount2(os.fsencode(self.folder), ctypes.c_int(_MNT_DETACH)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(self.folder))
        if keep:
            self.folder.rmdir()
            aside.rename(self.folder)


def memory_disks(folders: Iterable[Path]) -> dict[str, MemoryDisk]:
    """Mount one for each folder; returns them by the folder's name. Raises DefiniteError."""
    disks: dict[str, MemoryDisk] = {}
    for folder in folders:
        try:
            disks[folder.name] = MemoryDisk(folder)
        except OSError as error:
            raise DefiniteError(f"no disk could be made at {folder}: {error}") from error
    return disks


def limit_files(process: Process, log: Path) -> None:
    """Let a process write no file beyond a little more than its log has. Quiet when it is gone."""
    size = log.stat().st_size if log.exists() else 0
    _set_limit(process, size + LIMIT_BYTES)


def unlimit_files(process: Process) -> None:
    """Take the limit away. Quiet when the process is gone."""
    _set_limit(process, None)


def _set_limit(process: Process, size: int | None) -> None:
    if not process.lives:
        return
    try:
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        soft = hard if size is None else size
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))
    except ProcessLookupError:
        # It ended a moment ago: what limits nobody need not be undone.
        return
    except PermissionError as error:
        raise DefiniteError(f"process {process.pid} may not be limited: {error}") from error
