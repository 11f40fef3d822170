"""Faults of proposers: candidates, leaders, and what they take for a quorum."""

from __future__ import annotations

from tests.mutants.mutant import (
    ANYTHING,
    DUELS,
    LIVES,
    PARTIAL,
    SCATTERED,
    Mutant,
    UnitTest,
    World,
    blind,
    change,
    unwatched,
)

COUNTER_NOT_DURABLE = Mutant(
    name="counter-not-durable",
    rule="1",
    fault="The counter of a ballot is not on the volume when the Prepare leaves.",
    changes=(
        change(
            "core/proposer.py", "            Persist(record=Counted(counter=self.counter)),\n", ""
        ),
    ),
    killers=(
        ANYTHING,
        World(name="one-slot"),
    ),
)

COUNTER_BEHIND = Mutant(
    name="counter-never-jumps",
    rule="liveness",
    fault="A candidate's counter grows by one, whatever ballots the acceptors have promised.",
    changes=(
        change(
            "core/proposer.py",
            "        self.counter = max(self.counter, seen) + 1\n",
            "        self.counter = self.counter + 1\n",
        ),
        change(
            "core/proposer.py",
            "        self.counter = max(self.counter, counter_of(ballot))\n",
            "        self.counter = max(self.counter, 0)\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_proposer.py::test_the_ballot_is_above_every_promise_seen_when_standing"
        ),
    ),
)

IGNORES_ACCEPTED = Mutant(
    name="ignores-accepted-values",
    rule="4",
    fault="A new leader fills the open slots with no-ops, whatever the promises carry.",
    changes=(change("core/proposer.py", "values.get(self.next_slot, NO_OP)", "NO_OP"),),
    killers=(
        DUELS,
        World(name="one-slot"),
    ),
)

FORGETS_TO_PROPOSE_AGAIN = Mutant(
    name="begins-above-accepted-values",
    rule="4",
    fault="A new leader does not propose again what the promises carry, but goes on above it.",
    changes=(
        change(
            "core/proposer.py",
            "        while self.next_slot <= last:\n"
            "            effects.extend("
            "self._propose_next(values.get(self.next_slot, NO_OP), now_ms))\n",
            "        self.next_slot = Slot(last + 1)\n",
        ),
    ),
    killers=(World(name="two-slots"),),
)

LOWEST_BALLOT = Mutant(
    name="takes-lowest-ballot",
    rule="4",
    fault="Of the values that promises carry for a slot, the one of the lowest ballot is taken.",
    changes=(
        change(
            "core/gathering.py", "accepted.ballot > best.ballot:", "accepted.ballot < best.ballot:"
        ),
    ),
    killers=(World(name="three-ballots"),),
)

LEAVES_GAPS = Mutant(
    name="leaves-gaps",
    rule="4",
    fault="A new leader proposes what the promises carry, and nothing in the gaps between.",
    changes=(
        change(
            "core/proposer.py",
            "            effects.extend("
            "self._propose_next(values.get(self.next_slot, NO_OP), now_ms))\n",
            "            if self.next_slot not in values:\n"
            "                self.next_slot = Slot(self.next_slot + 1)\n"
            "                continue\n"
            "            effects.extend(self._propose_next(values[self.next_slot], now_ms))\n",
        ),
    ),
    killers=(World(name="two-slots"),),
)

PREPARES_TOO_LATE = Mutant(
    name="prepares-from-a-later-slot",
    rule="4",
    fault="Phase 1 begins one slot above the first that is not known decided.",
    changes=(
        change(
            "core/proposer.py",
            "Gathering(self.ballot, Slot(self.decided + 1), Slot(0))",
            "Gathering(self.ballot, Slot(self.decided + 2), Slot(0))",
        ),
    ),
    killers=(ANYTHING,),
)

PROMISE_COUNTED_EARLY = Mutant(
    name="promise-counts-with-its-first-part",
    rule="4",
    fault="An acceptor's promise counts before all its parts are there.",
    changes=(
        change("core/gathering.py", "        if self._covered(ends):\n", "        if ends:\n"),
    ),
    killers=(World(name="promises-in-parts"),),
)

