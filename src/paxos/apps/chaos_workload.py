"""The clients of a chaos run: what they ask of a real cluster, and the history of it.

Each client has a connection of its own to one door and one operation at a time. When its door does
not answer, or says that it cannot, the client goes on through another one. What happened to each
operation is written down in the words of sim.history, and nothing is guessed: an error that says
"it did not happen" is a `fail`, one that does not know is an `info`, and so is a connection that
broke or fell silent after something was sent; the process then retires, and a new one takes over.

Keys are few at a time, so that clients meet, and are replaced by fresh ones when they have been
used often, so that the history can be checked key by key in short pieces.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import msgspec

from paxos.sim.history import Event, Writer

from .chaos_door import Door, Lost, NotSent

KEY_OPERATIONS_MAX = 200
KEY_UNKNOWN_MAX = 6
"""A key is replaced after so many operations, or so many without a known outcome."""
KEYS_AT_ONCE = 3
LIST_VALUES_MAX = 2000
"""So many values are appended to the cluster's list at most: each READ answers with all of them."""
PATIENCE_S = (2.5, 6.5)
"""How long clients wait for an answer, in turn: less and more than a gateway takes to give up."""
REST_S = 0.05
"""The pause of a client that cannot reach a door, or was told that it cannot be served."""
WANDER = 0.01
"""How often a client takes another door for no reason."""

REGISTER, COUNTER, TEXT, LIST = "register", "counter", "text", "list"

MIX: tuple[tuple[str, str, float], ...] = (
    (REGISTER, "read", 16.0),
    (REGISTER, "write", 12.0),
    (REGISTER, "cas", 12.0),
    (COUNTER, "incr", 17.0),
    (COUNTER, "read", 8.0),
    (TEXT, "append", 12.0),
    (TEXT, "read", 8.0),
    (LIST, "list-append", 14.0),
    (LIST, "list-read", 1.0),
)
"""What clients do: the kind of key, the operation, how often out of 100."""

FUNCTIONS = ("read", "write", "cas", "incr", "append", "list-append", "list-read")
CHANGING = frozenset(("write", "cas", "incr", "append", "list-append"))


class Wish(msgspec.Struct, frozen=True):
    """An operation that a client wants: `f`, its key (None for the list) and its argument."""

    f: str
    key: str | None
    argument: Any = None


class Answer(msgspec.Struct, frozen=True):
    """How an operation ended, as the history tells it."""

    type: str
    value: Any = None
    error: str = ""


def answer_of(wish: Wish, reply: Any, prefix: str = "") -> Answer:
    """Return what a door's reply means. `prefix` begins the list's values that are ours.

    An error that is neither UNAVAILABLE nor UNKNOWN is a `fail` too: a refusal is definite.
    """
    if isinstance(reply, hiredis.ReplyError):
        text = str(reply)
        unknown = text.startswith("UNKNOWN ") and wish.f in CHANGING
        return Answer("info" if unknown else "fail", wish.argument, text)
    match wish.f:
        case "read":
            return Answer("ok", None if reply is None else reply.decode("latin-1"))
        case "incr" | "append":
            return Answer("ok", int(reply))
        case "list-append":
            return Answer("ok", int(reply))
        case "list-read":
            pairs = ((int(slot), value.decode("latin-1")) for slot, value in reply)
            return Answer(
                "ok", [[slot, value] for slot, value in pairs if value.startswith(prefix)]
            )
        case "cas" if reply is None:
            return Answer("fail", wish.argument, "somebody else was quicker")
        case _:
            return Answer("ok", wish.argument)


def answer_of_loss(wish: Wish, error: Exception) -> Answer:
    """Return what it means that a connection broke, or no answer came, after sending."""
    return Answer("info" if wish.f in CHANGING else "fail", wish.argument, f"lost: {error}")


def is_expected(error: str) -> bool:
    """Tell whether an error is one that faults explain; any other is a defect of somebody's."""
    return error.startswith(("UNAVAILABLE ", "UNKNOWN ", "lost: ", "somebody else was quicker"))


