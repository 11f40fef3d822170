"""What a door needs from the gateway behind it.

The runtime implements this port around the gateway role; tests implement it with a dictionary.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from paxos.core.effects import (
    ClientBackup,
    ClientBackupPart,
    ClientChange,
    ClientGone,
    ClientReads,
    ClientStaleReads,
    ClientWrites,
)

ClientEvent: TypeAlias = (
    ClientWrites
    | ClientReads
    | ClientStaleReads
    | ClientBackup
    | ClientBackupPart
    | ClientChange
    | ClientGone
)

Confirmation: TypeAlias = tuple[int, int, int, int, float]
"""What a learner confirmed to this node: slot, revision, sequence, commands in the batch, and
its age in seconds."""


class GatewayPort(Protocol):
    """The gateway, seen from a door.

    For every command submitted, exactly one reply comes back through the door's `deliver`, in
    the order of the connection's commands, in lists that may split or join submissions, unless
    `ClientGone` was submitted meanwhile. `deliver` may be called from inside `submit`.
    """

    def submit(self, event: ClientEvent) -> None:
        """Hand over commands of one connection, or tell that it has closed."""
        ...

    def status(self) -> dict[str, Any]:
        """Return the gateway's view of the cluster, ready for JSON."""
        ...

    def responses(self, limit: int | None) -> list[Confirmation]:
        """Return the latest confirmations, oldest first; at most `limit` of them, if given."""
        ...

    def members(self) -> dict[str, Any]:
        """Return the configuration in force as the gateway knows it, ready for JSON."""
        ...

    @property
    def overloaded(self) -> bool:
        """Tell whether doors shall stop reading from clients until their `resume` is called."""
        ...

    @property
    def ready(self) -> bool:
        """Tell whether the gateway can serve: it knows a leader and has a session."""
        ...
