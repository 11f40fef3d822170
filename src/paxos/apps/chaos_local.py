"""A cluster of local processes under chaos: one made for the run, or the one that runs.

The run's own cluster lies in a folder of its own, on ports that were free, with every link through
the proxy and a memory disk under each acceptor that the plan will fill; nothing of the user's is
touched, and nothing is left of it. A cluster that runs already is broken by signals and file size
limits alone: its links do not pass a proxy and its volumes stay where they are.

The supervisor starts again what dies; a node that is to stay down for a while has a file in `held/`
meanwhile (see supervisor.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hiredis

from paxos.core.errors import DefiniteError, StorageError
from paxos.core.types import NodeId

from . import chaos_disk, local, processes, run_file, supervisor
from . import config as configuration_module
from .chaos_door import Door, Lost, NotSent
from .chaos_links import ProxyProcess
from .chaos_nemesis import Injury
from .chaos_plan import DISCOVERY, DISK_FULL, KILL, PARTITION, PAUSE, SLOW, Fault, Variant
from .chaos_proxy import Setting
from .config import Configuration
from .processes import Process

OFFSETS = range(1000, 14000, 50)
"""Port offsets that are tried: all ports stay below those that Linux gives to connections."""
START_TIMEOUT_S = 60.0
GONE_TIMEOUT_S = 10.0
LIMIT_AGAIN_S = 0.1
FILL_TIMEOUT_S = 2.0

BALLAST = b"chaos:ballast"
"""The key that is written again and again to fill a disk; deleted at the end."""


class LocalHands:
    """Breaks the processes of one local cluster. See chaos_nemesis.Hands."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.proxy: ProxyProcess | None = None
        self.disks: dict[str, chaos_disk.MemoryDisk] = {}
        self._held: Counter[str] = Counter()
        self._paused: Counter[Process] = Counter()
        self._pauses: dict[int, list[Process]] = {}
        self._full: Counter[str] = Counter()
        self._exits: dict[int, dict[str, int]] = {}
        self._limiters: dict[int, asyncio.Task[None]] = {}

    # ------------------------------------------------------------ begin and end

    async def begin(self, injury: Injury) -> None:
        """Do it. Raises DefiniteError when it cannot be done."""
        fault = injury.fault
        if fault.kind in (KILL, DISCOVERY):
            self._kill(injury)
        elif fault.kind == PAUSE:
            self._pause(injury)
        elif fault.kind in (PARTITION, SLOW):
            if self.proxy is None:
                raise DefiniteError("the links of this cluster do not pass a proxy")
            await self.proxy.lay(fault.number, injury.rules)
        elif fault.kind == DISK_FULL:
            await self._fill(injury)

    async def end(self, injury: Injury) -> None:
        """Undo it. Raises DefiniteError when it cannot be undone."""
        fault = injury.fault
        if fault.kind in (KILL, DISCOVERY):
            self._release(injury.nodes)
        elif fault.kind == PAUSE:
            for process in self._pauses.pop(fault.number, []):
                self._wake(process)
        elif fault.kind in (PARTITION, SLOW) and self.proxy is not None:
            await self.proxy.lift(fault.number)
        elif fault.kind == DISK_FULL:
            self._make_room(injury)

    async def heal(self) -> None:
        """Undo everything that may still be in force, whatever was noted of it."""
        for task in self._limiters.values():
            task.cancel()
        self._limiters.clear()
        for process in list(self._paused):
            processes.send(process, signal.SIGCONT)
        self._paused.clear()
        for node in list(self._full):
            self._empty(node)
        self._full.clear()
        for node in list(self._held):
            self._held_file(node).unlink(missing_ok=True)
        self._held.clear()
        self._look_again()
        if self.proxy is not None:
            await self.proxy.lift_all()

    # ------------------------------------------------------------ processes

    def _process(self, node: str) -> Process | None:
        run = run_file.read(self.configuration.data_folder)
        found = run.nodes.get(NodeId(node)) if run is not None else None
        return found.process if found is not None and found.process.lives else None

    def _held_file(self, node: str) -> Path:
        return supervisor.held_folder(self.configuration) / node

    def _look_again(self) -> None:
        """Have the supervisor start what is down at once."""
        run = run_file.read(self.configuration.data_folder)
        if run is not None:
            processes.send(run.supervisor_process, signal.SIGHUP)

    def _kill(self, injury: Injury) -> None:
        supervisor.held_folder(self.configuration).mkdir(exist_ok=True)
        for node in injury.nodes:
            self._held[node] += 1
            self._held_file(node).touch()
        killed = 0
        for node in injury.nodes:
            process = self._process(node)
            killed += process is not None and processes.send(process, signal.SIGKILL)
        if not killed:
            self._release(injury.nodes)
            raise DefiniteError("all of them were down already")
        if killed < len(injury.nodes):
            injury.note = f"{len(injury.nodes) - killed} of them were down already"

    def _release(self, nodes: Sequence[str]) -> None:
        for node in nodes:
            self._held[node] -= 1
            if self._held[node] <= 0:
                del self._held[node]
                self._held_file(node).unlink(missing_ok=True)
        self._look_again()

    def _pause(self, injury: Injury) -> None:
        found = [process for node in injury.nodes if (process := self._process(node)) is not None]
        stopped = [process for process in found if processes.send(process, signal.SIGSTOP)]
        if not stopped:
            raise DefiniteError("all of them were down already")
        self._pauses[injury.fault.number] = stopped
        self._paused.update(stopped)

    def _wake(self, process: Process) -> None:
        self._paused[process] -= 1
        if self._paused[process] <= 0:
            del self._paused[process]
            processes.send(process, signal.SIGCONT)

    # ------------------------------------------------------------ disks

    async def _fill(self, injury: Injury) -> None:
        number = injury.fault.number
        self._exits[number] = self._starts(injury.nodes)
        limited: list[str] = []
        for node in injury.nodes:
            self._full[node] += 1
            if node in self.disks:
                self.disks[node].fill()
            else:
                limited.append(node)
        if limited:
            self._limiters[number] = asyncio.create_task(self._limit(limited))
        injury.note = "RLIMIT_FSIZE" if limited else "no space left on device"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(injury.fault.lasts_s, FILL_TIMEOUT_S)):
                await self._write_much(number)

    async def _limit(self, nodes: list[str]) -> None:
        """Limit what lives of these nodes, those too that the supervisor starts again."""
        while True:
            for node in nodes:
                process = self._process(node)
                if process is not None:
                    chaos_disk.limit_files(process, self._log(node))
            await asyncio.sleep(LIMIT_AGAIN_S)

    def _log(self, node: str) -> Path:
        return supervisor.log_folder(self.configuration) / f"{node}.log"

    async def _write_much(self, number: int) -> None:
        """Write until every victim needed room, through whichever door answers."""
        configuration = self.configuration
        doors = [
            Door(configuration.local_host(), port, configuration.security.password)
            for port in map(configuration.door_port, configuration.membership().gateways)
        ]
        value = random.Random(number).randbytes(chaos_disk.WRITE_BYTES)
        try:
            for place in range(chaos_disk.WRITES):
                if self._stopped_since(number) == len(self._exits[number]):
                    return
                with contextlib.suppress(NotSent, Lost):
                    door = doors[place % len(doors)]
                    await door.ask([(b"SET", BALLAST, value)], 0.5)
        finally:
            for door in doors:
                door.close()

    def _starts(self, nodes: Sequence[str]) -> dict[str, int]:
        """Return when each node's process was started; -1 for one that is down."""
        return {
            node: -1 if (process := self._process(node)) is None else process.started
            for node in nodes
        }

    def _stopped_since(self, number: int) -> int:
        """Return how many of the victims have ended since their disk was filled."""
        before = self._exits[number]
        return sum(before[node] != start for node, start in self._starts(list(before)).items())

    def _make_room(self, injury: Injury) -> None:
        number = injury.fault.number
        task = self._limiters.pop(number, None)
        if task is not None:
            task.cancel()
        stopped = self._stopped_since(number)
        injury.note += f"; {stopped} of {len(injury.nodes)} needed room and stopped"
        for node in injury.nodes:
            self._full[node] -= 1
            if self._full[node] <= 0:
                del self._full[node]
                self._empty(node)
        self._look_again()

    def _empty(self, node: str) -> None:
        if node in self.disks:
            self.disks[node].free()
        elif (process := self._process(node)) is not None:
            chaos_disk.unlimit_files(process)


