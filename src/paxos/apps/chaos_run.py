"""One chaos run: a cluster, clients, a nemesis; then healing, final reads, and the verdict.

It fails when the history is not linearizable, when an acknowledged value of the list is missing or
there twice, when a cluster that has been healed does not serve again in time, when learners do not
become level, when a node stopped for a reason that no fault explains, and when so little happened
that none of this was put to the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import hiredis
import msgspec

from paxos.core.errors import DefiniteError
from paxos.sim import history, linearizability

from . import chaos_record
from .chaos_door import Door, Lost, NotSent
from .chaos_nemesis import Hands, Nemesis
from .chaos_plan import Fault, Variant, plan
from .chaos_record import Check, Record
from .chaos_watch import Watch
from .chaos_workload import FUNCTIONS, Client, Wish, Workload
from .config import Configuration

SERVE_TIMEOUT_S = 30.0
"""How soon the cluster must serve, before the run and after the healing."""
AFTERWARDS_S = 1.0
"""Clients go on for so long after the cluster serves again."""
SUCCEEDED_PER_SECOND_MIN = 2.0
BUDGET = 20_000_000
"""Configurations that the checker may visit before it gives up."""
KEYS_DELETED_AT_ONCE = 500
HEALED = b"chaos:healed"
"""The key that is written to see whether a healed cluster serves; deleted again."""
POLL_S = 0.05

_Found = TypeVar("_Found")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    seed: int
    seconds: float
    clients: int
    rate: float
    kinds: tuple[str, ...]
    command: str


class Stage(Protocol):
    """The cluster that a run happens to."""

    kinds: tuple[str, ...]
    """What can be done to it."""
    variants: dict[str, tuple[Variant, ...]] | None
    configuration: Configuration
    healing_s: float
    """How soon after the healing it must serve through every door, and be whole."""

    @property
    def hands(self) -> Hands:
        """Who does it."""
        ...

    @property
    def what(self) -> str:
        """Which cluster this is, for a person."""
        ...

    async def up(self, plan: list[Fault], seed: int, report: Callable[[str], None]) -> None:
        """Start it, or see that it runs. Raises PaxosError; `down` is called then too."""
        ...

    async def complaints(self) -> list[str]:
        """Return lines of the nodes' logs that no fault explains."""
        ...

    async def down(self, keep: bool) -> str:
        """End what `up` started. Returns where data and logs are, if they are still there."""
        ...


