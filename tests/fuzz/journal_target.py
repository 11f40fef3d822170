"""A journal's files under fuzzing: rot of every kind in a valid volume, and forged records.

Rot (`journal`): a volume as FileJournal left it, and then bits flip, sectors are lost, doubled or
misplaced, files are cut, swapped or gone. What is recovered has to be what was synced, or the
volume says that it is damaged; the last batch may be missing only where that is told and the side
mark is rotten too (see storage/recovery.py).

Forgery (`journal_forged`): the checksums hold, the records are anything. Nothing is promised of
what they say, but it is refused or read, the same each time.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
import zlib
from enum import IntEnum
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import msgspec

from paxos.core.effects import (
    AcceptedEntry,
    AnyRecord,
    Counted,
    Cut,
    Journal,
    Promised,
    Stamped,
)
from paxos.core.errors import StorageError
from paxos.core.types import Ballot, NodeId, Slot
from paxos.storage.file_journal import FileJournal
from paxos.storage.mark import MARK_NAME, SyncMark
from paxos.storage.recovery import segment_path
from paxos.storage.segment import (
    ALIGNMENT,
    SegmentHeader,
    aligned,
    group_bytes,
    pack_group_head,
    pack_segment_header,
    seed_of,
)
from paxos.storage.summary import NUMBER_MAX

from .inputs import Target, mutate_bytes, mutate_list, mutate_packed

SEGMENT_BYTES = 4096
VOLUME = int.from_bytes(b"\x07" * 8, "little")
OPS_MAX = 12
"""How many things may happen to one volume: too few to make two checksums right by chance."""

STAMP = Stamped(
    cluster="c1", node=NodeId("acceptor-1"), phase="open", acceptors=(NodeId("acceptor-1"),)
)

Files = dict[str, bytes]


class Volume(msgspec.Struct, frozen=True):
    """A volume as it was left, and what it may be recovered as.

    `states[k]` is what it holds after batch k; batches up to `synced` were acknowledged. One more
    may be there: its sync had not returned.
    """

    files: Files
    states: list[dict[str, Any]]
    synced: int


def place_in_memory() -> str | None:
    """Return where syncs cost nothing; None for where the environment or the system wants files."""
    return "/dev/shm" if "TMPDIR" not in os.environ and Path("/dev/shm").is_dir() else None


@functools.cache
def workshop() -> Path:
    """Return a folder for volumes that is gone when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=place_in_memory()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def shown(journal: Journal) -> dict[str, Any]:
    """Return all that a journal knows."""
    recovered = journal.recovered
    return {
        "stamp": recovered.stamp,
        "promised": recovered.promised,
        "counter": recovered.counter,
        "decided": recovered.decided,
        "base": journal.base,
        "highest": journal.highest_slot,
        "votes": journal.votes(Slot(0), Slot(NUMBER_MAX)),
        "entries": journal.entries(Slot(0), Slot(NUMBER_MAX), 1 << 40),
    }


def opened(folder: Path) -> FileJournal:
    return FileJournal(folder, segment_bytes=SEGMENT_BYTES, cache_bytes_max=500)


