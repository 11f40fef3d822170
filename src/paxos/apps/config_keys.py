"""Every key of the configuration: its section, kind, default, bounds and meaning.

One table, read by the loader (config.py), by `paxos config --example`, which is how
paxos.example.toml is made, and by the tests that hold the two together. The defaults of
[timeouts] and [limits] are those of core.settings.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from paxos.core.settings import Limits, Timeouts

Plain: TypeAlias = bool | int | str | None
"""What a key's value may be once parsed; None is "not set"."""

KIB = 1024
MIB = 1024 * KIB


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key. Kinds: `int` within low..high, `bool`, `choice`, `text`, `path`, `names`."""

    section: str
    name: str
    kind: str
    default: Plain
    meaning: str
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()
    example: str = ""
    """Shown instead of a default that is "not set"."""

    @property
    def path(self) -> str:
        """How errors and documentation name the key: `section.name`."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that overrides the key."""
        return f"PAXOS_{self.section}_{self.name}".upper()

    @property
    def expectation(self) -> str:
        """What a good value is, in words."""
        if self.kind == "int":
            wanted = f"a whole number from {self.low} to {self.high}"
        elif self.kind == "bool":
            wanted = "true or false"
        elif self.kind == "choice":
            wanted = "one of " + ", ".join(self.choices)
        elif self.kind == "names":
            wanted = "names of nodes separated by spaces"
        else:
            wanted = "a text that is not empty"
        good = self.example or self.default
        return wanted if good in ("", None) else f"{wanted}, such as {shown(good)}"


