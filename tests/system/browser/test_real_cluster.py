"""The pages of eleven real processes in a real browser, while they work and while they fail."""

from __future__ import annotations

import re
import shutil

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.system.browser.conftest import VIEWPORTS, Screenshot, Windows
from tests.system.cluster import LocalCluster, wait_until
from tests.system.conftest import NewCluster

from paxos.core.types import Role

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

SCHEMES = ("light", "dark")


def visit(tab: Page, cluster: LocalCluster, node: str) -> Page:
    """Open a node's page, and wait until it follows the log."""
    tab.goto(address(cluster, node))
    expect(tab.locator("#live")).to_have_text("live")
    return tab


def address(cluster: LocalCluster, node: str) -> str:
    """Return where a node's page is."""
    return f"http://127.0.0.1:{cluster.configuration.page_port(node)}/view-logs"


def tile(tab: Page, label: str) -> Locator:
    """Return the value of a figure on a page."""
    named = tab.locator("dt", has_text=re.compile(f"^{re.escape(label)}$"))
    return tab.locator(".tile", has=named).locator("dd:not(.caption)")


def number(tab: Page, label: str) -> int:
    """Return a figure on a page as it is now."""
    return int(tile(tab, label).inner_text().replace(",", ""))


def lines(tab: Page) -> Locator:
    """Return the lines of the log on a page, the newest first."""
    return tab.locator("#log li:not(.divider)")


def never_reload(tab: Page) -> None:
    """Leave a mark in the page that would not survive a reload."""
    tab.evaluate("window.stayed = true")


def stayed(tab: Page) -> bool:
    """Tell whether the page is still the one that was marked."""
    return tab.evaluate("window.stayed === true")


def shows_its_state(tab: Page, cluster: LocalCluster, node: str) -> None:
    """Check that a page shows its node's name, that it is ready, and what its role does."""
    expect(tab.locator("h1")).to_have_text(node)
    expect(tab.locator(".facts .chip")).to_have_text("ready")
    leader = cluster.leader()
    match node.partition("-")[0]:
        case "proposer":
            expect(tile(tab, "Phase")).to_have_text("leading" if node == leader else "follower")
            expect(tile(tab, "Leader")).to_have_text(leader)
        case "acceptor":
            expect(tile(tab, "Phase")).to_have_text("open")
            expect(tile(tab, "Promised ballot")).to_have_text(str(cluster.status(leader)["ballot"]))
        case "learner":
            expect(tile(tab, "Applied slot")).to_have_text(f"{cluster.status(node)['applied']:,}")
        case "client":
            expect(tile(tab, "Door")).to_have_text(str(cluster.status(node)["door"]))
            expect(tile(tab, "Acceptors voting")).to_have_text("3")
        case _:
            expect(tab.locator("#state tbody tr")).to_have_count(len(cluster.nodes))
            expect(tab.locator("#state tr.bad")).to_have_count(0)


@pytest.mark.parametrize("viewport", list(VIEWPORTS))
def test_all_eleven_pages_show_their_nodes_and_fit_the_window(
    cluster: LocalCluster, windows: Windows, screenshot: Screenshot, viewport: str
) -> None:
    assert len(cluster.nodes) == 11
    tab = windows(viewport).new_page()
    for node in cluster.nodes:
        visit(tab, cluster, node)
        shows_its_state(tab, cluster, node)
        expect(tab.locator("nav a")).to_have_count(11)
        expect(lines(tab).last).to_contain_text(f"started {node}", use_inner_text=True)
        for scheme in SCHEMES:
            tab.emulate_media(color_scheme=scheme)
            screenshot(tab, f"{node}-{viewport}-{scheme}")
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), node


def test_the_navigation_leads_from_page_to_page(cluster: LocalCluster, windows: Windows) -> None:
    tab = visit(windows("phone").new_page(), cluster, cluster.nodes[-1])
    for node in cluster.nodes:
        tab.click(f"nav a[data-node={node}]")
        expect(tab).to_have_url(address(cluster, node))
        expect(tab.locator("h1")).to_have_text(node)
        expect(tab.locator("nav a[aria-current]")).to_have_text(node)
    visit(tab, cluster, "discovery")
    tab.click("#state table a:text-is('learner-2')")
    expect(tab.locator("h1")).to_have_text("learner-2")


def test_a_write_moves_the_slots_on_open_pages(cluster: LocalCluster, windows: Windows) -> None:
    window = windows("desktop")
    shown = [(cluster.leader(), "Decided slot"), ("acceptor-2", "Highest slot")]
    shown += [("acceptor-2", "Decided slot"), ("learner-1", "Applied slot")]
    tabs = {node: visit(window.new_page(), cluster, node) for node, _ in shown}
    before = {(node, label): number(tabs[node], label) for node, label in shown}
    for tab in tabs.values():
        never_reload(tab)

    door = cluster.redis(1)
    slot = [int(door.execute_command("WRITE", f"value {n}")) for n in range(5)][-1]

    for node, label in shown:
        assert before[node, label] < slot
        # An acceptor learns what is decided with the next Accept or heartbeat.
        wait_until(
            lambda tab=tabs[node], label=label: number(tab, label) >= slot,
            f"the page of {node} shows {label} {slot}",
        )
        assert stayed(tabs[node])


