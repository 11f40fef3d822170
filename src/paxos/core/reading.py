"""A learner's reads: gathered for a round, asked of a quorum, held until they may be answered.

Linearizable without clocks and leases ("Paxos Quorum Reads", Charapko et al. 2019). Refuses to
answer from what this learner merely happens to have applied, but for reads that asked for that.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from .backups import BackupServing
from .configuring import View
from .effects import Effect, Send, SetTimer
from .messages import (
    AskBackup,
    AskHighest,
    Highest,
    Outcome,
    Read,
    ReadResults,
    SessionOpened,
    StaleRead,
)
from .settings import Timeouts
from .snapshotting import Restoring
from .types import NodeId, Slot


class StateMachine(Protocol):
    """What a learner asks of the replicated state machine (`paxos.machine`)."""

    applied: Slot
    revision: int
    now_ms: int

    @property
    def next_deadline_ms(self) -> int | None:
        """When the next key is due to expire, or None."""
        ...

    def apply(self, slot: Slot, value: bytes) -> list[tuple[NodeId, Outcome]]:
        """Apply the next slot's value and return what to tell the gateways."""
        ...

    def read(self, commands: list[Any], wall_ms: int) -> list[Any]:
        """Answer read-only commands from the current state."""
        ...

    def results(self, gateway: NodeId, session: Slot, after: int) -> list[Outcome]:
        """Return the kept results of a session's batches after a sequence number."""
        ...

    def opened(self, gateway: NodeId, nonce: int) -> SessionOpened | None:
        """Return the session that a nonce opened, if it is the gateway's current one."""
        ...

    def restoring(self) -> Restoring:
        """Return an empty state that takes a snapshot's stream in."""
        ...

    def adopt(self, restoring: Any) -> None:
        """Become the state that was restored, which must be a later one of this machine's kind."""
        ...

    def status(self) -> Any:
        """Return an immutable snapshot."""
        ...


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A read that a gateway waits for, or a backup, which begins like one."""

    gateway: NodeId
    read: Read | AskBackup
    arrived_ms: float


class Reading(metaclass=ABCMeta):
    """The part of a learner's step that has to do with reads; learner.py is the whole."""

    machine: StateMachine
    view: View
    backups: BackupServing
    _timeouts: Timeouts
    _gathered: list[Waiting]
    _asking: list[Waiting]
    _held: set[tuple[NodeId, int]]
    _round: int
    _heights: dict[NodeId, Slot]
    _waiting: deque[tuple[Slot, list[Waiting], int]]
    _reads: int

    @abstractmethod
    def _watch_gap(self) -> list[Effect]: ...

    def _on_read(self, sender: NodeId, message: Read, now_ms: float) -> list[Effect]:
        """Gather a read for the next round; one that is asked again is gathered once."""
        key = (sender, message.read)
        if key not in self._held:
            self._held.add(key)
            self._gathered.append(Waiting(sender, message, now_ms))
        return []

    def _forget_reads(self, gone: Callable[[Waiting], bool]) -> None:
        """Drop reads that nobody waits for any more, wherever they are held."""
        self._gathered = self._keep(self._gathered, gone)
        self._asking = self._keep(self._asking, gone)
        kept = ((target, self._keep(reads, gone), epoch) for target, reads, epoch in self._waiting)
        self._waiting = deque(waiting for waiting in kept if waiting[1])

    def _keep(self, reads: list[Waiting], gone: Callable[[Waiting], bool]) -> list[Waiting]:
        for waiting in reads:
            if gone(waiting) and isinstance(waiting.read, Read):
                self._held.discard((waiting.gateway, waiting.read.read))
        return [waiting for waiting in reads if not gone(waiting)]

    def _forget_old_reads(self, now_ms: float) -> list[Effect]:
        """Without a quorum no read is answered, and its gateway gives up after `request_ms`."""
        oldest = now_ms - self._timeouts.request_ms
        self._forget_reads(lambda waiting: waiting.arrived_ms < oldest)
        return self.backups.expire(oldest, self.machine.applied)

    def _start_round(self) -> list[Effect]:
        """Ask a quorum of acceptors how far the log may reach, for all reads that wait.

        A read may only join a round that starts after it arrived: an answer given before might
        miss a write that was acknowledged in between. (Paxos Quorum Reads, Charapko et al. 2019,
        with the wait for half-accepted writes that its section 3 asks for.)
        """
        if not self._gathered or self._asking:
            return []
        self._asking, self._gathered = self._gathered, []
        self._round += 1
        self._heights = {}
        return [
            Send(to=self.view.membership.acceptors, message=AskHighest(round=self._round)),
            SetTimer(name="round", after_ms=self._timeouts.resend_ms),
        ]

    def _on_highest(self, sender: NodeId, message: Highest, now_ms: float) -> list[Effect]:
        if message.round != self._round or not self._asking:
            return []
        self._heights[sender] = message.slot
        if not self.view.membership.is_quorum(self._heights):
            return []
        # Never below an earlier target, so that reads are answered in the order of arrival.
        target = max(*self._heights.values(), self._waiting[-1][0] if self._waiting else Slot(0))
        self._waiting.append((target, self._asking, self.view.epoch))
        self._asking = []
        effects = self._answer_reads(now_ms)
        effects.extend(self._start_round())
        effects.extend(self._watch_gap())
        return effects

    def _on_round_timer(self) -> list[Effect]:
        if not self._asking:
            return []
        silent = tuple(a for a in self.view.membership.acceptors if a not in self._heights)
        return [
            Send(to=silent, message=AskHighest(round=self._round)),
            SetTimer(name="round", after_ms=self._timeouts.resend_ms),
        ]

    def _answer_reads(self, now_ms: float) -> list[Effect]:
        """Answer the reads whose slot is applied. "The quorum is that of the configuration in force
        after the slot waited for; where applying changed it, the learner asks again" (rule 7).
        """
        effects: list[Effect] = []
        again: list[Waiting] = []
        while self._waiting and self._waiting[0][0] <= self.machine.applied:
            _, reads, epoch = self._waiting.popleft()
            if epoch != self.view.epoch:
                again += reads
                continue
            for waiting in reads:
                read = waiting.read
                if isinstance(read, AskBackup):
                    effects += self.backups.level(waiting.gateway, read, self.machine.applied)
                    continue
                self._held.discard((waiting.gateway, read.read))
                effects.append(self._answer(waiting.gateway, read, now_ms))
        if again:
            self._gathered = [*again, *self._gathered]
            effects.extend(self._start_round())
        return effects

    def _answer(self, gateway: NodeId, read: Read | StaleRead, now_ms: float) -> Send:
        self._reads += 1
        try:
            commands = msgspec.msgpack.decode(read.commands, type=list[list[bytes]])
        except (ValueError, RecursionError) as error:
            replies: list[Any] = [{"error": f"ERR unreadable commands: {error}"}]
        else:
            replies = self.machine.read(commands, int(now_ms))
        results = ReadResults(
            read=read.read,
            slot=self.machine.applied,
            revision=self.machine.revision,
            results=msgspec.msgpack.encode(replies),
        )
        return Send(to=(gateway,), message=results)
