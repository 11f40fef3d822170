"""What `paxos member` asks of client nodes: who the members are, and to change them.

A change is the same however often it is asked for, so it is asked again, at another door, until it
is answered: a door that cannot be reached, a leader that changes or an acceptor that is not whole
yet costs time, not the change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from paxos.core.errors import DefiniteError, IndefiniteError
from paxos.core.messages import Address
from paxos.core.types import NodeId, place_of

from .client_connection import Connection

ROUND_S = 0.2
"""How long to wait before all doors are asked again."""
PROGRESS_AFTER_S = 1.0
PROGRESS_S_MAX = 10.0

_FINAL = ("ERR ", "NOAUTH ", "WRONGPASS ", "NOPERM ")
"""How errors begin that no other door and no later time would spare us."""

Say = Callable[[str], None]
"""Takes a line about progress."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One member as a client node knows it; `voting` for acceptors alone."""

    node: NodeId
    page_port: int | None = None
    voting: bool | None = None
    reason: str = ""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration in force, as `MEMBER LIST` tells it."""

    epoch: int
    slot: int
    cluster: str
    proposers: tuple[Member, ...]
    acceptors: tuple[Member, ...]
    learners: tuple[Member, ...]
    clients: tuple[Member, ...]

    def all(self) -> Iterator[Member]:
        """Yield every member."""
        yield from (*self.proposers, *self.acceptors, *self.learners, *self.clients)

    def at(self, place: NodeId) -> NodeId | None:
        """Return the member that has a place, whichever life of it."""
        return next((one.node for one in self.all() if place_of(one.node) == place), None)


class Deadline:
    """How long a command may take, and when to say again what it waits for."""

    def __init__(self, timeout_s: float, say: Say) -> None:
        self.timeout_s = timeout_s
        self._say = say
        self._end_s = time.monotonic() + timeout_s
        self._pause_s = PROGRESS_AFTER_S
        self._told_s = time.monotonic() + PROGRESS_AFTER_S

    @property
    def left_s(self) -> float:
        """How many seconds are left; below 0 when it is over."""
        return self._end_s - time.monotonic()

    def begin(self) -> None:
        """Begin to wait for something else."""
        self._pause_s = PROGRESS_AFTER_S
        self._told_s = time.monotonic() + PROGRESS_AFTER_S

    def waiting(self, what: str) -> None:
        """Say what is waited for, after a second, and ever more seldom."""
        if time.monotonic() >= self._told_s:
            self._say(what)
            self._told_s = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, PROGRESS_S_MAX)

    def wait_until(self, what: str, missing: Callable[[], str]) -> None:
        """Wait until nothing is missing. Raises DefiniteError with what is when it is too late."""
        self.begin()
        while reason := missing():
            if self.left_s <= 0:
                raise DefiniteError(
                    f"{what}: not within {self.timeout_s:.0f} s: {reason}; the command can be "
                    "repeated"
                )
            self.waiting(f"{what}: {reason}")
            time.sleep(0.05)


class Doors:
    """The client nodes of one cluster. `answer_s` is how long one of them may take."""

    def __init__(
        self,
        addresses: Sequence[tuple[str, int]],
        password: str | None,
        answer_s: float,
        deadline: Deadline,
    ) -> None:
        self._connections = [Connection(host, port, password=password) for host, port in addresses]
        self._answer_s = answer_s
        self._deadline = deadline

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections:
            connection.close()

    def listing(self) -> Listing:
        """Return the newest configuration that any client node knows. Raises DefiniteError."""
        self._deadline.begin()
        while True:
            found, trouble = [], "there is no client node to ask"
            for connection in self._connections:
                try:
                    told = connection.call([b"MEMBER", b"LIST"], self._patience_s())
                    found.append(msgspec.json.decode(told, type=Listing))
                except (DefiniteError, IndefiniteError) as error:
                    trouble = str(error)
                    if trouble.startswith(_FINAL):
                        raise DefiniteError(trouble) from error
                except (msgspec.DecodeError, TypeError) as error:
                    raise DefiniteError(
                        f"the answer to MEMBER LIST makes no sense: {error}"
                    ) from error
            if found:
                return max(found, key=lambda one: one.epoch)
            if self._deadline.left_s <= 0 or not self._connections:
                raise DefiniteError(f"no client node tells who the members are: {trouble}")
            self._deadline.waiting(f"no client node answers: {trouble}")
            time.sleep(ROUND_S)

    def change(
        self,
        node: NodeId,
        *,
        add: bool,
        address: Address | None = None,
        about: Callable[[], str] = lambda: "",
    ) -> int:
        """Make a node a member, or none; return the epoch in which it is so.

        `about` says how far the node itself has come, for whoever waits. Raises DefiniteError
        when it is not so, IndefiniteError when it may be, or become so.
        """
        words: list[Any] = [b"MEMBER", b"ADD" if add else b"REMOVE", node.encode()]
        if address is not None:
            words += [str(part).encode() for part in address]
        what = f"{node} is to be {'a' if add else 'no'} member"
        self._deadline.begin()
        unknown = False
        trouble = "there is no client node to ask"
        while self._connections:
            for connection in self._connections:
                try:
                    epoch = connection.call(words, self._patience_s())
                except IndefiniteError as error:
                    unknown, trouble = True, str(error)
                except DefiniteError as error:
                    trouble = str(error)
                    if trouble.startswith(_FINAL):
                        raise
                else:
                    if not isinstance(epoch, int):
                        raise IndefiniteError(
                            f"the answer to MEMBER makes no sense: {epoch!r:.100}"
                        )
                    return epoch
                self._deadline.waiting(f"{what}: {about() or trouble}")
            if self._deadline.left_s <= 0:
                break
            time.sleep(ROUND_S)
        text = f"{what}: not within {self._deadline.timeout_s:.0f} s: {trouble}; it can be repeated"
        raise IndefiniteError(text) if unknown else DefiniteError(text)

    def _patience_s(self) -> float:
        return max(1.0, min(self._answer_s, self._deadline.left_s))
