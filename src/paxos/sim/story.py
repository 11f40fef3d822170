"""Of all that happened in a failed run, what led to the violation: the lines of a ladder diagram.

A run sends tens of thousands of messages; the violation is about a slot, two ballots and a node. So
the violation's text says what to look for (`Focus`), and every message is asked whether it is about
that (`_Teller`): phase 1 and 2 of those ballots in those slots, the lives of the nodes concerned,
and for a client's history the batches and the reads of the operations that contradict each other.
Heartbeats, canvasses and other slots are left out. Refuses to draw: that is ladder.py's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from paxos.core.messages import (
    Abstain,
    Accept,
    Accepted,
    AskHighest,
    Highest,
    Nack,
    OutOfOrder,
    Prepare,
    Promise,
    Read,
    ReadResults,
    Results,
    Submit,
    Unstick,
    Value,
    Values,
    Votes,
)
from paxos.core.types import Ballot, NodeId, Role, Slot, owner_of, role_of

from .contents import (
    BatchId,
    asks,
    batches_of,
    carries,
    commands_of,
    described,
    id_of,
    spelled,
    stamp_of,
)
from .history import Operation
from .recording import Moment, Recording, Sending

LATE_MS = 25.0
"""A message that takes longer gets a line of its own where it arrives."""

TAIL = 30
"""So many of the last messages are shown when the violation names nothing to look for."""

ARRIVED, LATE, LOST, UNDER_WAY = ">", "~", "x", "?"
"""What became of a message at one receiver."""

CRASHED, STARTED, CHANGED = "X", "^", "="
"""What happened to a node."""

_BALLOT_WORDS = r"ballots?|promised|promise of|after|finds|holds"


class Line(msgspec.Struct, kw_only=True):
    """One line of the ladder. With a `sender` it is a message, `fates` by receiver; with
    `nodes` something that happened there, `sign` saying what; with neither it is about everybody.
    """

    at_ms: float
    text: str
    sender: NodeId | None = None
    fates: dict[NodeId, str] = {}
    nodes: tuple[NodeId, ...] = ()
    sign: str = CHANGED


class Focus(msgspec.Struct, kw_only=True):
    """What a violation is about. `reads` are (gateway, read),
    `rounds` (learner, round) of the questions behind them.

    `learning` and `electing`: whether it matters how learners came to know, and who led. Nothing
    after `until_ms`, simulated milliseconds since the start, has to do with it.
    """

    slots: set[Slot] = set()
    ballots: set[Ballot] = set()
    nodes: set[NodeId] = set()
    batches: set[BatchId] = set()
    reads: set[tuple[NodeId, int]] = set()
    rounds: set[tuple[NodeId, int]] = set()
    learning: bool = False
    electing: bool = True
    until_ms: float = float("inf")


class Story(msgspec.Struct, kw_only=True):
    """What a ladder shows: who matters, line after line, and what the values' letters stand for."""

    nodes: list[NodeId]
    lines: list[Line]
    values: dict[str, str]


def focus_of(violation: str) -> Focus:
    """Return what a violation's text names."""
    focus = Focus()
    for name in re.findall(r"\b(?:acceptor|proposer|learner|client)-\d+\b", violation):
        focus.nodes.add(NodeId(name))
    batch = re.search(r"batch (\d+) of ([\w-]+)'s session (\d+)", violation)
    if batch:
        focus.batches.add((NodeId(batch[2]), Slot(int(batch[3])), int(batch[1])))
    plain = re.sub(r"\b[a-z]+-\d+(?:'s)?|session \d+|batch \d+|life \d+", " ", violation)
    for match in re.finditer(r"\bslots? (\d+)((?: and \d+)*)", plain):
        focus.slots.update(Slot(int(n)) for n in re.findall(r"\d+", match[0]))
    for number in re.findall(rf"(?:{_BALLOT_WORDS}) (\d+)", plain):
        if int(number) > 100:
            focus.ballots.add(Ballot(int(number)))
    focus.learning = bool(batch) or "learner" in violation or "applied" in violation
    return focus


def focus_on(recording: Recording, offending: Sequence[Operation]) -> Focus:
    """Return what a run's failure is about: the operations that contradict, or what the violation
    names, or, where there was no progress, the slot after the last decided one.
    """
    outcome = recording.outcome
    violation = outcome.violation if outcome else ""
    if offending:
        focus = Focus(learning=True, until_ms=0.0)
        _look_for_operations(recording, offending, focus)
    elif outcome is not None and outcome.kind == "liveness":
        focus = Focus(slots={_stuck_slot(recording)}, learning=True)
    else:
        focus = focus_of(violation)
    named = bool(focus.ballots)
    for sending in recording.sendings:
        message = sending.message
        if isinstance(message, Accept) and message.slot in focus.slots:
            focus.ballots.add(message.ballot)
    # One leader all the time: how it came to lead explains nothing.
    focus.electing = named or len(focus.ballots) != 1
    return focus


