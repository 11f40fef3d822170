"""What goes wrong in a simulated run: a plan made of a seed, and how each fault is done.

A plan is plain data, made before the run begins, so that it can be printed, repeated with one fault
less (shrink.py), and counted. Faults overlap freely. Two bounds keep a run meaningful: of the
acceptors at most f lose their volume or find a flipped bit (they do not vote again, rule 8; with
more of them gone there is nothing left to test), and every fault ends when the network heals.

The kinds of partitions are those of Jepsen's nemesis and of Omni-Paxos (section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from paxos.core.messages import OpenSession, Submit
from paxos.core.quorum import Membership
from paxos.core.types import NodeId, Role, role_of

from .dice import Dice
from .world import SimulatedNode, World

LOOK_MS = 2.0
"""How often a fault looks whether its moment has come."""

POINTS = ("before", "torn", "after", "telling")
"""Where in a sync a node dies: see `World.crash_at_sync`."""

AWAY_MS = 1000.0
"""Who is away is so for at least so long: the others take snapshots and cut their logs."""

LEADER = NodeId("leader")
"""Whoever leads when the fault begins; the first proposer when nobody does."""

Direction = tuple[NodeId, NodeId]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that goes wrong, `at_ms` after the start, for `for_ms`.

    `nodes` are who it happens to, in an order that means something for partitions. `amount` is a
    number in [0, 1) that the kind interprets.
    """

    at_ms: float
    kind: str
    nodes: tuple[NodeId, ...]
    for_ms: float
    amount: float

    def __str__(self) -> str:
        who = ", ".join(self.nodes) or "everybody"
        return f"{self.at_ms:7.0f} ms  {self.kind:16} for {self.for_ms:5.0f} ms: {who}"


Begin = Callable[[World, Fault], Callable[[], None]]
"""Does a fault; returns how to end it."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is made of. `time_ms` is how long faults go on, in simulated milliseconds.

    `kinds` are the kinds of faults that may happen; `gap_ms` is the mean time between two.
    """

    kinds: tuple[str, ...]
    time_ms: float
    gap_ms: float


def make_plan(seed: int, membership: Membership, options: Options) -> list[Fault]:
    """Return the faults of a run, in order of time. The same arguments give the same plan.

    Each run uses only some of the kinds, some often and some rarely: a run in which everything
    happens at once hides what a few faults alone would show.
    """
    dice = Dice(seed, "faults")
    kinds = dice.some([kind for kind in options.kinds if kind != CHANGING], dice.whole(2, 9))
    weights = [(kind, dice.between(0.2, 1.0)) for kind in kinds]
    if not weights:
        return []
    victims = dice.some(membership.acceptors, membership.failures_tolerated)
    gap_ms = options.gap_ms * dice.between(0.4, 2.0)
    plan: list[Fault] = []
    at = dice.between(0.0, 2.0) * gap_ms
    while at < options.time_ms:
        kind = dice.weighted(weights)
        fault = Fault(
            at_ms=at,
            kind=kind,
            nodes=_nodes_of(kind, dice, membership, victims),
            for_ms=dice.between(20.0, dice.pick((200.0, 600.0, 2000.0)))
            + (AWAY_MS if kind == "away" else 0.0),
            amount=dice.roll(),
        )
        plan.append(fault)
        at += dice.between(0.1, 2.0) * gap_ms
    return plan


def _nodes_of(
    kind: str, dice: Dice, membership: Membership, victims: Sequence[NodeId]
) -> tuple[NodeId, ...]:
    """Choose whom a fault happens to."""
    if kind in ("bit-flip", "snapshot-rot", "wipe"):
        learners = membership.learners if kind == "wipe" else ()
        candidates = (*victims, *learners, membership.discovery)
        return (dice.pick(candidates if kind == "wipe" else victims),)
    if kind.startswith("disk-") or kind == "crash-at-sync":
        durable = (*membership.acceptors, *membership.acceptors, *membership.proposers, LEADER)
        return tuple(dice.some(durable, dice.whole(1, 2)))
    if kind in ("crash-at-part", "crash-at-cut", "snapshot-disk-full"):
        return tuple(dice.some(membership.acceptors, dice.pick((1, 1, 2, 3))))
    if kind == "crash-at-snapshot":
        return tuple(dice.some(membership.learners, dice.pick((1, 1, 2))))
    if kind == "away":
        return (dice.pick((*membership.acceptors, *membership.learners)),)
    if kind in ("crash", "pause", *CLOCKS):
        if dice.chance(0.35):
            return (LEADER,)
        return tuple(dice.some(membership.nodes, dice.pick((1, 1, 1, 2, 3, 6))))
    if kind == "isolate":
        return (LEADER,) if dice.chance(0.4) else (dice.pick(membership.nodes),)
    # Partitions and noise: an order of all nodes, of which each kind takes what it needs.
    return tuple(dice.some(membership.nodes, len(membership.nodes)))


