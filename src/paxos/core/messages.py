"""Every message between nodes: one union per receiving role, named for the paper.

Messages are frozen, tagged structs, encoded as msgpack arrays. None carries a clock that
safety depends on.

One write, all roles (DESIGN "One write, each room once"):

    client-1      proposer-1 (leader)   acceptor-1..3        learner-1..2
       | Submit(batch) |                     |                    |
       |-------------->| Accept(b, s, v)     |                    |
       |               |-------------------->| persist, sync      |
       |               | Value(b, s, v)      |                    |
       |               |---------------------------------------->|
       |               |       Accepted(b,s) |   Accepted(b, s)   |
       |               |<--------------------|------------------->| quorum: chosen
       |                                                          | apply in order
       |<---------------------------------------------------------| Results

Becoming leader (phase 1, once for all open slots):

    proposer-2            acceptor-1..3          others
       | Canvass             |                     |      would you follow me? changes nothing
       |-------------------->|                     |
       |   CanvassReply      |                     |
       |<--------------------|                     |
       = counter persisted, synced                 |
       | Prepare(b, first)   |                     |
       |-------------------->| persist, sync       |
       |  Promise(b, parts)  |                     |
       |<--------------------|                     |
       | Accept for every open slot, no-ops in gaps|
       |-------------------->|                     |
       | Heartbeat(b)                              |
       |------------------------------------------>| LeaderState to gateways

A linearizable read (a quorum read, no clock; DESIGN rule 7):

    client-1              learner-1             acceptor-1..3
       | Read(id, commands)  |                     |
       |-------------------->| AskHighest(round)   |
       |                     |-------------------->|
       |                     |   Highest(round, s) |
       |                     |<--------------------|
       |                     | waits until applied >= max s of a quorum
       |      ReadResults    |
       |<--------------------|

A backup (the snapshot is taken when all that was acknowledged before is applied):

    client-1              learner-1             acceptor-1..3
       | AskBackup(request)  |                     |
       |-------------------->| AskHighest(round)   |
       |                     |-------------------->|
       |                     |   Highest(round, s) |
       |                     |<--------------------|
       |  BackupReady(slot)  | waits until applied >= s, takes a snapshot
       |<--------------------|
       | AskSnapshot(slot, 0)|
       |-------------------->|
       |    SnapshotPart     |
       |<--------------------| ... until it has all

Founding (DESIGN rule 8):

    acceptor-1 (blank)      acceptor-2..3
       | AskVolume             |
       |---------------------->|
       |     VolumeState       |
       |<----------------------|
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from .types import Ballot, NodeId, Slot


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """Base of all messages between nodes."""


# ---------------------------------------------------------------- what a slot holds


class Batch(Message, tag="b", frozen=True, kw_only=True):
    """Commands of one gateway session, in order: the unit that is applied at most once.

    `commands` is a msgpack array of commands (each an array, name first), opaque to everybody
    but the gateway that packed it and the state machine. `sequence` counts a session's batches
    from 1 without gaps. All results up to and including `acknowledged` have reached the
    gateway, so the state machine may forget them.
    """

    gateway: NodeId
    session: Slot
    sequence: int
    acknowledged: int
    commands: bytes


class OpenSession(Message, tag="o", frozen=True, kw_only=True):
    """A gateway asks the log for a new session; its id will be the slot that chose this.

    The same `nonce` chosen twice opens one session. A new session of a gateway ends its older ones.
    """

    gateway: NodeId
    nonce: int


BatchLike: TypeAlias = Batch | OpenSession


Address: TypeAlias = tuple[str, int, int]
"""Where a node is that the configuration file does not know: host, peer port, page port."""


class Members(Message, frozen=True, kw_only=True):
    """The nodes of a cluster by role, and where those are that were added since its founding."""

    acceptors: tuple[NodeId, ...]
    proposers: tuple[NodeId, ...]
    learners: tuple[NodeId, ...]
    gateways: tuple[NodeId, ...]
    addresses: dict[NodeId, Address] = {}


class Change(Message, frozen=True, kw_only=True):
    """What a slot holds that changes the members (configuring.py): those of configuration `epoch`.

    It takes effect from the next slot on, where its epoch is above the one in force.
    """

    epoch: int
    members: Members


class Envelope(Message, frozen=True, kw_only=True):
    """What a slot's value holds: the leader's wall-clock stamp and encoded `BatchLike`s.

    The stamp only ever moves the machine's notion of time forward (for expiry); a wrong one
    cannot break safety. No batches at all is a no-op.
    """

    time_ms: int
    batches: list[bytes]


# ---------------------------------------------------------------- to a proposer


class Submit(Message, tag="submit", frozen=True, kw_only=True):
    """A gateway hands a batch to the leader, as bytes that the leader need not open.

    `stream` names the sender's session (its nonce while it has none); within one
    `(stream, attempt)` the leader proposes `sequence`s without gap or repetition, beginning with
    the one that is its own `head`: the oldest that the gateway still has under way.
    `learner` is the one whose results the gateway waits for; None: it waits for any.
    """

    stream: int
    attempt: int
    head: int
    sequence: int
    batch: bytes
    learner: NodeId | None = None


class CanvassReply(Message, tag="canvass_reply", frozen=True, kw_only=True):
    """An acceptor answers a canvass.

    `leader` is the ballot of a leader that it has heard from lately, or 0: then it would follow.
    `epoch`, here and elsewhere, is that of the newest configuration its sender knows, and so no
    older than the one in force after the slots that it calls decided.
    """

    round: int
    promised: Ballot
    leader: Ballot
    decided: Slot
    epoch: int = 0


class AcceptedValue(Message, frozen=True, kw_only=True):
    """One accepted proposal: the highest ballot an acceptor accepted in a slot, with its value."""

    slot: Slot
    ballot: Ballot
    value: bytes


class Promise(Message, tag="promise", frozen=True, kw_only=True):
    """An acceptor promises `ballot` and tells what it accepted in slots first..last (phase 1b).

    `first` and `last` repeat the Prepare. A long answer comes in parts, each of which speaks for
    slots begin..end; an `end` of 0 means "and every later slot". An acceptor's promise counts when
    its parts cover all that was asked. Parts of several answers may meet: what an acceptor has
    accepted below `ballot` cannot change any more once it has promised. Slots up to `base` are
    decided, and the acceptor has cut them off: nothing may be proposed there.
    """

    ballot: Ballot
    first: Slot
    last: Slot
    begin: Slot
    end: Slot
    accepted: list[AcceptedValue]
    base: Slot = Slot(0)
    epoch: int = 0


class Accepted(Message, tag="accepted", frozen=True, kw_only=True):
    """An acceptor has accepted, durably (phase 2b). To the learners and the ballot's proposer."""

    ballot: Ballot
    slot: Slot


