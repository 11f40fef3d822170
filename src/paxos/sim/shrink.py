"""From a run that failed to the smallest one that still fails, as a file that repeats it.

What failed with twenty faults mostly needs two of them. `shrink` lives through the run again and
again, each time with something taken away: faults by delta debugging (Zeller and Hildebrandt,
"Simplifying and Isolating Failure-Inducing Input", 2002), then clients, nodes, time, and how long
faults last and whom they hit. What is left out can change the luck of everything after it, so a
smaller plan is tried with its moments rounded in several ways before it is given up.

Nothing here rolls dice: the same failure shrinks to the same result. Refuses to take a failure of
another kind (safety, liveness) for the same one, and prefers one that reads the same.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec

from paxos.core.errors import ConfigurationError

from . import faults, history, linearizability
from .faults import Fault
from .recording import EACH
from .simulation import Options, Outcome, Run

RUNS_MAX = 200
"""How many runs a shrinking takes at most, unless told otherwise."""

ROUNDINGS_MS = (0.0, 1.0, 5.0, 20.0, 50.0)
"""A plan is tried as it is and with its moments rounded to multiples of these."""

REPLAY_BYTES_MAX = 1024 * 1024
"""A longer replay file is none: plans have some dozens of faults."""

NODES_MAX = 99
"""A replay has at most so many nodes of each role, and clients."""

TIME_MS_MAX = 86_400_000.0
"""A replay lasts a simulated day at most."""

FAULTS_FEW = 2
"""With more faults left than these a failure that reads differently is taken for the same one."""

SIGNATURE_WORDS = 6
"""Two violations are the same failure when they begin with so many equal words, numbers aside."""

NOISE = ("loss", "duplication", "delay", "reorder")
"""Kinds of faults of the whole network: the nodes that they name say nothing."""

Progress = Callable[[int, int, int], None]
"""Told after every run: runs so far, runs at most, faults of the smallest failing plan so far."""


class ReplayError(ConfigurationError):
    """A file cannot be read as a replay. The message says what is wrong with it."""


class Shrunk(msgspec.Struct, frozen=True, kw_only=True):
    """A failing run: what repeats it, and what must come of it.

    `violation`, `kind` and `trace_hash` are what the run gave when it was written down: with the
    same code it gives the same. `runs` is how many runs the shrinking took, and `faults_before`
    how many faults the plan had.
    """

    seed: int
    options: Options
    plan: tuple[Fault, ...]
    violation: str
    kind: str
    at_ms: float
    trace_hash: str
    runs: int = 1
    faults_before: int = 0


def dump(shrunk: Shrunk) -> bytes:
    """Return a failing run as the text of a replay file: JSON, to be read by people too."""
    return msgspec.json.format(msgspec.json.encode(shrunk), indent=1) + b"\n"


def load(data: bytes) -> Shrunk:
    """Return the failing run in a replay file. Raises ReplayError saying what is wrong with it."""
    if len(data) > REPLAY_BYTES_MAX:
        raise ReplayError(f"this is no replay file: it is longer than {REPLAY_BYTES_MAX} bytes")
    try:
        shrunk = msgspec.json.decode(data, type=Shrunk)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ReplayError(f"this is no replay file: {error}") from error
    _check(shrunk)
    return shrunk


def _check(shrunk: Shrunk) -> None:
    options = shrunk.options
    counts = {
        name: getattr(options, name)
        for name in ("clients", "acceptors", "proposers", "learners", "gateways")
    }
    for name, count in counts.items():
        if not 0 <= count <= NODES_MAX:
            raise ReplayError(f"{name} must be 0 to {NODES_MAX}, not {count}")
    if not 0.0 <= options.time_ms <= TIME_MS_MAX:
        raise ReplayError(f"time_ms must be 0 to {TIME_MS_MAX:.0f}, not {options.time_ms}")
    nodes = Run(shrunk.seed, options, ()).membership.nodes
    known = frozenset((*nodes, faults.LEADER))
    for fault in shrunk.plan:
        if fault.kind not in faults.KINDS:
            raise ReplayError(f'the kind of fault "{fault.kind}" is none of those known here')
        if not (fault.at_ms >= 0.0 and fault.for_ms >= 0.0 and 0.0 <= fault.amount < 1.0):
            raise ReplayError(f"a fault has a number out of bounds: {fault}")
        for name in fault.nodes:
            if name not in known:
                raise ReplayError(f'a fault names "{name}", which is no node of this cluster')


def signature(violation: str) -> tuple[str, ...]:
    """Return what is left of a violation's first words without names of nodes and numbers."""
    plain = re.sub(r"\b(acceptor|proposer|learner|client)-\d+", r"\1", violation)
    return tuple(re.sub(r"\d+", "#", plain).split()[:SIGNATURE_WORDS])


