"""The configuration of a whole cluster: one optional file, overridden by the environment.

It is read and checked whole before anything starts. All mistakes are found in one go, and each
names the key, the bad value, where it came from and what would be good. The keys themselves
stand in config_keys.py.

Order: an environment variable, then the file, then the default. The file is the one that
`--config` or PAXOS_CONFIG names, else `paxos.toml` in the current folder, else none.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from paxos.core.errors import ConfigurationError
from paxos.core.quorum import Membership
from paxos.core.settings import Limits, Settings, Timeouts
from paxos.core.types import NodeId, Role, node_id, number_of, place_of, role_of

from . import layout as layout_file
from .config_keys import ALIASES, KEYS, OTHER_VARIABLES, SECTIONS, Key, Plain, shown

DEFAULT_FILE = "paxos.toml"
SECRET_BYTES_MIN = 16
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """How many nodes of each role it was founded with, and the names of those added since."""

    proposers: int
    acceptors: int
    learners: int
    clients: int
    added: str = ""


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses and ports, before `port_offset` is added."""

    host: str
    bind: str
    port_offset: int
    pages_port: int
    peers_port: int
    doors_port: int
    proxy_port: int


class Security(msgspec.Struct, frozen=True, kw_only=True):
    """What nodes and clients must know."""

    secret_file: Path
    secret_is_ours: bool
    """The secret lies in the data folder, so `paxos up` makes it when it is missing."""
    password: str | None


