"""A learner's snapshots: when one is taken, who gets it, and how a learner comes by one."""

from __future__ import annotations

import pytest
from tests.core.builders import (
    A1,
    A2,
    A3,
    ACCEPTORS,
    L1,
    L2,
    P1,
    Bench,
    batch,
    choose,
    envelope,
    messages,
    nothing_sent,
    open_journal,
    opening,
    sent,
    timers,
    traced,
)

from paxos.core.effects import Effect, SnapshotFailed, SnapshotInfo, SnapshotTaken, TakeSnapshot
from paxos.core.keeping import PATIENCE_TICKS
from paxos.core.learner import Learner
from paxos.core.messages import (
    AskSnapshot,
    AskVotes,
    SnapshotKept,
    SnapshotOffer,
    SnapshotPart,
    Votes,
)
from paxos.core.settings import Limits, Settings
from paxos.core.types import NodeId, Slot
from paxos.machine.machine import Machine
from paxos.machine.snapshot import encode
from paxos.sim.world import membership_of


class Taken:
    """The snapshots of a learner, as a test says they are."""

    def __init__(self) -> None:
        self.slot, self.data = 0, b""

    @property
    def newest(self) -> SnapshotInfo | None:
        return SnapshotInfo(slot=Slot(self.slot), size=len(self.data)) if self.slot else None

    def read(self, slot: Slot, offset: int, bytes_max: int) -> bytes:
        return self.data[offset : offset + bytes_max] if slot == self.slot else b""


def learner(node: NodeId = L1, taken: Taken | None = None, **limits: int) -> Bench:
    """Return a started learner that takes a snapshot every ten slots."""
    settings = Settings(limits=Limits(**{"snapshot_log_slots": 10, **limits}))
    journal = open_journal(node)
    role = Learner(node, membership_of(), settings, Machine(), journal.recovered, taken or Taken())
    bench = Bench(role, journal)
    bench.start()
    return bench


def level(bench: Bench) -> None:
    """Let a quorum of acceptors say that there is nothing more to learn."""
    applied = bench.role.machine.applied
    bench.connect(A1)
    for acceptor in (A1, A2):
        bench.receive(acceptor, votes(applied + 1, applied))


def votes(first: int, highest: int, base: int = 0) -> Votes:
    return Votes(
        first=Slot(first), last=Slot(first), highest=Slot(highest), votes=[], base=Slot(base)
    )


def write(number: int, value: bytes = b"v") -> bytes:
    return envelope(batch(number, [b"WRITE", value]))


def apply(bench: Bench, first: int, last: int) -> list[Effect]:
    """Choose slots; the first of all opens the session that the others write in."""
    effects: list[Effect] = []
    for slot in range(first, last + 1):
        value = opening() if slot == 1 else write(slot - 1)
        effects += choose(bench, slot, value)
        if slot == 1:
            level(bench)
        effects += bench.drain()
    return effects


def takes(effects: list[Effect]) -> list[int]:
    return [effect.slot for effect in effects if isinstance(effect, TakeSnapshot)]


def offering() -> Bench:
    """Return a learner that has taken a snapshot of slot 10 and offers it."""
    taken = Taken()
    bench = learner(taken=taken)
    apply(bench, 1, 10)
    taken.slot, taken.data = 10, b"stream"
    bench.step(SnapshotTaken(snapshot=SnapshotInfo(slot=Slot(10), size=6)))
    return bench


def kept_by(slot: int, base: int = 0) -> SnapshotKept:
    return SnapshotKept(slot=Slot(slot), base=Slot(base))


# ---------------------------------------------------------------- taking


def test_a_snapshot_is_taken_when_the_log_has_grown_by_so_many_slots() -> None:
    bench = learner()
    assert takes(apply(bench, 1, 9)) == []
    assert takes(apply(bench, 10, 19)) == [10]
    assert bench.role.status().snapshots.taking


def test_a_snapshot_is_taken_when_the_log_has_grown_by_so_many_bytes() -> None:
    bench = learner(snapshot_log_slots=1000, snapshot_log_bytes=2000)
    apply(bench, 1, 2)
    effects = [
        choose(bench, slot, write(slot - 1, b"x" * 1000)) + bench.drain() for slot in (3, 4, 5)
    ]
    assert [takes(one) for one in effects] == [[], [4], []]


