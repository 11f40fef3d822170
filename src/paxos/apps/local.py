"""A cluster of local processes: up, stop, hold and release one node, reset, status.

These are what the command line calls. Each raises ConfigurationError, StorageError or
DefiniteError before it has changed anything when it cannot do what it is asked.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import msgspec

from paxos.core.errors import ConfigurationError, DefiniteError, StorageError
from paxos.core.types import NodeId

from . import asking, layout, processes, run_file, supervisor
from .config import Configuration
from .readiness import Readiness, Report, absence, wait_until_ready
from .run_file import Run

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = len(supervisor.STOP_ORDER) * 2 * supervisor.GRACE_S + 5.0
_NODE_NAME = re.compile(r"discovery|(proposer|acceptor|learner|client)-[1-9]\d?")
ASIDE = "aside"
"""The folder in the data folder where the volumes are that were replaced."""

Launcher: TypeAlias = Callable[[Configuration, Path], int]
"""Starts a detached supervisor whose output goes to a file; returns its pid."""


class NodeReport(msgspec.Struct, kw_only=True):
    """One node, as `paxos status` shows it."""

    node: NodeId
    pid: int | None
    state: str
    """running, waiting, held, dead, or unknown when no local supervisor told."""
    restarts: int
    pages: str
    ready: bool
    reason: str
    status: dict[str, object]
    """What the role itself says; empty when it does not answer."""


def launch(configuration: Configuration, output: Path) -> int:
    """Start the real supervisor as a process of its own, in a session of its own."""
    arguments = [sys.executable, "-m", "paxos.apps.supervisor"]
    if configuration.source is not None:
        arguments += ["--config", str(configuration.source)]
    return spawn_detached(arguments, output)


def spawn_detached(arguments: list[str], output: Path) -> int:
    """Start a program that outlives this one; its output is appended to a file. Returns its pid."""
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        arguments[0],
        arguments,
        dict(os.environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(output), appending, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


# ---------------------------------------------------------------- up


def up(
    configuration: Configuration,
    report: Report,
    timeout_s: float = READY_TIMEOUT_S,
    launcher: Launcher = launch,
) -> Readiness:
    """Start what is not running, and wait until the cluster is ready.

    Everything that can be found wrong beforehand is: raises StorageError for the data folder,
    ConfigurationError for addresses that this machine does not know, DefiniteError for ports that
    are taken and for a cluster that runs with other settings.
    """
    make_data_folder(configuration.data_folder)
    release_all(configuration)
    if is_supervised(configuration):
        run = run_file.read(configuration.data_folder)
        _refuse_other_settings(configuration, run)
        report(f"already running in {configuration.data_folder}")
        if run is not None:
            processes.send(run.supervisor_process, signal.SIGHUP)
        return wait_until_ready(configuration, timeout_s, report)
    run = run_file.read(configuration.data_folder)
    living = run.living() if run is not None else {}
    if run is not None:
        # Those that were killed a moment ago may still have their ports.
        ending = [one.process for node, one in run.nodes.items() if node not in living]
        processes.wait_until_gone(ending, supervisor.GRACE_S)
    if living:
        _refuse_other_settings(configuration, run)
        report(f"{len(living)} nodes are still running without their supervisor: taken over")
    check_addresses(configuration)
    check_ports(configuration, except_of=set(living))
    make_secret(configuration)
    supervisor.log_folder(configuration).mkdir(exist_ok=True)
    output = supervisor.log_folder(configuration) / "supervisor.log"
    supervisor.bound_log(output, supervisor.LOG_BYTES_MAX)
    report(f"starting {len(configuration.nodes()) - len(living)} nodes")
    started = processes.process(launcher(configuration, output))
    _wait_until_named(configuration, started, timeout_s)

    def gave_up() -> str:
        # A child that ended stays a zombie, which does not count as living. Another `paxos up`
        # at the same moment may have been quicker; then its supervisor is as good as ours.
        if started.lives or is_supervised(configuration):
            return ""
        return f"the supervisor ended: {last_line(output)}"

    return wait_until_ready(configuration, timeout_s, report, gave_up)


def _wait_until_named(
    configuration: Configuration, started: processes.Process, timeout_s: float
) -> None:
    """Wait until run.json names a living supervisor, or the one that was started has ended.

    Nodes that were taken over are ready all the time; without this a `stop` right after `up` would
    read of the old supervisor, stop the nodes itself, and the new supervisor start them again.
    """
    deadline = time.monotonic() + timeout_s
    while started.lives and time.monotonic() < deadline:
        run = run_file.read(configuration.data_folder)
        if run is not None and run.supervisor_process.lives:
            return
        time.sleep(0.01)


def make_data_folder(folder: Path) -> None:
    """Make the data folder and prove that it can be written. Raises StorageError."""
    probe = folder / f".writable.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise StorageError(
            f'data.folder = "{folder}" cannot be written ({error.strerror}): must be a folder '
            "that this user may write, or one that can be made"
        ) from error


def check_addresses(configuration: Configuration) -> None:
    """Raise ConfigurationError that names what cannot be resolved or listened on."""
    mistakes = []
    bind = configuration.network.bind
    if trouble := processes.bind_trouble(bind):
        mistakes.append(f'network.bind = "{bind}": nobody can listen there: {trouble}')
    for host in dict.fromkeys(configuration.host(node) for node in configuration.nodes()):
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            mistakes.append(f'network.host: "{host}" cannot be resolved here: {reason}')
    if mistakes:
        raise ConfigurationError("\n".join(mistakes))


def check_ports(configuration: Configuration, except_of: set[NodeId]) -> None:
    """Raise DefiniteError that names every port which is taken, and by whom."""
    taken = []
    for node in configuration.nodes():
        for port in configuration.ports(node) if node not in except_of else ():
            trouble = processes.port_trouble(configuration.network.bind, port)
            if trouble:
                taken.append(f"port {port}, which {node} needs, {trouble}")
    if taken:
        raise DefiniteError(
            "\n".join([*taken, "free them, or move all ports, such as network.port_offset = 1000"])
        )


def make_secret(configuration: Configuration) -> None:
    """Make the cluster's secret, readable to this user alone, unless there is one.

    Raises ConfigurationError when a secret file that the configuration names is no good.
    """
    path = configuration.security.secret_file
    if configuration.security.secret_is_ours and not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    configuration.secret()


def _refuse_other_settings(configuration: Configuration, run: Run | None) -> None:
    if run is not None and run.fingerprint and run.fingerprint != configuration.fingerprint():
        raise DefiniteError(
            f"the cluster in {configuration.data_folder} runs with other settings than these; "
            "stop it first (paxos stop), then start it again"
        )


def is_supervised(configuration: Configuration) -> bool:
    """Tell whether a supervisor holds the data folder's lock."""
    if not (configuration.data_folder / supervisor.LOCK).exists():
        return False
    held = supervisor.lock(configuration.data_folder)
    if held is None:
        return True
    held.close()
    return False


