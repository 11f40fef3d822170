"""Backups: a learner takes a snapshot that a gateway asks for, the gateway hands its parts out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.core.builders import (
    A1,
    A2,
    ACCEPTORS,
    C1,
    C2,
    L1,
    L2,
    P1,
    Bench,
    a_gateway,
    batch,
    choose,
    delivered,
    envelope,
    messages,
    nothing_sent,
    open_journal,
    opening,
    sent,
)

from paxos.core.backups import IDLE_MS, QUIET_MS, QUIET_STRETCH
from paxos.core.effects import (
    ClientBackup,
    ClientBackupPart,
    ClientGone,
    Effect,
    SnapshotFailed,
    SnapshotInfo,
    SnapshotTaken,
    TakeSnapshot,
)
from paxos.core.learner import Learner
from paxos.core.messages import (
    AskBackup,
    AskHighest,
    AskSnapshot,
    BackupReady,
    Highest,
    LeaderState,
    OpenSession,
    Read,
    Results,
    SessionOpened,
    SessionUnknown,
    SnapshotPart,
    Submit,
    Votes,
)
from paxos.core.settings import Limits, Settings
from paxos.core.types import Ballot, NodeId, Slot
from paxos.machine.machine import Machine
from paxos.machine.snapshot import Restoring, encode
from paxos.sim.world import membership_of

# ---------------------------------------------------------------- the learner


class Taken:
    """The snapshots of a learner, as a test says they are."""

    def __init__(self) -> None:
        self.slot, self.data = 0, b""

    @property
    def newest(self) -> SnapshotInfo | None:
        return SnapshotInfo(slot=Slot(self.slot), size=len(self.data)) if self.slot else None

    def read(self, slot: Slot, offset: int, bytes_max: int) -> bytes:
        return self.data[offset : offset + bytes_max] if slot == self.slot else b""


def learner(taken: Taken | None = None, **limits: int) -> Bench:
    """Return a learner, level with an empty log, whose first round is number 1."""
    settings = Settings(limits=Limits(**limits))
    journal = open_journal(L1)
    role = Learner(L1, membership_of(), settings, Machine(), journal.recovered, taken or Taken())
    bench = Bench(role, journal)
    bench.dice = 0.0
    bench.start()
    bench.connect(A1)
    for acceptor in (A1, A2):
        votes = Votes(first=Slot(1), last=Slot(1), highest=Slot(0), votes=[])
        bench.receive(acceptor, votes)
    return bench


def write(number: int) -> bytes:
    return envelope(batch(number, [b"WRITE", b"v%d" % number]))


def apply(bench: Bench, first: int, last: int) -> list[Effect]:
    """Choose slots, and let the learner see that nothing more has arrived."""
    effects: list[Effect] = []
    for slot in range(first, last + 1):
        effects += choose(bench, slot, opening() if slot == 1 else write(slot - 1))
    return effects + bench.drain()


def highest(bench: Bench, slot: int) -> list[Effect]:
    """Answer the round under way: a quorum has accepted nothing above `slot`."""
    bench.receive(A1, Highest(round=bench.role._round, slot=Slot(slot)))
    effects = bench.receive(A2, Highest(round=bench.role._round, slot=Slot(slot)))
    return effects + bench.drain()


def takes(effects: list[Effect]) -> list[int]:
    return [effect.slot for effect in effects if isinstance(effect, TakeSnapshot)]


def taken(bench: Bench, slot: int, size: int = 6) -> list[Effect]:
    info = SnapshotInfo(slot=Slot(slot), size=size)
    return bench.step(SnapshotTaken(snapshot=info)) + bench.drain()


def answers(effects: list[Effect]) -> list[tuple[NodeId, int, int, str]]:
    return [
        (to[0], message.request, message.slot, message.error.partition(" ")[0])
        for to, message in sent(effects, BackupReady)
    ]


def test_a_snapshot_is_taken_for_a_backup_when_all_that_a_quorum_accepted_is_applied() -> None:
    """DESIGN rule 7: everything that was acknowledged before is in what is read."""
    bench = learner()
    apply(bench, 1, 3)
    assert nothing_sent(bench.receive(C1, AskBackup(request=7)))
    assert sent(bench.drain(), AskHighest) == [(ACCEPTORS, AskHighest(round=1))]
    assert takes(highest(bench, 5)) == [], "slots 4 and 5 may have been acknowledged"
    assert takes(apply(bench, 4, 4)) == []
    assert takes(apply(bench, 5, 5)) == [5]
    assert answers(taken(bench, 5)) == [(C1, 7, 5, "")]
    assert takes(bench.drain()) == []


def test_another_is_taken_after_it_when_one_was_being_taken() -> None:
    bench = learner(snapshot_log_slots=3)
    assert takes(apply(bench, 1, 3)) == [3]
    apply(bench, 4, 5)
    bench.receive(C1, AskBackup(request=7))
    bench.drain()
    assert takes(highest(bench, 5)) == []
    effects = taken(bench, 3)
    assert takes(effects) == [5]
    assert answers(effects) == []
    assert answers(taken(bench, 5)) == [(C1, 7, 5, "")]


def test_the_one_that_is_there_is_told_when_nothing_has_happened_since() -> None:
    files = Taken()
    bench = learner(files)
    apply(bench, 1, 3)
    files.slot, files.data = 3, b"stream"
    bench.receive(C1, AskBackup(request=7))
    bench.drain()
    effects = highest(bench, 3)
    assert (takes(effects), answers(effects)) == ([], [(C1, 7, 3, "")])


def test_a_backup_is_refused_when_its_snapshot_failed() -> None:
    bench = learner()
    apply(bench, 1, 3)
    bench.receive(C1, AskBackup(request=7))
    bench.drain()
    assert takes(highest(bench, 3)) == [3]
    effects = bench.step(SnapshotFailed(slot=Slot(3), reason="No space left on device"))
    [(_, refusal)] = sent(effects, BackupReady)
    assert refusal.error == "UNAVAILABLE no backup was taken: No space left on device"


def test_a_backup_is_refused_when_nothing_was_decided() -> None:
    bench = learner()
    bench.receive(C1, AskBackup(request=7))
    bench.drain()
    assert answers(highest(bench, 0)) == [(C1, 7, 0, "UNAVAILABLE")]


@pytest.mark.parametrize("timer", ["round", "gap"])
def test_a_backup_is_refused_when_no_quorum_tells_what_is_decided(timer: str) -> None:
    """`round`: nobody answered. `gap`: what was answered never came."""
    bench = learner()
    apply(bench, 1, 3)
    bench.receive(C1, AskBackup(request=7))
    bench.drain()
    if timer == "gap":
        highest(bench, 9)
    bench.now_ms += 5_000
    assert answers(bench.fire(timer)) == []
    bench.now_ms += 1
    assert answers(bench.fire(timer)) == [(C1, 7, 0, "UNAVAILABLE")]
    assert takes(highest(bench, 3)) == []


def test_a_backup_is_refused_when_another_client_node_has_one_under_way() -> None:
    files = Taken()
    bench = learner(files)
    apply(bench, 1, 3)
    bench.receive(C1, AskBackup(request=7))
    assert answers(bench.receive(C2, AskBackup(request=1))) == [(C2, 1, 0, "BUSY")]
    bench.drain()
    highest(bench, 3)
    taken(bench, 3)
    files.slot, files.data = 3, b"stream"
    bench.now_ms += QUIET_MS
    [part] = messages(bench.receive(C1, AskSnapshot(slot=Slot(3), offset=2)), SnapshotPart)
    assert part == SnapshotPart(slot=Slot(3), size=6, offset=2, data=b"ream")
    bench.now_ms += QUIET_MS
    assert answers(bench.receive(C2, AskBackup(request=2))) == [(C2, 2, 0, "BUSY")]
    bench.now_ms += 1
    assert answers(bench.receive(C2, AskBackup(request=3))) == []
    assert answers(bench.receive(C1, AskBackup(request=8))) == [(C1, 8, 0, "BUSY")]
    bench.disconnect(C2)
    assert answers(bench.receive(C1, AskBackup(request=9))) == []


def test_nobody_is_told_of_a_backup_when_its_gateway_has_gone() -> None:
    bench = learner()
    apply(bench, 1, 3)
    bench.receive(C1, AskBackup(request=7))
    bench.drain()
    bench.disconnect(C1)
    assert takes(highest(bench, 3)) == []
    bench.receive(C1, AskBackup(request=8))
    bench.receive(C1, AskBackup(request=9))
    bench.drain()
    assert takes(highest(bench, 3)) == [3]
    assert answers(taken(bench, 3)) == [(C1, 9, 3, "")], "the newer takes the older one's place"


def test_no_snapshot_of_its_own_accord_is_taken_while_parts_are_asked_for() -> None:
    """But the log must not grow for ever because of a client."""
    files = Taken()
    bench = learner(files, snapshot_log_slots=10)
    apply(bench, 1, 3)
    bench.receive(C1, AskBackup(request=7))
    bench.drain()
    highest(bench, 3)
    taken(bench, 3)
    last = 3 + 10 * QUIET_STRETCH
    assert takes(apply(bench, 4, last - 1)) == []
    assert takes(apply(bench, last, last)) == [last]
    taken(bench, last)
    bench.now_ms += QUIET_MS + 1
    assert takes(apply(bench, last + 1, last + 10)) == [last + 10]


def test_reads_and_backups_share_a_round_when_they_wait_together() -> None:
    bench = learner()
    apply(bench, 1, 2)
    bench.receive(C1, Read(read=1, commands=msgspec.msgpack.encode([[b"READ"]])))
    bench.receive(C1, AskBackup(request=1))
    assert len(messages(bench.drain(), AskHighest)) == 1
    effects = highest(bench, 2)
    assert takes(effects) == [2]
    assert not nothing_sent(effects)


# ---------------------------------------------------------------- the gateway


def gateway() -> Bench:
    """Return a gateway with leader, session and its learner, which is learner-1."""
    bench = a_gateway()
    for peer in (P1, L1, L2):
        bench.connect(peer)
    bench.receive(P1, LeaderState(ballot=Ballot(101), voting=list(ACCEPTORS), abstaining={}))
    bench.receive(L1, SessionOpened(nonce=bench.role._nonce, session=Slot(4)))
    return bench


def begin(bench: Bench, connection: int = 1) -> list[Effect]:
    return bench.step(ClientBackup(connection=connection)) + bench.drain()


def ask(bench: Bench, offset: int, slot: int = 9, connection: int = 1) -> list[Effect]:
    event = ClientBackupPart(connection=connection, slot=Slot(slot), offset=offset)
    return bench.step(event) + bench.drain()


def began(bench: Bench, size: int = 10) -> int:
    """Let a backup of slot 9 begin on connection 1; return the request's number."""
    [request] = messages(begin(bench), AskBackup)
    ready = BackupReady(request=request.request, slot=Slot(9), size=size)
    assert delivered(bench.receive(L1, ready)) == [(1, [[9, size]])]
    return request.request


