"""Which version of the messages a node speaks, and what each version knows.

Two nodes speak the older of what both can: `min` of the two. A change of a message keeps to one of
two ways, so that nodes of different versions can live in one cluster while it is upgraded:

- A field is appended, with a default. A message is an array, so an older node leaves the field
  unread, and a newer one finds the default where it is missing.
- A message is new, or goes to a role that did not know it. It is not sent to a node that speaks an
  older version: the sender must do without an answer, as it does when a message is lost.

Whatever cannot be had in these ways raises `WIRE_VERSION_MIN`, or is asked of certain peers by
`version_needed`: then the two refuse each other in the handshake, and say which must be upgraded.

Refuses to know what a message means; only the table below knows which there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from paxos.core import messages as m
from paxos.core.errors import ConfigurationError
from paxos.core.types import NodeId, Role, role_of

WIRE_VERSION = 3
"""The version of the messages in `core/messages.py`."""

WIRE_VERSION_MIN = 1
"""The oldest version with which this one can work together."""

CUT_VERSION = 2
"""Since this version proposers and learners know that an acceptor may have cut its log."""

MEMBERS_VERSION = 3
"""Since this version nodes know that the log may have changed who the members are."""

WIRE_VERSION_VARIABLE = "PAXOS_WIRE_VERSION"
"""Environment variable that holds a node back at an older version, for tests of upgrades alone."""

_KNOWN: dict[int, dict[Role, tuple[type[Any], ...]]] = {
    1: {
        Role.PROPOSER: (
            m.Submit,
            m.CanvassReply,
            m.Promise,
            m.Accepted,
            m.Nack,
            m.Abstain,
            m.Heartbeat,
            m.HeartbeatReply,
            m.Unstick,
            m.Tick,
            m.Book,
        ),
        Role.ACCEPTOR: (
            m.Canvass,
            m.Prepare,
            m.Accept,
            m.Heartbeat,
            m.AskHighest,
            m.AskVotes,
            m.AskValues,
            m.AskVolume,
            m.VolumeState,
            m.Book,
        ),
        Role.LEARNER: (
            m.Value,
            m.Accepted,
            m.Highest,
            m.Votes,
            m.Values,
            m.Subscribe,
            m.SubscribeOpening,
            m.Unsubscribe,
            m.Heartbeat,
            m.Read,
            m.StaleRead,
            m.Book,
        ),
        Role.CLIENT: (
            m.LeaderState,
            m.NotLeader,
            m.Results,
            m.SessionOpened,
            m.SessionUnknown,
            m.OutOfOrder,
            m.ReadResults,
            m.Book,
        ),
        Role.DISCOVERY: (m.Register, m.Book),
    },
    2: {
        Role.PROPOSER: (),
        Role.ACCEPTOR: (
            m.Reminder,
            m.SnapshotOffer,
            m.AskSnapshot,
            m.SnapshotPart,
            m.SnapshotKept,
            m.Votes,
            m.Values,
        ),
        Role.LEARNER: (m.AskSnapshot, m.SnapshotPart, m.SnapshotKept, m.AskBackup),
        Role.CLIENT: (m.BackupReady, m.SnapshotPart),
        Role.DISCOVERY: (),
    },
}
"""What each role understands since each version. What stands in none of them is as new as
`WIRE_VERSION`: so a message that somebody forgot here is held back, never sent to a stranger."""


def since(role: Role, kind: type[Any]) -> int:
    """Return the version since which a role understands a kind of message."""
    return next(
        (version for version in sorted(_KNOWN) if kind in _KNOWN[version][role]), WIRE_VERSION
    )


@cache
def known(role: Role, version: int) -> frozenset[type[Any]] | None:
    """Return what may be sent to a role that speaks `version`; None: all that there is."""
    if version >= WIRE_VERSION:
        return None
    return frozenset(kind for at in _KNOWN if at <= version for kind in _KNOWN[at][role])


def version_needed(peer: NodeId, *, cut: bool, changed: bool) -> int:
    """Return the version that a peer must speak with a node whose log is `cut`, or is not, and
    that knows of members who have `changed` since the founding, or does not.

    An older proposer overlooks `Promise.base`: it would take the slots that were cut off for
    empty and propose no-ops in them. An older learner can never get past them. Whoever counts
    quorums of the founding's acceptors when those are others now breaks safety (rule 11), and an
    older client node would send to nodes that are gone; discovery counts nothing.
    """
    if changed and role_of(peer) is not Role.DISCOVERY:
        return MEMBERS_VERSION
    if cut and role_of(peer) in (Role.PROPOSER, Role.LEARNER):
        return CUT_VERSION
    return WIRE_VERSION_MIN


def wire_version(environment: Mapping[str, str]) -> int:
    """Return the version to speak: `WIRE_VERSION`, or what the environment holds it back at.

    Raises ConfigurationError for a version that this program does not speak.
    """
    text = environment.get(WIRE_VERSION_VARIABLE, str(WIRE_VERSION))
    versions = {str(version): version for version in range(WIRE_VERSION_MIN, WIRE_VERSION + 1)}
    if text not in versions:
        raise ConfigurationError(
            f"{WIRE_VERSION_VARIABLE} = {text!r}: must be {WIRE_VERSION_MIN} to {WIRE_VERSION}"
        )
    return versions[text]


class Speaker:
    """One side of a link: who it is, what it speaks, and what it needs the other to speak."""

    __slots__ = ("needs", "node", "speaks")

    def __init__(self, node: str, speaks: int, needs: int) -> None:
        self.node = node
        self.speaks = speaks
        self.needs = needs


def disagreement(one: Speaker, other: Speaker) -> str | None:
    """Say why two nodes cannot talk and which of them must be upgraded; None: they can."""
    behind = one if one.speaks <= other.speaks else other
    needing = one if one.needs >= other.needs else other
    if behind.speaks >= needing.needs:
        return None
    return (
        f"{behind.node} speaks version {behind.speaks} of the messages between nodes, "
        f"{needing.node} needs version {needing.needs} or later: upgrade {behind.node}"
    )
