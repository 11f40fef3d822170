"""BACKUP at the door: what reaches the gateway, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from paxos.core.effects import ClientBackup, ClientBackupPart, ClientReads
from paxos.core.types import Slot


class Keeper:
    """A gateway that is asked for backups, and answers when the test says so."""

    def __init__(self, house: Any) -> None:
        self.house = house
        self.events: list[Any] = []
        self._others = house.gateway.submit
        house.gateway.submit = self.submit

    def submit(self, event: Any) -> None:
        if isinstance(event, ClientBackup | ClientBackupPart):
            self.events.append(event)
        else:
            self._others(event)

    def answer(self, reply: Any) -> None:
        self.house.door.deliver(self.events[-1].connection, [reply])


def test_a_backup_is_asked_of_the_gateway_and_its_answers_are_written(
    house: Callable[..., Any],
) -> None:
    made = house()
    keeper, talk = Keeper(made), made.talk()
    assert talk.say(b"backup begin\r\n") == b""
    keeper.answer([9, 10])
    assert talk.heard() == b"*2\r\n:9\r\n:10\r\n"
    talk.say(b"BACKUP PART 9 0\r\n")
    keeper.answer(b"\x00ten\r\nbytes")
    assert talk.heard() == b"$11\r\n\x00ten\r\nbytes\r\n"
    talk.say(b"BACKUP PART 9 10\r\n")
    keeper.answer(b"")
    assert talk.heard() == b"$0\r\n\r\n"
    number = keeper.events[0].connection
    assert keeper.events == [
        ClientBackup(connection=number),
        ClientBackupPart(connection=number, slot=Slot(9), offset=0),
        ClientBackupPart(connection=number, slot=Slot(9), offset=10),
    ]


def test_a_backup_goes_to_the_gateway_behind_what_was_said_before(
    house: Callable[..., Any],
) -> None:
    made = house(at_once=False)
    keeper, talk = Keeper(made), made.talk()
    assert talk.say(b"GET k\r\nBACKUP BEGIN\r\nPING\r\n") == b""
    assert [type(event) for event in made.gateway.events] == [ClientReads]
    assert len(keeper.events) == 1
    made.gateway.pump()
    keeper.answer({"error": "BUSY another"})
    assert talk.heard() == b"$-1\r\n-BUSY another\r\n+PONG\r\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (b"BACKUP", b"wrong number of arguments for 'backup' command"),
        (b"BACKUP NEVER", b"unknown subcommand 'NEVER'. Try BACKUP HELP."),
        (b"BACKUP BEGIN now", b"wrong number of arguments for 'backup|begin' command"),
        (b"BACKUP PART 9", b"wrong number of arguments for 'backup|part' command"),
        (b"BACKUP PART 9 x", b"value is not an integer or out of range"),
        (b"BACKUP PART -1 0", b"value is not an integer or out of range"),
        (b"BACKUP PART 9 -1", b"value is not an integer or out of range"),
        (b"BACKUP PART 9 99999999999999999999", b"value is not an integer or out of range"),
    ],
)
def test_a_backup_is_refused_at_the_door_when_it_makes_no_sense(
    house: Callable[..., Any], words: bytes, error: bytes
) -> None:
    """DESIGN rule 10: every byte from outside is checked before it is used."""
    made = house()
    keeper, talk = Keeper(made), made.talk()
    assert talk.say(words + b"\r\n") == b"-ERR " + error + b"\r\n"
    assert keeper.events == []


def test_a_backup_is_refused_inside_a_transaction_and_before_the_password(
    house: Callable[..., Any],
) -> None:
    made = house(password="secret")
    keeper, talk = Keeper(made), made.talk()
    assert talk.say(b"BACKUP BEGIN\r\n").startswith(b"-NOAUTH ")
    talk.say(b"AUTH secret\r\nMULTI\r\n")
    assert b"not allowed inside a transaction" in talk.say(b"BACKUP BEGIN\r\n")
    assert keeper.events == []
