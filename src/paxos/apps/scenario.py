"""The guided demonstration: writes, reads, and kills on a running system, every step checked.

It says what it does, does it to the real cluster, and checks what came of it; a check that
fails makes the whole fail, and the later steps are shown all the same. What it breaks comes
back by itself. Its values stay in the cluster's list: nothing can be taken out of a log.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable

import msgspec
from rich.console import Console
from rich.text import Text

from paxos.core.errors import DefiniteError, RequestError
from paxos.core.types import Role

from . import run_file
from .config import Configuration
from .scenario_cluster import (
    Cluster,
    ContainerKiller,
    Killer,
    Load,
    LoadReport,
    ProcessKiller,
    wait_until,
)

READY_TIMEOUT_S = 20.0
ELECTION_TIMEOUT_S = 20.0
PROGRESS_TIMEOUT_S = 30.0
RETURN_TIMEOUT_S = 90.0
"""How long a killed node may take to be started again (Swarm waits before it does) and be ready."""

LOAD_STEPS = 20
"""How many writes each phase of a step must see acknowledged."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was checked."""

    step: str
    text: str
    passed: bool
    detail: str = ""


def run_scenario(
    configuration: Configuration, *, mode: str | None = None, json_output: bool = False
) -> int:
    """Run the demonstration on the cluster of this configuration.

    `mode` is `local` or `swarm`; None takes it from the data folder's run.json. Returns 0 when
    every check passed, else 1. Raises DefiniteError when the system is not running.
    """
    cluster = Cluster(configuration, _killer(configuration, mode))
    if not any(cluster.states().values()):
        raise DefiniteError("no node answers: the system is not running; start it with ./run.sh")
    return Scenario(cluster, quiet=json_output).run()


def _killer(configuration: Configuration, mode: str | None) -> Killer:
    if mode is None:
        run = run_file.read(configuration.data_folder)
        if run is None:
            raise DefiniteError(
                f"there is no run.json in {configuration.data_folder}: the system is not "
                "running; start it with ./run.sh"
            )
        mode = run.mode
    if mode == "swarm":
        return ContainerKiller()
    if mode == "local":
        return ProcessKiller(configuration)
    raise DefiniteError(f"mode {mode!r} is not local or swarm")


