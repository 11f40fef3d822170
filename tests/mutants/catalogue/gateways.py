"""Faults of gateways, and of discovery."""

from __future__ import annotations

from tests.mutants.mutant import (
    ANYTHING,
    DUELS,
    LIVES,
    RESTARTS,
    USURPERS,
    Mutant,
    UnitTest,
    blind,
    change,
    unwatched,
)

ANOTHERS_RESULTS = Mutant(
    name="answers-with-anothers-results",
    rule="6",
    fault="Results of another session are taken for those of the batch with the same number.",
    changes=(
        change(
            "core/gateway.py",
            "        if flight is None or message.session != self.session or "
            "flight.replies is not None:\n",
            "        if flight is None or flight.replies is not None:\n",
        ),
    ),
    killers=(USURPERS,),
)

RESUBMITS_AS_NEW = Mutant(
    name="resubmits-as-a-new-sequence",
    rule="6",
    fault="A new leader is given what is under way under new sequence numbers.",
    changes=(
        change(
            "core/gateway.py",
            "        self._attempt += 1\n        effects: list[Effect] = []\n",
            "        self._attempt += 1\n"
            "        flights, self.flights = self.flights, {}\n"
            "        for flight in flights.values():\n"
            "            self.sequence += 1\n"
            "            batch = msgspec.msgpack.decode(flight.packed, type=Batch)\n"
            "            again = msgspec.structs.replace(batch, sequence=self.sequence)\n"
            "            flight.packed = msgspec.msgpack.encode(again)\n"
            "            self.flights[self.sequence] = flight\n"
            "        effects: list[Effect] = []\n",
        ),
    ),
    killers=(DUELS,),
)

SEQUENCE_REUSED = Mutant(
    name="sequence-reused-after-failover",
    rule="6",
    fault="When another leader is found, what is under way is given up and its numbers used again.",
    changes=(
        change(
            "core/gateway.py",
            "        return [found, *self._submit_all_again(self._leader, now_ms)]\n",
            "        flights, self.flights = self.flights, {}\n"
            "        self.sequence = self._acknowledged\n"
            "        effects: list[Effect] = [found]\n"
            "        for flight in flights.values():\n"
            '            effects.extend(self._fail(flight, unknown("another leads"), now_ms))\n'
            "        return effects\n",
        ),
    ),
    killers=(DUELS,),
)

NONCE_NOT_RANDOM = Mutant(
    name="session-nonce-not-random",
    rule="6",
    fault="A gateway asks for its session with the same nonce in each of its lives.",
    changes=(
        change("core/gateway.py", "self._nonce = int(dice * 2**52) + 1", "self._nonce = 1"),
        change(
            "core/gateway.py",
            "self._read_number = self._change_number = self._nonce",
            "self._read_number = self._change_number = int(dice * 2**52)",
        ),
    ),
    killers=(LIVES,),
)

READ_NUMBERS_FROM_ZERO = Mutant(
    name="read-numbers-start-at-zero",
    rule="6",
    fault="A gateway numbers its reads from 0 in each of its lives.",
    changes=(
        change(
            "core/gateway.py",
            "self._read_number = self._change_number = self._nonce",
            "self._read_number, self._change_number = 0, self._nonce",
        ),
    ),
    killers=(RESTARTS,),
)

UNKNOWN_TOLD_AS_DEFINITE = Mutant(
    name="unknown-told-as-definite",
    rule="6",
    fault="A write that left the gateway and got no answer is said not to have happened.",
    changes=(
        change(
            "core/gateway.py",
            "effects.extend(self._fail(flight, unknown(why), now_ms))",
            'effects.extend(self._fail(flight, unavailable("write", why), now_ms))',
        ),
    ),
    killers=(DUELS,),
)

EXPIRED_FORGOTTEN = Mutant(
    name="expired-batch-forgotten",
    rule="6",
    fault="A batch whose clients were told UNKNOWN is dropped, and its number never settled.",
    changes=(
        change(
            "core/gateway.py",
            "            flight = self.flights[number]\n",
            "            flight = self.flights.pop(number)\n",
        ),
    ),
    killers=(DUELS,),
)

LATER_ANSWERED_FIRST = Mutant(
    name="later-results-answered-first",
    rule="order",
    fault="The results of a later batch are handed out before those of an earlier one.",
    changes=(
        change(
            "core/gateway.py",
            "            sequence = next(iter(self.flights))\n"
            "            head = self.flights[sequence]\n",
            "            sequence = next((n for n, f in self.flights.items() if f.replies), 0)\n"
            "            sequence = sequence or next(iter(self.flights))\n"
            "            head = self.flights[sequence]\n",
        ),
    ),
    killers=(ANYTHING,),
)