def shown(value: object) -> str:
    """Return a value as TOML would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else f'"{value}"'


def _count(section: str, name: str, default: int, low: int, high: int, meaning: str) -> Key:
    return Key(
        section=section, name=name, kind="int", default=default, low=low, high=high, meaning=meaning
    )


_TIMEOUTS = Timeouts()
_LIMITS = Limits()

_TIMEOUT_ROWS: tuple[tuple[str, int, int, str], ...] = (
    ("heartbeat_ms", 10, 10_000, "A leader's heartbeat interval."),
    (
        "suspect_ms",
        30,
        120_000,
        "Silence after which a leader is suspected; a leader without a quorum steps down after\n"
        "it. More than twice heartbeat_ms.",
    ),
    (
        "backoff_ms",
        1,
        60_000,
        "The longest random wait before a candidacy; doubled with each failed one, up to 8 times.",
    ),
    ("resend_ms", 10, 60_000, "An unanswered Prepare or Accept is sent again after this."),
    ("gap_ms", 1, 60_000, "How long a learner waits for a missing slot before it asks for it."),
    (
        "request_ms",
        100,
        600_000,
        "How long a client's request may take before it is answered with an error.",
    ),
    (
        "retry_ms",
        20,
        60_000,
        "How long a client node waits for an answer before it asks again. At most half of\n"
        "request_ms.",
    ),
    (
        "founding_ms",
        10,
        60_000,
        "How often an acceptor on a blank volume asks the others about theirs.",
    ),
    (
        "upkeep_ms",
        10,
        60_000,
        "How often an acceptor looks for decided slots that it has missed.",
    ),
    (
        "registration_ms",
        50,
        60_000,
        "How often a node renews its registration; discovery forgets it after three of these.",
    ),
)

_LIMIT_ROWS: tuple[tuple[str, int, int, str], ...] = (
    (
        "value_bytes_max",
        KIB,
        16 * MIB,
        "The largest command (keys and values together) that a client may send.",
    ),
    (
        "batch_bytes_max",
        KIB,
        256 * MIB,
        "A batch is closed when it would pass this; one larger command travels alone.",
    ),
    ("batch_commands_max", 1, 1_000_000, "A batch holds at most so many commands."),
    ("batches_inflight_max", 1, 1_000, "Batches of one client node that may be under way."),
    (
        "gateway_queue_bytes_max",
        MIB,
        64 * KIB * MIB,
        "What a client node holds for its clients before it stops reading from them.",
    ),
    ("slots_inflight_max", 1, 100_000, "How many slots a leader keeps open at once."),
    (
        "slots_inflight_bytes_max",
        MIB,
        64 * KIB * MIB,
        "How many bytes of values a leader keeps open at once.",
    ),
    (
        "leader_queue_bytes_max",
        MIB,
        64 * KIB * MIB,
        "Batches that wait at the leader for a free slot; more are dropped and sent again later.",
    ),
    (
        "catchup_slots_max",
        1,
        1_000_000,
        "How many slots one request of a learner or one reopening covers.",
    ),
    (
        "catchup_bytes_max",
        KIB,
        KIB * MIB,
        "About how many bytes of values one catch-up answer or one part of a promise carries.",
    ),
    (
        "message_bytes_max",
        64 * KIB,
        2 * KIB * MIB,
        "The largest frame between nodes; a larger one closes the connection. More than\n"
        "value_bytes_max plus batch_bytes_max, and than value_bytes_max plus catchup_bytes_max.",
    ),
    (
        "link_bytes_max",
        MIB,
        64 * KIB * MIB,
        "What waits on one link to a slow node before the link is closed. At least twice\n"
        "message_bytes_max.",
    ),
    (
        "snapshot_log_bytes",
        64 * KIB,
        64 * KIB * MIB,
        "A snapshot is taken, and the log cut, when the values since the last one take so many\n"
        "bytes, or as many as the last one itself where that is larger.",
    ),
    (
        "snapshot_log_slots",
        100,
        100_000_000,
        "A snapshot is taken, and the log cut, after so many slots at the latest.",
    ),
    (
        "snapshot_part_bytes",
        4 * KIB,
        16 * MIB,
        "How much of a snapshot travels in one message, and is written at once.",
    ),
    ("responses_max", 1, 1_000_000, "How many confirmations a client node keeps for `responses`."),
)

KEYS: tuple[Key, ...] = (
    _count("cluster", "proposers", 3, 1, 99, "One of them leads, the others stand by."),
    _count(
        "cluster",
        "acceptors",
        3,
        1,
        99,
        "The durable memory. More than half of them must live for anything to be decided, so an\n"
        "even number tolerates no more failures than the odd one below it.",
    ),
    _count("cluster", "learners", 2, 1, 99, "They apply the log and serve reads."),
    _count("cluster", "clients", 2, 1, 99, "The nodes that programs and people talk to."),
    Key(
        section="cluster",
        name="added",
        kind="names",
        default="",
        example="acceptor-4 learner-3",
        meaning="Nodes added since the founding, where no supervisor keeps them (a Swarm, several\n"
        "machines): names separated by spaces. They have the ports after all others, in this\n"
        "order. Who is a member is for `paxos member` to say.",
    ),
    Key(
        section="network",
        name="host",
        kind="text",
        default="127.0.0.1",
        meaning='Where the nodes find one another; "{node}" stands for a node\'s name.',
    ),
    Key(
        section="network",
        name="bind",
        kind="text",
        default="127.0.0.1",
        meaning="The address that a node listens on; 0.0.0.0 is every network of the machine.",
    ),
    _count(
        "network",
        "port_offset",
        0,
        0,
        60_000,
        "Added to every port, so that two clusters can run side by side on one machine.",
    ),
    _count(
        "network",
        "pages_port",
        8000,
        1,
        65_535,
        "Pages: discovery is here, then proposers, acceptors, learners, clients, one port each.",
    ),
    _count(
        "network",
        "peers_port",
        17_000,
        1,
        65_535,
        "What the nodes say to one another, one port each in the same order.",
    ),
    _count(
        "network",
        "doors_port",
        6001,
        1,
        65_535,
        "Programs and people: client 1 is here, one port more for each further client node.",
    ),
    _count(
        "network",
        "proxy_port",
        0,
        0,
        65_535,
        "For tests of broken networks: every link is dialed at this port of 127.0.0.1, where the\n"
        "proxy of `paxos chaos` passes it on. 0 is no proxy.",
    ),
    Key(
        section="data",
        name="folder",
        kind="path",
        default="./data",
        meaning="Every node's volume, the logs and the cluster's secret. A relative path starts\n"
        "at this file. PAXOS_DATA sets it as well.",
    ),
    Key(
        section="security",
        name="secret_file",
        kind="path",
        default=None,
        example="./data/cluster.secret",
        meaning="What the nodes prove to one another that they know, 16 bytes or more. Not set:\n"
        "the file cluster.secret in the data folder, made by `paxos up`. PAXOS_SECRET_FILE\n"
        "sets it as well.",
    ),
    Key(
        section="security",
        name="password",
        kind="text",
        default=None,
        example="correct horse battery staple",
        meaning="What clients must say (AUTH) before anything else. Not set: no password.",
    ),
    Key(
        section="security",
        name="password_file",
        kind="path",
        default=None,
        example="/run/secrets/paxos_password",
        meaning="The same from a file; its last newline does not count.",
    ),
    *(
        _count("timeouts", name, getattr(_TIMEOUTS, name), low, high, meaning)
        for name, low, high, meaning in _TIMEOUT_ROWS
    ),
    *(
        _count("limits", name, getattr(_LIMITS, name), low, high, meaning)
        for name, low, high, meaning in _LIMIT_ROWS
    ),
    _count(
        "limits",
        "connections_max",
        10_000,
        1,
        1_000_000,
        "Clients that may be connected to one client node at once.",
    ),
    Key(
        section="doors",
        name="resp",
        kind="bool",
        default=True,
        meaning="The Redis protocol, which client_cli.py speaks as well.",
    ),
    Key(
        section="log",
        name="level",
        kind="choice",
        default="info",
        choices=("debug", "info", "warning", "error"),
        meaning="The least important lines that are written.",
    ),
    Key(
        section="log",
        name="format",
        kind="choice",
        default="text",
        choices=("text", "json"),
        meaning="For people or for programs.",
    ),
)

SECTIONS: tuple[str, ...] = tuple(dict.fromkeys(key.section for key in KEYS))

SECTION_MEANINGS = {
    "cluster": "How many nodes of each role it is founded with, 1 to 99. Fixed from then on.",
    "network": "Addresses and ports.",
    "data": "Where it lies.",
    "security": "What nodes and clients must know.",
    "timeouts": "Milliseconds. All of them are about liveness: no wrong one breaks safety.",
    "limits": "Bytes where the name says so, counts otherwise. Nothing grows past them.",
    "doors": "Client protocols, each on or off.",
    "log": "What the nodes write to their logs.",
}

ALIASES = {"PAXOS_DATA": "data.folder", "PAXOS_SECRET_FILE": "security.secret_file"}
"""Environment variables with a short name, beside each key's own."""

