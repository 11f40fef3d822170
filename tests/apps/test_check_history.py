"""`paxos check-history`: verdicts, exit statuses, what it prints and draws."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from paxos.apps import cli
from paxos.apps.check_history import ladder
from paxos.apps.history_picture import OPERATIONS_SHOWN_MAX, page
from paxos.sim import linearizability
from paxos.sim.history import Event, encode_line, operations

HISTORIES = Path(__file__).resolve().parents[1] / "histories"
VERDICTS = dict(
    line.split() for line in (HISTORIES / "verdicts.txt").read_text(encoding="utf-8").splitlines()
)


def events_of(*told: tuple[str, object, object], key: str = "x") -> list[Event]:
    """One process after the other: (f, asked, told)."""
    events: list[Event] = []
    for number, (f, asked, answer) in enumerate(told):
        where = {"process": number % 3, "f": f, "key": key, "node": f"client-{number % 2 + 1}"}
        events.append(Event(type="invoke", value=asked, time=number * 10 + 1.0, **where))
        events.append(Event(type="ok", value=answer, time=number * 10 + 5.0, **where))
    return events


def write(file: Path, events: list[Event]) -> Path:
    file.write_bytes(b"".join(map(encode_line, events)))
    return file


STALE = events_of(("write", 1, None), ("write", 2, None), ("read", None, 1))


@pytest.mark.parametrize("name", sorted(VERDICTS))
def test_sample_is_decided(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(shutil.copy(HISTORIES / name, tmp_path))
    linearizable = VERDICTS[name] == "linearizable"
    assert cli.main(["check-history", str(file), "--json"]) == (0 if linearizable else 1)
    (report,) = json.loads(capsys.readouterr().out)["histories"]
    assert report["linearizable"] is linearizable
    assert (tmp_path / f"{name}.html").exists() is not linearizable
    if not linearizable:
        assert 1 <= len(report["offending"]) <= 5
        assert report["reason"]


def test_every_sample_has_a_verdict() -> None:
    samples = {path.name for path in HISTORIES.iterdir()} - {"README.md", "verdicts.txt"}
    assert samples == set(VERDICTS)


def test_several_files_are_told_apart_and_a_violation_outweighs_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path / "good", STALE[:4])
    bad = write(tmp_path / "bad", STALE)
    absent = tmp_path / "absent"
    assert cli.main(["check-history", str(good), str(absent)]) == 2
    assert cli.main(["check-history", str(good), str(bad), str(absent)]) == 1
    printed = capsys.readouterr()
    assert f"{good}: linearizable (2 operations, 1 key)" in printed.out
    assert f"{bad}: NOT LINEARIZABLE, key x (3 operations, 1 key)" in printed.out
    assert f"{absent}: cannot be read: No such file or directory" in printed.err


def test_offending_part_is_printed_in_the_order_of_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check-history", str(write(tmp_path / "history", STALE))]) == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["11.000", "ms", "┌", "write", "x", "2"] in lines
    assert ["25.000", "ms", "└", "1"] in lines
    assert lines.index(["15.000", "ms", "└", "ok"]) < lines.index(
        ["21.000", "ms", "┌", "read", "x"]
    )


def test_ladder_is_a_list_when_the_columns_do_not_fit() -> None:
    history = operations(STALE)
    wide, narrow = ladder(history, 200), ladder(history, 40)
    assert wide[0].split() == ["process", "0", "process", "1", "process", "2"]
    assert narrow[0].split() == ["1.000", "ms", "process", "0", "┌", "write", "x", "1"]
    assert len(wide) == len(narrow) + 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "line 1: the file is empty"),
        (b'{"process": 1}', "line 1: not an event"),
        (b'{"process": 1, "type": "ok", "f": "read", "key": "x"}', "line 1: process 1 ends a read"),
        (b"some text\n", "line 1: not a line of a Jepsen log"),
        (b"{:process 1", 'line 1: a "{" that is not closed'),
        (b"0 :invoke :read nil\n\xff\xfe", "line 2: not UTF-8 text"),
    ],
)
def test_file_is_refused_when_it_is_no_history(
    content: bytes, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "history"
    file.write_bytes(content)
    assert cli.main(["check-history", str(file)]) == 2
    assert f"paxos: {file}: {reason}" in capsys.readouterr().err
    assert cli.main(["check-history", str(file), "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert report["exit"] == 2
    assert reason in report["histories"][0]["error"]
    assert report["histories"][0]["linearizable"] is None
    assert list(tmp_path.iterdir()) == [file]


def test_format_can_be_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "history", STALE[:4])
    assert cli.main(["check-history", str(file), "--format", "kv"]) == 2
    assert "line 1" in capsys.readouterr().err
    assert cli.main(["check-history", str(file), "--format", "jsonl"]) == 0


@pytest.mark.parametrize(
    ("initial", "first", "status"),
    [
        ("7", 7, 0),
        ("start", "start", 0),
        ("null", None, 0),
        ("nil", None, 0),
        ('""', "", 0),
        ("7", 8, 1),
    ],
)
def test_first_value_can_be_given(initial: str, first: object, status: int, tmp_path: Path) -> None:
    file = write(tmp_path / "history", events_of(("read", None, first)))
    assert cli.main(["check-history", str(file), "--initial", initial]) == status


def test_text_store_starts_empty_when_it_only_gets_and_puts(tmp_path: Path) -> None:
    file = write(tmp_path / "history", events_of(("get", None, ""), ("append", "a", None)))
    assert cli.main(["check-history", str(file)]) == 0


def test_verdict_is_unknown_when_the_budget_is_used_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = [
        Event(process=number, type="invoke", f="cas", key="x", value=[number % 3, number % 2])
        for number in range(9)
    ]
    ended = [Event(process=number, type="ok", f="cas", key="x") for number in range(9)]
    file = write(tmp_path / "history", begun + ended)
    assert cli.main(["check-history", str(file), "--initial", "0", "--budget", "1"]) == 3
    assert "undecided after 1 configurations" in capsys.readouterr().err


def test_interruption_is_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(linearizability, "check", interrupted)
    assert cli.main(["check-history", str(write(tmp_path / "history", STALE))]) == 130
    assert "before there was a verdict" in capsys.readouterr().err


# ---------------------------------------------------------------- the picture


class Page(HTMLParser):
    """The texts of a page's bars, and whatever it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.bars: list[str] = []
        self.marked = 0
        self.loads: list[str] = []
        self._inside = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loads += [value for name in ("src", "href") if (value := given.get(name) or "")]
        if tag == "span":
            classes = (given.get("class") or "").split()
            if "bar" in classes:
                self.bars.append("")
                self.marked += "off" in classes
                self._inside = 1
            elif self._inside:
                self._inside += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "span" and self._inside:
            self._inside -= 1

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.bars[-1] += data


