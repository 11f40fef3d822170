"""Nodes of different versions: what is out there in wire_v1.py and handshake_v1.py, and today's."""

from __future__ import annotations

import re
import types
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.transport import handshake_v1, wire_v1
from tests.transport.conftest import SECRET, Knock, Net, Play, knock, until
from tests.transport.test_handshake import A, B, hello, packed, refuses, shake, side

from paxos.core import messages
from paxos.core.errors import ConfigurationError
from paxos.core.messages import Accepted, AskVotes, SnapshotKept, SnapshotOffer, Votes
from paxos.core.types import Ballot, NodeId, Role, Slot, node_id, role_of
from paxos.transport.framing import frame
from paxos.transport.handshake import Challenge
from paxos.transport.links import Identity
from paxos.transport.versions import (
    CUT_VERSION,
    MEMBERS_VERSION,
    WIRE_VERSION,
    WIRE_VERSION_MIN,
    Speaker,
    disagreement,
    known,
    since,
    version_needed,
    wire_version,
)

UNIONS: dict[Role, str] = {
    Role.PROPOSER: "ProposerMessage",
    Role.ACCEPTOR: "AcceptorMessage",
    Role.LEARNER: "LearnerMessage",
    Role.CLIENT: "GatewayMessage",
    Role.DISCOVERY: "DiscoveryMessage",
}
A1, L1, P1 = NodeId("acceptor-1"), NodeId("learner-1"), NodeId("proposer-1")


def union(module: Any, role: Role) -> Any:
    """Return what a role's links take in."""
    return getattr(module, UNIONS[role]) | module.Book


def kinds(module: Any, role: Role) -> tuple[type[Any], ...]:
    return typing.get_args(union(module, role))


def tag(kind: type[Any]) -> str:
    return str(kind.__struct_config__.tag)


OLD = sorted(typing.get_args(wire_v1.AnyMessage), key=tag)
NEW = sorted(typing.get_args(messages.AnyMessage), key=tag)
SINCE_3 = {
    messages.Configuration,
    messages.AskConfiguration,
    messages.Joining,
    messages.AskWhole,
    messages.Whole,
    messages.ChangeMembers,
    messages.MembersChanged,
}
"""What came with membership changes; everything else of today is of version 2 at the latest."""
INSIDE = ("AcceptedValue", "Registration", "Batch", "OpenSession", "Envelope")
"""What travels inside messages."""
UNION_TYPES = (types.UnionType, typing.Union)


