"""A proposer and the members: what it takes a change through, and what one does to it.

changing.py knows what a change takes before it may be proposed, configuring.py what one means.
Refuses to propose anything after a change that is not chosen.
"""

from __future__ import annotations

from .changing import CHANGE, CHANGE_TICK_MS, Changing, Refused, Step, with_change
from .configuring import MARK, change_in, packed
from .effects import CancelTimer, Configured, Effect, Persist, Relink, Send, SetTimer
from .gathering import Gathering
from .messages import (
    AskWhole,
    Change,
    ChangeMembers,
    Configuration,
    MembersChanged,
    Whole,
)
from .office import Office, Phase
from .trace import Level, Trace
from .types import NodeId, Role, Slot, role_of


class Reconfiguring(Office):
    """The part of a proposer's step that has to do with members."""

    def _stop_at(self, barrier: Slot, change: Change | None) -> None:
        """Propose nothing after a slot with a change until that is chosen; 0: nothing is in the
        way."""
        self.barrier, self._barrier_change, self._barrier_chosen = barrier, change, False

    def _is_own(self, message: Configuration) -> bool:
        """Tell whether a decided change is the one that this leader has proposed: another leader
        may have got another one chosen in the same slot."""
        change = self._barrier_change
        return (
            change is not None
            and self.barrier == message.slot
            and (change.epoch, change.members) == (message.epoch, message.members)
        )

    def _changes(self, value: bytes) -> bool:
        """Tell whether a value, proposed after what is decided, changes the members."""
        if value[:1] != MARK:
            return False
        change = change_in(value)
        return change is not None and change.epoch > self.view.epoch

    def _on_joining(self, sender: NodeId) -> list[Effect]:
        if sender in self.membership.acceptors:
            return self.view.told(sender)  # it missed that it has become one
        if role_of(sender) is Role.ACCEPTOR:
            self._joining |= {sender}
        return []

    def _on_change_members(
        self, sender: NodeId, message: ChangeMembers, now_ms: float, dice: float
    ) -> list[Effect]:
        """Begin a change of the members, or say why not. Who does not lead, or has taken a change
        over and does not know whose it is, stays silent: the gateway asks again.
        """
        under_way = self._changing
        taken_over = self.barrier and under_way is None
        asked = under_way and (under_way.gateway, under_way.request) == (sender, message.request)
        if self.phase is not Phase.LEADING or taken_over or asked:
            return []
        try:
            if self._older:
                raise Refused(
                    f"ERR {', '.join(sorted(self._older))} must be upgraded first: older nodes "
                    "do not know that members may change"
                )
            members = self.view.configuration.members
            change = with_change(members, message, self.view.epoch, self._joining)
            if change is not None and under_way is not None:
                raise Refused("UNAVAILABLE another change of the members is under way: try again")
        except Refused as refused:
            return [self._answer(sender, message.request, str(refused))]
        if change is None:
            return [self._answer(sender, message.request)]
        self._changing = Changing(sender, message.request, change, self.membership, now_ms)
        self._changing.asked = self.decided
        return [
            Trace(
                what="change_asked",
                text=f"{sender} asks that {message.node} be {'a' if message.add else 'no'} member",
                fields={"node": message.node},
            ),
            *self._go_on_changing(now_ms, ask=True),
        ]

    def _answer(self, gateway: NodeId, request: int, error: str = "") -> Send:
        message = MembersChanged(request=request, epoch=self.view.epoch, error=error)
        return Send(to=(gateway,), message=message)

    def _on_whole(self, sender: NodeId, message: Whole, now_ms: float, dice: float) -> list[Effect]:
        if self._changing is None or message.ballot != self.ballot:
            return []
        self._changing.on_whole(sender, message.slot)
        return self._go_on_changing(now_ms)

    def _on_change_timer(self, now_ms: float, dice: float) -> list[Effect]:
        changing = self._changing
        if changing is None or self.phase is not Phase.LEADING:
            return []
        if changing.out_of_time(now_ms):
            self._changing = None
            lacking = ", ".join(changing.lacking(self.decided)) or "what is open"
            error = (
                f"UNAVAILABLE the members were not changed: {lacking} did not become whole within "
                "the time that the cluster may wait for it: try again"
            )
            trace = Trace(what="change_given_up", text=error, level=Level.WARNING)
            return [trace, self._answer(changing.gateway, changing.request, error)]
        return self._go_on_changing(now_ms, ask=True)

    def _go_on_changing(self, now_ms: float, *, ask: bool = False) -> list[Effect]:
        """Take a change as far as it may go now; `ask` those again that are not whole."""
        changing = self._changing
        if changing is None or changing.step is Step.PROPOSED or self.phase is not Phase.LEADING:
            return []
        if changing.step is Step.ASKING and changing.answered:
            changing.go_on(Step.DRAINING, now_ms)
            ask = True
        drained = not self.open and self.decided + 1 == self.next_slot
        lacking = changing.lacking(self.decided)
        if changing.step is Step.DRAINING and drained and not lacking:
            changing.go_on(Step.PROPOSED, now_ms)
            self._stop_at(self.next_slot, changing.change)
            return self._propose_next(packed(changing.change), now_ms)
        if not ask:
            return []
        changing.asked = self.decided
        whole = AskWhole(ballot=self.ballot, decided=self.decided, epoch=self.view.epoch)
        effects: list[Effect] = [SetTimer(name=CHANGE, after_ms=CHANGE_TICK_MS)]
        return [*effects, Send(to=lacking, message=whole)] if lacking else effects

    def _on_configuration(self, message: Configuration, now_ms: float, dice: float) -> list[Effect]:
        """Go by a newer configuration from here on.

        Its own change does not cost a leader its office: it asks the new members for their promise
        of its ballot, for every slot after the change. Any other change was made by another leader.
        """
        if not self.view.adopt(message):
            return []
        before = self.membership
        self.membership = self.view.membership
        self.decided = max(self.decided, message.slot)
        self._others = tuple(p for p in self.membership.proposers if p != self.node)
        self._joining -= frozenset(self.membership.acceptors)
        self._election.reconfigured(self.membership)
        effects: list[Effect] = []
        if self.cluster:
            effects.append(Persist(record=Configured(configuration=message)))
        effects += [
            Relink(configuration=message),
            Trace(
                what="members_changed",
                text=f"members of epoch {message.epoch}, from slot {message.slot + 1} on: "
                f"{', '.join((*self.membership.acceptors, *self.membership.proposers))}, "
                f"{', '.join((*self.membership.learners, *self.membership.gateways))}",
                fields={"epoch": message.epoch, "slot": message.slot},
            ),
        ]
        member = self.node in self.membership.proposers
        own = self.phase is Phase.LEADING and member and self._is_own(message)
        if self.phase in (Phase.LEADING, Phase.PREPARING) and not own:
            why = f"the members changed with epoch {message.epoch}"
            return [*effects, *self._step_down(why, dice)]
        if not own:
            return effects
        everybody = (*before.nodes, *self.membership.nodes, *sorted(self._joining))
        told = tuple(node for node in dict.fromkeys(everybody) if node != self.node)
        effects.append(Send(to=told, message=message))
        if self._changing is not None:
            effects.append(self._answer(self._changing.gateway, self._changing.request))
            self._changing = None
        self.phase = Phase.PREPARING
        self._stop_at(Slot(0), None)
        self.open = {}
        self._open_bytes = 0
        self._prepare_tries = 0
        self._gathering = Gathering(self.ballot, Slot(message.slot + 1), Slot(0))
        return [
            *effects,
            CancelTimer(name="resend"),
            CancelTimer(name="heartbeat"),
            CancelTimer(name=CHANGE),
            Send(to=self.membership.acceptors, message=self._prepare(self._gathering)),
            SetTimer(name="prepare", after_ms=self._timeouts.resend_ms),
        ]
