"""The leader is lost while clients write steadily: how long is nothing acknowledged?

Sixteen writes are outstanding on four connections all the time. At a random moment the leader is
killed (SIGKILL) or stopped for five seconds (SIGSTOP, then SIGCONT). The load goes on until there
has been a leader again for a while, so that the gap ends before the load does; should it not, the
generator counts the silence until the load's end.
"""

from __future__ import annotations

import random
import time

from .clusters.base import Cluster, wait_until
from .errors import BenchmarkError
from .generator import Load, Timing
from .records import FailoverRecord

KILL = "kill"
STOP = "stop"
LOAD = Load("write", 16, few_connections=4)
STOPPED_S = 5.0
_WARMUP_S = 0.5
_STEADY_S = 1.0
"""How long it is loaded before the leader is lost, and as much again at random."""
_UNDISTURBED_S = 1.5
"""How long nobody asks who leads, because asking costs the cluster work."""
_AFTER_S = 1.2
_RECOVERY_TIMEOUT_S = 60.0
_LOAD_S = 120.0


def lose_leader(cluster: Cluster, kind: str, number: int, dice: random.Random) -> FailoverRecord:
    """Lose the leader once and have the cluster whole again. Raises BenchmarkError."""
    cluster.wait_until_healthy()
    timing = Timing(_WARMUP_S, _LOAD_S, seed=number, timeline=True, leader_dies=True)
    running = cluster.begin(LOAD, timing)
    try:
        leader, lost_at_unix_s = _lose(cluster, kind, dice)
        time.sleep(_AFTER_S)
        running.stop()
        result = running.finish()
    except BaseException:
        running.abandon()
        raise
    if kind == KILL:
        cluster.restart(leader)
    cluster.wait_until_healthy()
    lost_at_ms = lost_at_unix_s * 1000.0 - result.started_unix_ms
    return FailoverRecord(number, cluster.name, kind, leader, lost_at_ms, result.gap_ms, result)


def _lose(cluster: Cluster, kind: str, dice: random.Random) -> tuple[str, float]:
    """Lose the leader after a while, and return who it was and when once there is one again."""
    time.sleep(_WARMUP_S + _STEADY_S * (1.0 + dice.random()))
    leader = cluster.leader()
    if leader is None:
        raise BenchmarkError(f"{cluster.name}: nobody leads under a steady load")
    lost_at_unix_s = time.time()
    if kind == KILL:
        cluster.kill(leader)
        time.sleep(_UNDISTURBED_S)
    else:
        cluster.pause(leader)
        try:
            time.sleep(STOPPED_S)
        finally:
            cluster.resume(leader)
    wait_until(
        lambda: cluster.leader() is not None,
        _RECOVERY_TIMEOUT_S,
        f"{cluster.name}: nobody leads {_RECOVERY_TIMEOUT_S:g} s after {leader} was lost ({kind})",
    )
    return leader, lost_at_unix_s
