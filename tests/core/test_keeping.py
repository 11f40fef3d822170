"""An acceptor's upkeep: snapshots that come in, cuts, catching up."""

from __future__ import annotations

import msgspec
import pytest
from tests.core.builders import (
    A1,
    A2,
    A3,
    A4,
    A31,
    ACCEPTORS,
    L1,
    L2,
    LEARNERS,
    P1,
    Bench,
    an_acceptor,
    configuration,
    joining_journal,
    messages,
    nothing_sent,
    open_journal,
    records,
    sent,
    traced,
)

from paxos.core.acceptor import Acceptor
from paxos.core.effects import (
    AcceptedEntry,
    Connected,
    Cut,
    Disconnected,
    Effect,
    PartWritten,
    Persist,
    Promised,
    SnapshotFailed,
    SnapshotInfo,
    Stamped,
    WritePart,
)
from paxos.core.errors import InvariantViolation
from paxos.core.keeping import PATIENCE_TICKS
from paxos.core.messages import (
    Accept,
    Accepted,
    AcceptedValue,
    AskHighest,
    AskSnapshot,
    AskValues,
    AskVotes,
    AskWhole,
    Canvass,
    CanvassReply,
    Heartbeat,
    Highest,
    Prepare,
    Promise,
    SnapshotKept,
    SnapshotOffer,
    SnapshotPart,
    Values,
    Votes,
    Whole,
)
from paxos.core.settings import Settings
from paxos.core.types import Ballot, NodeId, Slot
from paxos.sim.world import membership_of
from paxos.storage.memory import MemoryJournal

DATA = b"0123456789"


class Kept:
    """Snapshots as a test says they are."""

    def __init__(self, slot: int = 0, data: bytes = b"") -> None:
        self.slot, self.data = slot, data

    @property
    def newest(self) -> SnapshotInfo | None:
        return SnapshotInfo(slot=Slot(self.slot), size=len(self.data)) if self.slot else None

    def read(self, slot: Slot, offset: int, bytes_max: int) -> bytes:
        return self.data[offset : offset + min(bytes_max, 4)] if slot == self.slot else b""


def entry(slot: int, ballot: int = 101, value: bytes = b"v", decided: int = 0) -> AcceptedEntry:
    return AcceptedEntry(slot=Slot(slot), ballot=Ballot(ballot), value=value, decided=Slot(decided))


def keeper(*entries: AcceptedEntry, kept: Kept | None = None, node: NodeId = A1) -> Bench:
    """Return an acceptor with these entries and this snapshot that started a while ago."""
    journal = open_journal(node, *entries)
    kept = kept or Kept()
    role = Acceptor(node, membership_of(), Settings(), journal, journal.recovered, kept)
    bench = Bench(role, journal)
    bench.start()
    for _ in range(PATIENCE_TICKS):
        bench.fire("upkeep")
    return bench


def heard(bench: Bench, decided: int, ballot: int = 101) -> None:
    """Let the leader say how far the log is decided, and a tick pass."""
    beat = Heartbeat(ballot=Ballot(ballot), decided=Slot(decided), round=1)
    bench.receive(P1 if ballot % 100 == 1 else NodeId(f"proposer-{ballot % 100}"), beat)
    bench.fire("upkeep")


def kept_by(slot: int, base: int = 0) -> SnapshotKept:
    return SnapshotKept(slot=Slot(slot), base=Slot(base))


def part(slot: int, offset: int, data: bytes, size: int = len(DATA)) -> SnapshotPart:
    return SnapshotPart(slot=Slot(slot), size=size, offset=offset, data=data)


def written(effects: list[Effect]) -> list[WritePart]:
    return [effect for effect in effects if isinstance(effect, WritePart)]


def votes(first: int, last: int, *pairs: tuple[int, int], base: int = 0, epoch: int = 0) -> Votes:
    return Votes(
        epoch=epoch,
        first=Slot(first),
        last=Slot(last),
        highest=Slot(last),
        votes=[(Slot(slot), Ballot(ballot)) for slot, ballot in pairs],
        base=Slot(base),
    )