def test_a_killed_leader_is_replaced_on_open_pages(
    cluster: LocalCluster, windows: Windows, screenshot: Screenshot
) -> None:
    window = windows("desktop")
    old = cluster.leader()
    ballot = int(cluster.status(old)["ballot"])
    tabs = {node: visit(window.new_page(), cluster, node) for node in cluster.of(Role.PROPOSER)}
    book = visit(window.new_page(), cluster, "discovery")
    leads = book.locator("#state tbody tr", has=book.locator(".chip"))
    expect(leads).to_contain_text(old)
    for tab in (*tabs.values(), book):
        never_reload(tab)

    cluster.kill(old)
    new = cluster.leader()

    assert new != old
    expect(tile(tabs[new], "Phase")).to_have_text("leading")
    wait_until(lambda: number(tabs[new], "Ballot") > ballot, "the page shows a higher ballot")
    expect(lines(tabs[new]).first).to_contain_text("leading with ballot")
    expect(leads).to_contain_text(new)
    # The page of the killed one finds it again by itself, and says that the log begins anew.
    expect(tabs[old].locator("#log li.divider")).to_contain_text("the node restarted")
    expect(tile(tabs[old], "Phase")).to_have_text("follower")
    expect(tile(tabs[old], "Leader")).to_have_text(new)
    expect(tabs[old].locator("#silent")).to_be_hidden()
    assert all(stayed(tab) for tab in (*tabs.values(), book))
    screenshot(tabs[old], "killed-leader-desktop-light")


def test_a_node_that_is_down_is_said_to_be(
    cluster: LocalCluster, windows: Windows, screenshot: Screenshot
) -> None:
    window = windows("phone")
    down = visit(window.new_page(), cluster, "acceptor-1")
    other = visit(window.new_page(), cluster, cluster.leader())
    mark = other.locator("nav a[data-node=acceptor-1]")
    expect(mark).to_have_attribute("data-up", "1")

    cluster.hold("acceptor-1")
    expect(down.locator("#silent")).to_contain_text("has not answered since")
    expect(down.locator("#live")).to_have_text("not connected")
    expect(mark).to_have_attribute("data-up", "0")
    assert lines(down).count() > 0
    screenshot(down, "down-phone-light")

    cluster.release("acceptor-1")
    expect(down.locator("#silent")).to_be_hidden()
    expect(down.locator("#live")).to_have_text("live")
    expect(mark).to_have_attribute("data-up", "1")


def test_level_and_text_filter_real_lines(cluster: LocalCluster, windows: Windows) -> None:
    # Discovery warns of a node whose registration runs out.
    cluster.hold("learner-2")
    tab = visit(windows("desktop").new_page(), cluster, "discovery")
    expect(lines(tab).filter(has_text="learner-2 has not renewed").first).to_be_visible()
    everything = lines(tab).count()

    tab.select_option("#level", "warning")
    expect(lines(tab).first).to_contain_text("has not renewed")
    expect(tab.locator("#log li.info")).to_have_count(0)
    tab.select_option("#level", "")
    expect(lines(tab)).to_have_count(everything)
    tab.fill("#text", "ACCEPTOR-3 registered")
    expect(lines(tab)).to_have_count(1)
    expect(lines(tab)).to_contain_text("acceptor-3 registered at")
    tab.fill("#text", "learner-2")
    expect(lines(tab).first).to_contain_text("has not renewed")

    cluster.release("learner-2")
    expect(lines(tab).first).to_contain_text("learner-2 registered at")


@pytest.mark.parametrize("viewport", list(VIEWPORTS))
def test_an_acceptor_whose_volume_is_gone_says_that_it_does_not_vote(
    new_cluster: NewCluster, windows: Windows, screenshot: Screenshot, viewport: str
) -> None:
    cluster = new_cluster({})
    cluster.redis(1).execute_command("WRITE", "before")
    window = windows(viewport)
    tab = visit(window.new_page(), cluster, "acceptor-3")
    never_reload(tab)
    cluster.hold("acceptor-3")
    shutil.rmtree(cluster.volume("acceptor-3"))
    cluster.release("acceptor-3")

    expect(tile(tab, "Phase")).to_have_text("barred")
    expect(tab.locator(".facts .chip")).to_have_text("not ready")
    reason = tab.locator("#state .reason")
    expect(reason).to_contain_text("the volume is blank")
    expect(reason).to_contain_text("Bring its own volume back")
    expect(lines(tab).filter(has_text="this acceptor does not vote")).to_have_count(1)
    assert stayed(tab)
    leader = visit(window.new_page(), cluster, cluster.leader())
    expect(leader.locator("#state .chip.warn")).to_contain_text("acceptor-3: ")
    for page, name in ((tab, "barred"), (leader, "barred-leader")):
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        screenshot(page, f"{name}-{viewport}-light")
