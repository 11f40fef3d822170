"""Where the other nodes are: as configured first, or as the log said of one that was added later;
as discovery last told second.

Discovery may be gone, stale or lying: a configured address is always tried, and whoever answers
at any address must prove who it is in the handshake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from paxos.core.messages import Address, Book
from paxos.core.types import NodeId, place_of


class Addresses:
    """Host and port of every node. `configured` knows those of the configuration file, by their
    places, and None of others. `by_book` is false where every link has to pass a proxy: what
    others tell would lead around it.
    """

    def __init__(
        self, configured: Callable[[NodeId], tuple[str, int] | None], *, by_book: bool = True
    ) -> None:
        self._configured = configured
        self._by_book = by_book
        self._told: dict[NodeId, tuple[str, int]] = {}
        self._added: dict[NodeId, Address] = {}

    def learn(self, book: Book) -> None:
        """Take discovery's book in."""
        if self._by_book:
            self._told = {entry.node: (entry.host, entry.peer_port) for entry in book.entries}

    def adopt(self, added: Mapping[NodeId, Address]) -> None:
        """Take in where the nodes are that were added since the founding."""
        if self._by_book:
            self._added = {place_of(node): address for node, address in added.items()}

    def page_port(self, node: NodeId) -> int | None:
        """Return the port of the pages of a node that was added, as far as it is known."""
        address = self._added.get(place_of(node))
        return None if address is None else address[2]

    def of(self, node: NodeId) -> list[tuple[str, int]]:
        """Return the addresses to try, in order."""
        place = place_of(node)
        known = self._configured(place)
        if known is None and place in self._added:
            known = self._added[place][:2]
        addresses = [address for address in (known, self._told.get(node)) if address is not None]
        return list(dict.fromkeys(addresses))
