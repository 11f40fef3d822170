"""The nodes' pages in a real browser, on a desktop's screen and on a phone's."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from paxos.core.trace import Level

NODES = ["discovery", "proposer-3", "acceptor-2", "learner-1", "client-1"]


def _open(tab, site, query: str = "") -> None:
    tab.goto(f"http://127.0.0.1:{site.port}/view-logs{query}")
    expect(tab.locator("#live")).to_have_text("live")


def _fits(tab) -> bool:
    return tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def _lines(tab):
    return tab.locator("#log li:not(.divider)")


@pytest.mark.parametrize("node", NODES)
def test_a_page_fits_its_window_and_shows_state_and_log(open_site, tab, screenshot, node):
    site = open_site(node)
    site.note("started", f"{node} started", incarnation=1760000000123456)
    site.note("refused", "x" * 500, Level.WARNING, peer="10.0.0.9:51234")
    _open(tab, site)

    expect(tab.locator("h1")).to_have_text(node)
    expect(tab.locator("nav a")).to_have_count(len(site.view.neighbours))
    expect(tab.locator(".facts .chip")).to_have_text("ready")
    expect(_lines(tab)).to_have_count(2)
    assert _fits(tab)
    screenshot(tab, node)


def test_a_new_line_appears_by_itself_on_top(open_site, tab):
    site = open_site("acceptor-2")
    site.note("one", "was there")
    _open(tab, site)
    expect(_lines(tab)).to_have_count(1)
    site.note("two", "came later", slot=7)

    expect(_lines(tab).first).to_contain_text("two came later slot=7", use_inner_text=True)
    expect(_lines(tab)).to_have_count(2)


def test_the_filter_narrows_what_is_there_and_what_comes(open_site, tab, screenshot):
    site = open_site("proposer-3")
    for number in range(1, 11):
        level = Level.WARNING if number % 5 == 0 else Level.INFO
        site.note("step", f"number {number}", level)
    _open(tab, site)
    expect(_lines(tab)).to_have_count(10)

    tab.select_option("#level", "warning")
    expect(_lines(tab)).to_have_count(2)
    tab.fill("#text", "NUMBER 10")
    expect(_lines(tab)).to_have_count(1)
    expect(_lines(tab)).to_contain_text("number 10")
    site.note("step", "number 10 again, but only information")
    site.note("step", "number 10 once more", Level.ERROR)
    expect(_lines(tab).first).to_contain_text("number 10 once more")
    expect(_lines(tab)).to_have_count(2)
    assert "level=warning" in tab.url
    assert "text=NUMBER+10" in tab.url
    screenshot(tab, "filtered")

    tab.reload()
    expect(_lines(tab)).to_have_count(2)
    expect(tab.locator("#text")).to_have_value("NUMBER 10")
    tab.fill("#text", "nothing says this")
    expect(tab.locator("#empty")).to_have_text("No line matches the filter.")


def test_pause_holds_new_lines_back_until_resume(open_site, tab):
    site = open_site("learner-1")
    site.note("one", "first")
    _open(tab, site)
    expect(_lines(tab)).to_have_count(1)
    tab.click("#pause")
    site.note("two", "second")

    expect(tab.locator("#live")).to_have_text("paused, 1 new")
    expect(_lines(tab)).to_have_count(1)
    tab.click("#pause")
    expect(_lines(tab)).to_have_count(2)
    expect(tab.locator("#live")).to_have_text("live")


def test_the_state_is_fresh_without_a_reload(open_site, tab):
    site = open_site("proposer-3")
    _open(tab, site)
    site.view.status["decided"] = 999_111
    site.view.ready = (False, "no quorum of acceptors")

    expect(tab.locator("#state")).to_contain_text("999,111")
    expect(tab.locator("#state .reason")).to_have_text("no quorum of acceptors")


def test_the_navigation_shows_which_links_stand(open_site, tab):
    _open(tab, open_site("client-1"))

    expect(tab.locator("nav a[data-node=acceptor-2]")).to_have_attribute("data-up", "0")
    expect(tab.locator("nav a[data-node=acceptor-1]")).to_have_attribute("data-up", "1")


def test_what_a_client_sent_is_text_and_never_markup(open_site, tab):
    site = open_site("client-1")
    nasty = "<img src=x onerror='document.title=1'><b>bold</b>"
    site.note("rejected", nasty, Level.WARNING, key=nasty)
    site.view.ready = (False, nasty)
    _open(tab, site)

    expect(_lines(tab).locator(".text")).to_have_text(nasty)
    expect(tab.locator("#log img, #log b, #state img")).to_have_count(0)
    assert tab.title() == "client-1 · Paxos"


def test_a_node_that_stops_answering_is_said_to(open_site, tab, screenshot):
    site = open_site("proposer-3")
    site.note("one", "first")
    _open(tab, site)
    site.run(site.server.stop())

    expect(tab.locator("#silent")).to_contain_text("has not answered since")
    expect(tab.locator("#live")).to_have_text("not connected")
    expect(_lines(tab)).to_have_count(1)
    screenshot(tab, "silent")
    site.run(site.server.start())

    expect(tab.locator("#silent")).to_be_hidden()
