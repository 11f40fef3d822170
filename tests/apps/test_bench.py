"""`paxos bench`: its arithmetic, its load against a stand-in for a door, and a real cluster."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import hiredis
import pytest
from tests.system.cluster import LocalCluster, environment, wait_until

from paxos.apps import bench_load
from paxos.apps.bench_figures import Figures, Histogram, LogMark, figures, table
from paxos.apps.bench_load import Load, Operation, Request, Requests, Work
from paxos.apps.cli import main
from paxos.core.errors import DefiniteError

NO_MARK = LogMark(None, None)
PREFIX = "bench:test:"

# ---------------------------------------------------------------- arithmetic


def test_histogram_tells_percentiles_within_one_per_cent() -> None:
    histogram = Histogram()
    for microseconds in range(1, 100_001):
        histogram.add(microseconds / 1e6)
    assert histogram.count == 100_000
    for percent in (1, 50, 90, 99, 99.9):
        found = histogram.percentile_ms(percent)
        assert found == pytest.approx(percent, rel=0.01)
        assert found is not None
        assert found >= percent
    assert histogram.percentile_ms(100) == histogram.max_ms == 100.0
    assert histogram.mean_ms == pytest.approx(50.0005)


def test_histogram_is_exact_where_latencies_are_short() -> None:
    histogram = Histogram()
    histogram.add(0.000_003, times=98)
    histogram.add(0.000_255, times=2)
    assert histogram.percentile_ms(98) == 0.003
    assert histogram.percentile_ms(99) == 0.255
    assert histogram.max_ms == 0.255


def test_histogram_holds_any_latency_and_says_nothing_of_none() -> None:
    histogram = Histogram()
    assert histogram.percentile_ms(50) is None
    assert histogram.max_ms is None
    assert histogram.mean_ms is None
    histogram.add(1.0, times=0)
    assert histogram.max_ms is None
    histogram.add(-1.0)
    assert histogram.percentile_ms(100) == 0.0
    histogram.add(1e9)
    assert histogram.percentile_ms(100) == histogram.max_ms
    assert histogram.count == 2


def row(before: LogMark = NO_MARK, after: LogMark = NO_MARK, errors: int = 0) -> Figures:
    """Figures of a load that was answered a hundred times in two seconds."""
    latencies = Histogram()
    latencies.add(0.001, times=90)
    latencies.add(0.25, times=10)
    return figures(
        "write",
        latencies,
        seconds=2.0,
        in_time=80,
        errors=errors,
        first_error="UNKNOWN no answer" if errors else "",
        before=before,
        after=after,
    )


def test_rate_counts_what_was_acknowledged_in_time() -> None:
    found = row()
    assert found.rate == 40.0
    assert found.operations == 100
    assert (found.slots, found.commands_per_slot) == (None, None)


@pytest.mark.parametrize(
    ("before", "after", "slots", "per_slot"),
    [
        (LogMark(10, 100), LogMark(30, 200), 20, 5.0),
        (LogMark(10, 100), LogMark(10, 100), 0, None),
        (LogMark(10, 100), LogMark(30, 7), 20, None),
        (LogMark(10, None), LogMark(30, None), 20, None),
        (LogMark(10, 100), LogMark(5, 200), None, None),
        (LogMark(None, 100), LogMark(5, 200), None, None),
    ],
)
def test_slots_are_told_only_when_the_doors_say(
    before: LogMark, after: LogMark, slots: int | None, per_slot: float | None
) -> None:
    found = row(before, after)
    assert (found.slots, found.commands_per_slot) == (slots, per_slot)


def test_table_shows_errors_with_the_first_one_when_there_are_any() -> None:
    lines = table([row(), row(LogMark(0, 0), LogMark(2000, 9000), errors=1234)]).splitlines()
    assert lines[0].split("  ")[0] == "operation"
    assert lines[1].split() == ["write", "40", "1.00", "1.00", "250", "250", "0", "-", "-"]
    assert lines[2].split()[-3:] == ["1,234", "2,000", "4.5"]
    assert len({len(line) for line in lines[:3]}) == 1
    assert lines[4:] == ["write: 1,234 errors, the first: UNKNOWN no answer"]


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize("keys", [1, 7, 1000])
def test_sequence_asks_for_every_key_equally_often(keys: int) -> None:
    requests = Requests(PREFIX, keys, 16, seed=1).sequence(Operation.WRITE)
    assert len(requests) >= bench_load.SEQUENCE_MIN
    times = Counter(head for head, _ in requests)
    assert (len(times), len(set(times.values()))) == (keys, 1)


def test_one_request_in_twenty_of_a_mix_is_a_write() -> None:
    requests = Requests(PREFIX, 1000, 16, seed=1).sequence(Operation.MIX)
    writes = [request for request in requests if request[0].startswith(b"*3\r\n$3\r\nSET\r\n")]
    assert len(writes) == round(len(requests) * 0.05)
    assert len({request[0] for request in writes}) > 900


def test_work_hands_everything_out_once_or_for_ever() -> None:
    requests: list[Request] = [(b"%d" % number,) for number in range(5)]
    once = Work(requests, endless=False)
    assert once.take(3) + once.take(3) + once.take(3) == requests
    ever = Work(requests, endless=True)
    assert ever.take(13) + ever.take(2) == requests * 3


# ---------------------------------------------------------------- the load, at a stand-in

Words = list[bytes]
Test = Callable[[], Coroutine[Any, Any, None]]
OK = b"+OK\r\n"
KEYS = 500


class Shop:
    """What stands behind stand-ins for doors: a dictionary, and how they behave.

    `reply` answers a command; None leaves it unanswered. `hang_up_after` is how many commands
    are taken in all before the connection that brought the last one is closed, once.
    """

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.taken = 0
        self.clerks = 0
        self.connections: Counter[int] = Counter()
        self.hang_up_after = 0
        self.waiting: list[tuple[asyncio.Transport, bytes]] = []
        self.arrived = asyncio.Event()
        self.reply: Callable[[Words], bytes | None] = self.serve

    def serve(self, words: Words) -> bytes | None:
        """Do what a store does."""
        match words:
            case [b"SET", name, value]:
                self.kept[name] = value
                return OK
            case [b"GET", name]:
                value = self.kept.get(name, b"")
                return b"$%d\r\n%b\r\n" % (len(value), value) if name in self.kept else b"$-1\r\n"
            case [b"DEL", *names]:
                return b":%d\r\n" % sum(self.kept.pop(name, None) is not None for name in names)
            case _:
                return b"-ERR unknown command\r\n"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[str, int]]:
        """Be a door; gives its address."""
        server = await asyncio.get_running_loop().create_server(lambda: Clerk(self), "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()
        finally:
            server.close()
            await server.wait_closed()


class Clerk(asyncio.Protocol):
    """One connection of a client to a shop."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.number = shop.clerks = shop.clerks + 1
        self.reader = hiredis.Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        shop = self.shop
        self.reader.feed(data)
        replies = []
        while (words := self.reader.gets()) is not False:
            shop.taken += 1
            shop.connections[self.number] += 1
            if (reply := shop.reply(words)) is not None:
                replies.append(reply)
            else:
                shop.waiting.append((self.transport, OK))
            if shop.taken == shop.hang_up_after:
                self.transport.abort()
                return
        self.transport.write(b"".join(replies))
        shop.arrived.set()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pauses be short."""
    monkeypatch.setattr(bench_load, "REST_S", 0.001)


def in_loop(test: Test) -> None:
    """Run a test's coroutine."""
    asyncio.run(asyncio.wait_for(test(), 30.0))


