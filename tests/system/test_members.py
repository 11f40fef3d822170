"""Members that change under load: added, removed, replaced, whatever has become of their volumes.

No client sees an error, nothing is lost and nothing is there twice. The exception is what cannot be
otherwise: the clients of a gateway that is itself replaced lose their connection.
"""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from paxos.core.types import NodeId, Role, role_of

from .cluster import LocalCluster, client, wait_until
from .conftest import NewCluster
from .load import Load

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(300)]

SETTINGS = {"limits": {"snapshot_log_slots": 300}, "timeouts": {"upkeep_ms": 50}}
"""Snapshots are taken and logs are cut while members change: a newcomer needs both."""

CLUSTER = SETTINGS


def member(cluster: LocalCluster, *words: str) -> dict[str, Any]:
    """Do a `paxos member` command that must succeed; return what it tells."""
    done = cluster.command("member", *words, "--json")
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def refused(cluster: LocalCluster, *words: str, status: int = 1) -> str:
    """Do a `paxos member` command that must fail; return what it tells people."""
    done = cluster.command("member", *words)
    assert done.returncode == status, f"{words}: {done.stdout}{done.stderr}"
    return done.stderr


def members(cluster: LocalCluster, role: str) -> list[str]:
    """Return the members of a role, as the client nodes know them."""
    listed = member(cluster, "list")["members"]
    return [one["node"] for one in listed if one["node"].startswith(role)]


# ---------------------------------------------------------------- more and fewer


def test_acceptors_grow_to_five_and_shrink_to_three_under_load(new_cluster: NewCluster) -> None:
    """DESIGN rule 11: and in the end none of those that remember the founding is left but one."""
    cluster = new_cluster(SETTINGS)
    with Load(cluster) as load:
        load.go_on()
        for node in ("acceptor-4", "acceptor-5"):
            assert member(cluster, "add", node)["node"] == node
            load.go_on()
        assert len(members(cluster, "acceptor")) == 5
        assert cluster.status("client-1")["quorum"]["needed"] == 3
        cluster.kill("acceptor-1")
        cluster.kill("acceptor-5")
        load.go_on()
        cluster.wait_until_all_ready()
        for node in ("acceptor-1", "acceptor-2"):
            member(cluster, "remove", node)
            load.go_on()
        assert members(cluster, "acceptor") == ["acceptor-3", "acceptor-4", "acceptor-5"]
        assert "acceptor-1" not in cluster.run().nodes
        cluster.kill("acceptor-3")
        load.go_on()
        load.verify()
    cluster.wait_until_all_ready()
    cluster.stop()
    cluster.up()
    load.verify_kept()
    assert cluster.command("status").returncode == 0


def test_a_node_of_each_other_role_comes_and_goes_under_load(new_cluster: NewCluster) -> None:
    cluster = new_cluster(SETTINGS)
    with Load(cluster) as load:
        load.go_on()
        for node in ("learner-3", "proposer-4", "client-3"):
            member(cluster, "add", node)
            load.go_on()
        assert client(cluster.door(3), "write", "through the new one").returncode == 0
        for node in ("learner-1", "proposer-4", "client-3", cluster.leader()):
            if role_of(NodeId(node)) is Role.PROPOSER and node not in members(cluster, "proposer"):
                continue
            member(cluster, "remove", node)
            load.go_on()
        assert members(cluster, "learner") == ["learner-2", "learner-3"]
        # A name comes back as it was: it has ports and a volume, and nothing that others miss.
        member(cluster, "add", "learner-1")
        load.go_on()
        load.verify()
    cluster.wait_until_all_ready()


def test_an_acceptor_that_comes_back_is_another_one(new_cluster: NewCluster) -> None:
    """types.NodeId: the volume of a life that was removed never votes again."""
    cluster = new_cluster({**SETTINGS, "cluster": {"acceptors": 4}})
    with Load(cluster) as load:
        load.go_on()
        member(cluster, "remove", "acceptor-4")
        load.go_on()
        added = member(cluster, "add", "acceptor-4")
        assert added["node"] == "acceptor-4.1"
        shutil.rmtree(cluster.volume("acceptor-4"))
        assert member(cluster, "replace", "acceptor-4")["node"] == "acceptor-4.2"
        load.go_on()
        load.verify()
    [kept] = cluster.configuration.data_folder.glob("aside/acceptor-4-*")
    assert kept.is_dir()


