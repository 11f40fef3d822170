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
    CLUSTER,
    L1,
    L2,
    P1,
    P2,
    P3,
    PROPOSERS,
    Bench,
    an_acceptor,
    cancelled,
    configuration,
    joining_journal,
    messages,
    nothing_sent,
    open_journal,
    records,
    sent,
    timers,
    traced,
)

from paxos.core.acceptor import Acceptor, Phase
from paxos.core.effects import (
    AcceptedEntry,
    Configured,
    Promised,
    Recovered,
    Relink,
    Send,
    Stamped,
    Start,
)
from paxos.core.errors import VolumeDamaged
from paxos.core.messages import (
    Abstain,
    Accept,
    Accepted,
    AcceptedValue,
    AskConfiguration,
    AskHighest,
    AskSnapshot,
    AskValues,
    AskVolume,
    AskVotes,
    AskWhole,
    Canvass,
    CanvassReply,
    Configuration,
    Heartbeat,
    HeartbeatReply,
    Highest,
    Joining,
    Nack,
    Prepare,
    Promise,
    Reminder,
    SnapshotOffer,
    SnapshotPart,
    Values,
    VolumeState,
    Votes,
    Whole,
)
from paxos.core.settings import Limits, Settings
from paxos.core.types import Ballot, NodeId, Slot
from paxos.sim.world import membership_of
from paxos.storage.memory import MemoryJournal


def prepare(ballot: int, first: int = 1, last: int = 0) -> Prepare:
    return Prepare(ballot=Ballot(ballot), first=Slot(first), last=Slot(last))


def accept(ballot: int, slot: int = 1, value: bytes = b"v", decided: int = 0) -> Accept:
    return Accept(ballot=Ballot(ballot), slot=Slot(slot), value=value, decided=Slot(decided))


def entry(slot: int, ballot: int, value: bytes, decided: int = 0) -> AcceptedEntry:
    return AcceptedEntry(slot=Slot(slot), ballot=Ballot(ballot), value=value, decided=Slot(decided))


def accepted(slot: int, ballot: int, value: bytes) -> AcceptedValue:
    return AcceptedValue(slot=Slot(slot), ballot=Ballot(ballot), value=value)


# ---------------------------------------------------------------- phase 1b


def test_a_promise_is_persisted_when_the_ballot_is_higher() -> None:
    """DESIGN rule 3; Paxos Made Simple, phase 1b."""
    bench = an_acceptor()
    effects = bench.receive(P1, prepare(101))
    assert records(effects) == [Promised(ballot=Ballot(101))]
    [(to, message)] = sent(effects, Promise)
    assert to == (P1,)
    assert (message.ballot, message.first, message.last) == (101, 1, 0)
    assert (message.begin, message.end, message.accepted) == (message.first, 0, [])


def test_a_promise_is_only_repeated_when_its_own_proposer_asks_again() -> None:
    """An answer may be lost: the promise stands, nothing is written twice."""
    bench = an_acceptor()
    bench.receive(P1, prepare(101))
    effects = bench.receive(P1, prepare(101))
    assert records(effects) == []
    assert len(messages(effects, Promise)) == 1


def test_a_prepare_is_refused_when_a_higher_ballot_was_promised() -> None:
    """Paxos Made Moderately Complex, 2.1: the reply carries the higher ballot: preemption."""
    bench = an_acceptor()
    bench.receive(P2, prepare(202))
    effects = bench.receive(P1, prepare(101))
    assert records(effects) == []
    assert sent(effects, Nack) == [((P1,), Nack(ballot=Ballot(101), promised=Ballot(202)))]
    assert bench.role.promised == 202


def test_a_promise_carries_the_highest_ballot_accepted_when_a_slot_has_several() -> None:
    """Paxos Made Simple, phase 1b: "the highest-numbered proposal (if any)"."""
    bench = an_acceptor()
    bench.receive(P1, accept(101, value=b"old"))
    bench.receive(P2, accept(202, value=b"new"))
    effects = bench.receive(P3, prepare(303))
    [message] = messages(effects, Promise)
    assert message.accepted == [accepted(1, 202, b"new")]


@pytest.mark.parametrize(
    ("first", "last", "slots"), [(1, 0, [1, 2, 5]), (2, 0, [2, 5]), (2, 4, [2]), (6, 0, [])]
)
def test_a_promise_tells_of_the_slots_asked_when_a_range_is_given(
    first: int, last: int, slots: list[int]
) -> None:
    """Paxos Made Simple, 3: phase 1 for all slots from the first not known decided."""
    bench = an_acceptor()
    for slot in (1, 2, 5):
        bench.receive(P1, accept(101, slot))
    [message] = messages(bench.receive(P2, prepare(202, first, last)), Promise)
    assert [value.slot for value in message.accepted] == slots


