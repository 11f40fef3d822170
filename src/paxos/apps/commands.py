"""The commands of the command line that people use: what they ask, do and print.

cli.py dispatches here; the work itself is in local.py, readiness.py, monitor.py, scenario.py.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from typer.exceptions import TyperException

from paxos.core.errors import DefiniteError
from paxos.core.types import NodeId, Role

from . import config as configuration_module
from . import local, member, run_file
from .backup import backup
from .bench import bench
from .chaos import chaos
from .check_history import check_history
from .cli import FAILED, WRONG_USAGE, named_node
from .config import Configuration
from .config_keys import example, shown
from .modelcheck import modelcheck
from .readiness import Readiness, wait_until_ready
from .restore import restore
from .simulate import simulate

app = typer.Typer(
    name="paxos",
    help="A strongly consistent key-value store on Multi-Paxos.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration file; else PAXOS_CONFIG, else ./paxos.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
RoleArgument = Annotated[str, typer.Argument(help="proposer, acceptor, learner, client, discovery")]
NumberArgument = Annotated[int | None, typer.Argument(help="Which one; discovery needs none.")]
OptionalRole = Annotated[str | None, typer.Argument(help="One node only: its role.")]


def run(words: Sequence[str]) -> int:
    """Run one command. Returns its exit status; lets PaxosError through."""
    # Typer tells wrong usage to people only; with --json it is told to programs.
    as_json = "--json" in words
    try:
        ended = app(args=list(words), prog_name="paxos", standalone_mode=not as_json)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else FAILED
    except typer.Abort:
        print(
            json.dumps({"error": ["nothing was done: no answer to the question"], "exit": FAILED})
        )
        return FAILED
    except TyperException as error:
        print(json.dumps({"error": str(error).splitlines(), "exit": WRONG_USAGE}))
        return WRONG_USAGE
    return ended if isinstance(ended, int) else 0


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Same as after the command.")] = False,
) -> None:
    """A strongly consistent key-value store on Multi-Paxos."""
    # Only described here: cli.main has taken both off before.


def _load(file: Path | None) -> Configuration:
    return configuration_module.load(file, os.environ)


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print_json(value: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


# ---------------------------------------------------------------- start and stop


@app.command()
def up(
    config: ConfigOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until ready.")] = 30.0,
    as_json: JsonOption = False,
) -> None:
    """Start the cluster as processes on this machine and wait until it is ready."""
    configuration = _load(config)
    for warning in configuration.warnings:
        _progress(f"warning: {warning}")
    _tell_readiness(configuration, local.up(configuration, _progress, timeout), as_json)


@app.command()
def wait(
    config: ConfigOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 30.0,
    as_json: JsonOption = False,
) -> None:
    """Wait until the cluster on this machine is ready, however it was started."""
    configuration = _load(config)
    _tell_readiness(configuration, wait_until_ready(configuration, timeout, _progress), as_json)


def _tell_readiness(configuration: Configuration, readiness: Readiness, as_json: bool) -> None:
    if as_json:
        _print_json(
            {
                "ready": readiness.works,
                "absent": readiness.absent,
                "trouble": readiness.trouble,
                "doors": _doors(configuration),
                "pages": _pages(configuration),
            }
        )
    elif readiness.works:
        print(_what_to_try(configuration, readiness))
    else:
        for node, reason in readiness.absent.items():
            _progress(f"paxos: {node} is not ready: {reason}")
        _progress(f"paxos: the cluster is not ready: {readiness.trouble}")
    if not readiness.works:
        raise typer.Exit(FAILED)


def _doors(configuration: Configuration) -> list[int]:
    gateways = configuration.of(Role.CLIENT) if configuration.doors.resp else ()
    return [configuration.door_port(node) for node in gateways]


def _pages(configuration: Configuration) -> dict[NodeId, str]:
    host = configuration.local_host()
    return {
        node: f"http://{host}:{configuration.page_port(node)}/view-logs"
        for node in configuration.nodes()
    }


def _what_to_try(configuration: Configuration, readiness: Readiness) -> str:
    lines = ["", "The cluster is ready."]
    for node, reason in readiness.absent.items():
        lines.append(f"It works without {node}, which is not ready: {reason}")
    doors = _doors(configuration)
    lines += ["", "Try:"]
    if doors:
        lines += [
            f'  ./client/client_cli.py localhost {doors[0]} write "novo valor"',
            f"  ./client/client_cli.py localhost {doors[-1]} read",
            f"  redis-cli -p {doors[0]} SET key value",
        ]
    lines += [
        "  ./monitor.sh",
        "  ./test-scenario.sh",
        f"  http://localhost:{configuration.page_port(configuration.nodes()[0])}/view-logs",
        "  ./run.sh stop",
    ]
    return "\n".join(lines)


@app.command()
def stop(
    role: OptionalRole = None,
    number: NumberArgument = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop the cluster of local processes, or one node, which then stays down. Data stays."""
    if role is not None:
        node = named_node(role, number)
        local.hold(_load(config), node)
        stopped, text = True, f"{node} is stopped; `paxos start {node}` starts it again"
    else:
        folder = configuration_module.data_folder(config, os.environ)
        run = run_file.read(folder)
        if run is not None and run.mode == "swarm" and not run.stopped:
            raise DefiniteError("this cluster runs in a Swarm; ./run.sh stop stops it")
        stopped = local.stop(folder, _progress)
        text = "stopped; the data stays" if stopped else "nothing was running"
    if as_json:
        _print_json({"stopped": stopped})
    else:
        print(text)


