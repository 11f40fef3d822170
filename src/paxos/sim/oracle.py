"""What no node can see and everybody must agree on: the checks on a whole simulated cluster.

The oracle watches what leaves each node, and what each learner applies, and compares it with all
that ever happened, in every life of every node:

- one value per slot for ever: by the votes that acceptors told, by their journals, by what learners
  applied; and a higher ballot proposes what was chosen ("Paxos Made Simple", P2b);
- a ballot belongs to one life of one proposer, and each one's ballots rise (rule 1);
- what an acceptor tells is on its disk, its promises never fall, across restarts too (rule 3);
- who has forgotten what it had told does not vote (rule 8);
- learners get the same results from the same slot, and are byte-identical there (rule 5);
- a batch is applied in one slot (rule 6), whichever state a learner has taken over;
- what an acceptor catches up with is what was chosen, and what is cut off stays known (rule 9:
  upkeep.py); a learner that takes over a snapshot has the state that others had there.

Client histories are judged elsewhere (linearizability.py). A broken rule raises `SafetyViolation`.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple, Protocol

import msgspec

from paxos.core.configuring import change_in, membership_of
from paxos.core.effects import Event, Received, Send
from paxos.core.errors import PaxosError
from paxos.core.messages import (
    Accept,
    Accepted,
    Batch,
    CanvassReply,
    Change,
    Heartbeat,
    Highest,
    Outcome,
    Prepare,
    Promise,
    Values,
    Votes,
)
from paxos.core.types import NO_BALLOT, Ballot, NodeId, Role, Slot, role_of
from paxos.machine.machine import Machine
from paxos.machine.snapshot import Restoring

from .upkeep import Upkeep, lacking
from .world import SimulatedNode, World

DIGEST_EVERY_SLOTS = 16
"""How often learners' whole states are compared: a digest is linear in the state."""


class SafetyViolation(PaxosError):
    """A rule of docs/safety.md was broken."""


class LivenessFailure(PaxosError):
    """Nothing stood in the way of progress, and there was none within the bound."""


class Listener(Protocol):
    """Who acts for the clients."""

    def delivered(self, connection: int, replies: list[Any]) -> None:
        """A client is told replies."""
        ...

    def crashed(self, node: SimulatedNode) -> None:
        """A node has died."""
        ...


class WatchedMachine(Machine):
    """The real state machine, which tells the oracle what it applies."""

    def __init__(self, node: NodeId, oracle: Oracle) -> None:
        super().__init__()
        self._node = node
        self._oracle = oracle

    def apply(self, slot: Slot, value: bytes) -> list[tuple[NodeId, Outcome]]:
        """Apply a slot; see `Machine.apply`."""
        outcomes = super().apply(slot, value)
        self._oracle.applied(self._node, self, slot, value, outcomes)
        return outcomes

    def adopt(self, restoring: Restoring) -> None:
        """Take over a snapshot's state; see `Machine.adopt`."""
        before = self.applied
        super().adopt(restoring)
        self._oracle.adopted(self._node, self, before)

    def _apply_batch(self, slot: Slot, batch: Batch) -> Outcome | None:
        before = self._store.revision
        outcome = super()._apply_batch(slot, batch)
        if self._store.revision != before:
            self._oracle.took_effect(slot, batch)
        return outcome


class Term(NamedTuple):
    """A configuration: its acceptors count in slots after `slot`, at ballots from `ballot` on."""

    epoch: int
    slot: Slot
    ballot: Ballot
    acceptors: tuple[NodeId, ...]

    def chooses(self, votes: set[NodeId]) -> bool:
        """Tell whether these have a quorum among them. Counted here, and not asked of the code
        under test."""
        return len(votes & set(self.acceptors)) >= len(self.acceptors) // 2 + 1


