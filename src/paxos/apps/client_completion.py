"""The interactive shell's help for the hands: completion of commands and options, history."""

from __future__ import annotations

import os
from collections.abc import Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from .client_requests import COMMANDS, GENERAL

# fmt: off
OTHERS = (
    "append", "dbsize", "decr", "decrby", "del", "discard", "echo", "exec", "exists", "exit",
    "expire", "get", "getdel", "getset", "help", "incr", "incrby", "info", "keys", "mget", "mset",
    "multi", "persist", "pexpire", "ping", "pttl", "scan", "set", "setnx", "strlen", "ttl", "type",
    "unwatch", "watch",
)
# fmt: on
"""Commands that are offered besides the project's own."""


class CommandCompleter(Completer):
    """Completes the first word to a command and later ones to that command's options."""

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """Yield what the word before the cursor may become."""
        before = document.text_before_cursor.split(" ")
        word = before[-1]
        names = [one for one in before[:-1] if one]
        if not names:
            offered: tuple[str, ...] = (*COMMANDS, *OTHERS)
        else:
            offered = tuple(
                option
                for option in (*COMMANDS.get(names[0].lower(), ("--stale",)), *GENERAL)
                if option not in names
            )
        for one in offered:
            if one.startswith(word.lower()):
                yield Completion(one, start_position=-len(word))


def history(home: str | None, name: str) -> History:
    """Return the history kept in `home`, readable to its owner alone; in memory if that fails."""
    if not home:
        return InMemoryHistory()
    path = os.path.join(home, name)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)
