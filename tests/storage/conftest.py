"""Volumes of every engine, and what a journal shows, as one comparable value."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from benchmarks.journal.sqlite_journal import SqliteJournal

from paxos.core.effects import AcceptedEntry, Configured, Journal, Stamped
from paxos.core.messages import Configuration, Members
from paxos.core.types import Ballot, NodeId, Slot
from paxos.storage import FileJournal, MemoryJournal

STAMP = Stamped(cluster="c1", node=NodeId("acceptor-1"), phase="open")
SLOT_MAX = Slot(2**62)


class Volume(Protocol):
    """One volume that can be opened again and again."""

    def open(self) -> Journal:
        """Open the volume; a journal that is still open loses what it has not synced."""
        ...


class MemoryVolume:
    """A MemoryJournal across its lives."""

    def __init__(self) -> None:
        self._journal: MemoryJournal | None = None

    def open(self) -> Journal:
        self._journal = MemoryJournal() if self._journal is None else self._journal.crash()
        return self._journal


class DiskVolume:
    """A folder and the engine that opens it, with small limits so that files change often."""

    def __init__(self, folder: Path, engine: Callable[[Path], Journal]) -> None:
        self.folder = folder
        self._engine = engine
        self._journal: Journal | None = None

    def open(self) -> Journal:
        if self._journal is not None:
            self._journal.close()
        self._journal = self._engine(self.folder)
        return self._journal


def small_file_journal(folder: Path) -> FileJournal:
    return FileJournal(folder, segment_bytes=4096, cache_bytes_max=2000)


def small_sqlite_journal(folder: Path) -> SqliteJournal:
    return SqliteJournal(folder, cache_bytes_max=2000)


# SQLite is only measured against, but a comparison is fair only between journals that keep the
# same contract.
ENGINES: dict[str, Callable[[Path], Journal]] = {
    "file": small_file_journal,
    "sqlite": small_sqlite_journal,
}


@pytest.fixture(params=["memory", *ENGINES])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    """A blank volume of each engine."""
    if request.param == "memory":
        return MemoryVolume()
    return DiskVolume(tmp_path / "volume", ENGINES[request.param])


@pytest.fixture(params=["memory", "file"])
def cut_volume(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    """A blank volume of each engine that cuts its log and keeps configurations: SQLite is only
    measured against.
    """
    if request.param == "memory":
        return MemoryVolume()
    return DiskVolume(tmp_path / "volume", ENGINES[request.param])


@pytest.fixture
def new_volume(tmp_path: Path) -> Iterator[Callable[[str], Volume]]:
    """Make a fresh blank volume of the named engine; for hypothesis, which runs many."""
    folder = tmp_path / "fresh"

    def make(engine: str) -> Volume:
        if engine == "memory":
            return MemoryVolume()
        shutil.rmtree(folder, ignore_errors=True)
        return DiskVolume(folder, ENGINES[engine])

    yield make
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def open_small() -> Callable[[Path], FileJournal]:
    """Open a FileJournal with small segments and a small cache."""
    return small_file_journal


@pytest.fixture
def stamp() -> Stamped:
    """The stamp of acceptor-1 in cluster c1."""
    return STAMP


@pytest.fixture
def vote() -> Callable[..., AcceptedEntry]:
    """Make a vote with a value that names its slot and ballot."""

    def make(slot: int, ballot: int = 101, size: int = 100) -> AcceptedEntry:
        value = (b"%d/%d;" % (slot, ballot) * size)[:size]
        return AcceptedEntry(
            slot=Slot(slot), ballot=Ballot(ballot), value=value, decided=Slot(slot - 1)
        )

    return make


@pytest.fixture
def configured() -> Callable[..., Configured]:
    """Make the record of a configuration, with an acceptor that its epoch names."""

    def make(epoch: int, slot: int = 2) -> Configured:
        members = Members(
            acceptors=(NodeId("acceptor-1"), NodeId(f"acceptor-2.{epoch}")),
            proposers=(NodeId("proposer-1"),),
            learners=(NodeId("learner-1"),),
            gateways=(NodeId("client-1"),),
            addresses={NodeId("acceptor-2"): ("host", 7005, 8005)},
        )
        return Configured(
            configuration=Configuration(
                epoch=epoch, slot=Slot(slot), ballot=Ballot(101), members=members
            )
        )

    return make


@pytest.fixture
def shown() -> Callable[[Journal], dict[str, Any]]:
    """Return all that a journal knows, except what recovery said about damage and repair."""

    def show(journal: Journal) -> dict[str, Any]:
        recovered = journal.recovered
        return {
            "stamp": recovered.stamp,
            "promised": recovered.promised,
            "counter": recovered.counter,
            "decided": recovered.decided,
            "configuration": recovered.configuration,
            "base": journal.base,
            "highest": journal.highest_slot,
            "missing": journal.missing(Slot(1), SLOT_MAX, 10),
            "votes": journal.votes(Slot(0), SLOT_MAX),
            "entries": journal.entries(Slot(0), SLOT_MAX, 2**40),
        }

    return show
