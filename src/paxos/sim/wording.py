"""Operations and contradictions in words: short texts that tables, pictures and reports share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .history import NOT_OLD, Operation
from .register import (
    APPEND,
    DIFFERS,
    INCREMENT,
    READ,
    SWAP,
    WRITE,
    State,
    Step,
    as_state,
    number_of,
)

VALUE_CHARACTERS_MAX = 40
"""A longer value is shortened in the middle."""


def shown(value: Any) -> str:
    """Return a value as JSON, shortened."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= VALUE_CHARACTERS_MAX:
        return text
    half = (VALUE_CHARACTERS_MAX - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def described(operation: Operation, with_key: bool = True) -> str:
    """Return an operation and its answer in a few words: `read x → 3`."""
    told = answer(operation)
    return asked(operation, with_key) + (f" → {told}" if told else "")


def asked(operation: Operation, with_key: bool = True) -> str:
    """Return what was invoked, in a few words: `write x 3`."""
    f, key = operation.f, operation.key
    parts = [f]
    if key is not None and with_key:
        parts.append(key)
    if f == "cas":
        old, new = operation.argument
        parts.append(f"{shown(old)} to {shown(new)}")
    elif f in ("write", "append", "list-append"):
        parts.append(shown(operation.argument))
    return " ".join(parts)


def answer(operation: Operation) -> str:
    """Return what the operation was told: nothing when it just happened, `?` when unknown."""
    if operation.outcome == "info" or operation.returned is None:
        return "?"
    if operation.outcome == "fail":
        return "was another value" if operation.error == NOT_OLD else "failed"
    if operation.f == "list-read":
        items = operation.result or []
        last = f", last {shown(items[-1][1])} in slot {items[-1][0]}" if items else ""
        return f"{len(items)} value{'' if len(items) == 1 else 's'}{last}"
    if operation.f == "list-append":
        return "" if operation.result is None else f"slot {operation.result}"
    if operation.f == "read":
        return shown(operation.result)
    return "" if operation.result is None else shown(operation.result)


def reason(
    operations: Sequence[Operation], steps: Sequence[Step], kept: Sequence[int], initial: Any
) -> str:
    """Return the sentence that says why the kept operations of one key contradict each other."""
    last = max(kept, key=lambda index: -1 if steps[index].end is None else steps[index].end or 0)
    culprit = operations[last]
    for index in kept:
        sentence = _reason_of_impossible(operations[index], steps[index], steps, initial)
        if sentence:
            return sentence
    others = [index for index in kept if index != last]
    if len(others) == 1:
        sentence = _reason_of_pair(operations, steps, others[0], last)
        if sentence:
            return sentence
    if not others:
        told = described(culprit)
        return f"nothing that had happened explains what process {culprit.process} was told: {told}"
    others_too = ", whenever others of unknown outcome took effect"
    unknown = any(one.end is None and one.kind >= WRITE for one in steps)
    return (
        f"no order of these {len(kept)} operations explains what each was told"
        f"{others_too if unknown else ''}"
    )


def _reason_of_impossible(
    operation: Operation, step: Step, steps: Sequence[Step], initial: Any
) -> str:
    """Return what is wrong with one that saw a value too early, else nothing."""
    plain = all(other.kind < INCREMENT for other in steps)
    if not plain or step.kind not in (READ, SWAP) or step.seen == as_state(initial):
        return ""
    makers = [other for other in steps if other.kind >= WRITE and other.made == step.seen]
    found = f"process {operation.process} found {_shown_state(step.seen)}"
    if not makers:
        return f"{found}, which nobody ever wrote"
    if step.end is not None and all(maker.begin > step.end for maker in makers):
        return f"{found} before anybody began to write it"
    return ""


def _reason_of_pair(
    operations: Sequence[Operation], steps: Sequence[Step], first: int, last: int
) -> str:
    one, other = operations[first], operations[last]
    before, after = steps[first], steps[last]
    if before.kind == after.kind == INCREMENT and before.seen == after.seen is not None:
        return (
            f"processes {one.process} and {other.process} both counted to {before.seen}: one "
            "increment was lost, or its answer was given twice"
        )
    if before.kind == after.kind == SWAP and before.seen == after.seen:
        return (
            f"processes {one.process} and {other.process} both swapped "
            f"{_shown_state(before.seen)} for something else, and nobody brought it back in "
            "between: one update was lost"
        )
    if before.end is None or before.end > after.begin:
        return ""
    who, earlier = f"process {other.process}", f"process {one.process}"
    if before.kind == APPEND and after.kind == READ and one.argument not in (after.seen or ""):
        text = shown(one.argument)
        return f"{who} does not see {text}, which {earlier} had appended before: a stale read"
    if before.kind == APPEND or after.kind in (WRITE, APPEND):
        return ""
    left = before.made if before.kind in (WRITE, SWAP) else before.seen
    did = {
        READ: f"had read {_shown_state(left)}",
        DIFFERS: f"had found something other than {_shown_state(left)}",
        WRITE: f"had written {_shown_state(left)}" if left is not None else "had deleted it",
        SWAP: f"had swapped it for {_shown_state(left)}",
        INCREMENT: f"had counted to {left}",
    }[before.kind]
    found = _shown_state(after.seen)
    if after.kind == READ:
        # It may also be a value from the future, of a write that was open all the time.
        makers = [one for one in steps if one.kind in (WRITE, SWAP) and one.made == after.seen]
        is_old = all(one.end is not None and one.end < before.end for one in makers)
        name = "a read went back in time" if before.kind == READ else "a stale read"
        return (
            f"{who} read {found}, but {earlier} {did} before, and nobody changed that"
            f"{f': {name}' if is_old else ''}"
        )
    if after.kind == SWAP:
        return f"{who} swapped {found}, but {earlier} {did} before, and nobody changed that"
    if after.kind == DIFFERS:
        return (
            f"{who} was told that the value is not {found}, but {earlier} {did} before, and "
            "nobody changed that"
        )
    if after.seen is not None:
        return f"{who} counted to {after.seen}, but {earlier} {did} before, and nobody changed that"
    return ""


def _shown_state(state: State) -> str:
    """Return a value as the search knows it: an integer is a text of digits there."""
    if state is None:
        return "nothing"
    number = number_of(state)
    return shown(state if number is None else number)
