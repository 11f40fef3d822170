"""A change of the members at the leader: what it takes before it may be proposed.

An operator asks for one node more or less (`ChangeMembers`). With acceptors that is where data is
lost in practice: one that lacks decided slots must not make a quorum with another that does. Before
the change is proposed, in slot s, a quorum of the new members, and every acceptor that is new, have
said that they hold what was chosen in every slot before s.

    ASKING    the leader goes on as ever, and asks the new members how far they are
    DRAINING  it proposes nothing more; when nothing is open, it asks again, about everything
    PROPOSED  all are whole: the change has slot s, and nothing is proposed after it
    (chosen)  phase 1 for the slots after s with the new members, at the same ballot; it leads on

Refuses to remove the last node of a role, to change two acceptors at once (majorities of sets
that differ by one member share one), and to stop the cluster for long: a member that is not whole
soon ends the change, not the service.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from .configuring import membership_of
from .messages import Address, Change, ChangeMembers, Members
from .quorum import Membership
from .types import NodeId, Role, Slot, in_life, life_of, node_id, number_of, place_of, role_of

CHANGE = "change"
"""The name of the timer by which a change goes on."""

CHANGE_TICK_MS = 10.0
"""How often members are asked how far they are, in milliseconds."""

ASKING_MS_MAX = 3000.0
"""How long new members may take to become whole while the leader goes on."""

DRAINING_MS_MAX = 300.0
"""How long the leader may propose nothing for the sake of a change."""

NODES_MAX = 99
"""How many nodes of one role there may be."""


class Step(StrEnum):
    """How far a change has come."""

    ASKING = "asking"
    DRAINING = "draining"
    PROPOSED = "proposed"


class Refused(Exception):
    """A change that is not proposed; the text is what a client is told."""


class Changing:
    """One change under way. `request` is the gateway's number for it."""

    def __init__(
        self, gateway: NodeId, request: int, change: Change, old: Membership, now_ms: float
    ) -> None:
        self.gateway = gateway
        self.request = request
        self.change = change
        self.step = Step.ASKING
        self.asked = Slot(0)
        """Up to which slot members were last asked whether they are whole."""
        self.since_ms = now_ms
        self._new = membership_of(change.members, old.discovery)
        self._joining = frozenset(self._new.acceptors) - frozenset(old.acceptors)
        self.touches_acceptors = set(self._new.acceptors) != set(old.acceptors)
        self._whole: dict[NodeId, Slot] = {}

    def on_whole(self, acceptor: NodeId, slot: Slot) -> None:
        """Note how far an acceptor is."""
        self._whole[acceptor] = max(slot, self._whole.get(acceptor, Slot(0)))

    def lacking(self, decided: Slot) -> tuple[NodeId, ...]:
        """Return the acceptors that are to be whole up to `decided` and are not known to be; none
        when enough are: every new one, and a quorum of the new members.
        """
        if not self.touches_acceptors:
            return ()
        whole = {a for a in self._new.acceptors if self._whole.get(a, Slot(0)) >= decided}
        if whole >= self._joining and self._new.is_quorum(whole):
            return ()
        return tuple(a for a in self._new.acceptors if a not in whole)

    @property
    def answered(self) -> bool:
        """Whether enough were whole up to where they were last asked about. More is decided
        meanwhile: who answers is a round trip behind, and near enough to go on.
        """
        return not self.lacking(self.asked)

    def out_of_time(self, now_ms: float) -> bool:
        """Tell whether this step has taken too long."""
        if self.step is Step.PROPOSED:
            return False
        longest = ASKING_MS_MAX if self.step is Step.ASKING else DRAINING_MS_MAX
        return now_ms - self.since_ms > longest

    def go_on(self, step: Step, now_ms: float) -> None:
        """Begin the next step."""
        self.step, self.since_ms = step, now_ms


def with_change(
    members: Members, message: ChangeMembers, epoch: int, joined: frozenset[NodeId]
) -> Change | None:
    """Return the change that was asked for; None when the members are so already.

    `joined` are the acceptors that have said that they would become members. Raises Refused.
    """
    node = message.node
    try:
        role = role_of(node)
        number, life = number_of(node), life_of(node)
        canonical = in_life(node_id(role, number), life) == node
        well_formed = 1 <= number <= NODES_MAX and life >= 0 and canonical
    except ValueError:
        role, well_formed = Role.DISCOVERY, False
    if not well_formed or role is Role.DISCOVERY:
        raise Refused(f"ERR {node!r} is no acceptor, proposer, learner or client")
    field = {
        Role.ACCEPTOR: "acceptors",
        Role.PROPOSER: "proposers",
        Role.LEARNER: "learners",
        Role.CLIENT: "gateways",
    }[role]
    nodes: tuple[NodeId, ...] = getattr(members, field)
    if (node in nodes) == message.add:
        return None
    addresses: dict[NodeId, Address] = dict(members.addresses)
    if message.add:
        there = [other for other in nodes if place_of(other) == place_of(node)]
        if there:
            raise Refused(f"ERR {there[0]} has the place of {node}: remove it first")
        if role is Role.ACCEPTOR and node not in joined:
            raise Refused(f"UNAVAILABLE {node} has not joined: it does not run, or has no volume")
        nodes = tuple(sorted((*nodes, node), key=number_of))
        if message.address is not None:
            addresses[place_of(node)] = message.address
    else:
        if len(nodes) == 1:
            raise Refused(f"ERR {node} is the last {role.value}: a cluster needs one")
        nodes = tuple(other for other in nodes if other != node)
        addresses.pop(place_of(node), None)
    changed = msgspec.structs.replace(members, **{field: nodes}, addresses=addresses)
    try:
        membership_of(changed, node_id(Role.DISCOVERY))
    except ValueError as error:
        raise Refused(f"ERR {error}") from error
    return Change(epoch=epoch + 1, members=changed)
