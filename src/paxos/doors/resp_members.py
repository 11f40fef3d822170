"""MEMBER: what a client may ask about the cluster's members, checked before anybody is asked.

Refuses to know who is a member or may become one: the log decides, the gateway asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from paxos.core.effects import ClientChange
from paxos.core.messages import Address
from paxos.core.types import NodeId

from .resp_commands import unknown_subcommand, wrong_arity
from .resp_local import integer

if TYPE_CHECKING:
    from .port import GatewayPort
    from .resp_reader import Command

Local: TypeAlias = "Callable[[GatewayPort], Any]"
"""What the door answers by itself, when its turn has come."""

_ARITIES = {b"LIST": (2,), b"ADD": (3, 6), b"REMOVE": (3,), b"HELP": (2,)}

_HELP = (
    "MEMBER <subcommand> [<arg> ...]. Subcommands are:",
    "ADD <node> [<host> <peer-port> <page-port>]",
    "    Make a node a member; where it is, when the configuration file does not know it.",
    "LIST",
    "    Return the members as this node knows them, as JSON.",
    "REMOVE <node>",
    "    Make a node none.",
    "HELP",
    "    Print this help.",
)
"""As Redis writes it: a title, then each subcommand and its meaning, indented."""

_NODE = re.compile(
    rb"(proposer|learner|client)-[1-9][0-9]?|acceptor-[1-9][0-9]?(\.[1-9][0-9]{0,8})?"
)
_HOST = re.compile(rb"[A-Za-z0-9._:-]{1,253}")


def parse(command: Command, connection: int) -> ClientChange | Local | str:
    """Return what a MEMBER command asks of the gateway or the door, or why it makes no sense."""
    subcommand = command[1].upper()
    arities = _ARITIES.get(subcommand)
    if arities is None:
        return unknown_subcommand("MEMBER", command[1])
    if len(command) not in arities:
        return wrong_arity(f"member|{subcommand.decode().lower()}")
    if subcommand == b"HELP":
        return lambda port: list(_HELP)
    if subcommand == b"LIST":
        return lambda port: msgspec.json.encode(port.members())
    if not _NODE.fullmatch(command[2]):
        return (
            "ERR the name of an acceptor, proposer, learner or client is needed, such as acceptor-4"
        )
    address = None
    if len(command) == 6:
        address = _address(*command[3:])
        if address is None:
            return "ERR a host of at most 253 letters and two ports are needed"
    node = NodeId(command[2].decode("ascii"))
    return ClientChange(connection=connection, add=subcommand == b"ADD", node=node, address=address)


def _address(host: bytes, peer_port: bytes, page_port: bytes) -> Address | None:
    """Return where a node is; None when these words do not say it."""
    peers, pages = integer(peer_port), integer(page_port)
    if peers is None or pages is None or not _HOST.fullmatch(host):
        return None
    if not (0 < peers < 65_536 and 0 < pages < 65_536):
        return None
    return host.decode("ascii"), peers, pages