def tell(recording: Recording, focus: Focus) -> Story:
    """Return the story of a failed run: all that is about what we look for."""
    return _Teller(recording, focus).tell()


def _stuck_slot(recording: Recording) -> Slot:
    """Return the first slot that the leader has open, or that no learner that is up has applied."""
    world = recording.run.world
    if world.leader is not None and world.role(world.leader).open:
        return Slot(min(world.role(world.leader).open))
    roles = [world.role(name) for name in world.membership.learners]
    return Slot(max((role.machine.applied for role in roles if role is not None), default=0) + 1)


# ---------------------------------------------------------------- clients


def _look_for_operations(
    recording: Recording, offending: Sequence[Operation], focus: Focus
) -> None:
    """Find the batches and reads that carried these operations, and the slots that chose them."""
    for operation in offending:
        until_ms = recording.now_ms
        began = operation.invoked - recording.began_ms
        if operation.returned is not None and operation.outcome != "info":
            until_ms = operation.returned - recording.began_ms
            focus.until_ms = max(focus.until_ms, until_ms)
        for sending in recording.sendings:
            if sending.sender != operation.node or not began <= sending.at_ms <= until_ms:
                continue
            message = sending.message
            if isinstance(message, Submit) and carries(message.batch, operation):
                known = id_of(message.batch)
                if known is not None:
                    focus.batches.add(known)
            elif isinstance(message, Read) and asks(message.commands, operation):
                focus.reads.add((sending.sender, message.read))
    for sending in recording.sendings:
        message = sending.message
        if isinstance(message, Accept) and batches_of(message.value) & focus.batches:
            focus.slots.add(message.slot)
    _look_for_rounds(recording, focus)


def _look_for_rounds(recording: Recording, focus: Focus) -> None:
    """Find the questions to the acceptors that stood between each read and its answer."""
    asked: dict[NodeId, int] = {}
    for sending in recording.sendings:
        message = sending.message
        if isinstance(message, Read) and (sending.sender, message.read) in focus.reads:
            asked.update({learner: 0 for learner in sending.arrived})
        elif isinstance(message, AskHighest) and sending.sender in asked:
            focus.rounds.add((sending.sender, message.round))
        elif isinstance(message, ReadResults) and (sending.to[0], message.read) in focus.reads:
            asked.pop(sending.sender, None)


# ---------------------------------------------------------------- telling