def test_the_next_learner_waits_for_half_as_long_again() -> None:
    bench = learner(L2)
    assert takes(apply(bench, 1, 14)) == []
    assert takes(apply(bench, 15, 15)) == [15]


def test_the_next_learner_takes_none_when_a_quorum_keeps_that_of_the_first() -> None:
    bench = learner(L2)
    apply(bench, 1, 12)
    for acceptor in (A1, A2):
        bench.receive(acceptor, kept_by(10))
    assert takes(apply(bench, 13, 24)) == []
    assert takes(apply(bench, 25, 25)) == [25]
    assert bench.role.status().snapshots.kept_slot == 10


def test_none_is_taken_while_a_learner_is_behind() -> None:
    bench = learner()
    for slot in range(1, 15):
        choose(bench, slot, opening() if slot == 1 else write(slot - 1))
        assert takes(bench.drain()) == []


def test_what_was_taken_is_offered_until_every_acceptor_keeps_it() -> None:
    taken = Taken()
    bench = learner(taken=taken)
    apply(bench, 1, 10)
    taken.slot, taken.data = 10, b"stream"
    info = SnapshotInfo(slot=Slot(10), size=6)
    effects = bench.step(SnapshotTaken(snapshot=info))
    offer = SnapshotOffer(slot=Slot(10), size=6)
    assert sent(effects, SnapshotOffer) == [(ACCEPTORS, offer)]
    assert "offer" in timers(effects)
    bench.receive(A1, kept_by(10))
    assert sent(bench.fire("offer"), SnapshotOffer) == [((A2, A3), offer)]
    bench.receive(A2, kept_by(10))
    bench.receive(A3, kept_by(12))
    assert bench.fire("offer") == []
    assert takes(apply(bench, 11, 19)) == []
    assert takes(apply(bench, 20, 20)) == [20], "counted from the last one"


def test_none_is_taken_while_the_last_is_pulled_and_no_quorum_keeps_it() -> None:
    """They would begin anew with each, and the log would never be cut."""
    bench = offering()
    bench.receive(A1, kept_by(10))
    bench.receive(A3, AskSnapshot(slot=Slot(10), offset=2))
    assert takes(apply(bench, 11, 200)) == []
    bench.receive(A2, kept_by(10))
    assert takes(apply(bench, 201, 201)) == [201], "the log has grown enough by then"


def test_the_next_is_put_off_while_an_acceptor_pulls_the_last() -> None:
    """It would have to begin anew with every one that is taken."""
    bench = offering()
    bench.receive(A3, AskSnapshot(slot=Slot(10), offset=2))
    for acceptor in (A1, A2):
        bench.receive(acceptor, kept_by(10))
    assert takes(apply(bench, 11, 49)) == []
    assert takes(apply(bench, 50, 50)) == [50], "but not for ever"


def test_the_next_is_put_off_no_longer_when_the_acceptor_that_pulled_is_gone() -> None:
    bench = offering()
    bench.receive(A3, AskSnapshot(slot=Slot(10), offset=2))
    bench.fire("offer")
    bench.fire("offer")
    assert takes(apply(bench, 11, 20)) == [20]


def test_parts_are_handed_to_acceptors_that_ask() -> None:
    taken = Taken()
    bench = learner(taken=taken)
    taken.slot, taken.data = 10, b"stream"
    effects = bench.receive(A2, AskSnapshot(slot=Slot(10), offset=2))
    answer = SnapshotPart(slot=Slot(10), size=6, offset=2, data=b"ream")
    assert sent(effects, SnapshotPart) == [((A2,), answer)]


def test_another_is_taken_later_when_one_failed() -> None:
    bench = learner()
    apply(bench, 1, 10)
    effects = bench.step(SnapshotFailed(slot=Slot(10), reason="No space left on device"))
    assert traced(effects) == ["snapshot_failed"]
    assert takes(apply(bench, 11, 19)) == []
    assert takes(apply(bench, 20, 20)) == [20]


# ---------------------------------------------------------------- getting one


