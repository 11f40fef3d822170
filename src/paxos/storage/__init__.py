"""Durable memory: the journal behind `paxos.core.effects.Journal`.

`open_journal` is for production, `MemoryJournal` for the simulator and for tests of roles.
"""

from .file_journal import FileJournal
from .memory import MemoryJournal
from .open import open_journal

__all__ = ["FileJournal", "MemoryJournal", "open_journal"]
