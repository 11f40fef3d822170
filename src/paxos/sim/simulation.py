"""One simulated run: a seed, a cluster, clients, faults; then healing, and the verdict.

Two phases, as in TigerBeetle's VOPR. In the first anything may fail, and safety alone is asked
for. Then the network heals to a random core: a quorum of acceptors and at least one node of each
other role that is needed, with the rest dead, cut off, or reaching less than a quorum. Now there
must be progress within a bounded number of election timeouts (liveness). At the end everything
comes back, all learners must get level and all acceptors whole. Then, in half of the runs, as many
others as may fail are stopped, a learner begins anew, and all must go on. The clients' history
must be linearizable.

The oracle (oracle.py) watches safety all the time.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from paxos.core.acceptor import Acceptor
from paxos.core.acceptor import Phase as AcceptorPhase
from paxos.core.errors import InvariantViolation, PaxosError, ProtocolError
from paxos.core.settings import Limits, Settings, Timeouts
from paxos.core.types import NodeId, Role, role_of

from . import faults, history, linearizability
from .dice import Dice
from .faults import Fault
from .operator import Operator
from .oracle import LivenessFailure, Oracle, SafetyViolation
from .workload import Asked, Workload
from .world import Network, World, membership_of

ELECTION_TIMEOUTS_MAX = 30
"""Within so many election timeouts (suspect_ms) a healed core must make progress."""

LEVEL_TIMEOUTS_MAX = 60
"""Within so many election timeouts of full healing all learners must be level."""

WHOLE_LOOK_MS = 50.0
"""How often it is looked at whether all acceptors are whole."""

LIST_CLIENT = 90_000_000
"""Connections of the run's own questions begin here, above those of clients."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is made of besides its seed. Times in simulated milliseconds.

    `acceptors` and the other numbers of nodes: 0 lets the seed choose. `kinds`: see faults.KINDS.
    """

    time_ms: float = 5000.0
    gap_ms: float = 250.0
    clients: int = 5
    acceptors: int = 0
    proposers: int = 0
    learners: int = 2
    gateways: int = 0
    kinds: tuple[str, ...] = tuple(faults.KINDS)


class Outcome(msgspec.Struct, kw_only=True):
    """What came of a run. `violation` is "" when all was well."""

    seed: int
    violation: str = ""
    kind: str = ""
    """`safety` or `liveness`."""
    at_ms: float = 0.0
    trace_hash: str = ""
    steps: int = 0
    simulated_ms: float = 0.0
    chosen: int = 0
    leaders: int = 0
    faults: dict[str, int] = {}
    operations: dict[str, int] = {}
    snapshots: int = 0
    """How often an acceptor came to keep a snapshot."""
    cuts: int = 0
    """How often an acceptor cut its log."""
    adoptions: int = 0
    """How often a learner took a snapshot's state over."""
    epochs: int = 0
    """How often the members changed."""
    recovered_ms: float = 0.0
    """How long the healed core took until its first new write was read back."""


