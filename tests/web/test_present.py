from __future__ import annotations

import re

import pytest

from paxos.web import format as shown
from paxos.web.page import host_name

NODES = ["discovery", "proposer-1", "acceptor-1", "learner-1", "client-1"]


@pytest.mark.parametrize("node", NODES)
def test_every_role_has_a_page_with_all_links(open_site, node):
    site = open_site(node)
    page = site.get("/view-logs", host="example.org:8003").text

    assert f"<h1>{node}</h1>" in page
    for other, port in site.view.neighbours:
        assert f'href="http://example.org:{port}/view-logs" data-node="{other}"' in page
    assert page.count("aria-current") == 1
    assert '<span class="chip good">ready</span>' in page


@pytest.mark.parametrize(
    ("node", "facts"),
    [
        ("proposer-1", ["leading", "1203", "of proposer-3", "123,456"]),
        ("acceptor-1", ["Promised ballot", "123,459", "open"]),
        ("learner-1", ["Applied slot", "100,221", "100,003"]),
        ("client-1", ["1.23 ms", "p50; p99 13 ms", "2 needed of 3", "6001", "7,654,321"]),
        ("discovery", ["proposer-3", "not registered", "127.0.0.1:17001", "Not registered"]),
    ],
)
def test_figures_are_formatted(open_site, node, facts):
    fragment = open_site(node).get("/view-logs/state").text

    assert [fact for fact in facts if fact not in fragment] == []


def test_a_node_that_is_not_ready_says_why(site):
    site.view.ready = (False, "its volume is blank; see docs/operating.md")
    fragment = site.get("/view-logs/state").text

    assert '<span class="chip warn">not ready</span>' in fragment
    assert '<p class="reason warn">its volume is blank; see docs/operating.md</p>' in fragment


def test_the_members_are_shown_with_their_epoch(open_site):
    site = open_site("acceptor-1")
    assert "Epoch 0, since the founding." in site.get("/view-logs/state").text
    site.view.membership |= {"epoch": 3, "slot": 1234, "acceptors": ["acceptor-1.1"]}
    site.view.membership["member"] = False
    site.view.status["phase"] = "removed"
    fragment = site.get("/view-logs/state").text
    said = "Epoch 3, decided in slot 1,234. acceptor-1 is none of them."
    assert f'<p class="reason bad">{said}</p>' in fragment
    assert '<li class="chip ">acceptor-1.1</li>' in fragment
    assert '<div class="tile bad"><dt>Phase</dt><dd>removed</dd>' in fragment


def test_discovery_marks_the_leader_and_links_to_pages(open_site):
    fragment = open_site("discovery").get("/view-logs/state", host="[::1]:8000").text
    row = re.search(r"<tr[^>]*><th>[^/]*//\[::1\]:8003/view-logs.*?</tr>", fragment)

    assert row is not None
    assert '<span class="chip good">leader</span>' in row[0]


def test_figures_that_the_page_does_not_know_are_shown_all_the_same(site):
    site.view.status["snapshot_bytes_written"] = 12345

    assert "<dt>Snapshot bytes written</dt><dd>12,345</dd>" in site.get("/view-logs/state").text


def test_everything_from_the_state_is_escaped(open_site):
    nasty = "<script>alert(1)</script>"
    for node in NODES:
        site = open_site(node)
        site.view.ready = (False, nasty)
        site.view.status |= {"phase": nasty, "leader": nasty, nasty: nasty}
        site.view.status |= {"voting": [nasty], "abstaining": {nasty: nasty}, "learner": nasty}
        site.view.membership |= {"learners": [nasty], "slot": nasty, "member": nasty == ""}
        site.view.status["nodes"] = [{"node": nasty, "host": nasty, "summary": nasty}]
        site.view.neighbours.append((nasty, 1))
        page = site.get("/view-logs").text

        assert nasty not in page
        assert "&lt;script&gt;" in page


def test_the_filter_in_the_address_is_escaped_and_kept(site):
    page = site.get("/view-logs?level=warning&text=%22%3E%3Cb%3E").text

    assert 'value="&quot;&gt;&lt;b&gt;"' in page
    assert '<option value="warning" selected>' in page


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8001", "localhost"),
        ("10.0.0.7", "10.0.0.7"),
        ("[fe80::1]:80", "[fe80::1]"),
        ('x"><script>', "localhost"),
        ("a/b", "localhost"),
        ("", "localhost"),
    ],
)
def test_links_use_the_host_that_the_browser_asked_for_if_it_is_one(header, name):
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (shown.count(1234567), "1,234,567"),
        (shown.count(None), "-"),
        (shown.size(0), "0 B"),
        (shown.size(41_234_567), "39.3 MiB"),
        (shown.size(5 * 2**30), "5.0 GiB"),
        (shown.duration(0.0421), "42 ms"),
        (shown.duration(-0.5), "0 ms"),
        (shown.duration(7.25), "7.2 s"),
        (shown.duration(59.9), "59 s"),
        (shown.duration(3725), "1 h 2 min"),
        (shown.duration(200_000), "2 d 7 h"),
        (shown.milliseconds(0.123), "0.12 ms"),
        (shown.milliseconds(1500), "1.5 s"),
        (shown.compact(950), "950"),
        (shown.compact(1234), "1.2k"),
        (shown.compact(38_000), "38k"),
        (shown.compact(1_500_000), "1.5M"),
        (shown.ballot_owner(1203), "of proposer-3"),
        (shown.ballot_owner(0), ""),
        (shown.plain([]), "-"),
        (shown.plain({"a": True, "b": 1.5}), "a yes, b 1.50"),
    ],
)
def test_numbers_read_well(text, expected):
    assert text == expected
