"""Numbers, durations and sizes as people read them. Shared by the pages and the monitor."""

from __future__ import annotations

from typing import Any

from paxos.core.types import Ballot, owner_of

NOTHING = "-"
"""Shown where there is no value."""


def count(value: Any) -> str:
    """Return a whole number with its thousands set apart."""
    return f"{value:,}" if isinstance(value, int) else plain(value)


def compact(value: float) -> str:
    """Return a number in at most five characters: 950, 1.2k, 38k, 1.5M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            scaled = value / limit
            return f"{scaled:.1f}{unit}" if scaled < 10 else f"{scaled:.0f}{unit}"
    return f"{value:.0f}"


def size(value: Any) -> str:
    """Return a number of bytes in the unit that suits it."""
    if not isinstance(value, int | float):
        return plain(value)
    amount = float(value)
    for unit in ("B", "KiB", "MiB"):
        if abs(amount) < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def duration(value: Any) -> str:
    """Return a number of seconds in its two largest units."""
    if not isinstance(value, int | float):
        return plain(value)
    if value < 1:
        return f"{max(0.0, value) * 1000:.0f} ms"
    if value < 10:
        return f"{value:.1f} s"
    seconds = int(value)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600} h"


def milliseconds(value: Any) -> str:
    """Return a latency given in milliseconds."""
    if not isinstance(value, int | float):
        return plain(value)
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"


def ballot_owner(value: Any) -> str:
    """Return whose a ballot is, in words; nothing when it is nobody's."""
    if not isinstance(value, int) or value <= 0:
        return ""
    return f"of {owner_of(Ballot(value))}"


def plain(value: Any) -> str:
    """Return any value as text."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or NOTHING
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(item)}" for name, item in value.items()) or NOTHING
    return str(value)
