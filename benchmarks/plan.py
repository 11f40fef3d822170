"""What is measured: loads, gathered in stages, repeated in rounds.

A stage is the life of one fresh cluster: it is filled, its loads are run, it is stopped. Within a
round every system goes through the same stage in turn, and the order of the systems is rotated
from round to round, so that whatever else the machine does meets them all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from .generator import Load, size_title

QUICK = "quick"
FULL = "full"
SYSTEMS = ("paxos", "etcd", "zookeeper", "pysyncobj", "pysyncobj-tuned")
BASELINE = "etcd"

WRITES = "writes"
READS = "reads"
MIX = "mix"
SIZES = "sizes"
KEYS = "keys"
COST = "cost"
PIPELINE = "pipeline"
MEMORY = "memory"
FAILOVER = "failover"
OVERLOAD = "overload"
GROUPS = {
    WRITES: "writes by requests outstanding, on few connections and on one per request",
    READS: "linearizable reads, likewise",
    MIX: "95 % reads and 5 % writes, likewise",
    SIZES: "writes and reads of 16 B, 4 KiB and 64 KiB",
    KEYS: "writes and reads among 1,000,000 keys",
    COST: "CPU, disk and network per operation (every load tells them; these are a few)",
    PIPELINE: "redis-benchmark beside this project's generator, on this system",
    MEMORY: "memory, idle and with 1,000,000 keys",
    FAILOVER: "the leader killed, and stopped for a while, under steady writes",
    OVERLOAD: "far more load than there is room for, floods, clients that do not read",
}
GROUPS_BY_FORM = {
    QUICK: frozenset({WRITES, READS, MEMORY, FAILOVER, OVERLOAD}),
    FULL: frozenset(GROUPS),
}

OUTSTANDING = (1, 16, 64, 256, 1024)
VALUE_BYTES = (16, 4096, 65536)
"""Beside 256, which everything else is measured with."""
FEW_KEYS = 10_000
MANY_KEYS = 1_000_000
MANY_KEYS_SYSTEMS = ("paxos", "etcd", "zookeeper")
"""PySyncObj writes all its keys anew whenever its log has grown by 5,000 entries: to fill it with
so many would take hours."""
FILL_BYTES_MAX = 64 * 1024 * 1024
"""Larger values have fewer keys, so that a run stays below every default limit on a store's size
(2 GiB in etcd, which keeps old versions)."""

TARGET_LOADS = (
    Load("write", 1),
    Load("write", 64),
    Load("write", 64, few=False),
    Load("write", 256),
    Load("write", 256, few=False),
    Load("read", 64),
    Load("read", 256),
)
"""The loads that the project has set itself targets for; see targets.py."""

BETWEEN_LOADS_S = 0.25
"""What a load takes besides being measured, for the estimate."""
FILL_PER_S = {"paxos": 40_000.0, "etcd": 11_000.0, "zookeeper": 10_000.0}
FILL_PER_S_ELSE = 4_000.0
"""About how many keys a second are written, for the estimate."""
KILL_S = 5.2
OVERLOAD_STEPS = 35
"""About how many loads the overload stage runs, for the estimate."""
STOP_S = 8.7


@dataclass(frozen=True)
class Stage:
    """The life of one cluster per system and round."""

    name: str
    loads: tuple[Load, ...] = ()
    fill_keys: int = 0
    fill_value_bytes: int = 256
    memory: bool = False
    """Weigh the processes after the start and after the fill."""
    failovers: Mapping[str, int] | None = None
    """How many of each kind (kill, stop)."""
    pipeline: bool = False
    """redis-benchmark instead of this project's generator."""
    overload: bool = False
    """Ever higher loads, and neighbours that disturb; see overload.py."""
    systems: tuple[str, ...] = SYSTEMS
    once: bool = False
    """In the first round alone."""


@dataclass(frozen=True)
class Turn:
    """One stage of one system in one round."""

    round: int
    system: str
    stage: Stage


@dataclass(frozen=True)
class Wishes:
    """What whoever started the run asked for."""

    form: str = QUICK
    rounds: int = 3
    systems: tuple[str, ...] = SYSTEMS
    groups: frozenset[str] = GROUPS_BY_FORM[QUICK]
    warmup_s: float = 1.0
    measured_s: float = 3.0
    heating_s: float = 2.0
    """How long each new cluster is loaded before anything is measured, after having been filled:
    a just-in-time compiler needs that, and all are treated alike."""
    failovers: int = 5
    """How often the leader is lost, of each kind."""