def shrink(
    seed: int,
    options: Options,
    outcome: Outcome,
    progress: Progress | None = None,
    runs_max: int = RUNS_MAX,
) -> Shrunk:
    """Return the smallest run found that fails as `outcome` of this seed and these options did.

    Takes at most `runs_max` runs, and at least one. Raises ValueError when `outcome` is no
    failure, or when the run does not fail now: the code or the options are not the same.
    """
    if not outcome.violation:
        raise ValueError(f"seed {seed} did not fail: there is nothing to shrink")
    return _Shrinking(seed, options, outcome, progress, runs_max).go()


class _Spent(Exception):
    """All runs are used up: what has been found stands."""


class _Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One run that may fail."""

    options: Options
    plan: tuple[Fault, ...]

    def with_options(self, **changes: float) -> _Candidate:
        options = msgspec.structs.replace(self.options, **changes)
        return _Candidate(options=options, plan=self.plan)

    def with_plan(self, plan: Sequence[Fault]) -> _Candidate:
        return _Candidate(options=self.options, plan=tuple(plan))


class _Shrinking:
    """One failure on its way to its smallest form. `best` is the smallest failing run so far."""

    def __init__(
        self,
        seed: int,
        options: Options,
        outcome: Outcome,
        progress: Progress | None,
        runs_max: int,
    ) -> None:
        self._seed = seed
        self._kind = outcome.kind
        self._wanted = signature(outcome.violation)
        self._progress = progress
        self._runs_max = max(1, runs_max)
        self._runs = 0
        self._tried: dict[bytes, Outcome] = {}
        whole = Run(seed, options)
        self._faults_before = len(whole.plan)
        self._loose = False
        # The kinds made the plan; with a plan at hand they say nothing any more.
        options = msgspec.structs.replace(options, kinds=())
        self.best = _Candidate(options=options, plan=tuple(whole.plan))
        self.outcome = outcome

    def go(self) -> Shrunk:
        first = self._run(self.best)
        if first.kind != self._kind:
            raise ValueError(
                f"seed {self._seed} does not fail again: {first.violation or 'all is well'}"
            )
        self.outcome = first
        self._wanted = signature(first.violation)
        with suppress(_Spent):
            self._shrink_as_far_as_it_goes()
            if len(self.best.plan) > FAULTS_FEW:
                self._loose = True
                self._shrink_as_far_as_it_goes()
        return Shrunk(
            seed=self._seed,
            options=self.best.options,
            plan=self.best.plan,
            violation=self.outcome.violation,
            kind=self.outcome.kind,
            at_ms=self.outcome.at_ms,
            trace_hash=self.outcome.trace_hash,
            runs=self._runs,
            faults_before=self._faults_before,
        )

    def _shrink_as_far_as_it_goes(self) -> None:
        before = None
        while before != self.best:
            before = self.best
            self._drop_what_came_after()
            self._fewer_faults()
            self._smaller_cluster()
            self._shorter_time()
            self._milder_faults()

    # ------------------------------------------------------------ trying

    def _run(self, candidate: _Candidate) -> Outcome:
        key = msgspec.msgpack.encode(candidate)
        known = self._tried.get(key)
        if known is not None:
            return known
        if self._runs >= self._runs_max:
            raise _Spent
        self._runs += 1
        outcome = Run(self._seed, candidate.options, candidate.plan).go()
        self._tried[key] = outcome
        if self._progress is not None:
            self._progress(self._runs, self._runs_max, len(self.best.plan))
        return outcome

    def _take(self, candidates: Iterator[_Candidate]) -> bool:
        """Make the first candidate that fails in the same words the best one; when `_loose`, and
        there is none, the first that fails in the same kind. Tell whether there was one.
        """
        other: tuple[_Candidate, Outcome] | None = None
        for candidate in candidates:
            outcome = self._run(candidate)
            if outcome.kind != self._kind:
                continue
            if signature(outcome.violation) == self._wanted:
                self.best, self.outcome = candidate, outcome
                return True
            if self._loose:
                other = other or (candidate, outcome)
        if other is None:
            return False
        self.best, self.outcome = other
        self._wanted = signature(self.outcome.violation)
        return True

    def _try(self, candidate: _Candidate) -> bool:
        return self._take(_rounded(candidate))

    # ------------------------------------------------------------ what can be taken away

    def _drop_what_came_after(self) -> None:
        """Faults that begin after the failure, and time after it, have no part in it."""
        best, at_ms = self.best, self.outcome.at_ms
        if "not linearizable" in self.outcome.violation:
            at_ms = min(at_ms, self._contradicted_ms())
        time_ms = float(int(at_ms) + 1)
        if time_ms < best.options.time_ms:
            plan = [fault for fault in best.plan if fault.at_ms <= time_ms]
            self._take(iter([best.with_options(time_ms=time_ms).with_plan(plan)]))

    def _contradicted_ms(self) -> float:
        """Return when the last of the operations that contradict one another was answered: the
        history was judged at the end, but was wrong from then on.
        """
        run = Run(self._seed, self.best.options, self.best.plan)
        began_ms = run.world.now_ms
        run.go()
        verdict = linearizability.check(history.operations(run.workload.history))
        returned = [one.returned for one in verdict.offending if one.outcome == "ok"]
        return max((at - began_ms for at in returned if at is not None), default=float("inf"))

    def _fewer_faults(self) -> None:
        """Delta debugging: ever smaller parts of the plan are tried alone and left out."""
        if self.best.plan and self._try(self.best.with_plan(())):
            return
        parts = 2
        while len(self.best.plan) >= 2:
            plan = self.best.plan
            smaller = _split(plan, parts)
            if parts > 2:
                smaller += [tuple(f for f in plan if f not in piece) for piece in smaller]
            if self._take(one for left in smaller for one in _rounded(self.best.with_plan(left))):
                parts = max(2, min(parts - 1, len(self.best.plan)))
            elif parts >= len(plan):
                return
            else:
                parts = min(len(plan), parts * 2)

    def _smaller_cluster(self) -> None:
        clients = self.best.options.clients
        for fewer in sorted({1, 2, 3, clients // 2}):
            if 0 < fewer < clients and self._try(self.best.with_options(clients=fewer)):
                break
        for role, least in (("acceptors", 3), ("proposers", 1), ("learners", 1), ("gateways", 1)):
            count = len(getattr(Run(self._seed, self.best.options, ()).membership, role))
            for fewer in range(least, count):
                if self._try(self._with_nodes(**{role: fewer})):
                    break

    def _with_nodes(self, **counts: int) -> _Candidate:
        """Return the best run with another cluster; faults lose the nodes that are gone."""
        changed = self.best.with_options(**counts)
        left = frozenset(Run(self._seed, changed.options, ()).membership.nodes) | {faults.LEADER}
        plan = [
            msgspec.structs.replace(fault, nodes=tuple(n for n in fault.nodes if n in left))
            for fault in self.best.plan
        ]
        return changed.with_plan([fault for fault in plan if fault.nodes or fault.kind in NOISE])

    def _shorter_time(self) -> None:
        """Let everything happen sooner: the end, and the faults before it."""
        for share in (0.0, 0.25, 0.5, 0.75):
            best = self.best
            plan = [
                msgspec.structs.replace(fault, at_ms=fault.at_ms * share) for fault in best.plan
            ]
            time_ms = max(best.options.time_ms * share, 1.0)
            sooner = best.with_plan(plan).with_options(time_ms=float(int(time_ms)))
            if time_ms < best.options.time_ms and self._try(sooner):
                return

    def _milder_faults(self) -> None:
        """Let each fault be shorter, and happen to fewer nodes."""
        for at in range(len(self.best.plan)):
            for change in (_fewer_nodes, _shorter):
                while at < len(self.best.plan):
                    fault = self.best.plan[at]
                    milder = list(change(fault))
                    if not self._take(
                        self.best.with_plan((*self.best.plan[:at], one, *self.best.plan[at + 1 :]))
                        for one in milder
                    ):
                        break


def _split(plan: Sequence[Fault], parts: int) -> list[tuple[Fault, ...]]:
    """Cut a plan into so many parts of about the same length."""
    bounds = [len(plan) * part // parts for part in range(parts + 1)]
    return [tuple(plan[a:b]) for a, b in itertools.pairwise(bounds) if b > a]


def _rounded(candidate: _Candidate) -> Iterator[_Candidate]:
    """Yield a candidate with its faults' moments as they are, and rounded ever more coarsely."""
    seen: set[tuple[Fault, ...]] = set()
    for step in ROUNDINGS_MS:
        plan = tuple(
            msgspec.structs.replace(fault, at_ms=_round(fault.at_ms, step))
            for fault in candidate.plan
        )
        if plan not in seen:
            seen.add(plan)
            yield candidate.with_plan(plan)


def _round(value: float, step: float) -> float:
    return float(int(value / step) * step) if step else value


def _fewer_nodes(fault: Fault) -> Iterator[Fault]:
    """Yield a fault that happens to one node less; one of the whole network names nobody."""
    if fault.kind in NOISE and fault.nodes:
        yield msgspec.structs.replace(fault, nodes=())
    elif fault.kind in EACH and len(fault.nodes) > 1:
        for at in range(len(fault.nodes)):
            nodes = (*fault.nodes[:at], *fault.nodes[at + 1 :])
            yield msgspec.structs.replace(fault, nodes=nodes)


def _shorter(fault: Fault) -> Iterator[Fault]:
    """Yield a fault that lasts half as long, in whole milliseconds."""
    if fault.for_ms >= 2.0:
        yield msgspec.structs.replace(fault, for_ms=float(int(fault.for_ms / 2)))
