"""The load of `paxos bench`: requests at a fixed depth on a few connections, as raw as Python is.

Closed loop: what is answered is replaced at once, with one write for all replies that came
together. Requests are made before the clock runs, replies are parsed by hiredis, and latencies are
kept per batch of requests, so that little of what is measured is this module's own work.

It retries nothing. An error reply, a value that is not there, a connection that breaks with
requests under way: each is counted. A broken connection is opened again, through the next door.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import string
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TypeAlias, cast

import hiredis

from paxos.core.errors import DefiniteError, RemoteProtocolError

from .bench_figures import Histogram
from .chaos_door import packed

READS_OF_MIX = 0.95
SEQUENCE_MIN = 100_000
"""So many requests are made before anything is repeated, whatever the number of keys."""
VALUES_MAX = 64
VALUES_BYTES_MAX = 16 * 1024 * 1024
"""How many different values are written, and what they may take together."""
CONNECT_TIMEOUT_S = 5.0
REST_S = 0.1
"""The pause before a connection that was lost is opened again, and after an error reply."""
DRAIN_S = 10.0
"""How long answers are waited for after the last request: longer than a gateway takes to give
up."""

Request: TypeAlias = tuple[bytes, ...]
"""The pieces of one request's bytes; the values are shared between requests."""

_PRINTABLE = (string.ascii_letters + string.digits).encode()
_TO_PRINTABLE = bytes(_PRINTABLE[byte % len(_PRINTABLE)] for byte in range(256))


class Operation(StrEnum):
    """What is asked of the cluster: writes, linearizable reads, or 95 reads to 5 writes."""

    WRITE = "write"
    READ = "read"
    MIX = "mix"


def key(prefix: str, number: int) -> bytes:
    """Return the name of a key."""
    return b"%bk%012d" % (prefix.encode(), number)


