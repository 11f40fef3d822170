"""Opening a node's volume: the one way in for production."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import cast

from paxos.core.effects import Journal
from paxos.core.errors import StorageError

from .file_journal import FileJournal
from .sqlite_journal import SqliteJournal

ENGINE_VARIABLE = "PAXOS_JOURNAL_ENGINE"
"""Environment variable that names another engine, to measure the system with it."""


def open_journal(folder: Path, engine: str | None = None) -> Journal:
    """Open the volume in `folder`, which is made if it is missing, and lock it.

    `engine` is `file` (the default, see docs/adr/0001), `sqlite`, or `module:factory` where the
    factory takes the folder; without it the environment variable `PAXOS_JOURNAL_ENGINE` is asked.
    Raises StorageError naming the folder and why: not a directory, not writable, no space, in
    use by another process, unknown engine. Damage does not raise: see `Recovered.damage`.
    """
    engine = engine or os.environ.get(ENGINE_VARIABLE) or "file"
    if engine == "file":
        return FileJournal(folder)
    if engine == "sqlite":
        return SqliteJournal(folder)
    module, colon, factory = engine.partition(":")
    if not colon:
        raise StorageError(f"{engine} is not a journal engine: use file, sqlite or module:factory")
    try:
        return cast(Journal, getattr(importlib.import_module(module), factory)(folder))
    except (ImportError, AttributeError) as error:
        raise StorageError(f"the journal engine {engine} cannot be loaded: {error}") from error
