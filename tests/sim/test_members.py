"""Simulated lives in which operators change the members while everything fails."""

from __future__ import annotations

from collections import Counter

import pytest

from paxos.core.types import Role, life_of, node_id, place_of, role_of
from paxos.sim import faults
from paxos.sim.operator import Operator, newest
from paxos.sim.simulation import Options, Run
from paxos.sim.world import World

MEMBERS = Options(kinds=faults.GROUPS["members"])
SEEDS = 60
SEEDS_PER_TEST = 10
WISHES = ("replace", "add", "remove", "learner", "proposer")


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_no_rule_breaks_when_members_change_while_everything_fails(first: int) -> None:
    """DESIGN rule 11, and all the others by the configuration in force; then progress, agreement,
    and no wish left open.
    """
    runs = [Run(seed, MEMBERS) for seed in range(first, first + SEEDS_PER_TEST)]
    outcomes = [run.go() for run in runs]
    assert [(one.seed, one.violation) for one in outcomes if one.violation] == []
    # An idle run proves nothing.
    done = sum((Counter(one.done) for run in runs for one in run.operators), Counter[str]())
    assert done["replace"] >= SEEDS_PER_TEST / 2
    assert min(done[wish] for wish in WISHES) > 0
    assert sum(one.epochs for one in outcomes) > 3 * SEEDS_PER_TEST
    assert min(one.epochs for one in outcomes) > 0
    assert sum(Counter(one.operations)["ok"] for one in outcomes) > 100 * SEEDS_PER_TEST
    assert sum(sum(one.faults.values()) for one in outcomes) > 5 * SEEDS_PER_TEST
    assert sum(one.cuts for one in outcomes) > 10 * SEEDS_PER_TEST
    assert sum(one.adoptions for one in outcomes) > 0


def test_a_run_repeats_when_operators_change_its_members() -> None:
    """A seed is a run, operators and all."""
    once, again = Run(4, MEMBERS), Run(4, MEMBERS)
    first, second = once.go(), again.go()
    assert first == second
    assert first.epochs > 0
    assert [one.done for one in once.operators] == [one.done for one in again.operators]
    assert once.world.membership == again.world.membership
    assert Run(5, MEMBERS).go().trace_hash != first.trace_hash


def test_nobody_changes_the_members_when_the_group_is_not_asked_for() -> None:
    """The other kinds of fault mean what they have always meant."""
    run = Run(4, Options(time_ms=1500.0))
    assert run.operators == []
    assert run.go().epochs == 0
    assert faults.CHANGING not in faults.KINDS


# ---------------------------------------------------------------- one operator


def a_world() -> tuple[World, Operator]:
    """Return a cluster that serves, and an operator that wishes for nothing by itself."""
    world = World(7)
    world.start()
    assert world.run_until(lambda: world.leader is not None)
    world.ask(world.membership.gateways[0], 1, [b"WRITE", b"x"])
    assert world.wait_for_replies(1, 1)
    return world, Operator(world, 7, 0, time_ms=0.0)


def test_no_wish_is_begun_when_an_operator_was_stopped() -> None:
    """The second phase of a run asks for progress, not for more changes."""
    _, operator = a_world()
    operator.stop()
    operator._wish()
    assert not operator.busy


def test_an_acceptor_has_a_name_of_its_own_when_it_is_replaced() -> None:
    """types.NodeId: the next life of that place, by the log; the first never comes back."""
    world, operator = a_world()
    gone = world.membership.acceptors[1]
    operator._replace(gone)
    assert world.run_until(lambda: not operator.busy)
    known = newest(world)
    assert known is not None
    assert known.epoch == 2
    [heir] = [a for a in known.members.acceptors if place_of(a) == gone]
    assert (role_of(heir), life_of(heir) > 0) == (Role.ACCEPTOR, True)
    assert gone in world.retired
    world.start()
    assert not world.nodes[gone].running
    world.run_until(lambda: world.role(heir).voting)
    world.ask(world.membership.gateways[0], 2, [b"WRITE", b"y"])
    assert world.wait_for_replies(2, 1)
    assert world.role(heir).log.highest_slot > known.slot


def test_a_wish_is_given_up_when_it_has_become_senseless() -> None:
    """Two operators may wish to remove the same last node."""
    world, operator = a_world()
    for number in (1, 2):
        operator._go(node_id(Role.CLIENT, number))
    assert world.run_until(lambda: operator.refused > 0, 60_000.0)
    known = newest(world)
    assert known is not None
    assert len(known.members.gateways) == 1


def test_nobody_knows_a_configuration_when_none_was_decided() -> None:
    """The founding is not one that the log decided."""
    world, _ = a_world()
    assert newest(world) is None