PROMISE_OF_ANOTHER_BALLOT = Mutant(
    name="promise-of-another-ballot",
    rule="4",
    fault="A promise counts whatever ballot it is for.",
    changes=(
        change(
            "core/proposer.py",
            "        if gathering is None or message.ballot != self.ballot:\n",
            "        if gathering is None:\n",
        ),
        change(
            "core/gathering.py",
            "        if (promise.ballot, promise.first, promise.last) != "
            "(self.ballot, self.first, self.last):\n            return\n",
            "",
        ),
    ),
    killers=(World(name="three-ballots"),),
)

SKIPS_PHASE_1 = Mutant(
    name="skips-phase-1",
    rule="4",
    fault="A candidate leads as soon as one acceptor has promised.",
    changes=(
        change(
            "core/proposer.py",
            "        if not self.membership.is_quorum(gathering.complete):\n"
            "            return []\n",
            "",
        ),
    ),
    killers=(ANYTHING,),
)

VISIBLE_ACCEPTORS = Mutant(
    name="quorum-of-visible-acceptors",
    rule="2",
    fault="A proposer takes for a quorum most of the acceptors that it is connected with.",
    changes=(
        change(
            "core/proposer.py",
            "        self._number = number_of(node)\n",
            "        self._number = number_of(node)\n        self._visible: set[NodeId] = set()\n",
        ),
        change(
            "core/proposer.py",
            "        if role is Role.ACCEPTOR:\n            if cluster",
            "        if role is Role.ACCEPTOR:\n            self._visible.add(peer)\n"
            "            if cluster",
        ),
        change(
            "core/proposer.py",
            "        self._gateways.discard(peer)\n",
            "        self._gateways.discard(peer)\n        self._visible.discard(peer)\n",
        ),
        change(
            "core/proposer.py",
            "    def _prepare(self, gathering",
            "    def _enough(self, nodes: object) -> bool:\n"
            "        return 2 * len(set(nodes) & self._visible) > len(self._visible) > 0\n\n"
            "    def _prepare(self, gathering",
        ),
        change(
            "core/proposer.py",
            "if self.phase is not Phase.CANVASSING or "
            "not self._election.on_reply(sender, message):",
            "self._election.on_reply(sender, message)\n"
            "        willing = [n for n, r in self._election.replies.items() if not r.leader]\n"
            "        if self.phase is not Phase.CANVASSING or not self._enough(willing):",
        ),
        change(
            "core/proposer.py",
            "        if not self.membership.is_quorum(gathering.complete):\n",
            "        if not self._enough(gathering.complete):\n",
        ),
        change(
            "core/proposer.py",
            "        if not self.membership.is_quorum(self._answering()):\n",
            "        if not self._enough(self._answering()):\n",
        ),
        change(
            "core/proposer.py",
            "        if not self.membership.is_quorum(open_.votes):\n",
            "        if not self._enough(open_.votes):\n",
        ),
    ),
    killers=(ANYTHING,),
)

DECIDED_BY_ONE_VOTE = Mutant(
    name="decided-by-one-vote",
    rule="2",
    fault="A leader calls a slot decided after the first vote.",
    changes=(
        change(
            "core/proposer.py",
            "        if not self.membership.is_quorum(open_.votes):\n            return []\n",
            "",
        ),
    ),
    killers=(ANYTHING,),
)

OLD_VOTES_COUNT = Mutant(
    name="votes-of-older-ballots-count",
    rule="2",
    fault="A leader counts votes for its earlier ballots.",
    changes=(
        change(
            "core/proposer.py",
            "        if message.ballot != self.ballot or self.phase is not Phase.LEADING:\n"
            "            return []\n        slot = message.slot\n",
            "        if self.phase is not Phase.LEADING:\n"
            "            return []\n        slot = message.slot\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_proposer.py::test_a_vote_counts_for_nothing_when_it_is_of_an_earlier_ballot"
        ),
    ),
)