def test_a_promise_comes_in_parts_when_the_values_are_large() -> None:
    """DESIGN rule 10: no message grows without bound."""
    settings = Settings(limits=Limits(catchup_bytes_max=10))
    bench = an_acceptor(settings=settings)
    for slot in (1, 2, 3, 4):
        bench.receive(P1, accept(101, slot, b"12345"))
    parts = messages(bench.receive(P2, prepare(202)), Promise)
    assert [(part.begin, part.end) for part in parts] == [(1, 2), (3, 0)]
    assert [[v.slot for v in part.accepted] for part in parts] == [[1, 2], [3, 4]]


# ---------------------------------------------------------------- phase 2b


def test_a_vote_is_persisted_and_told_to_learners_and_leader_when_accepted() -> None:
    """DESIGN "One write", step 4; Paxos Made Simple, phase 2b."""
    bench = an_acceptor()
    effects = bench.receive(P1, accept(101, 3, b"hello", decided=2))
    assert records(effects) == [entry(3, 101, b"hello", decided=2)]
    vote = Accepted(ballot=Ballot(101), slot=Slot(3))
    assert sent(effects, Accepted) == [((L1, L2, P1), vote)]
    assert bench.role.decided == 2


def test_a_vote_stays_behind_for_those_that_do_not_wait_for_it_when_the_leader_says_so() -> None:
    """messages.Accept: "theirs may travel later, with others"."""
    bench = an_acceptor()
    proposal = msgspec.structs.replace(accept(101, 3, b"hello"), relaxed=(L2, P1))
    effects = bench.receive(P1, proposal)
    assert records(effects) == [entry(3, 101, b"hello")]
    vote = Accepted(ballot=Ballot(101), slot=Slot(3))
    assert [e for e in effects if isinstance(e, Send)] == [
        Send(to=(L1,), message=vote),
        Send(to=(L2, P1), message=vote, relaxed=True),
    ]


def test_an_accept_raises_the_promise_when_no_prepare_came_before() -> None:
    """DESIGN rule 3: "An Accept raises the promise"."""
    bench = an_acceptor()
    bench.receive(P2, accept(202))
    assert bench.role.promised == 202
    assert messages(bench.receive(P1, prepare(101)), Nack)
    assert messages(bench.receive(P1, accept(101)), Nack)


def test_an_accept_is_refused_when_its_ballot_is_below_the_promise() -> None:
    """Paxos Made Simple, phase 2b: "unless it has already responded to a prepare request
    having a number greater than n"."""
    bench = an_acceptor()
    bench.receive(P2, prepare(202))
    effects = bench.receive(P1, accept(101))
    assert records(effects) == []
    assert messages(effects, Accepted) == []
    assert messages(effects, Nack) == [Nack(ballot=Ballot(101), promised=Ballot(202))]


def test_a_vote_is_told_again_and_not_written_again_when_the_accept_was_resent() -> None:
    """A lost vote costs a message, not a sync."""
    bench = an_acceptor()
    bench.receive(P1, accept(101))
    effects = bench.receive(P1, accept(101))
    assert records(effects) == []
    assert len(messages(effects, Accepted)) == 1
    assert bench.role.status().accepts == 1


@pytest.mark.parametrize("message", [prepare(101), accept(101), prepare(100), accept(0)])
def test_a_ballot_is_ignored_when_the_sender_does_not_own_it(message: Prepare | Accept) -> None:
    """DESIGN rule 1: a ballot names its proposer, and nobody else may use it."""
    bench = an_acceptor()
    effects = bench.receive(P2, message)
    assert traced(effects) == ["ballot_not_owned"]
    assert nothing_sent(effects)
    assert bench.role.promised == 0


def test_promise_and_votes_are_remembered_when_the_acceptor_starts_again() -> None:
    """DESIGN rule 3: what was synced before the reply is there after a crash."""
    bench = an_acceptor()
    bench.receive(P1, accept(101, 1, b"kept"))
    bench.receive(P2, prepare(202))
    assert bench.journal is not None
    bench.journal.sync()
    again = an_acceptor(journal=bench.journal.crash())
    assert again.role.promised == 202
    assert messages(again.receive(P1, accept(101, 2)), Nack)
    [message] = messages(again.receive(P3, prepare(303)), Promise)
    assert message.accepted == [accepted(1, 101, b"kept")]


# ---------------------------------------------------------------- liveness


def test_a_canvass_changes_nothing_when_answered() -> None:
    """DESIGN "Election": a candidate that asks does not disturb."""
    bench = an_acceptor()
    bench.receive(P1, accept(101, decided=0))
    effects = bench.receive(P2, Canvass(round=4))
    assert records(effects) == []
    reply = CanvassReply(round=4, promised=Ballot(101), leader=Ballot(101), decided=Slot(0))
    assert sent(effects, CanvassReply) == [((P2,), reply)]


def canvassed(bench: Bench, sender: NodeId = P2) -> Ballot:
    [reply] = messages(bench.receive(sender, Canvass(round=1)), CanvassReply)
    return reply.leader


def test_an_acceptor_would_follow_when_its_leader_fell_silent() -> None:
    """DESIGN rule 12: after `suspect_ms` an acceptor forgets whom it followed; no promise falls."""
    bench = an_acceptor()
    bench.receive(P1, accept(101))
    bench.now_ms += 350
    assert canvassed(bench) == 101
    bench.now_ms += 1
    assert canvassed(bench) == 0
    assert bench.role.promised == 101


