"""The checker against a brute-force one, and on the classic ways for a history to be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxos.sim import linearizability
from paxos.sim.history import LIST_FUNCTIONS, NOT_OLD, Event, Operation, operations
from paxos.sim.linearizability import Undecided

# ---------------------------------------------------------------- a checker too simple to be wrong

NOTHING = "nothing"


def applied(state: Any, f: str, argument: Any) -> Any:
    """Return the value after an operation and what it answers; None when it cannot happen."""
    match f:
        case "read" | "list-read":
            return state, state
        case "write":
            return argument, NOTHING
        case "delete":
            return None, NOTHING
        case "cas":
            return (argument[1], NOTHING) if state == argument[0] else None
        case "incr":
            if state is not None and not isinstance(state, int):
                return None
            return (state or 0) + 1, (state or 0) + 1
        case "append":
            if isinstance(state, int):
                state = str(state)
            grown = (state or "") + argument
            return grown, len(grown)
        case "list-append":
            return (*(state or ()), argument), NOTHING
    raise AssertionError(f)


def explains(answer: Any, operation: Operation) -> bool:
    if operation.outcome != "ok":
        return True
    if operation.f == "list-read":
        return [value for _, value in operation.result] == list(answer or ())
    if operation.f == "read":
        told = operation.result
        return answer == told or (answer is not None and told is not None and str(answer) == told)
    return answer == NOTHING or operation.result is None or answer == operation.result


def brute_force(history: Sequence[Operation], initial: Any = None) -> bool:
    """Try every order that real time allows, with every choice of what unanswered ones did."""
    for key in {operation.key for operation in history}:
        mine = [operation for operation in history if operation.key == key]
        if not placed(initial if key is not None else None, mine):
            return False
    return True


def claims_difference(operation: Operation) -> bool:
    return operation.outcome == "fail" and operation.f == "cas" and operation.error == NOT_OLD


def placed(state: Any, left: list[Operation]) -> bool:
    left = [one for one in left if one.outcome != "fail" or claims_difference(one)]
    if all(operation.outcome == "info" for operation in left):
        return True
    first_answer = min(one.ended for one in left if one.outcome != "info" and one.ended is not None)
    for operation in left:
        if operation.began > first_answer:
            continue
        rest = [one for one in left if one is not operation]
        if claims_difference(operation):
            if state != operation.argument[0] and placed(state, rest):
                return True
            continue
        happened = applied(state, operation.f, operation.argument)
        if happened is None:
            continue
        made, answer = happened
        if explains(answer, operation) and placed(made, rest):
            return True
    return False


# ---------------------------------------------------------------- histories by chance

FAMILIES = {
    "register": ("read", "write", "cas", "delete"),
    "counter": ("read", "incr", "incr", "write"),
    "text": ("read", "append", "append"),
    "mixed": ("read", "write", "append", "delete", "cas"),
    "list": ("list-read", "list-append"),
}


def ask(dice: Random, f: str, fresh: int) -> Any:
    """Return an argument."""
    match f:
        case "write":
            return dice.randrange(3)
        case "cas":
            return [dice.randrange(3), dice.randrange(3)]
        case "append":
            return dice.choice("ab")
        case "list-append":
            return f"v{fresh}"
    return None


class Clients:
    """Clients whose operations overlap, and a store that is right."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        self.family = dice.choice(sorted(FAMILIES))
        self.keys = [None] if self.family == "list" else ["a", "b"][: dice.randint(1, 2)]
        self.state: dict[str | None, Any] = {}
        self.events: list[Event] = []
        self.open_of: dict[int, tuple[str, str | None, Any]] = {}
        self.answer_of: dict[int, tuple[str, Any]] = {}
        self.processes = list(range(dice.randint(1, 4)))
        self.invoked = 0

    def turn(self) -> None:
        lane = self.dice.randrange(len(self.processes))
        process = self.processes[lane]
        if process not in self.open_of:
            self.invoke(process)
        elif process not in self.answer_of and self.dice.random() < 0.8:
            self.happen(process)
        elif self.dice.random() < 0.15:
            self.events.append(self.end(process, "info", None))
            self.processes[lane] = max(self.processes) + 1
        elif process in self.answer_of:
            kind, answer = self.answer_of.pop(process)
            self.events.append(self.end(process, kind, answer))

    def invoke(self, process: int) -> None:
        f, key = self.dice.choice(FAMILIES[self.family]), self.dice.choice(self.keys)
        argument = ask(self.dice, f, self.invoked)
        self.invoked += 1
        self.open_of[process] = (f, key, argument)
        self.events.append(Event(process=process, type="invoke", f=f, key=key, value=argument))

    def happen(self, process: int) -> None:
        f, key, argument = self.open_of[process]
        happened = applied(self.state.get(key), f, argument)
        if happened is None:
            self.answer_of[process] = ("fail", None)
            return
        self.state[key], answer = happened
        if f == "list-read":
            answer = [[slot, value] for slot, value in enumerate(answer or (), start=1)]
        elif answer == NOTHING or (f == "append" and self.dice.random() < 0.5):
            answer = None
        self.answer_of[process] = ("ok", answer)

    def end(self, process: int, kind: str, answer: Any) -> Event:
        f, key, _ = self.open_of.pop(process)
        self.answer_of.pop(process, None)
        compared = kind == "fail" and f == "cas" and self.dice.random() < 0.5
        error = NOT_OLD if compared else ""
        return Event(process=process, type=kind, f=f, key=key, value=answer, error=error)