REOPENS_WITH_NO_OP = Mutant(
    name="reopens-with-a-no-op",
    rule="4",
    fault="A slot that a learner is stuck at is proposed again with a no-op.",
    changes=(
        change(
            "core/reopening.py",
            "effects.extend(self._propose(Slot(slot), value, now_ms))",
            "effects.extend(self._propose(Slot(slot), NO_OP, now_ms))",
        ),
    ),
    killers=(ANYTHING,),
)

STEP_DOWN_GOES_ON = Mutant(
    name="step-down-goes-on-proposing",
    rule="4",
    fault="One that stepped down keeps its ballot and its queue, and goes on proposing.",
    changes=(
        change(
            "core/proposer.py",
            "        self.phase = Phase.FOLLOWING\n        self.ballot = NO_BALLOT\n",
            "        self.phase = Phase.FOLLOWING\n",
        ),
        change(
            "core/proposer.py",
            "        self._open_bytes = 0\n        self._queue.clear()\n"
            "        self._queue_bytes = 0\n        self._streams = {}\n",
            "        self._open_bytes = 0\n",
        ),
        change(
            "core/proposer.py",
            "        if self.phase is not Phase.LEADING:\n            return []\n"
            "        effects: list[Effect] = []\n        queue = self._queue\n",
            "        effects: list[Effect] = []\n        queue = self._queue\n",
        ),
    ),
    killers=(PARTIAL,),
)

STEP_DOWN_IN_NAME_ONLY = Mutant(
    name="step-down-in-name-only",
    rule="liveness",
    fault="One that says that it steps down goes on leading with the ballot that it lost.",
    changes=(
        change(
            "core/proposer.py",
            "        self.phase = Phase.FOLLOWING\n        self.ballot = NO_BALLOT\n"
            "        self._stop_at(Slot(0), None)\n        self._in_office = False\n"
            "        self._changing = None\n"
            "        self.open = {}\n        self._open_bytes = 0\n        self._queue.clear()\n"
            "        self._queue_bytes = 0\n        self._streams = {}\n"
            "        self._gathering = None\n        self._election.lost()\n",
            "",
        ),
    ),
    killers=(ANYTHING,),
)

NACK_IGNORED = Mutant(
    name="nack-ignored",
    rule="liveness",
    fault="A candidate or leader ignores that an acceptor promised a higher ballot.",
    changes=(
        change(
            "core/proposer.py",
            'return self._step_down(f"an acceptor promised ballot {message.promised}", dice)',
            "return []",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_proposer.py::test_a_leader_steps_down_when_an_acceptor_promised_more"
        ),
        World(name="one-slot"),
    ),
)

STAYS_WITHOUT_QUORUM = Mutant(
    name="leads-without-a-quorum",
    rule="liveness",
    fault="A leader that no quorum answers any more goes on sending heartbeats.",
    changes=(
        change(
            "core/proposer.py",
            "        if not self.membership.is_quorum(self._answering()):\n"
            '            return self._step_down("no quorum of acceptors answers the '
            'heartbeats", dice)\n',
            "",
        ),
    ),
    killers=(PARTIAL,),
)

NEVER_SUSPECTS = Mutant(
    name="never-suspects",
    rule="liveness",
    fault="A follower takes a leader that it once heard for alive for ever.",
    changes=(
        change(
            "core/election.py",
            "return self.leader != NO_BALLOT and now_ms - self._heard_ms <= "
            "self._timeouts.suspect_ms",
            "return self.leader != NO_BALLOT",
        ),
    ),
    killers=(ANYTHING,),
)

NEVER_BACKS_OFF = Mutant(
    name="never-backs-off",
    rule="liveness",
    fault="Candidates try again at once, all at the same time, however often they have failed.",
    changes=(
        change(
            "core/election.py",
            "        longest = self._timeouts.backoff_ms << min(self.failures, 3)\n",
            "        return 1.0\n"
            "        longest = self._timeouts.backoff_ms << min(self.failures, 3)\n",
        ),
    ),
    killers=(PARTIAL,),
)

CANVASSES_NOBODY = Mutant(
    name="stands-without-asking",
    rule="liveness",
    fault="A candidate does not wait until a quorum of acceptors would follow it.",
    changes=(
        change(
            "core/election.py",
            "willing = [node for node, r in self.replies.items() if r.leader == NO_BALLOT]",
            "willing = list(self.replies)",
        ),
    ),
    killers=(DUELS,),
)

