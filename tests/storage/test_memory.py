"""The journal of the simulator: it forgets like a disk."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from paxos.core.effects import AcceptedEntry, Promised, Stamped
from paxos.core.errors import StorageError
from paxos.core.types import Ballot, Slot
from paxos.storage import MemoryJournal

Vote = Callable[..., AcceptedEntry]


def test_crash_loses_what_was_not_synced(stamp: Stamped, vote: Vote) -> None:
    journal = MemoryJournal()
    journal.append(stamp)
    journal.append(vote(1))
    journal.sync()
    journal.append(vote(2, 301))
    after = journal.crash()
    assert after.highest_slot == 1
    assert after.recovered.promised == 101
    assert after.recovered.stamp == stamp


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_crash_may_keep_a_prefix_of_the_unsynced(kept: int, stamp: Stamped, vote: Vote) -> None:
    journal = MemoryJournal()
    journal.append(stamp)
    journal.sync()
    for slot in (1, 2, 3):
        journal.append(vote(slot))
    assert journal.unsynced == 3
    after = journal.crash(kept=kept)
    assert after.highest_slot == kept
    assert after.unsynced == 0
    assert after.crash().highest_slot == kept


def test_crash_refuses_to_keep_more_than_there_is(stamp: Stamped) -> None:
    journal = MemoryJournal()
    journal.append(stamp)
    with pytest.raises(ValueError, match=r"not in 0\.\.1"):
        journal.crash(kept=2)


def test_syncs_are_counted_when_they_have_something_to_do(stamp: Stamped) -> None:
    journal = MemoryJournal()
    journal.sync()
    journal.append(stamp)
    journal.append(Promised(ballot=Ballot(101)))
    journal.sync()
    journal.sync()
    assert journal.syncs == 1
    assert journal.crash().syncs == 1


def test_crashed_journal_is_of_no_more_use(stamp: Stamped) -> None:
    journal = MemoryJournal()
    after = journal.crash()
    with pytest.raises(StorageError, match="closed"):
        journal.append(stamp)
    after.append(stamp)
    after.sync()
    assert after.syncs == 1


def test_damaged_volume_shows_nothing_and_takes_nothing(stamp: Stamped, vote: Vote) -> None:
    journal = MemoryJournal()
    journal.append(stamp)
    journal.append(vote(1))
    journal.sync()
    after = journal.crash(damage="a bit flipped")
    assert after.recovered.damage == "a bit flipped"
    assert after.recovered.stamp is None
    assert after.entry(Slot(1)) is None
    with pytest.raises(StorageError, match="a bit flipped"):
        after.append(stamp)
