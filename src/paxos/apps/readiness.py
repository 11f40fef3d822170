"""When is a cluster ready: every node answers, a leader stands, a write has been read back.

The write goes through the first door and is read through the last one, so it has crossed every
role. Its key is under a reserved name and is deleted again; the list of `write` values and what
users keep are not touched.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import msgspec

from paxos.core.types import NodeId, Role

from . import asking
from .config import Configuration

READY_KEY = "__paxos:ready"
POLL_S = 0.05
STRAGGLERS_S = 5.0
"""How long a cluster that already works waits for nodes that are not ready yet."""

FOUNDED_WITH = "was founded with"
"""What an acceptor says whose volume names other acceptors than the configuration."""

Report = Callable[[str], None]
"""Takes a line about progress."""


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """How far a cluster has come. `works`: a write was read back. `absent`: node -> why."""

    works: bool
    absent: dict[NodeId, str]
    trouble: str
    """Why it does not work; empty when it does."""


def wait_until_ready(
    configuration: Configuration,
    timeout_s: float,
    report: Report,
    gave_up: Callable[[], str] = lambda: "",
) -> Readiness:
    """Wait until the cluster on this machine is ready, or `timeout_s` is over.

    `gave_up` is asked in between; a text from it ends the waiting with that trouble.
    """
    deadline = time.monotonic() + timeout_s
    absent = {node: "does not answer" for node in configuration.nodes()}
    told = -1
    works = not configuration.doors.resp
    works_since_s = time.monotonic()
    trouble = "no door has answered yet"
    while True:
        absent = _still_absent(configuration, absent)
        here = len(configuration.nodes()) - len(absent)
        if here != told:
            told = here
            report(f"{here}/{len(configuration.nodes())} nodes are ready")
        if reason := gave_up() or ("" if works else _founded_otherwise(configuration, absent)):
            return Readiness(works=False, absent=absent, trouble=reason)
        if not works:
            trouble = _write_and_read_back(configuration, absent, deadline)
            if not trouble:
                works = True
                works_since_s = time.monotonic()
                report("a leader stands and a write has been read back")
        now = time.monotonic()
        over = works and now > works_since_s + STRAGGLERS_S
        if (works and not absent) or over or now > deadline:
            return Readiness(works=works, absent=absent, trouble="" if works else trouble)
        time.sleep(POLL_S)


def _still_absent(configuration: Configuration, absent: dict[NodeId, str]) -> dict[NodeId, str]:
    """Ask the nodes that were not ready whether they are now. Returns node -> why not."""
    still = {}
    for node in absent:
        answer = asking.page(configuration.local_host(), configuration.page_port(node), "/readyz")
        if answer.status != 200:
            still[node] = absence(answer)
    return still


def _founded_otherwise(configuration: Configuration, absent: dict[NodeId, str]) -> str:
    """Return what bars so many acceptors that no quorum is left: waiting does not help then."""
    acceptors = configuration.of(Role.ACCEPTOR)
    wrong = [absent[node] for node in acceptors if FOUNDED_WITH in absent.get(node, "")]
    return wrong[0] if wrong and 2 * (len(acceptors) - len(wrong)) <= len(acceptors) else ""


def absence(answer: asking.Page) -> str:
    """Return why a node is not ready, from its answer."""
    if answer.status == 0:
        return "does not answer"
    if isinstance(answer.content, dict) and answer.content.get("reason"):
        return str(answer.content["reason"])
    return f"answers with HTTP {answer.status}"


def _write_and_read_back(
    configuration: Configuration, absent: dict[NodeId, str], deadline: float
) -> str:
    """Try the whole way once. Returns what went wrong, or an empty text."""
    gateways = configuration.of(Role.CLIENT)
    for node in (gateways[0], gateways[-1]):
        if node in absent:
            # It would keep us waiting, and the reasons of the others would come late.
            return f"{node} is not ready: {absent[node]}"
    host, password = configuration.local_host(), configuration.security.password
    token = secrets.token_hex(8)

    def ask(node: NodeId, *command: str) -> object:
        timeout_s = max(0.2, min(deadline - time.monotonic(), 6.0))
        port = configuration.door_port(node)
        return asking.commands(host, port, list(command), password=password, timeout_s=timeout_s)[0]

    try:
        ask(gateways[0], "SET", READY_KEY, token, "EX", "60")
        found = ask(gateways[-1], "GET", READY_KEY)
        ask(gateways[0], "DEL", READY_KEY)
    except asking.CommandError as error:
        return str(error)
    return "" if found == token else f"wrote {token}, read {found}"