class Keys:
    """The keys in use now and all that ever were; one pool per kind."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._numbers = itertools.count(1)
        self._operations: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._pools: dict[str, list[str]] = {}
        self.all: list[str] = []
        for kind in (REGISTER, COUNTER, TEXT):
            self._pools[kind] = [self._fresh(kind) for _ in range(KEYS_AT_ONCE)]

    def take(self, kind: str, dice: random.Random) -> str:
        """Return a key of a kind for one more operation."""
        pool = self._pools[kind]
        place = dice.randrange(len(pool))
        key = pool[place]
        if self._operations[key] >= KEY_OPERATIONS_MAX or self._unknown[key] >= KEY_UNKNOWN_MAX:
            key = pool[place] = self._fresh(kind)
        self._operations[key] += 1
        return key

    def doubt(self, key: str | None) -> None:
        """Count an operation without a known outcome."""
        if key is not None:
            self._unknown[key] += 1

    def _fresh(self, kind: str) -> str:
        key = f"chaos:{self._token}:{kind}:{next(self._numbers)}"
        self.all.append(key)
        return key


class Workload:
    """All clients of a run and their one history.

    `token` begins every key and value, `first_slot` is where the run's part of the list begins.
    `now_ms` is the run's clock.
    """

    def __init__(
        self,
        *,
        host: str,
        doors: Sequence[tuple[str, int]],
        password: str | None,
        token: str,
        first_slot: int,
        seed: int,
        now_ms: Callable[[], float],
        writer: Writer,
    ) -> None:
        self.doors = doors
        self.events: list[Event] = []
        self.keys = Keys(token)
        self.prefix = f"{token}."
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.unexpected: Counter[str] = Counter()
        self.not_sent = 0
        self.under_way = 0
        self._host = host
        self._password = password
        self._first_slot = first_slot
        self._seed = seed
        self._now_ms = now_ms
        self._writer = writer
        self._processes = itertools.count()
        self._values = itertools.count(1)
        self._list_values = 0
        self.stopping = False

    @property
    def done(self) -> int:
        """How many operations have succeeded."""
        return sum(count for (_, outcome), count in self.outcomes.items() if outcome == "ok")

    @property
    def failed(self) -> int:
        """How many have not, or perhaps."""
        return sum(count for (_, outcome), count in self.outcomes.items() if outcome != "ok")

    # ------------------------------------------------------------ clients

    async def run(self, clients: int, rate: float) -> None:
        """Be so many clients, `rate` operations per second together, until `stopping`.

        Cancelled, it leaves operations under way without an end, which is what they are.
        """
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                client = Client(self, number, clients / rate)
                group.create_task(client.run(), name=f"client {number}")

    def door(self, place: int) -> Door:
        """Return a new connection to a door."""
        return Door(self._host, self.doors[place % len(self.doors)][1], self._password)

    def new_process(self) -> int:
        """Return a process number that was never used."""
        return next(self._processes)

    def dice(self, client: int) -> random.Random:
        """Return the dice of one client."""
        return random.Random(f"paxos chaos client {self._seed} {client}")

    def wish(self, dice: random.Random) -> Wish:
        """Return what a client wants next."""
        kind, f, _ = dice.choices(MIX, [weight for _, _, weight in MIX])[0]
        if f == "list-append" and self._list_values >= LIST_VALUES_MAX:
            kind, f = REGISTER, "write"
        if kind == LIST:
            self._list_values += f == "list-append"
            return Wish(f, None, self._value() if f == "list-append" else None)
        key = self.keys.take(kind, dice)
        if f == "append":
            return Wish(f, key, f"{next(self._values)};")
        return Wish(f, key, self._value() if f in ("write", "cas") else None)

    def _value(self) -> str:
        return f"{self.prefix}{next(self._values)}"

    # ------------------------------------------------------------ one operation

    def words(self, wish: Wish) -> list[tuple[bytes, ...]]:
        """Return the commands of an operation; the last one's reply is its answer."""
        key = (wish.key or "").encode()
        match wish.f:
            case "read":
                return [(b"GET", key)]
            case "write":
                return [(b"SET", key, _bytes(wish.argument))]
            case "incr":
                return [(b"INCR", key)]
            case "append":
                return [(b"APPEND", key, _bytes(wish.argument))]
            case "list-append":
                return [(b"WRITE", _bytes(wish.argument))]
            case "list-read":
                return [(b"READ", b"FROM", b"%d" % self._first_slot)]
            case _:
                return [(b"MULTI",), (b"SET", key, _bytes(wish.argument[1])), (b"EXEC",)]

    def note(self, process: int, wish: Wish, kind: str, answer: Answer | None, node: str) -> None:
        """Write one event of an operation down: its invocation, or how it ended."""
        value = wish.argument if answer is None else answer.value
        error = "" if answer is None else answer.error
        event = Event(process, kind, wish.f, wish.key, value, self._now_ms(), error, node)
        self.events.append(event)
        self._writer.write(event)
        if answer is None:
            self.under_way += 1
            return
        self.under_way -= 1
        self.outcomes[wish.f, kind] += 1
        if kind == "info":
            self.keys.doubt(wish.key)
        if error and not is_expected(error):
            self.unexpected[error] += 1