def values(*three: tuple[int, int, bytes]) -> Values:
    return Values(
        values=[
            AcceptedValue(slot=Slot(slot), ballot=Ballot(ballot), value=value)
            for slot, ballot, value in three
        ]
    )


# ---------------------------------------------------------------- a snapshot comes in


def test_an_offered_snapshot_is_pulled_part_by_part_and_told_when_it_is_whole() -> None:
    kept = Kept()
    bench = keeper(entry(1), entry(2), kept=kept)
    offer = SnapshotOffer(slot=Slot(2), size=len(DATA))
    assert sent(bench.receive(L1, offer), AskSnapshot) == [
        ((L1,), AskSnapshot(slot=Slot(2), offset=0))
    ]
    effects = bench.receive(L1, part(2, 0, DATA[:4]))
    assert written(effects) == [WritePart(slot=Slot(2), size=10, offset=0, data=DATA[:4])]
    assert messages(effects, AskSnapshot) == [AskSnapshot(slot=Slot(2), offset=4)]
    effects = bench.receive(L1, part(2, 4, DATA[4:6]))
    assert len(written(effects)) == 1
    assert nothing_sent(effects), "one more is asked for when one is written"
    assert bench.role.status().keeping.incoming == 6
    effects = bench.step(PartWritten(slot=Slot(2), offset=4))
    assert messages(effects, AskSnapshot) == [AskSnapshot(slot=Slot(2), offset=6)]
    assert nothing_sent(bench.step(PartWritten(slot=Slot(2), offset=6)))
    bench.receive(L1, part(2, 6, DATA[6:]))
    kept.slot, kept.data = 2, DATA
    effects = bench.step(PartWritten(slot=Slot(2), offset=10))
    assert sent(effects, SnapshotKept) == [((A2, A3, *LEARNERS), kept_by(2))]
    assert records(effects) == [], "no quorum keeps it yet"
    assert bench.role.status().keeping.snapshot_slot == 2


@pytest.mark.parametrize(
    "message",
    [
        part(2, 3, b"x"),
        part(2, 0, b""),
        part(2, 0, b"x" * 11),
        part(1, 2, b"x"),
        part(0, 0, b"", size=0),
    ],
)
def test_a_part_is_not_written_when_it_is_not_the_one_that_was_asked_for(
    message: SnapshotPart,
) -> None:
    bench = keeper(entry(1))
    bench.receive(L1, SnapshotOffer(slot=Slot(2), size=len(DATA)))
    assert written(bench.receive(L1, message)) == []
    assert written(bench.receive(A2, part(2, 0, DATA))) == [], "nor from whom it was not asked"


def test_a_part_is_written_once_when_it_comes_twice() -> None:
    bench = keeper(entry(1))
    bench.receive(L1, SnapshotOffer(slot=Slot(2), size=len(DATA)))
    assert len(written(bench.receive(L1, part(2, 0, DATA[:6])))) == 1
    assert written(bench.receive(L1, part(2, 0, DATA[:6]))) == []


def test_an_offer_is_answered_with_what_is_kept_when_it_is_no_newer() -> None:
    bench = keeper(entry(1), kept=Kept(5, DATA))
    effects = bench.receive(L1, SnapshotOffer(slot=Slot(5), size=10))
    assert sent(effects, SnapshotKept) == [((L1,), kept_by(5))]


def test_a_snapshot_is_offered_in_vain_and_again_when_its_source_dies() -> None:
    bench = keeper(entry(1))
    offer = SnapshotOffer(slot=Slot(2), size=len(DATA))
    bench.receive(L1, offer)
    assert nothing_sent(bench.receive(L1, offer)), "it is on its way"
    bench.disconnect(L1)
    assert messages(bench.receive(L1, offer), AskSnapshot)
    for _ in range(PATIENCE_TICKS + 1):
        bench.fire("upkeep")
    assert messages(bench.receive(L1, offer), AskSnapshot), "a silent source is given up"