def last_line(file: Path) -> str:
    """Return the last line of a log, for an error message."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "it left no log"
    return lines[-1] if lines else "its log is empty"


# ---------------------------------------------------------------- stop, hold, release, reset


def stop(data_folder: Path, report: Report) -> bool:
    """Stop the whole cluster; data stays. False when nothing was running.

    Raises DefiniteError when the supervisor does not end in time.
    """
    run = run_file.read(data_folder)
    if run is None:
        return False
    if run.supervisor_process.lives:
        report("stopping: client nodes first, then proposers, learners, acceptors, discovery")
        processes.send(run.supervisor_process, signal.SIGTERM)
        if processes.wait_until_gone([run.supervisor_process], STOP_TIMEOUT_S):
            raise DefiniteError(
                f"the supervisor, process {run.supervisor}, has not ended in {STOP_TIMEOUT_S:.0f} s"
            )
        return True
    living = {node: one.process for node, one in run.living().items()}
    if living:
        report(f"stopping {len(living)} nodes that ran without their supervisor")
        supervisor.stop_in_order(living)
    if run.mode == "local":
        run_file.remove(data_folder)
    return bool(living)


def hold(configuration: Configuration, node: NodeId) -> None:
    """Stop one node and keep it down until `release` or the next `up`.

    Raises ConfigurationError for an unknown node, DefiniteError when no cluster runs here.
    """
    configuration.require(node)
    running(configuration)
    folder = supervisor.held_folder(configuration)
    folder.mkdir(exist_ok=True)
    (folder / node).touch()
    # Read after the file is there: the supervisor cannot start it anew any more.
    run = running(configuration)
    if node in run.nodes:
        processes.end([run.nodes[node].process], supervisor.GRACE_S)


def release(configuration: Configuration, node: NodeId) -> None:
    """Start a held node again. Raises as `hold` does."""
    configuration.require(node)
    run = running(configuration)
    (supervisor.held_folder(configuration) / node).unlink(missing_ok=True)
    processes.send(run.supervisor_process, signal.SIGHUP)


def release_all(configuration: Configuration) -> None:
    """Let every held node start again with the next look of the supervisor."""
    folder = supervisor.held_folder(configuration)
    if folder.is_dir():
        shutil.rmtree(folder)


def rearrange(configuration: Configuration, newer: layout.Layout) -> Configuration:
    """Write a layout and have the supervisor heed it; return the configuration with it.

    Raises StorageError, and DefiniteError when no cluster runs here.
    """
    run = running(configuration)
    layout.write(configuration.data_folder, newer)
    processes.send(run.supervisor_process, signal.SIGHUP)
    return configuration.with_layout(newer)


def running(configuration: Configuration) -> Run:
    """Return which processes the cluster is. Raises DefiniteError when none runs here."""
    run = run_file.read(configuration.data_folder)
    if run is None or not run.supervisor_process.lives:
        raise DefiniteError(
            f"no cluster of local processes runs in {configuration.data_folder}; start it with "
            "`paxos up`"
        )
    return run


def reset(configuration: Configuration, report: Report) -> list[Path]:
    """Stop the cluster and delete its data. Returns what was deleted.

    Only what this program made is deleted; a folder with other files in it stays.
    """
    folder = configuration.data_folder
    stop(folder, report)
    deleted = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if _NODE_NAME.fullmatch(path.name) or path.name in (
            "logs",
            "held",
            "cluster.secret",
            ASIDE,
            "member.lock",
            layout.NAME,
            run_file.NAME,
            supervisor.LOCK,
        ):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            deleted.append(path)
    return deleted


# ---------------------------------------------------------------- status


def status(configuration: Configuration) -> list[NodeReport]:
    """Ask every node how it is; those that do not answer are reported as well."""
    run = run_file.read(configuration.data_folder)
    reports = []
    for node in configuration.nodes():
        port = configuration.page_port(node)
        host = configuration.local_host()
        answer = asking.page(host, port, "/state")
        content = answer.content if isinstance(answer.content, dict) else {}
        one = run.nodes.get(node) if run is not None else None
        state = "unknown"
        if one is not None:
            state = one.state if one.process.lives or one.state != "running" else "dead"
        reports.append(
            NodeReport(
                node=node,
                pid=one.pid if one is not None and one.process.lives else content.get("pid"),
                state=state,
                restarts=one.restarts if one is not None else 0,
                pages=f"http://{host}:{port}/view-logs",
                ready=bool(content.get("ready")),
                reason=str(content.get("reason") or "") if content else absence(answer),
                status=content.get("status", {}),
            )
        )
    return reports


def wait_until_node_ready(configuration: Configuration, node: NodeId, timeout_s: float) -> str:
    """Wait until one node is ready. Returns why it is not when `timeout_s` is over first, or
    nothing."""
    deadline = time.monotonic() + timeout_s
    host, port = configuration.local_host(), configuration.page_port(node)
    while (answer := asking.page(host, port, "/readyz")).status != 200:
        if time.monotonic() > deadline:
            return absence(answer)
        time.sleep(0.05)
    return ""
