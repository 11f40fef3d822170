"""The RESP door: the Redis protocol, versions 2 and 3, in front of a gateway.

It listens, keeps the connections and hands the gateway's replies to them. It translates; it
holds no value and decides nothing. What one connection does is in `resp_connection`, what its
commands mean in `resp_dialogue`, bytes to commands in `resp_reader`, replies to bytes in
`resp_writer`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from paxos.core.effects import Deliver
from paxos.core.settings import Limits
from paxos.core.trace import Level, Trace
from paxos.core.types import NodeId

from .port import GatewayPort
from .resp_connection import RespConnection

CONNECTIONS_MAX = 10_000
"""How many clients may be connected at once, unless the caller says otherwise."""

BACKLOG = 1024
"""Connections that may wait to be accepted."""

INPUT_BYTES_MAX = 256 * 1024 * 1024
"""Unfinished input (partial commands, transactions) that all connections may hold together."""

OUTPUT_BYTES_MAX = 64 * 1024 * 1024
"""Replies that one client may leave unread before it is closed."""

OUTPUT_BYTES_TOTAL_MAX = 512 * 1024 * 1024
"""Replies that all clients together may leave unread; the one that passes it is closed."""

RESUMED_STEP = 61
"""By how many clients the order moves on in which they are read from after a pause."""

STOP_S = 1.0
"""How long clients may take to accept what is written when the door stops."""


class RespDoor:
    """One listening port and its clients.

    `deliver` and `resume` are for the runtime. `trace` is given a record of what a person may
    want to know: clients refused, or closed for what they did.
    """

    def __init__(
        self,
        port: GatewayPort,
        *,
        limits: Limits,
        password: str | None,
        node: NodeId,
        connections_max: int = CONNECTIONS_MAX,
        output_bytes_max: int = OUTPUT_BYTES_MAX,
        trace: Callable[[Trace], None] | None = None,
    ) -> None:
        """Take the gateway's port. With a `password`, clients must authenticate first."""
        self.port = port
        self.limits = limits
        self.password = password
        self.node = node
        self.connections_max = connections_max
        self.port_number = 0
        self.paused = False
        self._output_bytes_max = output_bytes_max
        self._trace = trace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._started_s = 0.0
        self._connections: dict[int, RespConnection] = {}
        self._marked: list[RespConnection] = []
        self._delivering = False
        self._emptied: asyncio.Event | None = None  # set once stopped and all have gone
        self._number = 0
        self._resumed = 0
        self._accepted = 0
        self._refused = 0
        self._failed = 0
        self._commands = 0
        self._errors = 0
        self._input_bytes = 0
        self._output_bytes = 0

    # ------------------------------------------------------------ for the runtime

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def stats(self) -> dict[str, int]:
        """Return counts since the start, and what is held now, in bytes."""
        return {
            "connections": len(self._connections),
            "total_connections_received": self._accepted,
            "rejected_connections": self._refused,
            "failed_connections": self._failed,
            "total_commands_processed": self._commands,
            "total_error_replies": self._errors,
            "input_bytes": self._input_bytes,
            "output_bytes": self._output_bytes,
        }

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which the system chooses if `port` is 0. Raises OSError."""
        self.attach(asyncio.get_running_loop())
        self._server = await self.loop.create_server(
            self.accept, host, port, backlog=BACKLOG, reuse_address=True
        )
        self.port_number = self._server.sockets[0].getsockname()[1]
        return self.port_number

    def deliver(self, connection: int, replies: list[Any]) -> None:
        """Hand the gateway's next replies to a connection; nothing happens if it has gone.

        Raises InvariantViolation for more replies than commands.
        """
        found = self._connections.get(connection)
        if found is not None:
            found.deliver(replies)

    def deliver_all(self, deliveries: list[Deliver]) -> None:
        """Hand over all replies of a turn, and write them at once: a further turn of the event
        loop would cost a system call. Raises as `deliver` does.
        """
        self._delivering = True
        for delivery in deliveries:
            self.deliver(delivery.connection, delivery.replies)
        self._delivering = False
        self._flush()

    def resume(self) -> None:
        """Read from clients again, if that was paused: the gateway is not overloaded any more."""
        if not self.paused:
            return
        self.paused = False
        # The first ones to be read from may fill the queue again: others are first each time.
        self._resumed += 1
        connections = deque(self._connections.values())
        connections.rotate(self._resumed * RESUMED_STEP)
        for connection in connections:
            connection.govern()

    async def stop(self) -> None:
        """Stop listening, write what is answered, close every connection."""
        if self._server is None:
            return
        self._server.close()
        self._flush()
        if self._connections:
            self._emptied = asyncio.Event()
            for connection in list(self._connections.values()):
                connection.close()
            try:
                async with asyncio.timeout(STOP_S):
                    await self._emptied.wait()
            except TimeoutError:
                for connection in list(self._connections.values()):
                    connection.abort()
                await self._emptied.wait()
        await self._server.wait_closed()
        self._server = None

    # ------------------------------------------------------------ for the event loop

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the event loop in which everything here happens."""
        self._loop = loop
        self._started_s = loop.time()

    def accept(self) -> RespConnection:
        """Make the protocol of one new connection."""
        self._number += 1
        return RespConnection(self, self._number)

    # ------------------------------------------------------------ for the connections

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the door was started in."""
        if self._loop is None:
            raise RuntimeError("the door has not been started")
        return self._loop

    def uptime_s(self) -> float:
        """Return how long the door has been open, in seconds."""
        return self.loop.time() - self._started_s

    def admit(self, connection: RespConnection) -> bool:
        """Enter a new connection; return False when there are too many."""
        if len(self._connections) >= self.connections_max:
            self._refused += 1
            if self._refused == 1 or self._refused % 1000 == 0:
                self.trace_client(
                    connection,
                    "client_refused",
                    f"is one too many for connections_max={self.connections_max} "
                    f"({self._refused} refused so far)",
                    Level.WARNING,
                )
            return False
        self._accepted += 1
        self._connections[connection.number] = connection
        return True

    def forget(self, connection: RespConnection) -> None:
        """Strike a closed connection off."""
        self.account_input(connection, 0)
        self.account_output(connection, 0)
        self._connections.pop(connection.number, None)
        if self._emptied is not None and not self._connections:
            self._emptied.set()

    def mark(self, connection: RespConnection) -> None:
        """Flush `connection` at the end of this turn of the event loop, with all others marked."""
        if not self._marked and not self._delivering:
            self.loop.call_soon(self._flush)
        self._marked.append(connection)

    def pause(self) -> None:
        """Stop reading from every client, because the gateway is overloaded."""
        self.paused = True
        for connection in list(self._connections.values()):
            connection.govern()

    def clients(self) -> Iterator[RespConnection]:
        """Return the connections, oldest first."""
        return iter(self._connections.values())

    def account_input(self, connection: RespConnection, held: int) -> bool:
        """Note how much unfinished input a connection holds; return False if all hold too much."""
        grown = held - connection.input_bytes
        self._input_bytes += grown
        connection.input_bytes = held
        return grown <= 0 or self._input_bytes <= INPUT_BYTES_MAX

    def account_output(self, connection: RespConnection, unsent: int) -> bool:
        """Note what a client leaves unread; return False if it, or all together, is too much."""
        grown = unsent - connection.unsent_bytes
        self._output_bytes += grown
        connection.unsent_bytes = unsent
        return grown <= 0 or (
            unsent <= self._output_bytes_max and self._output_bytes <= OUTPUT_BYTES_TOTAL_MAX
        )

    def count_commands(self, count: int) -> None:
        """Count commands that came in."""
        self._commands += count

    def count_error(self) -> None:
        """Count an error that the door itself answered with."""
        self._errors += 1

    def client_failed(self, connection: RespConnection, text: str) -> None:
        """Count and trace a connection that is closed for what its client sent."""
        self._failed += 1
        self.trace_client(connection, "client_failed", f"is closed: {text}", Level.WARNING)

    def trace_client(self, connection: RespConnection, what: str, text: str, level: Level) -> None:
        """Record something about one client."""
        if self._trace is not None:
            self._trace(
                Trace(
                    what=what,
                    text=f"client {connection.number} ({connection.address}) {text}",
                    level=level,
                    glyph="!",
                    fields={"connection": connection.number, "address": connection.address},
                )
            )

    # ------------------------------------------------------------ inside

    def _flush(self) -> None:
        marked, self._marked = self._marked, []
        for connection in marked:
            connection.flush()
