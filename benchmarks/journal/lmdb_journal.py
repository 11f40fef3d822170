"""The journal on LMDB: one synced write transaction per sync."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import lmdb

from .key_value import SLOT_PREFIX, KeyValueJournal

MAP_BYTES = 64 * 1024**3


class LmdbJournal(KeyValueJournal):
    """Defaults of LMDB: sync and metasync on, no writemap."""

    def _open_store(self, folder: Path) -> None:
        self._store = lmdb.open(str(folder / "lmdb"), map_size=MAP_BYTES)

    def _get(self, key: bytes) -> bytes | None:
        with self._store.begin() as transaction:
            return transaction.get(key)

    def _slots(self) -> Iterable[bytes]:
        with self._store.begin() as transaction, transaction.cursor() as cursor:
            if cursor.set_range(SLOT_PREFIX):
                for key, content in cursor:
                    if not key.startswith(SLOT_PREFIX):
                        break
                    yield content

    def _write(self, rows: dict[bytes, bytes]) -> None:
        try:
            with self._store.begin(write=True) as transaction:
                for key, content in rows.items():
                    transaction.put(key, content)
        except lmdb.Error as error:
            raise OSError(str(error)) from error

    def _close_store(self) -> None:
        self._store.close()
