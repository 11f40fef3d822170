"""What one client has said so far, and what its next command means because of it.

Commands that the machine knows are grouped by kind and go to the gateway. The dialogue keeps
what makes commands depend on earlier ones: authentication, MULTI, WATCH, READONLY, names. It
knows no socket; `resp_connection` feeds it and writes what gathers in `replies`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paxos.core.effects import (
    ClientBackup,
    ClientBackupPart,
    ClientChange,
    ClientReads,
    ClientStaleReads,
    ClientWrites,
)
from paxos.core.types import Slot
from paxos.machine.commands import Kind

from . import resp_auth, resp_members
from .resp_commands import (
    ALL_COMMANDS,
    READY_COMMANDS,
    unknown_command,
    unknown_subcommand,
    wrong_arity,
)
from .resp_local import HANDLERS, LARGE_REPLIES, TRANSACTION_HANDLERS, greeting, integer, set_name
from .resp_reader import Command, OversizedCommand
from .resp_replies import ReplyQueue, Saying
from .resp_transaction import WATCHED_KEYS_MAX, Transaction, Watches
from .resp_writer import OK, QUEUED, encode, encode_error, nil_array

if TYPE_CHECKING:
    from .resp import RespDoor

SAID_BYTES_MAX = 1024 * 1024
"""The door's own replies that may gather before they are written and the client is looked at."""

_IMMEDIATE_IN_TRANSACTION = frozenset((b"EXEC", b"DISCARD", b"MULTI", b"WATCH", b"QUIT", b"RESET"))

_HTTP_WORDS = frozenset((b"POST", b"HOST:"))

_EXECABORT = "EXECABORT Transaction discarded because of previous errors."
_EXECABORT_BECAUSE = "EXECABORT Transaction discarded because of:"


