"""Too few acceptors: clear errors within the timeout, and work goes on as soon as one is back.

Then volumes: one that was lost, and one that belongs to somebody else, does not vote and says so
(DESIGN rule 8).
"""

from __future__ import annotations

import html
import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from .cluster import LocalCluster, client, wait_until
from .load import Load

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

CLUSTER = {"timeouts": {"request_ms": 1500}}


@contextmanager
def no_quorum(cluster: LocalCluster) -> Iterator[None]:
    """acceptor-1 is down and acceptor-2 silent; at the end acceptor-2 is back, acceptor-1 not."""
    cluster.hold("acceptor-1")
    cluster.signal("acceptor-2", signal.SIGSTOP)
    try:
        yield
    finally:
        cluster.signal("acceptor-2", signal.SIGCONT)


def refusal(connection: redis.Redis, *words: str) -> str:
    with pytest.raises(redis.ResponseError) as caught:
        connection.execute_command(*words)
    return str(caught.value)


def test_errors_without_a_quorum_say_what_is_known_and_what_is_missing(
    cluster: LocalCluster,
) -> None:
    first, second = cluster.redis(1), cluster.redis(2)
    first.set("before", "kept")
    pids = cluster.pids()
    with no_quorum(cluster):
        # The leader may still have believed in its quorum: then the outcome is not known.
        early = refusal(first, "INCR", "early")
        assert early.startswith(("UNKNOWN ", "UNAVAILABLE "))
        wait_until(
            lambda: len(cluster.status("client-1")["quorum"]["voting"]) < 2,
            "the gateway knows that there is no quorum",
        )
        late = refusal(first, "INCR", "late")
        assert late.startswith("UNAVAILABLE the write did not happen: no quorum: ")
        assert "acceptors vote and 2 are needed" in late
        assert "acceptor-1 does not answer" in late
        assert "acceptor-2 does not answer" in late
        assert "(waited 1.5 s)" in late
        for connection in (first, second):
            read = refusal(connection, "GET", "before")
            assert read.startswith("UNAVAILABLE the read was not answered: ")
            assert "no quorum" in read
        transaction = first.pipeline(transaction=True)
        transaction.incr("late").incr("late")
        with pytest.raises(redis.ResponseError, match=r"^UN(KNOWN|AVAILABLE) "):
            transaction.execute()
        # What needs nobody else is answered as ever.
        assert first.ping()
        assert json.loads(first.execute_command("STATUS"))["quorum"]["needed"] == 2
    wait_until(lambda: works(first), "writes work again")
    wait_until(lambda: works(second), "writes work again at the other door")
    assert first.get("before") == second.get("before") == b"kept"
    # Definite: it never happened. Unknown: at most once.
    assert second.get("late") is None
    assert int(second.get("early") or 0) <= (1 if early.startswith("UNKNOWN") else 0)
    others = [node for node in cluster.nodes if node != "acceptor-1"]
    assert {node: cluster.pids()[node] for node in others} == {node: pids[node] for node in others}
    assert cluster.run().nodes["acceptor-1"].state == "held"


def works(connection: redis.Redis) -> bool:
    try:
        return bool(connection.set("probe", "x")) and connection.get("probe") == b"x"
    except redis.ResponseError:
        return False


def test_command_line_client_tells_definite_from_unknown(cluster: LocalCluster) -> None:
    door = cluster.door(1)
    assert client(door, "write", "before").returncode == 0
    with no_quorum(cluster):
        early = client(door, "write", "first")
        wait_until(
            lambda: len(cluster.status("client-1")["quorum"]["voting"]) < 2,
            "the gateway knows that there is no quorum",
        )
        late = client(door, "write", "second")
        read = client(door, "read")
        as_json = client(door, "read", "--json")
        status = client(door, "status")
    assert early.returncode == (3 if "UNKNOWN" in early.stderr else 1)
    assert "no quorum" in early.stderr or "no answer came" in early.stderr
    assert late.returncode == 1
    assert "UNAVAILABLE the write did not happen: no quorum" in late.stderr
    assert read.returncode == 1
    assert "UNAVAILABLE the read was not answered" in read.stderr
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["outcome"] == "failed"
    assert status.returncode == 0
    wait_until(lambda: client(door, "write", "after").returncode == 0, "writes work again")
    values = [value for _, value in cluster.values()]
    assert b"before" in values
    assert b"after" in values
    assert b"second" not in values
    assert values.count(b"first") <= (1 if early.returncode == 3 else 0)


