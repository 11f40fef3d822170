"""Real data: a dictionary through redis-cli while leader and acceptor die (examples/words.py)."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from .cluster import ROOT, LocalCluster, environment

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

WORDS = Path("/usr/share/dict/american-english")

# Sends the first command twice and the last one never, so that the number of answers is right.
CHEATING = """#!{python}
import subprocess, sys
commands = sys.stdin.buffer.read().split(b"*2\\r\\n")[1:]
cheated = b"".join(b"*2\\r\\n" + one for one in [commands[0], *commands[:-1]])
sys.exit(subprocess.run(["{redis_cli}", *sys.argv[1:]], input=cheated).returncode)
"""


def words(cluster: LocalCluster, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run the example; return its exit status and everything that it said."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "words.py", "--config", cluster.file, *arguments],
        capture_output=True,
        text=True,
        env=environment() | variables,
        timeout=200,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_hundred_thousand_words_while_leader_and_acceptor_die(cluster: LocalCluster) -> None:
    pids = cluster.pids()
    leader = cluster.leader()
    status, said = words(cluster, str(WORDS))
    assert status == 0, said
    assert f"{leader}, the leader" in said
    assert "acceptor-3 is stopped" in said
    assert "acceptor-3 is started again" in said
    cluster.wait_until_all_ready()
    changed = {node for node, pid in cluster.pids().items() if pids[node] != pid}
    assert changed == {leader, "acceptor-3"}
    # Once more, without trusting the example: every word at the other door, exactly once.
    lines = WORDS.read_bytes().splitlines()
    assert len(lines) > 100_000
    found = re.search(r"keys begin with (words-[0-9a-f]{8})", said)
    assert found is not None
    prefix = found.group(1).encode() + b":"
    reading = cluster.redis(2)
    keys = [prefix + line for line in lines]
    counts = [
        count for start in range(0, len(keys), 1000) for count in reading.mget(keys[start:][:1000])
    ]
    assert counts == [b"1"] * len(lines)
    listed = [value for _, value in cluster.values() if value.startswith(prefix)]
    assert listed == keys


def test_words_without_harm_break_nothing(cluster: LocalCluster, tmp_path: Path) -> None:
    pids = cluster.pids()
    file = tmp_path / "few"
    file.write_bytes(b"one\n\ntwo\ntwo\n\xff\xfe not text\n")
    status, said = words(cluster, str(file), "--no-harm")
    assert status == 0, said
    assert "3 counters read" in said
    assert "4 entries of the list" in said
    assert cluster.pids() == pids


def test_word_that_was_sent_twice_is_noticed(cluster: LocalCluster, tmp_path: Path) -> None:
    """What the example claims to prove, it would also refute."""
    real = subprocess.run(["which", "redis-cli"], capture_output=True, text=True, check=True)
    cheating = tmp_path / "bin" / "redis-cli"
    cheating.parent.mkdir()
    script = CHEATING.format(python=sys.executable, redis_cli=real.stdout.strip())
    cheating.write_text(script, encoding="utf-8")
    cheating.chmod(cheating.stat().st_mode | stat.S_IXUSR)
    file = tmp_path / "few"
    file.write_text("one\ntwo\nthree\n", encoding="utf-8")
    path = f"{cheating.parent}:{os.environ['PATH']}"
    status, said = words(cluster, str(file), "--no-harm", PATH=path)
    assert status == 1
    assert "b'one' was counted b'2' times" in said


def test_words_cannot_run(cluster: LocalCluster, tmp_path: Path) -> None:
    status, said = words(cluster, str(tmp_path / "none"))
    assert status == 2
    assert "cannot be read" in said
    status, said = words(cluster, str(WORDS), PATH=str(tmp_path))
    assert status == 2
    assert "apt-get install redis-tools" in said
    status, said = words(cluster, str(WORDS), "--in-port", "1", "--no-harm")
    assert status == 1
    assert "FAILED" in said
