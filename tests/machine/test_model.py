"""The store against a model that is a plain dict and takes no short cuts."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

KEYS = ["a", "b", "c"]
NUMBER = b"ERR value is not an integer or out of range"


class Key(msgspec.Struct):
    value: bytes
    create: int
    mod: int
    version: int
    deadline: int = 0


class Model:
    """Slow and plain: a dict of keys, a revision, and one method per command."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.revision = 0
        self.now_ms = 0
        self.inside: int | None = None

    def change(self) -> int:
        self.revision = self.revision + 1 if self.inside is None else self.inside
        return self.revision

    def put(self, key: str, value: bytes, deadline: int, revision: int) -> None:
        old = self.keys.get(key)
        if old is None:
            self.keys[key] = Key(value, revision, revision, 1, deadline)
        else:
            self.keys[key] = Key(value, old.create, revision, old.version + 1, deadline)

    def pass_time(self, now_ms: int) -> None:
        self.now_ms = max(self.now_ms, now_ms)
        due = sorted((k.deadline, n) for n, k in self.keys.items() if 0 < k.deadline <= self.now_ms)
        for _, name in due:
            del self.keys[name]
            self.change()

    def run(self, command: tuple[Any, ...]) -> Any:
        return getattr(self, "on_" + command[0].lower())(*command[1:])

    def on_set(self, key: str, value: str, *options: str) -> Any:
        old = self.keys.get(key)
        if ("NX" in options and old) or ("XX" in options and not old):
            return old.value if "GET" in options and old else None
        deadline = 0
        if "PX" in options:
            deadline = self.now_ms + int(options[options.index("PX") + 1])
        elif "KEEPTTL" in options and old:
            deadline = old.deadline
        self.put(key, value.encode(), deadline, self.change())
        return (old.value if old else None) if "GET" in options else "OK"

    def on_get(self, key: str) -> Any:
        return self.keys[key].value if key in self.keys else None

    def on_del(self, *keys: str) -> Any:
        gone = {key for key in keys if key in self.keys}
        for key in gone:
            del self.keys[key]
        if gone:
            self.change()
        return len(gone)

    def on_exists(self, *keys: str) -> Any:
        return len([key for key in keys if key in self.keys])

    def on_incrby(self, key: str, by: str) -> Any:
        old = self.keys.get(key)
        try:
            value = int(old.value) if old else 0
        except ValueError:
            return {"error": NUMBER.decode()}
        self.put(key, str(value + int(by)).encode(), old.deadline if old else 0, self.change())
        return value + int(by)

    def on_append(self, key: str, value: str) -> Any:
        old = self.keys.get(key)
        joined = (old.value if old else b"") + value.encode()
        self.put(key, joined, old.deadline if old else 0, self.change())
        return len(joined)

    def on_mset(self, *pairs: str) -> Any:
        revision = self.change()
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            self.put(key, value.encode(), 0, revision)
        return "OK"

    def on_getdel(self, key: str) -> Any:
        value = self.on_get(key)
        self.on_del(key)
        return value

    def on_pexpire(self, key: str, time: str) -> Any:
        old = self.keys.get(key)
        if old is None:
            return 0
        if int(time) <= 0:
            return self.on_del(key)
        self.put(key, old.value, self.now_ms + int(time), self.change())
        return 1

    def on_persist(self, key: str) -> Any:
        old = self.keys.get(key)
        if old is None or not old.deadline:
            return 0
        self.put(key, old.value, 0, self.change())
        return 1

    def on_pttl(self, key: str) -> Any:
        old = self.keys.get(key)
        if old is None:
            return -2
        return old.deadline - self.now_ms if old.deadline else -1

    def on_revision(self, key: str) -> Any:
        return self.keys[key].mod if key in self.keys else 0

    def on_exec(self, watches: tuple[Any, ...], commands: tuple[Any, ...]) -> Any:
        if any(self.on_revision(key) != revision for key, revision in watches):
            return None
        self.inside = self.revision + 1
        replies = [self.run(command) for command in commands]
        self.inside = None
        return replies


def wire(command: tuple[Any, ...]) -> list[Any]:
    if command[0] == "EXEC":
        _, watches, commands = command
        return [b"EXEC", [[k.encode(), r] for k, r in watches], [wire(c) for c in commands]]
    return [word.encode() for word in command]


keys = st.sampled_from(KEYS)
values = st.sampled_from(["", "x", "7", "-3", "12"])
times = st.integers(1, 40).map(str)
options = st.sampled_from(["", "NX", "XX", "GET", "XX GET", "NX GET", "KEEPTTL"])
plain = st.one_of(
    st.builds(lambda k, v, o: ("SET", k, v, *o.split()), keys, values, options),
    st.builds(
        lambda k, v, o, t: ("SET", k, v, *o.replace("KEEPTTL", "").split(), "PX", t),
        keys,
        values,
        options,
        times,
    ),
    st.tuples(st.just("GET"), keys),
    st.tuples(st.just("DEL"), keys, keys),
    st.tuples(st.just("EXISTS"), keys, keys),
    st.tuples(st.just("INCRBY"), keys, st.integers(-5, 5).map(str)),
    st.tuples(st.just("APPEND"), keys, values),
    st.tuples(st.just("MSET"), keys, values, keys, values),
    st.tuples(st.just("GETDEL"), keys),
    st.tuples(st.just("PEXPIRE"), keys, st.integers(-2, 40).map(str)),
    st.tuples(st.just("PERSIST"), keys),
    st.tuples(st.just("PTTL"), keys),
    st.tuples(st.just("REVISION"), keys),
)
execs = st.tuples(
    st.just("EXEC"),
    st.lists(st.tuples(keys, st.integers(0, 6)), max_size=1).map(tuple),
    st.lists(plain, max_size=4).map(tuple),
)
slots = st.tuples(st.integers(-5, 20), st.lists(st.one_of(plain, plain, execs), max_size=6))


@settings(max_examples=300, deadline=None)
@given(st.lists(slots, max_size=15))
def test_store_agrees_with_the_model(new_log, history):
    log, model = new_log(), Model()
    model.pass_time(log.now_ms)
    for passed_ms, commands in history:
        log.now_ms += passed_ms
        model.pass_time(log.now_ms)
        expected = [model.run(command) for command in commands]
        assert log.run(*(wire(command) for command in commands)) == expected
        assert log.machine.revision == model.revision
        entries = log.machine._store.entries
        assert {
            name.decode(): Key(e.value, e.create_revision, e.mod_revision, e.version, e.deadline_ms)
            for name, e in entries.items()
        } == model.keys
        assert sorted(log.ask("SCAN 0 COUNT 1000")[1]) == sorted(entries)