def test_a_snapshot_on_its_way_comes_first_when_a_newer_one_is_offered() -> None:
    """Or under a heavy load none would ever be whole, and no log cut."""
    kept = Kept()
    bench = keeper(entry(1), entry(2), kept=kept)
    newer = SnapshotOffer(slot=Slot(4), size=len(DATA))
    bench.receive(L1, SnapshotOffer(slot=Slot(2), size=len(DATA)))
    bench.receive(L1, part(2, 0, DATA[:6]))
    assert nothing_sent(bench.receive(L2, newer))
    assert len(written(bench.receive(L1, part(2, 6, DATA[6:])))) == 1
    kept.slot, kept.data = 2, DATA
    assert messages(bench.step(PartWritten(slot=Slot(2), offset=10)), SnapshotKept)
    assert sent(bench.receive(L2, newer), AskSnapshot) == [
        ((L2,), AskSnapshot(slot=Slot(4), offset=0))
    ]


def test_a_snapshot_that_cannot_be_written_is_said_and_given_up() -> None:
    bench = keeper(entry(1))
    bench.receive(L1, SnapshotOffer(slot=Slot(2), size=len(DATA)))
    effects = bench.step(SnapshotFailed(slot=Slot(2), reason="No space left on device"))
    assert traced(effects) == ["snapshot_failed"]
    assert bench.role.status().keeping.incoming_bytes == 0


def test_parts_are_handed_out_and_begin_anew_when_another_was_asked_for() -> None:
    bench = keeper(entry(1), kept=Kept(5, DATA))
    for asked, answer in (
        (AskSnapshot(slot=Slot(5), offset=4), part(5, 4, DATA[4:8])),
        (AskSnapshot(slot=Slot(0), offset=0), part(5, 0, DATA[:4])),
        (AskSnapshot(slot=Slot(4), offset=8), part(5, 0, DATA[:4])),
        (AskSnapshot(slot=Slot(5), offset=99), part(5, 99, b"")),
    ):
        assert sent(bench.receive(L1, asked), SnapshotPart) == [((L1,), answer)]
    nothing = keeper(entry(1)).receive(L1, AskSnapshot(slot=Slot(0), offset=0))
    assert messages(nothing, SnapshotPart) == [part(0, 0, b"", size=0)]


# ---------------------------------------------------------------- cutting


def test_the_log_is_cut_when_a_quorum_keeps_the_snapshot() -> None:
    """DESIGN rule 9."""
    bench = keeper(entry(1), entry(2), entry(3), kept=Kept(2, DATA))
    effects = bench.receive(A2, kept_by(2))
    assert records(effects) == [Cut(slot=Slot(2))]
    assert bench.role.log.base == 2
    assert bench.role.decided == 2
    assert bench.role.log.votes(Slot(1), Slot(3)) == [(3, 101)]
    assert records(bench.receive(A3, kept_by(2))) == [], "once"


@pytest.mark.parametrize(("kept", "others"), [(0, 9), (2, 1), (2, 0)])
def test_the_log_is_cut_no_further_than_this_acceptor_and_a_quorum_keep(
    kept: int, others: int
) -> None:
    bench = keeper(entry(1), entry(2), entry(3), kept=Kept(kept, DATA))
    bench.receive(A2, kept_by(others))
    assert bench.role.log.base == min(kept, others)
    assert bench.receive(L1, kept_by(9)) == [], "a learner's word counts for nothing"
    assert bench.receive(NodeId("acceptor-9"), kept_by(9)) == []
    assert bench.role.log.base == min(kept, others)


