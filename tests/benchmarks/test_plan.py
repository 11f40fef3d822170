"""What a run consists of: stages, rounds, order, estimate."""

from __future__ import annotations

import pytest
from benchmarks import plan
from benchmarks.generator import Load
from benchmarks.plan import FULL, GROUPS, QUICK, SYSTEMS, Stage, Turn, Wishes


def loads_of(form: str, *groups: str) -> list[Load]:
    return [load for stage in plan.stages(form, groups, 5) for load in stage.loads]


def test_quick_has_every_load_with_a_target_when_writes_and_reads_are_wanted() -> None:
    assert set(plan.TARGET_LOADS) <= set(loads_of(QUICK, plan.WRITES, plan.READS))


def test_full_has_each_number_outstanding_on_few_and_on_many_connections() -> None:
    loads = loads_of(FULL, plan.WRITES)
    assert {load.outstanding for load in loads if load.few} == set(plan.OUTSTANDING)
    assert {load.connections for load in loads if not load.few} == {16, 64, 256, 1024}
    assert len(loads) == len(set(loads))


def test_only_what_is_wanted_is_measured_when_groups_are_named() -> None:
    assert {load.op for load in loads_of(FULL, plan.MIX)} == {"mix"}
    assert {load.op for load in loads_of(QUICK, plan.WRITES)} == {"write"}
    assert loads_of(QUICK, plan.FAILOVER) == []


@pytest.mark.parametrize("form", [QUICK, FULL])
@pytest.mark.parametrize("group", list(GROUPS))
def test_every_group_gives_this_system_something_to_do(form: str, group: str) -> None:
    wishes = Wishes(form=form, groups=frozenset({group}))
    assert any(turn.system == "paxos" for turn in plan.turns(wishes))


def test_values_have_fewer_keys_when_they_are_large() -> None:
    sizes = {load.value_bytes: load.keys for load in loads_of(FULL, plan.SIZES)}
    assert sizes == {16: 10_000, 4096: 10_000, 65536: 1_024}
    assert all(size * keys <= plan.FILL_BYTES_MAX for size, keys in sizes.items())


def test_cost_alone_measures_few_connections_once_when_writes_are_wanted_too() -> None:
    both = loads_of(QUICK, plan.WRITES, plan.COST)
    assert len(both) == len(set(both))
    assert Load("read", 64) in both


def test_systems_take_turns_in_another_order_when_the_round_is_another() -> None:
    wishes = Wishes(rounds=3, systems=("paxos", "etcd"), groups=frozenset({plan.WRITES}))
    order = [(turn.round, turn.system) for turn in plan.turns(wishes)]
    assert order == [
        (1, "paxos"),
        (1, "etcd"),
        (2, "etcd"),
        (2, "paxos"),
        (3, "paxos"),
        (3, "etcd"),
    ]


def test_rotated_goes_round_when_there_are_more_rounds_than_systems() -> None:
    assert plan.rotated(["a", "b", "c"], 4) == ["b", "c", "a"]
    assert plan.rotated([], 4) == []


def test_failovers_happen_once_when_there_are_several_rounds() -> None:
    wishes = Wishes(form=FULL, rounds=3, failovers=20, groups=frozenset({plan.FAILOVER}))
    turns = plan.turns(wishes)
    assert [turn.system for turn in turns] == list(SYSTEMS)
    assert all(turn.stage.failovers == {"kill": 20, "stop": 20} for turn in turns)


def test_memory_is_weighed_in_every_round_when_many_keys_are_loaded_anyway() -> None:
    for groups, turns in (({plan.MEMORY}, 1), ({plan.MEMORY, plan.KEYS}, 3)):
        wishes = Wishes(form=QUICK, rounds=3, systems=("paxos",), groups=frozenset(groups))
        weighed = [turn for turn in plan.turns(wishes) if turn.stage.memory]
        assert len(weighed) == turns


def test_estimate_counts_only_what_the_system_can_be_given() -> None:
    stage = Stage("one", loads=(Load("write", 1), Load("read", 1)))
    wishes = Wishes(warmup_s=1.0, measured_s=3.0, heating_s=2.0)
    turn = Turn(1, "paxos", stage)
    all_s = plan.estimate_s(turn, wishes, 1.0, lambda load: True)
    writes_s = plan.estimate_s(turn, wishes, 1.0, lambda load: load.op == "write")
    assert all_s - writes_s == pytest.approx(4.0 + plan.BETWEEN_LOADS_S)


def test_estimate_grows_with_failovers_and_with_what_is_filled() -> None:
    wishes = Wishes()
    empty = plan.estimate_s(Turn(1, "etcd", Stage("none")), wishes, 1.0, lambda load: True)
    filled = Stage("filled", fill_keys=11_000, fill_value_bytes=256)
    lost = Stage("lost", failovers={"kill": 2, "stop": 1})
    assert plan.estimate_s(Turn(1, "etcd", filled), wishes, 1.0, lambda load: True) > empty + 1.0
    assert plan.estimate_s(Turn(1, "etcd", lost), wishes, 1.0, lambda load: True) == pytest.approx(
        empty + 2 * plan.KILL_S + plan.STOP_S
    )


def test_connections_are_at_most_the_requests_outstanding() -> None:
    assert Load("write", 1).connections == 1
    assert Load("write", 256).connections == 8
    assert Load("write", 256, few=False).connections == 256
    assert Load("write", 16, few_connections=4).connections == 4
