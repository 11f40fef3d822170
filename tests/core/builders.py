"""Small builders for tests of roles: one role on a bench, stepped by hand, every step checked.

A bench runs what the stepper runs (step, invariants, append) but leaves the effects in the test's
hands, so that a test says which message leaves after which event.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from paxos.core.acceptor import Acceptor
from paxos.core.effects import (
    CancelTimer,
    ClientReads,
    ClientStaleReads,
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
    Start,
    TimerFired,
)
from paxos.core.gateway import Gateway
from paxos.core.invariants import watcher_for
from paxos.core.learner import Learner
from paxos.core.messages import (
    Accepted,
    Batch,
    CanvassReply,
    Configuration,
    Envelope,
    Members,
    OpenSession,
    Promise,
    Value,
)
from paxos.core.proposer import Proposer
from paxos.core.quorum import Membership
from paxos.core.settings import Settings
from paxos.core.trace import Trace
from paxos.core.types import Ballot, NodeId, Slot
from paxos.machine.machine import Machine
from paxos.sim.world import membership_of
from paxos.storage.memory import MemoryJournal

A1, A2, A3 = ACCEPTORS = tuple(NodeId(f"acceptor-{n}") for n in (1, 2, 3))
P1, P2, P3 = PROPOSERS = tuple(NodeId(f"proposer-{n}") for n in (1, 2, 3))
L1, L2 = LEARNERS = tuple(NodeId(f"learner-{n}") for n in (1, 2))
C1, C2 = GATEWAYS = tuple(NodeId(f"client-{n}") for n in (1, 2))
DISCOVERY = NodeId("discovery")
CLUSTER = "c1"
A4 = NodeId("acceptor-4")
A31 = NodeId("acceptor-3.1")
"""The second life of acceptor-3: it has that one's place, and none of its memory."""

M = TypeVar("M")
RoleT = TypeVar("RoleT")


class Bench:
    """A role, its journal and a clock that only moves when the test says so."""

    def __init__(self, role: Any, journal: MemoryJournal | None = None) -> None:
        self.role = role
        self.journal = journal
        self.now_ms = 1_000.0
        self.dice = 0.5
        self.watcher = watcher_for(role)

    def step(self, event: Event) -> list[Effect]:
        """Step the role, check its invariants, append what it wants durable."""
        effects: list[Effect] = self.role.step(event, self.now_ms, self.dice)
        self.watcher.check(effects)
        for record in records(effects):
            assert self.journal is not None
            self.journal.append(record)
        return effects

    def start(self) -> list[Effect]:
        return self.step(Start())

    def receive(self, sender: str, message: Any) -> list[Effect]:
        return self.step(Received(sender=NodeId(sender), message=message))

    def fire(self, name: str) -> list[Effect]:
        return self.step(TimerFired(name=name))

    def connect(self, peer: str, cluster: str = "", incarnation: int = 1) -> list[Effect]:
        peer = NodeId(peer)
        return self.step(Connected(peer=peer, cluster=cluster, incarnation=incarnation))

    def disconnect(self, peer: str) -> list[Effect]:
        return self.step(Disconnected(peer=NodeId(peer)))

    def drain(self) -> list[Effect]:
        return self.step(Drained())

    def write(self, connection: int, *commands: list[bytes]) -> list[Effect]:
        return self.step(ClientWrites(connection=connection, commands=list(commands)))

    def read(self, connection: int, *commands: list[bytes]) -> list[Effect]:
        return self.step(ClientReads(connection=connection, commands=list(commands)))

    def stale_read(self, connection: int, *commands: list[bytes]) -> list[Effect]:
        return self.step(ClientStaleReads(connection=connection, commands=list(commands)))


# ---------------------------------------------------------------- looking into effects


def sent(effects: list[Effect], kind: type[M]) -> list[tuple[tuple[NodeId, ...], M]]:
    """Return (to, message) of every message of a kind, in order."""
    return [
        (effect.to, effect.message)
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, kind)
    ]


def messages(effects: list[Effect], kind: type[M]) -> list[M]:
    """Return every message of a kind, in order."""
    return [message for _, message in sent(effects, kind)]


def nothing_sent(effects: list[Effect]) -> bool:
    """Tell whether no message leaves."""
    return not any(isinstance(effect, Send) for effect in effects)


def records(effects: list[Effect]) -> list[Any]:
    """Return what is to be made durable."""
    return [effect.record for effect in effects if isinstance(effect, Persist)]


def traced(effects: list[Effect]) -> list[str]:
    """Return what the traces name."""
    return [effect.what for effect in effects if isinstance(effect, Trace)]


def timers(effects: list[Effect]) -> dict[str, float]:
    """Return the timers that are set, by name."""
    return {effect.name: effect.after_ms for effect in effects if isinstance(effect, SetTimer)}


def cancelled(effects: list[Effect]) -> set[str]:
    """Return the timers that are stopped."""
    return {effect.name for effect in effects if isinstance(effect, CancelTimer)}


def delivered(effects: list[Effect]) -> list[tuple[int, list[Any]]]:
    """Return (connection, replies) of every delivery."""
    return [(e.connection, e.replies) for e in effects if isinstance(e, Deliver)]


# ---------------------------------------------------------------- roles on the bench


def open_journal(node: NodeId = A1, *more: Any) -> MemoryJournal:
    """Return the journal of a member of the cluster, as its next life finds it."""
    journal = MemoryJournal()
    journal.append(Stamped(cluster=CLUSTER, node=node, phase="open", acceptors=ACCEPTORS))
    for record in more:
        journal.append(record)
    journal.sync()
    return journal.crash()