def test_an_acceptor_would_follow_when_the_leaders_link_closed() -> None:
    """DESIGN "Election": the closing of the leader's connection is an immediate hint."""
    bench = an_acceptor()
    bench.receive(P1, accept(101))
    bench.disconnect(P3)
    assert canvassed(bench) == 101
    bench.disconnect(P1)
    assert canvassed(bench) == 0


def test_an_acceptor_would_follow_when_the_one_who_asks_led_before() -> None:
    """A leader that lost its office is not in its own way."""
    bench = an_acceptor()
    bench.receive(P1, accept(101))
    assert canvassed(bench, P1) == 0


def test_a_heartbeat_is_answered_when_its_ballot_is_not_below_the_promise() -> None:
    """DESIGN "Election": a leader that loses its quorum steps down: so it must hear answers."""
    bench = an_acceptor()
    bench.receive(P1, prepare(101))
    beat = Heartbeat(ballot=Ballot(101), decided=Slot(0), round=9)
    effects = bench.receive(P1, beat)
    reply = HeartbeatReply(ballot=Ballot(101), round=9)
    assert sent(effects, HeartbeatReply) == [((P1,), reply)]
    bench.receive(P2, prepare(202))
    assert messages(bench.receive(P1, beat), Nack)


# ---------------------------------------------------------------- learners ask


def test_learners_are_told_votes_values_and_height_when_they_ask() -> None:
    """DESIGN "One write", step 5: an acceptor hands out what it voted for."""
    bench = an_acceptor()
    for slot in (1, 2, 4):
        bench.receive(P1, accept(101, slot, b"v%d" % slot))
    ask = AskVotes(first=Slot(2), last=Slot(9))
    [(to, votes)] = sent(bench.receive(L2, ask), Votes)
    assert to == (L2,)
    assert (votes.first, votes.last, votes.highest) == (2, 9, 4)
    assert votes.votes == [(2, 101), (4, 101)]
    ask_values = AskValues(first=Slot(1), last=Slot(2))
    [values] = messages(bench.receive(L1, ask_values), Values)
    assert values.values == [accepted(1, 101, b"v1"), accepted(2, 101, b"v2")]
    [highest] = messages(bench.receive(L1, AskHighest(round=6)), Highest)
    assert highest == Highest(round=6, slot=Slot(4))


def test_catching_up_is_bounded_when_much_is_asked() -> None:
    """DESIGN rule 10; STYLE 19: everything has a limit."""
    settings = Settings(limits=Limits(catchup_slots_max=2, catchup_bytes_max=3))
    bench = an_acceptor(settings=settings)
    for slot in range(1, 6):
        bench.receive(P1, accept(101, slot, b"12"))
    [votes] = messages(bench.receive(L1, AskVotes(first=Slot(1), last=Slot(99))), Votes)
    assert (votes.last, len(votes.votes)) == (2, 2)
    [values] = messages(bench.receive(L1, AskValues(first=Slot(1), last=Slot(99))), Values)
    assert [value.slot for value in values.values] == [1]


# ---------------------------------------------------------------- rule 8: the volume


BALLOT_MESSAGES = [
    prepare(101),
    accept(101),
    Canvass(round=1),
    Heartbeat(ballot=Ballot(101), decided=Slot(0), round=1),
]


def blank(node: NodeId = A1) -> Bench:
    return an_acceptor(node, MemoryJournal())


def state(phase: str, cluster: str = "") -> VolumeState:
    return VolumeState(cluster=cluster, phase=phase)


@pytest.mark.parametrize("message", BALLOT_MESSAGES, ids=lambda m: type(m).__name__)
def test_a_blank_volume_says_why_it_abstains_when_a_proposer_asks(message: object) -> None:
    """DESIGN rule 8: does not vote, and says why."""
    bench = blank()
    effects = bench.receive(P1, message)
    assert records(effects) == []
    [(to, why)] = sent(effects, Abstain)
    assert to == (P1,)
    assert "blank" in why.reason
    assert "waiting for acceptor-2, acceptor-3" in why.reason


def test_a_blank_volume_answers_no_read_when_a_learner_asks() -> None:
    """DESIGN rules 7 and 8: a forgotten volume must not count in a read's quorum."""
    bench = blank()
    assert bench.receive(L1, AskHighest(round=1)) == []
    assert bench.receive(L1, AskVotes(first=Slot(1), last=Slot(9))) == []


def test_a_blank_volume_asks_the_others_when_it_starts() -> None:
    """DESIGN rule 8: the founding must be proven."""
    bench = blank()
    effects = bench.fire("founding")
    assert sent(effects, AskVolume) == [((A2, A3), AskVolume())]
    assert timers(effects) == {"founding": 100}


