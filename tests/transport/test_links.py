from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest
from tests.transport.conftest import Net, Play, Station, knock, until

from paxos.core.errors import ConfigurationError
from paxos.core.messages import Accept, Accepted, AskVolume
from paxos.core.quorum import Membership
from paxos.core.types import Ballot, NodeId, Role, Slot, role_of
from paxos.sim.world import membership_of
from paxos.transport import links as links_module
from paxos.transport.framing import frame
from paxos.transport.links import LINGERING_BYTES_MAX, Identity, dialed_by

A1, A2, A3 = (NodeId(f"acceptor-{n}") for n in (1, 2, 3))
L1 = NodeId("learner-1")


def vote(slot: int) -> Accepted:
    return Accepted(ballot=Ballot(101), slot=Slot(slot))


def large(slot: int, size: int) -> Accept:
    return Accept(ballot=Ballot(101), slot=Slot(slot), value=b"x" * size, decided=Slot(0))


async def pair(net: Net, one: str = A1, other: str = A2) -> tuple[Station, Station]:
    """Start two stations and wait until a link stands."""
    second = await net.station(other)
    first = await net.station(one)
    await until(lambda: first.connected and second.connected, "a link stands")
    return first, second


# ---------------------------------------------------------------- who dials whom


def test_each_pair_has_one_dialer_when_it_talks() -> None:
    """links.py: "no two connections race for one pair"."""
    membership = membership_of()
    nodes = membership.nodes
    dials = {(node, other) for node in nodes for other in dialed_by(node, membership)}
    assert not {(a, b) for a, b in dials if (b, a) in dials}
    assert all(a != b for a, b in dials)
    talk = {frozenset(pair) for pair in dials}
    for node in nodes:
        if role_of(node) is not Role.DISCOVERY:
            assert frozenset((node, membership.discovery)) in talk
    for proposer in membership.proposers:
        for acceptor in membership.acceptors:
            assert frozenset((proposer, acceptor)) in talk
    assert frozenset(("client-1", "acceptor-1")) not in talk


# ---------------------------------------------------------------- a link


def test_messages_arrive_in_order_both_ways_when_a_link_stands(play: Play) -> None:
    """One full-duplex connection per pair."""

    async def test(net: Net) -> None:
        one, other = await pair(net)
        for slot in range(1, 201):
            one.send(A2, vote(slot))
            other.send(A1, vote(slot))
        await until(lambda: len(one.messages) == len(other.messages) == 200, "all arrived")
        assert [m.slot for _, m in one.messages] == list(range(1, 201))
        assert [m.slot for _, m in other.messages] == list(range(1, 201))
        assert {sender for sender, _ in other.messages} == {A1}
        assert one.refused == other.refused == []

    play(test)


def test_one_link_stands_when_both_sides_run(play: Play) -> None:
    """links.py: one per pair, made by the lower number."""

    async def test(net: Net) -> None:
        one, other = await pair(net)
        assert (list(one.links.connected), list(other.links.connected)) == ([A2], [A1])
        assert [peer.node for peer in one.connected] == [A2]
        assert len(one.links._dialers) > 0
        assert A1 not in dialed_by(A2, net.membership)

    play(test)


def test_relaxed_messages_leave_ahead_when_an_urgent_one_follows(play: Play) -> None:
    """effects.Send: "it leaves before whatever is sent to the same node later"."""

    async def test(net: Net) -> None:
        one, other = await pair(net)
        for slot in (1, 2):
            one.links.send((A2,), vote(slot), relaxed=True)
        one.links.flush()
        assert one.links.connected[A2].lingering
        one.links.send((A2,), vote(3))
        one.links.flush()
        assert not one.links.connected[A2].lingering
        await until(lambda: len(other.messages) == 3, "all arrived")
        assert [m.slot for _, m in other.messages] == [1, 2, 3]

    play(test)


def test_relaxed_messages_leave_together_when_nothing_follows(play: Play) -> None:
    """effects.Send: a relaxed message stays behind for `LINGER_MS` at most."""

    async def test(net: Net) -> None:
        one, other = await pair(net)
        link = one.links.connected[A2]
        for slot in (1, 2):
            one.links.send((A2,), vote(slot), relaxed=True)
            one.links.flush()
            assert link.lingering
        await until(lambda: len(other.messages) == 2, "both arrived")
        assert not link.lingering
        one.links.send((A2,), vote(3), relaxed=True)
        assert link.lingering
        await until(lambda: len(other.messages) == 3, "the next arrived")

    play(test)


