"""What no client should send, over real sockets, while well-behaved clients go on undisturbed.

Each test has the load of `load.py` running: nobody else may notice. Each looks at the memory of
all nodes: what they say at /state before, and the highest that the kernel has seen since. What a
bound is made of stands beside it.
"""

from __future__ import annotations

import random
import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import hiredis
import pytest

from paxos.core.types import NodeId, Role
from paxos.doors import resp
from paxos.transport import handshake, links
from paxos.web import server

from .cluster import ANSWER_S, DEADLINE_S, HOST, LocalCluster, wait_until, written
from .load import Load
from .processes import Node

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

MIB = 1024 * 1024
VALUE_BYTES_MAX = 8 * MIB

ORDINARY_GROWTH_BYTES_MAX = 32 * MIB
"""What a node may grow by during a test from the load itself (log, keys, values) and from garbage
that is refused as it comes. Far below what was sent or announced."""

CONNECTION_BYTES_MAX = 16 * 1024
"""What an idle client connection costs a gateway; 10,000 of them cost less than 160 MiB."""


@contextmanager
def undisturbed(
    cluster: LocalCluster, growth_bytes_max: int = ORDINARY_GROWTH_BYTES_MAX
) -> Iterator[Load]:
    """Clients see no error, no node ends, and none grows past the bound while the test goes on."""
    pids = cluster.pids()
    before = cluster.memory()
    cluster.forget_peaks()
    with Load(cluster, writers=1) as load:
        load.go_on(20)
        yield load
        load.go_on(20)
        grown = {node: peak - before[node] for node, peak in cluster.peaks().items()}
        load.verify()
    assert cluster.pids() == pids
    assert {node: size for node, size in grown.items() if size > growth_bytes_max} == {}


