"""Faults of membership: what a change waits for, who knows of it, whose votes count after it."""

from __future__ import annotations

from tests.mutants.mutant import (
    LOST_MEMBERS,
    MEMBERS,
    Mutant,
    UnitTest,
    blind,
    change,
    unwatched,
)

NEW_ONE_NOT_WHOLE = Mutant(
    name="joins-before-it-is-whole",
    rule="11",
    fault="An acceptor becomes a member whether or not it holds what was decided.",
    changes=(
        change(
            "core/changing.py",
            "if whole >= self._joining and self._new.is_quorum(whole):",
            "if self._new.is_quorum(whole | self._joining):",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_changing.py::"
            "test_a_quorum_is_not_enough_when_the_new_acceptor_is_lacking"
        ),
    ),
)

NO_QUORUM_WHOLE = Mutant(
    name="changes-without-a-whole-quorum",
    rule="11",
    fault="A change is proposed when the new acceptor is whole, however few of the others are.",
    changes=(
        change(
            "core/changing.py",
            "if whole >= self._joining and self._new.is_quorum(whole):",
            "if whole >= self._joining:",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_changing.py::"
            "test_the_new_acceptor_is_not_enough_when_no_quorum_of_the_new_members_is_whole"
        ),
    ),
)

NOBODY_ASKED = Mutant(
    name="changes-without-asking",
    rule="11",
    fault="A change of the acceptors is proposed without asking anybody how far it is.",
    changes=(
        change(
            "core/changing.py",
            "        if not self.touches_acceptors:\n            return ()\n",
            "        if decided >= 0:\n            return ()\n",
        ),
    ),
    killers=(MEMBERS,),
)

CLAIMS_TO_BE_WHOLE = Mutant(
    name="claims-to-be-whole",
    rule="11",
    fault="An acceptor says that it holds everything up to the slot that it was asked about.",
    changes=(
        change(
            "core/keeping.py",
            "        return max(self._solid, self._base)\n",
            "        return max(self._target, self._base)\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_keeping.py::"
            "test_an_acceptor_is_whole_up_to_the_first_slot_that_it_lacks"
        ),
    ),
)

PROPOSES_ON = Mutant(
    name="proposes-after-an-open-change",
    rule="11",
    fault="A leader goes on proposing after a change of the members that is not chosen yet.",
    changes=(
        change(
            "core/proposer.py",
            "        if draining or self.barrier:\n",
            "        if draining and not self.barrier:\n",
        ),
    ),
    killers=(MEMBERS,),
)

NOT_DRAINED = Mutant(
    name="changes-with-slots-open",
    rule="11",
    fault="A change is proposed while earlier slots are open.",
    changes=(
        change(
            "core/reconfiguring.py",
            "        if changing.step is Step.DRAINING and drained and not lacking:\n",
            "        if changing.step is Step.DRAINING and not lacking:\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_proposer.py::"
            "test_a_leader_proposes_nothing_more_when_the_members_are_whole_but_slots_are_open"
        ),
    ),
)

TAKES_A_CHANGE_FOR_ANY_VALUE = Mutant(
    name="takes-a-change-for-any-value",
    rule="11",
    fault="A new leader takes a change that promises carry for any value, and goes on above it.",
    changes=(
        change(
            "core/proposer.py",
            "            last = change\n"
            "            self._stop_at(change, change_in(values[change]))\n",
            "            pass\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_proposer.py::"
            "test_a_new_leader_proposes_up_to_a_change_when_promises_carry_one"
        ),
    ),
)

NO_PHASE_1_AFTER_A_CHANGE = Mutant(
    name="no-phase-1-after-a-change",
    rule="11",
    fault="After a change the leader goes on without the promises of the new members.",
    changes=(
        change(
            "core/reconfiguring.py",
            "        self.phase = Phase.PREPARING\n        self._stop_at(",
            "        if self.phase is Phase.LEADING:\n"
            "            self._stop_at(Slot(0), None)\n"
            "            self.open, self._open_bytes = {}, 0\n"
            "            self.next_slot = Slot(message.slot + 1)\n"
            "            acceptors = self.membership.acceptors\n"
            "            self._acknowledged = dict.fromkeys(acceptors, self._round)\n"
            "            return [*effects, CancelTimer(name=CHANGE)]\n"
            "        self.phase = Phase.PREPARING\n        self._stop_at(",
        ),
    ),
    killers=(MEMBERS,),
)

