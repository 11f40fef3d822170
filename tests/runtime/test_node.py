"""The one loop of a node, with fakes for what is around it: in which order things happen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from paxos.core.effects import (
    CancelTimer,
    ClientWrites,
    Connected,
    Deliver,
    Disconnected,
    Drained,
    Effect,
    Event,
    Persist,
    Received,
    Send,
    SetTimer,
    Stamped,
    TimerFired,
)
from paxos.core.errors import StorageError
from paxos.core.flights import Confirmation
from paxos.core.gateway import Gateway
from paxos.core.messages import AskVolume, Book, Register, Registration
from paxos.core.settings import Limits, Settings, Timeouts
from paxos.core.stepper import Stepper
from paxos.core.trace import Level, Trace
from paxos.core.types import NodeId, Slot
from paxos.runtime.addresses import Addresses
from paxos.runtime.clock import Clock
from paxos.runtime.logs import LogRing
from paxos.runtime.node import NodeRuntime
from paxos.sim.world import membership_of
from paxos.storage.memory import MemoryJournal
from paxos.transport.handshake import Peer
from paxos.transport.links import Links

C1, L1 = NodeId("client-1"), NodeId("learner-1")
DISCOVERY = NodeId("discovery")
ACCEPTORS = membership_of().acceptors


class Script(Gateway):
    """A gateway that answers events with what the test says, and writes down all it is told."""

    def __init__(self, order: list[Any], settings: Settings) -> None:
        super().__init__(C1, membership_of(), settings)
        self.order = order
        self.answers: dict[type[Any], list[Effect]] = {}
        self.told: list[Event] = []

    def step(self, event: Event, now_ms: float, dice: float) -> list[Effect]:
        self.told.append(event)
        self.order.append(type(event).__name__)
        return self.answers.get(type(event), [])


class Journal(MemoryJournal):
    """A journal that says when it is synced, and may fail."""

    def __init__(self, order: list[Any]) -> None:
        super().__init__()
        self.order = order
        self.failing = False

    def sync(self) -> None:
        self.order.append("sync")
        if self.failing:
            raise StorageError("the disk is gone")


class FakeLinks:
    """Links that only write down what they are asked."""

    def __init__(self, order: list[Any]) -> None:
        self.order = order
        self.sent: list[tuple[tuple[NodeId, ...], Any]] = []
        self.connected: dict[NodeId, Any] = {}
        self.dropped = 0
        self.withheld = 0

    async def start(self, bind: str, port: int) -> None:
        self.order.append(f"listen {bind}:{port}")

    async def stop(self) -> None:
        self.order.append("stop links")

    def send(self, to: tuple[NodeId, ...], message: Any, relaxed: bool = False) -> None:
        self.sent.append((to, message))
        self.order.append(f"send {type(message).__name__}")

    def flush(self) -> None:
        self.order.append("flush")

    def tell_identity(self) -> None:
        self.order.append("tell identity")


class Node:
    """A runtime around a scripted role."""

    def __init__(self, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self.order: list[Any] = []
        self.role = Script(self.order, settings)
        self.journal = Journal(self.order)
        self.links = FakeLinks(self.order)
        self.log = LogRing()
        self.addresses = Addresses({DISCOVERY: ("configured", 1)}.__getitem__)
        membership = membership_of()
        stepper = Stepper(self.role, self.journal, lambda: 0.0, lambda: 0.5)
        self.runtime = NodeRuntime(
            node=C1,
            membership=membership,
            settings=settings,
            stepper=stepper,
            role=self.role,
            clock=Clock(),
            log=self.log,
            addresses=self.addresses,
            page_ports={node: 8000 + i for i, node in enumerate(membership.nodes)},
            host="here",
            peer_port=17009,
            incarnation=3,
            door_port=6001,
        )

    async def start(self) -> Node:
        await self.runtime.start(self.links, "127.0.0.1")  # type: ignore[arg-type]
        await self.turn()
        self.order.clear()
        return self

    async def turn(self) -> None:
        """Let one turn of the loop end."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    @property
    def logged(self) -> list[str]:
        return [record.what for record in self.log.records()]


def play(test: Callable[[Node], Awaitable[None]], settings: Settings | None = None) -> None:
    async def whole() -> None:
        node = await Node(settings).start()
        try:
            await test(node)
        finally:
            await node.runtime.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


SAY = Send(to=(L1,), message=AskVolume())
SAVE = Persist(record=Stamped(cluster="c1", node=C1, phase="open", acceptors=ACCEPTORS))


def test_the_node_listens_before_its_role_begins_when_it_starts() -> None:
    """runtime: "Listen and dial, then let the role begin"."""

    async def whole() -> None:
        node = Node()
        await node.runtime.start(node.links, "127.0.0.1")  # type: ignore[arg-type]
        assert node.order[:2] == ["listen 127.0.0.1:17009", "Start"]
        assert node.logged[0] == "started"
        await node.runtime.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


