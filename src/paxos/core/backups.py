"""Backups: one snapshot, taken for a client, that holds everything acknowledged before it asked.

The learner's part and the gateway's, beside their roles. A backup is a snapshot like any other; it
differs in when it is taken. The learner asks a quorum of acceptors first how far the log may
reach, as for a linearizable read (DESIGN rule 7), and takes it when that slot is applied. The
gateway relays its parts, one at a time, as the client asks for them.

Refuses to keep anything: whoever asks for parts too late, when a newer snapshot has replaced the
one that was begun with, is told so and begins anew.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from .effects import Effect, Send, SnapshotInfo
from .messages import AskBackup, AskSnapshot, BackupReady, SnapshotPart
from .types import NO_SLOT, NodeId, Slot

QUIET_MS = 5_000.0
"""So long after a part was asked for, a learner takes no snapshot of its own accord, unless its log
has grown by `QUIET_STRETCH` times what it otherwise waits for."""

QUIET_STRETCH = 4

IDLE_MS = 60_000.0
"""A client that asks for no part for so long has given up: another may have its turn."""


class BackupServing:
    """A learner's part: the one backup that it takes and hands out at a time.

    `requested` from when it is asked for until it is answered; then its parts are asked for, which
    nobody says the end of.
    """

    def __init__(self, node: NodeId) -> None:
        self._node = node
        self._gateway: NodeId | None = None
        self._request: int | None = None
        self._asked_ms = 0.0
        # When it may be taken: the slot that was applied then.
        self._slot = NO_SLOT

    def ask(self, gateway: NodeId, message: AskBackup, now_ms: float) -> list[Effect]:
        """Take a request in, which then waits for `level`, or refuse it. A newer one of the same
        gateway takes the place of an older one.
        """
        if self._gateway != gateway and self.hold(now_ms):
            error = f"BUSY a backup is under way through {self._gateway}; try again when it is done"
            return [_refusal(gateway, message.request, error)]
        self._gateway, self._request = gateway, message.request
        self._asked_ms, self._slot = now_ms, NO_SLOT
        return []

    def level(self, gateway: NodeId, message: AskBackup, applied: Slot) -> list[Effect]:
        """Everything that had been acknowledged when this was asked for is applied."""
        if (gateway, message.request) != (self._gateway, self._request):
            return []
        if applied == NO_SLOT:
            return self._refuse("nothing has been decided yet, so there is nothing to keep")
        self._slot = applied
        return []

    @property
    def due(self) -> Slot | None:
        """The slot that a snapshot must hold by now; None when none is waited for."""
        return self._slot if self._request is not None and self._slot else None

    def on_taken(self, snapshot: SnapshotInfo, now_ms: float) -> list[Effect]:
        """Tell whoever waits for a snapshot like this that it is there."""
        due, gateway, request = self.due, self._gateway, self._request
        if due is None or snapshot.slot < due or gateway is None or request is None:
            return []
        self._request, self._asked_ms = None, now_ms
        ready = BackupReady(request=request, slot=snapshot.slot, size=snapshot.size)
        return [Send(to=(gateway,), message=ready)]

    def on_failed(self, slot: Slot, reason: str) -> list[Effect]:
        """Tell whoever waits for this snapshot that there is none."""
        due = self.due
        return [] if due is None or slot < due else self._refuse(reason)

    def expire(self, oldest_ms: float, applied: Slot) -> list[Effect]:
        """Give up what was asked for before `oldest_ms` and has not become `level`."""
        if self._request is None or self._slot or self._asked_ms >= oldest_ms:
            return []
        return self._refuse(
            f"{self._node} could not learn from a quorum of acceptors what has been decided; it "
            f"has applied {applied} slots"
        )

    def touch(self, gateway: NodeId, now_ms: float) -> None:
        """A part was asked for."""
        if gateway == self._gateway:
            self._asked_ms = now_ms

    def gone(self, gateway: NodeId) -> None:
        """A link has closed: nobody waits behind it."""
        if gateway == self._gateway:
            self._gateway = self._request = None

    def hold(self, now_ms: float) -> bool:
        """Tell whether a backup is under way: its snapshot should not be replaced."""
        if self._gateway is None:
            return False
        return self._request is not None or now_ms - self._asked_ms <= QUIET_MS

    def _refuse(self, why: str) -> list[Effect]:
        gateway, request = self._gateway, self._request
        self._gateway = self._request = None
        if gateway is None or request is None:
            return []
        return [_refusal(gateway, request, f"UNAVAILABLE no backup was taken: {why}")]


def _refusal(gateway: NodeId, request: int, error: str) -> Send:
    message = BackupReady(request=request, slot=NO_SLOT, size=0, error=error)
    return Send(to=(gateway,), message=message)


class Answer(msgspec.Struct, frozen=True):
    """What a client connection is to be told."""

    connection: int
    reply: Any


Next: TypeAlias = Send | Answer | None
"""What is to be done next about a backup."""


class BackupRelay:
    """A gateway's part: the one backup under way through it, which one client connection owns.

    It waits for the learner's `BackupReady` while it has an owner and no slot, for a part while
    it has an offset, otherwise for the client. It is over when all parts were asked for, when the
    client or the learner has gone, and when the client asks for nothing for `IDLE_MS`.
    """

    def __init__(self, request_ms: float) -> None:
        self._request_ms = request_ms
        self._request = 0
        self._owner: int | None = None
        self._learner: NodeId | None = None
        self._slot = NO_SLOT
        self._size = 0
        self._offset: int | None = None
        self._asked_ms = 0.0

    def start(self, nonce: int) -> None:
        """Number requests from a random start, so that an answer to an earlier life of this
        gateway is never taken for one to this.
        """
        self._request = nonce

    def begin(self, connection: int, learner: NodeId | None, now_ms: float) -> Next:
        """A client asks for a backup; one that it had begun before is over."""
        if self._owner is not None and self._owner != connection:
            busy = "BUSY a backup is under way through this client node; try again when it is done"
            return Answer(connection, {"error": busy})
        self._end()
        if learner is None:
            return _unavailable(connection, "no learner can be reached")
        self._owner, self._learner, self._asked_ms = connection, learner, now_ms
        self._request += 1
        return Send(to=(learner,), message=AskBackup(request=self._request))

    def part(self, connection: int, slot: Slot, offset: int, now_ms: float) -> Next:
        """A client asks for a part of the backup that it has begun."""
        if connection != self._owner or slot != self._slot or self._learner is None:
            return _begin_anew(connection, f"no backup of slot {slot} is under way here")
        if offset >= self._size:
            self._end()
            return Answer(connection, b"")
        self._offset, self._asked_ms = offset, now_ms
        return Send(to=(self._learner,), message=AskSnapshot(slot=slot, offset=offset))

    def on_ready(self, sender: NodeId, message: BackupReady) -> Next:
        """The learner has taken what was asked for, or says why not."""
        connection = self._owner
        if connection is None or self._slot or sender != self._learner:
            return None
        if message.request != self._request:
            return None
        if message.error:
            self._end()
            return Answer(connection, {"error": message.error})
        self._slot, self._size = message.slot, message.size
        return Answer(connection, [message.slot, message.size])

    def on_part(self, sender: NodeId, message: SnapshotPart) -> Next:
        """The learner's answer to the part that was asked for."""
        connection, offset = self._owner, self._offset
        if connection is None or offset is None or sender != self._learner:
            return None
        if message.slot != self._slot or not message.data:
            slot = self._slot
            self._end()
            return _begin_anew(connection, f"the snapshot of slot {slot} has been replaced")
        if message.offset != offset:
            return None
        self._offset = None
        return Answer(connection, message.data)

    def disconnected(self, peer: NodeId) -> Next:
        """A link has closed: if it was the learner's, there is nobody to wait for."""
        return self._give_up(f"the link to {peer} closed") if peer == self._learner else None

    def client_gone(self, connection: int) -> None:
        """A client connection has closed."""
        if connection == self._owner:
            self._end()

    def expire(self, now_ms: float) -> Next:
        """Give up a learner that does not answer, and a client that does not ask. How long a
        snapshot may take to be taken is not for a gateway to say.
        """
        waited_ms = now_ms - self._asked_ms
        if self._offset is not None and waited_ms > self._request_ms:
            return self._give_up(f"{self._learner} did not answer in time")
        if self._slot and waited_ms > IDLE_MS:
            self._end()
        return None

    def _give_up(self, why: str) -> Next:
        connection = self._owner
        waiting = not self._slot or self._offset is not None
        self._end()
        return _unavailable(connection, why) if connection is not None and waiting else None

    def _end(self) -> None:
        self._owner = self._learner = self._offset = None
        self._slot, self._size = NO_SLOT, 0


def _unavailable(connection: int, why: str) -> Answer:
    return Answer(connection, {"error": f"UNAVAILABLE the backup is not whole: {why}"})


def _begin_anew(connection: int, why: str) -> Answer:
    return Answer(connection, {"error": f"GONE {why}: begin anew"})
