from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console

from paxos.apps import monitor as monitor_module
from paxos.apps.asking import Page
from paxos.apps.monitor import NodeSample, Watch, monitor
from paxos.apps.monitor_view import frame

NODES = [
    (name, "127.0.0.1", 8000 + index)
    for index, name in enumerate(
        ["discovery", "proposer-1", "proposer-2", "acceptor-1", "learner-1", "client-1"]
    )
]


class Fleet:
    """Nodes that answer what the test sets, by page port; None does not answer."""

    def __init__(self) -> None:
        self.statuses: dict[str, dict[str, Any]] = {
            "discovery": {"nodes": [{}, {}]},
            "proposer-1": {"phase": "leading", "ballot": 301, "decided": 12, "inflight": 3},
            "proposer-2": {"phase": "follower", "ballot": 0, "decided": 12, "leader": "proposer-1"},
            "acceptor-1": {"phase": "open", "promised": 301, "highest_slot": 15, "accepts": 15},
            "learner-1": {"applied": 10, "highest_seen": 12, "reads": 5, "keys": 123456},
            "client-1": {
                "writes": 1000,
                "reads": 2000,
                "errors": 0,
                "door": 6001,
                "write_ms": {"p50": 1.25, "p99": 12.5},
                "read_ms": {"p50": 0.5, "p99": 1234.0},
            },
        }
        self.down: set[str] = set()
        self.links: list[dict[str, Any]] = []
        self.links_of: dict[str, list[dict[str, Any]]] = {}
        self.common: dict[str, Any] = {"healthy": True, "ready": True, "reason": ""}
        self.pid = 100

    def ask(self, host: str, port: int, path: str, timeout_s: float) -> Page:
        node = NODES[port - 8000][0]
        if node in self.down:
            return Page(0, None, "ConnectionRefusedError: nobody")
        state = {
            "node": node,
            "cluster": "5f1f3a2b9c4d5e6f",
            "pid": self.pid,
            "uptime_s": 75.0,
            "memory_bytes": 34 * 2**20,
            "links": self.links_of.get(node, self.links),
            "status": dict(self.statuses[node]),
            **self.common,
        }
        return Page(200, state)


