"""What must hold in every state, besides what the watchers check at every step.

Nothing that was ever sent is forgotten, so the messages are the history: a vote that was sent once
counts for ever, however often its acceptor crashes. Quorums are counted here from the world's own
number of acceptors, and not by asking the code under test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from paxos.core.acceptor import Acceptor
from paxos.core.learner import Learner
from paxos.core.messages import (
    Accept,
    Accepted,
    AnyMessage,
    CanvassReply,
    Heartbeat,
    Nack,
    Prepare,
    Promise,
)
from paxos.core.types import Ballot, Slot

from .live import Live
from .words import value_text

Place: TypeAlias = tuple[Slot, Ballot]

CHOSEN = "a value is chosen"
COMPETING = "two ballots compete for a slot"
REPROPOSED = "a second leader proposes a chosen value again"
FEATS = (CHOSEN, COMPETING, REPROPOSED)
"""What must happen somewhere in a world that is worth looking at."""


NOTHING: frozenset[str] = frozenset()


def acceptor_fault(live: Live, told: Iterable[AnyMessage]) -> str | None:
    """Say what an acceptor that votes no longer knows of what it once told (rules 3 and 8)."""
    role = live.role
    if not isinstance(role, Acceptor) or not role.voting:
        return None
    for message in told:
        match message:
            case Promise(ballot=ballot) if role.promised < ballot:
                return f"an acceptor told that it promised {ballot}, and now says {role.promised}"
            case Nack(promised=ballot) if role.promised < ballot:
                return f"an acceptor told that it promised {ballot}, and now says {role.promised}"
            case Accepted(ballot=ballot, slot=slot):
                if role.promised < ballot:
                    return f"an acceptor voted at {ballot}, and its promise is {role.promised}"
                votes = role.log.votes(slot, slot)
                if not votes or votes[0][1] < ballot:
                    return f"an acceptor told that it voted for slot {slot} at {ballot}; forgotten"
            case _:
                pass
    return None


def proposals(told: Iterable[AnyMessage]) -> tuple[dict[Place, bytes], str | None]:
    """Return what a proposer has proposed, and what is wrong with it: two values for one slot and
    ballot, or a slot that it left out (rule 4).
    """
    values: dict[Place, bytes] = {}
    firsts: dict[Ballot, Slot] = {}
    for message in told:
        match message:
            case Accept(ballot=ballot, slot=slot, value=value):
                if values.setdefault((slot, ballot), value) != value:
                    return values, f"two values for slot {slot} at ballot {ballot}"
            case Prepare(ballot=ballot, first=first, last=0):
                firsts[ballot] = first
            case _:
                pass
    for slot, ballot in values:
        for earlier in range(firsts.get(ballot, slot), slot):
            if (Slot(earlier), ballot) not in values:
                return values, f"ballot {ballot} proposed slot {slot} and left out slot {earlier}"
    return values, None


def ballots(told: Iterable[AnyMessage]) -> list[Ballot]:
    """Return the ballots that a proposer used."""
    return [message.ballot for message in told if isinstance(message, Prepare | Accept)]


def decided(live: Live, told: Iterable[AnyMessage]) -> Slot:
    """Return the highest slot that a node takes for decided, or ever told to be. Who prepares all
    slots from one on takes those before it for decided (rule 4).
    """
    claims = [0 if isinstance(live.role, Learner) else live.role.decided]
    for message in told:
        match message:
            case Accept() | Heartbeat() | CanvassReply():
                claims.append(message.decided)
            case Prepare(first=first, last=0):
                claims.append(first - 1)
            case _:
                pass
    return Slot(max(claims))


def votes_of(told: Iterable[AnyMessage]) -> frozenset[Place]:
    """Return what an acceptor voted for."""
    return frozenset((m.slot, m.ballot) for m in told if isinstance(m, Accepted))


def judged(
    votes: Iterable[frozenset[Place]],
    proposed: Mapping[Place, bytes],
    applied: Iterable[bytes],
    decided: Slot,
    quorum: int,
) -> tuple[str | None, frozenset[str]]:
    """Return what is wrong with a whole state, and its feats. `decided` is the highest slot that
    any node takes for decided.

    One value per slot, for ever ("only a single value is chosen", Paxos Made Simple, section 2);
    "every higher-numbered proposal issued by any proposer has value v" (P2b); what a learner has
    applied was chosen, and so was whatever anybody takes for decided.
    """
    counts: dict[Place, int] = {}
    for places in votes:
        for place in sorted(places):
            counts[place] = counts.get(place, 0) + 1
    chosen: dict[Slot, bytes] = {}
    feats: set[str] = set()
    for slot, ballot in sorted(place for place, count in counts.items() if count >= quorum):
        feats.add(CHOSEN)
        value = proposed.get((slot, ballot), b"?")
        first = value_text(chosen.setdefault(slot, value))
        if chosen[slot] != value:
            return f"slot {slot}: {first} was chosen, and {value_text(value)} as well", NOTHING
        for (other, higher), proposal in sorted(proposed.items()):
            if other == slot and higher > ballot:
                feats.add(REPROPOSED)
                if proposal != value:
                    rival = f"ballot {higher} proposes {value_text(proposal)}"
                    return (
                        f"slot {slot}: {first} is chosen at ballot {ballot}, and {rival}",
                        NOTHING,
                    )
    seen: dict[Slot, Ballot] = {}
    for slot, ballot in sorted({*counts, *proposed}):
        if seen.setdefault(slot, ballot) != ballot:
            feats.add(COMPETING)
    for number in range(1, decided + 1):
        if Slot(number) not in chosen:
            return f"slot {number} is taken for decided, and nothing is chosen there", NOTHING
    for number, value in enumerate(applied, 1):
        right = chosen.get(Slot(number))
        if right != value:
            what = "nothing" if right is None else value_text(right)
            wrong = f"the learner applied {value_text(value)} in slot {number}"
            return f"{wrong}, where {what} is chosen", NOTHING
    return None, frozenset(feats)
