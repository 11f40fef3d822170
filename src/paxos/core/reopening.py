"""A leader helps learners: it fills slots, prepares decided ones again, lets time into the log.

Each is plain phase 1 and phase 2 at its own ballot (docs/protocol.md). Refuses to do any of it for
a slot that is open, or without the promises of a quorum.
"""

from __future__ import annotations

from .effects import Effect, Send
from .errors import InvariantViolation
from .gathering import Gathering
from .messages import UNSTICK_SLOTS_MAX, Tick, Unstick
from .office import NO_OP, Office, Phase
from .trace import Trace
from .types import Slot


class Reopening(Office):
    """The part of a proposer's step that learners ask for."""

    def _on_unstick(self, message: Unstick, now_ms: float) -> list[Effect]:
        """See that slots first..last get decided; see `messages.Unstick`.

        Slots above the proposed ones: an earlier ballot left a vote there that its phase 1
        quorum did not show, so a reader waits for a slot that nobody proposes. Fill them.
        Slots at or below `decided`: the acceptors that remain may hold votes of several ballots
        for them. Ask a quorum that has promised this very ballot what it accepted there, and
        propose the highest again: plain phase 1 and 2 for one range of slots.
        """
        if self.phase is not Phase.LEADING or message.last < message.first:
            return []
        effects: list[Effect] = []
        furthest = Slot(min(message.last, self.next_slot + self._limits.slots_inflight_max - 1))
        while self.next_slot <= furthest and self._window_open(0):
            effects.extend(self._propose_next(NO_OP, now_ms))
        if message.first <= self.decided and self._gathering is None:
            last = Slot(min(message.last, self.decided, message.first + UNSTICK_SLOTS_MAX - 1))
            self._gathering = Gathering(self.ballot, message.first, last)
            effects.append(
                Send(to=self.membership.acceptors, message=self._prepare(self._gathering))
            )
            effects.append(
                Trace(
                    what="reopening",
                    text=f"a learner is stuck: preparing slots {message.first}..{last} again",
                    fields={"first": message.first, "last": last},
                )
            )
        elif self._gathering is not None:
            missing = tuple(
                a for a in self.membership.acceptors if a not in self._gathering.complete
            )
            effects.append(Send(to=missing, message=self._prepare(self._gathering)))
        return effects

    def _repropose(self, gathering: Gathering, now_ms: float) -> list[Effect]:
        values = gathering.values
        effects: list[Effect] = []
        for slot in range(max(gathering.first, gathering.base + 1), gathering.last + 1):
            value = values.get(Slot(slot))
            if value is None:
                raise InvariantViolation(
                    f"slot {slot} was decided, but a quorum of acceptors has no vote for it: "
                    f"{', '.join(sorted(gathering.complete))} lost what they had synced"
                )
            if Slot(slot) not in self.open:
                effects.extend(self._propose(Slot(slot), value, now_ms))
        return effects

    def _on_tick(self, message: Tick, now_ms: float) -> list[Effect]:
        """A deadline has passed: let an empty value carry the time into the log, once."""
        due = message.deadline_ms <= now_ms and self._stamped_ms < message.deadline_ms
        if self.phase is not Phase.LEADING or not due or not self._window_open(0):
            return []
        return self._propose_next(self._stamp([], now_ms), now_ms)