class Oracle:
    """An `Observer` of one world. Counts what happened, and hashes it."""

    def __init__(self, world: World) -> None:
        self._world = world
        # Which acceptors count from which slot on, and votes of which ballots: the log's changes.
        self._terms: list[Term] = [Term(0, Slot(0), NO_BALLOT, world.founding.acceptors)]
        self._decided = Slot(0)
        self._encode = msgspec.msgpack.Encoder().encode
        self._hash = hashlib.blake2b(digest_size=16)
        self._proposed: dict[Slot, dict[Ballot, bytes]] = {}
        self._votes: dict[tuple[Slot, Ballot], set[NodeId]] = {}
        self._voted: dict[NodeId, dict[Slot, Ballot]] = {}
        self.chosen: dict[Slot, tuple[Ballot, bytes]] = {}
        self._told: dict[NodeId, Ballot] = {}
        self._forgetful: set[NodeId] = set()
        self._ballots: dict[Ballot, tuple[NodeId, int]] = {}
        self._highest_ballot: dict[NodeId, Ballot] = {}
        self._applied: dict[Slot, tuple[bytes, list[tuple[NodeId, Outcome]]]] = {}
        self._digests: dict[Slot, str] = {}
        self._batches: dict[tuple[NodeId, Slot, int], Slot] = {}
        self.upkeep = Upkeep(world.founding.acceptors, self._check)
        self.epochs = 0
        self.adoptions = 0
        self.leaders: set[Ballot] = set()
        self.crashes: dict[str, int] = {}
        self.listener: Listener | None = None
        world.observer = self
        world.make_machine = lambda node: WatchedMachine(node, self)

    def trace_hash(self) -> str:
        """Return a digest of everything that was sent, told and applied so far, with its time."""
        return self._hash.hexdigest()

    # ------------------------------------------------------------ lives

    def started(self, node: SimulatedNode) -> None:
        """Compare what a node finds on its disk with what its earlier lives told."""
        self._note("start", node.name, node.life)
        if role_of(node.name) is not Role.ACCEPTOR or node.journal is None:
            return
        told = self._told.get(node.name, NO_BALLOT)
        recovered = node.journal.recovered
        if recovered.damage is not None or (recovered.stamp is None and told):
            if told:
                self._forgetful.add(node.name)
            return
        self._check(
            recovered.promised >= told,
            f"{node.name} told a promise of ballot {told} and finds {recovered.promised} on disk",
        )
        self.upkeep.found(node)
        for slot, ballot in self._voted.get(node.name, {}).items():
            entry = node.journal.durable_entry(slot)
            self._check(
                slot <= recovered.base or (entry is not None and entry.ballot >= ballot),
                f"{node.name} told a vote for slot {slot} at ballot {ballot} and has lost it",
            )

    def crashed(self, node: SimulatedNode, why: str) -> None:
        """Note a death."""
        self._note("crash", node.name, why)
        self.upkeep.synced(node, self.decided)
        self.crashes[why] = self.crashes.get(why, 0) + 1
        if self.listener is not None:
            self.listener.crashed(node)

    def stepped(self, node: SimulatedNode, event: Event) -> None:
        """Judge what an acceptor has caught up with."""
        if (
            type(event) is not Received
            or type(event.message) is not Values
            or role_of(node.name) is not Role.ACCEPTOR
            or node.journal is None
        ):
            return
        for told in event.message.values:
            if (told.slot, told.ballot) in node.journal.votes(told.slot, told.slot):
                chosen = self.chosen.get(told.slot)
                self._check(
                    chosen is not None and chosen[1] == told.value,
                    f"{node.name} caught up with slot {told.slot} at ballot {told.ballot}, whose "
                    "value was not chosen",
                )

    def synced(self, node: SimulatedNode) -> None:
        """Judge what has become durable."""
        self.upkeep.synced(node, self.decided)

    def taking(self, node: SimulatedNode, slot: Slot) -> None:
        """Remember the state that a snapshot is to hold."""
        self._note("taking", node.name, slot)
        machine = self._world.role(node.name).machine
        self._check(
            machine.applied == slot,
            f"{node.name} takes a snapshot of slot {slot} and has applied {machine.applied}",
        )
        self._check_digest(node.name, machine)

    def kept(self, node: SimulatedNode) -> None:
        """Note a snapshot that has become durable."""
        self._note("kept", node.name)
        self.upkeep.kept(node)

    def lacking(self, node: SimulatedNode) -> list[Slot]:
        """Return the decided slots in which an acceptor could not stand in for another."""
        return lacking(node, self.decided, self.chosen)

    # ------------------------------------------------------------ messages

    def sent(self, node: SimulatedNode, effect: Send) -> None:
        """Judge a message that leaves a node."""
        message = effect.message
        self._note(node.name, effect.to, message)
        kind = type(message)
        if kind is Promise or kind is Votes:
            self.upkeep.check_told(node, message.base)  # type: ignore[union-attr]
        if kind is Accept or kind is Heartbeat or kind is CanvassReply:
            self._check_decided(node, message.decided)  # type: ignore[union-attr]
        if kind is Accept:
            self._on_accept(node, message)  # type: ignore[arg-type]
        elif kind is Accepted:
            self._on_accepted(node, message)  # type: ignore[arg-type]
        elif kind is Promise:
            self._on_promise(node, message)  # type: ignore[arg-type]
        elif kind is Prepare:
            self._on_prepare(node, message)  # type: ignore[arg-type]
        elif kind is Heartbeat:
            self.leaders.add(message.ballot)  # type: ignore[union-attr]
        elif kind is Votes:
            self._on_votes(node, message)  # type: ignore[arg-type]
        elif kind is Highest:
            self._check_remembers(node, "answered a learner")

    def _check_decided(self, node: SimulatedNode, decided: Slot) -> None:
        """Whoever says "decided" means: chosen, and every slot before it too. A new leader begins
        above it.
        """
        self._check(
            decided <= self.decided,
            f"{node.name} says that slots up to {decided} are decided, and {self._decided + 1} is "
            "not chosen",
        )

    @property
    def decided(self) -> Slot:
        """The slot up to which every one is chosen."""
        while Slot(self._decided + 1) in self.chosen:
            self._decided = Slot(self._decided + 1)
        return self._decided

    def _on_prepare(self, node: SimulatedNode, message: Prepare) -> None:
        ballot = message.ballot
        owner = self._ballots.setdefault(ballot, (node.name, node.life))
        self._check(
            owner == (node.name, node.life),
            f"{node.name} prepares ballot {ballot} again, which {owner[0]} used in its life "
            f"{owner[1]}",
        )
        highest = self._highest_ballot.get(node.name, NO_BALLOT)
        self._check(ballot >= highest, f"{node.name} prepares ballot {ballot} after {highest}")
        self._highest_ballot[node.name] = ballot

    def _on_accept(self, node: SimulatedNode, message: Accept) -> None:
        slot, ballot, value = message.slot, message.ballot, message.value
        owner = self._ballots.get(ballot)
        self._check(
            owner == (node.name, node.life),
            f"{node.name} proposes at ballot {ballot}, which it did not prepare in this life",
        )
        proposed = self._proposed.setdefault(slot, {})
        before = proposed.setdefault(ballot, value)
        self._check(
            before == value, f"{node.name} proposes two values in slot {slot} at ballot {ballot}"
        )
        chosen = self.chosen.get(slot)
        self._check(
            chosen is None or ballot <= chosen[0] or value == chosen[1],
            f"{node.name} proposes another value in slot {slot} at ballot {ballot} than the one "
            f"that was chosen at ballot {chosen[0] if chosen else 0}",
        )

    def _on_promise(self, node: SimulatedNode, message: Promise) -> None:
        self._check_remembers(node, "promised")
        self._tell(node, message.ballot)

    def _on_votes(self, node: SimulatedNode, message: Votes) -> None:
        """A vote may be told here first: its acceptor died between the sync and the telling."""
        self._check_remembers(node, "told votes")
        for slot, ballot in message.votes:
            if self._voted.get(node.name, {}).get(slot) != ballot:
                self._on_vote(node, slot, ballot)

    def _on_accepted(self, node: SimulatedNode, message: Accepted) -> None:
        self._check_remembers(node, "voted")
        self._tell(node, message.ballot)
        self._on_vote(node, message.slot, message.ballot)

    def _on_vote(self, node: SimulatedNode, slot: Slot, ballot: Ballot) -> None:
        value = self._proposed.get(slot, {}).get(ballot)
        if node.journal is not None and slot <= node.journal.durable_base:
            # Cut off: it is chosen. At a ballot below the one at which it was chosen, an Accept
            # that was long on its way may hold another value: a vote for that is true and too few.
            chosen = self.chosen.get(slot)
            self._check(
                chosen is not None
                and value is not None
                and (value == chosen[1] or ballot < chosen[0]),
                f"{node.name} tells a vote for slot {slot} at ballot {ballot}, which it has cut "
                "off, and another value was chosen there",
            )
            self._add_vote(node.name, slot, ballot, value)
            return
        entry = node.journal.durable_entry(slot) if node.journal else None
        # One turn may vote twice in a slot: then the disk holds the later vote.
        held = entry is not None and entry.ballot >= ballot
        self._check(
            held and entry is not None and (entry.ballot > ballot or entry.value == value),
            f"{node.name} tells a vote for slot {slot} at ballot {ballot} that its disk does not "
            "hold",
        )
        voted = self._voted.setdefault(node.name, {})
        voted[slot] = max(ballot, voted.get(slot, NO_BALLOT))
        self._add_vote(node.name, slot, ballot, value)

    def _add_vote(self, name: NodeId, slot: Slot, ballot: Ballot, value: bytes | None) -> None:
        self._votes.setdefault((slot, ballot), set()).add(name)
        if value is not None:
            self._count(slot, ballot, value)

    def _count(self, slot: Slot, ballot: Ballot, value: bytes) -> None:
        term = next(term for term in reversed(self._terms) if term.slot < slot)
        if ballot >= term.ballot and term.chooses(self._votes[slot, ballot]):
            self._choose(slot, ballot, value)

    def _choose(self, slot: Slot, ballot: Ballot, value: bytes) -> None:
        chosen = self.chosen.get(slot)
        if chosen is None or ballot < chosen[0]:
            self.chosen[slot] = (ballot, value)
        if chosen is None and (change := change_in(value)) is not None:
            self._reconfigure(slot, ballot, change)
        self._check(
            chosen is None or chosen[1] == value,
            f"slot {slot}: one value was chosen at ballot {chosen[0] if chosen else 0} and "
            f"another at ballot {ballot}",
        )
        for later, other in self._proposed.get(slot, {}).items():
            self._check(
                later <= ballot or other == value,
                f"slot {slot}: chosen at ballot {ballot}, but {later} proposed another value",
            )

    def _reconfigure(self, slot: Slot, ballot: Ballot, change: Change) -> None:
        """A change of the members is chosen: from the next slot on others count (rule 11)."""
        before = self._terms[-1]
        if change.epoch <= before.epoch:
            return
        self._check(
            self.decided >= slot,
            f"slot {slot} changes the members, and {self._decided + 1} before it is not chosen",
        )
        furthest = max(self._applied, default=slot)
        self._check(
            furthest <= slot,
            f"slot {slot} changes the members, and {furthest} was applied by the old ones' votes",
        )
        # What the old ones have voted for after it was never chosen: it takes the new ones.
        for later in [later for later in self.chosen if later > slot]:
            del self.chosen[later]
        acceptors = change.members.acceptors
        self._check(
            len(set(acceptors) ^ set(before.acceptors)) <= 1,
            f"epoch {change.epoch} changes more than one acceptor",
        )
        self.epochs += 1
        self._terms.append(Term(change.epoch, slot, ballot, acceptors))
        self.upkeep.reconfigured(acceptors)
        world = self._world
        world.membership = membership_of(change.members, world.founding.discovery)
        # Votes for later slots may have been told already.
        for (later, at), _ in list(self._votes.items()):
            value = self._proposed.get(later, {}).get(at)
            if later > slot and value is not None:
                self._count(later, at, value)

    def _tell(self, node: SimulatedNode, ballot: Ballot) -> None:
        told = self._told.get(node.name, NO_BALLOT)
        self._check(
            ballot >= told, f"{node.name} takes part in ballot {ballot} after it promised {told}"
        )
        durable = node.journal.durable.promised if node.journal else NO_BALLOT
        self._check(
            durable >= ballot,
            f"{node.name} tells a promise of ballot {ballot}, and its disk holds {durable}",
        )
        self._told[node.name] = ballot

    def _check_remembers(self, node: SimulatedNode, did: str) -> None:
        self._check(
            node.name not in self._forgetful,
            f"{node.name} {did} on a volume that forgot what it had told before",
        )

    # ------------------------------------------------------------ learners, clients

    def applied(
        self,
        node: NodeId,
        machine: Machine,
        slot: Slot,
        value: bytes,
        outcomes: list[tuple[NodeId, Outcome]],
    ) -> None:
        """Judge what a learner applied and what came out."""
        self._note("applied", node, slot)
        chosen = self.chosen.get(slot)
        self._check(chosen is not None, f"{node} applied slot {slot}, which is not chosen")
        self._check(
            chosen is not None and chosen[1] == value,
            f"{node} applied another value in slot {slot} than the chosen one",
        )
        first = self._applied.setdefault(slot, (value, outcomes))
        self._check(first[1] == outcomes, f"learners got different results from slot {slot}")
        if slot % DIGEST_EVERY_SLOTS == 0 or slot in self._digests:
            self._check_digest(node, machine)

    def adopted(self, node: NodeId, machine: Machine, before: Slot) -> None:
        """Judge the state that a learner has taken over: somebody had it, when it was taken."""
        slot = machine.applied
        self._note("adopted", node, slot)
        self.adoptions += 1
        self._check(slot > before, f"{node} went back from slot {before} to {slot}")
        self._check(slot in self._digests, f"{node} took over a state that nobody has had")
        self._check_digest(node, machine)

    def _check_digest(self, node: NodeId, machine: Machine) -> None:
        digest = machine.digest()
        self._check(
            self._digests.setdefault(machine.applied, digest) == digest,
            f"{node} differs from another learner after slot {machine.applied}",
        )

    def took_effect(self, slot: Slot, batch: Batch) -> None:
        """Judge a batch that changed the state: it may do so in one slot alone."""
        # A slot may open sessions of several gateways, which then share its number.
        batch_id = (batch.gateway, batch.session, batch.sequence)
        at = self._batches.setdefault(batch_id, slot)
        self._check(
            at == slot,
            f"batch {batch.sequence} of {batch.gateway}'s session {batch.session} took effect in "
            f"slots {at} and {slot}",
        )

    def delivered(self, connection: int, replies: list[Any]) -> None:
        """Note what a client is told; its history is judged at the end."""
        self._note("told", connection, replies)
        if self.listener is not None:
            self.listener.delivered(connection, replies)

    # ------------------------------------------------------------ helpers

    def _note(self, *what: Any) -> None:
        self._hash.update(self._encode((self._world.now_ms, what)))

    def _check(self, holds: bool, what: str) -> None:
        if not holds:
            raise SafetyViolation(what)