def test_the_first_acceptor_draws_the_identity_when_all_the_others_are_blank() -> None:
    """DESIGN rule 8: the very first start."""
    bench = blank()
    assert records(bench.receive(A2, state("blank"))) == []
    effects = bench.receive(A3, state("blank"))
    [stamp] = records(effects)
    assert (stamp.node, stamp.phase) == (A1, "formatted")
    assert stamp.cluster == f"{int(0.5 * 2**53):014x}"
    assert sent(effects, VolumeState) == [((A2, A3), state("formatted", stamp.cluster))]
    assert not bench.role.voting


def test_another_acceptor_waits_when_nobody_is_formatted() -> None:
    """One founder: two identities can never be drawn."""
    bench = blank(A2)
    bench.receive(A1, state("blank"))
    assert records(bench.receive(A3, state("blank"))) == []


def test_another_acceptor_adopts_the_founding_when_the_first_is_formatted() -> None:
    """DESIGN rule 8: "blank or of the same founding"."""
    bench = blank(A2)
    bench.receive(A1, state("formatted", "new"))
    [stamp] = records(bench.receive(A3, state("blank")))
    assert stamp == Stamped(cluster="new", node=A2, phase="formatted", acceptors=ACCEPTORS)


def formatted(node: NodeId = A2, cluster: str = "new") -> Bench:
    bench = blank(node)
    for other in (A1, A2, A3):
        if other != node:
            bench.receive(other, state("formatted", cluster))
    return bench


def test_a_formatted_acceptor_votes_when_all_the_others_are_formatted_too() -> None:
    """DESIGN rule 8: nobody votes before every acceptor is formatted."""
    bench = blank(A2)
    bench.receive(A1, state("formatted", "new"))
    bench.receive(A3, state("blank"))
    assert bench.role.phase is Phase.FORMATTED
    effects = bench.receive(A3, state("formatted", "new"))
    assert records(effects) == [Stamped(cluster="new", node=A2, phase="open", acceptors=ACCEPTORS)]
    assert cancelled(effects) == {"founding"}
    assert bench.role.voting
    assert messages(bench.receive(P1, prepare(101)), Promise)


def test_founding_waits_when_an_acceptor_does_not_answer() -> None:
    """DESIGN rule 8: "every other configured acceptor answers"."""
    bench = blank()
    for _ in range(3):
        assert records(bench.fire("founding")) == []
        assert records(bench.receive(A2, state("blank"))) == []
    assert bench.role.phase is Phase.BLANK


def test_an_answer_counts_no_more_when_its_acceptor_went_away() -> None:
    """What an acceptor said in an earlier life proves nothing about its volume now."""
    bench = blank()
    bench.receive(A2, state("blank"))
    bench.disconnect(A2)
    assert records(bench.receive(A3, state("blank"))) == []


def test_a_blank_volume_is_barred_when_another_acceptor_is_open() -> None:
    """DESIGN rule 8: "a lost volume is never taken for a new cluster"."""
    bench = blank()
    effects = bench.receive(A2, state("open", "old"))
    assert traced(effects) == ["volume_barred"]
    status = bench.role.status()
    assert status.phase == "barred"
    assert "cluster old already lives" in status.reason
    assert "Bring its own volume back" in status.reason
    bench.receive(A3, state("blank"))
    assert bench.role.phase is Phase.BARRED


@pytest.mark.parametrize("witness", [P2, L1])
def test_a_blank_volume_is_barred_when_a_member_of_a_living_cluster_connects(
    witness: NodeId,
) -> None:
    """DESIGN rule 8: "and nobody knows of a decided slot": proposers and learners remember."""
    bench = blank()
    bench.connect(witness, "old")
    bench.receive(A2, state("blank"))
    bench.receive(A3, state("blank"))
    assert bench.role.phase is Phase.BARRED
    assert "cluster old already lives" in bench.role.reason


def test_a_bar_is_lifted_when_the_evidence_is_gone() -> None:
    """An operator may put the others to rest; a blank volume asks on."""
    bench = blank()
    bench.receive(A2, state("open", "old"))
    bench.disconnect(A2)
    effects = bench.fire("founding")
    assert messages(effects, AskVolume)
    assert bench.role.phase is Phase.BLANK


def test_two_foundings_are_refused_when_the_others_disagree() -> None:
    """DESIGN rule 8: "of the same founding"."""
    bench = blank()
    bench.receive(A2, state("formatted", "one"))
    bench.receive(A3, state("formatted", "two"))
    assert bench.role.phase is Phase.BARRED
    assert "two clusters: one, two" in bench.role.reason


def test_a_formatted_volume_is_barred_when_another_belongs_elsewhere() -> None:
    """DESIGN rule 8: a foreign volume does not vote."""
    bench = an_acceptor(A2, formatted_journal(A2, "mine"))
    bench.receive(A1, state("formatted", "theirs"))
    assert bench.role.phase is Phase.BARRED
    assert "formatted for cluster mine" in bench.role.reason
    assert "belongs to theirs" in bench.role.reason