def test_everything_of_one_turn_shares_one_sync_and_one_flush_when_it_arrives() -> None:
    """DESIGN "One write", step 4; STYLE 11: step, persist, sync, send."""

    async def test(node: Node) -> None:
        node.role.answers[Received] = [SAY, SAVE]
        for _ in range(3):
            node.runtime.on_message(L1, AskVolume())
        assert node.order == ["Received"] * 3
        await node.turn()
        assert node.order == [
            *["Received"] * 3,
            "Drained",
            "sync",
            *["send AskVolume"] * 3,
            "flush",
        ]

    play(test)


def test_nothing_is_sent_when_the_sync_fails() -> None:
    """DESIGN rule 3; STYLE 18: a storage failure is fatal to the node, loudly."""

    async def test(node: Node) -> None:
        failures: list[BaseException] = []
        node.runtime.loop.set_exception_handler(
            lambda _, context: failures.append(context["exception"])
        )
        node.role.answers[Received] = [SAY, SAVE]
        node.journal.failing = True
        node.runtime.on_message(L1, AskVolume())
        await node.turn()
        assert [type(failure) for failure in failures] == [StorageError]
        assert "send AskVolume" not in node.order
        assert "flush" not in node.order
        node.journal.failing = False

    play(test)


def test_the_next_turn_is_released_as_well_when_one_was_released() -> None:
    """Each turn with an event ends with one release."""

    async def test(node: Node) -> None:
        for _ in range(2):
            node.runtime.submit(TimerFired(name="x"))
            await node.turn()
        assert node.order.count("Drained") == 2

    play(test)


def test_each_effect_goes_where_it_belongs_when_released() -> None:
    """effects.py: Send, Deliver, SetTimer, CancelTimer, Trace."""

    async def test(node: Node) -> None:
        delivered: list[Deliver] = []
        node.runtime.deliver = delivered.extend
        node.role.answers[ClientWrites] = [
            SetTimer(name="short", after_ms=1),
            SetTimer(name="stopped", after_ms=1),
            CancelTimer(name="stopped"),
            Deliver(connection=4, replies=["OK", 1]),
            Trace(what="something", text="it happened", level=Level.WARNING),
            SAY,
        ]
        node.runtime.submit(ClientWrites(connection=4, commands=[[b"X"]]))
        await node.turn()
        assert delivered == [Deliver(connection=4, replies=["OK", 1])]
        assert node.logged[-1] == "something"
        assert node.links.sent[-1] == ((L1,), AskVolume())
        async with asyncio.timeout(10):
            while TimerFired(name="short") not in node.role.told:
                await asyncio.sleep(0.001)
        assert TimerFired(name="stopped") not in node.role.told

    play(test)


def test_a_delivery_is_dropped_when_no_door_is_there() -> None:
    """A node without a door has nobody to deliver to."""

    async def test(node: Node) -> None:
        node.role.answers[Received] = [Deliver(connection=4, replies=["OK"]), SAY]
        node.runtime.on_message(L1, AskVolume())
        await node.turn()
        assert node.order[-2:] == ["send AskVolume", "flush"]

    play(test)


def test_the_role_hears_of_links_and_messages_when_they_come() -> None:
    """links tell the runtime, the runtime tells the role."""

    async def test(node: Node) -> None:
        node.role.told.clear()
        node.runtime.on_connected(Peer(node=L1, cluster="c1", incarnation=1))
        node.runtime.on_message(L1, AskVolume())
        node.runtime.on_disconnected(L1)
        await node.turn()
        assert node.role.told == [
            Connected(peer=L1, cluster="c1", incarnation=1),
            Received(sender=L1, message=AskVolume()),
            Disconnected(peer=L1),
            Drained(),
        ]
        assert node.runtime.state()["links"][0]["peer"] == L1
        assert node.runtime.state()["links"][0]["connected"] is False

    play(test)


def test_the_address_book_goes_to_the_links_when_discovery_sends_it() -> None:
    """messages.Book: "The links of a node read it, no role does"."""

    async def test(node: Node) -> None:
        entry = Registration(
            node=DISCOVERY, host="told", peer_port=9, page_port=8000, incarnation=1
        )
        node.role.told.clear()
        node.runtime.on_message(DISCOVERY, Book(entries=[entry]))
        assert node.addresses.of(DISCOVERY) == [("configured", 1), ("told", 9)]
        assert node.role.told == []

    play(test)


def test_the_node_registers_again_and_again_when_it_runs() -> None:
    """DESIGN: an address book with expiring entries."""

    async def test(node: Node) -> None:
        async with asyncio.timeout(10):
            while len(node.links.sent) < 3:
                await asyncio.sleep(0.001)
        assert {to for to, _ in node.links.sent} == {(DISCOVERY,)}
        register = node.links.sent[-1][1]
        assert isinstance(register, Register)
        assert (register.node, register.host, register.peer_port) == (C1, "here", 17009)
        assert (register.page_port, register.incarnation, register.leader) == (8009, 3, 0)

    play(test, Settings(timeouts=Timeouts(registration_ms=1)))