def an_acceptor(
    node: NodeId = A1,
    journal: MemoryJournal | None = None,
    membership: Membership | None = None,
    settings: Settings | None = None,
) -> Bench:
    """Return a started acceptor, a voting one unless its journal says otherwise."""
    journal = journal if journal is not None else open_journal(node)
    role = Acceptor(
        node, membership or membership_of(), settings or Settings(), journal, journal.recovered
    )
    bench = Bench(role, journal)
    bench.start()
    return bench


def a_proposer(
    node: NodeId = P1, membership: Membership | None = None, settings: Settings | None = None
) -> Bench:
    """Return a started proposer of the cluster that has not stood for election."""
    journal = open_journal(node)
    role = Proposer(node, membership or membership_of(), settings or Settings(), journal.recovered)
    bench = Bench(role, journal)
    bench.start()
    return bench


def canvass_reply(bench: Bench, **fields: Any) -> CanvassReply:
    """Return a willing acceptor's answer to the canvass under way."""
    known = {"promised": Ballot(0), "leader": Ballot(0), "decided": Slot(0), **fields}
    return CanvassReply(round=bench.role._election.round, **known)


def promise(ballot: int, *accepted: Any, first: int = 1, last: int = 0, **part: int) -> Promise:
    """Return a promise, whole unless told where the part begins and ends."""
    return Promise(
        ballot=Ballot(ballot),
        first=Slot(first),
        last=Slot(last),
        begin=Slot(part.get("begin", first)),
        end=Slot(part.get("end", last)),
        accepted=list(accepted),
    )


def preparing(bench: Bench, **fields: Any) -> list[Effect]:
    """Let a proposer canvass and find a quorum willing; return the effects of its Prepare."""
    bench.fire("election")
    bench.receive(A1, canvass_reply(bench, **fields))
    return bench.receive(A2, canvass_reply(bench, **fields))


def a_leader(node: NodeId = P1, settings: Settings | None = None) -> Bench:
    """Return a proposer that leads an empty log."""
    bench = a_proposer(node, settings=settings)
    preparing(bench)
    bench.receive(A1, promise(bench.role.ballot))
    bench.receive(A2, promise(bench.role.ballot))
    assert bench.role.phase == "leading"
    return bench


def a_learner(node: NodeId = L1, settings: Settings | None = None) -> Bench:
    """Return a started learner with an empty machine, whose first round is number 1."""
    journal = open_journal(node)
    role = Learner(node, membership_of(), settings or Settings(), Machine(), journal.recovered)
    bench = Bench(role, journal)
    bench.dice = 0.0
    bench.start()
    bench.dice = 0.5
    return bench


def choose(bench: Bench, slot: int, value: bytes, ballot: int = 101) -> list[Effect]:
    """Let a learner see a value and a quorum's votes for it."""
    effects = bench.receive(P1, Value(ballot=Ballot(ballot), slot=Slot(slot), value=value))
    for acceptor in (A1, A2):
        vote = Accepted(ballot=Ballot(ballot), slot=Slot(slot))
        effects += bench.receive(acceptor, vote)
    return effects


def a_gateway(node: NodeId = C1, settings: Settings | None = None) -> Bench:
    """Return a started gateway that knows nobody yet."""
    bench = Bench(Gateway(node, membership_of(), settings or Settings()))
    bench.start()
    return bench


# ---------------------------------------------------------------- members


def members(
    acceptors: tuple[NodeId, ...] = ACCEPTORS,
    proposers: tuple[NodeId, ...] = PROPOSERS,
    learners: tuple[NodeId, ...] = LEARNERS,
    gateways: tuple[NodeId, ...] = GATEWAYS,
) -> Members:
    """Return the members of the founding, or others."""
    return Members(acceptors=acceptors, proposers=proposers, learners=learners, gateways=gateways)


def configuration(
    epoch: int = 1, slot: int = 5, ballot: int = 101, **nodes: tuple[NodeId, ...]
) -> Configuration:
    """Return what a change decides: these members, from the slot after `slot` on."""
    return Configuration(
        epoch=epoch, slot=Slot(slot), ballot=Ballot(ballot), members=members(**nodes)
    )


def joining_journal(node: NodeId, *more: Any) -> MemoryJournal:
    """Return the volume that an operator made for an acceptor that is to come in."""
    journal = MemoryJournal()
    journal.append(Stamped(cluster=CLUSTER, node=node, phase="joining", acceptors=ACCEPTORS))
    for record in more:
        journal.append(record)
    journal.sync()
    return journal.crash()


# ---------------------------------------------------------------- what slots hold


def opening(gateway: NodeId = C1, nonce: int = 7, time_ms: int = 0) -> bytes:
    """Return a slot's value that opens a session."""
    return envelope(OpenSession(gateway=gateway, nonce=nonce), time_ms=time_ms)


def batch(sequence: int, *commands: list[bytes], session: int = 1, gateway: NodeId = C1) -> Batch:
    """Return a batch of a session."""
    return Batch(
        gateway=gateway,
        session=Slot(session),
        sequence=sequence,
        acknowledged=0,
        commands=msgspec.msgpack.encode(list(commands)),
    )


def envelope(*parts: Batch | OpenSession, time_ms: int = 0) -> bytes:
    """Return a slot's value with these parts."""
    batches = [msgspec.msgpack.encode(part) for part in parts]
    return msgspec.msgpack.encode(Envelope(time_ms=time_ms, batches=batches))
