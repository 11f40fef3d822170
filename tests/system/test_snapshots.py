"""Snapshots and cuts in real processes: who comes back, with what, and what a kill costs.

The settings make a snapshot every few hundred slots, so that some snapshot is nearly always being
taken, pulled, kept or cut to.
"""

from __future__ import annotations

import random
import time

import pytest

from .cluster import LocalCluster, wait_until
from .load import Load

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

CLUSTER = {"limits": {"snapshot_log_slots": 150}, "timeouts": {"upkeep_ms": 50}}

ROUNDS = 50
FILLED_KEYS = 20_000
"""So many keys make a snapshot of some megabytes, in many parts."""


def fill(cluster: LocalCluster) -> None:
    """Write keys that make a snapshot take its time."""
    connection = cluster.redis(1)
    for first in range(0, FILLED_KEYS, 1000):
        keys = {f"filled:{number}": b"x" * 256 for number in range(first, first + 1000)}
        assert connection.mset(keys)


def base(cluster: LocalCluster, node: str) -> int:
    """Return up to which slot an acceptor has cut its log."""
    return int(cluster.status(node).get("keeping", {}).get("base", 0))


def cut_after(cluster: LocalCluster, load: Load, slot: int, nodes: tuple[str, ...]) -> None:
    """Write until these acceptors have cut their logs after a slot."""
    for _ in range(200):
        if all(base(cluster, node) > slot for node in nodes):
            return
        load.go_on(20)
    raise AssertionError(f"the log was not cut: {[base(cluster, node) for node in nodes]}")


ALL = ("acceptor-1", "acceptor-2", "acceptor-3")


def test_a_learner_that_was_killed_serves_from_a_snapshot(cluster: LocalCluster) -> None:
    with Load(cluster) as load:
        cut_after(cluster, load, 0, ALL)
        cluster.kill("learner-2")
        load.go_on(20)
        cluster.wait_until_ready("learner-2")
        assert "took over the snapshot of slot" in cluster.log("learner-2")
        load.go_on(20)
        load.verify()
    one, other = (cluster.status(f"learner-{number}") for number in (1, 2))
    assert (one["keys"], one["values"]) == (other["keys"], other["values"])


def test_an_acceptor_that_was_away_while_the_log_was_cut_stands_in_for_the_next(
    cluster: LocalCluster,
) -> None:
    with Load(cluster) as load:
        load.go_on(20)
        cluster.hold("acceptor-3")
        before = max(base(cluster, node) for node in ALL[:2])
        cut_after(cluster, load, before + 150, ALL[:2])
        cluster.release("acceptor-3")
        cluster.wait_until_ready("acceptor-3")
        wait_until(
            lambda: (
                base(cluster, "acceptor-3") > before + 150
                and not cluster.status("acceptor-3")["keeping"]["behind"]
            ),
            "acceptor-3 has the snapshot and what came after it",
        )
        cluster.hold("acceptor-1")
        load.go_on(20)
        # A learner that knows nothing must find every slot at the other two.
        cluster.kill("learner-1")
        cluster.wait_until_ready("learner-1")
        load.go_on(20)
        cluster.release("acceptor-1")
        load.verify()


def test_everything_comes_back_from_snapshots_when_all_of_it_was_stopped(
    cluster: LocalCluster,
) -> None:
    with Load(cluster) as load:
        cut_after(cluster, load, 0, ALL)
        load.stop()
        cluster.stop()
        cluster.up()
        load.verify()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_when_everything_is_killed_at_random_moments(
    cluster: LocalCluster,
) -> None:
    """kill -9 of all eleven, while snapshots are taken, pulled, kept, cut to and restored."""
    seed = random.SystemRandom().randrange(2**32)
    dice = random.Random(seed)
    fill(cluster)
    restored = 0
    for number in range(ROUNDS):
        with Load(cluster, may_lose=(1, 2)) as load:
            load.go_on(dice.randrange(5, 120))
            moment = time.monotonic() + dice.uniform(0, 0.2)
            wait_until(lambda moment=moment: time.monotonic() >= moment, "a random moment")  # type: ignore[misc]
            cluster.kill_everything()
            load.stop()
            cluster.up()
            try:
                load.verify()
            except AssertionError as error:
                raise AssertionError(f"round {number} of seed {seed}: {error}") from error
        this_life = cluster.log("learner-1").rpartition("started, process")[2]
        restored += "took over the snapshot" in this_life
    assert cluster.redis(2).dbsize() >= FILLED_KEYS
    assert restored >= ROUNDS // 2, "it was snapshots that they came back from"
