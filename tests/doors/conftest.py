"""A gateway that is a dictionary, a transport that is a buffer, and a loop that is a list."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import pytest

from paxos.core.effects import ClientGone, ClientReads, ClientStaleReads, ClientWrites
from paxos.core.settings import Limits
from paxos.core.trace import Trace
from paxos.core.types import NodeId
from paxos.doors.resp import RespDoor
from paxos.doors.resp_connection import RespConnection


class FakeGateway:
    """Carries commands out against a dictionary, in the order in which they are submitted.

    With `at_once`, replies are delivered from inside `submit`; otherwise by `pump`.
    """

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.overloaded = False
        self.ready = True
        self.events: list[Any] = []
        self.gone: list[int] = []
        self.data: dict[bytes, bytes] = {}
        self.revisions: dict[bytes, int] = {}
        self.revision = 0
        self.values: list[list[Any]] = []
        self.failure: str | None = None
        self.confirmed: list[tuple[int, int, int, int, float]] = []
        self.deliver: Callable[[int, list[Any]], None] = lambda connection, replies: None
        self._pending: deque[tuple[int, Any]] = deque()

    def submit(self, event: Any) -> None:
        self.events.append(event)
        if isinstance(event, ClientGone):
            self.gone.append(event.connection)
            return
        assert isinstance(event, ClientWrites | ClientReads | ClientStaleReads)
        replies = [self.carry_out(command) for command in event.commands]
        self._pending.extend((event.connection, reply) for reply in replies)
        if self.at_once:
            self.pump(len(replies))

    def pump(self, count: int | None = None) -> int:
        """Deliver up to `count` replies, all if None, of neighbours in one list; tell how many."""
        taken = 0
        while self._pending and (count is None or taken < count):
            connection = self._pending[0][0]
            replies = []
            while (
                self._pending
                and self._pending[0][0] == connection
                and (count is None or taken < count)
            ):
                replies.append(self._pending.popleft()[1])
                taken += 1
            self.deliver(connection, replies)
        return taken

    def status(self) -> dict[str, Any]:
        return {
            "leader": "proposer-1",
            "quorum": {"needed": 2, "of": 3},
            "voting": ["acceptor-1"],
            "reason": None,
        }

    def members(self) -> dict[str, Any]:
        return {"epoch": 3, "acceptors": [{"node": "acceptor-1.1", "page_port": 8004}]}

    def responses(self, limit: int | None) -> list[tuple[int, int, int, int, float]]:
        return self.confirmed if limit is None else self.confirmed[len(self.confirmed) - limit :]

    def carry_out(self, command: list[Any]) -> Any:
        """Return the reply to one command."""
        if self.failure is not None:
            return {"error": self.failure}
        name, *arguments = command
        if name == b"EXEC":
            watches, commands = arguments
            if any(self.revisions.get(key, 0) != revision for key, revision in watches):
                return None
            return [self.carry_out(inner) for inner in commands]
        return getattr(self, "_" + name.decode().lower())(*arguments)

    def _set(self, key: bytes, value: bytes, *options: bytes) -> Any:
        self.data[key] = value
        self.revision += 1
        self.revisions[key] = self.revision
        return "OK"

    def _get(self, key: bytes) -> Any:
        return self.data.get(key)

    def _mget(self, *keys: bytes) -> Any:
        return [self.data.get(key) for key in keys]

    def _incr(self, key: bytes) -> Any:
        return self._incrby(key, b"1")

    def _incrby(self, key: bytes, step: bytes) -> Any:
        before = self.data.get(key, b"0")
        if not before.isdigit() or not step.isdigit():
            return {"error": "ERR value is not an integer or out of range"}
        number = int(before) + int(step)
        self._set(key, b"%d" % number)
        return number

    def _del(self, *keys: bytes) -> Any:
        return sum(self.data.pop(key, None) is not None for key in keys)

    def _exists(self, *keys: bytes) -> Any:
        return sum(key in self.data for key in keys)

    def _dbsize(self) -> Any:
        return len(self.data)

    def _revision(self, key: bytes) -> Any:
        return self.revisions.get(key, 0)

    def _write(self, value: bytes) -> Any:
        self.values.append([len(self.values) + 1, value])
        slot = len(self.values)
        self.confirmed.append((slot, slot, slot, 1, 0.5))
        return slot

    def _read(self, *options: bytes) -> Any:
        return self.values


class FakeTransport:
    """Keeps what is written. `taken` False: the client does not read, and the buffer grows."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.reading = True
        self.closing = False
        self.aborted = False
        self.taken = True
        self.unsent = 0
        self.high = 0
        self.protocol: RespConnection | None = None

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def get_extra_info(self, name: str) -> Any:
        return ("192.0.2.1", 4711) if name == "peername" else None

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.written += data
        if not self.taken:
            before = self.unsent
            self.unsent += len(data)
            if before <= self.high < self.unsent and self.protocol is not None:
                self.protocol.pause_writing()

    def take(self) -> None:
        """The client reads everything."""
        paused, self.unsent = self.unsent > self.high, 0
        if paused and self.protocol is not None:
            self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


class FakeLoop:
    """Time stands still unless a test moves it; callbacks run when `turn` is called."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.later: list[Callable[[], None]] = []
        self._soon: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.now_s

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.later.append(callback)

    def turn(self) -> None:
        while self._soon:
            self._soon.pop(0)()


class Talk:
    """One client's connection to a door, without a socket."""

    def __init__(self, house: House) -> None:
        self._loop = house.loop
        self.transport = FakeTransport()
        self.connection = house.door.accept()
        self.transport.protocol = self.connection
        self.connection.connection_made(cast(asyncio.Transport, self.transport))
        self._read = 0

    def say(self, data: bytes) -> bytes:
        """Send bytes; return what came back since the last time."""
        if data:
            self.connection.data_received(data)
        return self.heard()

    def heard(self) -> bytes:
        """Return what came back since the last time."""
        self._loop.turn()
        answer = bytes(self.transport.written[self._read :])
        self._read = len(self.transport.written)
        return answer

    def hang_up(self) -> None:
        self.connection.connection_lost(None)


class House:
    """A door, its gateway and its loop."""

    def __init__(
        self,
        *,
        at_once: bool = True,
        password: str | None = None,
        limits: Limits | None = None,
        **options: Any,
    ) -> None:
        self.gateway = FakeGateway(at_once=at_once)
        self.loop = FakeLoop()
        self.traces: list[Trace] = []
        self.door = RespDoor(
            self.gateway,
            limits=limits or Limits(),
            password=password,
            node=NodeId("client-1"),
            trace=self.traces.append,
            **options,
        )
        self.door.attach(cast(asyncio.AbstractEventLoop, self.loop))
        self.gateway.deliver = self.door.deliver

    def talk(self) -> Talk:
        return Talk(self)


@pytest.fixture(scope="session")
def house() -> Callable[..., House]:
    """Make doors in front of dictionaries."""
    return House


@pytest.fixture
def talk() -> Talk:
    """One connection to a door whose gateway answers at once."""
    return House().talk()
