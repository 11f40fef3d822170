"""`paxos bench`: a figure for a running cluster in some seconds, with nothing else installed.

The load is in bench_load.py, the arithmetic in bench_figures.py. ./benchmarks/run is the thorough
one: a compiled generator, other systems beside this one, failover, many loads.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from paxos.core.errors import ConfigurationError, DefiniteError
from paxos.core.types import Role

from . import config as configuration_module
from . import run_file
from .bench_figures import Figures, LogMark, figures, table
from .bench_load import Load, Operation, Requests, Tally, Work, key
from .chaos_door import Door, Lost, NotSent
from .config import Configuration

INTERRUPTED = 130
"""The exit status of a run that was interrupted, as a shell would give it."""
UNDER_WAY_BYTES_MAX = 256 * 1024 * 1024
"""What all requests under way may take together."""
FILL_S = 300.0
"""How long writing each key once may take before reads are given up."""
FILL_OUTSTANDING = 256
FILL_BYTES = 4 * 1024 * 1024
"""How many of these writes are under way, however few are to be measured, within so many bytes."""
KEYS_PER_DELETE = 500
ANSWER_S = 10.0
"""How long a door may take for a question beside the load: longer than it takes to give up."""
SEED = 1
"""Of the order of keys and of the values: every run does the same."""
NOTE = (
    "The generator is measured too: it shares this machine's cores with whatever else runs here.\n"
    "./benchmarks/run compares with other systems, with a compiled generator for all of them."
)

DoorsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="HOST:PORT",
        help="The doors to load, evenly. All doors of the cluster on this machine unless told.",
        show_default=False,
    ),
]
OperationOption = Annotated[
    Operation | None,
    typer.Option(
        help="Writes, linearizable reads, or 95 % reads and 5 % writes. One after the other "
        "unless told."
    ),
]
ConnectionsOption = Annotated[
    int, typer.Option(help="Connections; never more than requests outstanding.", min=1, max=500)
]
OutstandingOption = Annotated[
    int, typer.Option(help="Requests under way at any time, in all.", min=1, max=100_000)
]
ValueOption = Annotated[int, typer.Option(help="The size of each value.", min=0, max=1024 * 1024)]
KeysOption = Annotated[int, typer.Option(help="How many different keys.", min=1, max=1_000_000)]
SecondsOption = Annotated[
    float, typer.Option(help="How long each operation is measured.", min=0.1, max=3600)
]
KeepOption = Annotated[
    bool, typer.Option("--keep", help="Leave the keys that it wrote; deleted at the end otherwise.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration file; else PAXOS_CONFIG, else ./paxos.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be measured, checked. `seconds` is for each operation."""

    doors: tuple[tuple[str, int], ...]
    operations: tuple[Operation, ...]
    connections: int
    outstanding: int
    value_bytes: int
    keys: int
    seconds: float
    keep: bool
    password: str | None


class Report(msgspec.Struct, kw_only=True):
    """What a run found. `fill` is the writing of each key once, which reads need."""

    doors: list[str]
    connections: int
    outstanding: int
    value_bytes: int
    keys: int
    prefix: str
    """What the keys that it wrote begin with."""
    runs: list[Figures] = []
    fill: Figures | None = None
    not_measured: list[Operation] = []
    """What needs keys that could not be written."""
    deleted: int = 0
    """How many keys were there to be deleted at the end."""
    trouble: str = ""
    """Why keys that should have been deleted stay; empty otherwise."""

    @property
    def served(self) -> bool:
        """Whether of each operation at least one request was acknowledged."""
        return not self.not_measured and all(run.operations for run in self.runs)