class LocalStage:
    """A local cluster that runs already. See chaos_run.Stage."""

    kinds: tuple[str, ...] = (KILL, PAUSE, DISK_FULL, DISCOVERY)
    variants: dict[str, tuple[Variant, ...]] | None = None
    healing_s = 30.0

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.hands = LocalHands(configuration)
        self._sizes: dict[str, int] = {}

    @property
    def what(self) -> str:
        """Which cluster this is, for a person."""
        return f"the running cluster in {self.configuration.data_folder}"

    async def up(self, plan: list[Fault], seed: int, report: Callable[[str], None]) -> None:
        """See that it runs. Raises DefiniteError when it does not."""
        run = run_file.read(self.configuration.data_folder)
        if run is None or run.mode != "local" or not run.supervisor_process.lives:
            raise DefiniteError(
                f"no cluster of local processes runs in {self.configuration.data_folder}; start "
                "it with `paxos up`, or leave --attach out"
            )
        self._sizes = {file.name: file.stat().st_size for file in self._logs()}

    async def complaints(self) -> list[str]:
        """Return lines of the nodes' logs that no fault explains."""
        found: list[str] = []
        for file in self._logs():
            size = file.stat().st_size
            before = self._sizes.get(file.name, 0)
            with file.open(encoding="utf-8", errors="replace") as lines:
                # One that shrank was begun anew meanwhile.
                lines.seek(before if before <= size else 0)
                found += [f"{file.name}: {line.strip()}" for line in lines if is_complaint(line)]
        return found

    def _logs(self) -> list[Path]:
        return sorted(supervisor.log_folder(self.configuration).glob("*.log"))

    async def down(self, keep: bool) -> str:
        """Leave it running. Returns where its logs are."""
        await self._delete_ballast()
        return f"its logs are in {supervisor.log_folder(self.configuration)}"

    async def _delete_ballast(self) -> None:
        configuration = self.configuration
        port = configuration.door_port(configuration.membership().gateways[0])
        door = Door(configuration.local_host(), port, configuration.security.password)
        with contextlib.suppress(NotSent, Lost):
            for reply in await door.ask([(b"DEL", BALLAST)], 6.0):
                if isinstance(reply, hiredis.ReplyError):
                    raise DefiniteError(f"{BALLAST.decode()} could not be deleted: {reply}")
        door.close()