# ---------------------------------------------------------------- one by one


class Pace:
    """How many commands are answered, looked at every tenth of a second."""

    LOOK_S = 0.1

    def __init__(self, load: Load) -> None:
        self._load = load
        self._ended = threading.Event()
        self._seen: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._ended.wait(self.LOOK_S):
            self._seen.append((time.monotonic(), self._load.acknowledged))

    @contextmanager
    def looking(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()

    def per_second(self, since_s: float, until_s: float) -> list[float]:
        """Return the commands per second of each tenth between two moments."""
        seen = [one for one in self._seen if since_s <= one[0] <= until_s]
        return [
            (later - earlier) / (end - begin)
            for (begin, earlier), (end, later) in itertools.pairwise(seen)
        ]


@pytest.mark.slow
def test_all_nodes_are_replaced_one_after_another_under_load(
    new_cluster: NewCluster, record_property: Callable[[str, object], None]
) -> None:
    """No request fails, and how far the throughput falls meanwhile is told."""
    cluster = new_cluster(SETTINGS)
    with Load(cluster, may_lose=(1, 2)) as load:
        pace = Pace(load)
        with pace.looking():
            load.go_on(200)
            for node in cluster.nodes:
                others = tuple(n for n in (1, 2) if node != f"client-{n}")
                began = time.monotonic()
                unknown = sum(sum(one.unknown.values()) for one in load._writers)
                member(cluster, "replace", node)
                ended = time.monotonic()
                load.go_on(50, doors=others)
                after = pace.per_second(began - 2, began)
                during = pace.per_second(began, ended)
                lost = sum(sum(one.unknown.values()) for one in load._writers) - unknown
                assert lost <= (2 if role_of(node) is Role.CLIENT else 0), f"{node} lost {lost}"
                if after and during:
                    figures = (
                        f"{ended - began:.1f} s, {sum(after) / len(after):.0f}/s before, "
                        f"{sum(during) / len(during):.0f}/s meanwhile, {min(during):.0f}/s in the "
                        "slowest tenth of a second"
                    )
                    record_property(node, figures)
                    print(f"{node}: {figures}")
        load.verify()
    cluster.wait_until_all_ready()
    assert members(cluster, "acceptor") == ["acceptor-1.1", "acceptor-2.1", "acceptor-3.1"]
    cluster.stop()
    cluster.up()
    load.verify_kept()


# ---------------------------------------------------------------- whatever became of the volume


def lost(cluster: LocalCluster, load: Load) -> str:
    cluster.hold("acceptor-2")
    shutil.rmtree(cluster.volume("acceptor-2"))
    cluster.release("acceptor-2")
    return "blank"


def rotten(cluster: LocalCluster, load: Load) -> str:
    """Flip a bit in a value that is far from the end of the log."""
    mark = b"a value that will rot"
    cluster.redis().set("rotting", mark)
    load.go_on(20)
    cluster.hold("acceptor-2")
    for segment in cluster.volume("acceptor-2").glob("segment-*"):
        content = bytearray(segment.read_bytes())
        place = content.find(mark)
        if place >= 0:
            content[place] ^= 1
            segment.write_bytes(content)
            break
    else:
        raise AssertionError("the value is in no segment")
    cluster.release("acceptor-2")
    return "damaged"


def older(cluster: LocalCluster, load: Load) -> str:
    """Put an older copy of the volume in its place: whole in itself, and it has forgotten."""
    cluster.hold("acceptor-2")
    copy = cluster.folder / "copy"
    shutil.copytree(cluster.volume("acceptor-2"), copy)
    cluster.release("acceptor-2")
    cluster.wait_until_ready("acceptor-2")
    load.go_on(20)
    cluster.hold("acceptor-2")
    shutil.rmtree(cluster.volume("acceptor-2"))
    copy.rename(cluster.volume("acceptor-2"))
    cluster.release("acceptor-2")
    return "older copy"


@pytest.mark.parametrize("ruin", [lost, rotten, older])
def test_an_acceptor_is_replaced_whatever_became_of_its_volume(
    new_cluster: NewCluster, ruin: Callable[[LocalCluster, Load], str]
) -> None:
    """DESIGN rule 8: it does not vote, says why and which command brings it back; that does."""
    cluster = new_cluster({"timeouts": {"upkeep_ms": 50}})
    with Load(cluster) as load:
        load.go_on()
        why = ruin(cluster, load)
        wait_until(
            lambda: cluster.status("acceptor-2").get("phase") == "barred", "it does not vote"
        )
        reason = cluster.status("acceptor-2")["reason"]
        assert why in reason
        assert "paxos member replace acceptor-2" in reason
        done = member(cluster, "replace", "acceptor-2")
        assert (done["node"], done["ready"]) == ("acceptor-2.1", True)
        load.go_on()
        cluster.kill("acceptor-3")
        load.go_on()
        load.verify()
    cluster.wait_until_all_ready()


def test_an_acceptor_may_lose_its_volume_again_and_again(new_cluster: NewCluster) -> None:
    """Blank, it does not know which life it was; it hears that the cluster lives all the same."""
    cluster = new_cluster(SETTINGS)
    with Load(cluster) as load:
        for life in (1, 2):
            load.go_on()
            cluster.hold("acceptor-3")
            shutil.rmtree(cluster.volume("acceptor-3"))
            cluster.release("acceptor-3")
            wait_until(
                lambda: cluster.status("acceptor-3").get("phase") == "barred", "it does not vote"
            )
            reason = cluster.status("acceptor-3")["reason"]
            assert "paxos member replace acceptor-3" in reason
            assert member(cluster, "replace", "acceptor-3")["node"] == f"acceptor-3.{life}"
        load.go_on()
        load.verify()


def test_a_replacement_goes_on_where_it_was_interrupted(new_cluster: NewCluster) -> None:
    """member_local.py: every step looks at what is there first."""
    cluster = new_cluster(SETTINGS)
    door = f"127.0.0.1:{cluster.door()}"
    with Load(cluster) as load:
        load.go_on()
        # As if the command had been killed after its first step, and then after its last but one.
        member(cluster, "remove", "acceptor-2", "--door", door)
        load.go_on()
        identity = member(cluster, "list")["cluster"]
        cluster.hold("acceptor-2")
        made = member(cluster, "format", "acceptor-2", "--cluster", identity, "--aside")
        assert made["node"] == "acceptor-2.1"
        cluster.release("acceptor-2")
        done = member(cluster, "replace", "acceptor-2")
        assert done["node"] == "acceptor-2.1", "what was made is used"
        assert done["aside"] is None
        load.go_on()
        load.verify()


# ---------------------------------------------------------------- what is refused


def test_what_makes_no_sense_is_refused_with_a_reason(cluster: LocalCluster) -> None:
    door = f"127.0.0.1:{cluster.door()}"
    assert "must be the name of an acceptor" in refused(cluster, "add", "nobody-1", status=2)
    assert "has no acceptor-9" in refused(cluster, "remove", "acceptor-9", status=2)
    assert "has no acceptor-9" in refused(cluster, "replace", "acceptor-9", status=2)
    assert "must be HOST:PORT" in refused(
        cluster, "add", "acceptor-9", "--door", "nowhere", status=2
    )
    said = refused(cluster, "add", "acceptor-9", "--door", door, "--timeout", "2")
    assert "acceptor-9 has not joined" in said
    said = refused(cluster, "add", "acceptor-1.1", "--door", door)
    assert "acceptor-1 has the place of acceptor-1.1" in said
    assert "only acceptors" in refused(
        cluster, "format", "learner-1", "--cluster", "0" * 14, status=2
    )
    words = ("format", "acceptor-1", "--cluster", "0" * 14, "--aside")
    assert "is in use by process" in refused(cluster, *words)
    assert cluster.unready() == []


def test_the_last_of_a_role_cannot_be_removed(new_cluster: NewCluster) -> None:
    cluster = new_cluster({"cluster": {"proposers": 1, "learners": 1, "acceptors": 1}})
    for node in ("proposer-1", "learner-1", "acceptor-1"):
        assert f"{node} is the last" in refused(cluster, "remove", node)
    assert "acceptor-1 is the last" in refused(cluster, "replace", "acceptor-1")
    # With a second one it can be.
    member(cluster, "add", "acceptor-2")
    assert member(cluster, "replace", "acceptor-1")["node"] == "acceptor-1.1"
    member(cluster, "remove", "acceptor-2")
    member(cluster, "add", "learner-2")
    member(cluster, "remove", "learner-1")
    assert cluster.redis().set("k", "v")
    cluster.wait_until_all_ready()