@pytest.mark.parametrize("old", [P1, L1])
def test_the_log_is_not_cut_while_a_proposer_or_learner_would_overlook_it(old: NodeId) -> None:
    """Rolling upgrades: version 1 knows nothing of `Promise.base`."""
    bench = keeper(entry(1), entry(2), kept=Kept(2, DATA))
    bench.step(Connected(peer=old, cluster="c1", version=1))
    bench.step(Connected(peer=A3, cluster="c1", version=1))
    assert records(bench.receive(A2, kept_by(2))) == []
    bench.step(Disconnected(peer=old))
    assert records(bench.fire("upkeep")) == [], "it will come back"
    assert bench.role.status().keeping.held_back_by == (old,)
    assert not bench.role.keeping.has_cut
    bench.step(Connected(peer=old, cluster="c1", version=2))
    assert records(bench.fire("upkeep")) == [Cut(slot=Slot(2))]
    assert bench.role.decided == 2
    assert bench.role.keeping.has_cut


def test_the_log_is_not_cut_before_older_nodes_had_time_to_come_back() -> None:
    """An acceptor that is started again does not know who else is there, and of what version."""
    journal = open_journal(A1, entry(1), entry(2))
    kept = Kept(2, DATA)
    role = Acceptor(A1, membership_of(), Settings(), journal, journal.recovered, kept)
    bench = Bench(role, journal)
    bench.start()
    assert records(bench.receive(A2, kept_by(2))) == []
    for _ in range(PATIENCE_TICKS - 1):
        assert records(bench.fire("upkeep")) == []
    assert records(bench.fire("upkeep")) == [Cut(slot=Slot(2))]


def test_a_cut_above_the_snapshot_that_is_kept_stops_the_acceptor() -> None:
    bench = keeper(entry(1), entry(2), entry(3), kept=Kept(2, DATA))
    with pytest.raises(InvariantViolation, match="cut above"):
        bench.watcher.check([Persist(record=Cut(slot=Slot(3)))])


def cut_at(slot: int, *entries: AcceptedEntry) -> Bench:
    """Return an acceptor that has cut its log."""
    bench = keeper(*entries, kept=Kept(slot, DATA))
    bench.receive(A2, kept_by(slot))
    assert bench.role.log.base == slot
    return bench


def test_promises_and_votes_name_the_base_when_the_log_was_cut() -> None:
    bench = cut_at(2, entry(1), entry(2), entry(3))
    effects = bench.receive(P1, Prepare(ballot=Ballot(201), first=Slot(1), last=Slot(0)))
    (promise,) = messages(effects, Promise)
    assert promise.base == 2
    assert [one.slot for one in promise.accepted] == [3]
    (told,) = messages(bench.receive(L1, AskVotes(first=Slot(1), last=Slot(9))), Votes)
    assert (told.base, told.votes) == (2, [(3, 101)])
    (highest,) = messages(bench.receive(L1, AskHighest(round=1)), Highest)
    assert highest.slot == 3
    (reply,) = messages(bench.receive(P1, Canvass(round=1)), CanvassReply)
    assert reply.decided == 2


def test_the_highest_slot_stays_when_all_of_the_log_was_cut() -> None:
    """A quorum read must never be told less than what was accepted (rule 7)."""
    bench = cut_at(3, entry(1), entry(2), entry(3))
    (highest,) = messages(bench.receive(L1, AskHighest(round=1)), Highest)
    assert highest.slot == 3


def test_a_proposal_below_the_cut_is_voted_for_and_not_kept() -> None:
    bench = cut_at(2, entry(1), entry(2))
    effects = bench.receive(
        P1, Accept(ballot=Ballot(101), slot=Slot(2), value=b"v", decided=Slot(0))
    )
    assert records(effects) == []
    assert messages(effects, Accepted) == [Accepted(ballot=Ballot(101), slot=Slot(2))]
    effects = bench.receive(
        P1, Accept(ballot=Ballot(201), slot=Slot(2), value=b"v", decided=Slot(0))
    )
    assert records(effects) == [Promised(ballot=Ballot(201))], "the promise is"


# ---------------------------------------------------------------- catching up


def test_nothing_is_asked_when_every_decided_slot_was_voted_for_under_its_leader() -> None:
    bench = keeper(entry(1), entry(2))
    heard(bench, 2)
    assert nothing_sent(bench.fire("upkeep"))
    assert not bench.role.status().keeping.behind


