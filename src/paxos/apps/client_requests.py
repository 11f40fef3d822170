"""What a person may type at the command-line client, and the command that it becomes.

`write`, `read`, `responses` and `status` are checked here; every other word is passed through
to the gateway as it is, so the shell speaks every RESP command that the system has.
"""

from __future__ import annotations

import os
from typing import NamedTuple

TIMEOUT_S = 10.0
"""How long a command may take unless told. A gateway gives up by itself well before."""

TIMEOUT_MAX_S = 3600.0

HELP = """\
Usage: client_cli.py HOST PORT [COMMAND ...]

  write VALUE                         append VALUE to the list of values
  read [--limit N] [--from SLOT]      print the list, in order, with slots
  responses [N]                       what the learners confirmed to this client node
  status                              this client node's view of the system
  set k v, get k, incr n, ...         any other command of the RESP door

  --json          machine-readable answers
  --timeout S     how long a command may take, in seconds (10)
  --stale         let a read be answered from what one learner has applied so far
  --              what follows is data, even when it looks like an option

Without a COMMAND: an interactive shell, or, when standard input is not a terminal, the
commands on it, a line each.

Exit status: 0 done, 1 definite failure (it did not happen), 3 unknown outcome (it may have),
2 wrong usage. A door with a password takes it from PAXOS_SECURITY_PASSWORD."""

SHELL_HELP = HELP.partition("\n\n")[2].partition("\n\nWithout")[0] + "\n\n  exit, Ctrl-D    leave"

COMMANDS: dict[str, tuple[str, ...]] = {
    "write": (),
    "read": ("--limit", "--from", "--stale"),
    "responses": (),
    "status": (),
}
"""The project's own commands and the options that each has besides the general ones."""

GENERAL = ("--json", "--timeout")


class UsageError(ValueError):
    """What was typed makes no sense. The message says what would."""


class Options(NamedTuple):
    """How a request is run and shown. `timeout_s` in seconds."""

    json: bool = False
    timeout_s: float = TIMEOUT_S
    stale: bool = False
    help: bool = False


class Request(NamedTuple):
    """A command for the gateway. `name` is one of `COMMANDS`, or empty for any other."""

    name: str
    command: list[bytes]
    options: Options


def take_options(words: list[str], options: Options) -> tuple[Options, list[str]]:
    """Split the general options off. What follows `--` stays, with it. Raises UsageError."""
    left: list[str] = []
    remaining = iter(words)
    for word in remaining:
        name, equals, value = word.partition("=")
        if word == "--":
            return options, [*left, word, *remaining]
        if word == "--json":
            options = options._replace(json=True)
        elif word == "--stale":
            options = options._replace(stale=True)
        elif word in ("--help", "-h"):
            options = options._replace(help=True)
        elif name == "--timeout":
            text = value if equals else next(remaining, "")
            options = options._replace(timeout_s=_seconds(text))
        else:
            left.append(word)
    return options, left


def parse(words: list[str], options: Options) -> Request:
    """Return the request that these words, without general options, ask for. Raises UsageError."""
    split = words.index("--") if "--" in words else len(words)
    head, literal = words[:split], words[split + 1 :]
    if not head and not literal:
        raise UsageError("a command is needed")
    name = (head or literal)[0].lower()
    if name not in COMMANDS:
        return Request("", [os.fsencode(word) for word in (*head, *literal)], options)
    values, given = _options_of(name, head[1:])
    values += literal if head else literal[1:]
    if options.stale and "--stale" not in COMMANDS[name]:
        raise UsageError(f"{name} cannot be stale; only reads can")
    if name == "write":
        return Request(name, [b"WRITE", _one_value(values)], options)
    if name == "responses":
        if len(values) > 1:
            raise UsageError("responses takes at most one number: how many to print")
        count = [_number("how many responses", values[0], 1)] if values else []
        return Request(name, [b"RESPONSES", *count], options)
    if values:
        raise UsageError(f"{name} takes no {values[0]!r}; see help")
    command = [name.upper().encode()]
    if "--from" in given:
        command += [b"FROM", _number("--from", given["--from"], 0)]
    if "--limit" in given:
        command += [b"LIMIT", _number("--limit", given["--limit"], 1)]
    return Request(name, command, options)


def _options_of(name: str, words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Split a command's own options, which all take a value, from its values."""
    values: list[str] = []
    given: dict[str, str] = {}
    remaining = iter(words)
    for word in remaining:
        option, equals, value = word.partition("=")
        if not word.startswith("--"):
            values.append(word)
        elif option not in COMMANDS[name]:
            known = ", ".join((*COMMANDS[name], *GENERAL))
            raise UsageError(
                f"{name} has no option {option}; it has {known} (for data, put -- before it)"
            )
        else:
            given[option] = value if equals else next(remaining, "")
    return values, given


def _one_value(values: list[str]) -> bytes:
    if not values:
        raise UsageError('write needs a value, such as: write "novo valor"')
    if len(values) > 1:
        quoted = " ".join(values)
        raise UsageError(f'write takes one value; did you mean: write "{quoted}" ?')
    return os.fsencode(values[0])


def _number(what: str, text: str, least: int) -> bytes:
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) >= least):
        raise UsageError(f"{what} must be a whole number from {least} on, not {text!r}")
    return text.encode()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= TIMEOUT_MAX_S:
        raise UsageError(f"--timeout must be seconds above 0, to {TIMEOUT_MAX_S:.0f}, not {text!r}")
    return seconds
