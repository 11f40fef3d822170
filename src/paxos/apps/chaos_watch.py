"""Who leads, seen from outside while everything breaks; and how level the learners are at the end.

It asks the pages, from threads, because a node that is stopped keeps whoever asks it waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from paxos.core.types import NodeId

from . import asking
from .chaos_record import Lead
from .config import Configuration

LOOK_S = 0.15
PAGE_TIMEOUT_S = 0.5
LEVEL = ("applied", "revision", "keys", "values", "sessions")
"""What must be the same at all learners once everything has been applied."""


class Watch:
    """Looks at the proposers again and again. `now_s` is the run's clock."""

    def __init__(self, configuration: Configuration, now_s: Callable[[], float]) -> None:
        self._configuration = configuration
        self._now_s = now_s
        self._nodes = configuration.membership()
        self._threads = ThreadPoolExecutor(len(configuration.nodes()), "chaos watch")
        self._leader: tuple[int, str] | None = None
        self.leads: list[Lead] = []

    def leader(self) -> str | None:
        """Return who led when it was last looked, by the highest ballot; None for nobody."""
        return None if self._leader is None else self._leader[1]

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            statuses = await self.statuses(self._nodes.proposers)
            leading = [
                (int(status.get("ballot") or 0), str(node))
                for node, status in statuses.items()
                if status.get("phase") == "leading"
            ]
            self._see(max(leading) if leading else None)
            await asyncio.sleep(LOOK_S)

    def _see(self, leader: tuple[int, str] | None) -> None:
        """Note who leads now, if that is news."""
        now_s = round(self._now_s(), 2)
        last = self.leads[-1] if self.leads else None
        if leader != self._leader and last is not None and last.until_s is None:
            last.until_s = now_s
        self._leader = leader
        if leader is None:
            return
        ballot, node = leader
        if last is not None and last.ballot == ballot:
            # It was not seen for a moment; it led all the same.
            last.until_s = None
        elif last is None or ballot > last.ballot:
            self.leads.append(Lead(at_s=now_s, node=node, ballot=ballot))

    async def statuses(self, nodes: Sequence[NodeId]) -> dict[NodeId, dict[str, Any]]:
        """Return what each node's role says of itself; nothing for one that does not answer."""
        pages = await self._ask(nodes, "/state")
        found = {}
        for node, page in pages.items():
            content = page.content if isinstance(page.content, dict) else {}
            found[node] = content.get("status") or {}
        return found

    async def absent(self) -> dict[NodeId, str]:
        """Return the nodes that are not ready, and why."""
        pages = await self._ask(self._configuration.nodes(), "/readyz")
        return {
            node: str((page.content or {}).get("reason") or page.trouble or page.status)
            for node, page in pages.items()
            if page.status != 200
        }

    async def levels(self) -> list[dict[str, Any]]:
        """Return how far each learner is."""
        statuses = await self.statuses(self._nodes.learners)
        return [{name: status.get(name) for name in LEVEL} for status in statuses.values()]

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, nodes: Sequence[NodeId], path: str) -> dict[NodeId, asking.Page]:
        loop = asyncio.get_running_loop()
        host = self._configuration.local_host()
        answers = await asyncio.gather(
            *(
                loop.run_in_executor(
                    self._threads,
                    asking.page,
                    host,
                    self._configuration.page_port(node),
                    path,
                    PAGE_TIMEOUT_S,
                )
                for node in nodes
            )
        )
        return dict(zip(nodes, answers, strict=True))
