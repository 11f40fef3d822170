"""The figures of a page: small boxes with a label, a value and a caption."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import msgspec

Tone = str
"""How a value is coloured: `good`, `warn`, `bad`, or empty."""


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """One figure: a label, the value, a caption below it, and a tone."""

    label: str
    value: str
    caption: str = ""
    tone: Tone = ""


def tiles_html(found: Sequence[Tile]) -> str:
    """Return the boxes, escaped."""
    cells = "".join(
        f'<div class="tile {tile.tone}"><dt>{escape(tile.label)}</dt>'
        f"<dd>{escape(tile.value)}</dd>"
        f"<dd class=caption>{escape(tile.caption)}</dd></div>"
        for tile in found
    )
    return f'<dl class="tiles">{cells}</dl>'
