"""`paxos restore FILE`: a new cluster that begins with what a backup holds.

Works on a data folder that has no volumes yet, with nothing running. It makes the acceptors'
volumes: each open, stamped with a new cluster's identity, with the backup as its snapshot and the
log cut at the backup's slot. Every other node starts blank, adopts the identity from the acceptors
and gets the state from their snapshots.

The identity is drawn anew each time, and nodes of two identities refuse each other: a backup that
is restored twice makes two clusters that never talk. It ends with a part of the backup's digest, so
that `--cluster` cannot join volumes of different backups.

Exit status: 0 done, 1 nothing was restored, 2 wrong usage.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from paxos.core.effects import Cut, Stamped
from paxos.core.errors import ConfigurationError, DefiniteError, StorageError
from paxos.core.types import NodeId, Role, Slot, role_of
from paxos.machine.snapshot import SnapshotDamaged, SnapshotHead, verify
from paxos.storage.folder import storage_errors, sync_folder
from paxos.storage.open import open_volume

from . import config as configuration_module
from . import layout, local
from .backup import ConfigOption, JsonOption, Progress, read, told
from .cli import named_node
from .config import Configuration

DRAFT_NAME = "restoring"
"""The folder in the data folder where volumes are made before they get their places."""
DIGEST_LETTERS = 8

_IDENTITY = re.compile(r"[0-9a-f]{14}-[0-9a-f]{8}")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", show_default=False)]
NodeOption = Annotated[
    str | None,
    typer.Option(
        help="Make the volume of this acceptor only, such as acceptor-2: where each has a "
        "machine of its own."
    ),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        help="With --node: the identity that the first one was given, the same for all acceptors."
    ),
]


def restore(
    file: FileArgument,
    node: NodeOption = None,
    cluster: ClusterOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new cluster that begins with what a backup holds.

    The data folder must have no volumes yet. Afterwards ./run.sh, or paxos
    up, starts it. The file is checked whole before anything is made.

    Exit status: 0 done; 1 the file is damaged, or there are volumes already;
    2 wrong usage.
    """
    configuration = configuration_module.load(config, os.environ)
    acceptors = configuration.membership().acceptors
    nodes = acceptors
    if node is not None:
        nodes = (named_node(node, None),)
        if nodes[0] not in acceptors:
            raise ConfigurationError(f"--node {node}: must be one of {', '.join(acceptors)}")
    if cluster is not None and (node is None or not _IDENTITY.fullmatch(cluster)):
        raise ConfigurationError(
            f"--cluster {cluster}: must be what `paxos restore FILE --node ...` printed for the "
            "first acceptor, and stand beside --node"
        )
    _refuse_volumes(configuration, nodes if node is not None else configuration.nodes())
    try:
        head, digest = _verified(file)
        if cluster is None:
            cluster = f"{secrets.randbits(53):014x}-{digest}"
        elif not cluster.endswith(digest):
            raise DefiniteError(
                f"--cluster {cluster} was made of another backup than {file}: every acceptor of a "
                "cluster must be restored from the same file"
            )
        _make(configuration, nodes, file, head, cluster)
    except KeyboardInterrupt:
        raise DefiniteError("interrupted: nothing was restored") from None
    made = [str(configuration.volume(one)) for one in nodes]
    told(file, head, as_json, "restored a backup", cluster=cluster, volumes=made)
    if not as_json:
        print(f"new cluster {cluster}: {', '.join(nodes)} in {configuration.data_folder}")
        others = [one for one in acceptors if one not in nodes]
        if others:
            print(f"the other acceptors: paxos restore {file} --node NODE --cluster {cluster}")
        print("start it with ./run.sh")


def _refuse_volumes(configuration: Configuration, nodes: Iterable[NodeId]) -> None:
    """Raise DefiniteError when one of these nodes has a volume already."""
    kept = {Role.ACCEPTOR, Role.PROPOSER, Role.LEARNER}
    folders = [configuration.volume(node) for node in nodes if role_of(node) in kept]
    there = [folder for folder in folders if folder.exists() and any(folder.iterdir())]
    if (known := configuration.data_folder / layout.NAME).exists() and len(folders) > 1:
        # It names nodes that the new cluster was not founded with.
        there.append(known)
    if there:
        raise DefiniteError(
            f"there are volumes already: {', '.join(map(str, there))}. A backup is restored into a "
            "new cluster only: choose another data folder (data.folder, or PAXOS_DATA), or delete "
            "this cluster for good with `paxos reset`"
        )


def _verified(file: Path) -> tuple[SnapshotHead, str]:
    """Return what a good backup holds, and a part of its digest. Raises DefiniteError."""
    digest = hashlib.sha256()

    def digested(chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            digest.update(chunk)
            yield chunk

    with Progress(f"verifying {file}") as progress:
        try:
            head = verify(digested(read(file, progress)))
        except SnapshotDamaged as damage:
            raise DefiniteError(f"{file}: {damage}; nothing was restored") from damage
    return head, digest.hexdigest()[:DIGEST_LETTERS]


def _make(
    configuration: Configuration,
    nodes: tuple[NodeId, ...],
    file: Path,
    head: SnapshotHead,
    cluster: str,
) -> None:
    """Make volumes aside, then put them in their places. Raises StorageError."""
    acceptors = configuration.membership().acceptors
    local.make_data_folder(configuration.data_folder)
    draft = configuration.data_folder / DRAFT_NAME
    with storage_errors(f"{draft} cannot be used"):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
    try:
        with Progress(f"restoring {file}") as progress:
            progress.begin(head.size * len(nodes))
            for node in nodes:
                stamp = Stamped(cluster=cluster, node=node, phase="open", acceptors=acceptors)
                make_volume(draft / node, stamp, file, head, progress)
        with storage_errors(f"the volumes in {configuration.data_folder} cannot be put in place"):
            for node in nodes:
                folder = configuration.volume(node)
                if folder.exists():
                    folder.rmdir()
                (draft / node).rename(folder)
            sync_folder(configuration.data_folder)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(draft)


def make_volume(
    folder: Path, stamp: Stamped, file: Path, head: SnapshotHead, progress: Progress
) -> None:
    """Make the volume of an acceptor that keeps this snapshot and has nothing else to remember.

    Raises StorageError; what is in the folder is then of no use.
    """
    journal, snapshots = open_volume(folder, _slot_of)
    try:
        journal.append(stamp)
        journal.append(Cut(slot=head.slot))
        journal.sync()
        offset = 0
        for chunk in read(file, progress):
            snapshots.write_part(head.slot, head.size, offset, chunk)
            offset += len(chunk)
    finally:
        snapshots.close()
        journal.close()
    # Read back as the node will read it: what it would not accept is no restored volume.
    journal, snapshots = open_volume(folder, _slot_of)
    snapshots.close()
    journal.close()
    found = journal.recovered
    if found.damage or found.stamp != stamp or not found.base == found.decided == head.slot:
        raise StorageError(f"the volume {folder} is not what was written: {found.damage or found}")


def _slot_of(chunks: Iterable[bytes]) -> Slot:
    return verify(chunks).slot
