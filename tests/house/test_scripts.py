"""The scripts that people type, without starting anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / words[0]), *words[1:]], capture_output=True, text=True, cwd="/", check=False
    )


def test_run_sh_tells_how_it_is_used() -> None:
    told = run("run.sh", "--help")
    assert told.returncode == 0
    for word in ("--local", "--swarm", "stop", "reset", "--yes", "paxos.toml"):
        assert word in told.stdout


@pytest.mark.parametrize("word", ["--loca", "begin", ""])
def test_run_sh_refuses_what_it_does_not_know(word: str) -> None:
    told = run("run.sh", word)
    assert told.returncode == 2
    assert f"unknown word: {word}" in told.stderr
    assert "usage:" in told.stderr


@pytest.mark.parametrize("words", [("--local", "--swarm"), ("stop", "start")])
def test_run_sh_refuses_contradictions(words: tuple[str, str]) -> None:
    told = run("run.sh", *words)
    assert told.returncode == 2
    assert "contradict one another" in told.stderr


@pytest.mark.parametrize("words", [(), ("acceptor-99",), ("acceptor-2", "x"), ("-x",)])
def test_swarm_replace_needs_a_service(words: tuple[str, ...]) -> None:
    told = run("scripts/swarm.sh", "replace", *words)
    assert told.returncode == 2
    assert "replace needs one of: discovery proposer-1" in told.stderr or "a number" in told.stderr


def test_set_up_refuses_what_it_does_not_know() -> None:
    told = run("scripts/setup_venv.sh", "everything")
    assert told.returncode == 2
    assert "usage:" in told.stderr
