"""Real chaos for ten seconds: it must be survived, and the verdict must be able to fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from paxos.sim import history, linearizability
from paxos.sim.history import Event

from .cluster import environment, paxos, wait_until

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

SEED = 4


class Ran:
    """A run that is over: what it said, and its history."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report = folder / "report.html"
        self.cluster = folder / "cluster"
        words = ("chaos", "--seed", str(SEED), "--seconds", "10", "--rate", "200", "--json")
        words += ("--faults", "kill,pause,partition", "--folder", str(self.cluster))
        self.done = paxos(*words, "--report", str(self.report), timeout_s=200)
        self.record: dict[str, Any] = json.loads(self.done.stdout)
        lines = self.report.with_suffix(".jsonl").read_text(encoding="utf-8")
        self.events = history.read_events(lines)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("chaos"))


def living(text: str) -> list[str]:
    """The command lines of processes that name something."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if text in words:
                found.append(words)
    return found


def test_clients_see_one_consistent_store_while_everything_breaks(ran: Ran) -> None:
    failed = [check for check in ran.record["checks"] if not check["passed"]]
    assert failed == [], ran.done.stderr
    assert ran.done.returncode == 0
    assert ran.record["passed"] is True
    assert ran.record["verdict"] == "linearizable"
    kinds = {fault["kind"] for fault in ran.record["faults"] if not fault["trouble"]}
    assert kinds == {"kill", "pause", "partition"}
    assert {f for f, outcomes in ran.record["operations"].items() if outcomes["ok"]} == {
        *("read", "write", "cas", "incr", "append", "list-append", "list-read")
    }


def test_nothing_of_a_run_is_left_but_its_report_and_history(ran: Ran) -> None:
    assert sorted(path.name for path in ran.folder.iterdir()) == ["report.html", "report.jsonl"]
    assert living(str(ran.cluster)) == []
    assert f"seed {SEED}" in ran.report.read_text(encoding="utf-8")


def test_the_plan_was_that_of_the_seed(ran: Ran) -> None:
    words = ("chaos", "--plan", "--seed", str(SEED), "--seconds", "10", "--json")
    done = paxos(*words, "--faults", "kill,pause,partition")
    planned = [fault["name"] for fault in json.loads(done.stdout)["faults"]]
    by_number = sorted(ran.record["faults"], key=lambda fault: int(fault["number"]))
    assert len(planned) == len(by_number)
    assert all(name in fault["label"] for name, fault in zip(planned, by_number, strict=True))


# ---------------------------------------------------------------- the verdict can fail


def linearizable(events: list[Event]) -> bool:
    return linearizability.check(history.operations(events)).linearizable


def changed(event: Event, value: object) -> Event:
    return msgspec.structs.replace(event, value=value)


def test_the_history_itself_is_linearizable(ran: Ran) -> None:
    assert linearizable(ran.events)


def test_a_read_that_goes_back_in_time_is_found(ran: Ran) -> None:
    """The last read of a counter is made to answer what an earlier one did."""
    reads = [
        place
        for place, event in enumerate(ran.events)
        if event.type == "ok" and event.f == "read" and ":counter:" in str(event.key)
    ]
    last = reads[-1]
    key = ran.events[last].key
    older = next(
        ran.events[place]
        for place in reads
        if ran.events[place].key == key and ran.events[place].value != ran.events[last].value
    )
    tampered = list(ran.events)
    tampered[last] = changed(tampered[last], older.value)
    assert not linearizable(tampered)


def test_a_lost_write_is_found(ran: Ran) -> None:
    """An acknowledged append is taken out of everything that was read afterwards."""
    reads = [event for event in ran.events if event.type == "ok" and event.f == "list-read"]
    _, lost = reads[-1].value[0]
    tampered = [
        changed(event, [pair for pair in event.value if pair[1] != lost])
        if event.type == "ok" and event.f == "list-read"
        else event
        for event in ran.events
    ]
    assert not linearizable(tampered)


def test_an_increment_that_took_effect_twice_is_found(ran: Ran) -> None:
    """From some increment on, a counter is made to be one more."""
    key = next(event.key for event in ran.events if event.f == "incr")
    answers = [
        place
        for place, event in enumerate(ran.events)
        if event.type == "ok" and event.key == key and event.f in ("incr", "read")
    ]
    tampered = list(ran.events)
    for place in answers[len(answers) // 2 :]:
        value = tampered[place].value
        tampered[place] = changed(tampered[place], int(value or 0) + 1)
    assert not linearizable(tampered)


# ---------------------------------------------------------------- interrupted


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT]
)
def test_everything_is_undone_when_a_run_is_interrupted(
    tmp_path: Path, number: signal.Signals
) -> None:
    cluster = tmp_path / "cluster"
    errors = tmp_path / "errors"
    words = ["chaos", "--seconds", "60", "--faults", "pause,disk-full", "--folder", str(cluster)]
    with (
        errors.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "paxos.apps.cli", *words, "--report", str(tmp_path / "r.html")],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
        ) as process,
    ):
        said = lambda: errors.read_text(encoding="utf-8")  # noqa: E731
        wait_until(lambda: " s  pause: " in said() or process.poll() is not None, "a pause")
        process.send_signal(number)
        assert process.wait(60) == 130, said()
    assert "everything was undone" in said()
    assert not cluster.exists()
    assert living(str(cluster)) == []
    mounts = Path("/proc/mounts").read_text(encoding="utf-8")
    assert str(cluster) not in mounts


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "data" / "acceptor-1" / "segment-00000001"
    precious.parent.mkdir(parents=True)
    precious.write_bytes(b"precious")
    words = ("--seconds", "5", "--folder", str(tmp_path), "--report", str(tmp_path / "r.html"))
    done = paxos("chaos", *words)
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert precious.read_bytes() == b"precious"