def part(data: bytes, offset: int = 0, slot: int = 9) -> SnapshotPart:
    return SnapshotPart(slot=Slot(slot), size=10, offset=offset, data=data)


def errors(effects: list[Effect]) -> list[tuple[int, str]]:
    """Return (connection, code) of every error that is delivered."""
    return [
        (connection, reply["error"].partition(" ")[0])
        for connection, replies in delivered(effects)
        for reply in replies
        if isinstance(reply, dict)
    ]


def test_a_backups_parts_are_relayed_from_the_learner_that_took_it() -> None:
    bench = gateway()
    effects = begin(bench)
    [(to, request)] = sent(effects, AskBackup)
    assert (to, delivered(effects)) == ((L1,), [])
    ready = BackupReady(request=request.request, slot=Slot(9), size=10)
    assert bench.receive(L2, ready) == []
    assert delivered(bench.receive(L1, ready)) == [(1, [[9, 10]])]
    for offset, data in ((0, b"abcdef"), (6, b"ghij")):
        asked = AskSnapshot(slot=Slot(9), offset=offset)
        assert sent(ask(bench, offset), AskSnapshot) == [((L1,), asked)]
        assert bench.receive(L2, part(data, offset)) == []
        assert bench.receive(L1, part(data, offset + 1)) == [], "not what was asked for"
        assert delivered(bench.receive(L1, part(data, offset))) == [(1, [data])]
    effects = ask(bench, 10)
    assert (delivered(effects), nothing_sent(effects)) == ([(1, [b""])], True)
    assert messages(begin(bench, connection=2), AskBackup), "it is over: another's turn"