class Requests:
    """Makes the requests for `keys` keys that begin with `prefix`, with values of so many bytes."""

    def __init__(self, prefix: str, keys: int, value_bytes: int, seed: int) -> None:
        self._dice = random.Random(f"paxos bench {seed}")
        names = [key(prefix, number) for number in range(keys)]
        self._gets: list[Request] = [(packed((b"GET", name)),) for name in names]
        self._heads = [
            b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (len(name), name, value_bytes)
            for name in names
        ]
        count = max(1, min(VALUES_MAX, VALUES_BYTES_MAX // max(1, value_bytes)))
        self._values = [
            self._dice.randbytes(value_bytes).translate(_TO_PRINTABLE) + b"\r\n"
            for _ in range(count)
        ]

    def fill(self) -> list[Request]:
        """Return a write of each key, in order."""
        return list(zip(self._heads, itertools.cycle(self._values), strict=False))

    def sequence(self, operation: Operation) -> list[Request]:
        """Return requests for keys in random order, each key equally often."""
        reads = {Operation.WRITE: 0.0, Operation.READ: 1.0, Operation.MIX: READS_OF_MIX}[operation]
        numbers = list(range(len(self._heads)))
        order: list[int] = []
        while len(order) < SEQUENCE_MIN:
            self._dice.shuffle(numbers)
            order += numbers
        written = set(self._dice.sample(range(len(order)), round(len(order) * (1 - reads))))
        values = itertools.cycle(self._values)
        return [
            (self._heads[number], next(values)) if place in written else self._gets[number]
            for place, number in enumerate(order)
        ]


class Work:
    """Hands requests out, in order, to whichever connection wants some; again and again when it is
    `endless`."""

    def __init__(self, requests: Sequence[Request], *, endless: bool) -> None:
        self._requests = requests
        self._endless = endless
        self._next = 0

    def take(self, count: int) -> list[Request]:
        """Return the next requests: `count` of them, or as many as are left."""
        taken = list(self._requests[self._next : self._next + count])
        self._next += len(taken)
        while self._endless and len(taken) < count:
            self._next = min(count - len(taken), len(self._requests))
            taken += self._requests[: self._next]
        return taken


class Tally:
    """What has come of a load so far."""

    def __init__(self) -> None:
        self.latencies = Histogram()
        self.errors = 0
        self.first_error = ""

    def fail(self, text: str, times: int = 1) -> None:
        """Count requests, or attempts to connect, that failed."""
        if times and not self.errors:
            self.first_error = text
        self.errors += times


class Load:
    """One load: `outstanding` requests in all on `connections` connections, evenly, over all doors.

    `outstanding` is not less than `connections`. One use.
    """

    def __init__(
        self,
        doors: Sequence[tuple[str, int]],
        password: str | None,
        *,
        connections: int,
        outstanding: int,
        work: Work,
    ) -> None:
        self.doors = doors
        self.password = password
        self.work = work
        self.tally = Tally()
        self.over = False
        """Nothing is sent any more."""
        self.seconds = 0.0
        """How long requests were sent."""
        self.in_time = 0
        """How many were acknowledged in that time."""
        share, more = divmod(outstanding, connections)
        self._lanes = [
            _Lane(self, number, share + (number < more)) for number in range(connections)
        ]

    async def run(
        self,
        seconds: float | None,
        tell: Callable[[float, Tally], None] = lambda _seconds, _tally: None,
        *,
        until_error: bool = False,
    ) -> None:
        """Send for so many seconds, or until the work is done, and wait for the last answers.

        `tell` is called every second with the seconds so far; with `until_error` the load ends
        there once anything has failed. Raises DefiniteError when not every
        connection can be opened at the start.
        """
        tasks: list[asyncio.Task[None]] = []
        try:
            # One after the other: hundreds at once could pass what the door lets wait.
            for lane in self._lanes:
                await lane.open()
            began_s = time.perf_counter()
            tasks = [asyncio.create_task(lane.run()) for lane in self._lanes]
            for second in itertools.count(1):
                until_s = second if seconds is None else min(second, seconds)
                left_s = max(0.0, began_s + until_s - time.perf_counter())
                if not (await asyncio.wait(tasks, timeout=left_s))[1]:
                    break
                tell(until_s, self.tally)
                if until_s == seconds or (until_error and self.tally.errors):
                    break
            self.seconds = time.perf_counter() - began_s
            self.in_time = self.tally.latencies.count
            await self._drain(tasks)
            # What went wrong inside a task must not be lost.
            await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            # What is under way must not be done after whoever cancelled this has cleared up.
            await self._drain(tasks)
            raise
        finally:
            for task in tasks:
                task.cancel()
            for lane in self._lanes:
                lane.close()

    async def _drain(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Send nothing more and wait for what is under way, for so long."""
        self.over = True
        for lane in self._lanes:
            lane.end()
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN_S)
        for lane in self._lanes:
            lane.give_up()


class _Lane(asyncio.Protocol):
    """One connection and its part of what is outstanding."""

    def __init__(self, load: Load, number: int, share: int) -> None:
        self._load = load
        self._place = number
        self._share = share
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._greeted: asyncio.Future[None] | None = None
        self._sent: deque[tuple[float, int]] = deque()
        self._under_way = 0
        self._resting = 0
        """Requests that are replaced only after a pause."""
        self._generation = 0
        """How often the connection was lost."""
        self._ended = asyncio.Event()
        """The connection is of no more use: it was lost, or nothing is left to do."""

    # ------------------------------------------------------------ life

    async def open(self) -> None:
        """Connect and say the password. Raises DefiniteError."""
        host, port = self._load.doors[self._place % len(self._load.doors)]
        self._reader = hiredis.Reader()
        self._ended.clear()
        greeted = self._greeted = self._loop.create_future()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._loop.create_connection(lambda: self, host, port)
                await greeted
        except OSError as error:
            self.close()
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise DefiniteError(f"cannot connect to {host}:{port}: {reason}") from error
        finally:
            self._greeted = None

    async def run(self) -> None:
        """Keep the lane's requests under way until the load is over; connect again when lost."""
        while True:
            if self._transport is not None:
                self._send(self._share)
                await self._ended.wait()
            if self._load.over or self._transport is not None:
                return
            await asyncio.sleep(REST_S)
            self._place += 1
            try:
                await self.open()
            except DefiniteError as error:
                self._load.tally.fail(str(error))

    def end(self) -> None:
        """Send nothing more; the lane ends with its last answer."""
        if not self._under_way:
            self._ended.set()

    def give_up(self) -> None:
        """Wait for answers no longer."""
        if self._under_way:
            self._load.tally.fail(f"no answer in {DRAIN_S:.0f} s", self._under_way)
            self._forget()
        self._ended.set()

    def close(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _forget(self) -> None:
        self._sent.clear()
        self._under_way = self._resting = 0
        self._generation += 1

    # ------------------------------------------------------------ the protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say the password, if there is one."""
        # uvloop's transports are not instances of asyncio's.
        self._transport = opened = cast("asyncio.Transport", transport)
        if self._greeted is None or self._greeted.done():
            # Whoever opened it has given up meanwhile.
            self.close()
        elif self._load.password is None:
            self._greeted.set_result(None)
        else:
            opened.write(packed((b"AUTH", self._load.password.encode())))

    def connection_lost(self, error: Exception | None) -> None:
        """Count what was under way, and let `run` connect again."""
        reason = f"connection lost: {error or 'the door closed it'}"
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_exception(ConnectionResetError(reason))
        self._transport = None
        self._load.tally.fail(reason, self._under_way)
        self._forget()
        self._ended.set()

    def data_received(self, data: bytes) -> None:
        """Count the replies that came together, and send as many requests in one write."""
        reader = self._reader
        reader.feed(data)
        gets = reader.gets
        replies = 0
        failures: list[tuple[int, str]] = []
        try:
            if self._greeted is not None and not self._greeted.done():
                self._greet(self._greeted)
                return
            while (reply := gets()) is not False:
                if reply is None:
                    failures.append((replies, "a key that was written is not there"))
                elif isinstance(reply, hiredis.ReplyError):
                    failures.append((replies, str(reply)))
                replies += 1
            self._settle(replies, failures, time.perf_counter())
        except (hiredis.ProtocolError, RemoteProtocolError) as error:
            self._break_off(f"the door does not speak RESP: {error}")
            return
        if failures:
            # Refusals come at once: without a pause they would be asked for as fast as possible.
            self._resting += replies
            self._loop.call_later(REST_S, self._go_on, self._generation, replies)
        elif replies:
            self._send(replies)

    def _greet(self, greeted: asyncio.Future[None]) -> None:
        """Take the answer to the password."""
        reply = self._reader.gets()
        if isinstance(reply, hiredis.ReplyError):
            greeted.set_exception(ConnectionRefusedError(str(reply)))
        elif reply is not False:
            greeted.set_result(None)

    def _settle(self, replies: int, failures: list[tuple[int, str]], now_s: float) -> None:
        """Count replies, which answer the requests that were sent first."""
        if replies > self._under_way:
            raise RemoteProtocolError("more replies than requests")
        tally = self._load.tally
        self._under_way -= replies
        for _, text in failures:
            tally.fail(text)
        first = 0
        while first < replies:
            sent_s, count = self._sent[0]
            taken = min(count, replies - first)
            failed = sum(first <= place < first + taken for place, _ in failures) if failures else 0
            tally.latencies.add(now_s - sent_s, taken - failed)
            first += taken
            if taken == count:
                self._sent.popleft()
            else:
                self._sent[0] = (sent_s, count - taken)

    def _break_off(self, reason: str) -> None:
        """Hang up on a door whose replies mean nothing."""
        self._load.tally.fail(reason, self._under_way)
        self._forget()
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self, generation: int, count: int) -> None:
        """Replace what was answered before a pause, unless the connection was lost meanwhile."""
        if generation == self._generation:
            self._resting -= count
            self._send(count)

    def _send(self, count: int) -> None:
        """Send so many requests, or what is left of the work."""
        taken = [] if self._load.over else self._load.work.take(count)
        if taken and self._transport is not None:
            self._sent.append((time.perf_counter(), len(taken)))
            self._under_way += len(taken)
            self._transport.write(b"".join(itertools.chain.from_iterable(taken)))
        elif not self._under_way and not self._resting:
            self._ended.set()
