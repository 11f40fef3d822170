"""Volumes that version 1 has written, byte for byte: v1_volume/, real files of a real journal.

They are a frozen record. Each file bears the suffix `.bin`, which its name in a volume has not.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from paxos.core.effects import AcceptedEntry, Counted, Cut, Stamped
from paxos.core.types import Ballot, NodeId, Slot
from paxos.storage.open import open_journal

FOLDER = Path(__file__).with_name("v1_volume")
ACCEPTORS = tuple(NodeId(f"acceptor-{number}") for number in (1, 2, 3))
SLOTS = range(1, 21)
CHANGED = {5: b"value 5 " * 40, 9: b""}
"""What was accepted at ballot 202; everything else at 101."""


def stamp(node: str) -> Stamped:
    return Stamped(cluster="01b2c3d4e5f607", node=NodeId(node), phase="open", acceptors=ACCEPTORS)


def ballot(slot: int) -> Ballot:
    return Ballot(202 if slot in CHANGED else 101)


def entry(slot: int) -> AcceptedEntry:
    return AcceptedEntry(
        slot=Slot(slot),
        ballot=ballot(slot),
        value=CHANGED.get(slot, b"value %d " % slot * 40),
        decided=Slot(8 if slot in CHANGED else max(0, slot - 2)),
    )


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Copies of both volumes, under the names that they had."""
    for file in FOLDER.rglob("*.bin"):
        place = tmp_path / file.parent.name / file.stem
        place.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, place)
    return tmp_path


def test_an_acceptor_finds_every_record_when_version_1_wrote_them(volume: Path) -> None:
    """A newer node takes an older one's volume over as it is."""
    journal = open_journal(volume / "acceptor-1")
    found = journal.recovered
    assert (found.damage, found.repaired) == (None, None)
    assert found.stamp == stamp("acceptor-1")
    assert (found.promised, found.decided, found.base) == (303, 18, 0)
    assert found.snapshot is None
    assert journal.highest_slot == SLOTS[-1]
    assert journal.votes(Slot(1), Slot(99)) == [(slot, ballot(slot)) for slot in SLOTS]
    assert journal.entries(Slot(1), Slot(99), 1 << 20) == [entry(slot) for slot in SLOTS]
    assert [journal.entry(Slot(slot)) for slot in SLOTS] == [entry(slot) for slot in SLOTS]
    assert journal.missing(Slot(1), Slot(20), 9) == []
    journal.close()


def test_a_proposer_finds_its_counter_when_version_1_wrote_it(volume: Path) -> None:
    """DESIGN rule 1: no ballot is used twice, whatever version used it first."""
    journal = open_journal(volume / "proposer-1")
    found = journal.recovered
    assert (found.damage, found.repaired) == (None, None)
    assert (found.stamp, found.counter) == (stamp("proposer-1"), 5)
    journal.append(Counted(counter=6))
    journal.sync()
    journal.close()
    journal = open_journal(volume / "proposer-1")
    assert journal.recovered.counter == 6
    journal.close()


def test_a_volume_goes_on_when_version_1_began_it(volume: Path) -> None:
    """New records follow old ones in the same files, a cut among them."""
    journal = open_journal(volume / "acceptor-1")
    later = AcceptedEntry(slot=Slot(21), ballot=Ballot(303), value=b"later", decided=Slot(20))
    journal.append(later)
    journal.sync()
    journal.close()
    journal = open_journal(volume / "acceptor-1")
    assert journal.recovered.damage is None
    assert journal.entries(Slot(20), Slot(99), 1 << 20) == [entry(20), later]
    journal.append(Cut(slot=Slot(12)))
    journal.sync()
    assert journal.base == 12
    assert journal.entries(Slot(1), Slot(20), 1 << 20) == [entry(slot) for slot in range(13, 21)]
    journal.close()


def test_bit_rot_is_found_when_version_1_wrote_the_volume(volume: Path) -> None:
    """DESIGN rule 8: the old files' checksums are still checked."""
    file = volume / "acceptor-1" / "segment-00000001"
    content = bytearray(file.read_bytes())
    content[content.index(b"value 3 ")] ^= 1
    file.write_bytes(content)
    journal = open_journal(volume / "acceptor-1")
    assert str(file) in (journal.recovered.damage or "")
    journal.close()
