"""The local supervisor: one process that keeps the nodes of a cluster on this machine running.

It forks each node from itself: what the nodes import is loaded once and its memory shared. On two
cores, eleven nodes are ready after 1.0 s and use 122 MB together; as eleven programs of their own
it was 2.4 s and 274 MB. For that reason it has no thread and no event loop of its own, and does
nothing but wait for nodes to end, start them again after a pause that grows, keep their logs from
growing past a bound, and look whether they have the processors to themselves (turns.py).

It is not part of the store. Killed (`kill -9`), it leaves the nodes running, as an engine that
is restarted leaves containers running; the next `paxos up` starts another one, which takes the
living nodes over (waiting on them by pidfd) and starts the missing ones.

A node that is to stay down has a file of its name in `held/`; `local.hold` puts it there and
`local.release` takes it away and sends SIGHUP here. The same signal has layout.json read again:
nodes that were added to it are started, those that were removed are ended.
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import gc
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeAlias

from paxos.core.errors import ConfigurationError, PaxosError
from paxos.core.types import NodeId, Role, role_of

from . import config as configuration_module
from . import layout, processes, run_file
from .config import Configuration
from .processes import Process
from .run_file import NodeRun, Run
from .turns import Turns

NodeMain: TypeAlias = Callable[[Configuration, NodeId], int]
"""What a node's process runs; returns its exit status."""

LOCK = "run.lock"
LOCK_TIMEOUT_S = 1.0
RESTART_FIRST_S = 0.3
RESTART_LAST_S = 5.0
STEADY_S = 10.0
"""A node that lived this long is started at once again, with the shortest pause."""
REFUSED_STATUS = 78
"""EX_CONFIG: the node says that it cannot run as things are; starting it again soon is noise."""
REFUSED_RESTART_S = 30.0
GRACE_S = 5.0
"""What each role has to end by itself before it is killed."""
STOP_ORDER = (Role.CLIENT, Role.PROPOSER, Role.LEARNER, Role.ACCEPTOR, Role.DISCOVERY)
"""Those that take requests first, those that remember last."""
LOG_BYTES_MAX = 8 * 1024 * 1024
"""A node's log is moved to NAME.log.1 at this size: at most twice as much is kept."""
LOOK_S = 2.0
"""How often the logs and the processors are looked at."""


class _Child:
    """One node: its process now, and when it is due again when it has none."""

    def __init__(self, node: NodeId) -> None:
        self.node = node
        self.process: Process | None = None
        self.descriptor = -1
        self.ours = True
        """Forked by this supervisor, so that its exit status can be asked for."""
        self.started_at_s = 0.0
        self.pause_s = RESTART_FIRST_S
        self.due_at_s: float | None = None
        self.restarts = 0
        self.leaving_until_s: float | None = None
        """When it is killed, having been removed from the layout; it is not started again."""
        self.last = Process(0, -1)
        self.exit = ""


def stop_in_order(nodes: dict[NodeId, Process], grace_s: float = GRACE_S) -> list[Process]:
    """End nodes role by role, gateways first and discovery last. Returns those killed."""
    killed = []
    for role in STOP_ORDER:
        members = [process for node, process in nodes.items() if role_of(node) is role]
        killed += processes.end(members, grace_s)
    return killed


def held_folder(configuration: Configuration) -> Path:
    """Return the folder whose files name the nodes that are to stay down."""
    return configuration.data_folder / "held"


def log_folder(configuration: Configuration) -> Path:
    """Return the folder of the nodes' logs."""
    return configuration.data_folder / "logs"


def lock(data_folder: Path) -> IO[bytes] | None:
    """Take the lock that says "this data folder has a supervisor"; None when another has it.

    The kernel gives it back when the process ends, however it ends. Forked nodes do not
    inherit it (POSIX locks belong to one process).
    """
    file = (data_folder / LOCK).open("ab")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


