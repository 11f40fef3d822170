"""A counter-example, told: step by step, and as a ladder diagram.

It is played once more from the beginning, with live nodes, nothing looked up and no node renamed
(`Replay`). So what is told is what the real code really did, and a counter-example that does not
end in its violation is told as such.
"""

from __future__ import annotations

import msgspec

from paxos.core.types import NO_BALLOT, Ballot, NodeId, Role, Slot, role_of

from . import checks
from .events import Crash, Deliver, Event, Turn
from .explorer import Violation
from .live import Live
from .mail import Mail
from .moves import NO_EVENT
from .nodes import NODE_FAULTS, Nodes, applied_by, described
from .words import crash_text, event_text, message_text

COLUMN = 12
"""How wide a node's column of the ladder is, in characters."""


class Step(msgspec.Struct, frozen=True):
    """One step of a counter-example. `number` 0: an answer that changes nothing at its sender;
    it is not counted. `heard` is what arrived, and from whom; `items` is what leaves, and `sent`
    is the same in words.
    """

    number: int
    node: NodeId
    what: str
    heard: tuple[tuple[NodeId, int], ...]
    items: int
    sent: tuple[str, ...]


class Story(msgspec.Struct, frozen=True):
    """A counter-example as it was played again. Not `confirmed`: it did not end in a violation."""

    steps: list[Step]
    confirmed: bool