VOTES_WHILE_JOINING = Mutant(
    name="votes-while-joining",
    rule="11",
    fault="An acceptor that is no member yet tells its votes.",
    changes=(
        change(
            "core/acceptor.py",
            "        if not self.voting:\n            return []\n        vote = Accepted(",
            "        if not self.voting and not self.joining:\n            return []\n"
            "        vote = Accepted(",
        ),
    ),
    killers=(MEMBERS,),
)

PROMISES_WHILE_JOINING = Mutant(
    name="promises-while-joining",
    rule="11",
    fault="An acceptor that is no member yet answers whatever it is asked.",
    changes=(
        change(
            "core/acceptor.py",
            "            case _ if not self.voting and not (self.joining and "
            "isinstance(message, _JOINS)):\n",
            "            case _ if not self.voting and not self.joining:\n",
        ),
    ),
    killers=(MEMBERS,),
)

PROPOSER_DEAF_TO_EPOCHS = Mutant(
    name="proposer-deaf-to-epochs",
    rule="11",
    fault="A proposer takes over what is decided from one that knows a newer configuration.",
    changes=(
        change(
            "core/proposer.py",
            "            case Heartbeat(epoch=epoch) | CanvassReply(epoch=epoch) | "
            "Promise(epoch=epoch) if (\n                epoch > self.view.epoch\n            ):\n",
            "            case Heartbeat(epoch=epoch) | CanvassReply(epoch=epoch) | "
            "Promise(epoch=epoch) if (\n                epoch < 0\n            ):\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_proposer.py::"
            "test_a_candidate_does_not_count_an_acceptor_when_that_knows_a_newer_epoch"
        ),
    ),
)

ACCEPTOR_DEAF_TO_EPOCHS = Mutant(
    name="acceptor-deaf-to-epochs",
    rule="11",
    fault="An acceptor takes over what is decided from one that knows a newer configuration.",
    changes=(
        change(
            "core/acceptor.py",
            "            ) if epoch > self.view.epoch:\n",
            "            ) if epoch < 0:\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_acceptor.py::"
            "test_an_acceptor_asks_for_the_configuration_when_a_message_is_of_a_newer_epoch"
        ),
    ),
)

LEARNER_DEAF_TO_EPOCHS = Mutant(
    name="learner-deaf-to-epochs",
    rule="11",
    fault="A learner takes votes and snapshots in from one that knows a newer configuration.",
    changes=(
        change(
            "core/learner.py",
            "                epoch > self.view.epoch\n            ):\n",
            "                epoch < 0\n            ):\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_learner.py::"
            "test_a_learner_asks_for_the_configuration_when_a_message_is_of_a_newer_epoch"
        ),
    ),
)

COUNTS_THE_REMOVED = Mutant(
    name="counts-the-removed",
    rule="11",
    fault="A learner goes on counting the votes of acceptors that are no members any more.",
    changes=(
        change(
            "core/learner.py",
            "        self._members = 0\n        for acceptor in",
            "        for acceptor in",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_learner.py::"
            "test_the_votes_of_a_removed_acceptor_count_for_nothing_after_the_change"
        ),
    ),
)

NOT_COUNTED_ANEW = Mutant(
    name="not-counted-anew",
    rule="11",
    fault="What was counted before a change of the members stays chosen after it.",
    changes=(
        change(
            "core/learner.py",
            "            pending.chosen = None\n            pending.votes = {\n",
            "            if pending.chosen is not None:\n                continue\n"
            "            pending.votes = {\n",
        ),
        change(
            "core/learner.py",
            '            invariant(votes.bit_count() >= self._quorum, "applied what no quorum '
            'accepted")\n',
            "",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_learner.py::"
            "test_votes_that_came_early_are_counted_anew_when_a_change_is_applied"
        ),
    ),
)