def load(*doors: tuple[str, int], work: Work, connections: int = 2, outstanding: int = 16) -> Load:
    """A load without a password."""
    return Load(doors, None, connections=connections, outstanding=outstanding, work=work)


def test_filling_writes_each_key_once() -> None:
    async def scene() -> None:
        shop = Shop()
        requests = Requests(PREFIX, KEYS, 32, seed=1)
        async with shop.open() as one, shop.open() as other:
            filling = load(one, other, work=Work(requests.fill(), endless=False))
            await filling.run(None)
            assert sorted(shop.kept) == [bench_load.key(PREFIX, number) for number in range(KEYS)]
            assert {len(value) for value in shop.kept.values()} == {32}
            assert (shop.taken, len(shop.connections)) == (KEYS, 2)
            assert (filling.tally.latencies.count, filling.tally.errors) == (KEYS, 0)
            assert filling.in_time == KEYS
            reading = load(one, work=Work(requests.sequence(Operation.READ)[:KEYS], endless=False))
            await reading.run(None)
            assert (reading.tally.latencies.count, reading.tally.errors) == (KEYS, 0)

    in_loop(scene)


def test_load_keeps_exactly_so_many_requests_under_way() -> None:
    async def scene() -> None:
        shop = Shop()
        shop.reply = lambda words: None
        requests = Requests(PREFIX, KEYS, 8, seed=1).sequence(Operation.WRITE)
        async with shop.open() as door:
            under_load = load(
                door, work=Work(requests[:70], endless=False), connections=3, outstanding=7
            )
            running = asyncio.create_task(under_load.run(None))
            for answered in range(0, 70, 7):
                while len(shop.waiting) < 7:
                    shop.arrived.clear()
                    await shop.arrived.wait()
                assert (len(shop.waiting), shop.taken) == (7, answered + 7)
                if not answered:
                    assert sorted(shop.connections.values()) == [2, 2, 3]
                waiting, shop.waiting = shop.waiting, []
                for transport, reply in waiting:
                    transport.write(reply)
            await running
            assert (under_load.tally.latencies.count, under_load.tally.errors) == (70, 0)

    in_loop(scene)


