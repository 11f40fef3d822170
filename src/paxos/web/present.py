"""A node's state as HTML: the upper half of its page.

Reads the dictionary that `/state` shows and nothing else. What a role's status has and this
file does not know is shown all the same, under its own name, so a new figure needs no change
here. Everything that comes from the state is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from . import format as shown
from .tile import Tile, Tone, tiles_html
from .upkeep import upkeep_html

TONES: dict[str, Tone] = {
    "leading": "good",
    "follower": "",
    "canvassing": "warn",
    "preparing": "warn",
    "open": "good",
    "formatted": "warn",
    "blank": "warn",
    "joining": "warn",
    "barred": "bad",
    "removed": "bad",
}


Shape = Callable[[Any], str]

LABELS: dict[str, tuple[str, Shape]] = {
    "accepts": ("Accepts", shown.count),
    "applied": ("Applied slot", shown.count),
    "connections": ("Connections", shown.count),
    "decided": ("Decided slot", shown.count),
    "door": ("Door", str),
    "elections": ("Elections", shown.count),
    "errors": ("Errors", shown.count),
    "highest_seen": ("Highest slot seen", shown.count),
    "highest_slot": ("Highest slot", shown.count),
    "inflight": ("In flight", shown.count),
    "keys": ("Keys", shown.count),
    "leader": ("Leader", shown.plain),
    "learner": ("Learner", shown.plain),
    "missing": ("Missing slots", shown.plain),
    "nacks": ("Nacks", shown.count),
    "next_slot": ("Next slot", shown.count),
    "proposals": ("Proposals", shown.count),
    "queued": ("Queued", shown.count),
    "reads": ("Reads", shown.count),
    "revision": ("Revision", shown.count),
    "session": ("Session", shown.count),
    "sessions": ("Sessions", shown.count),
    "values": ("Values", shown.count),
    "writes": ("Writes", shown.count),
}
"""How the single figures of the roles' status are named and shown."""

BALLOTS = {
    "ballot": "Ballot",
    "leader_ballot": "Leader's ballot",
    "promised": "Promised ballot",
}

HIDDEN = {"reason", "cluster", "now_ms", "nodes", "voting", "abstaining", "keeping", "snapshots"}
"""Parts of a status that are shown elsewhere, or of no use to a person."""


def state_html(state: dict[str, Any], neighbours: Sequence[tuple[str, int]], host: str) -> str:
    """Return the upper half of the page: what the node is, its figures, its tables."""
    status = state.get("status") or {}
    if not isinstance(status, dict):
        status = {"status": status}
    parts = [_banner(state, status), tiles_html(tiles(state, status)), upkeep_html(state)]
    if state.get("role") == "discovery":
        parts.append(_book(status, neighbours, host))
    voting, abstaining = status.get("voting"), status.get("abstaining")
    if state.get("role") == "proposer" and (voting or abstaining):
        parts.append(_votes(voting or [], abstaining or {}))
    links = state.get("links")
    if links:
        parts.append(_links(links))
    membership = state.get("membership")
    if isinstance(membership, dict):
        parts.append(_members(str(state.get("node", "")), membership))
    return "\n".join(part for part in parts if part)


def tiles(state: dict[str, Any], status: dict[str, Any]) -> list[Tile]:
    """Return a node's figures in the order in which its role lists them."""
    found: list[Tile] = []
    for name, value in status.items():
        tile = _tile(name, value, status)
        if tile is not None:
            found.append(tile)
    found.append(Tile(label="Memory", value=shown.size(state.get("memory_bytes"))))
    found.append(
        Tile(
            label="Up",
            value=shown.duration(state.get("uptime_s")),
            caption=f"pid {state.get('pid', shown.NOTHING)}",
        )
    )
    return found


def _tile(name: str, value: Any, status: dict[str, Any]) -> Tile | None:
    if name in HIDDEN:
        return None
    if name == "phase":
        tone = TONES.get(str(value), "")
        return Tile(label="Phase", value=shown.plain(value), tone=tone)
    if name in BALLOTS:
        number = str(value) if value else shown.NOTHING
        return Tile(label=BALLOTS[name], value=number, caption=shown.ballot_owner(value))
    if name == "quorum" and isinstance(value, dict):
        return _quorum(value)
    if name in ("write_ms", "read_ms") and isinstance(value, dict):
        label = "Write latency" if name == "write_ms" else "Read latency"
        if status.get("writes" if name == "write_ms" else "reads") == 0:
            return Tile(label=label, value=shown.NOTHING)
        return Tile(
            label=label,
            value=shown.milliseconds(value.get("p50")),
            caption=f"p50; p99 {shown.milliseconds(value.get('p99'))}",
        )
    if name == "missing" and isinstance(value, list):
        tone = "bad" if value else "good"
        return Tile(label="Not registered", value=str(len(value)), tone=tone)
    if name == "next_slot" and status.get("phase") != "leading":
        # Only a leader gives out slots; a follower's figure is of its own last time, if any.
        return Tile(label="Next slot", value=shown.NOTHING)
    label, shape = LABELS.get(name, (name.replace("_", " ").capitalize(), shown.plain))
    tone = "warn" if name in ("errors", "missing") and value else ""
    if name == "leader" and not value:
        tone = "bad"
    return Tile(label=label, value=shape(value), tone=tone)


