"""Copies of running nodes: role, watcher and journal together, quickly.

What cannot change is shared between copies: numbers, text, messages, events, records, settings and
functions. Everything else is copied, objects that are reached twice (a role, from its stepper and
from its watcher) once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

IMMUTABLE = (
    type(None),
    bool,
    int,
    float,
    str,
    bytes,
    frozenset,
    Enum,
    msgspec.Struct,
    FunctionType,
    BuiltinFunctionType,
    MethodType,
)


def copied(value: T, shared: tuple[object, ...] = ()) -> T:
    """Return an independent copy of a value; the objects of `shared` are kept as they are."""
    return _Copier(shared)(value)  # type: ignore[no-any-return]


class _Copier:
    """One copy under way. `_made` are the copies of the objects that were met."""

    def __init__(self, shared: tuple[object, ...]) -> None:
        self._made: dict[int, Any] = {id(one): one for one in shared}

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        way = _WAYS.get(kind)
        if way is None:
            way = _WAYS[kind] = _same if issubclass(kind, IMMUTABLE) else _copied_object
        return way(self, value)

    def object(self, value: Any) -> Any:
        """Copy an object with attributes."""
        made = self._made.get(id(value))
        if made is None:
            made = self._made[id(value)] = object.__new__(type(value))
            names = _names(type(value))
            if names is None:
                made.__dict__.update({name: self(item) for name, item in vars(value).items()})
            else:
                for name in names:
                    setattr(made, name, self(getattr(value, name)))
        return made


_NAMES: dict[type, tuple[str, ...] | None] = {}


def _names(kind: type) -> tuple[str, ...] | None:
    """Return the attributes of a kind of object; None when each object has its own dictionary."""
    if kind not in _NAMES:
        fields = getattr(kind, "__struct_fields__", None)
        _NAMES[kind] = fields if fields is not None else getattr(kind, "__slots__", None)
    return _NAMES[kind]


def attributes(value: Any) -> list[tuple[str, Any]]:
    """Return the attributes of an object, wherever it keeps them."""
    names = _names(type(value))
    if names is None:
        return list(vars(value).items())
    return [(name, getattr(value, name)) for name in names]


def _same(copier: _Copier, value: Any) -> Any:
    return value


def _copied_object(copier: _Copier, value: Any) -> Any:
    return copier.object(value)


_WAYS: dict[type, Callable[[_Copier, Any], Any]] = {
    dict: lambda copier, value: {key: copier(item) for key, item in value.items()},
    list: lambda copier, value: [copier(item) for item in value],
    tuple: lambda copier, value: tuple([copier(item) for item in value]),
    deque: lambda copier, value: deque([copier(item) for item in value], value.maxlen),
    set: lambda copier, value: set(value),
}
"""How to copy each kind of value; what is not in here yet is entered when it is met."""
