"""Clients of a simulated cluster: what they ask, what they are told, and whom they ask next.

Each client has one operation at a time over a connection to one gateway (now and then three,
pipelined). An answer that says "it did not happen", or a gateway that dies, sends it to another
gateway. Everything goes into one history, in the words of Jepsen (history.py), to be judged at the
end.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any

from paxos.core.effects import ClientGone, ClientReads, ClientStaleReads, ClientWrites
from paxos.core.types import NodeId

from .dice import Dice
from .history import Event
from .oracle import Oracle, SafetyViolation
from .world import SimulatedNode, World

REGISTERS = ("r1", "r2")
COUNTERS = ("c1",)
STRINGS = ("s1",)

MIX = (
    ("write", 3.0),
    ("read", 4.0),
    ("cas", 2.0),
    ("incr", 3.0),
    ("count", 1.5),
    ("append", 1.0),
    ("text", 1.0),
    ("delete", 0.3),
    ("list-append", 3.0),
    ("list-read", 1.0),
    ("pipeline", 1.0),
    ("burst", 1.5),
    ("lease", 0.5),
    ("stale-read", 0.5),
)
"""What clients do, and how often."""

UNJUDGED = "unjudged"
"""Operations whose answers may be anything: stale reads, and keys that expire by broken clocks.
What they leave behind must still be the same on all learners.
"""

LEASED = "t1"

ECHOES = 0.3
"""Of how many acknowledged changes somebody else hears, and reads them at once."""

ECHO_CONNECTIONS = 80_000_000
"""Connections of second readers begin here, above those of clients."""

PIPELINES = (
    ("incr", "read", "incr"),
    ("read", "incr", "read"),
    ("read", "read", "read"),
)
"""What clients send on one connection without waiting for answers."""


class Asked:
    """One operation under way: its process, what it asked and where the answer belongs."""

    __slots__ = ("f", "key", "process", "replies", "value")

    def __init__(self, process: int, f: str, key: str | None, value: Any) -> None:
        self.process = process
        self.f = f
        self.key = key
        self.value = value
        # How many replies it is answered with.
        self.replies = 2 if (f, value) in (("read", "cas"), (UNJUDGED, 2)) else 1


class Workload:
    """The clients of one run and their common history."""

    def __init__(self, world: World, oracle: Oracle, seed: int, clients: int) -> None:
        self.world = world
        self.history: list[Event] = []
        self.stopped = False
        self.counts: dict[str, int] = {}
        self._processes = 0
        self._connections = ECHO_CONNECTIONS
        self._by_connection: dict[int, Client | Echo] = {}
        self._echoes: list[Echo] = []
        self._echo_dice = Dice(seed, "echoes")
        self.clients = [
            Client(self, number, Dice(seed, f"client {number}")) for number in range(1, clients + 1)
        ]
        oracle.listener = self

    def start(self) -> None:
        """Let every client begin."""
        for client in self.clients:
            client.rest()

    def stop(self) -> None:
        """Let no client ask anything new."""
        self.stopped = True

    def read_everything(self) -> None:
        """Let one client after the other read a key or the list, whatever it did before."""
        keys = (*REGISTERS, *COUNTERS, *STRINGS, None)
        for client, key in zip(itertools.cycle(self.clients), keys, strict=False):
            client.read_last(key)

    @property
    def waiting(self) -> int:
        """How many operations are under way."""
        return sum(len(client.asked) for client in self.clients) + len(self._echoes)

    # ------------------------------------------------------------ what the world tells

    def delivered(self, connection: int, replies: list[Any]) -> None:
        """Hand replies to the client that waits for them."""
        client = self._by_connection.get(connection)
        if client is not None:
            client.answered(replies)

    def crashed(self, node: SimulatedNode) -> None:
        """Tell the clients of a gateway that died."""
        for client in self.clients:
            if client.gateway == node.name:
                client.cut_off()
        for echo in list(self._echoes):
            if echo.gateway == node.name:
                self._note_echo(echo, "fail", None, "the gateway died")

    # ------------------------------------------------------------ history

    def new_process(self) -> int:
        """Return a process number that was never used: one that got no answer is never again."""
        self._processes += 1
        return self._processes

    def echo(self, key: str | None) -> None:
        """Now and then, read what was acknowledged a moment ago, as somebody else, elsewhere."""
        up = [name for name in self.world.membership.gateways if self.world.nodes[name].running]
        if not up or self.stopped or not self._echo_dice.chance(ECHOES):
            return
        self._connections += 1
        echo = Echo(self, self._connections, self._echo_dice.pick(up), key)
        self._echoes.append(echo)
        self._by_connection[echo.connection] = echo
        # Told through another channel than the cluster: no faster than anything else.
        self.world.after(self._echo_dice.between(0.0, 0.3), echo.ask)

    def answer_echo(self, echo: Echo, reply: Any) -> None:
        """Write down what a second reader was told."""
        if isinstance(reply, dict):
            self._note_echo(echo, "fail", None, reply["error"])
        else:
            self._note_echo(echo, "ok", told(echo.asked, reply), "")

    def _note_echo(self, echo: Echo, type_: str, value: Any, error: str) -> None:
        self._echoes.remove(echo)
        if echo.begun:
            self.note(echo.asked, type_, value, echo.gateway, error)

    def connect(self, client: Client, connection: int) -> None:
        """Let answers on a connection go to a client."""
        self._by_connection[connection] = client

    def note(self, asked: Asked, type_: str, value: Any, node: NodeId, error: str = "") -> None:
        """Write one event down."""
        if asked.f == UNJUDGED:
            return
        if type_ != "invoke":
            self.counts[type_] = self.counts.get(type_, 0) + 1
        self.history.append(
            Event(
                process=asked.process,
                type=type_,
                f=asked.f,
                key=asked.key,
                value=value,
                time=self.world.now_ms,
                error=error,
                node=node,
            )
        )


class Echo:
    """A second reader, who hears of a write from its writer and reads it over another connection:
    no read may miss what anybody was told before it began.
    """

    def __init__(self, workload: Workload, connection: int, gateway: NodeId, key: str | None):
        f = "list-read" if key is None else "read"
        self.asked = Asked(workload.new_process(), f, key, None)
        self.connection = connection
        self.gateway = gateway
        self.begun = False
        self._workload = workload

    def ask(self) -> None:
        """Read, unless the gateway has died in the meantime."""
        world = self._workload.world
        if not world.nodes[self.gateway].running or self.begun:
            return
        self.begun = True
        self._workload.note(self.asked, "invoke", None, self.gateway)
        key = self.asked.key
        command = [b"READ"] if key is None else [b"GET", key.encode()]
        event = ClientReads(connection=self.connection, commands=[command])
        world.submit(self.gateway, event)

    def answered(self, replies: list[Any]) -> None:
        """Take the answer in."""
        self._workload.answer_echo(self, replies[0])


def told(asked: Asked, reply: Any) -> Any:
    """Return what a reply to a read means in a history."""
    if asked.f == "list-read":
        return [[slot, value.decode("latin-1")] for slot, value in reply]
    value = None if reply is None else reply.decode("latin-1")
    return int(value) if value is not None and asked.key in COUNTERS else value


class Client:
    """One client."""

    def __init__(self, workload: Workload, number: int, dice: Dice) -> None:
        self._workload = workload
        self._world = workload.world
        self._dice = dice
        self._number = number
        self._generation = 0
        self._sent = 0
        self._think_ms = dice.pick((20.0, 60.0, 200.0))
        self._next_cas: tuple[str, Any, Any] | None = None
        self._pipeline: list[int] | None = None
        self._process = workload.new_process()
        gateways = self._world.membership.gateways
        self.gateway = gateways[number % len(gateways)]
        self.asked: deque[Asked] = deque()
        self._connect()

    def _connect(self) -> None:
        self._generation += 1
        self._connection = self._number * 100_000 + self._generation
        self._workload.connect(self, self._connection)

    def rest(self) -> None:
        """Do nothing for a while, then ask something."""
        self._world.after(self._dice.between(0.2, 2.0) * self._think_ms, self._turn)

    def _turn(self) -> None:
        if self.asked or self._workload.stopped:
            return
        if not self._world.nodes[self.gateway].running:
            self._move()
            self.rest()
            return
        if self._next_cas is not None:
            self._swap(*self._next_cas)
            return
        self._sent += 1
        unique = f"{self._number}-{self._sent}"
        dice = self._dice
        match dice.weighted(MIX):
            case "write":
                key = dice.pick(REGISTERS)
                self._write("write", key, unique, [b"SET", key.encode(), unique.encode()])
            case "read":
                key = dice.pick(REGISTERS)
                self._read("read", key, [b"GET", key.encode()])
            case "cas":
                key = dice.pick(REGISTERS)
                # The value and its revision as of one moment; the swap follows.
                words = key.encode()
                self._read("cas-read", key, [b"REVISION", words], [b"GET", words])
            case "incr":
                key = dice.pick(COUNTERS)
                self._write("incr", key, None, [b"INCR", key.encode()])
            case "count":
                key = dice.pick(COUNTERS)
                self._read("read", key, [b"GET", key.encode()])
            case "append":
                key = dice.pick(STRINGS)
                text = f"{unique}."
                self._write("append", key, text, [b"APPEND", key.encode(), text.encode()])
            case "text":
                key = dice.pick(STRINGS)
                self._read("read", key, [b"GET", key.encode()])
            case "delete":
                key = dice.pick(REGISTERS)
                self._write("delete", key, None, [b"DEL", key.encode()])
            case "list-append":
                self._write("list-append", None, unique, [b"WRITE", unique.encode()])
            case "list-read":
                self._read("list-read", None, [b"READ"])
            case "burst":
                self._append_in_a_burst(unique, dice.whole(3, 12))
            case "lease":
                lease = [b"PEXPIRE", LEASED.encode(), b"%d" % dice.whole(1, 800)]
                self._write(UNJUDGED, LEASED, 2, [b"SET", LEASED.encode(), unique.encode()], lease)
            case "stale-read":
                self._ask(UNJUDGED, LEASED, 1)
                command = [b"GET", dice.pick((*REGISTERS, LEASED)).encode()]
                event = ClientStaleReads(connection=self._connection, commands=[command])
                self._world.submit(self.gateway, event)
            case "pipeline":
                self._count_in_a_pipeline(dice.pick(COUNTERS))

    def read_last(self, key: str | None) -> None:
        """Read a key, or with None the list, beside whatever else is under way."""
        self._process = self._workload.new_process()
        if key is None:
            self._read("list-read", None, [b"READ"])
        else:
            self._read("read", key, [b"GET", key.encode()])

    # ------------------------------------------------------------ asking

    def _ask(self, f: str, key: str | None, value: Any) -> None:
        asked = Asked(self._process, f, key, value)
        self.asked.append(asked)
        self._workload.note(asked, "invoke", value, self.gateway)

    def _write(self, f: str, key: str | None, value: Any, *commands: list[Any]) -> None:
        self._ask(f, key, value)
        event = ClientWrites(connection=self._connection, commands=list(commands))
        self._world.submit(self.gateway, event)

    def _read(self, f: str, key: str | None, *commands: list[Any]) -> None:
        if f == "cas-read":
            asked = Asked(self._process, "read", key, "cas")
            self.asked.append(asked)
            self._workload.note(asked, "invoke", None, self.gateway)
        else:
            self._ask(f, key, None)
        event = ClientReads(connection=self._connection, commands=list(commands))
        self._world.submit(self.gateway, event)

    def _swap(self, key: str, old: Any, revision: Any) -> None:
        self._next_cas = None
        new = f"{self._number}-{self._sent}"
        swap = [b"EXEC", [[key.encode(), revision]], [[b"SET", key.encode(), new.encode()]]]
        self._write("cas", key, [old, new], swap)

    def _count_in_a_pipeline(self, key: str) -> None:
        """Several at once, such as increment, read, increment: each must see the one before, and
        none the one after.
        """
        words = key.encode()
        self._pipeline = []
        order = self._dice.pick(PIPELINES)
        for f in order:
            self._process = self._workload.new_process()
            self._ask(f, key, None)
        for f in order:
            event: ClientWrites | ClientReads = (
                ClientWrites(connection=self._connection, commands=[[b"INCR", words]])
                if f == "incr"
                else ClientReads(connection=self._connection, commands=[[b"GET", words]])
            )
            if self._world.nodes[self.gateway].running:
                self._world.submit(self.gateway, event)

    def _append_in_a_burst(self, unique: str, count: int) -> None:
        """Append many values without waiting for an answer: many slots are open at once."""
        for number in range(count):
            if not self._world.nodes[self.gateway].running:
                break
            self._process = self._workload.new_process()
            value = f"{unique}-{number}"
            self._write("list-append", None, value, [b"WRITE", value.encode()])

    # ------------------------------------------------------------ being told

    def answered(self, replies: list[Any]) -> None:
        """Take replies in, in the order of what was asked."""
        at = 0
        while at < len(replies) and self.asked:
            asked = self.asked.popleft()
            count = asked.replies
            self._take(asked, replies[at : at + count])
            at += count
        if at != len(replies):
            raise SafetyViolation(f"client {self._number} was told more than it had asked")
        if not self.asked:
            self._pipeline = None
            if self._next_cas is not None:
                self._turn()
            else:
                self.rest()

    def _take(self, asked: Asked, replies: list[Any]) -> None:
        reply = replies[-1]
        error = next((r["error"] for r in replies if isinstance(r, dict)), None)
        if error is not None:
            self._on_error(asked, error)
            return
        if asked.f == UNJUDGED:
            return
        note, gateway = self._workload.note, self.gateway
        match asked.f:
            case "read":
                value = told(asked, reply)
                note(asked, "ok", value, gateway)
                if asked.value == "cas":
                    self._next_cas = (asked.key or "", value, replies[0])
            case "cas":
                note(asked, "fail" if reply is None else "ok", asked.value, gateway)
            case "incr" | "append" | "list-append":
                note(asked, "ok", reply, gateway)
            case "list-read":
                note(asked, "ok", told(asked, reply), gateway)
            case _:
                note(asked, "ok", asked.value, gateway)
        if asked.f not in ("read", "list-read"):
            self._workload.echo(asked.key)
        if self._pipeline is not None and asked.key in COUNTERS:
            self._check_pipeline(asked, reply)

    def _check_pipeline(self, asked: Asked, reply: Any) -> None:
        seen = self._pipeline if self._pipeline is not None else []
        count = int(reply) if reply is not None else 0
        least = seen[-1] + (asked.f == "incr") if seen else 0
        if count < least:
            raise SafetyViolation(
                f"client {self._number}: {asked.f} {asked.key} answered {count} right after the "
                f"same connection had been told {seen[-1]}"
            )
        seen.append(count)

    def _on_error(self, asked: Asked, error: str) -> None:
        code = error.partition(" ")[0]
        if code not in ("UNAVAILABLE", "UNKNOWN"):
            raise SafetyViolation(f"client {self._number}: {asked.f} was answered with {error}")
        reading = asked.f in ("read", "list-read")
        definite = code == "UNAVAILABLE" or reading
        type_ = "fail" if definite else "info"
        self._workload.note(asked, type_, asked.value if not reading else None, self.gateway, error)
        self._process = self._workload.new_process()
        self._next_cas = None
        if not self.asked and self._dice.chance(0.5):
            self._move()

    def cut_off(self) -> None:
        """The gateway has died: what was under way may have happened, or may yet."""
        if not self.asked:
            return
        asked, self.asked = list(self.asked), deque()
        for one in asked:
            reading = one.f in ("read", "list-read")
            value = None if reading else one.value
            type_ = "fail" if reading else "info"
            self._workload.note(one, type_, value, self.gateway, "the gateway died")
        self._process = self._workload.new_process()
        self._next_cas = None
        self._pipeline = None
        self._move()
        self.rest()

    def _move(self) -> None:
        """Go to another gateway that runs, over a new connection."""
        if self._world.nodes[self.gateway].running:
            self._world.submit(self.gateway, ClientGone(connection=self._connection))
        gateways = self._world.membership.gateways
        start = gateways.index(self.gateway) + 1
        order = (*gateways[start:], *gateways[:start])
        up = (name for name in order if self._world.nodes[name].running)
        self.gateway = next(up, self.gateway)
        self._connect()
