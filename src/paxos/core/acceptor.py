"""The acceptor: durable promises and votes, the only memory that safety rests on.

Implements phases 1b and 2b of "Paxos Made Simple" (section 2.2) for every slot of the log, and
the acceptor of "Paxos Made Moderately Complex" (section 2.1). It refuses to know what values
mean, to decide anything, and to vote on a volume that it cannot vouch for (DESIGN rule 8).

Founding. A blank volume becomes a member only when the cluster is provably new: every other
configured acceptor answers and is blank or formatted in this same founding, and no node that is
connected belongs to a cluster that already lives. The first configured acceptor draws the
cluster's identity, the others adopt it. Nobody votes before every acceptor is formatted (one that
meets an open one of its cluster knows that they were), so whoever is found blank while another is
`open` has lost its volume, and stays barred.

Joining. A volume may also be made for a living cluster, by an operator (`paxos member`): its
acceptor writes down what leaders propose and catches up with the rest (keeping.py), and tells
nobody a vote until a configuration that names it is decided.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

import msgspec

from .configuring import View
from .effects import (
    AcceptedEntry,
    AcceptedLog,
    CancelTimer,
    Configured,
    Connected,
    Cut,
    Disconnected,
    Drained,
    Effect,
    Event,
    PartWritten,
    Persist,
    Promised,
    Received,
    Recovered,
    Relink,
    Send,
    SetTimer,
    SnapshotFailed,
    Snapshots,
    Stamped,
    Start,
    TimerFired,
)
from .errors import VolumeDamaged
from .keeping import UPKEEP, Keeping, KeepingStatus, NoSnapshots
from .messages import (
    Abstain,
    Accept,
    Accepted,
    AcceptedValue,
    AcceptorMessage,
    AskConfiguration,
    AskHighest,
    AskSnapshot,
    AskValues,
    AskVolume,
    AskVotes,
    AskWhole,
    Canvass,
    CanvassReply,
    Configuration,
    Heartbeat,
    HeartbeatReply,
    Highest,
    Joining,
    Nack,
    Prepare,
    Promise,
    Reminder,
    SnapshotKept,
    SnapshotOffer,
    SnapshotPart,
    Values,
    VolumeState,
    Votes,
    Whole,
)
from .quorum import Membership
from .settings import Settings
from .trace import Level, Trace
from .types import (
    NO_BALLOT,
    Ballot,
    NodeId,
    Role,
    Slot,
    owner_of,
    place_of,
    proposer_number_of,
    role_of,
)

_JOINS = (
    Accept,
    Heartbeat,
    SnapshotOffer,
    SnapshotPart,
    SnapshotKept,
    Votes,
    Values,
    AskWhole,
)
"""What an acceptor that is no member yet takes in: whatever makes it whole."""


class Phase(StrEnum):
    """Where a volume stands. Only an `open` acceptor votes."""

    BLANK = "blank"
    FORMATTED = "formatted"
    JOINING = "joining"
    OPEN = "open"
    BARRED = "barred"
    REMOVED = "removed"


class AcceptorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable snapshot for pages, metrics and the monitor."""

    phase: str
    reason: str
    cluster: str
    promised: Ballot
    highest_slot: Slot
    decided: Slot
    leader_ballot: Ballot
    epoch: int
    accepts: int
    nacks: int
    keeping: KeepingStatus


