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
from paxos.storage import open_journal

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
