"""Opening a node's volume: the one way in for production."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import cast

from paxos.core.effects import Journal
from paxos.core.errors import StorageError

from .file_journal import FileJournal

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
