"""A node's slow work on snapshots, off its loop: taking one in a child, writing parts in a thread.

A learner's state is copied by `fork`: the child sees it as it stood, and the kernel copies only
the pages that change meanwhile, so the learner goes on at once however large its state is. The
child writes the stream to a file, politely (`nice`, and with rests), and ends; it ends early when
the learner does. An acceptor writes and syncs the parts that come in from a thread of its own,
since a vote must not wait for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from paxos.core.effects import (
    Event,
    PartWritten,
    SnapshotFailed,
    SnapshotInfo,
    SnapshotTaken,
    WritePart,
)
from paxos.core.errors import StorageError
from paxos.core.types import Slot
from paxos.storage.snapshot_files import SnapshotFiles

NICENESS = 19
"""How much the child gives way to the nodes that serve: all that can be given."""

RESTS = 2.0
"""After each frame the child rests for so many times as long as it worked at it. A node that wakes
up does not always interrupt whoever runs (apps/turns.py), however nice that is; so it waits for a
frame's time and not for a slice of the scheduler's.
"""

PACE = 8.0
"""After each part an acceptor rests for so many times as long as it took to write: a large snapshot
comes in over seconds, and the votes of that time do not wait for its bytes."""

REST_S_MAX = 0.05
"""No rest is longer, however slow the disk."""

_LOST = 199
"""The child's exit status when its learner has gone."""
_BROKEN = 198
"""The child's exit status for what is no error of the operating system."""


class SnapshotWork:
    """Takes snapshots and keeps parts for one node; tells by events.

    `stream` returns the machine's present state as a stream; `submit` gets the events.
    """

    def __init__(
        self,
        files: SnapshotFiles,
        stream: Callable[[], Iterable[bytes]] | None,
        submit: Callable[[Event], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._files = files
        self._stream = stream
        self._submit = submit
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="snapshots")
        self._child: tuple[int, int] | None = None
        self._stopped = False

    def stop(self) -> None:
        """End the child, if there is one, and wait for a part that is being written."""
        self._stopped = True
        if self._child is not None:
            pid, handle = self._child
            self._forget_child()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
            os.waitpid(pid, 0)
            os.close(handle)
        self._threads.shutdown(wait=True, cancel_futures=True)

    # ------------------------------------------------------------ taking

    def take(self, slot: Slot) -> None:
        """Begin to take a snapshot of the state after `slot`, which is the present one."""
        if self._child is not None or self._stream is None:
            self._submit(SnapshotFailed(slot=slot, reason="another one is being taken"))
            return
        path, learner = self._files.taking, os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._submit(SnapshotFailed(slot=slot, reason=f"no child: {error.strerror}"))
            return
        if pid == 0:
            _write_and_exit(str(path), self._stream, learner)
        handle = os.pidfd_open(pid)
        self._child = pid, handle
        self._loop.add_reader(handle, self._on_child_ended, slot)

    def _on_child_ended(self, slot: Slot) -> None:
        if self._child is None:
            return
        pid, handle = self._child
        self._forget_child()
        os.close(handle)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != 0:
            with contextlib.suppress(OSError):
                self._files.taking.unlink()
            self._submit(SnapshotFailed(slot=slot, reason=_reason_of(code)))
            return
        # Every checksum is looked at once more: in the thread, for it may be large.
        future = self._loop.run_in_executor(
            self._threads, self._files.adopt, self._files.taking, slot
        )
        future.add_done_callback(lambda done: self._on_adopted(slot, done))

    def _on_adopted(self, slot: Slot, done: asyncio.Future[SnapshotInfo]) -> None:
        if self._stopped or done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._submit(SnapshotTaken(snapshot=done.result()))
        elif isinstance(error, StorageError):
            self._submit(SnapshotFailed(slot=slot, reason=str(error)))
        else:
            raise error

    def _forget_child(self) -> None:
        if self._child is not None:
            self._loop.remove_reader(self._child[1])
            self._child = None

    # ------------------------------------------------------------ keeping

    def write(self, part: WritePart) -> None:
        """Write a part in the thread; `PartWritten` or `SnapshotFailed` follows."""
        future = self._loop.run_in_executor(self._threads, self._write_part, part)
        future.add_done_callback(lambda done: self._on_written(part, done))

    def _write_part(self, part: WritePart) -> bool:
        """In the thread: write a part, and rest."""
        begun = time.monotonic()
        whole = self._files.write_part(part.slot, part.size, part.offset, part.data)
        if not whole:
            time.sleep(min(PACE * (time.monotonic() - begun), REST_S_MAX))
        return whole

    def _on_written(self, part: WritePart, done: asyncio.Future[bool]) -> None:
        if self._stopped or done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._submit(PartWritten(slot=part.slot, offset=part.offset + len(part.data)))
        elif isinstance(error, StorageError):
            self._submit(SnapshotFailed(slot=part.slot, reason=str(error)))
        else:
            raise error


def _reason_of(code: int) -> str:
    if code < 0:
        return f"the child that wrote it was ended by signal {-code}"
    return "the child that wrote it failed" if code in (_LOST, _BROKEN) else os.strerror(code)


def _write_and_exit(path: str, stream: Callable[[], Iterable[bytes]], learner: int) -> None:
    """In the child: write the stream and end, with an error's number as the exit status.

    Nothing of the learner's is touched: its sockets are closed here at once, so that nobody takes
    the child for the learner, and no clean-up of Python's runs at the end.
    """
    code = _BROKEN
    try:
        gc.disable()
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.nice(NICENESS)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        worked_s = time.process_time()
        for frame in stream():
            # Not synced: the disk has votes to write, and what makes a snapshot last are the
            # acceptors.
            _write(handle, frame)
            if os.getppid() != learner:
                code = _LOST
                return
            time.sleep(RESTS * (time.process_time() - worked_s))
            worked_s = time.process_time()
        code = 0
    except OSError as error:
        code = error.errno or _BROKEN
    finally:
        os._exit(code)


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
