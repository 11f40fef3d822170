"""A history as one HTML page: a row per process, a bar per operation, the violation marked.

The page needs nothing else: no script has to run, no file or address is loaded. Events are set
side by side in their order, as far apart as their texts need, not to the scale of time: what
matters to linearizability is order alone. Of a long history only the neighbourhood of the
violation is drawn, and what is left out is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from paxos.sim.history import LIST_FUNCTIONS, Operation
from paxos.sim.linearizability import Verdict
from paxos.sim.wording import answer, asked, described

OPERATIONS_SHOWN_MAX = 160
"""More bars than this do not help a person."""

CHARACTER_PIXELS = 7.3
PADDING_PIXELS = 18
BADGE_PIXELS = 28
STEP_PIXELS = 14
GAP_PIXELS = 74

Place = tuple[float, int]


def page(name: str, operations: Sequence[Operation], verdict: Verdict) -> str:
    """Return the whole page. `name` is the history's, for people."""
    shown = _neighbourhood(operations, verdict)
    layout = _Layout(shown, operations, verdict)
    one_key = len({operation.key for operation in shown}) < 2
    word = "linearizable" if verdict.linearizable else "not linearizable"
    parts = [
        _HEAD.format(title=escape(f"{name}: {word}")),
        f'<header class="{"good" if verdict.linearizable else "bad"}">',
        f"<p class=name>{escape(name)}</p><h1>{word[0].upper()}{word[1:]}</h1>",
        f"<p class=reason>{escape(_sentence(verdict, operations))}</p>",
        f"<p class=facts>{escape(_facts(verdict, shown, operations))}</p></header>",
    ]
    if verdict.offending:
        parts.append(_table(verdict))
    parts.append("<h2>The history</h2>" if verdict.linearizable else "<h2>Where it went wrong</h2>")
    parts.append(_legend(verdict))
    parts.append('<div class=scroll tabindex=0 aria-label="operations in time order">')
    parts.append(f'<div class=rows style="width:{layout.width + 16:.0f}px">')
    for process in layout.processes:
        parts.append(_row(process, layout, verdict, not one_key))
    parts += [_gaps(layout), "</div></div>", _NOTES, _TAIL]
    return "\n".join(parts)


def _about(verdict: Verdict, operation: Operation) -> bool:
    """Tell whether an operation is on the object at fault."""
    if any(one.f in LIST_FUNCTIONS for one in verdict.offending):
        return operation.f in LIST_FUNCTIONS
    return operation.key == verdict.key and operation.f not in LIST_FUNCTIONS


def _neighbourhood(operations: Sequence[Operation], verdict: Verdict) -> list[Operation]:
    """Return the operations to draw, in the order of invocation."""
    if verdict.linearizable:
        return sorted(operations, key=lambda one: one.place)[:OPERATIONS_SHOWN_MAX]
    same = sorted((one for one in operations if _about(verdict, one)), key=lambda one: one.place)
    rank = {one.index: number for number, one in enumerate(same)}
    chosen = {rank[one.index] for one in verdict.offending if one.index in rank}
    marks = sorted(chosen)[:OPERATIONS_SHOWN_MAX]
    chosen = set(marks)
    for distance in range(1, len(same)):
        ring = [mark + way for mark in marks for way in (-distance, distance)]
        ring = [number for number in ring if 0 <= number < len(same)]
        if len(chosen) + len(ring) > OPERATIONS_SHOWN_MAX or distance > 12:
            break
        chosen.update(ring)
    return [same[number] for number in sorted(chosen)]


