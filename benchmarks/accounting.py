"""What work costs, from Linux's /proc: CPU time, memory, bytes to the disk and over the network.

- CPU: user and system time of every process, in clock ticks of 10 ms; over seconds that is exact
  enough. What the kernel does in interrupts and in its own threads is in nobody's figure.
- Disk: what the block device under the data has been given, whoever gave it: the file system's
  own journal is in it, and so would be any other program that writes meanwhile.
- Dirtied: `write_bytes` of /proc/PID/io: pages that a process made dirty. A synced record dirties
  4 KiB at least, again for every sync, and on some kernels the whole larger folio around them, so
  this may be far above what reaches the disk.
- Network: the loopback device's counter. Everything on this machine goes through it, between the
  nodes as well as between the load generator and them, headers included; nothing is subtracted.
- Elsewhere: the share of all processors' time that neither the system nor the generator used: other
  programs, and what the kernel does for nobody in particular. Where it is large, somebody disturbed
  the measurement.
- Memory: RSS counts a page that processes share once in each of them, PSS divides it among them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_SECTOR_BYTES = 512
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
GENERATOR = "load generator"
"""The name under which the process that makes the load is counted."""


@dataclass(frozen=True)
class Sample:
    """Counters at one moment, by process. `at_s` is time.monotonic's."""

    at_s: float
    cpu_s: Mapping[str, float]
    dirtied_bytes: Mapping[str, int]
    disk_bytes: int
    loopback_bytes: int
    busy_s: float
    """What all processors of the machine have worked, together."""


@dataclass(frozen=True)
class Cost:
    """What one operation cost. CPU in microseconds by role."""

    cpu_us: dict[str, float]
    disk_bytes: float
    dirtied_bytes: float
    network_bytes: float
    elsewhere: float
    """The share of the machine's processor time that others used, 0 to 1."""


@dataclass(frozen=True)
class Memory:
    """What one process holds, in bytes."""

    rss_bytes: int
    pss_bytes: int


def cpu_seconds(stat: str) -> float:
    """Return user plus system time from the text of /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def busy_seconds(stat: str) -> float:
    """Return what all processors have worked, from the text of /proc/stat."""
    user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, stat.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S


def written_bytes(io: str) -> int:
    """Return `write_bytes` from the text of /proc/PID/io."""
    return _labelled(io, "write_bytes:")


def loopback_bytes(dev: str) -> int:
    """Return the bytes that left through `lo`, from the text of /proc/net/dev."""
    for line in dev.splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "lo":
            return int(counters.split()[8])
    return 0


def device_bytes(stat: str) -> int:
    """Return the bytes written, from the text of a block device's `stat`."""
    return int(stat.split()[6]) * _SECTOR_BYTES


def device_of(folder: Path) -> Path | None:
    """Return the `stat` of the block device under a folder; None when there is none (tmpfs)."""
    number = folder.stat().st_dev
    file = Path("/sys/dev/block") / f"{os.major(number)}:{os.minor(number)}" / "stat"
    return file if file.exists() else None


def memory_bytes(rollup: str) -> Memory:
    """Return RSS and PSS from the text of /proc/PID/smaps_rollup."""
    return Memory(_labelled(rollup, "Rss:") * 1024, _labelled(rollup, "Pss:") * 1024)


def own_bytes(rollup: str) -> int:
    """Return what nobody else shares, from the text of /proc/PID/smaps_rollup."""
    return 1024 * sum(_labelled(rollup, label) for label in ("Private_Clean:", "Private_Dirty:"))


def _labelled(text: str, label: str) -> int:
    for line in text.splitlines():
        if line.startswith(label):
            return int(line.split()[1])
    return 0


def _read(pid: int, name: str) -> str:
    """Return a file of /proc/PID; nothing when the process is gone."""
    try:
        return (_PROC / str(pid) / name).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def sample(processes: Mapping[str, int], device: Path | None) -> Sample:
    """Read all counters now. `processes` are pids by name; one that is gone is left out.

    `device` is what `device_of` returned.
    """
    cpu_s: dict[str, float] = {}
    dirtied: dict[str, int] = {}
    for name, pid in processes.items():
        if stat := _read(pid, "stat"):
            cpu_s[name] = cpu_seconds(stat)
            dirtied[name] = written_bytes(_read(pid, "io"))
    network = loopback_bytes((_PROC / "net" / "dev").read_text(encoding="utf-8"))
    disk = device_bytes(device.read_text(encoding="utf-8")) if device is not None else 0
    busy_s = busy_seconds((_PROC / "stat").read_text(encoding="utf-8"))
    return Sample(time.monotonic(), cpu_s, dirtied, disk, network, busy_s)


def cost(first: Sample, last: Sample, rate: float, roles: Mapping[str, str]) -> Cost | None:
    """Return what one operation cost between two samples, at `rate` operations a second.

    `roles` maps a process's name to the role that it is counted under; a process without one is
    left out of what was dirtied but not of the CPU. None when nothing was done.
    """
    passed_s = last.at_s - first.at_s
    operations = rate * passed_s
    if operations <= 0:
        return None
    cpu_us: dict[str, float] = {}
    dirtied, used_s = 0, 0.0
    for name, spent_s in last.cpu_s.items():
        if name not in first.cpu_s:
            continue
        role = roles.get(name, name)
        more_s = spent_s - first.cpu_s[name]
        used_s += more_s
        cpu_us[role] = cpu_us.get(role, 0.0) + more_s * 1e6 / operations
        if name in roles:
            dirtied += last.dirtied_bytes[name] - first.dirtied_bytes[name]
    network = last.loopback_bytes - first.loopback_bytes
    disk = last.disk_bytes - first.disk_bytes
    others_s = last.busy_s - first.busy_s - used_s
    return Cost(
        cpu_us,
        disk / operations,
        dirtied / operations,
        network / operations,
        elsewhere=max(0.0, others_s / (passed_s * (os.cpu_count() or 1))),
    )


def memory(processes: Mapping[str, int]) -> dict[str, Memory]:
    """Return what each process holds now; one that is gone is left out."""
    found = {}
    for name, pid in processes.items():
        if rollup := _read(pid, "smaps_rollup"):
            found[name] = memory_bytes(rollup)
    return found


def children_bytes(pid: int) -> int:
    """Return what a process's children hold that they share with nobody, bytes; 0 without any.

    A forked child shares with its parent what neither has changed since: what it holds alone is
    what the fork has cost so far.
    """
    children = _read(pid, f"task/{pid}/children").split()
    return sum(own_bytes(_read(int(child), "smaps_rollup")) for child in children)
