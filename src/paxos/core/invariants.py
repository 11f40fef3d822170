"""What must hold after every step, checked before any effect of the step leaves.

One watcher per role. Each remembers what it saw before and compares; the cost per step is
constant. A violation raises `InvariantViolation`, which nothing catches: the process stops.
docs/safety.md maps each DESIGN rule to its check here and to the test that attacks it.
"""

from __future__ import annotations

from typing import Protocol

from .acceptor import Acceptor
from .discovery import Discovery
from .effects import AcceptedEntry, Counted, Cut, Deliver, Effect, Event, Persist, Promised, Send
from .errors import invariant
from .gateway import Gateway
from .learner import Learner
from .messages import Accept, Accepted, Heartbeat, Prepare, Promise
from .office import Phase as ProposerPhase
from .proposer import Proposer
from .types import NO_BALLOT, Ballot, Slot, counter_of, number_of, proposer_number_of


class Role(Protocol):
    """What every role offers."""

    def step(self, event: Event, now_ms: float, dice: float) -> list[Effect]:
        """Take one event in and return effects."""
        ...

    def status(self) -> object:
        """Return an immutable snapshot."""
        ...


class Watcher(Protocol):
    """Checks one role after each of its steps."""

    def check(self, effects: list[Effect]) -> None:
        """Raise InvariantViolation when the step broke a rule."""
        ...


class AcceptorWatcher:
    """Rules 3 and 8: promises never fall, votes are persisted before they are told, and who has
    no proven volume does not vote.
    """

    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor
        self._promised = acceptor.promised
        self._decided = acceptor.decided

    def check(self, effects: list[Effect]) -> None:
        """Raise InvariantViolation when the step broke a rule."""
        acceptor = self._acceptor
        promised = acceptor.promised
        invariant(promised >= self._promised, "an acceptor's promise fell")
        invariant(acceptor.decided >= self._decided, "an acceptor's decided slot fell")
        if not effects:
            invariant(promised == self._promised, "a promise rose without being persisted")
            return
        persisted = self._promised
        votes: dict[Slot, Ballot] = {}
        for effect in effects:
            if type(effect) is Persist:
                record = effect.record
                if type(record) is AcceptedEntry:
                    caught_up = acceptor.keeping.chosen.get(record.slot) == record.ballot
                    invariant(
                        record.ballot >= self._promised
                        or (caught_up and record.slot <= acceptor.decided),
                        "accepted below the promise",
                    )
                    persisted = max(persisted, record.ballot)
                    votes[record.slot] = record.ballot
                elif type(record) is Cut:
                    newest = acceptor.keeping.kept_here
                    invariant(record.slot <= newest, "cut above the snapshot that is kept here")
                    invariant(record.slot <= acceptor.decided, "cut what is not decided")
                elif type(record) is Promised:
                    invariant(record.ballot > self._promised, "persisted a promise that falls")
                    persisted = max(persisted, record.ballot)
        invariant(promised == persisted, "a promise rose without being persisted")
        for effect in effects:
            if type(effect) is not Send:
                continue
            message = effect.message
            if type(message) is Accepted:
                invariant(acceptor.voting, "a vote left an acceptor that may not vote")
                vote = votes.get(message.slot)
                if message.slot <= acceptor.log.base:
                    vote = message.ballot  # cut off; only the promise is kept
                if vote is None:
                    logged = acceptor.log.votes(message.slot, message.slot)
                    vote = logged[0][1] if logged else NO_BALLOT
                invariant(vote == message.ballot, "a vote left that is not in the journal")
            elif type(message) is Promise:
                invariant(acceptor.voting, "a promise left an acceptor that may not vote")
                invariant(message.ballot == promised, "a promise left that is not the journal's")
        self._promised = promised
        self._decided = acceptor.decided


