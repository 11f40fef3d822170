"""Snapshots: a restored machine is the machine, and damage is found wherever it is."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxos.core.errors import InvariantViolation, VolumeDamaged
from paxos.core.messages import Batch, Envelope, OpenSession
from paxos.core.types import NodeId, Slot
from paxos.machine.machine import Machine
from paxos.machine.snapshot import (
    FRAME_BYTES,
    FRAME_BYTES_MAX,
    SNAPSHOT_VERSION,
    Restoring,
    SnapshotDamaged,
    encode,
    verify,
)

pack = msgspec.msgpack.encode

ONE, TWO = NodeId("client-1"), NodeId("client-2")
HEAD_BYTES = 20
PRELUDE_BYTES = 16


def stream(machine: Machine) -> bytes:
    return b"".join(encode(machine))


def restored(data: bytes) -> Machine:
    restoring = Restoring()
    restoring.feed(data)
    assert restoring.done
    return restoring.machine()


def offsets(data: bytes) -> list[int]:
    """Where the frames begin."""
    found = []
    at = PRELUDE_BYTES
    while at < len(data):
        found.append(at)
        at += HEAD_BYTES + int(struct.unpack_from("<III", data, at)[2])
    assert at == len(data)
    return found


def prelude(version: int) -> bytes:
    start = struct.pack("<8sI", b"PAXSNAP\0", version)
    return start + struct.pack("<I", zlib.crc32(start))


def forged(*frames: tuple[int, int, bytes], length: int | None = None) -> bytes:
    """A stream whose checksums are all right, of (kind, items, payload); made by the document.

    The last frame says `length`, if given, whatever it holds.
    """
    data = prelude(1)
    running = zlib.crc32(data)
    for number, (kind, items, payload) in enumerate(frames, 1):
        said = len(payload) if length is None or number < len(frames) else length
        numbers = struct.pack("<III", kind, items, said)
        following = zlib.crc32(payload, zlib.crc32(numbers, running))
        head = numbers + struct.pack("<I", following)
        data += head + struct.pack("<I", zlib.crc32(head, running)) + payload
        running = following
    return data


def run(*items: Any) -> bytes:
    return struct.pack(">BI", 0xDD, len(items)) + b"".join(map(pack, items))


def numbers(**changed: int) -> bytes:
    """The payload of a frame HEAD."""
    names = ("slot", "revision", "now_ms", "serial", "keys", "dead", "values", "sessions")
    fields = dict.fromkeys(names, 0) | {"value_bytes_max": 100, "results_bytes_max": 100}
    return pack(list((fields | changed).values()))


def closed(*frames: tuple[int, int, bytes]) -> bytes:
    """A forged stream with the right frame END."""
    totals = [sum(items for kind, items, _ in frames if kind == of) for of in (2, 3, 4, 5)]
    return forged(*frames, (6, 1, pack([*totals, len(forged(*frames))])))


def fill(log: Any) -> Any:
    """Bring a log into a state that has something of everything."""
    log.decide(OpenSession(gateway=TWO, nonce=2**63))
    for n in range(100):
        log.run([b"SET", b"key-%d" % n, b"value %d" % n], [b"INCR", b"n"])
    log.do("DEL " + " ".join(f"key-{n}" for n in range(0, 60, 2)))
    log.do("PEXPIRE key-1 5000")
    log.do("PEXPIRE key-3 3000")
    log.do("PEXPIRE key-3 9000")
    log.do("PERSIST key-3")
    log.do("PEXPIRE key-5 10")
    log.now_ms += 20
    log.run([b"WRITE", b"first"], [b"WRITE", b""], [b"SET", b"", b"\xff\x00"])
    log.do("WRITE second")
    log.decide_value(b"\xc1 not an envelope")
    return log


@pytest.fixture
def rich(log) -> Any:
    return fill(log)


def follow_on(log: Any) -> list[bytes]:
    """Return values of slots that ask about everything a machine may remember."""
    batches = [log.batch(n, [b"GET", b"stale"]) for n in (1, 50, log.sequence, log.sequence + 2)]
    scan: list[Any] = [[b"SCAN", b"0", b"COUNT", b"3"], [b"SCAN", b"40", b"COUNT", b"2"]]
    exec_ = [b"EXEC", [[b"key-1", 202]], [*scan, [b"KEYS", b"*"], [b"READ"], [b"PTTL", b"key-1"]]]
    later = log.batch(log.sequence + 1, exec_, *scan, acknowledged=log.sequence - 3)
    parts: list[list[Batch | OpenSession]] = [
        [*batches],
        [later],
        [OpenSession(gateway=TWO, nonce=2**63), OpenSession(gateway=TWO, nonce=1)],
        [log.batch(log.sequence + 2, [b"DEL", *(b"key-%d" % n for n in range(100))], *scan)],
        [log.batch(log.sequence + 3, [b"SET", b"new", b"1", b"PX", b"7"], [b"WRITE", b"third"])],
        [log.batch(log.sequence + n, [b"SCAN", b"0"]) for n in (3, 4)],
    ]
    return [
        pack(Envelope(time_ms=log.now_ms + 3000 * n, batches=[pack(one) for one in some]))
        for n, some in enumerate(parts)
    ]


def assert_same_future(one: Machine, other: Machine, values: list[bytes]) -> None:
    assert other.digest() == one.digest()
    assert other.status() == one.status()
    for slot, value in enumerate(values, one.applied + 1):
        assert other.apply(Slot(slot), value) == one.apply(Slot(slot), value)
        assert other.digest() == one.digest()
        assert other.next_deadline_ms == one.next_deadline_ms
    # Dead entries and limits, which the digest leaves out.
    assert stream(other) == stream(one)


# ---------------------------------------------------------------- a machine and back


def test_restored_machine_has_the_same_future_when_it_was_rich(rich):
    data = stream(rich.machine)
    before = rich.machine.digest()
    other = restored(data)
    assert rich.machine.digest() == before
    assert stream(other) == data
    assert_same_future(rich.machine, other, follow_on(rich))


def test_empty_machine_is_restored():
    head = verify([stream(Machine())])
    assert (head.slot, head.keys, head.sessions) == (0, 0, 0)
    assert_same_future(Machine(), restored(stream(Machine())), [b"", b"x"])


def test_two_learners_give_the_same_bytes_when_one_was_restored_on_the_way(new_log):
    straight, broken = new_log(), new_log()
    fill(straight)
    fill(broken)
    restoring = broken.machine.restoring()
    restoring.feed(stream(broken.machine))
    broken.machine = restoring.machine()
    for log in (straight, broken):
        fill(log)
    assert stream(straight.machine) == stream(broken.machine)


def test_scan_inside_exec_answers_alike_when_dead_entries_lie_in_its_way(new_log):
    """A scan passes a bounded number of dead entries at a time, and its answer is state."""
    log = new_log()
    for n in range(120):
        log.do(f"SET {n} v")
    log.do("DEL " + " ".join(str(n) for n in range(40, 110)))
    other = restored(stream(log.machine))
    scan = [b"EXEC", [], [[b"SCAN", b"100", b"COUNT", b"2"]]]
    value = pack(Envelope(time_ms=0, batches=[pack(log.batch(log.sequence + 1, scan))]))
    assert_same_future(log.machine, other, [value])
    kept = log.machine.results(ONE, log.session, log.sequence)
    assert msgspec.msgpack.decode(kept[0].results) == [[[b"80", []]]]


def test_duplicates_are_answered_from_kept_results_after_a_restore(rich):
    """DESIGN rule 6: applied at most once, through restores too."""
    other = restored(stream(rich.machine))
    kept = other.results(ONE, rich.session, 0)
    assert kept == rich.machine.results(ONE, rich.session, 0)
    assert len(kept) == rich.sequence
    again = rich.batch(7, [b"INCR", b"n"])
    value = pack(Envelope(time_ms=0, batches=[pack(again)]))
    assert other.apply(Slot(other.applied + 1), value) == [(ONE, kept[6])]
    assert other.read([[b"GET", b"n"]], 0) == [b"100"]
    assert other.opened(TWO, 2**63) == rich.machine.opened(TWO, 2**63)


def test_limits_are_restored(new_log):
    log = new_log(value_bytes_max=3, results_bytes_max=50)
    log.do("SET k 123")
    other = restored(stream(log.machine))
    batch = log.batch(2, [b"APPEND", b"k", b"4"], [b"MGET", *[b"k"] * 30])
    outcomes = other.apply(
        Slot(other.applied + 1), pack(Envelope(time_ms=0, batches=[pack(batch)]))
    )
    long, large = msgspec.msgpack.decode(outcomes[0][1].results)
    assert "maximum allowed size" in long["error"]
    assert "more than 50 bytes" in large["error"]


words = st.sampled_from([b"a", b"b", b"c", b"dd"])
numerals = st.sampled_from([b"0", b"1", b"2", b"5", b"30"])
plain = st.one_of(
    st.tuples(st.just(b"SET"), words, words),
    st.tuples(st.just(b"SET"), words, words, st.just(b"PX"), numerals),
    st.tuples(st.just(b"PEXPIRE"), words, numerals),
    st.tuples(st.just(b"PERSIST"), words),
    st.tuples(st.just(b"APPEND"), words, words),
    st.tuples(st.just(b"DEL"), words, words),
    st.tuples(st.just(b"WRITE"), words),
    st.tuples(st.just(b"SCAN"), numerals, st.just(b"COUNT"), st.just(b"1")),
    st.tuples(st.just(b"KEYS"), st.just(b"*")),
    st.tuples(st.just(b"nonsense")),
)
commands = st.one_of(
    plain, st.builds(lambda some: (b"EXEC", [], list(some)), st.lists(plain, max_size=3))
)
parts = st.one_of(
    st.builds(OpenSession, gateway=st.sampled_from([ONE, TWO]), nonce=st.integers(0, 2)),
    st.builds(
        Batch,
        gateway=st.sampled_from([ONE, TWO]),
        session=st.sampled_from([1, 1, 1, 2, 5]),
        sequence=st.integers(0, 8),
        acknowledged=st.integers(0, 8),
        commands=st.lists(commands, max_size=4).map(pack),
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    slots=st.lists(st.tuples(st.integers(0, 20), st.lists(parts, max_size=4)), max_size=12),
    at=st.integers(0, 12),
    cut=st.integers(1, 400),
)
def test_restored_machine_goes_on_alike_whatever_the_log_was(slots, at, cut):
    opening: list[Any] = [OpenSession(gateway=ONE, nonce=0), OpenSession(gateway=TWO, nonce=0)]
    values = [
        pack(Envelope(time_ms=time_ms, batches=[pack(part) for part in some]))
        for time_ms, some in [(0, opening), *slots]
    ]
    one = Machine()
    for slot, value in enumerate(values[: at + 1], 1):
        one.apply(Slot(slot), value)
    restoring = Restoring()
    data = stream(one)
    for start in range(0, len(data), cut):
        restoring.feed(data[start : start + cut])
    assert_same_future(one, restoring.machine(), values[at + 1 :])


# ---------------------------------------------------------------- frames


def test_frames_are_bounded_when_there_is_much(new_log):
    log = new_log()
    for n in range(300):
        log.run([b"SET", b"k%d" % n, b"v" * 2000], [b"WRITE", b"w" * 1000])
        log.run([b"GET", b"k%d" % n])
    log.run([b"SET", b"large", b"v" * 300_000], [b"SET", b"after", b"v"])
    frames = list(encode(log.machine))
    sizes = sorted(len(frame) - HEAD_BYTES for frame in frames)
    assert len(frames) > 12
    assert sizes[-2] <= FRAME_BYTES < 300_000 < sizes[-1] < 300_100
    data = b"".join(frames)
    assert len(offsets(data)) == len(frames)
    assert_same_future(log.machine, restored(data), follow_on(log))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 19, 20, 21, 1000, 100_000])
def test_cut_of_the_stream_makes_no_difference(rich, size):
    data = stream(rich.machine)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    restoring = Restoring()
    for piece in pieces:
        assert not restoring.done
        restoring.feed(piece)
        restoring.feed(b"")
    assert restoring.done
    assert restoring.slot == rich.machine.applied
    assert restoring.machine().digest() == rich.machine.digest()
    assert verify(pieces) == verify([data])


def test_verify_tells_what_a_stream_holds(rich):
    data = stream(rich.machine)
    head = verify([data])
    status = rich.machine.status()
    assert head.slot == status.applied
    assert head.revision == status.revision
    assert (head.keys, head.values, head.sessions) == (status.keys, status.values, 2)
    assert (head.size, head.version) == (len(data), SNAPSHOT_VERSION)


def test_slot_is_known_when_the_head_has_come(rich):
    data = stream(rich.machine)
    restoring = Restoring()
    assert restoring.slot == 0
    restoring.feed(data[: offsets(data)[1]])
    assert restoring.slot == rich.machine.applied
    assert not restoring.done


# ---------------------------------------------------------------- damage


def feed_whole(restoring: Restoring, data: bytes) -> None:
    restoring.feed(data)
    restoring.machine()


def assert_damaged(data: bytes, match: str = "damaged") -> SnapshotDamaged:
    """Both readers find it, at the same place when the bytes alone tell; return what they say."""
    restoring = Restoring()
    with pytest.raises(SnapshotDamaged, match=match) as found:
        feed_whole(restoring, data)
    assert not restoring.done
    with pytest.raises(SnapshotDamaged, match=match) as verified:
        verify([data])
    assert verified.value.offset == found.value.offset
    assert str(verified.value.offset) in str(verified.value)
    return found.value


@pytest.fixture(scope="module")
def small(new_log) -> bytes:
    log = new_log()
    log.run([b"SET", b"k", b"v"], [b"SET", b"gone", b"v"], [b"DEL", b"gone"], [b"WRITE", b"w"])
    log.do("PEXPIRE k 100")
    return stream(log.machine)


def test_any_flipped_bit_is_found(small):
    starts = offsets(small)
    assert len(starts) == 6
    for bit in range(len(small) * 8):
        damaged = bytearray(small)
        damaged[bit // 8] ^= 1 << bit % 8
        offset = assert_damaged(bytes(damaged)).offset
        # It is found in the very frame where it is.
        assert offset <= bit // 8
        assert not any(offset < start <= bit // 8 for start in starts)


def test_every_truncation_is_found(small):
    for length in range(len(small)):
        assert assert_damaged(small[:length], "too early").offset == length


def test_bytes_after_the_end_are_found(small):
    assert assert_damaged(small + b"\0", "follow the end").offset == len(small)
    restoring = Restoring()
    restoring.feed(small)
    with pytest.raises(SnapshotDamaged, match="follow the end"):
        restoring.feed(small)
    assert not restoring.done


def test_missing_or_repeated_or_exchanged_frames_are_found(small):
    starts = [*offsets(small), len(small)]
    pieces = [small[a:b] for a, b in pairwise(starts)]
    begin = small[:PRELUDE_BYTES]
    for at in range(len(pieces)):
        assert_damaged(begin + b"".join(pieces[:at] + pieces[at + 1 :]))
        assert_damaged(begin + b"".join([*pieces[: at + 1], *pieces[at:]]))
    assert_damaged(begin + b"".join([pieces[0], pieces[2], pieces[1], *pieces[3:]]))


def test_damage_is_final(small):
    restoring = Restoring()
    with pytest.raises(SnapshotDamaged, match="no snapshot"):
        restoring.feed(b"x" * len(small))
    with pytest.raises(SnapshotDamaged, match="no snapshot"):
        restoring.feed(small)
    with pytest.raises(VolumeDamaged, match="no snapshot"):
        restoring.machine()


def test_newer_version_is_told_apart_from_damage():
    error = assert_damaged(prelude(2) + b"whatever comes then", "made by a newer version")
    assert "no damage, but format version 2" in str(error)
    assert_damaged(prelude(0), "never existed")


ENTRY = [b"k", b"v", 1, 1, 1, 0, 1]


def test_forged_stream_is_good_when_nothing_is_wrong_with_it():
    """What the tests below change is all that is wrong there; and the document is right."""
    data = closed(
        (1, 1, numbers(slot=4, revision=1, now_ms=9, serial=1, keys=1, values=1, sessions=1)),
        (2, 1, run(ENTRY)),
        (3, 1, run([3, b"w"])),
        (4, 1, pack(["client-1", 1, 2, 5, 1])),
        (5, 1, run([5, 4, 1, b"\x90"])),
    )
    assert verify([data]).slot == 4
    machine = restored(data)
    assert machine.read([[b"GET", b"k"], [b"READ"]], 0) == [b"v", [[3, b"w"]]]
    assert stream(machine) == data


@pytest.mark.parametrize("length", [0, FRAME_BYTES_MAX + 1, 2**32 - 1])
@pytest.mark.parametrize("kind", [1, 2])
def test_hostile_lengths_are_refused_before_they_are_used(kind, length):
    frames = [(1, 1, numbers()), (2, 1, b"x")][:kind]
    error = assert_damaged(forged(*frames, length=length), f"and {length} bytes")
    assert error.offset == len(forged(*frames[:-1]))


@pytest.mark.parametrize(
    "payload",
    [
        struct.pack(">BI", 0xDD, 2**32 - 1) + b"\x90",
        struct.pack(">BI", 0xDD, 2**32 - 1),
        struct.pack(">BI", 0xDD, 1) + b"\xdd\xff\xff\xff\xff",
        struct.pack(">BI", 0xDD, 1) + b"\x97\xc6\xff\xff\xff\xff",
        struct.pack(">BI", 0xDD, 1) + b"\x98" + pack(ENTRY)[1:] + b"\x91" * 100_000,
    ],
)
def test_hostile_contents_take_no_memory(payload):
    data = forged((1, 1, numbers(serial=9, keys=2**60)), (2, 1, payload))
    tracemalloc.start()
    with pytest.raises(SnapshotDamaged):
        Restoring().feed(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1024 * 1024


@pytest.mark.parametrize(
    ("frames", "match"),
    [
        ([(2, 1, run(ENTRY))], "kind 2 is out of place"),
        ([(1, 1, numbers()), (1, 1, numbers())], "kind 1 is out of place"),
        ([(1, 1, numbers()), (5, 1, run([1, 1, 1, b""]))], "kind 5 is out of place"),
        ([(1, 1, numbers()), (9, 1, b"\x90")], "kind 9 is out of place"),
        ([(1, 2, numbers())], "frame of 2 items"),
        ([(1, 1, numbers()), (2, 0, run())], "frame of 0 items"),
        ([(1, 1, numbers()), (2, 2, run(ENTRY))], "holds another number"),
        ([(1, 1, pack([0] * 9))], "cannot be read"),
        ([(1, 1, pack([0] * 11))], "cannot be read"),
        ([(1, 1, numbers(slot=-1))], "cannot be read"),
        ([(1, 1, numbers()), (6, 1, pack([0, 0, 0, 0, 7]))], "in all"),
        ([(1, 1, numbers()), (6, 1, pack([0, 0, 0]))], "cannot be read"),
    ],
)
def test_streams_of_another_structure_are_refused(frames, match):
    assert_damaged(forged(*frames), match)


@pytest.mark.parametrize("field", ["keys", "dead", "values", "sessions"])
def test_less_than_was_promised_is_found(field):
    assert_damaged(closed((1, 1, numbers(**{field: 1}))), "promised")


def entries(*items: Any, **changed: int) -> list[tuple[int, int, bytes]]:
    fields = {"slot": 5, "revision": 9, "serial": 9, "keys": len(items)} | changed
    return [(1, 1, numbers(**fields)), (2, len(items), run(*items))]


def session(*results: Any, **changed: Any) -> list[tuple[int, int, bytes]]:
    said = {"gateway": "client-1", "nonce": 1, "slot": 1, "last": 3, "kept": len(results)} | changed
    head = (1, 1, numbers(slot=5, sessions=1))
    return [head, (4, 1, pack(list(said.values()))), (5, len(results), run(*results))]


TWICE = (4, 1, pack(["client-1", 1, 1, 0, 0]))


@pytest.mark.parametrize(
    "frames",
    [
        entries(ENTRY, ENTRY),
        entries(ENTRY, [b"k", b"v", 1, 1, 1, 0, 2]),
        entries([b"k", b"v", 1, 1, 1, 0, 10]),
        entries([b"k", b"v", 1, 1, 1, 0, 0]),
        entries([b"k", b"v", 2, 1, 1, 0, 1]),
        entries([b"k", b"v", 1, 10, 1, 0, 1]),
        entries([b"k", b"v", 1, 1, -1, 0, 1]),
        entries([b"k", b"v", 1, 1, 1, -1, 1]),
        entries([b"", b"", 1, 1, 0, 5, 1], keys=0, dead=1),
        entries([b"", b"", 1, 1, 0, 0, 1]),
        entries([b"k", b"v", 1, 1, 1, 0, 1], keys=0, dead=1),
        entries(["k", b"v", 1, 1, 1, 0, 1]),
        entries([b"k", b"v", 1, 1, 1, 0]),
        entries([b"k", b"v", 1, 1, 1, 0, 1, 1]),
        [(1, 1, numbers(slot=5, values=2)), (3, 2, run([3, b""], [2, b""]))],
        [(1, 1, numbers(slot=5, values=1)), (3, 1, run([6, b""]))],
        session([2, 4, 0, b""]),
        session([1, 4, 0, b""], [3, 4, 0, b""]),
        session([3, 4, 0, b""], [4, 4, 0, b""]),
        session([3, 4, 0, b""], kept=2),
        session([3, 4, 0, b""], kept=0),
        session([3, 4, 0, b""], slot=6),
        session([3, 4, 0, b""], slot=0),
        session([0, 4, 0, b""], last=0),
        [(1, 1, numbers(slot=5, sessions=2)), TWICE, TWICE],
    ],
)
def test_contradictions_are_found_though_all_checksums_are_right(frames):
    data = closed(*frames)
    assert verify([data]).size == len(data)
    with pytest.raises(SnapshotDamaged, match="at byte"):
        restored(data)


# ---------------------------------------------------------------- adopting


def test_machine_becomes_another_in_place_when_it_adopts(rich, new_log):
    behind = new_log(value_bytes_max=7).machine
    restoring = behind.restoring()
    restoring.feed(stream(rich.machine))
    behind.adopt(restoring)
    assert_same_future(rich.machine, behind, follow_on(rich))


def test_machine_refuses_to_go_back_or_stay(rich):
    digest = rich.machine.digest()
    same = Restoring()
    same.feed(stream(rich.machine))
    with pytest.raises(InvariantViolation, match="was to be adopted"):
        rich.machine.adopt(same)
    assert rich.machine.digest() == digest


def test_machine_refuses_what_is_not_whole(rich):
    data = stream(rich.machine)
    part = Restoring()
    part.feed(data[:-1])
    machine = Machine()
    with pytest.raises(SnapshotDamaged, match="too early"):
        machine.adopt(part)
    assert machine.digest() == Machine().digest()
