"""After the last test: which mutants were hunted, and what found each."""

from __future__ import annotations

import pytest
from _pytest.terminal import TerminalReporter
from tests.mutants import table

HUNTED = "mutant"
"""The name under which a test records what became of its mutant: [name, found by]."""


_PRINTED = pytest.StashKey[bool]()
"""Set once the list is out: the hook may be registered by two folders' conftest."""


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Print the mutants of this run, from whichever process they were hunted in. With --rewrite
    the table in README.md is made anew.
    """
    found: dict[str, str] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            found.update(dict([v for name, v in report.user_properties if name == HUNTED]))
    if not found or config.stash.get(_PRINTED, False):
        return
    config.stash[_PRINTED] = True
    terminalreporter.section("mutants")
    width = max(map(len, found))
    for name, how in sorted(found.items()):
        terminalreporter.write_line(f"{name:{width}}  {how}")
    if config.getoption("--rewrite"):
        text = table.README.read_text(encoding="utf-8")
        table.README.write_text(table.rewritten(text, found), encoding="utf-8")
