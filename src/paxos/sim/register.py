"""One key of a history: can its operations be put in one order that explains every answer?

The algorithm is Wing and Gong's ("Testing and verifying concurrent objects", 1993) with Lowe's
improvements ("Testing for linearizability", 2017): walk along the answers in the order of time;
before an answer can be passed its operation must have taken effect; try those that are open, and
never enter the same configuration (place, value, operations that took effect early) twice. A
configuration holds only operations that are still open, so it stays small in a long history, and
an operation gets a bit that is free again after its answer.

What keeps it from trying what cannot matter (each is without loss of generality):

- A read takes effect as soon as it can: it changes nothing.
- An operation takes effect as late as it can: when an answer demands it.
- A write whose value nobody can see any more takes effect just before another write.
- An unanswered write takes effect just before somebody open who sees its value, or not at all.
- Of unanswered operations with the same effect, the one invoked first goes first; of two
  configurations that differ in them, the one that has used fewer suffices.
- Where only appends can happen, the value must be a beginning of what is read later.

It refuses to go on without end: past its budget of configurations it raises Undecided.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from paxos.core.errors import PaxosError

from .history import NOT_OLD, Operation

READ, DIFFERS, WRITE, SWAP, INCREMENT, APPEND = range(6)
"""What an operation is to a value: DIFFERS is a cas that failed because the value differed."""

State = str | None
"""A value: None, or a text; integers as their decimal text."""

FOREVER = 1 << 60


class Undecided(PaxosError):
    """The budget was used up before the history was decided."""


class Budget:
    """How many configurations may still be visited. None is no bound."""

    def __init__(self, configurations: int | None) -> None:
        self.left = FOREVER if configurations is None else configurations
        self.visited = 0

    def take(self) -> None:
        """Count one. Raises Undecided when none is left."""
        if self.left <= 0:
            raise Undecided(
                f"undecided after {self.visited} configurations: too many operations overlap or "
                "have no answer; give it a larger budget"
            )
        self.left -= 1
        self.visited += 1


class Step(NamedTuple):
    """An operation as the search sees it.

    `seen` is what it must find (READ, SWAP), must not find (DIFFERS), answered (INCREMENT: the
    integer as text, APPEND: the length; None if not known); `made` is what it makes (WRITE, SWAP)
    or adds (APPEND). `begin` and `end` are places among the events; an `end` of None is an
    operation that may take effect at any time after `begin`, or never.
    """

    kind: int
    seen: Any
    made: State
    begin: int
    end: int | None


def as_state(value: Any) -> State:
    """Return a JSON value as a state. Integers and their decimal texts are the same."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return "\x00" + json.dumps(value, sort_keys=True)


def step_of(operation: Operation, begin: int, end: int | None) -> Step | None:
    """Return what the search needs of an operation; None when it can neither matter nor tell."""
    f, outcome = operation.f, operation.outcome
    if outcome == "fail":
        if f != "cas" or operation.error != NOT_OLD or end is None:
            return None
        return Step(DIFFERS, as_state(operation.argument[0]), None, begin, end)
    known = outcome == "ok" and end is not None
    if f == "read":
        return Step(READ, as_state(operation.result), None, begin, end) if known else None
    if f == "write":
        return Step(WRITE, None, as_state(operation.argument), begin, end)
    if f == "delete":
        return Step(WRITE, None, None, begin, end)
    if f == "cas":
        old, new = as_state(operation.argument[0]), as_state(operation.argument[1])
        if old == new:
            return Step(READ, old, None, begin, end) if known else None
        return Step(SWAP, old, new, begin, end)
    if f == "incr":
        return Step(INCREMENT, as_state(operation.result) if known else None, None, begin, end)
    if f == "append":
        length = operation.result if known else None
        return Step(APPEND, length, operation.argument, begin, end)
    raise ValueError(f'"{f}" is no operation on a key')


_DEAD = object()


