from __future__ import annotations

from paxos.core.messages import Book, Registration
from paxos.core.types import NodeId
from paxos.runtime.addresses import Addresses

A1, A9 = NodeId("acceptor-1"), NodeId("acceptor-9")
CONFIGURED = {A1: ("configured", 17001)}


def book(host: str, port: int = 17001) -> Book:
    entry = Registration(node=A1, host=host, peer_port=port, page_port=8004, incarnation=1)
    return Book(entries=[entry])


def test_the_configured_address_is_tried_when_discovery_said_nothing() -> None:
    """DESIGN rule 2: with discovery down the cluster goes on working."""
    assert Addresses(CONFIGURED.get).of(A1) == [("configured", 17001)]


def test_the_configured_address_is_tried_first_when_discovery_says_another() -> None:
    """DESIGN rule 2: or lying."""
    addresses = Addresses(CONFIGURED.get)
    addresses.learn(book("told", 9))
    assert addresses.of(A1) == [("configured", 17001), ("told", 9)]


def test_an_address_is_tried_once_when_both_say_the_same() -> None:
    addresses = Addresses(CONFIGURED.get)
    addresses.learn(book("configured"))
    assert addresses.of(A1) == [("configured", 17001)]


def test_what_was_told_is_forgotten_when_a_newer_book_lacks_it() -> None:
    """Entries expire."""
    addresses = Addresses(CONFIGURED.get)
    addresses.learn(book("told"))
    addresses.learn(Book(entries=[]))
    assert addresses.of(A1) == [("configured", 17001)]


def test_a_stranger_has_no_address() -> None:
    """DESIGN rule 2: neither configured, nor told by the log, nor registered."""
    assert Addresses(CONFIGURED.get).of(A9) == []


def test_a_later_life_is_where_its_place_is() -> None:
    """types.NodeId: a replaced acceptor has the ports of the first."""
    assert Addresses(CONFIGURED.get).of(NodeId("acceptor-1.2")) == [("configured", 17001)]


def test_an_added_node_is_where_the_log_says_when_it_is_not_configured() -> None:
    addresses = Addresses(CONFIGURED.get)
    addresses.adopt({A9: ("added", 9, 8099), A1: ("elsewhere", 1, 8000)})
    assert addresses.of(A9) == addresses.of(NodeId("acceptor-9.1")) == [("added", 9)]
    assert addresses.page_port(NodeId("acceptor-9.1")) == 8099
    assert addresses.of(A1) == [("configured", 17001)]
    addresses.adopt({})
    assert addresses.of(A9) == []
    assert addresses.page_port(A9) is None


def test_an_added_node_may_have_moved_when_discovery_says_so() -> None:
    addresses = Addresses(CONFIGURED.get)
    addresses.adopt({A9: ("added", 9, 8099)})
    entry = Registration(node=A9, host="moved", peer_port=9, page_port=8099, incarnation=1)
    addresses.learn(Book(entries=[entry]))
    assert addresses.of(A9) == [("added", 9), ("moved", 9)]


def test_what_discovery_says_is_ignored_when_every_link_passes_a_proxy() -> None:
    """Else a partition made by the proxy would be one that links lead around."""
    addresses = Addresses(CONFIGURED.get, by_book=False)
    addresses.learn(book("told", 9))
    assert addresses.of(A1) == [("configured", 17001)]
