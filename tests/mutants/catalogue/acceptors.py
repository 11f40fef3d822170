"""Faults of acceptors, of the stepper that runs every role, and of what a volume adds up to."""

from __future__ import annotations

from tests.mutants.mutant import (
    ANYTHING,
    CLOGS,
    DUELS,
    LIVES,
    ROT,
    WIPES,
    Mutant,
    UnitTest,
    World,
    blind,
    change,
    unwatched,
)

FLIP = UnitTest(
    node="tests/storage/test_file_journal.py::"
    "test_flip_in_the_last_synced_batch_is_damage_and_names_its_slots"
)

REPLIES_BEFORE_SYNC = Mutant(
    name="replies-before-sync",
    rule="3",
    fault="What a step wants durable is synced at the end of the next turn, after the reply left.",
    changes=(
        change(
            "core/stepper.py",
            "        self._unsynced = False\n        self._drained = Drained()\n",
            "        self._unsynced = False\n        self._owing = False\n"
            "        self._drained = Drained()\n",
        ),
        change(
            "core/stepper.py",
            "            self._journal.sync()\n            self._unsynced = False\n",
            "            if self._owing:\n                self._journal.sync()\n"
            "                self._unsynced = False\n            self._owing = self._unsynced\n",
        ),
    ),
    killers=(ANYTHING,),
)

SECOND_STEP_UNSYNCED = Mutant(
    name="second-step-unsynced",
    rule="3",
    fault="The record of a second step in the same turn makes the first one's sync forgotten.",
    changes=(
        change(
            "core/stepper.py",
            "                self._unsynced = True\n",
            "                self._unsynced = not self._unsynced\n",
        ),
    ),
    killers=(ANYTHING,),
)

ACCEPT_LEAVES_PROMISE = Mutant(
    name="accept-leaves-promise",
    rule="3",
    fault="An Accept does not raise the promise, in memory.",
    changes=(
        change(
            "core/acceptor.py",
            "        self.promised = ballot\n        self._accepts += 1\n",
            "        self._accepts += 1\n",
        ),
    ),
    killers=(
        ANYTHING,
        World(name="one-slot"),
    ),
)

ACCEPT_PROMISE_FORGOTTEN = Mutant(
    name="accept-promise-forgotten",
    rule="3",
    fault="After a restart the votes on the volume count for no promise.",
    changes=(
        change(
            "storage/summary.py",
            "                if ballot > self.promised:\n"
            "                    self.promised = ballot\n"
            "                if decided > self.decided:\n",
            "                if decided > self.decided:\n",
        ),
    ),
    killers=(ANYTHING,),
)

DECIDED_INVENTED = Mutant(
    name="decided-invented",
    rule="4",
    fault="A volume that is read again takes every slot it voted for as decided.",
    changes=(
        change(
            "storage/summary.py",
            "                if decided > self.decided:\n"
            "                    self.decided = decided\n",
            "                if slot > self.decided:\n                    self.decided = slot\n",
        ),
    ),
    killers=(LIVES,),
)

PROMISE_NOT_WRITTEN = Mutant(
    name="promise-not-written",
    rule="3",
    fault="A promise is kept in memory alone.",
    changes=(
        change(
            "core/acceptor.py",
            "            effects.append(Persist(record=Promised(ballot=ballot)))\n",
            "",
        ),
    ),
    killers=(ANYTHING,),
)

ACCEPTS_BELOW_PROMISE = Mutant(
    name="accepts-below-promise",
    rule="3",
    fault="An acceptor votes for a ballot below the one that it promised.",
    changes=(
        change(
            "core/acceptor.py",
            "        ballot, slot = message.ballot, message.slot\n"
            "        if refused := self._refuse(sender, ballot):\n            return refused\n",
            "        ballot, slot = message.ballot, message.slot\n"
            "        if owner_of(ballot) != sender:\n            return []\n",
        ),
        change(
            "core/acceptor.py",
            "        self.promised = ballot\n        self._accepts += 1\n",
            "        self.promised = max(ballot, self.promised)\n        self._accepts += 1\n",
        ),
    ),
    killers=(
        DUELS,
        World(name="one-slot"),
    ),
)

