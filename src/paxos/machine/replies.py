"""What a command answers, in a neutral form, and Redis's own error texts.

A reply is None (nil), an int, bytes (a value), str (a simple status such as "OK"), a list of
replies, or an error as `{"error": "ERR text"}`. Doors encode these; nothing here knows a wire.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Reply: TypeAlias = "int | bytes | str | list[Reply] | dict[str, str] | None"
"""One command's answer; msgpack keeps every form apart."""

Command: TypeAlias = list[Any]
"""A command as decoded: its name, then its arguments, all bytes (EXEC: name and two lists)."""

OK = "OK"


def error(text: str) -> dict[str, str]:
    """Return an error reply. `text` begins with its code, such as `ERR`."""
    return {"error": text}


def syntax_error() -> dict[str, str]:
    """Return the reply to options that cannot be understood."""
    return error("ERR syntax error")


def not_an_integer() -> dict[str, str]:
    """Return the reply to a number that is not a canonical 64-bit integer."""
    return error("ERR value is not an integer or out of range")


def invalid_expire_time(name: str) -> dict[str, str]:
    """Return the reply to a time to live that is not positive or overflows. `name` is lower."""
    return error(f"ERR invalid expire time in '{name}' command")


def malformed_command() -> dict[str, str]:
    """Return the reply to what is not a name followed by bytes (no door makes such a thing)."""
    return error("ERR malformed command")


def unknown_command(command: Command) -> dict[str, str]:
    """Return Redis's reply to a command that does not exist, quoting at most 128 bytes of each."""
    name = printable(command[0])
    arguments = ""
    for argument in command[1:]:
        if len(arguments) >= 128:
            break
        arguments += f"'{printable(argument, 128 - len(arguments))}' "
    return error(f"ERR unknown command '{name}', with args beginning with: {arguments}")


def bytes_of(reply: Reply) -> int:
    """Return about how many bytes a reply takes when encoded."""
    if isinstance(reply, (bytes, str)):
        return len(reply) + 5
    if isinstance(reply, list):
        return 5 + sum(map(bytes_of, reply))
    if isinstance(reply, dict):
        return 16 + sum(map(len, reply.values()))
    return 9


def printable(text: bytes, bytes_max: int = 128) -> str:
    """Return the beginning of what a client sent, fit for an error text: one line, any bytes."""
    shown = text[:bytes_max].decode("utf-8", "backslashreplace")
    return shown.replace("\r", " ").replace("\n", " ")
