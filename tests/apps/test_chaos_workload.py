"""What a chaos client writes down: nothing is guessed, and nothing that was not sent."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis
import pytest

from paxos.apps import chaos_workload
from paxos.apps.chaos_door import Lost
from paxos.apps.chaos_workload import (
    KEY_OPERATIONS_MAX,
    KEY_UNKNOWN_MAX,
    LIST_VALUES_MAX,
    Answer,
    Client,
    Keys,
    Wish,
    Workload,
    answer_of,
    answer_of_loss,
    is_expected,
)
from paxos.sim import history, linearizability

UNAVAILABLE = hiredis.ReplyError("UNAVAILABLE the write did not happen: no quorum")
UNKNOWN = hiredis.ReplyError("UNKNOWN the outcome is not known: no answer came")


@pytest.mark.parametrize(
    ("wish", "reply", "answer"),
    [
        (Wish("read", "k"), b"v", Answer("ok", "v")),
        (Wish("read", "k"), None, Answer("ok", None)),
        (Wish("read", "k"), b"\xff\x00", Answer("ok", "\xff\x00")),
        (Wish("write", "k", "v"), "OK", Answer("ok", "v")),
        (Wish("incr", "k"), 7, Answer("ok", 7)),
        (Wish("append", "k", "x;"), 12, Answer("ok", 12)),
        (Wish("cas", "k", ["a", "b"]), ["OK"], Answer("ok", ["a", "b"])),
        (
            Wish("cas", "k", ["a", "b"]),
            None,
            Answer("fail", ["a", "b"], "somebody else was quicker"),
        ),
        (Wish("list-append", None, "t.1"), 9, Answer("ok", 9)),
        (
            Wish("list-read", None),
            [[3, b"t.1"], [4, b"other"], [5, b"t.2"]],
            Answer("ok", [[3, "t.1"], [5, "t.2"]]),
        ),
    ],
)
def test_an_answer_is_written_down_as_it_is(wish: Wish, reply: Any, answer: Answer) -> None:
    assert answer_of(wish, reply, "t.") == answer


@pytest.mark.parametrize("f", ["write", "cas", "incr", "append", "list-append"])
def test_a_change_with_an_unknown_outcome_is_info(f: str) -> None:
    wish = Wish(f, "k", "v")
    assert answer_of(wish, UNKNOWN).type == "info"
    assert answer_of_loss(wish, Lost("no answer in time")).type == "info"
    assert answer_of(wish, UNAVAILABLE).type == "fail"


@pytest.mark.parametrize("f", ["read", "list-read"])
def test_a_read_without_an_answer_is_a_fail(f: str) -> None:
    """It changes nothing, so it did not happen."""
    wish = Wish(f, "k")
    assert answer_of(wish, UNKNOWN).type == "fail"
    assert answer_of(wish, UNAVAILABLE).type == "fail"
    assert answer_of_loss(wish, Lost("gone")).type == "fail"


def test_errors_that_faults_do_not_explain_are_told_apart() -> None:
    assert is_expected(str(UNAVAILABLE))
    assert is_expected(str(UNKNOWN))
    assert is_expected(answer_of_loss(Wish("write", "k", 1), Lost("reset")).error)
    assert not is_expected("ERR value is not an integer or out of range")


# ---------------------------------------------------------------- keys


def test_a_key_is_replaced_when_it_has_been_used_often() -> None:
    keys, dice = Keys("t"), random.Random(1)
    taken = [keys.take("register", dice) for _ in range(KEY_OPERATIONS_MAX * 10)]
    assert len(set(taken)) > chaos_workload.KEYS_AT_ONCE
    assert max(map(taken.count, set(taken))) <= KEY_OPERATIONS_MAX
    assert set(taken) <= set(keys.all)


def test_a_key_is_replaced_when_too_much_about_it_is_unknown() -> None:
    keys, dice = Keys("t"), random.Random(1)
    first = list(keys.all)
    for key in first:
        for _ in range(KEY_UNKNOWN_MAX):
            keys.doubt(key)
    assert {keys.take("counter", dice) for _ in range(50)}.isdisjoint(first)


# ---------------------------------------------------------------- clients and a door that is told


Reply = Callable[[list[bytes]], bytes | None]
"""What the door answers to a command; None hangs up."""


class Told:
    """A door on a port of its own that answers what the test says."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.heard: list[list[bytes]] = []
        self.port = 0

    async def __aenter__(self) -> Told:
        self._served: list[asyncio.Task[None]] = []
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()
        await asyncio.gather(*self._served)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served.append(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        words = hiredis.Reader()
        with contextlib.suppress(ConnectionError):
            while received := await reader.read(65_536):
                words.feed(received)
                while (command := words.gets()) is not False:
                    self.heard.append(command)
                    answer = self.reply(command)
                    if answer is None:
                        writer.transport.abort()
                        return
                    writer.write(answer)
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def workload_at(*ports: int) -> Workload:
    clock = iter(range(1_000_000))
    return Workload(
        host="127.0.0.1",
        doors=[(f"client-{number}", port) for number, port in enumerate(ports, 1)],
        password=None,
        token="t",
        first_slot=5,
        seed=1,
        now_ms=lambda: float(next(clock)),
        writer=history.Writer(io.BytesIO()),
    )


def run_with(reply: Reply, act: Callable[[Told], Awaitable[Workload]]) -> tuple[Told, Workload]:
    async def go() -> tuple[Told, Workload]:
        async with Told(reply) as door:
            return door, await act(door)

    return asyncio.run(go())


def types_of(workload: Workload) -> list[tuple[int, str, str]]:
    return [(event.process, event.type, event.f) for event in workload.events]


def test_the_process_retires_when_the_outcome_is_unknown() -> None:
    answers = iter([b"-UNKNOWN who knows\r\n", b"+OK\r\n"])

    async def act(door: Told) -> Workload:
        workload = workload_at(door.port)
        client = Client(workload, 0, 1.0)
        await client.once(Wish("write", "k", "a"))
        await client.once(Wish("write", "k", "b"))
        client.close()
        return workload

    _, workload = run_with(lambda _: next(answers), act)
    assert types_of(workload) == [
        (0, "invoke", "write"),
        (0, "info", "write"),
        (1, "invoke", "write"),
        (1, "ok", "write"),
    ]


def test_a_change_is_info_when_the_door_hangs_up_after_it_was_sent() -> None:
    async def act(door: Told) -> Workload:
        workload = workload_at(door.port)
        client = Client(workload, 0, 1.0)
        await client.once(Wish("incr", "k"))
        client.close()
        return workload

    door, workload = run_with(lambda _: None, act)
    assert door.heard == [[b"INCR", b"k"]]
    assert [event.type for event in workload.events] == ["invoke", "info"]
    assert is_expected(workload.events[-1].error)


def test_nothing_is_written_down_when_nothing_could_be_sent() -> None:
    async def act(door: Told) -> Workload:
        # Nobody listens at the first door: its port was free a moment ago.
        gone = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = gone.sockets[0].getsockname()[1]
        gone.close()
        await gone.wait_closed()
        workload = workload_at(port, door.port)
        client = Client(workload, 0, 1.0)
        assert await client.once(Wish("write", "k", "a")) is None
        assert workload.events == []
        await client.persist(Wish("write", "k", "a"))
        client.close()
        return workload

    door, workload = run_with(lambda _: b"+OK\r\n", act)
    assert workload.not_sent == 2
    assert types_of(workload) == [(0, "invoke", "write"), (0, "ok", "write")]
    assert workload.events[0].node == "client-2"
    assert len(door.heard) == 1


def test_a_change_that_did_not_happen_is_tried_again_through_another_door() -> None:
    answers = iter([b"-UNAVAILABLE no quorum\r\n", b":4\r\n"])

    async def act(door: Told) -> Workload:
        workload = workload_at(door.port, door.port)
        client = Client(workload, 0, 1.0)
        await client.persist(Wish("list-append", None, "t.1"))
        client.close()
        return workload

    _, workload = run_with(lambda _: next(answers), act)
    assert [(event.type, event.node) for event in workload.events] == [
        ("invoke", "client-1"),
        ("fail", "client-1"),
        ("invoke", "client-2"),
        ("ok", "client-2"),
    ]


def redis_like() -> Reply:
    """A store in a dictionary that knows what the clients say, one client at a time."""
    store: dict[bytes, bytes] = {}
    values: list[tuple[int, bytes]] = []
    queued: list[list[bytes]] = []

    def bulk(value: bytes | None) -> bytes:
        return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)

    def reply(command: list[bytes]) -> bytes:
        name, *words = command
        match name:
            case b"GET":
                return bulk(store.get(words[0]))
            case b"SET" if queued:
                queued.append(command)
                return b"+QUEUED\r\n"
            case b"SET":
                store[words[0]] = words[1]
                return b"+OK\r\n"
            case b"INCR":
                store[words[0]] = b"%d" % (int(store.get(words[0], b"0")) + 1)
                return b":%b\r\n" % store[words[0]]
            case b"APPEND":
                store[words[0]] = store.get(words[0], b"") + words[1]
                return b":%d\r\n" % len(store[words[0]])
            case b"WRITE":
                values.append((len(values) + 6, words[0]))
                return b":%d\r\n" % values[-1][0]
            case b"READ":
                rows = (b"*2\r\n:%d\r\n%b" % (slot, bulk(value)) for slot, value in values)
                return b"*%d\r\n" % len(values) + b"".join(rows)
            case b"MULTI":
                queued.append([])
                return b"+OK\r\n"
            case b"EXEC":
                _, key, value = queued.pop()
                queued.clear()
                store[key] = value
                return b"*1\r\n+OK\r\n"
            case _:
                return b"+OK\r\n"

    return reply


def test_a_whole_workload_is_linearizable_at_a_store_that_is() -> None:
    async def act(door: Told) -> Workload:
        workload = workload_at(door.port)
        working = asyncio.ensure_future(workload.run(1, 20_000.0))
        async with asyncio.timeout(60):
            while workload.done < 2500:
                await asyncio.sleep(0.001)
        workload.stopping = True
        await working
        return workload

    _, workload = run_with(redis_like(), act)
    assert workload.under_way == 0
    assert not workload.unexpected
    assert {f for f, _ in workload.outcomes} == set(chaos_workload.FUNCTIONS)
    verdict = linearizability.check(history.operations(workload.events))
    assert verdict.linearizable
    assert verdict.checked.operations >= 2500


def test_the_list_stops_growing_when_it_is_long() -> None:
    workload, dice = workload_at(1), random.Random(1)
    wishes = [workload.wish(dice) for _ in range(LIST_VALUES_MAX * 10)]
    assert sum(wish.f == "list-append" for wish in wishes) == LIST_VALUES_MAX
    values = [str(wish.argument) for wish in wishes if wish.f in ("write", "cas", "list-append")]
    assert len(values) == len(set(values)), "every value is written once"
