"""kill -9 of everything, the command too, at random moments of a change of the members."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from .cluster import LocalCluster, environment, wait_until
from .load import Load

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("system"), pytest.mark.timeout(900)]

CLUSTER = {"limits": {"snapshot_log_slots": 150}, "timeouts": {"upkeep_ms": 50}}

ROUNDS = 15
COMMAND_S = 1.0
"""Replacing an acceptor takes about so long: the kills fall into every part of it."""


def test_nothing_is_lost_when_everything_is_killed_while_members_change(
    cluster: LocalCluster,
) -> None:
    """DESIGN rule 11; what an operator was interrupted in goes on when it is asked for again."""
    seed = random.SystemRandom().randrange(2**32)
    dice = random.Random(seed)
    interrupted = 0
    for number in range(ROUNDS):
        node = dice.choice(("acceptor-1", "acceptor-2", "acceptor-3"))
        words = ("member", "replace", node, "--config", str(cluster.file))
        with Load(cluster, may_lose=(1, 2)) as load:
            load.go_on(dice.randrange(5, 60))
            operator = subprocess.Popen(
                [sys.executable, "-m", "paxos.apps.cli", *words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment(),
            )
            moment = time.monotonic() + dice.uniform(0, COMMAND_S)
            wait_until(lambda moment=moment: time.monotonic() >= moment, "a random moment")  # type: ignore[misc]
            interrupted += operator.poll() is None
            cluster.kill_everything()
            operator.kill()
            operator.wait()
            load.stop()
            try:
                up = cluster.command("up")
                assert up.returncode == 0, up.stderr
                again = cluster.command("member", "replace", node, timeout_s=120)
                assert again.returncode == 0, f"{again.stdout}{again.stderr}"
                cluster.wait_until_all_ready()
                load.verify()
            except AssertionError as error:
                raise AssertionError(f"round {number} of seed {seed}: {error}") from error
    assert interrupted >= ROUNDS // 3, "the kills must fall into the change"