# ---------------------------------------------------------------- nodes


def _present(world: World, fault: Fault) -> list[SimulatedNode]:
    """Return the nodes that a fault names, the leader resolved, each once."""
    leader = world.leader or world.membership.proposers[0]
    names = dict.fromkeys(leader if name == LEADER else name for name in fault.nodes)
    return [world.nodes[name] for name in names]


def _crash(world: World, fault: Fault) -> Callable[[], None]:
    names = [node.name for node in _present(world, fault)]
    for name in names:
        world.crash(name, kept=fault.amount)
    return lambda: world.start(names)


def _power(world: World, fault: Fault) -> Callable[[], None]:
    """Everything stops at once; each disk has kept a different share of what was under way."""
    for name in world.membership.nodes:
        world.crash(name, kept=world.random.random(), why="power lost")
    return lambda: world.start(fault.nodes)


def _crash_at_sync(world: World, fault: Fault) -> Callable[[], None]:
    names = [node.name for node in _present(world, fault)]
    for name in names:
        world.crash_at_sync(name, POINTS[int(fault.amount * len(POINTS))])
    return _recover(world, names)


def _crash_at_election(world: World, fault: Fault) -> Callable[[], None]:
    """The leader dies, and so does whoever stands to follow it, while its counter is synced."""
    leader, others, _ = _by_role(world, fault)
    world.crash(leader)
    for name in others:
        world.crash_at_sync(name, POINTS[int(fault.amount * len(POINTS))])
    return _recover(world, [leader, *others])


def _recover(world: World, names: list[NodeId]) -> Callable[[], None]:
    def end() -> None:
        for name in names:
            world.nodes[name].doom = world.nodes[name].ambush = None
        world.start(names)

    return end


def _crash_when(doings: Sequence[str]) -> Begin:
    """Nodes die at what they do with a snapshot."""

    def begin(world: World, fault: Fault) -> Callable[[], None]:
        names = [node.name for node in _present(world, fault)]
        point = POINTS[int(fault.amount * len(POINTS))]
        for name in names:
            world.crash_when(name, doings[int(fault.amount * len(doings))], point)
        return _recover(world, names)

    return begin


def _away(world: World, fault: Fault) -> Callable[[], None]:
    """A node is gone for long, dead or out of reach."""
    if fault.amount < 0.6:
        return _crash(world, fault)
    return _isolate(world, fault)


def _everybody_killed(world: World, fault: Fault) -> Callable[[], None]:
    """kill -9 of every node while a snapshot is being taken or is on its way."""
    over = False

    def look() -> None:
        if over:
            return
        if not world.snapshot_work.under_way:
            world.after(LOOK_MS, look)
            return
        world.after(world.random.uniform(0.0, LOOK_MS * 10), kill)

    def kill() -> None:
        if not over:
            for name in world.membership.nodes:
                world.crash(name, kept=world.random.random(), why="everybody killed")

    def end() -> None:
        nonlocal over
        over = True
        world.start(fault.nodes)

    look()
    return end


def _pause(world: World, fault: Fault) -> Callable[[], None]:
    names = [node.name for node in _present(world, fault) if node.running]
    for name in names:
        world.pause(name)

    def end() -> None:
        for name in names:
            if world.nodes[name].paused:
                world.resume(name)

    return end


def _wipe(world: World, fault: Fault) -> Callable[[], None]:
    names = [node.name for node in _present(world, fault)]
    for name in names:
        world.wipe(name)
    return lambda: world.start(names)