def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Return whatever a field of this type may hold."""
    if isinstance(kind, typing.NewType):
        return any_of(kind.__supertype__)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        fields = {name: any_of(hints[name]) for name in kind.__struct_fields__}
        return st.builds(kind, **fields)
    inner = typing.get_args(kind)
    match typing.get_origin(kind) or kind:
        case either if either in UNION_TYPES:
            return st.one_of(*map(any_of, inner))
        case builtin if builtin is list:
            return st.lists(any_of(inner[0]), max_size=3)
        case builtin if builtin is dict:
            return st.dictionaries(any_of(inner[0]), any_of(inner[1]), max_size=3)
        case builtin if builtin is tuple and inner[-1] is Ellipsis:
            return st.lists(any_of(inner[0]), max_size=3).map(tuple)
        case builtin if builtin is tuple:
            return st.tuples(*map(any_of, inner))
        case builtin if builtin is int:
            return st.integers(min_value=0, max_value=2**63 - 1)
        case builtin if builtin is bytes:
            return st.binary(max_size=20)
        case builtin if builtin is str:
            return st.text(max_size=20)
        case builtin if builtin is types.NoneType:
            return st.none()
        case other:
            raise AssertionError(f"no values for {other}")


# ---------------------------------------------------------------- what travels


@pytest.mark.parametrize("kind", OLD, ids=tag)
@settings(max_examples=20)
@given(data=st.data())
def test_a_message_of_version_1_is_read_as_it_was_meant(kind: type[Any], data: Any) -> None:
    """versions.py: a newer node finds the default where a field is missing."""
    old = data.draw(any_of(kind))
    new = msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=messages.AnyMessage)
    assert type(new).__name__ == kind.__name__
    found, said = msgspec.to_builtins(new), msgspec.to_builtins(old)
    assert found[: len(said)] == said
    defaults = list(new.__struct_defaults__[-len(found[len(said) :]) :])
    assert found[len(said) :] == (defaults if len(found) > len(said) else [])


@pytest.mark.parametrize("kind", OLD, ids=tag)
@settings(max_examples=20)
@given(data=st.data())
def test_a_message_of_today_is_read_by_version_1(kind: type[Any], data: Any) -> None:
    """versions.py: an older node leaves an appended field unread."""
    new = data.draw(any_of(getattr(messages, kind.__name__)))
    old = msgspec.msgpack.decode(msgspec.msgpack.encode(new), type=wire_v1.AnyMessage)
    assert type(old) is kind
    said, found = msgspec.to_builtins(new), msgspec.to_builtins(old)
    assert said[: len(found)] == found


@pytest.mark.parametrize("name", [*(kind.__name__ for kind in OLD), *INSIDE])
def test_a_struct_of_version_1_keeps_its_tag_and_its_fields(name: str) -> None:
    """versions.py: fields are appended, with defaults; what stands inside a list as well."""
    old, new = getattr(wire_v1, name), getattr(messages, name)
    fields = old.__struct_fields__
    assert tag(new) == tag(old)
    assert new.__struct_fields__[: len(fields)] == fields
    assert len(new.__struct_fields__) - len(fields) <= len(new.__struct_defaults__)


def test_what_stands_in_a_slot_is_the_same_when_either_version_wrote_it() -> None:
    """A log is read by every later version: its values have not changed at all."""
    for name in ("Batch", "OpenSession", "Envelope"):
        old, new = getattr(wire_v1, name), getattr(messages, name)
        assert new.__struct_fields__ == old.__struct_fields__


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("role", list(Role))
def test_version_1_is_what_version_1_knew(role: Role) -> None:
    """The table in versions.py beside the frozen record."""
    told = known(role, 1)
    assert told is not None
    assert {tag(kind) for kind in told} == {tag(kind) for kind in kinds(wire_v1, role)}
    assert told <= set(kinds(messages, role))


@pytest.mark.parametrize("role", list(Role))
def test_a_message_is_as_new_as_the_version_when_no_older_one_knew_it(role: Role) -> None:
    """versions.py: a message that somebody forgot is held back, never sent to a stranger."""
    old = {tag(kind) for kind in kinds(wire_v1, role)}
    for kind in kinds(messages, role):
        older = 1 if tag(kind) in old else 2
        assert since(role, kind) == (3 if kind in SINCE_3 else older), kind
    for kind in set(NEW) - set(kinds(messages, role)):
        assert since(role, kind) == WIRE_VERSION
    assert known(role, 2) == set(kinds(messages, role)) - SINCE_3
    assert since(role, messages.Registration) == WIRE_VERSION
    assert known(role, WIRE_VERSION) is None


def test_a_message_is_new_where_a_role_did_not_know_it() -> None:
    """Acceptors of version 1 asked nobody for votes, and were told none."""
    assert since(Role.LEARNER, Votes) == 1
    assert since(Role.ACCEPTOR, Votes) == 2


def test_a_newer_version_is_needed_by_those_who_would_overlook_a_cut() -> None:
    """DESIGN rules 4 and 9: no-ops must not be proposed in slots that were cut off."""
    for node in (P1, L1):
        assert version_needed(node, cut=True, changed=False) == CUT_VERSION
        assert version_needed(node, cut=False, changed=False) == WIRE_VERSION_MIN
    for node in (A1, node_id(Role.DISCOVERY), NodeId("client-1")):
        assert version_needed(node, cut=True, changed=False) == WIRE_VERSION_MIN


@pytest.mark.parametrize("cut", [False, True])
def test_a_newer_version_is_needed_by_those_who_would_overlook_a_change(cut: bool) -> None:
    """DESIGN rule 11: whoever counts quorums must count those of the members in force."""
    for node in (P1, A1, L1, NodeId("client-1"), NodeId("acceptor-9.1")):
        assert version_needed(node, cut=cut, changed=True) == MEMBERS_VERSION
    assert version_needed(node_id(Role.DISCOVERY), cut=cut, changed=True) == WIRE_VERSION_MIN


@pytest.mark.parametrize(
    ("one", "other", "trouble"),
    [
        ((1, 1), (1, 1), None),
        ((2, 1), (1, 1), None),
        ((2, 2), (2, 1), None),
        ((5, 2), (3, 3), None),
        ((2, 2), (1, 1), "b speaks version 1 .*, a needs version 2 or later: upgrade b"),
        ((1, 1), (2, 2), "a speaks version 1 .*, b needs version 2 or later: upgrade a"),
        ((2, 1), (7, 3), "a speaks version 2 .*, b needs version 3 or later: upgrade a"),
    ],
)
def test_two_nodes_disagree_when_one_speaks_less_than_the_other_needs(
    one: tuple[int, int], other: tuple[int, int], trouble: str | None
) -> None:
    """versions.py: the sentence names both versions and what to upgrade."""
    there, back = Speaker("a", *one), Speaker("b", *other)
    for said in (disagreement(there, back), disagreement(back, there)):
        assert (said is None) == (trouble is None)
        assert said is None or re.fullmatch(trouble or "", said)


@pytest.mark.parametrize("text", ["", "0", "4", "one", "01", "-1"])
def test_a_version_is_refused_when_this_program_does_not_speak_it(text: str) -> None:
    """STYLE: an error names the key, the bad value and what would be good."""
    with pytest.raises(ConfigurationError, match=f"PAXOS_WIRE_VERSION = '{text}': must be 1 to 3"):
        wire_version({"PAXOS_WIRE_VERSION": text})


def test_the_newest_version_is_spoken_when_nothing_holds_it_back() -> None:
    """versions.py: the variable is there for tests alone."""
    assert wire_version({}) == WIRE_VERSION
    assert wire_version({"PAXOS_WIRE_VERSION": "1"}) == 1


# ---------------------------------------------------------------- the handshake


def old_side(node: NodeId, wanted: NodeId | None = None) -> handshake_v1.Handshake:
    return handshake_v1.Handshake(
        node=node,
        cluster="c1",
        incarnation=7,
        secret=b"the cluster's secret",
        nonce=node.encode().ljust(16, b"."),
        known=frozenset({A, B}),
        acceptors=(A, B, NodeId("acceptor-3")),
        wanted=wanted,
    )


def test_a_newer_dialer_and_a_listener_of_version_1_find_each_other() -> None:
    """handshake.py: nodes of version 1 leave the versions unread and prove what they know."""
    found, finder = shake(side(A, B), old_side(B))  # type: ignore[arg-type]
    assert (found.node, found.version) == (B, 1)
    assert finder.node == A


def test_a_dialer_of_version_1_and_a_newer_listener_find_each_other() -> None:
    """handshake.py: nodes of version 1 say no versions."""
    found, finder = shake(old_side(A, B), side(B))  # type: ignore[arg-type]
    assert found.node == B
    assert (finder.node, finder.version) == (A, 1)


@pytest.mark.parametrize(("one", "other"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_the_older_of_both_versions_is_spoken_when_two_nodes_meet(one: int, other: int) -> None:
    """versions.py: `min` of the two."""
    found, finder = shake(side(A, B, wire_version=one), side(B, wire_version=other))
    assert found.version == finder.version == min(one, other)


def needing(version: int) -> Any:
    return lambda node: version


def test_a_dialer_is_refused_with_both_versions_when_it_speaks_too_little() -> None:
    """versions.py: the two refuse each other and say which must be upgraded."""
    said = "acceptor-1 speaks version 1 .*, acceptor-2 needs version 2 or later: upgrade acceptor-1"
    first = old_side(A, B).begin()
    refuses(side(B, needs=needing(2)), packed(first), said)
    refuses(side(B, needs=needing(2)), hello(speaks=1), said)


def test_a_listener_is_refused_with_both_versions_when_it_speaks_too_little() -> None:
    """Whoever needs more refuses; who speaks too little reads why in its log."""
    dialer = side(A, B, needs=needing(2))
    listener = old_side(B)
    challenge, _ = listener.receive(packed(dialer.begin()))
    refuses(
        dialer,
        challenge,
        "acceptor-2 speaks version 1 .*, acceptor-1 needs version 2 or later: upgrade acceptor-2",
    )


def test_a_node_is_refused_when_it_needs_what_we_do_not_speak() -> None:
    """A peer whose minimum is above ours: we are the ones to upgrade."""
    refuses(
        side(B),
        hello(speaks=9, needs=8),
        f"acceptor-2 speaks version {WIRE_VERSION} .*, acceptor-1 needs version 8 or later: "
        "upgrade acceptor-2",
    )


@pytest.mark.parametrize(("needs", "speaks"), [(0, 1), (-1, 2), (3, 2), (2**62, 1)])
def test_a_hello_is_refused_when_its_versions_make_no_sense(needs: int, speaks: int) -> None:
    """DESIGN rule 10."""
    refuses(side(B), hello(needs=needs, speaks=speaks), "are none")


@pytest.mark.parametrize("changes", [{"speaks": 4}, {"needs": 2}, {"speaks": 1}])
def test_a_challenge_is_refused_when_its_versions_were_changed_on_the_way(
    changes: dict[str, int],
) -> None:
    """handshake.py: the proof takes in the versions when both sides say them."""
    dialer = side(A, B)
    challenge, _ = side(B).receive(packed(dialer.begin()))
    assert isinstance(challenge, Challenge)
    refuses(dialer, msgspec.structs.replace(challenge, **changes), "secrets differ")


# ---------------------------------------------------------------- links


def vote(slot: int) -> Accepted:
    return Accepted(ballot=Ballot(101), slot=Slot(slot))


OFFER = SnapshotOffer(slot=Slot(1), size=1)


@pytest.mark.parametrize("held_back", [A1, L1])
def test_a_newer_message_is_held_back_when_either_side_speaks_version_1(
    play: Play, held_back: NodeId
) -> None:
    """versions.py: the sender must do without an answer, as it does when a message is lost."""

    async def test(net: Net) -> None:
        acceptor = await net.station(A1, wire_version=1 if held_back == A1 else WIRE_VERSION)
        learner = await net.station(L1, wire_version=1 if held_back == L1 else WIRE_VERSION)
        await until(lambda: acceptor.connected and learner.connected, "a link stands")
        assert [peer.version for peer in (*acceptor.connected, *learner.connected)] == [1, 1]
        learner.send(A1, OFFER)
        learner.send(A1, AskVotes(first=Slot(1), last=Slot(2)))
        acceptor.send(L1, SnapshotKept(slot=Slot(1), base=Slot(1)))
        acceptor.send(L1, vote(1))
        await until(lambda: acceptor.messages and learner.messages, "messages have come")
        assert [type(message) for _, message in acceptor.messages] == [AskVotes]
        assert [type(message) for _, message in learner.messages] == [Accepted]
        assert (acceptor.links.withheld, learner.links.withheld) == (1, 1)
        assert (acceptor.links.dropped, learner.links.dropped) == (0, 0)

    play(test)


def test_every_message_is_sent_when_both_sides_speak_the_newest_version(play: Play) -> None:
    """versions.py: nothing is held back from a node of the same version."""

    async def test(net: Net) -> None:
        acceptor = await net.station(A1)
        learner = await net.station(L1)
        await until(lambda: acceptor.connected and learner.connected, "a link stands")
        learner.send(A1, OFFER)
        await until(lambda: acceptor.messages, "it has come")
        assert [message for _, message in acceptor.messages] == [OFFER]
        assert acceptor.connected[0].version == WIRE_VERSION
        assert learner.links.withheld == 0

    play(test)


async def shake_as_version_1(visitor: Knock, node: NodeId) -> None:
    """Take part in the handshake with the code of version 1."""
    net = visitor.station.net
    handshake = handshake_v1.Handshake(
        node=node,
        cluster="",
        incarnation=1,
        secret=SECRET,
        nonce=net.nonce(),
        known=frozenset(net.membership.nodes),
        acceptors=net.membership.acceptors,
        wanted=visitor.station.node,
    )
    await visitor.say(handshake.begin())
    answer, _ = handshake.receive(await visitor.hear())
    visitor.writer.write(frame(packed(answer)))
    await visitor.writer.drain()


def sample(kind: Any) -> Any:
    """Return one value of a message's or a field's type."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return kind(**{name: sample(hints[name]) for name in kind.__struct_fields__})
    if isinstance(kind, typing.NewType):
        return sample(kind.__supertype__)
    plain = typing.get_origin(kind) or kind
    return None if plain in UNION_TYPES else 1 if plain is int else plain()