class Scenario:
    """One run of the demonstration. One use: `run`."""

    def __init__(self, cluster: Cluster, *, quiet: bool = False) -> None:
        self.cluster = cluster
        self.checks: list[Check] = []
        self._quiet = quiet
        self._console = Console(highlight=False)
        self._tick, self._cross = _marks()
        self._step = ""
        self._token = secrets.token_hex(3)
        self._first_slot = 1
        self._written: list[str] = []
        self._killed_at = 0.0

    def run(self) -> int:
        """Run every step. Returns 0 when every check passed, else 1."""
        began = time.monotonic()
        if self._stands():
            steps: tuple[Callable[[], None], ...] = (
                self._write_and_read,
                self._slots,
                self._kill_leader,
                self._kill_acceptor,
                self._kill_learner,
                self._kill_discovery,
                self._nothing_lost,
            )
            for step in steps:
                try:
                    step()
                except RequestError as error:
                    self._check("the step could be carried out", False, str(error))
        failed = [check for check in self.checks if not check.passed]
        if self._quiet:
            print(
                json.dumps(
                    {"passed": not failed, "checks": msgspec.to_builtins(self.checks)},
                    ensure_ascii=True,
                )
            )
        else:
            took = time.monotonic() - began
            style = "bold red" if failed else "bold green"
            verdict = f"{len(failed)} of {len(self.checks)} checks failed"
            if not failed:
                verdict = f"all {len(self.checks)} checks passed"
            self._console.print(Text(f"\n{verdict} in {took:.0f} s", style=style))
        return 1 if failed else 0

    # ------------------------------------------------------------ steps

    def _stands(self) -> bool:
        """Check that everything is there before anything is broken."""
        self._title("The whole system stands")
        cluster = self.cluster
        wait_until(lambda: self._barred() or not self._not_ready(), READY_TIMEOUT_S)
        absent = self._not_ready()
        self._check(f"all {len(cluster.nodes)} nodes are ready", not absent, ", ".join(absent))
        barred = self._barred()
        if barred:
            # It does not come back by itself, and with one acceptor less a kill may be too much.
            return self._check("no acceptor is barred", False, ", ".join(barred))
        stands = wait_until(cluster.leader, ELECTION_TIMEOUT_S)
        leader = cluster.leader()
        detail = f"{leader[0]}, ballot {leader[1]}" if leader else "nobody leads"
        return self._check("one proposer leads", stands and leader is not None, detail)

    def _write_and_read(self) -> None:
        """Write through each door, read through each other one."""
        self._title("Writes and reads through every door")
        cluster = self.cluster
        for index, (client, port) in enumerate(cluster.doors):
            value = self._value(client)
            slot = self._write(port, client)
            if index == 0:
                self._first_slot = slot
            self._check(f"{client} wrote {value!r}", slot > 0, f"chosen in slot {slot}")
            for reader, other_port in cluster.doors:
                found = cluster.values(other_port, self._first_slot)
                self._check(f"{reader} reads it in slot {slot}", (slot, value) in found)

    def _slots(self) -> None:
        """Show that acceptors and learners hold the same slots."""
        self._title("One log, slot by slot")
        cluster = self.cluster
        client, port = cluster.doors[0]
        slots = [self._write(port, f"slots/{number}") for number in range(1, 4)]
        self._check(
            f"three writes through {client} got rising slots",
            slots == sorted(set(slots)),
            ", ".join(map(str, slots)),
        )
        for role, figure in ((Role.ACCEPTOR, "highest_slot"), (Role.LEARNER, "applied")):
            for node in cluster.of(role):
                reached = self._reaches(node, figure, slots[-1])
                what = "accepted" if role is Role.ACCEPTOR else "applied"
                self._check(
                    f"{node} has {what} slot {slots[-1]}",
                    reached,
                    f"it is at slot {self._figure(node, figure)}",
                )

    def _kill_leader(self) -> None:
        """Kill the leader under load: a higher ballot takes over, clients see no error."""
        self._title("The leader is killed while clients write")
        before = self.cluster.leader()
        if before is None:
            self._check("there is a leader to kill", False)
            return
        killed, old_ballot = before
        elected: list[float] = []

        def new_leader() -> bool:
            now = self.cluster.leader()
            return now is not None and now[1] > old_ballot

        def after_the_kill() -> None:
            began = time.monotonic()
            if wait_until(new_leader, ELECTION_TIMEOUT_S):
                elected.append((time.monotonic() - began) * 1000)

        report = self._break_under_load(killed, "leader", after_the_kill)
        now = self.cluster.leader()
        detail = f"nobody leads; it was ballot {old_ballot}"
        if now is not None:
            detail = f"{now[0]}, ballot {now[1]} after {old_ballot}"
        if elected:
            detail += f", seen after {elected[0]:.0f} ms"
        self._check("a leader with a higher ballot stands", bool(elected), detail)
        self._check_load(report)
        self._check_old_values()
        self._check_return(killed)

    def _kill_acceptor(self) -> None:
        """Kill one acceptor under load: a quorum is left, so nothing stops."""
        self._title("An acceptor is killed")
        acceptors = self.cluster.of(Role.ACCEPTOR)
        quorum_size = len(acceptors) // 2 + 1
        if quorum_size == len(acceptors):
            self._note(f"left out: {len(acceptors)} acceptors can spare none")
            return
        killed = acceptors[-1]
        report = self._break_under_load(killed, "acceptor")
        quorum = f"{quorum_size} of {len(acceptors)} are enough"
        self._check_load(report, f"writes go on without it: {quorum}")
        self._check_return(killed)
        # What was decided without it stays so; it votes on what is written from now on.
        port = self.cluster.doors[0][1]
        before = self._figure(killed, "accepts")
        votes = wait_until(
            lambda: (
                self._write(port, f"after {len(self._written)}")
                and self._figure(killed, "accepts") > before
            ),
            PROGRESS_TIMEOUT_S,
        )
        self._check(
            f"{killed} votes again", votes, f"at slot {self._figure(killed, 'highest_slot')}"
        )

    def _kill_learner(self) -> None:
        """Kill the learner that the first client node reads from: another answers."""
        self._title("A learner is killed while clients read")
        learners = self.cluster.of(Role.LEARNER)
        if len(learners) < 2:
            self._note("left out: the only learner cannot be spared")
            return
        client, _ = self.cluster.doors[0]
        used = str(self.cluster.status(client).get("learner"))
        killed = used if used in learners else learners[0]
        report = self._break_under_load(killed, "learner")
        self._check_load(report, "reads and writes go on through the other learners")
        self._check_return(killed)
        slot = self._write(self.cluster.doors[0][1], "after the learner")
        self._check(
            f"{killed} has caught up",
            self._reaches(killed, "applied", slot),
            f"slot {self._figure(killed, 'applied')} applied",
        )

    def _kill_discovery(self) -> None:
        """Kill discovery, which nothing depends on; it learns everything anew."""
        self._title("Discovery is killed")
        killed = self.cluster.of(Role.DISCOVERY)[0]
        report = self._break_under_load(killed, "discovery")
        self._check_load(report, "reads and writes never noticed")
        self._check_return(killed)
        everyone = set(self.cluster.nodes) - {killed}

        def known() -> set[str]:
            entries = self.cluster.status(killed).get("nodes") or []
            return {str(entry.get("node")) for entry in entries} & everyone

        wait_until(lambda: known() == everyone, PROGRESS_TIMEOUT_S)
        found = known()
        self._check(
            "it knows every node again",
            found == everyone,
            f"{len(found)} of {len(everyone)} registered",
        )

    def _nothing_lost(self) -> None:
        """Read everything back through every door, and compare."""
        self._title("Nothing is lost, nothing is doubled")
        lists = []
        for client, port in self.cluster.doors:
            found = self.cluster.values(port, self._first_slot)
            lists.append(found)
            times = Counter(value for _, value in found)
            lost = [value for value in self._written if times[value] == 0]
            doubled = [value for value in self._written if times[value] > 1]
            detail = f"{len(self._written)} written"
            if lost or doubled:
                detail = f"lost {lost[:3]}, doubled {doubled[:3]}"
            self._check(
                f"{client} reads every acknowledged value exactly once",
                not lost and not doubled,
                detail,
            )
        if len(lists) > 1:
            ours = [[one for one in found if self._token in one[1]] for found in lists]
            self._check(
                "every door tells the same values in the same slots",
                all(found == ours[0] for found in ours),
            )
        self._check(
            f"all {len(self.cluster.nodes)} nodes are ready",
            wait_until(lambda: not self._not_ready(), READY_TIMEOUT_S),
            ", ".join(self._not_ready()),
        )

    # ------------------------------------------------------------ parts of steps

    def _break_under_load(
        self, node: str, label: str, after_the_kill: Callable[[], None] | None = None
    ) -> LoadReport:
        """Kill a node while clients write and read, and wait until they have gone on for a while.

        Raises DefiniteError when it cannot be killed.
        """
        self._killed_at = time.monotonic()
        with Load(self.cluster, self._value(label), self._first_slot, self.cluster.doors) as load:

            def goes_on() -> bool:
                written, read = load.done, load.reads_done
                return wait_until(
                    lambda: (
                        load.done >= written + LOAD_STEPS and load.reads_done >= read + LOAD_STEPS
                    ),
                    PROGRESS_TIMEOUT_S,
                )

            before = goes_on()
            self.cluster.killer.kill(node)
            self._killed_at = time.monotonic()
            self._note(f"killed {node}")
            if after_the_kill is not None:
                after_the_kill()
            after = goes_on()
        report = load.report
        self._written += report.written
        self._check("clients write and read before and after", before and after, report.text)
        return report

    def _check_load(self, report: LoadReport, text: str = "no client saw an error") -> None:
        detail = report.errors[0] if report.errors else f"slowest answer {report.slowest_ms:.0f} ms"
        self._check(text, not report.errors, detail)

    def _check_old_values(self) -> None:
        """Check that what was written first is still there, through every door."""
        for client, port in self.cluster.doors:
            values = {value for _, value in self.cluster.values(port, self._first_slot)}
            self._check(f"{client} still reads what was written before", self._written[0] in values)

    def _check_return(self, node: str) -> None:
        """Check that a killed node is started again by itself, and is ready."""

        def returned() -> bool:
            state = self.cluster.state(node)
            uptime_s = state.get("uptime_s")
            since_kill_s = time.monotonic() - self._killed_at
            started_since = isinstance(uptime_s, int | float) and uptime_s < since_kill_s
            return started_since and bool(state.get("ready"))

        back = wait_until(returned, RETURN_TIMEOUT_S)
        detail = f"after {time.monotonic() - self._killed_at:.1f} s"
        if not back:
            detail = str(self.cluster.state(node).get("reason") or "it does not answer")
        self._check(f"{node} is back by itself, and ready", back, detail)

    def _not_ready(self) -> list[str]:
        return [
            f"{node} ({state.get('reason') or 'not ready'})" if state else f"{node} (no answer)"
            for node, state in self.cluster.states().items()
            if not state.get("ready")
        ]

    def _barred(self) -> list[str]:
        """Return the acceptors that refuse their volumes, which only an operator can mend."""
        return [
            node
            for node in self.cluster.of(Role.ACCEPTOR)
            if self.cluster.status(node).get("phase") == "barred"
        ]

    def _figure(self, node: str, name: str) -> int:
        return int(self.cluster.status(node).get(name) or 0)

    def _reaches(self, node: str, figure: str, slot: int) -> bool:
        return wait_until(lambda: self._figure(node, figure) >= slot, PROGRESS_TIMEOUT_S)

    def _write(self, port: int, text: str) -> int:
        """Write a value of this run, remember it, and return its slot. Raises RequestError."""
        value = self._value(text)
        slot = self.cluster.write(port, value)
        self._written.append(value)
        return slot

    def _value(self, text: str) -> str:
        return f"scenario {self._token}/{text}"

    # ------------------------------------------------------------ telling

    def _title(self, text: str) -> None:
        self._step = text
        if not self._quiet:
            self._console.print(Text(f"\n{text}", style="bold"))

    def _note(self, text: str) -> None:
        if not self._quiet:
            self._console.print(Text(f"    {text}", style="dim"))

    def _check(self, text: str, passed: bool, detail: str = "") -> bool:
        """Tell and remember one check. Returns whether it passed."""
        self.checks.append(Check(step=self._step, text=text, passed=passed, detail=detail))
        if not self._quiet:
            line = Text("  ")
            mark, style = (self._tick, "green") if passed else (self._cross, "bold red")
            line.append(f"{mark} ", style=style)
            line.append(text)
            if detail:
                line.append(f"  ({detail})", style="dim" if passed else "red")
            self._console.print(line, soft_wrap=True)
        return passed


def _marks() -> tuple[str, str]:
    """Return a tick and a cross that standard output can show."""
    try:
        "✓✗".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "ok", "FAILED"
    return "✓", "✗"
