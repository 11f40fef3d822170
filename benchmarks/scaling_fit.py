"""What the event loop and its system calls cost: what real clusters used beside their steps.

The CPU time of a role's processes, less what its steps cost by the prices of `scaling_steps`, is
fitted to how often they slept, read and wrote, and how many bytes they moved.

Messages are not counted in a real process; they follow from what is: a slot is one Submit, one
Accept for each acceptor, and so on, and where only reads run, nearly every message is a read(2) of
its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from .scaling_cluster import Measured
from .scaling_costs import LOOP_COUNTERS, Prices, Row, Sync, fit, priced
from .scaling_layout import ROLES, Layout

_BESIDES = (
    "gateway_written",
    "gateway_fetched",
    "learner_written",
    "learner_fetched",
    "acceptor_syncs",
)
"""What one role's processes do beside steps and sockets: the role, and what it is counted by."""
_HOLD = 0.02
"""How firmly a role's prices are held to the common ones: the square of a relative error that
weighs as much as a price that is twice, or none, of the common one."""
_LEAST_US = 1e-4
_IDLE_US = 20_000.0
"""A role that worked less in a second tells nothing about prices."""
_SYNC_CALLS = 2
"""Writes to files, and sleeps, in one sync: the record and the side mark."""


def counts_of(measured: Measured, role: str) -> dict[str, float]:
    """Return what all processes of a role did in a second, by counter.

    An acceptor's files are counted with its sockets. While writes run, nearly every read(2) of
    an acceptor brings Accepts, and so ends in one sync, whose calls are taken off.
    """
    did = measured.roles[role]
    layout = Layout.parse(measured.layout)
    bytes_ = did["bytes_in"] + did["bytes_out"]
    sleeps, writes, syncs = did["sleeps"], did["writes"], 0.0
    is_write = measured.op == "write"
    if role == "acceptor" and is_write:
        syncs, bytes_ = did["reads"], did["bytes_in"]
        sleeps = max(0.0, sleeps - _SYNC_CALLS * syncs)
        writes = max(0.0, writes - _SYNC_CALLS * syncs)
    # Every learner applies every write; a read is answered by one.
    copies = {"gateway": 1, "learner": layout.learners}.get(role, 0)
    taken, sent = _messages(measured, role, layout)
    return {
        "sleeps": sleeps,
        "reads": did["reads"],
        "writes": writes,
        "socket_bytes": bytes_,
        "bytes": bytes_,
        "written": measured.rate * copies * is_write,
        "fetched": measured.rate * min(copies, 1) * (not is_write),
        "syncs": syncs,
        "messages_in": taken,
        "messages_out": sent,
    }


def _messages(measured: Measured, role: str, layout: Layout) -> tuple[float, float]:
    """Return about how many messages a role takes in and encodes in a second."""
    slots, acceptors, learners = measured.slots, layout.acceptors, layout.learners
    if measured.op == "write":
        return {
            "gateway": (slots, slots),
            # Accept to a quorum, Accept to the others, Value.
            "leader": (slots * (1 + acceptors), slots * 3),
            # One Accepted for whom it is urgent, one for the others.
            "acceptor": (slots * acceptors, slots * acceptors * 2),
            "learner": (slots * learners * (1 + acceptors), slots),
        }[role]
    asked = measured.roles["acceptor"]["reads"]
    flights = max(0.0, measured.roles["learner"]["reads"] - asked)
    return {
        "gateway": (flights, flights),
        "leader": (0.0, 0.0),
        "acceptor": (asked, asked),
        "learner": (flights + asked, flights + asked / acceptors),
    }[role]


def fit_loop(
    steps: Mapping[str, Mapping[str, float]], measured: Sequence[Measured], sync: Sync
) -> Prices:
    """Return one price list: the steps' prices and what real processes spent beside them.

    First one price of sleeping, reading, writing and a byte is fitted for all roles together, then
    each role's own, held to those unless the measurements say otherwise. With them come what a
    command costs at the door and, beyond its step, at a learner (whose real memory is larger than
    a simulated one's), and what a sync costs an acceptor.
    """
    by_role = {role: _rows(role, steps[role], measured) for role in ROLES}
    common = fit([row for rows in by_role.values() for row in rows], [*LOOP_COUNTERS, *_BESIDES])
    roles: dict[str, dict[str, float]] = {}
    for role, rows in by_role.items():
        held = [
            Row({name: 1.0}, common[name], _HOLD / max(common[name], _LEAST_US) ** 2)
            for name in LOOP_COUNTERS
        ]
        besides = [name for name in _BESIDES if name.startswith(role)]
        own = fit([*rows, *held], [*LOOP_COUNTERS, *besides])
        prices = dict(steps[role])
        prices["wakes"] = own["sleeps"]
        prices["reads"] = own["reads"]
        prices["writes"] = own["writes"]
        prices["bytes"] = prices.get("bytes", 0.0) + own["socket_bytes"]
        for name in besides:
            counter = name.partition("_")[2]
            prices[counter] = prices.get(counter, 0.0) + own[name]
        roles[role] = prices
    sync = dataclasses.replace(sync, cpu_us=roles["acceptor"].pop("syncs"))
    return Prices(roles, sync)


def _rows(role: str, steps: Mapping[str, float], measured: Sequence[Measured]) -> list[Row]:
    """Return what a role spent beside its steps, weighed so that relative errors count."""
    rows = []
    for one in measured:
        spent_us = one.roles[role]["cpu_us"]
        if spent_us < _IDLE_US:
            continue
        counts = counts_of(one, role)
        besides = {name: counts.get(name.partition("_")[2], 0.0) for name in _BESIDES}
        besides = {name: n for name, n in besides.items() if name.startswith(role)}
        beside_us = max(0.0, spent_us - priced(steps, counts))
        rows.append(Row({**counts, **besides}, beside_us, 1.0 / spent_us**2))
    return rows


def explained(prices: Prices, measured: Measured, role: str) -> float | None:
    """Return what the prices say of a role's CPU time, divided by what was measured; None where
    that was next to nothing.
    """
    spent_us = measured.roles[role]["cpu_us"]
    if spent_us < _IDLE_US:
        return None
    counts = counts_of(measured, role)
    own = prices.roles[role]
    said_us = priced(own, counts) + own["wakes"] * counts["sleeps"]
    return (said_us + prices.sync.cpu_us * counts["syncs"]) / spent_us
