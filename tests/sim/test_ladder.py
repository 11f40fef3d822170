"""Ladder diagrams of failed runs: short, and about what failed.

The failures are made: roles are broken here on purpose.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from paxos.core.effects import Send
from paxos.core.gathering import Gathering
from paxos.core.learner import Learner
from paxos.core.types import Ballot, NodeId, Slot
from paxos.machine.sessions import Sessions
from paxos.sim.faults import Fault
from paxos.sim.ladder import LINES_MAX, WIDTH, ladder
from paxos.sim.recording import Recording
from paxos.sim.simulation import Options, Run
from paxos.sim.story import focus_of
from paxos.sim.world import membership_of

OPTIONS = Options(time_ms=2500.0, acceptors=3, proposers=2, gateways=2, clients=3)
SEEDS_MAX = 60
POWER = Fault(
    at_ms=600.0, kind="power", nodes=membership_of(3, 2, 2, 2).nodes, for_ms=50.0, amount=0.5
)


def failing(words: str, plan: list[Fault] | None = None, shows: str = "") -> Recording:
    """Return a recording of the first seed that fails with these words in its violation, and
    whose ladder shows others: whether a learner heard of a quorum in time is chance.
    """
    for seed in range(SEEDS_MAX):
        outcome = Run(seed, OPTIONS, plan).go()
        if words in outcome.violation:
            recording = Recording(Run(seed, OPTIONS, plan))
            again = recording.go()
            assert again == outcome, "recording changed the run"
            if shows in "\n".join(ladder(recording)):
                return recording
    raise AssertionError(f"none of {SEEDS_MAX} seeds failed")


def forget_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new leaders ignore what the promises carry."""
    monkeypatch.setattr(Gathering, "values", property(lambda _: {}))


def test_ladder_shows_both_values_when_leaders_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slot in question, from the first proposal over the promise that told it, to the second,
    other value; within its bounds.
    """
    forget_values(monkeypatch)
    recording = failing("proposes another value in slot", shows=": a quorum, chosen")
    lines = ladder(recording)
    text = "\n".join(lines)
    assert recording.outcome is not None
    found = re.search(r"slot (\d+) at ballot (\d+).* at ballot (\d+)", recording.outcome.violation)
    assert found is not None
    slot, late, early = found.groups()
    assert len(lines) <= LINES_MAX + 3
    assert max(map(len, lines)) <= WIDTH
    assert f"Accept(ballot {early}, slot {slot}, value A)" in text
    assert ": a quorum, chosen" in text
    assert f"Promise(ballot {late}): slot {slot} accepted at {early}: A" in text
    assert re.search(rf"o.*\?.*Accept\(ballot {late}, slot {slot}, value [B-Z]\)", text)
    assert "VIOLATION: proposer" in text
    assert "Heartbeat" not in text
    assert "Canvass" not in text


def test_ladder_is_the_same_when_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run, the same picture."""
    forget_values(monkeypatch)
    recording = failing("proposes another value in slot")
    assert recording.outcome is not None
    again = Recording(Run(recording.outcome.seed, OPTIONS))
    again.go()
    assert ladder(recording) == ladder(again)


