"""Which configuration is in force: how the log says it, and how a node knows.

A change of the members is a value of the log like any other (`Change`), marked by a byte with which
no other value begins. The leader proposes it when every earlier slot is decided and proposes
nothing after it until it is chosen, in slot s at ballot c. From slot s + 1 on the new members
count. That is the state machine that governs its own configuration ("Paxos Made Simple", section
3, with a window of one slot around a change). docs/adr/0003-membership.md argues the rest:

- *Who calls slots decided knows the configuration after them.* Messages that carry such a slot
  carry the sender's epoch; who knows only an older one asks for the configuration first, and
  leaves the message unread.
- *A vote counts for a slot after s when its ballot is c or higher.* Only who knows the change
  proposes there, at such a ballot; what an older one left there was proposed to other quorums.
- *Slots up to s are judged by what the new members hold*, once they know that they are members:
  before the change was proposed, a quorum of them, and every new acceptor, held what was chosen in
  every slot before s (`AskWhole`).

This module refuses to decide who shall be a member; proposer.py does what an operator asks.
"""

from __future__ import annotations

import msgspec

from .effects import Effect, Send
from .messages import Change, Configuration, Members
from .quorum import Membership
from .types import NO_BALLOT, NO_SLOT, Ballot, NodeId, Slot, place_of

MARK = b"\xc1"
"""The first byte of a change in the log: the one that msgpack never uses."""

HOST_CHARACTERS_MAX = 253
"""The longest name of a host."""

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Change)


def packed(change: Change) -> bytes:
    """Return a change as a slot's value."""
    return MARK + _encode(change)


def change_in(value: bytes) -> Change | None:
    """Return the change that a slot's value holds; None when it holds none that can be read."""
    if value[:1] != MARK:
        return None
    try:
        change = _decoder.decode(value[1:])
        membership_of(change.members, NodeId("discovery"))
    except (ValueError, RecursionError):
        return None
    return change


def membership_of(members: Members, discovery: NodeId) -> Membership:
    """Return members as roles use them. Raises ValueError for what is no membership, and for an
    address that cannot be one.
    """
    for node, (host, *ports) in members.addresses.items():
        good = 0 < len(host) <= HOST_CHARACTERS_MAX and all(0 < port < 65_536 for port in ports)
        if not good:
            raise ValueError(f"{node} cannot be at {host[:40]!r}, ports {ports}")
    return Membership(
        acceptors=members.acceptors,
        proposers=members.proposers,
        learners=members.learners,
        gateways=members.gateways,
        discovery=discovery,
    )


def members_of(membership: Membership) -> Members:
    """Return the members of a founding."""
    return Members(
        acceptors=membership.acceptors,
        proposers=membership.proposers,
        learners=membership.learners,
        gateways=membership.gateways,
    )


class View:
    """The newest configuration that one node knows; that of the founding has epoch 0."""

    def __init__(self, founding: Membership, known: Configuration | None = None) -> None:
        self.configuration = Configuration(
            epoch=0, slot=NO_SLOT, ballot=NO_BALLOT, members=members_of(founding)
        )
        self.membership = founding
        if known is not None:
            self.adopt(known)

    @property
    def epoch(self) -> int:
        """Which configuration it is: each change counts one up."""
        return self.configuration.epoch

    @property
    def slot(self) -> Slot:
        """The slot that decided it."""
        return self.configuration.slot

    @property
    def ballot(self) -> Ballot:
        """At which ballot, or above."""
        return self.configuration.ballot

    def adopt(self, configuration: Configuration) -> bool:
        """Take a configuration in; tell whether it is newer than the one that was known.

        What is no configuration at all is left alone: it came over a link, and no log decided it.
        """
        if configuration.epoch <= self.epoch:
            return False
        try:
            membership = membership_of(configuration.members, self.membership.discovery)
        except ValueError:
            return False
        self.configuration, self.membership = configuration, membership
        return True

    def told(self, peer: NodeId) -> list[Effect]:
        """Tell a node which configuration this is, once there was a change."""
        return [Send(to=(peer,), message=self.configuration)] if self.epoch else []

    def successor(self, node: NodeId) -> NodeId | None:
        """Return the member that has the place of a node that is none itself."""
        place = place_of(node)
        nodes = self.membership.nodes
        return next((n for n in nodes if n != node and place_of(n) == place), None)