def formatted_journal(node: NodeId, cluster: str) -> MemoryJournal:
    journal = MemoryJournal()
    journal.append(Stamped(cluster=cluster, node=node, phase="formatted", acceptors=ACCEPTORS))
    journal.sync()
    return journal.crash()


def test_a_formatted_acceptor_votes_when_one_other_is_open_and_one_has_lost_its_volume() -> None:
    """Found by the simulator: the founding was over, and the loss of one volume blocked for ever
    a second acceptor that had slept through the end of it."""
    bench = an_acceptor(A2, formatted_journal(A2, "new"))
    bench.receive(A3, state("barred"))
    assert not bench.role.voting
    effects = bench.receive(A1, state("open", "new"))
    assert [r.phase for r in records(effects)] == ["open"]
    assert bench.role.voting


def test_founding_goes_on_when_a_formatted_acceptor_starts_again() -> None:
    """DESIGN rule 8: a crash in the middle of founding is not the end of it."""
    bench = an_acceptor(A2, formatted_journal(A2, "new"))
    bench.receive(A1, state("formatted", "new"))
    effects = bench.receive(A3, state("formatted", "new"))
    assert records(effects) == [Stamped(cluster="new", node=A2, phase="open", acceptors=ACCEPTORS)]


def test_a_volume_of_another_node_is_barred_when_mounted_here() -> None:
    """DESIGN rule 8: "A volume belongs to one cluster, one role, one id"."""
    bench = an_acceptor(A1, open_journal(A3))
    assert bench.role.phase is Phase.BARRED
    assert bench.role.reason == "the volume belongs to acceptor-3, not to acceptor-1"
    assert messages(bench.receive(P1, prepare(101)), Abstain)


def test_a_volume_is_barred_when_it_was_founded_with_other_acceptors() -> None:
    """DESIGN rules 2 and 11: quorums come from the configuration that the log decided."""
    bench = an_acceptor(A1, open_journal(A1), membership_of(acceptors=5))
    assert bench.role.phase is Phase.BARRED
    assert "founded with acceptor-1, acceptor-2, acceptor-3, but" in bench.role.reason
    assert "set cluster.acceptors back" in bench.role.reason
    assert messages(bench.receive(P1, prepare(101)), Abstain)


def test_a_damaged_volume_is_barred_for_good_when_opened() -> None:
    """DESIGN rule 8: "torn or corrupt": it says why; no answer of the others lifts the bar."""
    journal = open_journal(A1).crash(damage="a checksum in slot 4 is wrong")
    bench = an_acceptor(A1, journal)
    assert "damaged: a checksum in slot 4 is wrong" in bench.role.reason
    assert bench.fire("founding") == []
    bench.receive(A2, state("blank"))
    bench.receive(A3, state("blank"))
    assert bench.role.phase is Phase.BARRED


def test_a_repaired_volume_votes_and_says_so_when_a_crash_had_torn_its_tail() -> None:
    """DESIGN rule 8: "A torn tail after a crash is not bit rot"."""

    class Repaired(MemoryJournal):
        @property
        def recovered(self) -> Recovered:
            stamp = Stamped(cluster=CLUSTER, node=A1, phase="open", acceptors=ACCEPTORS)
            return Recovered(stamp=stamp, repaired="17 bytes of a record were dropped")

    journal = Repaired()
    journal.append(Stamped(cluster=CLUSTER, node=A1, phase="open", acceptors=ACCEPTORS))
    bench = an_acceptor(A1, journal)
    assert bench.role.voting


def test_votes_without_a_stamp_are_barred_when_found() -> None:
    """DESIGN rule 8: votes of an unknown owner are nobody's memory."""

    class Unstamped(MemoryJournal):
        @property
        def recovered(self) -> Recovered:
            return Recovered(promised=Ballot(101))

    bench = an_acceptor(A1, Unstamped())
    assert bench.role.phase is Phase.BARRED
    assert "no stamp of an owner" in bench.role.reason


class Rotting(MemoryJournal):
    """A journal on which a value can no longer be read."""

    def entries(self, first: Slot, last: Slot, bytes_max: int) -> list[AcceptedEntry]:
        raise VolumeDamaged("slot 1 does not match its checksum")


@pytest.mark.parametrize(
    ("sender", "message"),
    [(P2, prepare(202)), (L1, AskValues(first=Slot(1), last=Slot(1)))],
    ids=["prepare", "ask-values"],
)
def test_an_acceptor_stops_voting_when_bit_rot_shows_while_reading(
    sender: NodeId, message: object
) -> None:
    """DESIGN rule 8: a corrupt volume does not vote, whenever that is found out."""
    journal = Rotting()
    journal.append(Stamped(cluster=CLUSTER, node=A1, phase="open", acceptors=ACCEPTORS))
    journal.append(entry(1, 101, b"v"))
    journal._recovered = journal._live.summary.recovered()
    bench = an_acceptor(A1, journal)
    effects = bench.receive(sender, message)
    assert nothing_sent(effects)
    assert traced(effects) == ["volume_barred"]
    assert bench.role.phase is Phase.BARRED
    assert messages(bench.receive(P2, prepare(202)), Abstain)


