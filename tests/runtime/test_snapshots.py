"""A node's slow work on snapshots: a real child, a real thread, real files."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any

from paxos.core.effects import (
    Event,
    PartWritten,
    SnapshotFailed,
    SnapshotInfo,
    SnapshotTaken,
    WritePart,
)
from paxos.core.types import Slot
from paxos.runtime.snapshots import NICENESS, SnapshotWork
from paxos.storage.snapshot_files import SnapshotFiles

DEADLINE_S = 30.0


def slot_of(chunks: Iterable[bytes]) -> Slot:
    """Return the slot that a test's stream begins with."""
    return Slot(int(b"".join(chunks)[:4]))


class Node:
    """What is around the work in a node: files, a state, and who gets the events."""

    def __init__(self, folder: Path) -> None:
        self.files = SnapshotFiles(folder, slot_of, bytes_spare=0)
        self.state: list[bytes] = [b"0007", b"state"]
        self.events: list[Event] = []
        self.happened = asyncio.Event()
        self.work = SnapshotWork(self.files, self.stream, self.submit)

    def stream(self) -> Iterator[bytes]:
        return iter(self.state)

    def submit(self, event: Event) -> None:
        self.events.append(event)
        self.happened.set()

    async def event(self) -> Event:
        """Return the next event."""
        if not self.events:
            self.happened.clear()
            await asyncio.wait_for(self.happened.wait(), DEADLINE_S)
        return self.events.pop(0)

    def close(self) -> None:
        self.work.stop()
        self.files.close()


def run(body: Coroutine[Any, Any, None]) -> None:
    """Run a test's body in a loop of its own."""
    asyncio.run(asyncio.wait_for(body, DEADLINE_S * 2))


def test_a_snapshot_shows_the_state_as_it_stood_when_it_was_asked_for(tmp_path: Path) -> None:
    async def body() -> None:
        node = Node(tmp_path)
        node.work.take(Slot(7))
        node.state[1] = b"later"
        taken = await node.event()
        assert taken == SnapshotTaken(snapshot=SnapshotInfo(slot=Slot(7), size=9))
        assert node.files.newest == SnapshotInfo(slot=Slot(7), size=9)
        assert node.files.read(Slot(7), 0, 100) == b"0007state"
        node.close()

    run(body())


def test_a_second_snapshot_is_refused_while_one_is_being_taken(tmp_path: Path) -> None:
    async def body() -> None:
        node = Node(tmp_path)
        node.work.take(Slot(7))
        node.work.take(Slot(8))
        refused = await node.event()
        assert refused == SnapshotFailed(slot=Slot(8), reason="another one is being taken")
        assert isinstance(await node.event(), SnapshotTaken)
        node.work.take(Slot(7))
        assert isinstance(await node.event(), SnapshotTaken)
        node.close()

    run(body())


def test_a_snapshot_that_cannot_be_written_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        node = Node(tmp_path)
        node.files.taking.mkdir()
        node.work.take(Slot(7))
        failed = await node.event()
        assert failed == SnapshotFailed(slot=Slot(7), reason="Is a directory")
        node.files.taking.rmdir()
        node.state[0] = b"0009"
        node.work.take(Slot(7))
        failed = await node.event()
        assert isinstance(failed, SnapshotFailed)
        assert "is of slot 9" in failed.reason
        assert node.files.newest is None
        assert not node.files.taking.exists()
        node.close()

    run(body())


def test_a_snapshot_whose_child_falls_over_is_said_to_have_failed(tmp_path: Path) -> None:
    async def body() -> None:
        node = Node(tmp_path)
        node.state[1] = "no bytes"  # type: ignore[call-overload]
        node.work.take(Slot(7))
        failed = await node.event()
        assert failed == SnapshotFailed(slot=Slot(7), reason="the child that wrote it failed")
        node.close()

    run(body())


def slow_stream(marker: Path) -> Iterator[bytes]:
    """Yield a stream that says in a file who writes it, and does not end in a test's time."""
    yield b"0007"
    marker.write_text(f"{os.getpid()} {os.nice(0)}", encoding="ascii")
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        yield b"x" * 1024 * 1024
        time.sleep(0.01)


async def child_of(marker: Path) -> tuple[int, int]:
    """Return the child's process and niceness once it writes."""
    deadline = time.monotonic() + DEADLINE_S
    while not (marker.exists() and marker.read_text(encoding="ascii")):
        assert time.monotonic() < deadline, "no child has begun to write"
        await asyncio.sleep(0.01)
    pid, niceness = marker.read_text(encoding="ascii").split()
    return int(pid), int(niceness)


def test_the_child_is_polite_and_ends_when_its_node_stops(tmp_path: Path) -> None:
    async def body() -> None:
        folder, marker = tmp_path / "volume", tmp_path / "marker"
        folder.mkdir()
        node = Node(folder)
        node.work = SnapshotWork(node.files, lambda: slow_stream(marker), node.submit)
        node.work.take(Slot(7))
        pid, niceness = await child_of(marker)
        assert niceness == os.nice(0) + NICENESS
        node.close()
        assert not Path(f"/proc/{pid}").exists()
        assert node.events == []

    run(body())


def test_the_child_holds_no_connection_of_its_node(tmp_path: Path) -> None:
    """Who is linked with a node that dies must see the link close, child or no child."""

    async def body() -> None:
        folder, marker = tmp_path / "volume", tmp_path / "marker"
        folder.mkdir()
        node = Node(folder)
        ours, theirs = socket.socketpair()
        node.work = SnapshotWork(node.files, lambda: slow_stream(marker), node.submit)
        node.work.take(Slot(7))
        await child_of(marker)
        ours.close()
        theirs.settimeout(DEADLINE_S)
        assert theirs.recv(1) == b""
        theirs.close()
        node.close()

    run(body())


def test_parts_are_written_in_their_order_and_told(tmp_path: Path) -> None:
    async def body() -> None:
        node = Node(tmp_path)
        for offset, data in ((0, b"0005"), (4, b"abc")):
            node.work.write(WritePart(slot=Slot(5), size=7, offset=offset, data=data))
        assert await node.event() == PartWritten(slot=Slot(5), offset=4)
        assert node.files.newest is None or node.events
        assert await node.event() == PartWritten(slot=Slot(5), offset=7)
        assert node.files.newest == SnapshotInfo(slot=Slot(5), size=7)
        node.work.write(WritePart(slot=Slot(6), size=7, offset=3, data=b"abc"))
        failed = await node.event()
        assert isinstance(failed, SnapshotFailed)
        assert failed.slot == 6
        node.close()

    run(body())