OLD_VOTES_COUNT = Mutant(
    name="votes-from-before-a-change-count",
    rule="11",
    fault="Votes for slots before a change count, told to the old members or to the new ones.",
    changes=(
        change(
            "core/learner.py",
            "        if (slot <= view.slot and not as_member) or "
            "(slot > view.slot and ballot < view.ballot):\n",
            "        if slot > view.slot and ballot < view.ballot:\n",
        ),
        change(
            "core/learner.py",
            "                if slot > view.slot and ballot >= view.ballot\n",
            "                if slot <= view.slot or ballot >= view.ballot\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_learner.py::"
            "test_only_what_new_members_hold_counts_up_to_a_change_that_was_told"
        ),
    ),
)

OLD_BALLOTS_COUNT = Mutant(
    name="ballots-from-before-a-change-count",
    rule="11",
    fault="Votes for slots after a change count at ballots below the one that it was chosen at.",
    changes=(
        change(
            "core/learner.py",
            "        if (slot <= view.slot and not as_member) or "
            "(slot > view.slot and ballot < view.ballot):\n",
            "        if slot <= view.slot and not as_member:\n",
        ),
        change(
            "core/learner.py",
            "                if slot > view.slot and ballot >= view.ballot\n",
            "                if slot > view.slot\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_learner.py::"
            "test_ballots_below_the_change_count_for_nothing_after_it"
        ),
    ),
)

READ_OVER_A_CHANGE = Mutant(
    name="read-over-a-change",
    rule="7",
    fault="A read is answered although the members have changed since its quorum answered.",
    changes=(
        change(
            "core/reading.py",
            "            if epoch != self.view.epoch:\n",
            "            if epoch > self.view.epoch:\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_learner.py::"
            "test_a_read_is_asked_again_when_the_members_changed_before_its_slot_was_applied"
        ),
    ),
)

TWO_AT_ONCE = Mutant(
    name="changes-two-acceptors-at-once",
    rule="11",
    fault="An acceptor that is added takes the place of another in the same change.",
    changes=(
        change(
            "core/changing.py",
            "nodes = tuple(sorted((*nodes, node), key=number_of))",
            "nodes = (*nodes[role is Role.ACCEPTOR :], node)",
        ),
    ),
    killers=(MEMBERS,),
)

OLD_CHANGE_TAKES_EFFECT = Mutant(
    name="old-change-takes-effect",
    rule="11",
    fault="A configuration takes effect again when a newer one is in force.",
    changes=(
        change(
            "core/configuring.py",
            "        if configuration.epoch <= self.epoch:\n",
            "        if configuration.epoch == self.epoch:\n",
        ),
        change(
            "core/learner.py",
            "        if change is None or change.epoch <= self.view.epoch:\n",
            "        if change is None or change.epoch == self.view.epoch:\n",
        ),
    ),
    killers=(MEMBERS,),
)

CONFIGURATION_NOT_DURABLE = Mutant(
    name="configuration-not-durable",
    rule="11",
    fault="An acceptor does not write down the configuration that it goes by.",
    changes=(
        change(
            "core/acceptor.py",
            "            Persist(record=Configured(configuration=message)),\n",
            "",
        ),
    ),
    killers=(MEMBERS,),
)

CATCHES_UP_BY_STRANGERS = Mutant(
    name="catches-up-by-votes-of-before",
    rule="11",
    fault="An acceptor catches up by what others told before they knew that they are members.",
    changes=(
        change(
            "core/keeping.py",
            " or message.first != self._first or message.epoch < self._view.epoch:\n",
            " or message.first != self._first:\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_keeping.py::"
            "test_votes_count_only_when_they_are_told_by_a_member_that_knows_it"
        ),
    ),
)