def test_error_replies_are_counted_and_the_load_goes_on() -> None:
    async def scene() -> None:
        shop = Shop()
        shop.reply = lambda words: b"-UNKNOWN no answer\r\n" if shop.taken % 10 == 0 else OK
        requests = Requests(PREFIX, KEYS, 8, seed=1).fill()
        async with shop.open() as door:
            under_load = load(door, work=Work(requests, endless=False))
            await under_load.run(None)
            tally = under_load.tally
            assert (tally.latencies.count, tally.errors) == (KEYS * 9 // 10, KEYS // 10)
            assert tally.first_error == "UNKNOWN no answer"

    in_loop(scene)


def test_a_value_that_is_not_there_is_an_error() -> None:
    async def scene() -> None:
        requests = Requests(PREFIX, KEYS, 8, seed=1).sequence(Operation.READ)[:50]
        async with Shop().open() as door:
            under_load = load(door, work=Work(requests, endless=False))
            await under_load.run(None)
            assert (under_load.tally.latencies.count, under_load.tally.errors) == (0, 50)
            assert under_load.tally.first_error == "a key that was written is not there"

    in_loop(scene)


def test_a_lost_connection_is_counted_and_opened_again() -> None:
    async def scene() -> None:
        shop = Shop()
        shop.hang_up_after = KEYS // 2
        requests = Requests(PREFIX, KEYS, 8, seed=1).fill()
        async with shop.open() as one, shop.open() as other:
            under_load = load(one, other, work=Work(requests, endless=False), connections=1)
            await under_load.run(None)
            tally = under_load.tally
            assert tally.latencies.count + tally.errors == KEYS
            assert 1 <= tally.errors <= 16
            assert tally.first_error.startswith("connection lost: ")
            assert len(shop.connections) == 2

    in_loop(scene)


def test_requests_without_an_answer_are_errors_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        monkeypatch.setattr(bench_load, "DRAIN_S", 0.01)
        shop = Shop()
        shop.reply = lambda words: None
        requests = Requests(PREFIX, KEYS, 8, seed=1).fill()
        async with shop.open() as door:
            under_load = load(door, work=Work(requests, endless=True))
            await under_load.run(0.05)
            assert (under_load.tally.latencies.count, under_load.tally.errors) == (0, 16)
            assert under_load.tally.first_error == "no answer in 0 s"

    in_loop(scene)


def test_a_door_that_speaks_something_else_is_counted_as_an_error() -> None:
    async def scene() -> None:
        shop = Shop()
        shop.reply = lambda words: b"HTTP/1.1 400 Bad Request\r\n"
        async with shop.open() as door:
            under_load = load(door, work=Work([(b"*1\r\n$4\r\nPING\r\n",)], endless=True))
            await under_load.run(5.0, until_error=True)
            assert under_load.tally.latencies.count == 0
            assert under_load.tally.first_error.startswith("the door does not speak RESP: ")

    in_loop(scene)


def test_a_load_that_cannot_begin_says_why() -> None:
    async def scene() -> None:
        shop = Shop()
        shop.reply = lambda words: b"-WRONGPASS no\r\n" if words[0] == b"AUTH" else OK
        work = Work([(b"*1\r\n$4\r\nPING\r\n",)], endless=False)
        async with shop.open() as door:
            locked = Load([door], "secret", connections=1, outstanding=1, work=work)
            with pytest.raises(DefiniteError, match="WRONGPASS no"):
                await locked.run(None)
            shop.reply = lambda words: OK
            opened = Load([door], "secret", connections=1, outstanding=1, work=work)
            await opened.run(None)
            assert opened.tally.latencies.count == 1
        with pytest.raises(DefiniteError, match=f"cannot connect to 127.0.0.1:{door[1]}"):
            await load(door, work=work).run(None)

    in_loop(scene)


def test_a_cancelled_load_waits_for_what_is_under_way() -> None:
    async def scene() -> None:
        shop = Shop()
        shop.reply = lambda words: None
        requests = Requests(PREFIX, KEYS, 8, seed=1).fill()
        async with shop.open() as door:
            under_load = load(door, work=Work(requests, endless=True), connections=1)
            running = asyncio.create_task(under_load.run(60.0))
            await shop.arrived.wait()
            running.cancel()
            while not under_load.over:
                await asyncio.sleep(0)
            assert not running.done()
            assert len(shop.waiting) == 16
            for transport, reply in shop.waiting:
                transport.write(reply)
            with pytest.raises(asyncio.CancelledError):
                await running
            assert (under_load.tally.latencies.count, under_load.tally.errors) == (16, 0)
            assert shop.taken == 16

    in_loop(scene)


# ---------------------------------------------------------------- the command


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of anybody's, a data folder of its own."""
    for name in list(os.environ):
        if name.startswith("PAXOS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PAXOS_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("localhost",), '"localhost": must be HOST:PORT'),
        (("localhost:70000",), '"localhost:70000": must be HOST:PORT'),
        ((":6001",), '":6001": must be HOST:PORT'),
        (("[::1]:x",), '"[::1]:x": must be HOST:PORT'),
        (("--op", "sing", "localhost:1"), "'sing' is not one of 'write', 'read', 'mix'"),
        (("--seconds", "0", "localhost:1"), "greater than or equal to 0.1"),
        (("--value-bytes", "1000000", "--outstanding", "1000", "a:1"), "more than 268435456 bytes"),
    ],
)
def test_wrong_usage_is_refused_with_a_reason(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], reason: str
) -> None:
    assert main(["bench", "--json", *words]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["exit"] == 2
    assert reason in " ".join(told["error"])


@pytest.mark.usefixtures("apart")
def test_a_cluster_that_does_not_run_cannot_be_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["bench"]) == 1
    assert "no cluster with a door runs in" in capsys.readouterr().err
    monkeypatch.setenv("PAXOS_DOORS_RESP", "false")
    assert main(["bench"]) == 2
    assert "bench needs the RESP door" in capsys.readouterr().err


