"""The replicated state machine: what the log means.

It takes the decided values in slot order and answers with what each gateway is to be told. Two
machines that were given the same values are in the same state, down to the digest: it reads no
clock and rolls no dice, and what cannot be decoded is passed over in the same way everywhere.
It refuses to know how a value was decided, or who listens.

    value of a slot -> Envelope -> time moves on, due keys go
                               -> OpenSession -> SessionOpened
                               -> Batch       -> Results | OutOfOrder | SessionUnknown

"Paxos Made Moderately Complex", section 2.1: replicas apply the same commands in the same order.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from paxos.core.errors import InvariantViolation, invariant
from paxos.core.messages import (
    Batch,
    Envelope,
    OpenSession,
    Outcome,
    Results,
    SessionOpened,
    SessionUnknown,
)
from paxos.core.types import NO_SLOT, NodeId, Slot

from .execution import decode_commands, run_batch, run_reads
from .kv import Store
from .replies import Reply
from .sessions import Session, Sessions

if TYPE_CHECKING:
    from .snapshot import Restoring

VALUE_BYTES_MAX = 16 * 1024 * 1024
"""The longest value that APPEND may make, unless told otherwise."""

_LOST_ANSWER = {
    "error": "UNKNOWN it was applied, once; its answer was lost and is too large to be kept"
}

RESULTS_BYTES_MAX = 32 * 1024 * 1024
"""About how many bytes the results of one batch or of one read may take."""


def _strict(base: type[Any], tag: str | None = None) -> type[Any]:
    """Return the same message type, but one that refuses an element too many, unread.

    Reading over what it does not know would recurse as deep as that goes, and where it ends
    depends on the process: replicas could differ in what they take for malformed.
    """
    return msgspec.defstruct(base.__name__, [], bases=(base,), tag=tag, forbid_unknown_fields=True)


_envelopes: msgspec.msgpack.Decoder[Envelope] = msgspec.msgpack.Decoder(_strict(Envelope))
_parts: msgspec.msgpack.Decoder[Batch | OpenSession] = msgspec.msgpack.Decoder(
    _strict(Batch, "b") | _strict(OpenSession, "o")
)
_encode = msgspec.msgpack.Encoder().encode


class MachineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot for pages, metrics and the monitor.

    `keys` and `values` (of the WRITE list) and `sessions` are counts; `now_ms` is the log's
    notion of wall-clock time.
    """

    applied: Slot
    revision: int
    keys: int
    values: int
    sessions: int
    now_ms: int


