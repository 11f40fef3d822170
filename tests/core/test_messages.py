from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from paxos.core import effects, messages
from paxos.core.messages import (
    Accepted,
    AcceptedValue,
    Address,
    Configuration,
    Members,
    Message,
    Registration,
)
from paxos.core.types import Ballot, NodeId, Slot

UNIONS = {
    "proposer": messages.ProposerMessage,
    "acceptor": messages.AcceptorMessage,
    "learner": messages.LearnerMessage,
    "gateway": messages.GatewayMessage,
}
KINDS = get_args(messages.AnyMessage)
RECORDS = get_args(effects.AnyRecord)

MEMBERS = Members(
    acceptors=(NodeId("acceptor-1"), NodeId("acceptor-4")),
    proposers=(NodeId("proposer-1"),),
    learners=(NodeId("learner-1"),),
    gateways=(NodeId("client-1"),),
    addresses={NodeId("acceptor-4"): ("h", 17011, 8011)},
)

SAMPLES: dict[Any, Any] = {
    int: 7,
    bytes: b"\x00\xff bytes",
    str: "text ü",
    Ballot: 305,
    Slot: 11,
    NodeId: "acceptor-2",
    NodeId | None: "learner-1",
    list[NodeId]: ["acceptor-1", "acceptor-3"],
    tuple[NodeId, ...]: ("acceptor-1", "acceptor-3"),
    dict[NodeId, str]: {"acceptor-2": "blank"},
    list[AcceptedValue]: [
        AcceptedValue(slot=Slot(1), ballot=Ballot(101), value=b"one"),
        AcceptedValue(slot=Slot(2), ballot=Ballot(202), value=b""),
    ],
    list[tuple[Slot, Ballot]]: [(1, 101), (2, 202)],
    list[Registration]: [
        Registration(node=NodeId("learner-1"), host="h", peer_port=1, page_port=2, incarnation=3)
    ],
    list[bytes]: [b"a", b""],
    bool: True,
    Members: MEMBERS,
    dict[NodeId, Address]: {"acceptor-4": ("h", 17011, 8011)},
    Address | None: ("h", 17011, 8011),
    Configuration: Configuration(epoch=2, slot=Slot(9), ballot=Ballot(101), members=MEMBERS),
}


def sample(kind: type[Any]) -> Any:
    """Return a message of a kind with every field filled."""
    fields = msgspec.structs.fields(kind)
    return kind(**{field.name: SAMPLES[field.type] for field in fields})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_message_is_the_same_when_it_was_sent(kind: type[Message]) -> None:
    """STYLE 12: tagged structs; what a node decodes is what another encoded."""
    message = sample(kind)
    packed = msgspec.msgpack.encode(message)
    assert msgspec.msgpack.decode(packed, type=messages.AnyMessage) == message


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_a_record_is_the_same_when_it_was_written(kind: type[effects.Record]) -> None:
    """DESIGN rule 3: what a volume gives back is what was synced."""
    record = sample(kind)
    packed = msgspec.msgpack.encode(record)
    assert msgspec.msgpack.decode(packed, type=effects.AnyRecord) == record


@pytest.mark.parametrize("name", UNIONS)
def test_each_roles_union_decodes_by_tag_when_a_message_is_its_own(name: str) -> None:
    """STYLE 12: one union per receiving role."""
    for kind in get_args(UNIONS[name]):
        packed = msgspec.msgpack.encode(sample(kind))
        assert type(msgspec.msgpack.decode(packed, type=UNIONS[name])) is kind


@pytest.mark.parametrize("name", UNIONS)
def test_a_union_refuses_a_message_when_it_is_for_another_role(name: str) -> None:
    """DESIGN rule 10: what comes from outside is checked before it is used."""
    others = [kind for kind in KINDS if kind not in get_args(UNIONS[name])]
    assert others
    for kind in others:
        packed = msgspec.msgpack.encode(sample(kind))
        with pytest.raises(msgspec.ValidationError, match="Invalid value"):
            msgspec.msgpack.decode(packed, type=UNIONS[name])


def test_no_two_messages_share_a_tag_when_all_are_listed() -> None:
    """A tag names one message for ever."""
    tags = [kind.__struct_config__.tag for kind in KINDS]
    assert len(set(tags)) == len(tags) > 20
    assert all(isinstance(tag, str) and tag for tag in tags)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_message_cannot_be_changed_when_it_is_made(kind: type[Message]) -> None:
    """STYLE 12: frozen and keyword-only."""
    assert kind.__struct_config__.frozen
    fields = [field.name for field in msgspec.structs.fields(kind)]
    if fields:
        with pytest.raises(TypeError):
            kind(*[SAMPLES[field.type] for field in msgspec.structs.fields(kind)])


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode(["unheard_of", 1]),
        msgspec.msgpack.encode(["accepted"]),
        msgspec.msgpack.encode(["accepted", "101", 1]),
        msgspec.msgpack.encode(["accepted", 1.5, 1]),
        msgspec.msgpack.encode(["accepted", None, 1]),
        msgspec.msgpack.encode({"type": "accepted", "ballot": 1, "slot": 1}),
        msgspec.msgpack.encode(["promise", 101, 1, 0, 0, 1, [[1, 101]]]),
        msgspec.msgpack.encode(Accepted(ballot=Ballot(1), slot=Slot(1)))[:-1],
    ],
)
def test_bytes_are_refused_when_they_are_no_message(packed: bytes) -> None:
    """DESIGN rule 10: every byte from outside is checked before it is used."""
    with pytest.raises(msgspec.DecodeError):
        msgspec.msgpack.decode(packed, type=messages.AnyMessage)


def test_a_vote_stays_small_when_the_value_is_large() -> None:
    """DESIGN "One write", step 3: "so that a vote need not carry it"."""
    vote = Accepted(ballot=Ballot(12_345_601), slot=Slot(10_000_000))
    assert len(msgspec.msgpack.encode(vote)) < 24
