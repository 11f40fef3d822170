#!/usr/bin/env python3
"""The command-line client: ./client/client_cli.py HOST PORT [COMMAND ...]; --help says more.

Needs nothing but a Python: it goes on in the project's own environment, which ./run.sh makes,
and there runs paxos.apps.client_shell.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
ENVIRONMENT = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(ENVIRONMENT, "bin", "python")


def main():
    """Run the client, in the project's environment if this is not it yet."""
    if os.path.realpath(sys.prefix) != os.path.realpath(ENVIRONMENT):
        if not os.access(PYTHON, os.X_OK):
            print(
                "client_cli.py: the project's Python environment is not there yet:\n"
                f"  {ENVIRONMENT}\n"
                "Make it, and start the system, with:  ./run.sh",
                file=sys.stderr,
            )
            return 2
        os.execv(PYTHON, [PYTHON, os.path.realpath(__file__), *sys.argv[1:]])
    source = os.path.join(ROOT, "src")
    if os.path.isdir(source):
        sys.path.insert(0, source)
    from paxos.apps.client_shell import main as shell

    return shell(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
