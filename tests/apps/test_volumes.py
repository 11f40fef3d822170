"""Volumes that an operator makes and moves: each life once, nothing deleted, nothing half made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from paxos.apps import config, layout, volumes
from paxos.apps.config import Configuration
from paxos.core.effects import Stamped
from paxos.core.errors import ConfigurationError, StorageError
from paxos.core.types import NodeId
from paxos.storage.open import open_journal

TWO, FOUR = NodeId("acceptor-2"), NodeId("acceptor-4")
CLUSTER = "0123456789abcd"


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    (tmp_path / "data").mkdir()
    environment = {"PAXOS_DATA": str(tmp_path / "data"), "PAXOS_CLUSTER_ADDED": "acceptor-4"}
    return config.load(None, environment)


def test_a_new_volume_says_that_its_acceptor_would_join(configuration: Configuration) -> None:
    node = NodeId("acceptor-2.1")
    folder = volumes.format_acceptor(configuration, node, CLUSTER)
    assert folder == configuration.volume(TWO)
    journal = open_journal(folder)
    journal.close()
    assert journal.recovered.stamp == Stamped(
        cluster=CLUSTER,
        node=node,
        phase="joining",
        acceptors=configuration.membership().acceptors,
    )
    assert journal.recovered.promised == journal.recovered.decided == 0
    assert volumes.stamp_of(configuration, TWO) == journal.recovered.stamp
    left = {path.name for path in configuration.data_folder.iterdir()}
    assert left == {"acceptor-2", "layout.json"}


def test_a_life_is_never_made_twice_whatever_becomes_of_its_volume(
    configuration: Configuration,
) -> None:
    """ADR 0003: "no two volumes are ever made for one name"."""
    assert volumes.next_life(configuration, TWO, []) == "acceptor-2.1"
    assert volumes.next_life(configuration, TWO, [NodeId("acceptor-2.4")]) == "acceptor-2.5"
    assert volumes.next_life(configuration, TWO, [NodeId("acceptor-3.9")]) == "acceptor-2.1"
    assert volumes.next_life(configuration, FOUR, []) == "acceptor-4"
    volumes.format_acceptor(configuration, NodeId("acceptor-2.1"), CLUSTER)
    volumes.format_acceptor(configuration, FOUR, CLUSTER)
    shutil.rmtree(configuration.volume(TWO))
    shutil.rmtree(configuration.volume(FOUR))
    assert volumes.next_life(configuration, TWO, []) == "acceptor-2.2"
    assert volumes.next_life(configuration, FOUR, []) == "acceptor-4.1"


def test_a_life_is_noted_before_its_volume_is_made(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> None:
        raise StorageError("no space")

    monkeypatch.setattr(volumes, "open_journal", broken)
    with pytest.raises(StorageError, match="no space"):
        volumes.format_acceptor(configuration, NodeId("acceptor-2.1"), CLUSTER)
    assert layout.read(configuration.data_folder).lives == {"acceptor-2": 1}
    assert not volumes.is_there(configuration, TWO)
    assert {path.name for path in configuration.data_folder.iterdir()} == {"layout.json"}


def test_a_volume_that_is_there_is_not_touched(configuration: Configuration) -> None:
    volumes.format_acceptor(configuration, TWO, CLUSTER)
    with pytest.raises(ConfigurationError, match="there is a volume already"):
        volumes.format_acceptor(configuration, NodeId("acceptor-2.1"), CLUSTER)
    stamp = volumes.stamp_of(configuration, TWO)
    assert stamp is not None
    assert stamp.node == TWO


def test_a_volume_is_moved_aside_and_kept(configuration: Configuration) -> None:
    assert volumes.move_aside(configuration, TWO) is None
    assert volumes.stamp_of(configuration, TWO) is None
    kept = []
    for life in (1, 2):
        volumes.format_acceptor(configuration, NodeId(f"acceptor-2.{life}"), CLUSTER)
        kept.append(volumes.move_aside(configuration, NodeId(f"acceptor-2.{life}")))
        assert not volumes.is_there(configuration, TWO)
    assert len(set(kept)) == 2
    for folder in kept:
        assert folder is not None
        assert folder.parent == configuration.data_folder / "aside"
        assert folder.name.startswith("acceptor-2-")
        assert any(folder.glob("segment-*"))


def test_a_volume_in_use_is_not_read(configuration: Configuration) -> None:
    volumes.format_acceptor(configuration, TWO, CLUSTER)
    journal = open_journal(configuration.volume(TWO))
    try:
        with pytest.raises(StorageError, match="in use"):
            volumes.stamp_of(configuration, TWO)
    finally:
        journal.close()


def test_a_damaged_volume_tells_nothing(configuration: Configuration) -> None:
    folder = volumes.format_acceptor(configuration, TWO, CLUSTER)
    [segment] = folder.glob("segment-*")
    content = bytearray(segment.read_bytes())
    content[20] ^= 1
    segment.write_bytes(content)
    assert volumes.stamp_of(configuration, TWO) is None
    assert volumes.next_life(configuration, TWO, []) == "acceptor-2.1"