def test_a_lone_acceptor_founds_its_cluster_when_there_are_no_others() -> None:
    """DESIGN: the numbers of nodes are configuration; one acceptor works as well."""
    bench = an_acceptor(A1, MemoryJournal(), membership_of(acceptors=1))
    assert [r.phase for r in records(bench.fire("founding"))] == ["formatted"]
    assert [r.phase for r in records(bench.fire("founding"))] == ["open"]
    assert bench.role.voting


def test_status_is_an_immutable_snapshot_when_taken() -> None:
    """STYLE 21."""
    bench = an_acceptor()
    bench.receive(P1, accept(101, 2))
    bench.receive(P2, prepare(202))
    bench.receive(P1, accept(101, 3))
    status = bench.role.status()
    bench.receive(P2, accept(202, 9))
    assert msgspec.to_builtins(status) == {
        "phase": "open",
        "reason": "",
        "cluster": CLUSTER,
        "promised": 202,
        "highest_slot": 2,
        "decided": 0,
        "leader_ballot": 202,
        "epoch": 0,
        "accepts": 1,
        "nacks": 1,
        "keeping": {
            "base": 0,
            "snapshot_slot": 0,
            "snapshot_bytes": 0,
            "kept": {A1: 0},
            "incoming": 0,
            "incoming_bytes": 0,
            "behind": False,
            "held_back_by": (),
        },
    }
    with pytest.raises(AttributeError):
        status.promised = 0  # type: ignore[misc]


@pytest.mark.parametrize("acceptors", [(A1,), (A1, A2), (A1, A2, A3, NodeId("acceptor-4"))])
def test_an_acceptor_does_not_vote_when_the_configuration_names_other_acceptors(
    acceptors: tuple[NodeId, ...],
) -> None:
    """DESIGN rules 2 and 11: quorums of two configurations need not intersect."""
    journal = MemoryJournal()
    journal.append(Stamped(cluster=CLUSTER, node=A1, phase="open", acceptors=acceptors))
    journal.sync()
    found = journal.crash()
    acceptor = Acceptor(A1, membership_of(), Settings(), found, found.recovered)
    acceptor.step(Start(), 0.0, 0.5)
    assert not acceptor.voting
    assert "was founded with" in acceptor.reason


def test_an_acceptor_stops_voting_when_it_is_reminded_of_more_than_it_holds() -> None:
    """DESIGN rule 8: a volume that was restored from an older copy is whole in itself."""
    first = an_acceptor()
    first.receive(P1, accept(101, 2))
    journal = first.journal
    assert journal is not None
    journal.sync()
    bench = an_acceptor(journal=journal.crash())
    for slot, ballot in ((2, 101), (1, 1)):
        assert bench.receive(L1, Reminder(slot=Slot(slot), ballot=Ballot(ballot))) == []
        assert bench.role.voting
    for slot, ballot in ((3, 101), (2, 202)):
        bench = an_acceptor(journal=journal.crash())
        # A leader may be quicker than the reminder: what was forgotten stays forgotten.
        bench.receive(P3, accept(203, 4))
        bench.receive(L1, Reminder(slot=Slot(slot), ballot=Ballot(ballot)))
        assert not bench.role.voting
        assert "the volume has forgotten: learner-1 was told" in bench.role.reason
        assert messages(bench.receive(P3, accept(203, 5)), Accepted) == []


# ---------------------------------------------------------------- members: joining


WITH_A4 = configuration(acceptors=(A1, A2, A3, A4))
WITHOUT_A1 = configuration(acceptors=(A2, A3))


def a_joiner(*more: AcceptedEntry | Configured, node: NodeId = A4) -> Bench:
    """Return an acceptor on a volume that was made for it; no configuration names it yet."""
    return an_acceptor(node, joining_journal(node, *more))


def test_an_acceptor_waits_to_become_a_member_when_its_volume_was_made_for_it() -> None:
    """acceptor.py: "tells nobody a vote until a configuration that names it is decided"."""
    bench = a_joiner()
    assert (bench.role.phase, bench.role.voting) == (Phase.JOINING, False)
    assert bench.role.status().reason.startswith("joining: it holds what was chosen up to slot 0")
    assert sent(bench.connect(P1), Joining) == [((P1,), Joining())]
    assert nothing_sent(bench.connect(A1))
    assert sent(bench.fire("upkeep"), Joining) == [(PROPOSERS, Joining())]


def test_a_joining_acceptor_writes_down_what_is_proposed_and_tells_nobody() -> None:
    """ADR 0003: nothing that it says may count before it is a member; what it holds will."""
    bench = a_joiner()
    effects = bench.receive(P1, accept(101, 3, b"v", decided=2))
    assert records(effects) == [entry(3, 101, b"v", decided=2)]
    assert nothing_sent(effects)
    assert (bench.role.promised, bench.role.decided) == (101, 2)


