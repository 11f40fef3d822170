"""What every engine promises: the Journal protocol of core/effects.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paxos.core.effects import (
    AcceptedEntry,
    AnyRecord,
    Configured,
    Counted,
    Cut,
    Promised,
    Recovered,
    Stamped,
)
from paxos.core.errors import LocalProtocolError, StorageError
from paxos.core.messages import Configuration, Members
from paxos.core.types import Ballot, NodeId, Slot

Vote = Callable[..., AcceptedEntry]
Shown = Callable[[Any], dict[str, Any]]
Configure = Callable[..., Configured]


def test_blank_volume_recovers_as_blank(volume: Any) -> None:
    journal = volume.open()
    assert journal.recovered == Recovered()
    assert journal.highest_slot == 0
    assert journal.entry(Slot(1)) is None
    assert volume.open().recovered == Recovered()


def test_synced_records_are_there_after_reopening(volume: Any, stamp: Stamped, vote: Vote) -> None:
    journal = volume.open()
    for record in (stamp, Promised(ballot=Ballot(201)), Counted(counter=7), vote(3, 301), vote(1)):
        journal.append(record)
    journal.sync()
    journal = volume.open()
    assert journal.recovered == Recovered(
        stamp=stamp, promised=Ballot(301), counter=7, decided=Slot(2)
    )
    assert journal.highest_slot == 3
    assert journal.entry(Slot(3)) == vote(3, 301)
    assert journal.entry(Slot(2)) is None
    assert journal.votes(Slot(1), Slot(3)) == [(1, 101), (3, 301)]


def test_views_show_what_is_not_synced_yet(volume: Any, stamp: Stamped, vote: Vote) -> None:
    journal = volume.open()
    journal.append(stamp)
    votes = [vote(slot, size=500) for slot in range(1, 20)]
    for record in votes:
        journal.append(record)
    assert journal.highest_slot == 19
    assert journal.entries(Slot(1), Slot(19), 10**6) == votes


def test_unsynced_records_may_be_lost_when_the_journal_closes(
    volume: Any, stamp: Stamped, vote: Vote
) -> None:
    journal = volume.open()
    journal.append(stamp)
    journal.sync()
    journal.append(vote(1))
    assert volume.open().highest_slot == 0


def test_highest_ballot_of_a_slot_counts(volume: Any, stamp: Stamped, vote: Vote) -> None:
    journal = volume.open()
    for record in (stamp, vote(1, 101), vote(1, 302), vote(1, 203)):
        journal.append(record)
    assert journal.entry(Slot(1)) == vote(1, 302)
    journal.sync()
    journal.append(vote(1, 201))
    journal.sync()
    assert journal.entry(Slot(1)) == vote(1, 302)
    journal = volume.open()
    assert journal.entry(Slot(1)) == vote(1, 302)
    assert journal.votes(Slot(0), Slot(9)) == [(1, 302)]


def test_entries_stop_before_the_byte_limit_but_give_one(
    volume: Any, stamp: Stamped, vote: Vote
) -> None:
    journal = volume.open()
    journal.append(stamp)
    for slot in range(1, 6):
        journal.append(vote(slot, size=100))
    journal.sync()
    assert [e.slot for e in journal.entries(Slot(2), Slot(5), 300)] == [2, 3, 4]
    assert [e.slot for e in journal.entries(Slot(2), Slot(5), 299)] == [2, 3]
    assert [e.slot for e in journal.entries(Slot(2), Slot(5), 1)] == [2]
    assert journal.entries(Slot(6), Slot(9), 300) == []
    assert journal.entries(Slot(4), Slot(3), 300) == []


def test_values_of_any_size_come_back(volume: Any, stamp: Stamped, vote: Vote) -> None:
    journal = volume.open()
    journal.append(stamp)
    sizes = (0, 1, 511, 4096, 300_000, 9_000_000)
    for slot, size in enumerate(sizes, start=1):
        journal.append(vote(slot, size=size))
        journal.sync()
    journal = volume.open()
    for slot, size in enumerate(sizes, start=1):
        assert journal.entry(Slot(slot)) == vote(slot, size=size)


def test_far_off_slot_costs_no_more_than_a_near_one(
    volume: Any, stamp: Stamped, vote: Vote
) -> None:
    journal = volume.open()
    for record in (stamp, vote(5), vote(2**61), vote(2**40)):
        journal.append(record)
    journal.sync()
    journal = volume.open()
    assert journal.votes(Slot(1), Slot(2**62)) == [(5, 101), (2**40, 101), (2**61, 101)]
    assert journal.entries(Slot(6), Slot(2**50), 10**6) == [vote(2**40)]


@pytest.mark.parametrize(
    "record", [Promised(ballot=Ballot(101)), Counted(counter=1)], ids=["promise", "counter"]
)
def test_record_on_an_unstamped_volume_is_refused(volume: Any, record: AnyRecord) -> None:
    """DESIGN rule 8: a volume belongs to one cluster, one role, one id."""
    journal = volume.open()
    with pytest.raises(LocalProtocolError, match="without a stamp"):
        journal.append(record)
    assert volume.open().recovered == Recovered()


def test_founding_stamp_may_change_until_the_volume_is_open(volume: Any, stamp: Stamped) -> None:
    journal = volume.open()
    journal.append(Stamped(cluster="c0", node=stamp.node, phase="formatted"))
    journal.append(stamp)
    journal.append(stamp)
    journal.sync()
    assert volume.open().recovered.stamp == stamp


@pytest.mark.parametrize(
    "foreign",
    [
        Stamped(cluster="c1", node=NodeId("acceptor-2"), phase="open"),
        Stamped(cluster="c2", node=NodeId("acceptor-1"), phase="open"),
        Stamped(cluster="c1", node=NodeId("acceptor-1"), phase="formatted"),
    ],
    ids=["node", "cluster", "phase"],
)
def test_foreign_stamp_on_an_open_volume_is_refused(
    volume: Any, stamp: Stamped, foreign: Stamped
) -> None:
    journal = volume.open()
    journal.append(stamp)
    journal.sync()
    with pytest.raises(LocalProtocolError, match="stamped"):
        journal.append(foreign)
    assert volume.open().recovered.stamp == stamp


@pytest.mark.parametrize(
    "record",
    [
        AcceptedEntry(slot=Slot(0), ballot=Ballot(101), value=b"", decided=Slot(0)),
        AcceptedEntry(slot=Slot(1), ballot=Ballot(0), value=b"", decided=Slot(0)),
        AcceptedEntry(slot=Slot(2**63), ballot=Ballot(101), value=b"", decided=Slot(0)),
        Promised(ballot=Ballot(0)),
        Counted(counter=-1),
    ],
    ids=["slot 0", "ballot 0", "slot above 63 bits", "promise 0", "counter below 0"],
)
def test_number_out_of_bounds_is_refused(volume: Any, stamp: Stamped, record: AnyRecord) -> None:
    journal = volume.open()
    journal.append(stamp)
    with pytest.raises(LocalProtocolError, match="out of bounds"):
        journal.append(record)


def test_closed_journal_refuses_and_closes_twice(volume: Any, stamp: Stamped) -> None:
    journal = volume.open()
    journal.append(stamp)
    journal.close()
    journal.close()
    with pytest.raises(StorageError, match="closed"):
        journal.append(stamp)
    with pytest.raises(StorageError, match="closed"):
        journal.sync()


# ---------------------------------------------------------------- members


def test_newest_configuration_is_there_after_reopening(
    cut_volume: Any, stamp: Stamped, configured: Configure
) -> None:
    """DESIGN rule 2: whose votes count is known before anything else is asked."""
    journal = cut_volume.open()
    for record in (stamp, configured(1), configured(3, slot=9), configured(2, slot=5)):
        journal.append(record)
    journal.sync()
    journal = cut_volume.open()
    assert journal.recovered.configuration == configured(3, slot=9).configuration
    journal.append(configured(4, slot=12))
    journal.sync()
    assert cut_volume.open().recovered.configuration == configured(4, slot=12).configuration


def test_slots_up_to_a_configuration_are_decided(
    volume: Any, stamp: Stamped, vote: Vote, configured: Configure
) -> None:
    """messages.Configuration: "slots up to `slot` are decided"."""
    journal = volume.open()
    for record in (stamp, vote(3), configured(1, slot=7), vote(6)):
        journal.append(record)
    journal.sync()
    assert volume.open().recovered.decided == 7


def test_configuration_that_was_not_synced_may_be_forgotten(
    cut_volume: Any, stamp: Stamped, configured: Configure
) -> None:
    journal = cut_volume.open()
    journal.append(stamp)
    journal.append(configured(1))
    journal.sync()
    journal.append(configured(2))
    assert cut_volume.open().recovered.configuration == configured(1).configuration


def test_configuration_survives_a_cut(
    cut_volume: Any, stamp: Stamped, vote: Vote, configured: Configure
) -> None:
    """DESIGN rule 9: what is cut off are votes in decided slots, and nothing else."""
    journal = cut_volume.open()
    for record in (stamp, configured(1), *(vote(slot) for slot in range(1, 8))):
        journal.append(record)
    journal.sync()
    journal.append(Cut(slot=Slot(7)))
    journal.sync()
    assert cut_volume.open().recovered.configuration == configured(1).configuration


@pytest.mark.parametrize("epoch", [0, -1, 2**63])
def test_epoch_out_of_bounds_is_refused(
    volume: Any, stamp: Stamped, configured: Configure, epoch: int
) -> None:
    """Epoch 0 is the founding's: it is written nowhere."""
    journal = volume.open()
    journal.append(stamp)
    with pytest.raises(LocalProtocolError, match="out of bounds"):
        journal.append(configured(epoch))


