"""Processes and ports as Linux's /proc tells them: who lives, since when, who has a port.

It starts and stops nothing by itself, except that `end` signals the processes it is given.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

_PROC = Path("/proc")
_PR_SET_NAME = 15
_LISTENING = "0A"

COMMAND_CHARACTERS_MAX = 80
"""How much of a command line a message shows."""


class Process(msgspec.Struct, frozen=True):
    """One process, told apart from a later one that was given the same pid.

    `started` is the start time in clock ticks since the machine's start, from /proc/PID/stat.
    """

    pid: int
    started: int

    @property
    def lives(self) -> bool:
        """Tell whether this very process still runs (one that nobody has reaped does not)."""
        state, started = _stat(self.pid)
        return started == self.started and state not in ("Z", "X", "")


def process(pid: int) -> Process:
    """Return the process that has a pid now; one that does not live when there is none."""
    return Process(pid, _stat(pid)[1])


def _stat(pid: int) -> tuple[str, int]:
    """Return a process's state letter and start time; ("", -1) when there is none."""
    fields = _stat_fields(pid)
    return (fields[0], int(fields[19])) if len(fields) > 19 else ("", -1)


def _stat_fields(pid: int | str) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on; the second may hold spaces."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def name_this_process(title: str) -> None:
    """Show `title`, such as `paxos node acceptor 1`, in ps and top. Purely cosmetic.

    The kernel reads the command line from the process's own memory, so a forked node writes
    over what it inherited, as far as there is room.
    """
    libc = ctypes.CDLL(None)
    short = "-".join(title.split()[2:]) or title
    libc.prctl(_PR_SET_NAME, short.encode()[:15], 0, 0, 0)
    fields = _stat_fields("self")
    if len(fields) < 47:
        return
    first, end = int(fields[45]), int(fields[46])
    if 0 < first < end:
        room = end - first
        ctypes.memmove(first, title.encode()[: room - 1].ljust(room, b"\0"), room)


def end(processes: Iterable[Process], grace_s: float) -> list[Process]:
    """Ask processes to end (SIGTERM), wait, kill (SIGKILL) those that have not after `grace_s`.

    Returns those that had to be killed. Ones that do not live are left out. Also wakes stopped
    ones (SIGCONT), which could not hear the first request.
    """
    waiting = [one for one in processes if one.lives]
    for one in waiting:
        send(one, signal.SIGTERM)
        send(one, signal.SIGCONT)
    killed = wait_until_gone(waiting, grace_s)
    for one in killed:
        send(one, signal.SIGKILL)
    wait_until_gone(killed, grace_s)
    return killed


def send(one: Process, number: signal.Signals) -> bool:
    """Signal a process if it is still that one. False when it is gone."""
    if not one.lives:
        return False
    try:
        os.kill(one.pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(processes: Iterable[Process], timeout_s: float) -> list[Process]:
    """Wait until processes have ended. Returns those that have not after `timeout_s`.

    Ended means that the last thread has: a process whose first thread is over counts as dead
    elsewhere here, but may have its ports for a moment yet.
    """
    poll = select.poll()
    watched: dict[int, Process] = {}
    for one in processes:
        if _stat(one.pid)[1] != one.started:
            continue
        try:
            descriptor = os.pidfd_open(one.pid)
        except ProcessLookupError:
            continue
        watched[descriptor] = one
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    try:
        while watched and (left_s := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left_s * 1000):
                poll.unregister(descriptor)
                os.close(descriptor)
                del watched[descriptor]
        return [one for one in watched.values() if one.lives]
    finally:
        for descriptor in watched:
            os.close(descriptor)


def owner_of_port(port: int) -> str:
    """Return who listens on a TCP port, as a phrase for an error message."""
    inodes = _listening_inodes(port)
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and inodes & _socket_inodes(folder):
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
            # Some programs are given a whole script as one word: one line of it will do.
            command = " ".join(words.decode("utf-8", "replace").split())
            return f"process {folder.name} ({command[:COMMAND_CHARACTERS_MAX]})"
    return "a process that this user may not see"


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        file = _PROC / table
        if not file.exists():
            continue
        for line in file.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _socket_inodes(folder: Path) -> set[str]:
    inodes = set()
    try:
        for link in (folder / "fd").iterdir():
            target = os.readlink(link)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        # Another user's process, or one that ended while we looked.
        return inodes
    return inodes


def bind_trouble(host: str) -> str | None:
    """Return why nobody can listen at an address, whatever the port, or None when one can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            return error.strerror or str(error)
    return None


def port_trouble(host: str, port: int) -> str | None:
    """Return why nobody can listen on a port, as the end of a sentence, or None when one can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"is taken by {owner_of_port(port)}"
            return f"cannot be listened on at {host}: {error.strerror}"
    return None