class Supervisor:
    """Keeps the nodes of one cluster running. One use: `run`."""

    def __init__(self, configuration: Configuration, node_main: NodeMain) -> None:
        self._configuration = configuration
        self._node_main = node_main
        self._children = {node: _Child(node) for node in configuration.nodes()}
        self._by_descriptor: dict[int, _Child] = {}
        self._poll = select.poll()
        self._stopping = False
        self._look_again = False
        self._turns = Turns()
        self._looked_at_s = -LOOK_S
        self._started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Start every node and keep it running until SIGTERM or SIGINT. Returns 0."""
        self._listen_to_signals()
        self._poll.register(self._wake_read, select.POLLIN)
        log_folder(self._configuration).mkdir(parents=True, exist_ok=True)
        self._adopt()
        # Objects that live now are left alone by later collections, so that their pages stay
        # shared between the nodes.
        gc.collect()
        gc.freeze()
        for child in self._children.values():
            if child.process is None and not self._held(child.node):
                self._start(child)
        self._write_run_file()
        while not self._stopping:
            self._wait()
            self._heed_layout()
            self._restart_due()
            self._look()
        self._stop_all()
        return 0

    # ------------------------------------------------------------ signals

    def _listen_to_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_look_again)

    def _on_stop(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _on_look_again(self, _number: int, _frame: object) -> None:
        self._look_again = True

    def _heed_layout(self) -> None:
        """After SIGHUP: let every node that is down try again, take new ones in, end old ones."""
        now = time.monotonic()
        for child in list(self._children.values()):
            if child.leaving_until_s is not None and now >= child.leaving_until_s:
                processes.send(child.last, signal.SIGKILL)
        if not self._look_again:
            return
        self._look_again = False
        try:
            newer = layout.read(self._configuration.data_folder)
        except ConfigurationError as error:
            _say(f"the layout stays as it was: {error}")
        else:
            self._configuration = self._configuration.with_layout(newer)
            self._take_in_and_end(now)
        for child in self._children.values():
            if child.process is None:
                child.due_at_s = now
                child.pause_s = RESTART_FIRST_S

    def _take_in_and_end(self, now: float) -> None:
        """Make the nodes that are kept running those of the configuration."""
        wanted = self._configuration.nodes()
        for node in wanted:
            child = self._children.setdefault(node, _Child(node))
            if child.leaving_until_s is not None:
                # It was removed and has come back before it had ended: it starts again then.
                child.leaving_until_s = None
        for node, child in list(self._children.items()):
            if node in wanted:
                continue
            if child.process is None:
                del self._children[node]
            elif child.leaving_until_s is None:
                _say(f"{node} is removed: ending it")
                child.leaving_until_s = now + GRACE_S
                processes.send(child.process, signal.SIGTERM)
        self._write_run_file()

    # ------------------------------------------------------------ waiting

    def _wait(self) -> None:
        now = time.monotonic()
        children = self._children.values()
        due = [child.due_at_s for child in children if child.due_at_s is not None]
        due += [child.leaving_until_s for child in children if child.leaving_until_s is not None]
        until_s = min([now + LOOK_S, *due])
        for descriptor, _ in self._poll.poll(max(0.0, until_s - now) * 1000):
            if descriptor == self._wake_read:
                os.read(self._wake_read, 4096)
            else:
                self._on_end(self._by_descriptor[descriptor])

    def _on_end(self, child: _Child) -> None:
        """A node's process has ended: remember how, and when to start it again."""
        child.exit = _ending(child.last.pid) if child.ours else "not our child: unknown"
        self._forget_process(child)
        if child.leaving_until_s is not None:
            del self._children[child.node]
            _say(f"{child.node} ended ({child.exit}), removed")
            self._write_run_file()
            return
        now = time.monotonic()
        if now - child.started_at_s >= STEADY_S:
            child.pause_s = RESTART_FIRST_S
        pause_s = child.pause_s
        child.pause_s = min(child.pause_s * 2, RESTART_LAST_S)
        if child.exit == f"status {REFUSED_STATUS}":
            pause_s = REFUSED_RESTART_S
        child.due_at_s = now + pause_s
        if self._held(child.node):
            child.due_at_s = None
        then = "held" if child.due_at_s is None else f"again in {pause_s:.1f} s"
        _say(f"{child.node} ended ({child.exit}), {then}")
        self._write_run_file()

    def _restart_due(self) -> None:
        now = time.monotonic()
        changed = False
        for child in self._children.values():
            if child.process is not None or child.due_at_s is None or child.due_at_s > now:
                continue
            child.due_at_s = None
            if self._stopping or self._held(child.node):
                continue
            if child.exit:
                child.restarts += 1
            self._start(child)
            changed = True
        if changed:
            self._write_run_file()

    def _held(self, node: NodeId) -> bool:
        return (held_folder(self._configuration) / node).exists()

    # ------------------------------------------------------------ processes

    def _adopt(self) -> None:
        """Take over nodes that an earlier supervisor left running."""
        earlier = run_file.read(self._configuration.data_folder)
        if earlier is None:
            return
        for node, run in earlier.living().items():
            if node in self._children:
                child = self._children[node]
                try:
                    self._watch(child, run.process)
                except ProcessLookupError:
                    continue
                self._turns.apply(run.pid)
                child.ours = False
                child.restarts = run.restarts
                _say(f"{node} goes on as process {run.pid}")

    def _start(self, child: _Child) -> None:
        """Fork a node. The child never returns from here."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os._exit(self._be(child.node))
        child.ours = True
        self._watch(child, processes.process(pid))

    def _watch(self, child: _Child, process: Process) -> None:
        child.descriptor = os.pidfd_open(process.pid)
        child.process = child.last = process
        child.started_at_s = time.monotonic()
        self._by_descriptor[child.descriptor] = child
        self._poll.register(child.descriptor, select.POLLIN)

    def _forget_process(self, child: _Child) -> None:
        self._poll.unregister(child.descriptor)
        del self._by_descriptor[child.descriptor]
        os.close(child.descriptor)
        child.process = None

    def _be(self, node: NodeId) -> int:
        """In the forked child: become the node, and return its exit status."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        for descriptor in (self._wake_read, self._wake_write, *self._by_descriptor):
            os.close(descriptor)
        log = os.open(
            log_folder(self._configuration) / f"{node}.log",
            os.O_WRONLY | os.O_CREAT | os.O_APPEND,
            0o644,
        )
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        processes.name_this_process(f"paxos node {node.replace('-', ' ')}")
        self._turns.apply(0)
        status = 1
        try:
            status = self._node_main(self._configuration, node)
        except SystemExit as ending:
            status = ending.code if isinstance(ending.code, int) else 1
        except BaseException:
            # The outermost place of the node's process: say why it ends, wherever it came from.
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return status

    def _stop_all(self) -> None:
        _say("stopping")
        living = {
            child.node: child.process
            for child in self._children.values()
            if child.process is not None
        }
        for process in stop_in_order(living):
            _say(f"process {process.pid} had to be killed")
        run_file.remove(self._configuration.data_folder)
        _say("stopped")

    # ------------------------------------------------------------ looking

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at_s < LOOK_S:
            return  # woken by something else; a share of few milliseconds says nothing
        self._looked_at_s = now
        for child in self._children.values():
            bound_log(log_folder(self._configuration) / f"{child.node}.log", LOG_BYTES_MAX)
        children = self._children.values()
        pids = [child.process.pid for child in children if child.process is not None]
        if self._turns.look(pids):
            crowded = self._turns.crowded
            _say("other programs " + ("use all processors" if crowded else "leave room again"))

    # ------------------------------------------------------------ files

    def _write_run_file(self) -> None:
        me = processes.process(os.getpid())
        configuration = self._configuration
        run_file.write(
            configuration.data_folder,
            Run(
                mode="local",
                started=self._started,
                supervisor=me.pid,
                supervisor_started=me.started,
                config=None if configuration.source is None else str(configuration.source),
                fingerprint=configuration.fingerprint(),
                nodes={node: self._node_run(child) for node, child in self._children.items()},
            ),
        )

    def _node_run(self, child: _Child) -> NodeRun:
        state = "running"
        if child.process is None:
            state = "held" if self._held(child.node) else "waiting"
        client = role_of(child.node) is Role.CLIENT and self._configuration.doors.resp
        return NodeRun(
            pid=child.last.pid,
            started=child.last.started,
            page_port=self._configuration.page_port(child.node),
            peer_port=self._configuration.address(child.node)[1],
            door_port=self._configuration.door_port(child.node) if client else None,
            state=state,
            restarts=child.restarts,
            exit=child.exit,
        )