def after(step: Step, state: State) -> Any:
    """Return the value after an operation, or a mark when it cannot happen at this value."""
    kind = step.kind
    if kind == READ:
        return state if state == step.seen else _DEAD
    if kind == WRITE:
        return step.made
    if kind == SWAP:
        return step.made if state == step.seen else _DEAD
    if kind == DIFFERS:
        return state if state != step.seen else _DEAD
    if kind == INCREMENT:
        number = number_of("0" if state is None else state)
        if number is None:
            return _DEAD
        made = str(number + 1)
        return made if step.seen is None or made == step.seen else _DEAD
    made = (state or "") + (step.made or "")
    return made if step.seen is None or len(made) == step.seen else _DEAD


def number_of(text: str) -> int | None:
    """Return the integer that a value is, None when it is none, as Redis would have it."""
    digits = text[1:] if text[:1] == "-" else text
    if not (digits.isdecimal() and digits.isascii()) or len(digits) > 19:
        return None
    number = int(text)
    return number if str(number) == text else None


class Changers:
    """Unanswered increments and appends in groups of the same effect, found by the values at
    which they could happen: there can be many."""

    def __init__(self) -> None:
        self._increments: dict[State, list[list[int]]] = {}
        self._appends_at: dict[int, list[list[int]]] = {}
        self._appends_of: dict[str, list[list[int]]] = {}
        self._lengths: list[int] = []
        self.any = False

    def add(self, kind: int, seen: Any, text: str, members: list[int]) -> None:
        """Add a group. `seen` is the answer when it is known after all."""
        self.any = True
        if kind == INCREMENT:
            self._increments.setdefault(seen, []).append(members)
        elif seen is not None:
            self._appends_at.setdefault(seen - len(text), []).append(members)
        else:
            self._appends_of.setdefault(text, []).append(members)
            self._lengths = sorted({len(text) for text in self._appends_of})

    def at(self, state: State, guide: str | None) -> list[list[int]]:
        """Return the groups that could happen at a value, and more where that is not known."""
        groups: list[list[int]] = []
        if self._increments:
            number = number_of(state or "0")
            if number is not None:
                groups += self._increments.get(None, ())
                groups += self._increments.get(str(number + 1), ())
        length = len(state or "")
        groups += self._appends_at.get(length, ())
        if self._appends_of:
            if guide is not None and length + self._lengths[-1] <= len(guide):
                for size in self._lengths:
                    groups += self._appends_of.get(guide[length : length + size], ())
            else:
                for same in self._appends_of.values():
                    groups += same
        return groups


