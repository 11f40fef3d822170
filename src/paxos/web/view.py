"""What the pages need to know of a node, and nothing more.

The runtime implements `NodeView`; tests and screenshots use a fake. The pages only read: there
is no way from here into a role.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from paxos.runtime.logs import LogRing


class NodeView(Protocol):
    """A node as its pages see it. Every method returns at once and changes nothing."""

    @property
    def node(self) -> str:
        """The node's name, such as `acceptor-2`."""
        ...

    @property
    def role(self) -> str:
        """The node's role, such as `acceptor`."""
        ...

    @property
    def neighbours(self) -> Sequence[tuple[str, int]]:
        """Every node of the cluster with its page port, this one too, in page-port order."""
        ...

    @property
    def log(self) -> LogRing:
        """The node's log."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what `/state` shows: the common keys, and `status` by role."""
        ...

    def health(self) -> tuple[bool, str]:
        """Tell whether the process lives and its loop turns; if not, why."""
        ...

    def readiness(self) -> tuple[bool, str]:
        """Tell whether the node can do its job; if not, why."""
        ...

    def metrics(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        ...
