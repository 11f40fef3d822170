from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import subprocess
import sys

import pytest

from paxos.core.trace import Level, Trace
from paxos.runtime.logs import (
    FIELD_CHARACTERS_MAX,
    FIELDS_MAX,
    TEXT_CHARACTERS_MAX,
    LogRing,
    render_text,
)


def note(ring: LogRing, text: str = "text", level: Level = Level.INFO, **fields: object) -> None:
    ring.add(Trace(what="thing", text=text, level=level, fields=fields), 1_700_000_000.25)


def texts(ring: LogRing, **wanted: object) -> list[str]:
    return [record.text for record in ring.records(**wanted)]  # type: ignore[arg-type]


def test_the_oldest_records_go_first_when_the_ring_is_full():
    ring = LogRing(capacity=3)
    assert (ring.oldest, ring.newest) == (0, 0)
    for number in range(1, 6):
        note(ring, str(number))

    assert texts(ring) == ["3", "4", "5"]
    assert (ring.oldest, ring.newest) == (3, 5)


def test_a_ring_that_holds_nothing_is_refused():
    with pytest.raises(ValueError, match="0 records"):
        LogRing(capacity=0)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["3", "4", "5", "6"]),
        ({"limit": 2}, ["5", "6"]),
        ({"after": 0}, ["3", "4", "5", "6"]),
        ({"after": 4}, ["5", "6"]),
        ({"after": 3, "limit": 2}, ["4", "5"]),
        ({"after": 6}, []),
        ({"after": 99}, []),
        ({"level": "warning"}, ["4", "6"]),
        ({"level": "warning", "limit": 1}, ["6"]),
        ({"text": "N=5"}, ["5"]),
        ({"text": "THING"}, ["3", "4", "5", "6"]),
        ({"text": "absent"}, []),
    ],
)
def test_records_are_found_by_position_level_and_text(wanted, found):
    ring = LogRing(capacity=4)
    for number in range(1, 7):
        note(ring, str(number), Level.INFO if number % 2 else Level.ERROR, n=number)

    assert texts(ring, **wanted) == found


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="loud"):
        LogRing().records(level="loud")


def test_records_below_the_level_are_neither_kept_nor_printed():
    output = io.BytesIO()
    ring = LogRing(level=Level.WARNING, output=output)
    note(ring, "quiet", Level.INFO)
    note(ring, "loud", Level.ERROR)

    assert texts(ring) == ["loud"]
    assert output.getvalue().count(b"\n") == 1


def test_a_line_of_text_names_time_level_node_and_fields():
    ring = LogRing(node="acceptor-2")
    note(ring, "promised", ballot=301, why='a "b"', to="proposer-1", ok=True)

    assert render_text(ring.records()[0], "acceptor-2") == (
        "2023-11-14T22:13:20.250Z INFO    acceptor-2 = thing: promised "
        'ballot=301 why="a \\"b\\"" to=proposer-1 ok=true'
    )


def test_a_line_of_json_is_one_object():
    output = io.BytesIO()
    ring = LogRing(node="learner-1", style="json", output=output)
    note(ring, "line\nbreak", slot=7)

    line = json.loads(output.getvalue())
    assert (line["node"], line["text"], line["fields"]) == (
        "learner-1",
        "line\\nbreak",
        {"slot": 7},
    )
    assert output.getvalue().count(b"\n") == 1


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\u202eright to left", "\\u202eright to left"),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
        ("olá ✓", "olá ✓"),
    ],
)
def test_what_a_client_sent_cannot_forge_a_line(raw, shown):
    output = io.BytesIO()
    ring = LogRing(output=output)
    note(ring, raw, key=raw)

    record = ring.records()[0]
    assert (record.text, record.fields["key"]) == (shown, shown)
    assert output.getvalue().count(b"\n") == 1


def test_a_record_stays_small_whatever_it_is_given():
    ring = LogRing()
    huge = {
        "bytes": b"\xff" * 10_000_000,
        "string": "x" * 10_000_000,
        "list": ["y" * 100_000] * 1000,
        "map": {"k" * 100_000: "v" * 100_000},
        "number": 10**5000,
        "nan": float("nan"),
        "object": object(),
        **{f"more {number}": number for number in range(100)},
    }
    note(ring, "t" * 1_000_000, **huge)

    record = ring.records()[0]
    assert len(record.text) == TEXT_CHARACTERS_MAX
    assert len(record.fields) == FIELDS_MAX
    assert all(len(str(value)) <= 4 * FIELD_CHARACTERS_MAX for value in record.fields.values())
    assert json.loads(json.dumps(record.fields, allow_nan=False)) == record.fields


def test_waiters_wake_for_a_newer_record_and_leave_nothing_behind():
    async def scene() -> tuple[bool, bool]:
        ring = LogRing()
        note(ring)
        await ring.wait_until_newer(0)
        waiting = asyncio.ensure_future(ring.wait_until_newer(1))
        given_up = asyncio.ensure_future(ring.wait_until_newer(1))
        await asyncio.sleep(0)
        still = waiting.done()
        given_up.cancel()
        note(ring)
        await waiting
        await asyncio.gather(given_up, return_exceptions=True)
        return still, bool(ring._waiting)

    assert asyncio.run(scene()) == (False, False)


class Failing(io.RawIOBase):
    """A stream whose writes fail with the errors it is given, then succeed."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.written: list[bytes] = []

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self.errors:
            raise self.errors.pop(0)
        self.written.append(bytes(data))
        return len(data)


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_a_closed_output_ends_the_printing_and_nothing_else(error):
    output = Failing(error)
    ring = LogRing(output=output)  # type: ignore[arg-type]
    note(ring, "one")
    note(ring, "two")

    assert texts(ring) == ["one", "two"]
    assert output.written == []


def test_a_full_disk_loses_lines_until_there_is_room_again():
    output = Failing(OSError(errno.ENOSPC, "no space left on device"))
    ring = LogRing(output=output)  # type: ignore[arg-type]
    note(ring, "lost")
    note(ring, "printed")

    assert [b"printed" in line for line in output.written] == [True]


CLOSED_AT_START = """
import os, sys
from paxos.core.trace import Trace
from paxos.runtime.logs import LogRing, standard_output
taken = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
ring = LogRing(output=standard_output())
ring.add(Trace(what="what", text="text"), 0.0)
sys.exit(0 if taken == 1 and os.path.getsize(sys.argv[1]) == 0 else 1)
"""


def test_a_file_that_got_the_number_of_a_closed_output_is_not_written_to(tmp_path):
    """Descriptor 1 closed at the start may become the journal's: a log line would ruin it."""
    source = os.path.dirname(os.path.dirname(sys.modules["paxos"].__file__ or ""))
    program = [sys.executable, "-c", CLOSED_AT_START, str(tmp_path / "journal")]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *program],
        env={**os.environ, "PYTHONPATH": source},
        timeout=60,
    )

    assert done.returncode == 0
