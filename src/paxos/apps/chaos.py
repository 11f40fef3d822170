"""`paxos chaos`: real faults on a real cluster under load, and a verdict on the history of it."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from paxos.core.errors import ConfigurationError, DefiniteError, StorageError

from . import config as configuration_module
from .config import Configuration

if TYPE_CHECKING:
    from .chaos_record import Record
    from .chaos_run import Options, Run, Stage

INTERRUPTED = 130
"""The exit status of a run that was interrupted, as a shell would give it."""
SECONDS = (5.0, 3600.0)
PROGRESS_S = 0.25
PROGRESS_LINE_S = 5.0

SecondsOption = Annotated[
    float, typer.Option(help="How long clients are served while things break, 5 to 3600.")
]
SeedOption = Annotated[
    int | None,
    typer.Option(help="Decides what breaks, when, whom and how long. A random one unless told."),
]
ClientsOption = Annotated[int, typer.Option(help="Connections that work at once.", min=1, max=500)]
RateOption = Annotated[
    float, typer.Option(help="Operations per second of all clients together.", min=1, max=20_000)
]
FaultsOption = Annotated[
    str | None,
    typer.Option(
        help="What may break, such as kill,pause. All unless told: kill, pause, partition, slow "
        "(and lossy links), disk-full, discovery; of a Swarm: kill, pause, partition (as root), "
        "disconnect, discovery."
    ),
]
AttachOption = Annotated[
    bool,
    typer.Option("--attach", help="Break the local cluster that runs, not one made for the run."),
]
SwarmOption = Annotated[
    bool, typer.Option("--swarm", help="Break the Swarm stack: its containers and its network.")
]
FolderOption = Annotated[
    Path | None,
    typer.Option(help="Where the run's own cluster lies; a temporary folder unless told."),
]
KeepOption = Annotated[
    bool, typer.Option("--keep", help="Keep the folder; a run that failed keeps it anyway.")
]
ReportOption = Annotated[
    Path | None, typer.Option(help="Where the report goes; chaos/seed-N.html in the data folder.")
]
HistoryOption = Annotated[
    Path | None,
    typer.Option(help="Where the history goes, as JSON lines; beside the report unless told."),
]
PlanOption = Annotated[
    bool, typer.Option("--plan", help="Print what the seed would break, and break nothing.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration file; else PAXOS_CONFIG, else ./paxos.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]


def chaos(
    seconds: SecondsOption = 60.0,
    seed: SeedOption = None,
    clients: ClientsOption = 8,
    rate: RateOption = 400.0,
    faults: FaultsOption = None,
    attach: AttachOption = False,
    swarm: SwarmOption = False,
    folder: FolderOption = None,
    keep: KeepOption = False,
    report: ReportOption = None,
    history: HistoryOption = None,
    show_plan: PlanOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Break a real cluster under load, and check that clients saw one consistent store.

    By default it makes a cluster of its own, apart from yours, and removes it afterwards. Clients
    read, write, increment, compare and set, and append while nodes are killed and paused, links
    cut, slowed and broken, disks filled. Then everything is healed, everything is read once more,
    and the history is checked for linearizability.

    It ends with 0 when all of it held, 1 when anything did not (or nothing much happened), and
    leaves an HTML report.
    """
    from .chaos_run import Options

    configuration = configuration_module.load(config, os.environ)
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise ConfigurationError(
            f"--seconds {seconds:g}: must be from {SECONDS[0]:g} to {SECONDS[1]:g}"
        )
    if attach and swarm:
        raise ConfigurationError("--attach and --swarm contradict one another; give one of them")
    if not configuration.doors.resp:
        raise ConfigurationError("doors.resp = false: chaos needs the RESP door")
    chosen = secrets.randbelow(1 << 32) if seed is None else seed
    stage = _stage(configuration, attach=attach, swarm=swarm, folder=folder)
    kinds = _kinds(faults, stage)
    words = _command(seconds, chosen, clients, rate, faults, attach=attach, swarm=swarm)
    options = Options(
        seed=chosen,
        seconds=seconds,
        clients=clients,
        rate=rate,
        kinds=kinds,
        command=" ".join(map(shlex.quote, words)),
    )
    if show_plan:
        _print_plan(stage, options, as_json)
        return
    if attach or swarm:
        _ask(stage, options, yes)
    place = configuration.data_folder / "chaos"
    report_file = (report or place / f"seed-{chosen}.html").absolute()
    history_file = (history or report_file.with_suffix(".jsonl")).absolute()
    _writable(report_file)
    _writable(history_file)
    show = Progress(options, quiet=as_json)
    show.line(f"seed {chosen}: {len(kinds)} kinds of faults for {seconds:g} s on {stage.what}")
    record = _perform(stage, options, show, history_file, keep)
    _write_report(record, report_file)
    _tell(record, report_file, as_json)
    if not record.passed:
        raise typer.Exit(1)


