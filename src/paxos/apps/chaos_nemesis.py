"""The nemesis: it does what the plan says to a real cluster, and undoes it.

What a fault means for local processes or containers is the business of its hands; here is when,
to whom (who leads is found out at the moment), and what came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from paxos.core.errors import DefiniteError
from paxos.core.quorum import Membership

from .chaos_plan import Cut, Fault, resolve
from .chaos_proxy import Rule

LEADER_WAIT_S = 0.3
"""How long a fault for the leader waits while nobody leads; then the one before stands in."""


NAMES_SHOWN = 4
"""A fault that met more nodes is told with their number."""


class Injury(msgspec.Struct, kw_only=True):
    """A fault as it was done. Times in seconds after the start of the run.

    `nodes` are whose process, container or disk it was done to, or whose links; `note` what is
    worth knowing about it, `trouble` why it could not be done: then it does not count.
    """

    fault: Fault
    nodes: list[str]
    rules: list[Rule] = []
    began_s: float
    ended_s: float | None = None
    note: str = ""
    trouble: str = ""

    @property
    def label(self) -> str:
        """The fault in a few words, with whom it met."""
        few = len(self.nodes) <= NAMES_SHOWN
        who = ", ".join(self.nodes) if few else f"{len(self.nodes)} nodes"
        return f"{self.fault.kind}: {self.fault.name}" + (f" ({who})" if who else "")


class Hands(Protocol):
    """Does and undoes faults. Both raise DefiniteError when they cannot.

    Faults may overlap; ending one must not end what another one is still doing.
    """

    async def begin(self, injury: Injury) -> None:
        """Do it; may set `injury.note`."""
        ...

    async def end(self, injury: Injury) -> None:
        """Undo it; may set `injury.note`, or `injury.trouble` when it had no effect."""
        ...

    async def heal(self) -> None:
        """Undo everything that may still be in force. Doing it twice does nothing."""
        ...


class Nemesis:
    """One plan's way through one cluster. `now_s` is the run's clock, `leader` who leads now."""

    def __init__(
        self,
        plan: list[Fault],
        hands: Hands,
        membership: Membership,
        leader: Callable[[], str | None],
        now_s: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self.plan = plan
        self.injuries: list[Injury] = []
        self.active: list[Injury] = []
        self._hands = hands
        self._membership = membership
        self._leader = leader
        self._last_leader: str | None = None
        self._now_s = now_s
        self._report = report
        # Two faults at once are meant; two hands in one place are not.
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Do every fault at its time, and undo it at its time.

        Cancelled, it leaves the faults under way to whoever heals the cluster.
        """
        async with asyncio.TaskGroup() as group:
            for fault in self.plan:
                group.create_task(self._inflict(fault), name=f"fault {fault.number}")

    async def _inflict(self, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, fault.at_s - self._now_s()))
        leader = await self._who_leads()
        nodes = resolve(fault.targets, leader, self._membership)
        rules = rules_of(fault, leader, self._membership)
        if fault.cuts and not nodes:
            nodes = resolve(fault.cuts[0].these, leader, self._membership)
        injury = Injury(fault=fault, nodes=nodes, rules=rules, began_s=round(self._now_s(), 2))
        self.injuries.append(injury)
        self.active.append(injury)
        try:
            async with self._turn:
                await self._hands.begin(injury)
            self._report(f"{injury.began_s:.1f} s  {injury.label}, {fault.lasts_s:.1f} s")
            await asyncio.sleep(max(0.0, injury.began_s + fault.lasts_s - self._now_s()))
            async with self._turn:
                await self._hands.end(injury)
        except DefiniteError as error:
            injury.trouble = str(error)
            self._report(f"{injury.began_s:.1f} s  {injury.label} could not be done: {error}")
        finally:
            injury.ended_s = round(self._now_s(), 2)
            self.active.remove(injury)

    async def _who_leads(self) -> str | None:
        """Return who leads, waiting a moment while nobody does; then who led last."""
        until_s = self._now_s() + LEADER_WAIT_S
        while (leader := self._leader()) is None and self._now_s() < until_s:
            await asyncio.sleep(0.02)
        self._last_leader = leader or self._last_leader
        return self._last_leader


def rules_of(fault: Fault, leader: str | None, membership: Membership) -> list[Rule]:
    """Return the rules that a fault lays on links: each direction once, none to a node itself."""
    pairs: dict[tuple[str, str], None] = {}
    for cut in fault.cuts:
        for sender, receiver in _pairs(cut, leader, membership):
            pairs[sender, receiver] = None
    return [Rule(sender=a, receiver=b, trouble=fault.trouble) for a, b in pairs]


def _pairs(cut: Cut, leader: str | None, membership: Membership) -> list[tuple[str, str]]:
    these = resolve(cut.these, leader, membership)
    those = resolve(cut.those, leader, membership)
    there = [(a, b) for a in these for b in those if a != b]
    return there if cut.one_way else [*there, *((b, a) for a, b in there)]
