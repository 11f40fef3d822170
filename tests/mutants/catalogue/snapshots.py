"""Faults of snapshots: when logs are cut, how acceptors catch up, what a learner takes over."""

from __future__ import annotations

from tests.mutants.mutant import (
    SNAPSHOTS,
    SNAPSHOTS_OF_FIVE,
    Mutant,
    UnitTest,
    blind,
    change,
    unwatched,
)

CUTS_WITHOUT_A_QUORUM = Mutant(
    name="cuts-without-a-quorum",
    rule="9",
    fault="An acceptor cuts its log below its own snapshot, whoever else keeps one.",
    changes=(
        change(
            "core/keeping.py",
            "        by_quorum = kept[members.quorum_size - 1]\n        # Whoever",
            "        by_quorum = kept[0]\n        # Whoever",
        ),
    ),
    killers=(SNAPSHOTS,),
)

CUTS_ABOVE_ITS_SNAPSHOT = Mutant(
    name="cuts-above-its-snapshot",
    rule="9",
    fault="An acceptor cuts its log below what a quorum of others keeps.",
    changes=(
        change(
            "core/keeping.py",
            "slot = min(max([by_quorum, *self._bases.values()]), self._kept[self._node])",
            "slot = by_quorum",
        ),
    ),
    killers=(SNAPSHOTS_OF_FIVE,),
)

PROMISE_WITHOUT_BASE = Mutant(
    name="promise-without-base",
    rule="4",
    fault="A promise does not say up to where the acceptor has cut its log.",
    changes=(
        change(
            "core/acceptor.py",
            "                    accepted=accepted,\n                    base=self.log.base,\n",
            "                    accepted=accepted,\n",
        ),
    ),
    killers=(SNAPSHOTS,),
)

LEADS_BELOW_THE_BASE = Mutant(
    name="leads-below-the-base",
    rule="4",
    fault="A new leader fills slots that an acceptor has cut off with no-ops.",
    changes=(
        change(
            "core/proposer.py",
            "        first = max(gathering.first, Slot(gathering.base + 1))\n"
            "        self.decided = max(self.decided, gathering.base)\n",
            "        first = gathering.first\n",
        ),
    ),
    killers=(SNAPSHOTS,),
)

FORGETS_ITS_PROMISE_IN_A_CUT = Mutant(
    name="cut-forgets-the-promise",
    rule="3",
    fault="The promise goes with the votes that are cut off.",
    changes=(
        change(
            "storage/summary.py",
            "                if slot > self.base:\n                    self.base = slot\n",
            "                if slot > self.base:\n                    self.base = slot\n"
            "                    self.promised = NO_BALLOT\n",
        ),
    ),
    killers=(SNAPSHOTS,),
)

CATCHES_UP_AT_THE_LOWEST_BALLOT = Mutant(
    name="catches-up-at-the-lowest-ballot",
    rule="9",
    fault="An acceptor that missed a slot takes the value of the lowest ballot voted at.",
    changes=(
        change(
            "core/keeping.py",
            "self.chosen[slot] = max(ballot, self.chosen.get(slot, ballot))",
            "self.chosen[slot] = min(ballot, self.chosen.get(slot, ballot))",
        ),
    ),
    killers=(SNAPSHOTS_OF_FIVE,),
)

CATCHES_UP_BY_ONE_ANSWER = Mutant(
    name="catches-up-by-one-answer-less",
    rule="9",
    fault="An acceptor that missed a slot goes by one answer less than f.",
    changes=(
        change(
            "core/keeping.py",
            "return members.quorum_size - (self._node in members.acceptors)",
            "return members.quorum_size - (self._node in members.acceptors) - 1",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_keeping.py::"
            "test_one_answer_of_four_others_is_not_enough_when_there_are_five_acceptors"
        ),
    ),
)

CATCHES_UP_BY_SILENCE = Mutant(
    name="catches-up-by-silence",
    rule="9",
    fault="An acceptor's silence about slots that it has cut off is taken for not having voted.",
    changes=(
        change(
            "core/keeping.py",
            "        if message.base >= self._first:\n",
            "        if message.base < Slot(0):\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_keeping.py::"
            "test_silence_says_nothing_when_the_slots_asked_about_were_cut_off"
        ),
    ),
)

OWN_VOTE_IS_ENOUGH = Mutant(
    name="own-vote-is-enough",
    rule="9",
    fault="An acceptor takes its vote in a decided slot for what was chosen, however old it is.",
    changes=(
        change(
            "core/keeping.py",
            "return ballot is not None and (ballot >= self._claimed or "
            "self.chosen.get(slot) == ballot)",
            "return ballot is not None",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_keeping.py::"
            "test_a_stale_vote_is_replaced_when_another_was_chosen_at_a_higher_ballot"
        ),
    ),
)

NEVER_CATCHES_UP = Mutant(
    name="acceptor-never-catches-up",
    rule="liveness",
    fault="An acceptor that was away does not fetch what it has missed.",
    changes=(
        change(
            "core/keeping.py",
            "effects = [*self._cut(), *self._look(again=True)]\n",
            "effects = self._cut()\n",
        ),
    ),
    killers=(SNAPSHOTS,),
)

