"""`paxos member list | add | remove | replace | format`: who belongs to the cluster.

The log decides who is a member; these commands ask a client node to have it decided, and do what
belongs to it on this machine: make or move volumes, start and stop processes. With --door they
only ask, for clusters whose nodes others start and stop (a Swarm, several machines).

Exit status: 0 done, 1 not done, 2 wrong usage, 3 it may have been done; each can be given again.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from paxos.core.errors import ConfigurationError, IndefiniteError
from paxos.core.types import NodeId, Role, in_life, life_of, place_of, role_of

from . import asking, layout, local, volumes
from . import config as configuration_module
from .client_shell import PASSWORD_VARIABLE
from .config import Configuration
from .member_doors import Deadline, Doors, Member
from .member_local import CALL_S, Done, Operator, alone, doors_of
from .readiness import absence

app = typer.Typer(no_args_is_help=True, add_completion=False)
"""The sub-commands of `paxos member`."""

_IDENTITY = re.compile(r"[0-9a-f]{14}(-[0-9a-f]{8})?")
"""A cluster's; one that was restored has a part of its backup's digest at the end."""

NodeArgument = Annotated[
    str, typer.Argument(metavar="NODE", help="Such as acceptor-2.", show_default=False)
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration file; else PAXOS_CONFIG, else ./paxos.toml."),
]
DoorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--door",
        metavar="HOST:PORT",
        help="Ask this client node, and do nothing on this machine; may be given several times.",
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PEERPORT:PAGEPORT",
        help="With --door: where the node is, unless the configuration file of all nodes says so.",
    ),
]
TimeoutOption = Annotated[float, typer.Option(help="Seconds that it may take.", min=1, max=86400)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]


@app.callback()
def members() -> None:
    """List, add, remove and replace the members of a cluster that runs.

    The log decides who is a member, so a client node must answer, and a
    quorum of acceptors with it.
    """


# ---------------------------------------------------------------- commands


@app.command("list")
def list_(
    door: DoorOption = None,
    timeout: TimeoutOption = 10.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the members as the client nodes know them."""
    configuration = configuration_module.load(config, os.environ)
    doors = _doors(configuration, door, Deadline(timeout, _say))
    try:
        listing = doors.listing()
    finally:
        doors.close()
    here = {} if door else {node: _seen(configuration, node) for node in configuration.nodes()}
    rows = [_row(one, here.get(place_of(one.node))) for one in listing.all()]
    strangers = [
        {"node": seen.get("node", node), "member": False, **seen}
        for node, seen in here.items()
        if role_of(node) is not Role.DISCOVERY and listing.at(node) is None
    ]
    if as_json:
        plain = {"epoch": listing.epoch, "slot": listing.slot, "cluster": listing.cluster}
        _print_json({**plain, "members": rows, "others": strangers})
        return
    print(f"epoch {listing.epoch}, decided in slot {listing.slot}, cluster {listing.cluster}")
    for row in (*rows, *strangers):
        print("  ".join((f"{row['node']:<14}", f"{row.get('page_port') or '':<6}", _words(row))))