def test_ladder_shows_lives_and_faults_when_nodes_die(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault begins, nodes die in it, their columns are empty, and they start again."""
    forget_values(monkeypatch)
    recording = failing("proposes another value in slot", [POWER])
    lines = ladder(recording)
    begins = next(n for n, line in enumerate(lines) if "FAULT begins: power" in line)
    dies = next(n for n, line in enumerate(lines) if re.match(r" +600\.0 .*X", line))
    ends = next(n for n, line in enumerate(lines) if "FAULT ends: power" in line)
    lives = next(n for n, line in enumerate(lines) if " life 2" in line)
    assert begins < dies < lives
    assert begins < ends
    assert "dies (power lost)" in " ".join(lines[dies : dies + 3])
    assert "^" in lines[lives]
    assert "|" not in lines[begins].partition("--")[0]


def test_ladder_marks_what_never_arrived_when_the_network_loses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An `x` at the one who did not get it, and only there."""
    forget_values(monkeypatch)
    recording = failing("proposes another value in slot")
    for sending in recording.sendings:
        sending.arrived.pop(NodeId("acceptor-1"), None)
    accepts = [line for line in ladder(recording) if "Accept(ballot" in line]
    assert any(re.search(r"o[-|]+x-", line) for line in accepts[:-1])


def test_ladder_gives_an_arrival_its_own_line_when_it_is_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was sent long before is shown where it arrives, with when it was sent."""
    forget_values(monkeypatch)
    recording = failing("proposes another value in slot")
    sending = next(
        one for one in recording.sendings if type(one.message).__name__ == "Promise" and one.arrived
    )
    for name in sending.arrived:
        sending.arrived[name] = sending.at_ms + 100.0
    text = "\n".join(ladder(recording))
    assert re.search(r"~-.*Promise", text)
    assert f"of {sending.at_ms:.1f}" in text


def test_ladder_follows_the_batch_when_a_retry_is_applied_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both submissions, both slots, and what the learner told the gateway."""
    admit = Sessions.admit

    def admit_again(self: Sessions, batch: Any) -> Any:
        session = self._current.get(batch.gateway)
        if session is not None and session.slot == batch.session and batch.sequence <= session.last:
            return session
        return admit(self, batch)

    monkeypatch.setattr(Sessions, "admit", admit_again)
    recording = failing("took effect in slots")
    text = "\n".join(ladder(recording))
    assert recording.outcome is not None
    found = re.search(r"batch (\d+) .* slots (\d+) and (\d+)", recording.outcome.violation)
    assert found is not None
    batch, first, second = found.groups()
    assert text.count(f"Submit(batch {batch}, ") >= 1
    assert re.search(rf"Accept\(ballot \d+, slot {first}, value A\)", text)
    assert re.search(rf"Accept\(ballot \d+, slot {second}, value [A-Z]\)", text)


def test_ladder_draws_operations_as_bars_when_a_read_skips_the_quorum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The operations that contradict one another, and the messages that carried them."""

    def on_read(self: Learner, sender: NodeId, message: Any, now_ms: float) -> list[Send]:
        return [self._answer(sender, message, now_ms)]

    monkeypatch.setattr(Learner, "_on_read", on_read)
    recording = failing("not linearizable", [POWER])
    lines = ladder(recording)
    bars = [line for line in lines if line.startswith("process")]
    text = "\n".join(lines)
    assert lines[0].startswith("operations that contradict one another")
    assert len(bars) >= 2
    assert all("[" in bar for bar in bars)
    assert "ReadResults(1: state after slot" in text
    assert "AskHighest" not in text


def test_ladder_tells_the_last_state_when_there_was_no_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who leads, what each node was like, what happened last, and the slot that is stuck."""
    monkeypatch.setattr(Learner, "_vote", lambda *_, **__: False)
    recording = Recording(Run(1, Options(time_ms=100.0, kinds=())))
    outcome = recording.go()
    lines = ladder(recording)
    text = "\n".join(lines)
    assert outcome.kind == "liveness"
    assert re.match(r"at \d+ ms \(leader: proposer-\d\)", lines[0])
    assert "phase leading" in text
    assert "the last things that happened:" in text
    assert "Accept(ballot" in text
    assert "VIOLATION" in text
    assert max(map(len, lines)) <= WIDTH


def test_ladder_is_empty_when_all_is_well() -> None:
    """There is nothing to explain; and nothing at all before the run."""
    recording = Recording(Run(1, Options(time_ms=100.0, kinds=())))
    with pytest.raises(ValueError, match="not happened yet"):
        ladder(recording)
    assert recording.go().violation == ""
    assert ladder(recording) == []


def test_focus_is_what_the_violation_names() -> None:
    """Slots, ballots, nodes and batches, and no other numbers."""
    focus = focus_of(
        "proposer-2 proposes another value in slot 7 at ballot 202 than the one that was chosen "
        "at ballot 103"
    )
    assert (focus.slots, focus.ballots) == ({Slot(7)}, {Ballot(202), Ballot(103)})
    assert focus.nodes == {NodeId("proposer-2")}
    focus = focus_of("acceptor-1 takes part in ballot 101 after it promised 202")
    assert (focus.slots, focus.ballots) == (set(), {Ballot(101), Ballot(202)})
    focus = focus_of("batch 3 of client-1's session 143 took effect in slots 184 and 189")
    assert focus.slots == {Slot(184), Slot(189)}
    assert focus.batches == {(NodeId("client-1"), Slot(143), 3)}
    assert focus.ballots == set()