def stream(last: int) -> tuple[bytes, str]:
    """Return the snapshot of a learner that has applied so many slots, and its digest."""
    bench = learner()
    apply(bench, 1, last)
    return b"".join(encode(bench.role.machine)), bench.role.machine.digest()


def part(slot: int, data: bytes, offset: int = 0, end: int | None = None) -> SnapshotPart:
    return SnapshotPart(slot=Slot(slot), size=len(data), offset=offset, data=data[offset:end])


def test_a_blank_learner_gets_the_snapshot_at_once_when_the_log_is_cut() -> None:
    data, digest = stream(8)
    bench = learner()
    effects = bench.receive(A2, votes(1, 8, base=8))
    assert sent(effects, AskSnapshot) == [((A2,), AskSnapshot(slot=Slot(0), offset=0))]
    effects = bench.receive(A2, part(8, data, 0, 50))
    assert messages(effects, AskSnapshot) == [AskSnapshot(slot=Slot(8), offset=50)]
    assert bench.role.status().snapshots.restored_bytes == 50
    effects = bench.receive(A2, part(8, data, 50))
    assert bench.role.machine.applied == 8
    assert bench.role.machine.digest() == digest
    assert messages(effects, AskVotes)[0].first == 9
    apply(bench, 9, 9)
    assert bench.role.machine.applied == 9


def test_a_learner_behind_gets_the_snapshot_when_the_slots_do_not_come() -> None:
    data, digest = stream(8)
    bench = learner()
    apply(bench, 1, 3)
    assert nothing_sent(bench.receive(A2, votes(4, 8, base=8))), "another may still have them"
    bench.fire("gap")
    effects = bench.fire("gap")
    assert messages(effects, AskSnapshot) == [AskSnapshot(slot=Slot(0), offset=0)]
    bench.receive(A2, part(8, data))
    assert bench.role.machine.digest() == digest
    assert bench.role.pending == {}


def test_a_snapshot_is_asked_of_another_when_it_is_damaged_or_its_source_silent() -> None:
    data, _ = stream(8)
    bench = learner()
    bench.receive(A2, votes(1, 8, base=8))
    bad = bytearray(data)
    bad[60] ^= 1
    effects = bench.receive(A2, part(8, bytes(bad)))
    assert traced(effects) == ["snapshot_damaged"]
    assert bench.role.machine.applied == 0
    effects = bench.receive(A3, votes(1, 8, base=8))
    for _ in range(PATIENCE_TICKS + 1):
        bench.fire("offer")
    first = sent(effects, AskSnapshot)
    second = sent(bench.fire("gap"), AskSnapshot)
    assert {first[0][0], second[0][0]} == {(A2,), (A3,)}


@pytest.mark.parametrize("closed", [True, False])
def test_a_snapshot_is_begun_anew_when_its_source_goes_or_has_a_newer_one(closed: bool) -> None:
    data, _ = stream(8)
    newer, digest = stream(9)
    bench = learner()
    bench.receive(A2, votes(1, 8, base=8))
    bench.receive(A2, part(8, data, 0, 50))
    if closed:
        bench.disconnect(A2)
    else:
        bench.receive(A2, part(9, newer, 0, 50))
    assert not bench.role.snapshotting.fetching
    assert messages(bench.fire("gap"), AskSnapshot) == [AskSnapshot(slot=Slot(0), offset=0)]
    bench.receive(A2, part(9, newer))
    assert bench.role.machine.digest() == digest


def test_a_snapshot_is_dropped_when_the_slots_came_first() -> None:
    data, _ = stream(3)
    bench = learner()
    bench.receive(A2, votes(1, 8, base=3))
    apply(bench, 1, 5)
    bench.receive(A2, part(3, data))
    assert bench.role.machine.applied == 5


def test_parts_that_were_not_asked_for_change_nothing() -> None:
    data, _ = stream(8)
    bench = learner()
    assert bench.receive(A2, part(8, data)) == []
    bench.receive(A2, votes(1, 8, base=8))
    assert bench.receive(A3, part(8, data)) == []
    assert nothing_sent(bench.receive(A2, part(8, data, 20, 50)))
    assert bench.role.machine.applied == 0
    assert P1 not in bench.role.status().snapshots.kept