def test_missing_slots_are_fetched_at_their_highest_ballot_when_they_are_decided() -> None:
    bench = keeper(entry(1))
    heard(bench, 3)
    effects = bench.fire("upkeep")
    assert sent(effects, AskVotes) == [((A2, A3), AskVotes(first=Slot(2), last=Slot(3)))]
    assert bench.role.status().keeping.behind
    effects = bench.receive(A2, votes(2, 3, (2, 101), (3, 101)))
    assert sent(effects, AskValues) == [((A2,), AskValues(first=Slot(2), last=Slot(3)))]
    effects = bench.receive(A2, values((2, 101, b"b"), (3, 101, b"c")))
    assert records(effects) == [entry(2, 101, b"b"), entry(3, 101, b"c")]
    assert messages(bench.drain(), AskVotes) == []
    assert not bench.role.status().keeping.behind


def test_one_answer_of_four_others_is_not_enough_when_there_are_five_acceptors() -> None:
    membership = membership_of(acceptors=5)
    journal = open_journal(A1)
    stamp = journal.recovered.stamp
    assert stamp is not None
    bench = an_acceptor(membership=membership_of(), journal=journal)
    bench = Bench(Acceptor(A1, membership, Settings(), journal, journal.recovered, Kept()), journal)
    bench.role.phase = type(bench.role.phase)("open")
    heard(bench, 1)
    assert messages(bench.fire("upkeep"), AskVotes)
    assert nothing_sent(bench.receive(A2, votes(1, 1, (1, 101))))
    effects = bench.receive(A3, votes(1, 1, (1, 202)))
    assert sent(effects, AskValues) == [((A3,), AskValues(first=Slot(1), last=Slot(1)))]


def test_a_stale_vote_is_replaced_when_another_was_chosen_at_a_higher_ballot() -> None:
    bench = keeper(entry(1, 101, b"lost"))
    heard(bench, 1, ballot=302)
    assert messages(bench.fire("upkeep"), AskVotes) == [AskVotes(first=Slot(1), last=Slot(1))]
    effects = bench.receive(A3, votes(1, 1, (1, 202)))
    assert messages(effects, AskValues)
    effects = bench.receive(A3, values((1, 202, b"won")))
    assert records(effects) == [entry(1, 202, b"won")]
    bench.drain()
    found = bench.role.log.entry(Slot(1))
    assert found is not None
    assert found.value == b"won"


def test_an_old_vote_is_whole_when_nobody_has_a_higher_one() -> None:
    bench = keeper(entry(1, 101, b"won"))
    heard(bench, 1, ballot=302)
    bench.fire("upkeep")
    effects = bench.receive(A3, votes(1, 1, (1, 101)))
    assert nothing_sent(effects)
    assert messages(bench.fire("upkeep"), AskVotes) == []


def test_values_are_not_written_when_they_were_not_asked_for() -> None:
    bench = keeper(entry(1))
    heard(bench, 3)
    bench.fire("upkeep")
    assert records(bench.receive(A2, values((2, 101, b"b")))) == []
    bench.receive(A2, votes(2, 3, (2, 101), (3, 101)))
    assert records(bench.receive(A3, values((2, 101, b"b")))) == []
    effects = bench.receive(A2, values((2, 202, b"x"), (9, 101, b"y")))
    assert records(effects) == []


def test_a_catching_up_acceptor_may_write_below_its_promise() -> None:
    """No other value can be chosen in a decided slot (P2b)."""
    bench = keeper(entry(1))
    bench.receive(NodeId("proposer-2"), Prepare(ballot=Ballot(902), first=Slot(2), last=Slot(0)))
    heard(bench, 2, ballot=902)
    bench.fire("upkeep")
    bench.receive(A2, votes(1, 2, (1, 101), (2, 101)))
    effects = bench.receive(A2, values((2, 101, b"b")))
    assert records(effects) == [entry(2, 101, b"b")]
    assert bench.role.promised == 902


