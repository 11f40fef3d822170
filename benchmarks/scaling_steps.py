"""What the roles' steps cost, timed in this process: with real roles, messages and codec.

A simulated cluster serves clients while every turn of every node is timed: decoding what came,
the role's steps and their checks, the state machine, encoding what leaves. No socket is in it,
and no event loop; see `scaling_fit` for those. The journal is timed by itself, on a real disk.
"""

from __future__ import annotations

import gc
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec

from paxos.core.effects import AcceptedEntry, Effect, Event, Received, Send, Stamped
from paxos.core.messages import AnyMessage
from paxos.core.types import Ballot, NodeId, Slot
from paxos.sim.world import SimulatedNode
from paxos.storage.file_journal import FileJournal
from paxos.transport.framing import frame

from .scaling_clients import Clients, Demand, settle
from .scaling_costs import STEP_COUNTERS, Prices, Row, Sync, Turn, fit
from .scaling_layout import ROLES, Layout
from .scaling_world import NETWORK_MS, CostWorld

DEMANDS = (
    *(Demand(op, n, min(8, n)) for op in ("write", "read") for n in (1, 4, 16, 64, 256, 1024)),
    *(Demand(op, n, n) for op in ("write", "read") for n in (32, 256)),
    *(Demand("write", n, min(8, n), 4096) for n in (4, 64)),
    *(Demand("read", n, min(8, n), 4096) for n in (4, 64)),
)
SIMULATED_MS = 60.0
SYNCS = 400
_RECORDS = ((1, 350), (1, 5_000), (1, 40_000), (1, 260_000), (4, 350), (4, 5_000))
"""Records per sync and bytes per record."""
_GUESS = {
    "wakes": 12.0,
    "reads": 6.0,
    "writes": 7.0,
    "messages_in": 6.0,
    "messages_out": 4.0,
    "written": 2.0,
    "fetched": 1.0,
    "bytes": 0.001,
}
_GUESSED_SYNC = Sync(40.0, 2.0, 0.001, 80.0, 0.001)
GUESSED = Prices(dict.fromkeys((*ROLES, "proposer", "discovery"), _GUESS), _GUESSED_SYNC)
"""Prices to begin with: they only decide how large batches grow while the steps are timed."""


class TimedWorld(CostWorld):
    """A `CostWorld` that notes, for every turn, what it did and how much CPU time that took.

    Messages are encoded and decoded as between real processes.
    """

    def __init__(self) -> None:
        super().__init__(Layout(), GUESSED)
        self.timing = False
        self.timed: list[tuple[str, Turn, float]] = []
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(AnyMessage)
        # Keeps each message, so that no other one gets its id.
        self._bodies: dict[int, tuple[AnyMessage, bytes]] = {}

    def _handle(self, node: SimulatedNode, events: list[Event], turn: Turn) -> list[Effect]:
        role = self.role_name(node.name)
        bodies = [
            self._body_of(event.message) if isinstance(event, Received) else None
            for event in events
        ]
        began_ns = time.thread_time_ns()
        arrived = [
            event
            if body is None
            else Received(sender=event.sender, message=self._decoder.decode(body))  # type: ignore[union-attr]
            for event, body in zip(events, bodies, strict=True)
        ]
        effects = super()._handle(node, arrived, turn)
        encoded = [
            (effect.message, frame(self._encoder.encode(effect.message)))
            for effect in effects
            if type(effect) is Send
        ]
        took_us = (time.thread_time_ns() - began_ns) / 1000
        self._bodies.update((id(message), (message, body)) for message, body in encoded)
        if self.timing:
            self.timed.append((role, turn, took_us))
        return effects

    def _body_of(self, message: AnyMessage) -> bytes:
        known = self._bodies.get(id(message))
        return known[1][4:] if known is not None else self._encoder.encode(message)


def time_steps() -> dict[str, dict[str, float]]:
    """Return what the roles' steps cost, by role and counter, in microseconds."""
    rows: dict[str, list[Row]] = {role: [] for role in ROLES}
    for demand in DEMANDS:
        world = TimedWorld()
        settle(world, demand)
        clients = Clients(world, demand, NETWORK_MS, seed=1)
        clients.begin()
        world.run_for(SIMULATED_MS / 3)
        gc.collect()
        gc.freeze()
        world.timing = True
        world.run_for(SIMULATED_MS)
        gc.unfreeze()
        for role, turn, took_us in world.timed:
            if role in rows:
                rows[role].append(Row(turn.counts(), took_us, 1.0 / max(took_us, 5.0)))
    return {role: fit(found, STEP_COUNTERS) for role, found in rows.items()}


def time_syncs(folder: Path) -> Sync:
    """Return what the journal costs on the disk under `folder`, which is made and deleted."""
    cpu: list[Row] = []
    wait: list[Row] = []
    for records, record_bytes in _RECORDS:
        shutil.rmtree(folder, ignore_errors=True)
        cpu_us, wall_us = _syncs(folder, records, record_bytes)
        counts = {"syncs": 1.0, "records": records, "bytes": records * record_bytes}
        cpu.append(Row(counts, cpu_us, 1.0 / cpu_us**2))
        wait_us = max(0.0, wall_us - cpu_us)
        wait.append(Row(counts, wait_us, 1.0 / wall_us**2))
    shutil.rmtree(folder, ignore_errors=True)
    spent = fit(cpu, ("syncs", "records", "bytes"))
    waited = fit(wait, ("syncs", "bytes"))
    return Sync(
        cpu_us=spent["syncs"],
        cpu_record_us=spent["records"],
        cpu_byte_us=spent["bytes"],
        wait_us=waited["syncs"],
        wait_byte_us=waited["bytes"],
    )


def _syncs(folder: Path, records: int, record_bytes: int) -> tuple[float, float]:
    """Return CPU and wall-clock microseconds per sync of so many records."""
    journal = FileJournal(folder)
    node = NodeId("acceptor-1")
    journal.append(Stamped(cluster="measured", node=node, phase="open", acceptors=(node,)))
    journal.sync()
    value, slot = bytes(record_bytes), 0
    syncs = SYNCS if records * record_bytes < 100_000 else SYNCS // 4
    began_s, began_ns = time.perf_counter(), time.thread_time_ns()
    for _ in range(syncs):
        for _ in range(records):
            slot += 1
            journal.append(
                AcceptedEntry(slot=Slot(slot), ballot=Ballot(101), value=value, decided=Slot(0))
            )
        journal.sync()
    cpu_us = (time.thread_time_ns() - began_ns) / 1000 / syncs
    wall_us = (time.perf_counter() - began_s) * 1e6 / syncs
    journal.close()
    return cpu_us, wall_us
