"""Checks what a request asks for, whole, before anything is done (DESIGN rule 10).

Every refusal names the parameter, the bad value, and what would be good.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from paxos.runtime.logs import LEVELS, RECORDS_MAX

LIMIT_MAX = RECORDS_MAX
"""The most records that one answer holds."""

LIMIT_DEFAULT = 500
"""How many records an answer holds unless told."""

TEXT_MAX = 200
"""The longest text to look for, in characters."""

SEQUENCE_MAX = 2**53
"""Sequence numbers stay below what JavaScript holds exactly."""

BOOT_MAX = 16
"""The longest name of one life of a log."""

Format = Literal["jsonl", "text"]


class BadQuery(ValueError):
    """A query parameter is wrong. The message is for whoever sent it."""


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What `/logs` is asked for, checked. `format` None: whatever suits the client.

    `boot` is what the ids of a followed log's records begin with: see app.Followers.
    """

    after: int | None = None
    boot: str | None = None
    level: str | None = None
    text: str | None = None
    limit: int = LIMIT_DEFAULT
    follow: bool = False
    format: Format | None = None


def log_query(parameters: Sequence[tuple[str, str]]) -> LogQuery:
    """Return the checked query of `/logs`. Raises BadQuery."""
    given = _singles(parameters, LogQuery.__struct_fields__)
    level = given.get("level") or None
    if level is not None and level not in LEVELS:
        raise BadQuery(f"level={level[:40]!r} is not one of {', '.join(LEVELS)}")
    text = given.get("text") or None
    if text is not None and len(text) > TEXT_MAX:
        raise BadQuery(f"text is {len(text)} characters long; at most {TEXT_MAX} are looked for")
    form = given.get("format")
    if form is not None and form not in ("jsonl", "text"):
        raise BadQuery(f"format={form[:40]!r} is not one of jsonl, text")
    boot = given.get("boot")
    if boot is not None and not (len(boot) <= BOOT_MAX and boot.isascii() and boot.isalnum()):
        raise BadQuery(f"boot={boot[:40]!r} is not the first part of a record's id")
    return LogQuery(
        after=_integer(given, "after", 0, SEQUENCE_MAX),
        boot=boot,
        level=level,
        text=text,
        limit=_integer(given, "limit", 1, LIMIT_MAX) or LIMIT_DEFAULT,
        follow=_flag(given, "follow"),
        format="text" if form == "text" else "jsonl" if form == "jsonl" else None,
    )


def state_query(parameters: Sequence[tuple[str, str]]) -> bool:
    """Return whether `/state` was asked to be pretty. Raises BadQuery."""
    return _flag(_singles(parameters, ("pretty",)), "pretty")


def no_query(parameters: Sequence[tuple[str, str]]) -> None:
    """Refuse any parameter. Raises BadQuery."""
    _singles(parameters, ())


def _flag(given: dict[str, str], name: str) -> bool:
    """Return a parameter that is 0 or 1, False when it is not given. Raises BadQuery."""
    value = given.get(name, "0")
    if value not in ("0", "1"):
        raise BadQuery(f"{name}={value[:40]!r} is not 0 or 1")
    return value == "1"


def _singles(parameters: Sequence[tuple[str, str]], known: Collection[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in known:
            good = f"known are {', '.join(known)}" if known else "there is none here"
            raise BadQuery(f"there is no parameter {name[:40]!r}; {good}")
        if name in given:
            raise BadQuery(f"{name} is given twice")
        given[name] = value
    return given


def _integer(given: dict[str, str], name: str, least: int, most: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    # int() would take "1_0", " 7" and other scripts' digits, and long digits take it long.
    if not (value.isascii() and value.isdigit() and len(value) <= 16):
        raise BadQuery(f"{name}={value[:40]!r} is not a whole number in {least}..{most}")
    number = int(value)
    if not least <= number <= most:
        raise BadQuery(f"{name}={value} is not in {least}..{most}")
    return number