def test_relaxed_messages_leave_at_once_when_there_are_many_bytes(play: Play) -> None:
    """links.LINGERING_BYTES_MAX: waiting would save nothing."""

    async def test(net: Net) -> None:
        one, other = await pair(net)
        one.links.send((A2,), large(1, LINGERING_BYTES_MAX), relaxed=True)
        assert not one.links.connected[A2].lingering
        one.links.flush()
        await until(lambda: other.messages, "it arrived")
        assert other.messages == [(A1, large(1, LINGERING_BYTES_MAX))]

    play(test)


def test_a_message_is_dropped_and_counted_when_there_is_no_link(play: Play) -> None:
    """links.py: "nothing stale is ever delivered late by a queue"."""

    async def test(net: Net) -> None:
        one = await net.station(A1)
        one.send(A2, vote(1))
        assert one.links.dropped == 1
        other = await net.station(A2)
        await until(lambda: one.connected, "a link stands")
        one.send(A2, vote(2))
        await until(lambda: other.messages, "the second arrived")
        assert [m.slot for _, m in other.messages] == [2]

    play(test)


def test_a_message_is_encoded_once_when_it_goes_to_several(play: Play) -> None:
    """links.send: "encoded once, for each node that has a link"."""

    async def test(net: Net) -> None:
        two, three = await net.station(A2), await net.station(A3)
        one = await net.station(A1)
        await until(lambda: len(one.connected) == 2, "both links stand")
        one.links.send((A2, A3, L1), large(1, 50_000))
        one.links.flush()
        await until(lambda: two.messages and three.messages, "both arrived")
        assert two.messages == three.messages == [(A1, large(1, 50_000))]
        assert one.links.dropped == 1

    play(test)


def test_a_link_comes_back_when_the_other_side_starts_again(play: Play) -> None:
    """links.py: reconnect, for ever."""

    async def test(net: Net) -> None:
        one, other = await pair(net)
        await other.links.stop()
        await until(lambda: one.disconnected == [A2], "the end is noticed")
        again = await net.station(A2)
        await until(lambda: len(one.connected) == 2, "the link stands again")
        one.send(A2, vote(9))
        await until(lambda: again.messages, "messages pass again")
        assert again.messages == [(A1, vote(9))]

    play(test)


def test_an_older_connection_is_replaced_when_a_node_comes_back(play: Play) -> None:
    """One link per pair: a peer that restarted before its old connection was noticed dead."""

    async def test(net: Net) -> None:
        station = await net.station(A2)
        first = await knock(station)
        await first.shake(A1)
        await until(lambda: len(station.connected) == 1, "the first stands")
        second = await knock(station)
        await second.shake(A1, incarnation=2)
        await until(lambda: len(station.connected) == 2, "the second stands")
        assert station.disconnected == [A1]
        assert await first.closed()
        assert [p.incarnation for p in station.connected] == [1, 2]
        await second.say(vote(3))
        await until(lambda: station.messages, "the second is heard")
        second.close()
        await until(lambda: station.disconnected == [A1, A1], "its end is told once")

    play(test)


# ---------------------------------------------------------------- identity


def test_the_identity_is_told_when_it_comes_after_the_link(play: Play) -> None:
    """links.Identity: a node has become a member of a cluster after the link was made."""

    async def test(net: Net) -> None:
        one, other = await pair(net)
        assert one.connected[0].cluster == ""
        other.cluster = "c1"
        other.links.tell_identity()
        await until(lambda: len(one.connected) == 2, "the identity is heard")
        assert (one.connected[1].node, one.connected[1].cluster) == (A2, "c1")
        assert one.disconnected == []
        other.links.tell_identity()
        other.send(A1, vote(1))
        await until(lambda: one.messages, "a message after it")
        assert len(one.connected) == 2

    play(test)


def test_the_identity_is_told_when_it_came_during_the_handshake(play: Play) -> None:
    """A handshake that began before the founding shows no cluster; the link then tells it."""

    async def test(net: Net) -> None:
        station = await net.station(A2, cluster="c1")
        visitor = await knock(station)
        await visitor.shake(A1)
        assert Identity(cluster="c1") == station.links._decoder.decode(await visitor.hear())

    play(test)


