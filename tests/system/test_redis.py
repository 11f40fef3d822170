"""Every command of the Redis protocol that is promised, through redis-py and redis-cli."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis

from .cluster import ANSWER_S, HOST, LocalCluster, wait_until

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]


@pytest.fixture
def key() -> Callable[[str], str]:
    """Names of this test's own."""
    prefix = uuid.uuid4().hex[:8]
    return lambda name: f"{prefix}:{name}"


@pytest.fixture(params=[2, 3])
def door(request: pytest.FixtureRequest, cluster: LocalCluster) -> redis.Redis:
    """A client of the first door that speaks either version of the protocol."""
    return cluster.redis(1, protocol=request.param)


def redis_cli(cluster: LocalCluster, *words: str, given: bytes = b"") -> str:
    done = subprocess.run(
        ["redis-cli", "-p", str(cluster.door(1)), *words],
        input=given,
        capture_output=True,
        timeout=60,
        check=True,
    )
    return done.stdout.decode()


def test_connection_commands(door: redis.Redis) -> None:
    assert door.ping()
    assert door.echo("hello") == b"hello"
    assert door.select(0)
    with pytest.raises(redis.ResponseError, match="DB index is out of range"):
        door.select(1)
    assert door.client_id() > 0
    assert door.client_setname("tester")
    assert door.client_getname() in ("tester", b"tester")
    assert any(one["name"] == "tester" for one in door.client_list())
    assert door.execute_command("CLIENT", "SETINFO", "lib-name", "tests") == b"OK"
    assert door.info()["redis_mode"] == "standalone"
    assert door.info("paxos")["paxos_node"] == "client-1"
    assert door.command_count() > 40
    assert door.command()["get"]["arity"] == 2
    with pytest.raises(redis.AuthenticationError, match="without any password configured"):
        door.execute_command("AUTH", "anything")
    with pytest.raises(redis.ResponseError, match=r"NOPROTO"):
        door.execute_command("HELLO", "9")
    assert door.execute_command("QUIT") in (b"OK", True)


def test_strings_and_counters(door: redis.Redis, key: Callable[[str], str]) -> None:
    a, b, binary = key("a"), key("b"), bytes(range(256))
    assert door.set(a, binary)
    assert door.get(a) == binary
    assert door.set(a, "1", nx=True) is None
    assert door.set(b, "1", xx=True) is None
    assert door.set(a, "2", xx=True, get=True) == binary
    assert not door.setnx(a, "3")
    assert door.setnx(b, "3")
    assert door.get(a) == b"2"
    assert door.getset(b, "4") == b"3"
    assert door.mset({a: "5", b: "6"})
    assert door.mget(a, b, key("none")) == [b"5", b"6", None]
    assert (door.incr(a), door.incrby(a, 10), door.decr(a), door.decrby(a, 5)) == (6, 16, 15, 10)
    with pytest.raises(redis.ResponseError, match="increment or decrement would overflow"):
        door.incrby(a, 9223372036854775807)
    door.set(b, "text")
    with pytest.raises(redis.ResponseError, match="value is not an integer or out of range"):
        door.incr(b)
    assert door.append(b, " more") == 9
    assert door.strlen(b) == 9
    assert door.getdel(b) == b"text more"
    assert door.get(b) is None


def test_keys_and_expiry(door: redis.Redis, key: Callable[[str], str]) -> None:
    a, b = key("a"), key("b")
    assert door.mset({a: "1", b: "2"})
    assert door.exists(a, b, a, key("none")) == 3
    assert door.type(a) == b"string"
    assert door.type(key("none")) == b"none"
    assert sorted(door.keys(key("*"))) == sorted([a.encode(), b.encode()])
    assert sorted(door.scan_iter(match=key("*"), count=1)) == sorted([a.encode(), b.encode()])
    assert door.dbsize() >= 2
    assert (door.ttl(a), door.ttl(key("none")), door.pttl(a)) == (-1, -2, -1)
    assert door.expire(a, 1000)
    assert 0 < door.ttl(a) <= 1000
    assert 0 < door.pttl(a) <= 1_000_000
    door.set(a, "2", keepttl=True)
    assert door.ttl(a) > 0
    assert door.persist(a)
    assert door.ttl(a) == -1
    door.set(a, "3", ex=1000)
    assert door.ttl(a) > 0
    door.set(a, "3")
    assert door.ttl(a) == -1
    assert door.pexpire(a, 30)
    door.set(b, "4", px=30)
    wait_until(lambda: door.exists(a, b) == 0, "both have expired")
    assert door.delete(a, b) == 0
    assert door.keys(key("*")) == []


def test_list_of_values(
    cluster: LocalCluster, door: redis.Redis, key: Callable[[str], str]
) -> None:
    slots = [door.execute_command("WRITE", key(f"{n}")) for n in range(5)]
    assert slots == sorted(slots)
    pairs = cluster.redis(2).execute_command("READ", "FROM", slots[0])
    assert [[s, v] for s, v in pairs] == [
        [slot, key(f"{n}").encode()] for n, slot in enumerate(slots)
    ]
    assert door.execute_command("READ", "LIMIT", "2", "FROM", slots[3]) == pairs[3:]
    confirmed = door.execute_command("RESPONSES", "5")
    assert [row[0] for row in confirmed] == slots
    status = json.loads(door.execute_command("STATUS"))
    assert status["leader"] == cluster.leader()
    assert status["quorum"]["voting"] == ["acceptor-1", "acceptor-2", "acceptor-3"]


