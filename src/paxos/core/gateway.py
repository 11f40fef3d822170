"""The gateway: stamps clients' commands into batches, sees each through, answers in order.

It is the client of "Paxos Made Moderately Complex" (section 2): it sends a command to the leader
until it learns the result, whoever leads in the meantime. It refuses to know what a command means
and to guess an outcome: an error says *definite* (UNAVAILABLE: it did not happen) or *indefinite*
(UNKNOWN: it may have happened, or may yet).

Apply once, in order (DESIGN rule 6). All commands of a gateway process travel in one session,
opened through the log. Batches carry sequence numbers without gaps; the state machine applies a
session's batches in that order, each once. So a batch can be sent again, to any leader, for as
long as it takes. A batch whose clients were told UNKNOWN stays under way until it is known.

Order within one client connection. Writes follow each other in the session's order. While a
connection's writes are under way, its reads join them in the log; while its reads are under way,
its writes wait. So commands of one connection take effect in the order in which they were sent.
"""

from __future__ import annotations

from collections import deque
from typing import Any, assert_never

import msgspec

from .asking import Asked, Asking
from .backups import BackupRelay, Next
from .configuring import View
from .effects import (
    ClientBackup,
    ClientBackupPart,
    ClientChange,
    ClientGone,
    ClientReads,
    ClientStaleReads,
    ClientWrites,
    Connected,
    Deliver,
    Disconnected,
    Drained,
    Effect,
    Event,
    PartWritten,
    Received,
    Send,
    SetTimer,
    SnapshotFailed,
    SnapshotTaken,
    Start,
    TimerFired,
)
from .flights import (
    NEW_ATTEMPT_TRIES,
    Chunk,
    ClientCommands,
    Confirmation,
    Connection,
    FairQueue,
    Flight,
    GatewayStatus,
    Latencies,
    Origin,
    QuorumStatus,
    unavailable,
    unknown,
    up_to_expired,
)
from .messages import (
    AskConfiguration,
    BackupReady,
    Batch,
    Configuration,
    GatewayMessage,
    LeaderState,
    MembersChanged,
    NotLeader,
    OpenSession,
    OutOfOrder,
    Read,
    ReadResults,
    Results,
    SessionOpened,
    SessionUnknown,
    SnapshotPart,
    StaleRead,
    Submit,
    Subscribe,
    SubscribeOpening,
    Unsubscribe,
)
from .quorum import Membership
from .settings import Settings
from .trace import Level, Trace
from .types import NO_BALLOT, NodeId, Role, Slot, number_of, owner_of, role_of

_decode_results = msgspec.msgpack.Decoder(list[Any]).decode


