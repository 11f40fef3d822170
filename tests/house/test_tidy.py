"""The house is in order: what linters do not look at."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LINES_MAX = 800
ROLES = ("proposer", "acceptor", "learner", "gateway", "discovery")
PACKAGES = ("apps", "core", "doors", "machine", "runtime", "sim", "storage", "transport", "web")

# Spelt so that this file does not contain them.
LEFTOVERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
# Addresses of package registries and of one machine's folders belong to no repository.
PLACES = re.compile(r"(/root/|/home/\w+/|/wo" r"rk/|files\.pythonhosted|pypi\.org/simple)")
TEXT_SUFFIXES = (".py", ".sh", ".md", ".toml", ".yml", ".yaml", ".lock", ".html", ".css", ".js", "")


def tracked() -> list[Path]:
    """Every file that is, or would be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def texts() -> list[tuple[Path, str]]:
    return [
        (path, path.read_text(encoding="utf-8"))
        for path in tracked()
        if path.suffix in TEXT_SUFFIXES
    ]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_source_file_is_longer_than_one_sitting() -> None:
    lengths = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert len(lengths) > 50
    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        named(path)
        for path in SOURCES
        if not (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").strip()
    ]
    assert silent == []


def test_nothing_is_left_for_later() -> None:
    found = [
        f"{named(path)}: {match.group()}"
        for path, text in texts()
        for match in LEFTOVERS.finditer(text)
    ]
    assert found == []


def test_nothing_names_one_machine_or_registry() -> None:
    here = Path(__file__)
    found = [
        f"{named(path)}: {match.group()}"
        for path, text in texts()
        for match in PLACES.finditer(text)
        if path != here
    ]
    assert found == []


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    marks = re.compile(r"pytest\.(mark\.)?(skip|skipif|xfail|importorskip)\b")
    found = [
        f"{named(path)}: {match.group()}"
        for path in TESTS
        if path != Path(__file__)
        for match in marks.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler swallows whatever comes; one that raises it again does not."""
    kind = handler.type
    everything = kind is None or (
        isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")
    )
    last = handler.body[-1]
    return everything and not (isinstance(last, ast.Raise) and last.exc is None)


def test_every_broad_except_is_at_the_outermost_place() -> None:
    """Style habit 18: only the supervisor's forked child, which is a whole process."""
    broad = {
        named(path)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    }
    assert broad == {"src/paxos/apps/supervisor.py"}


def test_safety_checks_are_never_bare_asserts() -> None:
    """Style habit 13: `python -O` must not switch a check off."""
    found = [
        f"{named(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert found == []


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_a_file_of_its_own_with_the_one_way_in(role: str) -> None:
    tree = ast.parse((ROOT / "src" / "paxos" / "core" / f"{role}.py").read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = {
        item.name
        for one in classes
        if one.name == role.capitalize()
        for item in one.body
        if isinstance(item, ast.FunctionDef)
    }
    assert {"step", "status"} <= methods


def test_tests_mirror_the_source_tree() -> None:
    packages = {path.name for path in (ROOT / "src" / "paxos").iterdir() if path.is_dir()}
    assert packages - {"__pycache__"} == set(PACKAGES)
    without = [name for name in PACKAGES if not list((ROOT / "tests" / name).glob("test_*.py"))]
    assert without == []


def test_scripts_can_be_run_and_stop_at_the_first_error() -> None:
    scripts = [path for path, text in texts() if text.startswith("#!")]
    assert {"run.sh", "test.sh", "monitor.sh", "test-scenario.sh", ".ci/run"} <= {
        named(path) for path in scripts
    }
    for path in scripts:
        assert path.stat().st_mode & 0o111, f"{named(path)} cannot be run"
        text = path.read_text(encoding="utf-8")
        if "bash" in text.splitlines()[0]:
            assert "set -euo pipefail" in text, f"{named(path)} goes on after an error"
