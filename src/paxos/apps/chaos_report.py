"""The report of a chaos run: one HTML page that needs nothing else, made from its record.

Readable in any browser, in light and in dark, on a screen and on a phone, and as text when its
pictures are not looked at: every picture's figures are in a table as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .chaos_charts import escaped, shown_s, timeline
from .chaos_plan import KINDS
from .chaos_record import Record

_OUTCOMES = (("ok", "done"), ("fail", "did not happen"), ("info", "unknown"))

_STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #ffffff; --ink: #1d2126; --soft: #5f6873;
  --line: #dfe2e6; --good: #1a7f4b; --bad: #c0292f; --ok: #2f6fbd; --p99: #c76b12; --kill: #d3453d;
  --pause: #d08a00; --partition: #7a52c7; --slow: #138a92; --disk-full: #8a5a32;
  --disconnect: #a8447f; --discovery: #6b7683; --shade: 15%; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --card: #1c2024; --ink: #e6e8ea;
  --soft: #9aa4af; --line: #343a41; --good: #4cc38a; --bad: #ff6b66; --ok: #6cb0ff; --p99: #f0a050;
  --kill: #ff6f66; --pause: #e9b03f; --partition: #ad8cf5; --slow: #4cc4cb; --disk-full: #c99468;
  --disconnect: #e58cc0; --discovery: #98a3b0; --shade: 20%; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 20px 16px 48px; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 14px; }
h1 { font-size: 22px; margin: 0; }
h2 { font-size: 17px; margin: 32px 0 10px; }
.verdict { font-weight: 700; padding: 1px 12px; border-radius: 99px; color: var(--card);
  background: var(--good); }
.verdict.failed { background: var(--bad); }
.soft, figcaption, .axis, .scale { color: var(--soft); }
p { margin: 6px 0; max-width: 78ch; }
code { font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, monospace; overflow-wrap: anywhere; }
.again { display: block; margin: 12px 0 0; padding: 8px 12px; border-radius: 6px;
  border: 1px solid var(--line); background: var(--card); user-select: all; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(230px, 44%), 1fr));
  gap: 10px; margin: 18px 0 0; }
.tile { padding: 10px 12px; border: 1px solid var(--line); border-radius: 8px;
  background: var(--card); }
.tile b { display: block; font-size: 21px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.card { padding: 12px 14px; border: 1px solid var(--line); border-radius: 8px;
  background: var(--card); }
.lane { display: flex; align-items: center; margin: 3px 0; }
.lane .name { flex: 0 0 74px; font-size: 12px; color: var(--soft); }
.track { position: relative; flex: 1; height: 20px; background: var(--page); border-radius: 3px; }
.band, .reign { position: absolute; top: 2px; bottom: 2px; border-radius: 3px; overflow: hidden;
  font-size: 11px; line-height: 16px; text-align: center; color: var(--card); font-weight: 600;
  text-decoration: none; background: var(--colour); }
.band { min-width: 17px; }
.band.void { opacity: .35; }
.kind { white-space: nowrap; }
.band:target, .band:focus { outline: 2px solid var(--ink); }
figure { margin: 12px 0 0; }
figcaption { font-size: 13px; margin: 0 0 2px 74px; }
.plot { position: relative; margin-left: 74px; height: 170px; border-bottom: 1px solid var(--line);
  border-top: 1px solid var(--line); }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.plot path, .plot rect { vector-effect: non-scaling-stroke; }
.plot path { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.plot .grid { stroke: var(--line); stroke-width: 1; stroke-dasharray: 2 4; }
.plot .ok { stroke: var(--ok); }
.plot .area { fill: var(--ok); opacity: .14; }
.plot .bad { fill: var(--bad); }
.plot .p50 { stroke: var(--ok); }
.plot .p99 { stroke: var(--p99); }
.scale { position: absolute; right: calc(100% + 8px); transform: translateY(50%); font-size: 11px;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
.shade { position: absolute; top: 0; bottom: 0;
  background: color-mix(in srgb, var(--colour) var(--shade), transparent); }
.healed { position: absolute; top: 0; bottom: 0; width: 0; border-left: 1.5px dashed var(--good); }
.healed span { position: absolute; bottom: 2px; left: 5px; font-size: 11px; color: var(--good); }
.gap { position: absolute; top: 0; height: 19px; font-size: 11px; line-height: 18px;
  text-align: center; color: var(--ink); white-space: nowrap; overflow: visible;
  border: 1px solid var(--bad); border-top-width: 3px; border-bottom: 0; }
.reign { font-weight: 400; --colour: var(--discovery); border-left: 2px solid var(--card);
  border-radius: 0; }
.reign.p1 { --colour: var(--ok); } .reign.p2 { --colour: var(--slow); }
.reign.p0 { --colour: var(--partition); }
.leaders { margin-top: 10px; }
.axis { position: relative; margin-left: 74px; height: 20px; font-size: 11px;
  font-variant-numeric: tabular-nums; }
.axis span { position: absolute; transform: translateX(-50%); }
.axis .unit { right: 0; transform: none; }
.key { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 10px 0 0; font-size: 13px;
  color: var(--soft); padding: 0; list-style: none; }
.key i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px;
  vertical-align: -1px; background: var(--colour); }
.kill { --colour: var(--kill); } .pause { --colour: var(--pause); }
.partition { --colour: var(--partition); } .disconnect { --colour: var(--disconnect); }
 .slow { --colour: var(--slow); }
.disk-full { --colour: var(--disk-full); } .discovery { --colour: var(--discovery); }
.c-ok { --colour: var(--ok); } .c-p99 { --colour: var(--p99); } .c-bad { --colour: var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 13px; }
th, td { padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr:target td { background: color-mix(in srgb, var(--ok) 15%, transparent); }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 3px; margin-right: 7px;
  background: var(--colour); }
.checks { list-style: none; margin: 0; }
.checks li { padding: 3px 0 3px 26px; text-indent: -26px; }
.checks b { display: inline-block; width: 26px; text-indent: 0; color: var(--good); }
.checks .no b { color: var(--bad); }
pre { overflow-x: auto; font: 12px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
@media (max-width: 640px) {
  .lane .name { flex-basis: 54px; font-size: 10.5px; letter-spacing: -0.2px; }
  figcaption, .plot, .axis { margin-left: 54px; }
  .plot { height: 130px; } .gap { font-size: 0; } .scale { right: calc(100% + 5px); }
  .card { padding: 10px; } table { font-size: 13px; } th, td { padding-right: 7px; }
}
"""


