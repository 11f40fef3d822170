"""Where the other nodes are: as configured first, as discovery last told second.

Discovery may be gone, stale or lying: a configured address is always tried, and whoever answers
at any address must prove who it is in the handshake.
"""

from __future__ import annotations

from collections.abc import Callable

from paxos.core.messages import Book
from paxos.core.types import NodeId


class Addresses:
    """Host and port of every node. `configured` raises for a node that is not in the
    configuration, and is asked only about those that are. `by_book` is false where every link has
    to pass a proxy: what discovery tells would lead around it.
    """

    def __init__(
        self, configured: Callable[[NodeId], tuple[str, int]], *, by_book: bool = True
    ) -> None:
        self._configured = configured
        self._by_book = by_book
        self._told: dict[NodeId, tuple[str, int]] = {}

    def learn(self, book: Book) -> None:
        """Take discovery's book in."""
        if self._by_book:
            self._told = {entry.node: (entry.host, entry.peer_port) for entry in book.entries}

    def of(self, node: NodeId) -> list[tuple[str, int]]:
        """Return the addresses to try, in order."""
        configured = self._configured(node)
        told = self._told.get(node)
        return [configured] if told is None or told == configured else [configured, told]