class Replay:
    """Live nodes that go through given steps, and what they have sent."""

    def __init__(self, nodes: Nodes) -> None:
        self.workshop = nodes.workshop
        self.mail = nodes.mail
        self.live: dict[NodeId, Live] = {}
        self.sent: dict[NodeId, int] = {}
        self.fault: str | None = None
        self._nodes = nodes
        self._used: dict[NodeId, Ballot] = {}
        for name in self.workshop.names:
            self.live[name] = self.workshop.founded(name)
            self.sent[name] = 0

    def play(self, name: NodeId, event: Event | None, crash: Crash | None) -> int:
        """Let one step happen. Returns what the node sent; what it raised is kept in `fault`."""
        sent = 0
        try:
            sent = self._play(name, event, crash)
        except NODE_FAULTS as fault:
            self.fault = described(fault)
        ballots = checks.ballots(self.mail.among(sent))
        if ballots and min(ballots) <= self._used.get(name, NO_BALLOT):
            self.fault = f"{name} used ballot {min(ballots)} in two lives"
        self.sent[name] = self.mail.joined(self.sent[name], sent)
        return sent

    def _play(self, name: NodeId, event: Event | None, crash: Crash | None) -> int:
        live = self.live[name]
        if crash is None:
            if event is None:
                raise LookupError("a step without an event")
            return self.workshop.run(live, event)
        if event is None:
            journal = self.workshop.journal_after(live, crash)
        else:
            journal = self.workshop.crashed_in(live, event, crash)
        if journal is None:
            raise LookupError("nothing was written that a disk could have kept")
        ballots = checks.ballots(self.mail.among(self.sent[name]))
        self._used[name] = max(ballots, default=NO_BALLOT)
        self.live[name], sent = self.workshop.started(name, journal)
        return sent

    def answers(self, name: NodeId) -> list[tuple[Deliver, int]]:
        """Return what a node could say now without changing: each event with what it makes it
        say. It is noted as sent.
        """
        found = []
        for sender in self.workshop.names:
            for item in self.mail.listed(self.sent[sender] & self.mail.addressed[name]):
                live = self.workshop.copy(self.live[name])
                event = Deliver(sender, item)
                try:
                    sent = self.workshop.run(live, event)
                except NODE_FAULTS:
                    continue  # that is a step of its own, if the search went there
                same = self._nodes.key_of(live) == self._nodes.key_of(self.live[name])
                new = sent & ~self.sent[name]
                if same and new and not new & self.mail.votes:
                    found.append((event, sent))
                    self.sent[name] |= sent
        return found

    def verdict(self) -> str | None:
        """Say what is wrong, if anything is."""
        if self.fault is not None:
            return self.fault
        proposed: dict[checks.Place, bytes] = {}
        votes = []
        applied: tuple[bytes, ...] = ()
        decided = Slot(0)
        for name, live in self.live.items():
            told = self.mail.among(self.sent[name])
            values, fault = checks.proposals(told)
            fault = fault or checks.acceptor_fault(live, told)
            if fault is not None:
                return fault
            proposed.update(values)
            if role_of(name) is Role.ACCEPTOR:
                votes.append(checks.votes_of(told))
            elif role_of(name) is Role.LEARNER:
                applied = applied_by(live)
            decided = max(decided, checks.decided(live, told))
        return checks.judged(votes, proposed, applied, decided, len(votes) // 2 + 1)[0]


def told(nodes: Nodes, violation: Violation) -> Story:
    """Play a counter-example again, from the beginning."""
    replay = Replay(nodes)
    steps: list[Step] = []
    number = 0
    for place, path in violation.moves:
        for event_number, crash in path:
            event = None if event_number == NO_EVENT else nodes.events[event_number]
            number += 1
            sent = replay.play(nodes.names[place], event, crash)
            steps.append(_step(number, nodes.names[place], event, crash, sent, replay.mail))
        for name in replay.workshop.membership.acceptors:
            for answer, said in replay.answers(name):
                steps.append(_step(0, name, answer, None, said, replay.mail))
    return Story(_needed(steps), replay.verdict() is not None)


def _needed(steps: list[Step]) -> list[Step]:
    """Leave out the answers that nobody hears."""
    kept: list[Step] = []
    wanted: dict[NodeId, int] = {}
    for step in reversed(steps):
        if not step.number and not step.items & wanted.get(step.node, 0):
            continue
        kept.append(step)
        for sender, item in step.heard:
            wanted[sender] = wanted.get(sender, 0) | 1 << item
    return kept[::-1]


def _step(
    number: int, node: NodeId, event: Event | None, crash: Crash | None, sent: int, mail: Mail
) -> Step:
    parts = [] if event is None else [event_text(event, mail)]
    parts += [] if crash is None else [crash_text(crash)]
    heard: tuple[Deliver, ...] = (event,) if isinstance(event, Deliver) else ()
    if isinstance(event, Turn):
        heard = (event.first, event.second)
    to: dict[str, list[str]] = {}
    for item in mail.listed(sent):
        to.setdefault(message_text(mail.messages[item]), []).append(mail.receivers[item])
    return Step(
        number,
        node,
        "; ".join(parts),
        tuple((one.sender, one.item) for one in heard),
        sent,
        tuple(f"{text} to {', '.join(names)}" for text, names in to.items()),
    )


# ---------------------------------------------------------------- for people


def step_lines(story: Story) -> list[str]:
    """Return a counter-example as numbered steps."""
    lines = []
    for step in story.steps:
        number = f"{step.number:3}" if step.number else "  -"
        lines.append(f"{number}  {step.node:<11} {step.what}")
        lines += [f"                 > {text}" for text in step.sent]
    return lines


def ladder_lines(story: Story, names: tuple[NodeId, ...]) -> list[str]:
    """Return a counter-example as a ladder diagram: an arrow for each message that arrives, when
    it arrives, and a star for what else happens to a node.
    """
    lines = ["     " + "".join(name.center(COLUMN) for name in names).rstrip()]
    for step in story.steps:
        number = f"{step.number:3}" if step.number else "  -"
        row = list(("|".center(COLUMN)) * len(names))
        here = _middle(names.index(step.node))
        if not step.heard:
            row[here] = "*"
        for sender, _ in step.heard:
            there = _middle(names.index(sender))
            for at in range(min(here, there) + 1, max(here, there)):
                row[at] = "-"
            row[here - 1 if here > there else here + 1] = ">" if here > there else "<"
        lines.append(f"{number}  {''.join(row)}  {step.what}")
    return lines


def _middle(column: int) -> int:
    return column * COLUMN + "|".center(COLUMN).index("|")
