"""One name for equal states: roles, journals and watchers as plain nested tuples.

Two nodes that will answer every event alike shall have the same canonical form, whatever order
their sets and dictionaries were filled in. It is made by reflection over every attribute, so that
an attribute that somebody adds to a role tomorrow is part of it without anybody thinking of it.
What is left out is listed here, with why. It refuses to know what the attributes mean.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeAlias

from .copying import attributes

Frozen: TypeAlias = Any
"""None, bool, int, float, str, bytes, or a tuple of these whose first item says what it was."""

CONFIGURATION = frozenset(
    (
        *("membership", "_membership", "_timeouts", "_limits", "_others", "_number"),
        *("_bits", "_quorum", "_window", "_members", "_founders", "view", "_view"),
    )
)
"""Given at birth, and the same for ever: the members do not change in these worlds."""

LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    # What the stepper is wired to, and no memory of its own.
    "Stepper": ("_clock", "_dice", "_drained"),
    # A role is frozen once, under the stepper; its watcher and log only point at it.
    "AcceptorWatcher": ("_acceptor",),
    "ProposerWatcher": ("_proposer",),
    "LearnerWatcher": ("_learner",),
    # _leader, _leader_heard_ms: whether a leader was heard lately decides about canvassing alone,
    # and in these worlds it was always long ago (see live.py). _accepts, _nacks count for people.
    # node: acceptors are alike, and their cells have places.
    # _began_with: what a reminder is held against, and none is delivered (see Learner).
    "Acceptor": ("node", "log", "_leader", "_leader_heard_ms", "_accepts", "_nacks", "_began_with"),
    # _log: the stepper's journal once more. _node, _kept: nobody keeps a snapshot in these worlds,
    # and that an acceptor itself keeps none stands there under its own name.
    "Keeping": ("_node", "_kept", "_log", "_tick_ms"),
    # electorate: only the watcher reads it, at the step that sets it. _announced, _abstaining,
    # _gateways: what is told to gateways, and none is connected. The rest counts for people.
    "Proposer": (
        "electorate",
        "_announced",
        "_abstaining",
        "_gateways",
        "_elections",
        "_proposals",
    ),
    # failures: how long to wait, and here every timer may fire at any time.
    "Election": ("failures",),
    # _witness: what acceptors are reminded of, and no reminder is delivered in these worlds.
    "Learner": ("_reads", "_level_once", "_witness"),
    "MemoryJournal": ("syncs",),
    # Constant for each node; the phase and the cluster are what is decided upon.
    "Stamped": ("node", "acceptors"),
    # What was found at the start is in the role by now; damage and a missing stamp stay.
    "Recovered": ("promised", "counter", "decided", "repaired"),
}


_LEFT_OUT = {kind: CONFIGURATION.union(names) for kind, names in LEFT_OUT.items()}


def frozen(value: Any) -> Frozen:
    """Return the canonical form of a value."""
    kind = type(value)
    way = _WAYS.get(kind)
    if way is None:
        way = _WAYS[kind] = _frozen_enum if issubclass(kind, Enum) else _frozen_object
    return way(value)


def _same(value: Any) -> Frozen:
    return value


def _frozen_enum(value: Any) -> Frozen:
    return str(value.value)


def _frozen_map(value: Any) -> Frozen:
    return ("map", *sorted([(frozen(k), frozen(v)) for k, v in value.items()], key=repr))


def _frozen_set(value: Any) -> Frozen:
    return ("set", *sorted([frozen(item) for item in value], key=repr))


def _frozen_sequence(value: Any) -> Frozen:
    return ("seq", *[frozen(item) for item in value])


_WAYS: dict[type, Callable[[Any], Frozen]] = {
    **dict.fromkeys((type(None), bool, int, float, str, bytes), _same),
    dict: _frozen_map,
    set: _frozen_set,
    frozenset: _frozen_set,
    **dict.fromkeys((list, tuple, deque), _frozen_sequence),
}
"""How to freeze each kind of value; what is not in here yet is entered when it is met."""


def _frozen_object(value: Any) -> Frozen:
    """Freeze an object by its attributes, in the order of their names."""
    kind = type(value).__name__
    out = _LEFT_OUT.get(kind, CONFIGURATION)
    parts = [(name, frozen(attribute)) for name, attribute in attributes(value) if name not in out]
    if kind == "Pending":
        # A mask of acceptors by number: as a set of names it can be renamed.
        votes = {ballot: _bits(mask) for ballot, mask in value.votes.items()}
        parts = [("votes", frozen(votes)), *(part for part in parts if part[0] != "votes")]
    elif kind == "Proposer" and value.phase.value != "canvassing":
        # Answers to a canvass that is over: the next one begins with none.
        parts = [_without_replies(part) if part[0] == "_election" else part for part in parts]
    parts.sort()
    return (kind, *parts)


def _without_replies(part: tuple[str, Frozen]) -> tuple[str, Frozen]:
    name, election = part
    return name, tuple(item for item in election if item[0] != "replies")


def _bits(mask: int) -> frozenset[str]:
    """Return the acceptors of a learner's mask, by name; bit 0 is acceptor-1."""
    return frozenset(
        f"acceptor-{number + 1}" for number in range(mask.bit_length()) if mask >> number & 1
    )


def renamed(value: Frozen, names: Mapping[str, str]) -> Frozen:
    """Return a canonical form with nodes renamed."""
    if isinstance(value, str):
        return names.get(value, value)
    if not isinstance(value, tuple):
        return value
    if value and value[0] in ("set", "map"):
        return (value[0], *sorted([renamed(item, names) for item in value[1:]], key=repr))
    return tuple([renamed(item, names) for item in value])
