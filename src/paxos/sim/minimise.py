"""The shortest part of one key's history that contradicts itself.

Leaving out an operation must not make the rest wrong: without its write, an honest read looks
like a lie. So nothing is left out unless the contradiction stands whatever it did:

- A read that is left out puts up no more demands.
- A write, compare-and-set, increment or append that is left out may take effect at any moment,
  or never, whatever it was told; if the rest still has no explanation, it has no part in the
  contradiction.
- What was over before a certain moment is left out by letting the value at that moment be
  anything.
- What began after a certain moment is left out by not knowing, at that moment, what comes.

What remains cannot be made smaller by leaving out one operation. The work is bounded: when the
bound is reached, what has been found so far is returned.
"""

from __future__ import annotations

from collections.abc import Sequence

from .register import (
    APPEND,
    DIFFERS,
    FOREVER,
    INCREMENT,
    READ,
    SWAP,
    WRITE,
    Budget,
    Register,
    State,
    Step,
    Undecided,
    first_stuck,
    number_of,
)

WORK_MAX = 600_000
"""Bounds what one minimisation may do, in steps laid out and configurations visited."""

ATTEMPT_CONFIGURATIONS_MAX = 20_000
"""An attempt that needs more, and two for each operation, counts as "it may be explained"."""

UNSEEN = "\x00another value"
"""A value that nobody has written or seen."""

UNSEEN_NUMBER = str(10**15)
"""An integer that nobody has counted to."""


def smallest_contradiction(steps: Sequence[Step], initial: State, stuck: Step) -> list[int]:
    """Return the indices of a small part of `steps` that has no explanation, in order of begin.

    The steps together must have none; `stuck` is the one whose answer no order gets past.
    """
    found = _impossible_value(steps, initial)
    if found is None:
        found = _searched(steps, initial, stuck, set())
        # Without failed compare-and-sets, if that is no longer, it is easier to understand.
        claims = {index for index, step in enumerate(steps) if step.kind == DIFFERS}
        if claims:
            simpler = _searched(steps, initial, stuck, claims)
            if simpler and (not found or len(simpler) <= len(found)):
                found = simpler
    chosen = found or list(range(len(steps)))
    return sorted(chosen, key=lambda index: steps[index].begin)


def _searched(
    steps: Sequence[Step], initial: State, stuck: Step, left_out: set[int]
) -> list[int] | None:
    """Return a small contradiction that does without `left_out`; None when none was found."""
    search = _Search(steps, initial, left_out)
    if not search.cut_back(stuck):
        return None
    search.cut_front()
    search.leave_out()
    return search.kept()


def _impossible_value(steps: Sequence[Step], initial: State) -> list[int] | None:
    """Return the first step that saw a value before anybody could have written it, and the one
    that wrote it later, if any did."""
    if any(step.kind in (INCREMENT, APPEND) for step in steps):
        return None
    first_maker: dict[State, int] = {}
    for index, step in enumerate(steps):
        if step.kind in (WRITE, SWAP):
            known = first_maker.get(step.made)
            if known is None or step.begin < steps[known].begin:
                first_maker[step.made] = index
    ends = [(step.end, index) for index, step in enumerate(steps) if step.end is not None]
    for end, index in sorted(ends):
        step = steps[index]
        if step.kind not in (READ, SWAP) or step.seen == initial:
            continue
        maker = first_maker.get(step.seen)
        if maker is None:
            return [index]
        if steps[maker].begin > end:
            return [index, maker]
    return None


