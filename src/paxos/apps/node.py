"""One node's process: put the role, its volume, links, pages and doors together and run them.

Exit status: 0 stopped on request, 70 an invariant or the storage failed (the log says which), 78
the node cannot run as it is configured.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import resource
import secrets
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from functools import partial
from typing import Any

import uvloop

from paxos.core.acceptor import Acceptor
from paxos.core.discovery import Discovery
from paxos.core.effects import Journal, Recovered
from paxos.core.errors import ConfigurationError, StorageError
from paxos.core.gateway import Gateway
from paxos.core.learner import Learner
from paxos.core.messages import (
    AcceptorMessage,
    Book,
    DiscoveryMessage,
    GatewayMessage,
    LearnerMessage,
    ProposerMessage,
)
from paxos.core.proposer import Proposer
from paxos.core.stepper import Stepper
from paxos.core.trace import Level, Trace
from paxos.core.types import NodeId, Role, Slot, place_of, role_of
from paxos.doors.resp import RespDoor
from paxos.machine.machine import Machine
from paxos.machine.snapshot import encode, verify
from paxos.runtime.addresses import Addresses
from paxos.runtime.clock import Clock
from paxos.runtime.logs import LogRing, standard_output
from paxos.runtime.node import AnyRole, NodeRuntime
from paxos.runtime.snapshots import SnapshotWork
from paxos.storage.file_journal import FileJournal
from paxos.storage.open import open_journal, open_volume
from paxos.storage.snapshot_files import SnapshotFiles
from paxos.transport.handshake import NONCE_BYTES
from paxos.transport.links import Links
from paxos.transport.versions import version_needed, wire_version
from paxos.web.app import make_app
from paxos.web.server import PageServer

from .config import Configuration

STOPPED = 0
FAILED = 70
CANNOT_RUN = 78

_MESSAGES: dict[Role, Any] = {
    Role.PROPOSER: ProposerMessage,
    Role.ACCEPTOR: AcceptorMessage,
    Role.LEARNER: LearnerMessage,
    Role.CLIENT: GatewayMessage,
    Role.DISCOVERY: DiscoveryMessage,
}


def run_node(configuration: Configuration, node: NodeId) -> int:
    """Run a node until SIGTERM or SIGINT. Returns the exit status."""
    try:
        return uvloop.run(_Process(configuration, node).run())
    except (ConfigurationError, StorageError) as error:
        print(f"{node} cannot run: {error}", file=sys.stderr, flush=True)
        return CANNOT_RUN


class _Process:
    """The parts of one node's process. What has ports and a volume is a place; which life of it an
    acceptor is, its volume says.
    """

    def __init__(self, configuration: Configuration, place: NodeId) -> None:
        self._configuration = configuration
        self._place = self._node = place
        self._role = role_of(place)
        self._clock = Clock()
        self._journal: Journal | None = None
        self._snapshots: SnapshotFiles | None = None
        self._machine = Machine()
        self._log = self._new_log()

    def _new_log(self) -> LogRing:
        settings = self._configuration.log
        return LogRing(
            node=self._node,
            level=Level(settings.level),
            style="json" if settings.format == "json" else "text",
            output=standard_output(),
        )

    async def run(self) -> int:
        """Start everything, wait for a signal, stop everything."""
        configuration = self._configuration
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_unhandled)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        _raise_file_limit()
        secret = configuration.secret()
        recovered = Recovered()
        if self._role in (Role.ACCEPTOR, Role.PROPOSER, Role.LEARNER):
            self._open_volume()
        if self._journal is not None:
            recovered = self._journal.recovered
        node = self._node = self._name(recovered)
        self._log = self._new_log()
        role = self._make_role(recovered)
        dice = random.Random(secrets.randbits(64))
        stepper = Stepper(role, self._journal, self._clock.now_ms, dice.random)
        addresses = Addresses(self._dial_address, by_book=configuration.network.proxy_port == 0)
        incarnation = time.time_ns() // 1000
        membership = configuration.membership()
        settings = configuration.settings()
        is_gateway = self._role is Role.CLIENT and configuration.doors.resp
        runtime = NodeRuntime(
            node=node,
            membership=membership,
            settings=settings,
            stepper=stepper,
            role=role,
            clock=self._clock,
            log=self._log,
            addresses=addresses,
            page_ports={n: configuration.page_port(n) for n in configuration.nodes()},
            host=configuration.host(node),
            peer_port=configuration.address(node)[1],
            incarnation=incarnation,
            door_port=configuration.door_port(node) if is_gateway else None,
        )
        links = Links(
            node=node,
            membership=membership,
            message_type=_MESSAGES[self._role] | Book,
            events=runtime,
            secret=secret,
            incarnation=incarnation,
            cluster=runtime.cluster,
            nonce=lambda: secrets.token_bytes(NONCE_BYTES),
            addresses=addresses.of,
            message_bytes_max=settings.limits.message_bytes_max,
            link_bytes_max=settings.limits.link_bytes_max,
            wire_version=wire_version(os.environ),
            needs=partial(_version_needed, role),
            lonely=partial(_lonely, role),
        )
        if self._snapshots is not None:
            stream = partial(encode, self._machine) if self._role is Role.LEARNER else None
            runtime.snapshots = SnapshotWork(self._snapshots, stream, runtime.submit)
        if isinstance(self._journal, FileJournal):
            runtime.volume_bytes = self._volume_bytes
        bind = configuration.network.bind
        pages = PageServer(make_app(runtime), bind, configuration.page_port(node))
        await pages.start()
        door = None
        if is_gateway:
            door = RespDoor(
                runtime,
                limits=settings.limits,
                password=configuration.security.password,
                node=node,
                connections_max=configuration.connections_max,
            )
            runtime.deliver = door.deliver_all
            runtime.resume = door.resume
            runtime.connections = lambda: door.connections
            await door.start(bind, configuration.door_port(node))
        await runtime.start(links, bind)
        # What lives now lives for good: later collections need not look at it.
        gc.collect()
        gc.freeze()
        await stop.wait()
        if door is not None:
            await door.stop()
        await runtime.stop()
        await pages.stop()
        if self._snapshots is not None:
            self._snapshots.close()
        if self._journal is not None:
            self._journal.close()
        return STOPPED

    def _name(self, recovered: Recovered) -> NodeId:
        """Return who this node is: for an acceptor the life of its place that its volume names."""
        stamp = recovered.stamp
        if self._role is Role.ACCEPTOR and stamp and place_of(stamp.node) == self._place:
            return stamp.node
        return self._place

    def _dial_address(self, place: NodeId) -> tuple[str, int] | None:
        try:
            return self._configuration.dial_address(place)
        except ConfigurationError:
            return None  # a node that was added elsewhere: the log tells where it is

    def _open_volume(self) -> None:
        """Open what this node keeps. A learner's snapshots are not kept: the acceptors' are."""
        folder = self._configuration.volume(self._node)
        if self._role is Role.ACCEPTOR:
            self._journal, self._snapshots = open_volume(folder, _slot_of_snapshot)
            return
        self._journal = open_journal(folder)
        if self._role is Role.LEARNER:
            self._snapshots = SnapshotFiles(folder, _slot_of_snapshot)
            self._snapshots.clear()

    def _volume_bytes(self) -> int:
        """Return how many bytes this node's volume takes."""
        log = self._journal.bytes_on_disk if isinstance(self._journal, FileJournal) else 0
        return log + (self._snapshots.bytes_on_disk if self._snapshots is not None else 0)

    def _make_role(self, recovered: Recovered) -> AnyRole:
        membership = self._configuration.membership()
        settings = self._configuration.settings()
        node, journal = self._node, self._journal
        match self._role:
            case Role.PROPOSER:
                self._check_volume(recovered)
                return Proposer(node, membership, settings, recovered)
            case Role.ACCEPTOR:
                if journal is None:
                    raise StorageError(f"{node} has no volume")
                return Acceptor(node, membership, settings, journal, recovered, self._snapshots)
            case Role.LEARNER:
                self._check_volume(recovered)
                return Learner(
                    node, membership, settings, self._machine, recovered, self._snapshots
                )
            case Role.CLIENT:
                return Gateway(node, membership, settings)
            case Role.DISCOVERY:
                return Discovery(node, membership, settings)

    def _check_volume(self, recovered: Recovered) -> None:
        """A volume belongs to one cluster, one role, one id (DESIGN rule 8). An acceptor stays up
        on a wrong one and says so; the others can only be wrong here."""
        folder = self._configuration.volume(self._node)
        if recovered.damage:
            raise StorageError(f"the volume {folder} is damaged: {recovered.damage}")
        if recovered.stamp is not None and recovered.stamp.node != self._node:
            raise StorageError(
                f"the volume {folder} belongs to {recovered.stamp.node}, not to {self._node}"
            )
        acceptors = self._configuration.membership().acceptors
        if recovered.stamp is not None and (wrong := recovered.stamp.disagreement(acceptors)):
            raise StorageError(wrong)

    def _on_unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The outermost loop: whatever gets here ends the process, loudly, before anything that
        the failed step wanted can leave. A connection that broke is not such a failure."""
        error = context.get("exception")
        if isinstance(error, ConnectionError):
            return
        what = f"{type(error).__name__}: {error}" if error else str(context.get("message"))
        trace = Trace(what="fatal", text=f"stopping at once: {what}", level=Level.ERROR, glyph="!")
        self._log.add(trace, self._clock.now_s())
        if error is not None:
            traceback.print_exception(error, file=sys.stderr)
            sys.stderr.flush()
        os._exit(FAILED)


def _lonely(role: AnyRole) -> bool:
    """Tell whether others may know this node by another name, that of a life it has forgotten."""
    return isinstance(role, Acceptor) and not role.voting and not role.joining


def _version_needed(role: AnyRole, peer: NodeId) -> int:
    """Return the version that a peer must speak: it depends on whether the log has been cut, and
    on whether the members have changed.
    """
    cut = isinstance(role, Acceptor) and role.keeping.has_cut
    return version_needed(peer, cut=cut, changed=role.view.epoch > 0)


def _slot_of_snapshot(chunks: Iterable[bytes]) -> Slot:
    """Return the slot of a snapshot's stream. Raises VolumeDamaged."""
    return verify(chunks).slot


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