def test_a_snapshot_is_pulled_when_the_others_have_cut_what_is_missing() -> None:
    kept = Kept()
    bench = keeper(entry(1), kept=kept)
    bench.receive(A2, kept_by(7, base=7))
    heard(bench, 9)
    effects = bench.fire("upkeep")
    assert sent(effects, AskSnapshot) == [((A2,), AskSnapshot(slot=Slot(0), offset=0))]
    bench.receive(A2, part(7, 0, DATA))
    kept.slot, kept.data = 7, DATA
    effects = bench.step(PartWritten(slot=Slot(7), offset=10))
    assert records(effects) == [Cut(slot=Slot(7))]
    assert bench.role.log.base == 7
    effects = bench.fire("upkeep")
    assert messages(effects, AskVotes) == [AskVotes(first=Slot(8), last=Slot(9))]


def test_nothing_is_asked_while_the_volume_may_not_vote() -> None:
    bench = an_acceptor(journal=open_journal(A2))
    assert not bench.role.voting
    assert bench.fire("upkeep") == []


def test_silence_says_nothing_when_the_slots_asked_about_were_cut_off() -> None:
    """Who has cut a slot off may have voted in it, at a higher ballot than all that are left."""
    bench = keeper(entry(1, 101, b"lost"))
    heard(bench, 2, ballot=302)
    bench.fire("upkeep")
    assert nothing_sent(bench.receive(A2, votes(1, 2, base=2)))
    effects = bench.fire("upkeep")
    assert messages(effects, AskSnapshot), "it keeps a snapshot of what it cut off"
    assert bench.role.keeping.chosen == {}


def test_an_answer_speaks_for_no_more_than_it_was_asked_about_when_it_comes_late() -> None:
    bench = keeper()
    heard(bench, 1)
    assert messages(bench.fire("upkeep"), AskVotes) == [AskVotes(first=Slot(1), last=Slot(1))]
    heard(bench, 3)
    assert messages(bench.fire("upkeep"), AskVotes) == [AskVotes(first=Slot(1), last=Slot(3))]
    bench.receive(A2, votes(1, 1, (1, 101), (2, 101)))
    assert bench.role.keeping.chosen == {1: 101}


def test_the_log_is_cut_when_another_has_cut_that_knew_of_a_quorum() -> None:
    """Even where the messages of that quorum were lost."""
    bench = keeper(entry(1), entry(2), kept=Kept(2, DATA))
    five = membership_of(acceptors=5)
    role = Acceptor(A1, five, Settings(), bench.role.log, bench.role._recovered, Kept(2, DATA))
    for _ in range(PATIENCE_TICKS):
        role.keeping.tick(Slot(0), Ballot(0))
    assert role.keeping.on_kept(A2, kept_by(2)) == []
    (cut, _) = role.keeping.on_kept(A3, kept_by(4, base=4))
    assert cut == Persist(record=Cut(slot=Slot(2)))


def test_nothing_is_asked_again_at_once_when_an_answer_was_of_no_use() -> None:
    bench = keeper(entry(1))
    heard(bench, 2)
    bench.fire("upkeep")
    bench.receive(A2, votes(2, 2, (2, 101)))
    assert records(bench.receive(A2, values())) == []
    assert nothing_sent(bench.drain())
    assert messages(bench.fire("upkeep"), AskVotes)


def test_another_is_asked_for_its_snapshot_when_the_first_is_silent() -> None:
    bench = keeper(entry(1))
    for other in (A2, A3):
        bench.receive(other, kept_by(7, base=7))
    heard(bench, 9)
    asked = [
        to for _ in range(3 * PATIENCE_TICKS) for to, _ in sent(bench.fire("upkeep"), AskSnapshot)
    ]
    assert {(A2,), (A3,)} == set(asked)


# ---------------------------------------------------------------- members