def content_of(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def put(folder: Path, files: Files) -> None:
    """Make a folder hold these files and no others."""
    if folder.exists():
        for path in folder.iterdir():
            path.unlink()
    else:
        folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def vote(slot: int, ballot: int, size: int) -> AcceptedEntry:
    value = (b"%d/%d;" % (slot, ballot) * size)[:size]
    return AcceptedEntry(
        slot=Slot(slot), ballot=Ballot(ballot), value=value, decided=Slot(max(0, slot - 2))
    )


def _build(batches: list[list[AnyRecord]], *, unsynced: int = 0, torn: bool = False) -> Volume:
    """Write a volume batch by batch; the last may be one whose sync never returned."""
    folder = workshop() / "building"
    put(folder, {})
    states: list[dict[str, Any]] = []
    files: Files = {}
    before: Files = {}
    with patch("os.urandom", lambda size: b"\x07" * size):
        for batch in ([], *batches):
            journal = opened(folder)
            for record in batch:
                journal.append(record)
            journal.sync()
            journal.close()
            before, files = files, content_of(folder)
            again = opened(folder)
            states.append(shown(again))
            again.close()
    if unsynced:
        files[MARK_NAME] = before[MARK_NAME]
    if torn:
        name = max(files)
        changed = [at for at, byte in enumerate(files[name]) if byte != before[name][at]]
        half = changed[len(changed) // 2]
        files[name] = files[name][:half] + bytes(len(files[name]) - half)
    return Volume(files, states, len(batches) - unsynced)


@functools.cache
def volumes() -> tuple[Volume, ...]:
    """Return volumes that a node may well leave behind."""
    many: list[list[AnyRecord]] = [[STAMP], [Promised(ballot=Ballot(101))]]
    many += [[vote(slot, 101, 60), vote(slot + 1, 101, 5)] for slot in range(1, 12, 2)]
    many += [[vote(3, 202, 700)], [vote(13, 202, 1500)], [Promised(ballot=Ballot(303))]]
    few: list[list[AnyRecord]] = [[STAMP], [vote(1, 101, 10)], [vote(2, 101, 30)]]
    cut: list[list[AnyRecord]] = [*many[:8], [Cut(slot=Slot(4))], [vote(15, 202, 900)]]
    cut += [[vote(slot, 202, 1700)] for slot in range(16, 20)] + [[Cut(slot=Slot(17))]]
    counts: list[list[AnyRecord]] = [[STAMP], *[[Counted(counter=n)] for n in range(1, 6)]]
    return (
        _build(many),
        _build(few),
        _build(counts),
        _build(many[:6], unsynced=1),
        _build(many[:6], unsynced=1, torn=True),
        _build([[STAMP]]),
        _build([]),
        _build(cut),
        _build(cut, unsynced=1),
    )


# ---------------------------------------------------------------- rot


class Mishap(IntEnum):
    """What may happen to a file: a bit flips, a sector is lost, is written in a wrong place or
    filled with foreign bytes, the file is cut, grows, is gone, is swapped with another one, or
    bears another segment's name.
    """

    FLIP = 0
    ZERO = 1
    COPY = 2
    CUT = 3
    GROW = 4
    DROP = 5
    SWAP = 6
    RENAME = 7
    FILL = 8


def rot(files: Files, ops: bytes) -> Files:
    """Return what is left of the files: each op is four bytes (what, file, offset)."""
    left = dict(files)
    for at in range(0, min(len(ops) // 4, OPS_MAX) * 4, 4):
        if left:
            befall(left, *ops[at : at + 4])
    return left


def befall(left: Files, what: int, which: int, high: int, low: int) -> None:
    """Let one thing happen to one file."""
    mishap, more = Mishap(what % len(Mishap)), what // len(Mishap)
    names = sorted(left)
    name = names[which % len(names)]
    content = left[name]
    offset = (high << 8 | low) % (len(content) + 1)
    sector = offset // ALIGNMENT * ALIGNMENT
    before, after = content[:sector], content[sector + ALIGNMENT :]
    match mishap:
        case Mishap.FLIP:
            flipped = bytes(byte ^ 1 << more % 8 for byte in content[offset : offset + 1])
            left[name] = content[:offset] + flipped + content[offset + 1 :]
        case Mishap.ZERO:
            left[name] = before + bytes(min(ALIGNMENT, len(content) - sector)) + after
        case Mishap.COPY:
            start = low % 8 * ALIGNMENT
            copied = left[names[more % len(names)]][start : start + ALIGNMENT]
            left[name] = before + copied + content[sector + len(copied) :]
        case Mishap.CUT:
            left[name] = content[:offset]
        case Mishap.GROW:
            left[name] = content + bytes(offset)
        case Mishap.DROP:
            del left[name]
        case Mishap.SWAP:
            other = names[(which + 1) % len(names)]
            left[name], left[other] = left[other], content
        case Mishap.RENAME:
            left[f"segment-{len(names) + low % 3:08d}"] = left.pop(name)
        case Mishap.FILL:
            left[name] = before + bytes((low | 1,)) * ALIGNMENT + after


def run_rot(data: bytes) -> None:
    """Open a volume that has rotted: what was synced is there, or what happened is told."""
    volume = volumes()[data[0] % len(volumes()) if data else 0]
    files = rot(volume.files, data[1:])
    folder = workshop() / "rotten"
    put(folder, files)
    first = opened(folder)
    recovered, found = first.recovered, shown(first)
    if recovered.damage is not None:
        check_refusal(first)
        first.close()
        assert content_of(folder) == files, "a damaged volume is left as it is"
        return
    if files:
        mark_is_whole = files[MARK_NAME] == volume.files[MARK_NAME]
        least = volume.synced if mark_is_whole else volume.synced - 1
        assert found in volume.states[max(0, least) :], "what was synced is there"
        # A mark that rots into a new one takes the first batch of a volume with it: two places at
        # once, and what protects then is that a blank acceptor asks the others (rule 8).
        if found not in volume.states[volume.synced :] and volume.synced > 1:
            assert recovered.repaired is not None, "what is missing is told"
    check_next_life(folder, first, found)


def check_refusal(journal: FileJournal) -> None:
    """A damaged volume shows nothing and takes nothing in."""
    assert journal.highest_slot == 0
    assert journal.votes(Slot(0), Slot(NUMBER_MAX)) == []
    try:
        journal.append(STAMP)
    except StorageError:
        return
    raise AssertionError("a damaged volume took a record in")


def check_next_life(folder: Path, journal: FileJournal, found: dict[str, Any]) -> None:
    """What was found is there next time as well, and the volume can be written."""
    journal.close()
    second = opened(folder)
    assert second.recovered.damage is None
    repaired = second.recovered.repaired or ""
    assert "half-written" not in repaired, "a torn tail is repaired once"
    assert shown(second) == found
    if found["stamp"] is None:
        second.append(STAMP)
    ballot = Ballot(min(found["promised"] + 1, NUMBER_MAX))
    second.append(Promised(ballot=ballot))
    second.sync()
    second.close()
    third = opened(folder)
    assert third.recovered.damage is None
    assert third.recovered.repaired is None, "the next batch has made the mark whole again"
    assert third.recovered.promised == ballot
    third.close()


def rot_seeds() -> list[bytes]:
    """Return each volume untouched, and one mishap of each kind in several places."""
    count = len(volumes())
    places = ((0, 0, 40), (1, 3, 0), (1, 6, 60), (2, 8, 70), (3, 2, 60), (3, 8, 200))
    return [bytes((volume,)) for volume in range(count)] + [
        bytes((volume, kind, *place))
        for volume in range(count)
        for kind in Mishap
        for place in places
    ]


def mutate_rot(data: bytes, dice: Random) -> bytes:
    """Change what happens to a volume."""
    if dice.randrange(3) == 0:
        return mutate_bytes(data, dice)
    ops = [data[at : at + 4] for at in range(1, len(data), 4)]
    new = bytes(
        (dice.randrange(72), dice.randrange(5), dice.randrange(16), dice.choice((0, 0, 4, 40, 255)))
    )
    if dice.randrange(2) or not ops:
        ops.insert(dice.randrange(len(ops) + 1), new)
    else:
        ops = mutate_list(ops, dice, lambda op, _: new)
    return data[:1] + b"".join(ops)


# ---------------------------------------------------------------- forgery


def parcels(data: bytes) -> list[tuple[int, bytes]]:
    """Return what an input holds: flags and a payload each, the payload's length in front."""
    found = []
    at = 0
    while at + 3 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "big") % 1024
        found.append((data[at], data[at + 3 : at + 3 + size]))
        at += 3 + size
    return found


def packed(found: list[tuple[int, bytes]]) -> bytes:
    """Return the input that holds these."""
    return b"".join(
        bytes((flags,)) + len(payload).to_bytes(2, "big") + payload for flags, payload in found
    )


def forge(data: bytes) -> Files:
    """Return a volume of one segment whose checksums hold. Flag 1: a new batch begins; 2: the
    table tells another slot than the record.
    """
    groups: list[list[tuple[int, bytes]]] = []
    for flags, payload in parcels(data):
        if flags & 1 or not groups:
            groups.append([])
        groups[-1].append((flags, payload))
    content = pack_segment_header(SegmentHeader(number=1, volume=VOLUME, first_batch=1))
    for batch, group in enumerate(groups, 1):
        rows = [(len(p), zlib.crc32(p), _slot(p) ^ (flags >> 1 & 1)) for flags, p in group]
        size = sum(len(payload) for _, payload in group)
        head = pack_group_head(batch, rows, size, seed_of(VOLUME))
        made = head + b"".join(payload for _, payload in group)
        assert len(made) == group_bytes(len(rows), size)
        content += made.ljust(aligned(len(made)), b"\0")
    folder = workshop() / "forging"
    put(folder, {})
    mark = SyncMark.create(folder, VOLUME)
    mark.write(len(groups))
    mark.close()
    size = max(SEGMENT_BYTES, len(content))
    return {**content_of(folder), segment_path(folder, 1).name: content.ljust(size, b"\0")}


def _slot(payload: bytes) -> int:
    """Return the slot that an honest table gives to a record."""
    try:
        record = msgspec.msgpack.decode(payload, type=AcceptedEntry)
    except (ValueError, RecursionError):
        return 0
    return max(0, record.slot)


def run_forged(data: bytes) -> None:
    """Open a volume of forged records: it is refused as damaged, or read the same every time."""
    folder = workshop() / "forged"
    put(folder, forge(data))
    first = opened(folder)
    found = shown(first)
    if first.recovered.damage is not None:
        check_refusal(first)
        first.close()
        return
    assert first.recovered.repaired is None
    assert all(1 <= entry.slot <= NUMBER_MAX for entry in found["entries"])
    assert [(entry.slot, entry.ballot) for entry in found["entries"]] == found["votes"]
    assert all(ballot <= found["promised"] for _, ballot in found["votes"])
    check_next_life(folder, first, found)


def forged_seeds() -> list[bytes]:
    """Return volumes with honest records, and some with records that no node writes."""
    encode = msgspec.msgpack.encode
    honest = [STAMP, Promised(ballot=Ballot(101)), vote(1, 101, 20), vote(2, 101, 3)]
    odd: list[bytes] = [
        encode(Counted(counter=0)),
        encode(Promised(ballot=Ballot(2**63))),
        encode(vote(2**63, 101, 3)),
        encode(vote(2**40, 101, 3)),
        encode(Cut(slot=Slot(1))),
        encode(Cut(slot=Slot(2**40))),
        encode(Cut(slot=Slot(0))),
        b"\x91\xa5stamp",
        b"\x95\xa5stamp\xa1\xff\xa1a\xa4open\x90",
        b"\x96\xa5stamp\xa1c\xa1a\xa4open\x90" + b"\x91" * 1000,
        b"",
        b"\xc1",
    ]
    records = [encode(record) for record in honest]
    stamp = (1, records[0])
    return [
        packed([(1, record) for record in records]),
        packed([(0, record) for record in records]),
        packed([(1, record) for record in records[1:]]),
        packed([stamp, (3, records[2])]),
        *(packed([stamp, (1, one), (1, records[1])]) for one in odd),
    ]


def mutate_forged(data: bytes, dice: Random) -> bytes:
    """Change what a record says, or their order."""
    if dice.randrange(4) == 0:
        return mutate_bytes(data, dice)

    def change(one: tuple[int, bytes], dice: Random) -> tuple[int, bytes]:
        flags, payload = one
        if dice.randrange(5) == 0:
            return flags ^ dice.choice((1, 2)), payload
        return flags, mutate_packed(payload, dice)[:1023]

    return packed(mutate_list(parcels(data), dice, change))


_STORAGE = tuple(
    f"storage/{name}.py"
    for name in ("base", "file_journal", "mark", "recovery", "segment", "summary")
)

ROT = Target(
    name="journal",
    run=run_rot,
    seeds=rot_seeds,
    mutate=mutate_rot,
    modules=(*_STORAGE, "storage/slot_index.py", "storage/folder.py"),
    bytes_max=1 + 4 * OPS_MAX,
)
FORGED = Target(
    name="journal_forged",
    run=run_forged,
    seeds=forged_seeds,
    mutate=mutate_forged,
    modules=_STORAGE,
    bytes_max=4096,
)
