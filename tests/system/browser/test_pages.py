"""What only fake nodes can show at will: hostile and endless text, lines of chosen levels."""

from __future__ import annotations

from playwright.sync_api import expect

from paxos.core.trace import Level


def _open(tab, site, query: str = "") -> None:
    tab.goto(f"http://127.0.0.1:{site.port}/view-logs{query}")
    expect(tab.locator("#live")).to_have_text("live")


def _lines(tab):
    return tab.locator("#log li:not(.divider)")


def test_words_without_an_end_fit_the_window(open_site, tab):
    site = open_site("proposer-3")
    site.note("refused", "x" * 500, Level.WARNING, peer="10.0.0.9:51234", key="y" * 500)
    site.view.ready = (False, "z" * 500)
    site.view.status["abstaining"] = {"acceptor-1": "w" * 500}
    _open(tab, site)

    expect(_lines(tab)).to_have_count(1)
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_filter_narrows_what_is_there_and_what_comes(open_site, tab):
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


def test_what_a_client_sent_is_text_and_never_markup(open_site, tab):
    site = open_site("client-1")
    nasty = "<img src=x onerror='document.title=1'><b>bold</b>"
    site.note("rejected", nasty, Level.WARNING, key=nasty)
    site.view.ready = (False, nasty)
    _open(tab, site)

    expect(_lines(tab).locator(".text")).to_have_text(nasty)
    expect(tab.locator("#log img, #log b, #state img")).to_have_count(0)
    assert tab.title() == "client-1 · Paxos"
