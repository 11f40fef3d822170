"""What is read from /proc, and what an operation cost by it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from benchmarks import accounting
from benchmarks.accounting import Memory, Sample

STAT = "42 (a (strange) name) S 1 42 42 0 -1 4194560 500 0 0 0 150 50 0 0 20 0 1 0 1000 0 0"


def test_cpu_is_user_and_system_time_when_the_name_has_brackets_and_spaces() -> None:
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    assert accounting.cpu_seconds(STAT) == pytest.approx(200 / ticks_per_s)


def test_written_bytes_are_not_mistaken_for_those_cancelled() -> None:
    text = "rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 4096\ncancelled_write_bytes: 5\n"
    assert accounting.written_bytes(text) == 4096


def test_loopback_bytes_are_those_sent() -> None:
    text = (
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n"
        "  eth0: 7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0\n"
        "    lo: 900 3 0 0 0 0 0 0 901 3 0 0 0 0 0 0\n"
    )
    assert accounting.loopback_bytes(text) == 901
    assert accounting.loopback_bytes("") == 0


def test_device_bytes_are_sectors_of_512() -> None:
    assert accounting.device_bytes("  1 2 3 4 5 6 10 8 0 9 9") == 5120


def test_memory_is_told_in_bytes() -> None:
    text = "5581 rollup\nRss:               1024 kB\nPss:                 512 kB\nPss_Dirty: 9 kB\n"
    assert accounting.memory_bytes(text) == Memory(rss_bytes=1048576, pss_bytes=524288)


def test_busy_is_all_but_idle_and_waiting() -> None:
    text = "cpu  1 2 4 1000 2000 8 16 32 0 0\ncpu0 1 2 4 1000 2000 8 16 32 0 0\n"
    assert accounting.busy_seconds(text) == pytest.approx(63 / os.sysconf("SC_CLK_TCK"))


def sample(
    at_s: float,
    cpu_s: dict[str, float],
    dirtied: int = 0,
    disk: int = 0,
    network: int = 0,
    others_s: float = 0.0,
) -> Sample:
    busy_s = sum(cpu_s.values()) + others_s
    return Sample(at_s, cpu_s, dict.fromkeys(cpu_s, dirtied), disk, network, busy_s)


def test_cost_is_divided_by_what_was_done_between_the_samples() -> None:
    first = sample(10.0, {"a-1": 1.0, "a-2": 1.0, "load": 5.0})
    last = sample(12.0, {"a-1": 1.5, "a-2": 1.25, "load": 6.0}, 4000, 8000, 2000)
    cost = accounting.cost(first, last, rate=1000.0, roles={"a-1": "a", "a-2": "a"})
    assert cost is not None
    # 2,000 operations.
    assert cost.cpu_us == pytest.approx({"a": 375.0, "load": 500.0})
    assert cost.dirtied_bytes == pytest.approx(4.0)
    assert cost.disk_bytes == pytest.approx(4.0)
    assert cost.network_bytes == pytest.approx(1.0)


def test_cost_leaves_out_a_process_that_came_between_the_samples() -> None:
    first = sample(0.0, {"a": 1.0})
    last = sample(1.0, {"a": 1.1, "new": 9.0})
    cost = accounting.cost(first, last, rate=100.0, roles={"a": "a", "new": "new"})
    assert cost is not None
    assert cost.cpu_us.keys() == {"a"}


def test_what_others_used_is_a_share_of_all_processors() -> None:
    cores = os.cpu_count() or 1
    first = sample(0.0, {"a": 1.0})
    last = sample(2.0, {"a": 1.5}, others_s=0.5 * cores)
    cost = accounting.cost(first, last, rate=100.0, roles={"a": "a"})
    assert cost is not None
    assert cost.elsewhere == pytest.approx(0.25)


def test_cost_is_none_when_nothing_was_done() -> None:
    same = sample(0.0, {"a": 1.0})
    assert accounting.cost(same, same, rate=100.0, roles={}) is None


def test_this_process_is_sampled_and_one_that_is_gone_is_left_out(tmp_path: Path) -> None:
    processes = {"this": os.getpid(), "gone": 2**22 + 1}
    found = accounting.sample(processes, accounting.device_of(tmp_path))
    assert found.cpu_s.keys() == found.dirtied_bytes.keys() == {"this"}
    weighed = accounting.memory(processes)
    assert weighed.keys() == {"this"}
    assert weighed["this"].rss_bytes >= weighed["this"].pss_bytes > 0
