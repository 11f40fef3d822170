"""What the operating system refuses becomes a StorageError that says why; nothing is retried."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paxos.core.effects import AcceptedEntry, Stamped
from paxos.core.errors import StorageError
from paxos.core.types import Slot
from paxos.storage import FileJournal, open_journal

from .children import in_child

Vote = Callable[..., AcceptedEntry]
NOBODY = 65534

# The test runner has threads, which a child that only opens a journal never touches.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody(work: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        if os.geteuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        return work()

    return run


def test_folder_that_cannot_be_written_is_named_with_the_reason(open_folder: Path) -> None:
    folder = open_folder / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    text = in_child(as_nobody(lambda: open_journal(folder)))
    assert text == f"the data folder {folder} cannot be written: Permission denied"


def test_folder_that_cannot_be_made_is_named_with_the_reason(open_folder: Path) -> None:
    open_folder.chmod(0o555)
    folder = open_folder / "a" / "b"
    text = in_child(as_nobody(lambda: open_journal(folder)))
    assert text == f"the data folder {folder} cannot be made: Permission denied"


def test_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="file is not a directory"):
        open_journal(tmp_path / "file")
    with pytest.raises(StorageError, match="cannot be made: Not a directory"):
        open_journal(tmp_path / "file" / "volume")


def test_missing_parents_are_made(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "a" / "b" / "c")
    assert journal.recovered.damage is None
    journal.close()


def test_volume_in_use_is_refused_with_the_pid(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(StorageError, match=f"in use by process {os.getpid()}"):
        open_journal(tmp_path)
    assert in_child(lambda: open_journal(tmp_path)) == (
        f"the data folder {tmp_path} is in use by process {os.getpid()}"
    )
    journal.close()
    open_journal(tmp_path).close()


def test_failed_opening_lets_the_folder_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse)
        with pytest.raises(StorageError, match="cannot be opened: No space left on device"):
            open_journal(tmp_path)
    journal = open_journal(tmp_path)
    assert journal.recovered.stamp is None
    journal.close()


def test_no_space_at_a_sync_is_fatal_and_stays_so(
    tmp_path: Path, stamp: Stamped, vote: Vote
) -> None:
    """The kernel's own ENOSPC: the segment's descriptor is made to mean /dev/full."""
    journal = FileJournal(tmp_path)
    journal.append(stamp)
    journal.append(vote(1))
    journal.sync()
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, journal._handle)
    os.close(full)
    journal.append(vote(2, 301))
    for _ in range(2):
        with pytest.raises(StorageError, match="could not be written: No space left on device"):
            journal.sync()
    with pytest.raises(StorageError, match="No space left"):
        journal.append(vote(3))
    journal.close()
    journal = FileJournal(tmp_path)
    assert journal.recovered.damage is None
    assert journal.recovered.promised == 101
    journal.close()


def test_file_size_limit_at_a_sync_is_a_storage_error(
    tmp_path: Path, stamp: Stamped, vote: Vote
) -> None:
    """A real limit of the kernel stops a write half-way; what was synced before is there."""

    def work() -> int:
        journal = open_journal(tmp_path)
        journal.append(stamp)
        journal.sync()
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        synced = 0
        try:
            while True:
                journal.append(vote(synced + 1, size=7000))
                journal.sync()
                synced += 1
        except StorageError:
            return synced

    synced = in_child(work)
    assert synced > 10
    journal = open_journal(tmp_path)
    assert journal.recovered.damage is None
    assert journal.highest_slot == synced
    assert journal.entry(Slot(synced)) == vote(synced, size=7000)
    journal.close()


def test_failed_sync_is_fatal_and_the_batch_is_written_again_when_opened(
    tmp_path: Path, stamp: Stamped, vote: Vote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After EIO the kernel may show data that is not on disk, and call it clean."""
    journal = FileJournal(tmp_path)
    journal.append(stamp)
    journal.sync()

    def fail(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        journal.append(vote(1))
        with pytest.raises(StorageError, match="Input/output error"):
            journal.sync()
    with pytest.raises(StorageError, match="Input/output error"):
        journal.sync()
    journal.close()

    written: list[int] = []
    pwritev = os.pwritev

    def watch(handle: int, buffers: list[bytes], offset: int) -> int:
        written.append(offset)
        return pwritev(handle, buffers, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", watch)
        journal = FileJournal(tmp_path)
    assert written == [1024]
    assert journal.highest_slot == 1
    journal.close()


@pytest.mark.parametrize("engine", ["memory", "no.such.module:factory", "os:no_such_factory"])
def test_unknown_engine_is_named(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAXOS_JOURNAL_ENGINE", engine)
    with pytest.raises(StorageError, match=engine):
        open_journal(tmp_path)


def test_engine_of_another_module_is_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the benchmarks can run the whole system with other engines."""
    engine = "benchmarks.journal.sqlite_journal:SqliteJournal"
    monkeypatch.setenv("PAXOS_JOURNAL_ENGINE", engine)
    journal = open_journal(tmp_path)
    assert type(journal).__name__ == "SqliteJournal"
    journal.close()
