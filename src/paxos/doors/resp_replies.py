"""One connection's replies in the order of its commands.

The gateway's replies come in order and are only counted. What the door says itself stands among
them: `_specials` holds it with the number of gateway replies that come before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from paxos.core.errors import InvariantViolation

from .resp_writer import encode_into


class _Transform(msgspec.Struct, frozen=True):
    """What becomes of one of the gateway's replies, instead of its plain bytes."""

    apply: Callable[[Any], bytes]


Saying: TypeAlias = bytes | Callable[[], bytes]
"""A reply of the door's own; a function is called when its turn has come."""

SAYING_OVERHEAD_BYTES = 200
"""About what it costs to keep a reply of the door's own, besides its bytes."""


class ReplyQueue:
    """Makes one stream of bytes of the gateway's replies and the door's own.

    `issued` commands went to the gateway, `completed` replies came back; `out` is to be written.
    `version` is the protocol's, 2 or 3; it changes when HELLO's turn has come.

    A client can ask for much more than it sends. `said_bytes` are the door's own replies in
    `out`, `waiting_bytes` is about what those cost that wait behind the gateway's: the connection
    takes no further command while either is too much.
    """

    __slots__ = (
        "_specials",
        "completed",
        "issued",
        "out",
        "said_bytes",
        "version",
        "waiting_bytes",
    )

    def __init__(self) -> None:
        self.issued = 0
        self.completed = 0
        self.version = 2
        self.out: list[bytes] = []
        self.said_bytes = 0
        self.waiting_bytes = 0
        self._specials: deque[tuple[int, Saying | _Transform, int]] = deque()

    @property
    def outstanding(self) -> int:
        """How many replies the gateway owes."""
        return self.issued - self.completed

    @property
    def settled(self) -> bool:
        """Tell whether everything asked was answered and taken out."""
        return self.completed == self.issued and not self._specials and not self.out

    def due(self, position: int) -> bool:
        """Tell whether a reply of our own behind `position` others would be made at once."""
        return position == self.completed and not self._specials

    def say(self, position: int, saying: Saying, held_bytes: int = 0) -> None:
        """Put a reply of our own behind `position` replies of the gateway.

        `held_bytes` is what a function keeps in memory until its turn has come.
        """
        if self.due(position):
            self._put(saying)
        else:
            cost = SAYING_OVERHEAD_BYTES + held_bytes
            if isinstance(saying, bytes):
                cost += len(saying)
            self.waiting_bytes += cost
            self._specials.append((position, saying, cost))

    def expect(self, position: int, apply: Callable[[Any], bytes]) -> None:
        """Let `apply` make the bytes of the reply that `position` others come before."""
        self._specials.append((position, _Transform(apply), 0))

    def take(self) -> list[bytes]:
        """Return what is to be written, and forget it."""
        out, self.out = self.out, []
        self.said_bytes = 0
        return out

    def deliver(self, replies: list[Any]) -> None:
        """Take the gateway's next replies. Raises InvariantViolation for one nobody asked for."""
        completed = self.completed + len(replies)
        if completed > self.issued:
            raise InvariantViolation(f"{completed} replies to {self.issued} commands of a client")
        if self._specials:
            self._deliver_among_specials(replies)
        else:
            self.completed = completed
            encode_into(replies, self.out.append, self.version)

    def forget(self) -> None:
        """Drop everything: there is nobody left to tell."""
        self._specials.clear()
        self.waiting_bytes = 0
        self.take()

    def _put(self, saying: Saying) -> None:
        made = saying if isinstance(saying, bytes) else saying()
        self.said_bytes += len(made)
        self.out.append(made)

    def _deliver_among_specials(self, replies: list[Any]) -> None:
        specials = self._specials
        append = self.out.append
        index = 0
        while True:
            run = len(replies) - index
            if specials:
                run = min(run, specials[0][0] - self.completed)
            if run:
                encode_into(replies[index : index + run], append, self.version)
                index += run
                self.completed += run
            if not specials or specials[0][0] != self.completed:
                return
            special = specials[0][1]
            if not isinstance(special, _Transform):
                self.waiting_bytes -= specials.popleft()[2]
                self._put(special)
            elif index < len(replies):
                specials.popleft()
                self.completed += 1
                append(special.apply(replies[index]))
                index += 1
            else:
                return
