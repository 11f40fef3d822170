"""What happened in a step, as structured records.

Logs, pages, metrics and the simulator all read these; roles never log. A trace is made where
state changes, not per message, so the hot path stays free of it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Level(StrEnum):
    """How much a person should care."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Trace(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened: a snake_case `what`, structured `fields`, a sentence for people.

    Glyphs in rendered logs: `<` received, `>` sent, `=` state change, `!` rejected.
    """

    what: str
    text: str
    level: Level = Level.INFO
    glyph: str = "="
    fields: dict[str, Any] = {}
