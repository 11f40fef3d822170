"""Volumes of acceptors, made and moved by an operator's command, with the node down.

A volume is never deleted here and never given to another node: one that is replaced is moved into
the folder `aside`, under a name with the time, and a new one appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import datetime
import shutil
from collections.abc import Iterable
from pathlib import Path

from paxos.core.effects import Stamped
from paxos.core.errors import ConfigurationError, StorageError
from paxos.core.types import NodeId, Slot, in_life, life_of, place_of
from paxos.machine.snapshot import verify
from paxos.storage.folder import storage_errors, sync_folder
from paxos.storage.open import open_journal, open_volume

from . import layout, local
from .config import Configuration

DRAFT = "formatting"
"""The folder in the data folder where a volume is made before it gets its place."""


def is_there(configuration: Configuration, node: NodeId) -> bool:
    """Tell whether there is anything at all where a node's volume belongs."""
    folder = configuration.volume(node)
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def stamp_of(configuration: Configuration, node: NodeId) -> Stamped | None:
    """Return whose volume is there, as far as it can be read; None for none.

    Raises StorageError when a process uses it.
    """
    if not is_there(configuration, node):
        return None
    journal = open_journal(configuration.volume(node))
    try:
        found = journal.recovered
        return None if found.damage else found.stamp
    finally:
        journal.close()


def next_life(configuration: Configuration, place: NodeId, known: Iterable[NodeId]) -> NodeId:
    """Return the node that a new acceptor at a place shall be: one that never was.

    `known` are nodes that somebody knows of. The founding's first life counts as known; so does
    whatever was made here before, even where its volume has been lost.
    """
    lives = [life_of(node) for node in known if place_of(node) == place]
    noted = layout.read(configuration.data_folder).lives
    if place in noted:
        lives.append(noted[place])
    if place in configuration.membership().acceptors:
        lives.append(0)
    return in_life(place, max(lives) + 1 if lives else 0)


def move_aside(configuration: Configuration, node: NodeId) -> Path | None:
    """Move a node's volume aside; return where it is now, None when there was none.

    Raises StorageError.
    """
    folder = configuration.volume(node)
    if not is_there(configuration, node):
        return None
    now = datetime.datetime.now(datetime.UTC)
    aside = configuration.data_folder / local.ASIDE
    kept = aside / f"{folder.name}-{now:%Y%m%dT%H%M%S.%f}Z"
    with storage_errors(f"{folder} cannot be moved to {kept}"):
        aside.mkdir(exist_ok=True)
        folder.rename(kept)
        sync_folder(aside)
        sync_folder(configuration.data_folder)
    return kept


def format_acceptor(configuration: Configuration, node: NodeId, cluster: str) -> Path:
    """Make the volume of an acceptor that is to join a living cluster; return its folder.

    That such a life was made is noted first, so that it can never be made again. Raises
    StorageError, and ConfigurationError when there is a volume already.
    """
    folder = configuration.volume(node)
    if is_there(configuration, node):
        raise ConfigurationError(f"there is a volume already: {folder}; --aside moves it aside")
    acceptors = configuration.membership().acceptors
    stamp = Stamped(cluster=cluster, node=node, phase="joining", acceptors=acceptors)
    noted = layout.read(configuration.data_folder)
    layout.write(configuration.data_folder, noted.in_life(place_of(node), life_of(node)))
    draft = configuration.data_folder / DRAFT
    with storage_errors(f"{draft} cannot be used"):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
    try:
        _make(draft / folder.name, stamp)
        with storage_errors(f"{folder} cannot be put in place"):
            if folder.exists():
                folder.rmdir()
            (draft / folder.name).rename(folder)
            sync_folder(configuration.data_folder)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(draft)
    return folder


def _make(folder: Path, stamp: Stamped) -> None:
    journal = open_journal(folder)
    try:
        journal.append(stamp)
        journal.sync()
    finally:
        journal.close()
    # Read back as the node will read it.
    journal, snapshots = open_volume(folder, _slot_of)
    snapshots.close()
    journal.close()
    found = journal.recovered
    if found.damage or found.stamp != stamp:
        raise StorageError(f"the volume {folder} is not what was written: {found.damage or found}")


def _slot_of(chunks: Iterable[bytes]) -> Slot:
    return verify(chunks).slot
