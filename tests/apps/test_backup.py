"""`paxos backup`: files that appear whole or not at all, and are told apart from damaged ones."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hiredis
import msgspec
import pytest

from paxos.apps import backup
from paxos.apps.cli import DONE, FAILED, WRONG_USAGE, main
from paxos.core.messages import Batch, Envelope, OpenSession
from paxos.core.types import NodeId, Slot
from paxos.machine.machine import Machine
from paxos.machine.snapshot import encode

PART_BYTES = 100


def stream(keys: int = 40) -> bytes:
    """Return the snapshot of a machine with so many keys, at slot 2."""
    gateway = NodeId("client-1")
    commands = [[b"SET", b"key:%d" % n, b"value %d" % n] for n in range(keys)]
    opening = OpenSession(gateway=gateway, nonce=7)
    batch = Batch(
        gateway=gateway,
        session=Slot(1),
        sequence=1,
        acknowledged=0,
        commands=msgspec.msgpack.encode(commands),
    )
    machine = Machine()
    for slot, one in enumerate((opening, batch), start=1):
        packed = [msgspec.msgpack.encode(one)]
        machine.apply(Slot(slot), msgspec.msgpack.encode(Envelope(time_ms=0, batches=packed)))
    return b"".join(encode(machine))


STREAM = stream()

Answer = Callable[[list[bytes]], bytes]


class Door:
    """A client node's door that answers one client after the other as it is told."""

    def __init__(self, answer: Answer) -> None:
        self.commands: list[list[bytes]] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = str(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                reader = hiredis.Reader()
                while received := connection.recv(65536):
                    reader.feed(received)
                    while (command := reader.gets()) is not False:
                        self.commands.append(command)
                        connection.sendall(self._answer(command))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


MakeDoor = Callable[[Answer], Door]


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeDoor]:
    monkeypatch.chdir(tmp_path)
    made: list[Door] = []

    def make(answer: Answer) -> Door:
        made.append(Door(answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def serving(data: bytes = STREAM, slot: int = 2, size: int | None = None) -> Answer:
    """Answer as a client node does that has this snapshot."""

    def answer(command: list[bytes]) -> bytes:
        if command == [b"BACKUP", b"BEGIN"]:
            return b"*2\r\n:%d\r\n:%d\r\n" % (slot, len(data) if size is None else size)
        assert command[:3] == [b"BACKUP", b"PART", b"%d" % slot]
        offset = int(command[3])
        return bulk(data[offset : offset + PART_BYTES])

    return answer


def back_up(door: Door, *words: str) -> int:
    return main(["backup", "--host", "127.0.0.1", "--port", door.port, *words])


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------- from a cluster


def test_a_backup_is_the_snapshots_bytes_and_is_told_what_it_holds(
    door: MakeDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = door(serving())
    assert back_up(made, "one.backup") == DONE
    assert (tmp_path / "one.backup").read_bytes() == STREAM
    assert left(tmp_path) == ["one.backup"]
    told = capsys.readouterr().out
    assert "slot 2, revision 40: 40 keys, 0 values in the list, 1 sessions" in told
    assert f"{len(STREAM):,} bytes, format version 1" in told
    assert back_up(made, "two.backup", "--json") == DONE
    plain = json.loads(capsys.readouterr().out)
    assert plain == {
        "file": "two.backup",
        "good": True,
        "slot": 2,
        "revision": 40,
        "keys": 40,
        "values": 0,
        "sessions": 1,
        "size": len(STREAM),
        "version": 1,
    }


def test_a_file_that_is_there_is_replaced_only_when_forced(
    door: MakeDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = door(serving())
    file = tmp_path / "mine"
    file.write_bytes(b"precious")
    assert back_up(made, "mine") == FAILED
    assert made.commands == []
    assert file.read_bytes() == b"precious"
    assert "--force replaces it" in capsys.readouterr().err
    assert back_up(made, "mine", "--force") == DONE
    assert file.read_bytes() == STREAM
    assert back_up(made, str(tmp_path), "--force") == FAILED
    assert back_up(made, "no/such/folder") == FAILED


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (serving(STREAM[:-1]), "it ends too early"),
        (serving(STREAM[:300] + b"\0" + STREAM[301:]), "wrong checksum"),
        (serving(slot=3), "the cluster announced slot 3"),
        (serving(STREAM, size=len(STREAM) + 1), f"and sent slot 2 and {len(STREAM)} bytes"),
        (serving(STREAM, size=150), "makes no sense"),
        (lambda _: b"-UNAVAILABLE no learner can be reached\r\n", "no learner can be reached"),
        (lambda _: b"-BUSY a backup is under way\r\n", "BUSY a backup is under way"),
        (lambda _: b"+OK\r\n", "makes no sense"),
        (lambda _: b"-ERR unknown command 'BACKUP'\r\n", "unknown command"),
    ],
)
def test_no_file_is_left_when_what_comes_is_no_backup(
    door: MakeDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: Answer, why: str
) -> None:
    assert back_up(door(answer), "one") == FAILED
    assert why in capsys.readouterr().err
    assert left(tmp_path) == []


def interrupted_by(errors: list[bytes]) -> Answer:
    """Answer the third part with each of these errors first, then as it should be."""
    whole = serving()
    left = iter(errors)

    def answer(command: list[bytes]) -> bytes:
        if command[1:2] == [b"PART"] and command[3] == b"%d" % (2 * PART_BYTES):
            for error in left:
                return error
        return whole(command)

    return answer


GONE = b"-GONE the snapshot of slot 2 has been replaced: begin anew\r\n"
LOST = b"-UNAVAILABLE the link to learner-1 closed\r\n"


def test_a_backup_is_begun_anew_when_its_snapshot_was_replaced(
    door: MakeDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = door(interrupted_by([GONE, LOST, GONE, GONE]))
    assert back_up(made, "one") == DONE
    assert (tmp_path / "one").read_bytes() == STREAM
    assert made.commands.count([b"BACKUP", b"BEGIN"]) == backup.TRIES_MAX
    assert capsys.readouterr().err.count("beginning anew") == backup.TRIES_MAX - 1


def test_a_backup_is_given_up_when_it_was_begun_too_often(
    door: MakeDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = door(interrupted_by([GONE] * 9))
    assert back_up(made, "one") == FAILED
    assert made.commands.count([b"BACKUP", b"BEGIN"]) == backup.TRIES_MAX
    assert "begun 5 times, and never to the end: GONE" in capsys.readouterr().err
    assert left(tmp_path) == []


def test_no_file_is_left_when_it_is_interrupted(
    door: MakeDoor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = itertools.count()

    def interrupt(self: backup.Progress, count: int) -> None:
        if next(parts) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(backup.Progress, "add", interrupt)
    assert back_up(door(serving()), "one") == FAILED
    assert "interrupted: no backup was made" in capsys.readouterr().err
    assert left(tmp_path) == []


def test_progress_is_told_when_it_takes_long(
    door: MakeDoor, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The door holds its answer back until something was told."""
    monkeypatch.setattr(backup, "PROGRESS_AFTER_S", 0.01)
    told = threading.Event()
    state = backup.Progress._state

    def telling(self: backup.Progress) -> str:
        told.set()
        return state(self)

    monkeypatch.setattr(backup.Progress, "_state", telling)
    whole = serving()

    def answer(command: list[bytes]) -> bytes:
        assert told.wait(20)
        return whole(command)

    assert back_up(door(answer), "one") == DONE
    assert "backup to one: waiting for the snapshot" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["one", "two"], ["verify"], ["verify", "one", "two"]])
def test_usage_is_told_when_it_is_not_one_file(words: list[str], tmp_path: Path) -> None:
    assert main(["backup", *words]) == WRONG_USAGE


# ---------------------------------------------------------------- verify


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "one.backup"
    path.write_bytes(STREAM)
    return path


def test_a_good_file_is_told_from_a_missing_one(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", "verify", str(file)]) == DONE
    assert "a good backup of everything up to slot 2" in capsys.readouterr().out
    assert main(["backup", "verify", str(file), "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["good"] is True
    assert main(["backup", "verify", f"{file}.not"]) == WRONG_USAGE
    assert main(["backup", "verify", str(file.parent)]) == WRONG_USAGE


def test_a_file_is_damaged_when_any_byte_of_it_has_changed(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for offset in range(0, len(STREAM), 7):
        flipped = bytearray(STREAM)
        flipped[offset] ^= 1 << offset % 8
        file.write_bytes(flipped)
        assert main(["backup", "verify", str(file), "--json"]) == FAILED, offset
        told = json.loads(capsys.readouterr().out)
        assert told["good"] is False
        assert told["exit"] == FAILED
        assert 0 <= told["offset"] <= offset + 20, "it is told where, to the frame"
        assert told["what"]


@pytest.mark.parametrize("content", [b"", STREAM[:100], STREAM + b"\0", b"x" * 1000])
def test_a_file_is_damaged_when_it_is_cut_short_longer_or_something_else(
    file: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    file.write_bytes(content)
    assert main(["backup", "verify", str(file)]) == FAILED
    assert "damaged at byte" in capsys.readouterr().err
