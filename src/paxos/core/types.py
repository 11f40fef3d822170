"""The paper's nouns as types: nodes, ballots, slots.

A ballot is `counter * 100 + proposer number` (DESIGN rule 1), so two proposers can never
own the same ballot and ballots are totally ordered ("Paxos Made Simple", section 2.2:
"different proposals have different numbers").
"""

from __future__ import annotations

from enum import StrEnum
from typing import NewType

NodeId = NewType("NodeId", str)
"""A node's name: its role and number, such as `acceptor-2`; discovery is alone and has none.

An acceptor that was replaced is another one, since it has forgotten what the first had told: the
second life of that name is `acceptor-2.1`. It has the place of `acceptor-2` (`place_of`), its
ports, its volume, its service, and counts for nothing where `acceptor-2` is counted.
"""

Slot = NewType("Slot", int)
"""A position in the log. The first is 1; 0 means "before any slot"."""

Ballot = NewType("Ballot", int)
"""`counter * 100 + proposer number`. 0 is below every ballot and owned by nobody."""

NO_BALLOT = Ballot(0)
NO_SLOT = Slot(0)

PROPOSER_NUMBER_MAX = 99
"""A proposer's number must fit below the counter's last two decimal digits."""


class Role(StrEnum):
    """The five kinds of node. The gateways are called `client` in every name that people see."""

    DISCOVERY = "discovery"
    PROPOSER = "proposer"
    ACCEPTOR = "acceptor"
    LEARNER = "learner"
    CLIENT = "client"


def node_id(role: Role, number: int = 1) -> NodeId:
    """Return the name of a node, such as `acceptor-2`; discovery is just `discovery`."""
    return NodeId(role.value) if role is Role.DISCOVERY else NodeId(f"{role.value}-{number}")


def role_of(node: NodeId) -> Role:
    """Return the role in a node's name. Raises ValueError when it names no role."""
    return Role(node.partition("-")[0])


def number_of(node: NodeId) -> int:
    """Return the number in a node's name; 1 for discovery. Raises ValueError on a bad name."""
    _, dash, number = node.partition("-")
    return int(number.partition(".")[0]) if dash else 1


def place_of(node: NodeId) -> NodeId:
    """Return the name without its life: what has the ports and the volume."""
    return NodeId(node.partition(".")[0])


def life_of(node: NodeId) -> int:
    """Return which life of its place a node is; the first is 0. Raises ValueError on a bad name."""
    _, dot, life = node.partition(".")
    return int(life) if dot else 0


def in_life(place: NodeId, life: int) -> NodeId:
    """Return the name of a place's node in a life of it."""
    return NodeId(f"{place}.{life}") if life else place


def ballot_from(counter: int, proposer_number: int) -> Ballot:
    """Return `counter * 100 + proposer_number`. Raises ValueError out of bounds (rule 1)."""
    if not 1 <= proposer_number <= PROPOSER_NUMBER_MAX:
        raise ValueError(f"proposer number {proposer_number} is not in 1..{PROPOSER_NUMBER_MAX}")
    if counter < 1:
        raise ValueError(f"ballot counter {counter} is not positive")
    return Ballot(counter * 100 + proposer_number)


def counter_of(ballot: Ballot) -> int:
    """Return the counter inside a ballot."""
    return ballot // 100


def proposer_number_of(ballot: Ballot) -> int:
    """Return the number of the proposer that owns a ballot; 0 for `NO_BALLOT`."""
    return ballot % 100


def owner_of(ballot: Ballot) -> NodeId:
    """Return the proposer that owns a ballot. Raises ValueError for `NO_BALLOT`."""
    if ballot == NO_BALLOT:
        raise ValueError("nobody owns ballot 0")
    return node_id(Role.PROPOSER, proposer_number_of(ballot))