class Doors(msgspec.Struct, frozen=True, kw_only=True):
    """Which client protocols are open."""

    resp: bool


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """What the nodes write to their logs."""

    level: str
    format: str


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be configured, checked. Immutable; every node of a cluster has the same.

    `added` are the nodes since the founding, those of `cluster.added` before those of the layout
    (layout.py), and `removed` those that are here no more.
    `source` is the file it came from, if any. `warnings` are sentences for the person who
    starts the cluster: legal, but probably not meant.
    """

    cluster: Cluster
    network: Network
    data_folder: Path
    security: Security
    timeouts: Timeouts
    limits: Limits
    connections_max: int
    doors: Doors
    log: Log
    source: Path | None
    warnings: tuple[str, ...]
    added: tuple[NodeId, ...] = ()
    removed: tuple[NodeId, ...] = ()

    def membership(self) -> Membership:
        """Return the nodes that the cluster was founded with, by role.

        Who is a member now is for the log to say.
        """

        def named(role: Role, count: int) -> tuple[NodeId, ...]:
            return tuple(node_id(role, number) for number in range(1, count + 1))

        return Membership(
            acceptors=named(Role.ACCEPTOR, self.cluster.acceptors),
            proposers=named(Role.PROPOSER, self.cluster.proposers),
            learners=named(Role.LEARNER, self.cluster.learners),
            gateways=named(Role.CLIENT, self.cluster.clients),
            discovery=node_id(Role.DISCOVERY),
        )

    def settings(self) -> Settings:
        """Return what the roles are told: timeouts and limits."""
        return Settings(timeouts=self.timeouts, limits=self.limits)

    def nodes(self) -> tuple[NodeId, ...]:
        """Return every node in the order of its ports: discovery first, the founding's client
        nodes last of those, then the nodes that were added. Those that were removed are left out.
        """
        return tuple(node for node in self._places() if node not in self.removed)

    def of(self, role: Role) -> tuple[NodeId, ...]:
        """Return every node of a role, as `nodes` does."""
        return tuple(node for node in self.nodes() if role_of(node) is role)

    def require(self, node: NodeId) -> None:
        """Raise ConfigurationError when the cluster has no such node, or has it no more."""
        if place_of(node) not in self.nodes():
            raise ConfigurationError(f"this cluster has no {node}; it has {self._listed()}")

    def with_layout(self, layout: layout_file.Layout) -> Configuration:
        """Return the same with the nodes of a layout."""
        founding = self.membership().nodes
        named = (*map(NodeId, self.cluster.added.split()), *layout.added)
        added = tuple(dict.fromkeys(node for node in named if node not in founding))
        return msgspec.structs.replace(self, added=added, removed=layout.removed)

    def address(self, node: NodeId) -> tuple[str, int]:
        """Return where the other nodes reach a node: host and peer port. A node is where its
        place is, whichever life of it, and a place that was removed keeps its ports.

        Raises ConfigurationError when the cluster never had such a node.
        """
        return self.host(node), self._port(self.network.peers_port, node)

    def dial_address(self, node: NodeId) -> tuple[str, int]:
        """Return where a link to a node is dialed: its address, or a proxy that passes it on.

        Raises as `address` does.
        """
        address = self.address(node)
        return ("127.0.0.1", self.network.proxy_port) if self.network.proxy_port else address

    def host(self, node: NodeId) -> str:
        """Return the name or address under which the other nodes know a node."""
        return self.network.host.replace("{node}", place_of(node))

    def page_port(self, node: NodeId) -> int:
        """Return the port of a node's pages. Raises ConfigurationError for an unknown node."""
        return self._port(self.network.pages_port, node)

    def door_port(self, node: NodeId) -> int:
        """Return the port of a client node's RESP door.

        Raises ConfigurationError for an unknown node and for one of another role.
        """
        self._index(node)
        if role_of(node) is not Role.CLIENT:
            raise ConfigurationError(f"{node} has no door; only client nodes have one")
        clients = [one for one in self._places() if role_of(one) is Role.CLIENT]
        return self.network.doors_port + self.network.port_offset + clients.index(node)

    def ports(self, node: NodeId) -> tuple[int, ...]:
        """Return every port that a node listens on."""
        ports = (self.page_port(node), self.address(node)[1])
        if role_of(node) is Role.CLIENT and self.doors.resp:
            return (*ports, self.door_port(node))
        return ports

    def local_host(self) -> str:
        """Return the address under which this machine reaches its own nodes."""
        bind = self.network.bind
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)

    def volume(self, node: NodeId) -> Path:
        """Return the folder that holds a node's durable memory."""
        return self.data_folder / place_of(node)

    def secret(self) -> bytes:
        """Return what the nodes prove to one another that they know.

        Raises ConfigurationError when the file cannot be read or is too short.
        """
        path = self.security.secret_file
        try:
            secret = path.read_bytes().strip()
        except OSError as error:
            raise ConfigurationError(
                f'security.secret_file = "{path}" cannot be read ({error.strerror}): must be a '
                f"file with {SECRET_BYTES_MIN} bytes or more that every node can read"
            ) from error
        if len(secret) < SECRET_BYTES_MIN:
            raise ConfigurationError(
                f'security.secret_file = "{path}" holds {len(secret)} bytes: must be '
                f"{SECRET_BYTES_MIN} or more"
            )
        return secret

    def plain(self) -> dict[str, dict[str, Plain]]:
        """Return section -> key -> value as it is in force; a password is not told."""
        values: dict[str, Any] = {
            "cluster": msgspec.to_builtins(self.cluster),
            "network": msgspec.to_builtins(self.network),
            "data": {"folder": str(self.data_folder)},
            "security": {
                "secret_file": str(self.security.secret_file),
                "password": None if self.security.password is None else "(set)",
            },
            "timeouts": msgspec.to_builtins(self.timeouts),
            "limits": {
                **msgspec.to_builtins(self.limits),
                "connections_max": self.connections_max,
            },
            "doors": msgspec.to_builtins(self.doors),
            "log": msgspec.to_builtins(self.log),
        }
        return values

    def fingerprint(self) -> str:
        """Return a text that changes when anything in force changes."""
        told = {**self.plain(), "password": self.security.password}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def _places(self) -> tuple[NodeId, ...]:
        """Return every node that has ports, removed ones too."""
        return (*self.membership().nodes, *self.added)

    def _listed(self) -> str:
        return ", ".join(self.nodes())

    def _index(self, node: NodeId) -> int:
        places = self._places()
        if place_of(node) not in places:
            raise ConfigurationError(f"this cluster has no {node}; it has {self._listed()}")
        return places.index(place_of(node))

    def _port(self, first: int, node: NodeId) -> int:
        return first + self.network.port_offset + self._index(node)


def load(file: Path | None = None, environment: Mapping[str, str] | None = None) -> Configuration:
    """Read and check the configuration.

    `file` stands for `--config`; `environment` for the process's own (none: an empty one).
    Raises ConfigurationError whose message has one line per mistake.
    """
    environment = environment or {}
    loader = _Loader(_chosen_file(file, environment), environment)
    configuration = loader.configuration()
    if loader.mistakes or configuration is None:
        raise ConfigurationError("\n".join(loader.mistakes))
    return configuration