class OwnStage(LocalStage):
    """A local cluster made for the run. `like` gives its size, timeouts and limits."""

    kinds: tuple[str, ...] = (KILL, PAUSE, PARTITION, SLOW, DISK_FULL, DISCOVERY)

    def __init__(self, like: Configuration, folder: Path | None = None) -> None:
        super().__init__(like)
        self._folder = folder
        self._made: list[Path] = []
        self._started: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._ended = False

    @property
    def what(self) -> str:
        """Which cluster this is, for a person."""
        return f"a cluster of its own ({len(self.configuration.nodes())} local processes)"

    async def up(self, plan: list[Fault], seed: int, report: Callable[[str], None]) -> None:
        """Start proxy, disks and nodes. Raises PaxosError, and `down` is to be called then too."""
        like = self.configuration
        folder = self._make_folder()
        data = folder / "data"
        (data / "logs").mkdir(parents=True)
        victims = sorted({n for fault in plan if fault.kind == DISK_FULL for n in fault.targets})
        if victims and os.geteuid() == 0:
            if trouble := chaos_disk.leave_mounts():
                report(f"no memory disks ({trouble}): file size limits instead")
            else:
                self.hands.disks = chaos_disk.memory_disks(data / node for node in victims)
        self.hands.proxy = await ProxyProcess.start(data / "logs" / "proxy.log")
        offset = _free_offset(like, seed)
        ports = {
            str(node): like.network.peers_port + offset + place
            for place, node in enumerate(like.membership().nodes)
        }
        proxy_port = await self.hands.proxy.listen(Setting(ports=ports, seed=seed))
        file = folder / "paxos.toml"
        file.write_text(_toml(_sections(like, data, offset, proxy_port)), encoding="utf-8")
        self.configuration = self.hands.configuration = configuration_module.load(file)
        ready = await asyncio.to_thread(
            local.up, self.configuration, report, START_TIMEOUT_S, self._launch
        )
        if not ready.works:
            raise DefiniteError(f"the cluster did not become ready: {ready.trouble}")

    async def down(self, keep: bool) -> str:
        """End every process, unmount every disk, delete what was made unless it is to be kept.

        Returns where it is when it was kept.
        """
        await asyncio.to_thread(self._end_processes)
        if self.hands.proxy is not None:
            await self.hands.proxy.end()
        for disk in self.hands.disks.values():
            disk.remove(keep)
        self.hands.disks.clear()
        if keep and self._made:
            return f"its data and logs are in {self._made[0]}"
        for path in self._made:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        self._made.clear()
        return ""

    def _make_folder(self) -> Path:
        """Return the folder of the cluster; what will be in it is noted, to be deleted later.

        Raises StorageError, and DefiniteError for one that has something in it.
        """
        if self._folder is None:
            self._made = [Path(tempfile.mkdtemp(prefix="paxos-chaos-"))]
            return self._made[0]
        folder = self._folder
        try:
            if not folder.exists():
                folder.mkdir(parents=True)
                self._made = [folder]
            elif any(folder.iterdir()):
                raise DefiniteError(f"{folder} is not empty: chaos makes a cluster of its own")
            else:
                self._made = [folder / "data", folder / "paxos.toml"]
        except OSError as error:
            raise StorageError(f"{folder} cannot be used: {error.strerror}") from error
        return folder

    def _launch(self, configuration: Configuration, output: Path) -> int:
        """Start the supervisor with this cluster's configuration alone. See local.launch."""
        with self._lock:
            if self._ended:
                raise DefiniteError("the run has been given up")
            return self._spawn(configuration, output)

    def _spawn(self, configuration: Configuration, output: Path) -> int:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("PAXOS_")}
        arguments = [sys.executable, "-m", "paxos.apps.supervisor"]
        with output.open("ab") as file:
            self._started.append(
                subprocess.Popen(
                    [*arguments, "--config", str(configuration.source)],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    env=kept,
                    start_new_session=True,
                )
            )
        return self._started[-1].pid

    def _end_processes(self) -> None:
        """Kill the supervisor first, so that nothing comes back, then whatever it began."""
        with self._lock:
            self._ended = True
        for one in self._started:
            one.kill()
            one.wait()
            left = [processes.process(pid) for pid in _session(one.pid)]
            for process in left:
                processes.send(process, signal.SIGKILL)
            processes.wait_until_gone(left, GONE_TIMEOUT_S)


