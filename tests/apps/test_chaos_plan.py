"""The plan of a chaos run: a pure function of its seed that leaves no kind of fault out."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paxos.apps.chaos_nemesis import rules_of
from paxos.apps.chaos_plan import (
    KINDS,
    LOCAL_VARIANTS,
    SWARM_VARIANTS,
    Cut,
    Fault,
    plan,
    resolve,
)
from paxos.apps.config import load
from paxos.core.quorum import Membership
from paxos.core.types import Role, node_id

ROOT = Path(__file__).resolve().parents[2]
MEMBERSHIP = load(environment={}).membership()
SECONDS = 60.0
LOCAL_KINDS = tuple(LOCAL_VARIANTS)


def small() -> Membership:
    """The smallest cluster that there is."""
    return Membership(
        acceptors=(node_id(Role.ACCEPTOR, 1),),
        proposers=(node_id(Role.PROPOSER, 1),),
        learners=(node_id(Role.LEARNER, 1),),
        gateways=(node_id(Role.CLIENT, 1),),
        discovery=node_id(Role.DISCOVERY),
    )


def test_the_plan_is_the_same_when_the_seed_is() -> None:
    assert plan(7, SECONDS, LOCAL_KINDS, MEMBERSHIP) == plan(7, SECONDS, LOCAL_KINDS, MEMBERSHIP)


def test_the_plan_is_another_when_the_seed_is() -> None:
    plans = [plan(seed, SECONDS, LOCAL_KINDS, MEMBERSHIP) for seed in range(20)]
    assert all(one != other for one, other in itertools.combinations(plans, 2))


def test_the_plan_is_the_same_under_any_hash_seed() -> None:
    told = set()
    for hash_seed in ("0", "1", "12345"):
        done = subprocess.run(
            [sys.executable, "-m", "paxos.apps.cli", "chaos", "--plan", "--seed", "5", "--json"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=True,
        )
        told.add(done.stdout)
    (one,) = told
    faults = json.loads(one)["faults"]
    assert len(faults) == len(plan(5, SECONDS, LOCAL_KINDS, MEMBERSHIP))
    assert [fault["at_s"] for fault in faults] == [
        fault.at_s for fault in plan(5, SECONDS, LOCAL_KINDS, MEMBERSHIP)
    ]


@pytest.mark.parametrize("seed", range(10))
def test_no_kind_comes_again_before_every_kind_came_once(seed: int) -> None:
    kinds = [fault.kind for fault in plan(seed, SECONDS, LOCAL_KINDS, MEMBERSHIP)]
    first = kinds[: len(LOCAL_KINDS)]
    assert sorted(first) == sorted(LOCAL_KINDS)


def test_no_variant_comes_again_before_every_variant_came_once() -> None:
    for kind, variants in LOCAL_VARIANTS.items():
        names = [fault.name for fault in plan(3, 1000.0, [kind], MEMBERSHIP)]
        assert len(names) > len(variants)
        assert len(set(names[: len(variants)])) == len(variants)


@pytest.mark.parametrize("seconds", [5.0, 10.0, 60.0, 600.0])
def test_every_fault_ends_within_the_run(seconds: float) -> None:
    for seed in range(20):
        faults = plan(seed, seconds, LOCAL_KINDS, MEMBERSHIP)
        assert all(fault.at_s > 0 and fault.lasts_s > 0 for fault in faults)
        assert all(fault.ends_s <= seconds for fault in faults)
        assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)
        assert [fault.number for fault in faults] == list(range(1, len(faults) + 1))


def test_three_kinds_fit_into_ten_seconds() -> None:
    for seed in range(50):
        faults = plan(seed, 10.0, ("kill", "pause", "partition"), MEMBERSHIP)
        assert {fault.kind for fault in faults} == {"kill", "pause", "partition"}


def test_some_faults_overlap_and_some_do_not() -> None:
    faults = plan(1, 600.0, LOCAL_KINDS, MEMBERSHIP)
    overlapping = [after.at_s < before.ends_s for before, after in itertools.pairwise(faults)]
    assert True in overlapping
    assert False in overlapping


def test_there_is_no_fault_when_no_kind_was_asked_for() -> None:
    assert plan(1, SECONDS, (), MEMBERSHIP) == []


@pytest.mark.parametrize("variants", [LOCAL_VARIANTS, SWARM_VARIANTS])
def test_a_plan_fits_the_smallest_cluster(variants: dict[str, tuple[object, ...]]) -> None:
    known = {kind: LOCAL_VARIANTS.get(kind) or SWARM_VARIANTS[kind] for kind in variants}
    faults = plan(1, 600.0, tuple(known), small(), known)
    names = {str(node) for node in small().nodes}
    for fault in faults:
        met = resolve(fault.targets, None, small())
        assert set(met) <= names
        assert all(rule.sender != rule.receiver for rule in rules_of(fault, None, small()))


def test_every_kind_of_both_stages_is_known() -> None:
    assert set(LOCAL_VARIANTS) | set(SWARM_VARIANTS) == set(KINDS)


# ---------------------------------------------------------------- whom it meets


def test_parts_are_played_by_whoever_leads() -> None:
    names = ("leader", "follower-1", "follower-2", "acceptor-1", "leader")
    assert resolve(names, "proposer-2", MEMBERSHIP) == [
        "proposer-2",
        "proposer-3",
        "proposer-1",
        "acceptor-1",
    ]
    assert resolve(("leader",), None, MEMBERSHIP) == ["proposer-1"]


def test_a_part_that_nobody_plays_meets_nobody() -> None:
    assert resolve(("follower-2", "follower-9"), "proposer-1", MEMBERSHIP) == ["proposer-3"]
    assert resolve(("follower-1",), "proposer-1", small()) == []


def fault_with(*cuts: Cut) -> Fault:
    return Fault(number=1, kind="partition", name="", at_s=1, lasts_s=1, cuts=cuts)


def pairs(*cuts: Cut, leader: str = "proposer-1") -> list[tuple[str, str]]:
    rules = rules_of(fault_with(*cuts), leader, MEMBERSHIP)
    return [(rule.sender, rule.receiver) for rule in rules]


def test_a_cut_goes_both_ways_unless_it_is_one_way() -> None:
    both = Cut(these=("leader",), those=("acceptor-1",))
    assert pairs(both) == [("proposer-1", "acceptor-1"), ("acceptor-1", "proposer-1")]
    one = Cut(these=("leader",), those=("acceptor-1",), one_way=True)
    assert pairs(one) == [("proposer-1", "acceptor-1")]


def test_no_direction_is_cut_twice_when_sides_overlap() -> None:
    everybody = tuple(str(node) for node in MEMBERSHIP.nodes)
    found = pairs(Cut(these=everybody, those=everybody))
    assert len(found) == len(set(found)) == 11 * 10


@pytest.mark.parametrize("seed", range(5))
def test_an_isolated_leader_hears_and_is_heard_by_nobody(seed: int) -> None:
    faults = plan(seed, 600.0, ("partition",), MEMBERSHIP)
    fault = next(fault for fault in faults if fault.name == "the leader is isolated")
    found = {(rule.sender, rule.receiver) for rule in rules_of(fault, "proposer-3", MEMBERSHIP)}
    others = {str(node) for node in MEMBERSHIP.nodes} - {"proposer-3"}
    assert found == {(a, "proposer-3") for a in others} | {("proposer-3", b) for b in others}


def test_a_quorum_loss_leaves_the_leader_less_than_a_quorum_and_its_proposers() -> None:
    faults = plan(1, 600.0, ("partition",), MEMBERSHIP)
    fault = next(fault for fault in faults if fault.name.startswith("quorum loss"))
    lost = {rule.receiver for rule in rules_of(fault, "proposer-1", MEMBERSHIP)} - {"proposer-1"}
    assert len(lost & set(MEMBERSHIP.acceptors)) >= MEMBERSHIP.quorum_size
    assert not lost & set(MEMBERSHIP.proposers)