def ask_whole(bench: Bench, decided: int, ballot: int = 101) -> tuple[int, list[Effect]]:
    """Ask as the leader how far an acceptor is; return that, and all it did."""
    asked = AskWhole(ballot=Ballot(ballot), decided=Slot(decided), epoch=bench.role.view.epoch)
    effects = bench.receive(f"proposer-{ballot % 100}", asked)
    [told] = messages(effects, Whole)
    assert told.ballot == ballot
    return told.slot, effects


def joiner(*entries: AcceptedEntry, kept: Kept | None = None) -> Bench:
    """Return an acceptor that is no member yet, with these entries."""
    journal = joining_journal(A4, *entries)
    role = Acceptor(A4, membership_of(), Settings(), journal, journal.recovered, kept or Kept())
    bench = Bench(role, journal)
    bench.start()
    for _ in range(PATIENCE_TICKS):
        bench.fire("upkeep")
    return bench


def test_an_acceptor_is_whole_up_to_the_first_slot_that_it_lacks() -> None:
    """messages.Whole: "in every slot up to `slot`", and not in most of them."""
    bench = keeper(entry(1), entry(2), entry(4))
    told, effects = ask_whole(bench, 4)
    assert told == 2
    assert sent(effects, AskVotes) == [((A2, A3), AskVotes(first=Slot(3), last=Slot(3)))]
    bench.receive(A2, votes(3, 3, (3, 101)))
    bench.receive(A2, values((3, 101, b"v")))
    bench.drain()
    assert ask_whole(bench, 4)[0] == 4


def test_an_acceptor_is_not_whole_by_a_vote_that_is_older_than_the_leader() -> None:
    """keeping.py: "Its own vote at ballot c or higher is for the chosen value", and no lower one
    unless others are asked ("Paxos Made Simple", P2b).
    """
    bench = keeper(entry(1, 101))
    told, effects = ask_whole(bench, 1, ballot=202)
    assert told == 0
    assert messages(effects, AskVotes) == [AskVotes(first=Slot(1), last=Slot(1))]
    bench.receive(A2, votes(1, 1, (1, 202)))
    assert ask_whole(bench, 1, ballot=202)[0] == 0
    bench.receive(A2, values((1, 202, b"w")))
    bench.drain()
    assert ask_whole(bench, 1, ballot=202)[0] == 1


def test_an_acceptor_is_whole_by_what_it_has_cut_off_when_it_keeps_the_snapshot() -> None:
    """messages.Whole: "in its log or a snapshot"."""
    bench = keeper(entry(1), entry(2), entry(3), kept=Kept(2, DATA))
    bench.receive(A2, kept_by(2))
    assert bench.role.log.base == 2
    assert ask_whole(bench, 2)[0] == 2
    assert ask_whole(bench, 3)[0] == 3


def test_one_that_is_no_member_asks_a_whole_quorum_when_it_catches_up() -> None:
    """keeping.py: "One that is no member yet asks a whole quorum": its own vote is none of theirs,
    and f of them may all have missed the ballot at which the slot was chosen.
    """
    bench = joiner(entry(1, 101, b"old"))
    told, effects = ask_whole(bench, 1, ballot=202)
    assert told == 0
    assert sent(effects, AskVotes) == [(ACCEPTORS, AskVotes(first=Slot(1), last=Slot(1)))]
    bench.receive(A1, votes(1, 1, (1, 101)))
    assert ask_whole(bench, 1, ballot=202)[0] == 0, "one answer of three is no quorum"
    [ask] = messages(bench.receive(A2, votes(1, 1, (1, 202))), AskValues)
    assert (ask.first, ask.last) == (1, 1)
    effects = bench.receive(A2, values((1, 202, b"new")))
    assert records(effects) == [entry(1, 202, b"new")]
    bench.drain()
    assert ask_whole(bench, 1, ballot=202)[0] == 1


