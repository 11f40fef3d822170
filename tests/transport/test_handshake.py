from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paxos.core.types import NodeId
from paxos.transport.handshake import (
    Challenge,
    Handshake,
    HandshakeRefused,
    Hello,
    Proof,
    Refusal,
)

A, B, C = (NodeId(f"acceptor-{n}") for n in (1, 2, 3))
SECRET = b"the cluster's secret"


def side(node: NodeId, wanted: NodeId | None = None, **changes: Any) -> Handshake:
    fields: dict[str, Any] = {
        "cluster": "c1",
        "incarnation": 7,
        "secret": SECRET,
        "nonce": node.encode().ljust(16, b"."),
        "acceptors": (A, B, C),
        **changes,
    }
    return Handshake(node=node, wanted=wanted, **fields)


def packed(message: Any) -> bytes:
    return msgspec.msgpack.encode(message)


def shake(dialer: Handshake, listener: Handshake) -> tuple[Any, Any]:
    """Run a whole handshake; return whom each side found."""
    hello = dialer.begin()
    assert listener.begin() is None
    challenge, nobody = listener.receive(packed(hello))
    assert nobody is None
    proof, found = dialer.receive(packed(challenge))
    nothing, finder = listener.receive(packed(proof))
    assert nothing is None
    return found, finder


def refuses(handshake: Handshake, message: Any, reason: str) -> None:
    body = message if isinstance(message, bytes) else packed(message)
    with pytest.raises(HandshakeRefused, match=reason):
        handshake.receive(body)


def hello(**changes: Any) -> Hello:
    message = side(A, B).begin()
    assert message is not None
    return msgspec.structs.replace(message, **changes)


def test_both_sides_find_each_other_when_they_share_the_secret() -> None:
    """handshake.py's ladder."""
    found, finder = shake(side(A, B), side(B, incarnation=9))
    assert (found.node, found.cluster, found.incarnation) == (B, "c1", 9)
    assert (finder.node, finder.cluster, finder.incarnation) == (A, "c1", 7)


@pytest.mark.parametrize(("one", "other"), [("", "c1"), ("c1", ""), ("", "")])
def test_a_node_without_a_cluster_is_let_in_when_it_proves_itself(one: str, other: str) -> None:
    """DESIGN rule 8: founding nodes have no identity yet."""
    found, finder = shake(side(A, B, cluster=one), side(B, cluster=other))
    assert (found.cluster, finder.cluster) == (other, one)


def test_both_sides_refuse_when_they_are_configured_with_other_acceptors() -> None:
    """DESIGN rule 2: quorums of different sets of acceptors need not intersect."""
    challenge, _ = side(B).receive(packed(hello()))
    refuses(side(B, acceptors=(A,)), hello(), "cluster.acceptors must be the same")
    dialer = side(A, B, acceptors=(A, B))
    dialer.begin()
    refuses(dialer, challenge, "cluster.acceptors must be the same")


def test_the_dialer_refuses_when_the_listener_has_another_secret() -> None:
    """The listener proves itself first: a dialer gives nothing away to a stranger."""
    challenge, _ = side(B, secret=b"another").receive(packed(hello()))
    dialer = side(A, B)
    dialer.begin()
    refuses(dialer, challenge, "secrets differ")


def test_the_listener_refuses_when_the_dialer_has_another_secret() -> None:
    """Nobody gets in without the cluster's secret."""
    listener = side(B)
    listener.receive(packed(hello()))
    refuses(listener, Proof(proof=b"x" * 32), "secrets differ")


def test_a_proof_is_worthless_when_replayed() -> None:
    """handshake.py: "can be neither replayed": fresh nonces on both sides."""
    dialer, listener = side(A, B), side(B)
    first_hello = dialer.begin()
    challenge, _ = listener.receive(packed(first_hello))
    proof, _ = dialer.receive(packed(challenge))
    again = side(B, nonce=b"another nonce...")
    again.receive(packed(first_hello))
    refuses(again, proof, "secrets differ")
    fresh = side(A, B, nonce=b"another nonce...")
    fresh.begin()
    refuses(fresh, challenge, "secrets differ")


def test_a_proof_is_worthless_when_reflected() -> None:
    """handshake.py: "nor reflected": the two sides' proofs are made of different words."""
    dialer, listener = side(A, B), side(B)
    challenge, _ = listener.receive(packed(dialer.begin()))
    assert isinstance(challenge, Challenge)
    refuses(listener, Proof(proof=challenge.proof), "secrets differ")


def test_a_hello_is_worthless_when_reflected() -> None:
    """A node does not take itself for a peer."""
    refuses(side(A), hello(wanted=A), "not the name of another node")


@pytest.mark.parametrize("name", ["acceptor-9", "acceptor-99.12", "learner-7", "proposer-1"])
def test_a_node_that_no_configuration_names_is_let_in_when_it_knows_the_secret(name: str) -> None:
    """DESIGN rule 11: who is a member is for the log to say, and may change at any time."""
    found, finder = shake(side(NodeId(name), B), side(B))
    assert (found.node, finder.node) == (B, name)


