"""A machine that has only Python and git: clone, ./run.sh, and it works."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OFFSET = 15580
"""Where no other test has a port, as that of the READMEs (test_readme.py)."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Clone:
    """A copy of the repository's files, with a cluster of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = ("PATH", "HOME", "LANG", "PIP_", "SSL_", "HTTP", "http", "no_proxy", "NO_PROXY")
        self.environment = {
            name: value for name, value in os.environ.items() if name.startswith(kept)
        } | {"PAXOS_NETWORK_PORT_OFFSET": str(OFFSET)}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / words[0]), *words[1:]],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd="/",
            check=False,
        )

    def must(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    made = Clone(tmp_path)
    yield made
    if (tmp_path / ".venv" / "bin" / "paxos").exists():
        made.must("run.sh", "reset", "--yes")


def test_clone_runs_and_keeps_what_was_written(clone: Clone) -> None:
    client = "client/client_cli.py"
    door, other = str(6001 + OFFSET), str(6002 + OFFSET)
    assert "The cluster is ready." in clone.must("run.sh", "--local")
    clone.must(client, "localhost", door, "write", "novo valor")
    assert "novo valor" in clone.must(client, "localhost", other, "read")
    assert "The cluster is ready." in clone.must("run.sh", "--local")
    clone.must("run.sh", "stop")
    assert clone.run(client, "localhost", other, "read").returncode != 0
    clone.must("run.sh", "--local")
    # What runs is kept to, with or without a Docker engine on this machine.
    told = clone.run("run.sh")
    assert told.returncode == 0
    assert "local processes were started last" in told.stderr
    assert "novo valor" in clone.must(client, "localhost", other, "read")
    clone.must("run.sh", "reset", "--yes")
    assert list((clone.folder / "data").iterdir()) == []


def test_set_up_that_was_interrupted_starts_afresh(clone: Clone) -> None:
    with subprocess.Popen(
        [str(clone.folder / "scripts/setup_venv.sh")],
        env=clone.environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as setting_up:
        assert setting_up.stderr is not None
        for line in setting_up.stderr:
            if "/" in line and line.startswith("set-up:  3"):
                break
        os.killpg(setting_up.pid, signal.SIGKILL)
    assert (clone.folder / ".venv" / ".installing").exists()
    wait_until_unlocked(clone.folder / ".venv.lock")
    clone.must("scripts/setup_venv.sh")
    assert not (clone.folder / ".venv" / ".installing").exists()
    assert clone.must(".venv/bin/paxos", "mode") == "none\n"
    again = clone.run("scripts/setup_venv.sh")
    assert (again.returncode, again.stderr) == (0, "")


def wait_until_unlocked(lock: Path) -> None:
    """Wait until every process of the killed set-up has let go of its lock."""
    deadline = time.monotonic() + 30.0
    while subprocess.run(["flock", "--nonblock", str(lock), "true"], check=False).returncode:
        assert time.monotonic() < deadline, "the killed set-up still holds its lock"
        time.sleep(0.05)
