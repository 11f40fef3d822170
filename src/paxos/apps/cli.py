"""The command line: `paxos up`, `status`, `node` and the rest.

Exit status: 0 done, 1 definite failure (it did not happen), 2 wrong usage or configuration,
3 unknown outcome (it may have happened). With --json the answer is one JSON value on standard
output; progress and errors for people go to standard error.

`node` and `health` are run often and by machines, so they are dispatched before anything that
only people need is imported.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from paxos import __version__
from paxos.core.errors import ConfigurationError, IndefiniteError, PaxosError
from paxos.core.types import NodeId, Role, node_id

from . import config as configuration_module
from .config import Configuration

DONE = 0
FAILED = 1
WRONG_USAGE = 2
UNKNOWN_OUTCOME = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit status; the console script exits with it."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"paxos {__version__}")
        return DONE
    if words[:1] == ["--json"] and len(words) > 1:
        words = [*words[1:], "--json"]
    asked_json = "--json" in words
    try:
        if words[:1] == ["node"] and "--help" not in words:
            return _node(words[1:])
        if words[:1] == ["health"] and "--help" not in words:
            return _health(words[1:])
        from .commands import run

        return run(words)
    except PaxosError as error:
        return told_error(error, asked_json)


def told_error(error: PaxosError, as_json: bool) -> int:
    """Tell a failure, for people or for programs. Returns the exit status that goes with it."""
    status = FAILED
    if isinstance(error, ConfigurationError):
        status = WRONG_USAGE
    elif isinstance(error, IndefiniteError):
        status = UNKNOWN_OUTCOME
    if as_json:
        print(json.dumps({"error": str(error).splitlines(), "exit": status}))
    else:
        for line in str(error).splitlines():
            print(f"paxos: {line}", file=sys.stderr)
    return status


def named_node(role: str, number: int | None) -> NodeId:
    """Return the node that `ROLE [NUMBER]` means; `acceptor-2` means the same as `acceptor 2`.

    Raises ConfigurationError when there is no such role, or several nodes may be meant.
    """
    name, dash, suffix = role.partition("-")
    if dash and suffix.isdigit() and number is None:
        number = int(suffix)
    if name not in tuple(Role):
        raise ConfigurationError(f'role "{role}": must be one of {", ".join(Role)}')
    if number is None and name != Role.DISCOVERY:
        raise ConfigurationError(f'role "{name}": which one? Add its number, such as {name} 1')
    return node_id(Role(name), 1 if number is None else number)


class _Parser(argparse.ArgumentParser):
    """Tells wrong usage as everything else is told: by an error, not by leaving."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message} ({self.prog} --help says more)")


def _node_arguments(command: str, words: list[str]) -> tuple[Configuration, NodeId, bool]:
    parser = _Parser(prog=f"paxos {command}")
    parser.add_argument("role")
    parser.add_argument("number", type=int, nargs="?")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    configuration = configuration_module.load(given.config, os.environ)
    node = named_node(given.role, given.number)
    # Refuses a node that this cluster does not have, before anything is opened.
    configuration.require(node)
    return configuration, node, given.json


def _node(words: list[str]) -> int:
    """Be one node until told to stop."""
    configuration, node, _ = _node_arguments("node", words)
    from .node import run_node

    return run_node(configuration, node)


def _health(words: list[str]) -> int:
    """Ask one node on this machine whether it is healthy."""
    configuration, node, as_json = _node_arguments("health", words)
    from . import asking

    answer = asking.page(configuration.local_host(), configuration.page_port(node), "/healthz")
    healthy = answer.status == 200
    if as_json:
        print(json.dumps({"node": node, "healthy": healthy, "answer": answer.content}))
    else:
        print(f"{node}: {'healthy' if healthy else answer.trouble or f'HTTP {answer.status}'}")
    return DONE if healthy else FAILED


if __name__ == "__main__":
    sys.exit(main())
