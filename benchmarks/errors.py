"""What can go wrong in a benchmark that is not the fault of what is measured."""

from __future__ import annotations


class BenchmarkError(Exception):
    """The run cannot go on; the text says why, for the person who started it."""
