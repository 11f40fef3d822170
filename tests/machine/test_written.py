"""WRITE and READ: the list of values."""

from __future__ import annotations

import pytest


def test_write_answers_the_slot_that_chose_it(log):
    first = log.do("WRITE a")
    assert first == log.machine.applied
    assert log.run([b"WRITE", b"b"], [b"WRITE", b"novo valor"]) == [first + 1, first + 1]
    assert log.ask("READ") == [[first, b"a"], [first + 1, b"b"], [first + 1, b"novo valor"]]
    assert log.machine.revision == 3
    assert log.machine.status().values == 3


def test_read_is_empty_at_the_beginning(log):
    assert log.ask("READ") == []


def test_read_from_and_limit(log):
    slots = [log.do(f"WRITE {number}") for number in range(5)]
    pairs = [[slot, b"%d" % number] for number, slot in enumerate(slots)]
    assert log.ask(f"READ FROM {slots[2]}") == pairs[2:]
    assert log.ask("READ LIMIT 2") == pairs[:2]
    assert log.ask(f"READ from {slots[1]} limit 2") == pairs[1:3]
    assert log.ask("READ LIMIT 0") == []
    assert log.ask("READ FROM -5 LIMIT 100") == pairs
    assert log.ask(f"READ FROM {slots[-1] + 1}") == []


def test_read_from_a_slot_between_two_that_wrote(log):
    log.do("WRITE a")
    log.do("SET k v")
    second = log.do("WRITE b")
    assert log.ask(f"READ FROM {second - 1}") == [[second, b"b"]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("bogus 1", "ERR syntax error"),
        ("FROM", "ERR syntax error"),
        ("1", "ERR syntax error"),
        ("FROM x", "ERR value is not an integer or out of range"),
        ("LIMIT 1.5", "ERR value is not an integer or out of range"),
        ("LIMIT -1", "ERR LIMIT can't be negative"),
    ],
)
def test_read_errors(log, arguments, text):
    assert log.ask(f"READ {arguments}") == {"error": text}
