"""The model checker itself: it looks at everything, at nothing twice, and at the real code."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from itertools import permutations

import msgspec
import pytest

from paxos.core.errors import ConfigurationError
from paxos.core.messages import Accepted
from paxos.core.types import Ballot, NodeId, Role, Slot, role_of
from paxos.sim.modelcheck import WORLDS, Bounds, Explorer, Progress, world_named
from paxos.sim.modelcheck.bounds import VOTING
from paxos.sim.modelcheck.checks import CHOSEN, COMPETING, REPROPOSED
from paxos.sim.modelcheck.events import Crash, Deliver, Event, Link, Stand, Turn
from paxos.sim.modelcheck.explorer import State
from paxos.sim.modelcheck.moves import NO_EVENT, Path
from paxos.sim.modelcheck.nodes import Nodes
from paxos.sim.modelcheck.story import Replay

QUICK = [bounds for bounds in WORLDS if bounds.quick]


def small(**changes: object) -> Bounds:
    return msgspec.structs.replace(world_named("one-slot"), **changes)


def votes_and_proposals(explorer: Explorer) -> set[object]:
    """What the acceptors have voted for and the proposers proposed, in every state found; the
    acceptors in no order.
    """
    cells, acceptors = explorer.cells, len(explorer.nodes.acceptors)
    return {
        (
            tuple(sorted(tuple(sorted(cells.votes[cell])) for cell in row[:acceptors])),
            tuple(tuple(sorted(cells.proposed[cell].items())) for cell in row[acceptors:-4]),
        )
        for row in explorer.rows
    }


# ---------------------------------------------------------------- the worlds


@pytest.mark.parametrize("bounds", QUICK, ids=lambda bounds: bounds.name)
def test_a_world_is_whole_and_busy_when_it_was_looked_at(bounds: Bounds) -> None:
    """No rule is broken, and not for idleness: values are chosen, and where more than one ballot
    is used, ballots compete and a later leader proposes a chosen value again.
    """
    result = Explorer(bounds).run()
    assert result.violation is None
    assert result.complete
    assert result.feats[CHOSEN] > 0
    duel = sum(bounds.candidacies) > 1
    assert (result.feats[COMPETING] > 0) is duel
    assert (result.feats[REPROPOSED] > 0) is duel


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["heartbeats", "three-ballots", "stuck-learner", "narrow-window", "impatience", "two-slots"],
)
def test_a_large_world_is_whole_and_busy_when_it_was_looked_at(name: str) -> None:
    """The others, larger still, are what `paxos modelcheck` alone looks at."""
    result = Explorer(world_named(name)).run()
    assert result.violation is None
    assert result.complete
    assert all(count > 0 for count in result.feats.values())


def test_crashes_and_lost_volumes_happen_when_a_world_has_them() -> None:
    for name, column in (("one-slot-one-crash", -3), ("lost-volume", -2), ("damaged-volume", -1)):
        explorer = Explorer(world_named(name))
        explorer.run(states_max=2_000)
        assert {row[column] for row in explorer.rows} == {0, 1}


def test_the_learner_asks_and_the_leader_reopens_when_it_is_stuck() -> None:
    explorer = Explorer(world_named("stuck-learner"))
    explorer.run(states_max=5_000)
    mail = explorer.nodes.mail
    kinds = {type(message).__name__ for message in mail.messages}
    assert {"Unstick", "Heartbeat"} <= kinds
    reopened = [m for m in mail.messages if type(m).__name__ == "Prepare" and m.last]
    assert reopened


def test_promises_come_in_parts_when_little_fits() -> None:
    explorer = Explorer(world_named("promises-in-parts"))
    explorer.run(states_max=2_000)
    messages = explorer.nodes.mail.messages
    assert any(type(m).__name__ == "Promise" and m.end for m in messages)


def test_unknown_world_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(ConfigurationError, match="one-slot-one-crash"):
        world_named("no-slot")


def test_names_of_worlds_are_all_different() -> None:
    assert len({bounds.name for bounds in WORLDS}) == len(WORLDS)


# ---------------------------------------------------------------- nothing is left out


@pytest.mark.parametrize(
    "bounds",
    [
        small(candidacies=(1, 0)),
        small(candidacies=(1, 0), crashes=1),
        small(acceptors=1),
        small(acceptors=1, canvass_messages=True, delivered=(*VOTING, "Canvass", "CanvassReply")),
        pytest.param(small(acceptors=1, candidacies=(2, 1), gives_up=True), marks=pytest.mark.slow),
        small(acceptors=2, crashes=1, candidacies=(1, 0), slots=2, submits=2),
    ],
    ids=("one-stands", "one-stands-and-a-crash", "duel", "canvass", "impatience", "two-slots"),
)
def test_the_same_votes_and_proposals_are_found_when_nothing_is_reduced(bounds: Bounds) -> None:
    """Putting off silent steps, giving answers at once, renaming acceptors, leaving the learner
    out: none of these loses anything that was ever voted for or proposed.
    """
    reduced, plain = Explorer(bounds), Explorer(bounds, reduced=False)
    fewer, more = reduced.run(), plain.run()
    assert fewer.complete
    assert more.complete
    assert fewer.states < more.states
    assert votes_and_proposals(reduced) == votes_and_proposals(plain)


def test_the_same_votes_and_proposals_are_found_when_a_crash_cuts_a_vote_off() -> None:
    """A vote that was synced and not told makes a difference: it is told by a later step."""
    bounds = small(acceptors=1, crashes=1, slots=2, candidacies=(1, 0))
    reduced, plain = Explorer(bounds), Explorer(bounds, reduced=False)
    assert reduced.run().complete
    assert plain.run().complete
    assert votes_and_proposals(reduced) == votes_and_proposals(plain)


@pytest.mark.parametrize("crashes", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_same_votes_and_proposals_are_found_when_acceptors_keep_their_names(
    crashes: int,
) -> None:
    alike, apart = (
        Explorer(small(crashes=crashes, symmetric=symmetric)) for symmetric in (True, False)
    )
    few, many = alike.run(), apart.run()
    assert few.states * 3 < many.states <= few.states * 6
    assert votes_and_proposals(alike) == votes_and_proposals(apart)


def test_a_search_says_that_it_is_not_complete_when_it_stops_at_a_bound() -> None:
    result = Explorer(world_named("one-slot")).run(states_max=100)
    assert not result.complete
    assert result.violation is None
    assert 100 <= result.states < 200


def test_progress_is_reported_while_states_are_looked_at() -> None:
    reports: list[Progress] = []
    result = Explorer(world_named("one-slot-one-crash")).run(report=reports.append)
    assert len(reports) == result.states // 2000
    assert [report.depth for report in reports] == sorted(report.depth for report in reports)
    assert all(0 < report.states <= result.states for report in reports)


def test_a_search_is_the_same_under_any_hash_seed() -> None:
    program = (
        "import json; from paxos.sim.modelcheck import Explorer, world_named;"
        "r = Explorer(world_named('one-slot-one-crash')).run();"
        "print(json.dumps([r.states, r.moves, r.depth, r.runs, r.feats]))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert json.loads(told[0])[0] > 1000


# ---------------------------------------------------------------- looked up, or really run


def walk(explorer: Explorer, seed: int, steps: int) -> tuple[State, list[tuple[int, Path]]]:
    """Go some random moves from the beginning. Returns where that leads, and the moves."""
    dice = random.Random(seed)
    row, moves = explorer.first, []
    for _ in range(steps):
        budget = row[-3], row[-2], row[-1]
        ways = [
            (place, move)
            for place in range(len(explorer.nodes.names) - explorer.moves.reduced)
            for move in explorer.moves.of(place, row, budget)
        ]
        if not ways:
            break
        place, move = dice.choice(ways)
        row = explorer.moved(row, place, move)
        moves.append((place, move.path))
    return row, moves


def replayed(
    nodes: Nodes,
    moves: list[tuple[int, Path]],
    permutation: tuple[int, ...] | None = None,
    *,
    answers: bool = True,
) -> Replay:
    """Run moves with live nodes, the acceptors renamed by a permutation if there is one. With
    `answers`, acceptors say what they can at once, as a reduced search has them.
    """
    replay = Replay(nodes)
    names = {} if permutation is None else nodes.names_under(permutation)
    for place, path in moves:
        name = nodes.names[place]
        for number, crash in path:
            event = None if number == NO_EVENT else nodes.events[number]
            if event is not None:
                event = event_renamed(nodes, event, names)
            replay.play(NodeId(names.get(name, name)), event, crash)
        for acceptor in nodes.acceptors if answers else ():
            replay.answers(acceptor)
    return replay


def event_renamed(nodes: Nodes, event: Event, names: dict[str, str]) -> Event:
    match event:
        case Deliver(sender=sender, item=item):
            items = nodes.mail.renamed(1 << item, names)
            return Deliver(NodeId(names.get(sender, sender)), items.bit_length() - 1)
        case Turn(first=first, second=second):
            one, other = (event_renamed(nodes, part, names) for part in (first, second))
            assert isinstance(one, Deliver)
            assert isinstance(other, Deliver)
            return Turn(one, other)
        case Stand(replies=replies):
            moved = [
                msgspec.structs.replace(
                    reply, acceptor=NodeId(names.get(reply.acceptor, reply.acceptor))
                )
                for reply in replies
            ]
            return Stand(tuple(moved))
        case Link(peer=peer, opens=opens):
            return Link(NodeId(names.get(peer, peer)), opens)
        case _:
            return event


@pytest.mark.parametrize(
    "name",
    [
        "one-slot-one-crash",
        "shared-sync",
        "lost-volume",
        "canvass",
        "stuck-learner",
        "two-slots",
        "links",
    ],
)
def test_nodes_that_are_looked_up_are_the_nodes_that_are_really_run(name: str) -> None:
    """The search steps each distinct node once and looks its outcome up from then on. Here the
    same random moves are made by live nodes that are never copied, renamed or looked up.
    """
    explorer = Explorer(world_named(name))
    nodes, cells = explorer.nodes, explorer.cells
    for seed in range(25):
        row, moves = walk(explorer, seed, 40)
        assert len(moves) > 3
        replay = replayed(nodes, moves)
        assert replay.fault is None
        for place, owner in enumerate(nodes.names):
            cell = cells.known[row[place]]
            assert nodes.key_of(replay.live[owner])[1] == nodes.known[cell.node].shape
            assert replay.sent[owner] == cell.sent


def test_renaming_acceptors_makes_no_difference_to_what_the_roles_do() -> None:
    """The ground of the symmetry: the same moves with the acceptors renamed lead to the same
    nodes, renamed.
    """
    explorer = Explorer(world_named("two-slots"), reduced=False)
    nodes, cells = explorer.nodes, explorer.cells
    mentioned = 0
    for seed, permutation in enumerate(permutations(range(3))):
        for round_ in range(10):
            row, moves = walk(explorer, 100 * seed + round_, 40)
            replay = replayed(nodes, moves, permutation, answers=False)
            for place, owner in enumerate(nodes.names):
                if role_of(owner) is Role.ACCEPTOR:
                    other = NodeId(nodes.names_under(permutation)[owner])
                    assert replay.sent[other] == cells.known[row[place]].sent
                    continue
                cell = cells.renamed(row[place], permutation)
                mentioned += cell != row[place]
                shape = nodes.known[cells.known[cell].node].shape
                assert nodes.key_of(replay.live[owner])[1] == shape
                assert replay.sent[owner] == cells.known[cell].sent
    assert mentioned > 0


def test_a_node_that_was_renamed_steps_as_one_that_was_run() -> None:
    """A renamed node is never run itself: its outcomes are another one's, renamed."""
    nodes = Explorer(world_named("one-slot")).nodes
    learner = nodes.names[-1]
    vote = replay_vote(nodes)
    one, other = (nodes.event(Deliver(acceptor, vote)) for acceptor in nodes.acceptors[:2])
    first = nodes.first(learner)
    swapped = nodes.renamed(nodes.step(first, one).node, (1, 0, 2))
    assert nodes.known[swapped].origin is not None
    assert nodes.step(first, other).node == swapped
    assert nodes.step(swapped, one).node == nodes.step(nodes.step(first, one).node, other).node


def replay_vote(nodes: Nodes) -> int:
    return nodes.mail.number(nodes.names[-1], Accepted(ballot=Ballot(101), slot=Slot(1)))


def test_a_crash_forgets_what_was_not_synced_and_keeps_what_was() -> None:
    explorer = Explorer(world_named("one-slot-one-crash"))
    explorer.run()
    nodes = explorer.nodes
    seen = {(crash.when, crash.kept) for ways in nodes._crashes.values() for crash, _ in ways}
    assert seen == {("idle", 0), ("unsynced", 0), ("unsynced", 1), ("synced", 0)}
    assert Crash("idle") == Crash("idle", 0)
