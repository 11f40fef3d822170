"""Opening a node's volume: the one way in for production."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import cast

from paxos.core.effects import Journal
from paxos.core.errors import StorageError

from .file_journal import FileJournal
from .incoming import Verify
from .snapshot_files import SnapshotFiles

ENGINE_VARIABLE = "PAXOS_JOURNAL_ENGINE"
"""Environment variable with `module:factory`, for measuring alone: the benchmarks run the whole
system with other engines by it (see docs/adr/0001-journal-engine.md)."""


def open_journal(folder: Path) -> Journal:
    """Open the volume in `folder`, which is made if it is missing, and lock it.

    Raises StorageError naming the folder and why: not a directory, not writable, no space, in
    use by another process; or an engine in `ENGINE_VARIABLE` that cannot be loaded. Damage does
    not raise: see `Recovered.damage`.
    """
    engine = os.environ.get(ENGINE_VARIABLE)
    if not engine:
        return FileJournal(folder)
    module, _, factory = engine.partition(":")
    try:
        return cast(Journal, getattr(importlib.import_module(module), factory)(folder))
    except (ImportError, AttributeError) as error:
        raise StorageError(f"the journal engine {engine} cannot be loaded: {error}") from error


def open_volume(folder: Path, verify: Verify) -> tuple[Journal, SnapshotFiles]:
    """Open the volume in `folder` with its log and its snapshots, as `open_journal` does.

    `verify` reads a snapshot's stream. `Recovered` of the journal tells of both: a damaged
    snapshot, or one that is missing though slots were cut off, is damage. Close both.
    """
    journal = open_journal(folder)
    try:
        snapshots = SnapshotFiles(folder, verify)
    except BaseException:
        journal.close()
        raise
    # Other engines are only measured against, and never cut their logs.
    if isinstance(journal, FileJournal):
        journal.admit(snapshots.newest, snapshots.damage)
    return journal, snapshots
