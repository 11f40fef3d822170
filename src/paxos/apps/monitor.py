"""The live view in the terminal: what every node says of itself, side by side.

Reads `/state` of all nodes at once and nothing else; a node that does not answer is shown as
down, with since when, and the others go on. `watch` gathers, `monitor_view` draws.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import msgspec

from . import asking

ANSWER_TIMEOUT_S = 1.0
"""A node that has not answered after so long is shown as down."""

RATES_AFTER_S = 1.0
"""With --once: how long is watched to tell rates."""

Ask: TypeAlias = Callable[[str, int, str, float], asking.Page]
"""Asks a host and port for a path, with a timeout in seconds; `asking.page` is the real one."""

COUNTERS = ("writes", "reads", "accepts", "decided", "applied", "errors")
"""The figures of a node's status that only grow, and so have rates."""


class NodeSample(msgspec.Struct, frozen=True, kw_only=True):
    """One node at one moment.

    `down_s` is for how long it has not answered, and `down_since` since when, in seconds since
    1970; both are None while nothing tells. `behind` is how many of the slots that a learner had
    seen one sample ago it has still not applied: under load every learner is a slot or two short
    of what it has seen at any one moment, and that says nothing. `held_back` is what keeps its log
    from being cut, empty when nothing does, or not for longer than one sample: a new snapshot takes
    a moment to get around.
    """

    node: str
    up: bool
    down_s: float | None
    down_since: float | None
    trouble: str
    behind: int
    held_back: str
    state: dict[str, Any]
    rates: dict[str, float]
    """Changes of `COUNTERS` per second; without an entry where that cannot be told yet."""

    @property
    def status(self) -> dict[str, Any]:
        """What the role says of itself; empty when the node is down."""
        status = self.state.get("status")
        return status if isinstance(status, dict) else {}


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """All nodes at one moment. `time` in seconds since 1970."""

    time: float
    nodes: list[NodeSample]
    leader: str | None
    ballot: int
    decided: int
    writes_per_s: float
    reads_per_s: float

    @property
    def up(self) -> int:
        """How many nodes answer."""
        return sum(one.up for one in self.nodes)


class Watch:
    """Asks all nodes again and again, and remembers what rates and down times need."""

    def __init__(self, nodes: Sequence[tuple[str, str, int]], ask: Ask = asking.page) -> None:
        """`nodes` are (node, host, page port)."""
        self._nodes = list(nodes)
        self._ask = ask
        self._pool = ThreadPoolExecutor(max_workers=len(self._nodes), thread_name_prefix="ask")
        self._last: dict[str, tuple[float, dict[str, Any]]] = {}
        self._down_since: dict[str, float | None] = {}

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def sample(self) -> Sample:
        """Ask every node at once and return what is known now."""
        answers = list(self._pool.map(self._answer, self._nodes))
        states = [state for _, state, _ in answers if state]
        unseen_s = _unseen(states) if states else None
        samples = [
            self._node_sample(name, at, state, trouble, unseen_s)
            for (name, _, _), (at, state, trouble) in zip(self._nodes, answers, strict=True)
        ]
        leader, ballot = _leader(samples)
        clients = [one for one in samples if one.node.startswith("client")]
        return Sample(
            time=time.time(),
            nodes=samples,
            leader=leader,
            ballot=ballot,
            decided=max((int(one.status.get("decided") or 0) for one in samples), default=0),
            writes_per_s=sum(one.rates.get("writes", 0.0) for one in clients),
            reads_per_s=sum(one.rates.get("reads", 0.0) for one in clients),
        )

    def _answer(self, node: tuple[str, str, int]) -> tuple[float, dict[str, Any], str]:
        _, host, port = node
        answer = self._ask(host, port, "/state", ANSWER_TIMEOUT_S)
        at = time.monotonic()
        if isinstance(answer.content, dict):
            return at, answer.content, ""
        return at, {}, answer.trouble or f"HTTP {answer.status}"

    def _node_sample(
        self,
        node: str,
        at: float,
        state: dict[str, Any],
        trouble: str,
        unseen_s: dict[str, float] | None,
    ) -> NodeSample:
        if not state:
            first = self._first_missed(node, at, unseen_s)
            return NodeSample(
                node=node,
                up=False,
                down_s=None if first is None else at - first,
                down_since=None if first is None else time.time() - (time.monotonic() - first),
                trouble=trouble,
                behind=0,
                held_back="",
                state={},
                rates={},
            )
        self._down_since.pop(node, None)
        last = self._last.get(node)
        self._last[node] = (at, state)
        then = last[1] if last is not None else state
        return NodeSample(
            node=node,
            up=True,
            down_s=None,
            down_since=None,
            trouble="",
            behind=_behind(then, state),
            held_back=_held_back(state) if _held_back(then) else "",
            state=state,
            rates=self._rates(last, at, state),
        )

    def _first_missed(
        self, node: str, at: float, unseen_s: dict[str, float] | None
    ) -> float | None:
        """Return since when a node that does not answer at `at` is down, if anything tells.

        `unseen_s` is what the nodes that answer say; None when nobody does.
        """
        was_up = self._last.pop(node, None) is not None
        first = self._down_since.setdefault(node, None if unseen_s is None and not was_up else at)
        if unseen_s and node in unseen_s:
            # The others may have missed it for longer than we have been looking.
            missed = at - unseen_s[node]
            first = missed if first is None else min(first, missed)
            self._down_since[node] = first
        return first

    @staticmethod
    def _rates(
        last: tuple[float, dict[str, Any]] | None, at: float, state: dict[str, Any]
    ) -> dict[str, float]:
        if last is None or last[1].get("pid") != state.get("pid") or at <= last[0]:
            return {}
        then, now = last[1].get("status") or {}, state.get("status") or {}
        return {
            name: max(0.0, (now[name] - then[name]) / (at - last[0]))
            for name in COUNTERS
            if isinstance(now.get(name), int) and isinstance(then.get(name), int)
        }


