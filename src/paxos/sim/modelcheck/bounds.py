"""The named worlds: how much may happen in each.

A world is small on purpose, and everything that can happen within its bounds is looked at. Loss,
duplication and reordering of messages have no bound anywhere: see `moves`.
"""

from __future__ import annotations

import msgspec

from paxos.core.errors import ConfigurationError
from paxos.core.settings import Limits

VOTING = ("Prepare", "Promise", "Accept", "Accepted", "Nack", "Value")
"""The messages that safety rests on. A world loses every other kind, always: loss is legal, so
this only leaves out some behaviours."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """One world. Counts are the most that may happen in one history.

    `candidacies` is one number per proposer. `submits` are the batches that clients hand to
    each leadership; no slot above `slots` is proposed for a client. `delivered` names the kinds
    of messages that can arrive. `canvass_messages`: a canvass is sent and answered message by
    message; otherwise a quorum answers it at one moment. `gives_up`: a candidate or leader may
    lose patience, as when nobody answers. `turns`: an acceptor may handle two messages before
    it syncs. `links`: the links to acceptors close and open at any time. `beats`:
    heartbeats of a leader after its first. `crashes` of any node, `losses` of an acceptor's
    volume (blank afterwards) and `damages` (found damaged). `stuck`: calls for help by the
    learner, each after it has heard at most `heard_before_call` messages; it then starts again.
    `heard_max`: how many messages are played to the learner when what it applies is looked at;
    None: all. `symmetric`: no acceptor's state names another acceptor. `quick`: one of the
    worlds of `--quick`.
    """

    name: str
    about: str
    candidacies: tuple[int, ...] = (1, 1)
    acceptors: int = 3
    slots: int = 1
    submits: int = 1
    crashes: int = 0
    losses: int = 0
    damages: int = 0
    stuck: int = 0
    heard_max: int | None = None
    heard_before_call: int = 1
    gives_up: bool = False
    turns: bool = False
    links: bool = False
    beats: int = 0
    canvass_messages: bool = False
    symmetric: bool = True
    delivered: tuple[str, ...] = VOTING
    limits: Limits = Limits()
    quick: bool = False


WORLDS: tuple[Bounds, ...] = (
    Bounds(
        name="one-leader",
        about="two slots; only proposer-1 stands, once",
        candidacies=(1, 0),
        slots=2,
        submits=2,
        quick=True,
    ),
    Bounds(
        name="one-slot",
        about="one slot; each proposer stands once",
        quick=True,
    ),
    Bounds(
        name="one-slot-one-crash",
        about="one slot; each proposer stands once; one crash of any node at any moment",
        crashes=1,
        quick=True,
    ),
    Bounds(
        name="comeback",
        about="two slots; only proposer-1 stands, twice; one crash of any node",
        candidacies=(2, 0),
        slots=2,
        crashes=1,
        heard_max=4,
        quick=True,
    ),
    Bounds(
        name="gaps",
        about="two slots; only proposer-1 stands; the learner asks what was voted in all slots",
        candidacies=(1, 0),
        slots=2,
        submits=2,
        stuck=1,
        heard_max=4,
        delivered=(*VOTING, "AskVotes", "Votes"),
        quick=True,
    ),
    Bounds(
        name="links",
        about="one slot; links of proposers and learner to acceptors close and open at will",
        links=True,
        quick=True,
    ),
    Bounds(
        name="shared-sync",
        about="one slot; an acceptor may handle two messages before it syncs; one crash",
        turns=True,
        crashes=1,
        quick=True,
    ),
    Bounds(
        name="lost-volume",
        about="one slot; an acceptor loses its volume",
        losses=1,
        symmetric=False,
        delivered=(*VOTING, "AskVolume", "VolumeState"),
        quick=True,
    ),
    Bounds(
        name="damaged-volume",
        about="one slot; an acceptor finds its volume damaged",
        damages=1,
        symmetric=False,
        delivered=(*VOTING, "AskVolume", "VolumeState"),
        quick=True,
    ),
    Bounds(
        name="canvass",
        about="one slot; canvasses are answered message by message",
        canvass_messages=True,
        delivered=(*VOTING, "Canvass", "CanvassReply"),
        quick=True,
    ),
    Bounds(
        name="heartbeats",
        about="two slots; heartbeats tell acceptors, proposers and the learner what is decided",
        slots=2,
        beats=1,
        heard_max=4,
        delivered=(*VOTING, "Heartbeat"),
    ),
    Bounds(
        name="three-ballots",
        about="one slot; proposer-1 stands twice, proposer-2 once",
        candidacies=(2, 1),
        heard_max=4,
    ),
    Bounds(
        name="stuck-learner",
        about="one slot; the learner asks the leader to see it decided; one heartbeat more each",
        beats=1,
        stuck=1,
        heard_max=5,
        delivered=(*VOTING, "Unstick", "Heartbeat"),
    ),
    Bounds(
        name="narrow-window",
        about="two slots, but only one of them may be open at a time",
        slots=2,
        submits=2,
        heard_max=4,
        limits=Limits(slots_inflight_max=1),
    ),
    Bounds(
        name="impatience",
        about="one slot; candidates and leaders may give up unanswered; proposer-1 stands twice",
        candidacies=(2, 1),
        gives_up=True,
        heard_max=4,
    ),
    Bounds(
        name="catching-up",
        about="one slot; the leaders' values never reach the learner, which asks the acceptors",
        stuck=1,
        heard_before_call=2,
        heard_max=5,
        symmetric=False,
        delivered=(
            *(kind for kind in VOTING if kind != "Value"),
            *("AskVotes", "Votes", "AskValues", "Values"),
        ),
    ),
    Bounds(
        name="promises-in-parts",
        about="two slots; promises come in parts of one slot each",
        slots=2,
        submits=2,
        heard_max=4,
        limits=Limits(catchup_bytes_max=1),
    ),
    Bounds(
        name="two-slots",
        about="two slots, two batches for each leadership; each proposer stands once",
        slots=2,
        submits=2,
        heard_max=4,
    ),
    Bounds(
        name="three-ballots-one-crash",
        about="one slot; proposer-1 stands twice, proposer-2 once; one crash of any node",
        candidacies=(2, 1),
        crashes=1,
        heard_max=4,
    ),
    Bounds(
        name="two-slots-one-crash",
        about="two slots, two batches for each leadership; each proposer stands once; a crash",
        slots=2,
        submits=2,
        crashes=1,
        heard_max=4,
    ),
)


def world_named(name: str) -> Bounds:
    """Return a world by its name. Raises ConfigurationError when there is none of that name."""
    for bounds in WORLDS:
        if bounds.name == name:
            return bounds
    names = ", ".join(bounds.name for bounds in WORLDS)
    raise ConfigurationError(f'world "{name}": must be one of {names}')
