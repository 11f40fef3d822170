"""Plays a scenario: a text of commands, each with the output it had when it was recorded.

The form is that of etcd-io/raft's interaction tests:

    # A comment, kept as it is.
    crash proposer-1
    run-until leader
    ----
    proposer-2 leads

One or more commands, a line of dashes, what they said, an empty line. The cluster is simulated
(`paxos.sim.world`), so that a script says the same at every run. `pytest tests/scenarios
--rewrite` records the output anew.

Commands (NODES: names, or all, acceptors, proposers, learners, clients):

    world [acceptors=N] [proposers=N] [learners=N] [clients=N] [seed=N] [loss=P] [delay=MS]
          [snapshots=N]               a snapshot each N slots, in small parts
    start NODES | crash NODES | pause NODES | resume NODES
    wipe NODES                        crash, and lose the volume
    damage NODE TEXT                  crash, and find the volume damaged so
    transplant NODE from OTHER        crash both, and give NODE the volume of OTHER
    format NODE CLUSTER               crash, and give it a volume of another founding
    make NODES                        new nodes, with volumes that were made for this cluster
    member CLIENT add|remove NODE     ask for a change of the members, wait for the answer; from
                                      here on `acceptors` and so on are the members of now
    retire NODES                      crash, for good
    cut NODES | NODES                 no message passes either way; links stay
    cut-one-way NODES | NODES         no message passes from the left to the right
    heal
    run MS                            let simulated time pass
    run-until leader [NODE]           until some proposer (or this one) leads, highest ballot first
    run-until no-leader
    run-until ready                   until every running gateway has leader, learner and session
    run-until level                   until the running learners have applied all that was accepted
    run-until voting NODES | barred NODES
    run-until cut SLOT NODES          until these acceptors' logs begin after that slot or a later
    run-until whole NODES             until these acceptors hold all that is decided
    run-until epoch N NODES           until these nodes know that configuration
    write CLIENT VALUE...             append values over one connection, wait for the answers
    send CLIENT VALUE...              the same, and do not wait
    read CLIENT [stale]               the list of values
    do CLIENT COMMAND ARG...          any command through the log
    ask CLIENT COMMAND ARG...         any read-only command
    pipeline CLIENT STEP, STEP...     `write V` and `read` steps over one connection at once
    answers CLIENT                    what came for the last `send` of that client
    status NODES
    events WHAT...                    traces of these kinds since the last `events`
    forget                            forget the traces and messages so far
    messages KIND... [from NODES] [to NODES]      what was sent since `forget`
    ballots                           how many candidacies there were since the last `ballots`
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from paxos.core import configuring
from paxos.core.acceptor import Acceptor
from paxos.core.effects import (
    ClientChange,
    ClientReads,
    ClientStaleReads,
    ClientWrites,
    Stamped,
)
from paxos.core.gateway import Gateway
from paxos.core.learner import Learner
from paxos.core.messages import AnyMessage, Batch, Envelope, Members, OpenSession
from paxos.core.proposer import Proposer
from paxos.core.settings import Limits, Settings, Timeouts
from paxos.core.types import NodeId, Role, Slot, role_of
from paxos.sim.disk import SimulatedJournal
from paxos.sim.operator import newest
from paxos.sim.world import Network, World, membership_of

SCRIPTS = Path(__file__).with_name("scripts")
RULE = "----"
PATIENCE_MS = 20_000.0


class ScriptError(Exception):
    """A line of a script that cannot be played."""


class Section:
    """Some commands with what they said, or lines between them that are only kept."""

    def __init__(self, lines: list[str], commands: list[str], expected: list[str]) -> None:
        self.lines = lines
        self.commands = commands
        self.expected = expected

    def written(self, output: list[str]) -> list[str]:
        """Return the section as it stands in a script, with this output."""
        return [*self.lines, RULE, *output] if self.commands else self.lines


def sections(text: str) -> Iterator[Section]:
    """Cut a script into sections. Raises ScriptError for commands without a line of dashes."""
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.splitlines()
        if RULE in lines:
            cut = lines.index(RULE)
            head, expected = lines[:cut], lines[cut + 1 :]
        else:
            head, expected = lines, []
        commands = [line for line in head if line and not line.startswith("#")]
        if commands and RULE not in lines:
            raise ScriptError(f"no line of dashes after: {commands[-1]}")
        yield Section(head, commands, expected)


def play(text: str) -> str:
    """Return a script with the output that its commands have now."""
    player = Player()
    played = []
    for section in sections(text):
        output = [line for command in section.commands for line in player.run(command)]
        played.append("\n".join(section.written(output or ["ok"])))
    player.check_agreement()
    return "\n\n".join(played) + "\n"


class Player:
    """One world and the commands that act on it."""

    def __init__(self) -> None:
        self.world = World(1)
        self.world.keep_messages = True
        self._connections = 0
        self._last: dict[NodeId, tuple[int, int]] = {}
        self._events_from = 0
        self._ballots_before = 0
        self._clusters: list[str] = []

    def run(self, line: str) -> list[str]:
        """Carry out one command. Raises ScriptError for what is none."""
        name, *words = line.split()
        method: Callable[..., list[str]] | None = getattr(
            self, f"do_{name.replace('-', '_')}", None
        )
        if method is None:
            raise ScriptError(f"unknown command: {line}")
        return [self._masked(text) for text in method(*words)]

    def check_agreement(self) -> None:
        """Learners at the same slot have the same state: DESIGN rule 5."""
        seen: dict[int, str] = {}
        for name in self.world.membership.learners:
            role = self.world.role(name)
            if role is not None:
                digest = role.machine.digest()
                assert seen.setdefault(role.machine.applied, digest) == digest, "learners differ"

    # ------------------------------------------------------------ words

    def _nodes(self, words: Iterable[str]) -> list[NodeId]:
        membership = self.world.membership
        groups = {
            "all": membership.nodes,
            "acceptors": membership.acceptors,
            "proposers": membership.proposers,
            "learners": membership.learners,
            "clients": membership.gateways,
        }
        names: list[NodeId] = []
        for word in words:
            if word not in groups and word not in self.world.nodes:
                raise ScriptError(f"{word} names no node")
            names.extend(groups.get(word, (NodeId(word),)))
        return names

    def _sides(self, words: tuple[str, ...]) -> tuple[list[NodeId], list[NodeId]]:
        if words.count("|") != 1:
            raise ScriptError("two sides are wanted, with | between them")
        bar = words.index("|")
        return self._nodes(words[:bar]), self._nodes(words[bar + 1 :])

    def _masked(self, text: str) -> str:
        """Name the identities that clusters drew A, B ..., in the order of their appearance."""
        for node in self.world.nodes.values():
            cluster = getattr(node.role, "cluster", "")
            if len(cluster) == 14 and cluster not in self._clusters:
                self._clusters.append(cluster)
        for number, cluster in enumerate(self._clusters):
            text = text.replace(cluster, chr(ord("A") + number))
        return text

    # ------------------------------------------------------------ the world

    def do_world(self, *words: str) -> list[str]:
        known = dict(word.split("=", 1) for word in words)
        numbers = {name: int(known.pop(name, default)) for name, default in COUNTS.items()}
        membership = membership_of(
            numbers["acceptors"], numbers["proposers"], numbers["learners"], numbers["clients"]
        )
        settings = Settings()
        if "snapshots" in known:
            limits = Limits(snapshot_log_slots=int(known.pop("snapshots")), snapshot_part_bytes=400)
            settings = Settings(timeouts=Timeouts(upkeep_ms=100), limits=limits)
        network = Network(loss=float(known.pop("loss", 0)))
        network.delay_ms_max = float(known.pop("delay", network.delay_ms_max))
        self.world = World(int(known.pop("seed", 1)), membership, settings, network)
        self.world.keep_messages = True
        if known:
            raise ScriptError(f"unknown: {', '.join(known)}")
        self._events_from = self._ballots_before = 0
        self._clusters = []
        return []

    def do_start(self, *words: str) -> list[str]:
        self.world.start(self._nodes(words))
        return []

    def do_crash(self, *words: str) -> list[str]:
        for name in self._nodes(words):
            self.world.crash(name)
        return []

    def do_pause(self, *words: str) -> list[str]:
        for name in self._nodes(words):
            self.world.pause(name)
        return []

    def do_resume(self, *words: str) -> list[str]:
        for name in self._nodes(words):
            self.world.resume(name)
        return []

    def do_wipe(self, *words: str) -> list[str]:
        for name in self._nodes(words):
            self.world.wipe(name)
        return []

    def do_damage(self, name: str, *words: str) -> list[str]:
        [node] = self._nodes([name])
        self.world.crash(node)
        journal = self._journal(node)
        found = SimulatedJournal()
        journal.crash(damage=" ".join(words), after=found)
        self.world.nodes[node].journal = found
        return []

    def do_transplant(self, name: str, word: str, other: str) -> list[str]:
        node, donor = self._nodes([name, other])
        if word != "from":
            raise ScriptError("transplant NODE from OTHER")
        for crashed in (node, donor):
            self.world.crash(crashed)
        self.world.nodes[node].journal = copy.deepcopy(self._journal(donor))
        self.world.nodes[node].snapshots = copy.deepcopy(self.world.nodes[donor].snapshots)
        return []

    def do_format(self, name: str, cluster: str) -> list[str]:
        [node] = self._nodes([name])
        self.world.wipe(node)
        self.world.wipe(node)
        acceptors = self.world.membership.acceptors
        journal = self._journal(node)
        stamp = Stamped(cluster=cluster, node=node, phase="formatted", acceptors=acceptors)
        journal.append(stamp)
        journal.sync()
        self.world.nodes[node].journal = journal.next_life()
        return []

    def do_make(self, *words: str) -> list[str]:
        world = self.world
        for name in map(NodeId, words):
            stamp = Stamped(
                cluster=world.identity,
                node=name,
                phase="joining",
                acceptors=world.founding.acceptors,
            )
            world.add(name, stamp if role_of(name) is Role.ACCEPTOR else None)
        return []

    def do_retire(self, *words: str) -> list[str]:
        for name in self._nodes(words):
            self.world.retire(name)
        return []

    def _journal(self, node: NodeId) -> SimulatedJournal:
        journal = self.world.nodes[node].journal
        if journal is None:
            raise ScriptError(f"{node} has no volume")
        return journal

    def do_cut(self, *words: str) -> list[str]:
        self.world.cut(*self._sides(words))
        return []

    def do_cut_one_way(self, *words: str) -> list[str]:
        self.world.cut(*self._sides(words), both=False)
        return []

    def do_heal(self) -> list[str]:
        self.world.heal()
        return []

    # ------------------------------------------------------------ time

    def do_run(self, milliseconds: str) -> list[str]:
        self.world.run_for(float(milliseconds))
        return []

    def do_run_until(self, what: str, *words: str) -> list[str]:
        world = self.world
        match what:
            case "leader":
                wanted = self._nodes(words) or None
                done = world.run_until(
                    lambda: world.leader in (wanted or world.membership.proposers), PATIENCE_MS
                )
                return [f"{world.leader} leads"] if done else ["nobody leads"]
            case "no-leader":
                done = world.run_until(lambda: not self._leaders(), PATIENCE_MS)
                return ["nobody leads"] if done else [f"{', '.join(self._leaders())} leads"]
            case "ready":
                done = world.run_until(self._ready, PATIENCE_MS)
                return ["ready"] if done else ["not ready"]
            case "level":
                done = world.run_until(self._level, PATIENCE_MS)
                return ["level"] if done else ["not level"]
            case "voting" | "barred":
                phase = "open" if what == "voting" else what
                nodes = self._nodes(words)
                done = world.run_until(
                    lambda: all(self._phase(name) == phase for name in nodes), PATIENCE_MS
                )
                return [f"{', '.join(nodes)}: {'' if done else 'not '}{what}"]
            case "cut":
                slot, nodes = int(words[0]), self._nodes(words[1:])
                done = world.run_until(
                    lambda: all(self._journal(name).base >= slot for name in nodes), PATIENCE_MS
                )
                return [f"{', '.join(nodes)}: {'' if done else 'not '}cut"]
            case "epoch":
                epoch, nodes = int(words[0]), self._nodes(words[1:])
                done = world.run_until(
                    lambda: all(self._epoch(name) >= epoch for name in nodes), PATIENCE_MS
                )
                return [f"{', '.join(nodes)}: epoch {epoch}{'' if done else ' is not known'}"]
            case "whole":
                nodes = self._nodes(words)
                done = world.run_until(lambda: all(map(self._whole, nodes)), PATIENCE_MS)
                return [f"{', '.join(nodes)}: {'' if done else 'not '}whole"]
            case _:
                raise ScriptError(f"run-until {what}?")

    def _leaders(self) -> list[NodeId]:
        return [
            name
            for name in self.world.membership.proposers
            if isinstance(role := self.world.role(name), Proposer) and role.phase == "leading"
        ]

    def _ready(self) -> bool:
        states = [
            role.status()
            for name in self.world.membership.gateways
            if isinstance(role := self.world.role(name), Gateway)
        ]
        return bool(states) and all(s.leader and s.learner and s.session for s in states)

    def _level(self) -> bool:
        world = self.world
        applied = {
            role.machine.applied
            for name in world.membership.learners
            if isinstance(role := world.role(name), Learner)
        }
        accepted = max(
            role.log.highest_slot
            for name in world.membership.acceptors
            if isinstance(role := world.role(name), Acceptor)
        )
        return applied == {accepted}

    def _whole(self, name: NodeId) -> bool:
        """Tell whether an acceptor has every slot that any acceptor has, or has cut it off."""
        acceptors = self.world.membership.acceptors
        goal = Slot(max(self._journal(one).highest_slot for one in acceptors))
        return not self._journal(name).missing(Slot(1), goal, 1)

    def _epoch(self, name: NodeId) -> int:
        role = self.world.role(name)
        return role.view.epoch if role is not None else -1

    def _phase(self, name: NodeId) -> str:
        role = self.world.role(name)
        return str(role.phase) if isinstance(role, Acceptor) else "down"

    # ------------------------------------------------------------ clients

    def _ask(self, client: str, events: list[Any], count: int) -> int:
        [gateway] = self._nodes([client])
        for event in events:
            self.world.submit(gateway, event)
        self._last[gateway] = (self._connections, count)
        return self._connections

    def _connection(self) -> int:
        self._connections += 1
        return self._connections

    def _wait(self, connection: int, count: int) -> list[str]:
        replies = self.world.wait_for_replies(connection, count, PATIENCE_MS)
        missing = count - len(replies)
        return [*map(shown, replies), *([f"{missing} unanswered"] if missing else [])]

    def do_write(self, client: str, *values: str) -> list[str]:
        self.do_send(client, *values)
        return self._wait(self._connections, len(values))

    def do_send(self, client: str, *values: str) -> list[str]:
        commands = [[b"WRITE", value.encode()] for value in values]
        event = ClientWrites(connection=self._connection(), commands=commands)
        self._ask(client, [event], len(values))
        return []

    def do_answers(self, client: str) -> list[str]:
        [gateway] = self._nodes([client])
        connection, count = self._last[gateway]
        replies = self.world.replies.get(connection, [])
        return [*map(shown, replies), *["nothing yet"] * (count - len(replies))]

    def do_read(self, client: str, how: str = "") -> list[str]:
        kind = ClientStaleReads if how == "stale" else ClientReads
        event = kind(connection=self._connection(), commands=[[b"READ"]])
        return self._wait(self._ask(client, [event], 1), 1)

    def do_do(self, client: str, *words: str) -> list[str]:
        return self._command(ClientWrites, client, words)

    def do_ask(self, client: str, *words: str) -> list[str]:
        return self._command(ClientReads, client, words)

    def _command(
        self, kind: type[ClientWrites | ClientReads], client: str, words: tuple[str, ...]
    ) -> list[str]:
        command = [word.encode() for word in words]
        event = kind(connection=self._connection(), commands=[command])
        answers = self._wait(self._ask(client, [event], 1), 1)
        return [answer.removeprefix("slot ") for answer in answers]

    def do_member(self, client: str, how: str, name: str) -> list[str]:
        if how not in ("add", "remove"):
            raise ScriptError("member CLIENT add|remove NODE")
        event = ClientChange(connection=self._connection(), add=how == "add", node=NodeId(name))
        [answer] = self._wait(self._ask(client, [event], 1), 1)
        known = newest(self.world)
        if known is not None:
            self.world.membership = configuring.membership_of(
                known.members, self.world.founding.discovery
            )
        return [answer.replace("slot", "epoch")]

    def do_pipeline(self, client: str, *words: str) -> list[str]:
        connection = self._connection()
        events: list[Any] = []
        for step in " ".join(words).split(","):
            match step.split():
                case ["write", value]:
                    command = [b"WRITE", value.encode()]
                    events.append(ClientWrites(connection=connection, commands=[command]))
                case ["read"]:
                    events.append(ClientReads(connection=connection, commands=[[b"READ"]]))
                case _:
                    raise ScriptError(f"no step of a pipeline: {step}")
        return self._wait(self._ask(client, events, len(events)), len(events))

    # ------------------------------------------------------------ looking

    def do_status(self, *words: str) -> list[str]:
        return [f"{name}: {self._status(name)}" for name in self._nodes(words)]

    def _status(self, name: NodeId) -> str:
        node = self.world.nodes[name]
        paused = "paused, " if node.paused else ""
        match node.role:
            case None:
                return "down"
            case Proposer() as proposer:
                status = proposer.status()
                following = f", leader {status.leader or 'unknown'}"
                own = f", ballot {status.ballot}, decided {status.decided}"
                leading = status.phase == "leading"
                return f"{paused}{status.phase}{own if leading else following}"
            case Acceptor() as acceptor:
                state = acceptor.status()
                if acceptor.voting:
                    base = state.keeping.base
                    cut = f", cut at {base}" if base else ""
                    highest = f"slots to {state.highest_slot}"
                    return f"{paused}voting, promised {state.promised}{cut}, {highest}"
                return f"{paused}{state.phase}: {state.reason}"
            case Learner() as learner:
                told = learner.status()
                return f"{paused}applied {told.applied}, {told.values} values, {told.keys} keys"
            case Gateway() as gateway:
                view = gateway.status()
                voting = f"{len(view.quorum.voting)} of {view.quorum.of} vote"
                return f"{paused}leader {view.leader}, {voting}, {view.inflight} under way"
            case _:
                return f"{paused}running"

    def do_events(self, *kinds: str) -> list[str]:
        traces = self.world.traces[self._events_from :]
        self._events_from = len(self.world.traces)
        return [f"{name}: {t.text}" for _, name, t in traces if t.what in kinds] or ["none"]

    def do_forget(self) -> list[str]:
        self._events_from = len(self.world.traces)
        self.world.sent.clear()
        return []

    def do_messages(self, *words: str) -> list[str]:
        kinds, senders, receivers = [], [], []
        into = kinds
        for word in words:
            if word in ("from", "to"):
                into = senders if word == "from" else receivers
            else:
                into.append(word)
        sources, targets = self._nodes(senders), self._nodes(receivers)
        return [
            f"{sender} -> {to}: {described(message)}"
            for _, sender, to, message in self.world.sent
            if type(message).__name__ in kinds
            and (not sources or sender in sources)
            and (not targets or to in targets)
        ] or ["none"]

    def do_ballots(self) -> list[str]:
        total = sum(trace.what == "preparing" for _, _, trace in self.world.traces)
        before, self._ballots_before = self._ballots_before, total
        return [f"candidacies: {total - before}"]


COUNTS = {"acceptors": 3, "proposers": 3, "learners": 2, "clients": 2}


def shown(reply: Any) -> str:
    """Render a reply for people."""
    match reply:
        case None:
            return "nil"
        case int():
            return f"slot {reply}"
        case bytes():
            return reply.decode()
        case str():
            return reply
        case {"error": str(text)}:
            return text
        case [] | [[int(), bytes()], *_]:
            return " ".join(f"{slot}:{value.decode()}" for slot, value in reply) or "(empty)"
        case _:
            return repr(reply)


def described(message: AnyMessage) -> str:
    """Render a message with its short fields; values by what they hold."""
    fields = []
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if name == "epoch" and not value:
            continue  # that of the founding
        if name == "value":
            value = held(value)
        elif isinstance(value, Members):
            value = f"[{', '.join(value.acceptors)}, ...]"
        elif isinstance(value, list):
            value = f"[{', '.join(held_in(item) for item in value)}]"
        elif isinstance(value, bytes):
            continue
        fields.append(f"{name}={value}")
    return f"{type(message).__name__}({', '.join(fields)})"


def held_in(item: Any) -> str:
    """Render an element of a list inside a message."""
    if hasattr(item, "value") and hasattr(item, "slot"):
        return f"{item.slot}@{item.ballot}:{held(item.value)}"
    return str(item)


def held(value: bytes) -> str:
    """Say what a slot's value holds."""
    if not value:
        return "no-op"
    change = configuring.change_in(value)
    if change is not None:
        return f"<epoch {change.epoch}: {', '.join(change.members.acceptors)}, ...>"
    parts = []
    for data in msgspec.msgpack.decode(value, type=Envelope).batches:
        part = msgspec.msgpack.decode(data, type=Batch | OpenSession)
        if isinstance(part, OpenSession):
            parts.append("session")
        else:
            commands = msgspec.msgpack.decode(part.commands, type=list[list[bytes]])
            parts.extend(b" ".join(command).decode() for command in commands)
    return f"<{', '.join(parts) or 'time'}>"


def main(names: list[str]) -> None:
    """Play scripts by name and print them: for runs in a process of their own."""
    for name in names:
        sys.stdout.write(play((SCRIPTS / name).read_text(encoding="utf-8")))


if __name__ == "__main__":
    main(sys.argv[1:])
