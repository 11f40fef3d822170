"""One RESP client's socket: bytes in, bytes out, and when to stop reading.

What the bytes mean is the dialogue's. Here commands wait (`_held`) and the socket is not read
while too many are outstanding, while the client does not read its replies, while an EXEC waits
for the revisions of its WATCH, and while the gateway is overloaded.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from paxos.core.effects import ClientGone
from paxos.core.trace import Level

from .resp_dialogue import SAID_BYTES_MAX, Dialogue
from .resp_reader import Command, CommandReader
from .resp_writer import encode_error

if TYPE_CHECKING:
    from .resp import RespDoor

WRITES_OUTSTANDING_MAX = 10_000
"""A connection's commands that may be under way before no more are taken."""

READS_OUTSTANDING_MAX = 1_000
"""The same while it reads, because replies to reads can be large."""

OUTSTANDING_BYTES_MAX = 4 * 1024 * 1024
"""The same in bytes received, so that one client with large values cannot fill the gateway's
queue alone, which would stop all others. A larger command is taken when nothing else waits."""

_COUNTED_BYTES = 16 * 1024
"""Chunks of input that are smaller are not counted: their number is bounded."""

WAITING_BYTES_MAX = 1024 * 1024
"""What the door's own replies may cost that wait behind the gateway's, before no more commands are
taken: PINGs and ECHOs behind a write that cannot be answered yet."""

_SLICE = 512
"""After how many commands of a chunk the bounds above are looked at again."""

_COMMAND_BYTES = 64
_WORD_BYTES = 40
"""About what Python keeps for a command and for each of its words besides their bytes."""

OUTPUT_HIGH_BYTES = 1024 * 1024
"""Replies that a client has not taken yet, above which its commands wait."""

LINGER_S = 10.0
"""How long a connection that we close may take to accept its last replies."""