class _Layout:
    """Where each event stands, in pixels from the left, and where events are left out."""

    def __init__(
        self, shown: Sequence[Operation], operations: Sequence[Operation], verdict: Verdict
    ) -> None:
        one_key = len({operation.key for operation in shown}) < 2
        drawn = {operation.index for operation in shown}
        hidden = sorted(
            operation.place
            for operation in operations
            if operation.index not in drawn and (verdict.linearizable or _about(verdict, operation))
        )
        self._badges = {operation.index for operation in verdict.offending}
        self.begin: dict[int, float] = {}
        self.end: dict[int, float] = {}
        self.gaps: list[tuple[float, int]] = []
        self.rows: dict[int, list[Operation]] = {}
        self.texts = {one.index: described(one, not one_key) for one in shown}
        events: list[tuple[Place, int, Operation]] = []
        for operation in shown:
            self.rows.setdefault(operation.process, []).append(operation)
            events.append((operation.place, 0, operation))
            if operation.returned is not None:
                ended = 1 << 60 if operation.ended is None else operation.ended
                events.append(((operation.returned, ended), 1, operation))
        events.sort(key=lambda event: (event[0], event[1], event[2].index))
        at, next_hidden, row_end = 8.0, 0, dict.fromkeys(self.rows, 0.0)
        for place, ends, operation in events:
            passed = next_hidden
            while passed < len(hidden) and hidden[passed] < place:
                passed += 1
            if passed > next_hidden:
                self.gaps.append((at + STEP_PIXELS / 2, passed - next_hidden))
                at += GAP_PIXELS
                next_hidden = passed
            at += STEP_PIXELS
            if ends:
                at = max(at, self.begin[operation.index] + self._room(operation))
                self.end[operation.index] = row_end[operation.process] = at
            else:
                at = max(at, row_end[operation.process] + 6)
                self.begin[operation.index] = at
        if next_hidden < len(hidden):
            self.gaps.append((at + STEP_PIXELS / 2, len(hidden) - next_hidden))
            at += GAP_PIXELS
        for operation in shown:
            if operation.index not in self.end:
                at = max(at, self.begin[operation.index] + self._room(operation))
        self.width = at + STEP_PIXELS
        self.processes = sorted(self.rows)

    def _room(self, operation: Operation) -> float:
        badge = BADGE_PIXELS if operation.index in self._badges else 0
        return len(self.texts[operation.index]) * CHARACTER_PIXELS + PADDING_PIXELS + badge


def _row(process: int, layout: _Layout, verdict: Verdict, with_key: bool) -> str:
    offending = {one.index: number for number, one in enumerate(verdict.offending, start=1)}
    bars = []
    for operation in layout.rows[process]:
        left = layout.begin[operation.index]
        right = layout.end.get(operation.index, layout.width)
        kind = operation.outcome if operation.returned is not None else "info"
        number = offending.get(operation.index)
        classes = f"bar {kind}" + (" off" if number else "")
        if kind == "info":
            bars.append(
                f'<i class=tail style="left:{left:.0f}px;width:{layout.width - left:.0f}px"></i>'
            )
        badge = f"<b>{number}</b>" if number else ""
        mark = f" id=v{number}" if number else ""
        bars.append(
            f'<span class="{classes}"{mark} style="left:{left:.0f}px;'
            f'width:{right - left:.0f}px" title="{escape(_tip(operation))}">'
            f"<span>{badge}{escape(described(operation, with_key))}</span></span>"
        )
    nodes = {operation.node for operation in layout.rows[process] if operation.node}
    node = f"<small>{escape(', '.join(sorted(nodes)))}</small>" if nodes else ""
    return (
        f"<div class=row><span class=label>process {process}{node}</span>"
        f"<div class=lane>{''.join(bars)}</div></div>"
    )


def _tip(operation: Operation) -> str:
    lines = [described(operation), f"process {operation.process}, operation {operation.index}"]
    lines.append(_when(operation))
    if operation.node:
        lines.append(f"asked at {operation.node}")
    if operation.error:
        lines.append(f"error: {operation.error}")
    return "\n".join(lines)


def _when(operation: Operation) -> str:
    if operation.returned is None:
        return f"invoked at {_time(operation, True)}, no answer"
    word = "given up" if operation.outcome == "info" else "answered"
    return f"invoked at {_time(operation, True)}, {word} at {_time(operation, False)}"


def _time(operation: Operation, invoked: bool) -> str:
    time = operation.invoked if invoked else operation.returned
    place = operation.began if invoked else operation.ended
    if time:
        return f"{time:,.3f} ms"
    return "the start" if place is None or place < 0 else f"event {place + 1}"


