"""The cluster of real processes that the system tests use, for the one test here that needs it."""

from __future__ import annotations

from tests.system.conftest import cluster, module_cluster, pytest_runtest_makereport

__all__ = ["cluster", "module_cluster", "pytest_runtest_makereport"]
