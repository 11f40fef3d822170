"""Dependencies: ranges in pyproject.toml, exact versions with hashes in the locks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+) \\$", re.MULTILINE)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    return {normal(name): version for name, version in PIN.findall(text)}


def wanted(ranges: list[str]) -> set[str]:
    return {normal(re.split(r"[<>=!~\[;]", one)[0].strip()) for one in ranges}


def test_locks_hold_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    runtime = wanted(project["project"]["dependencies"] + project["build-system"]["requires"])
    tools = wanted(project["project"]["optional-dependencies"]["dev"])
    assert runtime <= set(pins("requirements.lock"))
    assert runtime | tools <= set(pins("requirements-dev.lock"))


def test_tests_run_with_the_versions_that_users_get() -> None:
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


def test_every_pin_has_hashes_and_no_address() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / lock).read_text(encoding="utf-8")
        blocks = re.split(r"\n(?=[A-Za-z0-9])", text)
        for block in blocks:
            if PIN.match(block):
                assert "--hash=sha256:" in block, block.splitlines()[0]
        assert "://" not in text
        assert "--index" not in text
