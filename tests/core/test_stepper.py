from __future__ import annotations

from typing import Any

import pytest
from tests.core.builders import A1, C1, P1, P2, messages, open_journal

from paxos.core.acceptor import Acceptor
from paxos.core.effects import (
    AnyRecord,
    Drained,
    Effect,
    Event,
    Persist,
    Promised,
    Received,
    Send,
    SetTimer,
    Start,
)
from paxos.core.errors import InvariantViolation, StorageError
from paxos.core.gateway import Gateway
from paxos.core.messages import Accept, Accepted, Prepare, Promise
from paxos.core.settings import Settings
from paxos.core.stepper import Stepper
from paxos.core.types import Ballot, NodeId, Slot
from paxos.sim.world import membership_of
from paxos.storage.memory import MemoryJournal


class Recording(MemoryJournal):
    """A journal that writes down what is asked of it, and can be told to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.failing = False

    def append(self, record: AnyRecord) -> None:
        self.asked.append(f"append {type(record).__name__}")
        super().append(record)

    def sync(self) -> None:
        self.asked.append("sync")
        if self.failing:
            raise StorageError("the disk is gone")
        super().sync()


def a_journal() -> Recording:
    """Return the recording journal of a voting acceptor."""
    founded = open_journal(A1)
    journal = Recording()
    journal._durable, journal._live = founded._durable, founded._live
    journal._recovered = founded.recovered
    return journal


def a_stepper(journal: Recording) -> Stepper:
    role = Acceptor(A1, membership_of(), Settings(), journal, journal.recovered)
    stepper = Stepper(role, journal, lambda: 0.0, lambda: 0.5)
    stepper.step(Start())
    stepper.release()
    return stepper


def received(sender: NodeId, message: Any) -> Received:
    return Received(sender=sender, message=message)


def accept(slot: int, ballot: int = 101) -> Accept:
    return Accept(ballot=Ballot(ballot), slot=Slot(slot), value=b"v", decided=Slot(0))


def test_nothing_is_durable_and_nothing_leaves_when_only_stepped() -> None:
    """DESIGN rule 3: synced before the reply leaves; so a step alone lets nothing out."""
    journal = a_journal()
    stepper = a_stepper(journal)
    assert stepper.step(received(P1, accept(1))) is None
    assert journal.asked == ["append AcceptedEntry"]
    assert journal.unsynced == 1


def test_persist_comes_before_sync_and_sync_before_send_when_released() -> None:
    """STYLE 11: persist, sync, then send."""
    journal = a_journal()
    stepper = a_stepper(journal)
    stepper.step(received(P1, accept(1)))
    effects = stepper.release()
    assert journal.asked == ["append AcceptedEntry", "sync"]
    assert journal.unsynced == 0
    assert messages(effects, Accepted)
    assert not any(isinstance(effect, Persist) for effect in effects)


def test_votes_share_one_sync_when_they_arrive_together() -> None:
    """DESIGN "One write", step 4: "Votes that arrive together share one sync"."""
    journal = a_journal()
    stepper = a_stepper(journal)
    for slot in range(1, 51):
        stepper.step(received(P1, accept(slot)))
    effects = stepper.release()
    assert journal.asked == ["append AcceptedEntry"] * 50 + ["sync"]
    assert [vote.slot for vote in messages(effects, Accepted)] == list(range(1, 51))


def test_nothing_leaves_when_the_sync_fails() -> None:
    """STYLE 18: a storage failure is fatal to the node, loudly; no reply without stable storage."""
    journal = a_journal()
    stepper = a_stepper(journal)
    stepper.step(received(P1, accept(1)))
    journal.failing = True
    for _ in range(2):
        with pytest.raises(StorageError, match="disk is gone"):
            stepper.release()


def test_no_sync_is_paid_when_nothing_is_to_be_durable() -> None:
    """A refused ballot, a read or a heartbeat costs no disk."""
    journal = a_journal()
    stepper = a_stepper(journal)
    stepper.step(received(P2, Prepare(ballot=Ballot(101), first=Slot(1), last=Slot(0))))
    stepper.release()
    assert journal.asked == []


def test_what_left_once_does_not_leave_again_when_released_twice() -> None:
    """The outbox is handed over whole."""
    stepper = a_stepper(a_journal())
    stepper.step(received(P1, accept(1)))
    assert messages(stepper.release(), Accepted)
    assert stepper.release() == []


def test_messages_leave_in_the_order_of_their_steps_when_released() -> None:
    """A link's order is the order of the steps."""
    stepper = a_stepper(a_journal())
    stepper.step(received(P1, accept(1)))
    stepper.step(received(P2, Prepare(ballot=Ballot(202), first=Slot(1), last=Slot(0))))
    kinds = [type(e.message) for e in stepper.release() if isinstance(e, Send)]
    assert kinds == [Accepted, Promise]


class Doctored(Acceptor):
    """An acceptor that promises without writing it down."""

    def step(self, event: Event, now_ms: float, dice: float) -> list[Effect]:
        effects = super().step(event, now_ms, dice)
        kept = [e for e in effects if not isinstance(e, Persist)]
        return kept if isinstance(event, Received) else effects


def test_nothing_leaves_when_an_invariant_is_violated() -> None:
    """STYLE 15: "checked after each step and before any effect leaves"."""
    journal = a_journal()
    role = Doctored(A1, membership_of(), Settings(), journal, journal.recovered)
    stepper = Stepper(role, journal, lambda: 0.0, lambda: 0.5)
    stepper.step(Start())
    stepper.release()
    with pytest.raises(InvariantViolation, match="without being persisted"):
        stepper.step(received(P1, Prepare(ballot=Ballot(101), first=Slot(1), last=Slot(0))))
    assert journal.asked == []
    assert stepper._outbox == []


class Scribbler(Gateway):
    """A gateway that wants to remember: it has nowhere to."""

    def step(self, event: Event, now_ms: float, dice: float) -> list[Effect]:
        return [Persist(record=Promised(ballot=Ballot(101)))]


def test_a_role_without_a_journal_is_stopped_when_it_persists() -> None:
    """Silently dropping what shall be durable would be the worst of all answers."""
    stepper = Stepper(Scribbler(C1, membership_of(), Settings()), None, lambda: 0.0, lambda: 0.5)
    with pytest.raises(TypeError, match="no journal"):
        stepper.step(Start())


class Attentive(Gateway):
    """A gateway that writes down what it is told."""

    def step(self, event: Event, now_ms: float, dice: float) -> list[Effect]:
        self.seen = [*getattr(self, "seen", []), (type(event), now_ms, dice)]
        return [SetTimer(name="t", after_ms=1)] if isinstance(event, Drained) else []


def test_time_and_dice_arrive_as_inputs_when_stepping() -> None:
    """STYLE 10; and the role hears that its input is drained before its effects leave."""
    times, dice = iter([1.0, 2.0, 3.0]), iter([0.1, 0.2, 0.3])
    role = Attentive(C1, membership_of(), Settings())
    stepper = Stepper(role, None, lambda: next(times), lambda: next(dice))
    stepper.step(Start())
    stepper.step(Start())
    assert stepper.release() == [SetTimer(name="t", after_ms=1)]
    assert role.seen == [(Start, 1.0, 0.1), (Start, 2.0, 0.2), (Drained, 3.0, 0.3)]