def _quorum(quorum: dict[str, Any]) -> Tile:
    voting = quorum.get("voting") or []
    needed = quorum.get("needed")
    answering = len(voting) if isinstance(voting, list) else voting
    enough = isinstance(needed, int) and isinstance(answering, int) and answering >= needed
    abstaining = quorum.get("abstaining")
    caption = f"{needed} needed of {quorum.get('of')}"
    if abstaining:
        caption += f"; abstaining: {shown.plain(abstaining)}"
    return Tile(
        label="Acceptors voting",
        value=str(answering),
        caption=caption,
        tone="good" if enough else "bad",
    )


def health_tone(state: dict[str, Any]) -> tuple[str, Tone]:
    """Return a node's condition in a word or two, and its tone."""
    if not state.get("healthy", True):
        return "unhealthy", "bad"
    if not state.get("ready", True):
        return "not ready", "warn"
    return "ready", "good"


def _banner(state: dict[str, Any], status: dict[str, Any]) -> str:
    word, tone = health_tone(state)
    reason = state.get("reason") or status.get("reason") or ""
    cluster = state.get("cluster")
    facts = [
        f'<span class="chip {tone}">{escape(word)}</span>',
        f"<span>version <b>{escape(shown.plain(state.get('version')))}</b></span>",
        f"<span>incarnation <b>{escape(str(state.get('incarnation', shown.NOTHING)))}</b></span>",
    ]
    # Only volumes belong to a cluster by name; the other nodes know it by its secret.
    if cluster:
        facts.insert(1, f"<span>cluster <b>{escape(str(cluster))}</b></span>")
    why = f'<p class="reason {tone}">{escape(str(reason))}</p>' if reason else ""
    return f'<div class="facts">{"".join(facts)}</div>{why}'


def _votes(voting: Sequence[str], abstaining: dict[str, str]) -> str:
    chips = [f'<li class="chip good">{escape(str(node))}</li>' for node in voting]
    chips += [
        f'<li class="chip warn">{escape(str(node))}: {escape(str(reason))}</li>'
        for node, reason in abstaining.items()
    ]
    return f'<h2>Acceptors that answer</h2><ul class="chips">{"".join(chips)}</ul>'


def _links(links: Sequence[dict[str, Any]]) -> str:
    chips = []
    for link in links:
        up = bool(link.get("connected"))
        since = shown.duration(link.get("since_s"))
        peer = escape(str(link.get("peer", "")))
        chips.append(
            f'<li class="chip {"good" if up else "bad"}" data-peer="{peer}" data-up="{int(up)}">'
            f"{peer} <small>{'' if up else 'down '}{escape(since)}</small></li>"
        )
    return f'<h2>Links</h2><ul class="chips">{"".join(chips)}</ul>'


def _members(node: str, membership: dict[str, Any]) -> str:
    """Return who the members are, in the newest configuration that the node knows."""
    chips = [
        f'<li class="chip {"good" if str(one) == node else ""}">{escape(str(one))}</li>'
        for role in ("proposers", "acceptors", "learners", "clients")
        for one in membership.get(role) or []
    ]
    epoch, slot = shown.count(membership.get("epoch")), membership.get("slot")
    since = f"decided in slot {shown.count(slot)}" if slot else "since the founding"
    text = f"Epoch {epoch}, {since}."
    quiet = f'<p class="quiet">{escape(text)}</p>'
    if not membership.get("member", True):
        quiet = f'<p class="reason bad">{escape(f"{text} {node} is none of them.")}</p>'
    return f'<h2>Members</h2>{quiet}<ul class="chips">{"".join(chips)}</ul>'


def _book(status: dict[str, Any], neighbours: Sequence[tuple[str, int]], host: str) -> str:
    """Return discovery's table: every configured node, registered or not, and strangers."""
    entries = {str(entry.get("node")): entry for entry in status.get("nodes") or []}
    ports = dict(neighbours)
    order = [node for node, _ in neighbours]
    order += [node for node in entries if node not in ports]
    leader = status.get("leader")
    rows = []
    for node in order:
        entry = entries.get(node)
        name = escape(node)
        if node in ports:
            name = f'<a href="{escape(page_address(host, ports[node]))}">{name}</a>'
        if node == leader:
            name += ' <span class="chip good">leader</span>'
        if entry is None:
            missing = "" if node == "discovery" else "bad"
            text = "this page" if node == "discovery" else "not registered"
            rows.append(f'<tr class="{missing}"><th>{name}</th><td colspan="4">{text}</td></tr>')
            continue
        address = f"{entry.get('host', '')}:{entry.get('peer_port', '')}"
        cells = (
            ("", address),
            ("renewed ", f"{shown.duration(entry.get('age_s'))} ago"),
            ("leader's ballot ", str(entry.get("leader_ballot") or shown.NOTHING)),
            ("", shown.plain(entry.get("summary"))),
        )
        # On a phone the heads of the columns are gone and these labels stand before the values.
        columns = "".join(
            f'<td data-label="{escape(label)}"{_quiet(value)}>{escape(value)}</td>'
            for label, value in cells
        )
        rows.append(f"<tr><th>{name}</th>{columns}</tr>")
    return (
        "<h2>Nodes</h2><table><thead><tr><th>Node</th><th>Address</th><th>Renewed</th>"
        "<th>Leader's ballot</th><th>State</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _quiet(value: str) -> str:
    """Return the class of a cell that has nothing to say, and is left out on a phone."""
    return ' class="nothing"' if value == shown.NOTHING else ""


def page_address(host: str, port: int) -> str:
    """Return the address of a node's page, on the host that the browser already talks to."""
    return f"http://{host}:{port}/view-logs"
