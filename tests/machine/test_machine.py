"""The machine as a whole: slots, what cannot be decoded, limits, and that replicas agree."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxos.core.errors import InvariantViolation
from paxos.core.messages import Batch, Envelope, OpenSession, Prepare, Results
from paxos.core.types import Ballot, NodeId, Slot
from paxos.machine.machine import Machine

encode = msgspec.msgpack.encode


@pytest.mark.parametrize("slot", [0, 1, 3, -1])
def test_apply_refuses_a_slot_out_of_turn(log, slot):
    """Nothing is applied past a gap, and nothing twice (DESIGN rule 5)."""
    before = log.machine.digest()
    with pytest.raises(InvariantViolation, match=f"slot {slot} "):
        log.machine.apply(Slot(slot), b"")
    assert log.machine.digest() == before


def test_no_op_moves_the_slot_and_nothing_else(log):
    log.do("SET k v")
    before = log.machine.status()
    assert log.decide_value(b"") == []
    assert log.decide() == []
    assert log.machine.status() == msgspec.structs.replace(before, applied=before.applied + 2)


@pytest.mark.parametrize(
    "value",
    [
        b"\xc1",
        b"\x00",
        b"novo valor",
        b"\x91" * 5000,
        encode([1]),
        encode([1, [], 3]),
        encode(["x", []]),
        encode([1, ["text"]]),
        encode([1, [b"a"], None]),
        encode([1, []])[:-1] + b"\x91" * 5000,
        encode([1, []]) + b"x",
        encode(1.5),
    ],
)
def test_value_that_cannot_be_decoded_is_a_no_op(log, value):
    log.do("SET k v")
    before = log.machine.status()
    assert log.decide_value(value) == []
    assert log.machine.status() == msgspec.structs.replace(before, applied=before.applied + 1)
    assert log.do("GET k") == b"v"


def test_batch_that_cannot_be_decoded_is_passed_over(log):
    good = encode(log.batch(1, [b"SET", b"k", b"v"]))
    bad = [
        b"",
        b"\xc1",
        good[:-1],
        good + b"\x00",
        bytes([good[0] + 1]) + good[1:] + b"\x91" * 5000 + b"\xc0",
        good.replace(b"client-1", b"client\xff1"),
        encode(Prepare(ballot=Ballot(101), first=Slot(1), last=Slot(0))),
        encode(["b", 1, 2, 3, 4, 5]),
        encode({"b": 1}),
    ]
    outcomes = log.decide_value(encode(Envelope(time_ms=1, batches=[*bad, good, *bad])))
    assert len(outcomes) == 1
    assert isinstance(outcomes[0][1], Results)
    log.sequence = 1
    assert log.do("GET k") == b"v"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=60), st.binary(max_size=60), st.integers(0, 200))
def test_no_bytes_can_stop_the_machine(new_log, value, part, commands, cut):
    log = new_log()
    batch = Batch(
        gateway=NodeId("client-1"),
        session=log.session,
        sequence=1,
        acknowledged=0,
        commands=commands,
    )
    whole = encode(Envelope(time_ms=1, batches=[part, encode(batch)]))
    for data in (value, whole[:cut] + part, encode(Envelope(time_ms=1, batches=[value]))):
        log.decide_value(data)
    outcomes = log.decide_value(whole)
    assert outcomes[-1][0] == "client-1"
    assert isinstance(outcomes[-1][1], Results)


def test_read_changes_nothing(log):
    log.run([b"SET", b"k", b"v", b"PX", b"50"], [b"WRITE", b"x"])
    before = log.machine.digest()
    names = [b"GET", b"EXISTS", b"TTL", b"PTTL", b"TYPE", b"STRLEN", b"MGET", b"KEYS", b"REVISION"]
    commands = [[name, b"k"] for name in names] + [[b"SCAN", b"0"], [b"READ"], [b"DBSIZE"]]
    replies = log.machine.read(commands, log.now_ms + 10_000)
    assert replies == [
        b"v",
        1,
        0,
        1,
        "string",
        1,
        [b"v"],
        [b"k"],
        1,
        [b"0", [b"k"]],
        [[log.machine.applied, b"x"]],
        1,
    ]
    assert log.machine.digest() == before
    assert log.machine.next_deadline_ms == log.now_ms + 50


def test_results_of_a_batch_are_bounded(new_log):
    """A small batch cannot ask for any amount of data."""
    log = new_log(results_bytes_max=1000)
    log.do("SET k " + "x" * 400)
    get = [b"GET", b"k"]
    text = "ERR the reply would take more than 1000 bytes; ask for less"
    value = b"x" * 400
    assert log.run(get, get, get, [b"STRLEN", b"k"]) == [value, value, {"error": text}, 400]
    assert log.machine.read([get, [b"MGET", b"k", b"k", b"k"], get], 0) == [
        value,
        {"error": text},
        value,
    ]
    text = "ERR it took effect, but its reply would take more than 1000 bytes"
    assert log.run([b"EXEC", [], [get, get, get, [b"SET", b"k", b"1"]]], [b"GET", b"k"]) == [
        {"error": text},
        b"1",
    ]


def test_status_counts(log):
    log.run([b"SET", b"k", b"v"], [b"WRITE", b"x"], [b"WRITE", b"y"])
    status = log.machine.status()
    assert msgspec.structs.asdict(status) == {
        "applied": 2,
        "revision": 3,
        "keys": 1,
        "values": 2,
        "sessions": 1,
        "now_ms": log.now_ms,
    }
    assert (log.machine.applied, log.machine.revision, log.machine.now_ms) == (2, 3, log.now_ms)


def history(new_log) -> list[bytes]:
    """Return a log that has something of everything."""
    log = new_log()
    for number in range(60):
        log.now_ms += number % 7
        log.run(
            *(
                [b"SET", b"key:%d" % (number * at % 41), b"%d" % at, b"PX", b"%d" % (at * 9 + 1)]
                for at in range(1, 8)
            ),
            [b"SET", b"stable:%d" % number, b"x"],
            [b"DEL", b"stable:%d" % (number // 2)],
            [b"WRITE", b"value %d" % number],
            [b"SCAN", b"0"],
            [b"EXEC", [[b"n", 0]], [[b"INCR", b"n"], [b"KEYS", b"*"]]],
        )
        log.decide(OpenSession(gateway=NodeId(f"client-{number % 5 + 2}"), nonce=number))
        log.decide_value(b"junk")
    return log.values


def replay(values: list[bytes]) -> Machine:
    machine = Machine()
    for slot, value in enumerate(values, start=1):
        machine.apply(Slot(slot), value)
    return machine


def test_replicas_agree_when_they_applied_the_same_log(new_log):
    values = history(new_log)
    first, second = replay(values), replay(values)
    assert first.digest() == second.digest()
    assert first.status() == second.status()
    second.apply(Slot(len(values) + 1), b"")
    assert first.digest() != second.digest()


def test_replicas_agree_when_one_was_asked_and_the_other_not(new_log):
    """Reads, deadlines and snapshots leave no trace."""
    values = history(new_log)
    asked = Machine()
    for slot, value in enumerate(values, start=1):
        asked.apply(Slot(slot), value)
        asked.read([[b"KEYS", b"*"], [b"TTL", b"key:1"], [b"SET", b"k", b"v"]], 10**15)
        _ = asked.next_deadline_ms
        asked.status()
    assert asked.digest() == replay(values).digest()


PROGRAM = """
import sys, msgspec
from paxos.machine.machine import Machine
machine, outcomes = Machine(), []
for slot, value in enumerate(msgspec.msgpack.decode(sys.stdin.buffer.read()), start=1):
    outcomes += machine.apply(slot, value)
import hashlib
print(machine.digest(), hashlib.sha256(msgspec.msgpack.encode(outcomes)).hexdigest())
"""


def test_replicas_agree_whatever_their_hash_seed(new_log):
    data = encode(history(new_log))
    answers = set()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            input=data,
            env=environment,
            capture_output=True,
            check=True,
            timeout=60,
        )
        answers.add(ended.stdout)
    assert len(answers) == 1
    assert answers.pop().split()[0].decode() == replay(msgspec.msgpack.decode(data)).digest()


@pytest.mark.parametrize(
    "line", ["SET k w", "SET other v", "EXPIRE k 100", "WRITE v", "GET k", "DEL k"]
)
def test_digest_differs_when_anything_differs(new_log, line):
    one, two = new_log(), new_log()
    for log in (one, two):
        log.do("SET k v")
    one.do(line)
    two.do("GET nope")
    assert one.machine.digest() != two.machine.digest()
