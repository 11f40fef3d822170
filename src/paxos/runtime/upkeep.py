"""What an operator is told of a node's snapshots and log, in figures and in one sentence.

Made from a role's status alone. How long a snapshot has been there is for the runtime to say: it
looks again and again, and a `Sighting` remembers. The sentence answers what people ask: could the
log be shorter, and if so, who holds it back?
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from paxos.core.acceptor import AcceptorStatus
from paxos.core.learner import LearnerStatus
from paxos.core.quorum import Membership
from paxos.core.settings import Limits
from paxos.core.types import NodeId, Slot, number_of

OVERDUE = 2
"""A log that has grown to so many times what it should before a snapshot is worth a warning."""

_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


class AcceptorUpkeep(msgspec.Struct, frozen=True, kw_only=True):
    """An acceptor's upkeep, as far as its status does not say it already.

    A quorum keeps a snapshot of `kept_slot` or later. The log holds `log_slots` slots, of which
    `cuttable_slots` could go by what a quorum keeps. At least `missing_slots` decided slots are
    not here. `snapshot_age_s` is for how long the newest snapshot has been here, None when it was
    there before the node started, or there is none. `held_back` tells that `text`, a sentence, says
    what keeps the log from being cut.
    """

    kept_slot: Slot
    log_slots: int
    cuttable_slots: int
    missing_slots: int
    snapshot_age_s: float | None
    held_back: bool
    text: str


class LearnerUpkeep(msgspec.Struct, frozen=True, kw_only=True):
    """A learner's upkeep, as far as its status does not say it already.

    It takes the next snapshot when the log has grown by `due_bytes` or `due_slots` since the newest
    one. `snapshot_age_s` is for how long a quorum has kept the newest, None when that was before
    this learner could see it, or there is none. `held_back` and `text` are as an acceptor's.
    """

    due_bytes: int
    due_slots: int
    snapshot_age_s: float | None
    held_back: bool
    text: str


class Sighting:
    """Since when a snapshot has been seen. `slot` is the one that was there at the beginning."""

    __slots__ = ("_since_s", "_slot")

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._since_s: float | None = None

    def note(self, slot: Slot, now_s: float, *, witnessed: bool) -> None:
        """Note which one is there now. `witnessed`: another one cannot have come long ago."""
        if slot != self._slot:
            self._slot = slot
            self._since_s = now_s if witnessed else None

    def age_s(self, now_s: float) -> float | None:
        """Return for how long it has been there in seconds; None where nobody saw it come."""
        return None if self._since_s is None else round(max(0.0, now_s - self._since_s), 1)


def acceptor_upkeep(
    node: NodeId,
    status: AcceptorStatus,
    membership: Membership,
    limits: Limits,
    *,
    age_s: float | None,
    volume_bytes: int | None,
) -> AcceptorUpkeep:
    """Return an acceptor's upkeep. `volume_bytes` is what its volume takes, None if not known."""
    keeping = status.keeping
    quorum_slot = kept_by_quorum(keeping.kept.values(), membership)
    log_slots = max(0, status.highest_slot - keeping.base)
    here = keeping.snapshot_slot
    newest = max(keeping.kept.values(), default=Slot(0))
    # Before the first snapshot the whole volume is log; later nobody here counts its bytes.
    log_bytes = volume_bytes if not newest and volume_bytes is not None else 0
    grown = _grown(log_bytes, limits.snapshot_log_bytes, log_slots, limits.snapshot_log_slots)
    overdue = (
        log_bytes > OVERDUE * limits.snapshot_log_bytes
        or log_slots > OVERDUE * limits.snapshot_log_slots
    )
    held_back = True
    if quorum_slot > max(here, keeping.base):
        text = f"{_keeps_no_newer(node, here)} (a quorum does: the others cut without it)"
        if keeping.incoming_bytes:
            text += f"; one is coming in: {progress(keeping.incoming, keeping.incoming_bytes)}"
    elif quorum_slot > keeping.base:
        text, held_back = f"the log is being cut up to slot {quorum_slot:,}", False
    elif newest > max(quorum_slot, keeping.base):
        text = _too_few(keeping.kept, newest, membership)
    elif overdue:
        text = f"{_no_snapshot(keeping.base)}, though {grown}: look whether a learner is up"
    elif not newest:
        text, held_back = f"no snapshot yet: {grown}", False
    else:
        text = _laggards(keeping.kept, quorum_slot, membership)
        text, held_back = text or f"nothing holds it back: {grown} since slot {newest:,}", False
    return AcceptorUpkeep(
        kept_slot=quorum_slot,
        log_slots=log_slots,
        cuttable_slots=max(0, quorum_slot - keeping.base),
        missing_slots=max(0, status.decided - max(status.highest_slot, keeping.base)),
        snapshot_age_s=age_s if here else None,
        held_back=held_back,
        text=text,
    )


