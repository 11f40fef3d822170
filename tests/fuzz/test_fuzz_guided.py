"""Each target under the coverage-guided fuzzer for some thousand inputs, in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
RUNS = 6000
SEED = 1
"""Both the same at each run: whoever looks for new faults runs `tests.fuzz.guided` for longer."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TARGETS)
def test_guided_run_finds_nothing_when_it_begins_with_the_kept_corpus(name: str) -> None:
    words = (name, "--runs", str(RUNS), "--seed", str(SEED), "--dry", "--json")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr[-3000:]
    verdict = json.loads(done.stdout)
    assert verdict["good"], verdict["output"]
    assert done.returncode == 0
    assert verdict["executions"] >= RUNS
    # The rest is what no bytes lead to: listening, dialing, starting, stopping.
    assert verdict["lines"] * 3 > verdict["lines_all"], "it reaches what it is to test"