class Nack(Message, tag="nack", frozen=True, kw_only=True):
    """An acceptor refuses `ballot`: it promised `promised`, which is higher."""

    ballot: Ballot
    promised: Ballot


class Abstain(Message, tag="abstain", frozen=True, kw_only=True):
    """An acceptor does not vote at all (rule 8), and why."""

    reason: str


class Heartbeat(Message, tag="heartbeat", frozen=True, kw_only=True):
    """The leader lives; slots up to `decided` are decided. To acceptors and the other proposers,
    and now and then to learners."""

    ballot: Ballot
    decided: Slot
    round: int
    epoch: int = 0


class HeartbeatReply(Message, tag="heartbeat_reply", frozen=True, kw_only=True):
    """An acceptor heard the heartbeat of the ballot that it follows."""

    ballot: Ballot
    round: int


UNSTICK_SLOTS_MAX = 64
"""How many slots one `Unstick` asks for: the leader prepares so many again at once."""


class Unstick(Message, tag="unstick", frozen=True, kw_only=True):
    """A learner cannot get past `first`..`last`: the leader shall see that each gets decided.

    Slots above what the leader has proposed are filled with no-ops; slots that it takes for
    decided are prepared again at its own ballot and their values proposed again.
    """

    first: Slot
    last: Slot


