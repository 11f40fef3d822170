"""The machine that figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path


def describe_machine(data: Path) -> dict[str, str]:
    """Return what the figures depend on: processor, memory, kernel, the data's file system."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_kib = int(Path("/proc/meminfo").read_text(encoding="utf-8").split()[1])
    file_system = subprocess.run(
        ["stat", "--file-system", "--format=%T", data], capture_output=True, text=True, check=True
    )
    return {
        "processor": f"{len(os.sched_getaffinity(0))} cores, {cpu}",
        "memory": f"{memory_kib / 1024 / 1024:.1f} GiB",
        "kernel": platform.release(),
        "file system": file_system.stdout.strip(),
        "python": f"{platform.python_version()}, {Path(sys.executable).resolve()}",
    }
