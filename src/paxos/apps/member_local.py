"""`paxos member` where a local supervisor keeps the nodes: the steps of add, remove and replace.

Every step looks at what is there first, so that a command which was interrupted can be given again
and goes on. What the log decides (who is a member) comes before what cannot be taken back: a volume
is moved aside only when its acceptor is a member no more.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from typing import Any

import msgspec

from paxos.core.effects import Stamped
from paxos.core.errors import ConfigurationError, DefiniteError, StorageError
from paxos.core.messages import Address
from paxos.core.types import NodeId, Role, role_of

from . import asking, layout, local, supervisor, volumes
from .config import Configuration
from .member_doors import Deadline, Doors, Listing, Say
from .readiness import absence

LOCK = "member.lock"
CALL_S = 2.0
"""What a client node may take besides the time that it gives a request."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a command did: of which node, as of which epoch, and where an old volume is now."""

    node: NodeId
    epoch: int
    member: bool
    ready: bool
    aside: str | None = None


@contextlib.contextmanager
def alone(configuration: Configuration) -> Iterator[None]:
    """Keep other `paxos member` commands out of the data folder. Raises DefiniteError."""
    try:
        file = (configuration.data_folder / LOCK).open("ab")
    except OSError as error:
        raise DefiniteError(
            f"{configuration.data_folder} cannot be used ({error.strerror}): is there a cluster?"
        ) from error
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DefiniteError(
                f"another `paxos member` works in {configuration.data_folder}; wait for its end"
            ) from None
        yield


def doors_of(
    configuration: Configuration, deadline: Deadline, except_of: NodeId | None = None
) -> Doors:
    """Return the doors of this machine's client nodes, that of `except_of` left out if there are
    others: it may be dead, or be about to be stopped.
    """
    if not configuration.doors.resp:
        raise ConfigurationError("doors.resp = false: `paxos member` needs a door")
    host = configuration.local_host()
    clients = configuration.of(Role.CLIENT)
    nodes = [node for node in clients if node != except_of] or clients
    return Doors(
        [(host, configuration.door_port(node)) for node in nodes],
        configuration.security.password,
        configuration.timeouts.request_ms / 1000 + CALL_S,
        deadline,
    )