def test_a_link_is_closed_when_its_peer_joined_another_cluster(play: Play) -> None:
    """DESIGN rule 8: one cluster."""

    async def test(net: Net) -> None:
        station = await net.station(A2, cluster="c1")
        visitor = await knock(station)
        await visitor.shake(A1)
        await visitor.say(Identity(cluster="c2"))
        assert await visitor.closed()
        assert station.reasons == ["acceptor-1 belongs to cluster c2"]

    play(test)


def test_two_clusters_never_link_when_both_know_who_they_are(play: Play) -> None:
    """DESIGN rule 8: an open volume of another cluster takes part in nothing here."""

    async def test(net: Net) -> None:
        other = await net.station(A2, cluster="c2")
        one = await net.station(A1, cluster="c1")
        await until(lambda: one.reasons and other.reasons, "both say why")
        assert any("acceptor-1 belongs to cluster c1" in r for r in (*one.reasons, *other.reasons))
        assert one.connected == other.connected == []

    play(test)


# ---------------------------------------------------------------- strangers


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "bytes was announced"),
        (bytes(4), "0 bytes was announced"),
        (b"\x00\x00\x20\x00", "8192 bytes was announced; 1 to 4096"),
        (b"\x00\x00\x00\x03\xc1\xc1\xc1", "no handshake"),
        (b"\x00\x00\x00\x02\x92\xa5", "no handshake"),
        (b"\x00\x00\x00\x05\x91\xa3\x00\x00\x80", "no handshake"),
    ],
)
def test_a_stranger_is_closed_with_a_reason_when_it_says_nonsense(
    play: Play, data: bytes, reason: str
) -> None:
    """DESIGN rule 10: "closes one connection with a clear reason and harms nobody else"."""

    async def test(net: Net) -> None:
        one, other = await pair(net)
        visitor = await knock(other)
        visitor.writer.write(data)
        assert await visitor.closed()
        assert len(other.reasons) == 1
        assert reason in other.reasons[0]
        assert other.refused[0][0].startswith("127.0.0.1:")
        one.send(A2, vote(1))
        await until(lambda: other.messages, "the others go on")

    play(test)


def test_a_message_counts_for_nothing_when_its_sender_has_not_proven_itself(play: Play) -> None:
    """handshake.py: "before any message"."""

    async def test(net: Net) -> None:
        station = await net.station(A2)
        visitor = await knock(station)
        await visitor.say(AskVolume())
        assert await visitor.closed()
        assert station.messages == []
        assert "no handshake" in station.reasons[0]

    play(test)


def test_a_dialer_with_another_secret_stays_outside_when_it_keeps_trying(play: Play) -> None:
    """Nobody gets in without the cluster's secret."""

    async def test(net: Net) -> None:
        other = await net.station(A2)
        one = await net.station(A1, secret=b"another")
        await until(lambda: len(one.reasons) >= 2, "it was refused, twice")
        assert set(one.reasons) == {"the cluster secrets differ"}
        assert "the other side refuses: the cluster secrets differ" in other.reasons
        assert one.connected == other.connected == []

    play(test)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xc1", "no message"),
        (b"\x91\xa4zzzz", "no message"),
        (b"\x93\xa8accepted\xa1x\x01", "no message"),
        (b"\x92\xa7abstain\xa1\xff", "no message"),
        (b"\x94\xa8accepted\x01\x01" + b"\x91" * 50_000 + b"\xc0", "no message"),
    ],
)
def test_a_peer_is_closed_with_a_reason_when_it_says_what_is_no_message(
    play: Play, body: bytes, reason: str
) -> None:
    """DESIGN rule 10, for those who know the secret as well."""

    async def test(net: Net) -> None:
        station = await net.station(A2)
        visitor = await knock(station)
        await visitor.shake(A1)
        visitor.writer.write(len(body).to_bytes(4, "big") + body)
        assert await visitor.closed()
        assert reason in station.reasons[0]
        assert station.refused[0][0] == A1
        await until(lambda: station.disconnected == [A1], "the role is told")

    play(test)


def test_a_large_message_is_taken_when_it_comes_in_the_same_bytes_as_the_proof(play: Play) -> None:
    """A leader that reaches an acceptor again sends its open slots at once: the small limit of the
    handshake must not hold for them.
    """

    async def test(net: Net) -> None:
        station = await net.station(A2)
        visitor = await knock(station)
        message = frame(msgspec.msgpack.encode(large(7, 90_000)))
        await visitor.shake(A1, afterwards=message)
        await until(lambda: station.messages or station.refused, "an answer")
        assert station.refused == []
        assert station.messages == [(A1, large(7, 90_000))]

    play(test)


