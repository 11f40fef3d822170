from __future__ import annotations

import pytest

from paxos.core.messages import Book, Registration
from paxos.core.types import NodeId
from paxos.runtime.addresses import Addresses

A1 = NodeId("acceptor-1")
CONFIGURED = {A1: ("configured", 17001)}


def book(host: str, port: int = 17001) -> Book:
    entry = Registration(node=A1, host=host, peer_port=port, page_port=8004, incarnation=1)
    return Book(entries=[entry])


def test_the_configured_address_is_tried_when_discovery_said_nothing() -> None:
    """DESIGN rule 2: with discovery down the cluster goes on working."""
    assert Addresses(CONFIGURED.__getitem__).of(A1) == [("configured", 17001)]


def test_the_configured_address_is_tried_first_when_discovery_says_another() -> None:
    """DESIGN rule 2: or lying."""
    addresses = Addresses(CONFIGURED.__getitem__)
    addresses.learn(book("told", 9))
    assert addresses.of(A1) == [("configured", 17001), ("told", 9)]


def test_an_address_is_tried_once_when_both_say_the_same() -> None:
    addresses = Addresses(CONFIGURED.__getitem__)
    addresses.learn(book("configured"))
    assert addresses.of(A1) == [("configured", 17001)]


def test_what_was_told_is_forgotten_when_a_newer_book_lacks_it() -> None:
    """Entries expire."""
    addresses = Addresses(CONFIGURED.__getitem__)
    addresses.learn(book("told"))
    addresses.learn(Book(entries=[]))
    assert addresses.of(A1) == [("configured", 17001)]


def test_a_stranger_has_no_address_when_only_discovery_knows_it() -> None:
    """DESIGN rule 2: membership is configured."""
    addresses = Addresses(CONFIGURED.__getitem__)
    with pytest.raises(KeyError):
        addresses.of(NodeId("acceptor-9"))


def test_what_discovery_says_is_ignored_when_every_link_passes_a_proxy() -> None:
    """Else a partition made by the proxy would be one that links lead around."""
    addresses = Addresses(CONFIGURED.__getitem__, by_book=False)
    addresses.learn(book("told", 9))
    assert addresses.of(A1) == [("configured", 17001)]