def test_a_second_backup_is_told_to_come_back_while_one_is_under_way() -> None:
    bench = gateway()
    began(bench)
    assert errors(begin(bench, connection=2)) == [(2, "BUSY")]
    assert errors(ask(bench, 0, connection=2)) == [(2, "GONE")]
    bench.step(ClientGone(connection=1))
    assert messages(begin(bench, connection=2), AskBackup)


def test_a_client_that_begins_anew_gives_up_what_it_had_begun() -> None:
    bench = gateway()
    first = began(bench)
    assert [request.request for request in messages(begin(bench), AskBackup)] == [first + 1]
    assert bench.receive(L1, BackupReady(request=first, slot=Slot(9), size=10)) == []
    assert errors(ask(bench, 0)) == [], "it waits until the new one has begun"


@pytest.mark.parametrize("answer", [part(b"abc", slot=12), part(b"")])
def test_a_client_is_told_to_begin_anew_when_the_snapshot_has_been_replaced(
    answer: SnapshotPart,
) -> None:
    bench = gateway()
    began(bench)
    ask(bench, 0)
    assert errors(bench.receive(L1, answer)) == [(1, "GONE")]
    assert errors(ask(bench, 0)) == [(1, "GONE")]


def test_a_client_is_told_why_when_the_learner_refuses() -> None:
    bench = gateway()
    [request] = messages(begin(bench), AskBackup)
    refusal = BackupReady(
        request=request.request, slot=Slot(0), size=0, error="UNAVAILABLE no room"
    )
    assert delivered(bench.receive(L1, refusal)) == [(1, [{"error": "UNAVAILABLE no room"}])]
    assert messages(begin(bench, connection=2), AskBackup)