class Run:
    """One run. `started` is set when the cluster stands and the clock runs."""

    def __init__(
        self,
        stage: Stage,
        options: Options,
        report: Callable[[str], None],
        file: IO[bytes],
    ) -> None:
        self.plan = plan(
            options.seed,
            options.seconds,
            options.kinds,
            stage.configuration.membership(),
            stage.variants,
        )
        self.started = False
        self.nemesis: Nemesis | None = None
        self.workload: Workload | None = None
        self._stage = stage
        self._options = options
        self._report = report
        self._writer = history.Writer(file)
        self._began = 0.0
        self._started_at = ""
        self._healed_s = 0.0
        self._served_s: float | None = None
        self._ended_s = 0.0
        self._checks: list[Check] = []

    def now_s(self) -> float:
        """Return the seconds since the start of the run."""
        return time.monotonic() - self._began

    async def run(self) -> Record:
        """Do all of it on a stage that is up. Raises PaxosError when it cannot be done.

        Whatever happens, every fault has been undone when it returns or raises.
        """
        options, stage = self._options, self._stage
        token = f"{options.seed:x}.{secrets.token_hex(3)}"
        first_slot = await self._first_slot(token)
        self._began = time.monotonic()
        self._started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        watch = Watch(stage.configuration, self.now_s)
        workload = self.workload = Workload(
            host=stage.configuration.local_host(),
            doors=_doors(stage.configuration),
            password=stage.configuration.security.password,
            token=token,
            first_slot=first_slot,
            seed=options.seed,
            now_ms=lambda: round(self.now_s() * 1000, 3),
            writer=self._writer,
        )
        nemesis = self.nemesis = Nemesis(
            self.plan,
            stage.hands,
            stage.configuration.membership(),
            watch.leader,
            self.now_s,
            self._report,
        )
        self.started = True
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(watch.run())
                working = group.create_task(workload.run(options.clients, options.rate))
                await nemesis.run()
                await asyncio.sleep(max(0.0, options.seconds - self.now_s()))
                await self._heal(watch)
                await asyncio.sleep(AFTERWARDS_S)
                workload.stopping = True
                await working
                self._ended_s = self.now_s()
                if self._served_s is not None:
                    await self._read_everything(watch)
                    await self._delete_keys()
                watching.cancel()
        finally:
            # Again, because it may not have come that far.
            await stage.hands.heal()
            watch.close()
        self._report("checking the history")
        verdict, offending = await asyncio.to_thread(self._judge)
        self._check_list()
        self._check_enough(nemesis)
        complaints = await stage.complaints()
        self._check("no node stopped for a reason of its own", not complaints, _few(complaints))
        return self._record(verdict, offending, workload, nemesis, watch)

    def _record(
        self,
        verdict: str,
        offending: list[str],
        workload: Workload,
        nemesis: Nemesis,
        watch: Watch,
    ) -> Record:
        options, events, ended_s = self._options, workload.events, self._ended_s
        faults = chaos_record.done_of(nemesis.injuries, self._healed_s)
        points, point_s = chaos_record.points_of(events, ended_s)
        served_s = self._served_s
        return Record(
            seed=options.seed,
            seconds=options.seconds,
            clients=options.clients,
            rate=options.rate,
            kinds=list(options.kinds),
            what=self._stage.what,
            command=options.command,
            started=self._started_at,
            passed=all(check.passed for check in self._checks),
            verdict=verdict,
            checks=self._checks,
            offending=offending,
            operations=chaos_record.operations_of(events),
            errors=chaos_record.errors_of(events),
            not_sent=workload.not_sent,
            faults=faults,
            leads=watch.leads,
            gaps=chaos_record.gaps_of(events, faults, ended_s),
            points=points,
            point_s=point_s,
            ended_s=ended_s,
            healed_s=self._healed_s,
            served_again_s=None if served_s is None else round(served_s - self._healed_s, 2),
        )

    # ------------------------------------------------------------ steps

    async def _first_slot(self, token: str) -> int:
        """Write a value that marks where the run's part of the list begins; return its slot.

        Raises DefiniteError when the cluster does not serve.
        """
        slot = await _within(SERVE_TIMEOUT_S, lambda: self._asked(0, (b"WRITE", token.encode())))
        if slot is None:
            raise DefiniteError("the cluster does not serve, so there is nothing to break")
        return int(slot)

    async def _asked(self, place: int, command: tuple[bytes, ...]) -> Any:
        """Ask one door, on a connection of its own. None for no answer, or an error."""
        configuration = self._stage.configuration
        port = _doors(configuration)[place][1]
        door = Door(configuration.local_host(), port, configuration.security.password)
        try:
            (reply,) = await door.ask([command], configuration.timeouts.request_ms / 1000 + 1)
        except (NotSent, Lost):
            return None
        finally:
            door.close()
        return None if isinstance(reply, hiredis.ReplyError) else reply

    async def _heal(self, watch: Watch) -> None:
        """Undo every fault, and wait until every door takes writes and every node is ready."""
        stage = self._stage
        self._report(f"{self.now_s():.1f} s  healing everything")
        await stage.hands.heal()
        self._healed_s = self.now_s()
        doors = _doors(stage.configuration)

        async def served(place: int) -> float | None:
            done = await _within(
                stage.healing_s, lambda: self._asked(place, (b"SET", HEALED, b"1"))
            )
            return None if done is None else self.now_s()

        times = await asyncio.gather(*(served(place) for place in range(len(doors))))
        late = [name for (name, _), at_s in zip(doors, times, strict=True) if at_s is None]
        text = f"after healing every door serves within {stage.healing_s:.0f} s"
        if not self._check(text, not late, f"not {', '.join(late)}" if late else ""):
            self._report(f"the cluster does not serve; not ready: {await watch.absent()}")
            return
        self._served_s = max(at_s for at_s in times if at_s is not None)

        async def whole() -> bool | None:
            return None if await watch.absent() else True

        done = await _within(stage.healing_s, whole)
        detail = "" if done else str(await watch.absent())
        text = f"after healing every node is ready within {stage.healing_s:.0f} s"
        self._check(text, done is not None, detail)
        await self._asked(0, (b"DEL", HEALED))

    async def _read_everything(self, watch: Watch) -> None:
        """Read every key and the list through every door, once more, as part of the history."""
        workload = self.workload
        if workload is None:
            return
        self._report(f"reading {len(workload.keys.all)} keys and the list through every door")
        wishes = [Wish("read", key) for key in workload.keys.all] + [Wish("list-read", None)]

        async def read_all(place: int) -> int:
            client = Client(workload, place, 1.0)
            missed = 0
            for wish in wishes:
                answer = await client.once(wish)
                missed += answer is None or answer.type != "ok"
            client.close()
            return missed

        missed = await asyncio.gather(*(read_all(n) for n in range(len(workload.doors))))
        text = "every key and the list can be read through every door at the end"
        detail = f"{sum(missed)} reads were not answered" if any(missed) else ""
        self._check(text, not any(missed), detail)
        levels: list[dict[str, object]] = []

        async def level() -> bool | None:
            levels[:] = await watch.levels()
            same = all(one == levels[0] for one in levels)
            return True if same and levels[0]["applied"] else None

        done = await _within(self._stage.healing_s, level)
        text = "all learners are level"
        self._check(
            text, done is not None, f"applied {levels[0]['applied']}" if done else str(levels)
        )

    async def _delete_keys(self) -> None:
        """Leave no key behind. Not part of the history."""
        keys = [] if self.workload is None else [key.encode() for key in self.workload.keys.all]
        for first in range(0, len(keys), KEYS_DELETED_AT_ONCE):
            await self._asked(0, (b"DEL", *keys[first : first + KEYS_DELETED_AT_ONCE]))

    # ------------------------------------------------------------ judging

    def _judge(self) -> tuple[str, list[str]]:
        """Check the history; return the verdict and the operations that contradict one another."""
        events = [] if self.workload is None else self.workload.events
        text = "the history is linearizable"
        try:
            operations = history.operations(events)
            verdict = linearizability.check(operations, budget=BUDGET)
        except (history.HistoryError, linearizability.Undecided) as error:
            self._check(text, False, str(error))
            return "undecided", []
        checked = verdict.checked
        detail = f"{checked.operations} operations on {checked.keys} keys"
        if self._check(text, verdict.linearizable, verdict.reason or detail):
            return "linearizable", []
        return "not linearizable", [_told(operation) for operation in verdict.offending]

    def _check_list(self) -> None:
        """Check the list as it was read last against what was acknowledged."""
        events = [] if self.workload is None else self.workload.events
        reads = [event for event in events if event.type == "ok" and event.f == "list-read"]
        found = [(int(slot), str(value)) for slot, value in reads[-1].value] if reads else []
        troubles = chaos_record.list_trouble(events, found)
        acknowledged = sum(e.type == "ok" and e.f == "list-append" for e in events)
        detail = _few(troubles) or f"{acknowledged} acknowledged, {len(found)} there"
        self._check("every acknowledged list value is there exactly once", not troubles, detail)

    def _check_enough(self, nemesis: Nemesis) -> None:
        """Check that the run put anything to the test."""
        options = self._options
        outcomes = Counter[tuple[str, str]]() if self.workload is None else self.workload.outcomes
        unexpected = Counter[str]() if self.workload is None else self.workload.unexpected
        ok = sum(count for (_, outcome), count in outcomes.items() if outcome == "ok")
        wanted = int(min(options.rate / 10, SUCCEEDED_PER_SECOND_MIN) * options.seconds)
        self._check(f"at least {wanted} operations succeeded", ok >= max(1, wanted), f"{ok}")
        idle = [f for f in FUNCTIONS if not outcomes[f, "ok"]]
        self._check(
            "operations of every kind succeeded", not idle, f"no {', '.join(idle)}" if idle else ""
        )
        had = {injury.fault.kind for injury in nemesis.injuries if not injury.trouble}
        planned = {fault.kind for fault in self.plan}
        missing = sorted(planned - had)
        detail = f"none of {', '.join(missing)}" if missing else f"{len(nemesis.injuries)} faults"
        self._check(
            "faults of every planned kind were injected", bool(planned) and not missing, detail
        )
        detail = _few([f"{count} x {text}" for text, count in unexpected.items()])
        self._check("no client saw an error that faults do not explain", not unexpected, detail)

    def _check(self, text: str, passed: bool, detail: str = "") -> bool:
        self._checks.append(Check(text=text, passed=passed, detail=detail))
        return passed


