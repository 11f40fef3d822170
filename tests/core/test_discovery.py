from __future__ import annotations

from tests.core.builders import (
    A1,
    A3,
    A31,
    DISCOVERY,
    L1,
    P1,
    P2,
    Bench,
    configuration,
    messages,
    nothing_sent,
    sent,
    timers,
    traced,
)

from paxos.core.discovery import Discovery
from paxos.core.effects import Relink
from paxos.core.messages import AskConfiguration, Book, Configuration, Register
from paxos.core.settings import Settings
from paxos.core.types import Ballot, NodeId
from paxos.sim.world import membership_of


def a_discovery() -> Bench:
    bench = Bench(Discovery(DISCOVERY, membership_of(), Settings()))
    assert timers(bench.start()) == {"forget": 1000}
    return bench


def register(node: str, incarnation: int = 1, leader: int = 0, host: str = "h") -> Register:
    return Register(
        node=NodeId(node),
        host=host,
        peer_port=17000,
        page_port=8000,
        incarnation=incarnation,
        cluster="c1",
        leader=Ballot(leader),
        summary="well",
    )


def test_a_node_gets_the_book_when_it_registers() -> None:
    """DESIGN: discovery is the address book."""
    bench = a_discovery()
    bench.receive(A1, register(A1, host="one"))
    effects = bench.receive(L1, register(L1, host="two"))
    [(to, book)] = sent(effects, Book)
    assert to == (L1,)
    assert [(e.node, e.host) for e in book.entries] == [(A1, "one"), (L1, "two")]
    assert traced(effects) == ["registered"]


def test_a_renewal_is_silent_when_nothing_is_new() -> None:
    """A line per second and node would bury the log."""
    bench = a_discovery()
    bench.receive(A1, register(A1))
    assert traced(bench.receive(A1, register(A1))) == []
    assert traced(bench.receive(A1, register(A1, incarnation=2))) == ["registered"]


def test_a_registration_is_refused_when_it_is_in_anothers_name() -> None:
    """DESIGN rule 10; the link has proven who the sender is."""
    bench = a_discovery()
    effects = bench.receive(A1, register(L1))
    assert traced(effects) == ["registration_refused"]
    assert nothing_sent(effects)
    assert bench.role.book == {}


def test_a_stranger_is_refused_when_it_is_not_configured() -> None:
    """DESIGN rule 2: membership is configured, never what registers."""
    bench = a_discovery()
    assert nothing_sent(bench.receive("acceptor-9", register("acceptor-9")))
    assert bench.role.book == {}


def test_a_message_of_an_earlier_life_changes_nothing_when_it_comes_late() -> None:
    """Incarnations rise with every start of a node."""
    bench = a_discovery()
    bench.receive(A1, register(A1, incarnation=5, host="new"))
    assert bench.receive(A1, register(A1, incarnation=4, host="old")) == []
    assert bench.role.book[A1].host == "new"


def test_an_entry_is_forgotten_when_three_renewals_are_missed() -> None:
    """DESIGN: an address book with expiring entries."""
    bench = a_discovery()
    bench.receive(A1, register(A1))
    bench.now_ms += 2000
    bench.receive(L1, register(L1))
    bench.now_ms += 1000
    assert traced(bench.fire("forget")) == []
    bench.now_ms += 1
    effects = bench.fire("forget")
    assert traced(effects) == ["forgotten"]
    assert timers(effects) == {"forget": 1000}
    assert set(bench.role.book) == {L1}


def test_the_leader_is_the_highest_ballot_reported_when_reports_differ() -> None:
    """STYLE "What goes wrong": a leader recorded without a ballot is never replaced."""
    bench = a_discovery()
    bench.receive(P1, register(P1, leader=101))
    bench.receive(A1, register(A1, leader=202))
    bench.receive(P2, register(P2, leader=0))
    status = bench.role.status()
    assert (status.leader, status.ballot) == (P2, 202)


def test_nobody_leads_when_nobody_says_so() -> None:
    """Discovery refuses to elect."""
    bench = a_discovery()
    bench.receive(P1, register(P1))
    assert (bench.role.status().leader, bench.role.status().ballot) == (None, 0)


def test_the_status_lists_who_is_there_and_who_is_missing_when_asked() -> None:
    """DESIGN: the dashboard's table, in the order of the pages."""
    bench = a_discovery()
    bench.receive(A1, register(A1))
    bench.receive(P1, register(P1))
    bench.now_ms += 1500
    bench.fire("forget")
    status = bench.role.status()
    assert [(n.node, n.role, n.age_s) for n in status.nodes] == [
        (P1, "proposer", 1.5),
        (A1, "acceptor", 1.5),
    ]
    assert "learner-1" in status.missing
    assert A1 not in status.missing
    assert DISCOVERY not in status.missing


def test_the_book_is_whole_again_when_discovery_lost_everything() -> None:
    """DESIGN rule 2: discovery is soft state; killed and restarted blank, it learns again."""
    nodes = [n for n in membership_of().nodes if n != DISCOVERY]
    bench = a_discovery()
    for node in nodes:
        assert messages(bench.receive(node, register(node)), Book)
    assert bench.role.status().missing == []


# ---------------------------------------------------------------- members

REPLACED = configuration(acceptors=(A1, NodeId("acceptor-2"), A31))


def test_who_is_removed_leaves_the_book_when_discovery_hears_of_it() -> None:
    """DESIGN rule 2: membership is what the log decided, never what registers."""
    bench = a_discovery()
    bench.receive(A1, register(A1))
    bench.receive(A3, register(A3))
    assert bench.receive(P1, REPLACED) == [Relink(configuration=REPLACED)]
    assert set(bench.role.book) == {A1}
    assert traced(bench.receive(A3, register(A3))) == ["registration_refused"]
    assert A31 in bench.role.status().missing
    assert A3 not in bench.role.status().missing
    assert messages(bench.receive(A31, register(A31)), Book)
    assert [n.node for n in bench.role.status().nodes] == [A1, A31]


def test_what_discovery_knows_does_not_go_back_when_an_older_configuration_comes() -> None:
    """It is told by everybody, in any order."""
    bench = a_discovery()
    bench.receive(P1, configuration(2))
    assert bench.receive(P2, REPLACED) == []
    assert bench.role.view.epoch == 2


def test_discovery_tells_the_configuration_when_it_is_asked_or_linked_with() -> None:
    """A node that starts may find nobody else of those that it was configured with."""
    bench = a_discovery()
    assert nothing_sent(bench.connect(A1))
    assert nothing_sent(bench.receive(A1, AskConfiguration()))
    bench.receive(P1, REPLACED)
    assert sent(bench.connect(A31), Configuration) == [((A31,), REPLACED)]
    assert sent(bench.receive(L1, AskConfiguration()), Configuration) == [((L1,), REPLACED)]