PROMISES_BELOW_PROMISE = Mutant(
    name="promises-below-promise",
    rule="3",
    fault="An acceptor answers a Prepare below its promise with a promise.",
    changes=(
        change(
            "core/acceptor.py",
            "        ballot = message.ballot\n        if refused := self._refuse(sender, ballot):\n"
            "            return refused\n        # Read first",
            "        ballot = message.ballot\n        if owner_of(ballot) != sender:\n"
            "            return []\n        # Read first",
        ),
    ),
    killers=(
        ANYTHING,
        World(name="one-slot"),
    ),
)

PROMISE_WITHOUT_VOTES = Mutant(
    name="promise-without-votes",
    rule="4",
    fault="A promise does not carry what the acceptor has accepted.",
    changes=(change("core/acceptor.py", "accepted=accepted,\n", "accepted=[],\n"),),
    killers=(
        DUELS,
        World(name="one-slot"),
    ),
)

CANVASS_PROMISES = Mutant(
    name="canvass-promises",
    rule="3",
    fault="Answering a canvass raises the promise above what was promised so far.",
    changes=(
        change(
            "core/acceptor.py",
            "        leader = self._leader\n        silent",
            "        self.promised = Ballot(self.promised + 100)\n"
            "        leader = self._leader\n        silent",
        ),
    ),
    killers=(ANYTHING,),
)

HIGHEST_IS_DECIDED = Mutant(
    name="highest-is-decided",
    rule="7",
    fault="A learner that asks how far the log may reach is told what is known to be decided.",
    changes=(
        change(
            "core/acceptor.py",
            "Highest(round=round_, slot=self.log.highest_slot)",
            "Highest(round=round_, slot=self.decided)",
        ),
    ),
    killers=(CLOGS,),
)

FOLLOWS_FOR_EVER = Mutant(
    name="follows-for-ever",
    rule="liveness",
    fault="An acceptor follows a leader that fell silent for as long as it lives.",
    changes=(
        change(
            "core/acceptor.py",
            "if leader != NO_BALLOT and (silent or owner_of(leader) == sender):",
            "if leader != NO_BALLOT and not silent and owner_of(leader) == sender:",
        ),
        change(
            "core/acceptor.py",
            "        if self._leader != NO_BALLOT and owner_of(self._leader) == peer:\n"
            "            self._leader = NO_BALLOT\n",
            "",
        ),
    ),
    killers=(ANYTHING,),
)

BLANK_VOTES = Mutant(
    name="blank-votes",
    rule="8",
    fault="An acceptor on a blank volume votes.",
    changes=(
        change(
            "core/acceptor.py",
            "return self.phase is Phase.OPEN\n",
            "return self.phase in (Phase.OPEN, Phase.BLANK)\n",
        ),
    ),
    killers=(
        WIPES,
        World(name="lost-volume"),
    ),
)

BLANK_ADOPTS_A_LIVING_CLUSTER = Mutant(
    name="blank-adopts-living-cluster",
    rule="8",
    fault="A blank volume takes on the identity of the cluster that it finds alive, and votes.",
    changes=(
        change(
            "core/acceptor.py",
            "        if alive:\n            return self._bar(\n",
            "        if alive:\n            return self._format(alive[0])\n"
            "        if alive:\n            return self._bar(\n",
        ),
    ),
    killers=(
        WIPES,
        World(name="lost-volume"),
    ),
)