def _usurp(world: World, fault: Fault) -> Callable[[], None]:
    """Another process of a gateway's name opens a session: the older one ends (rule 6)."""
    leader = world.leader
    gateways = [name for name in fault.nodes if role_of(name) is Role.CLIENT]
    if leader is not None:
        opening = OpenSession(gateway=gateways[0], nonce=1 + int(fault.amount * 2**52))
        batch = msgspec.msgpack.encode(opening)
        submit = Submit(stream=opening.nonce, attempt=1, head=1, sequence=1, batch=batch)
        world.inject(gateways[0], leader, submit)
    return lambda: None


# ---------------------------------------------------------------- disks


def _on_disks(
    world: World, fault: Fault, hurt: Callable[[SimulatedNode], None], mend: Callable[..., None]
) -> Callable[[], None]:
    nodes = [node for node in _present(world, fault) if node.journal is not None]
    for node in nodes:
        hurt(node)

    def end() -> None:
        for node in nodes:
            mend(node)
        world.start([node.name for node in nodes])

    return end


def _refuse(why: str | None) -> Callable[[SimulatedNode], None]:
    def change(node: SimulatedNode) -> None:
        if node.journal is not None:
            node.journal.refuses = why
        if node.snapshots is not None:
            node.snapshots.refuses = why

    return change


def _snapshot_disk_full(world: World, fault: Fault) -> Callable[[], None]:
    """There is room for the log and none for a snapshot, which leaves some to the log."""

    def change(why: str | None) -> Callable[[SimulatedNode], None]:
        def one(node: SimulatedNode) -> None:
            if node.snapshots is not None:
                node.snapshots.refuses = why

        return one

    return _on_disks(world, fault, change("no space left on device"), change(None))


def _disk_full(world: World, fault: Fault) -> Callable[[], None]:
    return _on_disks(world, fault, _refuse("no space left on device"), _refuse(None))


def _disk_error(world: World, fault: Fault) -> Callable[[], None]:
    return _on_disks(world, fault, _refuse("the sync failed: I/O error"), _refuse(None))


def _disk_hang(world: World, fault: Fault) -> Callable[[], None]:
    def change(hung: bool) -> Callable[[SimulatedNode], None]:
        def one(node: SimulatedNode) -> None:
            if node.journal is not None:
                node.journal.hung = hung

        return one

    return _on_disks(world, fault, change(True), change(False))


def _disk_slow(world: World, fault: Fault) -> Callable[[], None]:
    slow = (1.0, 2.0 + 60.0 * fault.amount)

    def change(sync_ms: tuple[float, float]) -> Callable[[SimulatedNode], None]:
        def one(node: SimulatedNode) -> None:
            if node.journal is not None:
                node.journal.sync_ms = sync_ms

        return one

    return _on_disks(world, fault, change(slow), change(world.sync_ms))


def _bit_flip(world: World, fault: Fault) -> Callable[[], None]:
    for node in _present(world, fault):
        if node.journal is not None and node.journal.highest_slot:
            node.journal.rot_one(fault.amount)
    return lambda: None


def _snapshot_rot(world: World, fault: Fault) -> Callable[[], None]:
    for node in _present(world, fault):
        if node.snapshots is not None:
            node.snapshots.rot()
    return lambda: None


# ---------------------------------------------------------------- clocks


def _clock(rate: Callable[[Fault], float], jump_ms: Callable[[Fault], float]) -> Begin:
    def begin(world: World, fault: Fault) -> Callable[[], None]:
        nodes = _present(world, fault)
        for node in nodes:
            node.clock.set(rate(fault), jump_ms(fault))

        def end() -> None:
            for node in nodes:
                node.clock.set(1.0)

        return end

    return begin


# ---------------------------------------------------------------- network


def _cut(world: World, directions: Iterable[Direction]) -> Callable[[], None]:
    cut = list(directions)
    for a, b in cut:
        world.cut([a], [b], both=False)
    return lambda: world.mend(cut)


def _between(
    one: Iterable[NodeId], other: Iterable[NodeId], both: bool = True
) -> Iterable[Direction]:
    others = list(other)
    for a in one:
        for b in others:
            yield (a, b)
            if both:
                yield (b, a)


