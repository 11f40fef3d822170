"""The Swarm stack under chaos: its containers are killed and paused, its network is cut.

Two kinds of cuts. A *disconnect* takes a container off the overlay network, as `docker network
disconnect` does. Docker gives it its address back afterwards but not its name, so nobody could dial
it any more; it is killed then, and Swarm starts a fresh one. A *partition* drops packets between
containers, in either direction or in one, by rules inside the containers' own network namespaces:
nothing of the host's is changed, and rules end with their container. That needs root.

Swarm starts again what dies, some seconds later: a killed node is down for as long as that takes.
Only containers on this machine are reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from paxos.core.errors import DefiniteError

from .chaos_local import is_complaint
from .chaos_nemesis import Injury
from .chaos_plan import (
    DISCONNECT,
    DISCOVERY,
    KILL,
    PARTITION,
    PAUSE,
    SWARM_VARIANTS,
    Fault,
    Variant,
)
from .chaos_proxy import Rule
from .config import Configuration
from .scenario_cluster import STACK

NETWORK = f"{STACK}_cluster"
TIMEOUT_S = 30.0
RECONNECTED_S = 1.0
"""How long a container that got its address back goes on before it is killed for its name."""

CHAIN = "PAXOS-CHAOS-"
"""How the names of our chains of packet rules begin."""

_SERVICE = "com.docker.swarm.service.name"


class Container(msgspec.Struct, frozen=True):
    """One node's container as it is now: its first process and its address in the overlay."""

    id: str
    pid: int
    address: str


class SwarmHands:
    """Breaks the containers of the stack. See chaos_nemesis.Hands."""

    def __init__(self) -> None:
        self._paused: Counter[str] = Counter()
        self._pauses: dict[int, list[str]] = {}
        self._chains: dict[int, list[int]] = {}
        self._away: dict[int, list[tuple[str, str]]] = {}

    async def begin(self, injury: Injury) -> None:
        """Do it. Raises DefiniteError when it cannot be done."""
        kind, number = injury.fault.kind, injury.fault.number
        if kind == PARTITION:
            await self._cut(number, injury.rules)
            return
        here = await containers()
        met = {node: here[node].id for node in injury.nodes if node in here}
        if not met:
            raise DefiniteError("none of them has a container here now")
        if len(met) < len(injury.nodes):
            injury.note = f"{len(injury.nodes) - len(met)} of them were down already"
        if kind in (KILL, DISCOVERY):
            await docker("kill", *met.values())
        elif kind == PAUSE:
            fresh = [one for one in met.values() if not self._paused[one]]
            self._pauses[number] = list(met.values())
            self._paused.update(met.values())
            if fresh:
                await docker("pause", *fresh)
        elif kind == DISCONNECT:
            away = self._away[number] = []
            for node, one in met.items():
                await docker("network", "disconnect", NETWORK, one)
                away.append((node, one))

    async def end(self, injury: Injury) -> None:
        """Undo it. Raises DefiniteError when it cannot be undone."""
        kind, number = injury.fault.kind, injury.fault.number
        if kind == PAUSE:
            await self._wake(number)
        elif kind == PARTITION:
            await self._join(number)
        elif kind == DISCONNECT:
            injury.note = "reconnected, and replaced by Swarm to get its name back"
            await self._reconnect(number)

    async def heal(self) -> None:
        """Undo everything that may still be in force, whatever was noted of it."""
        for number in list(self._pauses):
            await self._wake(number)
        for number in list(self._chains):
            await self._join(number)
        for number in list(self._away):
            await self._reconnect(number)

    # ------------------------------------------------------------ each

    async def _wake(self, number: int) -> None:
        for one in self._pauses.pop(number, []):
            self._paused[one] -= 1
            if self._paused[one] <= 0:
                del self._paused[one]
                # One that was killed meanwhile cannot be woken, and need not be.
                with contextlib.suppress(DefiniteError):
                    await docker("unpause", one)

    async def _reconnect(self, number: int) -> None:
        gone = self._away.pop(number, [])
        for node, one in gone:
            with contextlib.suppress(DefiniteError):
                await docker("network", "connect", "--alias", node, NETWORK, one)
        await asyncio.sleep(RECONNECTED_S)
        for _, one in gone:
            with contextlib.suppress(DefiniteError):
                await docker("kill", one)

    async def _cut(self, number: int, rules: list[Rule]) -> None:
        here = await containers()
        wanted: dict[int, list[str]] = {}
        for rule in rules:
            sender, receiver = here.get(rule.sender), here.get(rule.receiver)
            if sender is not None and receiver is not None and sender.address:
                refusing = rule.trouble.refusing
                verdict = "REJECT --reject-with tcp-reset" if refusing else "DROP"
                line = f"-A {_chain(number)} -p tcp -s {sender.address} -j {verdict}"
                wanted.setdefault(receiver.pid, []).append(line)
        if not wanted:
            raise DefiniteError("none of them has a container here now")
        self._chains[number] = list(wanted)
        for pid, lines in wanted.items():
            head = [f":{_chain(number)} - [0:0]", *lines, f"-I INPUT -j {_chain(number)}"]
            await _filter(pid, head)

    async def _join(self, number: int) -> None:
        for pid in self._chains.get(number, []):
            await sweep(pid, _chain(number))
        self._chains.pop(number, None)


