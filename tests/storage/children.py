"""Work in a forked process, which may give up rights, take limits on, or mount a small disk."""

from __future__ import annotations

import ctypes
import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paxos.core.errors import StorageError

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_RDONLY = 1
_MS_REMOUNT = 32
_MS_BIND = 4096
_MS_REC = 16384
_MS_PRIVATE = 1 << 18


def in_child(work: Callable[[], Any]) -> Any:
    """Run `work` in a forked process and return its result, which must fit into JSON.

    A StorageError comes back as its text; what else goes wrong there fails the test here.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "w") as pipe:
            pipe.write(json.dumps(_outcome(work)))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    outcome = json.loads(answer)
    assert "failed" not in outcome, outcome["failed"]
    return outcome["result"]


def _outcome(work: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"result": work()}
    except StorageError as error:
        return {"result": str(error)}
    except BaseException:
        return {"failed": traceback.format_exc()}


def on_small_disk(folder: Path, size_bytes: int, work: Callable[[], Any]) -> Any:
    """Run `work` as `in_child` does, where `folder` is a file system of its own of that size.

    It is in memory, and gone with the child: it takes root, or the right to make a user namespace.
    """

    def run() -> Any:
        _leave_mounts()
        _mount(folder, "tmpfs", 0, b"size=%d" % size_bytes)
        return work()

    return in_child(run)


def make_read_only(folder: Path) -> None:
    """Let nothing be opened for writing in a folder any more; in a child with its own mounts."""
    _mount(folder, "none", _MS_BIND, None, source=folder)
    _mount(folder, "none", _MS_BIND | _MS_REMOUNT | _MS_RDONLY, None)


def _leave_mounts() -> None:
    """Go into a mount namespace of our own, with the rights to mount."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWNS) != 0:
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) != 0:
            why = os.strerror(ctypes.get_errno())
            raise AssertionError(
                f"this test mounts a small disk, which takes root or user namespaces: {why}"
            )
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _mount(Path("/"), "none", _MS_REC | _MS_PRIVATE, None)


def _mount(
    target: Path, kind: str, flags: int, data: bytes | None, source: Path = Path("none")
) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = (os.fsencode(source), os.fsencode(target), kind.encode())
    if libc.mount(*words, ctypes.c_ulong(flags), data) != 0:
        why = os.strerror(ctypes.get_errno())
        raise AssertionError(f"{target} cannot be mounted (it takes root): {why}")
