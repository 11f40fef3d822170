"""Clients that write and read through both doors while something breaks, and what they must see.

Every command is one that shows a loss or a repetition: counters that must count without a gap, an
APPEND that must not double, values for the list that must each be there once. Reads through the
other door must never be older than what somebody was already told.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import redis

from .cluster import DEADLINE_S, LocalCluster


class Writer:
    """What one connection has written. A command without an answer counts as `unknown`."""

    def __init__(self, prefix: str, door: int) -> None:
        self.prefix = prefix
        self.door = door
        self.counts: list[int] = []
        self.shared: list[int] = []
        self.appended: list[bytes] = []
        self.slots: dict[bytes, int] = {}
        self.unknown: Counter[str] = Counter()
        self.sent = 0
        self.done = 0

    def commands(self) -> list[tuple[str, list[Any], Callable[[Any], None]]]:
        """Return the next round: kind, words, and what to do with the answer."""
        self.sent += 1
        value = f"{self.prefix}:value:{self.sent}".encode()
        piece = b"%d," % self.sent

        def on_written(slot: Any) -> None:
            self.slots[value] = int(slot)

        def on_appended(_length: Any) -> None:
            self.appended.append(piece)

        return [
            ("count", ["INCR", f"{self.prefix}:count"], self.counts.append),
            ("shared", ["INCR", f"{self.prefix.rpartition('/')[0]}:shared"], self.shared.append),
            ("append", ["APPEND", f"{self.prefix}:text", piece], on_appended),
            ("write", ["WRITE", value], on_written),
        ]


class Load:
    """A context manager: writers and readers at both doors, one connection each.

    `may_lose` are doors whose node is killed on purpose: its clients lose their connection, and
    with it one answer each, and connect again. Nobody else may see any error.
    """

    def __init__(
        self,
        cluster: LocalCluster,
        *,
        doors: Sequence[int] = (1, 2),
        writers: int = 2,
        may_lose: Sequence[int] = (),
    ) -> None:
        self.cluster = cluster
        self.name = uuid.uuid4().hex[:12]
        self.errors: list[str] = []
        self._doors = tuple(doors)
        self._may_lose = frozenset(may_lose)
        self._writers = [
            Writer(f"{self.name}/{door}.{number}", door)
            for door in doors
            for number in range(writers)
        ]
        self._reads = dict.fromkeys(doors, 0)
        self._told = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(one,), name=one.prefix)
            for one in self._writers
        ] + [threading.Thread(target=self._read, args=(door,), name=f"{door}") for door in doors]
        self._first_slot = 0

    # ------------------------------------------------------------ for tests

    def __enter__(self) -> Load:
        self._first_slot = int(
            self.cluster.redis(self._doors[0]).execute_command("WRITE", self.name)
        )
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop all clients once their last command is answered."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    @property
    def acknowledged(self) -> int:
        """How many commands have been answered so far."""
        return sum(one.done for one in self._writers)

    def go_on(self, commands: int = 40, doors: Sequence[int] = ()) -> None:
        """Wait until every client, or each at these doors, has been answered so often once more."""
        doors = doors or self._doors
        before_writes = {id(one): one.done for one in self._writers}
        before_reads = dict(self._reads)
        deadline = time.monotonic() + DEADLINE_S
        while not all(
            one.done >= before_writes[id(one)] + commands
            for one in self._writers
            if one.door in doors
        ) or not all(self._reads[door] >= before_reads[door] + commands // 2 for door in doors):
            assert self.errors == []
            assert time.monotonic() < deadline, f"stuck at {self.acknowledged} commands"
            time.sleep(0.005)
        assert self.errors == []

    def verify(self) -> None:
        """Stop, and check: no error, nothing lost, nothing twice, everything in order."""
        self.stop()
        assert self.errors == []
        self.verify_kept()

    def verify_kept(self) -> None:
        """Check that everything acknowledged is there once, and nothing that was not sent."""
        for one in self._writers:
            others = [door for door in self._doors if door != one.door] or [one.door]
            self._verify_writer(one, self.cluster.redis(others[0]))
        shared = [count for one in self._writers for count in one.shared]
        unknown = sum(one.unknown["shared"] for one in self._writers)
        assert len(set(shared)) == len(shared), "the same count was given to two clients"
        found = int(self.cluster.redis(self._doors[-1]).get(f"{self.name}:shared") or 0)
        assert len(shared) <= found <= len(shared) + unknown
        assert max(shared, default=0) <= found
        self._verify_values()

    # ------------------------------------------------------------ checks

    def _verify_writer(self, one: Writer, reading: redis.Redis) -> None:
        unknown = one.unknown
        assert one.counts == sorted(set(one.counts)), f"{one.prefix} went back: {one.counts}"
        last = max(one.counts, default=0)
        assert len(one.counts) <= last <= len(one.counts) + unknown["count"] or not last
        found = int(reading.get(f"{one.prefix}:count") or 0)
        assert last <= found <= len(one.counts) + unknown["count"]
        text = reading.get(f"{one.prefix}:text") or b""
        pieces = [piece + b"," for piece in text.split(b",")[:-1]]
        assert len(set(pieces)) == len(pieces), f"{one.prefix}: appended twice"
        assert set(one.appended) <= set(pieces), f"{one.prefix}: appended and lost"
        assert len(pieces) <= len(one.appended) + unknown["append"]
        assert pieces == sorted(pieces, key=lambda piece: int(piece[:-1]))

    def _verify_values(self) -> None:
        slots: dict[bytes, int] = {}
        listed: dict[bytes, list[bytes]] = {}
        for slot, value in self.cluster.values(self._first_slot, self._doors[-1]):
            prefix = value.rpartition(b":value:")[0]
            if prefix.startswith(self.name.encode()):
                assert value not in slots, f"{value!r} is in the list twice"
                slots[value] = slot
                listed.setdefault(prefix, []).append(value)
        for one in self._writers:
            mine = listed.get(one.prefix.encode(), [])
            assert {value: slots.get(value) for value in one.slots} == one.slots
            assert len(mine) <= len(one.slots) + one.unknown["write"]
            assert mine == sorted(mine, key=lambda value: int(value.rpartition(b":")[2]))

    # ------------------------------------------------------------ the clients

    def _write(self, one: Writer) -> None:
        connection = self.cluster.redis(one.door)
        while not self._stopping.is_set():
            for kind, words, on_answer in one.commands():
                try:
                    answer = connection.execute_command(*words)
                except redis.RedisError as error:
                    if not self._forgive(one.door, error):
                        return
                    one.unknown[kind] += 1
                    self._connect_again(connection)
                    continue
                with self._lock:
                    on_answer(answer)
                    if kind == "shared":
                        self._told = max(self._told, int(answer))
                one.done += 1

    def _read(self, door: int) -> None:
        connection = self.cluster.redis(door)
        key = f"{self.name}:shared"
        while not self._stopping.is_set():
            with self._lock:
                least = self._told
            try:
                found = int(connection.get(key) or 0)
            except redis.RedisError as error:
                if not self._forgive(door, error):
                    return
                self._connect_again(connection)
                continue
            if found < least:
                self.errors.append(f"door {door} read {found} after {least} had been told")
            self._reads[door] += 1

    def _forgive(self, door: int, error: redis.RedisError) -> bool:
        """Tell whether a client may go on after an error; if not, note it."""
        lost = isinstance(error, redis.ConnectionError)
        if lost and (door in self._may_lose or self._stopping.is_set()):
            return True
        self.errors.append(f"door {door}: {type(error).__name__}: {error}")
        return False

    def _connect_again(self, connection: redis.Redis) -> None:
        while not self._stopping.is_set():
            try:
                connection.ping()
            except redis.ConnectionError:
                self._stopping.wait(0.02)
            else:
                return
