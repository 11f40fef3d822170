from __future__ import annotations

import json
import socket
import time

import pytest

from paxos.core.trace import Level
from paxos.web import app as app_module

PATHS = ["/view-logs", "/view-logs/state", "/state", "/logs", "/healthz", "/readyz", "/metrics"]


@pytest.mark.parametrize("path", [*PATHS, "/assets/page.css", "/assets/page.js"])
def test_every_page_answers_with_security_headers(site, path):
    answer = site.get(path)

    assert answer.status == 200
    assert answer.body or path == "/logs"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers


def test_the_root_leads_to_the_log_page(site):
    answer = site.get("/")

    assert (answer.status, answer.headers["location"]) == (307, "/view-logs")


def test_an_unknown_path_is_not_found_and_never_redirected(site):
    assert site.get("/nothing").status == 404
    assert site.get("/state/").status == 404
    assert site.get("//evil.example/").status == 404


def test_only_reading_is_allowed(site):
    assert site.get("/state", method="POST").status == 405
    assert site.get("/logs", method="DELETE").status == 405


def test_state_is_compact_for_programs_and_indented_for_browsers(site):
    compact, pretty = site.get("/state"), site.get("/state", accept="text/html")

    assert b"\n" not in compact.body
    assert pretty.body.count(b"\n") > 20
    assert compact.json["status"] == pretty.json["status"] == site.view.status
    assert compact.headers["content-type"] == "application/json"
    assert site.get("/state?pretty=1").body.count(b"\n") > 20


@pytest.mark.parametrize(("path", "name"), [("/healthz", "healthy"), ("/readyz", "ready")])
def test_a_condition_is_503_with_its_reason_when_it_does_not_hold(site, path, name):
    assert site.get(path).json == {"node": "proposer-3", name: True, "reason": ""}

    setattr(site.view, name, (False, "no quorum can be reached"))
    answer = site.get(path)

    assert answer.status == 503
    assert answer.json == {"node": "proposer-3", name: False, "reason": "no quorum can be reached"}


def test_metrics_are_prometheus_text(site):
    answer = site.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"paxos_slots 7" in answer.body


def test_logs_are_json_lines_for_programs_and_text_on_request(site):
    site.note("became_leader", "leads with ballot 301", ballot=301)
    site.note("nack", "refused", Level.WARNING)

    records = [json.loads(line) for line in site.get("/logs").text.splitlines()]
    text = site.get("/logs?format=text").text

    assert [record["what"] for record in records] == ["became_leader", "nack"]
    assert records[0]["fields"] == {"ballot": 301}
    assert "INFO    = became_leader: leads with ballot 301 ballot=301" in text
    assert site.get("/logs", accept="text/html").headers["content-type"].startswith("text/plain")


def test_logs_are_filtered_by_level_text_and_position(site):
    for number in range(1, 7):
        site.note("step", f"number {number}", Level.WARNING if number % 2 else Level.INFO)

    def numbers(query: str) -> list[int]:
        lines = site.get(f"/logs?{query}").text.splitlines()
        return [json.loads(line)["sequence"] for line in lines]

    assert numbers("level=warning") == [1, 3, 5]
    assert numbers("text=NUMBER+4") == [4]
    assert numbers("limit=2") == [5, 6]
    assert numbers("after=2&limit=2") == [3, 4]
    assert numbers("after=0&limit=1") == [1]
    assert numbers("after=6") == []


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("level=loud", "level='loud' is not one of debug, info, warning, error"),
        ("limit=0", "limit=0 is not in 1..2000"),
        ("limit=many", "limit='many' is not a whole number in 1..2000"),
        ("limit=-1", "limit='-1' is not a whole number"),
        ("limit=99999999999999999999999", "is not a whole number"),
        ("after=%D9%A3", "is not a whole number"),
        ("follow=yes", "follow='yes' is not 0 or 1"),
        ("format=xml", "format='xml' is not one of jsonl, text"),
        ("levle=info", "there is no parameter 'levle'; known are after, boot, level"),
        ("limit=1&limit=2", "limit is given twice"),
        ("boot=%3Cb%3E", "boot='<b>' is not the first part of a record's id"),
        (f"text={'x' * 201}", "text is 201 characters long; at most 200 are looked for"),
    ],
)
def test_a_wrong_query_is_refused_by_name(site, query, complaint):
    answer = site.get(f"/logs?{query}")

    assert answer.status == 400
    assert complaint in answer.text
    assert answer.headers["content-type"].startswith("text/plain")


def test_other_pages_check_their_queries_too(site):
    assert site.get("/state?pretty=2").status == 400
    assert site.get("/view-logs?level=loud").status == 400
    assert site.get("/view-logs/state?x=1").status == 400


# ---------------------------------------------------------------- following


def test_a_follower_gets_what_is_there_and_then_what_comes(site):
    site.note("one", "was there")
    with site.follow() as follower:
        assert follower.answer.headers["content-type"].startswith("text/event-stream")
        assert follower.record()["what"] == "one"
        site.note("two", "came later")
        event = follower.event()

    assert json.loads(event["data"])["what"] == "two"
    assert event["id"].partition(".")[2] == "2"


def test_a_follower_sees_only_what_its_filter_lets_through(site):
    with site.follow("&level=warning&text=disk") as follower:
        site.note("a", "disk", Level.INFO)
        site.note("b", "net", Level.ERROR)
        site.note("c", "a DISK failed", Level.ERROR)

        assert follower.record()["what"] == "c"


def test_a_follower_that_comes_back_goes_on_where_it_was(site):
    site.note("one", "first")
    with site.follow() as follower:
        boot = follower.event()["id"].partition(".")[0]
    site.note("two", "second")

    with site.follow(f"&after=1&boot={boot}") as follower:
        assert follower.record()["what"] == "two"


def test_a_follower_of_an_earlier_life_is_told_and_starts_anew(site):
    site.note("one", "first")

    with site.follow("&after=900&boot=0ther") as follower:
        assert follower.event()["event"] == "restarted"
        assert follower.record()["what"] == "one"


def test_a_follower_that_fell_behind_the_ring_is_told_how_much_it_missed(site):
    for number in range(site.view.log.capacity + 25):
        site.view.note("step", f"number {number}")

    with site.follow("&after=5") as follower:
        event = follower.event()
        record = follower.record()

    assert event == {"event": "skipped", "data": "20"}
    assert record["sequence"] == 26


def test_one_follower_too_many_is_turned_away_and_a_free_place_is_given_again(site, monkeypatch):
    monkeypatch.setattr(app_module, "LISTENERS_MAX", 2)
    first, second = site.follow(), site.follow()
    refused = site.get("/logs?follow=1")
    second.close()
    deadline = time.monotonic() + 20
    while (again := site.follow()).answer.status != 200:
        again.close()
        assert time.monotonic() < deadline

    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert "2 clients follow this log already" in refused.text
    again.close()
    first.close()


def test_a_follower_is_let_go_when_the_node_stops(site):
    site.note("one", "first")
    with site.follow() as follower:
        follower.record()
        site.run(site.server.stop())

        assert follower.event() == {}
        with (
            pytest.raises(ConnectionRefusedError),
            socket.create_connection(("127.0.0.1", site.port)),
        ):
            pass


def test_asking_for_the_head_of_a_followed_log_does_not_hang(site):
    assert site.get("/logs?follow=1", method="HEAD").status == 200