class Run:
    """A run that can be looked at afterwards: its world, its plan, its history."""

    def __init__(
        self, seed: int, options: Options | None = None, plan: Sequence[Fault] | None = None
    ) -> None:
        self.seed = seed
        self.options = options or Options()
        dice = Dice(seed, "cluster")
        # Rolled even where the options say otherwise, so that what follows stays the same.
        acceptors, proposers = dice.pick((3, 3, 3, 5)), dice.pick((2, 3, 3))
        gateways = dice.pick((2, 2, 3))
        self.membership = membership_of(
            acceptors=self.options.acceptors or acceptors,
            proposers=self.options.proposers or proposers,
            learners=self.options.learners,
            gateways=self.options.gateways or gateways,
        )
        self.settings = _with_snapshots(_settings(dice), Dice(seed, "snapshots"))
        network = Network(delay_ms_min=0.1, delay_ms_max=dice.pick((0.5, 1.0, 5.0, 25.0)))
        self.world = World(_world_seed(seed), self.membership, self.settings, network)
        self.world.set_sync_ms(*dice.pick(((0.0, 0.0), (0.1, 0.5), (0.1, 8.0))))
        _slow_down(self.world, Dice(seed, "snapshot work"))
        self.oracle = Oracle(self.world)
        self.workload = Workload(self.world, self.oracle, seed, self.options.clients)
        self.plan = list(
            plan
            if plan is not None
            else faults.make_plan(
                seed,
                self.membership,
                faults.Options(
                    kinds=self.options.kinds,
                    time_ms=self.options.time_ms,
                    gap_ms=self.options.gap_ms,
                ),
            )
        )
        self.done: Counter[str] = Counter()
        self.operators = (
            [Operator(self.world, seed, n, self.options.time_ms) for n in (0, 1)]
            if faults.CHANGING in self.options.kinds
            else []
        )
        self._healing = Dice(seed, "healing")
        self._endings: dict[int, Callable[[], None]] = {}
        self._healed = False
        self._questions = LIST_CLIENT

    # ------------------------------------------------------------ the run

    def go(self) -> Outcome:
        """Live through it. A broken rule becomes the outcome's `violation`, not an exception."""
        outcome = Outcome(seed=self.seed)
        try:
            with _anything_is_a_violation():
                self._fail_and_check_safety()
                outcome.recovered_ms = self._heal_and_check_liveness()
                self._come_back_and_check_agreement()
                self._judge_history()
        except (SafetyViolation, LivenessFailure) as violation:
            outcome.violation = str(violation)
            outcome.kind = "safety" if isinstance(violation, SafetyViolation) else "liveness"
        outcome.at_ms = self.world.now_ms - 1_000_000.0
        outcome.trace_hash = self.oracle.trace_hash()
        outcome.steps = self.world.steps
        outcome.simulated_ms = outcome.at_ms
        outcome.chosen = len(self.oracle.chosen)
        outcome.leaders = len(self.oracle.leaders)
        outcome.snapshots = self.oracle.upkeep.snapshots
        outcome.cuts = self.oracle.upkeep.cuts
        outcome.adoptions = self.oracle.adoptions
        outcome.epochs = self.oracle.epochs
        outcome.faults = dict(sorted(self.done.items()))
        outcome.operations = dict(sorted(self.workload.counts.items()))
        return outcome

    def _fail_and_check_safety(self) -> None:
        world = self.world
        for number, fault in enumerate(self.plan):
            world.after(fault.at_ms, self._beginning(number, fault))
        world.start()
        self.workload.start()
        world.run_for(self.options.time_ms)

    def _beginning(self, number: int, fault: Fault) -> Callable[[], None]:
        def begin() -> None:
            if self._healed:
                return
            self.done[fault.kind] += 1
            self._endings[number] = faults.KINDS[fault.kind](self.world, fault)
            self.world.after(fault.for_ms, lambda: self._end(number))

        return begin

    def _end(self, number: int) -> None:
        ending = self._endings.pop(number, None)
        if ending is not None:
            ending()

    # ------------------------------------------------------------ liveness

    def _heal_and_check_liveness(self) -> float:
        world, dice, membership = self.world, self._healing, self.membership
        self._healed = True
        for operator in self.operators:
            operator.stop()
        for number in list(self._endings):
            self._end(number)
        world.network = msgspec.structs.replace(world.calm)
        world.heal()
        for node in world.nodes.values():
            node.doom = node.ambush = None
            node.clock.mend()
            if node.paused:
                world.resume(node.name)
        core = self._choose_core()
        rest = [name for name in membership.nodes if name not in core]
        if self.operators:
            for name in rest:
                world.crash(name)
        else:
            self._leave_out(rest, core)
        world.start(core)
        begun = world.now_ms
        bound_ms = ELECTION_TIMEOUTS_MAX * self.settings.timeouts.suspect_ms
        gateways = [name for name in core if name in membership.gateways]
        for number, gateway in enumerate(gateways):
            until = begun + bound_ms
            self._insist(gateway, "list-append", f"healed {number}", until, core)
            self._insist(gateway, "list-read", None, until, core)
        recovered_ms = world.now_ms - begun
        # The core goes on for a while, as clients do.
        world.run_for(dice.between(0.0, 1000.0))
        return recovered_ms

    def _choose_core(self) -> list[NodeId]:
        """Choose who shall be able to work: a quorum of acceptors that may vote, and at least one
        node of every other role. All acceptors while the cluster is not founded (rule 8).
        """
        world, dice = self.world, self._healing
        membership = world.membership
        acceptors = membership.acceptors
        healthy = [name for name in acceptors if self._may_vote(name)]
        if self.operators:
            # A change may be decided yet, and then others than the members of now are needed.
            gateways = dice.some(membership.gateways, dice.whole(1, len(membership.gateways)))
            others = (Role.ACCEPTOR, Role.LEARNER, Role.PROPOSER)
            return [*(name for name in world.nodes if role_of(name) in others), *gateways]
        if len(healthy) < membership.quorum_size or not self._founded():
            needed = len(acceptors)
            healthy = list(acceptors)
        else:
            needed = dice.whole(membership.quorum_size, len(healthy))
        chosen = set(dice.some(healthy, needed))
        for names in (membership.proposers, membership.learners, membership.gateways):
            chosen.update(dice.some(names, dice.whole(1, len(names))))
        if dice.chance(0.7):
            chosen.add(membership.discovery)
        return [name for name in membership.nodes if name in chosen]

    def _founded(self) -> bool:
        """Tell whether some acceptor has seen the founding through, in any life."""
        return any(
            node.journal.durable.stamp is not None and node.journal.durable.stamp.phase == "open"
            for name in self.membership.acceptors
            if (node := self.world.nodes[name]).journal is not None
        )

    def _may_vote(self, name: NodeId) -> bool:
        node = self.world.nodes[name]
        if node.journal is None or node.journal.rotten or node.journal.recovered.damage:
            return False
        if node.snapshots is not None and node.snapshots.rotten:
            return False
        stamp = node.journal.durable.stamp
        barred = isinstance(node.role, Acceptor) and node.role.phase is AcceptorPhase.BARRED
        return stamp is not None and not barred

    def _leave_out(self, rest: Sequence[NodeId], core: Sequence[NodeId]) -> None:
        """Kill, cut off or half connect those that are not of the core, and cut some links
        between proposers of the core that all reach a quorum: nothing of this may stop it.
        """
        world, dice = self.world, self._healing
        membership = world.membership
        few = dice.some(
            [name for name in core if name in membership.acceptors], membership.quorum_size - 1
        )
        for name in rest:
            how = dice.pick(("dead", "alone", "partly"))
            if how == "dead":
                world.crash(name)
                continue
            world.start([name])
            if how == "alone":
                world.cut([name], core)
            elif name in membership.proposers:
                # It hears and is heard by everybody but a quorum of acceptors.
                world.cut([name], [a for a in membership.acceptors if a not in few])
            else:
                world.cut([name], dice.some(core, len(core) // 2))
        proposers = [name for name in core if name in membership.proposers]
        if len(proposers) > 1 and dice.chance(0.3):
            one, other = dice.some(proposers, 2)
            world.cut([one], [other])

    def _insist(
        self, gateway: NodeId, f: str, value: str | None, until_ms: float, core: Sequence[NodeId]
    ) -> Any:
        """Ask again and again until there is an answer. Raises LivenessFailure at `until_ms`."""
        world, workload = self.world, self.workload
        command = [b"READ"] if value is None else [b"WRITE", value.encode()]
        reply: Any = None
        while world.now_ms < until_ms:
            self._questions += 1
            asked = Asked(workload.new_process(), f, None, value)
            workload.note(asked, "invoke", value, gateway)
            if value is None:
                world.read(gateway, self._questions, command)
            else:
                world.ask(gateway, self._questions, command)
            replies = world.wait_for_replies(self._questions, 1, until_ms - world.now_ms)
            if not replies:
                break
            reply = replies[0]
            if not isinstance(reply, dict):
                told = reply if value is not None else [[s, v.decode()] for s, v in reply]
                workload.note(asked, "ok", told, gateway)
                return told
            definite = value is None or reply["error"].startswith("UNAVAILABLE")
            workload.note(asked, "fail" if definite else "info", value, gateway, reply["error"])
        raise LivenessFailure(
            f"{gateway} of a healed core ({', '.join(core)}) got no {f} through in "
            f"{ELECTION_TIMEOUTS_MAX} election timeouts: {reply or 'no answer came'}"
        )

    # ------------------------------------------------------------ agreement

    def _come_back_and_check_agreement(self) -> None:
        """Let everybody come back: all must get level, and no question stay unanswered."""
        world = self.world
        self.workload.stop()
        world.heal()
        world.start()
        bound_ms = LEVEL_TIMEOUTS_MAX * self.settings.timeouts.suspect_ms
        if not world.run_until(lambda: self.workload.waiting == 0, bound_ms):
            raise LivenessFailure(f"{self.workload.waiting} questions were never answered")
        if not world.run_until(lambda: not any(o.busy for o in self.operators), bound_ms):
            raise LivenessFailure("a change of the members was never made")
        learners = [world.role(name) for name in self.membership.learners]
        goal = max(self.oracle.chosen, default=0)

        def level() -> bool:
            return all(learner.machine.applied >= goal for learner in learners)

        if not world.run_until(level, bound_ms):
            applied = [learner.machine.applied for learner in learners]
            raise LivenessFailure(
                f"learners applied {applied} slots of {goal} in {bound_ms:.0f} ms after healing"
            )
        world.run_until(lambda: len({one.machine.applied for one in learners}) == 1, bound_ms)
        if len({learner.machine.digest() for learner in learners}) != 1:
            raise SafetyViolation("learners differ at the end")
        self._check_acceptors_are_whole(bound_ms)
        if self._healing.chance(0.5):
            self._fail_again_and_check_liveness(bound_ms)

    def _check_acceptors_are_whole(self, bound_ms: float) -> None:
        """An acceptor that was away must catch up, or the failure of another would stall all."""
        world = self.world
        until_ms = world.now_ms + bound_ms
        nodes = [world.nodes[name] for name in world.membership.acceptors if self._may_vote(name)]
        for node in nodes:
            while (lacking := self.oracle.lacking(node)) or _says_it_is_behind(node.role):
                if world.now_ms >= until_ms:
                    raise LivenessFailure(
                        f"{node.name} has not caught up in {bound_ms:.0f} ms after healing: of "
                        f"{self.oracle.decided} decided slots it lacks {lacking[:20]}"
                    )
                world.run_for(WHOLE_LOOK_MS)

    def _fail_again_and_check_liveness(self, bound_ms: float) -> None:
        """Stop as many acceptors as may fail, and let a learner begin anew: those left have all."""
        world, dice, membership = self.world, self._healing, self.world.membership
        voting = [name for name in membership.acceptors if self._may_vote(name)]
        stopped = dice.some(voting, max(0, len(voting) - membership.quorum_size))
        for name in stopped:
            world.crash(name, why="stopped at the end")
        blank = dice.pick(membership.learners)
        world.wipe(blank)
        world.start([blank])
        core = [name for name in membership.nodes if name not in stopped]
        until_ms = world.now_ms + ELECTION_TIMEOUTS_MAX * self.settings.timeouts.suspect_ms
        gateway = dice.pick(membership.gateways)
        self._insist(gateway, "list-append", "healed again", until_ms, core)
        self._insist(gateway, "list-read", None, until_ms, core)
        goal = self.oracle.decided
        if not world.run_until(lambda: world.role(blank).machine.applied >= goal, bound_ms):
            raise LivenessFailure(
                f"{blank} began anew and applied {world.role(blank).machine.applied} slots of "
                f"{goal} in {bound_ms:.0f} ms, with {', '.join(stopped) or 'nobody'} stopped"
            )

    def _judge_history(self) -> None:
        """The clients' history, with a last reading of everything, must be linearizable."""
        self.workload.read_everything()
        bound_ms = LEVEL_TIMEOUTS_MAX * self.settings.timeouts.suspect_ms
        if not self.world.run_until(lambda: self.workload.waiting == 0, bound_ms):
            raise LivenessFailure("the last readings were never answered")
        verdict = linearizability.check(history.operations(self.workload.history))
        if not verdict.linearizable:
            raise SafetyViolation(f"the history is not linearizable: {verdict.reason}")


def run(seed: int, options: Options | None = None) -> Outcome:
    """Live through one seed. The same seed, options and code give the same outcome, everywhere."""
    return Run(seed, options).go()


def _says_it_is_behind(role: object) -> bool:
    return isinstance(role, Acceptor) and role.status().keeping.behind


@contextmanager
def _anything_is_a_violation() -> Iterator[None]:
    """A role that breaks an invariant, or that falls over in any other way, broke the run."""
    try:
        yield
    except (SafetyViolation, LivenessFailure):
        raise
    except InvariantViolation as violation:
        raise SafetyViolation(f"an invariant broke: {violation}") from violation
    except (ProtocolError, PaxosError) as error:
        raise SafetyViolation(f"{type(error).__name__}: {error}") from error
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError) as error:
        raise SafetyViolation(f"a node fell over: {type(error).__name__}: {error}") from error
    except ValueError as error:
        raise SafetyViolation(f"a node fell over: {type(error).__name__}: {error}") from error


def _settings(dice: Dice) -> Settings:
    """Usual limits, or tiny ones, so that every bound is met."""
    if dice.chance(0.6):
        return Settings(timeouts=Timeouts(request_ms=2000))
    return Settings(
        timeouts=Timeouts(request_ms=2000),
        limits=Limits(
            batch_bytes_max=dice.pick((64, 400, 4000)),
            batch_commands_max=dice.pick((1, 3, 64)),
            batches_inflight_max=dice.pick((1, 2, 4)),
            slots_inflight_max=dice.pick((1, 2, 8)),
            slots_inflight_bytes_max=dice.pick((100, 2000, 100_000)),
            leader_queue_bytes_max=dice.pick((300, 4000, 100_000)),
            catchup_slots_max=dice.pick((2, 8, 64)),
            catchup_bytes_max=dice.pick((100, 1000, 20_000)),
        ),
    )


def _with_snapshots(settings: Settings, dice: Dice) -> Settings:
    """Snapshots of several parts, and the log cut again and again; in a few runs, none at all."""
    tick_ms = dice.pick((100, 250, 500))
    slots, size, part = dice.pick((5, 15, 40)), dice.pick((300, 3000)), dice.pick((500, 2000, 8000))
    if dice.chance(0.1):
        return settings
    return msgspec.structs.replace(
        settings,
        timeouts=msgspec.structs.replace(settings.timeouts, upkeep_ms=tick_ms),
        limits=msgspec.structs.replace(
            settings.limits,
            snapshot_log_slots=slots,
            snapshot_log_bytes=size,
            snapshot_part_bytes=part,
        ),
    )


def _slow_down(world: World, dice: Dice) -> None:
    """Let snapshots take their time, and fail now and then."""
    work = world.snapshot_work
    work.taking_ms = dice.pick(((0.0, 0.0), (1.0, 20.0), (20.0, 300.0)))
    work.part_ms = dice.pick(((0.0, 0.0), (0.1, 1.0), (1.0, 15.0)))
    work.taking_fails = dice.pick((0.0, 0.0, 0.1))


def _world_seed(seed: int) -> int:
    """Return a seed for the world's own dice that no other source of this run shares."""
    return int.from_bytes(hashlib.blake2b(b"world %d" % seed, digest_size=7).digest(), "big")