def _gaps(layout: _Layout) -> str:
    marks = [
        f'<span class=gap style="left:{left:.0f}px" title="{count} operations are not drawn">'
        f"<em>{count:,} more</em></span>"
        for left, count in layout.gaps
    ]
    return f'<div class="gaps">{"".join(marks)}</div>' if marks else ""


def _sentence(verdict: Verdict, operations: Sequence[Operation]) -> str:
    if not verdict.linearizable:
        return f"{verdict.reason[0].upper()}{verdict.reason[1:]}."
    if not operations:
        return "There is no operation in it."
    return "One order of all operations explains every answer and agrees with real time."


def _facts(verdict: Verdict, shown: Sequence[Operation], operations: Sequence[Operation]) -> str:
    facts = [f"{len(operations):,} operations"]
    if verdict.checked.keys:
        facts.append(f"{verdict.checked.keys:,} key{'' if verdict.checked.keys == 1 else 's'}")
    if verdict.key is not None:
        facts.append(f"at fault: key {verdict.key}")
    elif any(one.f in LIST_FUNCTIONS for one in verdict.offending):
        facts.append("at fault: the ordered list")
    if len(shown) < len(operations):
        facts.append(f"{len(shown)} drawn")
    return " · ".join(facts)


def _table(verdict: Verdict) -> str:
    rows = [
        f"<tr><td><a href=#v{number}>{number}</a><td>{one.process}<td><code>"
        f"{escape(asked(one))}</code><td><code>{escape(answer(one) or 'ok')}</code>"
        f"<td class=num>{escape(_time(one, True))}"
        f"<td class=num>{escape(_time(one, False)) if one.returned is not None else 'never'}"
        for number, one in enumerate(verdict.offending[:OPERATIONS_SHOWN_MAX], start=1)
    ]
    return (
        "<h2>The shortest part that contradicts itself</h2><div class=table><table><thead><tr>"
        "<th>#<th>process<th>asked<th>told<th class=num>invoked<th class=num>answered</thead>"
        f"<tbody>{''.join(rows)}</table></div>"
    )


def _legend(verdict: Verdict) -> str:
    items = [("ok", "answered"), ("fail", "did not happen"), ("info", "unknown: later, or never")]
    marks = "".join(f"<li><span class='key {kind}'></span>{text}" for kind, text in items)
    if verdict.offending:
        marks += "<li><span class='key off'></span>part of the contradiction"
    return f"<ul class=legend>{marks}</ul>"