def _halves(world: World, fault: Fault) -> Callable[[], None]:
    middle = len(fault.nodes) // 2
    return _cut(world, _between(fault.nodes[:middle], fault.nodes[middle:]))


def _isolate(world: World, fault: Fault) -> Callable[[], None]:
    alone = _present(world, fault)[0].name
    rest = [name for name in world.membership.nodes if name != alone]
    return _cut(world, _between([alone], rest))


def _random_cuts(world: World, fault: Fault) -> Callable[[], None]:
    share = 0.1 + 0.6 * fault.amount
    pairs = _between(fault.nodes, fault.nodes, both=False)
    return _cut(world, [pair for pair in pairs if world.random.random() < share])


def _one_way(world: World, fault: Fault) -> Callable[[], None]:
    middle = 1 + int(fault.amount * (len(fault.nodes) - 1))
    return _cut(world, _between(fault.nodes[:middle], fault.nodes[middle:], both=False))


def _by_role(world: World, fault: Fault) -> tuple[NodeId, list[NodeId], list[NodeId]]:
    """Return the leader, the other proposers and the acceptors, in the fault's order."""
    leader = world.leader or world.membership.proposers[0]
    others = [n for n in fault.nodes if role_of(n) is Role.PROPOSER and n != leader]
    return leader, others, [n for n in fault.nodes if role_of(n) is Role.ACCEPTOR]


def _quorum_loss(world: World, fault: Fault) -> Callable[[], None]:
    """The leader loses its quorum, and everybody still hears it."""
    leader, _, acceptors = _by_role(world, fault)
    return _cut(world, _between([leader], acceptors[: world.membership.quorum_size]))


def _constrained(world: World, fault: Fault) -> Callable[[], None]:
    """The leader is gone, and one proposer alone reaches a quorum of acceptors."""
    leader, others, acceptors = _by_role(world, fault)
    rest = [name for name in world.membership.nodes if name != leader]
    cuts = list(_between([leader], rest))
    cuts.extend(_between(others[1:], acceptors[: world.membership.quorum_size]))
    return _cut(world, cuts)