@pytest.mark.parametrize(
    "name",
    [
        "acceptor-0",
        "acceptor-100",
        "acceptor-01",
        "acceptor-2.0",
        "acceptor-2.x",
        "acceptor-2.",
        "acceptor-²",
        "learner-1.1",
        "discovery-1",
        "acceptor",
        "nobody-1",
        "",
        "acceptor-1 ",
        "x" * 99,
    ],
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """DESIGN rule 10; only acceptors have later lives, numbers are 1 to 99."""
    refuses(side(B), hello(node=name), "is not the name of another node")


def test_a_later_life_answers_when_an_earlier_one_is_wanted() -> None:
    """A node that was away for long knows the founding alone: it must meet somebody who knows."""
    later = NodeId("acceptor-2.3")
    found, finder = shake(side(A, B), side(later))
    assert (found.node, finder.node) == (later, A)
    refuses(side(B), hello(wanted=later), "this is acceptor-2, not acceptor-2.3")
    refuses(side(NodeId("acceptor-2.2")), hello(wanted=later), "not acceptor-2.3")
    refuses(side(later), hello(wanted=C), "this is acceptor-2.3, not acceptor-3")
    challenge, _ = side(B).receive(packed(hello()))
    dialer = side(A, later)
    dialer.begin()
    refuses(dialer, challenge, "acceptor-2 answered in place of acceptor-2.3")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"wanted": C}, "this is acceptor-2, not acceptor-3"),
        ({"node": "acceptor-9.0"}, "acceptor-9.0 is not the name of another node"),
        ({"node": B}, "not the name of another node"),
        ({"version": 2}, "handshake version 2 is not 1"),
        ({"cluster": "c2"}, "acceptor-1 belongs to cluster c2, acceptor-2 to c1"),
        ({"acceptors": (A, B)}, "configured with 2 acceptors, acceptor-2 with 3"),
        ({"nonce": b"short"}, "nonce of the wrong length"),
        ({"nonce": b""}, "nonce of the wrong length"),
    ],
)
def test_a_hello_is_refused_when_something_is_wrong_with_it(
    changes: dict[str, Any], reason: str
) -> None:
    """DESIGN rules 8 and 10."""
    refuses(side(B), hello(**changes), reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"node": C}, "acceptor-3 answered in place of acceptor-2"),
        ({"version": 0}, "handshake version 0"),
        ({"cluster": "c2"}, "belongs to cluster c2"),
        ({"acceptors": (A, B, "acceptor-4")}, "acceptors must be the same"),
        ({"nonce": b"x" * 17}, "nonce of the wrong length"),
        ({"proof": b""}, "secrets differ"),
        ({"incarnation": 8, "nonce": b"other nonce....."}, "secrets differ"),
    ],
)
def test_a_challenge_is_refused_when_something_is_wrong_with_it(
    changes: dict[str, Any], reason: str
) -> None:
    """A man in the middle can change nothing that counts."""
    dialer = side(A, B)
    challenge, _ = side(B).receive(packed(dialer.begin()))
    refuses(dialer, msgspec.structs.replace(challenge, **changes), reason)


def test_a_message_is_refused_when_it_is_out_of_turn() -> None:
    """STYLE: transition tables; what is not allowed is refused."""
    challenge, _ = side(B).receive(packed(hello()))
    refuses(side(B), Proof(proof=b"x"), "Proof is out of turn")
    refuses(side(B), challenge, "Challenge is out of turn")
    dialer = side(A, B)
    dialer.begin()
    refuses(dialer, hello(), "Hello is out of turn")
    refuses(dialer, Proof(proof=b"x"), "Proof is out of turn")
    refuses(side(A, B), challenge, "in place of|out of turn")
    listener = side(B)
    listener.receive(packed(hello()))
    refuses(listener, hello(), "Hello is out of turn")


def test_a_reason_is_sent_before_closing_when_the_other_side_is_at_fault() -> None:
    """STYLE: remote errors say why; and a refusal is not answered by a refusal."""
    with pytest.raises(HandshakeRefused) as refused:
        side(B).receive(packed(hello(version=9)))
    assert refused.value.reply == Refusal(reason="handshake version 9 is not 1")
    with pytest.raises(HandshakeRefused, match="refuses: because") as refused:
        side(B).receive(packed(Refusal(reason="because")))
    assert refused.value.reply is None


def test_a_reason_is_cut_when_the_other_side_rambles() -> None:
    """DESIGN rule 10: nothing from outside fills our log."""
    with pytest.raises(HandshakeRefused) as refused:
        side(B).receive(packed(Refusal(reason="x" * 4000)))
    assert len(str(refused.value)) < 300


@given(st.binary(max_size=200))
@example(b"\x91\xa3\x00\x00\x80")  # a tag that is not UTF-8
@example(b"\x92\xa7refusal\xa1\xff")  # a text that is not UTF-8
@example(b"\x93\xa7refusal\xa1x" + b"\x91" * 4000 + b"\xc0")  # nested deeper than the stack
def test_random_bytes_are_refused_when_they_are_no_handshake(body: bytes) -> None:
    """DESIGN rule 10: any bytes at all end in a refusal, never in another error."""
    for handshake in (side(B), side(A, B)):
        handshake.begin()
        with pytest.raises(HandshakeRefused):
            handshake.receive(body)


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=255))
def test_a_handshake_fails_when_any_byte_of_the_proof_is_changed(place: int, byte: int) -> None:
    """An HMAC-SHA-256 over every word that was spoken."""
    dialer, listener = side(A, B), side(B)
    challenge, _ = listener.receive(packed(dialer.begin()))
    proof, _ = dialer.receive(packed(challenge))
    assert isinstance(proof, Proof)
    changed = bytearray(proof.proof)
    changed[place % len(changed)] ^= byte
    if byte:
        refuses(listener, Proof(proof=bytes(changed)), "secrets differ")
    else:
        assert listener.receive(packed(Proof(proof=bytes(changed))))[1] is not None