class Client:
    """One client: a connection, a process number that changes, a pace."""

    def __init__(self, workload: Workload, number: int, interval_s: float) -> None:
        self._workload = workload
        self._dice = workload.dice(number)
        self._interval_s = interval_s
        self._patience_s = PATIENCE_S[number % len(PATIENCE_S)]
        self._place = number
        self._door = workload.door(self._place)
        self._process = workload.new_process()

    async def run(self) -> None:
        """Do one operation after another until the workload stops."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._dice.random() * self._interval_s
        try:
            while not self._workload.stopping:
                await asyncio.sleep(max(0.0, due_s - loop.time()))
                # One that was held up does not hurry afterwards.
                due_s = max(due_s, loop.time() - self._interval_s)
                due_s += self._interval_s * self._dice.uniform(0.5, 1.5)
                if self._dice.random() < WANDER:
                    self._move_on()
                wish = self._workload.wish(self._dice)
                if wish.f == "cas":
                    await self._compare_and_set(wish)
                else:
                    await self.persist(wish)
        finally:
            self.close()

    async def once(self, wish: Wish) -> Answer | None:
        """Do one operation. None when it could not even be sent; that is not in the history."""
        answer, _ = await self._ask(wish, self._workload.words(wish), -1)
        return answer

    def close(self) -> None:
        """Hang up."""
        self._door.close()

    async def persist(self, wish: Wish) -> None:
        """Do an operation; when it did not happen, once more through another door."""
        for _ in range(2):
            answer = await self.once(wish)
            if answer is not None and answer.type != "fail":
                return
            self._move_on()
            await asyncio.sleep(REST_S)
            if self._workload.stopping:
                return

    async def _compare_and_set(self, wish: Wish) -> None:
        """WATCH and GET, and when that has shown the value, MULTI, SET and EXEC."""
        watch = [(b"WATCH", (wish.key or "").encode()), (b"GET", (wish.key or "").encode())]
        answer, replies = await self._ask(Wish("read", wish.key), watch, -1)
        if answer is None or answer.type != "ok" or isinstance(replies[0], hiredis.ReplyError):
            self._move_on()
            await asyncio.sleep(REST_S)
            return
        swap = Wish("cas", wish.key, [answer.value, wish.argument])
        answer, _ = await self._ask(swap, self._workload.words(swap), -1)
        if answer is None or (answer.type == "fail" and answer.error.startswith("UNAVAILABLE ")):
            self._move_on()
            await asyncio.sleep(REST_S)

    async def _ask(
        self, wish: Wish, commands: Sequence[tuple[bytes, ...]], which: int
    ) -> tuple[Answer | None, list[Any]]:
        """Ask and write down what comes of it. Returns the answer and all replies."""
        workload = self._workload
        node = workload.doors[self._place % len(workload.doors)][0]
        try:
            await self._door.connect()
        except NotSent:
            workload.not_sent += 1
            return None, []
        process = self._process
        workload.note(process, wish, "invoke", None, node)
        replies: list[Any] = []
        try:
            replies = await self._door.ask(commands, self._patience_s)
            answer = answer_of(wish, replies[which], workload.prefix)
        except Lost as error:
            answer = answer_of_loss(wish, error)
            self._move_on()
        if answer.type == "info":
            self._process = workload.new_process()
        workload.note(process, wish, answer.type, answer, node)
        return answer, replies

    def _move_on(self) -> None:
        """Take the next door."""
        self._door.close()
        self._place += 1
        self._door = self._workload.door(self._place)


def _bytes(value: str) -> bytes:
    return value.encode("latin-1")