class ProposerWatcher:
    """Rules 1, 2 and 4: ballots are its own, rise and are durable; nothing is proposed without a
    quorum's promise; one value per slot and ballot.
    """

    def __init__(self, proposer: Proposer) -> None:
        self._proposer = proposer
        self._number = number_of(proposer.node)
        self._counter = proposer.counter
        self._durable = proposer.counter
        self._prepared = NO_BALLOT
        self._highest = Slot(0)
        self._decided = proposer.decided

    def check(self, effects: list[Effect]) -> None:
        """Raise InvariantViolation when the step broke a rule."""
        proposer = self._proposer
        invariant(proposer.decided >= self._decided, "a proposer's decided slot fell")
        invariant(proposer.counter >= self._counter, "a ballot counter fell")
        self._decided = proposer.decided
        self._counter = proposer.counter
        leading = proposer.phase is ProposerPhase.LEADING
        invariant(leading or not proposer.open, "slots are open at one that does not lead")
        invariant(
            not leading or proposer.membership.is_quorum(proposer.electorate),
            "leads without the promises of a quorum",
        )
        for effect in effects:
            if type(effect) is Persist:
                if type(effect.record) is Counted:
                    invariant(effect.record.counter > self._durable, "a counter was used twice")
                    self._durable = effect.record.counter
            elif type(effect) is Send:
                message = effect.message
                if type(message) is Accept:
                    self._check_accept(message, leading)
                elif type(message) is Prepare:
                    self._check_prepare(message)
                elif type(message) is Heartbeat:
                    invariant(leading, "a heartbeat left one that does not lead")

    def _check_prepare(self, message: Prepare) -> None:
        invariant(
            proposer_number_of(message.ballot) == self._number, "prepared somebody else's ballot"
        )
        invariant(counter_of(message.ballot) <= self._durable, "prepared with a volatile counter")
        invariant(message.ballot >= self._prepared, "prepared a ballot below an earlier one")
        if message.ballot > self._prepared:
            self._prepared = message.ballot
            self._highest = Slot(0)

    def _check_accept(self, message: Accept, leading: bool) -> None:
        proposer = self._proposer
        invariant(leading, "proposed without leading")
        invariant(message.ballot == self._prepared, "proposed with a ballot nobody promised")
        invariant(
            not proposer.barrier or message.slot <= proposer.barrier,
            "proposed after a change of the members that is not chosen",
        )
        open_ = proposer.open.get(message.slot)
        invariant(
            open_ is not None and open_.value is message.value,
            "proposed a second value for one slot and ballot",
        )
        if message.slot > max(self._highest, proposer.decided):
            skipped = self._highest != 0 and message.slot != self._highest + 1
            invariant(not skipped, "skipped a slot")
            self._highest = message.slot


class LearnerWatcher:
    """Rule 5: applied slots rise one by one, and only chosen ones are applied."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._applied = learner.machine.applied
        self._revision = learner.machine.revision
        self._now_ms = learner.machine.now_ms

    def check(self, effects: list[Effect]) -> None:
        """Raise InvariantViolation when the step broke a rule."""
        machine = self._learner.machine
        invariant(machine.applied >= self._applied, "the applied slot fell")
        invariant(machine.revision >= self._revision, "the revision fell")
        invariant(machine.now_ms >= self._now_ms, "the machine's time fell")
        moved = machine.applied > self._applied or machine.revision == self._revision
        invariant(moved, "the state changed without a slot being applied")
        behind = machine.applied not in self._learner.pending
        invariant(behind, "an applied slot is still being learned")
        self._applied = machine.applied
        self._revision = machine.revision
        self._now_ms = machine.now_ms


class GatewayWatcher:
    """Rule 6, the gateway's part: sequence numbers rise one by one within a session, and replies
    go out only for what was asked.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._session = gateway.session
        self._sequence = gateway.sequence

    def check(self, effects: list[Effect]) -> None:
        """Raise InvariantViolation when the step broke a rule."""
        gateway = self._gateway
        if gateway.session == self._session:
            invariant(gateway.sequence >= self._sequence, "a session's sequence fell")
        if gateway.flights:
            newest = next(reversed(gateway.flights))
            oldest = next(iter(gateway.flights))
            invariant(newest <= gateway.sequence, "a batch is ahead of its session")
            invariant(newest - oldest + 1 == len(gateway.flights), "a sequence number is missing")
        for effect in effects:
            if type(effect) is Deliver:
                invariant(bool(effect.replies), "an empty delivery")
        self._session = gateway.session
        self._sequence = gateway.sequence


class DiscoveryWatcher:
    """Discovery holds nothing that safety rests on: there is nothing to break."""

    def check(self, effects: list[Effect]) -> None:
        """Accept every step."""


def watcher_for(role: Role) -> Watcher:
    """Return the watcher of a role. Raises TypeError for what is no role."""
    match role:
        case Acceptor():
            return AcceptorWatcher(role)
        case Proposer():
            return ProposerWatcher(role)
        case Learner():
            return LearnerWatcher(role)
        case Gateway():
            return GatewayWatcher(role)
        case Discovery():
            return DiscoveryWatcher()
        case _:
            raise TypeError(f"{type(role).__name__} is no role")