def _chain(number: int) -> str:
    return f"{CHAIN}{number}"


class SwarmStage:
    """The stack that runs on this machine's engine. See chaos_run.Stage."""

    healing_s = 90.0
    variants: dict[str, tuple[Variant, ...]] | None = SWARM_VARIANTS

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.hands = SwarmHands()
        can_cut = os.geteuid() == 0 and bool(shutil.which("nsenter"))
        can_cut = can_cut and bool(shutil.which("iptables-restore"))
        cuts = (PARTITION,) if can_cut else ()
        self.kinds: tuple[str, ...] = (KILL, PAUSE, *cuts, DISCONNECT, DISCOVERY)
        self._since = ""

    @property
    def what(self) -> str:
        """Which cluster this is, for a person."""
        return f"the Swarm stack {STACK}"

    async def up(self, plan: list[Fault], seed: int, report: Callable[[str], None]) -> None:
        """See that it runs. Raises DefiniteError when it does not."""
        missing = set(self.configuration.nodes()) - set(await containers())
        if missing:
            raise DefiniteError(
                f"the stack {STACK} has no container on this machine for "
                f"{', '.join(sorted(missing))}; start it with ./run.sh --swarm"
            )
        if PARTITION in self.kinds:
            # What a run left behind that was killed would look like a defect of the stack.
            for container in (await containers()).values():
                await sweep(container.pid, CHAIN)
        now = datetime.datetime.now(datetime.UTC)
        self._since = now.isoformat(timespec="seconds").replace("+00:00", "Z")

    async def complaints(self) -> list[str]:
        """Return lines of the nodes' logs that no fault explains."""
        found = []
        for node in self.configuration.nodes():
            words = ("service", "logs", "--raw", "--since", self._since, f"{STACK}_{node}")
            text = await docker(*words)
            found += [f"{node}: {line}" for line in text.splitlines() if is_complaint(line)]
        return found

    async def down(self, keep: bool) -> str:
        """Leave it running. Returns where its logs are."""
        return f"its logs: docker service logs {STACK}_NODE"


# ---------------------------------------------------------------- the engine


async def containers() -> dict[str, Container]:
    """Return the running container of each node on this machine. Raises DefiniteError."""
    listed = await docker("ps", "--quiet", "--no-trunc", "--filter", f"label={_SERVICE}")
    if not listed:
        return {}
    form = (
        "{{.Id}} {{.State.Pid}} {{index .Config.Labels " + f'"{_SERVICE}"' + "}} "
        "{{range $name, $net := .NetworkSettings.Networks}}"
        "{{if eq $name " + f'"{NETWORK}"' + "}}{{$net.IPAddress}}{{end}}{{end}}"
    )
    found: dict[str, Container] = {}
    for line in (await docker("inspect", "--format", form, *listed.split())).splitlines():
        words = line.split()
        node = words[2].removeprefix(f"{STACK}_")
        address = words[3] if len(words) > 3 else ""
        if words[2] != node and words[1] != "0":
            found[node] = Container(words[0], int(words[1]), address)
    return found


async def docker(*words: str) -> str:
    """Run the engine's client and return what it says. Raises DefiniteError when it fails."""
    return await _program(["docker", *words], b"")


async def sweep(pid: int, prefix: str) -> None:
    """Take all our rules out of a container's network whose chains' names begin so.

    Whatever happened to them before: nothing of them may stay. Quiet when the container has gone.
    Raises DefiniteError when they cannot be taken out.
    """
    try:
        found = (await _in_network(pid, ["iptables-save", "-t", "filter"], "")).splitlines()
    except DefiniteError:
        if not Path(f"/proc/{pid}").exists():
            return
        raise
    # `:NAME POLICY [counts]` declares a chain, `-A INPUT -j NAME` leads to it.
    chains = [line[1:].split()[0] for line in found if line.startswith(f":{prefix}")]
    jumps = [line for line in found if line.startswith("-A INPUT") and line.split()[-1] in chains]
    lines = [f"-D{jump.removeprefix('-A')}" for jump in jumps]
    lines += [f"-F {chain}" for chain in chains] + [f"-X {chain}" for chain in chains]
    if lines:
        await _filter(pid, lines)


async def _filter(pid: int, lines: list[str]) -> None:
    """Change the packet filter of a container's network. Raises DefiniteError."""
    text = "\n".join(["*filter", *lines, "COMMIT", ""])
    await _in_network(pid, ["iptables-restore", "--noflush", "--wait"], text)


async def _in_network(pid: int, words: list[str], said: str) -> str:
    """Run a program of the host's in a container's network. Raises DefiniteError."""
    return await _program(["nsenter", "--target", str(pid), "--net", *words], said.encode())


async def _program(words: list[str], said: bytes) -> str:
    # In a thread: a program that ends before it has read what it is told is no error there.
    return await asyncio.to_thread(_run, words, said)


def _run(words: list[str], said: bytes) -> str:
    try:
        done = subprocess.run(
            words,
            input=said,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            # A Ctrl-C is for this program: what it undoes must not be interrupted.
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DefiniteError(f"{' '.join(words[:2])}: {error}") from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise DefiniteError(f"{' '.join(words[:2])}: {reason}")
    return done.stdout.decode(errors="replace").strip()