class _Search:
    """Which steps have been left out so far, and whether the rest still has no explanation."""

    def __init__(self, steps: Sequence[Step], initial: State, left_out: set[int]) -> None:
        self._steps = steps
        self._initial = initial
        self._left_out = set(left_out)
        self._cut = 0
        self._until = FOREVER
        self._from_anything = False
        self._has_appends = any(step.kind == APPEND for step in steps)
        self._work = 0

    def kept(self) -> list[int]:
        """Return the steps that have not been left out, in the order of their beginnings."""
        return sorted(
            (
                index
                for index, step in enumerate(self._steps)
                if index not in self._left_out and self._cut <= step.begin < self._until
            ),
            key=lambda index: self._steps[index].begin,
        )

    def cut_back(self, stuck: Step) -> bool:
        """Leave out all that was after the answer that the first search could not get past: had
        the history ended there, it would have been wrong already. Returns whether it is."""
        if stuck.end is not None:
            self._until = stuck.end
            if self._contradicts():
                return True
        # With appends, the search looks ahead at what is read later: then that may matter.
        self._until = FOREVER
        return self._contradicts()

    def cut_front(self) -> None:
        """Find the latest moment from which on there is no explanation, whatever the value."""
        if self._has_appends:
            return
        self._cut, self._from_anything = 0, True
        begins = [self._steps[index].begin for index in self.kept()]
        # First backwards in steps that double, because the moment is mostly near the end.
        size = 1
        while size < len(begins) and not self._contradicts_from(begins[-size]):
            size *= 2
        high = max(0, len(begins) - size // 2)
        low = max(0, len(begins) - size)
        if size >= len(begins) and not self._contradicts_from(begins[0]):
            self._cut, self._from_anything = 0, False
            return
        # From begins[low] on it contradicts itself, from begins[high] on it does not.
        while high - low > 1:
            middle = (low + high) // 2
            if self._contradicts_from(begins[middle]):
                low = middle
            else:
                high = middle
        self._cut = begins[low]

    def _contradicts_from(self, cut: int) -> bool:
        self._cut = cut
        return self._contradicts()

    def leave_out(self) -> None:
        """Leave out whatever can be, in halves of halves, and then one by one once more."""
        self._halve(self.kept())
        again = True
        while again and self._work < WORK_MAX:
            again = False
            for index in self.kept():
                if self._try_without([index]):
                    again = True

    def _halve(self, group: list[int]) -> None:
        # Later ones first: what comes after the contradiction goes in one piece. A stack, so that
        # no history is too long.
        groups = [group]
        while groups and self._work < WORK_MAX:
            group = groups.pop()
            if self._try_without(group) or len(group) < 2:
                continue
            middle = len(group) // 2
            groups += [group[:middle], group[middle:]]

    def _try_without(self, group: list[int]) -> bool:
        self._left_out.update(group)
        if self._contradicts():
            return True
        self._left_out.difference_update(group)
        return False

    def _contradicts(self) -> bool:
        """Tell whether what is kept has surely no explanation, whatever the rest did."""
        relaxed: list[Step] = []
        for index, step in enumerate(self._steps):
            if step.begin > self._until or (step.end is not None and step.end < self._cut):
                continue
            if step.end is not None and step.end > self._until:
                step = step._replace(end=None)
            if index not in self._left_out and step.begin >= self._cut:
                if step.end is not None or step.kind not in (READ, DIFFERS):
                    relaxed.append(step)
            elif step.kind not in (READ, DIFFERS):
                seen = step.seen if step.kind == SWAP else None
                relaxed.append(step._replace(seen=seen, begin=-1, end=None))
        self._work += len(relaxed)
        register = Register(relaxed)
        budget = Budget(ATTEMPT_CONFIGURATIONS_MAX + 2 * len(relaxed))
        firsts = _first_values(register) if self._from_anything else [self._initial]
        try:
            # The work of several first values counts as well: each walks the whole of it.
            for first in firsts:
                if self._work > WORK_MAX or first_stuck(register, first, budget) is None:
                    return False
                self._work += len(register.answers)
        except Undecided:
            return False
        finally:
            self._work += budget.visited
        return True


def _first_values(register: Register) -> list[State]:
    """Return the values that can make a difference as the first one: those that somebody looks
    for before the first change that must have happened, or that unanswered increments could
    bring there; and two that nobody looks for, one of which can be counted up."""
    steps, start = register.steps, register.start
    forced = len(register.answers)
    for place, index in enumerate(register.answers):
        if steps[index].kind not in (READ, DIFFERS):
            forced = place
            break
    early = [step for index, step in enumerate(steps) if start[index] <= forced]
    increments = sum(step.kind == INCREMENT for step in early)
    values: dict[State, None] = {UNSEEN: None, UNSEEN_NUMBER: None}
    for step in early:
        if step.kind in (READ, SWAP):
            values[step.seen] = None
        if increments and step.seen is not None and step.kind != DIFFERS:
            number = number_of(step.seen)
            if number is not None:
                values.update((str(number - less), None) for less in range(increments + 1))
    return list(values)