def test_configuration_on_an_unstamped_volume_is_refused(
    volume: Any, configured: Configure
) -> None:
    """DESIGN rule 8."""
    journal = volume.open()
    with pytest.raises(LocalProtocolError, match="without a stamp"):
        journal.append(configured(1))


def test_volume_that_was_made_for_a_member_to_be_is_opened_once(volume: Any) -> None:
    """effects.Stamped: `joining` becomes `open`, and nothing becomes `joining` again."""
    joining, opened, formatted = (
        Stamped(cluster="c1", node=NodeId("acceptor-4"), phase=phase)
        for phase in ("joining", "open", "formatted")
    )
    journal = volume.open()
    journal.append(joining)
    journal.sync()
    journal = volume.open()
    assert journal.recovered.stamp == joining
    journal.append(opened)
    journal.sync()
    journal = volume.open()
    assert journal.recovered.stamp == opened
    for stamp in (joining, formatted):
        with pytest.raises(LocalProtocolError, match="stamped"):
            journal.append(stamp)


# ---------------------------------------------------------------- cutting


def test_cut_hides_entries_at_once_and_for_good(
    cut_volume: Any, stamp: Stamped, vote: Vote
) -> None:
    journal = cut_volume.open()
    for record in (stamp, *(vote(slot) for slot in range(1, 8))):
        journal.append(record)
    journal.sync()
    journal.append(Cut(slot=Slot(4)))
    for _ in range(2):
        assert journal.base == 4
        assert journal.entry(Slot(4)) is None
        assert journal.votes(Slot(1), Slot(9)) == [(5, 101), (6, 101), (7, 101)]
        assert journal.entries(Slot(1), Slot(9), 10**6) == [vote(5), vote(6), vote(7)]
        assert journal.highest_slot == 7
        journal.sync()
        journal = cut_volume.open()
    assert journal.recovered == Recovered(
        stamp=stamp, promised=Ballot(101), decided=Slot(6), base=Slot(4)
    )