# ---------------------------------------------------------------- before


def _stage(
    configuration: Configuration, *, attach: bool, swarm: bool, folder: Path | None
) -> Stage:
    if swarm:
        from .chaos_swarm import SwarmStage

        return SwarmStage(configuration)
    from .chaos_local import LocalStage, OwnStage

    if attach:
        return LocalStage(configuration)
    return OwnStage(configuration, None if folder is None else folder.absolute())


def _kinds(faults: str | None, stage: Stage) -> tuple[str, ...]:
    """Return the kinds of faults that were asked for. Raises ConfigurationError."""
    from .chaos_plan import KINDS

    if faults is None:
        return stage.kinds
    asked = [word.strip() for word in faults.split(",") if word.strip()]
    for word in asked:
        if word not in KINDS:
            raise ConfigurationError(f'--faults "{word}": must be some of {", ".join(KINDS)}')
        if word not in stage.kinds:
            raise ConfigurationError(
                f'--faults "{word}" cannot be done to {stage.what}; there is '
                f"{', '.join(stage.kinds)}"
            )
    if not asked:
        raise ConfigurationError("--faults names nothing: a run without faults proves nothing")
    return tuple(kind for kind in KINDS if kind in asked)


def _command(
    seconds: float,
    seed: int,
    clients: int,
    rate: float,
    faults: str | None,
    *,
    attach: bool,
    swarm: bool,
) -> list[str]:
    """Return the command that does the same again."""
    words = ["paxos", "chaos", "--seed", str(seed), "--seconds", f"{seconds:g}"]
    words += ["--clients", str(clients), "--rate", f"{rate:g}"]
    words += [] if faults is None else ["--faults", faults]
    words += ["--attach"] if attach else []
    return words + (["--swarm"] if swarm else [])


def _ask(stage: Stage, options: Options, yes: bool) -> None:
    """Say what will be done to a cluster that is not the run's own, and ask."""
    text = (
        f"This breaks {stage.what} for {options.seconds:g} s ({', '.join(options.kinds)}) and "
        "heals it again. Programs that use it will see errors. What the run writes to the list "
        "stays; its keys (chaos:...) are deleted."
    )
    print(text, file=sys.stderr)
    if not yes and not typer.confirm("Go on?", err=True):
        raise DefiniteError("nothing was broken")


def _print_plan(stage: Stage, options: Options, as_json: bool) -> None:
    from .chaos_plan import plan

    faults = plan(
        options.seed,
        options.seconds,
        options.kinds,
        stage.configuration.membership(),
        stage.variants,
    )
    if as_json:
        value = {"seed": options.seed, "faults": faults}
        print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
        return
    print(f"seed {options.seed}, {options.seconds:g} s")
    for fault in faults:
        who = ", ".join(fault.targets)
        print(
            f"{fault.at_s:7.2f} s  {fault.lasts_s:5.2f} s  {fault.kind}: {fault.name}"
            + (f" ({who})" if who else "")
        )


