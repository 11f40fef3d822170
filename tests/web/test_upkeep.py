"""Snapshots and the log on the pages of acceptors and learners."""

from __future__ import annotations

import pytest


def tile(fragment: str, label: str) -> str:
    """Return a tile's value and caption, with a bar between."""
    _, found, rest = fragment.partition(f"<dt>{label}</dt><dd>")
    assert found, label
    value, _, rest = rest.partition("</dd><dd class=caption>")
    return f"{value} | {rest.partition('</dd>')[0]}"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Volume", "70.0 MiB | on disk"),
        ("Log cut up to slot", "100,000 | 23,459 slots since"),
        ("Newest snapshot", "100,000 | 11.8 MiB, since before the start"),
        ("Could be cut", "20,000 | slots"),
        ("Slots missing", "none | "),
        ("Snapshot coming in", "25 % | 3.1 of 12 MiB"),
    ],
)
def test_an_acceptors_page_has_a_figure_when_its_status_tells(open_site, label, expected):
    assert tile(open_site("acceptor-1").get("/view-logs/state").text, label) == expected


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Volume", "70.0 MiB | on disk"),
        ("Log has grown by", "12.0 MiB | 3,456 slots"),
        ("Next snapshot at", "64.0 MiB | or 100,000 slots"),
        ("Kept snapshot", "120,000 | 12.0 MiB, for 3 min 5 s"),
    ],
)
def test_a_learners_page_has_a_figure_when_its_status_tells(open_site, label, expected):
    assert tile(open_site("learner-1").get("/view-logs/state").text, label) == expected


def test_the_sentence_is_a_warning_when_something_holds_the_log_back(open_site):
    acceptor = open_site("acceptor-1").get("/view-logs/state").text
    learner = open_site("learner-1").get("/view-logs/state").text

    assert '<p class="reason warn">acceptor-1 keeps no snapshot newer than' in acceptor
    assert '<p class="quiet">acceptor-1 keeps no snapshot newer than' in learner


def test_every_acceptors_snapshot_is_shown_when_one_lags(open_site):
    fragment = open_site("learner-1").get("/view-logs/state").text

    assert '<li class="chip warn">acceptor-1 <small>slot 100,000</small></li>' in fragment
    assert '<li class="chip good">acceptor-2 <small>slot 120,000</small></li>' in fragment


def test_a_learner_shows_its_progress_when_it_restores(open_site):
    site = open_site("learner-1")
    site.view.status["snapshots"] |= {"restored_bytes": 3 * 2**20, "restoring_bytes": 12 * 2**20}

    fragment = site.get("/view-logs/state").text
    assert tile(fragment, "Snapshot restored") == "25 % | 3 of 12 MiB"


def test_a_learner_shows_its_own_snapshot_when_too_few_keep_it(open_site):
    site = open_site("learner-1")
    site.view.status["snapshots"] |= {"taken_slot": 123000, "taking": True}

    fragment = site.get("/view-logs/state").text
    assert tile(fragment, "Snapshot taken here") == "123,000 | 12.0 MiB"
    assert tile(fragment, "Snapshot") == "being taken | "


def test_an_acceptor_says_how_much_it_lacks_when_it_is_behind(open_site):
    site = open_site("acceptor-1")
    site.view.status["keeping"] |= {"behind": True, "base": 0, "snapshot_slot": 0, "kept": {}}
    some = site.get("/view-logs/state").text
    site.view.upkeep["missing_slots"] = 1234
    many = site.get("/view-logs/state").text

    assert tile(some, "Slots missing") == "some | catching up"
    assert tile(some, "Newest snapshot") == "none yet | "
    assert tile(some, "Log cut up to slot") == "- | 23,459 slots since"
    assert tile(many, "Slots missing") == "1,234 or more | catching up"


def test_the_section_is_left_out_when_a_node_has_no_snapshots(open_site):
    assert "Snapshots and the log" not in open_site("client-1").get("/view-logs/state").text


def test_the_section_is_escaped_when_a_name_is_markup(open_site):
    nasty = "<script>alert(1)</script>"
    site = open_site("acceptor-1")
    site.view.upkeep["text"] = nasty
    site.view.status["keeping"]["kept"] = {nasty: 120000}
    fragment = site.get("/view-logs/state").text

    assert nasty not in fragment
    assert fragment.count("&lt;script&gt;") == 2