def test_a_peer_is_closed_when_its_frame_is_too_large(play: Play) -> None:
    """STYLE 19: message_bytes_max; the length alone is enough to know."""

    async def test(net: Net) -> None:
        station = await net.station(A2)
        visitor = await knock(station)
        await visitor.shake(A1)
        visitor.writer.write((100_001).to_bytes(4, "big"))
        assert await visitor.closed()
        assert "100001 bytes was announced; 1 to 100000" in station.reasons[0]

    play(test)


def test_a_connection_is_closed_when_it_stays_silent_in_the_handshake(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STYLE 19: nobody holds a place without proving itself."""
    monkeypatch.setattr(links_module, "HANDSHAKE_SECONDS", 0.02)

    async def test(net: Net) -> None:
        station = await net.station(A2)
        visitor = await knock(station)
        assert await visitor.closed()
        assert station.reasons == ["the handshake took too long"]
        assert not station.links._unproven

    play(test)


def test_a_proven_link_stays_when_it_is_silent(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handshake's deadline ends with the handshake."""
    monkeypatch.setattr(links_module, "HANDSHAKE_SECONDS", 0.2)

    async def test(net: Net) -> None:
        one, other = await pair(net)
        visitor = await knock(other)
        assert await visitor.closed()
        one.send(A2, vote(1))
        await until(lambda: other.messages, "the old link still passes messages")
        assert one.disconnected == []

    play(test)


def test_a_connection_is_turned_away_when_too_many_have_not_proven_themselves(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STYLE 19: UNPROVEN_CONNECTIONS_MAX; and a place is free again when one of them goes."""
    monkeypatch.setattr(links_module, "UNPROVEN_CONNECTIONS_MAX", 3)

    async def test(net: Net) -> None:
        station = await net.station(A2)
        idle = [await knock(station) for _ in range(3)]
        await until(lambda: len(station.links._unproven) == 3, "three wait")
        fourth = await knock(station)
        assert await fourth.closed()
        assert station.reasons == ["too many connections are waiting to prove themselves"]
        idle[0].close()
        await until(lambda: len(station.links._unproven) == 2, "one has gone")
        fifth = await knock(station)
        await fifth.shake(A1)
        await until(lambda: station.connected, "there is room again")

    play(test)


# ---------------------------------------------------------------- bounds


def test_a_slow_reader_is_cut_off_when_too_much_waits_for_it(play: Play) -> None:
    """STYLE 19: link_bytes_max; a slow node must not fill the memory of a fast one."""

    async def test(net: Net) -> None:
        station = await net.station(A2)
        visitor = await knock(station)
        visitor.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
        )
        await visitor.shake(A1)
        await until(lambda: station.connected, "the link stands")
        visitor.writer.transport.pause_reading()  # type: ignore[attr-defined]
        highest = 0
        for slot in range(1, 2000):
            station.send(A1, large(slot, 90_000))
            link = station.links.connected.get(A1)
            if link is None:
                break
            highest = max(highest, link.waiting_bytes)
            await asyncio.sleep(0)
        await until(lambda: station.disconnected, "the link is closed")
        assert station.reasons == ["it does not read what it is sent"]
        assert highest <= 1_000_000 + 100_000

    play(test)


def test_a_port_that_is_taken_is_a_configuration_error_when_listening(play: Play) -> None:
    """errors.ConfigurationError: names what is wrong and where."""

    async def test(net: Net) -> None:
        station = await net.station(A2)
        taken = net.ports[A1] = net.ports[A2]
        with pytest.raises(ConfigurationError, match=f"port 127.0.0.1:{taken} of acceptor-1"):
            await net.station(A1)
        assert station.refused == []

    play(test)


def test_dialing_goes_on_when_the_first_address_is_wrong(play: Play) -> None:
    """addresses.py: a configured address is tried, then what discovery told."""

    async def test(net: Net) -> None:
        other = await net.station(A2)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            wrong = ("127.0.0.1", unused.getsockname()[1])
            one = await net.station(A1, addresses=lambda node: [wrong, *net.addresses(node)])
            await until(lambda: one.connected and other.connected, "the second was tried")
        assert other.connected[0].node == A1

    play(test)


def test_a_node_is_refused_when_another_answers_at_its_address(play: Play) -> None:
    """addresses.py: "whoever answers at any address must prove who it is"."""

    async def test(net: Net) -> None:
        three = await net.station(A3)
        net.ports[A2] = net.ports[A3]
        one = await net.station(A1)
        await until(lambda: three.reasons, "it is not acceptor-2")
        assert three.reasons[0] == "this is acceptor-3, not acceptor-2"
        await until(lambda: one.connected, "acceptor-3 itself is reached")
        assert {peer.node for peer in one.connected} == {A3}

    play(test)


# ---------------------------------------------------------------- members change

A4, A21 = NodeId("acceptor-4"), NodeId("acceptor-2.1")
P1 = NodeId("proposer-1")


def members(*acceptors: NodeId) -> Membership:
    return msgspec.structs.replace(membership_of(), acceptors=acceptors)


def test_an_acceptor_dials_everybody_it_talks_to_when_it_is_no_member() -> None:
    """links.py: nobody knows it yet. It does not dial its own place, where it would find itself."""
    membership = membership_of()
    dialed = dialed_by(A21, membership)
    assert set(dialed) == {
        *(node for node in membership.acceptors if node != A2),
        *membership.proposers,
        *membership.learners,
        membership.discovery,
    }
    joined = members(A1, A21, A3)
    assert dialed_by(A21, joined) == (membership.discovery, A3)
    assert A21 in dialed_by(A1, joined)
    assert A21 in dialed_by(P1, joined)
    # The life that was replaced is no member: it would learn what has become of it.
    assert A21 not in dialed_by(A2, joined)
    assert {A1, A3, P1} <= set(dialed_by(A2, joined))


def test_a_node_is_dialed_when_it_becomes_a_member(play: Play) -> None:
    """links.relink: "starts dialers for new nodes"."""

    async def test(net: Net) -> None:
        proposer = await net.station(P1)
        acceptor = await net.station(L1)  # whoever listens at the new one's address
        net.ports[A4] = net.ports[L1]
        proposer.links.relink(members(A1, A2, A3, A4))
        await until(
            lambda: "this is learner-1, not acceptor-4" in acceptor.reasons, "acceptor-4 is dialed"
        )
        proposer.links.relink(membership_of())
        assert A4 not in proposer.links._dialers

    play(test)


def test_a_link_of_a_newcomer_stays_when_it_becomes_a_member(play: Play) -> None:
    """links.py: "nobody dials while a link stands, whoever has made it"."""

    async def test(net: Net) -> None:
        proposer = await net.station(P1)
        newcomer = await net.station(A4)
        await until(lambda: proposer.connected and newcomer.connected, "the newcomer has dialed")
        for station in (proposer, newcomer):
            station.links.relink(members(A1, A2, A3, A4))
        newcomer.send(P1, vote(1))
        proposer.send(A4, vote(2))
        await until(lambda: proposer.messages and newcomer.messages, "the link goes on")
        assert (proposer.disconnected, newcomer.disconnected) == ([], [])
        assert A4 in proposer.links._dialers
        assert P1 not in newcomer.links._dialers
        # And when it breaks, the usual one dials.
        newcomer.links.connected[P1].abort()
        await until(lambda: len(newcomer.connected) == 2, "the proposer has dialed")
        assert not newcomer.links.connected[P1].dialed

    play(test)


def test_one_link_stands_when_both_sides_dial_at_the_same_time(play: Play) -> None:
    """links.py: both sides choose the same one of two connections that cross."""

    async def test(net: Net) -> None:
        everybody = members(A1, A2, A3, A4)
        one = await net.station(A1)
        other = await net.station(A4)
        for station, peer in ((one, A4), (other, A1)):
            station.links.relink(everybody)
            task = station.links._dialers.pop(peer, None)
            if task is not None:
                task.cancel()
            await station.links._dial(peer, "127.0.0.1", net.ports[peer])
        await until(lambda: A4 in one.links.connected and A1 in other.links.connected, "a link")
        await until(lambda: not one.links._unproven and not other.links._unproven, "both decided")
        await until(lambda: one.links.connected[A4].dialed, "that of the lower name")
        await until(lambda: not other.links.connected[A1].dialed, "the same one")
        one.send(A4, vote(1))
        await until(lambda: other.messages, "messages pass")

    play(test)


def test_a_link_is_closed_when_its_place_is_another_nodes(play: Play) -> None:
    """links.relink: what a replaced acceptor says counts for nothing, and its place is taken."""

    async def test(net: Net) -> None:
        one, two = await pair(net)
        net.ports[A21] = net.ports[A2]
        one.links.relink(members(A1, A21, A3))
        await until(lambda: one.disconnected == [A2], "the link is closed")
        await until(lambda: two.disconnected == [A1], "on both sides")
        await until(lambda: "this is acceptor-2, not acceptor-2.1" in two.reasons, "the next life")

    play(test)


def test_a_link_stays_when_its_node_has_merely_left(play: Play) -> None:
    """links.relink: "it may want to know"."""

    async def test(net: Net) -> None:
        one, two = await pair(net)
        one.links.relink(members(A1, A3))
        one.send(A2, vote(1))
        await until(lambda: two.messages, "it still hears")
        assert A2 not in one.links._dialers
        assert one.disconnected == []

    play(test)


def test_a_later_life_is_found_when_only_the_founding_is_known(play: Play) -> None:
    """handshake.py: "the link is then one with the later life"."""

    async def test(net: Net) -> None:
        later = await net.station(A21)
        net.ports[A2] = net.ports[A21]
        one = await net.station(A1)
        await until(lambda: one.connected and later.connected, "a link stands")
        assert [peer.node for peer in one.connected] == [A21]
        one.links.relink(members(A1, A21, A3))
        one.send(A21, vote(1))
        await until(lambda: later.messages, "the link goes on")
        assert one.disconnected == later.disconnected == []

    play(test)


def test_a_link_of_an_older_version_is_closed_when_more_is_needed(play: Play) -> None:
    """versions.py: whoever would overlook a change is refused, and told what to upgrade."""

    async def test(net: Net) -> None:
        needed = [1]
        acceptor = await net.station(A1, needs=lambda node: needed[0])
        learner = await net.station(L1, wire_version=2)
        await until(lambda: acceptor.connected and learner.connected, "a link stands")
        needed[0] = 3
        acceptor.links.relink(members(A1, A2))
        await until(lambda: learner.disconnected, "it is closed")
        assert acceptor.reasons[0] == (
            "learner-1 speaks version 2 of the messages between nodes, acceptor-1 needs version 3 "
            "or later: upgrade learner-1"
        )
        await until(lambda: len(acceptor.reasons) > 1, "and refused when it dials again")

    play(test)


def test_a_lonely_acceptor_dials_those_that_would_dial_another(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An acceptor that has lost its volume does not know that it was acceptor-3.1: nobody dials
    acceptor-3, and it must hear that the cluster lives (DESIGN rule 8).
    """
    monkeypatch.setattr(links_module, "LONELY_SECONDS", 0.01)

    async def test(net: Net) -> None:
        one = await net.station(A1, cluster="c1")
        later = NodeId("acceptor-3.1")
        one.links.relink(members(A1, A2, later))
        lonely = [True]
        three = await net.station(A3, lonely=lambda: lonely[0])
        net.ports[later] = net.ports[A3]
        await until(lambda: three.connected and one.connected, "it has dialed")
        await until(lambda: any(peer.cluster == "c1" for peer in three.connected), "it lives")
        assert three.links.connected[A1].dialed
        await until(lambda: "this is acceptor-3, not acceptor-3.1" in three.reasons, "no other did")
        # One that votes again leaves it to the others.
        lonely[0] = False
        one.links.connected[A3].abort()
        await until(lambda: three.disconnected, "the link breaks")
        await until(lambda: three.links._dialers[A1].done(), "it dials no more")

    play(test)


def test_lonely_acceptors_make_one_link_each_when_they_are_founded(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """links.py: nobody dials while a link stands."""
    monkeypatch.setattr(links_module, "LONELY_SECONDS", 0.0)

    async def test(net: Net) -> None:
        stations = [await net.station(node, lonely=lambda: True) for node in (A1, A2, A3)]
        await until(
            lambda: all(len(one.links.connected) == 2 for one in stations), "everybody is linked"
        )
        await until(lambda: not any(one.links._unproven for one in stations), "all is decided")
        for one in stations:
            for other in stations:
                one.send(other.node, vote(1))
        await until(lambda: all(len(one.messages) == 2 for one in stations), "messages pass")

    play(test)
