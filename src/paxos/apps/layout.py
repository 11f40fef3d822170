"""`layout.json` in the data folder: which nodes this machine has besides those of the founding.

The configuration file says what a cluster was founded with, and stays as it is. Which nodes are
members is for the log to say (`paxos member`); this file only says which processes run here. It is
replaced atomically, so that a reader never sees half of one, and read whenever a configuration is
loaded. A node that was removed keeps its ports: it may come back.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from paxos.core.errors import ConfigurationError, StorageError
from paxos.core.types import NodeId
from paxos.storage.folder import sync_folder

NAME = "layout.json"

_PLACE = re.compile(r"(proposer|acceptor|learner|client)-[1-9]\d?", re.ASCII)


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from the founding.

    `added`, in the order of their ports, and `removed`, which may be of either. `lives` is, of each
    acceptor whose volume was made here after the founding, which life that was: no volume of an
    earlier one may ever vote again, so the number only grows, whatever becomes of the volume.
    """

    added: tuple[NodeId, ...] = ()
    removed: tuple[NodeId, ...] = ()
    lives: dict[NodeId, int] = {}

    def with_node(self, node: NodeId, founding: tuple[NodeId, ...]) -> Layout:
        """Return the layout in which a node is one of the cluster's."""
        added = self.added
        if node not in founding and node not in added:
            added = (*added, node)
        removed = tuple(one for one in self.removed if one != node)
        return msgspec.structs.replace(self, added=added, removed=removed)

    def without_node(self, node: NodeId) -> Layout:
        """Return the layout in which a node runs no more."""
        if node in self.removed:
            return self
        return msgspec.structs.replace(self, removed=(*self.removed, node))

    def in_life(self, place: NodeId, life: int) -> Layout:
        """Return the layout that knows of a life of a place."""
        lives = {**self.lives, place: max(life, self.lives.get(place, 0))}
        return msgspec.structs.replace(self, lives=lives)


def is_place(name: str) -> bool:
    """Tell whether a name is that of a node that can be added: a role, and a number of 1 to 99."""
    return _PLACE.fullmatch(name) is not None


def read(data_folder: Path) -> Layout:
    """Return what layout.json says; an empty one when there is none.

    Raises ConfigurationError when there is one that cannot be understood: no other guess is safe.
    """
    path = data_folder / NAME
    try:
        layout = msgspec.json.decode(path.read_bytes(), type=Layout)
    except (FileNotFoundError, NotADirectoryError):
        return Layout()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        # msgspec.DecodeError, and text that is not UTF-8.
        raise ConfigurationError(f"{path} is no layout ({error}): repair it") from error
    wrong = [n for n in (*layout.added, *layout.removed, *layout.lives) if not is_place(n)]
    if wrong:
        raise ConfigurationError(f'{path} names "{wrong[0][:40]}", which is no node: repair it')
    return layout


def write(data_folder: Path, layout: Layout) -> None:
    """Replace layout.json, durably. Raises StorageError."""
    path = data_folder / NAME
    draft = data_folder / f".{NAME}.{os.getpid()}"
    text = msgspec.json.format(msgspec.json.encode(layout), indent=2) + b"\n"
    try:
        with draft.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(data_folder)
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror or error})") from error