def is_complaint(line: str) -> bool:
    """Tell whether a line of a log says that something broke that no fault explains.

    A node that stops because its disk is full is meant to; one whose volume is damaged, or that
    finds an invariant violated, is not.
    """
    if "stopping at once" in line or "cannot run" in line:
        return not any(reason in line for reason in ("No space left", "File too large"))
    return "InvariantViolation" in line or " is damaged" in line


def _session(leader: int) -> list[int]:
    """Return the processes of a session: the nodes are in that of their supervisor."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(folder.name)) == leader:
                    found.append(int(folder.name))
    return found


def _free_offset(like: Configuration, seed: int) -> int:
    """Return a port offset at which all ports are free now. Raises DefiniteError."""
    offsets = list(OFFSETS)
    random.Random(f"{seed} {os.getpid()}").shuffle(offsets)
    network, count = like.network, len(like.membership().nodes)
    firsts = (
        (network.pages_port, count),
        (network.peers_port, count),
        (network.doors_port, like.cluster.clients),
    )
    for offset in offsets:
        ports = [first + offset + n for first, length in firsts for n in range(length)]
        if max(ports) <= 65_535 and not any(
            processes.port_trouble("127.0.0.1", port) for port in ports
        ):
            return offset
    raise DefiniteError("no ports are free on this machine")


def _sections(
    like: Configuration, data: Path, offset: int, proxy_port: int
) -> dict[str, dict[str, Any]]:
    plain = like.plain()
    network = {
        "host": "127.0.0.1",
        "bind": "127.0.0.1",
        "port_offset": offset,
        "proxy_port": proxy_port,
        **{name: plain["network"][name] for name in ("pages_port", "peers_port", "doors_port")},
    }
    return {
        "cluster": {**plain["cluster"], "added": ""},
        "network": network,
        "data": {"folder": str(data)},
        "timeouts": plain["timeouts"],
        "limits": plain["limits"],
    }


def _toml(sections: dict[str, dict[str, Any]]) -> str:
    lines: list[str] = []
    for section, keys in sections.items():
        lines.append(f"[{section}]")
        # JSON's numbers, booleans and strings are TOML's as well.
        lines += [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
    return "\n".join(lines) + "\n"
