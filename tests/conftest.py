from __future__ import annotations

import pytest

# The list of mutants is printed at the end of every run that hunted some.
from tests.mutants.conftest import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="record anew what scenarios say and what simulated runs hash to; read the diff",
    )