@pytest.mark.usefixtures("apart")
def test_a_door_where_nobody_listens_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "127.0.0.1:1", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert "127.0.0.1:1 cannot be reached" in told["error"][0]


@pytest.mark.usefixtures("apart")
def test_help_says_that_the_generator_is_measured_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "It measures its own generator too" in told
    assert "./benchmarks/run compares with other systems" in told


async def command(*words: str) -> tuple[int | None, str, str]:
    """Run the command as a process of its own."""
    arguments = (sys.executable, "-m", "paxos.apps.cli", "bench", *words)
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


def test_errors_are_shown_and_the_status_is_1_when_nothing_is_acknowledged() -> None:
    async def scene() -> None:
        shop = Shop()
        shop.reply = lambda words: b"-UNAVAILABLE no quorum\r\n"
        async with shop.open() as (host, port):
            status, out, _ = await command(f"{host}:{port}", "--seconds", "0.3", "--keys", "20")
        assert status == 1
        assert "UNAVAILABLE no quorum" in out
        assert "not measured: read, mix: not all keys could be written before" in out
        assert "./benchmarks/run compares" in out

    in_loop(scene)


def test_a_server_of_another_kind_is_measured_without_slots() -> None:
    async def scene() -> None:
        shop = Shop()
        async with shop.open() as (host, port):
            words = ("--seconds", "0.3", "--keys", "20", "--outstanding", "3", "--json")
            status, out, _ = await command(f"{host}:{port}", *words)
        assert status == 0
        told = json.loads(out)
        assert [run["op"] for run in told["runs"]] == ["write", "read", "mix"]
        assert {run["errors"] for run in told["runs"]} == {0}
        assert {run["slots"] for run in told["runs"]} == {None}
        assert (told["connections"], told["deleted"], shop.kept) == (3, 20, {})

    in_loop(scene)


