"""`paxos restore`: volumes of a new cluster, or nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.apps.test_backup import STREAM, stream

from paxos.apps import config, restore
from paxos.apps.cli import DONE, FAILED, WRONG_USAGE, main
from paxos.core.effects import Recovered, SnapshotInfo
from paxos.core.errors import StorageError
from paxos.core.types import NodeId, Slot
from paxos.machine.snapshot import verify
from paxos.storage.open import open_volume

ACCEPTORS = tuple(NodeId(f"acceptor-{n}") for n in (1, 2, 3))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "one.backup"
    path.write_bytes(STREAM)
    return path


Restore = Callable[..., int]


@pytest.fixture
def run(file: Path, tmp_path: Path) -> Restore:
    """Restore into a data folder."""

    def restored(*words: str, data: str = "data") -> int:
        settings = tmp_path / f"{data}.toml"
        settings.write_text(f'[data]\nfolder = "{tmp_path / data}"\n', encoding="utf-8")
        return main(["restore", str(file), "--config", str(settings), *words])

    return restored


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    plain: dict[str, object] = json.loads(capsys.readouterr().out)
    return plain


def found(folder: Path) -> Recovered:
    """Open a volume as its node does, and compare its snapshot with the backup."""
    journal, snapshots = open_volume(folder, lambda chunks: verify(chunks).slot)
    try:
        assert snapshots.read(Slot(2), 0, len(STREAM) + 1) == STREAM
        return journal.recovered
    finally:
        snapshots.close()
        journal.close()


def test_every_acceptor_has_an_open_volume_that_begins_with_the_backup(
    run: Restore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--json") == DONE
    plain = told(capsys)
    data = tmp_path / "data"
    assert sorted(path.name for path in data.iterdir()) == list(ACCEPTORS)
    assert plain["volumes"] == [str(data / node) for node in ACCEPTORS]
    assert (plain["slot"], plain["keys"]) == (2, 40)
    for node in ACCEPTORS:
        recovered = found(data / node)
        assert recovered.damage is None
        assert recovered.stamp is not None
        assert (recovered.stamp.node, recovered.stamp.phase) == (node, "open")
        assert recovered.stamp.cluster == plain["cluster"]
        assert recovered.stamp.acceptors == ACCEPTORS
        assert (recovered.base, recovered.decided, recovered.promised) == (2, 2, 0)
        assert recovered.snapshot == SnapshotInfo(slot=Slot(2), size=len(STREAM))


def test_two_identities_are_drawn_when_a_backup_is_restored_twice(
    run: Restore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--json", data="one") == DONE
    first = told(capsys)["cluster"]
    assert run("--json", data="two") == DONE
    assert told(capsys)["cluster"] != first


@pytest.mark.parametrize("node", ["acceptor-2", "learner-1", "proposer-3"])
def test_nothing_is_restored_where_a_volume_is(
    run: Restore, tmp_path: Path, capsys: pytest.CaptureFixture[str], node: str
) -> None:
    volume = tmp_path / "data" / node
    volume.mkdir(parents=True)
    (volume / "mark").write_bytes(b"something")
    assert run() == FAILED
    error = capsys.readouterr().err
    assert str(volume) in error
    assert "choose another data folder" in error
    assert [path.name for path in (tmp_path / "data").iterdir()] == [node]


def test_an_empty_folder_is_no_volume(run: Restore, tmp_path: Path) -> None:
    """What a container's mount leaves."""
    (tmp_path / "data" / "acceptor-1").mkdir(parents=True)
    assert run() == DONE
    assert found(tmp_path / "data" / "acceptor-1").base == 2


def test_nothing_is_restored_when_the_backup_is_damaged(
    run: Restore, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for offset in range(0, len(STREAM), 41):
        flipped = bytearray(STREAM)
        flipped[offset] ^= 16
        file.write_bytes(flipped)
        assert run() == FAILED, offset
        assert "damaged at byte" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    file.unlink()
    assert run() == WRONG_USAGE


def test_one_volume_after_the_other_is_made_when_each_has_a_machine_of_its_own(
    run: Restore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--node", "acceptor-2", data="two") == DONE
    words = capsys.readouterr().out.split()
    cluster = words[words.index("--cluster") + 1]
    assert run("--node", "acceptor-3", "--cluster", cluster, data="three") == DONE
    stamps = [
        found(tmp_path / data / node).stamp
        for data, node in (("two", "acceptor-2"), ("three", "acceptor-3"))
    ]
    assert [(one.cluster, one.node) for one in stamps if one is not None] == [
        (cluster, "acceptor-2"),
        (cluster, "acceptor-3"),
    ]
    assert not (tmp_path / "two" / "acceptor-1").exists()


def test_volumes_of_two_backups_cannot_be_joined(
    run: Restore, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Acceptors that begin at different states would choose two values for one slot."""
    assert run("--node", "acceptor-1", "--json", data="one") == DONE
    cluster = str(told(capsys)["cluster"])
    file.write_bytes(stream(keys=41))
    assert run("--node", "acceptor-2", "--cluster", cluster, data="two") == FAILED
    assert "from the same file" in capsys.readouterr().err
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--node", "learner-1"),
        ("--node", "acceptor-9"),
        ("--node", "nobody"),
        ("--cluster", "00000000000001-00000001"),
        ("--node", "acceptor-1", "--cluster", "mine"),
    ],
)
def test_usage_is_told_when_a_node_or_an_identity_makes_no_sense(
    run: Restore, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert run(*words) == WRONG_USAGE
    assert not (tmp_path / "data").exists()


def test_no_volume_is_left_when_one_could_not_be_made(
    run: Restore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = restore.make_volume

    def failing(folder: Path, *rest: object) -> None:
        if folder.name == "acceptor-3":
            raise StorageError("No space left on device")
        made(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(restore, "make_volume", failing)
    assert run() == FAILED
    assert "No space left on device" in capsys.readouterr().err
    assert list((tmp_path / "data").iterdir()) == []


def test_what_a_killed_restore_left_is_no_hindrance(run: Restore, tmp_path: Path) -> None:
    assert run(data="other") == DONE
    draft = tmp_path / "data" / restore.DRAFT_NAME
    draft.mkdir(parents=True)
    shutil.copytree(tmp_path / "other" / "acceptor-1", draft / "acceptor-1")
    assert run() == DONE
    assert config.load(tmp_path / "data.toml").data_folder == tmp_path / "data"
    assert not draft.exists()
