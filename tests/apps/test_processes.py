"""Processes and ports as /proc tells them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from paxos.apps import processes

PROGRAM = """
import signal, sys
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("begun", flush=True)
signal.pause()
"""


@pytest.fixture
def child() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Two processes: one that ends when asked to, one that is deaf."""
    started = {}
    for kind in ("polite", "deaf"):
        one = subprocess.Popen([sys.executable, "-c", PROGRAM, kind], stdout=subprocess.PIPE)
        assert one.stdout is not None
        assert one.stdout.readline() == b"begun\n"
        started[kind] = one
    yield started
    for one in started.values():
        one.kill()
        one.wait()
        assert one.stdout is not None
        one.stdout.close()


def test_process_lives_until_it_ends_even_when_nobody_has_reaped_it(
    child: dict[str, subprocess.Popen[bytes]],
) -> None:
    one = processes.process(child["polite"].pid)
    assert one.lives
    assert processes.end([one], grace_s=10.0) == []
    assert not one.lives


def test_same_pid_with_another_start_is_another_process() -> None:
    me = processes.process(os.getpid())
    assert me.lives
    assert not processes.Process(me.pid, me.started + 1).lives
    assert not processes.send(processes.Process(me.pid, me.started + 1), signal.SIGKILL)
    assert not processes.process(2**22 + 1).lives


def test_deaf_process_is_killed_after_its_grace(
    child: dict[str, subprocess.Popen[bytes]],
) -> None:
    polite, deaf = (processes.process(child[kind].pid) for kind in ("polite", "deaf"))
    assert processes.end([polite, deaf], grace_s=0.5) == [deaf]
    assert child["deaf"].wait() == -signal.SIGKILL
    assert child["polite"].wait() == -signal.SIGTERM


def test_stopped_process_hears_the_request_to_end(
    child: dict[str, subprocess.Popen[bytes]],
) -> None:
    one = processes.process(child["polite"].pid)
    processes.send(one, signal.SIGSTOP)
    assert processes.end([one], grace_s=10.0) == []
    assert child["polite"].wait() == -signal.SIGTERM


def test_waiting_for_one_that_lives_ends_in_time(
    child: dict[str, subprocess.Popen[bytes]],
) -> None:
    one = processes.process(child["deaf"].pid)
    assert processes.wait_until_gone([one], timeout_s=0.05) == [one]


def test_owner_of_a_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        trouble = processes.port_trouble("127.0.0.1", port)
        assert trouble is not None
        assert trouble.startswith(f"is taken by process {os.getpid()} (")
    assert processes.port_trouble("127.0.0.1", port) is None


def test_address_that_is_not_ours_is_no_good() -> None:
    trouble = processes.port_trouble("192.0.2.1", 8000)
    assert trouble == "cannot be listened on at 192.0.2.1: Cannot assign requested address"