def test_cut_that_was_not_synced_may_be_forgotten(
    cut_volume: Any, stamp: Stamped, vote: Vote
) -> None:
    journal = cut_volume.open()
    journal.append(stamp)
    journal.append(vote(1))
    journal.sync()
    journal.append(Cut(slot=Slot(1)))
    assert journal.entry(Slot(1)) is None
    journal = cut_volume.open()
    assert journal.base == 0
    assert journal.entry(Slot(1)) == vote(1)


def test_cut_at_or_below_the_base_does_nothing(cut_volume: Any, stamp: Stamped, vote: Vote) -> None:
    journal = cut_volume.open()
    for record in (stamp, vote(1), vote(2), vote(3), Cut(slot=Slot(2))):
        journal.append(record)
    journal.sync()
    for slot in (2, 1, 0):
        journal.append(Cut(slot=Slot(slot)))
        journal.sync()
    assert journal.base == 2
    assert journal.entry(Slot(3)) == vote(3)
    assert cut_volume.open().base == 2


def test_highest_slot_survives_when_everything_is_cut(
    cut_volume: Any, stamp: Stamped, vote: Vote
) -> None:
    journal = cut_volume.open()
    journal.append(stamp)
    for slot in range(1, 30):
        journal.append(vote(slot, size=1000))
        journal.sync()
    journal.append(Cut(slot=Slot(29)))
    journal.sync()
    journal = cut_volume.open()
    assert journal.highest_slot == journal.base == 29
    assert journal.votes(Slot(1), Slot(99)) == []