@pytest.mark.parametrize("role", list(Role))
def test_a_node_of_version_1_is_told_only_what_it_knows(play: Play, role: Role) -> None:
    """A frame that is no message of its union would close the link: none is sent."""
    node = node_id(role) if role is Role.DISCOVERY else node_id(role, 2)
    union_v1 = union(wire_v1, role)

    async def test(net: Net) -> None:
        station = await net.station(A1, cluster="c1")
        visitor = await knock(station)
        await shake_as_version_1(visitor, node)
        await until(lambda: station.connected, "the link stands")
        for kind in NEW:
            station.links.send((node,), sample(kind))
        station.links.flush()
        heard = [
            msgspec.msgpack.decode(await visitor.hear(), type=union_v1 | Identity)
            for _ in range(len(typing.get_args(union_v1)) + 1)
        ]
        assert {tag(type(one)) for one in heard} == {tag(kind) for kind in kinds(wire_v1, role)} | {
            "identity"
        }
        assert station.links.withheld == len(NEW) - len(kinds(wire_v1, role))
        assert role_of(station.connected[0].node) is role
        assert station.refused == []

    play(test)


def test_a_link_is_closed_with_a_reason_when_more_is_needed_than_was_agreed_on(
    play: Play,
) -> None:
    """links.py: the log may be cut while a handshake is under way."""

    async def test(net: Net) -> None:
        needed = [WIRE_VERSION_MIN]
        station = await net.station(A1, needs=lambda node: needed[0])
        visitor = await knock(station)
        await visitor.say(
            hello(node=L1, wanted=A1, cluster="", acceptors=net.membership.acceptors, speaks=1)
        )
        challenge = msgspec.msgpack.decode(await visitor.hear(), type=Challenge)
        assert challenge.needs == WIRE_VERSION_MIN
        visitor.close()
        late = await knock(station)
        handshake = side(
            L1,
            A1,
            acceptors=net.membership.acceptors,
            wire_version=1,
        )
        await late.say(handshake.begin())
        proof, _ = handshake.receive(await late.hear())
        needed[0] = CUT_VERSION
        await late.say(proof)
        assert await late.closed()
        assert station.connected == []
        assert station.reasons[-1] == (
            "learner-1 speaks version 1 of the messages between nodes, acceptor-1 needs version 2 "
            "or later: upgrade learner-1"
        )

    play(test)


def test_the_version_is_kept_when_the_identity_comes_later(play: Play) -> None:
    """links.Identity: told again, with the same version."""

    async def test(net: Net) -> None:
        acceptor = await net.station(A1)
        learner = await net.station(L1, wire_version=1)
        await until(lambda: acceptor.connected and learner.connected, "a link stands")
        learner.cluster = "c1"
        learner.links.tell_identity()
        await until(lambda: len(acceptor.connected) == 2, "the identity has come")
        assert [(peer.cluster, peer.version) for peer in acceptor.connected] == [("", 1), ("c1", 1)]

    play(test)
