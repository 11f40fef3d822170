"""Faults put into the roles: the model checker finds each, by a shortest history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from paxos.core import learner as learners
from paxos.core.acceptor import Acceptor
from paxos.core.effects import AnyRecord, Connected, Counted, Effect, Persist
from paxos.core.errors import StorageError
from paxos.core.gathering import Gathering
from paxos.core.invariants import AcceptorWatcher, LearnerWatcher, ProposerWatcher
from paxos.core.messages import Accepted
from paxos.core.proposer import Proposer
from paxos.core.quorum import Membership
from paxos.core.stepper import Stepper
from paxos.core.types import Ballot, Slot
from paxos.sim.modelcheck import (
    Explorer,
    Result,
    Story,
    ladder_lines,
    step_lines,
    told,
    world_named,
)
from paxos.storage.memory import MemoryJournal

Patch = pytest.MonkeyPatch


def searched(name: str) -> tuple[Result, Story]:
    """Search a world that has a fault in it; return what was found, and its story."""
    explorer = Explorer(world_named(name))
    result = explorer.run()
    assert result.violation is not None
    story = told(explorer.nodes, result.violation)
    assert story.confirmed
    assert [step.number for step in story.steps if step.number] == list(
        range(1, result.violation.steps + 1)
    )
    return result, story


def what(result: Result) -> str:
    return result.violation.what if result.violation is not None else ""


@pytest.fixture(autouse=True)
def unwatched(monkeypatch: Patch) -> None:
    """Without the watchers: it is the search that finds these faults."""
    for watcher in (AcceptorWatcher, ProposerWatcher, LearnerWatcher):
        monkeypatch.setattr(watcher, "check", lambda self, effects: None)


def test_replies_before_the_sync_are_found_by_a_crash(monkeypatch: Patch) -> None:
    def release(stepper: Any) -> list[Effect]:
        stepper.step(stepper._drained)
        released, stepper._outbox = stepper._outbox, []
        return released  # type: ignore[no-any-return]

    monkeypatch.setattr(Stepper, "release", release)
    result, _ = searched("one-slot-one-crash")
    assert "told that it promised 101, and now says 0" in what(result)
    assert result.violation is not None
    assert result.violation.steps == 3  # stands, promises, crashes


def test_an_accept_that_does_not_raise_the_promise_is_found(monkeypatch: Patch) -> None:
    accept = Acceptor._on_accept

    def on_accept(self: Any, *event: Any) -> list[Effect]:
        before = self.promised
        effects = accept(self, *event)
        self.promised = before
        return effects

    monkeypatch.setattr(Acceptor, "_on_accept", on_accept)
    result, _ = searched("one-slot")
    assert "an acceptor voted at 101, and its promise is 0" in what(result)


def test_a_counter_that_is_not_durable_is_found(monkeypatch: Patch) -> None:
    reply = Proposer._on_canvass_reply

    def on_reply(self: Any, *event: Any) -> list[Effect]:
        return [
            effect
            for effect in reply(self, *event)
            if not (isinstance(effect, Persist) and isinstance(effect.record, Counted))
        ]

    monkeypatch.setattr(Proposer, "_on_canvass_reply", on_reply)
    result, _ = searched("comeback")
    assert "used ballot 101, which an earlier life of it may have used" in what(result)
    assert result.violation is not None
    assert result.violation.steps == 3  # stands, crashes, stands


def test_a_leader_that_ignores_accepted_values_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Gathering, "values", property(lambda self: {}))
    result, story = searched("one-slot")
    assert "is chosen at ballot" in what(result)
    steps = step_lines(story)
    names = Explorer(world_named("one-slot")).nodes.names
    ladder = ladder_lines(story, names)
    assert len(ladder) == len(story.steps) + 1
    assert any("stands for election" in line for line in steps)
    assert any("> Accept(" in line for line in steps)
    assert any("->" in line or "<-" in line for line in ladder)


def test_a_leader_that_takes_the_lowest_ballot_is_found_with_three_ballots(
    monkeypatch: Patch,
) -> None:
    add = Gathering.add

    def add_lowest(self: Any, sender: Any, promise: Any) -> None:
        best = dict(self._best)
        add(self, sender, promise)
        for accepted in promise.accepted:
            kept = best.get(accepted.slot)
            lower = kept if kept is not None and kept.ballot < accepted.ballot else accepted
            self._best[accepted.slot] = lower

    monkeypatch.setattr(Gathering, "add", add_lowest)
    assert Explorer(world_named("one-slot")).run().violation is None
    result, _ = searched("three-ballots")
    assert "is chosen at ballot" in what(result)


def test_a_leader_that_leaves_a_gap_is_found(monkeypatch: Patch) -> None:
    office = Proposer._take_office

    def take_office(self: Any, gathering: Any, now_ms: float) -> list[Effect]:
        if gathering.values:
            gathering.first = Slot(max(gathering.values))
        return office(self, gathering, now_ms)

    monkeypatch.setattr(Proposer, "_take_office", take_office)
    result, _ = searched("two-slots")
    assert "proposed slot 2 and left out slot 1" in what(result)


def test_a_learner_that_counts_an_acceptor_twice_is_found(monkeypatch: Patch) -> None:
    vote = learners.Learner._vote

    def vote_once_more(self: Any, acceptor: Any, slot: Slot, ballot: Ballot) -> bool:
        ready = vote(self, acceptor, slot, ballot)
        pending = self.pending.get(slot)
        if pending is not None and pending.votes.get(ballot):
            heard = self.heard = getattr(self, "heard", 0) + 1
            if heard >= 2 and ballot in pending.values:
                pending.votes[ballot] = 0b11
                pending.chosen = ballot
                return slot == self.machine.applied + 1
        return ready

    monkeypatch.setattr(learners.Learner, "_vote", vote_once_more)
    result, story = searched("one-slot")
    assert "the learner applied 101a in slot 1, where nothing is chosen" in what(result)
    assert [step.node for step in story.steps][-3:] == ["learner-1"] * 3


def test_a_learner_that_mixes_ballots_is_found(monkeypatch: Patch) -> None:
    vote = learners.Learner._vote

    def vote_at_any(self: Any, acceptor: Any, slot: Slot, ballot: Ballot) -> bool:
        pending = self._slot(slot)
        if pending is not None:
            for other in pending.votes:
                pending.votes[other] |= self._bits[acceptor]
        return vote(self, acceptor, slot, ballot)

    monkeypatch.setattr(learners.Learner, "_vote", vote_at_any)
    result, _ = searched("one-slot")
    assert "the learner applied" in what(result)


def test_a_learner_that_applies_past_a_gap_is_found(monkeypatch: Patch) -> None:
    apply = learners.Learner._apply_chosen

    def apply_any(self: Any, now_ms: float) -> list[Effect]:
        for slot, pending in sorted(self.pending.items()):
            if pending.chosen in pending.values:
                self.machine.apply(slot, pending.values[pending.chosen])
        return apply(self, now_ms)

    monkeypatch.setattr(learners.Learner, "_apply_chosen", apply_any)
    monkeypatch.setattr(learners.Learner, "_vote", always_ready(learners.Learner._vote))
    result, _ = searched("one-leader")
    assert what(result) == "applied slot 2 after slot 0"


def always_ready(method: Callable[..., bool]) -> Callable[..., bool]:
    def ready(*arguments: Any) -> bool:
        method(*arguments)
        return True

    return ready


def test_a_quorum_of_whoever_is_there_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Membership, "is_quorum", lambda self, nodes: bool(nodes))
    result, _ = searched("one-slot")
    assert what(result)


@pytest.mark.slow
def test_a_quorum_of_the_connected_acceptors_is_found(monkeypatch: Patch) -> None:
    connected, disconnected = Proposer._on_connected, Proposer._on_disconnected

    def on_connected(self: Any, link: Connected, *event: Any) -> list[Effect]:
        self.visible = {*getattr(self, "visible", ()), link.peer}
        return connected(self, link, *event)

    def on_disconnected(self: Any, peer: Any, *event: Any) -> list[Effect]:
        self.visible = {*getattr(self, "visible", ())} - {peer}
        return disconnected(self, peer, *event)

    def on_promise(self: Any, *event: Any) -> list[Effect]:
        with pytest.MonkeyPatch.context() as patch:
            most = lambda _, nodes: 2 * len(set(nodes) & self.visible) > len(self.visible)  # noqa: E731
            patch.setattr(Membership, "is_quorum", most)
            return promise(self, *event)

    promise = Proposer._on_promise
    monkeypatch.setattr(Proposer, "_on_connected", on_connected)
    monkeypatch.setattr(Proposer, "_on_disconnected", on_disconnected)
    monkeypatch.setattr(Proposer, "_on_promise", on_promise)
    assert Explorer(world_named("one-slot")).run().violation is None
    result, story = searched("links")
    assert "is chosen at ballot" in what(result)
    assert any("the link to acceptor-" in step.what for step in story.steps)


def test_a_blank_volume_that_votes_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Acceptor, "voting", property(lambda self: True))
    result, _ = searched("lost-volume")
    assert what(result)
    assert Explorer(world_named("one-slot")).run().violation is None


def test_a_damaged_volume_that_is_taken_for_a_new_one_is_found(monkeypatch: Patch) -> None:
    def crash(journal: Any, *, kept: int = 0, damage: str | None = None) -> MemoryJournal:
        if damage is None:
            return crashed(journal, kept=kept)
        after = MemoryJournal()
        after.append(journal.recovered.stamp)
        after.sync()
        return crashed(after)

    crashed = MemoryJournal.crash
    monkeypatch.setattr(MemoryJournal, "crash", crash)
    result, _ = searched("damaged-volume")
    assert "and now says 0" in what(result)


def test_a_candidate_that_ignores_a_nack_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Proposer, "_on_nack", lambda self, message, dice: [])
    result, _ = searched("one-slot")
    assert "after a nack" in what(result)


def test_a_decided_slot_that_is_not_chosen_is_found(monkeypatch: Patch) -> None:
    accepted = Proposer._on_accepted

    def on_accepted(self: Any, sender: Any, message: Accepted, *event: Any) -> list[Effect]:
        open_ = self.open.get(message.slot)
        if open_ is not None:
            open_.votes.update(self.membership.acceptors)
        return accepted(self, sender, message, *event)

    monkeypatch.setattr(Proposer, "_on_accepted", on_accepted)
    result, _ = searched("one-leader")
    assert what(result) == "slot 1 is taken for decided, and nothing is chosen there"


def test_a_role_that_raises_is_a_violation(monkeypatch: Patch) -> None:
    def refuse(*arguments: Any) -> list[Effect]:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(Proposer, "_on_accepted", refuse)
    result, _ = searched("one-leader")
    assert what(result) == "ZeroDivisionError: no"


def test_a_journal_that_refuses_a_record_is_a_violation(monkeypatch: Patch) -> None:
    append = MemoryJournal.append

    def refuse(journal: MemoryJournal, record: AnyRecord) -> None:
        if isinstance(record, Counted):
            raise StorageError("the disk is full")
        append(journal, record)

    monkeypatch.setattr(MemoryJournal, "append", refuse)
    result, _ = searched("one-leader")
    assert what(result) == "StorageError: the disk is full"


@pytest.mark.parametrize("crashes", [0, 1])
def test_a_counter_example_is_as_short_when_nothing_is_reduced(
    monkeypatch: Patch, crashes: int
) -> None:
    """Reductions reorder steps and keep their number."""
    monkeypatch.setattr(Gathering, "values", property(lambda self: {}))
    bounds = msgspec.structs.replace(world_named("one-slot"), acceptors=1, crashes=crashes)
    lengths = []
    for reduced in (True, False):
        violation = Explorer(bounds, reduced=reduced).run().violation
        assert violation is not None
        lengths.append(violation.steps)
    assert lengths[0] == lengths[1]


def test_a_nack_is_part_of_a_story_only_when_it_was_heard(monkeypatch: Patch) -> None:
    """Answers that change nothing at their sender are not counted as steps, and told when they
    are needed.
    """
    monkeypatch.setattr(Proposer, "_on_nack", lambda self, message, dice: [])
    _, story = searched("one-slot")
    answers = [step for step in story.steps if step.number == 0]
    assert len(answers) == 1
    assert "Nack(101, promised 102)" in answers[0].sent[0]
