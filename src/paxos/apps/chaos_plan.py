"""What a chaos run breaks, when and for how long: a pure function of its seed.

A plan names nodes, or the part that a node plays when the moment comes: `leader`, `follower-1`,
`follower-2` (the other proposers in the order of their numbers, beginning after the leader's).
Who that was is found out, and written down, when it happens; the plan itself does not depend on it.

Every kind of fault that was asked for comes once before any comes again, and so do the variants of
each kind. The three partial partitions are those of "Omni-Paxos" (Ng, Haridi, Carbone, 2023,
section 2): the leader loses its quorum but is heard, the only electable one is behind, and two
proposers that do not hear each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

import msgspec

from paxos.core.quorum import Membership

from .chaos_proxy import Trouble

KILL, PAUSE, PARTITION = "kill", "pause", "partition"
SLOW, DISK_FULL, DISCOVERY = "slow", "disk-full", "discovery"
DISCONNECT = "disconnect"
KINDS = (KILL, PAUSE, PARTITION, DISCONNECT, SLOW, DISK_FULL, DISCOVERY)

LEADER = "leader"
FOLLOWER = "follower-"

WARM_UP_S = 1.5
"""Nothing is broken before clients have been served for a while."""
COOL_DOWN_S = 1.0
"""And the last fault ends so long before the run does."""
OVERLAP = 0.3
"""How often the next fault begins before the last one has ended."""

LASTS_S: dict[str, tuple[float, float]] = {
    KILL: (0.3, 3.0),
    PAUSE: (0.5, 4.0),
    PARTITION: (1.5, 6.0),
    DISCONNECT: (1.0, 5.0),
    SLOW: (2.0, 5.0),
    DISK_FULL: (2.0, 4.0),
    DISCOVERY: (1.0, 3.0),
}
"""How long each kind lasts, shortest and longest. A short run shortens the longest."""
PAUSE_BETWEEN_S = (0.3, 2.0)


_Thing = TypeVar("_Thing")


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """Links that are in trouble: from each of one side to each of the other, or both ways."""

    these: tuple[str, ...]
    those: tuple[str, ...]
    one_way: bool = False


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a plan. `targets` are those whose process, container or disk it is done to."""

    number: int
    kind: str
    name: str
    at_s: float
    lasts_s: float
    targets: tuple[str, ...] = ()
    cuts: tuple[Cut, ...] = ()
    trouble: Trouble = Trouble(cut=True)

    @property
    def ends_s(self) -> float:
        """When it is to end, in seconds after the start."""
        return round(self.at_s + self.lasts_s, 2)


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A fault without its time."""

    name: str
    targets: tuple[str, ...] = ()
    cuts: tuple[Cut, ...] = ()
    trouble: Trouble = Trouble(cut=True)


Variant: TypeAlias = Callable[[random.Random, Membership], Draft]


def plan(
    seed: int,
    seconds: float,
    kinds: Sequence[str],
    membership: Membership,
    variants: dict[str, tuple[Variant, ...]] | None = None,
) -> list[Fault]:
    """Return the faults of a run in the order of their beginning.

    `variants` says what there is of each kind; those of local processes when it is None.
    """
    if not kinds:
        return []
    dice = random.Random(f"paxos chaos plan {seed}")
    known = LOCAL_VARIANTS if variants is None else variants
    bags = {kind: _bag(known[kind], dice) for kind in KINDS if kind in kinds}
    turns = _bag(tuple(bags), dice)
    faults: list[Fault] = []
    begins_s = min(WARM_UP_S, seconds * 0.15)
    last_s = seconds - min(COOL_DOWN_S, seconds * 0.1)
    while True:
        kind = next(turns)
        draft = next(bags[kind])(dice, membership)
        shortest, longest = LASTS_S[kind]
        lasts_s = round(dice.uniform(shortest, max(shortest, min(longest, seconds / 6))), 2)
        if begins_s + lasts_s > last_s:
            return faults
        faults.append(
            Fault(
                number=len(faults) + 1,
                kind=kind,
                name=draft.name,
                at_s=round(begins_s, 2),
                lasts_s=lasts_s,
                targets=draft.targets,
                cuts=draft.cuts,
                trouble=draft.trouble,
            )
        )
        if dice.random() < OVERLAP:
            begins_s += lasts_s * dice.uniform(0.3, 0.9)
        else:
            begins_s += lasts_s + dice.uniform(*PAUSE_BETWEEN_S)


def resolve(names: Sequence[str], leader: str | None, membership: Membership) -> list[str]:
    """Return the nodes that names mean while `leader` leads (None: the first proposer stands in).

    Each node once, in the order of the names. Names that mean nobody are left out.
    """
    proposers = [str(node) for node in membership.proposers]
    first = proposers.index(leader) if leader in proposers else 0
    found: dict[str, None] = {}
    for name in names:
        if name == LEADER:
            found[proposers[first]] = None
        elif name.startswith(FOLLOWER):
            place = int(name.removeprefix(FOLLOWER))
            if place < len(proposers):
                found[proposers[(first + place) % len(proposers)]] = None
        else:
            found[name] = None
    return list(found)


def _bag(things: Sequence[_Thing], dice: random.Random) -> Iterator[_Thing]:
    """Yield all things in random order, then again in another one, without end."""
    while True:
        shuffled = list(things)
        dice.shuffle(shuffled)
        yield from shuffled


# ---------------------------------------------------------------- who


def _followers(membership: Membership) -> tuple[str, ...]:
    return tuple(f"{FOLLOWER}{place}" for place in range(1, len(membership.proposers)))


def _some(nodes: Sequence[str], count: int, dice: random.Random) -> tuple[str, ...]:
    """Return some nodes, in the order of the configuration."""
    chosen = set(dice.sample(list(nodes), min(count, len(nodes))))
    return tuple(str(node) for node in nodes if node in chosen)


def _others(membership: Membership, *these: str) -> tuple[str, ...]:
    """Return every node but these, proposers by the parts that they play."""
    proposers = (LEADER, *_followers(membership))
    rest = [str(node) for node in membership.nodes if node not in membership.proposers]
    return tuple(node for node in (*proposers, *rest) if node not in these)


def _majority(membership: Membership, dice: random.Random) -> tuple[str, ...]:
    return _some(membership.acceptors, membership.quorum_size, dice)


# ---------------------------------------------------------------- kill, pause


def _the_leader(dice: random.Random, membership: Membership) -> Draft:
    return Draft(name="the leader", targets=(LEADER,))


def _a_follower(dice: random.Random, membership: Membership) -> Draft:
    return Draft(name="a standby proposer", targets=_some(_followers(membership), 1, dice))


def _all_proposers(dice: random.Random, membership: Membership) -> Draft:
    return Draft(name="all proposers", targets=membership.proposers)


def _an_acceptor(dice: random.Random, membership: Membership) -> Draft:
    return Draft(name="an acceptor", targets=_some(membership.acceptors, 1, dice))


def _most_acceptors(dice: random.Random, membership: Membership) -> Draft:
    return Draft(name="a majority of the acceptors", targets=_majority(membership, dice))


def _a_learner(dice: random.Random, membership: Membership) -> Draft:
    return Draft(name="a learner", targets=_some(membership.learners, 1, dice))


def _all_learners(dice: random.Random, membership: Membership) -> Draft:
    return Draft(name="all learners", targets=membership.learners)


def _a_gateway(dice: random.Random, membership: Membership) -> Draft:
    return Draft(name="a client node", targets=_some(membership.gateways, 1, dice))


def _one_of_each(dice: random.Random, membership: Membership) -> Draft:
    targets = (
        LEADER,
        *_some(membership.acceptors, 1, dice),
        *_some(membership.learners, 1, dice),
        *_some(membership.gateways, 1, dice),
    )
    return Draft(name="one of every role", targets=targets)


def _some_nodes(dice: random.Random, membership: Membership) -> Draft:
    count = dice.randint(2, max(2, len(membership.nodes) // 2))
    return Draft(name="some nodes", targets=_some(membership.nodes, count, dice))


def _everything(dice: random.Random, membership: Membership) -> Draft:
    return Draft(name="everything at once", targets=membership.nodes)


def _discovery(dice: random.Random, membership: Membership) -> Draft:
    return Draft(name="discovery, which forgets everything", targets=(membership.discovery,))


# ---------------------------------------------------------------- partitions


def _how(dice: random.Random) -> Trouble:
    """A cut is mostly silent, as a broken wire; sometimes it refuses, as a firewall."""
    return Trouble(cut=True, refusing=dice.random() < 0.3)


def _isolated(name: str, node: str, dice: random.Random, membership: Membership) -> Draft:
    cut = Cut(these=(node,), those=_others(membership, node))
    return Draft(name=f"{name} is isolated", cuts=(cut,), trouble=_how(dice))


def _leader_isolated(dice: random.Random, membership: Membership) -> Draft:
    return _isolated("the leader", LEADER, dice, membership)


def _acceptor_isolated(dice: random.Random, membership: Membership) -> Draft:
    return _isolated("an acceptor", dice.choice(membership.acceptors), dice, membership)


def _learner_isolated(dice: random.Random, membership: Membership) -> Draft:
    return _isolated("a learner", dice.choice(membership.learners), dice, membership)


def _gateway_isolated(dice: random.Random, membership: Membership) -> Draft:
    return _isolated("a client node", dice.choice(membership.gateways), dice, membership)


def _halves(dice: random.Random, membership: Membership) -> Draft:
    nodes = list(_others(membership))
    dice.shuffle(nodes)
    half = len(nodes) // 2
    cut = Cut(these=tuple(nodes[:half]), those=tuple(nodes[half:]))
    return Draft(name="halves", cuts=(cut,), trouble=_how(dice))


def _no_quorum(dice: random.Random, membership: Membership) -> Draft:
    gone = _majority(membership, dice)
    cut = Cut(these=gone, those=_others(membership, *gone))
    return Draft(name="nobody reaches a quorum", cuts=(cut,), trouble=_how(dice))


def _one_way_out(dice: random.Random, membership: Membership) -> Draft:
    cut = Cut(these=(LEADER,), those=_others(membership, LEADER), one_way=True)
    return Draft(name="one way: the leader is not heard", cuts=(cut,))


def _one_way_in(dice: random.Random, membership: Membership) -> Draft:
    cut = Cut(these=_others(membership, LEADER), those=(LEADER,), one_way=True)
    return Draft(name="one way: the leader hears nobody", cuts=(cut,))


def _random_links(dice: random.Random, membership: Membership) -> Draft:
    nodes = _others(membership)
    cuts = tuple(
        Cut(these=(a,), those=(b,), one_way=True)
        for a in nodes
        for b in nodes
        if a != b and dice.random() < 0.25
    )
    return Draft(name="a random quarter of all directions", cuts=cuts)


def _gateway_and_leader(dice: random.Random, membership: Membership) -> Draft:
    cut = Cut(these=(dice.choice(membership.gateways),), those=(LEADER,))
    return Draft(name="a client node and the leader", cuts=(cut,), trouble=_how(dice))


def _quorum_loss(dice: random.Random, membership: Membership) -> Draft:
    """The leader keeps less than a quorum of acceptors, but the other proposers hear it."""
    cut = Cut(these=(LEADER,), those=_majority(membership, dice))
    return Draft(name="quorum loss (Omni-Paxos)", cuts=(cut,), trouble=_how(dice))


def _constrained(dice: random.Random, membership: Membership) -> Draft:
    """The leader is cut off, and of the others only the first standby reaches a quorum."""
    alone = Cut(these=(LEADER,), those=_others(membership, LEADER))
    rest = _followers(membership)[1:]
    cuts = [alone]
    if rest:
        cuts.append(Cut(these=rest, those=_majority(membership, dice)))
        cuts.append(Cut(these=rest, those=_followers(membership)[:1]))
    return Draft(name="constrained election (Omni-Paxos)", cuts=tuple(cuts), trouble=_how(dice))


def _chained(dice: random.Random, membership: Membership) -> Draft:
    """Leader and first standby do not hear each other; both reach the acceptors."""
    cut = Cut(these=(LEADER,), those=(f"{FOLLOWER}1",))
    return Draft(name="chained (Omni-Paxos)", cuts=(cut,), trouble=_how(dice))


# ---------------------------------------------------------------- slow and lossy


def _trouble_of(name: str, nodes: Sequence[str], trouble: Trouble, membership: Membership) -> Draft:
    cut = Cut(these=tuple(nodes), those=_others(membership))
    return Draft(name=name, cuts=(cut,), trouble=trouble)


def _all_slow(dice: random.Random, membership: Membership) -> Draft:
    delay_ms = round(dice.uniform(5, 40), 1)
    trouble = Trouble(delay_ms=delay_ms, jitter_ms=delay_ms)
    return _trouble_of("every link is slow", _others(membership), trouble, membership)


def _leader_slow(dice: random.Random, membership: Membership) -> Draft:
    delay_ms = round(dice.uniform(50, 200), 1)
    trouble = Trouble(delay_ms=delay_ms, jitter_ms=delay_ms / 2)
    return _trouble_of("the leader's links are slow", [LEADER], trouble, membership)


def _acceptor_slow(dice: random.Random, membership: Membership) -> Draft:
    trouble = Trouble(delay_ms=round(dice.uniform(100, 400), 1), jitter_ms=50.0)
    nodes = _some(membership.acceptors, 1, dice)
    return _trouble_of("an acceptor's links are slow", nodes, trouble, membership)


def _all_lossy(dice: random.Random, membership: Membership) -> Draft:
    trouble = Trouble(loss=round(dice.uniform(0.02, 0.1), 3), jitter_ms=2.0, reset=0.0005)
    return _trouble_of("every link is lossy", _others(membership), trouble, membership)


def _links_break(dice: random.Random, membership: Membership) -> Draft:
    trouble = Trouble(reset=round(dice.uniform(0.005, 0.02), 4))
    return _trouble_of("links break again and again", _others(membership), trouble, membership)


# ---------------------------------------------------------------- which there are

_PROCESSES: tuple[Variant, ...] = (
    _the_leader,
    _a_follower,
    _all_proposers,
    _an_acceptor,
    _most_acceptors,
    _a_learner,
    _all_learners,
    _a_gateway,
    _one_of_each,
    _some_nodes,
)

_PARTITIONS: tuple[Variant, ...] = (
    _leader_isolated,
    _acceptor_isolated,
    _learner_isolated,
    _gateway_isolated,
    _halves,
    _no_quorum,
    _one_way_out,
    _one_way_in,
    _random_links,
    _gateway_and_leader,
    _quorum_loss,
    _constrained,
    _chained,
)

LOCAL_VARIANTS: dict[str, tuple[Variant, ...]] = {
    KILL: (*_PROCESSES, _everything),
    PAUSE: _PROCESSES,
    PARTITION: _PARTITIONS,
    SLOW: (_all_slow, _leader_slow, _acceptor_slow, _all_lossy, _links_break),
    DISK_FULL: (_an_acceptor, _most_acceptors),
    DISCOVERY: (_discovery,),
}
"""What can be done to local processes whose links pass the proxy."""

SWARM_VARIANTS: dict[str, tuple[Variant, ...]] = {
    KILL: _PROCESSES,
    PAUSE: _PROCESSES,
    PARTITION: _PARTITIONS,
    DISCONNECT: (_the_leader, _a_follower, _an_acceptor, _most_acceptors, _a_learner, _a_gateway),
    DISCOVERY: (_discovery,),
}
"""What can be done to a stack's containers."""