def _behind(then: dict[str, Any], now: dict[str, Any]) -> int:
    """Return how many of the slots seen `then` are still not applied `now`; of a learner."""
    seen = (then.get("status") or {}).get("highest_seen")
    applied = (now.get("status") or {}).get("applied")
    if not isinstance(seen, int) or not isinstance(applied, int):
        return 0
    return max(0, seen - applied)


def _held_back(state: dict[str, Any]) -> str:
    """Return what a node says keeps its log from being cut; empty when nothing does."""
    upkeep = state.get("upkeep") or {}
    return str(upkeep.get("text") or "") if upkeep.get("held_back") else ""


def _unseen(states: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return for how long, in seconds, all nodes that answer have been without each other node.

    The last to lose its link tells when the node went; one that never had a link, or has not
    dialled again since an earlier restart, knows no more than that. A node that somebody has a
    link to has no entry.
    """
    unseen: dict[str, float] = {}
    seen: set[str] = set()
    for state in states:
        for link in state.get("links") or []:
            peer, since_s = str(link.get("peer")), link.get("since_s")
            if link.get("connected"):
                seen.add(peer)
            elif isinstance(since_s, int | float):
                unseen[peer] = min(unseen.get(peer, float(since_s)), float(since_s))
    return {peer: since_s for peer, since_s in unseen.items() if peer not in seen}


def _leader(samples: Sequence[NodeSample]) -> tuple[str | None, int]:
    """Return the proposer that says it leads, with the highest ballot if two still think so."""
    leading = [
        (int(one.status.get("ballot") or 0), one.node)
        for one in samples
        if one.status.get("phase") == "leading"
    ]
    if not leading:
        return None, 0
    ballot, node = max(leading)
    return node, ballot


def monitor(
    nodes: list[tuple[str, str, int]], *, once: bool, json_output: bool, interval_s: float
) -> int:
    """Show the nodes (name, host, page port) until Ctrl-C, or `once`.

    Returns 0; with `once`, 1 when no node answered.
    """
    with Watch(nodes) as watch:
        try:
            if once:
                return _show_once(watch, json_output)
            if json_output:
                _print_lines(watch, interval_s)
            else:
                from .monitor_view import show_live

                show_live(watch, interval_s)
        except KeyboardInterrupt:
            pass
        except BrokenPipeError:
            # Whoever read our output has enough of it (`| head`): nothing failed.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _show_once(watch: Watch, json_output: bool) -> int:
    sample = watch.sample()
    if sample.up:
        time.sleep(RATES_AFTER_S)
        sample = watch.sample()
    if json_output:
        print(_json(sample))
    else:
        from .monitor_view import show_once

        show_once(sample)
    return 0 if sample.up else 1


def _print_lines(watch: Watch, interval_s: float) -> None:
    while True:
        began = time.monotonic()
        print(_json(watch.sample()), flush=True)
        time.sleep(max(0.0, began + interval_s - time.monotonic()))


def _json(sample: Sample) -> str:
    return msgspec.json.encode(sample).decode()
