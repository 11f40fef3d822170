"""The report: one page with everything in it, whatever the run was like."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest

from paxos.apps import chaos
from paxos.apps.chaos_record import Check, Done, Gap, Lead, Point, Record
from paxos.apps.chaos_report import render

VOID = ("meta", "br", "path", "rect", "link")


class Page(HTMLParser):
    """Checks that tags close in order; keeps the words, the ids and where links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.styles: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert "src" not in given, "the page needs nothing else"
        if tag not in VOID:
            self.open.append(tag)
        if "id" in given:
            assert given["id"] not in self.ids
            self.ids.add(given["id"])
        if "href" in given:
            self.links.append(given["href"])
        self.styles.append(given.get("style", ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def fault(number: int, kind: str, began_s: float, ended_s: float, **more: str) -> Done:
    return Done(
        number=number,
        kind=kind,
        label=f"{kind}: the leader (proposer-1)",
        began_s=began_s,
        ended_s=ended_s,
        nodes=["proposer-1"],
        note=more.get("note", ""),
        trouble=more.get("trouble", ""),
    )


def recorded(*, passed: bool = True) -> Record:
    """A short run as it would have been recorded."""
    return Record(
        seed=42,
        seconds=10.0,
        clients=8,
        rate=400.0,
        kinds=["kill", "partition"],
        what="a cluster of its own (11 local processes)",
        command="paxos chaos --seed 42 --seconds 10",
        started="2026-01-01T00:00:00+00:00",
        passed=passed,
        verdict="linearizable" if passed else "not linearizable",
        checks=[
            Check(text="the history is linearizable", passed=passed, detail="2 operations"),
            Check(text="all learners are level", passed=True),
        ],
        offending=[] if passed else ["1.0 to 2.0 ms: process 1: read k: ok -> '<old>'"],
        operations={"read": {"ok": 1500, "fail": 2, "info": 0}, "write": {"ok": 9, "info": 1}},
        errors={"UNAVAILABLE <b>no quorum</b>": 2},
        not_sent=3,
        faults=[
            fault(1, "kill", 1.0, 3.0, note="one was down"),
            fault(2, "partition", 2.5, 6.0),
            fault(3, "kill", 7.0, 7.1, trouble="all of them were down already"),
        ],
        leads=[
            Lead(at_s=0.0, node="proposer-1", ballot=101, until_s=1.0),
            Lead(at_s=1.5, node="proposer-3", ballot=203),
        ],
        gaps=[Gap(began_s=1.0, lasted_s=0.75, during=["kill: the leader (proposer-1)"])],
        points=[
            Point(
                at_s=n / 4,
                ok=n % 7 * 10,
                fail=int(n % 5 == 0),
                info=0,
                p50_ms=ms,
                p99_ms=ms and 9 * ms,
            )
            for n, ms in enumerate([1.5, 2.0, None, 400.0, None, 3.0] * 7)
        ],
        point_s=0.25,
        ended_s=10.5,
        healed_s=10.0,
        served_again_s=0.02,
        history="seed-42.jsonl",
    )


def test_the_page_is_whole_and_says_everything() -> None:
    page = Page(render(recorded()))
    assert page.open == []
    for words in (
        "passed: linearizable",
        "seed 42",
        "paxos chaos --seed 42 --seconds 10",
        "1,509 operations done",
        "no effect: all of them were down already",
        "one was down",
        "0.75 s",
        "UNAVAILABLE <b>no quorum</b>",
        "all learners are level",
    ):
        assert words in page.text, words
    assert {"fault-1", "fault-2", "fault-3"} <= page.ids
    assert set(page.links) == {"#fault-1", "#fault-2", "#fault-3"}, "nothing leads outside"


def test_what_contradicts_itself_is_shown_when_the_run_failed() -> None:
    page = Page(render(recorded(passed=False)))
    assert "failed: not linearizable" in page.text
    assert "ok -> '<old>'" in page.text
    assert "✗" in page.text


def test_bands_and_marks_stay_within_the_picture() -> None:
    places = [
        (float(left), float(width))
        for style in Page(render(recorded())).styles
        for left, width in re.findall(r"left:([\d.]+)%;width:([\d.]+)%", style)
    ]
    assert len(places) >= 3 + 2 + 1 + 2, "lanes, shades, gaps and leaders"
    assert all(0 <= left <= 100 and width > 0 and left + width <= 100.4 for left, width in places)
    kill = next(place for place in places if place == (9.52, 19.05))
    assert kill


def test_curves_are_broken_where_nothing_succeeded() -> None:
    found = re.search(r'class="p50" d="([^"]*)"', render(recorded()))
    assert found is not None
    assert found.group(1).count("M") > 1
    numbers = [float(n) for n in re.findall(r"-?\d+\.\d", found.group(1))]
    assert all(-3 <= number <= 1003 for number in numbers)


@pytest.mark.parametrize("ended_s", [0.3, 5.0, 3600.0])
def test_a_run_in_which_nothing_happened_has_a_page(ended_s: float) -> None:
    record = recorded(passed=False)
    record.faults, record.leads, record.gaps, record.operations = [], [], [], {}
    record.points, record.ended_s, record.served_again_s = [], ended_s, None
    page = Page(render(record))
    assert page.open == []
    assert "never to serve again when healed" in page.text


def test_a_record_can_be_kept_and_read_again() -> None:
    record = recorded()
    text = msgspec.json.encode(record)
    assert render(msgspec.json.decode(text, type=Record)) == render(record)


def test_the_summary_names_what_failed_and_the_seed() -> None:
    text = chaos.summary(recorded(passed=False))
    assert "FAIL the history is linearizable (2 operations)" in text
    assert "FAILED: not linearizable, seed 42" in text
    assert "kill: the leader (proposer-1): all of them were down already" in text
    assert "0.75 s without a write at 1.0 s" in text
    assert "PASSED: linearizable, seed 42" in chaos.summary(recorded())
