"""No reader needs more than linear work: four times the bytes take four times the steps.

Steps are lines of this project's code that Python carries out, and bytes that are checksummed:
counts, the same on every machine. What C code does inside one step (hiredis, msgspec, h11, re) is
linear by its own promises, or bounded by limits that are tested where they stand.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from paxos.core.errors import RemoteProtocolError
from paxos.doors.resp_inline import split_line
from paxos.doors.resp_reader import CommandReader
from paxos.storage import segment
from paxos.storage.segment import ALIGNMENT, find_later_group, pack_group_head, read_group
from paxos.transport.framing import FrameReader, frame
from paxos.web.queries import BadQuery, log_query

from .corpus import SOURCES

SLACK = 200
"""Steps that do not depend on the size."""


def lines_of(work: Callable[[], object]) -> int:
    """Return how many lines of this project a piece of work takes."""
    count = 0

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        return on_line if frame.f_code.co_filename.startswith(str(SOURCES)) else None

    def on_line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return on_line

    tracing = sys.gettrace()
    sys.settrace(on_call)
    try:
        work()
    finally:
        sys.settrace(tracing)
    return count


def in_pieces(size: int, data: bytes, take: Callable[[bytes], object]) -> None:
    for at in range(0, len(data), size):
        take(data[at : at + size])


def resp(data: bytes, size: int) -> None:
    in_pieces(size, data, CommandReader(1 << 20).feed)


def frames(data: bytes, size: int) -> None:
    reader = FrameReader(1 << 16)

    def take(data: bytes) -> None:
        try:
            reader.feed(data)
        except RemoteProtocolError:
            return

    in_pieces(size, data, take)


def query(count: int) -> None:
    try:
        log_query([("text", "x" * 100)] + [(f"n{number}", "1") for number in range(count)])
    except BadQuery:
        return


SET = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nabc\r\n"

WORKS: dict[str, Callable[[int], object]] = {
    "RESP commands in one piece": lambda n: resp(SET * n, 1 << 30),
    "RESP commands byte by byte": lambda n: resp(SET * n, 1),
    "RESP commands by the walker": lambda n: resp((SET + b"*0\r\n") * n, 7),
    "inline lines": lambda n: resp(b"SET k 'a b'\r\n" * n, 5),
    "one inline line byte by byte": lambda n: resp(b"a" * 20 * n, 1),
    "one large bulk string": lambda n: resp(b"*1\r\n$65536\r\n" + b"x" * 100 * n, 50),
    "empty commands": lambda n: resp(b"*0\r\n*-1\r\n\r\n" * n, 3),
    "quotes": lambda n: split_line(b'"\\x41\\n" ' * n),
    "an open quote": lambda n: split_line(b'"' + b"\\" * 10 * n),
    "frames in one piece": lambda n: frames(frame(b"x" * 30) * n, 1 << 30),
    "frames byte by byte": lambda n: frames(frame(b"x" * 30) * n, 1),
    "one frame byte by byte": lambda n: frames(frame(b"x" * 30 * n)[:-1], 1),
    "a query": query,
}


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_work_is_linear_when_there_is_more_to_read(work: Callable[[int], object]) -> None:
    few, many = lines_of(lambda: work(50)), lines_of(lambda: work(200))
    assert 0 < many <= 4 * few + SLACK


def test_checksummed_bytes_are_linear_when_a_torn_group_is_full_of_group_heads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client's value may be nothing but what looks like groups with large tables."""
    summed = 0

    class Counting:
        @staticmethod
        def crc32(data: bytes, seed: int = 0) -> int:
            nonlocal summed
            summed += len(data)
            return zlib.crc32(data, seed)

    rows = [(0, 0, 0)] * 1000
    head = bytearray(pack_group_head(1 << 40, rows, 0, 7))[:ALIGNMENT]
    content = b"torn".ljust(ALIGNMENT, b"\0") + bytes(head) * 200 + bytes(16_000)
    monkeypatch.setattr(segment, "zlib", Counting)
    assert find_later_group(content, 0, 12, 7) is None
    assert summed <= len(content)


def test_later_group_is_found_behind_a_torn_one_and_heads_in_its_value() -> None:
    later = pack_group_head(14, [(3, zlib.crc32(b"abc"), 5)], 3, 7) + b"abc"
    torn = b"torn".ljust(ALIGNMENT, b"\0") + b"PXGR".ljust(ALIGNMENT, b"\xff")
    found = find_later_group(torn + later.ljust(ALIGNMENT, b"\0"), 0, 12, 7)
    assert found == read_group(torn + later, len(torn), 7)
    assert found is not None
    assert found.batch == 14