@contextmanager
def connected(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Keep so many connections open."""
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(socket.create_connection((HOST, port), timeout=ANSWER_S))
        yield sockets
    finally:
        for one in sockets:
            one.close()


def answer(sock: socket.socket) -> bytes:
    """Return everything until the other side closes; a reset is a close, too."""
    received = b""
    try:
        while part := sock.recv(65_536):
            received += part
    except (ConnectionResetError, BrokenPipeError):
        pass
    return received


def send_all(sock: socket.socket, data: bytes) -> None:
    """Send as much as the other side takes before it closes."""
    try:
        sock.sendall(data)
    except (ConnectionResetError, BrokenPipeError):
        return


def replies(sock: socket.socket, count: int) -> list[object]:
    """Return so many replies of a door."""
    reader = hiredis.Reader()
    found: list[object] = []
    while len(found) < count:
        reply = reader.gets()
        if reply is False:
            part = sock.recv(65_536)
            assert part, f"closed after {found}"
            reader.feed(part)
        else:
            found.append(reply)
    return found


def bulk(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


# ---------------------------------------------------------------- doors


def test_600_mb_bulk_string_is_refused_when_it_is_announced(cluster: LocalCluster) -> None:
    with undisturbed(cluster), connected(cluster.door(1), 3) as (large, larger, many):
        send_all(large, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$629145600\r\n" + b"x" * MIB)
        assert answer(large) == b"-ERR Protocol error: invalid bulk length\r\n"
        send_all(larger, b"*1\r\n$99999999999999999999999\r\n")
        assert answer(larger).startswith(b"-ERR Protocol error: invalid bulk length")
        send_all(many, b"*2147483647\r\n$1\r\n")
        assert answer(many) == b"-ERR Protocol error: invalid multibulk length\r\n"


def test_value_over_the_limit_is_refused_and_one_at_the_limit_is_kept(
    cluster: LocalCluster,
) -> None:
    # A value at the limit is kept by both learners, and passes through all others.
    with (
        undisturbed(cluster, ORDINARY_GROWTH_BYTES_MAX + 12 * VALUE_BYTES_MAX),
        connected(cluster.door(1), 2) as (slightly, far),
    ):
        slightly.sendall(bulk(b"SET", b"large", b"x" * VALUE_BYTES_MAX) + bulk(b"PING"))
        refused, pong = replies(slightly, 2)
        assert "is larger than limits.value_bytes_max (8388608 bytes)" in str(refused)
        assert pong == b"PONG", "the connection goes on"
        room = VALUE_BYTES_MAX - len(b"SET" + b"large")
        slightly.sendall(bulk(b"SET", b"large", b"y" * room))
        assert replies(slightly, 1) == [b"OK"]
        send_all(far, bulk(b"SET", b"large", b"x" * (VALUE_BYTES_MAX + MIB)))
        assert answer(far) == b"-ERR Protocol error: invalid bulk length\r\n"
        assert cluster.redis(2).get("large") == b"y" * room
        assert cluster.redis(2).delete("large") == 1


def test_half_a_command_holds_nobody_up(cluster: LocalCluster) -> None:
    with undisturbed(cluster) as load, connected(cluster.door(1), 200) as sockets:
        for sock in sockets:
            sock.sendall(bulk(b"SET", b"half", b"value")[:-5])
        load.go_on(20)
        assert cluster.redis(1).get("half") is None
        # The rest of one of them comes: it is an ordinary command after all.
        sockets[0].sendall(bulk(b"SET", b"half", b"value")[-5:])
        assert replies(sockets[0], 1) == [b"OK"]
        sockets[1].shutdown(socket.SHUT_WR)
        assert answer(sockets[1]) == b""
    assert cluster.redis(2).getdel("half") == b"value"


def test_unfinished_input_of_all_clients_together_is_bounded(cluster: LocalCluster) -> None:
    """Sixty halves of large values are more than a gateway may hold: some are refused."""
    size = 7 * MIB
    count = 60
    assert count * size > resp.INPUT_BYTES_MAX
    bound = ORDINARY_GROWTH_BYTES_MAX + resp.INPUT_BYTES_MAX
    half = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8000000\r\n" + b"x" * size
    with undisturbed(cluster, bound), connected(cluster.door(1), count) as sockets:
        for sock in sockets:
            send_all(sock, half)
        refused = refused_of(sockets)
        assert refused
        for sock in refused:
            assert answer(sock).startswith(b"-ERR this node holds too much unfinished input")
        assert len(refused) <= count - resp.INPUT_BYTES_MAX // (size + MIB)
    assert cluster.redis(1).get("k") is None


def refused_of(sockets: list[socket.socket]) -> list[socket.socket]:
    """Wait until some are answered; return them."""
    readable: list[socket.socket] = []

    def some() -> bool:
        readable[:] = select.select(sockets, [], [], 0)[0]
        return bool(readable)

    wait_until(some, "the gateway refuses some")
    return readable


def test_random_bytes_on_every_port(cluster: LocalCluster) -> None:
    dice = random.Random(20)
    ports = [port for node in cluster.nodes for port in cluster.configuration.ports(node)]
    with undisturbed(cluster):
        for port in ports:
            for _ in range(10):
                with connected(port, 1) as (sock,):
                    send_all(sock, dice.randbytes(dice.randrange(1, 20_000)))
                    sock.shutdown(socket.SHUT_WR)
                    answer(sock)
        # Foul bytes behind good commands: those are answered first.
        with connected(cluster.door(2), 1) as (sock,):
            sock.sendall(bulk(b"PING") + b"*1\r\n:1\r\n")
            assert answer(sock) == b"+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n"


def test_ten_thousand_connections_to_one_door(cluster: LocalCluster) -> None:
    count = 10_000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= count + 1000, f"this machine allows {hard} open files only"
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    bound = ORDINARY_GROWTH_BYTES_MAX + count * CONNECTION_BYTES_MAX
    with undisturbed(cluster, bound) as load:
        before = cluster.state("client-2")["memory_bytes"]
        in_use = cluster.status("client-2")["connections"]
        with connected(cluster.door(2), count - in_use) as sockets:
            wait_until(
                lambda: cluster.status("client-2")["connections"] >= count - in_use,
                "the door has taken them in",
            )
            for sock in sockets:
                sock.sendall(bulk(b"INCR", b"crowd"))
            counts = {replies(sock, 1)[0] for sock in sockets}
            assert counts == set(range(1, len(sockets) + 1))
            grown = cluster.state("client-2")["memory_bytes"] - before
            assert grown < bound
            load.go_on(20)
            # One too many is told so; those who were there stay.
            with connected(cluster.door(2), in_use + 10) as more:
                told = [answer(sock) for sock in more[in_use:]]
            assert b"-ERR max number of clients reached\r\n" in told
        wait_until(
            lambda: cluster.status("client-2")["connections"] <= in_use, "all of them have gone"
        )
        assert int(cluster.redis(1).getdel("crowd")) == count - in_use


# ---------------------------------------------------------------- node-to-node ports


def peer_port(cluster: LocalCluster, node: str) -> int:
    return cluster.configuration.address(NodeId(node))[1]


def test_frames_of_strangers_close_their_connection(cluster: LocalCluster) -> None:
    strangers = {
        "600 MB announced": (629_145_600).to_bytes(4, "big") + b"x" * 4096,
        "an empty frame": bytes(4),
        "no message": (3).to_bytes(4, "big") + b"\xff\xff\xff",
        "larger than any handshake": (
            (handshake.HANDSHAKE_FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"x" * 5000
        ),
    }
    with undisturbed(cluster):
        for node in cluster.nodes:
            for said in strangers.values():
                with connected(peer_port(cluster, node), 1) as (sock,):
                    send_all(sock, said)
                    answer(sock)
    for node in cluster.nodes:
        assert "closed the connection with 127.0.0.1:" in cluster.log(node)
        assert "a frame of 629145600 bytes was announced; 1 to 4096 are allowed" in (
            cluster.log(node)
        )


def test_silent_connections_to_a_peer_port_are_closed(cluster: LocalCluster) -> None:
    """They are bounded, they end, and a node that restarts meanwhile finds its way in."""
    count = links.UNPROVEN_CONNECTIONS_MAX + 50
    half_a_frame = (100).to_bytes(4, "big") + b"x" * 50
    with undisturbed_but(cluster, "proposer-1") as load:
        for node in ("acceptor-1", "learner-1", "discovery"):
            with connected(peer_port(cluster, node), count) as sockets:
                for sock in sockets[::2]:
                    send_all(sock, half_a_frame)
                if node == "acceptor-1":
                    cluster.kill("proposer-1")
                load.go_on(10)
                for sock in sockets:
                    answer(sock)
        cluster.wait_until_ready("proposer-1")
        wait_until(
            lambda: linked(cluster, "acceptor-1") >= {"proposer-1"}, "proposer-1 is linked again"
        )
    assert "too many connections are waiting to prove themselves" in cluster.log("acceptor-1")
    assert "the handshake took too long" in cluster.log("acceptor-1")


def linked(cluster: LocalCluster, node: str) -> set[str]:
    """Return the nodes that a node has a link with."""
    return {one["peer"] for one in cluster.state(node).get("links", []) if one["connected"]}


@contextmanager
def undisturbed_but(cluster: LocalCluster, killed: str) -> Iterator[Load]:
    """As `undisturbed`, with one node that the test kills."""
    pids = cluster.pids()
    with Load(cluster, writers=1) as load:
        load.go_on(20)
        yield load
        load.go_on(20)
        load.verify()
    assert {n: p for n, p in cluster.pids().items() if n != killed} == {
        n: p for n, p in pids.items() if n != killed
    }


def test_node_with_another_secret_is_refused_and_nobody_else_notices(
    cluster: LocalCluster,
) -> None:
    """learner-2 comes back with a secret file of another cluster."""
    stranger = cluster.folder / "another.secret"
    stranger.write_text("not the secret of this cluster\n", encoding="utf-8")
    sections = {
        "network": {"port_offset": cluster.configuration.network.port_offset},
        "data": {"folder": str(cluster.folder / "another-data")},
        "security": {"secret_file": str(stranger)},
    }
    file = written(cluster.folder / "another.toml", sections)
    cluster.hold("learner-2")
    with undisturbed_but(cluster, "learner-2") as load, Node(file, "learner", 2) as node:
        wait_until(lambda: "the cluster secrets differ" in node.log(), "the node says why")
        load.go_on(20)
        for other in (*cluster.of(Role.ACCEPTOR), *cluster.of(Role.CLIENT)):
            assert "learner-2" not in linked(cluster, other)
    told = [cluster.log(other) for other in cluster.nodes]
    assert any("the cluster secrets differ" in log for log in told)
    cluster.release("learner-2")
    cluster.wait_until_ready("learner-2")


# ---------------------------------------------------------------- pages


def test_pages_refuse_what_is_no_request(cluster: LocalCluster) -> None:
    port = cluster.configuration.page_port(NodeId("acceptor-2"))
    with undisturbed(cluster):
        with connected(port, 2) as (long, foul):
            send_all(long, b"GET /" + b"x" * (4 * server.REQUEST_BYTES_MAX) + b" HTTP/1.1\r\n\r\n")
            assert answer(long).startswith(b"HTTP/1.1 400 ")
            send_all(foul, b"\x00\x01\x02\r\n\r\n")
            assert answer(foul).startswith(b"HTTP/1.1 400 ")
        with connected(port, server.CONNECTIONS_MAX + 20) as sockets:
            for sock in sockets[:10]:
                sock.sendall(b"GET /state HTTP/1.1\r\n")
    wait_until(lambda: cluster.page("acceptor-2", "/readyz").status == 200, "it serves again")


@pytest.mark.slow
def test_half_a_page_request_is_given_up(cluster: LocalCluster) -> None:
    port = cluster.configuration.page_port(NodeId("acceptor-2"))
    with undisturbed(cluster), connected(port, 20) as sockets:
        for sock in sockets:
            sock.sendall(b"GET /state HTTP/1.1\r\nHost: x\r\n")
        deadline = time.monotonic() + DEADLINE_S
        for sock in sockets:
            sock.settimeout(max(1.0, deadline - time.monotonic()))
            assert answer(sock) == b""
