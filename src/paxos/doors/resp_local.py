"""The commands that the door answers without asking anybody, and that change no more than names.

Each is a function from the dialogue and the command's words to a neutral reply. They are
called when their reply's turn has come, so RESPONSES sees what an earlier WRITE confirmed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from .resp_commands import ALL_COMMANDS, describe, document, unknown_subcommand, wrong_arity
from .resp_writer import Map

if TYPE_CHECKING:
    from .resp_dialogue import Dialogue

REDIS_VERSION = "7.0.15"
"""The version of Redis whose texts and replies this door follows; clients look at it."""

NAME_BYTES_MAX = 256
"""The longest name that a client may give itself or its library: the door keeps it, and shows it
in every CLIENT LIST."""

Handler: TypeAlias = "Callable[[Dialogue, list[bytes]], Any]"

_NOT_AN_INTEGER = {"error": "ERR value is not an integer or out of range"}
_SYNTAX_ERROR = {"error": "ERR syntax error"}


def ping(dialogue: Dialogue, words: list[bytes]) -> Any:
    """PING [message]."""
    if len(words) > 2:
        return {"error": wrong_arity("ping")}
    return words[1] if len(words) == 2 else "PONG"


def echo(dialogue: Dialogue, words: list[bytes]) -> Any:
    """ECHO message."""
    return words[1]


def select(dialogue: Dialogue, words: list[bytes]) -> Any:
    """SELECT index: there is only database 0."""
    index = integer(words[1])
    if index is None:
        return _NOT_AN_INTEGER
    return "OK" if index == 0 else {"error": "ERR DB index is out of range"}


def unwatch_in_transaction(dialogue: Dialogue, words: list[bytes]) -> Any:
    """UNWATCH inside MULTI: EXEC has forgotten the watches anyway."""
    return "OK"


def status(dialogue: Dialogue, words: list[bytes]) -> Any:
    """STATUS: the gateway's view of the cluster, as JSON."""
    return msgspec.json.encode(dialogue.door.port.status())


def responses(dialogue: Dialogue, words: list[bytes]) -> Any:
    """RESPONSES [count]: [slot, revision, sequence, commands, age in ms], oldest first."""
    if len(words) > 2:
        return {"error": wrong_arity("responses")}
    limit = None
    if len(words) == 2:
        limit = integer(words[1])
        if limit is None or limit < 0:
            return _NOT_AN_INTEGER
    return [
        [slot, revision, sequence, commands, int(age_s * 1000)]
        for slot, revision, sequence, commands, age_s in dialogue.door.port.responses(limit)
    ]


def command(dialogue: Dialogue, words: list[bytes]) -> Any:
    """COMMAND, COMMAND COUNT | DOCS | INFO | LIST."""
    if len(words) == 1:
        return [describe(spec) for spec in ALL_COMMANDS.values()]
    subcommand = words[1].upper()
    names = [word.upper() for word in words[2:]]
    if subcommand == b"INFO":
        return [
            describe(ALL_COMMANDS[name]) if name in ALL_COMMANDS else None
            for name in names or ALL_COMMANDS
        ]
    if subcommand == b"DOCS":
        known = [ALL_COMMANDS[name] for name in names or ALL_COMMANDS if name in ALL_COMMANDS]
        return Map({spec.name.lower(): Map(document(spec)) for spec in known})
    if subcommand not in (b"COUNT", b"LIST"):
        return {"error": unknown_subcommand("COMMAND", words[1])}
    if names:
        return {"error": wrong_arity(f"command|{subcommand.decode().lower()}")}
    if subcommand == b"COUNT":
        return len(ALL_COMMANDS)
    return [name.lower() for name in ALL_COMMANDS]


_CLIENT_ARITY: dict[bytes, int] = {
    b"ID": 2,
    b"GETNAME": 2,
    b"INFO": 2,
    b"LIST": 2,
    b"SETNAME": 3,
    b"SETINFO": 4,
    b"NO-EVICT": 3,
    b"HELP": 2,
}

_CLIENT_HELP = (
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "LIST",
    "    Return information about client connections.",
    "NO-EVICT (ON|OFF)",
    "    Nobody is ever evicted here: accepted, and without effect.",
    "SETINFO <LIB-NAME|LIB-VER> <value>",
    "    Tell the name or the version of the client library.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "HELP",
    "    Print this help.",
)
"""As Redis writes it: a title, then each subcommand and its meaning, indented."""

_MOMENTARY = ("input_bytes", "output_bytes")
"""What the door holds of unfinished input and unsent replies: of no use in INFO, whose own request
has just been read whole."""


def client(dialogue: Dialogue, words: list[bytes]) -> Any:
    """CLIENT ID | GETNAME | SETNAME | SETINFO | INFO | LIST | NO-EVICT | HELP."""
    subcommand = words[1].upper()
    arity = _CLIENT_ARITY.get(subcommand)
    if arity is None:
        return {"error": unknown_subcommand("CLIENT", words[1])}
    if len(words) != arity:
        return {"error": wrong_arity(f"client|{subcommand.decode().lower()}")}
    if subcommand == b"ID":
        return dialogue.id
    if subcommand == b"GETNAME":
        return dialogue.name or None
    if subcommand == b"SETNAME":
        refusal = set_name(dialogue, words[2])
        return "OK" if refusal is None else {"error": refusal}
    if subcommand == b"SETINFO":
        return _set_library(dialogue, words[2], words[3])
    if subcommand == b"NO-EVICT":
        # Nobody is ever evicted here, so both answers are true.
        return "OK" if words[2].upper() in (b"ON", b"OFF") else _SYNTAX_ERROR
    if subcommand == b"HELP":
        return list(_CLIENT_HELP)
    if subcommand == b"INFO":
        return dialogue.describe().encode() + b"\n"
    return b"".join(other.describe().encode() + b"\n" for other in dialogue.door.clients())


