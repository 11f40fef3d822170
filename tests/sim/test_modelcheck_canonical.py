"""Canonical forms and copies: equal nodes have one form, and a copy shares nothing that changes."""

from __future__ import annotations

from collections import deque

from paxos.core.types import NodeId
from paxos.sim.modelcheck import Explorer, world_named
from paxos.sim.modelcheck.canonical import LEFT_OUT, frozen, renamed
from paxos.sim.modelcheck.copying import attributes, copied
from paxos.sim.modelcheck.events import Fire, Reply, Stand


class Thing:
    def __init__(self) -> None:
        self.names = {"acceptor-1", "acceptor-2"}
        self.votes = {2: b"x", 1: b"y"}
        self.queue = deque([1, 2])


def test_the_order_of_sets_and_dictionaries_means_nothing() -> None:
    one, other = Thing(), Thing()
    other.votes = {1: b"y", 2: b"x"}
    other.names = {"acceptor-2", "acceptor-1"}
    assert frozen(one) == frozen(other)


def test_the_order_of_a_queue_means_something() -> None:
    one, other = Thing(), Thing()
    other.queue = deque([2, 1])
    assert frozen(one) != frozen(other)


def test_an_attribute_that_is_new_makes_a_difference() -> None:
    one, other = Thing(), Thing()
    other.later = 1  # type: ignore[attr-defined]
    assert frozen(one) != frozen(other)


def test_renaming_and_renaming_back_changes_nothing() -> None:
    thing = Thing()
    thing.names = {"acceptor-1", "acceptor-3"}
    there = {"acceptor-1": "acceptor-2", "acceptor-2": "acceptor-1"}
    moved = renamed(frozen(thing), there)
    assert moved != frozen(thing)
    assert renamed(moved, there) == frozen(thing)


def test_a_copy_of_a_node_is_equal_and_independent() -> None:
    explorer = Explorer(world_named("one-slot"))
    workshop, names = explorer.nodes.workshop, explorer.nodes.names
    for name in names:
        live = workshop.founded(name)
        copy = workshop.copy(live)
        assert frozen(copy.stepper) == frozen(live.stepper)
        assert copy.role is not live.role
        assert copy.journal is not live.journal
    proposer = workshop.founded(NodeId("proposer-1"))
    copy = workshop.copy(proposer)
    before = frozen(proposer.stepper)
    replies = tuple(Reply(name, 0, 0, 0) for name in names[:2])  # type: ignore[arg-type]
    assert workshop.run(copy, Stand(replies))
    assert frozen(copy.stepper) != before
    assert frozen(proposer.stepper) == before


def test_objects_that_are_reached_twice_are_copied_once() -> None:
    explorer = Explorer(world_named("one-slot"))
    workshop = explorer.nodes.workshop
    acceptor = workshop.copy(workshop.founded(explorer.nodes.names[0]))
    assert acceptor.role.log is acceptor.journal
    assert acceptor.stepper._watcher._acceptor is acceptor.role  # type: ignore[attr-defined]


def test_a_copy_changes_nothing_in_what_it_shares() -> None:
    shared = Thing()
    held = [shared, {"a": shared}]
    copy = copied(held, (shared,))
    assert copy[0] is shared
    assert copy[1] is not held[1]
    assert copied(held)[0] is not shared


def test_what_is_left_out_of_a_node_is_really_there() -> None:
    """A name in the list that no role has any more would hide nothing, and mislead."""
    explorer = Explorer(world_named("one-slot"))
    seen: dict[str, set[str]] = {}

    def visit(value: object, known: set[int]) -> None:
        if id(value) in known or isinstance(value, int | str | bytes | float | None):
            return
        known.add(id(value))
        if type(value).__module__.startswith("paxos"):
            parts = dict(attributes(value))
            seen.setdefault(type(value).__name__, set()).update(parts)
            for part in parts.values():
                visit(part, known)

    for name in explorer.nodes.names:
        visit(explorer.nodes.workshop.founded(name).stepper, set())
    for kind, names in LEFT_OUT.items():
        assert set(names) <= seen[kind]


def test_a_timer_that_nobody_set_changes_nothing() -> None:
    explorer = Explorer(world_named("canvass"))
    workshop = explorer.nodes.workshop
    live = workshop.founded(explorer.nodes.names[0])
    before = frozen(live.stepper)
    assert workshop.run(live, Fire("election")) == 0
    assert frozen(live.stepper) == before
