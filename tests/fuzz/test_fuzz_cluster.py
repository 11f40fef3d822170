"""The kept corpus thrown at every port of a running cluster: no node ends, hangs or grows."""

from __future__ import annotations

import errno
import itertools
import socket
from collections.abc import Iterator

import pytest
from tests.system.cluster import HOST, LocalCluster

from paxos.core.types import NodeId, Role

from . import corpus, http_target, peer_target
from .inputs import Target, unpack
from .targets import TARGETS

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

MIB = 1024 * 1024

GROWTH_BYTES_MAX = 32 * MIB
"""What a node may grow by while its ports are bombarded: the same that the tests of bad input
allow for garbage that is refused as it comes. All inputs together have less than one of these."""

ANSWER_S = 20.0
"""How long a node may take to close a connection whose client will say no more."""


def bodies(name: str) -> Iterator[tuple[Target, int, bytes, list[bytes]]]:
    """Yield the streams of a target's seeds and corpus: mode, body, chunks."""
    target = TARGETS[name]
    for data in (*target.seeds(), *corpus.kept(corpus.CORPUS, target)):
        stream = unpack(data)
        if stream.body:
            yield target, stream.mode, stream.body, list(stream.chunks())


CLOSED = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)
"""What a socket says when the other side has closed: the last where it did so before shutdown."""


def throw(port: int, chunks: list[bytes]) -> None:
    """Send some chunks to a port, and hear what comes until it closes."""
    with socket.create_connection((HOST, port), timeout=ANSWER_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for chunk in chunks[:20]:
                sock.sendall(chunk)
            sock.sendall(b"".join(chunks[20:]))
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65_536):
                pass
        except OSError as error:
            if error.errno not in CLOSED:
                raise
            # Closed before all was sent: as good an answer as any.


def throw_all(cluster: LocalCluster) -> int:
    """Throw every input at a port of its kind, each kind at each other one too; count them."""
    configuration = cluster.configuration
    doors = [cluster.door(number) for number in (1, 2)]
    peers = [configuration.address(node)[1] for node in cluster.nodes]
    pages = [configuration.page_port(node) for node in cluster.nodes]
    count = 0
    kinds = (("resp_reader", doors), ("resp_door", doors), ("peer", peers), ("http", pages))
    for name, ports in kinds:
        turn = itertools.cycle(ports)
        others = itertools.cycle([p for p in (*doors, *peers, *pages) if p not in ports])
        for _, mode, body, chunks in bodies(name):
            if name == "peer" and mode % 3 != peer_target.STRANGER:
                chunks = [body]  # what a member would say, from somebody who is none
            if name == "http" and b"follow=1" in body:
                chunks = [body.replace(b"follow=1", b"follow=0")]  # it would never end
            throw(next(turn), chunks)
            throw(next(others), chunks)
            count += 2
    return count


def test_cluster_lives_on_when_the_corpus_is_thrown_at_all_its_ports(
    cluster: LocalCluster,
) -> None:
    client = cluster.redis(1)
    slot = client.execute_command("WRITE", b"before")
    pids = cluster.pids()
    before = cluster.memory()
    cluster.forget_peaks()
    assert throw_all(cluster) > 400
    assert cluster.pids() == pids, "no node has ended"
    cluster.wait_until_all_ready()
    grown = {node: peak - before[node] for node, peak in cluster.peaks().items()}
    assert {node: size for node, size in grown.items() if size > GROWTH_BYTES_MAX} == {}
    after = client.execute_command("WRITE", b"after")
    values = dict(cluster.values(number=2))
    assert values[slot] == b"before"
    assert values[after] == b"after"


def test_node_lives_on_when_a_bad_body_follows_a_request_that_is_answered(
    cluster: LocalCluster,
) -> None:
    """Found by fuzzing: one such request used to end any node of the cluster."""
    pids = cluster.pids()
    request = http_target.request("/healthz", "POST", "Transfer-Encoding: chunked\r\n")
    for node in (*cluster.of(Role.ACCEPTOR), NodeId("discovery")):
        port = cluster.configuration.page_port(node)
        with socket.create_connection((HOST, port), timeout=ANSWER_S) as sock:
            sock.sendall(request)
            heard = b""
            while b"\r\n\r\n" not in heard:
                part = sock.recv(65_536)
                assert part, heard
                heard += part
            assert heard.startswith(b"HTTP/1.1 405 ")
            sock.sendall(b"no number\r\n")
            while sock.recv(65_536):
                pass
    assert cluster.pids() == pids
    assert cluster.unready() == []