def set_name(dialogue: Dialogue, name: bytes) -> str | None:
    """Give the client a name for CLIENT LIST; return why not, or None."""
    if not _printable(name):
        return "ERR Client names cannot contain spaces, newlines or special characters."
    if len(name) > NAME_BYTES_MAX:
        return f"ERR Client names cannot be longer than {NAME_BYTES_MAX} bytes."
    dialogue.name = name
    return None


def _printable(word: bytes) -> bool:
    return all(0x21 <= byte <= 0x7E for byte in word)


def _set_library(dialogue: Dialogue, option: bytes, value: bytes) -> Any:
    """Note what client library speaks."""
    label = option.lower()
    if label not in (b"lib-name", b"lib-ver"):
        shown = option.decode("utf-8", "surrogateescape")
        return {"error": f"ERR Unrecognized option '{shown}'"}
    if not _printable(value):
        return {
            "error": f"ERR {label.decode()} cannot contain spaces, newlines or special characters."
        }
    if len(value) > NAME_BYTES_MAX:
        return {"error": f"ERR {label.decode()} cannot be longer than {NAME_BYTES_MAX} bytes."}
    dialogue.library[label] = value
    return "OK"


def greeting(dialogue: Dialogue) -> Map:
    """Return HELLO's answer."""
    return Map(
        {
            b"server": b"redis",
            b"version": REDIS_VERSION.encode(),
            b"proto": dialogue.replies.version,
            b"id": dialogue.id,
            b"mode": b"standalone",
            b"role": b"master",
            b"modules": [],
        }
    )


def info(dialogue: Dialogue, words: list[bytes]) -> Any:
    """INFO [section ...]: server, clients, stats, replication, paxos."""
    wanted = {word.lower().decode("utf-8", "replace") for word in words[1:]}
    everything = not wanted or not wanted.isdisjoint({"all", "everything", "default"})
    door = dialogue.door
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "Server": lambda: {
            "redis_version": REDIS_VERSION,
            "redis_mode": "standalone",
            "process_id": os.getpid(),
            "tcp_port": door.port_number,
            "uptime_in_seconds": int(door.uptime_s()),
        },
        "Clients": lambda: {
            "connected_clients": door.connections,
            "maxclients": door.connections_max,
        },
        "Stats": lambda: {
            name: value for name, value in door.stats().items() if name not in _MOMENTARY
        },
        "Replication": lambda: {"role": "master", "connected_slaves": 0},
        "Paxos": lambda: {
            "paxos_node": door.node,
            "paxos_ready": int(door.port.ready),
            **_flat("paxos", door.port.status()),
        },
    }
    lines: list[str] = []
    for name, fields in sections.items():
        if everything or name.lower() in wanted:
            lines += [f"# {name}", *(f"{key}:{value}" for key, value in fields().items()), ""]
    return "".join(line + "\r\n" for line in lines).encode("utf-8", "replace")


def _flat(prefix: str, fields: dict[str, Any]) -> dict[str, str]:
    """Make one level of names out of nested fields, as INFO's lines need."""
    flat: dict[str, str] = {}
    for key, value in fields.items():
        name = f"{prefix}_{key}"
        if isinstance(value, dict):
            flat.update(_flat(name, value))
        elif isinstance(value, bool):
            # As Redis tells yes and no.
            flat[name] = str(int(value))
        elif isinstance(value, list):
            flat[name] = ",".join(map(str, value))
        else:
            flat[name] = "" if value is None else str(value).replace("\r", " ").replace("\n", " ")
    return flat


def integer(word: bytes) -> int | None:
    """Return a word's value as a signed 64-bit number; None when it is none."""
    digits = word[1:] if word[:1] == b"-" else word
    if not digits.isdigit() or len(digits) > 19:
        return None
    value = int(word)
    return value if -(1 << 63) <= value < 1 << 63 else None


HANDLERS: dict[bytes, Handler] = {
    b"PING": ping,
    b"ECHO": echo,
    b"SELECT": select,
    b"STATUS": status,
    b"RESPONSES": responses,
    b"COMMAND": command,
    b"CLIENT": client,
    b"INFO": info,
}
"""Commands that may stand anywhere, in a transaction too."""

LARGE_REPLIES = frozenset((b"COMMAND", b"CLIENT", b"INFO", b"STATUS", b"RESPONSES"))
"""Those whose replies can be far larger than their requests. They wait for their turn before they
are looked at, so that never more than one of them is made at a time."""

TRANSACTION_HANDLERS: dict[bytes, Handler] = {**HANDLERS, b"UNWATCH": unwatch_in_transaction}
"""What a transaction may hold besides the machine's commands."""
