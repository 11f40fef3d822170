"""Draws the monitor: a line or two per node, within 80 columns, and what holds back their logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from paxos.runtime.upkeep import progress
from paxos.web import format as shown

from .monitor import NodeSample, Sample, Watch

STYLES = {
    "leading": "bold green",
    "follower": "",
    "canvassing": "yellow",
    "preparing": "yellow",
    "open": "green",
    "formatted": "yellow",
    "blank": "yellow",
    "barred": "bold red",
}

REASON_CHARACTERS_MAX = 300

STATE_COLUMNS = len("canvassing")
SLOT_COLUMNS = len("123,456")
UP_COLUMNS = len("59 min")


def show_live(watch: Watch, interval_s: float) -> None:
    """Draw again and again until interrupted."""
    console = Console()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            began = time.monotonic()
            live.update(frame(watch.sample(), "Ctrl-C leaves"), refresh=True)
            time.sleep(max(0.0, began + interval_s - time.monotonic()))


def show_once(sample: Sample) -> None:
    """Draw one frame and leave it there."""
    Console().print(frame(sample))


def frame(sample: Sample, hint: str = "") -> Group:
    """Return the whole view of one moment."""
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="dim", expand=True
    )
    table.add_column("node", no_wrap=True)
    # Wide enough for what usually comes, so that the columns do not move as the figures grow.
    table.add_column("state", no_wrap=True, min_width=STATE_COLUMNS)
    table.add_column("slot", justify="right", no_wrap=True, min_width=SLOT_COLUMNS)
    table.add_column("activity", ratio=1, overflow="fold")
    table.add_column("MiB", justify="right", no_wrap=True)
    table.add_column("up", justify="right", no_wrap=True, min_width=UP_COLUMNS)
    for one in sample.nodes:
        table.add_row(*_row(one))
    parts: list[Any] = [_headline(sample, hint), table]
    for text in dict.fromkeys(one.held_back for one in sample.nodes if one.held_back):
        parts.append(Text(f"log: {text[:REASON_CHARACTERS_MAX]}", style="yellow"))
    if not sample.up:
        parts.append(Text("No node answers. Start the system with ./run.sh", style="yellow"))
    return Group(*parts)


def _headline(sample: Sample, hint: str) -> Text:
    clusters = {str(one.state.get("cluster") or "") for one in sample.nodes if one.up} - {""}
    head = Text()
    head.append("Paxos", style="bold")
    if clusters:
        head.append(f" {', '.join(sorted(name[:12] for name in clusters))}", style="dim")
    head.append("  ")
    if sample.leader:
        head.append(f"leader {sample.leader}", style="bold green")
        head.append(f" ballot {sample.ballot}")
    else:
        head.append("no leader", style="bold red")
    head.append(f"  decided {sample.decided:,}")
    everyone = sample.up == len(sample.nodes)
    head.append(f"  {sample.up}/{len(sample.nodes)} up", style="" if everyone else "bold red")
    head.append(
        f"\n{shown.compact(sample.writes_per_s)} writes/s"
        f"  {shown.compact(sample.reads_per_s)} reads/s"
        f"  {time.strftime('%H:%M:%S', time.localtime(sample.time))}"
    )
    if hint:
        head.append(f"  {hint}", style="dim")
    return head


def _row(one: NodeSample) -> Sequence[Text]:
    name = Text(one.node)
    if not one.up:
        gone = Text(_down(one), style="red")
        return name, Text("down", style="bold red"), Text(""), gone, Text(""), Text("")
    role = one.node.partition("-")[0]
    word, slot, activity = ROLES.get(role, _other)(one)
    state = Text(word, style=STYLES.get(word, ""))
    detail = Text(activity)
    # A learner that is on its way through what it has just seen is not in trouble.
    busy = bool(one.status.get("missing")) and role == "learner" and not one.behind
    if not one.state.get("healthy", True) or not (one.state.get("ready", True) or busy):
        kind = "not ready" if one.state.get("healthy", True) else "unhealthy"
        reason = one.state.get("reason") or one.status.get("reason") or ""
        reason = str(reason)[:REASON_CHARACTERS_MAX]
        detail = Text(f"{kind}: {reason}" if reason else kind, style="yellow")
        if word == "running":
            state = Text(kind, style="yellow")
    return (
        name,
        state,
        Text(slot),
        detail,
        Text(_mebibytes(one.state.get("memory_bytes"))),
        Text(_short_duration(one.state.get("uptime_s"))),
    )


def _down(one: NodeSample) -> str:
    """Return for how long and since when a node has not answered, in whole seconds."""
    if one.down_s is None:
        lasting = "since unknown"
    else:
        since = time.strftime("%H:%M:%S", time.localtime(one.down_since))
        seconds = max(1, int(one.down_s))
        lasting = f"{seconds} s" if seconds < 60 else shown.duration(seconds)
        lasting = f"for {lasting}, since {since}"
    # Where nothing even refuses, the process is stopped or cut off rather than gone.
    return f"{lasting}, timed out" if "timed out" in one.trouble else lasting


def _proposer(one: NodeSample) -> tuple[str, str, str]:
    status = one.status
    if status.get("phase") == "leading":
        activity = f"{_rate(one, 'decided')} slots/s"
        activity += _if_any(status, "inflight", "open") + _if_any(status, "queued", "queued")
    else:
        activity = f"follows {status.get('leader') or 'nobody'}"
    return str(status.get("phase", "")), shown.count(status.get("decided")), activity


def _acceptor(one: NodeSample) -> tuple[str, str, str]:
    status = one.status
    promised = status.get("promised") or shown.NOTHING
    activity = f"promised {promised} {_rate(one, 'accepts')} accepts/s{_acceptors_log(one)}"
    return str(status.get("phase", "")), shown.count(status.get("highest_slot")), activity


def _learner(one: NodeSample) -> tuple[str, str, str]:
    status = one.status
    activity = f"{_rate(one, 'applied')} slots/s {_rate(one, 'reads')} reads/s "
    activity += f"{shown.compact(int(status.get('keys') or 0))} keys{_learners_log(one)}"
    word = f"{shown.compact(one.behind)} behind" if one.behind else "running"
    return word, shown.count(status.get("applied")), activity


def _acceptors_log(one: NodeSample) -> str:
    """Return a second line: how large the volume and the log are, or what is coming in."""
    keeping, upkeep = one.status.get("keeping"), one.state.get("upkeep")
    if not keeping or not upkeep:
        return ""
    behind = ", behind" if keeping["behind"] or upkeep["missing_slots"] else ""
    if keeping["incoming_bytes"]:
        coming = progress(keeping["incoming"], keeping["incoming_bytes"])
        return f"\nsnapshot {coming} coming in{behind}"
    log = f"log {shown.compact(upkeep['log_slots'])}"
    log += f" since slot {shown.compact(keeping['base'])}" if keeping["base"] else " slots"
    if one.state.get("volume_bytes") is not None:
        log = f"{_mebibytes(one.state['volume_bytes'])} MiB, {log}"
    return f"\n{log}{behind}"


def _learners_log(one: NodeSample) -> str:
    """Return a second line: how far the log has grown since the snapshot, and what is under way."""
    own, upkeep = one.status.get("snapshots"), one.state.get("upkeep")
    if not own or not upkeep:
        return ""
    if own["restoring_bytes"]:
        return f"\nsnapshot {progress(own['restored_bytes'], own['restoring_bytes'])} restored"
    line = f"\nlog {progress(own['log_bytes'], upkeep['due_bytes'])}"
    if own["taking"]:
        return f"{line}, taking snapshot"
    slot = own["kept_slot"]
    return line + (f" since slot {shown.compact(slot)}" if slot else ", no snapshot")


def _client(one: NodeSample) -> tuple[str, str, str]:
    status = one.status
    lines = []
    for name, latency in (("writes", "write_ms"), ("reads", "read_ms")):
        line = f"{_rate(one, name)} {name}/s"
        found = status.get(latency)
        if isinstance(found, dict) and status.get(name):
            line += f" p50 {_milliseconds(found.get('p50'))} p99 {_milliseconds(found.get('p99'))}"
            line += " ms"
        lines.append(line)
    lines[1] += _if_any(status, "errors", "errors")
    # The queue comes and goes: where it stands, no line gets longer or is added for it.
    queued = _if_any(status, "queued", "queued").strip()
    return f"door {status.get('door', '')}\n{queued}", "", "\n".join(lines)


def _discovery(one: NodeSample) -> tuple[str, str, str]:
    nodes, missing = one.status.get("nodes") or [], one.status.get("missing") or []
    activity = f"{len(nodes)} nodes registered"
    if missing and isinstance(missing, list):
        activity += f", {len(missing)} missing"
    return "running", "", activity


def _other(one: NodeSample) -> tuple[str, str, str]:
    return "running", "", ""


ROLES: dict[str, Callable[[NodeSample], tuple[str, str, str]]] = {
    "proposer": _proposer,
    "acceptor": _acceptor,
    "learner": _learner,
    "client": _client,
    "discovery": _discovery,
}


def _if_any(status: dict[str, Any], name: str, word: str) -> str:
    """Return a figure with its name, when it is not zero."""
    value = status.get(name)
    return f" {shown.compact(value)} {word}" if isinstance(value, int) and value else ""


def _milliseconds(value: Any) -> str:
    if not isinstance(value, int | float):
        return shown.NOTHING
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _mebibytes(value: Any) -> str:
    return f"{value / 2**20:.0f}" if isinstance(value, int | float) else shown.NOTHING


def _rate(one: NodeSample, name: str) -> str:
    rate = one.rates.get(name)
    return shown.NOTHING if rate is None else shown.compact(rate)


def _short_duration(value: Any) -> str:
    """Return an uptime's largest unit."""
    if not isinstance(value, int | float):
        return shown.NOTHING
    for seconds, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if value >= seconds:
            return f"{int(value // seconds)} {unit}"
    return f"{int(value)} s"