OTHER_VARIABLES = (
    "PAXOS_CONFIG",
    "PAXOS_JOURNAL_ENGINE",
    "PAXOS_WIRE_VERSION",
    "PAXOS_IMAGE",
    "PAXOS_BASE_IMAGE",
    "PAXOS_BASE_CACHE",
    "PAXOS_BASE_REBUILD",
    "PAXOS_MEMORY_LIMIT",
    "PAXOS_CONFIGURATION_SECRET",
    "PAXOS_SWARM_ADVERTISE_ADDR",
    "PAXOS_SWARM_WAIT_SECONDS",
    "PAXOS_SCREENSHOTS",
)
"""Environment variables that are no keys: those of the scripts, the stack and the tests. Any other
that begins with PAXOS_ is taken for a mistake."""


def example() -> str:
    """Return paxos.example.toml: every key with its meaning and its default."""
    lines = [
        "# Configuration of a whole cluster: copy to paxos.toml and change what should differ.",
        "# Every key stands here with its default. An environment variable overrides each:",
        "# PAXOS_<SECTION>_<KEY>, such as PAXOS_NETWORK_PORT_OFFSET=100. Made by",
        "# `paxos config --example`.",
    ]
    for section in SECTIONS:
        lines += ["", f"# {SECTION_MEANINGS[section]}", f"[{section}]"]
        for key in KEYS:
            if key.section != section:
                continue
            lines += [f"# {line}" for line in key.meaning.split("\n")]
            if key.default is None:
                lines.append(f"# {key.name} = {shown(key.example)}    (not set)")
            else:
                lines.append(f"{key.name} = {shown(key.default)}")
    return "\n".join(lines) + "\n"