def bench(
    doors: DoorsArgument = None,
    op: OperationOption = None,
    connections: ConnectionsOption = 8,
    outstanding: OutstandingOption = 64,
    value_bytes: ValueOption = 256,
    keys: KeysOption = 10_000,
    seconds: SecondsOption = 5.0,
    keep: KeepOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load a running cluster for some seconds: how many writes and reads, and how quick.

    Closed loop: each request that is answered is replaced at once. Its keys
    begin with bench: and are deleted at the end. A door with a password takes
    it from PAXOS_SECURITY_PASSWORD or the configuration.

    It measures its own generator too, which is Python and shares this machine's
    cores with the cluster: what the cluster can do is not less than this.
    ./benchmarks/run compares with other systems, with a compiled generator.

    It ends with 0, or with 1 when nothing at all was acknowledged of something
    it asked for. Errors are counted and shown, whatever it ends with.
    """
    configuration = configuration_module.load(config, os.environ)
    options = Options(
        doors=_addresses(doors) if doors else running_doors(configuration),
        operations=tuple(Operation) if op is None else (op,),
        connections=min(connections, outstanding),
        outstanding=outstanding,
        value_bytes=value_bytes,
        keys=keys,
        seconds=seconds,
        keep=keep,
        password=configuration.security.password,
    )
    if outstanding * value_bytes > UNDER_WAY_BYTES_MAX:
        raise ConfigurationError(
            f"--outstanding {outstanding} of --value-bytes {value_bytes}: must not be more than "
            f"{UNDER_WAY_BYTES_MAX} bytes together"
        )
    report = _perform(options)
    _tell(report, as_json)
    if not report.served:
        raise typer.Exit(1)


# ---------------------------------------------------------------- before


def running_doors(configuration: Configuration) -> tuple[tuple[str, int], ...]:
    """Return the doors of the cluster that runs on this machine.

    Raises ConfigurationError when it has none, DefiniteError when no cluster runs.
    """
    if not configuration.doors.resp:
        raise ConfigurationError("doors.resp = false: bench needs the RESP door")
    run = run_file.read(configuration.data_folder)
    ports: list[int] = []
    if run is not None and run.mode == "local":
        living = run.living().values()
        ports = sorted(node.door_port for node in living if node.door_port is not None)
    elif run is not None and not run.stopped:
        gateways = configuration.of(Role.CLIENT)
        ports = [configuration.door_port(node) for node in gateways]
    if not ports:
        raise DefiniteError(
            f"no cluster with a door runs in {configuration.data_folder}; start one with ./run.sh "
            "or `paxos up`, or name a door: paxos bench HOST:PORT"
        )
    return tuple((configuration.local_host(), port) for port in ports)


def _addresses(texts: list[str]) -> tuple[tuple[str, int], ...]:
    """Return the doors that were named. Raises ConfigurationError."""
    found = []
    for text in texts:
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        digits = port.isascii() and port.isdigit() and len(port) <= 5
        if not (host and digits and 1 <= int(port) <= 65535):
            raise ConfigurationError(f'"{text}": must be HOST:PORT, such as localhost:6001')
        found.append((host, int(port)))
    return tuple(found)


# ---------------------------------------------------------------- meanwhile


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _perform(options: Options) -> Report:
    """Measure. Ctrl-C and SIGTERM end it once what it wrote is deleted, a second one at once."""
    import uvloop

    async def interruptible() -> Report | None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(_Bench(options).run())

        def stop() -> None:
            _progress("interrupted: waiting for the last answers and clearing up; again: at once")
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            return await task
        except asyncio.CancelledError:
            return None

    report = uvloop.run(interruptible())
    if report is None:
        raise typer.Exit(INTERRUPTED)
    return report


class _Bench:
    """One run: the doors for questions beside the load, the loads, the clearing up."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._prefix = f"bench:{secrets.token_hex(4)}:"
        self._doors: list[tuple[tuple[str, int], Door]] = []

    async def run(self) -> Report:
        """Measure everything. Raises DefiniteError when no door can be reached."""
        options = self._options
        await self._reach()
        report = Report(
            doors=[f"{host}:{port}" for (host, port), _ in self._doors],
            connections=options.connections,
            outstanding=options.outstanding,
            value_bytes=options.value_bytes,
            keys=options.keys,
            prefix=self._prefix,
        )
        try:
            await self._measure(report)
        finally:
            try:
                if not options.keep:
                    await self._delete(report)
            finally:
                for _, door in self._doors:
                    door.close()
        return report

    async def _measure(self, report: Report) -> None:
        options = self._options
        requests = Requests(self._prefix, options.keys, options.value_bytes, SEED)
        for operation in options.operations:
            if operation is not Operation.WRITE and report.fill is None:
                work = Work(requests.fill(), endless=False)
                report.fill = await self._load("fill", work, FILL_S, self._fill_depth())
            if report.fill is not None and report.fill.operations < options.keys:
                report.not_measured.append(operation)
                continue
            work = Work(requests.sequence(operation), endless=True)
            report.runs.append(
                await self._load(operation, work, options.seconds, options.outstanding)
            )

    def _fill_depth(self) -> int:
        """Return how many writes may be under way while nothing is measured."""
        several = min(FILL_OUTSTANDING, FILL_BYTES // max(1, self._options.value_bytes))
        return max(self._options.outstanding, several)

    async def _load(self, name: str, work: Work, seconds: float, outstanding: int) -> Figures:
        options = self._options
        load = Load(
            [address for address, _ in self._doors],
            options.password,
            connections=options.connections,
            outstanding=outstanding,
            work=work,
        )
        done = 0

        def tell(so_far: float, tally: Tally) -> None:
            nonlocal done
            before, done = done, tally.latencies.count
            errors = f", {tally.errors:,} errors" if tally.errors else ""
            total = f"/{seconds:g}" if name != "fill" else ""
            _progress(f"{name:5} {so_far:3g}{total} s  {done - before:9,}/s{errors}")

        before = await self._mark()
        await load.run(seconds, tell, until_error=name == "fill")
        after = await self._mark()
        return figures(
            name,
            load.tally.latencies,
            seconds=load.seconds,
            in_time=load.in_time,
            errors=load.tally.errors,
            first_error=load.tally.first_error,
            before=before,
            after=after,
        )

    # ------------------------------------------------------------ questions beside the load

    async def _reach(self) -> None:
        """Connect to the doors, and go on with those that answer."""
        reasons = []
        for host, port in self._options.doors:
            door = Door(host, port, self._options.password)
            try:
                await door.connect()
            except NotSent as error:
                reasons.append(str(error))
            else:
                self._doors.append(((host, port), door))
        if not self._doors:
            raise DefiniteError("\n".join(reasons))
        for reason in reasons:
            _progress(f"warning: left out: {reason}")

    async def _mark(self) -> LogMark:
        """Ask the doors how far the log has come."""
        slots: list[int] = []
        commands: list[int] = []
        for replies in await self._ask_all((b"RESPONSES", b"1"), (b"STATUS",)):
            rows, status = replies
            # Any other server that speaks RESP answers with errors.
            if isinstance(rows, list) and rows:
                slots.append(int(rows[-1][0]))
            if isinstance(status, bytes):
                commands.append(int(json.loads(status).get("writes", 0)))
        all_told = len(commands) == len(self._doors)
        return LogMark(max(slots, default=None), sum(commands) if all_told else None)

    async def _ask_all(self, *commands: tuple[bytes, ...]) -> list[list[Any]]:
        """Return the replies of those doors that answer."""
        answers = []
        for _, door in self._doors:
            try:
                answers.append(await door.ask(commands, ANSWER_S))
            except (NotSent, Lost):
                continue
        return answers

    async def _delete(self, report: Report) -> None:
        """Delete what was written. What stays, and why, is in the report and told."""
        door = self._doors[0][1]
        try:
            for first in range(0, self._options.keys, KEYS_PER_DELETE):
                numbers = range(first, min(first + KEYS_PER_DELETE, self._options.keys))
                names = (key(self._prefix, number) for number in numbers)
                reply = (await door.ask([(b"DEL", *names)], ANSWER_S))[0]
                if not isinstance(reply, int):
                    report.trouble = str(reply)
                    break
                report.deleted += reply
        except (NotSent, Lost) as error:
            report.trouble = str(error)
        except asyncio.CancelledError:
            _progress(f"keys that begin with {self._prefix} stay")
            raise
        if report.trouble:
            _progress(f"warning: keys that begin with {self._prefix} stay: {report.trouble}")


# ---------------------------------------------------------------- afterwards


def _tell(report: Report, as_json: bool) -> None:
    if as_json:
        value = {**msgspec.to_builtins(report), "served": report.served}
        print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
        return
    print(summary(report))


def summary(report: Report) -> str:
    """Return what a person wants to know of a run, in some lines."""
    rows = list(report.runs)
    if report.fill is not None and report.fill.errors:
        rows.append(report.fill)
    lines = [
        f"{report.value_bytes}-byte values, {report.keys:,} keys, {report.outstanding:,} requests "
        f"outstanding on {report.connections} connections, at {', '.join(report.doors)}",
        "",
        table(rows),
        "",
    ]
    if report.not_measured:
        names = ", ".join(report.not_measured)
        lines += [f"not measured: {names}: not all keys could be written before", ""]
    return "\n".join([*lines, NOTE])
