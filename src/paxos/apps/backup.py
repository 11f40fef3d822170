"""`paxos backup FILE` and `paxos backup verify FILE`: a snapshot of a living cluster in a file.

The file is a snapshot's stream, byte for byte (machine/snapshot.py says how it is laid out). It is
verified while it is written, to FILE.tmp; under its own name it appears whole, durable and
proven, or not at all.

Exit status: 0 done or good, 1 no backup was made or the file is damaged, 2 wrong usage.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import msgspec
import typer

from paxos.core.errors import ConfigurationError, DefiniteError, IndefiniteError
from paxos.core.types import Role, Slot
from paxos.machine.snapshot import SnapshotDamaged, SnapshotHead, verify
from paxos.storage.folder import sync_folder

from . import config as configuration_module
from .cli import FAILED
from .client_connection import Connection
from .client_shell import PASSWORD_VARIABLE

CHUNK_BYTES = 1024 * 1024
PART_S = 30.0
"""How long one part may take; a client node gives up by itself well before."""
TRIES_MAX = 5
"""How often a backup is begun: a newer snapshot may take the place of the one that is copied."""
PROGRESS_AFTER_S = 1.0
PROGRESS_S_MAX = 10.0
"""Where no terminal is, progress is told ever more seldom, but at least so often."""
MIB = 1024 * 1024

WordsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="[verify] FILE",
        help="Where the backup goes; `verify FILE` only checks one that is there.",
        show_default=False,
    ),
]
HostOption = Annotated[
    str | None, typer.Option(help="The client node to ask; this machine's unless told.")
]
PortOption = Annotated[
    int | None,
    typer.Option(
        help="Its door; the first one of the configuration unless told.", min=1, max=65535
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")]
TimeoutOption = Annotated[
    float, typer.Option(help="Seconds that the cluster may take to begin.", min=1, max=86400)
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration file; else PAXOS_CONFIG, else ./paxos.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]


def backup(
    words: WordsArgument,
    host: HostOption = None,
    port: PortOption = None,
    force: ForceOption = False,
    timeout: TimeoutOption = 600.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy everything a living cluster holds into FILE, or check such a file.

    All that was acknowledged before is in it, as of one slot of the log; the
    cluster goes on meanwhile. A door with a password takes it from
    PAXOS_SECURITY_PASSWORD or the configuration. `paxos restore` makes a new
    cluster of it.

    Exit status: 0 done, or the file is good; 1 no backup was made, or the
    file is damaged; 2 wrong usage.
    """
    if words[0] == "verify" and len(words) == 2:
        _verify(Path(words[1]), as_json)
        return
    if len(words) != 1 or words[0] == "verify":
        raise ConfigurationError(
            "one FILE is needed: paxos backup FILE, or paxos backup verify FILE "
            "(for a file of that name: ./verify)"
        )
    configuration = configuration_module.load(config, os.environ)
    if port is None:
        port = configuration.door_port(configuration.of(Role.CLIENT)[0])
    password = os.environ.get(PASSWORD_VARIABLE) or configuration.security.password
    connection = Connection(host or configuration.local_host(), port, password=password)
    file = Path(words[0])
    try:
        head = _copy(connection, file, force, timeout)
    except KeyboardInterrupt:
        raise DefiniteError("interrupted: no backup was made") from None
    finally:
        connection.close()
    told(file, head, as_json, "backup")


def told(file: Path, head: SnapshotHead, as_json: bool, what: str, **more: Any) -> None:
    """Print what a snapshot holds."""
    if as_json:
        plain = {"file": str(file), "good": True, **msgspec.to_builtins(head), **more}
        print(msgspec.json.format(msgspec.json.encode(plain), indent=2).decode())
        return
    print(
        f"{file}: {what} of everything up to slot {head.slot}, revision {head.revision}: "
        f"{head.keys:,} keys, {head.values:,} values in the list, {head.sessions} sessions; "
        f"{head.size:,} bytes, format version {head.version}"
    )


# ---------------------------------------------------------------- files


def read(file: Path, progress: Progress) -> Iterator[bytes]:
    """Yield a file's bytes. Raises ConfigurationError when there is none that can be opened,
    DefiniteError when it cannot be read on.
    """
    try:
        handle = file.open("rb")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be opened: {error.strerror}") from error
    with handle:
        while True:
            try:
                chunk = handle.read(CHUNK_BYTES)
            except OSError as error:
                raise DefiniteError(f"{file} cannot be read: {error.strerror}") from error
            if not chunk:
                return
            progress.add(len(chunk))
            yield chunk


def _verify(file: Path, as_json: bool) -> None:
    """Check a backup. Leaves with status 1 when it is damaged."""
    with Progress(f"verifying {file}") as progress:
        try:
            head = verify(read(file, progress))
        except SnapshotDamaged as damage:
            if not as_json:
                raise DefiniteError(f"{file}: {damage}") from damage
            fields = {"file": str(file), "good": False, "offset": damage.offset}
            print(msgspec.json.encode({**fields, "what": damage.what, "exit": FAILED}).decode())
            raise typer.Exit(FAILED) from damage
    told(file, head, as_json, "a good backup")


