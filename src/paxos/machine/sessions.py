"""Sessions: each batch of a gateway takes effect at most once, and in order (DESIGN rule 6).

A gateway has one session at a time, named by the slot that opened it. Its batches are numbered
from 1 without gaps; one that comes again (a retry through another leader, a slot proposed
twice) is answered with what it was answered the first time. This is the client table of
"Viewstamped Replication Revisited", section 4.1, kept in the log's state so that it survives
failover and replay.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from paxos.core.messages import (
    Batch,
    OpenSession,
    OutOfOrder,
    Results,
    SessionOpened,
    SessionUnknown,
)
from paxos.core.types import NodeId, Slot

RESULTS_KEPT_MAX = 1024
"""How many unacknowledged batches' results a session keeps; far more than gateways have open."""

RESULTS_KEPT_BYTES_MAX = 64 * 1024 * 1024
"""About how many bytes they may take; the newest is kept whatever its size."""


class Session:
    """What the log knows of one gateway's session."""

    __slots__ = ("bytes_kept", "gateway", "last", "nonce", "results", "slot")

    def __init__(self, gateway: NodeId, nonce: int, slot: Slot) -> None:
        self.gateway = gateway
        self.nonce = nonce
        self.slot = slot
        """The session's id: the slot that opened it."""
        self.last = 0
        """The sequence of the last batch that was applied."""
        self.results: deque[Results] = deque()
        """Results of the batches up to `last`, without gaps; the gateway may still want them."""
        self.bytes_kept = 0

    def result(self, sequence: int) -> Results | None:
        """Return the results of a batch while they are kept."""
        at = len(self.results) - 1 - (self.last - sequence)
        return self.results[at] if 0 <= at < len(self.results) else None

    def keep(self, results: Results, acknowledged: int) -> None:
        """Take in the results of the next batch; forget those that reached the gateway.

        Those past the limits are forgotten too, oldest first.
        """
        self.last = results.sequence
        kept = self.results
        kept.append(results)
        self.bytes_kept += len(results.results)
        while len(kept) > 1 and (
            kept[0].sequence <= acknowledged
            or len(kept) > RESULTS_KEPT_MAX
            or self.bytes_kept > RESULTS_KEPT_BYTES_MAX
        ):
            self.bytes_kept -= len(kept.popleft().results)

    def restore(self, results: Results) -> None:
        """Take in the next of the results that a session of the same `last` kept.

        Raises ValueError when they cannot be.
        """
        before = self.results[-1].sequence if self.results else results.sequence - 1
        if results.sequence != before + 1 or not 0 < results.sequence <= self.last:
            raise ValueError(f"results of batch {results.sequence} after {before} of {self.last}")
        self.results.append(results)
        self.bytes_kept += len(results.results)


class Sessions:
    """The current session of every gateway that ever opened one."""

    __slots__ = ("_current",)

    def __init__(self) -> None:
        self._current: dict[NodeId, Session] = {}

    def __len__(self) -> int:
        return len(self._current)

    def open(self, slot: Slot, opening: OpenSession) -> SessionOpened:
        """Open a session, ending the gateway's older one; the same nonce again changes nothing."""
        session = self._current.get(opening.gateway)
        if session is None or session.nonce != opening.nonce:
            session = Session(opening.gateway, opening.nonce, slot)
            self._current[opening.gateway] = session
        return SessionOpened(nonce=session.nonce, session=session.slot)

    def admit(self, batch: Batch) -> Session | SessionUnknown | OutOfOrder | Results | None:
        """Return the session when the batch is to be applied now, else what to answer, if anything.

        None: it was applied before, and its results are kept no more.
        """
        session = self._current.get(batch.gateway)
        if session is None or session.slot != batch.session:
            return SessionUnknown(session=batch.session)
        expected = session.last + 1
        if batch.sequence == expected:
            return session
        if batch.sequence > expected:
            return OutOfOrder(session=session.slot, sequence=batch.sequence, expected=expected)
        return session.result(batch.sequence)

    def opened(self, gateway: NodeId, nonce: int) -> SessionOpened | None:
        """Return the session that a nonce opened, while it is the gateway's current one."""
        session = self._current.get(gateway)
        if session is None or session.nonce != nonce:
            return None
        return SessionOpened(nonce=nonce, session=session.slot)

    def results(self, gateway: NodeId, slot: Slot, after: int) -> list[Results] | None:
        """Return the kept results of batches after `after`; None for a session not current."""
        session = self._current.get(gateway)
        if session is None or session.slot != slot:
            return None
        return [results for results in session.results if results.sequence > after]

    def ordered(self) -> list[Session]:
        """Return the sessions, not copies, in an order that only the contents decide."""
        return [session for _, session in sorted(self._current.items())]

    def restore(self, session: Session) -> None:
        """Take in a session as it is."""
        self._current[session.gateway] = session

    def snapshot(self) -> list[list[Any]]:
        """Return everything in here as plain values, in an order that only the contents decide."""
        return [
            [one.gateway, one.nonce, one.slot, one.last, list(one.results)]
            for one in self.ordered()
        ]
