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

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
WRONG_USAGE = 2


def main() -> int:
    """Run pouring.py in the project's own environment, with redis-py in it."""
    again = [str(Path(__file__).resolve()), *sys.argv[1:]]
    if Path(sys.prefix).resolve() != ENVIRONMENT.resolve():
        python = str(ENVIRONMENT / "bin" / "python")
        if not os.access(python, os.X_OK):
            print("words.py: there is no .venv yet; ./run.sh makes it", file=sys.stderr)
            return WRONG_USAGE
        os.execv(python, [python, *again])
    if importlib.util.find_spec("redis") is None:
        print("words.py: fetching redis-py for the project's environment", file=sys.stderr)
        made = subprocess.run([str(ROOT / "scripts" / "setup_venv.sh"), "dev"], check=False)
        if made.returncode:
            return WRONG_USAGE
        os.execv(sys.executable, [sys.executable, *again])
    sys.path.insert(0, str(ROOT / "src"))
    from pouring import main as pour

    return pour(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