@pytest.mark.parametrize("asked", ["begin", "part"])
def test_a_client_is_told_when_the_learner_has_gone(asked: str) -> None:
    bench = gateway()
    if asked == "begin":
        begin(bench)
    else:
        began(bench)
        ask(bench, 0)
    assert errors(bench.disconnect(L2)) == []
    assert errors(bench.disconnect(L1)) == [(1, "UNAVAILABLE")]
    bench.connect(L1)
    assert sent(begin(bench), AskBackup)[0][0] == (L1,)


def test_a_client_is_told_at_once_when_no_learner_can_be_reached() -> None:
    bench = gateway()
    bench.disconnect(L1)
    bench.disconnect(L2)
    assert errors(begin(bench)) == [(1, "UNAVAILABLE")]


def test_a_backup_may_take_long_to_begin_and_its_parts_may_not() -> None:
    bench = gateway()
    [request] = messages(begin(bench), AskBackup)
    bench.now_ms += 3_600_000
    assert delivered(bench.fire("watch")) == []
    bench.receive(L1, BackupReady(request=request.request, slot=Slot(9), size=10))
    ask(bench, 0)
    bench.now_ms += 5_001
    assert errors(bench.fire("watch")) == [(1, "UNAVAILABLE")]


def test_another_client_has_its_turn_when_the_first_asks_for_nothing() -> None:
    bench = gateway()
    began(bench)
    bench.now_ms += IDLE_MS
    bench.fire("watch")
    assert errors(begin(bench, connection=2)) == [(2, "BUSY")]
    bench.now_ms += 1
    bench.fire("watch")
    assert messages(begin(bench, connection=2), AskBackup)


def test_a_connections_commands_are_answered_in_order_around_a_backup() -> None:
    """Its writes are in the backup, and what follows waits for it."""
    bench = gateway()
    bench.write(1, [b"WRITE", b"before"])
    effects = begin(bench)
    bench.write(1, [b"WRITE", b"after"])
    effects += bench.drain()
    assert (len(messages(effects, Submit)), messages(effects, AskBackup)) == (1, [])
    packed = msgspec.msgpack.encode([8])
    result = Results(session=Slot(4), sequence=1, slot=Slot(8), revision=1, results=packed)
    effects = bench.receive(L1, result) + bench.drain()
    assert delivered(effects) == [(1, [8])]
    [request] = messages(effects, AskBackup)
    assert messages(effects, Submit) == []
    ready = BackupReady(request=request.request, slot=Slot(9), size=10)
    effects = bench.receive(L1, ready) + bench.drain()
    assert delivered(effects) == [(1, [[9, 10]])]
    assert len(messages(effects, Submit)) == 1


def test_two_backups_of_one_connection_follow_each_other_when_pipelined() -> None:
    bench = gateway()
    bench.step(ClientBackup(connection=1))
    [request] = messages(begin(bench), AskBackup)
    ready = BackupReady(request=request.request, slot=Slot(9), size=10)
    effects = bench.receive(L1, ready) + bench.drain()
    assert [message.request for message in messages(effects, AskBackup)] == [request.request + 1]


def test_nothing_is_asked_for_a_connection_that_closed_before_its_turn() -> None:
    bench = gateway()
    bench.step(ClientBackup(connection=1))
    bench.step(ClientGone(connection=1))
    assert messages(bench.drain(), AskBackup) == []
    assert bench.role.status().queued == 0


# ---------------------------------------------------------------- sessions of a restored state


def test_nothing_of_an_old_session_is_applied_again_when_a_state_was_restored() -> None:
    """DESIGN rule 6: at most once, through restores. The new cluster's gateways have the names of
    the old ones; their sessions are new, and end those that came with the state."""
    old = Machine()
    old.apply(Slot(1), opening(C1, nonce=7))
    count = batch(1, [b"INCR", b"n"], session=1)
    old.apply(Slot(2), envelope(count))
    restoring = Restoring()
    for piece in encode(old):
        restoring.feed(piece)
    new = restoring.machine()

    again: list[Any] = new.apply(Slot(3), envelope(count))
    assert [type(outcome) for _, outcome in again] == [Results], "the kept result, not a new one"
    assert new.read([[b"GET", b"n"]], 0) == [b"1"]
    opened = new.apply(Slot(4), envelope(OpenSession(gateway=C1, nonce=8)))
    assert opened == [(C1, SessionOpened(nonce=8, session=Slot(4)))]
    late = new.apply(Slot(5), envelope(batch(2, [b"INCR", b"n"], session=1)))
    assert [type(outcome) for _, outcome in late] == [SessionUnknown]
    new.apply(Slot(6), envelope(batch(1, [b"INCR", b"n"], session=4)))
    assert new.read([[b"GET", b"n"]], 0) == [b"2"]