class Tick(Message, tag="tick", frozen=True, kw_only=True):
    """A key's deadline has passed by a learner's clock: propose an empty, stamped value."""

    deadline_ms: int


# ---------------------------------------------------------------- to an acceptor


class Canvass(Message, tag="canvass", frozen=True, kw_only=True):
    """Would you follow me? Changes nothing at the acceptor; keeps the hopeless from disturbing."""

    round: int


class Prepare(Message, tag="prepare", frozen=True, kw_only=True):
    """Phase 1a for slots `first`..`last` (0: and every later slot)."""

    ballot: Ballot
    first: Slot
    last: Slot


class Accept(Message, tag="accept", frozen=True, kw_only=True):
    """Phase 2a. Slots up to `decided` are decided.

    Nobody waits for this slot's votes at the nodes in `relaxed`: theirs may travel later, with
    others (`effects.Send`).
    """

    ballot: Ballot
    slot: Slot
    value: bytes
    decided: Slot
    relaxed: tuple[NodeId, ...] = ()
    epoch: int = 0


class AskHighest(Message, tag="ask_highest", frozen=True, kw_only=True):
    """A learner asks for the highest slot accepted (quorum read)."""

    round: int


class AskVotes(Message, tag="ask_votes", frozen=True, kw_only=True):
    """A learner asks what was voted in slots `first`..`last`."""

    first: Slot
    last: Slot


class AskValues(Message, tag="ask_values", frozen=True, kw_only=True):
    """A learner asks for the accepted values of slots `first`..`last`, as many as fit a message."""

    first: Slot
    last: Slot


class AskVolume(Message, tag="ask_volume", frozen=True, kw_only=True):
    """An acceptor asks another about its volume (founding)."""


class Reminder(Message, tag="reminder", frozen=True, kw_only=True):
    """A learner reminds an acceptor of the highest slot that it has told it a vote for in its
    earlier lives, and of the highest ballot; a volume that this life began with and that did not
    hold as much has forgotten."""

    slot: Slot
    ballot: Ballot


class VolumeState(Message, tag="volume_state", frozen=True, kw_only=True):
    """An acceptor's volume: phase is `blank`, `formatted` (founding), `open` or `barred`."""

    cluster: str
    phase: str


# ---------------------------------------------------------------- snapshots


class SnapshotOffer(Message, tag="snapshot_offer", frozen=True, kw_only=True):
    """A learner has taken a snapshot and offers it to an acceptor, which asks for its parts."""

    slot: Slot
    size: int
    epoch: int = 0


class AskSnapshot(Message, tag="ask_snapshot", frozen=True, kw_only=True):
    """Whoever lacks a snapshot asks one that has it for the part at `offset`; `slot` 0: of the
    newest."""

    slot: Slot
    offset: int


class SnapshotPart(Message, tag="snapshot_part", frozen=True, kw_only=True):
    """Bytes of the snapshot of `slot`, `size` bytes in all, from `offset` on. When another was
    asked for, that one is gone, and this is where the newest begins. `size` 0: there is none.
    """

    slot: Slot
    size: int
    offset: int
    data: bytes
    epoch: int = 0


class SnapshotKept(Message, tag="snapshot_kept", frozen=True, kw_only=True):
    """An acceptor keeps the snapshot of `slot`, durably; its log begins after `base`."""

    slot: Slot
    base: Slot


class AskBackup(Message, tag="ask_backup", frozen=True, kw_only=True):
    """A gateway wants its learner to take a snapshot that holds everything acknowledged so far."""

    request: int