class Acceptor:
    """One acceptor as a step function over its durable state."""

    def __init__(
        self,
        node: NodeId,
        membership: Membership,
        settings: Settings,
        log: AcceptedLog,
        recovered: Recovered,
        snapshots: Snapshots | None = None,
    ) -> None:
        self.node = node
        self.log = log
        self.view = View(membership, recovered.configuration)
        self.keeping = Keeping(node, self.view, settings, log, snapshots or NoSnapshots())
        self.promised = recovered.promised
        self.decided = max(recovered.decided, recovered.base)
        # The highest ballot of a leader that raised `decided`; none that was heard of is above
        # the promise.
        self._claimed = recovered.promised
        self.cluster = recovered.stamp.cluster if recovered.stamp else ""
        joining = recovered.stamp is not None and recovered.stamp.phase == Phase.JOINING.value
        self.phase = Phase.JOINING if joining else Phase.BLANK
        self.reason = ""
        self._founders = membership.acceptors
        self._timeouts = settings.timeouts
        self._limits = settings.limits
        self._others = tuple(a for a in membership.acceptors if a != node)
        self._recovered = recovered
        self._began_with = log.highest_slot, recovered.promised
        self._volumes: dict[NodeId, VolumeState] = {}
        self._living: dict[NodeId, str] = {}
        self._leader = NO_BALLOT
        self._leader_heard_ms = 0.0
        self._accepts = 0
        self._nacks = 0

    @property
    def voting(self) -> bool:
        """Whether this acceptor takes part in ballots."""
        return self.phase is Phase.OPEN

    @property
    def joining(self) -> bool:
        """Whether this acceptor writes down what is proposed, and tells nobody."""
        return self.phase is Phase.JOINING

    # ------------------------------------------------------------ step

    def step(self, event: Event, now_ms: float, dice: float) -> list[Effect]:
        """Take one event in and return what shall be done about it.

        `now_ms` is a clock that only liveness depends on; `dice` is uniform in [0, 1).
        """
        try:
            match event:
                case Received(sender=sender, message=message):
                    return self._on_message(sender, message, now_ms, dice)  # type: ignore[arg-type]
                case Drained():
                    return self.keeping.drained()
                case PartWritten():
                    return self._with_cut(self.keeping.on_written(event))
                case SnapshotFailed():
                    return self.keeping.on_failed(event)
                case Start():
                    return self._on_start()
                case Connected(peer=peer, cluster=cluster, version=version):
                    self.keeping.met(peer, version)
                    return self._on_connected(peer, cluster)
                case Disconnected(peer=peer):
                    return self._on_disconnected(peer)
                case TimerFired(name=name) if name == UPKEEP:
                    return self._on_upkeep_timer()
                case TimerFired():
                    return self._on_founding_timer(dice)
                case _:
                    return []
        except VolumeDamaged as damage:
            # Bit rot found while reading: from here on nothing on this volume is trusted.
            return self._bar(f"{damage}. {self._way_back()}")

    def _on_message(
        self, sender: NodeId, message: AcceptorMessage, now_ms: float, dice: float
    ) -> list[Effect]:
        match message:
            case AskVolume():
                return [Send(to=(sender,), message=self._volume_state())]
            case VolumeState():
                return self._on_volume_state(sender, message, dice)
            case Configuration():
                return self._on_configuration(message)
            case AskConfiguration():
                return self.view.told(sender)
            case (
                Accept(epoch=epoch)
                | Heartbeat(epoch=epoch)
                | AskWhole(epoch=epoch)
                | SnapshotOffer(epoch=epoch)
                | SnapshotPart(epoch=epoch)
                | Votes(epoch=epoch)
            ) if epoch > self.view.epoch:
                # What it calls decided, or has a snapshot of, may hold a change of the members.
                return [Send(to=(sender,), message=AskConfiguration())]
            case _ if not self.voting and not (self.joining and isinstance(message, _JOINS)):
                if role_of(sender) is Role.PROPOSER:
                    return [Send(to=(sender,), message=Abstain(reason=self._why_not()))]
                return []
            case Accept():
                return self._on_accept(sender, message, now_ms)
            case AskHighest(round=round_):
                highest = Highest(round=round_, slot=self.log.highest_slot)
                return [Send(to=(sender,), message=highest)]
            case Heartbeat():
                return self._on_heartbeat(sender, message, now_ms)
            case Canvass():
                return self._on_canvass(sender, message, now_ms)
            case Prepare():
                return self._on_prepare(sender, message, now_ms)
            case AskVotes():
                return self._on_ask_votes(sender, message)
            case AskValues():
                return self._on_ask_values(sender, message)
            case Reminder():
                return self._on_reminder(sender, message)
            case AskSnapshot():
                return self.keeping.on_ask(sender, message)
            case SnapshotOffer():
                return self.keeping.on_offer(sender, message)
            case SnapshotPart():
                return self.keeping.on_part(sender, message)
            case SnapshotKept():
                return self._with_cut(self.keeping.on_kept(sender, message))
            case Votes():
                return self.keeping.on_votes(sender, message)
            case Values():
                return self._on_values(sender, message)
            case AskWhole():
                return self._on_ask_whole(sender, message)
            case _:
                assert_never(message)

    # ------------------------------------------------------------ voting

    def _on_prepare(self, sender: NodeId, message: Prepare, now_ms: float) -> list[Effect]:
        """Phase 1b. "If an acceptor receives a prepare request with number n greater than that
        of any prepare request to which it has already responded, then it responds [...] with a
        promise not to accept any more proposals numbered less than n and with the
        highest-numbered proposal (if any) that it has accepted." (Paxos Made Simple, 2.2)

        The ballot's own proposer may ask again at the same ballot, for lost answers and for
        older slots: the promise stands, only the answer is repeated.
        """
        ballot = message.ballot
        if refused := self._refuse(sender, ballot):
            return refused
        # Read first: bit rot found here must bar the volume before any state has changed.
        parts = self._accepted_in_parts(message.first, message.last)
        effects: list[Effect] = []
        if ballot > self.promised:
            self.promised = ballot
            effects.append(Persist(record=Promised(ballot=ballot)))
            effects.append(
                Trace(
                    what="promised",
                    text=f"promised ballot {ballot} to {sender}",
                    fields={"ballot": ballot, "first": message.first},
                )
            )
        self._follow(ballot, now_ms)
        effects.extend(
            Send(
                to=(sender,),
                message=Promise(
                    ballot=ballot,
                    first=message.first,
                    last=message.last,
                    begin=begin,
                    end=end,
                    accepted=accepted,
                    base=self.log.base,
                    epoch=self.view.epoch,
                ),
            )
            for begin, end, accepted in parts
        )
        return effects

    def _accepted_in_parts(
        self, first: Slot, last: Slot
    ) -> list[tuple[Slot, Slot, list[AcceptedValue]]]:
        """Cut what was accepted in first..last (0: to the end) into parts of bounded size, each
        with the slots that it speaks for.
        """
        highest = last or self.log.highest_slot
        parts: list[tuple[Slot, Slot, list[AcceptedValue]]] = []
        while True:
            entries = self.log.entries(first, highest, self._limits.catchup_bytes_max)
            accepted = [_accepted_value(entry) for entry in entries]
            end = entries[-1].slot if entries else highest
            if end >= highest or not self.log.votes(Slot(end + 1), highest):
                return [*parts, (first, last, accepted)]
            parts.append((first, end, accepted))
            first = Slot(end + 1)

    def _on_accept(self, sender: NodeId, message: Accept, now_ms: float) -> list[Effect]:
        """Phase 2b. "If an acceptor receives an accept request for a proposal numbered n, it
        accepts the proposal unless it has already responded to a prepare request having a number
        greater than n." (Paxos Made Simple, 2.2). Accepting raises the promise (rule 3).
        """
        ballot, slot = message.ballot, message.slot
        if refused := self._refuse(sender, ballot):
            return refused
        self._follow(ballot, now_ms)
        if message.decided > self.decided:
            self.decided, self._claimed = message.decided, max(ballot, self._claimed)
        votes = self._vote(sender, message)
        if slot <= self.log.base:
            # Decided, and cut off: there is nothing to keep but the promise. A ballot above the
            # one that chose it proposes the same value (P2b). One below it, in an Accept that was
            # long on its way to an acceptor that has only seen the snapshot, may propose another;
            # that gets no quorum, because the later one's quorum has promised.
            if ballot == self.promised:
                return votes
            self.promised = ballot
            return [Persist(record=Promised(ballot=ballot)), *votes]
        voted = self.log.votes(slot, slot)
        if voted and voted[0][1] == ballot:
            return votes  # sent again: the vote stands in the journal already
        self.promised = ballot
        self._accepts += 1
        entry = AcceptedEntry(
            slot=slot, ballot=ballot, value=message.value, decided=message.decided
        )
        return [Persist(record=entry), *votes]

    def _vote(self, proposer: NodeId, message: Accept) -> list[Effect]:
        """Tell who waits for this vote, learners first, and the others when it costs less.

        A learner that reads is never late by this: it asks this acceptor for its highest slot,
        and the answer takes along what had stayed behind.
        """
        if not self.voting:
            return []
        vote = Accepted(ballot=message.ballot, slot=message.slot)
        everybody = (*self.view.membership.learners, proposer)
        if not message.relaxed:
            return [Send(to=everybody, message=vote)]
        waiting = tuple(node for node in everybody if node not in message.relaxed)
        others = tuple(node for node in everybody if node in message.relaxed)
        return [
            Send(to=waiting, message=vote),
            Send(to=others, message=vote, relaxed=True),
        ]

    def _refuse(self, sender: NodeId, ballot: Ballot) -> list[Effect]:
        """Return a Nack when the ballot is below the promise, a trace when it is not the
        sender's own, nothing when the ballot is good.
        """
        if proposer_number_of(ballot) == 0 or owner_of(ballot) != sender:
            return [
                Trace(
                    what="ballot_not_owned",
                    text=f"{sender} used ballot {ballot}, which is not its own",
                    level=Level.WARNING,
                    glyph="!",
                )
            ]
        if ballot < self.promised:
            self._nacks += 1
            return [Send(to=(sender,), message=Nack(ballot=ballot, promised=self.promised))]
        return []

    # ------------------------------------------------------------ liveness: who leads

    def _follow(self, ballot: Ballot, now_ms: float) -> None:
        self._leader = ballot
        self._leader_heard_ms = now_ms

    def _on_heartbeat(self, sender: NodeId, message: Heartbeat, now_ms: float) -> list[Effect]:
        if refused := self._refuse(sender, message.ballot):
            return refused
        self._follow(message.ballot, now_ms)
        if message.decided > self.decided:
            self.decided, self._claimed = message.decided, max(message.ballot, self._claimed)
        if message.epoch < self.view.epoch:
            return self.view.told(sender)  # it must not count on a quorum of other members
        reply = HeartbeatReply(ballot=message.ballot, round=message.round)
        return [Send(to=(sender,), message=reply)]

    def _on_canvass(self, sender: NodeId, message: Canvass, now_ms: float) -> list[Effect]:
        leader = self._leader
        silent = now_ms - self._leader_heard_ms > self._timeouts.suspect_ms
        # Who canvasses does not lead: a leader that lost its office is not in its own way.
        if leader != NO_BALLOT and (silent or owner_of(leader) == sender):
            leader = self._leader = NO_BALLOT
        reply = CanvassReply(
            round=message.round,
            promised=self.promised,
            leader=leader,
            decided=self.decided,
            epoch=self.view.epoch,
        )
        return [Send(to=(sender,), message=reply)]

    # ------------------------------------------------------------ telling the learners

    def _on_ask_votes(self, sender: NodeId, message: AskVotes) -> list[Effect]:
        last = Slot(min(message.last, message.first + self._limits.catchup_slots_max - 1))
        votes = Votes(
            first=message.first,
            last=last,
            highest=self.log.highest_slot,
            votes=self.log.votes(message.first, last),
            base=self.log.base,
            epoch=self.view.epoch,
        )
        return [Send(to=(sender,), message=votes)]

    def _on_ask_values(self, sender: NodeId, message: AskValues) -> list[Effect]:
        last = Slot(min(message.last, message.first + self._limits.catchup_slots_max - 1))
        entries = self.log.entries(message.first, last, self._limits.catchup_bytes_max)
        values = Values(values=[_accepted_value(entry) for entry in entries])
        return [Send(to=(sender,), message=values)]

    # ------------------------------------------------------------ upkeep

    def _on_upkeep_timer(self) -> list[Effect]:
        if not self.voting and not self.joining:
            return []
        effects = self._with_cut(self.keeping.tick(self.decided, self._claimed))
        if self.joining:
            effects.append(Send(to=self.view.membership.proposers, message=Joining()))
        return effects

    def _with_cut(self, effects: list[Effect]) -> list[Effect]:
        """Take note of a cut among effects: what is cut off is decided."""
        for effect in effects:
            if type(effect) is Persist and type(effect.record) is Cut:
                self.decided = max(self.decided, effect.record.slot)
        return effects

    def _on_values(self, sender: NodeId, message: Values) -> list[Effect]:
        """Write down chosen values that this acceptor has missed (see keeping.py)."""
        effects: list[Effect] = []
        for entry in self.keeping.on_values(sender, message):
            self.promised = max(self.promised, entry.ballot)
            effects.append(Persist(record=entry))
        return effects

    # ------------------------------------------------------------ members

    def _on_configuration(self, message: Configuration) -> list[Effect]:
        """Take a newer configuration in; vote from now on, or no more, where it says so.

        It is on the volume before anything leaves that calls a slot decided which it governs. A
        blank, foreign or damaged volume has no room for it, and needs none.
        """
        if not self.cluster or self.phase is Phase.BARRED or not self.view.adopt(message):
            return []
        self.decided = max(self.decided, message.slot)
        self._claimed = max(self._claimed, message.ballot)
        self._others = tuple(a for a in self.view.membership.acceptors if a != self.node)
        self.keeping.reconfigured(self.view)
        return [
            Persist(record=Configured(configuration=message)),
            *self._take_place(),
            Relink(configuration=message),
        ]

    def _take_place(self) -> list[Effect]:
        """Vote when the configuration names this acceptor, and not when it does not."""
        member = self.node in self.view.membership.acceptors
        if member and self.phase is Phase.JOINING:
            self.phase, self.reason = Phase.OPEN, ""
            text = f"voting for cluster {self.cluster}: a member since epoch {self.view.epoch}"
            return [
                Persist(record=self._stamp(Phase.OPEN)),
                Trace(what="volume_open", text=text, fields={"epoch": self.view.epoch}),
            ]
        if not member and self.phase is Phase.OPEN:
            self.phase = Phase.REMOVED
            other = self.view.successor(self.node)
            self.reason = f"it is no member any more, since epoch {self.view.epoch}" + (
                f": {other} has its place" if other else ""
            )
            return [
                Trace(
                    what="removed",
                    text=f"this acceptor does not vote: {self.reason}",
                    level=Level.WARNING,
                    fields={"epoch": self.view.epoch},
                )
            ]
        return []

    def _on_ask_whole(self, sender: NodeId, message: AskWhole) -> list[Effect]:
        if refused := self._refuse(sender, message.ballot):
            return refused
        if message.decided > self.decided:
            self.decided, self._claimed = message.decided, max(message.ballot, self._claimed)
        effects = self.keeping.look(message.decided, message.ballot)
        whole = Whole(ballot=message.ballot, slot=self.keeping.whole)
        return [*effects, Send(to=(sender,), message=whole)]

    # ------------------------------------------------------------ the volume, founding

    def _on_start(self) -> list[Effect]:
        recovered, stamp = self._recovered, self._recovered.stamp
        effects: list[Effect] = []
        if recovered.repaired:
            effects.append(
                Trace(what="volume_repaired", text=recovered.repaired, level=Level.WARNING)
            )
        if recovered.damage:
            damage = f"the volume is damaged: {recovered.damage}. {self._way_back()}"
            return [*effects, *self._bar(damage)]
        if stamp is None:
            if self.promised or self.log.highest_slot:
                return [*effects, *self._bar("the volume holds votes but no stamp of an owner")]
            return [*effects, *self._ask_volumes()]
        if stamp.node != self.node:
            return [*effects, *self._bar(f"the volume belongs to {stamp.node}, not to {self.node}")]
        if wrong := stamp.disagreement(self._founders):
            return [*effects, *self._bar(wrong)]
        self._others = tuple(a for a in self.view.membership.acceptors if a != self.node)
        if stamp.phase == Phase.JOINING.value:
            self.phase = Phase.JOINING
            text = f"joining cluster {self.cluster}: no member yet, so it does not vote"
            effects.append(Trace(what="joining", text=text))
            return [*effects, *self._take_place(), *self.keeping.start()]
        if stamp.phase == Phase.OPEN.value:
            self.phase = Phase.OPEN
            if self.node not in self.view.membership.acceptors:
                return [*effects, *self._take_place(), *self.keeping.start()]
            effects.append(
                Trace(
                    what="volume_open",
                    text=f"voting for cluster {self.cluster}, promised {self.promised}, "
                    f"votes up to slot {self.log.highest_slot}",
                )
            )
            return [*effects, *self.keeping.start()]
        self.phase = Phase.FORMATTED
        return [*effects, *self._ask_volumes()]

    def _ask_volumes(self) -> list[Effect]:
        timer = SetTimer(name="founding", after_ms=self._timeouts.founding_ms)
        if not self._others:
            return [timer]
        return [timer, Send(to=self._others, message=AskVolume())]

    def _on_founding_timer(self, dice: float) -> list[Effect]:
        if not self._may_be_founded():
            return []
        return [*self._ask_volumes(), *self._consider_founding(dice)]

    def _may_be_founded(self) -> bool:
        if self.phase is Phase.BARRED:
            return self._bar_may_lift()
        return self.phase in (Phase.BLANK, Phase.FORMATTED)

    def _bar_may_lift(self) -> bool:
        """A blank volume that was barred asks on: an operator may bring the old volume's
        evidence to rest (for instance, reset the others).
        """
        return self.phase is Phase.BARRED and not self.cluster and not self._recovered.damage

    def _volume_state(self) -> VolumeState:
        return VolumeState(cluster=self.cluster, phase=self.phase.value)

    def _on_connected(self, peer: NodeId, cluster: str) -> list[Effect]:
        if cluster and role_of(peer) in (Role.PROPOSER, Role.LEARNER):
            self._living[peer] = cluster
        told = self.view.told(peer)
        if self.joining:
            join = Send(to=(peer,), message=Joining())
            return [*told, join] if role_of(peer) is Role.PROPOSER else told
        if not self.voting:
            ask = Send(to=(peer,), message=AskVolume())
            return [*told, ask] if role_of(peer) is Role.ACCEPTOR else told
        if role_of(peer) in (Role.ACCEPTOR, Role.LEARNER):
            return [*told, *self.keeping.connected(peer)]
        return told

    def _on_disconnected(self, peer: NodeId) -> list[Effect]:
        self.keeping.disconnected(peer)
        self._living.pop(peer, None)
        self._volumes.pop(peer, None)
        if self._leader != NO_BALLOT and owner_of(self._leader) == peer:
            self._leader = NO_BALLOT
        return []

    def _on_volume_state(self, sender: NodeId, message: VolumeState, dice: float) -> list[Effect]:
        if sender not in self._others:
            return []
        self._volumes[sender] = message
        return self._consider_founding(dice)

    def _consider_founding(self, dice: float) -> list[Effect]:
        """Move blank -> formatted -> open, or barred, by what the other acceptors said."""
        if not self._may_be_founded():
            return []
        states = self._volumes.values()
        if self.phase is Phase.FORMATTED:
            ours = all(
                state.cluster == self.cluster and state.phase in ("formatted", "open")
                for state in states
            )
            # One that is open saw all of them formatted: the founding is over, whatever has become
            # of the others since. This one has not voted yet, or its stamp would say so.
            over = any(s.cluster == self.cluster and s.phase == "open" for s in states)
            if over or (ours and len(self._volumes) == len(self._others)):
                return self._open()
            strangers = sorted({s.cluster for s in states if s.cluster} - {self.cluster})
            if strangers:
                return self._bar(
                    f"the volume was formatted for cluster {self.cluster}, "
                    f"but another acceptor belongs to {strangers[0]}"
                )
            return []
        # Blank from here on.
        alive = sorted(
            {state.cluster for state in states if state.phase == "open"}
            | set(self._living.values())
        )
        if alive:
            return self._bar(
                f"the volume is blank, but cluster {alive[0]} already lives: this acceptor may "
                "have voted before and forgotten it. Bring its own volume back and restart it, or "
                f"replace it: paxos member replace {place_of(self.node)}"
            )
        self.phase, self.reason = Phase.BLANK, ""
        if len(self._volumes) < len(self._others) or any(s.phase == "barred" for s in states):
            return []
        foundings = sorted({state.cluster for state in states if state.phase == "formatted"})
        if len(foundings) > 1:
            return self._bar(f"the others are formatted for two clusters: {', '.join(foundings)}")
        if foundings:
            return self._format(foundings[0])
        if self.node == self._founders[0]:
            return self._format(f"{int(dice * 2**53):014x}")
        return []

    def _format(self, cluster: str) -> list[Effect]:
        self.cluster, self.phase, self.reason = cluster, Phase.FORMATTED, ""
        stamp = self._stamp(Phase.FORMATTED)
        text = f"formatted the blank volume for new cluster {cluster}"
        effects: list[Effect] = [
            Persist(record=stamp),
            Trace(what="volume_formatted", text=text),
        ]
        if self._others:
            effects.append(Send(to=self._others, message=self._volume_state()))
            effects.append(Send(to=self._others, message=AskVolume()))
        return effects

    def _stamp(self, phase: Phase) -> Stamped:
        return Stamped(
            cluster=self.cluster,
            node=self.node,
            phase=phase.value,
            acceptors=self._founders,
        )

    def _open(self) -> list[Effect]:
        self.phase, self.reason = Phase.OPEN, ""
        stamp = self._stamp(Phase.OPEN)
        effects: list[Effect] = [
            Persist(record=stamp),
            CancelTimer(name="founding"),
            Trace(what="volume_open", text=f"voting for cluster {self.cluster}: it is founded"),
            *self.keeping.start(),
        ]
        if self._others:
            effects.append(Send(to=self._others, message=self._volume_state()))
        return effects

    def _on_reminder(self, sender: NodeId, message: Reminder) -> list[Effect]:
        """Stop voting on a volume that held less than this acceptor had told (see witness.py)."""
        highest, promised = self._began_with
        if message.slot <= highest and message.ballot <= promised:
            return []
        return self._bar(
            f"the volume has forgotten: {sender} was told a vote for slot {message.slot}, and one "
            f"at ballot {message.ballot}, and it held votes up to slot {highest} and a promise "
            f"of ballot {promised}. It is an older copy, or its disk lost what was synced. "
            "Bring the newest volume back and restart it, or replace it: "
            f"paxos member replace {place_of(self.node)}"
        )

    def _way_back(self) -> str:
        """Say how an acceptor on a damaged volume comes back (rule 8)."""
        return f"Replace it: paxos member replace {place_of(self.node)}"

    def _bar(self, reason: str) -> list[Effect]:
        if self.phase is Phase.BARRED and self.reason == reason:
            return []
        self.phase, self.reason = Phase.BARRED, reason
        return [
            SetTimer(name="founding", after_ms=self._timeouts.founding_ms * 10),
            Trace(
                what="volume_barred",
                text=f"this acceptor does not vote: {reason}",
                level=Level.ERROR,
                glyph="!",
            ),
        ]

    def _why_not(self) -> str:
        if self.phase in (Phase.BARRED, Phase.REMOVED):
            return self.reason
        if self.joining:
            return f"joining: {self.keeping.joined()}"
        missing = [other for other in self._others if other not in self._volumes]
        waiting = f"; waiting for {', '.join(missing)}" if missing else ""
        return f"its volume is {self.phase.value}, the cluster is being founded{waiting}"

    # ------------------------------------------------------------ status

    def status(self) -> AcceptorStatus:
        """Return an immutable snapshot."""
        return AcceptorStatus(
            phase=self.phase.value,
            reason="" if self.voting else self._why_not(),
            cluster=self.cluster if self.voting or self.joining else "",
            promised=self.promised,
            highest_slot=self.log.highest_slot,
            decided=self.decided,
            leader_ballot=self._leader,
            epoch=self.view.epoch,
            accepts=self._accepts,
            nacks=self._nacks,
            keeping=self.keeping.status(),
        )


def _accepted_value(entry: AcceptedEntry) -> AcceptedValue:
    return AcceptedValue(slot=entry.slot, ballot=entry.ballot, value=entry.value)