NEVER_RESENDS = Mutant(
    name="never-resends",
    rule="liveness",
    fault="An Accept that was lost is never sent again.",
    changes=(
        change(
            "core/proposer.py",
            "        for slot, open_ in self.open.items():\n            if now_ms",
            "        for slot, open_ in ():\n            if now_ms",
        ),
    ),
    killers=(ANYTHING,),
)

NEVER_REOPENS = Mutant(
    name="never-reopens",
    rule="liveness",
    fault="A leader does not help a learner that cannot get past a slot.",
    changes=(
        change(
            "core/reopening.py",
            "        if self.phase is not Phase.LEADING or message.last < message.first:\n",
            "        if message:\n",
        ),
    ),
    killers=(SCATTERED,),
)

STREAM_ORDER_IGNORED = Mutant(
    name="stream-order-ignored",
    rule="order",
    fault="A leader proposes batches as they come, repeated or without their predecessor.",
    changes=(
        change(
            "core/proposer.py",
            "        if message.sequence != due:\n            return []\n",
            "",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_proposer.py::test_a_sequence_is_proposed_once_and_in_order_when_a_gateway_repeats_itself"
        ),
    ),
)

HALF_IS_A_QUORUM = Mutant(
    name="half-is-a-quorum",
    rule="2",
    fault="Half of the acceptors, rounded down, are a quorum.",
    changes=(
        change(
            "core/quorum.py",
            "return len(self.acceptors) // 2 + 1",
            "return max(1, len(self.acceptors) // 2)",
        ),
    ),
    killers=(World(name="one-slot"),),
)

ALL_ARE_A_QUORUM = Mutant(
    name="all-are-a-quorum",
    rule="liveness",
    fault="Every acceptor must agree: the failure of one stops the cluster.",
    changes=(
        change(
            "core/quorum.py", "return len(self.acceptors) // 2 + 1", "return len(self.acceptors)"
        ),
    ),
    killers=(
        UnitTest(node="tests/core/test_quorum.py::test_a_quorum_is_more_than_half_when_counted"),
    ),
)

_ELECTED = change(
    "core/invariants.py",
    "            not leading or proposer.membership.is_quorum(proposer.electorate),\n",
    "            True,\n",
)
_VOLATILE = blind(
    'invariant(counter_of(message.ballot) <= self._durable, "prepared with a volatile counter")'
)
_SKIPPED = blind('invariant(not skipped, "skipped a slot")')

MUTANTS = (
    COUNTER_NOT_DURABLE,
    unwatched(COUNTER_NOT_DURABLE, _VOLATILE, killers=(LIVES,)),
    COUNTER_BEHIND,
    IGNORES_ACCEPTED,
    FORGETS_TO_PROPOSE_AGAIN,
    LOWEST_BALLOT,
    LEAVES_GAPS,
    unwatched(LEAVES_GAPS, _SKIPPED, killers=(World(name="two-slots"),)),
    PREPARES_TOO_LATE,
    PROMISE_COUNTED_EARLY,
    PROMISE_OF_ANOTHER_BALLOT,
    SKIPS_PHASE_1,
    unwatched(SKIPS_PHASE_1, _ELECTED, killers=(World(name="one-slot"),)),
    VISIBLE_ACCEPTORS,
    unwatched(VISIBLE_ACCEPTORS, _ELECTED, killers=(ANYTHING,)),
    DECIDED_BY_ONE_VOTE,
    OLD_VOTES_COUNT,
    REOPENS_WITH_NO_OP,
    STEP_DOWN_GOES_ON,
    STEP_DOWN_IN_NAME_ONLY,
    NACK_IGNORED,
    STAYS_WITHOUT_QUORUM,
    NEVER_SUSPECTS,
    NEVER_BACKS_OFF,
    CANVASSES_NOBODY,
    NEVER_RESENDS,
    NEVER_REOPENS,
    STREAM_ORDER_IGNORED,
    HALF_IS_A_QUORUM,
    ALL_ARE_A_QUORUM,
)
