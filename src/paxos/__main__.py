"""`python -m paxos` is the same as the command `paxos`."""

from __future__ import annotations

import sys

from paxos.apps.cli import main

if __name__ == "__main__":
    sys.exit(main())
