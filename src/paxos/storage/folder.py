"""A volume's folder: made, locked against a second process, its names made durable.

Every failure here is a StorageError that names the path and says why, in words that an
operator can act on.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from paxos.core.errors import StorageError

LOCK_NAME = "lock"


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn every OSError inside into a StorageError that starts with `what`."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{what}: {reason_of(error)}") from error


_ADVICE = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there, or raise the quota",
    errno.EFBIG: "raise the process's limit for the size of files",
    errno.EROFS: "mount it for writing; the system's log says why it is not",
    errno.EIO: "the disk fails; the system's log says more",
}


def reason_of(error: OSError) -> str:
    """Return an operating system's error in words, and what to do about it if that is known,
    such as `No space left on device (make room there)`.
    """
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0)
    return reason if advice is None else f"{reason} ({advice})"


def sync_folder(folder: Path) -> None:
    """Make the folder's names durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Create the folder and its parents, durably. Raises StorageError naming it and why."""
    with storage_errors(f"the data folder {folder} cannot be made"):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            sync_folder(path.parent)
    if not folder.is_dir():
        raise StorageError(f"the data folder {folder} is not a directory")


class FolderLock:
    """Holds a folder for this process until `release`; the kernel releases it at a crash.

    Raises StorageError when another process (or another journal of this one) holds it, naming
    its pid as that process counts them, or when the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK_NAME
        with storage_errors(f"the data folder {folder} cannot be written"):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with storage_errors(f"the data folder {folder} cannot be locked"):
                try:
                    fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                        raise
                    holder = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip()
                    raise StorageError(
                        f"the data folder {folder} is in use by process {holder or 'unknown'}"
                    ) from error
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, b"%d\n" % os.getpid(), 0)
        except StorageError:
            os.close(self._handle)
            raise

    def release(self) -> None:
        """Let another process have the folder. Call once."""
        os.close(self._handle)


def write_new_file(path: Path, content: bytes, *, bytes_reserved: int = 0) -> int:
    """Create a file that appears under its name only whole and durable; return its descriptor.

    Space for `bytes_reserved` is allocated, reading as zeros. Replaces a leftover of an earlier
    attempt. Raises OSError, with no file under `path` and nothing open.
    """
    draft = path.with_name(path.name + ".tmp")
    handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        if bytes_reserved:
            os.posix_fallocate(handle, 0, bytes_reserved)
        write_whole(handle, [content], 0)
        os.fsync(handle)
        os.rename(draft, path)
        sync_folder(path.parent)
    except OSError:
        os.close(handle)
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    return handle


_BUFFERS_MAX = 1000
"""How many buffers one pwritev takes (IOV_MAX is 1024 on Linux)."""


def write_whole(handle: int, buffers: list[bytes], offset: int) -> None:
    """Write all buffers, one after the other, from `offset`. Raises OSError.

    A write may stop short (no space, a file size limit); trying the rest shows why.
    """
    if len(buffers) > _BUFFERS_MAX:
        buffers = [b"".join(buffers)]
    written = os.pwritev(handle, buffers, offset)
    size = sum(map(len, buffers))
    if written == size:
        return
    content = b"".join(buffers)
    while written < size:
        step = os.pwrite(handle, content[written:], offset + written)
        if step == 0:
            raise OSError(errno.EIO, "a write made no progress")
        written += step