def learner_upkeep(
    node: NodeId,
    status: LearnerStatus,
    membership: Membership,
    limits: Limits,
    *,
    age_s: float | None,
) -> LearnerUpkeep:
    """Return a learner's upkeep."""
    own = status.snapshots
    # The first learner takes snapshots, the next ones wait for half as long again each.
    halves = number_of(node) + 1
    due_bytes = max(limits.snapshot_log_bytes, own.taken_bytes) * halves // 2
    due_slots = limits.snapshot_log_slots * halves // 2
    grown = _grown(own.log_bytes, due_bytes, max(0, own.log_slots), due_slots)
    held_back = False
    if own.restoring_bytes:
        text = restoring(own.restored_bytes, own.restoring_bytes)
    elif own.taking:
        text = f"a snapshot is being taken: {grown}"
    elif own.taken_slot > own.kept_slot:
        text, held_back = _too_few(own.kept, own.taken_slot, membership), True
    elif own.log_bytes > OVERDUE * due_bytes or own.log_slots > OVERDUE * due_slots:
        text = f"{_no_snapshot(own.kept_slot)}, though {grown}: the log of each learner says why"
        held_back = True
    elif not own.kept_slot:
        text = f"no snapshot yet: {grown}"
    else:
        text = _laggards(own.kept, own.kept_slot, membership)
        text = text or f"nothing holds it back: {grown} since slot {own.kept_slot:,}"
    return LearnerUpkeep(
        due_bytes=due_bytes,
        due_slots=due_slots,
        snapshot_age_s=age_s if own.kept_slot else None,
        held_back=held_back,
        text=text,
    )


def kept_by_quorum(kept: Iterable[Slot], membership: Membership) -> Slot:
    """Return the newest slot whose snapshot, or a later one, a quorum keeps; 0 for none."""
    slots = sorted(kept, reverse=True)
    needed = membership.quorum_size
    return slots[needed - 1] if len(slots) >= needed else Slot(0)


def restoring(done_bytes: int, size_bytes: int) -> str:
    """Say how far a learner has come with a snapshot that it gets; `size_bytes` 0: not known."""
    if not size_bytes:
        return "waiting for a snapshot from an acceptor"
    return f"restoring a snapshot: {progress(done_bytes, size_bytes)}"


def progress(done_bytes: int, size_bytes: int) -> str:
    """Return `3.1 of 12 MiB`, in the unit that suits the whole."""
    name, unit = next((one for one in _UNITS if size_bytes >= one[1]), ("bytes", 1))
    return f"{_figure(done_bytes / unit)} of {_figure(size_bytes / unit)} {name}"


def _figure(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 10 or amount == int(amount) else f"{amount:.1f}"


def _grown(grown_bytes: int, due_bytes: int, grown_slots: int, due_slots: int) -> str:
    """Say how far the log has grown, by the measure that will call for a snapshot first."""
    by_bytes = progress(grown_bytes, due_bytes)
    by_slots = f"{grown_slots:,} of {due_slots:,} slots"
    sooner = by_bytes if grown_bytes * due_slots > grown_slots * due_bytes else by_slots
    return f"the log has grown by {sooner}"


def _no_snapshot(since: Slot) -> str:
    return f"no snapshot since slot {since:,}" if since else "no snapshot yet"


def _keeps_no_newer(who: str, slot: Slot) -> str:
    return f"{who} keeps no snapshot" + (f" newer than slot {slot:,}" if slot else "")


def _too_few(kept: Mapping[NodeId, Slot], slot: Slot, membership: Membership) -> str:
    """Say who keeps the snapshot of a slot when they are too few for the log to be cut."""
    keepers = [a for a in membership.acceptors if kept.get(a, 0) >= slot]
    needed = membership.quorum_size
    if not keepers:
        return f"no acceptor keeps the snapshot of slot {slot:,} yet: {needed} are needed"
    verb = "keeps" if len(keepers) == 1 else "keep"
    names = " and ".join(keepers)
    return f"only {names} {verb} the snapshot of slot {slot:,}: {needed} are needed"


def _laggards(kept: Mapping[NodeId, Slot], slot: Slot, membership: Membership) -> str:
    """Say which acceptors keep nothing as new as what a quorum does; empty when all do."""
    behind = [a for a in membership.acceptors if kept.get(a, 0) < slot]
    if not behind:
        return ""
    them = "it" if len(behind) == 1 else "them"
    who = ", ".join(_keeps_no_newer(a, kept.get(a, Slot(0))) for a in behind)
    return f"{who} (a quorum does: the others cut without {them})"
