"""Events become operations, or an error that names the line."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxos.sim import history
from paxos.sim.history import Event, HistoryError, Writer, encode_line, operations, read_events

INVOKED = '{"process": 1, "type": "invoke", "f": "write", "key": "x", "value": 7, "time": 1.5}'
ANSWERED = '{"process": 1, "type": "ok", "f": "write", "key": "x", "value": 7, "time": 2}'


def test_operation_has_both_ends_when_it_was_answered() -> None:
    (write,) = operations(read_events(f"{INVOKED}\n\n{ANSWERED}\n"))
    assert (write.process, write.f, write.key, write.argument) == (1, "write", "x", 7)
    assert (write.invoked, write.returned, write.outcome) == (1.5, 2.0, "ok")
    assert (write.index, write.began, write.ended) == (0, 0, 1)


def test_operation_is_unknown_when_it_has_no_end() -> None:
    (write,) = operations(read_events(INVOKED))
    assert write.outcome == "info"
    assert write.returned is None
    assert write.place_returned is None


def test_answer_is_kept_apart_from_the_argument() -> None:
    events = [
        Event(process=1, type="invoke", f="append", key="x", value="ab"),
        Event(process=1, type="ok", f="append", key="x", value=5),
        Event(process=1, type="invoke", f="append", key="x", value="ab"),
        Event(process=1, type="ok", f="append", key="x", value="ab"),
        Event(process=1, type="invoke", f="get", key="x"),
        Event(process=1, type="ok", f="get", key="x", value="abab"),
    ]
    first, second, third = operations(events)
    assert (first.argument, first.result) == ("ab", 5)
    assert (second.argument, second.result) == ("ab", None)
    assert (third.f, third.argument, third.result) == ("read", None, "abab")


def test_events_are_taken_by_their_times_when_the_lines_are_not_in_order() -> None:
    events = [
        Event(process=2, type="invoke", f="read", key="x", time=3),
        Event(process=2, type="ok", f="read", key="x", value=7, time=4),
        *read_events(f"{INVOKED}\n{ANSWERED}"),
    ]
    assert [one.process for one in operations(events)] == [1, 2]


def test_written_lines_read_back_the_same() -> None:
    events = [
        Event(process=1, type="invoke", f="cas", key="ключ", value=[None, "\x00\xff"], time=0.25),
        Event(process=1, type="info", f="cas", key="ключ", error="timeout", node="client-1"),
        Event(process=2, type="ok", f="list-read", value=[[1, "a"], [3, 5]], time=9e9),
    ]
    file = io.BytesIO()
    writer = Writer(file)
    for event in events:
        writer.write(event)
    assert file.getvalue() == b"".join(map(encode_line, events))
    assert read_events(file.getvalue().decode()) == events
    assert all(msgspec.json.decode(line) for line in file.getvalue().splitlines())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not an event"),
        ("[]", "not an event"),
        ('{"process": "a", "type": "ok", "f": "read"}', "not an event"),
        ('{"process": 1, "f": "read"}', "not an event"),
        ('{"process": 1, "type": "maybe", "f": "read"}', 'type "maybe"'),
        ('{"process": 1, "type": "ok", "f": "fly"}', 'f "fly"'),
        ("[" * 100_000, "not an event"),
    ],
)
def test_line_is_refused_when_it_is_no_event(line: str, reason: str) -> None:
    with pytest.raises(HistoryError, match=f"line 3: {reason}"):
        read_events(f"{INVOKED}\n{ANSWERED}\n{line}\n")


def event(kind: str, f: str = "read", key: str | None = "x", value: object = None) -> Event:
    return Event(process=1, type=kind, f=f, key=key, value=value)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([event("ok")], "line 1: process 1 ends a read that it has not invoked"),
        ([event("invoke"), event("invoke")], "line 2: process 1 invokes read while its read"),
        ([event("invoke"), event("ok", "write")], "line 2: process 1 ends write x but"),
        ([event("invoke"), event("ok", key="y")], "line 2: process 1 ends read y but"),
        ([event("invoke", "cas", value=3)], "line 1: the value of cas"),
        ([event("invoke", "append", value=3)], "line 1: the value of append"),
        ([event("invoke", "list-read")], "line 1: list-read is about the one list"),
        ([event("invoke", "incr"), event("ok", "incr", value="x")], "line 2: incr answers"),
        (
            [event("invoke", "list-read", None), event("ok", "list-read", None, [["a", 1]])],
            "line 2: list-read answers",
        ),
    ],
)
def test_events_are_refused_when_they_make_no_sense(events: list[Event], reason: str) -> None:
    with pytest.raises(HistoryError, match=reason):
        operations(events)


def test_line_numbers_are_those_of_the_file_when_it_has_empty_lines() -> None:
    events, lines = history.read_numbered_events(f"\n{INVOKED}\n\n{INVOKED}")
    assert lines == [2, 4]
    with pytest.raises(HistoryError, match="line 4: process 1 invokes write while its write of"):
        operations(events, lines)


@settings(max_examples=300, deadline=None)
@given(st.text() | st.lists(st.sampled_from([INVOKED, ANSWERED, "", "{}", "1"])).map("\n".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = operations(read_events(text))
    except HistoryError as refusal:
        told = str(refusal)
    else:
        told = f"line of {len(found)}"
    assert told.startswith("line ")