class FakeTime:
    """A clock that moves when told to, or slept on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0 + self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(monitor_module, "time", fake)
    return fake


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def by_name(sample: monitor_module.Sample) -> dict[str, NodeSample]:
    return {one.node: one for one in sample.nodes}


def test_the_leader_is_the_one_with_the_highest_ballot_of_those_that_think_so(fleet, clock):
    with Watch(NODES, fleet.ask) as watch:
        first = watch.sample()
        fleet.statuses["proposer-2"] |= {"phase": "leading", "ballot": 402}
        second = watch.sample()
        fleet.down = {"proposer-1", "proposer-2"}
        third = watch.sample()

    assert (first.leader, first.ballot, first.decided, first.up) == ("proposer-1", 301, 12, 6)
    assert (second.leader, second.ballot) == ("proposer-2", 402)
    assert (third.leader, third.ballot, third.up) == (None, 0, 4)


def test_rates_come_from_two_looks_at_one_life_of_a_node(fleet, clock):
    with Watch(NODES, fleet.ask) as watch:
        assert by_name(watch.sample())["client-1"].rates == {}
        clock.sleep(2.0)
        fleet.statuses["client-1"] |= {"writes": 1500, "reads": 2010}
        sample = watch.sample()
        fleet.pid = 200
        fleet.statuses["client-1"] |= {"writes": 3}
        restarted = watch.sample()

    rates = by_name(sample)["client-1"].rates
    assert (rates["writes"], rates["reads"], rates["errors"]) == (250.0, 5.0, 0.0)
    assert (sample.writes_per_s, sample.reads_per_s) == (250.0, 5.0)
    assert by_name(restarted)["client-1"].rates == {}


def test_a_node_is_down_since_it_stopped_answering(fleet, clock):
    with Watch(NODES, fleet.ask) as watch:
        watch.sample()
        fleet.down = {"acceptor-1"}
        watch.sample()
        clock.sleep(5.0)
        down = by_name(watch.sample())["acceptor-1"]
        fleet.down = set()
        back = by_name(watch.sample())["acceptor-1"]

    assert (down.up, down.down_s, down.trouble) == (False, 5.0, "ConnectionRefusedError: nobody")
    assert (back.up, back.down_s) == (True, None)


def test_a_node_that_was_down_before_us_is_down_since_the_others_missed_it(fleet, clock):
    fleet.down = {"acceptor-1"}
    fleet.links = [
        {"peer": "acceptor-1", "connected": False, "since_s": 90.0},
        {"peer": "learner-1", "connected": True, "since_s": 500.0},
    ]
    with Watch(NODES, fleet.ask) as watch:
        first = by_name(watch.sample())["acceptor-1"]
        clock.sleep(5.0)
        fleet.links = []
        second = by_name(watch.sample())["acceptor-1"]

    assert (first.down_s, second.down_s) == (90.0, 95.0)


def test_a_peer_that_had_not_dialled_again_does_not_date_an_outage(fleet, clock):
    fleet.down = {"acceptor-1"}
    old, new = ({"peer": "acceptor-1", "connected": False, "since_s": s} for s in (90.0, 3.0))
    fleet.links_of = {"proposer-1": [old], "proposer-2": [new]}
    with Watch(NODES, fleet.ask) as watch:
        first = by_name(watch.sample())["acceptor-1"]
    fleet.links_of["learner-1"] = [{"peer": "acceptor-1", "connected": True, "since_s": 9.0}]
    with Watch(NODES, fleet.ask) as watch:
        linked = by_name(watch.sample())["acceptor-1"]

    assert (first.down_s, linked.down_s) == (3.0, 0.0)


def test_since_when_is_unknown_when_nobody_was_there_to_tell(fleet, clock):
    fleet.down = {name for name, _, _ in NODES}
    with Watch(NODES, fleet.ask) as watch:
        watch.sample()
        clock.sleep(5.0)
        sample = watch.sample()

    assert {(one.down_s, one.down_since) for one in sample.nodes} == {(None, None)}
    assert "since unknown" in drawn(sample)


def drawn(sample: monitor_module.Sample, columns: int = 80) -> str:
    console = Console(width=columns, file=None, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(frame(sample))
    return capture.get()


def test_the_view_fits_eighty_columns_and_says_what_matters(fleet, clock):
    with Watch(NODES, fleet.ask) as watch:
        watch.sample()
        clock.sleep(1.0)
        fleet.statuses["client-1"]["writes"] += 38_500
        text = drawn(watch.sample())

    assert max(map(len, text.splitlines())) <= 80
    for fact in (
        "leader proposer-1 ballot 301",
        "decided 12",
        "6/6 up",
        "38k writes/s p50 1.2 p99 12 ms",
        "0 reads/s p50 0.5 p99 1234 ms",
        "follows proposer-1",
        "promised 301 0 accepts/s",
        "2 behind",
        "123k keys",
        "door 6001",
        "1 min",
    ):
        assert fact in text


def test_the_view_names_who_is_down_and_who_is_not_ready(fleet, clock):
    fleet.down = {"proposer-1"}
    fleet.common = {"healthy": True, "ready": False, "reason": "no quorum of acceptors"}
    with Watch(NODES, fleet.ask) as watch:
        watch.sample()
        clock.sleep(12.0)
        text = drawn(watch.sample())

    assert "no leader" in text
    assert "5/6 up" in text
    assert "down        " in text
    assert "for 12 s, since " in text
    assert "not ready: no quorum of acceptors" in text


def test_a_view_of_nothing_says_how_to_start(fleet, clock):
    fleet.down = {name for name, _, _ in NODES}
    with Watch(NODES, fleet.ask) as watch:
        assert "Start the system with ./run.sh" in drawn(watch.sample())


def test_a_state_with_nothing_in_it_is_drawn_all_the_same(clock):
    with Watch(NODES, lambda *_: Page(200, {"status": {}})) as watch:
        assert "6/6 up" in drawn(watch.sample())


def test_once_prints_one_object_with_rates_and_ends(clock, monkeypatch, capsys):
    fleet = Fleet()
    monkeypatch.setattr(Watch.__init__, "__defaults__", (fleet.ask,))

    assert monitor(NODES, once=True, json_output=True, interval_s=1.0) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["leader"] == "proposer-1"
    assert printed["nodes"][5]["rates"]["writes"] == 0.0


def test_once_fails_when_nobody_answers(clock, monkeypatch, capsys):
    fleet = Fleet()
    fleet.down = {name for name, _, _ in NODES}
    monkeypatch.setattr(Watch.__init__, "__defaults__", (fleet.ask,))

    assert monitor(NODES, once=True, json_output=False, interval_s=1.0) == 1
    assert "./run.sh" in capsys.readouterr().out


def test_ctrl_c_ends_the_live_view_quietly(clock, monkeypatch, capsys):
    fleet = Fleet()
    monkeypatch.setattr(Watch.__init__, "__defaults__", (fleet.ask,))
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(clock, "sleep", sleep)

    assert monitor(NODES, once=False, json_output=True, interval_s=1.0) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_learner_that_keeps_pace_is_not_behind(fleet, clock):
    """Under load a learner is a slot or two short of what it has seen at any one moment."""
    fleet.statuses["learner-1"]["missing"] = 2
    fleet.common = {"healthy": True, "ready": False, "reason": "2 slots behind"}
    with Watch(NODES, fleet.ask) as watch:
        first = by_name(watch.sample())["learner-1"].behind
        clock.sleep(1.0)
        fleet.statuses["learner-1"] |= {"applied": 90, "highest_seen": 92}
        pace = watch.sample()
        clock.sleep(1.0)
        stuck = watch.sample()

    assert (first, by_name(pace)["learner-1"].behind, by_name(stuck)["learner-1"].behind) == (
        2,
        0,
        2,
    )
    assert "80 slots/s" in drawn(pace)
    assert "2 behind" in drawn(stuck)
    assert "not ready: 2 slots behind" in drawn(stuck)


KEEPING = {
    "base": 120000,
    "snapshot_slot": 120000,
    "incoming": 0,
    "incoming_bytes": 0,
    "behind": False,
}
SNAPSHOTS = {
    "kept_slot": 120000,
    "log_bytes": 12 * 2**20,
    "taking": False,
    "restored_bytes": 0,
    "restoring_bytes": 0,
}


def with_upkeep(fleet: Fleet, **upkeep: Any) -> None:
    """Let the acceptor and the learner tell of snapshots."""
    fleet.statuses["acceptor-1"]["keeping"] = dict(KEEPING)
    fleet.statuses["learner-1"]["snapshots"] = dict(SNAPSHOTS)
    usual = {"log_slots": 3456, "missing_slots": 0, "due_bytes": 64 * 2**20, "held_back": False}
    fleet.common |= {"upkeep": {**usual, "text": "nothing", **upkeep}, "volume_bytes": 41 * 2**20}


def test_snapshots_and_logs_are_on_a_second_line_when_nodes_tell(fleet, clock):
    with_upkeep(fleet)
    with Watch(NODES, fleet.ask) as watch:
        usual = drawn(watch.sample())
        fleet.statuses["acceptor-1"]["keeping"] |= {"incoming": 2**20, "incoming_bytes": 2**22}
        fleet.statuses["learner-1"]["snapshots"] |= {"taking": True}
        under_way = drawn(watch.sample())
        fleet.statuses["acceptor-1"]["keeping"] |= {"incoming_bytes": 0, "base": 0, "behind": True}
        fleet.statuses["learner-1"]["snapshots"] |= {"taking": False, "kept_slot": 0}
        none = drawn(watch.sample())
        fleet.statuses["learner-1"]["snapshots"] |= {"restored_bytes": 1, "restoring_bytes": 2}
        restored = drawn(watch.sample())

    assert "41 MiB, log 3.5k since slot 120k" in usual
    assert "log 12 of 64 MiB since slot 120k" in usual
    assert "snapshot 1 of 4 MiB coming in" in under_way
    assert "log 12 of 64 MiB, taking snapshot" in under_way
    assert "41 MiB, log 3.5k slots, behind" in none
    assert "log 12 of 64 MiB, no snapshot" in none
    assert "snapshot 1 of 2 bytes restored" in restored


def test_what_holds_a_log_back_is_told_when_it_lasts(fleet, clock):
    """A new snapshot takes a moment to get around: one sample says nothing."""
    why = "only acceptor-1 keeps the snapshot of slot 500: 2 are needed"
    with_upkeep(fleet)
    with Watch(NODES, fleet.ask) as watch:
        watch.sample()
        with_upkeep(fleet, held_back=True, text=why)
        first = watch.sample()
        second = watch.sample()

    assert by_name(first)["acceptor-1"].held_back == ""
    assert by_name(second)["acceptor-1"].held_back == why
    assert why not in drawn(first)
    assert drawn(second).count(why) == 1
