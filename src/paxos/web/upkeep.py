"""A node's snapshots and log as HTML: the part of an acceptor's and a learner's page.

Reads the dictionary that `/state` shows and nothing else; the sentence in it was made by
`paxos.runtime.upkeep`. Everything that comes from the state is escaped.
"""

from __future__ import annotations

from html import escape
from typing import Any

from paxos.runtime.upkeep import progress

from . import format as shown
from .tile import Tile, tiles_html


def upkeep_html(state: dict[str, Any]) -> str:
    """Return the section, or nothing for a node that has no snapshots."""
    upkeep = _part(state, "upkeep")
    if not upkeep:
        return ""
    status = _part(state, "status")
    if keeping := _part(status, "keeping"):
        tiles, kept = _of_acceptor(state, upkeep, keeping), _part(keeping, "kept")
    else:
        own = _part(status, "snapshots")
        tiles, kept = _of_learner(state, upkeep, own), _part(own, "kept")
    tone = "reason warn" if upkeep.get("held_back") else "quiet"
    text = escape(shown.plain(upkeep.get("text")))
    parts = [
        "<h2>Snapshots and the log</h2>",
        f'<p class="{tone}">{text}</p>',
        tiles_html(tiles),
        _kept(kept),
    ]
    return "".join(parts)


def volume(state: dict[str, Any]) -> str:
    """Return the size of a node's volume."""
    return shown.size(state.get("volume_bytes"))


def _of_acceptor(
    state: dict[str, Any], upkeep: dict[str, Any], keeping: dict[str, Any]
) -> list[Tile]:
    base, missing = _number(keeping, "base"), _number(upkeep, "missing_slots")
    cuttable = _number(upkeep, "cuttable_slots")
    behind = bool(missing or keeping.get("behind"))
    tiles = [
        Tile(label="Volume", value=volume(state), caption="on disk"),
        Tile(
            label="Log cut up to slot",
            value=shown.count(base) if base else shown.NOTHING,
            caption=f"{shown.count(upkeep.get('log_slots'))} slots since",
        ),
        _snapshot(
            "Newest snapshot",
            _number(keeping, "snapshot_slot"),
            _number(keeping, "snapshot_bytes"),
            upkeep,
        ),
        Tile(
            label="Could be cut",
            value=shown.count(cuttable),
            caption="slots",
            tone="warn" if cuttable else "",
        ),
        Tile(
            label="Slots missing",
            value=f"{missing:,} or more" if missing else "some" if behind else "none",
            caption="catching up" if behind else "",
            tone="warn" if behind else "",
        ),
    ]
    incoming = _number(keeping, "incoming_bytes")
    if incoming:
        tiles.append(_under_way("Snapshot coming in", _number(keeping, "incoming"), incoming))
    return tiles


def _of_learner(state: dict[str, Any], upkeep: dict[str, Any], own: dict[str, Any]) -> list[Tile]:
    kept, taken = _number(own, "kept_slot"), _number(own, "taken_slot")
    due_bytes, due_slots = _number(upkeep, "due_bytes"), _number(upkeep, "due_slots")
    size = _number(own, "taken_bytes")
    tiles = [
        Tile(
            label="Log has grown by",
            value=shown.size(_number(own, "log_bytes")),
            caption=f"{shown.count(max(0, _number(own, 'log_slots')))} slots",
        ),
        Tile(
            label="Next snapshot at",
            value=shown.size(due_bytes),
            caption=f"or {shown.count(due_slots)} slots",
        ),
        _snapshot("Kept snapshot", kept, size if kept == taken else 0, upkeep),
    ]
    if taken and taken != kept:
        tiles.append(
            Tile(
                label="Snapshot taken here",
                value=f"{taken:,}",
                caption=shown.size(size),
                tone="warn",
            )
        )
    if own.get("taking"):
        tiles.append(Tile(label="Snapshot", value="being taken"))
    restoring = _number(own, "restoring_bytes")
    if restoring:
        done = _number(own, "restored_bytes")
        tiles.append(_under_way("Snapshot restored", done, restoring))
    if state.get("volume_bytes") is not None:
        tiles.append(Tile(label="Volume", value=volume(state), caption="on disk"))
    return tiles


def _snapshot(label: str, slot: int, size: int, upkeep: dict[str, Any]) -> Tile:
    if not slot:
        return Tile(label=label, value="none yet")
    age = upkeep.get("snapshot_age_s")
    since = "since before the start" if age is None else f"for {shown.duration(age)}"
    caption = f"{shown.size(size)}, {since}" if size else since
    return Tile(label=label, value=f"{slot:,}", caption=caption)


def _under_way(label: str, done: int, size: int) -> Tile:
    return Tile(
        label=label, value=f"{100 * done // size} %", caption=progress(done, size), tone="warn"
    )


def _kept(kept: dict[str, Any]) -> str:
    """Return which slot's snapshot each acceptor keeps."""
    newest = max((slot for slot in kept.values() if isinstance(slot, int)), default=0)
    if not newest:
        return ""
    chips = "".join(
        f'<li class="chip {"good" if slot == newest else "warn"}">{escape(str(node))} '
        f"<small>{f'slot {slot:,}' if slot else 'none'}</small></li>"
        for node, slot in kept.items()
        if isinstance(slot, int)
    )
    return f'<h3>Newest snapshot of each acceptor</h3><ul class="chips">{chips}</ul>'


def _part(whole: dict[str, Any], name: str) -> dict[str, Any]:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _number(part: dict[str, Any], name: str) -> int:
    value = part.get(name)
    return value if isinstance(value, int) else 0
