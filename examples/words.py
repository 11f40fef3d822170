#!/usr/bin/env python3
"""Real data while things break: a dictionary goes in through one door and comes out of the other.

    ./examples/words.py                 the words of Debian's package wamerican, 100,000 and more
    ./examples/words.py FILE --no-harm  the lines of any file, and nothing is broken

Every word goes through `redis-cli --pipe` to the first door, twice: `INCR` on a key of its own and
`WRITE` into the cluster's list. Neither can be repeated unseen: a command that was lost leaves a
counter without a value and the list without an entry, one that was applied twice a counter at 2
and a second entry. Meanwhile an acceptor is stopped, the leader gets SIGKILL half-way, the
acceptor is started again, and other clients count at both doors. Then all is read back through the
last door and compared with the file, word by word.

The cluster must run (./run.sh), as local processes or as a Swarm. Exit status: 0 everything is
there exactly once and no client saw an error, 1 not so, 2 wrong usage or nothing to run it with.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
LOCK = ROOT / "requirements-dev.lock"
WORDS = Path("/usr/share/dict/words")
WRONG_USAGE = 2


def read_command_line() -> argparse.Namespace:
    """Return what was asked; ends here with wrong usage and with --help."""
    parser = argparse.ArgumentParser(description="Real data while things break.")
    parser.add_argument(
        "file", nargs="?", type=Path, default=WORDS, help=f"a word on each line ({WORDS})"
    )
    parser.add_argument("--in-port", type=int, help="the door they go in at (the first)")
    parser.add_argument("--out-port", type=int, help="the door they are read at (the last)")
    parser.add_argument("--no-harm", action="store_true", help="kill and stop nothing")
    parser.add_argument(
        "--mode",
        choices=("local", "swarm"),
        help="how the cluster runs (as ./run.sh last started it)",
    )
    parser.add_argument("--config", type=Path, help="the cluster's configuration file")
    return parser.parse_args()


def locked(package: str) -> str:
    """Return a package's entry in the lock of the tests: its version and its files' hashes."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith(f"{package}=="))
    last = first
    while lines[last].endswith("\\"):
        last += 1
    return "\n".join(lines[first : last + 1]) + "\n"


def install(package: str) -> bool:
    """Install one package at its locked version into this environment; False when pip fails."""
    print(f"words.py: fetching {package} for the project's environment", file=sys.stderr)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as wanted:
        wanted.write(locked(package))
        wanted.flush()
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        options = ["--quiet", "--no-deps", "--require-hashes", "-r", wanted.name]
        return subprocess.run([*pip, *options], check=False).returncode == 0


def main() -> int:
    """Run pouring.py in the project's own environment, with redis-py in it."""
    given = read_command_line()
    again = [str(Path(__file__).resolve()), *sys.argv[1:]]
    if Path(sys.prefix).resolve() != ENVIRONMENT.resolve():
        python = str(ENVIRONMENT / "bin" / "python")
        if not os.access(python, os.X_OK):
            print("words.py: there is no .venv yet; ./run.sh makes it", file=sys.stderr)
            return WRONG_USAGE
        os.execv(python, [python, *again])
    if importlib.util.find_spec("redis") is None:
        if not install("redis"):
            return WRONG_USAGE
        os.execv(sys.executable, [sys.executable, *again])
    sys.path.insert(0, str(ROOT / "src"))
    from pouring import main as pour

    return pour(given)


if __name__ == "__main__":
    sys.exit(main())