class Register:
    """The steps of one key, laid out for the search. Steps in any order."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self.answers: list[int] = []
        """Steps with an end, in its order: the places of the search."""
        self.open_at: list[Sequence[int]] = []
        """At each place, the answered steps that have begun and have no answer before it."""
        self.start = [0] * len(steps)
        """The first place at which a step may take effect."""
        self.bit = [0] * len(steps)
        self._sweep()
        count = len(self.answers)
        self.unanswered = [
            index
            for index, step in enumerate(steps)
            if step.end is None and step.kind not in (READ, DIFFERS) and self.start[index] < count
        ]
        self._note_who_sees()
        self._group_unanswered()
        self.guide: list[str | None] | None = None
        if any(step.kind == APPEND for step in steps):
            self._find_guides()

    def _sweep(self) -> None:
        events = []
        for index, step in enumerate(self.steps):
            events.append((step.begin, 0, index))
            if step.end is not None:
                events.append((step.end, 1, index))
        events.sort()
        begun: dict[int, None] = {}
        free: list[int] = []
        bits = 0
        place = 0
        alone: Sequence[int] = ()
        for _, ends, index in events:
            if not ends:
                self.start[index] = place
                if self.steps[index].end is not None:
                    if free:
                        self.bit[index] = free.pop()
                    else:
                        self.bit[index] = 1 << bits
                        bits += 1
                    begun[index] = None
                continue
            self.answers.append(index)
            self.open_at.append(tuple(begun) if len(begun) > 1 else alone)
            del begun[index]
            free.append(self.bit[index])
            place += 1

    def _note_who_sees(self) -> None:
        """Until which place an exact value, or any value, can be seen by somebody."""
        self.seen_until: dict[State, int] = {}
        self.any_seen_until = -1
        for place, index in enumerate(self.answers):
            self._note(self.steps[index], place)
        for index in self.unanswered:
            self._note(self.steps[index], FOREVER)

    def _note(self, step: Step, place: int) -> None:
        if step.kind in (READ, SWAP):
            self.seen_until[step.seen] = max(place, self.seen_until.get(step.seen, -1))
        elif step.kind != WRITE:
            self.any_seen_until = max(place, self.any_seen_until)

    def last_seen(self, state: State) -> int:
        """Return the last place at which somebody may see this value; -1 when nobody does."""
        return max(self.seen_until.get(state, -1), self.any_seen_until)

    def _group_unanswered(self) -> None:
        """Group what has no answer by its effect, in the order of invocation."""
        groups: dict[tuple[int, Any, State], list[int]] = {}
        for index in sorted(self.unanswered, key=lambda one: self.steps[one].begin):
            step = self.steps[index]
            # Nobody can tell whether it happened: then it did not.
            if step.kind in (WRITE, SWAP) and self.last_seen(step.made) < self.start[index]:
                continue
            groups.setdefault((step.kind, step.seen, step.made), []).append(index)
        number = 0
        self.makers: dict[State, list[list[int]]] = {}
        self.changers = Changers()
        self.swaps_seen: list[tuple[State, list[int]]] = []
        for (kind, seen, made), members in groups.items():
            for index in members:
                self.bit[index] = 1 << number
                number += 1
            if kind in (WRITE, SWAP):
                self.makers.setdefault(made, []).append(members)
            else:
                self.changers.add(kind, seen, made or "", members)
            if kind == SWAP:
                self.swaps_seen.append((seen, members))
        self.any_unanswered = bool(groups)

    def _find_guides(self) -> None:
        """At places where nothing but appends can take effect: the longest value read there."""
        count = len(self.answers)
        place_of = {index: place for place, index in enumerate(self.answers)}
        change = [0] * (count + 1)
        for index, step in enumerate(self.steps):
            if step.kind in (WRITE, SWAP, INCREMENT) and self.start[index] < count:
                change[self.start[index]] += 1
                end = place_of.get(index)
                if end is not None:
                    change[end + 1] -= 1
        run_of: list[int] = []
        covered = 0
        run = 0
        for place in range(count):
            covered += change[place]
            if change[place] or covered:
                run += 1
            run_of.append(-1 if covered else run)
        longest: dict[int, str] = {}
        for place, index in enumerate(self.answers):
            step = self.steps[index]
            run = run_of[place]
            if step.kind == READ and step.seen and run >= 0 and run_of[self.start[index]] == run:
                known = longest.get(run, "")
                if len(step.seen) > len(known):
                    longest[run] = step.seen
        self.guide = [longest.get(run) for run in run_of]


def first_stuck(register: Register, initial: State, budget: Budget) -> int | None:
    """Search an order of all steps that explains every answer, from a first value.

    Returns None when there is one; else the place (in `register.answers`) of the first answer
    that no order gets past. Raises Undecided when the budget runs out.
    """
    steps, answers, open_at, bit = register.steps, register.answers, register.open_at, register.bit
    count = len(answers)
    furthest = 0
    place, state, used, spent = 0, initial, 0, 0
    seen: dict[tuple[int, State, int], list[int]] = {}
    # What is still to be tried: configurations, and (True) ones of which only the first way on,
    # the operation whose answer is next, has been tried.
    stack: list[tuple[bool, int, State, int, int]] = []
    while True:
        partly = False
        while place < count:
            index = answers[place]
            if used & bit[index]:
                used ^= bit[index]
                place += 1
                continue
            step = steps[index]
            kind = step.kind
            if kind == READ and state == step.seen:
                place += 1
                continue
            others = open_at[place]
            if not others and not register.any_unanswered:
                made = after(step, state)
                if made is _DEAD:
                    break
                state = made
                place += 1
                continue
            if not _is_new(seen, (place, state, used), spent):
                break
            budget.take()
            made = _guided(register, place, step, state)
            if made is _DEAD:
                furthest = max(furthest, place)
                stack += _ways_on(register, place, state, used, spent, budget)
                break
            if kind >= WRITE:
                stack.append((True, place, state, used, spent))
                if others:
                    used = _absorbed(register, place, index, state, used)
            state = made
            place += 1
        else:
            return None
        furthest = max(furthest, place)
        if not stack:
            return furthest
        partly, place, state, used, spent = stack.pop()
        while partly:
            stack += _ways_on(register, place, state, used, spent, budget)
            if not stack:
                return furthest
            partly, place, state, used, spent = stack.pop()


def _is_new(
    seen: dict[tuple[int, State, int], list[int]], key: tuple[int, State, int], spent: int
) -> bool:
    """Tell whether no configuration like this one has used as little of the unanswered."""
    known = seen.get(key)
    if known is None:
        seen[key] = [spent]
        return True
    if any(other & spent == other for other in known):
        return False
    known.append(spent)
    return True


def _guided(register: Register, place: int, step: Step, state: State) -> Any:
    """As `after`, but a value that no later read allows is no way on."""
    made = after(step, state)
    if step.kind == APPEND and register.guide is not None and made is not _DEAD:
        guide = register.guide[place]
        if guide is not None and not (guide.startswith(made) or made.startswith(guide)):
            return _DEAD
    return made


def _absorbed(register: Register, place: int, chosen: int, state: State, used: int) -> int:
    """Return `used` with what takes effect just before `chosen` does: reads that can, and, before
    a write, writes that nobody can see."""
    overwrites = register.steps[chosen].kind == WRITE
    for index in register.open_at[place]:
        bit = register.bit[index]
        if used & bit or index == chosen:
            continue
        step = register.steps[index]
        if step.kind == READ:
            if step.seen == state:
                used |= bit
        elif step.kind == DIFFERS:
            if step.seen != state:
                used |= bit
        elif step.kind == WRITE and overwrites and register.last_seen(step.made) < place:
            used |= bit
    return used


def _ways_on(
    register: Register, place: int, state: State, used: int, spent: int, budget: Budget
) -> list[tuple[bool, int, State, int, int]]:
    """Return the configurations after any one operation but the one whose answer is next; those
    to try first come last."""
    steps, bit = register.steps, register.bit
    answered = register.answers[place]
    wanted = steps[answered]
    ways: list[tuple[bool, int, State, int, int]] = []
    preferred: list[tuple[bool, int, State, int, int]] = []
    if register.any_unanswered:
        candidates = _unanswered_candidates(register, place, state, used, spent)
        # Many of them are work as well.
        budget.left -= len(candidates) // 16
        for index in candidates:
            made = _guided(register, place, steps[index], state)
            if made is not _DEAD:
                quiet = _absorbed(register, place, index, state, used)
                ways.append((False, place, made, quiet, spent | bit[index]))
    open_here = register.open_at[place]
    for index in reversed(open_here):
        step = steps[index]
        if index == answered or used & bit[index] or step.kind < WRITE:
            continue
        made = _guided(register, place, step, state)
        if made is _DEAD:
            continue
        quiet = _absorbed(register, place, index, state, used) | bit[index]
        way = (False, place, made, quiet, spent)
        (preferred if after(wanted, made) is not _DEAD else ways).append(way)
    return ways + preferred


def _unanswered_candidates(
    register: Register, place: int, state: State, used: int, spent: int
) -> list[int]:
    """Return the unanswered steps that somebody open could see, one for each effect."""
    steps, bit = register.steps, register.bit
    everything = register.changers.any
    looked_for: dict[State, None] = {}
    for index in register.open_at[place] or (register.answers[place],):
        step = steps[index]
        if used & bit[index] or step.kind == WRITE:
            continue
        if step.kind in (READ, SWAP):
            looked_for[step.seen] = None
        else:
            everything = True
    found: list[int] = []
    if everything:
        groups = [members for makers in register.makers.values() for members in makers]
    else:
        for seen, members in register.swaps_seen:
            if _next(register, members, place, spent) is not None:
                looked_for[seen] = None
        groups = [members for made in looked_for for members in register.makers.get(made, ())]
    if register.changers.any:
        guide = register.guide[place] if register.guide is not None else None
        groups += register.changers.at(state, guide)
    for members in groups:
        candidate = _next(register, members, place, spent)
        if candidate is not None:
            found.append(candidate)
    return found


def _next(register: Register, members: list[int], place: int, spent: int) -> int | None:
    """Return the first member that has not been used, if it has been invoked by now."""
    for index in members:
        if not spent & register.bit[index]:
            return index if register.start[index] <= place else None
    return None
