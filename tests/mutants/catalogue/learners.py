"""Faults of learners and of the state machine that they drive."""

from __future__ import annotations

from tests.mutants.mutant import (
    ANYTHING,
    CLOGS,
    DUELS,
    SCATTERED,
    TAKEOVERS,
    Mutant,
    UnitTest,
    World,
    change,
    unwatched,
)

_EARLIER_LIFE = (
    "tests/core/test_learner.py::"
    "test_no_answer_counts_when_it_is_for_an_earlier_life_of_the_learner"
)

COUNTS_TWICE = Mutant(
    name="counts-an-acceptor-twice",
    rule="5",
    fault="A learner counts votes, not distinct acceptors.",
    changes=(
        change(
            "core/learner.py",
            "        votes = pending.votes[ballot] = pending.votes.get(ballot, 0) | bit\n",
            "        while pending.votes.get(ballot, 0) & bit:\n            bit <<= 1\n"
            "        votes = pending.votes[ballot] = pending.votes.get(ballot, 0) | bit\n",
        ),
    ),
    killers=(ANYTHING,),
)

MIXES_BALLOTS = Mutant(
    name="mixes-ballots",
    rule="5",
    fault="A learner adds up the votes of different ballots.",
    changes=(
        change(
            "core/learner.py",
            "        votes = pending.votes[ballot] = pending.votes.get(ballot, 0) | bit\n",
            "        votes = bit\n        for others in pending.votes.values():\n"
            "            votes |= others\n        pending.votes[ballot] = votes\n",
        ),
    ),
    killers=(World(name="one-slot"),),
)

VISIBLE_TO_LEARNER = Mutant(
    name="learners-quorum-of-visible-acceptors",
    rule="2",
    fault="A learner takes for a quorum most of the acceptors that it is connected with.",
    changes=(
        change(
            "core/learner.py",
            "        effects: list[Effect] = []\n        if cluster and not self.cluster:\n",
            "        self._visible = {*getattr(self, '_visible', ()), peer}\n"
            "        self._quorum = len(self._visible) // 2 + 1\n"
            "        effects: list[Effect] = []\n        if cluster and not self.cluster:\n",
        ),
        change(
            "core/learner.py",
            "                self._subscribers.pop(peer, None)\n                if peer",
            "                self._visible = {*getattr(self, '_visible', ())} - {peer}\n"
            "                self._quorum = len(self._visible) // 2 + 1\n"
            "                self._subscribers.pop(peer, None)\n                if peer",
        ),
    ),
    killers=(ANYTHING,),
)

VALUE_OF_ANOTHER_BALLOT = Mutant(
    name="applies-the-value-of-another-ballot",
    rule="5",
    fault="A slot is applied with the first value that was proposed in it, chosen or not.",
    changes=(
        change(
            "core/learner.py",
            "            value = pending.values.get(pending.chosen)\n",
            "            value = next(iter(pending.values.values()), None)\n",
        ),
    ),
    killers=(DUELS,),
)

APPLIES_PAST_GAP = Mutant(
    name="applies-past-a-gap",
    rule="5",
    fault="A chosen slot is applied although one before it is not known yet.",
    changes=(
        change(
            "core/learner.py",
            "            if pending is None or pending.chosen is None:\n                break\n",
            "            later = (p for s, p in self.pending.items() if s > slot)\n"
            "            if any(p.chosen in p.values for p in later):\n"
            "                if pending is None or pending.chosen not in pending.values:\n"
            "                    self.pending.pop(slot, None)\n"
            "                    machine.applied = slot\n                    continue\n"
            "            if pending is None or pending.chosen is None:\n                break\n",
        ),
    ),
    killers=(DUELS,),
)

APPLIES_TWICE = Mutant(
    name="votes-after-applying-count-again",
    rule="5",
    fault="What is told of a slot that was applied is taken for news of the next one.",
    changes=(
        change(
            "core/learner.py",
            "        if not self.machine.applied < slot <= self.machine.applied + self._window:\n"
            "            return None\n",
            "        slot = max(slot, Slot(self.machine.applied + 1))\n",
        ),
    ),
    killers=(ANYTHING,),
)

