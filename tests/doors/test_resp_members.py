"""MEMBER at the door: what reaches the gateway, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from paxos.core.effects import ClientChange, ClientReads


class Clerk:
    """A gateway that is asked for changes, and answers when the test says so."""

    def __init__(self, house: Any) -> None:
        self.house = house
        self.events: list[ClientChange] = []
        self._others = house.gateway.submit
        house.gateway.submit = self.submit

    def submit(self, event: Any) -> None:
        if isinstance(event, ClientChange):
            self.events.append(event)
        else:
            self._others(event)

    def answer(self, reply: Any) -> None:
        self.house.door.deliver(self.events[-1].connection, [reply])


def test_a_change_is_asked_of_the_gateway_and_its_answer_is_written(
    house: Callable[..., Any],
) -> None:
    made = house()
    clerk, talk = Clerk(made), made.talk()
    assert talk.say(b"member add acceptor-4 10.0.0.7 17011 8011\r\n") == b""
    clerk.answer(1)
    assert talk.heard() == b":1\r\n"
    talk.say(b"MEMBER ADD acceptor-2.1\r\n")
    clerk.answer({"error": "UNAVAILABLE acceptor-2.1 has not joined yet"})
    assert talk.heard() == b"-UNAVAILABLE acceptor-2.1 has not joined yet\r\n"
    talk.say(b"MEMBER REMOVE learner-2\r\n")
    clerk.answer(2)
    assert talk.heard() == b":2\r\n"
    number = clerk.events[0].connection
    assert clerk.events == [
        ClientChange(
            connection=number, add=True, node="acceptor-4", address=("10.0.0.7", 17011, 8011)
        ),
        ClientChange(connection=number, add=True, node="acceptor-2.1"),
        ClientChange(connection=number, add=False, node="learner-2"),
    ]


def test_a_change_goes_to_the_gateway_behind_what_was_said_before(
    house: Callable[..., Any],
) -> None:
    made = house(at_once=False)
    clerk, talk = Clerk(made), made.talk()
    assert talk.say(b"GET k\r\nMEMBER REMOVE learner-2\r\nPING\r\n") == b""
    assert [type(event) for event in made.gateway.events] == [ClientReads]
    assert len(clerk.events) == 1
    made.gateway.pump()
    clerk.answer(7)
    assert talk.heard() == b"$-1\r\n:7\r\n+PONG\r\n"


def test_the_members_are_told_as_the_gateway_knows_them(house: Callable[..., Any]) -> None:
    made = house()
    told = made.talk().say(b"MEMBER LIST\r\n")
    assert msgspec.json.decode(told.split(b"\r\n")[1]) == made.gateway.members()
    assert b"REMOVE <node>" in made.talk().say(b"MEMBER HELP\r\n")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (b"MEMBER", b"wrong number of arguments for 'member' command"),
        (b"MEMBER KICK", b"unknown subcommand 'KICK'. Try MEMBER HELP."),
        (b"MEMBER LIST all", b"wrong number of arguments for 'member|list' command"),
        (b"MEMBER ADD", b"wrong number of arguments for 'member|add' command"),
        (b"MEMBER ADD acceptor-4 here", b"wrong number of arguments for 'member|add' command"),
        (b"MEMBER REMOVE a b", b"wrong number of arguments for 'member|remove' command"),
    ],
)
def test_a_change_is_refused_at_the_door_when_it_makes_no_sense(
    house: Callable[..., Any], words: bytes, error: bytes
) -> None:
    """DESIGN rule 10: every byte from outside is checked before it is used."""
    made = house()
    clerk, talk = Clerk(made), made.talk()
    assert talk.say(words + b"\r\n") == b"-ERR " + error + b"\r\n"
    assert clerk.events == []


@pytest.mark.parametrize(
    "name",
    [
        b"discovery",
        b"acceptor",
        b"acceptor-0",
        b"acceptor-100",
        b"learner-1.1",
        b"acceptor-1.0",
        b"acceptor-\xc2\xb2",
        b"nobody-1",
        b"acceptor-4x",
    ],
)
def test_a_name_that_is_none_is_refused_at_the_door(house: Callable[..., Any], name: bytes) -> None:
    made = house()
    clerk, talk = Clerk(made), made.talk()
    for subcommand in (b"ADD", b"REMOVE"):
        told = talk.say(b"MEMBER " + subcommand + b" " + name + b"\r\n")
        assert told.startswith(b"-ERR the name of an acceptor")
    assert clerk.events == []


@pytest.mark.parametrize("address", [b"a/b 1 2", b"host 0 2", b"host 1 65536", b"host x 2"])
def test_an_address_that_is_none_is_refused_at_the_door(
    house: Callable[..., Any], address: bytes
) -> None:
    made = house()
    clerk, talk = Clerk(made), made.talk()
    assert talk.say(b"MEMBER ADD acceptor-4 " + address + b"\r\n").startswith(b"-ERR a host of")
    assert clerk.events == []


def test_a_change_is_refused_inside_a_transaction_and_before_the_password(
    house: Callable[..., Any],
) -> None:
    made = house(password="secret")
    clerk, talk = Clerk(made), made.talk()
    assert talk.say(b"MEMBER LIST\r\n").startswith(b"-NOAUTH ")
    talk.say(b"AUTH secret\r\nMULTI\r\n")
    assert b"not allowed inside a transaction" in talk.say(b"MEMBER REMOVE learner-2\r\n")
    assert clerk.events == []