def render(record: Record) -> str:
    """Return the page."""
    verdict = "passed" if record.passed else "failed"
    parts = [
        "<header><h1>Chaos</h1>"
        f'<span class="verdict {verdict}">{verdict}: {escaped(record.verdict)}</span>'
        f'<span class="soft">seed {record.seed}, {escaped(record.started)}</span></header>',
        f"<p>{escaped(_sentence(record))}</p>",
        f'<code class="again">{escaped(record.command)}</code>',
        _tiles(record),
        "<h2>What happened</h2>",
        f'<div class="card">{timeline(record)}{_key(record)}</div>',
        "<h2>What was checked</h2>",
        _checks(record),
        _offending(record),
        "<h2>Faults</h2>",
        _faults(record),
        "<h2>Longest times without an acknowledged write</h2>",
        _gaps(record),
        "<h2>Operations</h2>",
        _operations(record),
        _errors(record),
        _files(record),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Chaos, seed {record.seed}: {verdict}</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _sentence(record: Record) -> str:
    return (
        f"{record.clients} clients asked for {record.rate:g} operations per second of "
        f"{record.what} for {record.seconds:g} s while this was broken: "
        f"{', '.join(record.kinds)}. At {record.healed_s:.1f} s everything was healed."
    )


def _tiles(record: Record) -> str:
    lost = sum(o.get("fail", 0) for o in record.operations.values())
    unknown = sum(o.get("info", 0) for o in record.operations.values())
    longest = f"{record.gaps[0].lasted_s:.2f} s" if record.gaps else "none"
    again = "never" if record.served_again_s is None else f"{record.served_again_s:.2f} s"
    rows = [
        (f"{record.succeeded:,}", "operations done"),
        (f"{record.succeeded / max(record.ended_s, 0.1):,.0f}", "per second on average"),
        (f"{lost:,}", "did not happen"),
        (f"{unknown:,}", "without a known outcome"),
        (str(sum(record.injected.values())), "faults"),
        (str(max(0, len(record.leads) - 1)), "times the leader changed"),
        (longest, "longest without a write"),
        (again, "to serve again when healed"),
    ]
    tiles = (f'<div class="tile"><b>{value}</b><span>{text}</span></div>' for value, text in rows)
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _key(record: Record) -> str:
    used = [kind for kind in KINDS if kind in record.injected]
    entries = [(kind, kind) for kind in used]
    entries += [
        ("c-ok", "done; median latency"),
        ("c-p99", "99th percentile"),
        ("c-bad", "did not happen, or unknown; brackets: no write acknowledged"),
    ]
    words = "".join(f'<li><i class="{style}"></i>{text}</li>' for style, text in entries)
    return f'<ul class="key">{words}</ul>'


def _checks(record: Record) -> str:
    rows = (
        f'<li class="{"yes" if check.passed else "no"}">'
        f"<b>{'✓' if check.passed else '✗'}</b>{escaped(check.text)}"
        + (f' <span class="soft">{escaped(check.detail)}</span>' if check.detail else "")
        + "</li>"
        for check in record.checks
    )
    return f'<ul class="checks card">{"".join(rows)}</ul>'


def _offending(record: Record) -> str:
    if not record.offending:
        return ""
    lines = escaped("\n".join(record.offending))
    return (
        "<h2>What contradicts itself</h2>"
        "<p>No order of these operations, each at a moment between its invocation and its answer, "
        f'explains every answer.</p><pre class="card">{lines}</pre>'
    )


def _faults(record: Record) -> str:
    rows = []
    for fault in record.faults:
        slowest = max(
            (
                gap.lasted_s
                for gap in record.gaps
                if gap.began_s < fault.ended_s and gap.began_s + gap.lasted_s > fault.began_s
            ),
            default=0.0,
        )
        words = f"no effect: {fault.trouble}" if fault.trouble else fault.note
        note = f'<br><span class="soft">{escaped(words)}</span>' if words else ""
        cells = [
            _cell(fault.number, number=True),
            _cell(f"{fault.began_s:.1f} s", number=True),
            _cell(f"{fault.ended_s - fault.began_s:.1f} s", number=True),
            f'<td class="kind"><i class="dot {fault.kind}"></i>{escaped(fault.kind)}</td>',
            f"<td>{escaped(fault.label.removeprefix(f'{fault.kind}: '))}{note}</td>",
            _cell(f"{slowest:.2f} s" if slowest else "", number=True),
        ]
        rows.append(f'<tr id="fault-{fault.number}">{"".join(cells)}</tr>')
    heads = ("#", "at", "for", "kind", "what", "no write for")
    return _table(heads, rows, numbers=(0, 1, 2, 5))


def _gaps(record: Record) -> str:
    if not record.gaps:
        return "<p>None was longer than a quarter of a second.</p>"
    rows = [
        f"<tr>{_cell(f'{gap.lasted_s:.2f} s', number=True)}"
        f"{_cell(f'{gap.began_s:.1f} s', number=True)}"
        f"{_cell('; '.join(gap.during) or 'no fault in force')}</tr>"
        for gap in record.gaps
    ]
    return _table(("for", "from", "while"), rows, numbers=(0, 1))


def _operations(record: Record) -> str:
    rows = [
        f"<tr>{_cell(f)}"
        + "".join(_cell(f"{outcomes.get(name, 0):,}", number=True) for name, _ in _OUTCOMES)
        + "</tr>"
        for f, outcomes in sorted(record.operations.items())
    ]
    heads = ("operation", *(words for _, words in _OUTCOMES))
    return _table(heads, rows, numbers=(1, 2, 3))


def _errors(record: Record) -> str:
    if not record.errors:
        return ""
    rows = [
        f"<tr>{_cell(f'{count:,}', number=True)}{_cell(text)}</tr>"
        for text, count in record.errors.items()
    ]
    return "<h2>What clients were told</h2>" + _table(("times", "reason"), rows, numbers=(0,))


def _files(record: Record) -> str:
    kept = f" {escaped(record.kept)}." if record.kept else ""
    return (
        f'<p class="soft">The history is in <code>{escaped(record.history)}</code>; '
        f"<code>paxos check-history</code> checks it again.{kept} "
        f"Connections that could not be made: {record.not_sent}. The longest time without a write "
        f"counts from any client's acknowledged write to the next; {shown_s(record.point_s)} of "
        "the run are one point of the curves.</p>"
    )


def _cell(value: object, *, number: bool = False) -> str:
    style = ' class="number"' if number else ""
    return f"<td{style}>{escaped(value)}</td>"


def _table(heads: Sequence[str], rows: Iterable[str], *, numbers: Sequence[int]) -> str:
    cells = "".join(
        f'<th class="number">{head}</th>' if place in numbers else f"<th>{head}</th>"
        for place, head in enumerate(heads)
    )
    return (
        f'<div class="card wide"><table><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