@app.command()
def start(
    role: RoleArgument,
    number: NumberArgument = None,
    config: ConfigOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until ready.")] = 30.0,
    as_json: JsonOption = False,
) -> None:
    """Start one node again that `paxos stop ROLE NUMBER` stopped."""
    configuration = _load(config)
    node = named_node(role, number)
    local.release(configuration, node)
    reason = local.wait_until_node_ready(configuration, node, timeout)
    if as_json:
        _print_json({"node": node, "ready": not reason, "reason": reason})
    else:
        print(f"{node} is {f'started and not ready yet: {reason}' if reason else 'ready'}")
    if reason:
        raise typer.Exit(FAILED)


@app.command()
def reset(config: ConfigOption = None, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Stop the cluster of local processes and delete its data, after asking."""
    configuration = _load(config)
    if not yes:
        question = f"Delete everything the cluster keeps in {configuration.data_folder}?"
        if not typer.confirm(question, err=True):
            raise DefiniteError("nothing was deleted")
    deleted = local.reset(configuration, _progress)
    if as_json:
        _print_json({"deleted": [str(path) for path in deleted]})
    else:
        print(f"deleted {len(deleted)} files and folders in {configuration.data_folder}")


# ---------------------------------------------------------------- look


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every node of the cluster on this machine. Fails when one is not ready."""
    configuration = _load(config)
    run = run_file.read(configuration.data_folder)
    reports = local.status(configuration)
    ready = all(report.ready for report in reports)
    if as_json:
        _print_json({"mode": run.mode if run else "none", "ready": ready, "nodes": reports})
    else:
        rows = [("node", "state", "process", "restarts", "ready", "page", "what")]
        rows += [
            (
                str(report.node),
                report.state,
                "" if report.pid is None else str(report.pid),
                str(report.restarts),
                "yes" if report.ready else "no",
                str(configuration.page_port(report.node)),
                " ".join((report.reason or _summary(report.status)).split()),
            )
            for report in reports
        ]
        _print_rows(rows)
        print(f"pages: http://{configuration.local_host()}:PAGE/view-logs")
    if not ready:
        raise typer.Exit(FAILED)


def _print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns, a line each. On a terminal, the end of one that is too long comes
    below it."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for row in rows:
        head = "  ".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False))
        room = max(20, columns - len(head) - 2)
        text = row[-1]
        if len(text) > 2 * room:
            text = text[: 2 * room - 3] + "..."
        print(f"{head}  {text[:room]}".rstrip())
        if text[room:]:
            print(" " * (len(head) + 2) + text[room:])