def test_a_stranger_is_logged_once_a_minute_when_it_knocks_again_and_again() -> None:
    """runtime.on_refused: "shall not fill the log"."""

    async def test(node: Node) -> None:
        for port in range(50):
            node.runtime.on_refused(f"10.0.0.1:{port}", "nonsense")
        node.runtime.on_refused("10.0.0.2:1", "nonsense")
        assert node.logged.count("connection_refused") == 2

    play(test)


def test_doors_read_on_when_the_queue_has_room_again() -> None:
    """STYLE 19: gateway_queue_bytes_max; back-pressure must end as well."""

    async def test(node: Node) -> None:
        resumed: list[bool] = []
        node.runtime.resume = lambda: resumed.append(True)
        node.role._queued_bytes = 11
        assert node.runtime.overloaded
        node.runtime.submit(TimerFired(name="x"))
        await node.turn()
        assert resumed == []
        node.role._queued_bytes = 8
        node.runtime.submit(TimerFired(name="x"))
        await node.turn()
        assert resumed == [], "room for a single client only: the others would stop at once"
        node.role._queued_bytes = 7
        node.runtime.submit(TimerFired(name="x"))
        await node.turn()
        assert resumed == [True]

    play(test, Settings(limits=Limits(gateway_queue_bytes_max=10)))


def test_doors_read_on_when_the_queue_fills_and_empties_within_one_turn() -> None:
    """A door that stopped in the middle of a turn would otherwise never be told to go on."""

    async def test(node: Node) -> None:
        resumed: list[bool] = []
        node.runtime.resume = lambda: resumed.append(True)
        node.role._queued_bytes = 11
        node.runtime.submit(TimerFired(name="x"))
        assert node.runtime.overloaded, "a door that looks now stops"
        node.role._queued_bytes = 0
        await node.turn()
        assert resumed == [True]

    play(test, Settings(limits=Limits(gateway_queue_bytes_max=10)))


def test_what_is_due_leaves_and_nothing_more_when_the_node_stops() -> None:
    """runtime.stop: "Release what is due, then close everything"."""

    async def test(node: Node) -> None:
        node.role.answers[Received] = [SAY, SetTimer(name="late", after_ms=0)]
        node.runtime.on_message(L1, AskVolume())
        await node.runtime.stop()
        assert node.order[-3:] == ["send AskVolume", "flush", "stop links"]
        told = len(node.role.told)
        node.runtime.on_message(L1, AskVolume())
        node.runtime.on_disconnected(L1)
        node.runtime.on_refused("x:1", "y")
        await node.turn()
        assert not node.runtime._timers._handles
        assert len(node.role.told) == told
        assert node.logged[-1] == "stopped"

    play(test)


def test_the_state_has_the_common_keys_when_a_page_asks() -> None:
    """DESIGN: /state, /readyz, /metrics and STATUS read the same snapshot."""

    async def test(node: Node) -> None:
        node.runtime.connections = lambda: 5
        state = node.runtime.state()
        assert {
            "node": "client-1",
            "role": "client",
            "number": 1,
            "cluster": "",
            "incarnation": 3,
            "healthy": True,
            "ready": False,
            "reason": "no proposer can be reached",
        }.items() <= state.items()
        assert state["status"]["connections"] == 5
        assert state["status"]["door"] == 6001
        assert state["memory_bytes"] > 1_000_000
        assert node.runtime.ready is False
        assert node.runtime.status()["quorum"]["needed"] == 2
        assert b"paxos_client_door" in node.runtime.metrics()
        assert ("learner-1", 8007) in node.runtime.neighbours

    play(test)


def test_the_latest_confirmations_are_told_when_a_client_asks() -> None:
    """DESIGN: `responses` prints what the learners confirmed to this client node."""

    async def test(node: Node) -> None:
        assert node.runtime.responses(None) == []
        for number in (1, 2, 3):
            node.role.confirmations.append(
                Confirmation(slot=Slot(number), revision=9, sequence=number, commands=1, at_ms=0.0)
            )
        assert [slot for slot, *_ in node.runtime.responses(None)] == [1, 2, 3]
        assert [slot for slot, *_ in node.runtime.responses(2)] == [2, 3]
        assert node.runtime.responses(0) == []

    play(test)


def test_the_fake_links_have_what_the_real_ones_have_when_compared() -> None:
    """STYLE 23: a fake that drifts away proves nothing."""
    public = {name for name in vars(FakeLinks) if not name.startswith("_")}
    assert public
    assert public <= set(dir(Links))