class MachineParts(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """All that a machine is made of: what snapshots are taken of and restored from. No copies."""

    applied: Slot
    store: Store
    sessions: Sessions
    results_bytes_max: int


class Machine:
    """The state after the slots applied so far.

    `value_bytes_max` and `results_bytes_max` bound values that grow and results of one batch,
    in bytes. They are part of what the log means: every replica must be given the same.
    """

    def __init__(
        self,
        *,
        value_bytes_max: int = VALUE_BYTES_MAX,
        results_bytes_max: int = RESULTS_BYTES_MAX,
    ) -> None:
        self._store = Store(value_bytes_max=value_bytes_max)
        self._sessions = Sessions()
        self._results_bytes_max = results_bytes_max
        self.applied: Slot = NO_SLOT
        """The last slot applied; 0 at the beginning."""
        self.revision = 0
        """How many effective changes there have been."""
        self.now_ms = 0
        """The highest time that the log has named, in ms since 1970; it never falls."""

    @property
    def next_deadline_ms(self) -> int | None:
        """The nearest deadline of any key; None when no key has one."""
        return self._store.next_deadline_ms

    # ------------------------------------------------------------ snapshots

    @property
    def parts(self) -> MachineParts:
        """What the machine is made of, to look at only."""
        return MachineParts(
            applied=self.applied,
            store=self._store,
            sessions=self._sessions,
            results_bytes_max=self._results_bytes_max,
        )

    @classmethod
    def of(cls, parts: MachineParts) -> Machine:
        """Return a machine made of these parts, which are its own from now on."""
        machine = cls()
        machine._take_over(parts)
        return machine

    @staticmethod
    def restoring() -> Restoring:
        """Return what a snapshot is fed to, for `adopt` afterwards."""
        from .snapshot import Restoring  # it makes machines, so it cannot stand at the top

        return Restoring()

    def adopt(self, restoring: Restoring) -> None:
        """Become the machine of a snapshot, limits included; `restoring` is used up.

        Raises SnapshotDamaged when it is not whole, and InvariantViolation when its slot is not
        after `applied`: a machine never goes back.
        """
        parts = restoring.machine().parts
        invariant(
            parts.applied > self.applied,
            "a snapshot was to be adopted that is no later than the state",
        )
        self._take_over(parts)

    def _take_over(self, parts: MachineParts) -> None:
        self._store = parts.store
        self._sessions = parts.sessions
        self._results_bytes_max = parts.results_bytes_max
        self.applied = parts.applied
        self.revision = parts.store.revision
        self.now_ms = parts.store.now_ms

    # ------------------------------------------------------------ the log

    def apply(self, slot: Slot, value: bytes) -> list[tuple[NodeId, Outcome]]:
        """Apply the decided value of the next slot; return what to tell which gateway, in order.

        An empty value is a no-op, and so is one that cannot be decoded. Raises
        InvariantViolation when `slot` is not the one after `applied` (DESIGN rule 5).
        """
        if slot != self.applied + 1:
            raise InvariantViolation(f"slot {slot} was to be applied after slot {self.applied}")
        self.applied = slot
        outcomes = self._apply_value(slot, value) if value else []
        self.revision = self._store.revision
        self.now_ms = self._store.now_ms
        return outcomes

    def _apply_value(self, slot: Slot, value: bytes) -> list[tuple[NodeId, Outcome]]:
        try:
            envelope = _envelopes.decode(value)
        except ValueError:
            return []
        store = self._store
        store.slot = slot
        if envelope.time_ms > store.now_ms:
            store.now_ms = envelope.time_ms
            store.expire_due()
        store.clock_ms = store.now_ms
        parts = _decode_parts(envelope.batches)
        # A session is named by its slot, so one slot opens one session of a gateway at most:
        # of several nonces in a slot the last counts, and the others are told nothing.
        openings = {part.gateway: part.nonce for part in parts if isinstance(part, OpenSession)}
        outcomes: list[tuple[NodeId, Outcome]] = []
        for part in parts:
            if isinstance(part, Batch):
                outcome = self._apply_batch(slot, part)
                if outcome is not None:
                    outcomes.append((part.gateway, outcome))
            elif part.nonce == openings[part.gateway]:
                outcomes.append((part.gateway, self._sessions.open(slot, part)))
        return outcomes

    def _apply_batch(self, slot: Slot, batch: Batch) -> Outcome | None:
        session = self._sessions.admit(batch)
        if session is None:
            return self._forgotten(slot, batch) if batch.sequence > 0 else None
        if not isinstance(session, Session):
            return session
        # Commands that cannot be decoded still use up the sequence, with no results: were they
        # passed over, the session could never go on.
        commands = decode_commands(batch.commands) or []
        replies = run_batch(self._store, commands, self._results_bytes_max)
        results = Results(
            session=session.slot,
            sequence=batch.sequence,
            slot=slot,
            revision=self._store.revision,
            results=_encode(replies),
        )
        session.keep(results, batch.acknowledged)
        return results

    def _forgotten(self, slot: Slot, batch: Batch) -> Results:
        """Answer a batch that was applied and whose results are kept no more.

        A gateway that still waits for it has lost answers larger than a session keeps. It must
        get an answer, or its session could never go on; what it gets says what is known.
        """
        commands = decode_commands(batch.commands) or []
        return Results(
            session=batch.session,
            sequence=batch.sequence,
            slot=slot,
            revision=self._store.revision,
            results=_encode([_LOST_ANSWER] * len(commands)),
        )

    # ------------------------------------------------------------ questions

    def read(self, commands: list[Any], wall_ms: int) -> list[Reply]:
        """Answer read-only commands from the present state, which does not change.

        `wall_ms` is the reader's clock, in milliseconds since 1970: it only makes TTL and PTTL
        count on between slots. A key is there until the log has let it expire, with at least
        1 ms to live.
        """
        self._store.clock_ms = max(self.now_ms, wall_ms)
        return run_reads(self._store, commands, self._results_bytes_max)

    def results(self, gateway: NodeId, session: Slot, after: int) -> list[Outcome]:
        """Return the kept results of a session's batches after sequence `after`, in order.

        For a gateway that subscribes again. [SessionUnknown] when the session is not the
        gateway's current one; nothing when it lies ahead: its slot is not applied here yet.
        """
        if session > self.applied:
            return []
        results = self._sessions.results(gateway, session, after)
        return [SessionUnknown(session=session)] if results is None else [*results]

    def opened(self, gateway: NodeId, nonce: int) -> SessionOpened | None:
        """Return SessionOpened when the nonce opened the gateway's current session, else None."""
        return self._sessions.opened(gateway, nonce)

    def digest(self) -> str:
        """Return a hexadecimal SHA-256 of the whole state; linear in its size, so not for each
        step. Equal for any two machines that applied the same log.
        """
        store = self._store
        digest = sha256(
            _encode(
                [
                    self.applied,
                    self.revision,
                    self.now_ms,
                    store.serial,
                    store.written_slots,
                    self._sessions.snapshot(),
                ]
            )
        )
        for value in store.written_values:
            digest.update(_encode(value))
        for _, entry in sorted(store.entries.items()):
            digest.update(_encode(msgspec.structs.astuple(entry)))
        return digest.hexdigest()

    def status(self) -> MachineStatus:
        """Return a snapshot for people and metrics."""
        store = self._store
        return MachineStatus(
            applied=self.applied,
            revision=self.revision,
            keys=len(store.entries),
            values=len(store.written_values),
            sessions=len(self._sessions),
            now_ms=self.now_ms,
        )


def _decode_parts(encoded: list[bytes]) -> list[Batch | OpenSession]:
    """Return what a slot's value carries; what is not a `BatchLike` is passed over."""
    parts: list[Batch | OpenSession] = []
    for data in encoded:
        try:
            parts.append(_parts.decode(data))
        except ValueError:
            continue
    return parts
