"""The learner, looked at apart: what it may come to apply, given what was sent to it.

Where nobody hears a learner, nothing that it does makes a difference to anybody else, and what was
sent to it stays. So it need not be part of a state: whatever it can do, it can do later as well.
It only matters what it has heard when it applies a value, and whether that was chosen by then. So
the search for states leaves it out, and afterwards everything that it may hear is played to it,
in every order. (A crash of a learner only takes it back to where it begins.)

A value that was applied is justified if the votes that the learner has heard choose it. If they do
not, every state in which it may have heard just these is asked whether the others chose it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from paxos.core.messages import Accepted, Value, Values, Votes
from paxos.core.types import Ballot, NodeId, Slot

from .events import Deliver, Link
from .moves import Path
from .nodes import Nodes, Outcome

ENTRIES_MAX = 20_000
"""How many different things a learner may come to know from one inbox. Correct code stays below;
code that counts messages instead of acceptors would never end."""

Inbox: TypeAlias = tuple[int, ...]
"""What every other node has sent to the learner, in the order of the nodes."""

State: TypeAlias = tuple[int, ...]
"""The cells of a state, without its budget."""

Judge: TypeAlias = Callable[[State, tuple[bytes, ...]], str | None]
"""Says what is wrong if the learner has applied these values in a state."""


class Found(msgspec.Struct, frozen=True):
    """A rule that the learner breaks: in which state, and by which steps from its beginning."""

    what: str
    state: int
    path: Path
    depth: int


class Learning:
    """The learner of one world. `heard_max` bounds how many messages it hears, if anything.
    `sent` is what may have been sent to it: each inbox with the first state that has it, as its
    number, its depth and itself.
    """

    def __init__(
        self,
        nodes: Nodes,
        heard_max: int | None,
        sent: Mapping[Inbox, tuple[int, int, State]],
        judge: Judge,
    ) -> None:
        self.cut_short = False
        self._nodes = nodes
        self._name = nodes.names[-1]
        self._heard_max = heard_max
        self._quorum = len(nodes.acceptors) // 2 + 1
        self._sent, self._judge = sent, judge
        self._soonest = min(
            (depth for inbox, (_, depth, _) in sent.items() if any(inbox)), default=0
        )
        self._found: Found | None = None

    def search(self) -> Found | None:
        """Play to the learner whatever it may hear. Returns the soonest violation, if any."""
        for inbox in _largest(self._sent):
            self._play(inbox)
        return self._found

    def _play(self, inbox: Inbox) -> None:
        """Breadth-first through what the learner may know. An entry is a node and what it heard;
        one that heard more than another of the same node is dropped.
        """
        pairs = list(self._pairs(inbox))
        events = [
            (1 << bit, self._nodes.event(Deliver(self._nodes.names[place], item)))
            for bit, (place, item) in enumerate(pairs)
        ]
        start = self._nodes.first(self._name)
        known: dict[int, list[int]] = {start: [0]}
        entries: list[tuple[int, int, Path]] = [(start, 0, ())]
        for node, heard, path in entries:
            if self._too_long(len(path) + 1):
                return
            if len(entries) > ENTRIES_MAX:
                self.cut_short = True
                return
            for bit, event in [*events, *self._links(node)]:
                outcome = self._nodes.step(node, event)
                after = heard | bit
                steps = (*path, (event, None))
                if outcome.fault is None:
                    masks = known.setdefault(outcome.node, [])
                    if any([mask & after == mask for mask in masks]):
                        continue
                    masks.append(after)
                    entries.append((outcome.node, after, steps))
                if outcome.fault is not None or outcome.applied:
                    pieces = [pair for number, pair in enumerate(pairs) if after >> number & 1]
                    self._consider(pieces, outcome, steps)

    def _too_long(self, length: int) -> bool:
        """Tell whether so many messages are too many: for the world, or to be the soonest."""
        if self._heard_max is not None and length > self._heard_max:
            return True
        return self._found is not None and self._soonest + length >= self._found.depth

    def _links(self, node: int) -> list[tuple[int, int]]:
        """Return the links that may open and close: nothing is heard by that."""
        events = self._nodes.events
        choices = self._nodes.known[node].choices
        return [(0, event) for event in choices if isinstance(events[event], Link)]

    def _pairs(self, inbox: Inbox) -> Iterator[tuple[int, int]]:
        """Return the messages of an inbox: who sent each, and its number."""
        for place, items in enumerate(inbox):
            for item in self._nodes.mail.listed(items):
                yield place, item

    def _consider(self, heard: list[tuple[int, int]], outcome: Outcome, path: Path) -> None:
        """Keep what a learner did, if it is wrong in a state in which it may have heard just
        this. Where the votes that it heard choose what it applied, it is wrong nowhere.
        """
        applied = self._nodes.applied(outcome.node)
        if outcome.fault is None and self._justified(heard, applied):
            return
        needed = [0] * (len(self._nodes.names) - 1)
        for place, item in heard:
            needed[place] |= 1 << item
        for inbox, (number, depth, state) in self._sent.items():
            then = depth + len(path)
            if self._found is not None and then >= self._found.depth:
                continue
            if _contains(inbox, tuple(needed)):
                what = outcome.fault or self._judge(state, applied)
                if what is not None:
                    self._found = Found(what, number, path, then)

    def _justified(self, heard: list[tuple[int, int]], applied: tuple[bytes, ...]) -> bool:
        """Tell whether each applied value was accepted by a quorum at one ballot."""
        voters: dict[tuple[Slot, Ballot], set[NodeId]] = {}
        values: dict[tuple[Slot, Ballot], bytes] = {}
        for place, item in heard:
            message = self._nodes.mail.messages[item]
            match message:
                case Accepted(slot=slot, ballot=ballot):
                    voters.setdefault((slot, ballot), set()).add(self._nodes.names[place])
                case Value(slot=slot, ballot=ballot, value=value):
                    values[slot, ballot] = value
                case Votes(votes=votes):
                    for slot, ballot in votes:
                        voters.setdefault((slot, ballot), set()).add(self._nodes.names[place])
                case Values(values=accepted):
                    values.update({(one.slot, one.ballot): one.value for one in accepted})
                case _:
                    pass
        chosen = {
            (slot, values.get((slot, ballot)))
            for (slot, ballot), who in voters.items()
            if len(who) >= self._quorum
        }
        return all((number, value) in chosen for number, value in enumerate(applied, 1))


def _largest(inboxes: Iterable[Inbox]) -> list[Inbox]:
    """Return the inboxes that no other one contains."""
    kept: list[Inbox] = []
    for inbox in sorted(inboxes, key=lambda one: (-sum(map(int.bit_count, one)), one)):
        if not any(_contains(other, inbox) for other in kept):
            kept.append(inbox)
    return kept


def _contains(inbox: Inbox, other: Inbox) -> bool:
    """Tell whether an inbox holds all that another one holds."""
    return all([mine | theirs == mine for mine, theirs in zip(inbox, other, strict=True)])