def test_errors_are_those_of_redis(door: redis.Redis) -> None:
    for words, text in (
        (["FLY", "me"], "unknown command 'FLY', with args beginning with: 'me' "),
        (["GET"], "wrong number of arguments for 'get' command"),
        (["SET", "k", "v", "EX", "0"], "invalid expire time in 'set' command"),
        (["SET", "k", "v", "NX", "XX"], "syntax error"),
        (["EXEC"], "EXEC without MULTI"),
        (["DISCARD"], "DISCARD without MULTI"),
    ):
        with pytest.raises(redis.ResponseError) as caught:
            door.execute_command(*words)
        assert text in str(caught.value)


def test_transaction_is_one_step(
    cluster: LocalCluster, door: redis.Redis, key: Callable[[str], str]
) -> None:
    a = key("a")
    pipeline = door.pipeline(transaction=True)
    assert pipeline.set(a, "1").incr(a).get(a).execute() == [True, 2, b"2"]
    pipeline = door.pipeline(transaction=True)
    pipeline.set(a, "text").incr(a).append(a, "!")
    found = pipeline.execute(raise_on_error=False)
    assert isinstance(found[1], redis.ResponseError)
    assert found[2] == 5
    assert cluster.redis(2).get(a) == b"text!"
    with door.pipeline(transaction=True) as dropped:
        dropped.multi()
        dropped.set(a, "never")
        dropped.reset()
    assert door.get(a) == b"text!"


def test_watch_notices_a_change_through_the_other_door(
    cluster: LocalCluster, door: redis.Redis, key: Callable[[str], str]
) -> None:
    a, other = key("a"), cluster.redis(2)
    with door.pipeline() as pipeline:
        pipeline.watch(a)
        assert pipeline.get(a) is None
        other.set(a, "theirs")
        pipeline.multi()
        pipeline.set(a, "mine")
        with pytest.raises(redis.WatchError):
            pipeline.execute()
    assert door.get(a) == b"theirs"
    with door.pipeline() as pipeline:
        pipeline.watch(a)
        other.set(a, "again")
        pipeline.unwatch()
        pipeline.multi()
        pipeline.set(a, "mine")
        assert pipeline.execute() == [True]
    assert other.get(a) == b"mine"


def test_watched_increments_through_both_doors_lose_none(
    cluster: LocalCluster, key: Callable[[str], str]
) -> None:
    """Read, add, write: without WATCH some would be lost; with it each counts once."""
    a, each, done = key("a"), 25, []
    conflicts: list[int] = []

    def increment(number: int) -> None:
        mine = cluster.redis(number)
        for _ in range(each):
            while True:
                with mine.pipeline() as pipeline:
                    pipeline.watch(a)
                    found = int(pipeline.get(a) or 0)
                    pipeline.multi()
                    pipeline.set(a, found + 1)
                    try:
                        pipeline.execute()
                    except redis.WatchError:
                        conflicts.append(number)
                    else:
                        break
            done.append(number)

    threads = [threading.Thread(target=increment, args=(number,)) for number in (1, 2, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4 * each
    assert int(cluster.redis(1).get(a) or 0) == 4 * each
    assert conflicts


def test_pipelined_commands_take_effect_in_order(
    cluster: LocalCluster, door: redis.Redis, key: Callable[[str], str]
) -> None:
    """Writes, reads and errors of one connection, 3,000 in one go."""
    a = key("a")
    pipeline: Any = door.pipeline(transaction=False)
    expected: list[object] = []
    for n in range(1, 1001):
        pipeline.incr(a).get(a).append(key("text"), "x")
        expected += [n, b"%d" % n, n]
    assert pipeline.execute() == expected
    assert cluster.redis(2).strlen(key("text")) == 1000


def test_pipe_of_redis_cli(cluster: LocalCluster, key: Callable[[str], str]) -> None:
    lines = "".join(f'SET {key(str(n))} "value {n}"\r\n' for n in range(5000))
    said = redis_cli(cluster, "--pipe", given=lines.encode())
    assert "errors: 0, replies: 5000" in said
    reading = cluster.redis(2)
    found = reading.mget([key(str(n)) for n in range(5000)])
    assert found == [b"value %d" % n for n in range(5000)]
    said = redis_cli(cluster, "SET", key("spaced"), "a b")
    assert said.strip() == "OK"
    assert redis_cli(cluster, "GET", key("spaced")).strip() == "a b"


def test_inline_commands_as_nc_sends_them(cluster: LocalCluster, key: Callable[[str], str]) -> None:
    with socket.create_connection((HOST, cluster.door(1)), timeout=ANSWER_S) as sock:
        sock.sendall(
            f'set {key("a")} "novo valor"\nGET {key("a")}\r\n\r\nwrite {key("w")}\n'.encode()
        )
        sock.sendall(b"QUIT\r\n")
        received = b""
        while part := sock.recv(65_536):
            received += part
    first, rest = received.split(b"novo valor\r\n")
    assert first == b"+OK\r\n$10\r\n"
    slot, ok = rest.splitlines()
    assert slot.startswith(b":")
    assert ok == b"+OK"
    assert (int(slot[1:]), key("w").encode()) in cluster.values(int(slot[1:]))


def test_clients_that_hang_up_in_the_middle_disturb_nobody(
    cluster: LocalCluster, key: Callable[[str], str]
) -> None:
    """A command whose client is gone takes effect whole or not at all."""
    command = f"*2\r\n$4\r\nINCR\r\n${len(key('a'))}\r\n{key('a')}\r\n".encode()
    for _ in range(50):
        with socket.create_connection((HOST, cluster.door(1)), timeout=ANSWER_S) as sock:
            sock.sendall(command * 10)
    mine = cluster.redis(1)
    wait_until(
        lambda: json.loads(mine.execute_command("STATUS"))["inflight"] == 0, "all is answered"
    )
    assert 0 <= int(mine.get(key("a")) or 0) <= 500
    assert mine.incr(key("b")) == 1