def stages(form: str, groups: Collection[str], failovers: int) -> list[Stage]:
    """Return the stages of a form, reduced to the groups that are wanted."""
    found = []
    if loads := _loads(form, groups):
        found.append(Stage("throughput", loads, fill_keys=FEW_KEYS))
    if SIZES in groups:
        found += [_size_stage(value_bytes) for value_bytes in VALUE_BYTES]
    if KEYS in groups or MEMORY in groups:
        found.append(_big_stage(form, groups))
    if PIPELINE in groups:
        found.append(Stage("redis-benchmark", pipeline=True, systems=("paxos",)))
    if OVERLOAD in groups:
        found.append(Stage("overload", overload=True, systems=("paxos",), once=form == QUICK))
    if FAILOVER in groups:
        found += _failover_stages(form, failovers)
    return found


def _loads(form: str, groups: Collection[str]) -> tuple[Load, ...]:
    """Return the loads of values of 256 bytes among 10,000 keys."""
    found: list[Load] = []
    if form == QUICK:
        found += [load for load in TARGET_LOADS if group_of(load) in groups]
        if MIX in groups:
            found += [Load("mix", 64), Load("mix", 256)]
    else:
        for op in ("write", "read", "syncread", "mix"):
            if group_of(Load(op, 1)) in groups:
                found += _ladder(op)
    if COST in groups:
        found += [load for load in TARGET_LOADS if load.few and load not in found]
    return tuple(found)


def _ladder(op: str) -> list[Load]:
    """Return every number outstanding, on few connections and on one per request."""
    few = [Load(op, number) for number in OUTSTANDING]
    return few + [Load(op, number, few=False) for number in OUTSTANDING if number > 1]


def group_of(load: Load) -> str:
    """Return the group that a load of 256 bytes belongs to."""
    return {"write": WRITES, "read": READS, "syncread": READS, "mix": MIX}[load.op]


def _size_stage(value_bytes: int) -> Stage:
    keys = min(FEW_KEYS, FILL_BYTES_MAX // value_bytes)
    loads = tuple(
        Load(op, outstanding, value_bytes=value_bytes, keys=keys)
        for op in ("write", "read")
        for outstanding in (1, 64)
    )
    name = f"values of {size_title(value_bytes)}"
    return Stage(name, loads, fill_keys=keys, fill_value_bytes=value_bytes)


def _big_stage(form: str, groups: Collection[str]) -> Stage:
    """Return the stage with a million keys, which serves KEYS and MEMORY."""
    loads = tuple(
        Load(op, outstanding, keys=MANY_KEYS)
        for op in ("write", "read")
        for outstanding in (64, 256)
    )
    wanted = KEYS in groups
    return Stage(
        "1,000,000 keys",
        loads if wanted else (),
        fill_keys=MANY_KEYS,
        memory=True,
        # In the quick form only what has a target: the fill alone takes the others minutes.
        systems=MANY_KEYS_SYSTEMS if wanted or form == FULL else ("paxos",),
        once=not wanted,
    )


def _failover_stages(form: str, many: int) -> list[Stage]:
    if form == FULL:
        return [Stage("failover", failovers={"kill": many, "stop": many}, once=True)]
    # SIGSTOP takes long, and in the quick form only what has a target is measured.
    both, kills = {"kill": many, "stop": many}, {"kill": many}
    return [
        Stage("failover", failovers=both, once=True, systems=("paxos",)),
        Stage("failover", failovers=kills, once=True, systems=("etcd", "zookeeper")),
    ]


def turns(wishes: Wishes) -> list[Turn]:
    """Return everything that is to be done, in order."""
    found = []
    for number in range(1, wishes.rounds + 1):
        for stage in stages(wishes.form, wishes.groups, wishes.failovers):
            if stage.once and number > 1:
                continue
            order = rotated([s for s in wishes.systems if s in stage.systems], number - 1)
            found += [Turn(number, system, stage) for system in order]
    return found


def rotated(systems: Sequence[str], by: int) -> list[str]:
    """Return the systems in the order of a later round."""
    by %= max(1, len(systems))
    return [*systems[by:], *systems[:by]]


def estimate_s(turn: Turn, wishes: Wishes, start_s: float, can: Callable[[Load], bool]) -> float:
    """Return about how many seconds a turn takes. `can` tells which loads the system is given."""
    stage = turn.stage
    per_load_s = wishes.warmup_s + wishes.measured_s + BETWEEN_LOADS_S
    seconds = start_s + per_load_s * sum(map(can, stage.loads))
    if stage.loads:
        seconds += wishes.heating_s
    if stage.fill_keys:
        # A store written byte by byte: large values are slower than many small ones.
        seconds += stage.fill_keys / FILL_PER_S.get(turn.system, FILL_PER_S_ELSE)
        seconds += stage.fill_keys * stage.fill_value_bytes / 50e6
    if stage.pipeline:
        seconds += 15.0
    if stage.overload:
        seconds += OVERLOAD_STEPS * per_load_s
    failovers = stage.failovers or {}
    return seconds + failovers.get("kill", 0) * KILL_S + failovers.get("stop", 0) * STOP_S
