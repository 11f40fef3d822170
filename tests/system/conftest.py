"""Clusters of real processes as fixtures; a failed test shows the end of every node's log.

`cluster` is shared by the tests of one module, which may set its configuration in a dictionary
`CLUSTER`; each test finds it whole, whatever the one before has done. `new_cluster` makes one
for a single test.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from tests.system.cluster import LocalCluster, Settings

NewCluster = Callable[[Settings], LocalCluster]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, LocalCluster):
                    report.sections.append((f"logs of {one.folder.name}", one.tails()))
    return report


@pytest.fixture(scope="module")
def module_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalCluster]:
    """The cluster that a module's tests share."""
    settings: Settings = getattr(request.module, "CLUSTER", {})
    made = LocalCluster(tmp_path_factory.mktemp("cluster"), settings)
    try:
        made.start()
        yield made
    finally:
        made.end()


@pytest.fixture
def cluster(module_cluster: LocalCluster) -> LocalCluster:
    """The module's cluster, whole and ready."""
    module_cluster.heal()
    return module_cluster


@pytest.fixture
def clusters() -> Iterator[list[LocalCluster]]:
    """The clusters that a single test has made; they end with it."""
    made: list[LocalCluster] = []
    yield made
    for one in made:
        one.end()


@pytest.fixture
def new_cluster(clusters: list[LocalCluster], tmp_path: Path) -> NewCluster:
    """Make and start a cluster for a single test."""

    def make(settings: Settings) -> LocalCluster:
        folder = tmp_path / f"cluster-{len(clusters) + 1}"
        folder.mkdir()
        clusters.append(LocalCluster(folder, settings))
        clusters[-1].start()
        return clusters[-1]

    return make
