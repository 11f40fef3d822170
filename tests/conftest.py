from __future__ import annotations

import pytest
from _pytest.nodeid import NodeId

# The list of mutants is printed at the end of every run that hunted some.
from tests.mutants.conftest import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="record anew what scenarios say and what simulated runs hash to; read the diff",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of one xdist_group run in one process, one after the other.

    xdist itself marks their names with an @ for its scheduler, and from pytest 9.2 on does so
    where pytest no longer looks: every test was then scheduled alone, clusters beside clusters,
    and each process started a cluster of its own for a module.
    """
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        groups = {str(mark.args[0]) for mark in item.iter_markers("xdist_group")}
        suffix = "@" + "_".join(sorted(groups))
        if groups and not item.nodeid.endswith(suffix):
            item._id = NodeId.parse(item.nodeid + suffix)
            assert item.nodeid.endswith(suffix), "pytest keeps the names of tests elsewhere"