class BackupReady(Message, tag="backup_ready", frozen=True, kw_only=True):
    """The snapshot of `slot`, of `size` bytes, is what was asked for: `AskSnapshot` gets its parts.
    With an `error`, as a client is told it, there is none.
    """

    request: int
    slot: Slot
    size: int
    error: str = ""


# ---------------------------------------------------------------- members


class Configuration(Message, tag="configuration", frozen=True, kw_only=True):
    """A decided fact: slots up to `slot` are decided, the last of them holds the change of `epoch`,
    chosen at `ballot` or below, and these are the members for the slots after it, until the next
    change. Whoever knows a newer one tells it.
    """

    epoch: int
    slot: Slot
    ballot: Ballot
    members: Members


class AskConfiguration(Message, tag="ask_configuration", frozen=True, kw_only=True):
    """Somebody spoke of a newer epoch: which configuration is that?"""


class Joining(Message, tag="joining", frozen=True, kw_only=True):
    """An acceptor that is no member yet would become one, and wants to be sent what is proposed."""


class AskWhole(Message, tag="ask_whole", frozen=True, kw_only=True):
    """The leader of `ballot` calls slots up to `decided` decided: up to which of them does this
    acceptor hold what was chosen?
    """

    ballot: Ballot
    decided: Slot
    epoch: int


class Whole(Message, tag="whole", frozen=True, kw_only=True):
    """This acceptor holds what was chosen in every slot up to `slot`, in its log or a snapshot."""

    ballot: Ballot
    slot: Slot


class ChangeMembers(Message, tag="change_members", frozen=True, kw_only=True):
    """A gateway asks the leader for a change: `node` shall be a member (`add`), or shall not.

    `address` is where it is, for one that the configuration file does not know.
    """

    request: int
    add: bool
    node: NodeId
    address: Address | None = None


class MembersChanged(Message, tag="members_changed", frozen=True, kw_only=True):
    """The members are as was asked for, in configuration `epoch`; or the change was not even
    proposed, with an `error` as a client is told it.
    """

    request: int
    epoch: int
    error: str = ""


# ---------------------------------------------------------------- to a learner


class Value(Message, tag="value", frozen=True, kw_only=True):
    """The leader proposed this value, beside the votes, so that a vote need not carry it."""

    ballot: Ballot
    slot: Slot
    value: bytes


class Highest(Message, tag="highest", frozen=True, kw_only=True):
    """An acceptor's highest accepted slot."""

    round: int
    slot: Slot


class Votes(Message, tag="votes", frozen=True, kw_only=True):
    """The slot and ballot of what an acceptor accepted in slots `first`..`last`.

    `highest` is its highest accepted slot. Slots up to `base` are decided and cut off: only a
    snapshot tells what they did.
    """

    first: Slot
    last: Slot
    highest: Slot
    votes: list[tuple[Slot, Ballot]]
    base: Slot = Slot(0)
    epoch: int = 0


class Values(Message, tag="values", frozen=True, kw_only=True):
    """Accepted values, in slot order; may end before the `last` that was asked."""

    values: list[AcceptedValue]


class Subscribe(Message, tag="subscribe", frozen=True, kw_only=True):
    """A gateway wants this learner to send its session's results after `acknowledged`."""

    session: Slot
    acknowledged: int


class SubscribeOpening(Message, tag="subscribe_opening", frozen=True, kw_only=True):
    """A gateway that has no session yet wants to be told when `nonce` gets one."""

    nonce: int


class Unsubscribe(Message, tag="unsubscribe", frozen=True, kw_only=True):
    """A gateway wants no more results from this learner."""


class Read(Message, tag="read", frozen=True, kw_only=True):
    """Linearizable reads: a msgpack array of read-only commands."""

    read: int
    commands: bytes


class StaleRead(Message, tag="stale_read", frozen=True, kw_only=True):
    """Reads of whatever this learner has applied: an explicit choice of the client."""

    read: int
    commands: bytes


# ---------------------------------------------------------------- to a gateway


