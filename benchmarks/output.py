"""Writes what a run has measured into a folder: results.json, results.md and the plots.

Again, from the results.json of a folder: benchmarks/.venv/bin/python -m benchmarks.output FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from . import plots, records, report
from .errors import BenchmarkError
from .records import Run

JSON = "results.json"
MARKDOWN = "results.md"


def write(run: Run, folder: Path) -> str:
    """Write everything. Returns the Markdown."""
    records.write(run, folder / JSON)
    text = report.markdown(run)
    drawn = plots.draw(run, folder)
    pictures = "".join(f"\n![{file.stem}]({file.name})\n" for file in drawn)
    (folder / MARKDOWN).write_text(text + pictures, encoding="utf-8")
    return text


def main() -> int:
    """Write a folder's results once more. Returns the exit status."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    try:
        print(write(records.read(folder / JSON), folder))
    except BenchmarkError as error:
        print(f"benchmarks.output: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
