"""Keys go by the log's time, never by a reader's clock (DESIGN rule 12)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st


def test_key_goes_when_the_log_reaches_its_deadline(log):
    log.do("SET k 1 PX 10")
    log.now_ms += 9
    assert log.do("GET k") == b"1"
    log.now_ms += 1
    assert log.do("GET k") is None
    assert log.machine.revision == 2


def test_each_expiry_is_a_revision_of_its_own(log):
    log.run(
        [b"SET", b"b", b"1", b"PX", b"10"],
        [b"SET", b"a", b"1", b"PX", b"10"],
        [b"SET", b"c", b"1", b"PX", b"5"],
    )
    log.now_ms += 10
    log.decide()
    assert log.machine.revision == 6
    assert log.machine.status().keys == 0


def test_key_stays_when_only_the_reader_thinks_it_is_over(log):
    log.do("SET k 1 PX 1000")
    wall_ms = log.now_ms
    assert log.ask("PTTL k", wall_ms=wall_ms + 400) == 600
    assert log.ask("PTTL k", wall_ms=wall_ms + 5000) == 1
    assert log.ask("TTL k", wall_ms=wall_ms + 5000) == 0
    assert log.ask("GET k", wall_ms=wall_ms + 5000) == b"1"
    assert log.ask("PTTL k", wall_ms=wall_ms - 5000) == 1000


def test_reader_clock_does_not_touch_the_log(log):
    log.do("SET k 1 PX 1000")
    log.ask("PTTL k", wall_ms=log.now_ms + 900)
    assert log.do("PTTL k") == 1000


def test_time_never_falls_when_a_stamp_is_lower(log):
    log.do("SET k 1 PX 1000")
    before = log.machine.now_ms
    log.now_ms -= 100_000
    assert log.do("PTTL k") == 1000
    assert log.machine.now_ms == before


def test_next_deadline_follows_the_nearest_key(log):
    assert log.machine.next_deadline_ms is None
    now_ms = log.now_ms
    log.do("SET a 1 PX 500")
    log.do("SET b 1 PX 300")
    assert log.machine.next_deadline_ms == now_ms + 300
    log.do("PEXPIRE b 900")
    assert log.machine.next_deadline_ms == now_ms + 500
    log.do("PERSIST a")
    assert log.machine.next_deadline_ms == now_ms + 900
    log.do("DEL b")
    assert log.machine.next_deadline_ms is None


def test_key_stays_when_an_old_deadline_of_its_name_passes(log):
    log.do("SET k 1 PX 10")
    log.do("DEL k")
    log.do("SET k 2 PX 100")
    log.now_ms += 50
    assert log.do("GET k") == b"2"
    log.do("SET k 3")
    log.now_ms += 500
    assert log.do("GET k") == b"3"


def test_deadlines_stay_bounded_when_one_key_is_renewed_for_ever(log):
    for round_ in range(20):
        log.run(
            *([b"SET", b"k", b"1", b"PX", b"%d" % (round_ * 100 + at + 1)] for at in range(100))
        )
    assert len(log.machine._store._deadlines) < 100
    assert log.machine.next_deadline_ms == log.now_ms + 2000


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(-1, 30), st.integers(0, 8)), max_size=60
    )
)
def test_deadlines_agree_with_a_plain_table(new_log, steps):
    log = new_log()
    table: dict[str, int] = {}
    for key, time_ms, passes_ms in steps:
        if time_ms == -1:
            log.do(f"DEL {key}")
            table.pop(key, None)
        elif time_ms == 0:
            log.do(f"SET {key} v")
            table[key] = 0
        else:
            log.do(f"SET {key} v PX {time_ms}")
            table[key] = log.now_ms + time_ms
        log.now_ms += passes_ms
        log.decide()
        table = {k: at for k, at in table.items() if not at or at > log.now_ms}
        assert sorted(log.ask("KEYS *")) == sorted(k.encode() for k in table)
        assert log.machine.next_deadline_ms == min(filter(None, table.values()), default=None)
