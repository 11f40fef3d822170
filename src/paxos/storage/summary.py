"""What the records of a volume add up to: the running state behind `Recovered`.

Every engine passes each record through `Summary.absorb` twice in its life: before it is
written, and when the volume is read again (check on write and again on read). It refuses to
know about files or checksums.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from paxos.core.effects import (
    AcceptedEntry,
    AnyRecord,
    Configured,
    Counted,
    Cut,
    Promised,
    Recovered,
    SnapshotInfo,
    Stamped,
)
from paxos.core.errors import LocalProtocolError
from paxos.core.messages import Configuration
from paxos.core.types import NO_BALLOT, NO_SLOT, Ballot, Slot

NUMBER_MAX = 2**63 - 1
"""The highest slot, ballot or counter that an engine has to store (a signed 64-bit integer)."""

OPEN = "open"
"""The phase of a volume that belongs to a living cluster; its identity is final."""


def with_snapshot(
    recovered: Recovered, snapshot: SnapshotInfo | None, damage: str | None = None
) -> Recovered:
    """Return what a volume knew, log and snapshots together (rule 9: what was cut off is in a
    snapshot). `damage` says what is wrong with the newest snapshot.
    """
    if recovered.damage is not None:
        return recovered
    if damage is None and (snapshot is None or snapshot.slot < recovered.base):
        if recovered.base:
            damage = (
                f"slots up to {recovered.base} were cut off and the snapshot that holds them "
                "is missing"
            )
    elif damage is None and recovered.stamp is None:
        damage = "there is a snapshot, and the log that it belongs to is missing"
    if damage is not None:
        return Recovered(damage=damage)
    return msgspec.structs.replace(recovered, snapshot=snapshot)


class Summary:
    """Stamp, promise, counter, decided slot, base and configuration after the records absorbed so
    far.
    """

    __slots__ = ("base", "configuration", "counter", "decided", "promised", "stamp")

    def __init__(self) -> None:
        self.stamp: Stamped | None = None
        self.promised: Ballot = NO_BALLOT
        self.counter: int = 0
        self.decided: Slot = NO_SLOT
        self.base: Slot = NO_SLOT
        self.configuration: Configuration | None = None

    def absorb(self, record: AnyRecord) -> None:
        """Take a record in; all numbers only ever rise.

        Raises LocalProtocolError for what no correct node writes: any other record on a volume
        that has no stamp yet (rule 8), a second identity, a number out of 1..`NUMBER_MAX`.
        """
        if self.stamp is None and not isinstance(record, Stamped):
            raise LocalProtocolError(f"a {type(record).__name__} on a volume without a stamp")
        match record:
            case AcceptedEntry(slot=slot, ballot=ballot, decided=decided):
                if not 1 <= slot <= NUMBER_MAX or not 1 <= ballot <= NUMBER_MAX:
                    raise LocalProtocolError(f"slot {slot} at ballot {ballot} is out of bounds")
                if ballot > self.promised:
                    self.promised = ballot
                if decided > self.decided:
                    self.decided = decided
            case Promised(ballot=ballot):
                if not 1 <= ballot <= NUMBER_MAX:
                    raise LocalProtocolError(f"ballot {ballot} is out of bounds")
                if ballot > self.promised:
                    self.promised = ballot
            case Counted(counter=counter):
                if not 1 <= counter <= NUMBER_MAX:
                    raise LocalProtocolError(f"counter {counter} is out of bounds")
                if counter > self.counter:
                    self.counter = counter
            case Cut(slot=slot):
                if not 1 <= slot <= NUMBER_MAX:
                    raise LocalProtocolError(f"a cut of slot {slot} is out of bounds")
                if slot > self.base:
                    self.base = slot
                # Only what is decided is ever cut off.
                if slot > self.decided:
                    self.decided = slot
            case Configured(configuration=configuration):
                if not 1 <= configuration.epoch <= NUMBER_MAX:
                    raise LocalProtocolError(f"epoch {configuration.epoch} is out of bounds")
                if self.configuration is None or configuration.epoch > self.configuration.epoch:
                    self.configuration = configuration
                if configuration.slot > self.decided:
                    self.decided = configuration.slot
            case Stamped():
                self._restamp(record)
            case _:
                assert_never(record)

    def _restamp(self, stamp: Stamped) -> None:
        """While founding, the cluster may still change; once open, the identity is final."""
        old = self.stamp
        if old is not None:
            if stamp.node != old.node:
                raise LocalProtocolError(f"the volume of {old.node} stamped for {stamp.node}")
            if old.phase == OPEN and stamp != old:
                raise LocalProtocolError(
                    f"the open volume of cluster {old.cluster} stamped again as {stamp.phase} "
                    f"of cluster {stamp.cluster}"
                )
        self.stamp = stamp

    def recovered(self, *, repaired: str | None = None) -> Recovered:
        """Return what an undamaged volume knew; `repaired` is passed on."""
        return Recovered(
            stamp=self.stamp,
            promised=self.promised,
            counter=self.counter,
            decided=self.decided,
            base=self.base,
            repaired=repaired,
            configuration=self.configuration,
        )

    def copy(self) -> Summary:
        """Return an independent copy."""
        other = Summary()
        other.stamp, other.promised = self.stamp, self.promised
        other.counter, other.decided = self.counter, self.decided
        other.base, other.configuration = self.base, self.configuration
        return other
