"""The page `/view-logs`: the frame around the state and the log.

The state is rendered here, by the server (present.py), and refreshed by the script; the lines of
the log are drawn by the script alone, as text. Nothing is loaded from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from .present import page_address, state_html

ASSETS = {"page.css": "text/css", "page.js": "text/javascript"}
"""The files that the page loads, and their media types."""

_HOST = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Ccircle cx='8' cy='8' r='7' fill='%232f6fed'/%3E"
    "%3Cpath d='M4 8h8M8 4v8' stroke='white' stroke-width='2'/%3E%3C/svg%3E"
)


def asset(name: str) -> bytes:
    """Return the content of one of `ASSETS`."""
    return files(__package__).joinpath("assets", name).read_bytes()


def host_name(header: str) -> str:
    """Return the name, without port, from a Host header; `localhost` when it is not one."""
    found = _HOST.fullmatch(header.strip())
    return found.group(1) if found else "localhost"


def view_logs_html(
    node: str,
    state: dict[str, Any],
    neighbours: Sequence[tuple[str, int]],
    host: str,
    level: str | None,
    text: str | None,
) -> str:
    """Return the whole page. `level` and `text` are what its filter starts with."""
    options = "".join(
        f'<option value="{value}"{" selected" if value == (level or "") else ""}>{label}</option>'
        for value, label in (
            ("", "every level"),
            ("info", "info and above"),
            ("warning", "warnings and errors"),
            ("error", "errors"),
        )
    )
    name = escape(node)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{name} · Paxos</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="{_ICON}">
<link rel="stylesheet" href="/assets/page.css">
<script src="/assets/page.js" defer></script>
</head>
<body>
<nav aria-label="Nodes">{_navigation(node, neighbours, host)}</nav>
<main>
<header>
<h1>{name}</h1>
<p class="programs">for programs: <a href="/state">state</a> <a href="/logs">logs</a>
<a href="/healthz">healthz</a> <a href="/readyz">readyz</a> <a href="/metrics">metrics</a></p>
</header>
<p id="silent" class="reason bad" role="alert" hidden></p>
<section id="state" aria-label="State">
{state_html(state, neighbours, host)}
</section>
<section aria-label="Log">
<form id="filter" class="toolbar">
<h2>Log</h2>
<label><span>Level</span> <select id="level">{options}</select></label>
<label class="wide"><span>Text</span>
<input id="text" type="search" placeholder="filter by text" maxlength="200"
 autocomplete="off" spellcheck="false" value="{escape(text or "")}"></label>
<button id="pause" type="button" aria-pressed="false">Pause</button>
<span id="live" class="chip" role="status">connecting</span>
</form>
<ol id="log"></ol>
<p id="empty" class="quiet">No line yet.</p>
<noscript><p class="reason warn">The live log needs JavaScript;
<a href="/logs?format=text">here is the log as text</a>.</p></noscript>
</section>
</main>
</body>
</html>
"""


def _navigation(node: str, neighbours: Sequence[tuple[str, int]], host: str) -> str:
    items = []
    for other, port in neighbours:
        current = ' aria-current="page"' if other == node else ""
        items.append(
            f'<a href="{escape(page_address(host, port))}" data-node="{escape(other)}"{current}>'
            f"{escape(other)}</a>"
        )
    return "".join(items)