# ---------------------------------------------------------------- a real cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster for the tests that follow."""
    settings = {"security": {"password": "open sesame"}}
    made = LocalCluster(tmp_path_factory.mktemp("bench"), settings)
    try:
        made.start()
        yield made
    finally:
        made.end()


def kept(cluster: LocalCluster, door: int = 2) -> int:
    """How many of the keys that bench has written are there."""
    return len(cluster.redis(door, password="open sesame").keys("bench:*"))


@pytest.mark.xdist_group("system")
def test_a_running_cluster_is_found_measured_and_left_clean(cluster: LocalCluster) -> None:
    done = cluster.command("bench", "--seconds", "0.5", "--keys", "700", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["doors"] == [f"127.0.0.1:{cluster.door(number)}" for number in (1, 2)]
    write, read, mix = told["runs"]
    assert [run["op"] for run in told["runs"]] == ["write", "read", "mix"]
    for run in told["runs"]:
        assert run["operations"] > 0, run
        assert run["errors"] == 0, run
        assert 0 < run["p50_ms"] <= run["p90_ms"] <= run["p99_ms"] <= run["max_ms"]
    assert write["slots"] > 0
    assert write["commands_per_slot"] >= 1
    assert read["slots"] == 0
    assert mix["slots"] > 0
    assert (told["fill"]["operations"], told["deleted"]) == (700, 700)
    assert kept(cluster) == 0
    assert "write" in done.stderr


@pytest.mark.xdist_group("system")
def test_keys_stay_when_asked(cluster: LocalCluster) -> None:
    door = f"localhost:{cluster.door(1)}"
    words = ("--op", "read", "--seconds", "0.2", "--keys", "30", "--keep")
    done = cluster.command("bench", door, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith(f"at {door}")
    assert lines[2].startswith("operation")
    assert lines[3].split()[0] == "read"
    assert kept(cluster) == 30
    door_to_clear = cluster.redis(1, password="open sesame")
    assert door_to_clear.delete(*door_to_clear.keys("bench:*")) == 30


@pytest.mark.xdist_group("system")
def test_an_interrupted_run_deletes_what_it_wrote(cluster: LocalCluster) -> None:
    words = ("bench", "--op", "write", "--seconds", "60", "--config", str(cluster.file))
    process = subprocess.Popen(
        [sys.executable, "-m", "paxos.apps.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        wait_until(lambda: kept(cluster), "it writes")
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60.0)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (130, "")
    assert "interrupted" in error
    assert kept(cluster) == 0