def test_picture_shows_every_operation_and_marks_the_offending_ones() -> None:
    history = operations(STALE)
    text = page("<stale>", history, linearizability.check(history))
    found = Page(text)
    assert found.bars == ["write 1", "1write 2", "2read → 1"]
    assert found.marked == 2
    assert "&lt;stale&gt;" in text
    assert "<stale>" not in text


def test_picture_loads_nothing_and_suits_dark_screens_and_phones() -> None:
    history = operations(STALE)
    text = page("history", history, linearizability.check(history))
    assert all(address.startswith("#") for address in Page(text).loads)
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_picture_shows_only_the_neighbourhood_when_the_history_is_long() -> None:
    told: list[tuple[str, object, object]] = []
    for number in range(2000):
        told += [("write", number, None), ("read", None, number)]
    told[2001] = ("read", None, 5)
    history = operations(events_of(*told))
    verdict = linearizability.check(history)
    text = page("history", history, verdict)
    found = Page(text)
    assert found.marked == len(verdict.offending)
    assert len(found.bars) <= OPERATIONS_SHOWN_MAX
    assert any("read → 5" in bar for bar in found.bars)
    drawn = sum(int(count.replace(",", "")) for count in re.findall(r"<em>([\d,]+) more", text))
    assert drawn + len(found.bars) == 4000


def test_bars_of_one_process_never_overlap() -> None:
    long = Event(process=7, type="invoke", f="write", key="x", value="long text, short time")
    given_up = Event(process=7, type="info", f="write", key="x")
    history = operations([*STALE, long, given_up])
    text = page("history", history, linearizability.check(history))
    for row in text.split("<div class=row>")[1:]:
        places = re.findall(r'class="bar [^>]*left:(\d+)px;width:(\d+)px', row)
        ends = [int(left) + int(width) for left, width in places]
        assert all(int(left) >= end for (left, _), end in zip(places[1:], ends, strict=False))


def test_picture_goes_where_it_is_told_whatever_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path / "good", STALE[:4])
    bad = write(tmp_path / "bad", STALE)
    one = tmp_path / "deep" / "one.html"
    assert cli.main(["check-history", str(good), "--html", str(one)]) == 0
    assert "<h1>Linearizable</h1>" in one.read_text(encoding="utf-8")
    folder = tmp_path / "pictures"
    assert cli.main(["check-history", str(good), str(bad), "--html", str(folder)]) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["bad.html", "good.html"]
    capsys.readouterr()


def test_verdict_stands_when_the_picture_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write(tmp_path / "bad", STALE)
    (tmp_path / "bad.html").mkdir()
    assert cli.main(["check-history", str(bad)]) == 1
    assert "no picture" in capsys.readouterr().err