class Gateway(Asking):
    """One gateway as a step function."""

    def __init__(self, node: NodeId, membership: Membership, settings: Settings) -> None:
        self.node = node
        self.cluster = ""
        """The identity of the first member of a cluster that was met; "" until then. Nodes of
        another cluster are nobody to this process."""
        self.session = Slot(0)
        self.sequence = 0
        self.flights: dict[int, Flight] = {}
        self.confirmations: deque[Confirmation] = deque(maxlen=settings.limits.responses_max)
        self.view = View(membership)
        self._changes: dict[int, Asked] = {}
        self._change_number = 0
        self._timeouts = settings.timeouts
        self._limits = settings.limits
        self._nonce = 0
        self._up: set[NodeId] = set()
        self._leader: NodeId | None = None
        self._ballot = NO_BALLOT
        self._state = LeaderState(ballot=NO_BALLOT, voting=[], abstaining={})
        self._attempt = 0
        self._acknowledged = 0
        self._learner: NodeId | None = None
        self._writes = FairQueue()
        self._reads = FairQueue()
        self._stale_reads = FairQueue()
        self._backups: deque[Chunk] = deque()
        self._relay = BackupRelay(settings.timeouts.request_ms)
        self._queued_bytes = 0
        self._queued = 0
        self._queued_ms = {"log": 0.0, "read": 0.0, "stale": 0.0, "backup": 0.0}
        self._read_number = 0
        self._read_slot = Slot(0)
        self._read_flights: dict[int, Flight] = {}
        self._stale_flights: dict[int, Flight] = {}
        self._opening_ms = float("-inf")
        self._opening_tries = 0
        self._connections: dict[int, Connection] = {}
        self._clock_ms = 0.0
        self._writes_done = 0
        self._reads_done = 0
        self._errors = 0
        self._retries = 0
        self._write_ms = Latencies()
        self._read_ms = Latencies()

    @property
    def overloaded(self) -> bool:
        """Whether doors shall stop reading from clients until this is false again."""
        return self._queued_bytes > self._limits.gateway_queue_bytes_max

    @property
    def relieved(self) -> bool:
        """Whether doors that have stopped may read again: with room for many clients, so that
        they are not all stopped and started for every batch that leaves."""
        return self._queued_bytes <= self._limits.gateway_queue_bytes_max * 3 // 4

    # ------------------------------------------------------------ step

    def step(self, event: Event, now_ms: float, dice: float) -> list[Effect]:
        """Take one event in and return what shall be done about it.

        `now_ms` is a clock that only timeouts depend on; `dice` is uniform in [0, 1).
        """
        match event:
            case Received(sender=sender, message=message):
                return self._on_message(sender, message, now_ms, dice)  # type: ignore[arg-type]
            case (
                ClientWrites()
                | ClientReads()
                | ClientStaleReads()
                | ClientBackup()
                | ClientBackupPart()
            ):
                connection = self._connections.get(event.connection)
                if connection is None:
                    connection = self._connections[event.connection] = Connection()
                self._take_in(connection, event, now_ms)
                return []
            case Drained():
                return self._leave(now_ms)
            case TimerFired(name=name):
                return self._on_timer(name, now_ms, dice)
            case Connected(peer=peer, cluster=cluster):
                return [*self.view.told(peer), *self._on_connected(peer, cluster, now_ms)]
            case ClientChange():
                return self._on_client_change(event, now_ms)
            case Disconnected(peer=peer):
                return self._on_disconnected(peer, now_ms)
            case ClientGone(connection=connection_id):
                self._on_client_gone(connection_id)
                return []
            case Start():
                return self._on_start(dice)
            case PartWritten() | SnapshotTaken() | SnapshotFailed():
                return []  # a gateway keeps nothing

    def _on_message(
        self, sender: NodeId, message: GatewayMessage, now_ms: float, dice: float
    ) -> list[Effect]:
        match message:
            case Results():
                return self._on_results(message, now_ms)
            case ReadResults():
                return self._on_read_results(message, now_ms)
            case LeaderState():
                return self._on_leader_state(sender, message, now_ms)
            case NotLeader():
                return self._on_not_leader(sender, message, now_ms)
            case SessionOpened():
                return self._on_session_opened(message, now_ms)
            case SessionUnknown():
                return self._on_sessionunknown(message, now_ms, dice)
            case OutOfOrder():
                return self._on_out_of_order(message, now_ms)
            case BackupReady():
                return self._relayed(self._relay.on_ready(sender, message), now_ms)
            case SnapshotPart():
                return self._relayed(self._relay.on_part(sender, message), now_ms)
            case Configuration():
                return self._on_configuration(message, now_ms)
            case AskConfiguration():
                return self.view.told(sender)
            case MembersChanged():
                return self._on_members_changed(message)
            case _:
                assert_never(message)

    def _on_timer(self, name: str, now_ms: float, dice: float) -> list[Effect]:
        match name:
            case "watch":
                return [
                    *self._expire(now_ms),
                    *self._relayed(self._relay.expire(now_ms), now_ms),
                    *self._ask_again(now_ms),
                    *self._open_session_again(now_ms),
                    *self._ask_for_changes_again(now_ms),
                    SetTimer(name="watch", after_ms=self._timeouts.retry_ms / 4),
                ]
            case _:
                return []

    def _on_start(self, dice: float) -> list[Effect]:
        self._draw_nonce(dice)
        # Reads are numbered from a random start, so that a learner's late answer to an earlier
        # life of this gateway is never taken for an answer to a read of this one (rule 6).
        self._read_number = self._change_number = self._nonce
        self._relay.start(self._nonce)
        return [SetTimer(name="watch", after_ms=self._timeouts.retry_ms / 4)]

    def _draw_nonce(self, dice: float) -> None:
        self._nonce = int(dice * 2**52) + 1

    # ------------------------------------------------------------ taking commands in

    def _take_in(self, connection: Connection, event: ClientCommands, now_ms: float) -> None:
        """Count commands in, whether they are queued or parked: both are memory."""
        kind, commands = "stale", []
        match event:
            case ClientWrites():
                kind, commands = "log", event.commands
            case ClientReads():
                kind, commands = "read", event.commands
            case ClientStaleReads():
                commands = event.commands
            case ClientBackup():
                kind, commands = "backup", [[]]
            case ClientBackupPart(slot=slot, offset=offset):
                kind, commands = "backup", [[slot, offset]]
            case _:
                assert_never(event)
        chunk = Chunk(event.connection, commands, now_ms)
        self._queued_bytes += chunk.size
        self._queued += len(chunk.commands)
        self._admit(connection, kind, chunk)

    def _admit(self, connection: Connection, kind: str, chunk: Chunk) -> None:
        """Queue commands where their connection's order allows it, or park them."""
        if connection.parked:
            connection.parked.append((kind, chunk))
            return
        if connection.outstanding and (connection.kind != kind or kind == "backup"):
            if connection.kind != "log" or kind == "backup":
                connection.parked.append((kind, chunk))
                return
            kind = "log"
        connection.kind = kind
        connection.outstanding += len(chunk.commands)
        # What was parked must not run out of time before what stands in front of it.
        chunk.arrived_ms = self._queued_ms[kind] = max(self._queued_ms[kind], chunk.arrived_ms)
        if kind == "backup":
            self._backups.append(chunk)
        elif kind == "log":
            self._writes.append(chunk)
        elif kind == "read":
            self._reads.append(chunk)
        else:
            self._stale_reads.append(chunk)

    def _count_out(self, chunk: Chunk) -> None:
        self._queued_bytes -= chunk.size
        self._queued -= len(chunk.commands)

    def _on_client_gone(self, connection_id: int) -> None:
        """Forget a connection. What it had queued still runs, as with any store; what was parked
        behind unanswered commands has not begun, and never will."""
        self._relay.client_gone(connection_id)
        gone = [n for n, a in self._changes.items() if a.event.connection == connection_id]
        for number in gone:
            del self._changes[number]
        connection = self._connections.pop(connection_id, None)
        if connection is not None:
            for _, chunk in connection.parked:
                self._count_out(chunk)

    def _answer(self, origins: list[Origin], replies: list[Any], now_ms: float) -> list[Effect]:
        """Hand each connection its replies, and admit what was parked behind them."""
        effects: list[Effect] = []
        start = 0
        for connection_id, count in origins:
            end = start + count
            connection = self._connections.get(connection_id)
            if connection is not None:
                effects.append(Deliver(connection=connection_id, replies=replies[start:end]))
                connection.outstanding -= count
                if not connection.outstanding and connection.parked:
                    parked, connection.parked = connection.parked, deque()
                    for kind, chunk in parked:
                        self._admit(connection, kind, chunk)
            start = end
        return effects

    def _take(self, queue: FairQueue) -> list[Chunk]:
        """Take as many chunks as fit one batch, at least one."""
        chunks = [queue.popleft()]
        size, count = chunks[0].size, len(chunks[0].commands)
        limits = self._limits
        while queue:
            size += queue.first.size
            count += len(queue.first.commands)
            if size > limits.batch_bytes_max or count > limits.batch_commands_max:
                break
            chunks.append(queue.popleft())
        for chunk in chunks:
            self._count_out(chunk)
        return chunks

    # ------------------------------------------------------------ sending

    def _leave(self, now_ms: float) -> list[Effect]:
        """Send what was gathered: at once when nothing is under way, else as the window allows."""
        self._clock_ms = now_ms
        effects = self._back_up(now_ms)
        if self._leader is not None and self.session:
            while self._writes and len(self.flights) < self._limits.batches_inflight_max:
                effects.append(self._seal(self._leader, now_ms))
        if self._learner is not None:
            # Stale reads need no quorum, so they must not queue behind reads that wait for one.
            for queue, flights in (
                (self._reads, self._read_flights),
                (self._stale_reads, self._stale_flights),
            ):
                while queue and len(flights) < self._limits.batches_inflight_max:
                    effects.append(self._send_reads(self._learner, queue, now_ms))
        return effects

    def _seal(self, leader: NodeId, now_ms: float) -> Effect:
        """Close a batch, give it the session's next sequence number and send it."""
        flight = Flight(self._take(self._writes), now_ms)
        self.sequence += 1
        flight.packed = msgspec.msgpack.encode(
            Batch(
                gateway=self.node,
                session=self.session,
                sequence=self.sequence,
                acknowledged=self._acknowledged,
                commands=msgspec.msgpack.encode(flight.commands),
            )
        )
        flight.commands = []
        self.flights[self.sequence] = flight
        return self._submit(leader, self.sequence, flight)

    def _submit(self, leader: NodeId, sequence: int, flight: Flight) -> Effect:
        message = Submit(
            stream=self.session,
            attempt=self._attempt,
            head=next(iter(self.flights)),
            sequence=sequence,
            batch=flight.packed,
            learner=self._learner,
        )
        return Send(to=(leader,), message=message)

    def _submit_all_again(self, leader: NodeId, now_ms: float) -> list[Effect]:
        """Send every batch under way again, in order, as a new attempt."""
        self._attempt += 1
        effects: list[Effect] = []
        for sequence, flight in self.flights.items():
            flight.asked_ms = now_ms
            flight.tries = 1
            self._retries += 1
            effects.append(self._submit(leader, sequence, flight))
        return effects

    def _send_reads(self, learner: NodeId, queue: FairQueue, now_ms: float) -> Effect:
        flight = Flight(self._take(queue), now_ms)
        flight.packed = msgspec.msgpack.encode(flight.commands)
        flight.commands = []
        flight.stale = queue is self._stale_reads
        self._read_number += 1
        flights = self._stale_flights if flight.stale else self._read_flights
        flights[self._read_number] = flight
        return self._send_read(learner, self._read_number, flight)

    def _send_read(self, learner: NodeId, number: int, flight: Flight) -> Effect:
        flight.learner = learner
        message = (
            StaleRead(read=number, commands=flight.packed)
            if flight.stale
            else Read(read=number, commands=flight.packed)
        )
        return Send(to=(learner,), message=message)

    # ------------------------------------------------------------ results

    def _on_results(self, message: Results, now_ms: float) -> list[Effect]:
        flight = self.flights.get(message.sequence)
        if flight is None or message.session != self.session or flight.replies is not None:
            return []
        flight.replies = _decode_results(message.results)
        self.confirmations.append(
            Confirmation(
                slot=message.slot,
                revision=message.revision,
                sequence=message.sequence,
                commands=flight.count,
                at_ms=now_ms,
            )
        )
        effects: list[Effect] = []
        # A later batch's results may overtake an earlier one's on the way; clients never see it.
        while self.flights:
            sequence = next(iter(self.flights))
            head = self.flights[sequence]
            if head.replies is None:
                break
            del self.flights[sequence]
            self._acknowledged = sequence
            self._writes_done += head.count
            self._write_ms.add(now_ms - head.arrived_ms)
            effects.extend(self._answer(head.origins, head.replies, now_ms))
        return effects

    def _on_read_results(self, message: ReadResults, now_ms: float) -> list[Effect]:
        stale = message.read in self._stale_flights
        flights = self._stale_flights if stale else self._read_flights
        flight = flights.get(message.read)
        if flight is None or flight.replies is not None:
            return []
        flight.replies = _decode_results(message.results)
        flight.slot = message.slot
        effects: list[Effect] = []
        while flights:
            number = next(iter(flights))
            head = flights[number]
            if head.replies is None:
                break
            if not stale and head.slot < self._read_slot:
                # Answered before an earlier read that was asked again: it must not see less.
                head.replies, head.asked_ms = None, now_ms
                if self._learner is not None:
                    effects.append(self._send_read(self._learner, number, head))
                break
            if not stale:
                self._read_slot = head.slot
            del flights[number]
            self._reads_done += head.count
            self._read_ms.add(now_ms - head.arrived_ms)
            effects.extend(self._answer(head.origins, head.replies, now_ms))
        return effects

    # ------------------------------------------------------------ backups

    def _back_up(self, now_ms: float) -> list[Effect]:
        """Pass on what clients ask for backups; what cannot be had is answered at once."""
        effects: list[Effect] = []
        while self._backups:
            chunk = self._backups.popleft()
            self._count_out(chunk)
            if chunk.connection not in self._connections:
                continue
            if part := chunk.commands[0]:
                slot, offset = part
                step = self._relay.part(chunk.connection, slot, offset, now_ms)
            else:
                step = self._relay.begin(chunk.connection, self._learner, now_ms)
            effects.extend(self._relayed(step, now_ms))
        return effects

    def _relayed(self, step: Next, now_ms: float) -> list[Effect]:
        match step:
            case None:
                return []
            case Send():
                return [step]
            case _:
                return self._answer([(step.connection, 1)], [step.reply], now_ms)

    # ------------------------------------------------------------ sessions

    def _open_session(self, now_ms: float) -> list[Effect]:
        """Ask the log for a session, again and again until one is there."""
        if self.session or self._leader is None:
            return []
        self._opening_ms = now_ms
        self._opening_tries += 1
        self._attempt += 1
        opening = msgspec.msgpack.encode(OpenSession(gateway=self.node, nonce=self._nonce))
        submit = Submit(
            stream=self._nonce, attempt=self._attempt, head=1, sequence=1, batch=opening
        )
        effects: list[Effect] = [Send(to=(self._leader,), message=submit)]
        learners = tuple(node for node in self.view.membership.learners if node in self._up)
        if learners:
            effects.append(Send(to=learners, message=SubscribeOpening(nonce=self._nonce)))
        return effects

    def _open_session_again(self, now_ms: float) -> list[Effect]:
        """Try once more after a wait that grows: each try that gets through takes a slot."""
        wait_ms = self._timeouts.retry_ms / 4 * min(self._opening_tries, 40)
        return self._open_session(now_ms) if now_ms - self._opening_ms >= wait_ms else []

    def _on_session_opened(self, message: SessionOpened, now_ms: float) -> list[Effect]:
        if message.nonce != self._nonce or self.session:
            return []
        self.session = message.session
        self._opening_tries = 0
        self.sequence = 0
        self._acknowledged = 0
        effects: list[Effect] = [
            Trace(
                what="session_opened",
                text=f"the log opened session {self.session} for this gateway",
                fields={"session": self.session},
            )
        ]
        others = tuple(
            node
            for node in self.view.membership.learners
            if node in self._up and node != self._learner
        )
        if others:
            effects.append(Send(to=others, message=Unsubscribe()))
        return [*effects, *self._subscribe()]

    def _on_sessionunknown(
        self, message: SessionUnknown, now_ms: float, dice: float
    ) -> list[Effect]:
        """The session was replaced: what was under way in it can never be asked about again."""
        if message.session != self.session or not self.session:
            return []
        flights, self.flights = self.flights, {}
        self.session = Slot(0)
        self._draw_nonce(dice)
        effects: list[Effect] = [
            Trace(
                what="session_lost",
                text="another process opened a session for this gateway's name; opening a new one",
                level=Level.ERROR,
            )
        ]
        for flight in flights.values():
            effects.extend(self._fail(flight, unknown("the session was replaced"), now_ms))
        return [*effects, *self._open_session(now_ms)]

    def _on_out_of_order(self, message: OutOfOrder, now_ms: float) -> list[Effect]:
        """A new leader got a batch chosen without its predecessor: send all again, in order."""
        if message.session != self.session or not self.flights or self._leader is None:
            return []
        head = self.flights[next(iter(self.flights))]
        if message.sequence not in self.flights or now_ms - head.asked_ms < 5:
            return []  # sent again a moment ago; this is about the attempt before
        return self._submit_all_again(self._leader, now_ms)

    # ------------------------------------------------------------ who leads, who learns

    def _on_leader_state(self, sender: NodeId, message: LeaderState, now_ms: float) -> list[Effect]:
        if message.ballot == NO_BALLOT:
            if sender == self._leader:
                self._leader = None
            if self._leader is None:
                self._state = message
            return []
        if message.ballot < self._ballot:
            return []
        owner = owner_of(message.ballot)
        if sender == owner:
            self._state = message
        if message.ballot == self._ballot and self._leader is not None:
            return []
        self._ballot = message.ballot
        self._leader = owner if owner in self._up and sender == owner else None
        return self._on_leader_found(now_ms)

    def _on_leader_found(self, now_ms: float) -> list[Effect]:
        if self._leader is None:
            return []
        found = Trace(
            what="leader_found",
            text=f"sending to leader {self._leader}, ballot {self._ballot}",
            fields={"ballot": self._ballot},
        )
        if not self.session:
            return [found, *self._open_session(now_ms)]
        return [found, *self._submit_all_again(self._leader, now_ms)]

    def _on_not_leader(self, sender: NodeId, message: NotLeader, now_ms: float) -> list[Effect]:
        if sender == self._leader:
            self._leader = None
        return []

    def _on_connected(self, peer: NodeId, cluster: str, now_ms: float) -> list[Effect]:
        self.cluster = self.cluster or cluster
        if cluster not in ("", self.cluster):
            return []  # the link closes as soon as the peer is told which cluster this one serves
        self._up.add(peer)
        if role_of(peer) is Role.LEARNER and (
            self._learner is None or peer == self._preferred_learner()
        ):
            return self._switch_learner(peer, now_ms)
        return []

    def _on_disconnected(self, peer: NodeId, now_ms: float) -> list[Effect]:
        self._up.discard(peer)
        if peer == self._leader:
            self._leader = None
        effects = self._relayed(self._relay.disconnected(peer), now_ms)
        if peer == self._learner:
            self._learner = None
            effects += self._switch_learner(self._next_learner(), now_ms)
        return effects

    def _preferred_learner(self) -> NodeId:
        learners = self.view.membership.learners
        return learners[(number_of(self.node) - 1) % len(learners)]

    def _next_learner(self) -> NodeId | None:
        """Return the connected learner after the current one, round and round."""
        learners = self.view.membership.learners
        start = learners.index(self._learner) + 1 if self._learner in learners else 0
        order = (*learners[start:], *learners[:start])
        return next((node for node in order if node in self._up), None)

    def _switch_learner(self, learner: NodeId | None, now_ms: float) -> list[Effect]:
        """Take results from another learner, and ask it again for every read under way."""
        if learner is None:
            return []
        effects: list[Effect] = []
        if self._learner is not None and self._learner != learner:
            effects.append(Send(to=(self._learner,), message=Unsubscribe()))
        self._learner = learner
        effects.extend(self._subscribe())
        for number, flight in (*self._read_flights.items(), *self._stale_flights.items()):
            if flight.learner != learner and flight.replies is None:
                flight.asked_ms = now_ms
                self._retries += 1
                effects.append(self._send_read(learner, number, flight))
        return effects

    def _subscribe(self) -> list[Effect]:
        if self._learner is None:
            return []
        if not self.session:
            message = SubscribeOpening(nonce=self._nonce)
            return [Send(to=(self._learner,), message=message)]
        subscribe = Subscribe(session=self.session, acknowledged=self._acknowledged)
        return [Send(to=(self._learner,), message=subscribe)]

    # ------------------------------------------------------------ time

    def _ask_again(self, now_ms: float) -> list[Effect]:
        """Ask again for what has waited too long: results elsewhere, batches at the leader."""
        effects: list[Effect] = []
        head = next(iter(self.flights.values()), None)
        reading = [
            next(iter(flights.items()))
            for flights in (self._read_flights, self._stale_flights)
            if flights
        ]
        late_reads = [(n, f) for n, f in reading if self._overdue(f, now_ms)]
        late_head = head is not None and self._overdue(head, now_ms)
        overdue = [flight for _, flight in late_reads]
        if head is not None and late_head:
            overdue.append(head)
        if not overdue:
            return []
        for flight in overdue:
            flight.asked_ms = now_ms
            flight.tries += 1
            self._retries += 1
        effects.extend(self._switch_learner(self._next_learner(), now_ms))
        if head is not None and late_head and self._leader is not None:
            leader = self._leader
            if head.tries % NEW_ATTEMPT_TRIES == 0:
                # Part of this attempt was lost on its way; only a new one begins at its head.
                effects.extend(self._submit_all_again(leader, now_ms))
            else:
                # The same attempt: a leader that has them already ignores them.
                effects.extend(self._submit(leader, n, f) for n, f in self.flights.items())
        learner = self._learner
        if learner is not None:
            effects.extend(
                self._send_read(learner, number, flight)
                for number, flight in late_reads
                if flight.learner == learner and flight.replies is None
            )
        return effects

    def _overdue(self, flight: Flight, now_ms: float) -> bool:
        return now_ms - flight.asked_ms > self._timeouts.retry_ms * min(flight.tries, 5)

    def _expire(self, now_ms: float) -> list[Effect]:
        """Answer what has run out of time with an error that says what is known."""
        oldest = now_ms - self._timeouts.request_ms
        effects: list[Effect] = []
        missing = self.whats_missing() or "no answer came"
        why = f"{missing} (waited {self._timeouts.request_ms / 1000:g} s)"
        for number in up_to_expired(self.flights, oldest):
            flight = self.flights[number]
            if flight.origins:
                effects.extend(self._fail(flight, unknown(why), now_ms))
        for flights in (self._read_flights, self._stale_flights):
            for number in up_to_expired(flights, oldest):
                flight = flights.pop(number)
                effects.extend(self._fail(flight, unavailable("read", why), now_ms))
        for queue, what in (
            (self._writes, "write"),
            (self._reads, "read"),
            (self._stale_reads, "read"),
        ):
            for chunk in queue.expire(oldest):
                self._count_out(chunk)
                self._errors += len(chunk.commands)
                origins = [(chunk.connection, len(chunk.commands))]
                error = unavailable(what, why)
                effects.extend(self._answer(origins, [error] * len(chunk.commands), now_ms))
        return effects

    def _fail(self, flight: Flight, error: dict[str, str], now_ms: float) -> list[Effect]:
        """Tell a flight's clients an error. A batch of writes stays under way without them."""
        origins, flight.origins = flight.origins, []
        self._errors += flight.count
        return self._answer(origins, [error] * flight.count, now_ms)

    def whats_missing(self) -> str:
        """Say in a sentence what keeps requests from being served; "" when nothing does."""
        acceptors, needed = self.view.membership.acceptors, self.view.membership.quorum_size
        if not any(node in self._up for node in self.view.membership.proposers):
            return "no proposer can be reached"
        voting = [a for a in acceptors if a in self._state.voting]
        if len(voting) < needed:
            silent = [
                f"{a} does not vote: {self._state.abstaining[a]}"
                if a in self._state.abstaining
                else f"{a} does not answer"
                for a in acceptors
                if a not in voting
            ]
            return (
                f"no quorum: {len(voting)} of {len(acceptors)} acceptors vote and {needed} are "
                f"needed; {', '.join(silent)}"
            )
        if self._leader is None:
            return "no leader is known"
        return "" if self._learner else "no learner can be reached"

    # ------------------------------------------------------------ status

    def status(self) -> GatewayStatus:
        """Return an immutable snapshot."""
        return GatewayStatus(
            leader=self._leader,
            ballot=self._ballot,
            quorum=QuorumStatus(
                needed=self.view.membership.quorum_size,
                of=len(self.view.membership.acceptors),
                voting=self._state.voting,
                abstaining=self._state.abstaining,
            ),
            learner=self._learner,
            session=self.session,
            queued=self._queued,
            inflight=len(self.flights),
            writes=self._writes_done,
            reads=self._reads_done,
            errors=self._errors,
            retries=self._retries,
            write_ms=self._write_ms.status(),
            read_ms=self._read_ms.status(),
        )
