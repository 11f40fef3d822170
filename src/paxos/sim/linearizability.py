"""Is a history linearizable? Could every operation have taken effect at one moment between its
invocation and its answer, all in one order that explains every answer (Herlihy and Wing,
"Linearizability: a correctness condition for concurrent objects", 1990)?

Linearizability is local (section 3.1 of that paper): a history is linearizable if and only if
its part for each object is. So each key is decided on its own (register.py), and so is the one
ordered list (listcheck.py). A history that is not is cut down to the operations that contradict
one another (minimise.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from . import listcheck, wording
from .history import LIST_FUNCTIONS, Operation
from .minimise import smallest_contradiction
from .register import Budget, Register, Step, Undecided, as_state, first_stuck, step_of

__all__ = ["Checked", "Undecided", "Verdict", "check"]


class Checked(msgspec.Struct, frozen=True):
    """What was looked at. `configurations` is what the search had to visit."""

    operations: int
    keys: int
    configurations: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found.

    When not linearizable: `key` is the first key at fault (None for the ordered list), `reason`
    a sentence, and `offending` the shortest part found that contradicts itself, whatever the
    other operations did, in the order of invocation.
    """

    linearizable: bool
    key: str | None = None
    reason: str = ""
    offending: list[Operation] = []
    checked: Checked


def check(
    operations: Sequence[Operation],
    initial: Any = None,
    budget: int | None = None,
    on_key: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Decide whether a history is linearizable. `initial` is every key's first value; `budget`
    bounds the configurations that the search may visit; `on_key` is called before each key with
    how many have been decided and how many there are.

    Raises Undecided when the budget runs out before there is a verdict.
    """
    of_key: dict[str | None, list[Operation]] = {}
    of_list: list[Operation] = []
    for operation in operations:
        if operation.f in LIST_FUNCTIONS:
            of_list.append(operation)
        else:
            of_key.setdefault(operation.key, []).append(operation)
    allowed = Budget(budget)
    state = as_state(initial)

    def verdict(fault: tuple[str | None, str, list[Operation]] | None) -> Verdict:
        checked = Checked(
            operations=len(operations), keys=len(of_key), configurations=allowed.visited
        )
        if fault is None:
            return Verdict(linearizable=True, checked=checked)
        key, reason, offending = fault
        offending = sorted(offending, key=lambda operation: operation.place)
        return Verdict(
            linearizable=False, key=key, reason=reason, offending=offending, checked=checked
        )

    if of_list:
        trouble = listcheck.check(of_list)
        if trouble is not None:
            return verdict((None, trouble.reason, trouble.offending))
    for number, (key, mine) in enumerate(of_key.items()):
        if on_key is not None:
            on_key(number, len(of_key))
        chosen, steps = _steps(mine)
        register = Register(steps)
        stuck = first_stuck(register, state, allowed)
        if stuck is None:
            continue
        kept = smallest_contradiction(steps, state, steps[register.answers[stuck]])
        offending = [chosen[index] for index in kept]
        return verdict((key, wording.reason(chosen, steps, kept, initial), offending))
    return verdict(None)


def _steps(operations: list[Operation]) -> tuple[list[Operation], list[Step]]:
    """Return the operations that matter, and beside each what the search needs of it.

    The places of events become their ranks, answers after invocations where nothing orders them.
    """
    places: list[tuple[tuple[float, int], int, int]] = []
    for index, operation in enumerate(operations):
        places.append((operation.place, 0, index))
        returned = operation.place_returned
        if returned is not None:
            places.append((returned, 1, index))
    places.sort()
    begins = [0] * len(operations)
    ends: list[int | None] = [None] * len(operations)
    for rank, (_, answers, index) in enumerate(places):
        if answers:
            ends[index] = rank
        else:
            begins[index] = rank
    chosen: list[Operation] = []
    steps: list[Step] = []
    for index, operation in enumerate(operations):
        step = step_of(operation, begins[index], ends[index])
        if step is not None:
            chosen.append(operation)
            steps.append(step)
    return chosen, steps