@pytest.mark.parametrize(
    "message",
    [
        prepare(101),
        Canvass(round=1),
        AskVotes(first=Slot(1), last=Slot(9)),
        AskValues(first=Slot(1), last=Slot(9)),
        AskHighest(round=1),
        AskSnapshot(slot=Slot(0), offset=0),
        Reminder(slot=Slot(9), ballot=Ballot(909)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_joining_acceptor_abstains_when_it_is_asked_as_a_member(message: object) -> None:
    """DESIGN rule 11: a proposer is told why, and nobody else is told anything."""
    bench = a_joiner(entry(1, 101, b"v"))
    effects = bench.receive(P1, message)
    assert records(effects) == []
    [(to, told)] = sent(effects, Abstain)
    assert (to, told.reason.partition(":")[0]) == ((P1,), "joining")
    assert bench.receive(L1, message) == []
    assert bench.role.phase is Phase.JOINING


def test_a_joining_acceptor_answers_a_leader_when_it_is_asked_how_far_it_is() -> None:
    """messages.AskWhole: up to which slot does it hold what was chosen?"""
    bench = a_joiner(entry(1, 101, b"a"), entry(2, 101, b"b"))
    effects = bench.receive(P1, ask_whole(decided=2))
    assert sent(effects, Whole) == [((P1,), Whole(ballot=Ballot(101), slot=Slot(2)))]
    effects = bench.receive(P1, ask_whole(decided=4))
    assert messages(effects, Whole) == [Whole(ballot=Ballot(101), slot=Slot(2))]
    assert sent(effects, AskVotes) == [(ACCEPTORS, AskVotes(first=Slot(3), last=Slot(4)))]


def ask_whole(decided: int, ballot: int = 101, epoch: int = 0) -> AskWhole:
    return AskWhole(ballot=Ballot(ballot), decided=Slot(decided), epoch=epoch)


def test_nobody_is_told_how_far_an_acceptor_is_when_it_promised_a_higher_ballot() -> None:
    """A deposed leader must not change the members by what it is told."""
    bench = an_acceptor()
    bench.receive(P2, prepare(202))
    effects = bench.receive(P1, ask_whole(decided=0))
    assert messages(effects, Whole) == []
    assert messages(effects, Nack) == [Nack(ballot=Ballot(101), promised=Ballot(202))]


def test_a_joining_acceptor_votes_when_a_configuration_names_it() -> None:
    """ADR 0003; the configuration and the stamp are durable before anything else leaves."""
    bench = a_joiner()
    effects = bench.receive(P1, WITH_A4)
    assert records(effects) == [
        Configured(configuration=WITH_A4),
        Stamped(cluster=CLUSTER, node=A4, phase="open", acceptors=ACCEPTORS),
    ]
    assert Relink(configuration=WITH_A4) in effects
    assert traced(effects) == ["volume_open"]
    assert (bench.role.voting, bench.role.decided) == (True, 5)
    assert messages(bench.receive(P1, accept(101, 6)), Accepted)
    assert messages(bench.receive(P2, prepare(202, first=6)), Promise)


def test_a_joining_acceptor_waits_on_when_a_configuration_does_not_name_it() -> None:
    """Another node came in meanwhile."""
    bench = a_joiner()
    assert records(bench.receive(P1, WITHOUT_A1)) == [Configured(configuration=WITHOUT_A1)]
    assert bench.role.phase is Phase.JOINING


def test_an_acceptor_votes_when_it_starts_again_after_its_configuration_was_written() -> None:
    """The crash may come between the two records: the configuration alone says who votes."""
    bench = a_joiner(Configured(configuration=WITH_A4))
    assert bench.role.voting
    assert bench.journal is not None
    bench.journal.sync()
    again = bench.journal.crash()
    assert again.recovered.stamp is not None
    assert again.recovered.stamp.phase == "open"


# ---------------------------------------------------------------- members: removed


def test_an_acceptor_votes_no_more_when_a_configuration_does_not_name_it() -> None:
    """DESIGN rule 11; it says since when, and whose place it is now."""
    bench = an_acceptor(A3)
    effects = bench.receive(L1, configuration(2, acceptors=(A1, A2, A31)))
    assert traced(effects) == ["removed"]
    assert bench.role.phase is Phase.REMOVED
    reason = "it is no member any more, since epoch 2: acceptor-3.1 has its place"
    assert bench.role.status().reason == reason
    assert sent(bench.receive(P1, prepare(101)), Abstain) == [((P1,), Abstain(reason=reason))]
    assert bench.receive(L1, AskHighest(round=1)) == []
    assert bench.receive(L1, AskVotes(first=Slot(1), last=Slot(9))) == []


def test_a_removed_acceptor_tells_whoever_asks_what_the_members_are() -> None:
    """It may be the only one that a node of an older epoch still reaches."""
    bench = an_acceptor(A1)
    bench.receive(L1, WITHOUT_A1)
    assert messages(bench.receive(P1, AskConfiguration()), Configuration) == [WITHOUT_A1]
    assert sent(bench.connect(L2), Configuration) == [((L2,), WITHOUT_A1)]


def test_a_removed_acceptor_does_not_vote_when_it_starts_again() -> None:
    """DESIGN rules 8 and 11: the volume says `open`; the configuration on it says otherwise."""
    bench = an_acceptor(A1, open_journal(A1, Configured(configuration=WITHOUT_A1)))
    assert bench.role.phase is Phase.REMOVED
    assert messages(bench.receive(P1, accept(101)), Accepted) == []


# ---------------------------------------------------------------- members: epochs


@pytest.mark.parametrize(
    "message",
    [
        msgspec.structs.replace(accept(101, 9, decided=8), epoch=1),
        Heartbeat(ballot=Ballot(101), decided=Slot(8), round=1, epoch=1),
        ask_whole(8, epoch=1),
        SnapshotOffer(slot=Slot(8), size=1, epoch=1),
        SnapshotPart(slot=Slot(8), size=1, offset=0, data=b"x", epoch=1),
        Votes(first=Slot(1), last=Slot(8), highest=Slot(8), votes=[], epoch=1),
    ],
    ids=lambda message: type(message).__name__,
)
@pytest.mark.parametrize("member", [True, False])
def test_an_acceptor_asks_for_the_configuration_when_a_message_is_of_a_newer_epoch(
    message: object, member: bool
) -> None:
    """configuring.py: "who knows only an older one asks for the configuration first, and leaves the
    message unread"."""
    bench = an_acceptor() if member else a_joiner()
    effects = bench.receive(P1, message)
    assert [(e.to, e.message) for e in effects if isinstance(e, Send)] == [
        ((P1,), AskConfiguration())
    ]
    assert records(effects) == []
    assert (bench.role.decided, bench.role.promised) == (0, 0)
    bench.receive(P1, WITH_A4)
    assert messages(bench.receive(P1, message), AskConfiguration) == []


def test_what_an_acceptor_says_is_of_its_epoch_when_it_knows_a_change() -> None:
    """messages.CanvassReply.epoch: "no older than the one in force after the slots that it calls
    decided"."""
    bench = an_acceptor()
    bench.receive(P1, WITH_A4)
    [reply] = messages(bench.receive(P2, Canvass(round=1)), CanvassReply)
    assert (reply.epoch, reply.decided) == (1, 5)
    [told] = messages(bench.receive(P2, prepare(202)), Promise)
    assert told.epoch == 1
    [votes] = messages(bench.receive(L1, AskVotes(first=Slot(1), last=Slot(9))), Votes)
    assert votes.epoch == 1


def test_a_leader_of_an_older_epoch_is_told_the_configuration_when_it_beats() -> None:
    """It must not count on a quorum of other members."""
    bench = an_acceptor()
    bench.receive(P1, WITH_A4)
    old = Heartbeat(ballot=Ballot(101), decided=Slot(0), round=1)
    effects = bench.receive(P1, old)
    assert sent(effects, Configuration) == [((P1,), WITH_A4)]
    assert messages(effects, HeartbeatReply) == []
    known = Heartbeat(ballot=Ballot(101), decided=Slot(5), round=2, epoch=1)
    assert messages(bench.receive(P1, known), HeartbeatReply)


def test_nothing_is_told_when_the_founding_is_all_that_is_known() -> None:
    """Everybody knows the founding."""
    bench = an_acceptor()
    assert messages(bench.connect(P1), Configuration) == []
    assert messages(bench.receive(P1, AskConfiguration()), Configuration) == []


@pytest.mark.parametrize("peer", [P1, L1, A2])
def test_a_node_is_told_the_configuration_when_its_link_stands(peer: NodeId) -> None:
    """messages.Configuration: "Whoever knows a newer one tells it"."""
    bench = an_acceptor()
    bench.receive(P1, WITH_A4)
    assert sent(bench.connect(peer), Configuration) == [((peer,), WITH_A4)]


def test_a_configuration_changes_nothing_when_it_is_no_newer() -> None:
    """Everybody tells everybody: most of them are known."""
    bench = an_acceptor()
    bench.receive(P1, configuration(2, 9, acceptors=(A1, A2, A3, A4)))
    assert bench.receive(L1, WITHOUT_A1) == []
    assert bench.role.voting
    assert bench.role.view.epoch == 2


def test_a_blank_or_barred_volume_takes_no_configuration_in() -> None:
    """acceptor._on_configuration: it has no room for it, and needs none (rule 8)."""
    bench = blank()
    assert bench.receive(A2, WITH_A4) == []
    barred = an_acceptor(A1, open_journal(A3))
    assert barred.receive(A2, WITH_A4) == []
    assert (bench.role.view.epoch, barred.role.view.epoch) == (0, 0)


def test_votes_are_told_to_the_learners_of_the_configuration_when_they_have_changed() -> None:
    """ADR 0003: for learners a change says only whom to link with."""
    bench = an_acceptor()
    bench.receive(P1, configuration(learners=(L2, NodeId("learner-9"))))
    [(to, _)] = sent(bench.receive(P1, accept(101, 6)), Accepted)
    assert to == (L2, "learner-9", P1)