def _summary(status: dict[str, Any]) -> str:
    """Return the few words of a role's status that matter most."""
    wanted = ("phase", "ballot", "applied", "leader", "decided")
    return ", ".join(f"{name} {status[name]}" for name in wanted if status.get(name))


@app.command()
def monitor(
    config: ConfigOption = None,
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.")] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Watch every node of the cluster live: roles, leader, slots, rates, who is down."""
    from .monitor import monitor as show

    configuration = _load(config)
    host = configuration.local_host()
    nodes = [(str(node), host, configuration.page_port(node)) for node in configuration.nodes()]
    raise typer.Exit(show(nodes, once=once, json_output=as_json, interval_s=interval))


@app.command()
def scenario(
    config: ConfigOption = None,
    mode: Annotated[
        str | None, typer.Option(help="local or swarm; else as the cluster was started.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Demonstrate the running cluster: write, read, kill nodes of each role, check every step."""
    from .scenario import run_scenario

    raise typer.Exit(run_scenario(_load(config), mode=mode, json_output=as_json))


@app.command()
def config(
    config: ConfigOption = None,
    show_example: Annotated[
        bool, typer.Option("--example", help="Print an example file with every key.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the configuration and print it as it is in force."""
    if show_example:
        print(example(), end="")
        return
    configuration = _load(config)
    if as_json:
        _print_json({**configuration.plain(), "warnings": configuration.warnings})
        return
    print(f"# from {configuration.source or 'defaults'} and the environment")
    for section, keys in configuration.plain().items():
        print(f"\n[{section}]")
        for name, value in keys.items():
            if value is not None:
                print(f"{name} = {shown(value)}")
    for warning in configuration.warnings:
        _progress(f"warning: {warning}")


@app.command(hidden=True)
def mode(
    config: ConfigOption = None,
    swarm: Annotated[bool, typer.Option("--set-swarm", help="Remember a Swarm.")] = False,
    stopped: Annotated[bool, typer.Option("--set-stopped", help="It has been stopped.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check all of the configuration.")] = False,
) -> None:
    """Print how the cluster was started: local, swarm, swarm-stopped or none. For run.sh."""
    if check:
        _load(config)
    folder = configuration_module.data_folder(config, os.environ)
    if swarm:
        local.make_data_folder(folder)
        run_file.write(folder, run_file.Run(mode="swarm"))
    found = run_file.read(folder)
    if stopped and found is not None:
        found.stopped = True
        run_file.write(folder, found)
    suffix = "-stopped" if found and found.stopped else ""
    print(f"{found.mode}{suffix}" if found else "none")


# ---------------------------------------------------------------- be a node


@app.command()
def node(role: RoleArgument, number: NumberArgument = None, config: ConfigOption = None) -> None:
    """Be one node of the cluster until told to stop: `paxos node acceptor 2`."""
    _again("node", role, number, config, as_json=False)


@app.command()
def health(
    role: RoleArgument,
    number: NumberArgument = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask one node on this machine whether it is healthy."""
    _again("health", role, number, config, as_json)


def _again(command: str, role: str, number: int | None, config: Path | None, as_json: bool) -> None:
    """Hand a command that typer has only described back to cli.main, which does it."""
    from .cli import main

    words = [command, role]
    words += [] if number is None else [str(number)]
    words += [] if config is None else ["--config", str(config)]
    words += ["--json"] if as_json else []
    raise typer.Exit(main(words))


# ---------------------------------------------------------------- tools of their own

app.add_typer(member.app, name="member")


app.command()(backup)


app.command()(restore)


app.command()(chaos)


app.command("check-history")(check_history)


app.command()(simulate)


app.command()(modelcheck)


app.command()(bench)