class Dialogue:
    """One client's side of the conversation, command by command.

    `stopped`: nothing more is looked at; `fault` says why, if the client did wrong.
    """

    def __init__(self, door: RespDoor, number: int, address: str) -> None:
        """Take the number under which the gateway knows the connection, and who is there."""
        self.door = door
        self.id = number
        self.address = address
        self.name = b""
        self.library: dict[bytes, bytes] = {}
        self.authenticated = door.password is None
        self.replies = ReplyQueue()
        self.stopped = False
        self.fault: str | None = None
        self._started_s = door.uptime_s()
        self._group: list[list[Any]] = []
        self._kind = Kind.WRITE
        self._transaction: Transaction | None = None
        self._watches = Watches()
        self._stale = False
        self._ordinary = self.authenticated
        self._last_name = b"NULL"

    # ------------------------------------------------------------ for the connection

    @property
    def position(self) -> int:
        """How many commands have gone, or are about to go, to the gateway."""
        return self.replies.issued + len(self._group)

    @property
    def reads(self) -> bool:
        """Tell whether the latest command for the gateway was a read."""
        return self._kind is Kind.READ

    @property
    def waits_for_watch(self) -> bool:
        """Tell whether the revision of a watched key is still to come."""
        return self._watches.pending > 0

    @property
    def held_bytes(self) -> int:
        """What MULTI and WATCH keep in memory, in bytes, about."""
        held = self._watches.held_bytes
        return held if self._transaction is None else held + self._transaction.held_bytes

    def take(self, commands: list[Command]) -> int:
        """Carry out or group commands; return how many: all, or those before one that must wait,
        or those after which `SAID_BYTES_MAX` of our own replies have gathered.

        A reply may be waiting in `replies` afterwards; `submit` sends the last group.
        """
        ready = READY_COMMANDS.get
        append = self._group.append
        for index, command in enumerate(commands):
            known = ready(command[0])
            if known is not None and self._ordinary:
                kind, fewest, most = known
                if fewest <= len(command) <= most:
                    if kind is not self._kind:
                        self.submit()
                        self._kind = kind
                        append = self._group.append
                    append(command)
                    continue
            if not self._take_unusual(command):
                return index
            if self.stopped:
                break
            if self.replies.said_bytes >= SAID_BYTES_MAX:
                self._last_name = command[0]
                return index + 1
            append = self._group.append
        if commands:
            self._last_name = commands[-1][0]
        return len(commands)

    def submit(self) -> None:
        """Hand the open group to the gateway."""
        group = self._group
        if not group:
            return
        self._group = []
        self.replies.issued += len(group)
        event: ClientWrites | ClientReads | ClientStaleReads
        if self._kind is Kind.WRITE:
            event = ClientWrites(connection=self.id, commands=group)
        elif self._stale and not self._watches:
            event = ClientStaleReads(connection=self.id, commands=group)
        else:
            # While keys are watched, reads are linearizable whatever the client chose: a stale
            # value beside a fresh revision would let EXEC overwrite what nobody has seen.
            event = ClientReads(connection=self.id, commands=group)
        self.door.port.submit(event)

    def say(self, saying: Saying, held_bytes: int = 0) -> None:
        """Put a reply of our own behind those of all commands so far.

        `held_bytes` is what a function keeps in memory until its turn has come.
        """
        self.replies.say(self.position, saying, held_bytes)

    def stop(self, last: bytes) -> None:
        """Look at nothing more; `last`, if not empty, goes behind all replies."""
        if last:
            self.say(last)
        self.stopped = True

    def describe(self) -> str:
        """Return this client's line of CLIENT LIST."""
        flags = "x" if self._transaction is not None else "r" if self._stale else "N"
        fields = {
            "id": self.id,
            "addr": self.address,
            "name": self.name.decode(),
            "age": int(self.door.uptime_s() - self._started_s),
            "flags": flags,
            "db": 0,
            "watch": len(self._watches),
            "outstanding": self.replies.outstanding,
            "cmd": self._last_name[:32].decode("ascii", "replace").lower(),
            "user": "default",
            "resp": self.replies.version,
            "lib-name": self.library.get(b"lib-name", b"").decode(),
            "lib-ver": self.library.get(b"lib-ver", b"").decode(),
        }
        return " ".join(f"{key}={value}" for key, value in fields.items())

    # ------------------------------------------------------------ one command

    def _take_unusual(self, command: Command) -> bool:
        """Carry out any command; return False, and do nothing, if it has to wait."""
        name = command[0].upper()
        if name in _HTTP_WORDS:
            # A browser was made to talk to us: what follows is not its user's wish.
            self.fault = "a line of HTTP, so possibly cross protocol scripting"
            self.stop(b"")
            return True
        error = self._refusal(name, command)
        if error is not None:
            if name == b"EXEC":
                self._set_transaction(None)
                self._forget_watches()
                error = f"{_EXECABORT_BECAUSE} {error.removeprefix('ERR ')}"
            elif self._transaction is not None:
                self._transaction.dirty = True
            self._say_error(error)
            return True
        if self._transaction is not None and name not in _IMMEDIATE_IN_TRANSACTION:
            self._queue(self._transaction, name, command)
        elif name == b"EXEC":
            return self._exec()
        elif name in HANDLERS:
            if name in LARGE_REPLIES and not self._has_turn():
                return False
            handler = HANDLERS[name]
            size = sum(map(len, command))
            self.say(lambda: encode(handler(self, command), self.replies.version), size)
        elif name in READY_COMMANDS:
            command[0] = name
            self._append(READY_COMMANDS[name][0], command)
        else:
            _CONTROLS[name](self, command)
        return True

    def _has_turn(self) -> bool:
        """Tell whether all commands so far are answered; else see to it that they will be."""
        if not self.replies.due(self.position):
            self.submit()  # the gateway may answer at once
        return self.replies.due(self.position)

    def _refusal(self, name: bytes, command: Command) -> str | None:
        """Return why a command cannot even be looked at, in the order in which Redis does."""
        if isinstance(command, OversizedCommand):
            return (
                f"ERR a command of {command.size} bytes is larger than limits.value_bytes_max "
                f"({self.door.limits.value_bytes_max} bytes)"
            )
        spec = ALL_COMMANDS.get(name)
        if spec is None:
            return unknown_command(command)
        if not spec.takes(len(command)):
            return spec.arity_error()
        if not self.authenticated and "no_auth" not in spec.flags:
            return resp_auth.AUTHENTICATION_REQUIRED
        return None

    def _append(self, kind: Kind, command: list[Any]) -> None:
        """Put one command into the open group, which is of one kind."""
        if kind is not self._kind:
            self.submit()
            self._kind = kind
        self._group.append(command)

    def _append_own(self, kind: Kind, command: list[Any], apply: Callable[[Any], bytes]) -> None:
        """Send a command of our own making; `apply` makes bytes of its reply, or b""."""
        if kind is not self._kind:
            self.submit()
        self.replies.expect(self.position, apply)
        self._append(kind, command)

    def _say_error(self, text: str) -> None:
        self.door.count_error()
        self.say(encode_error(text))

    # ------------------------------------------------------------ transactions

    def _set_transaction(self, transaction: Transaction | None) -> None:
        self._transaction = transaction
        self._ordinary = self.authenticated and transaction is None

    def _forget_watches(self) -> None:
        """Forget what is watched. The open group goes first: it was gathered under watch."""
        if self._watches:
            self.submit()
            self._watches = Watches()

    def _queue(self, transaction: Transaction, name: bytes, command: Command) -> None:
        """Keep a command for EXEC."""
        error = None
        limit = self.door.limits.value_bytes_max
        size = sum(map(len, command))
        if name not in READY_COMMANDS and name not in TRANSACTION_HANDLERS:
            error = "ERR Command not allowed inside a transaction"
        elif transaction.payload_bytes + size > limit:
            error = f"ERR the transaction is larger than limits.value_bytes_max ({limit} bytes)"
        if error is not None:
            transaction.dirty = True
            self._say_error(error)
            return
        command[0] = name
        transaction.queue(command, size)
        self.say(QUEUED)

    def _multi(self, command: Command) -> None:
        if self._transaction is not None:
            self._say_error("ERR MULTI calls can not be nested")
            return
        self._set_transaction(Transaction())
        self.say(OK)

    def _discard(self, command: Command) -> None:
        if self._transaction is None:
            self._say_error("ERR DISCARD without MULTI")
            return
        self._set_transaction(None)
        self._forget_watches()
        self.say(OK)

    def _watch(self, command: Command) -> None:
        """WATCH key...: read each key's revision; OK when the last has come."""
        if self._transaction is not None:
            self._say_error("ERR WATCH inside MULTI is not allowed")
            return
        if len(self._watches) + len(command) - 1 > WATCHED_KEYS_MAX:
            self._say_error(f"ERR at most {WATCHED_KEYS_MAX} keys can be watched")
            return
        limit = self.door.limits.value_bytes_max
        if self._watches.key_bytes + sum(map(len, command)) > limit:
            self._say_error(
                f"ERR the watched keys are larger than limits.value_bytes_max ({limit} bytes)"
            )
            return
        self.submit()  # reads before this WATCH may be stale, reads after it may not
        watches = self._watches
        keys = watches.expect(command[1:])
        if not keys:
            self.say(OK)
        failures: list[Any] = []
        for number, key in enumerate(keys, 1):

            def arrived(reply: Any, key: bytes = key, last: bool = number == len(keys)) -> bytes:
                if not watches.arrived(key, reply):
                    failures.append(reply)
                if not last:
                    return b""
                return encode(failures[0], self.replies.version) if failures else OK

            self._append_own(Kind.READ, [b"REVISION", key], arrived)

    def _unwatch(self, command: Command) -> None:
        self._forget_watches()
        self.say(OK)

    def _exec(self) -> bool:
        """EXEC: one command for the log. Returns False while a watched revision is missing."""
        transaction = self._transaction
        if transaction is None:
            self._say_error("ERR EXEC without MULTI")
            return True
        if self.waits_for_watch:
            self.submit()
            if self.waits_for_watch:  # the gateway may have answered at once
                return False
        watches = self._watches
        self._set_transaction(None)
        self._forget_watches()
        if transaction.dirty or watches.failed:
            self._say_error(_EXECABORT)
            return True

        def local(command: Command) -> bytes:
            return encode(TRANSACTION_HANDLERS[command[0]](self, command), self.replies.version)

        def executed(reply: Any) -> bytes:
            version = self.replies.version
            if reply is None:
                return nil_array(version)
            if isinstance(reply, list):
                return transaction.encode_replies(reply, local, version)
            return encode(reply, version)

        commands = transaction.for_machine()
        if commands or watches:
            self._append_own(Kind.WRITE, [b"EXEC", watches.pairs(), commands], executed)
        else:
            self.say(lambda: executed([]), transaction.held_bytes)
        return True

    # ------------------------------------------------------------ backups

    def _backup(self, command: Command) -> None:
        """BACKUP BEGIN: [slot, size in bytes]. BACKUP PART slot offset: bytes, none at the end."""
        subcommand = command[1].upper()
        arity = _BACKUP_ARITY.get(subcommand)
        if arity is None:
            self._say_error(unknown_subcommand("BACKUP", command[1]))
            return
        if len(command) != arity:
            self._say_error(wrong_arity(f"backup|{subcommand.decode().lower()}"))
            return
        event: ClientBackup | ClientBackupPart = ClientBackup(connection=self.id)
        if subcommand == b"PART":
            slot, offset = integer(command[2]), integer(command[3])
            if slot is None or offset is None or slot < 0 or offset < 0:
                self._say_error("ERR value is not an integer or out of range")
                return
            event = ClientBackupPart(connection=self.id, slot=Slot(slot), offset=offset)
        self.submit()
        self.replies.issued += 1
        self.door.port.submit(event)

    # ------------------------------------------------------------ members

    def _member(self, command: Command) -> None:
        """MEMBER LIST: JSON. MEMBER ADD node [host peer_port page_port], MEMBER REMOVE node: the
        epoch of a configuration in which it is so.
        """
        asked = resp_members.parse(command, self.id)
        if isinstance(asked, str):
            self._say_error(asked)
        elif isinstance(asked, ClientChange):
            self.submit()
            self.replies.issued += 1
            self.door.port.submit(asked)
        else:
            port = self.door.port
            self.say(lambda: encode(asked(port), self.replies.version))

    # ------------------------------------------------------------ the connection itself

    def _set_authenticated(self, authenticated: bool) -> None:
        self.authenticated = authenticated
        self._ordinary = authenticated and self._transaction is None

    def _auth(self, command: Command) -> None:
        error = resp_auth.auth_error(self.door.password, command)
        if error is None:
            self._set_authenticated(True)
            self.say(OK)
        else:
            self._say_error(error)

    def _hello(self, command: Command) -> None:
        hello = resp_auth.parse_hello(command)
        error = hello.error
        if error is None and hello.credentials is not None:
            error = resp_auth.password_error(self.door.password, *hello.credentials)
            if error is None:
                self._set_authenticated(True)
        if error is None and not self.authenticated:
            error = resp_auth.HELLO_REQUIRES_AUTHENTICATION
        if error is None and hello.name is not None:
            error = set_name(self, hello.name)
        if error is not None:
            self._say_error(error)
            return

        def greet() -> bytes:
            # Only now: replies to earlier commands are still due in the version of before.
            self.replies.version = hello.version or self.replies.version
            return encode(greeting(self), self.replies.version)

        self.say(greet)

    def _quit(self, command: Command) -> None:
        self.stop(OK)

    def _reset(self, command: Command) -> None:
        self.submit()
        self._forget_watches()
        self._stale = False
        self.authenticated = self.door.password is None
        self._set_transaction(None)

        def forget() -> bytes:
            self.name = b""
            self.replies.version = 2
            return b"+RESET\r\n"

        self.say(forget)  # behind a CLIENT SETNAME or HELLO whose turn has not come yet

    def _readonly(self, command: Command) -> None:
        self.submit()
        self._stale = True
        self.say(OK)

    def _readwrite(self, command: Command) -> None:
        self.submit()
        self._stale = False
        self.say(OK)


_BACKUP_ARITY = {b"BEGIN": 2, b"PART": 4}

_CONTROLS: dict[bytes, Callable[[Dialogue, Command], None]] = {
    b"AUTH": Dialogue._auth,
    b"BACKUP": Dialogue._backup,
    b"DISCARD": Dialogue._discard,
    b"HELLO": Dialogue._hello,
    b"MEMBER": Dialogue._member,
    b"MULTI": Dialogue._multi,
    b"QUIT": Dialogue._quit,
    b"READONLY": Dialogue._readonly,
    b"READWRITE": Dialogue._readwrite,
    b"RESET": Dialogue._reset,
    b"UNWATCH": Dialogue._unwatch,
    b"WATCH": Dialogue._watch,
}
"""Commands that change what later commands mean, or that the gateway carries out itself."""
