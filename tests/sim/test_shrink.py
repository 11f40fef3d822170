"""Shrinking a failed run: smaller, the same failure, the same every time, to a file and back.

The failures are made: roles are broken here on purpose.
"""

from __future__ import annotations

import msgspec
import pytest

from paxos.core.gathering import Gathering
from paxos.sim import faults
from paxos.sim.shrink import ReplayError, Shrunk, dump, load, shrink, signature
from paxos.sim.simulation import Options, Outcome, Run

OPTIONS = Options(time_ms=2500.0, acceptors=3, proposers=2, gateways=2)
SEEDS_MAX = 30


@pytest.fixture
def forgetful_leaders(monkeypatch: pytest.MonkeyPatch) -> None:
    """New leaders ignore what the promises carry."""
    monkeypatch.setattr(Gathering, "values", property(lambda _: {}))


def first_failure(options: Options) -> Outcome:
    """Return the outcome of the first seed that ends in a safety violation."""
    for seed in range(SEEDS_MAX):
        outcome = Run(seed, options).go()
        if outcome.kind == "safety":
            return outcome
    raise AssertionError(f"none of {SEEDS_MAX} seeds failed")


def some_replay() -> Shrunk:
    """Return a replay that nobody has run."""
    fault = faults.Fault(at_ms=10.0, kind="crash", nodes=(faults.LEADER,), for_ms=20.0, amount=0.25)
    return Shrunk(
        seed=7,
        options=OPTIONS,
        plan=(fault,),
        violation="slot 1: something",
        kind="safety",
        at_ms=30.0,
        trace_hash="00",
    )


@pytest.mark.usefixtures("forgetful_leaders")
def test_shrink_finds_a_smaller_run_that_fails_alike_when_leaders_forget() -> None:
    """Faults that have no part in the failure go; what is left repeats it to the byte."""
    outcome = first_failure(OPTIONS)
    shrunk = shrink(outcome.seed, OPTIONS, outcome, runs_max=120)
    again = Run(shrunk.seed, shrunk.options, shrunk.plan).go()
    assert len(shrunk.plan) < shrunk.faults_before
    assert len(shrunk.plan) <= 3
    assert shrunk.kind == "safety"
    assert shrunk.options.clients < OPTIONS.clients
    assert (again.violation, again.trace_hash) == (shrunk.violation, shrunk.trace_hash)


@pytest.mark.usefixtures("forgetful_leaders")
def test_shrink_gives_the_same_when_done_again() -> None:
    """Nothing in it rolls dice."""
    outcome = first_failure(OPTIONS)
    first = shrink(outcome.seed, OPTIONS, outcome, runs_max=25)
    second = shrink(outcome.seed, OPTIONS, outcome, runs_max=25)
    assert first == second


@pytest.mark.usefixtures("forgetful_leaders")
def test_shrink_stops_when_its_runs_are_used_up() -> None:
    """It keeps what it has found by then, and tells of every run."""
    outcome = first_failure(OPTIONS)
    told: list[tuple[int, int, int]] = []
    shrunk = shrink(
        outcome.seed, OPTIONS, outcome, lambda *progress: told.append(progress), runs_max=4
    )
    assert shrunk.runs <= 4
    assert [runs for runs, _, _ in told] == list(range(1, shrunk.runs + 1))
    assert {most for _, most, _ in told} == {4}
    assert Run(shrunk.seed, shrunk.options, shrunk.plan).go().violation == shrunk.violation


def test_shrink_refuses_when_the_run_does_not_fail() -> None:
    """A run that was well, and one that fails no more because the code is another."""
    options = Options(time_ms=200.0, kinds=())
    with pytest.raises(ValueError, match="did not fail"):
        shrink(1, options, Outcome(seed=1))
    with pytest.raises(ValueError, match="does not fail again: all is well"):
        shrink(1, options, Outcome(seed=1, violation="slot 3: two values", kind="safety"))


def test_signature_leaves_out_what_differs_when_the_failure_is_the_same() -> None:
    """Which node, which slot and which ballot depend on luck."""
    one = signature("acceptor-1 tells a vote for slot 7 at ballot 201 that its disk does not hold")
    other = signature("acceptor-3 tells a vote for slot 12 at ballot 102 that its disk does not")
    third = signature("acceptor-3 tells a promise of ballot 102, and its disk holds 101")
    assert one == other != third


def test_replay_is_the_same_when_it_was_written_and_read() -> None:
    """A replay file holds all that repeats a run."""
    replay = some_replay()
    assert load(dump(replay)) == replay
    assert dump(replay).endswith(b"\n")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"plan": [{"kind": "gremlins"}]}, 'kind of fault "gremlins"'),
        ({"plan": [{"nodes": ["acceptor-4"]}]}, '"acceptor-4", which is no node'),
        ({"plan": [{"amount": 1.0}]}, "a number out of bounds"),
        ({"plan": [{"at_ms": -1.0}]}, "a number out of bounds"),
        ({"options": {"acceptors": 10**9}}, "acceptors must be 0 to 99"),
        ({"options": {"time_ms": 1e300}}, "time_ms must be"),
        ({"seed": "seven"}, "Expected `int`"),
    ],
)
def test_load_says_what_is_wrong_when_a_replay_makes_no_sense(
    change: dict[str, object], why: str
) -> None:
    """Files come from outside."""
    data = msgspec.json.decode(dump(some_replay()))
    for name, value in change.items():
        if isinstance(value, dict):
            data[name].update(value)
        elif isinstance(value, list):
            data[name][0].update(value[0])
        else:
            data[name] = value
    with pytest.raises(ReplayError, match=why):
        load(msgspec.json.encode(data))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b" " * 2_000_000])
def test_load_refuses_when_it_is_no_replay(data: bytes) -> None:
    """Whatever the bytes are, the answer is a sentence."""
    with pytest.raises(ReplayError, match="no replay file"):
        load(data)