JOINS_BY_F_ANSWERS = Mutant(
    name="joins-by-one-answer-less",
    rule="11",
    fault="An acceptor that is no member yet catches up by f answers, as if it were one.",
    changes=(
        change(
            "core/keeping.py",
            "return members.quorum_size - (self._node in members.acceptors)",
            "return members.quorum_size - 1",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_keeping.py::"
            "test_one_that_is_no_member_asks_a_whole_quorum_when_it_catches_up"
        ),
    ),
)

ANSWERS_WHEN_PROPOSED = Mutant(
    name="change-answered-when-proposed",
    rule="11",
    fault="An operator is told that a change is made when it is merely proposed.",
    changes=(
        change(
            "core/reconfiguring.py",
            "            return self._propose_next(packed(changing.change), now_ms)\n",
            "            return [\n"
            "                *self._propose_next(packed(changing.change), now_ms),\n"
            "                self._answer(changing.gateway, changing.request),\n"
            "            ]\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_proposer.py::"
            "test_a_change_is_proposed_when_all_are_whole_and_nothing_is_open"
        ),
    ),
)

ANOTHERS_CHANGE = Mutant(
    name="takes-anothers-change-for-its-own",
    rule="6",
    fault="A leader says that its change is made when another leader's was, in the same slot.",
    changes=(
        change(
            "core/reconfiguring.py",
            "            and (change.epoch, change.members) == (message.epoch, message.members)\n",
            "",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_proposer.py::"
            "test_a_client_is_not_told_that_its_change_is_made_when_anothers_was_in_its_slot"
        ),
    ),
)

REFUSED_BY_ANOTHER = Mutant(
    name="refused-change-may-be-made",
    rule="6",
    fault="A client is told that a change is not made, which an earlier leader may have proposed.",
    changes=(
        change(
            "core/asking.py",
            "if asked is None or (message.error and len(asked.ballots) > 1):",
            "if asked is None:",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_gateway.py::"
            "test_a_refusal_is_no_answer_when_an_earlier_leader_was_asked_as_well"
        ),
    ),
)

_AFTER_A_CHANGE = blind(
    "invariant(\n            not proposer.barrier or message.slot <= proposer.barrier,\n"
    '            "proposed after a change of the members that is not chosen",\n        )'
)
_ELECTORATE = blind(
    "invariant(\n            not leading or proposer.membership.is_quorum(proposer.electorate),\n"
    '            "leads without the promises of a quorum",\n        )'
)
_NEW_MEMBERS_PROMISE = UnitTest(
    node="tests/core/test_proposer.py::"
    "test_the_new_members_promise_before_a_leader_goes_on_when_its_change_is_chosen"
)

MUTANTS = (
    NEW_ONE_NOT_WHOLE,
    NO_QUORUM_WHOLE,
    NOBODY_ASKED,
    CLAIMS_TO_BE_WHOLE,
    PROPOSES_ON,
    unwatched(PROPOSES_ON, _AFTER_A_CHANGE, killers=(LOST_MEMBERS,)),
    NOT_DRAINED,
    TAKES_A_CHANGE_FOR_ANY_VALUE,
    NO_PHASE_1_AFTER_A_CHANGE,
    unwatched(NO_PHASE_1_AFTER_A_CHANGE, _ELECTORATE, killers=(_NEW_MEMBERS_PROMISE,)),
    VOTES_WHILE_JOINING,
    PROMISES_WHILE_JOINING,
    PROPOSER_DEAF_TO_EPOCHS,
    ACCEPTOR_DEAF_TO_EPOCHS,
    LEARNER_DEAF_TO_EPOCHS,
    COUNTS_THE_REMOVED,
    NOT_COUNTED_ANEW,
    OLD_VOTES_COUNT,
    OLD_BALLOTS_COUNT,
    READ_OVER_A_CHANGE,
    TWO_AT_ONCE,
    OLD_CHANGE_TAKES_EFFECT,
    CONFIGURATION_NOT_DURABLE,
    CATCHES_UP_BY_STRANGERS,
    JOINS_BY_F_ANSWERS,
    ANSWERS_WHEN_PROPOSED,
    ANOTHERS_CHANGE,
    REFUSED_BY_ANOTHER,
)
