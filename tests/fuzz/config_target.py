"""The configuration file under fuzzing: it is taken, or every mistake in it is named."""

from __future__ import annotations

from random import Random

from paxos.apps import config, config_keys
from paxos.apps.config import Configuration
from paxos.core.errors import ConfigurationError

from .inputs import Target, mutate_bytes, mutate_list
from .journal_target import workshop

NESTED_MAX = 50
"""How deep brackets may be nested: the standard library's parser goes down one call for each."""


def run(data: bytes) -> None:
    """Read a file twice: the same configuration, or the same mistakes, each on its line."""
    if data.count(b"[") > NESTED_MAX or data.count(b"{") > NESTED_MAX:
        return
    file = workshop() / "paxos.toml"
    file.write_bytes(data)
    first = _loaded()
    assert first == _loaded()
    if isinstance(first, str):
        assert first.strip()
        assert len(first) < 200 * (len(data) + 100), "mistakes are named, not repeated"
    else:
        assert len(first.nodes()) == len(set(first.nodes()))
        ports = [port for node in first.nodes() for port in first.ports(node)]
        assert len(ports) == len(set(ports))
        assert all(0 < port < 65536 for port in ports)


def _loaded() -> Configuration | str:
    try:
        return config.load(workshop() / "paxos.toml")
    except ConfigurationError as error:
        return str(error)


def seeds() -> list[bytes]:
    """Return a file with every key at its default, each key alone, and mistakes."""
    keys = [
        f"[{key.section}]\n{key.name} = {config_keys.shown(key.default)}\n"
        for key in config_keys.KEYS
        if key.default is not None
    ]
    return [
        b"",
        *(text.encode() for text in keys),
        b"[network]\nport_offset = 60000\nhost = '{node}'\nbind = '0.0.0.0'\n",
        b"[cluster]\nacceptors = 4\nproposers = 0\n[nope]\nx = 1\n",
        b"cluster = 3\n",
        b"[limits]\nvalue_bytes_max = true\nmessage_bytes_max = '1'\n",
        b"[cluster\n",
        b"\xff\xfe",
    ]


def mutate(data: bytes, dice: Random) -> bytes:
    """Change one line, or put a key in a place of its own."""

    def change(line: bytes, dice: Random) -> bytes:
        key = dice.choice(config_keys.KEYS)
        name, _, value = line.partition(b"=")
        made = (
            f"[{key.section}]".encode(),
            f"{key.name} = {config_keys.shown(key.default or 0)}".encode(),
            name + b"= " + mutate_bytes(value, dice),
            name + b"= " + dice.choice((b"0", b"-1", b"9" * 30, b"true", b"''", b"[1]", b"{}")),
        )
        return dice.choice(made)

    return b"\n".join(mutate_list(data.split(b"\n"), dice, change))


CONFIG = Target(
    name="config",
    run=run,
    seeds=seeds,
    mutate=mutate,
    modules=("apps/config.py", "apps/config_keys.py"),
)
