"""`paxos modelcheck`: every interleaving of the real roles in small worlds.

Exit status: 0 every world was looked at whole and no rule was broken, 1 a rule was broken, or
nothing was ever chosen in a world, which then proves nothing, 3 a search was stopped at a bound
before it was complete.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from .cli import DONE, FAILED, UNKNOWN_OUTCOME

if TYPE_CHECKING:
    from paxos.sim.modelcheck import Bounds, Explorer, Progress, Result

INTERRUPTED = 130
PROGRESS_S = 1.0


def modelcheck(
    worlds: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORLD]...", help="Worlds by name; all of them by default."),
    ] = None,
    list_worlds: Annotated[
        bool, typer.Option("--list", help="Tell the worlds and their bounds, and end.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only the worlds that take a few seconds.")
    ] = False,
    states: Annotated[
        int | None,
        typer.Option(min=1, metavar="MAX", help="Stop a world at so many distinct states."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value.")] = False,
) -> None:
    """Run the real roles through everything that can happen in small worlds.

    Two proposers, three acceptors and a learner; messages are lost, doubled and reordered at will,
    nodes crash and start again. Ends with 0 when every world was looked at whole and no rule was
    broken; with 1 when one was: then it prints a shortest history that breaks it, step by step and
    as a ladder diagram; with 3 when a world was stopped at --states.
    """
    # Imported here: no other command needs the model checker.
    from paxos.sim.modelcheck import WORLDS, Explorer, world_named

    chosen = [world_named(name) for name in dict.fromkeys(worlds or ())] or [
        bounds for bounds in WORLDS if bounds.quick or not quick
    ]
    if list_worlds:
        _tell_worlds(chosen, as_json)
        return
    reports: list[dict[str, Any]] = []
    status = DONE
    for bounds in chosen:
        explorer = Explorer(bounds)
        try:
            report, ended = _search(explorer, states, as_json)
        except KeyboardInterrupt:
            print(f"\npaxos: interrupted in world {bounds.name}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        reports.append(report)
        status = FAILED if FAILED in (status, ended) else max(status, ended)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode({"worlds": reports}), indent=2).decode())
    elif len(reports) > 1:
        _tell_total(reports)
    if status != DONE:
        raise typer.Exit(status)


def _tell_worlds(chosen: list[Bounds], as_json: bool) -> None:
    if as_json:
        rows = [{"world": b.name, "about": b.about, "quick": b.quick} for b in chosen]
        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
        return
    width = max(len(bounds.name) for bounds in chosen)
    for bounds in chosen:
        print(f"{bounds.name.ljust(width)}  {bounds.about}{' (quick)' if bounds.quick else ''}")


def _search(
    explorer: Explorer, states_max: int | None, as_json: bool
) -> tuple[dict[str, Any], int]:
    """Search one world and tell about it. Returns what --json tells, and the exit status."""
    from paxos.sim.modelcheck import ladder_lines, step_lines, told

    begun = time.monotonic()
    result = explorer.run(states_max, _Progress(explorer.bounds.name, begun))
    seconds = time.monotonic() - begun
    report = _report(result, seconds)
    status = DONE if result.complete else UNKNOWN_OUTCOME
    if result.idle:
        status = FAILED
    if not as_json:
        print(_summary(explorer.bounds, result, seconds), flush=True)
    if result.violation is not None:
        status = FAILED
        story = told(explorer.nodes, result.violation)
        steps, ladder = step_lines(story), ladder_lines(story, explorer.nodes.names)
        report["violation"] = {
            "what": result.violation.what,
            "length": result.violation.steps,
            "confirmed": story.confirmed,
            "steps": steps,
            "ladder": ladder,
        }
        if not as_json:
            _tell_violation(result, steps, ladder, story.confirmed)
    return report, status


class _Progress:
    """Tells how far a search is, once a second."""

    def __init__(self, world: str, begun: float) -> None:
        self._world, self._begun, self._told = world, begun, begun

    def __call__(self, progress: Progress) -> None:
        """Tell it, if it is time."""
        now = time.monotonic()
        if now - self._told < PROGRESS_S:
            return
        self._told = now
        rate = progress.states / (now - self._begun)
        text = (
            f"{self._world}: {progress.states} states, depth {progress.depth}, "
            f"{progress.waiting} waiting, {rate:.0f} states/s"
        )
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _report(result: Result, seconds: float) -> dict[str, Any]:
    return {
        "world": result.world,
        "states": result.states,
        "moves": result.moves,
        "depth": result.depth,
        "seconds": round(seconds, 2),
        "states_per_second": round(result.states / seconds) if seconds else 0,
        "complete": result.complete,
        "idle": result.idle,
        "role_runs": result.runs,
        "feats": result.feats,
        "violation": None,
    }


def _summary(bounds: Bounds, result: Result, seconds: float) -> str:
    """Return one world's outcome in a few lines."""
    clear = "\r\033[K" if sys.stderr.isatty() and sys.stdout.isatty() else ""
    if result.violation is not None:
        verdict = "VIOLATION"
    elif result.idle:
        verdict = "IDLE: nothing is ever chosen, which proves nothing"
    elif result.complete:
        verdict = "complete, no violation"
    else:
        verdict = "stopped at the bound, no violation so far"
    rate = result.states / seconds if seconds else 0.0
    feats = "; ".join(f"{what}: {count}" for what, count in result.feats.items())
    return (
        f"{clear}{result.world}: {verdict}\n"
        f"  {bounds.about}\n"
        f"  {result.states} distinct states, {result.moves} moves, depth {result.depth}, "
        f"{seconds:.1f} s, {rate:.0f} states/s\n"
        f"  states in which {feats}"
    )


def _tell_violation(result: Result, steps: list[str], ladder: list[str], confirmed: bool) -> None:
    violation = result.violation
    if violation is None:
        return
    print(f"\n  {violation.what}\n")
    print(f"  A shortest history that ends so, in {violation.steps} steps:\n")
    print("\n".join(f"  {line}" for line in steps))
    print("\n  The same as a ladder: an arrow is drawn where a message arrives.\n")
    print("\n".join(f"  {line}" for line in ladder))
    if not confirmed:
        print(
            "\n  Played again without renaming acceptors, it did not end so: the code under test"
            "\n  treats acceptors unlike one another."
        )
    print()


def _tell_total(reports: list[dict[str, Any]]) -> None:
    states = sum(report["states"] for report in reports)
    seconds = round(sum(report["seconds"] for report in reports), 1)
    broken = [report["world"] for report in reports if report["violation"] is not None]
    partial = [report["world"] for report in reports if not report["complete"]]
    idle = [report["world"] for report in reports if report["idle"]]
    if broken:
        verdict = f"rules broken in {', '.join(broken)}"
    elif idle:
        verdict = f"nothing is ever chosen in {', '.join(idle)}"
    elif partial:
        verdict = f"not complete: {', '.join(partial)}"
    else:
        verdict = "all complete, no violation"
    print(f"{len(reports)} worlds, {states} distinct states, {seconds} s: {verdict}")