def _split(world: World, fault: Fault) -> Callable[[], None]:
    """The leader keeps a minority of the acceptors and half of the rest: what it proposes is
    accepted there, and not chosen, while the others go on without it.
    """
    leader, _, acceptors = _by_role(world, fault)
    few = acceptors[: world.membership.failures_tolerated]
    neither = (Role.ACCEPTOR, Role.PROPOSER)
    others = [name for name in fault.nodes if role_of(name) not in neither]
    side = {leader, *few, *others[: len(others) // 2]}
    here = [name for name in fault.nodes if name in side]
    return _cut(world, _between(here, [name for name in fault.nodes if name not in side]))


def _chained(world: World, fault: Fault) -> Callable[[], None]:
    """Proposers stand in a chain: each hears its neighbours alone. All reach the acceptors."""
    chain = [name for name in fault.nodes if role_of(name) is Role.PROPOSER]
    cuts: list[Direction] = []
    for at, name in enumerate(chain):
        cuts.extend(_between([name], chain[at + 2 :]))
    return _cut(world, cuts)


def _clog(world: World, fault: Fault) -> Callable[[], None]:
    """Some directions hold their messages back, and then deliver them all at once: at random, or
    all those from one role to one node.
    """
    pairs = list(_between(fault.nodes, fault.nodes, both=False))
    if fault.amount < 0.5:
        share = 0.1 + fault.amount
        clogged = [pair for pair in pairs if world.random.random() < share]
    else:
        to, role = fault.nodes[0], role_of(fault.nodes[1])
        clogged = [pair for pair in pairs if pair[1] == to and role_of(pair[0]) is role]
    world.clog(clogged, fault.for_ms)
    return lambda: None


def _flap(world: World, fault: Fault) -> Callable[[], None]:
    """Links close and open again at once."""
    count = 1 + int(fault.amount * 6)
    for a, b in zip(fault.nodes[:count], fault.nodes[count:], strict=False):
        world.flap(a, b)
    return lambda: None


def _noise(field: str, most: float) -> Begin:
    """Let a probability or a delay of the whole network rise for a while."""

    def begin(world: World, fault: Fault) -> Callable[[], None]:
        calm = getattr(world.calm, field)
        setattr(world.network, field, max(calm, most * fault.amount))
        return lambda: setattr(world.network, field, calm)

    return begin


def _reorder(world: World, fault: Fault) -> Callable[[], None]:
    world.network.reorder = True
    return lambda: setattr(world.network, "reorder", world.calm.reorder)


CLOCKS: dict[str, Begin] = {
    "clock-fast": _clock(lambda f: 1.0 + 4.0 * f.amount, lambda f: 0.0),
    "clock-slow": _clock(lambda f: 0.2 + 0.8 * f.amount, lambda f: 0.0),
    "clock-stop": _clock(lambda f: 0.0, lambda f: 0.0),
    "clock-jump": _clock(lambda f: 1.0, lambda f: (f.amount - 0.5) * 7_200_000.0),
}
"""Clocks that run fast, slow, stand, or jump by up to an hour, forwards or backwards."""

KINDS: dict[str, Begin] = {
    "crash": _crash,
    "power": _power,
    "crash-at-sync": _crash_at_sync,
    "crash-at-election": _crash_at_election,
    "crash-at-snapshot": _crash_when(("taking", "pulled")),
    "crash-at-part": _crash_when(("part",)),
    "crash-at-cut": _crash_when(("cut",)),
    "everybody-killed": _everybody_killed,
    "away": _away,
    "pause": _pause,
    "wipe": _wipe,
    "usurp": _usurp,
    "disk-full": _disk_full,
    "disk-error": _disk_error,
    "disk-hang": _disk_hang,
    "disk-slow": _disk_slow,
    "bit-flip": _bit_flip,
    "snapshot-disk-full": _snapshot_disk_full,
    "snapshot-rot": _snapshot_rot,
    **CLOCKS,
    "halves": _halves,
    "isolate": _isolate,
    "random-cuts": _random_cuts,
    "one-way": _one_way,
    "quorum-loss": _quorum_loss,
    "constrained": _constrained,
    "chained": _chained,
    "split": _split,
    "clog": _clog,
    "flap": _flap,
    "loss": _noise("loss", 0.3),
    "duplication": _noise("duplication", 0.3),
    "delay": _noise("delay_ms_max", 80.0),
    "reorder": _reorder,
}
"""Every kind of fault by its name."""

CHANGING = "members"
"""Operators change the members meanwhile (operator.py): no fault by itself, and so in no plan. Who
is replaced loses its volume, so no other fault may take one in such a run."""

GROUPS: dict[str, tuple[str, ...]] = {
    "crashes": (
        "crash",
        "power",
        "crash-at-sync",
        "crash-at-election",
        "pause",
        "wipe",
        "usurp",
    ),
    "disks": (
        "crash-at-sync",
        "disk-full",
        "disk-error",
        "disk-hang",
        "disk-slow",
        "bit-flip",
        "snapshot-disk-full",
        "snapshot-rot",
    ),
    "snapshots": (
        "crash-at-snapshot",
        "crash-at-part",
        "crash-at-cut",
        "everybody-killed",
        "away",
        "snapshot-disk-full",
        "snapshot-rot",
        "crash",
        "wipe",
    ),
    "clocks": tuple(CLOCKS),
    "partitions": (
        "halves",
        "isolate",
        "random-cuts",
        "one-way",
        "quorum-loss",
        "constrained",
        "chained",
        "split",
    ),
    "network": ("clog", "flap", "loss", "duplication", "delay", "reorder"),
    CHANGING: (
        CHANGING,
        "crash",
        "power",
        "crash-at-sync",
        "crash-at-election",
        "crash-at-snapshot",
        "crash-at-part",
        "crash-at-cut",
        "everybody-killed",
        "away",
        "pause",
        "disk-error",
        "disk-hang",
        "disk-slow",
        "halves",
        "isolate",
        "random-cuts",
        "one-way",
        "split",
        "clog",
        "flap",
        "loss",
        "duplication",
        "delay",
        "reorder",
    ),
    "all": tuple(KINDS),
    "none": (),
}
"""Names that stand for several kinds."""
