"""Full disks are real: the kernel refuses the write, and gives room again when it is told to."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

from paxos.apps import chaos_disk, processes

ROOT = Path(__file__).resolve().parents[2]

# Writes what it is asked to, and says what came of it.
WRITER = """
import sys
file = open(sys.argv[1], "wb", buffering=0)
for line in sys.stdin:
    try:
        file.seek(int(line)); file.write(b"x" * 4096); print("done", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""

# A program of its own, because it does not come back out of its mount namespace.
MEMORY_DISK = """
import os, sys
from pathlib import Path
from paxos.apps import chaos_disk
trouble = chaos_disk.leave_mounts()
if os.geteuid() != 0:
    print("refused" if trouble else "went")
    sys.exit()
folder = Path(sys.argv[1]) / "acceptor-1"
disk = chaos_disk.memory_disks([folder])["acceptor-1"]
(folder / "before").write_bytes(b"b" * 100_000)
disk.fill()
try:
    (folder / "full").write_bytes(b"x" * 100_000)
    print("written")
except OSError as error:
    print(error.strerror)
disk.free()
(folder / "after").write_bytes(b"a" * 100_000)
print((folder / "before").stat().st_size, "and", (folder / "after").stat().st_size)
disk.remove(sys.argv[2] == "keep")
print("mounted" if os.path.ismount(folder) else "unmounted")
"""


def memory_disk(folder: Path, what: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_DISK, str(folder), what],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


EXPECTED = ["No space left on device", "100000 and 100000", "unmounted"]


def test_a_memory_disk_fills_and_empties_when_it_is_told_to(tmp_path: Path) -> None:
    told = memory_disk(tmp_path, "forget")
    assert told == (EXPECTED if os.geteuid() == 0 else ["refused"])
    kept = [str(path) for path in tmp_path.rglob("*") if path.is_file()]
    assert kept == [], "outside of its own namespace nothing was ever there"


def test_a_memory_disks_files_stay_when_they_are_to_be_kept(tmp_path: Path) -> None:
    told = memory_disk(tmp_path, "keep")
    assert told == (EXPECTED if os.geteuid() == 0 else ["refused"])
    kept = {path.name: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == ({"before": 100_000, "after": 100_000, "full": 0} if told == EXPECTED else {})


def test_a_limited_process_cannot_write_beyond_its_limit_until_it_is_lifted(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"l" * 5000)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "file")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None

        def ask(offset: int) -> str:
            writer.stdin.write(f"{offset}\n")  # type: ignore[union-attr]
            return writer.stdout.readline().strip()  # type: ignore[union-attr]

        process = processes.process(writer.pid)
        beyond = chaos_disk.LIMIT_BYTES + 5000
        assert ask(beyond) == "done"
        chaos_disk.limit_files(process, log)
        assert ask(0) == "done"
        assert ask(beyond) == str(errno.EFBIG)
        chaos_disk.unlimit_files(process)
        assert ask(beyond) == "done"
        writer.stdin.close()
        writer.wait()
    chaos_disk.limit_files(process, log)
    assert not process.lives, "a process that has gone is left alone"