@app.command()
def add(
    node: NodeArgument,
    door: DoorOption = None,
    address: AddressOption = None,
    timeout: TimeoutOption = 60.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a node: start it here, and have the log make it a member.

    An acceptor gets a volume and all that was chosen before it counts.
    """
    configuration = configuration_module.load(config, os.environ)
    named = _named(node, life=bool(door))
    if door:
        where = _parsed_address(address)
        _told(_asked(configuration, door, timeout, named, add=True, address=where), as_json)
        return
    if address is not None:
        raise ConfigurationError("--address is for --door: a node that starts here is here")
    _told(_operated(configuration, named, timeout, "add"), as_json)


@app.command()
def remove(
    node: NodeArgument,
    door: DoorOption = None,
    timeout: TimeoutOption = 60.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a node: have the log make it no member, then stop it. Its data stays."""
    configuration = configuration_module.load(config, os.environ)
    named = _named(node, life=bool(door))
    if door:
        _told(_asked(configuration, door, timeout, named, add=False), as_json)
    else:
        _told(_operated(configuration, named, timeout, "remove"), as_json)


@app.command()
def replace(
    node: NodeArgument,
    timeout: TimeoutOption = 60.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace a node, whatever has become of its volume.

    An acceptor is taken out by the log, and a new one comes to its place
    with a blank volume, such as acceptor-2.1 for acceptor-2; it counts when
    it holds what was chosen. Any other node starts anew. Old volumes are
    kept in the folder aside.
    """
    configuration = configuration_module.load(config, os.environ)
    named = NodeId(node) if node == Role.DISCOVERY else _named(node, life=False)
    _told(_operated(configuration, named, timeout, "replace"), as_json)


@app.command("format")
def format_(
    node: NodeArgument,
    cluster: Annotated[
        str, typer.Option(help="The identity of the cluster, as `paxos member list` shows it.")
    ],
    life: Annotated[
        int | None,
        typer.Option(help="Which life of its place it is; else the one after the volume's.", min=0),
    ] = None,
    aside: Annotated[
        bool, typer.Option("--aside", help="Move a volume that is there aside.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the volume of an acceptor that is to join a living cluster, and nothing else.

    For clusters whose nodes others start and stop. The node must be down, and
    no acceptor of that life may ever have been a member.
    """
    configuration = configuration_module.load(config, os.environ)
    place = _named(node, life=False)
    if role_of(place) is not Role.ACCEPTOR:
        raise ConfigurationError(f"{place}: only acceptors need a volume that is made for them")
    if not _IDENTITY.fullmatch(cluster):
        raise ConfigurationError(
            f'--cluster "{cluster}": must be the identity that `paxos member list` shows'
        )
    local.make_data_folder(configuration.data_folder)
    with alone(configuration):
        made = _life(configuration, place, life)
        kept = volumes.move_aside(configuration, place) if aside else None
        folder = volumes.format_acceptor(configuration, made, cluster)
    if as_json:
        _print_json({"node": made, "volume": str(folder), "aside": kept and str(kept)})
    else:
        if kept is not None:
            print(f"the volume that was there is kept in {kept}")
        print(f"{folder} is made for {made}: start it, then `paxos member add {made} --door ...`")


# ---------------------------------------------------------------- words and answers


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print_json(value: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _named(name: str, *, life: bool) -> NodeId:
    """Return the node that a word means. Raises ConfigurationError."""
    place, dot, number = name.partition(".")
    good = layout.is_place(place)
    if dot:
        good = good and life and number.isdecimal() and place.startswith(Role.ACCEPTOR)
        good = good and in_life(NodeId(place), int(number)) == name
    if not good:
        raise ConfigurationError(
            f'"{name}": must be the name of an acceptor, proposer, learner or client node, such as '
            f"acceptor-4{' or acceptor-2.1' if life else ''}"
        )
    return NodeId(name)


def _life(configuration: Configuration, place: NodeId, life: int | None) -> NodeId:
    """Return the node to make: of the life that is given, or the next. Raises ConfigurationError
    for one that there has been.
    """
    stamp = volumes.stamp_of(configuration, place)
    earliest = volumes.next_life(configuration, place, [] if stamp is None else [stamp.node])
    if life is None:
        if (
            stamp is None
            and life_of(earliest)
            and place not in layout.read(configuration.data_folder).lives
        ):
            raise ConfigurationError(
                f"{place} has no volume that tells which life of it was the last: say --life, one "
                "more than `paxos member list` ever showed"
            )
        return earliest
    if life < life_of(earliest):
        raise ConfigurationError(f"--life {life}: must be {life_of(earliest)} or more here")
    return in_life(place, life)


def _operated(configuration: Configuration, node: NodeId, timeout: float, what: str) -> Done:
    """Do a command on this machine."""
    local.running(configuration)
    deadline = Deadline(timeout, _say)
    with alone(configuration):
        operator = Operator(configuration, node, deadline, _say)
        try:
            done: Done = getattr(operator, what)()
        except KeyboardInterrupt:
            raise IndefiniteError(
                f"interrupted: some steps may be done; `paxos member {what} {node}` goes on"
            ) from None
        finally:
            operator.close()
    return done


def _asked(
    configuration: Configuration,
    door: list[str],
    timeout: float,
    node: NodeId,
    *,
    add: bool,
    address: tuple[str, int, int] | None = None,
) -> Done:
    """Have the log make a node a member or none, and do nothing else."""
    doors = _doors(configuration, door, Deadline(timeout, _say))
    try:
        listing = doors.listing()
        there = listing.at(place_of(node))
        if not add and there is not None:
            node = there
        if (there == node) == add:
            return Done(node=node, epoch=listing.epoch, member=add, ready=False)
        epoch = doors.change(node, add=add, address=address)
    finally:
        doors.close()
    return Done(node=node, epoch=epoch, member=add, ready=False)


def _doors(configuration: Configuration, door: list[str] | None, deadline: Deadline) -> Doors:
    if not door:
        return doors_of(configuration, deadline)
    addresses = []
    for one in door:
        host, _, port = one.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise ConfigurationError(f'--door "{one}": must be HOST:PORT, such as localhost:6001')
        addresses.append((host.strip("[]"), int(port)))
    password = os.environ.get(PASSWORD_VARIABLE) or configuration.security.password
    answer_s = configuration.timeouts.request_ms / 1000 + CALL_S
    return Doors(addresses, password, answer_s, deadline)


def _parsed_address(text: str | None) -> tuple[str, int, int] | None:
    if text is None:
        return None
    host, *ports = text.rsplit(":", 2)
    if not host or len(ports) != 2 or not all(p.isdecimal() and 0 < int(p) < 65_536 for p in ports):
        raise ConfigurationError(
            f'--address "{text}": must be HOST:PEERPORT:PAGEPORT, such as 10.0.0.7:17011:8011'
        )
    return host, int(ports[0]), int(ports[1])


def _told(done: Done, as_json: bool) -> None:
    if as_json:
        _print_json(done)
        return
    what = "a member" if done.member else "no member"
    ready = ", and ready" if done.ready else ""
    print(f"{done.node} is {what} (epoch {done.epoch}){ready}")


def _seen(configuration: Configuration, node: NodeId) -> dict[str, Any]:
    """Return what a node on this machine says of itself."""
    port = configuration.page_port(node)
    answer = asking.page(configuration.local_host(), port, "/state")
    content = answer.content if isinstance(answer.content, dict) else {}
    return {
        "node": content.get("node", node),
        "page_port": port,
        "ready": bool(content.get("ready")),
        "reason": content.get("reason", "") if content else absence(answer),
    }


def _row(one: Member, seen: dict[str, Any] | None) -> dict[str, Any]:
    """Return a line of the list: what a client node knows, and what the node itself says."""
    row = {"node": one.node, "member": True, "page_port": one.page_port}
    if one.voting is not None:
        row["voting"] = one.voting
    if seen is not None and seen["node"] != one.node:
        seen = {"ready": False, "reason": f"{seen['node']} runs at its place"}
    if seen is not None:
        row |= {"ready": seen["ready"], "reason": seen["reason"]}
    elif one.reason:
        row["reason"] = one.reason
    return row


def _words(row: dict[str, Any]) -> str:
    words = [] if row["member"] else ["no member"]
    if "ready" in row:
        words.append("ready" if row["ready"] else "not ready")
    elif "voting" in row:
        words.append("votes" if row["voting"] else "does not vote")
    if row.get("reason"):
        words.append(row["reason"])
    return ": ".join(words)