class LeaderState(Message, tag="leader_state", frozen=True, kw_only=True):
    """A proposer's view of who leads. `ballot` 0: nobody that it knows of.

    `voting` are the acceptors that answer it; `abstaining` those that refuse to vote, with why.
    """

    ballot: Ballot
    voting: list[NodeId]
    abstaining: dict[NodeId, str]


class NotLeader(Message, tag="not_leader", frozen=True, kw_only=True):
    """A proposer that does not lead was given a batch; it did nothing with it."""

    stream: int
    sequence: int
    ballot: Ballot


class Results(Message, tag="results", frozen=True, kw_only=True):
    """A batch was chosen in `slot` and applied; `results` is a msgpack array, one per command.

    `revision` is the machine's revision after the batch.
    """

    session: Slot
    sequence: int
    slot: Slot
    revision: int
    results: bytes


class SessionOpened(Message, tag="session_opened", frozen=True, kw_only=True):
    """The session that `nonce` asked for."""

    nonce: int
    session: Slot


class SessionUnknown(Message, tag="session_unknown", frozen=True, kw_only=True):
    """The log knows no such session of this gateway any more; a newer one has replaced it."""

    session: Slot


class OutOfOrder(Message, tag="out_of_order", frozen=True, kw_only=True):
    """A batch was chosen before its predecessor and so was not applied; `expected` is due."""

    session: Slot
    sequence: int
    expected: int


class ReadResults(Message, tag="read_results", frozen=True, kw_only=True):
    """Results of a read, at the state after `slot`."""

    read: int
    slot: Slot
    revision: int
    results: bytes


# ---------------------------------------------------------------- to discovery, and back


class Register(Message, tag="register", frozen=True, kw_only=True):
    """A node says where it is, who it is, and how it sees the cluster. Renewed, and expires."""

    node: NodeId
    host: str
    peer_port: int
    page_port: int
    incarnation: int
    cluster: str
    leader: Ballot
    summary: str


class Registration(Message, frozen=True, kw_only=True):
    """One entry of discovery's book."""

    node: NodeId
    host: str
    peer_port: int
    page_port: int
    incarnation: int


class Book(Message, tag="book", frozen=True, kw_only=True):
    """Discovery's address book as it stands, to any node that registers.

    The links of a node read it, no role does.
    """

    entries: list[Registration]


Outcome: TypeAlias = Results | SessionOpened | SessionUnknown | OutOfOrder

ProposerMessage: TypeAlias = (
    Submit
    | CanvassReply
    | Promise
    | Accepted
    | Nack
    | Abstain
    | Heartbeat
    | HeartbeatReply
    | Unstick
    | Tick
    | Configuration
    | AskConfiguration
    | Joining
    | Whole
    | ChangeMembers
)
AcceptorMessage: TypeAlias = (
    Canvass
    | Prepare
    | Accept
    | Heartbeat
    | AskHighest
    | AskVotes
    | AskValues
    | AskVolume
    | VolumeState
    | Reminder
    | SnapshotOffer
    | AskSnapshot
    | SnapshotPart
    | SnapshotKept
    | Votes
    | Values
    | Configuration
    | AskConfiguration
    | AskWhole
)
LearnerMessage: TypeAlias = (
    Value
    | Accepted
    | Highest
    | Votes
    | Values
    | Subscribe
    | SubscribeOpening
    | Unsubscribe
    | Heartbeat
    | Read
    | StaleRead
    | AskSnapshot
    | SnapshotPart
    | SnapshotKept
    | AskBackup
    | Configuration
    | AskConfiguration
)
GatewayMessage: TypeAlias = (
    LeaderState
    | NotLeader
    | Outcome
    | ReadResults
    | BackupReady
    | SnapshotPart
    | Configuration
    | AskConfiguration
    | MembersChanged
)
DiscoveryMessage: TypeAlias = Register | Configuration | AskConfiguration
AnyMessage: TypeAlias = (
    ProposerMessage | AcceptorMessage | LearnerMessage | GatewayMessage | DiscoveryMessage | Book
)
