"""Durable memory: the journal behind `paxos.core.effects.Journal`, the snapshots beside it.

`open_volume` is for production (`open_journal` without snapshots), `MemoryJournal` and
`MemorySnapshots` for the simulator and for tests of roles.
"""

from .file_journal import FileJournal
from .incoming import Verify
from .memory import MemoryJournal, MemorySnapshots
from .open import open_journal, open_volume
from .snapshot_files import SnapshotFiles

__all__ = [
    "FileJournal",
    "MemoryJournal",
    "MemorySnapshots",
    "SnapshotFiles",
    "Verify",
    "open_journal",
    "open_volume",
]