def data_folder(file: Path | None = None, environment: Mapping[str, str] | None = None) -> Path:
    """Return the data folder alone, whatever else is wrong; arguments as of `load`.

    A cluster that runs can be stopped although its configuration has been spoilt meanwhile.
    Raises ConfigurationError when the mistakes leave open which folder is meant.
    """
    environment = environment or {}
    loader = _Loader(_chosen_file(file, environment), environment)
    folder = loader.data_folder()
    if folder is None:
        raise ConfigurationError("\n".join(loader.mistakes))
    return folder


def _chosen_file(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    named = file or (Path(environment["PAXOS_CONFIG"]) if environment.get("PAXOS_CONFIG") else None)
    if named is not None:
        return named.absolute()
    default = Path(DEFAULT_FILE).absolute()
    return default if default.exists() else None


def _similar(word: str, words: tuple[str, ...]) -> str:
    """Return what to try instead of an unknown word, as the end of a sentence."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f'did you mean "{close[0]}"?' if close else "the known ones are " + ", ".join(words)


class _Loader:
    """Collects values and mistakes; one use."""

    def __init__(self, file: Path | None, environment: Mapping[str, str]) -> None:
        self.mistakes: list[str] = []
        self._file = file
        self._values: dict[str, Plain] = {}
        self._origins: dict[str, str] = {}
        self._file_is_good = True
        from_file = self._read_file()
        self._refuse_unknown_variables(environment)
        for key in KEYS:
            self._take(key, from_file.get(key.section, {}), environment)

    # ------------------------------------------------------------ collecting

    def _read_file(self) -> dict[str, dict[str, Any]]:
        if self._file is None:
            return {}
        try:
            content = tomllib.loads(self._file.read_text(encoding="utf-8"))
        except OSError as error:
            self.mistakes.append(f"{self._file}: cannot be read ({error.strerror})")
            self._file_is_good = False
            return {}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            self.mistakes.append(f"{self._file}: is not TOML: {error}")
            self._file_is_good = False
            return {}
        sections: dict[str, dict[str, Any]] = {}
        for section, keys in content.items():
            if section not in SECTIONS:
                self.mistakes.append(
                    f"[{section}] ({self._file.name}): no such section; "
                    f"{_similar(section, SECTIONS)}"
                )
            elif not isinstance(keys, dict):
                self.mistakes.append(
                    f"{section} = {keys!r} ({self._file.name}): must be a section, [{section}]"
                )
            else:
                known = tuple(key.name for key in KEYS if key.section == section)
                for name in keys:
                    if name not in known:
                        self.mistakes.append(
                            f"{section}.{name} ({self._file.name}): no such key; "
                            f"{_similar(name, known)}"
                        )
                sections[section] = keys
        return sections

    def _refuse_unknown_variables(self, environment: Mapping[str, str]) -> None:
        known = (*(key.variable for key in KEYS), *ALIASES, *OTHER_VARIABLES)
        for variable in sorted(environment):
            if variable.startswith("PAXOS_") and variable not in known:
                close = difflib.get_close_matches(variable, known, n=1, cutoff=0.7)
                hint = f'did you mean "{close[0]}"?' if close else "paxos.example.toml has them all"
                self.mistakes.append(f"{variable}: no such key; {hint}")

    def _take(self, key: Key, section: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Take one key's value from where it comes first, and check it by itself."""
        variables = (key.variable, *(name for name, path in ALIASES.items() if path == key.path))
        for variable in variables:
            if variable in environment:
                value = _parsed(key, environment[variable])
                origin = variable
                break
        else:
            if key.name not in section:
                self._values[key.path] = key.default
                self._origins[key.path] = "default"
                return
            value = section[key.name]
            origin = self._file.name if self._file else "default"
        self._origins[key.path] = origin
        if _fits(key, value):
            self._values[key.path] = value
        else:
            self._values[key.path] = key.default
            self.mistakes.append(
                f"{key.path} = {shown(value)} ({origin}): must be {key.expectation}"
            )

    def _refuse(self, path: str, reason: str) -> None:
        value = self._values[path]
        self.mistakes.append(f"{path} = {shown(value)} ({self._origins[path]}): {reason}")

    # ------------------------------------------------------------ building

    def configuration(self) -> Configuration | None:
        """Return the whole, or None when there are mistakes, after all checks."""
        layout = self._layout()
        self._check_added()
        self._check_network(layout)
        self._check_timeouts()
        self._check_limits()
        password = self._password()
        folder = self._path("data.folder")
        secret = self._path("security.secret_file")
        if self.mistakes or folder is None:
            return None
        loaded = Configuration(
            cluster=msgspec.convert(self._section("cluster"), Cluster),
            network=msgspec.convert(self._section("network"), Network),
            data_folder=folder,
            security=Security(
                secret_file=secret or folder / "cluster.secret",
                secret_is_ours=secret is None,
                password=password,
            ),
            timeouts=msgspec.convert(self._section("timeouts"), Timeouts),
            limits=msgspec.convert(
                {k: v for k, v in self._section("limits").items() if k != "connections_max"}, Limits
            ),
            connections_max=self._int("limits.connections_max"),
            doors=msgspec.convert(self._section("doors"), Doors),
            log=msgspec.convert(self._section("log"), Log),
            source=self._file,
            warnings=self._warnings(),
        )
        return loaded.with_layout(layout)

    def data_folder(self) -> Path | None:
        """Return the data folder, or None when there are mistakes about it."""
        if self._origins["data.folder"] == "default" and not self._file_is_good:
            return None
        if any(mistake.startswith("data.folder") for mistake in self.mistakes):
            return None
        return self._path("data.folder")

    def _section(self, section: str) -> dict[str, Plain]:
        return {key.name: self._values[key.path] for key in KEYS if key.section == section}

    def _int(self, path: str) -> int:
        value = self._values[path]
        return value if isinstance(value, int) else 0

    def _text(self, path: str) -> str:
        return str(self._values[path])

    def _path(self, path: str) -> Path | None:
        """Return a path absolute; a relative one in the file starts at the file's folder."""
        value = self._values[path]
        if value is None:
            return None
        folder = Path.cwd()
        if self._file is not None and self._origins[path] == self._file.name:
            folder = self._file.parent
        return Path(folder, Path(str(value)).expanduser()).resolve()

    def _password(self) -> str | None:
        password, file = self._values["security.password"], self._path("security.password_file")
        if file is None:
            return None if password is None else str(password)
        if password is not None:
            self._refuse(
                "security.password_file",
                "must not be set beside security.password; keep one of them",
            )
            return None
        try:
            from_file = file.read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            self._refuse("security.password_file", f"must be a text file to read ({error})")
            return None
        if not from_file:
            self._refuse("security.password_file", "must not be an empty file")
        return from_file

    def _layout(self) -> layout_file.Layout:
        """Return the layout of the data folder, an empty one when it is not known which that is."""
        folder = self.data_folder()
        try:
            return layout_file.Layout() if folder is None else layout_file.read(folder)
        except ConfigurationError as error:
            self.mistakes.append(str(error))
            return layout_file.Layout()

    # ------------------------------------------------------------ cross-checks

    def _check_added(self) -> None:
        """Check the names of `cluster.added`; the first mistake is told."""
        names = self._text("cluster.added").split()
        for name in names:
            wrong = ""
            if not layout_file.is_place(name):
                wrong = f'"{name[:40]}" is not the name of a node: must be such as acceptor-4'
            elif number_of(NodeId(name)) <= self._int(f"cluster.{role_of(NodeId(name)).value}s"):
                wrong = f"{name} is one of those that the cluster was founded with: must be another"
            elif names.count(name) > 1:
                wrong = f"{name} stands there twice: must stand there once"
            if wrong:
                self._refuse("cluster.added", wrong)
                return

    def _check_network(self, layout: layout_file.Layout) -> None:
        host = self._text("network.host")
        if not _HOST.fullmatch(host.replace("{node}", "n")):
            self._refuse(
                "network.host",
                'must be a name or an address, in which "{node}" may stand for the node\'s name, '
                'such as "127.0.0.1" or "{node}"',
            )
        if not _HOST.fullmatch(self._text("network.bind")):
            self._refuse("network.bind", 'must be an address, such as "127.0.0.1" or "0.0.0.0"')
        counts = [self._int(f"cluster.{role}") for role in ("proposers", "acceptors", "learners")]
        clients = self._int("cluster.clients")
        added = set(self._text("cluster.added").split()) | set(layout.added)
        nodes = 1 + sum(counts) + clients + len(added)
        clients += sum(name.startswith(Role.CLIENT) for name in added)
        offset = self._int("network.port_offset")
        ranges: list[tuple[str, int, int]] = []
        for name, length in (("pages_port", nodes), ("peers_port", nodes), ("doors_port", clients)):
            path = f"network.{name}"
            first = self._int(path) + offset
            last = first + length - 1
            if last > 65_535:
                self._refuse(
                    path,
                    f"with network.port_offset = {offset} and {length} nodes the last port would "
                    f"be {last}: must not pass 65535",
                )
            for other, other_first, other_last in ranges:
                if first <= other_last and other_first <= last:
                    self._refuse(
                        path,
                        f"its ports {first}-{last} overlap those of {other}, "
                        f"{other_first}-{other_last}: must be apart",
                    )
            ranges.append((path, first, last))

    def _check_timeouts(self) -> None:
        heartbeat, suspect = self._int("timeouts.heartbeat_ms"), self._int("timeouts.suspect_ms")
        if suspect <= 2 * heartbeat:
            self._refuse(
                "timeouts.suspect_ms",
                f"must be more than twice timeouts.heartbeat_ms = {heartbeat}, "
                f"such as {heartbeat * 7 // 2}",
            )
        retry, request = self._int("timeouts.retry_ms"), self._int("timeouts.request_ms")
        if request < 2 * retry:
            self._refuse(
                "timeouts.request_ms",
                f"must be at least twice timeouts.retry_ms = {retry}, such as {retry * 10}",
            )
        if request <= suspect:
            self._refuse(
                "timeouts.request_ms",
                f"must be more than timeouts.suspect_ms = {suspect}, so that a request can "
                f"outlive a leader, such as {suspect * 10}",
            )

    def _check_limits(self) -> None:
        value = self._int("limits.value_bytes_max")
        for beside in ("batch_bytes_max", "catchup_bytes_max"):
            floor = value + self._int(f"limits.{beside}")
            if self._int("limits.message_bytes_max") <= floor:
                self._refuse(
                    "limits.message_bytes_max",
                    f"must be more than limits.value_bytes_max + limits.{beside} = {floor}, "
                    f"such as {floor * 2}",
                )
        message = self._int("limits.message_bytes_max")
        if self._int("limits.link_bytes_max") < 2 * message:
            self._refuse(
                "limits.link_bytes_max",
                f"must be at least twice limits.message_bytes_max = {message}, "
                f"such as {message * 5 // 2}",
            )
        batch = max(value, self._int("limits.batch_bytes_max"))
        for queue in ("gateway_queue_bytes_max", "leader_queue_bytes_max"):
            if self._int(f"limits.{queue}") < 2 * batch:
                self._refuse(
                    f"limits.{queue}",
                    f"must be at least twice the larger of limits.value_bytes_max and "
                    f"limits.batch_bytes_max = {batch}, such as {batch * 8}",
                )

    def _warnings(self) -> tuple[str, ...]:
        warnings = []
        acceptors = self._int("cluster.acceptors")
        if acceptors % 2 == 0:
            warnings.append(
                f"cluster.acceptors = {acceptors}: an even number tolerates no more failures than "
                f"{acceptors - 1}"
            )
        bind, host = self._text("network.bind"), self._text("network.host")
        if bind == "127.0.0.1" and host not in ("127.0.0.1", "localhost"):
            warnings.append(
                f'network.bind = "{bind}" answers this machine alone, while network.host = '
                f'"{host}" may name others; 0.0.0.0 would answer them'
            )
        if bind not in ("127.0.0.1", "localhost", "::1") and (
            self._values["security.password"] is None
            and self._values["security.password_file"] is None
        ):
            warnings.append(
                f'network.bind = "{bind}" lets other machines in, and no security.password is set'
            )
        return tuple(warnings)


def _parsed(key: Key, text: str) -> Plain:
    """Return an environment variable's text as the key's kind, or as it is when it does not fit."""
    if key.kind == "int" and re.fullmatch(r"[+-]?\d{1,19}", text.strip()):
        return int(text)
    if key.kind == "bool" and text.strip().lower() in (*_TRUE, *_FALSE):
        return text.strip().lower() in _TRUE
    return text


def _fits(key: Key, value: object) -> bool:
    """Tell whether a value is of the key's kind and within its bounds."""
    if key.kind == "int":
        return (
            isinstance(value, int) and not isinstance(value, bool) and key.low <= value <= key.high
        )
    if key.kind == "bool":
        return isinstance(value, bool)
    if key.kind == "choice":
        return value in key.choices
    if key.kind == "names":
        return isinstance(value, str) and "\0" not in value
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value