FOUNDS_WITH_A_QUORUM = Mutant(
    name="founds-with-a-quorum",
    rule="8",
    fault="A cluster is founded as soon as a quorum of acceptors is there, not all of them.",
    changes=(
        change(
            "core/acceptor.py",
            "            if over or (ours and len(self._volumes) == len(self._others)):\n",
            "            if ours and len(self._volumes) + 1 >= self._membership.quorum_size:\n",
        ),
        change(
            "core/acceptor.py",
            "        if len(self._volumes) < len(self._others) or any(",
            "        if len(self._volumes) + 1 < self._membership.quorum_size or any(",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_acceptor.py::test_founding_waits_when_an_acceptor_does_not_answer"
        ),
    ),
)

DAMAGE_READ_AS_NO_PROMISE = Mutant(
    name="damage-read-as-no-promise",
    rule="8",
    fault="A volume that does not check is opened with its stamp, as if it had never promised.",
    changes=(
        change(
            "storage/memory.py",
            "            after._recovered = Recovered(damage=damage)\n            return after\n",
            "            after._durable.summary.stamp = self._durable.summary.stamp\n"
            "            after._live = after._durable.copy()\n"
            "            after._recovered = after._live.summary.recovered()\n"
            "            return after\n",
        ),
    ),
    killers=(ROT,),
)

DAMAGE_READ_AS_BLANK = Mutant(
    name="damaged-file-read-as-blank",
    rule="8",
    fault="A damaged volume of files is opened as if nothing had ever been on it.",
    changes=(
        change(
            "storage/file_journal.py",
            "            return Recovered(damage=str(damage))\n",
            "            return Recovered()\n",
        ),
    ),
    killers=(FLIP,),
)

DAMAGE_READ_AS_TORN = Mutant(
    name="damaged-file-read-as-torn",
    rule="8",
    fault="A synced batch that does not check is taken for one that was being written: dropped.",
    changes=(
        change(
            "storage/recovery.py",
            "        if self._batch < self._synced or (\n"
            "            find_later_group(content, end, self._batch + 1, self._seed) is not None\n"
            "        ):\n",
            "        if find_later_group(content, end, self._batch + 1, self._seed) is not None:\n",
        ),
    ),
    killers=(FLIP,),
)

_PROMISE_ROSE = blind('invariant(promised == persisted, "a promise rose without being persisted")')
_BELOW_PROMISE = blind(
    "invariant(\n                        record.ballot >= self._promised\n"
    "                        or (caught_up and record.slot <= acceptor.decided),\n"
    '                        "accepted below the promise",\n                    )'
)
_NOT_THE_JOURNALS = blind(
    'invariant(message.ballot == promised, "a promise left that is not the journal\'s")'
)

MUTANTS = (
    REPLIES_BEFORE_SYNC,
    SECOND_STEP_UNSYNCED,
    ACCEPT_LEAVES_PROMISE,
    unwatched(ACCEPT_LEAVES_PROMISE, _PROMISE_ROSE, killers=(World(name="one-slot"),)),
    ACCEPT_PROMISE_FORGOTTEN,
    DECIDED_INVENTED,
    PROMISE_NOT_WRITTEN,
    unwatched(PROMISE_NOT_WRITTEN, _PROMISE_ROSE, killers=(ANYTHING,)),
    ACCEPTS_BELOW_PROMISE,
    unwatched(ACCEPTS_BELOW_PROMISE, _BELOW_PROMISE, killers=(DUELS, World(name="one-slot"))),
    PROMISES_BELOW_PROMISE,
    unwatched(PROMISES_BELOW_PROMISE, _NOT_THE_JOURNALS, killers=(ANYTHING,)),
    PROMISE_WITHOUT_VOTES,
    CANVASS_PROMISES,
    HIGHEST_IS_DECIDED,
    FOLLOWS_FOR_EVER,
    BLANK_VOTES,
    BLANK_ADOPTS_A_LIVING_CLUSTER,
    FOUNDS_WITH_A_QUORUM,
    DAMAGE_READ_AS_NO_PROMISE,
    DAMAGE_READ_AS_BLANK,
    DAMAGE_READ_AS_TORN,
)