async def perform(
    stage: Stage,
    options: Options,
    report: Callable[[str], None],
    history_file: Path,
    keep: bool,
    watching: Callable[[Run], Awaitable[None]],
) -> Record:
    """Set the stage, run, and clear it away, whatever happens. Raises PaxosError.

    `watching` runs beside it, to show how it goes, and is cancelled at the end.
    """
    with history_file.open("wb") as file:
        run = Run(stage, options, report, file)
        wanted = True
        shown = asyncio.ensure_future(watching(run))
        try:
            await stage.up(run.plan, options.seed, report)
            record = await run.run()
            wanted = not record.passed
        except asyncio.CancelledError:
            # Whoever interrupts a run does not want its remains.
            wanted = False
            raise
        finally:
            shown.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await shown
            kept = await asyncio.shield(stage.down(keep or wanted))
            if kept and (wanted or keep):
                report(kept)
    record.kept = kept
    record.history = str(history_file)
    return record


def _doors(configuration: Configuration) -> list[tuple[str, int]]:
    gateways = configuration.membership().gateways
    return [(str(node), configuration.door_port(node)) for node in gateways]


async def _within(seconds: float, attempt: Callable[[], Awaitable[_Found | None]]) -> _Found | None:
    """Try until something is found. None when `seconds` are over first."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (found := await attempt()) is None:
                await asyncio.sleep(POLL_S)
            return found
    return None


def _few(texts: list[str]) -> str:
    """Return the first of some texts, and how many more there are."""
    more = f"; and {len(texts) - 5} more" if len(texts) > 5 else ""
    return "; ".join(texts[:5]) + more


def _told(operation: history.Operation) -> str:
    """Return an operation as a line."""
    ended = "no answer" if operation.returned is None else f"{operation.returned:.3f}"
    asked = "" if operation.argument is None else f" {operation.argument!r}"
    answer = "" if operation.result is None else f" -> {operation.result!r}"
    return (
        f"{operation.invoked:.3f} to {ended} ms: process {operation.process} at "
        f"{operation.node or '?'}: {operation.f} {operation.key or 'the list'}{asked}: "
        f"{operation.outcome}{answer}"
    )
