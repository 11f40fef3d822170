"""kill -9 of a real process that writes: all that it acknowledged is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import paxos
from paxos.core.effects import AcceptedEntry
from paxos.core.types import Slot
from paxos.storage import FileJournal, open_journal, open_volume

from .streams import slot_of, snapshot_of

Vote = Callable[..., AcceptedEntry]

WRITER = """
import sys
from pathlib import Path
from paxos.core.effects import AcceptedEntry, Stamped
from paxos.storage import open_journal

journal = open_journal(Path(sys.argv[1]))
if journal.recovered.damage:
    sys.exit(journal.recovered.damage)
if journal.recovered.stamp is None:
    journal.append(Stamped(cluster="c1", node="acceptor-1", phase="open"))
slot = journal.highest_slot
while True:
    for _ in range(1 + slot % 3):
        slot += 1
        value = (b"%d/101;" % slot * 1000)[: slot * 37 % 3000]
        journal.append(AcceptedEntry(slot=slot, ballot=101, value=value, decided=slot - 1))
    journal.sync()
    print(slot, flush=True)
"""


def test_everything_acknowledged_survives_kill_9(tmp_path: Path, vote: Vote) -> None:
    """DESIGN rule 3, six lives of one volume."""
    source = str(Path(paxos.__file__).parents[1])
    known = 0
    for acknowledgements in (1, 40, 7, 90, 23, 150):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": source},
        )
        assert writer.stdout is not None
        with writer.stdout as pipe:
            lines = [pipe.readline() for _ in range(acknowledgements)]
            writer.send_signal(signal.SIGKILL)
            lines += pipe.readlines()
        assert writer.wait() == -signal.SIGKILL
        acknowledged = int([line for line in lines if line.endswith(b"\n")][-1])
        assert acknowledged > known
        journal = open_journal(tmp_path)
        assert journal.recovered.damage is None
        assert journal.highest_slot >= acknowledged
        for slot in range(1, acknowledged + 1):
            assert journal.entry(Slot(slot)) == vote(slot, size=slot * 37 % 3000)
        known = journal.highest_slot
        journal.close()


KEEPER = """
import sys
import threading
from pathlib import Path
from paxos.core.effects import AcceptedEntry, Cut, Stamped
from paxos.storage import FileJournal, SnapshotFiles
from tests.storage.streams import slot_of, snapshot_of

folder = Path(sys.argv[1])
journal = FileJournal(folder, segment_bytes=8192)
snapshots = SnapshotFiles(folder, slot_of, bytes_spare=0)
journal.admit(snapshots.newest, snapshots.damage)
if journal.recovered.damage:
    sys.exit(journal.recovered.damage)
if journal.recovered.stamp is None:
    journal.append(Stamped(cluster="c1", node="acceptor-1", phase="open"))

def come_in(slot):
    content = snapshot_of(slot, 50_000 + slot)
    for offset in range(0, len(content), 8192):
        snapshots.write_part(slot, len(content), offset, content[offset : offset + 8192])

slot = journal.highest_slot
worker = None
while True:
    slot += 1
    value = (b"%d/101;" % slot * 1000)[: slot * 37 % 3000]
    journal.append(AcceptedEntry(slot=slot, ballot=101, value=value, decided=slot - 1))
    journal.sync()
    print("vote", slot, flush=True)
    if worker is None:
        worker = threading.Thread(target=come_in, args=(slot,), daemon=True)
        worker.start()
    elif not worker.is_alive():
        worker = None
        newest = snapshots.newest.slot
        print("snapshot", newest, flush=True)
        journal.append(Cut(slot=newest - newest % 3))
        journal.sync()
        print("cut", newest - newest % 3, flush=True)
"""


def test_log_that_is_cut_and_snapshots_that_come_in_survive_kill_9(
    tmp_path: Path, vote: Vote
) -> None:
    """Votes, cuts and snapshots that were acknowledged are there, fourteen lives long."""
    root = Path(__file__).parents[2]
    known = {"vote": 0, "snapshot": 0, "cut": 0}
    for acknowledgements in (30, 7, 55, 120, 18, 90, 41, 200, 3, 77, 131, 64, 260, 99):
        keeper = subprocess.Popen(
            [sys.executable, "-c", KEEPER, str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"},
        )
        assert keeper.stdout is not None
        with keeper.stdout as pipe:
            lines = [pipe.readline() for _ in range(acknowledgements)]
            keeper.send_signal(signal.SIGKILL)
            lines += pipe.readlines()
        assert keeper.wait() == -signal.SIGKILL
        for line in lines:
            if line.endswith(b"\n"):
                what, number = line.split()
                known[what.decode()] = int(number)
        journal, snapshots = open_volume(tmp_path, slot_of)
        assert isinstance(journal, FileJournal)
        assert journal.recovered.damage is None
        assert journal.highest_slot >= known["vote"]
        assert journal.base >= known["cut"]
        newest = snapshots.newest
        slot_kept = 0 if newest is None else newest.slot
        assert slot_kept >= max(known["snapshot"], journal.base)
        if newest is not None:
            content = snapshots.read(newest.slot, 0, newest.size)
            assert content == snapshot_of(newest.slot, 50_000 + newest.slot)
        for slot in range(journal.base + 1, journal.highest_slot + 1):
            assert journal.entry(Slot(slot)) == vote(slot, size=slot * 37 % 3000)
        journal.close()
        snapshots.close()
    assert known["cut"] > 0
