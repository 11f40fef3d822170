"""Messages, values, events and crashes of a small world in a few words each."""

from __future__ import annotations

import msgspec

from paxos.core.messages import (
    Accept,
    Accepted,
    AcceptedValue,
    AnyMessage,
    CanvassReply,
    Envelope,
    Nack,
    Prepare,
    Promise,
    Unstick,
    Value,
    Values,
    Votes,
)

from .events import Crash, Deliver, Event, Fire, GiveUp, Link, Offer, Stand, Turn
from .mail import Mail


def value_text(value: bytes) -> str:
    """Return a slot's value as the client's batches in it."""
    if not value:
        return "no-op"
    try:
        envelope = msgspec.msgpack.decode(value, type=Envelope)
    except msgspec.MsgspecError:
        return repr(value)
    return "+".join(batch.decode() for batch in envelope.batches) or "no-op"


def _accepted(values: list[AcceptedValue]) -> str:
    return (
        ", ".join(f"slot {v.slot}: {v.ballot} {value_text(v.value)}" for v in values) or "nothing"
    )


def message_text(message: AnyMessage) -> str:
    """Return a message in the paper's words."""
    match message:
        case Prepare(ballot=ballot, first=first, last=last):
            return f"Prepare({ballot}, slots {first}..{last or ''})"
        case Promise(ballot=ballot, begin=begin, end=end, accepted=accepted):
            return f"Promise({ballot}, slots {begin}..{end or ''}: {_accepted(accepted)})"
        case Accept(ballot=ballot, slot=slot, value=value, decided=decided):
            decided_text = f", decided {decided}" if decided else ""
            return f"Accept({ballot}, slot {slot}, {value_text(value)}{decided_text})"
        case Accepted(ballot=ballot, slot=slot):
            return f"Accepted({ballot}, slot {slot})"
        case Nack(ballot=ballot, promised=promised):
            return f"Nack({ballot}, promised {promised})"
        case Value(ballot=ballot, slot=slot, value=value):
            return f"Value({ballot}, slot {slot}, {value_text(value)})"
        case Values(values=values):
            return f"Values({_accepted(values)})"
        case Votes(votes=votes):
            return f"Votes({', '.join(f'slot {s}: {b}' for s, b in votes) or 'none'})"
        case Unstick(first=first, last=last):
            return f"Unstick(slots {first}..{last})"
        case CanvassReply(round=round_, promised=promised, decided=decided):
            return f"CanvassReply({round_}, promised {promised}, decided {decided})"
        case _:
            fields = ", ".join(str(getattr(message, name)) for name in message.__struct_fields__)
            return f"{type(message).__name__}({fields})"


def event_text(event: Event, mail: Mail) -> str:
    """Return an event as what happens to the node."""
    match event:
        case Deliver(sender=sender, item=item):
            return f"< {message_text(mail.messages[item])} from {sender}"
        case Turn(first=first, second=second):
            return f"{event_text(first, mail)}, and in the same turn {event_text(second, mail)}"
        case Offer(ballot=ballot, sequence=sequence):
            return f"a client's batch {ballot}{'abcdefgh'[sequence - 1]} arrives"
        case Stand(replies=replies):
            return f"stands for election; {' and '.join(r.acceptor for r in replies)} would follow"
        case Link(peer=peer, opens=opens):
            return f"the link to {peer} {'opens' if opens else 'closes'}"
        case Fire(timer=timer):
            return f"the {timer} timer fires"
        case GiveUp(timer="gap"):
            return "has missed a slot for a while"
        case GiveUp(timer=timer):
            return f"the {timer} timer fires until patience ends"


def crash_text(crash: Crash) -> str:
    """Return how a node crashed."""
    match crash.when:
        case "unsynced" if crash.kept:
            return f"crashes before the sync, the disk keeps {crash.kept} record(s); starts again"
        case "unsynced":
            return "crashes before the sync; starts again"
        case "synced":
            return "crashes after the sync, before anything is sent; starts again"
        case "lost":
            return "crashes and loses its volume; starts again on a blank one"
        case "damaged":
            return "crashes and finds its volume damaged; starts again"
        case _:
            return "crashes; starts again"