NEVER_KEEPS_A_SNAPSHOT = Mutant(
    name="newer-snapshot-interrupts",
    rule="liveness",
    fault="An acceptor that gets a snapshot begins anew with every newer one that is offered.",
    changes=(
        change(
            "core/keeping.py",
            "        if self._incoming is not None:\n"
            "            return []  # it is offered again\n",
            "        if self._incoming is not None and self._incoming.slot >= message.slot:\n"
            "            return []\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_keeping.py::"
            "test_a_snapshot_on_its_way_comes_first_when_a_newer_one_is_offered"
        ),
    ),
)

TAKES_ANOTHER_MEANWHILE = Mutant(
    name="takes-another-while-pulled",
    rule="liveness",
    fault="A learner takes the next snapshot although the last is pulled and no quorum keeps it.",
    changes=(
        change(
            "core/snapshotting.py",
            "            if self._taken is not None and self._taken.slot > self._kept_slot:\n"
            "                return []\n",
            "",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_snapshotting.py::"
            "test_none_is_taken_while_the_last_is_pulled_and_no_quorum_keeps_it"
        ),
    ),
)

NEVER_GETS_A_SNAPSHOT = Mutant(
    name="learner-never-gets-a-snapshot",
    rule="liveness",
    fault="A learner that is behind the beginning of the log asks for slots for ever.",
    changes=(
        change(
            "core/learner.py",
            "return self.snapshotting.base > self.machine.applied\n",
            "return False\n",
        ),
    ),
    killers=(SNAPSHOTS,),
)

ADOPTS_AN_OLDER_SNAPSHOT = Mutant(
    name="adopts-an-older-snapshot",
    rule="5",
    fault="A learner takes over the snapshot that it asked for although it is ahead of it by now.",
    changes=(
        change(
            "core/learner.py",
            "if restoring is None or message.slot <= self.machine.applied:",
            "if restoring is None:",
        ),
        change(
            "machine/machine.py",
            "            parts.applied > self.applied,\n",
            "            True,\n",
        ),
    ),
    killers=(
        UnitTest(node="tests/machine/test_snapshot.py::test_machine_refuses_to_go_back_or_stay"),
    ),
)

SNAPSHOT_WITHOUT_SESSIONS = Mutant(
    name="snapshot-without-sessions",
    rule="6",
    fault="A snapshot holds the keys and the list, and no sessions: a retry is applied again.",
    changes=(
        change(
            "machine/snapshot.py",
            "    sessions = parts.sessions.ordered()\n",
            "    sessions = parts.sessions.ordered()[:0]\n",
        ),
    ),
    killers=(SNAPSHOTS,),
)

READS_WHILE_BEHIND = Mutant(
    name="answers-reads-while-behind",
    rule="7",
    fault="A learner that waits for a snapshot answers reads from what it has applied so far.",
    changes=(
        change(
            "core/reading.py",
            "        while self._waiting and self._waiting[0][0] <= self.machine.applied:\n",
            "        while self._waiting and (\n"
            "            self._waiting[0][0] <= self.machine.applied or self._behind_the_log()\n"
            "        ):\n",
        ),
    ),
    killers=(SNAPSHOTS,),
)

DEAF_TO_REMINDERS = Mutant(
    name="deaf-to-reminders",
    rule="8",
    fault="An acceptor on an older copy of its volume goes on voting, whatever it is reminded of.",
    changes=(
        change(
            "core/acceptor.py",
            "        if message.slot <= highest and message.ballot <= promised:\n",
            "        if message.slot <= highest or message.ballot <= promised:\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_acceptor.py::"
            "test_an_acceptor_stops_voting_when_it_is_reminded_of_more_than_it_holds"
        ),
    ),
)

_ABOVE_SNAPSHOT = blind(
    'invariant(record.slot <= newest, "cut above the snapshot that is kept here")'
)

MUTANTS = (
    CUTS_WITHOUT_A_QUORUM,
    CUTS_ABOVE_ITS_SNAPSHOT,
    unwatched(CUTS_ABOVE_ITS_SNAPSHOT, _ABOVE_SNAPSHOT, killers=(SNAPSHOTS_OF_FIVE,)),
    PROMISE_WITHOUT_BASE,
    LEADS_BELOW_THE_BASE,
    FORGETS_ITS_PROMISE_IN_A_CUT,
    CATCHES_UP_AT_THE_LOWEST_BALLOT,
    CATCHES_UP_BY_ONE_ANSWER,
    CATCHES_UP_BY_SILENCE,
    OWN_VOTE_IS_ENOUGH,
    NEVER_CATCHES_UP,
    NEVER_KEEPS_A_SNAPSHOT,
    TAKES_ANOTHER_MEANWHILE,
    NEVER_GETS_A_SNAPSHOT,
    ADOPTS_AN_OLDER_SNAPSHOT,
    SNAPSHOT_WITHOUT_SESSIONS,
    READS_WHILE_BEHIND,
    DEAF_TO_REMINDERS,
)