WRITES_OVERTAKE_READS = Mutant(
    name="writes-overtake-reads",
    rule="order",
    fault="A connection's writes do not wait for its reads under way.",
    changes=(
        change(
            "core/gateway.py",
            '            if connection.kind != "log" or kind == "backup":\n',
            '            if connection.kind == "stale" or kind == "backup":\n',
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_gateway.py::test_writes_wait_when_reads_of_their_connection_are_under_way"
        ),
    ),
)

READS_OVERTAKE_WRITES = Mutant(
    name="reads-overtake-writes",
    rule="order",
    fault="A connection's reads do not join its writes under way, but go by a learner.",
    changes=(
        change(
            "core/gateway.py",
            '                return\n            kind = "log"\n',
            "                return\n",
        ),
    ),
    killers=(ANYTHING,),
)

READ_GOES_BACK = Mutant(
    name="read-sees-less-than-the-one-before",
    rule="7",
    fault="A read that another learner answered before an earlier one may see less than that.",
    changes=(
        change(
            "core/gateway.py",
            "            if not stale and head.slot < self._read_slot:\n",
            "            if stale and head.slot < 0:\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_gateway.py::test_a_later_read_never_sees_less_when_an_earlier_one_was_asked_again"
        ),
    ),
)

KEEPS_DEAD_LEARNER = Mutant(
    name="keeps-a-dead-learner",
    rule="liveness",
    fault="A gateway whose learner is gone does not turn to another.",
    changes=(
        change(
            "core/gateway.py",
            "            self._learner = None\n"
            "            effects += self._switch_learner(self._next_learner(), now_ms)\n",
            "            return effects\n",
        ),
        change(
            "core/gateway.py",
            "        effects.extend(self._switch_learner(self._next_learner(), now_ms))\n",
            "",
        ),
    ),
    killers=(ANYTHING,),
)

KEEPS_DEAD_LEADER = Mutant(
    name="keeps-a-dead-leader",
    rule="liveness",
    fault="A gateway goes on sending to the first leader that it heard of.",
    changes=(
        change(
            "core/gateway.py",
            "        self._ballot = message.ballot\n        self._leader = owner if",
            "        if self._leader is not None:\n            return []\n"
            "        self._ballot = message.ballot\n        self._leader = owner if",
        ),
        change(
            "core/gateway.py",
            "        self._up.discard(peer)\n        if peer == self._leader:\n"
            "            self._leader = None\n",
            "        self._up.discard(peer)\n",
        ),
        change(
            "core/gateway.py",
            "        if sender == self._leader:\n            self._leader = None\n"
            "        return []\n",
            "        return []\n",
        ),
        change(
            "core/gateway.py",
            "            if sender == self._leader:\n                self._leader = None\n",
            "",
        ),
    ),
    killers=(ANYTHING,),
)

NEVER_ASKS_AGAIN = Mutant(
    name="never-asks-again",
    rule="liveness",
    fault="A gateway asks for each thing once.",
    changes=(
        change("core/gateway.py", "                    *self._ask_again(now_ms),\n", ""),
        change(
            "core/gateway.py",
            "        self._attempt += 1\n        effects: list[Effect] = []\n",
            "        return []\n        effects: list[Effect] = []\n",
        ),
    ),
    killers=(ANYTHING,),
)

DISCOVERY_BELIEVES_OLD = Mutant(
    name="discovery-believes-an-earlier-life",
    rule="2",
    fault="A late message of a node's earlier life replaces what its present one registered.",
    changes=(
        change(
            "core/discovery.py",
            "        if known is not None and message.incarnation < known.incarnation:\n",
            "        if known is not None and message.incarnation < 0:\n",
        ),
    ),
    killers=(
        UnitTest(
            node="tests/core/test_discovery.py::test_a_message_of_an_earlier_life_changes_nothing_when_it_comes_late"
        ),
    ),
)

_SEQUENCE_FELL = blind(
    'invariant(gateway.sequence >= self._sequence, "a session\'s sequence fell")'
)
_SEQUENCE_MISSING = blind(
    'invariant(newest - oldest + 1 == len(gateway.flights), "a sequence number is missing")'
)

MUTANTS = (
    ANOTHERS_RESULTS,
    RESUBMITS_AS_NEW,
    SEQUENCE_REUSED,
    unwatched(SEQUENCE_REUSED, _SEQUENCE_FELL, killers=(DUELS,)),
    NONCE_NOT_RANDOM,
    READ_NUMBERS_FROM_ZERO,
    UNKNOWN_TOLD_AS_DEFINITE,
    EXPIRED_FORGOTTEN,
    LATER_ANSWERED_FIRST,
    unwatched(LATER_ANSWERED_FIRST, _SEQUENCE_MISSING, killers=(ANYTHING,)),
    WRITES_OVERTAKE_READS,
    READS_OVERTAKE_WRITES,
    READ_GOES_BACK,
    KEEPS_DEAD_LEARNER,
    KEEPS_DEAD_LEADER,
    NEVER_ASKS_AGAIN,
    DISCOVERY_BELIEVES_OLD,
)