# ---------------------------------------------------------------- from a cluster


class BeginAnew(DefiniteError):
    """What was being copied is gone at the cluster's end."""


def _copy(connection: Connection, file: Path, force: bool, timeout_s: float) -> SnapshotHead:
    """Copy a snapshot into a file that appears whole or not at all."""
    _refuse_existing(file, force)
    draft = file.with_name(file.name + ".tmp")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DefiniteError(f"{draft} cannot be written: {error.strerror}") from error
    try:
        with Progress(f"backup to {file}") as progress:
            head = _copied(connection, handle, timeout_s, progress)
        os.fsync(handle)
        _refuse_existing(file, force)
        draft.rename(file)
        sync_folder(file.absolute().parent)
    except OSError as error:
        raise DefiniteError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        os.close(handle)
        # Gone when it has its name.
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
    return head


def _refuse_existing(file: Path, force: bool) -> None:
    if file.is_dir():
        raise DefiniteError(f"{file} is a folder; name a file")
    if not force and os.path.lexists(file):
        raise DefiniteError(f"{file} is there already; --force replaces it")


def _copied(
    connection: Connection, handle: int, timeout_s: float, progress: Progress
) -> SnapshotHead:
    """Write a snapshot's bytes, as often as it takes. Raises DefiniteError, OSError."""
    for tries in range(1, TRIES_MAX + 1):
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        slot, size = _begun(connection, timeout_s)
        progress.begin(size)
        try:
            head = verify(_parts(connection, slot, size, handle, progress))
        except SnapshotDamaged as damage:
            raise DefiniteError(f"what the cluster sent is not whole: {damage}") from damage
        except BeginAnew as gone:
            if tries == TRIES_MAX:
                raise DefiniteError(f"begun {tries} times, and never to the end: {gone}") from gone
            progress.say(f"{gone}: beginning anew")
            continue
        if (head.slot, head.size) != (slot, size):
            raise DefiniteError(
                f"the cluster announced slot {slot} and {size} bytes, and sent slot {head.slot} "
                f"and {head.size} bytes"
            )
        return head
    raise AssertionError("unreachable: the last try returns or raises")


def _begun(connection: Connection, timeout_s: float) -> tuple[Slot, int]:
    reply = _asked(connection, [b"BACKUP", b"BEGIN"], timeout_s)
    match reply:
        case [int() as slot, int() as size]:
            return Slot(slot), size
        case _:
            raise DefiniteError(f"the answer to BACKUP BEGIN makes no sense: {reply!r:.100}")


def _parts(
    connection: Connection, slot: Slot, size: int, handle: int, progress: Progress
) -> Iterator[bytes]:
    """Yield every part once it is written. Raises BeginAnew when the rest cannot be had."""
    offset = 0
    while True:
        command = [b"BACKUP", b"PART", b"%d" % slot, b"%d" % offset]
        try:
            data = _asked(connection, command, PART_S)
        except DefiniteError as error:
            if str(error).startswith(("GONE ", "UNAVAILABLE ")):
                raise BeginAnew(str(error)) from error
            raise
        if not isinstance(data, bytes) or offset + len(data) > size:
            raise DefiniteError(f"the answer to BACKUP PART makes no sense: {data!r:.100}")
        if not data:
            return
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        offset += len(data)
        progress.add(len(data))
        yield data


def _asked(connection: Connection, command: list[bytes], timeout_s: float) -> Any:
    try:
        return connection.call(command, timeout_s)
    except IndefiniteError as error:
        # A backup changes nothing, whatever became of the answer.
        raise DefiniteError(str(error)) from error


# ---------------------------------------------------------------- progress


class Progress:
    """Says on standard error how far something is that takes longer than a second.

    On a terminal one line is written over and over, elsewhere a line now and then. A thread of
    its own tells it, because waiting for the first answer can take long as well.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._done = 0
        self._size = 0
        self._ended = threading.Event()
        self._terminal = sys.stderr.isatty()
        self._written = False
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._written and self._terminal:
            print(file=sys.stderr, flush=True)

    def begin(self, size: int) -> None:
        """Begin with none of so many bytes done."""
        self._done, self._size = 0, size

    def add(self, count: int) -> None:
        """So many bytes more are done."""
        self._done += count

    def say(self, text: str) -> None:
        """Say something that happened, whatever the time."""
        clean = "\r\x1b[K" if self._terminal else ""
        print(f"{clean}paxos: {text}", file=sys.stderr, flush=True)

    def _tell(self) -> None:
        wait_s = PROGRESS_AFTER_S
        while not self._ended.wait(wait_s):
            text = f"{self._what}: {self._state()}"
            if self._terminal:
                print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            else:
                print(text, file=sys.stderr, flush=True)
                wait_s = min(wait_s * 2, PROGRESS_S_MAX)
            self._written = True

    def _state(self) -> str:
        if self._size:
            return f"{self._done / MIB:.1f} of {self._size / MIB:.1f} MiB"
        return f"{self._done / MIB:.1f} MiB" if self._done else "waiting for the snapshot"