def test_cut_above_the_highest_slot_counts_as_the_highest(
    cut_volume: Any, stamp: Stamped, vote: Vote
) -> None:
    """An acceptor that was away keeps a snapshot of slots it never voted in."""
    journal = cut_volume.open()
    for record in (stamp, vote(3), Cut(slot=Slot(700))):
        journal.append(record)
    journal.sync()
    journal = cut_volume.open()
    assert (journal.base, journal.highest_slot) == (700, 700)
    assert journal.recovered.decided == 700
    journal.append(vote(701))
    assert journal.votes(Slot(1), Slot(900)) == [(701, 101)]


def test_vote_below_the_base_raises_the_promise_and_is_not_shown(
    cut_volume: Any, stamp: Stamped, vote: Vote
) -> None:
    journal = cut_volume.open()
    for record in (stamp, vote(1), Cut(slot=Slot(5)), vote(4, 301)):
        journal.append(record)
    journal.sync()
    assert journal.entry(Slot(4)) is None
    journal = cut_volume.open()
    assert journal.entry(Slot(4)) is None
    assert journal.recovered.promised == 301


def test_missing_slots_are_runs_and_what_was_cut_is_not_missing(
    cut_volume: Any, stamp: Stamped, vote: Vote
) -> None:
    journal = cut_volume.open()
    journal.append(stamp)
    for slot in (3, 4, 7, *range(9, 1030), 2000):
        journal.append(vote(slot, size=1))
    everything = [(1, 2), (5, 6), (8, 8), (1030, 1999), (2001, 2500)]
    for _ in range(2):
        assert journal.missing(Slot(1), Slot(2500), 10) == everything
        assert journal.missing(Slot(1), Slot(2500), 2) == everything[:2]
        assert journal.missing(Slot(4), Slot(5), 10) == [(5, 5)]
        assert journal.missing(Slot(9), Slot(1029), 10) == []
        assert journal.missing(Slot(6), Slot(5), 10) == []
        assert journal.missing(Slot(1), Slot(2500), 0) == []
        journal.sync()
        journal = cut_volume.open()
    journal.append(Cut(slot=Slot(600)))
    assert journal.missing(Slot(1), Slot(1500), 10) == [(1030, 1500)]
    journal.append(Cut(slot=Slot(5000)))
    assert journal.missing(Slot(1), Slot(5002), 10) == [(5001, 5002)]


def test_cut_out_of_bounds_or_without_a_stamp_is_refused(cut_volume: Any, stamp: Stamped) -> None:
    journal = cut_volume.open()
    with pytest.raises(LocalProtocolError, match="without a stamp"):
        journal.append(Cut(slot=Slot(1)))
    journal.append(stamp)
    with pytest.raises(LocalProtocolError, match="out of bounds"):
        journal.append(Cut(slot=Slot(2**63)))


slots = st.integers(1, 40)
ballots = st.integers(1, 5).map(lambda counter: counter * 100 + 1)
records = st.one_of(
    st.builds(Promised, ballot=ballots),
    st.builds(Counted, counter=st.integers(1, 9)),
    st.builds(Cut, slot=slots),
    st.builds(
        Configured,
        configuration=st.builds(
            Configuration,
            epoch=st.integers(1, 5),
            slot=slots,
            ballot=ballots,
            members=st.just(
                Members(
                    acceptors=(NodeId("acceptor-1"),),
                    proposers=(NodeId("proposer-1"),),
                    learners=(NodeId("learner-1"),),
                    gateways=(NodeId("client-1"),),
                )
            ),
        ),
    ),
    st.builds(
        AcceptedEntry,
        slot=slots,
        ballot=ballots,
        value=st.binary(max_size=60) | st.integers(500, 3000).map(bytes),
        decided=st.integers(0, 40),
    ),
)
steps = st.lists(records | st.just("sync") | st.just("reopen"), max_size=40)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps)
def test_files_agree_with_the_journal_in_memory(
    steps: list[Any],
    new_volume: Callable[[str], Any],
    stamp: Stamped,
    shown: Shown,
) -> None:
    """Append, sync and reopen in any order: a disk shows what the model shows."""
    volumes = [new_volume("memory"), new_volume("file")]
    journals = [volume.open() for volume in volumes]
    for step in [stamp, "sync", *steps, "reopen"]:
        if step == "reopen":
            journals = [volume.open() for volume in volumes]
            assert journals[1].recovered == journals[0].recovered
        for journal in journals:
            if step == "sync":
                journal.sync()
            elif step != "reopen":
                journal.append(step)
        assert shown(journals[1]) == shown(journals[0])
    journals[1].close()