class _Teller:
    """Makes the lines. Values get letters in the order in which they are met."""

    def __init__(self, recording: Recording, focus: Focus) -> None:
        self._recording = recording
        self._focus = focus
        self._letters: dict[bytes, str] = {}
        self._end_ms = recording.now_ms
        self._numbers: dict[tuple[str, int], int] = {}
        self._deciding = _deciding_votes(recording)

    def tell(self) -> Story:
        told = [(one, text) for one in self._recording.sendings if (text := self._text(one))]
        if not told and not self._focus.slots:
            told = self._tail()
        nodes = self._nodes([one for one, _ in told])
        lines: list[Line] = []
        for sending, text in _without_repetitions(told, bool(self._focus.slots)):
            lines.extend(self._message(sending, text, nodes))
        from_ms = min((line.at_ms for line in lines), default=0.0)
        lines.extend(self._moments(nodes, from_ms))
        # What begins a fault stands above what it does at the same moment.
        lines = [*self._faults(from_ms), *_together(lines)]
        lines = [line for line in lines if line.at_ms <= self._focus.until_ms]
        lines.sort(key=lambda line: line.at_ms)
        return Story(nodes=nodes, lines=lines, values=_legend(self._letters))

    def _nodes(self, told: list[Sending]) -> list[NodeId]:
        """Return who gets a column, in the order of the roles: proposers, acceptors, learners,
        gateways. A learner gets one only where learning matters.
        """
        focus, membership = self._focus, self._recording.run.membership
        named = set(focus.nodes)
        for sending in told:
            named.add(sending.sender)
            if not isinstance(sending.message, Accepted | Value | Votes | Values | Unstick):
                named.update(sending.to)
        for ballot in focus.ballots:
            named.add(owner_of(ballot))
        order = (
            *membership.gateways,
            *membership.proposers,
            *membership.acceptors,
            *membership.learners,
        )
        return [name for name in order if name in named]

    def _tail(self) -> list[tuple[Sending, str]]:
        """Return the last messages of any kind but the regular ones."""
        kinds = (Prepare, Promise, Accept, Accepted, Nack, Submit, Results, Read, ReadResults)
        last = [one for one in self._recording.sendings if isinstance(one.message, kinds)][-TAIL:]
        return [(one, self._any_text(one)) for one in last]

    # ------------------------------------------------------------ messages

    def _text(self, sending: Sending) -> str:
        """Return a message in a few words, "" when it is not about what we look for."""
        focus = self._focus
        match sending.message:
            case Prepare(ballot=ballot, first=first, last=last):
                about = self._elects(ballot) and self._covers(first, last)
            case Promise(ballot=ballot, begin=begin, end=end):
                about = self._elects(ballot) and self._covers(begin, end)
            case Accept(ballot=ballot, slot=slot) | Accepted(ballot=ballot, slot=slot):
                about = slot in focus.slots or self._is_about_a_promise(sending, ballot)
            case Value(slot=slot):
                about = focus.learning and slot in focus.slots
            case Nack(ballot=ballot, promised=promised):
                about = ballot in focus.ballots and promised in focus.ballots
            case Votes(votes=votes):
                about = focus.learning and any(slot in focus.slots for slot, _ in votes)
            case Values(values=values):
                about = focus.learning and any(one.slot in focus.slots for one in values)
            case Unstick(first=first, last=last):
                about = bool(focus.slots) and self._covers(first, last)
            case Submit(batch=encoded):
                about = id_of(encoded) in focus.batches
            case Results(session=session, sequence=sequence):
                about = (sending.to[0], session, sequence) in focus.batches
            case OutOfOrder(session=session, sequence=sequence):
                about = (sending.to[0], session, sequence) in focus.batches
            case Read(read=read):
                about = (sending.sender, read) in focus.reads
            case ReadResults(read=read):
                about = (sending.to[0], read) in focus.reads
            case AskHighest(round=round_):
                about = (sending.sender, round_) in focus.rounds
            case Highest(round=round_):
                about = (sending.to[0], round_) in focus.rounds
            case Abstain():
                about = sending.sender in focus.nodes and not focus.slots
            case _:
                about = False
        return self._any_text(sending) if about else ""

    def _elects(self, ballot: Ballot) -> bool:
        return self._focus.electing and ballot in self._focus.ballots

    def _covers(self, first: Slot, last: Slot) -> bool:
        slots = self._focus.slots
        return not slots or any(first <= slot and (not last or slot <= last) for slot in slots)

    def _is_about_a_promise(self, sending: Sending, ballot: Ballot) -> bool:
        """Without a slot to look for, votes at the ballots named, by the acceptors named."""
        focus = self._focus
        acceptors = {name for name in focus.nodes if role_of(name) is Role.ACCEPTOR}
        touched = {sending.sender, *sending.to}
        return not focus.slots and ballot in focus.ballots and bool(touched & acceptors)

    def _any_text(self, sending: Sending) -> str:
        match sending.message:
            case Prepare(ballot=ballot, first=first, last=last):
                slots = f"slots {first}..{last}" if last else f"slots {first}.."
                return f"Prepare(ballot {ballot}, {slots})"
            case Promise(ballot=ballot):
                return f"Promise(ballot {ballot}): {self._promised(sending.message)}"
            case Accept(ballot=ballot, slot=slot, value=value):
                if not self._focus.slots:
                    return f"Accept(ballot {ballot}, slot {slot})"
                return f"Accept(ballot {ballot}, slot {slot}, value {self._letter(value)})"
            case Value(ballot=ballot, slot=slot, value=value):
                return f"Value(ballot {ballot}, slot {slot}, value {self._letter(value)})"
            case Accepted(ballot=ballot, slot=slot):
                return f"Accepted(ballot {ballot}, slot {slot})" + self._chooses(sending)
            case Nack(ballot=ballot, promised=promised):
                return f"Nack(ballot {ballot}): promised {promised}"
            case Votes(votes=votes):
                told = ", ".join(
                    f"slot {slot} at ballot {ballot}"
                    for slot, ballot in votes
                    if slot in self._focus.slots
                )
                return f"Votes({told})"
            case Values(values=values):
                told = ", ".join(
                    f"slot {one.slot}: {self._letter(one.value)} at ballot {one.ballot}"
                    for one in values
                    if one.slot in self._focus.slots
                )
                return f"Values({told})"
            case Unstick(first=first, last=last):
                return f"Unstick(slots {first}..{last})"
            case Submit(sequence=sequence, attempt=attempt):
                return f"Submit(batch {sequence}, attempt {attempt})"
            case Results(sequence=sequence, slot=slot):
                return f"Results(batch {sequence}, from slot {slot})"
            case OutOfOrder(sequence=sequence, expected=expected):
                return f"OutOfOrder(batch {sequence}, expected {expected})"
            case Read(read=read, commands=commands):
                asked = "; ".join(spelled(command) for command in commands_of(commands))
                return f"Read({self._number('read', read)}: {asked})"
            case ReadResults(read=read, slot=slot):
                return f"ReadResults({self._number('read', read)}: state after slot {slot})"
            case AskHighest(round=round_):
                return f"AskHighest(round {self._number('round', round_)})"
            case Highest(round=round_, slot=slot):
                return f"Highest(round {self._number('round', round_)}): slot {slot}"
            case Abstain(reason=reason):
                return f"Abstain: {reason}"
            case _:
                return type(sending.message).__name__

    def _promised(self, promise: Promise) -> str:
        """Say what a promise tells about the slots we look for."""
        slots = sorted(self._focus.slots)
        if not slots:
            return f"{len(promise.accepted)} accepted slots told"
        told = {one.slot: one for one in promise.accepted}
        words = []
        for slot in slots:
            if slot in told:
                letter = self._letter(told[slot].value)
                words.append(f"slot {slot} accepted at {told[slot].ballot}: {letter}")
            elif promise.begin <= slot and (not promise.end or slot <= promise.end):
                words.append(f"slot {slot} empty")
        return ", ".join(words)

    def _number(self, what: str, given: int) -> int:
        """Return a small number for one that says nothing but which is which."""
        known = [key for key in self._numbers if key[0] == what]
        return self._numbers.setdefault((what, given), len(known) + 1)

    def _letter(self, value: bytes) -> str:
        count = len(self._letters)
        name = chr(ord("A") + count) if count < 26 else f"V{count}"
        return self._letters.setdefault(value, name)

    def _chooses(self, vote: Sending) -> str:
        """Say so when this vote makes a quorum."""
        return ": a quorum, chosen" if id(vote) in self._deciding else ""

    def _message(self, sending: Sending, text: str, nodes: list[NodeId]) -> Iterator[Line]:
        """Yield the line of a message, and one more for each receiver that it reaches late."""
        fates: dict[NodeId, str] = {}
        late: list[Line] = []
        for receiver in sending.to:
            if receiver not in nodes:
                continue
            arrived_ms = sending.arrived.get(receiver)
            if arrived_ms is None:
                fates[receiver] = UNDER_WAY if self._may_be_under_way(sending) else LOST
            elif arrived_ms - sending.at_ms > LATE_MS or self._changed(
                receiver, sending.at_ms, arrived_ms
            ):
                fates[receiver] = LATE
                what = f"{text} of {sending.at_ms:.1f} arrives"
                late.append(Line(at_ms=arrived_ms, text=what, nodes=(receiver,), sign=ARRIVED))
            else:
                fates[receiver] = ARRIVED
        if any(receiver in sending.parted for receiver in fates):
            parted = ", ".join(one for one in fates if one in sending.parted)
            text = f"{text} (no link to {parted})"
        if fates:
            yield Line(at_ms=sending.at_ms, text=text, sender=sending.sender, fates=fates)
            yield from late

    def _may_be_under_way(self, sending: Sending) -> bool:
        return self._end_ms - sending.at_ms <= self._recording.run.world.network.delay_ms_max

    def _changed(self, node: NodeId, from_ms: float, until_ms: float) -> bool:
        """Tell whether something happened to a node in the meantime that gives the order a
        meaning.
        """
        whats = ("crash", "start", "promised", "preparing", "stepped_down")
        return any(
            moment.node == node and moment.what in whats and from_ms < moment.at_ms < until_ms
            for moment in self._recording.moments
        )

    # ------------------------------------------------------------ nodes, faults

    def _moments(self, nodes: list[NodeId], from_ms: float) -> Iterator[Line]:
        lives: dict[NodeId, int] = {}
        for moment in self._recording.moments:
            if moment.what == "start":
                lives[moment.node] = lives.get(moment.node, 0) + 1
            life = lives.get(moment.node, 0)
            if moment.node not in nodes or (moment.at_ms < from_ms and not self._matters(moment)):
                continue
            line = self._moment(moment, life)
            if line is not None:
                yield line

    def _matters(self, moment: Moment) -> bool:
        """Tell whether something before the first message shown has to do with it all the same."""
        return moment.node in self._focus.nodes and moment.what in ("crash", "start")

    def _moment(self, moment: Moment, life: int) -> Line | None:
        nodes, what = (moment.node,), moment.what
        if what == "crash":
            return Line(at_ms=moment.at_ms, nodes=nodes, sign=CRASHED, text=f"dies ({moment.text})")
        if what == "start":
            if life == 1:
                return None
            text = f"life {life} begins: {moment.text}"
            return Line(at_ms=moment.at_ms, nodes=nodes, sign=STARTED, text=text)
        if what == "applied":
            mine = [slot for slot in self._focus.slots if moment.first <= slot <= moment.last]
            if not mine or not self._focus.learning:
                return None
            return Line(at_ms=moment.at_ms, nodes=nodes, text=f"applies {moment.text}")
        if what in ("leading", "stepped_down", "reopening"):
            named = self._focus.ballots
            ballots = {int(n) for n in re.findall(r"ballot (\d+)", moment.text)}
            if not self._focus.electing or not (what == "reopening" or ballots & named):
                return None
            return Line(at_ms=moment.at_ms, nodes=nodes, text=moment.text)
        if what in ("volume_barred", "volume_repaired") or (
            what.startswith("volume_") and life > 1 and moment.node in self._focus.nodes
        ):
            return Line(at_ms=moment.at_ms, nodes=nodes, text=moment.text)
        return None

    def _faults(self, from_ms: float) -> Iterator[Line]:
        for episode in self._recording.episodes:
            if episode.ended_ms < from_ms and episode.kind not in ("crash", "wipe", "power"):
                continue
            who = episode.who()
            yield Line(at_ms=episode.began_ms, text=f"FAULT begins: {episode.kind}{who}")
            if episode.ended_ms - episode.began_ms > 1.0 and episode.ended_ms < self._end_ms:
                yield Line(at_ms=episode.ended_ms, text=f"FAULT ends: {episode.kind}")
        healed_ms = self._recording.run.options.time_ms
        if from_ms <= healed_ms < self._end_ms:
            text = (
                "ALL FAULTS END: a random core that has a quorum must go on, the rest is left out"
            )
            yield Line(at_ms=healed_ms, text=text)


