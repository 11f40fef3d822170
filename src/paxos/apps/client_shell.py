"""The command-line client: one command, or an interactive shell, or commands from a pipe.

`client_requests` reads what was typed, `client_connection` carries it, `client_output` shows the
answer. Exit status: 0 done, 1 definite failure, 2 wrong usage, 3 unknown outcome.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
import time
from typing import TYPE_CHECKING

from paxos.core.errors import IndefiniteError, RequestError

from . import client_output
from .client_connection import Connection
from .client_requests import HELP, SHELL_HELP, Options, Request, UsageError, parse, take_options

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

DONE, FAILED, USAGE, UNKNOWN = 0, 1, 2, 3
PASSWORD_VARIABLE = "PAXOS_SECURITY_PASSWORD"
HISTORY_NAME = ".paxos_history"


class Client:
    """Runs requests at one door and shows their answers."""

    def __init__(self, host: str, port: int) -> None:
        password = os.environ.get(PASSWORD_VARIABLE)
        self.host = host
        self.port = port
        self._fresh = Connection(host, port, password=password)
        # A connection of its own, so that a stale read never makes a later one stale.
        self._stale = Connection(host, port, password=password, stale=True)

    def run(self, request: Request, timing: bool = False) -> int:
        """Run a request, show its answer or its error, and return the exit status."""
        options = request.options
        connection = self._stale if options.stale else self._fresh
        before = connection.generation
        began = time.perf_counter()
        try:
            reply = connection.call(request.command, options.timeout_s)
        except RequestError as error:
            unknown = isinstance(error, IndefiniteError)
            client_output.show_error(str(error), unknown=unknown, json_output=options.json)
            return UNKNOWN if unknown else FAILED
        elapsed_ms = (time.perf_counter() - began) * 1000
        status = client_output.show(request, reply, elapsed_ms)
        if timing and not options.json:
            note = "" if before in (0, connection.generation) else "; connected again"
            client_output.show_timing(elapsed_ms, note)
        return DONE if status else FAILED

    def close(self) -> None:
        """Hang up."""
        self._fresh.close()
        self._stale.close()


def main(arguments: list[str]) -> int:
    """Run the client with the words after the program's name. Returns the exit status."""
    for stream, errors in (
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
        (sys.stdin, "surrogateescape"),
    ):
        # Whatever the terminal's encoding is: a value that it lacks a character for is shown.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    try:
        return _main(arguments)
    except BrokenPipeError:
        # Whoever read our output has enough of it (`| head`): nothing failed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _main(arguments: list[str]) -> int:
    try:
        options, words = take_options(arguments, Options())
        if options.help and not words[2:]:
            print(HELP)
            return DONE
        host, port = _address(words)
        request = parse(words[2:], options) if words[2:] else None
    except UsageError as error:
        general = arguments[: arguments.index("--")] if "--" in arguments else arguments
        if "--json" in general:
            client_output.show_error(str(error), usage=True, json_output=True)
        else:
            client_output.show_error(f"{error}\nclient_cli.py --help says more", usage=True)
        return USAGE
    client = Client(host, port)
    try:
        if request is not None:
            return client.run(request)
        if sys.stdin.isatty():
            return _interactive(client, options)
        return _piped(client, options)
    finally:
        client.close()


def _address(words: list[str]) -> tuple[str, int]:
    if len(words) < 2 or "--" in words[:2]:
        raise UsageError("a host and a port are needed, such as: client_cli.py localhost 6001 read")
    host, port = words[0], words[1]
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise UsageError(f"{port!r} is not a port; it must be a number in 1..65535")
    return host, int(port)


# ---------------------------------------------------------------- many commands


def _piped(client: Client, options: Options) -> int:
    """Run the commands on standard input, a line each. Returns the gravest of their statuses."""
    gravest = DONE
    for line in sys.stdin:
        status = _run_line(client, line, options, timing=False)
        if status is None:
            break
        gravest = _graver(gravest, status)
    return gravest


def _interactive(client: Client, options: Options) -> int:
    """Ask for commands until Ctrl-D. Returns 0: a person has seen what failed."""
    session = _session(client)
    print(f"Paxos at {client.host}:{client.port}. help lists the commands, Ctrl-D leaves.")
    while True:
        try:
            line = session.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return DONE
        if _run_line(client, line, options, timing=True) is None:
            return DONE


def _run_line(client: Client, line: str, options: Options, timing: bool) -> int | None:
    """Run one line. Returns its status, or None when it asks to leave."""
    try:
        words = shlex.split(line)
        options, words = take_options(words, options)
        if not words:
            return DONE
        name = words[0].lower()
        if name in ("exit", "quit"):
            return None
        if name == "help" or options.help:
            print(SHELL_HELP)
            return DONE
        return client.run(parse(words, options), timing)
    except UsageError as error:
        client_output.show_error(str(error), usage=True, json_output=options.json)
    except ValueError as error:
        # shlex: a quote that is not closed, a backslash at the end.
        client_output.show_error(f"{error} in this line".lower(), usage=True)
    return USAGE


def _graver(one: int, other: int) -> int:
    """Return the status that says more: unknown, then failed, then wrong usage."""
    order = (DONE, USAGE, FAILED, UNKNOWN)
    return max(one, other, key=order.index)


def _session(client: Client) -> PromptSession[str]:
    """Return the shell's prompt with history and completion."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.formatted_text import FormattedText

    from .client_completion import CommandCompleter, history

    name = [("ansicyan", f"{client.host}:{client.port}"), ("", "> ")]
    return PromptSession(
        FormattedText(name),
        history=history(os.environ.get("HOME"), HISTORY_NAME),
        completer=CommandCompleter(),
        complete_while_typing=False,
        enable_history_search=True,
    )