def test_requests_that_wait_for_a_quorum_are_answered_when_it_is_back(
    cluster: LocalCluster,
) -> None:
    """A pause shorter than the timeout is latency and no error."""
    with Load(cluster) as load:
        load.go_on(20)
        with no_quorum(cluster):
            before = load.acknowledged
        load.go_on(20)
        load.verify()
    assert load.acknowledged > before


@contextmanager
def another_volume(cluster: LocalCluster, node: str, source: str | None) -> Iterator[None]:
    """A node starts on a blank volume, or on a copy of another's; its own comes back at the end."""
    kept = cluster.folder / "kept"
    cluster.hold(node)
    shutil.move(cluster.volume(node), kept)
    if source is not None:
        shutil.copytree(cluster.volume(source), cluster.volume(node))
    cluster.release(node)
    try:
        yield
    finally:
        cluster.hold(node)
        shutil.rmtree(cluster.volume(node))
        shutil.move(kept, cluster.volume(node))
        cluster.release(node)


def test_lost_volume_does_not_vote_and_says_so_everywhere(cluster: LocalCluster) -> None:
    with Load(cluster) as load:
        load.go_on(20)
        with another_volume(cluster, "acceptor-3", None):
            why = barred(cluster, "acceptor-3")
            assert "the volume is blank" in why
            assert "already lives" in why
            assert "Bring its own volume back and restart it" in why
            load.go_on(20)
            said_everywhere(cluster, "acceptor-3", why)
        # What its message says is the way back.
        cluster.wait_until_ready("acceptor-3")
        assert cluster.status("acceptor-3")["phase"] == "open"
        load.go_on(20)
        load.verify()


def test_volume_of_another_acceptor_does_not_vote(cluster: LocalCluster) -> None:
    with Load(cluster) as load:
        load.go_on(20)
        with another_volume(cluster, "acceptor-3", "acceptor-1"):
            why = barred(cluster, "acceptor-3")
            assert "acceptor-1" in why
            load.go_on(20)
            said_everywhere(cluster, "acceptor-3", why)
        cluster.wait_until_ready("acceptor-3")
        load.verify()


def test_older_copy_of_its_volume_does_not_vote(cluster: LocalCluster) -> None:
    copy, kept = cluster.folder / "copy", cluster.folder / "kept"
    with Load(cluster) as load:
        cluster.hold("acceptor-3")
        shutil.copytree(cluster.volume("acceptor-3"), copy)
        cluster.release("acceptor-3")
        # Only what it has told the learners can be missed: its links may take a moment to stand,
        # and a vote that nobody waits for leaves some milliseconds after it was cast.
        wait_until(
            lambda: load.go_on(10) or cluster.status("acceptor-3").get("accepts", 0) >= 20,
            "acceptor-3 votes again",
        )
        load.go_on(40)
        cluster.hold("acceptor-3")
        shutil.move(cluster.volume("acceptor-3"), kept)
        shutil.move(copy, cluster.volume("acceptor-3"))
        cluster.release("acceptor-3")
        why = barred(cluster, "acceptor-3")
        assert "the volume has forgotten" in why
        said_everywhere(cluster, "acceptor-3", why)
        load.go_on(20)
        cluster.hold("acceptor-3")
        shutil.rmtree(cluster.volume("acceptor-3"))
        shutil.move(kept, cluster.volume("acceptor-3"))
        cluster.release("acceptor-3")
        cluster.wait_until_ready("acceptor-3")
        load.verify()


def barred(cluster: LocalCluster, node: str) -> str:
    """Wait until an acceptor does not vote; return its reason."""
    wait_until(lambda: cluster.status(node).get("phase") == "barred", f"{node} is barred")
    return str(cluster.status(node)["reason"])


def said_everywhere(cluster: LocalCluster, node: str, why: str) -> None:
    """An acceptor that does not vote says why on its page, in its log, and through `status`."""
    state = cluster.state(node)
    assert (state["ready"], state["reason"]) == (False, why)
    assert cluster.page(node, "/readyz").status == 503
    assert cluster.page(node, "/healthz").status == 200
    assert f"this acceptor does not vote: {why}" in cluster.log(node)
    assert why in cluster.text(node, "/logs")
    assert why in html.unescape(cluster.text(node, "/view-logs"))
    wait_until(
        lambda: (
            cluster.status("client-1")["quorum"]
            == {
                "needed": 2,
                "of": 3,
                "voting": ["acceptor-1", "acceptor-2"],
                "abstaining": {node: why},
            }
        ),
        "the gateway knows who does not vote, and why",
    )
    told = client(cluster.door(1), "status")
    assert told.returncode == 0
    assert node in told.stdout
    assert why[:40] in " ".join(told.stdout.split())
