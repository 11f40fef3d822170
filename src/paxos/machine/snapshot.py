"""Snapshots: a whole machine as a stream of bytes, and back.

The stream is what lies in files and what travels, byte for byte; `snapshot_frames` says how it
is laid out. Two machines that applied the same log give the same bytes, and a machine that was
restored cannot be told from one that applied the log itself: the same digest, the same outcomes
for every later slot. So all is in it that any later answer depends on: the order of scans with
the gaps of what was deleted, and the results that sessions keep to answer a batch that comes
again (DESIGN rule 6).

It refuses to know where bytes come from or go to, and who may be told that a slot is gone.

    Machine -> encode -> frames -> file, network -> Restoring.feed -> Machine
                                                 -> verify         -> SnapshotHead
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

import msgspec

from paxos.core.messages import Results
from paxos.core.types import NO_SLOT, NodeId, Slot

from .kv import Entry, Store
from .machine import Machine, MachineParts
from .sessions import Session, Sessions
from .snapshot_frames import (
    FRAME_BYTES,
    FRAME_BYTES_MAX,
    SNAPSHOT_VERSION,
    Frame,
    FrameReader,
    FrameWriter,
    Head,
    Kind,
    SnapshotDamaged,
    SnapshotHead,
    decode,
)

__all__ = [
    "FRAME_BYTES",
    "FRAME_BYTES_MAX",
    "SNAPSHOT_VERSION",
    "Restoring",
    "SnapshotDamaged",
    "SnapshotHead",
    "encode",
    "verify",
]

_entries = msgspec.msgpack.Decoder(list[Entry])
_values = msgspec.msgpack.Decoder(list[tuple[Slot, bytes]])
_sessions = msgspec.msgpack.Decoder(tuple[NodeId, int, Slot, int, int])
_results = msgspec.msgpack.Decoder(list[tuple[int, Slot, int, bytes]])


def encode(machine: Machine) -> Iterator[bytes]:
    """Return the stream of a machine's state, one piece of bytes per frame.

    The machine does not change by it, and must not change meanwhile. Takes the memory of about
    one frame; in a forked child, values and keys are read without touching their pages.
    """
    parts = machine.parts
    store = parts.store
    order = store.ordered
    sessions = parts.sessions.ordered()
    writer = FrameWriter()
    yield writer.head(
        Head(
            slot=parts.applied,
            revision=store.revision,
            now_ms=store.now_ms,
            serial=store.serial,
            keys=len(store.entries),
            dead=len(order) - len(store.entries),
            values=len(store.written_values),
            sessions=len(sessions),
            value_bytes_max=store.value_bytes_max,
            results_bytes_max=parts.results_bytes_max,
        )
    )
    yield from writer.runs(Kind.ENTRIES, order)
    values = zip(store.written_slots, store.written_values, strict=True)
    yield from writer.runs(Kind.VALUES, values)
    for one in sessions:
        kept = len(one.results)
        yield writer.session((one.gateway, one.nonce, one.slot, one.last, kept))
        results = ((r.sequence, r.slot, r.revision, r.results) for r in one.results)
        yield from writer.runs(Kind.RESULTS, results)
    yield writer.end()


def verify(chunks: Iterable[bytes]) -> SnapshotHead:
    """Check every byte of a stream, in any cut, by its checksums and totals; build no machine.

    Raises SnapshotDamaged, which tells where.
    """
    reader = FrameReader()
    for chunk in chunks:
        for _ in reader.feed(chunk):
            pass
    return reader.finish()


class Restoring:
    """Builds a machine from a stream that comes in pieces."""

    __slots__ = ("_damage", "_kept", "_machine", "_reader", "_session", "_sessions", "_store")

    def __init__(self) -> None:
        self._reader = FrameReader()
        self._store = Store(value_bytes_max=0)
        self._sessions = Sessions()
        # The session whose results come, and how many it kept.
        self._session: Session | None = None
        self._kept = 0
        self._damage: SnapshotDamaged | None = None
        self._machine: Machine | None = None

    @property
    def slot(self) -> Slot:
        """The slot after which the state was so; 0 until the stream has said it."""
        return self._reader.head.slot

    @property
    def done(self) -> bool:
        """Tell whether the stream is whole, so that `machine` can be had."""
        return self._machine is not None

    def feed(self, data: bytes) -> None:
        """Take in the next bytes, however the stream was cut.

        Raises SnapshotDamaged as soon as something cannot be right, and again at every later
        call: then all of it is to be thrown away.
        """
        if self._damage is not None:
            raise self._damage
        try:
            for frame in self._reader.feed(data):
                self._on_frame(frame)
        except SnapshotDamaged as damage:
            self._damage = damage
            self._machine = None
            raise

    def machine(self) -> Machine:
        """Return the machine, the same one each time. Raises SnapshotDamaged unless `done`."""
        if self._machine is None:
            raise self._damage or SnapshotDamaged(self._reader.size, "it ends too early")
        return self._machine

    def _on_frame(self, frame: Frame) -> None:
        try:
            match frame.kind:
                case Kind.HEAD:
                    self._on_head(self._reader.head)
                case Kind.ENTRIES:
                    self._store.restore_entries(decode(_entries, frame))
                case Kind.VALUES:
                    self._store.restore_values(decode(_values, frame))
                case Kind.SESSION:
                    self._on_session(*decode(_sessions, frame))
                case Kind.RESULTS:
                    self._on_results(decode(_results, frame))
                case Kind.END:
                    self._on_end()
                case _:
                    assert_never(frame.kind)
        except ValueError as error:
            raise SnapshotDamaged(frame.offset, str(error)) from error

    def _on_head(self, head: Head) -> None:
        store = self._store = Store(value_bytes_max=head.value_bytes_max)
        store.slot = head.slot
        store.now_ms = store.clock_ms = head.now_ms
        store.revision = head.revision
        store.serial = head.serial
        store.commit()

    def _on_session(self, gateway: NodeId, nonce: int, slot: Slot, last: int, kept: int) -> None:
        before = self._session
        if before is not None and gateway <= before.gateway:
            raise ValueError(f"the session of {gateway!r} after that of {before.gateway!r}")
        if not NO_SLOT < slot <= self._reader.head.slot:
            raise ValueError(f"a session of slot {slot}")
        self._end_session()
        self._session = Session(gateway, nonce, slot)
        self._session.last = last
        self._kept = kept
        self._sessions.restore(self._session)

    def _on_results(self, run: list[tuple[int, Slot, int, bytes]]) -> None:
        session = self._session
        if session is None:
            raise ValueError("results of no session")
        for sequence, slot, revision, results in run:
            session.restore(
                Results(
                    session=session.slot,
                    sequence=sequence,
                    slot=slot,
                    revision=revision,
                    results=results,
                )
            )

    def _end_session(self) -> None:
        session = self._session
        if session is None:
            return
        kept = session.results
        if len(kept) != self._kept or (kept and kept[-1].sequence != session.last):
            raise ValueError(
                f"{len(kept)} results of the session of {session.gateway!r}, not {self._kept} "
                f"up to batch {session.last}"
            )

    def _on_end(self) -> None:
        self._end_session()
        head = self._reader.head
        if len(self._store.entries) != head.keys:
            raise ValueError(f"{len(self._store.entries)} keys, not {head.keys}")
        self._machine = Machine.of(
            MachineParts(
                applied=head.slot,
                store=self._store,
                sessions=self._sessions,
                results_bytes_max=head.results_bytes_max,
            )
        )
