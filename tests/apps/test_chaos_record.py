"""The figures of a chaos run, and what is wrong with a list."""

from __future__ import annotations

from paxos.apps.chaos_nemesis import Injury
from paxos.apps.chaos_plan import Fault
from paxos.apps.chaos_record import (
    Done,
    done_of,
    errors_of,
    gaps_of,
    list_trouble,
    operations_of,
    points_of,
    quantile,
)
from paxos.sim.history import Event


def wrote(process: int, at_ms: float, took_ms: float = 1.0, how: str = "ok") -> list[Event]:
    """A write from its invocation to its end."""
    return [
        Event(process, "invoke", "write", "k", "v", at_ms),
        Event(process, how, "write", "k", "v", at_ms + took_ms),
    ]


def done(number: int, began_s: float, ended_s: float, trouble: str = "") -> Done:
    return Done(
        number=number,
        kind="kill",
        label=f"kill: {number}",
        began_s=began_s,
        ended_s=ended_s,
        nodes=["acceptor-1"],
        note="",
        trouble=trouble,
    )


def test_operations_are_counted_by_how_they_ended() -> None:
    events = [*wrote(0, 1), *wrote(1, 2, how="fail"), *wrote(2, 3, how="info")]
    events.append(Event(3, "invoke", "incr", "c", None, 9))
    assert operations_of(events) == {
        "write": {"ok": 1, "fail": 1, "info": 1},
        "incr": {"ok": 0, "fail": 0, "info": 1},
    }


def test_every_end_is_in_one_point_and_latency_counts_what_succeeded() -> None:
    events = [*wrote(0, 0, 10), *wrote(0, 100, 20), *wrote(0, 300, 30), *wrote(1, 310, 400, "info")]
    points, length_s = points_of(events, 1.0)
    assert length_s == 0.25
    assert [(p.ok, p.fail, p.info) for p in points] == [(2, 0, 0), (1, 0, 0), (0, 0, 1), (0, 0, 0)]
    assert [p.p50_ms for p in points] == [10, 30, None, None]
    assert points[0].p99_ms == 20


def test_a_quantile_is_one_of_the_numbers() -> None:
    assert quantile([], 0.5) is None
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(list(range(1, 101)), 0.99) == 99
    assert quantile([5], 0.99) == 5


def test_a_gap_is_told_with_the_faults_in_force_in_it() -> None:
    events = [*wrote(0, 0), *wrote(0, 100), *wrote(0, 2000), *wrote(0, 2100)]
    gaps = gaps_of(events, [done(1, 0.5, 1.0), done(2, 2.5, 3.0)], 2.2)
    assert [(gap.began_s, gap.lasted_s, gap.during) for gap in gaps] == [
        (0.101, 1.9, ["kill: 1"]),
    ]


def test_a_run_that_never_serves_again_ends_in_a_gap() -> None:
    gaps = gaps_of(wrote(0, 0), [done(1, 1.0, 9.0)], 10.0)
    assert [gap.lasted_s for gap in gaps] == [9.999]


def test_reads_do_not_end_a_gap() -> None:
    events = [*wrote(0, 0), Event(1, "ok", "read", "k", "v", 500.0), *wrote(0, 999)]
    assert [gap.lasted_s for gap in gaps_of(events, [], 1.0)] == [0.999]


def test_a_fault_under_way_at_the_end_ended_with_the_run() -> None:
    fault = Fault(number=1, kind="kill", name="the leader", at_s=1, lasts_s=9, targets=("leader",))
    injury = Injury(fault=fault, nodes=["proposer-2"], began_s=1.02)
    (row,) = done_of([injury], 5.0)
    assert (row.label, row.ended_s) == ("kill: the leader (proposer-2)", 5.0)


def test_a_label_counts_nodes_when_they_are_many() -> None:
    fault = Fault(number=1, kind="kill", name="everything at once", at_s=1, lasts_s=1)
    injury = Injury(fault=fault, nodes=[f"acceptor-{n}" for n in range(1, 8)], began_s=1)
    assert injury.label == "kill: everything at once (7 nodes)"


def test_errors_are_counted_by_their_reason() -> None:
    events = [Event(0, "fail", "write", "k", "v", 1, "lost: x"), *wrote(1, 2)]
    events.append(Event(2, "fail", "write", "k", "v", 3, "lost: x"))
    assert errors_of(events) == {"lost: x": 2}


# ---------------------------------------------------------------- the list


def appended(process: int, value: str, how: str, slot: int | None = None) -> list[Event]:
    end = slot if how == "ok" else value
    return [
        Event(process, "invoke", "list-append", None, value, 1.0),
        Event(process, how, "list-append", None, end, 2.0),
    ]


APPENDS = [
    *appended(0, "a", "ok", 3),
    *appended(0, "b", "ok", 5),
    *appended(0, "c", "info"),
    *appended(1, "d", "fail"),
]


def test_a_list_is_right_when_every_acknowledged_value_is_there_once() -> None:
    assert list_trouble(APPENDS, [(3, "a"), (5, "b")]) == []
    assert list_trouble(APPENDS, [(3, "a"), (5, "b"), (5, "c")]) == [], "an unknown one may be"


def test_a_list_is_wrong_when_an_acknowledged_value_is_missing() -> None:
    (trouble,) = list_trouble(APPENDS, [(3, "a")])
    assert "'b', acknowledged in slot 5, is lost" in trouble


def test_a_list_is_wrong_when_a_value_is_there_twice() -> None:
    assert "'a' is there 2 times" in list_trouble(APPENDS, [(3, "a"), (5, "b"), (5, "a")])


def test_a_list_is_wrong_when_a_value_is_in_another_slot() -> None:
    (trouble,) = list_trouble(APPENDS, [(4, "a"), (5, "b")])
    assert "is in slot 4" in trouble


def test_a_list_is_wrong_when_slots_fall() -> None:
    assert "slots fall" in list_trouble(APPENDS, [(5, "b"), (3, "a")])


def test_a_list_is_wrong_when_a_refused_value_is_there() -> None:
    (trouble,) = list_trouble(APPENDS, [(3, "a"), (5, "b"), (6, "d")])
    assert "was told that it did not happen" in trouble


def test_a_refused_value_may_be_there_when_it_was_asked_for_again() -> None:
    events = [*APPENDS, *appended(1, "d", "ok", 6)]
    assert list_trouble(events, [(3, "a"), (5, "b"), (6, "d")]) == []


def test_a_list_is_wrong_when_nobody_asked_for_a_value() -> None:
    assert "'z' was never asked for" in list_trouble(APPENDS, [(3, "a"), (5, "b"), (6, "z")])
