"""The table of mutants in README.md: one line each, with what found it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import dropwhile, takewhile
from pathlib import Path

from tests.mutants.catalogue import MUTANTS

README = Path(__file__).with_name("README.md")
HEAD = "| mutant | rule | fault | found by |\n| --- | --- | --- | --- |\n"


def rows(text: str) -> list[tuple[str, str, str, str]]:
    """Return the table's lines: name, rule, fault, found by."""
    _, _, below = text.partition(HEAD)
    lines = takewhile(lambda line: line.startswith("|"), below.splitlines())
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [(name.strip("`"), rule, fault, found) for name, rule, fault, found in cells]


def rewritten(text: str, found: Mapping[str, str]) -> str:
    """Return the text with its table made anew; who was not hunted keeps what it had."""
    known = {name: how for name, _, _, how in rows(text)}
    lines = [
        f"| `{one.name}` | {one.rule} | {one.fault} | {found.get(one.name) or known[one.name]} |\n"
        for one in MUTANTS
        if one.name in found or one.name in known
    ]
    above, _, below = text.partition(HEAD)
    rest = dropwhile(lambda line: line.startswith("|"), below.splitlines(keepends=True))
    return above + HEAD + "".join((*lines, *rest))