def history_by(dice: Random, turns: int = 30, invoked_max: int = 8) -> list[Event]:
    """A history of a right store; three times out of four, then, with a lie or two."""
    clients = Clients(dice)
    for _ in range(turns):
        clients.turn()
        if clients.invoked >= invoked_max:
            break
    events = clients.events
    for _ in range(dice.choice((0, 1, 1, 2))):
        events = lied(dice, events)
    return events


def lied(dice: Random, events: list[Event]) -> list[Event]:
    """Change one answer, or exchange two neighbouring events of different processes."""
    events = list(events)
    told = [
        at
        for at, event in enumerate(events)
        if event.type == "ok" and event.f in ("read", "incr", "list-read")
    ]
    if told and dice.random() < 0.8:
        at = dice.choice(told)
        event = events[at]
        if event.f == "list-read":
            events[at] = replaced(event, another_list(dice, event.value))
        elif isinstance(event.value, str):
            events[at] = replaced(event, dice.choice(["", "a", "b", "ab", "ba", event.value[:-1]]))
        else:
            events[at] = replaced(event, dice.randrange(4))
        return events
    at = dice.randrange(len(events))
    if at + 1 < len(events) and events[at + 1].process != events[at].process:
        events[at], events[at + 1] = events[at + 1], events[at]
    return events


def another_list(dice: Random, items: list[list[Any]]) -> list[list[Any]]:
    values = [value for _, value in items]
    change = dice.randrange(4)
    if change == 0:
        values = values[:-1]
    elif change == 1:
        values = values[::-1]
    elif change == 2:
        values = [*values, f"v{dice.randrange(5)}"]
    elif values:
        values[dice.randrange(len(values))] = f"v{dice.randrange(5)}"
    return [[slot, value] for slot, value in enumerate(values, start=1)]


def replaced(event: Event, value: Any) -> Event:
    return Event(
        process=event.process,
        type=event.type,
        f=event.f,
        key=event.key,
        value=value,
        error=event.error,
    )


@settings(max_examples=400, deadline=None)
@given(st.randoms(use_true_random=False))
def test_verdict_is_that_of_brute_force_when_histories_are_random(dice: Random) -> None:
    history = operations(history_by(dice))
    verdict = linearizability.check(history)
    assert verdict.linearizable == brute_force(history)
    assert verdict.linearizable == (not verdict.offending)
