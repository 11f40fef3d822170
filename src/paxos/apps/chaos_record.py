"""What is kept of a chaos run, and the figures that are worked out of its history.

Pure: events and injuries in, numbers out. The record is what `--json` prints and what the report
is made from.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from paxos.sim.history import Event

from .chaos_nemesis import Injury
from .chaos_workload import CHANGING

POINTS_MAX = 240
POINT_S_MIN = 0.25
GAP_S_MIN = 0.25
"""A shorter time without an acknowledged write is nothing to mention."""
GAPS_SHOWN = 12


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A short stretch of the run: what ended in it, and how long the successful ones took."""

    at_s: float
    ok: int
    fail: int
    info: int
    p50_ms: float | None
    p99_ms: float | None


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which no write was acknowledged, and the faults that were in force in it."""

    began_s: float
    lasted_s: float
    during: list[str]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A fault as it was done. `trouble`: why it does not count."""

    number: int
    kind: str
    label: str
    began_s: float
    ended_s: float
    nodes: list[str]
    note: str
    trouble: str


class Lead(msgspec.Struct, kw_only=True):
    """A proposer was seen leading with a ballot, from `at_s` to `until_s` (None: to the end)."""

    at_s: float
    node: str
    ballot: int
    until_s: float | None = None


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that must hold at the end."""

    text: str
    passed: bool
    detail: str = ""


class Record(msgspec.Struct, kw_only=True):
    """A whole run. Times in seconds after its start, latencies in milliseconds."""

    seed: int
    seconds: float
    clients: int
    rate: float
    kinds: list[str]
    what: str
    command: str
    started: str
    passed: bool
    verdict: str
    checks: list[Check]
    offending: list[str]
    """The operations that contradict one another, in the order of invocation."""
    operations: dict[str, dict[str, int]]
    errors: dict[str, int]
    not_sent: int
    faults: list[Done]
    leads: list[Lead]
    gaps: list[Gap]
    points: list[Point]
    point_s: float
    ended_s: float
    healed_s: float
    served_again_s: float | None
    """How long after the healing every door served; None when it did not."""
    history: str = ""
    kept: str = ""

    @property
    def succeeded(self) -> int:
        """How many operations succeeded."""
        return sum(outcomes.get("ok", 0) for outcomes in self.operations.values())

    @property
    def injected(self) -> dict[str, int]:
        """How many faults of each kind had an effect."""
        return dict(Counter(fault.kind for fault in self.faults if not fault.trouble))


def done_of(injuries: Iterable[Injury], ended_s: float) -> list[Done]:
    """Return what was done, in the order of its beginning."""
    return [
        Done(
            number=injury.fault.number,
            kind=injury.fault.kind,
            label=injury.label,
            began_s=injury.began_s,
            ended_s=ended_s if injury.ended_s is None else injury.ended_s,
            nodes=injury.nodes,
            note=injury.note,
            trouble=injury.trouble,
        )
        for injury in sorted(injuries, key=lambda one: (one.began_s, one.fault.number))
    ]


def operations_of(events: Iterable[Event]) -> dict[str, dict[str, int]]:
    """Return f -> outcome -> how many. An operation without an end is `info`."""
    table: dict[str, dict[str, int]] = {}
    for event in events:
        row = table.setdefault(event.f, {"ok": 0, "fail": 0, "info": 0})
        # Open until something else is heard of it.
        row["info"] += event.type == "invoke"
        if event.type in ("ok", "fail"):
            row["info"] -= 1
            row[event.type] += 1
    return table


def errors_of(events: Iterable[Event]) -> dict[str, int]:
    """Return the reasons of what did not succeed and how often each, the most frequent first."""
    counts = Counter(event.error.split(" (")[0] for event in events if event.error)
    return dict(counts.most_common(20))


def points_of(events: Sequence[Event], ended_s: float) -> tuple[list[Point], float]:
    """Return the run cut into stretches of equal length, and that length in seconds."""
    length_s = max(POINT_S_MIN, ended_s / POINTS_MAX)
    count = max(1, math.ceil(ended_s / length_s))
    latencies: list[list[float]] = [[] for _ in range(count)]
    outcomes: list[Counter[str]] = [Counter() for _ in range(count)]
    invoked: dict[int, float] = {}
    for event in events:
        if event.type == "invoke":
            invoked[event.process] = event.time
            continue
        if event.time > ended_s * 1000:
            # What is read at the end, to be checked, is no client's load.
            break
        place = min(count - 1, int(event.time / 1000 / length_s))
        outcomes[place][event.type] += 1
        if event.type == "ok" and event.process in invoked:
            latencies[place].append(event.time - invoked[event.process])
    points = [
        Point(
            at_s=round(place * length_s, 3),
            ok=outcomes[place]["ok"],
            fail=outcomes[place]["fail"],
            info=outcomes[place]["info"],
            p50_ms=quantile(latencies[place], 0.5),
            p99_ms=quantile(latencies[place], 0.99),
        )
        for place in range(count)
    ]
    return points, length_s


def quantile(numbers: Sequence[float], share: float) -> float | None:
    """Return the smallest number that `share` of all do not exceed; None of none."""
    if not numbers:
        return None
    place = max(0, math.ceil(len(numbers) * share) - 1)
    return round(sorted(numbers)[place], 3)


def gaps_of(events: Sequence[Event], faults: Sequence[Done], ended_s: float) -> list[Gap]:
    """Return the longest times without an acknowledged write, the longest first."""
    times = [0.0]
    times += [e.time / 1000 for e in events if e.type == "ok" and e.f in CHANGING]
    times = [time for time in times if time <= ended_s]
    times.append(ended_s)
    gaps = []
    for before, after in itertools.pairwise(times):
        if after - before < GAP_S_MIN:
            continue
        during = [f.label for f in faults if f.began_s < after and f.ended_s > before]
        gaps.append(Gap(began_s=round(before, 3), lasted_s=round(after - before, 3), during=during))
    return sorted(gaps, key=lambda gap: -gap.lasted_s)[:GAPS_SHOWN]


# ---------------------------------------------------------------- the list


def list_trouble(events: Sequence[Event], found: Sequence[tuple[int, str]]) -> list[str]:
    """Return what is wrong with the list as it was read at the end; nothing when all is well.

    Every acknowledged value is there once, in the slot that was told; no value twice; nothing
    that was said not to have happened, and nothing that nobody asked for; slots rise.
    """
    appends = [event for event in events if event.f == "list-append"]
    asked = Counter(str(event.value) for event in appends if event.type == "invoke")
    refused = {str(event.value) for event in appends if event.type == "fail"}
    told = _acknowledged(appends)
    troubles: list[str] = []
    slots = [slot for slot, _ in found]
    if any(later < earlier for earlier, later in itertools.pairwise(slots)):
        troubles.append("slots fall")
    counts = Counter(value for _, value in found)
    slot_of = {value: slot for slot, value in found}
    for value, slot in told.items():
        if value not in counts:
            troubles.append(f"{value!r}, acknowledged in slot {slot}, is lost")
        elif slot_of[value] != slot:
            troubles.append(f"{value!r}, acknowledged in slot {slot}, is in slot {slot_of[value]}")
    troubles += [
        f"{value!r} is there {count} times" for value, count in counts.items() if count > 1
    ]
    # A refused value may have been asked for again, by the same client through another door.
    troubles += [
        f"{value!r} is there, and its client was told that it did not happen"
        for value in sorted(refused & set(counts))
        if asked[value] == 1
    ]
    troubles += [f"{value!r} was never asked for" for value in sorted(set(counts) - set(asked))]
    return troubles


def _acknowledged(appends: Sequence[Event]) -> dict[str, int]:
    """Return value -> slot of every acknowledged append to the list."""
    asked: dict[int, str] = {}
    told: dict[str, int] = {}
    for event in appends:
        if event.type == "invoke":
            asked[event.process] = event.value
        elif event.type == "ok":
            told[asked[event.process]] = int(event.value)
    return told