_HEAD = """<!doctype html>
<html lang=en><head><meta charset=utf-8>
<meta name=viewport content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --label: 104px;
  --paper: #fbfaf7; --ink: #1d2126; --soft: #5d6670;
  --line: #dcd9d0; --ok: #d5e5f5; --ok-ink: #12395f; --fail: #ecebe6; --fail-ink: #5c5f63;
  --info: #fbeec7; --info-ink: #5b4204; --off: #c62f2f; --off-ink: #fff; --good: #1d7a46; }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #15181c; --ink: #e6e8ea;
  --soft: #9aa4ae; --line: #30363d; --ok: #1f3a56; --ok-ink: #d6e8fb; --fail: #2a2e33;
  --fail-ink: #a8adb3; --info: #4a3b10; --info-ink: #f8e3a3; --off: #e5484d; --off-ink: #fff;
  --good: #4cc38a; }} }}
@media (max-width: 600px) {{ :root {{ --label: 88px; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 1500px; padding: 20px clamp(12px, 3vw, 36px) 48px;
  background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }}
header {{ border-left: 5px solid var(--good); padding: 2px 0 2px 16px; }}
header.bad {{ border-color: var(--off); }}
h1 {{ margin: 0; font-size: clamp(24px, 5vw, 34px); line-height: 1.15; color: var(--good); }}
.bad h1 {{ color: var(--off); }}
h2 {{ font-size: 17px; margin: 30px 0 8px; }}
p {{ margin: 4px 0; }}
.name, .facts {{ color: var(--soft); font-size: 13.5px; overflow-wrap: anywhere; }}
.reason {{ font-size: 17px; max-width: 75ch; overflow-wrap: anywhere; }}
.table {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 14px; }}
th, td {{ padding: 5px 14px 5px 0; text-align: left; border-bottom: 1px solid var(--line);
  white-space: nowrap; }}
th {{ font-weight: 600; color: var(--soft); }}
.num {{ text-align: right; font-variant-numeric: tabular-nums; }}
td a {{ display: inline-block; min-width: 22px; padding: 0 5px; border-radius: 11px;
  background: var(--off); color: var(--off-ink); text-align: center; text-decoration: none;
  font-weight: 600; }}
.legend {{ display: flex; flex-wrap: wrap; gap: 4px 20px; list-style: none; margin: 0 0 10px;
  padding: 0; font-size: 13.5px; color: var(--soft); }}
.key {{ display: inline-block; width: 22px; height: 12px; border-radius: 3px;
  margin-right: 7px; }}
.scroll {{ overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }}
.rows {{ position: relative; min-width: 100%; padding-bottom: 20px; margin-right: 16px;
  padding-left: var(--label); box-sizing: content-box; }}
.row {{ height: 38px; border-bottom: 1px solid var(--line); position: relative;
  margin-left: calc(-1 * var(--label)); }}
.label {{ position: sticky; left: 0; z-index: 3; display: flex; flex-direction: column;
  justify-content: center; width: var(--label); height: 37px; padding-left: 8px; line-height: 1.15;
  background: var(--paper); border-right: 1px solid var(--line); font-size: 13px;
  white-space: nowrap; }}
.label small {{ color: var(--soft); }}
.lane {{ position: absolute; left: var(--label); top: 0; height: 37px; }}
.bar {{ position: absolute; top: 6px; height: 26px; padding: 0 7px; border-radius: 5px;
  font: 12.5px/26px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  white-space: nowrap; overflow: clip; z-index: 1; }}
.bar > span {{ position: sticky; left: calc(var(--label) + 8px); }}
.ok {{ background: var(--ok); color: var(--ok-ink); }}
.fail {{ background: var(--fail); color: var(--fail-ink); }}
.bar.fail {{ text-decoration: line-through; }}
.info {{ background: var(--info); color: var(--info-ink); }}
.tail {{ position: absolute; top: 19px; height: 0; border-top: 2px dashed var(--info-ink);
  opacity: .45; }}
.off {{ background: var(--off); color: var(--off-ink); font-weight: 600; }}
.bar.off {{ text-decoration: none; box-shadow: 0 0 0 2px var(--paper), 0 0 0 4px var(--off);
  z-index: 2; }}
.bar b {{ display: inline-block; min-width: 17px; margin-right: 6px; border-radius: 9px;
  background: var(--off-ink); color: var(--off); line-height: 17px; text-align: center;
  font-size: 11.5px; }}
.gaps {{ position: absolute; left: var(--label); top: 0; bottom: 0; pointer-events: none; }}
.gap {{ position: absolute; top: 0; bottom: 0; width: 66px; border: solid var(--line);
  border-width: 0 1px; background: repeating-linear-gradient(135deg, transparent 0 6px,
  var(--line) 6px 7px); }}
.gap em {{ position: absolute; bottom: 2px; left: 0; right: 0; text-align: center;
  font-size: 11px; font-style: normal; color: var(--soft); white-space: nowrap; }}
.notes {{ color: var(--soft); font-size: 13.5px; max-width: 80ch; }}
</style></head><body>"""

_NOTES = """<p class=notes>Events stand in the order in which they happened; the distance between
them is room for text, not time. An operation took effect at one moment between the two ends of
its bar; an unknown one at any moment from its beginning on, or never. Point at a bar for its
times.</p>"""

# Only a comfort: without it the reader scrolls.
_TAIL = """<script>
const first = document.querySelector(".bar.off"), box = document.querySelector(".scroll");
if (first && box) box.scrollLeft = Math.max(0, first.offsetLeft - 60);
</script></body></html>
"""