def _writable(file: Path) -> None:
    """Make the folder of a file, and see that it can be written. Raises StorageError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab"):
            pass
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror}") from error


# ---------------------------------------------------------------- meanwhile


class Progress:
    """Lines on standard error, and on a terminal one more that changes."""

    def __init__(self, options: Options, quiet: bool) -> None:
        self._options = options
        self._live = sys.stderr.isatty() and not quiet
        self._shown = ""
        self._next_line_s = 0.0
        self._before: tuple[float, int] = (0.0, 0)

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self._clear()
        print(text, file=sys.stderr, flush=True)

    async def follow(self, run: Run) -> None:
        """Show how a run goes until cancelled."""
        try:
            while True:
                await asyncio.sleep(PROGRESS_S)
                if run.started and run.workload is not None:
                    self._show(run)
        finally:
            self._clear()

    def _show(self, run: Run) -> None:
        workload, nemesis = run.workload, run.nemesis
        if workload is None or nemesis is None:
            return
        now_s = run.now_s()
        if not self._live and now_s < self._next_line_s:
            return
        before_s, before = self._before
        rate = (workload.done - before) / max(0.001, now_s - before_s)
        self._before = (now_s, workload.done)
        active = "; ".join(injury.label for injury in nemesis.active) or "no fault"
        text = (
            f"{min(now_s, self._options.seconds):5.1f}/{self._options.seconds:g} s  "
            f"{rate:5.0f} op/s  {workload.done} done, {workload.failed} not  {active}"
        )
        if self._live:
            width = shutil.get_terminal_size().columns
            self._clear()
            self._shown = text[: width - 1]
            print(self._shown, end="", file=sys.stderr, flush=True)
        else:
            self._next_line_s = now_s + PROGRESS_LINE_S
            print(text, file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._shown:
            print("\r" + " " * len(self._shown) + "\r", end="", file=sys.stderr, flush=True)
            self._shown = ""


def _perform(
    stage: Stage, options: Options, show: Progress, history_file: Path, keep: bool
) -> Record:
    """Run it; Ctrl-C and SIGTERM end it cleanly."""
    import uvloop

    from .chaos_run import perform

    async def interruptible() -> Record | None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(
            perform(stage, options, show.line, history_file, keep, show.follow)
        )
        stopped = False

        def stop() -> None:
            nonlocal stopped
            if not stopped:
                stopped = True
                show.line("interrupted: undoing everything")
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            return await task
        except asyncio.CancelledError:
            return None

    try:
        record = uvloop.run(interruptible())
    except ExceptionGroup as group:
        # A task group wraps what one of its tasks raised; what stopped the run is the first.
        raise _first(group) from group
    if record is None:
        show.line("everything was undone")
        raise typer.Exit(INTERRUPTED)
    return record


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """Return the first error inside a group of groups."""
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


# ---------------------------------------------------------------- afterwards


def _write_report(record: Record, file: Path) -> None:
    from .chaos_report import render

    try:
        file.write_text(render(record), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror}") from error


def _tell(record: Record, report: Path, as_json: bool) -> None:
    if as_json:
        value = {**msgspec.to_builtins(record), "report": str(report)}
        print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
        return
    print(summary(record))
    print(f"report   {report}\nhistory  {record.history}")
    if record.kept:
        print(f"also     {record.kept}")
    print(f"again    {record.command}")


def summary(record: Record) -> str:
    """Return what a person wants to know of a run, in some lines."""
    lines = ["", f"{'operation':12} {'ok':>8} {'failed':>8} {'unknown':>8}"]
    for f, outcomes in sorted(record.operations.items()):
        row = (outcomes.get(outcome, 0) for outcome in ("ok", "fail", "info"))
        lines.append(f"{f:12} " + " ".join(f"{count:8}" for count in row))
    injected = ", ".join(f"{count} {kind}" for kind, count in sorted(record.injected.items()))
    lines += ["", f"faults   {injected or 'none'}"]
    lines += [f"         {f.label}: {f.trouble}" for f in record.faults if f.trouble]
    lines.append(f"leaders  {len(record.leads)} ({_leaders(record)})")
    for gap in record.gaps[:5]:
        during = "; ".join(gap.during) or "no fault"
        lines.append(
            f"gap      {gap.lasted_s:6.2f} s without a write at {gap.began_s:.1f} s: {during}"
        )
    if record.served_again_s is not None:
        lines.append(
            f"healed   served again through every door after {record.served_again_s:.2f} s"
        )
    lines.append("")
    for check in record.checks:
        mark = "ok  " if check.passed else "FAIL"
        lines.append(f"{mark} {check.text}" + (f" ({check.detail})" if check.detail else ""))
    lines += [f"     {line}" for line in record.offending]
    verdict = "PASSED" if record.passed else "FAILED"
    lines += ["", f"{verdict}: {record.verdict}, seed {record.seed}", ""]
    return "\n".join(lines)


def _leaders(record: Record) -> str:
    shown = [f"{lead.node} {lead.ballot}" for lead in record.leads[-6:]]
    return ("..., " if len(record.leads) > 6 else "") + ", ".join(shown)