class Operator:
    """One command at work. `place` is the node that it is about, without its life."""

    def __init__(
        self, configuration: Configuration, place: NodeId, deadline: Deadline, say: Say
    ) -> None:
        self._configuration = configuration
        self._place = place
        self._role = role_of(place)
        self._deadline = deadline
        self._say = say
        self._doors = doors_of(configuration, deadline, except_of=place)

    def close(self) -> None:
        """Hang up."""
        self._doors.close()

    # ------------------------------------------------------------ commands

    def add(self) -> Done:
        """Start a node here that the cluster does not have yet, and make it a member."""
        local.running(self._configuration)
        listing = self._doors.listing()
        node = listing.at(self._place)
        if node is not None:
            self._say(f"{node} is a member already")
        self._check_ports()
        if self._role is Role.ACCEPTOR and node is None:
            node = self._joinable(listing)
        self._note_here()
        self._start()
        return self._joined(node or self._place, listing)

    def remove(self) -> Done:
        """Make a node no member, then stop it for good; its data stays."""
        listing = self._doors.listing()
        node = listing.at(self._place)
        if node is None and self._place not in self._configuration.nodes():
            if self._place not in self._configuration.removed:
                self._configuration.require(self._place)
            self._say(f"{self._place} is no member, and has been removed here before")
        epoch = self._taken_out(listing)
        self._stop_for_good()
        folder = self._configuration.volume(self._place)
        if folder.exists():
            self._say(f"{self._place} is removed; its data stays in {folder}")
        return Done(node=node or self._place, epoch=epoch, member=False, ready=False)

    def replace(self) -> Done:
        """Give a node a new beginning: an acceptor through the log, as a new one at its place."""
        self._configuration.require(self._place)
        local.running(self._configuration)
        listing = self._doors.listing()
        if self._role is not Role.ACCEPTOR:
            return self._restarted_blank(listing)
        aside = None
        node = self._unfinished(listing)
        if node is not None:
            self._say(f"{node} has been made already: going on from there")
        else:
            known = self._known(listing)
            self._taken_out(listing)
            self._stop()
            aside = self._move_aside()
            node = volumes.next_life(self._configuration, self._place, known)
            self._format(node, listing)
        self._start()
        done = self._joined(node, self._doors.listing())
        return msgspec.structs.replace(done, aside=aside)

    # ------------------------------------------------------------ steps: the log

    def _taken_out(self, listing: Listing) -> int:
        """Make whoever has the place no member. Returns the epoch."""
        node = listing.at(self._place)
        if node is None:
            return listing.epoch
        self._say(f"taking {node} out of the cluster")
        epoch = self._doors.change(node, add=False)
        self._say(f"{node} is no member any more (epoch {epoch})")
        return epoch

    def _joined(self, node: NodeId, listing: Listing) -> Done:
        """Make a node that runs a member, when it has joined, and wait until it is ready."""
        self._deadline.wait_until(f"{node} starts", lambda: self._absent(node))
        epoch = listing.epoch
        if listing.at(self._place) != node:
            self._say(f"making {node} a member")
            epoch = self._doors.change(node, add=True, address=self._address(), about=self._how_far)
            self._say(f"{node} is a member (epoch {epoch})")
        self._deadline.wait_until(f"{node} is a member and becomes ready", self._unready)
        self._say(f"{node} is ready")
        return Done(node=node, epoch=epoch, member=True, ready=True)

    def _address(self) -> Address | None:
        """Return where the node is, unless everybody's configuration file says so."""
        configuration = self._configuration
        if self._place in configuration.membership().nodes:
            return None
        host, peer_port = configuration.address(self._place)
        return host, peer_port, configuration.page_port(self._place)

    # ------------------------------------------------------------ steps: processes

    def _start(self) -> None:
        """Have the supervisor run the node."""
        local.release(self._configuration, self._place)

    def _stop(self) -> None:
        """End the node's process, and keep it down."""
        self._say(f"stopping {self._place}")
        local.hold(self._configuration, self._place)

    def _stop_for_good(self) -> None:
        """Take the node out of what runs here, and wait until it has ended."""
        run = local.running(self._configuration)
        newer = layout.read(self._configuration.data_folder).without_node(self._place)
        self._configuration = local.rearrange(self._configuration, newer)
        one = run.nodes.get(self._place)
        if one is not None and one.process.lives:
            self._say(f"stopping {self._place}")
            self._deadline.wait_until(
                f"{self._place} ends", lambda: "it still runs" if one.process.lives else ""
            )
        (supervisor.held_folder(self._configuration) / self._place).unlink(missing_ok=True)

    def _note_here(self) -> None:
        """Make the node one of those that run here."""
        founding = self._configuration.membership().nodes
        newer = layout.read(self._configuration.data_folder).with_node(self._place, founding)
        self._configuration = local.rearrange(self._configuration, newer)

    def _check_ports(self) -> None:
        """Raise DefiniteError when the ports that the node would get are taken."""
        founding = self._configuration.membership().nodes
        newer = layout.read(self._configuration.data_folder).with_node(self._place, founding)
        run = local.running(self._configuration)
        others = set(self._configuration.with_layout(newer).nodes()) - {self._place}
        if self._place in run.living():
            others.add(self._place)
        local.check_ports(self._configuration.with_layout(newer), except_of=others)

    # ------------------------------------------------------------ steps: volumes

    def _joinable(self, listing: Listing) -> NodeId:
        """Return an acceptor that may join, with a volume made for it: by an earlier command that
        was interrupted, or now.
        """
        if (node := self._unfinished(listing)) is not None:
            self._say(f"{node} has been made already: going on from there")
            return node
        if self._place in self._configuration.nodes():
            self._stop()
        self._move_aside()
        node = volumes.next_life(self._configuration, self._place, self._known(listing))
        self._format(node, listing)
        return node

    def _unfinished(self, listing: Listing) -> NodeId | None:
        """Return the acceptor that was made for this place and is no member yet, if there is one.
        A member is finished: to replace it is to begin anew.
        """
        state = self._state()
        if (state.get("status") or {}).get("phase") == "joining":
            node = NodeId(state["node"])
        elif state:
            return None
        else:
            stamp = self._stamp()
            if stamp is None or stamp.phase != "joining" or stamp.cluster != self._cluster(listing):
                return None
            node = stamp.node
        return node if listing.at(self._place) in (None, node) else None

    def _known(self, listing: Listing) -> list[NodeId]:
        """Return every node of this place that anybody here knows of."""
        stamp = None if self._state() else self._stamp()
        told = (listing.at(self._place), stamp and stamp.node, self._state().get("node"))
        return [NodeId(node) for node in told if node]

    def _stamp(self) -> Stamped | None:
        """Return whose volume is there, of a node that does not run; None where it cannot be read.

        A node that the supervisor tries again and again may have it open for a moment.
        """
        try:
            return volumes.stamp_of(self._configuration, self._place)
        except StorageError:
            return None

    def _move_aside(self) -> str | None:
        kept = volumes.move_aside(self._configuration, self._place)
        if kept is not None:
            self._say(f"the volume of {self._place} is kept in {kept}")
        return None if kept is None else str(kept)

    def _format(self, node: NodeId, listing: Listing) -> None:
        volumes.format_acceptor(self._configuration, node, self._cluster(listing))
        self._say(f"a volume is made for {node}, to join cluster {self._cluster(listing)}")

    def _cluster(self, listing: Listing) -> str:
        if not listing.cluster:
            raise DefiniteError("no client node knows yet which cluster this is: try again")
        return listing.cluster

    # ------------------------------------------------------------ other nodes

    def _restarted_blank(self, listing: Listing) -> Done:
        """Replace a node that keeps nothing that others do not know."""
        self._stop()
        aside = None
        if self._role in (Role.PROPOSER, Role.LEARNER):
            aside = self._move_aside()
        self._start()
        what = f"{self._place} is started anew and becomes ready"
        self._deadline.wait_until(what, self._unready)
        self._say(f"{self._place} is ready")
        member = self._role is Role.DISCOVERY or listing.at(self._place) is not None
        return Done(node=self._place, epoch=listing.epoch, member=member, ready=True, aside=aside)

    # ------------------------------------------------------------ looking

    def _state(self) -> dict[str, Any]:
        """Return the node's /state; empty when it does not answer."""
        host, port = self._configuration.local_host(), self._page_port()
        answer = asking.page(host, port, "/state") if port is not None else asking.Page(0, None)
        return answer.content if isinstance(answer.content, dict) else {}

    def _page_port(self) -> int | None:
        try:
            return self._configuration.page_port(self._place)
        except ConfigurationError:
            return None  # it has no port yet: it is being added

    def _absent(self, node: NodeId) -> str:
        """Say why a node cannot be made a member yet; nothing when it can."""
        state = self._state()
        if not state:
            return "it does not answer"
        phase = (state.get("status") or {}).get("phase")
        if self._role is Role.ACCEPTOR and phase in ("barred", "removed"):
            raise DefiniteError(f"{state.get('node')} cannot join: {state.get('reason')}")
        if self._role is Role.ACCEPTOR and phase not in ("joining", "open"):
            return "it has not begun"
        return "" if state.get("node") == node else f"{state.get('node')} runs there"

    def _how_far(self) -> str:
        """Return what the node says of itself while it is no member yet."""
        return str(self._state().get("reason") or "")

    def _unready(self) -> str:
        """Say why the node is not ready; nothing when it is."""
        host, port = self._configuration.local_host(), self._page_port()
        if port is None:
            return "it has no port"
        answer = asking.page(host, port, "/readyz")
        return "" if answer.status == 200 else absence(answer)