class RespConnection(asyncio.Protocol):
    """One client. The door makes it; the event loop and the door's `deliver` drive it.

    `input_bytes` is what it holds of unfinished input, `unsent_bytes` what its client leaves
    unread; the door adds both up over all connections.
    """

    def __init__(self, door: RespDoor, number: int) -> None:
        """Take the number under which the gateway knows the connection."""
        self.number = number
        self.input_bytes = 0
        self.unsent_bytes = 0
        self._door = door
        self._port = door.port
        self._reader = CommandReader(door.limits.value_bytes_max)
        self._dialogue = Dialogue(door, number, "?")
        self._replies = self._dialogue.replies
        self._transport = cast(asyncio.Transport, None)  # until connection_made
        self._held: list[Command] = []
        # Large chunks of input under way: up to which command each reaches, and its bytes.
        self._chunks: deque[tuple[int, int]] = deque()
        self._outstanding_bytes = 0
        self._fed_bytes = 0
        self._marked = False
        self._ending = False  # closes when everything is answered
        self._reading = True
        self._writable = True

    # ------------------------------------------------------------ from the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet nobody; refuse the client if there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=OUTPUT_HIGH_BYTES)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._dialogue.address = f"{peer[0]}:{peer[1]}"
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._door.admit(self):
            self.govern()
        else:
            self._stop(b"-ERR max number of clients reached\r\n")

    def data_received(self, data: bytes) -> None:
        """Take in a chunk: carry out or hold every command that it completes."""
        while data and not self._dialogue.stopped:
            self._reader.restrict(not self._dialogue.authenticated)
            commands = self._reader.feed(data)
            self._door.count_commands(len(commands))
            if self._held:
                self._held += commands
            else:
                self._process(commands)
            self._fed_bytes += len(data)
            if commands:
                self._count_input()
            data, self._reader.deferred = self._reader.deferred, b""
        self._after_input()
        if self._port.overloaded and not self._door.paused:
            self._door.pause()

    def eof_received(self) -> bool:
        """Answer what was asked, although the client will ask no more."""
        self._ending = True
        self._mark()
        return True

    def pause_writing(self) -> None:
        """Note that the client does not read its replies: its commands wait."""
        self._writable = False
        self.govern()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        self._writable = True
        self._door.account_output(self, 0)
        self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget everything; tell the gateway, if it ever heard of this connection."""
        self._dialogue.stopped = True
        self._held = []
        self._replies.forget()
        self._door.forget(self)
        if self._replies.issued:
            self._port.submit(ClientGone(connection=self.number))

    # ------------------------------------------------------------ from the door

    def deliver(self, replies: list[Any]) -> None:
        """Take the gateway's next replies. Raises InvariantViolation for one nobody asked for."""
        self._replies.deliver(replies)
        while self._chunks and self._chunks[0][0] <= self._replies.completed:
            self._outstanding_bytes -= self._chunks.popleft()[1]
        if not self._marked:
            self._mark()
        if self._held or not self._reading:
            self._go_on()

    def flush(self) -> None:
        """Write what has gathered; close if this was the end."""
        self._marked = False
        replies = self._replies
        if self._transport.is_closing() or (replies.out and not self._write()):
            return
        if self._ending and not self._held and replies.settled:
            self.close()

    def govern(self) -> None:
        """Read from the socket, or do not, as things stand."""
        wanted = (
            not self._dialogue.stopped
            and not self._held
            and self._writable
            and not self._door.paused
            and not self._must_wait()
        )
        if wanted == self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def close(self) -> None:
        """Close once the client has taken what was written, but do not wait for that for ever."""
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._door.loop.call_later(LINGER_S, self._transport.abort)

    def abort(self) -> None:
        """Close now, whatever is unsent."""
        self._transport.abort()

    @property
    def address(self) -> str:
        """Who is there, as `host:port`."""
        return self._dialogue.address

    def describe(self) -> str:
        """Return this connection's line of CLIENT LIST."""
        return f"{self._dialogue.describe()} omem={self.unsent_bytes}"

    # ------------------------------------------------------------ the way of a command

    def _process(self, commands: list[Command]) -> None:
        """Carry out commands in order; hold the rest from the first that must wait."""
        dialogue = self._dialogue
        position, count = 0, len(commands)
        while position < count and not self._must_wait():
            whole = count <= _SLICE and not position
            part = commands if whole else commands[position : position + _SLICE]
            taken = dialogue.take(part)
            position += taken
            if dialogue.stopped:
                break
            if self._replies.said_bytes >= SAID_BYTES_MAX:
                # A client can ask for far more than it sends. It gets that at once, and not at
                # the end of this turn, so that what it leaves unread counts before more is made.
                if not self._write():
                    break
            elif taken < len(part):
                break
        if position < count and not dialogue.stopped:
            self._held = commands[position:]
        dialogue.submit()
        if dialogue.stopped:
            if dialogue.fault is not None:
                self._door.client_failed(self, dialogue.fault)
            self._stop(b"")
        elif self._replies.out:
            self._mark()

    def _count_input(self) -> None:
        """Count the bytes of commands that were taken, until they are answered."""
        fed, self._fed_bytes = self._fed_bytes, 0
        position = self._dialogue.position
        if fed >= _COUNTED_BYTES and position > self._replies.completed:
            self._chunks.append((position, fed))
            self._outstanding_bytes += fed

    def _must_wait(self) -> bool:
        """Tell whether no further command may be taken now."""
        bound = READS_OUTSTANDING_MAX if self._dialogue.reads else WRITES_OUTSTANDING_MAX
        replies = self._replies
        return (
            not self._writable
            or self._outstanding_bytes >= OUTSTANDING_BYTES_MAX
            or self._dialogue.position - replies.completed >= bound
            or replies.waiting_bytes >= WAITING_BYTES_MAX
        )

    def _go_on(self) -> None:
        """Take held commands, if they need not wait any more; read again, if nothing is held."""
        if self._held and not self._must_wait() and not self._dialogue.waits_for_watch:
            commands, self._held = self._held, []
            self._process(commands)
        self._after_input()

    def _after_input(self) -> None:
        """Close if the client broke a rule, once all that came before is on its way; else govern
        whether more is read.
        """
        if not self._dialogue.stopped:
            held = self._reader.partial_bytes + self._dialogue.held_bytes
            if self._held:
                held += _COMMAND_BYTES * len(self._held) + _WORD_BYTES * sum(map(len, self._held))
            if held != self.input_bytes and not self._door.account_input(self, held):
                self._fail("ERR this node holds too much unfinished input; try again later")
            elif self._reader.error is not None and not self._held:
                self._fail(f"ERR {self._reader.error}")
        self.govern()

    def _write(self) -> bool:
        """Write what has gathered; return False if the connection is, or is now, to be closed."""
        if self._transport.is_closing():
            return False
        out = self._replies.take()
        self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        if not self._writable:
            unsent = self._transport.get_write_buffer_size()
            if not self._door.account_output(self, unsent):
                self._overflow(unsent)
                return False
        return True

    def _mark(self) -> None:
        """Ask for one `flush` at the end of this turn of the event loop."""
        if not self._marked:
            self._marked = True
            self._door.mark(self)

    def _fail(self, text: str) -> None:
        """Close because of what the client sent, and tell it."""
        self._door.client_failed(self, text)
        self._stop(encode_error(text))

    def _stop(self, last: bytes) -> None:
        """Look at nothing more; close when everything up to `last` is answered."""
        self._dialogue.stop(last)
        self._ending = True
        self._held = []
        self._mark()
        self.govern()

    def _overflow(self, unsent: int) -> None:
        """Close because the client does not read its replies."""
        self._dialogue.stopped = True
        self._door.trace_client(
            self,
            "client_output_overflow",
            f"left {unsent} bytes of replies unread: closed",
            Level.WARNING,
        )
        self._transport.abort()