def bound_log(file: Path, bytes_max: int) -> None:
    """Move a log that has grown past `bytes_max` to NAME.1, while its writer keeps it open.

    The writer appends, so emptying the file is safe; lines written during the move are lost.
    """
    try:
        if file.stat().st_size <= bytes_max:
            return
    except FileNotFoundError:
        return
    older = file.with_name(file.name + ".1")
    draft = file.with_name(file.name + ".moving")
    draft.write_bytes(file.read_bytes())
    draft.replace(older)
    os.truncate(file, 0)


def _ending(pid: int) -> str:
    """Return how a child of ours ended, and let the kernel forget it."""
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"status {os.WEXITSTATUS(status)}"


def _say(text: str) -> None:
    stamp = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    print(f"{stamp} supervisor: {text}", flush=True)


def supervise(configuration: Configuration, node_main: NodeMain) -> int:
    """Be the supervisor of a data folder until told to stop. 1 when it already has one."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while (held := lock(configuration.data_folder)) is None and time.monotonic() < deadline:
        # Whoever only looks whether there is a supervisor has the lock for a moment as well.
        time.sleep(0.02)
    if held is None:
        _say(f"{configuration.data_folder} already has a supervisor")
        return 1
    with held:
        return Supervisor(configuration, node_main).run()


def main() -> int:
    """Entry point of the detached process that `paxos up` starts."""
    parser = argparse.ArgumentParser(prog="paxos supervisor")
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    try:
        configuration = configuration_module.load(arguments.config, os.environ)
    except ConfigurationError as error:
        _say(str(error))
        return REFUSED_STATUS
    # Imported here, so that the nodes share what it loads, and nothing else pays for it.
    from .node import run_node

    try:
        return supervise(configuration, run_node)
    except (PaxosError, OSError) as error:
        _say(f"cannot go on: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
