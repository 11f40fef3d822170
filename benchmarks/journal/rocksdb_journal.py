"""The journal on RocksDB (rocksdict): one synced write batch per sync."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rocksdict import DBRecoveryMode, Options, Rdict, WriteBatch, WriteOptions

from .key_value import SLOT_PREFIX, KeyValueJournal


class RocksdbJournal(KeyValueJournal):
    """Defaults of RocksDB with raw bytes and `sync` on every write."""

    def _options(self) -> Options:
        return Options(raw_mode=True)

    def _open_store(self, folder: Path) -> None:
        self._store = Rdict(str(folder / "rocksdb"), self._options())
        self._synced = WriteOptions()
        self._synced.sync = True

    def _get(self, key: bytes) -> bytes | None:
        return self._store.get(key)

    def _slots(self) -> Iterable[bytes]:
        for key, content in self._store.items(from_key=SLOT_PREFIX):
            if not key.startswith(SLOT_PREFIX):
                break
            yield content

    def _write(self, rows: dict[bytes, bytes]) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, content in rows.items():
            batch.put(key, content)
        self._store.write(batch, self._synced)

    def _close_store(self) -> None:
        self._store.close()


class RocksdbTailJournal(RocksdbJournal):
    """The same, refusing a bad checksum in its log; only a log that is cut short is forgiven."""

    def _options(self) -> Options:
        options = super()._options()
        options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
        return options