def _legend(letters: dict[bytes, str]) -> dict[str, str]:
    """Return what each letter stands for; with the leader's stamp where two would read the same."""
    told = {letter: described(value) for value, letter in letters.items()}
    twins = [text for letter, text in told.items() if list(told.values()).count(text) > 1]
    for value, letter in letters.items():
        if told[letter] in twins and value:
            told[letter] += f", stamped {stamp_of(value)}"
    return told


def _together(lines: list[Line]) -> list[Line]:
    """Make one line of what happens to several nodes at one moment in the same words."""
    together: dict[tuple[float, str, str], Line] = {}
    for number, line in enumerate(lines):
        key = (line.at_ms, line.sign, line.text if line.nodes else str(number))
        if key in together:
            together[key].nodes += line.nodes
        else:
            together[key] = line
    return list(together.values())


def _deciding_votes(recording: Recording) -> set[int]:
    """Return the ids of the votes that made a quorum at one slot and ballot."""
    quorum = recording.run.membership.quorum_size
    voters: dict[tuple[Slot, Ballot], set[NodeId]] = {}
    deciding: set[int] = set()
    for sending in recording.sendings:
        message = sending.message
        if isinstance(message, Accepted):
            voted = voters.setdefault((message.slot, message.ballot), set())
            if len(voted) == quorum - 1 and sending.sender not in voted:
                deciding.add(id(sending))
            voted.add(sending.sender)
    return deciding


def _without_repetitions(
    told: list[tuple[Sending, str]], slots_matter: bool
) -> list[tuple[Sending, str]]:
    """Keep the first of what was sent again and again, those that first arrive somewhere, and the
    very last; say at the one before how many were left out. Where slots do not matter, the same
    about another slot is a repetition.
    """
    kept: list[tuple[Sending, str]] = []
    place: dict[tuple[NodeId, str], int] = {}
    reached: dict[tuple[NodeId, str], set[NodeId]] = {}
    left_out: dict[int, int] = {}
    for number, (sending, text) in enumerate(told):
        key = (sending.sender, text if slots_matter else re.sub(r"slot \d+", "slot", text))
        known = reached.setdefault(key, set())
        news = set(sending.arrived) - known
        if key in place and not news and number < len(told) - 1:
            left_out[place[key]] = left_out.get(place[key], 0) + 1
            continue
        known.update(sending.arrived)
        place[key] = len(kept)
        kept.append((sending, text))
    return [
        (sending, f"{text}, and {left_out[at]} more" if at in left_out else text)
        for at, (sending, text) in enumerate(kept)
    ]
