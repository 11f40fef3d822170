"""A copy of src/paxos with a mutant in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.mutants.mutant import SOURCE, Mutant


class NotThere(AssertionError):
    """The text that a mutant changes is not in the source exactly once: the mutant has rotted."""


def plant(mutant: Mutant, folder: Path) -> Path:
    """Make `folder`/paxos, the sources with the mutant's changes, and return `folder`.

    Raises NotThere when a text to change does not occur exactly once, and SyntaxError when what
    comes out is no Python.
    """
    mutated = _mutated(mutant)
    for path, text in mutated.items():
        compile(text, path.name, "exec")
    paxos = folder / "paxos"
    # Links to whole folders where nothing changes; a folder of links where something does.
    touched = {path.parent for path in mutated} | {SOURCE}
    for directory in sorted(touched):
        copy = paxos / directory.relative_to(SOURCE)
        copy.mkdir(parents=True, exist_ok=True)
        for entry in sorted(directory.iterdir()):
            if entry in mutated:
                (copy / entry.name).write_text(mutated[entry], encoding="utf-8")
            elif entry.name == "__pycache__":
                _copy_compiled(entry, copy / entry.name, mutated)
            elif entry not in touched:
                (copy / entry.name).symlink_to(entry)
    return folder


def _mutated(mutant: Mutant) -> dict[Path, str]:
    texts: dict[Path, str] = {}
    for one in mutant.changes:
        path = SOURCE / one.file
        text = texts.get(path) or path.read_text(encoding="utf-8")
        count = text.count(one.old)
        if count != 1:
            raise NotThere(
                f"{mutant.name}: the text to change occurs {count} times in {one.file}, not once:"
                f"\n{one.old}"
            )
        texts[path] = text.replace(one.old, one.new)
    return texts


def _copy_compiled(compiled: Path, copy: Path, mutated: dict[Path, str]) -> None:
    """Spare the compiling of what did not change; what did must never be taken from a cache."""
    copy.mkdir()
    stems = {path.stem for path in mutated if path.parent == compiled.parent}
    for entry in sorted(compiled.iterdir()):
        if entry.suffix == ".pyc" and entry.name.partition(".")[0] not in stems:
            shutil.copyfile(entry, copy / entry.name)