NEVER_ASKS = Mutant(
    name="never-asks-for-what-is-missing",
    rule="liveness",
    fault="A learner that cannot get on waits for ever.",
    changes=(
        change(
            "core/learner.py",
            "        if self._gap_timer or self._wanted() <= self.machine.applied:\n",
            "        if self._wanted() <= self.machine.applied + 10**9:\n",
        ),
    ),
    killers=(ANYTHING,),
)

NEVER_ASKS_THE_LEADER = Mutant(
    name="never-asks-the-leader",
    rule="liveness",
    fault="A learner whose gap the acceptors' votes do not settle does not turn to the leader.",
    changes=(change("core/learner.py", "if self._gap_tries % 3 == 0:", "if self._gap_tries < 0:"),),
    killers=(SCATTERED,),
)

# ---------------------------------------------------------------- reads

READ_SKIPS_QUORUM = Mutant(
    name="read-skips-the-quorum",
    rule="7",
    fault="A read goes by what the first acceptor says that answers.",
    changes=(
        change(
            "core/reading.py",
            "        if not self.view.membership.is_quorum(self._heights):\n"
            "            return []\n",
            "",
        ),
    ),
    killers=(ANYTHING,),
)

READ_ASKS_NOBODY = Mutant(
    name="read-asks-nobody",
    rule="7",
    fault="A read is answered at once from what the learner happens to have applied.",
    changes=(
        change(
            "core/learner.py",
            "                return self._on_read(sender, message, now_ms)\n",
            "                return [self._answer(sender, message, now_ms)]\n",
        ),
    ),
    killers=(ANYTHING,),
)

READ_BEFORE_APPLIED = Mutant(
    name="read-before-the-slot-is-applied",
    rule="7",
    fault="A read is answered before the slot that it waits for is applied.",
    changes=(
        change(
            "core/reading.py",
            "while self._waiting and self._waiting[0][0] <= self.machine.applied:",
            "while self._waiting:",
        ),
    ),
    killers=(ANYTHING,),
)

READ_JOINS_A_ROUND = Mutant(
    name="read-joins-a-round-under-way",
    rule="7",
    fault="A read counts on answers that were given before it arrived.",
    changes=(
        change(
            "core/reading.py",
            "            self._held.add(key)\n"
            "            self._gathered.append(Waiting(sender, message, now_ms))\n",
            "            self._held.add(key)\n            held = self._asking or self._gathered\n"
            "            held.append(Waiting(sender, message, now_ms))\n",
        ),
    ),
    killers=(CLOGS,),
)

ROUND_NOT_CHECKED = Mutant(
    name="answers-of-an-earlier-round-count",
    rule="7",
    fault="An acceptor's answer to an earlier round counts in the present one.",
    changes=(
        change(
            "core/reading.py",
            "        if message.round != self._round or not self._asking:\n",
            "        if not self._asking:\n",
        ),
    ),
    killers=(UnitTest(node=_EARLIER_LIFE),),
)

ROUNDS_FROM_ZERO = Mutant(
    name="rounds-start-at-zero",
    rule="7",
    fault="A learner numbers its rounds from 0 in each of its lives.",
    changes=(change("core/learner.py", "self._round = int(dice * 2**52)", "self._round = 0"),),
    killers=(UnitTest(node=_EARLIER_LIFE),),
)

RETRY_APPLIED_TWICE = Mutant(
    name="retry-applied-twice",
    rule="6",
    fault="A batch that comes again takes effect again.",
    changes=(
        change(
            "machine/sessions.py",
            "        if batch.sequence == expected:\n",
            "        if batch.sequence <= expected:\n",
        ),
    ),
    killers=(DUELS,),
)

OLD_SESSION_ADMITTED = Mutant(
    name="ended-session-admitted",
    rule="6",
    fault="A batch of a session that was ended is applied as one of the present session.",
    changes=(
        change(
            "machine/sessions.py",
            "        if session is None or session.slot != batch.session:\n"
            "            return SessionUnknown(session=batch.session)\n",
            "        if session is None:\n"
            "            return SessionUnknown(session=batch.session)\n",
        ),
    ),
    killers=(TAKEOVERS,),
)

