"""`paxos member`: what is asked of which door, and which words are understood.

What it does with real nodes is in tests/system/test_members.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.apps.conftest import Standin, WaitUntil
from tests.apps.test_backup import Answer, Door, bulk

from paxos.apps import layout, local, member_doors, run_file
from paxos.apps.cli import DONE, FAILED, UNKNOWN_OUTCOME, WRONG_USAGE, main
from paxos.core.errors import DefiniteError
from paxos.core.types import NodeId
from paxos.storage.open import open_journal

CLUSTER = "0123456789abcd"
FIRST, FOUR, LEARNER = NodeId("acceptor-1"), NodeId("acceptor-4"), NodeId("learner-2")


def listing(epoch: int = 3, *acceptors: str) -> bytes:
    """Return what MEMBER LIST answers."""

    def named(*nodes: str) -> list[dict[str, Any]]:
        return [{"node": node, "page_port": 8000} for node in nodes]

    plain = {
        "epoch": epoch,
        "slot": 9,
        "cluster": CLUSTER,
        "proposers": named("proposer-1"),
        "acceptors": named(*(acceptors or ("acceptor-1", "acceptor-2.1", "acceptor-3"))),
        "learners": named("learner-1"),
        "clients": named("client-1"),
    }
    return bulk(json.dumps(plain).encode())


def answering(change: bytes, listed: bytes | None = None) -> Answer:
    """Answer as a client node does that answers every change with the same."""
    members = listing() if listed is None else listed

    def answer(command: list[bytes]) -> bytes:
        return members if command[1] == b"LIST" else change

    return answer


MakeDoor = Callable[[Answer], Door]


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeDoor]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(member_doors, "ROUND_S", 0.01)
    made: list[Door] = []

    def make(answer: Answer) -> Door:
        made.append(Door(answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


def member(*words: str, doors: tuple[Door, ...] = (), timeout: int = 5) -> int:
    """Run a command that asks these doors."""
    named = [word for one in doors for word in ("--door", f"127.0.0.1:{one.port}")]
    return main(["member", *words, *named, *(["--timeout", str(timeout)] if doors else [])])


def changes(one: Door) -> list[list[bytes]]:
    return [command for command in one.commands if command[1] != b"LIST"]


# ---------------------------------------------------------------- asking doors


def test_a_node_is_added_by_asking_a_door(
    door: MakeDoor, capsys: pytest.CaptureFixture[str]
) -> None:
    made = door(answering(b":4\r\n"))
    assert member("add", "acceptor-4", doors=(made,)) == DONE
    assert changes(made) == [[b"MEMBER", b"ADD", b"acceptor-4"]]
    assert capsys.readouterr().out == "acceptor-4 is a member (epoch 4)\n"
    words = ("add", "acceptor-4", "--address", "10.0.0.7:17011:8011", "--json")
    assert member(*words, doors=(made,)) == DONE
    assert changes(made)[1][2:] == [b"acceptor-4", b"10.0.0.7", b"17011", b"8011"]
    assert json.loads(capsys.readouterr().out) == {
        "node": "acceptor-4",
        "epoch": 4,
        "member": True,
        "ready": False,
        "aside": None,
    }


def test_whichever_life_has_the_place_is_removed(door: MakeDoor) -> None:
    made = door(answering(b":4\r\n"))
    assert member("remove", "acceptor-2", doors=(made,)) == DONE
    assert changes(made) == [[b"MEMBER", b"REMOVE", b"acceptor-2.1"]]


def test_nothing_is_asked_when_it_is_so_already(
    door: MakeDoor, capsys: pytest.CaptureFixture[str]
) -> None:
    made = door(answering(b"-ERR not to be asked\r\n"))
    assert member("add", "acceptor-2.1", doors=(made,)) == DONE
    assert member("remove", "learner-2", doors=(made,)) == DONE
    assert changes(made) == []
    assert capsys.readouterr().out == (
        "acceptor-2.1 is a member (epoch 3)\nlearner-2 is no member (epoch 3)\n"
    )


def test_other_doors_are_asked_when_one_cannot_help(door: MakeDoor) -> None:
    first = door(answering(b"-UNAVAILABLE the members were not changed: no leader is known\r\n"))
    second = door(answering(b":4\r\n"))
    assert member("remove", "learner-1", doors=(first, second)) == DONE
    assert len(changes(first)) == len(changes(second)) == 1


def test_the_newest_listing_counts_when_a_client_node_is_behind(door: MakeDoor) -> None:
    behind = door(answering(b":4\r\n", listing(2, "acceptor-1", "acceptor-2")))
    ahead = door(answering(b":4\r\n"))
    assert member("remove", "acceptor-2", doors=(behind, ahead)) == DONE
    assert changes(behind) == [[b"MEMBER", b"REMOVE", b"acceptor-2.1"]]


def test_it_is_asked_again_until_the_acceptor_has_joined(door: MakeDoor) -> None:
    told = [b"-UNAVAILABLE acceptor-4 has not joined: it does not run\r\n"] * 3 + [b":4\r\n"]
    made = door(lambda command: listing() if command[1] == b"LIST" else told.pop(0))
    assert member("add", "acceptor-4", doors=(made,)) == DONE
    assert len(changes(made)) == 4


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (b"-ERR learner-1 is the last learner: a cluster needs one\r\n", FAILED, "is the last"),
        (b"-NOAUTH Authentication required.\r\n", FAILED, "NOAUTH"),
        (b"-UNAVAILABLE no leader is known\r\n", FAILED, "not within 1 s: UNAVAILABLE no leader"),
        (b"-UNKNOWN the outcome is not known\r\n", UNKNOWN_OUTCOME, "UNKNOWN the outcome"),
        (b"+OK\r\n", UNKNOWN_OUTCOME, "makes no sense"),
    ],
)
def test_a_failure_says_what_became_of_it(
    door: MakeDoor,
    capsys: pytest.CaptureFixture[str],
    answer: bytes,
    status: int,
    said: str,
) -> None:
    """STYLE 17: definite or indefinite; an error that no time heals is told at once."""
    made = door(answering(answer))
    assert member("remove", "learner-1", doors=(made,), timeout=1) == status
    assert said in capsys.readouterr().err
    if answer.startswith((b"-ERR", b"-NOAUTH")):
        assert len(changes(made)) == 1


def test_the_outcome_stays_unknown_when_a_later_answer_is_definite(door: MakeDoor) -> None:
    told = [b"-UNKNOWN the outcome is not known\r\n"]
    refusal = b"-UNAVAILABLE no leader is known\r\n"

    def answer(command: list[bytes]) -> bytes:
        return listing() if command[1] == b"LIST" else told.pop() if told else refusal

    made = door(answer)
    assert member("remove", "learner-1", doors=(made,), timeout=1) == UNKNOWN_OUTCOME


def test_nobody_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("list", "--door", "127.0.0.1:1", "--timeout", "1")
    assert main(["member", *words]) == FAILED
    assert "no client node tells who the members are: nobody listens" in capsys.readouterr().err


def test_members_are_listed(door: MakeDoor, capsys: pytest.CaptureFixture[str]) -> None:
    made = door(answering(b""))
    assert member("list", doors=(made,)) == DONE
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"epoch 3, decided in slot 9, cluster {CLUSTER}"
    assert [line.split()[0] for line in told[1:]] == [
        *("proposer-1", "acceptor-1", "acceptor-2.1", "acceptor-3", "learner-1", "client-1")
    ]
    assert member("list", "--json", doors=(made,)) == DONE
    plain = json.loads(capsys.readouterr().out)
    assert (plain["epoch"], plain["cluster"], plain["others"]) == (3, CLUSTER, [])
    assert {"node": "acceptor-2.1", "member": True, "page_port": 8000} in plain["members"]


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    "words",
    [
        ("add", "discovery"),
        ("add", "acceptor"),
        ("add", "acceptor-0"),
        ("add", "acceptor-100"),
        ("add", "acceptor-4.1"),
        ("add", "acceptor-4", "--address", "a:1:2"),
        ("add", "acceptor-4.0", "--door", "h:1"),
        ("add", "learner-4.1", "--door", "h:1"),
        ("add", "acceptor-4", "--door", "h"),
        ("add", "acceptor-4", "--door", "h:0"),
        ("add", "acceptor-4", "--door", "h:1", "--address", "a:1"),
        ("remove", "discovery"),
        ("replace", "nobody-1"),
        ("format", "learner-3", "--cluster", CLUSTER),
        ("format", "acceptor-4", "--cluster", "nonsense"),
        ("format", "acceptor-2", "--cluster", CLUSTER, "--life", "0"),
        ("format", "acceptor-2", "--cluster", CLUSTER),
        ("kick", "acceptor-1"),
    ],
)
def test_words_that_make_no_sense_are_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["member", *words]) == WRONG_USAGE
    assert main(["member", *words, "--json"]) == WRONG_USAGE
    assert not list(tmp_path.glob("data/acceptor*"))


def test_a_running_cluster_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (("add", "acceptor-4"), ("remove", "learner-2"), ("replace", "acceptor-2")):
        assert main(["member", *words]) == FAILED
        assert "no cluster of local processes runs" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


# ---------------------------------------------------------------- format


def test_a_volume_is_made_for_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["member", "format", "acceptor-2", "--cluster", CLUSTER, "--json"]
    assert main([*words, "--life", "3"]) == DONE
    assert json.loads(capsys.readouterr().out) == {
        "node": "acceptor-2.3",
        "volume": str(tmp_path / "data" / "acceptor-2"),
        "aside": None,
    }
    assert main(words) == WRONG_USAGE
    assert "there is a volume already" in capsys.readouterr().out
    assert main([*words, "--aside", "--life", "3"]) == WRONG_USAGE, "there has been that life"
    capsys.readouterr()
    assert main([*words, "--aside"]) == DONE
    plain = json.loads(capsys.readouterr().out)
    assert plain["node"] == "acceptor-2.4"
    assert Path(plain["aside"]).is_dir()
    journal = open_journal(tmp_path / "data" / "acceptor-2")
    journal.close()
    assert journal.recovered.stamp is not None
    assert journal.recovered.stamp.node == "acceptor-2.4"


def test_a_second_command_waits_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two operators at one data folder: the second is told. (POSIX locks are a process's.)"""
    monkeypatch.chdir(tmp_path)

    def taken(*_: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr("paxos.apps.member_local.fcntl.lockf", taken)
    words = ["member", "format", "acceptor-4", "--cluster", CLUSTER]
    assert main(words) == FAILED
    assert "another `paxos member` works in" in capsys.readouterr().err


# ---------------------------------------------------------------- the supervisor


def test_a_node_is_started_when_the_layout_names_it_and_ended_when_it_does_not(
    standin: Standin, wait_until: WaitUntil
) -> None:
    standin.up()
    before = standin.run()
    added = layout.Layout(added=(LEARNER, FOUR))
    configuration = local.rearrange(standin.configuration, added)
    for node in (LEARNER, FOUR):
        assert local.wait_until_node_ready(configuration, node, 20.0) == ""
    wait_until(lambda: {LEARNER, FOUR} <= set(standin.run().living()))
    run = standin.run()
    assert run.nodes[FOUR].page_port == configuration.page_port(FOUR)
    assert {n: one.pid for n, one in run.nodes.items() if n in before.nodes} == {
        n: one.pid for n, one in before.nodes.items()
    }
    gone = run.nodes[LEARNER].process
    configuration = local.rearrange(configuration, added.without_node(LEARNER))
    wait_until(lambda: not gone.lives)
    wait_until(lambda: LEARNER not in standin.run().nodes)
    assert FOUR in standin.run().living()
    assert [one.node for one in local.status(configuration)] == list(configuration.nodes())
    # It comes back, to the same ports.
    configuration = local.rearrange(configuration, added)
    assert local.wait_until_node_ready(configuration, LEARNER, 20.0) == ""
    assert standin.up().absent == {}, "the layout is no other setting"


def test_a_layout_that_makes_no_sense_changes_nothing(
    standin: Standin, wait_until: WaitUntil
) -> None:
    standin.up()
    before = standin.run()
    (standin.data / layout.NAME).write_text("{", encoding="utf-8")
    local.release(standin.configuration, FIRST)
    log = standin.data / "logs" / "supervisor.log"
    wait_until(lambda: "the layout stays as it was" in log.read_text())
    assert standin.run().nodes == before.nodes


def test_everything_of_a_layout_is_stopped_and_deleted(standin: Standin) -> None:
    standin.up()
    configuration = local.rearrange(standin.configuration, layout.Layout(added=(FOUR,)))
    assert local.wait_until_node_ready(configuration, FOUR, 20.0) == ""
    run = standin.run()
    (standin.data / "aside" / "acceptor-1-then").mkdir(parents=True)
    deleted = {path.name for path in local.reset(configuration, standin.progress.append)}
    assert {"aside", "layout.json"} <= deleted
    assert run.living() == {}
    assert run_file.read(standin.data) is None


def test_a_node_is_held_and_released_when_it_was_added(
    standin: Standin, wait_until: WaitUntil
) -> None:
    standin.up()
    configuration = local.rearrange(standin.configuration, layout.Layout(added=(FOUR,)))
    assert local.wait_until_node_ready(configuration, FOUR, 20.0) == ""
    local.hold(configuration, FOUR)
    wait_until(lambda: standin.run().nodes[FOUR].state == "held")
    local.release(configuration, FOUR)
    assert local.wait_until_node_ready(configuration, FOUR, 20.0) == ""


# ---------------------------------------------------------------- waiting


def test_what_is_waited_for_is_said_after_a_second_and_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(member_doors.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        member_doors.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    said: list[tuple[float, str]] = []
    deadline = member_doors.Deadline(20.0, lambda text: said.append((round(now[0]), text)))
    with pytest.raises(DefiniteError, match="it starts: not within 20 s: not yet; the command"):
        deadline.wait_until("it starts", lambda: "not yet")
    assert said == [(at, "it starts: not yet") for at in (1, 2, 4, 8, 16)]
    deadline.wait_until("it starts", lambda: "")