def test_one_that_is_no_member_pulls_a_snapshot_when_others_have_cut_what_it_lacks() -> None:
    """ADR 0003: whole "in every slot that is not cut off"."""
    bench = joiner()
    bench.receive(A1, kept_by(7, base=7))
    told, effects = ask_whole(bench, 7)
    assert told == 0
    assert sent(effects, AskSnapshot) == [((A1,), AskSnapshot(slot=Slot(0), offset=0))]
    bench.receive(A1, part(7, 0, DATA))
    assert bench.role.keeping.joined() == "10 of 10 bytes of a snapshot are here"


@pytest.mark.parametrize(("epoch", "counts"), [(0, False), (1, True)])
def test_votes_count_only_when_they_are_told_by_a_member_that_knows_it(
    epoch: int, counts: bool
) -> None:
    """keeping.py: "each tells its votes as a member of the new configuration"."""
    bench = keeper(entry(1))
    bench.receive(P1, configuration(1, slot=3, acceptors=(A1, A2, A31)))
    bench.fire("upkeep")
    [(to, ask)] = sent(bench.fire("upkeep"), AskVotes)
    assert (to, ask.first) == ((A2, A31), 2)
    told = votes(2, 3, (2, 101), (3, 101), epoch=epoch)
    assert bool(messages(bench.receive(A2, told), AskValues)) is counts


def test_a_removed_acceptor_is_asked_and_heard_no_more_when_others_catch_up() -> None:
    """DESIGN rule 11: nothing that it says now may count."""
    bench = keeper(entry(1))
    bench.receive(P1, configuration(1, slot=3, acceptors=(A1, A2, A31)))
    bench.fire("upkeep")
    bench.fire("upkeep")
    told = votes(2, 3, (2, 101), (3, 101), epoch=1)
    assert messages(bench.receive(A3, told), AskValues) == []
    assert bench.receive(A3, kept_by(9, base=9)) == []


def test_an_answer_counts_no_more_when_the_members_have_changed_since_the_question() -> None:
    """keeping.reconfigured: "what was asked of the ones before counts no more"."""
    bench = keeper(entry(1))
    heard(bench, 3)
    assert messages(bench.fire("upkeep"), AskVotes)
    bench.receive(P1, configuration(1, slot=3, acceptors=(A1, A2, A31)))
    assert messages(bench.receive(A2, votes(2, 3, (2, 101), (3, 101))), AskValues) == []


def test_a_snapshot_is_given_up_when_its_source_is_removed() -> None:
    """It will be stopped; another keeps one."""
    bench = keeper(entry(1))
    bench.receive(A3, SnapshotOffer(slot=Slot(2), size=len(DATA)))
    bench.receive(A3, part(2, 0, DATA[:4]))
    bench.receive(P1, configuration(1, slot=3, acceptors=(A1, A2, A31)))
    assert bench.role.status().keeping.incoming == 0


def test_the_log_is_cut_by_the_members_of_now_when_they_have_changed() -> None:
    """DESIGN rule 9, by rule 2's configuration: two of three are enough, two of four are not."""
    bench = keeper(entry(1), entry(2), entry(3), kept=Kept(2, DATA))
    bench.receive(P1, configuration(1, slot=3, acceptors=(A1, A2, A3, A4)))
    assert records(bench.receive(A2, kept_by(2))) == []
    assert records(bench.receive(A4, kept_by(2))) == [Cut(slot=Slot(2))]


def test_an_acceptor_that_is_alone_is_whole_by_its_own_votes_whoever_leads() -> None:
    """A quorum by itself asks nobody, and a cluster of one acceptor can grow."""
    alone = msgspec.structs.replace(membership_of(), acceptors=(A1,))
    journal = MemoryJournal()
    journal.append(Stamped(cluster="c1", node=A1, phase="open", acceptors=(A1,)))
    journal.append(entry(1))
    journal.append(entry(2))
    journal.sync()
    journal = journal.crash()
    bench = Bench(Acceptor(A1, alone, Settings(), journal, journal.recovered, Kept()), journal)
    bench.start()
    told, _ = ask_whole(bench, 2, ballot=202)
    assert told == 2