PAST_A_MISSING_BATCH = Mutant(
    name="batch-applied-past-a-missing-one",
    rule="6",
    fault="A batch is applied although its predecessor was not.",
    changes=(
        change(
            "machine/sessions.py",
            "        if batch.sequence == expected:\n",
            "        if batch.sequence >= expected:\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/machine/test_sessions.py::test_batch_is_not_applied_when_its_predecessor_is_missing"
        ),
    ),
)

LATEST_RESULT = Mutant(
    name="retry-answered-with-the-latest-result",
    rule="6",
    fault="A retry is answered with the results of the session's latest batch.",
    changes=(
        change(
            "machine/sessions.py",
            "        return session.result(batch.sequence)\n",
            "        latest = session.result(session.last)\n"
            "        return latest and msgspec.structs.replace(latest, sequence=batch.sequence)\n",
        ),
        change(
            "machine/sessions.py",
            "from paxos.core.messages import (\n",
            "import msgspec\n\nfrom paxos.core.messages import (\n",
        ),
    ),
    killers=(DUELS,),
)

RESULTS_FORGOTTEN = Mutant(
    name="results-forgotten-early",
    rule="6",
    fault="A session keeps the latest results alone, whatever the gateway still waits for.",
    changes=(
        change(
            "machine/sessions.py",
            "            kept[0].sequence <= acknowledged\n",
            "            kept[0].sequence <= results.sequence\n",
        ),
    ),
    killers=(ANYTHING,),
)

NONCE_OPENS_TWICE = Mutant(
    name="nonce-opens-twice",
    rule="6",
    fault="An OpenSession that is chosen twice ends the session that it opened.",
    changes=(
        change(
            "machine/sessions.py",
            "        if session is None or session.nonce != opening.nonce:\n"
            "            session = Session(",
            "        if opening:\n            session = Session(",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/machine/test_sessions.py::test_same_nonce_chosen_twice_opens_one_session"
        ),
    ),
)

EXEC_IGNORES_WATCHES = Mutant(
    name="exec-ignores-watches",
    rule="order",
    fault="EXEC carries its commands out although a watched key has changed.",
    changes=(
        change(
            "machine/execution.py",
            "        if revision != (0 if entry is None else entry.mod_revision):\n",
            "        if revision < 0:\n",
        ),
    ),
    killers=(ANYTHING,),
)

READ_MOVES_TIME = Mutant(
    name="read-moves-time",
    rule="5",
    fault="A read moves the replicated time to the reader's own clock.",
    changes=(
        change(
            "machine/machine.py",
            "        self._store.clock_ms = max(self.now_ms, wall_ms)\n",
            "        self._store.clock_ms = max(self.now_ms, wall_ms)\n"
            "        self._store.now_ms = self._store.clock_ms\n",
        ),
    ),
    killers=(ANYTHING,),
)

_COUNTED = change(
    "core/learner.py",
    '            invariant(votes.bit_count() >= self._quorum, "applied what no quorum accepted")\n',
    "",
)

MUTANTS = (
    COUNTS_TWICE,
    MIXES_BALLOTS,
    VISIBLE_TO_LEARNER,
    unwatched(VISIBLE_TO_LEARNER, _COUNTED, killers=(ANYTHING,)),
    VALUE_OF_ANOTHER_BALLOT,
    APPLIES_PAST_GAP,
    APPLIES_TWICE,
    NEVER_ASKS,
    NEVER_ASKS_THE_LEADER,
    READ_SKIPS_QUORUM,
    READ_ASKS_NOBODY,
    READ_BEFORE_APPLIED,
    READ_JOINS_A_ROUND,
    ROUND_NOT_CHECKED,
    ROUNDS_FROM_ZERO,
    RETRY_APPLIED_TWICE,
    OLD_SESSION_ADMITTED,
    PAST_A_MISSING_BATCH,
    LATEST_RESULT,
    RESULTS_FORGOTTEN,
    NONCE_OPENS_TWICE,
    EXEC_IGNORES_WATCHES,
    READ_MOVES_TIME,
)
