"""Which configuration is in force: as a slot holds it, as a node knows it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.core.builders import (
    A1,
    A2,
    A3,
    A4,
    A31,
    ACCEPTORS,
    C1,
    DISCOVERY,
    L1,
    P1,
    configuration,
    envelope,
    members,
    opening,
)

from paxos.core.configuring import MARK, View, change_in, members_of, membership_of, packed
from paxos.core.messages import Change, Members
from paxos.core.types import NodeId
from paxos.sim.world import membership_of as founded_with

FOUNDING = founded_with()


# ---------------------------------------------------------------- in a slot


def test_a_change_comes_back_from_a_slot_when_it_was_packed() -> None:
    """ADR 0003: "a change is a value of its own in the log"."""
    addresses = {A4: ("host-4", 7104, 8104)}
    change = Change(
        epoch=3, members=msgspec.structs.replace(members((A1, A2, A4)), addresses=addresses)
    )
    assert change_in(packed(change)) == change


@pytest.mark.parametrize("value", [b"", envelope(), opening(C1), b"\xc0", b"\x00" + MARK])
def test_no_change_is_found_when_a_slot_holds_anything_else(value: bytes) -> None:
    """DESIGN "What goes wrong": no control commands smuggled inside user data. The mark is a byte
    with which no envelope begins.
    """
    assert value[:1] != MARK
    assert change_in(value) is None


def hostile(acceptors: object = ACCEPTORS, addresses: object = {}) -> bytes:
    """Return a marked value whose members are as no leader would propose them."""
    rest = msgspec.to_builtins(members())[1:4]
    return MARK + msgspec.msgpack.encode([1, [acceptors, *rest, addresses]])


def no_members(acceptors: tuple[str, ...]) -> Change:
    return Change(epoch=1, members=members(tuple(NodeId(a) for a in acceptors)))


@pytest.mark.parametrize(
    "acceptors",
    [(), (A1, A1), (A1, A1 + ".1"), (A1, P1), ("acceptor-0",), ("acceptor-100",), ("acceptor-x",)],
)
def test_no_change_is_found_when_its_members_are_no_membership(acceptors: tuple[str, ...]) -> None:
    """STYLE: configuration validates itself; a slot that says otherwise changes nothing."""
    assert change_in(packed(no_members(acceptors))) is None


@pytest.mark.parametrize(
    "value",
    [
        MARK,
        MARK + b"\xc1",
        MARK + b"\x91" * 100_000,
        packed(Change(epoch=1, members=members())).replace(MARK + b"\x92", MARK + b"\x93")
        + b"\x91" * 100_000
        + b"\x90",
        hostile(acceptors=[1, 2, 3]),
        hostile(acceptors=None),
        hostile(addresses={"acceptor-4": ["host", "port", 1]}),
        hostile(addresses={"acceptor-4": ["host", 1]}),
        hostile(addresses={"acceptor-4": ["", 1, 1]}),
        hostile(addresses={"acceptor-4": ["h" * 254, 1, 1]}),
        hostile(addresses={"acceptor-4": ["host", 0, 1]}),
        hostile(addresses={"acceptor-4": ["host", 1, 65_536]}),
        packed(Change(epoch=1, members=members())) + b"\x00",
        packed(Change(epoch=1, members=members()))[:-1],
    ],
)
def test_no_change_is_found_when_the_bytes_are_hostile(value: bytes) -> None:
    """DESIGN rule 10: bytes from outside are checked before they are used. Every learner applies
    the same slot: one that fell over here would take all of them along.
    """
    assert change_in(value) is None


@given(st.binary(max_size=200))
@example(packed(Change(epoch=1, members=members()))[1:])
def test_what_is_found_is_a_membership_when_bytes_are_random(tail: bytes) -> None:
    """DESIGN rule 10: none falls over, and what is found can be used."""
    change = change_in(MARK + tail)
    if change is not None:
        assert membership_of(change.members, DISCOVERY).quorum_size > 0


def test_members_of_a_founding_are_a_membership_again_when_taken_back() -> None:
    """The founding is epoch 0, in the same form as every later one."""
    assert membership_of(members_of(FOUNDING), FOUNDING.discovery) == FOUNDING


# ---------------------------------------------------------------- known to a node


def test_the_founding_is_in_force_when_nothing_else_is_known() -> None:
    """configuring.View: "that of the founding has epoch 0"."""
    view = View(FOUNDING)
    assert (view.epoch, view.slot, view.ballot) == (0, 0, 0)
    assert view.membership is FOUNDING
    assert view.configuration.members == members()


def test_a_newer_configuration_is_in_force_when_it_is_adopted() -> None:
    """DESIGN rule 2: quorums come from the configuration that the log decided."""
    view = View(FOUNDING)
    assert view.adopt(configuration(2, 9, 303, acceptors=(A1, A2, A3, A4)))
    assert (view.epoch, view.slot, view.ballot) == (2, 9, 303)
    assert view.membership.acceptors == (A1, A2, A3, A4)
    assert view.membership.quorum_size == 3
    assert view.membership.discovery == FOUNDING.discovery


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_configuration_is_ignored_when_it_is_no_newer(epoch: int) -> None:
    """messages.Change: "where its epoch is above the one in force"."""
    view = View(FOUNDING, configuration(2, 9))
    known = view.configuration
    assert not view.adopt(configuration(epoch, 12, acceptors=(A1, A2)))
    assert view.configuration is known
    assert view.membership.acceptors == ACCEPTORS


def test_the_configuration_of_an_earlier_life_is_in_force_when_a_node_starts() -> None:
    """effects.Recovered: the newest configuration that was known here."""
    view = View(FOUNDING, configuration(4, 40, acceptors=(A1, A2, A31)))
    assert (view.epoch, view.membership.acceptors) == (4, (A1, A2, A31))


def test_a_node_is_left_alone_when_a_configuration_is_no_membership() -> None:
    """View.adopt: "it came over a link, and no log decided it"."""
    view = View(FOUNDING)
    assert not view.adopt(configuration(1, acceptors=()))
    assert (view.epoch, view.membership) == (0, FOUNDING)


def test_a_successor_is_named_when_another_has_the_place() -> None:
    """types.NodeId: the second life of acceptor-3 has its place, its ports, its volume."""
    view = View(FOUNDING, configuration(1, acceptors=(A1, A2, A31)))
    assert view.successor(A3) == A31
    assert view.successor(A31) is None
    assert view.successor(A4) is None
    assert view.successor(L1) is None


def test_members_without_addresses_are_those_of_the_founding() -> None:
    """messages.Members: only those that were added since need an address."""
    assert members_of(FOUNDING) == Members(
        acceptors=FOUNDING.acceptors,
        proposers=FOUNDING.proposers,
        learners=FOUNDING.learners,
        gateways=FOUNDING.gateways,
    )
