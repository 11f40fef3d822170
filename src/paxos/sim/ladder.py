"""A failed run as a text ladder diagram: one column per node that matters, time running down.

      ms   proposer  acceptor  acceptor
               1         1         2
    12.0       o--------->---------x     Accept(ballot 101, slot 3, value A)

`o` sends, `>` or `<` takes in, `x` never got it, `~` gets it later, in a line of its own.
A node's column is empty while it is down. What is told is story.py's choice; here it is only drawn:
the clients' operations as bars above it when their history is what is wrong, and the last state of
every node when nothing went wrong but progress.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from paxos.core.trace import Level
from paxos.core.types import NodeId, Role, number_of, role_of

from . import history, linearizability, wording
from .history import Operation
from .recording import Recording
from .story import ARRIVED, CRASHED, LATE, LOST, STARTED, UNDER_WAY, Line, Story, focus_on, tell

WIDTH = 120
"""No line is longer than so many characters."""

LINES_MAX = 80
"""About so many lines at most; those in the middle are left out."""

TEXT_MIN = 50
"""Texts beside the columns have at least so much room."""

TIME = 10
"""How wide the column of times is."""

OPERATIONS_MAX = 12
"""So many bars of client operations at most."""

TRACES = 15
"""So many of the last traces are shown when there was no progress."""

_HEADING_WORDS = {"proposer": "prop", "acceptor": "acc", "learner": "lrn", "client": "cli"}


def ladder(recording: Recording, width: int = WIDTH, lines_max: int = LINES_MAX) -> list[str]:
    """Return the diagram of a run that has failed, line by line; nothing for one that has not.

    Raises ValueError when the recording's run has not been lived through.
    """
    outcome = recording.outcome
    if outcome is None:
        raise ValueError("the recording's run has not happened yet")
    if not outcome.violation:
        return []
    offending = _offending(recording)
    story = tell(recording, focus_on(recording, offending))
    drawn = [*_bars(recording, offending, width)]
    if outcome.kind == "liveness":
        drawn = [*_last_state(recording, width)]
        if not story.lines:
            return drawn
    drawn.extend(f"value {letter} = {what}"[:width] for letter, what in story.values.items())
    if drawn:
        drawn.append("")
    drawn.extend(_Drawing(recording, story, width).draw(max(20, lines_max - len(drawn))))
    return [line.rstrip() for line in drawn]


class _Drawing:
    """Draws a story's lines beside its columns."""

    def __init__(self, recording: Recording, story: Story, width: int) -> None:
        self._recording = recording
        self._story = story
        self._width = width
        count = max(1, len(story.nodes))
        self._column = max(4, min(10, (width - TIME - TEXT_MIN) // count))
        self._at = {
            name: TIME + self._column * number + self._column // 2
            for number, name in enumerate(story.nodes)
        }
        self._left = TIME + self._column * count + 1
        self._downs = _downs(recording)

    def draw(self, lines_max: int) -> list[str]:
        body = [self._line(line) for line in self._story.lines]
        outcome = self._recording.outcome
        violation = outcome.violation if outcome else ""
        end = f"{self._recording.now_ms:8.1f}  VIOLATION: {violation}"
        tail = textwrap.wrap(end, self._width, subsequent_indent=" " * TIME)
        room = lines_max - len(tail) - 4
        if sum(map(len, body)) > room:
            body = _without_the_middle(body, room)
        return [*self._heading(), *(row for rows in body for row in rows), *tail, "", _KEY]

    def _heading(self) -> list[str]:
        top, bottom = [" "] * self._left, [" "] * self._left
        top[: len("      ms")] = "      ms"
        for name, at in self._at.items():
            word = role_of(name).value
            if len(word) >= self._column:
                word = _HEADING_WORDS.get(word, word)[: self._column - 1]
            _put(top, at - len(word) // 2, word)
            _put(bottom, at, str(number_of(name)))
        return ["".join(top), "".join(bottom)]

    def _line(self, line: Line) -> list[str]:
        row = self._lives(line.at_ms)
        blank = "".join(row)
        _put(row, 0, f"{line.at_ms:8.1f}")
        text = line.text
        if line.sender is not None:
            self._arrow(row, line)
        elif line.nodes:
            for name in line.nodes:
                row[self._at[name]] = line.sign
            who = ", ".join(line.nodes)
            text = f"{text} at {who}" if line.sign == ARRIVED else f"{who}: {text}"
        else:
            text = f"-- {text}"
        rows = textwrap.wrap(text, self._width - self._left, subsequent_indent="    ") or [""]
        return [("".join(row) if number == 0 else blank) + part for number, part in enumerate(rows)]

    def _lives(self, at_ms: float) -> list[str]:
        """Return a row with a bar for every node that is up at this time."""
        row = [" "] * self._left
        for name, at in self._at.items():
            down = any(a <= at_ms < b for a, b in self._downs.get(name, ()))
            row[at] = " " if down else "|"
        return row

    def _arrow(self, row: list[str], line: Line) -> None:
        if line.sender is None or line.sender not in self._at:
            return
        start = self._at[line.sender]
        ends = {self._at[name]: fate for name, fate in line.fates.items()}
        for low, high in ((min([start, *ends]), start), (start, max([start, *ends]))):
            for at in range(low, high):
                if row[at] == " ":
                    row[at] = "-"
        for at, fate in ends.items():
            row[at] = ("<" if at < start else ">") if fate == ARRIVED else fate
        row[start] = "o"


_KEY = (
    f"o sends, > < arrives, {LOST} never arrives, {LATE} arrives later, {UNDER_WAY} was "
    f"under way at the end; {CRASHED} dies, {STARTED} starts"
)


def _put(row: list[str], at: int, text: str) -> None:
    """Write a text into a row, as far as it fits."""
    for offset, character in enumerate(text):
        if 0 <= at + offset < len(row):
            row[at + offset] = character


def _without_the_middle(body: list[list[str]], room: int) -> list[list[str]]:
    """Keep the beginning and the end of a story that is too long: the end explains more."""
    first: list[list[str]] = []
    last: list[list[str]] = []
    for rows in body:
        if sum(map(len, first)) + len(rows) > room // 3:
            break
        first.append(rows)
    for rows in reversed(body):
        if sum(map(len, last)) + len(rows) > room - room // 3 - 1:
            break
        last.insert(0, rows)
    left_out = len(body) - len(first) - len(last)
    return [*first, [f"      ... {left_out} events left out ..."], *last]


def _downs(recording: Recording) -> dict[NodeId, list[tuple[float, float]]]:
    """Return when each node was down: from its death, or the beginning, to its next start."""
    since: dict[NodeId, float] = dict.fromkeys(recording.run.membership.nodes, -1.0)
    downs: dict[NodeId, list[tuple[float, float]]] = {}
    for moment in recording.moments:
        if moment.what == "start" and moment.node in since:
            downs.setdefault(moment.node, []).append((since.pop(moment.node), moment.at_ms))
        elif moment.what == "crash":
            since[moment.node] = moment.at_ms
    for node, at_ms in since.items():
        downs.setdefault(node, []).append((at_ms, float("inf")))
    return downs


# ---------------------------------------------------------------- clients


def _offending(recording: Recording) -> list[Operation]:
    """Return the operations of the clients that contradict one another, if that is what failed."""
    violation = recording.outcome.violation if recording.outcome else ""
    if "not linearizable" not in violation:
        return []
    operations = history.operations(recording.run.workload.history)
    return linearizability.check(operations).offending


def _bars(recording: Recording, operations: list[Operation], width: int) -> Iterator[str]:
    """Yield the operations as bars over time, in the order in which they were invoked."""
    if not operations:
        return
    shown = operations[-OPERATIONS_MAX:]
    end_ms = recording.run.world.now_ms
    ends = [
        one.returned if one.returned is not None and one.outcome != "info" else end_ms
        for one in shown
    ]
    low, high = min(one.invoked for one in shown), max(ends)
    room = width - 62
    scale = (room - 1) / max(high - low, 0.001)
    began = recording.began_ms
    yield f"operations that contradict one another, {low - began:.1f} to {high - began:.1f} ms"
    if len(operations) > len(shown):
        yield f"... {len(operations) - len(shown)} earlier ones left out ..."
    for one, end in zip(shown, ends, strict=True):
        a, b = int((one.invoked - low) * scale), int((end - low) * scale)
        answered = one.returned is not None and one.outcome != "info"
        bar = "[" + "=" * max(0, b - a - 1) + ("]" if answered else "?")
        what = wording.described(one)
        if len(what) > 34:
            what = what[:31] + "..."
        label = f"process {one.process:<4}{one.node:9} {what}"
        yield f"{label:58} {' ' * a}{bar}"[:width]
    yield "([ asked, ] answered, ? never answered: it may take effect at any later time)"


# ---------------------------------------------------------------- no progress


def _last_state(recording: Recording, width: int) -> Iterator[str]:
    """Yield what every node was like at the end, whom it reached, and the last traces."""
    world = recording.run.world
    yield f"at {recording.now_ms:.0f} ms (leader: {world.leader or 'nobody'}):"
    for name, node in world.nodes.items():
        if role_of(name) is Role.DISCOVERY:
            continue
        if node.role is None:
            yield f"  {name:11} down"
            continue
        words = ["paused"] if node.paused else []
        words.extend(["waits for its disk"] if node.syncing else [])
        status = node.role.status()
        for field in _TOLD:
            value = getattr(status, field, None)
            if value:
                told = ", ".join(map(str, value)) if isinstance(value, list | dict) else value
                words.append(f"{field.replace('_', ' ')} {told}")
        yield from _wrapped(f"  {name:11} {'; '.join(words)}", width)
        silent = _unreached(recording, name)
        if silent:
            yield from _wrapped(f"  {'':11} cannot be heard by {', '.join(silent)}", width)
    yield "the last things that happened:"
    told = [
        (at - recording.began_ms, node, trace)
        for at, node, trace in world.traces
        if trace.level is not Level.DEBUG
    ]
    for at, node, trace in told[-TRACES:]:
        yield f"  {at:8.1f} {node:11} {trace.text}"[:width]


_TOLD = (
    *("phase", "reason", "ballot", "leader", "promised", "highest_slot", "decided", "next_slot"),
    *("inflight", "queued", "voting", "abstaining", "applied", "missing", "reads_waiting"),
    *("session", "learner"),
)
"""What is told of a node's status when there was no progress."""


def _unreached(recording: Recording, name: NodeId) -> list[NodeId]:
    """Return the nodes that are up and that the last message of this one did not reach."""
    world = recording.run.world
    reached: dict[NodeId, bool] = {}
    latest_ms = recording.now_ms - world.network.delay_ms_max
    for sending in recording.sendings:
        if sending.sender == name and sending.at_ms <= latest_ms:
            reached.update({to: to in sending.arrived for to in sending.to})
    return [to for to, arrived in reached.items() if not arrived and world.nodes[to].running]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="    ", replace_whitespace=False) or [""]
