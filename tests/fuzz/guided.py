"""Coverage-guided fuzzing of one target, or of all, with atheris.

    python -m tests.fuzz.guided TARGET|all [--seconds N | --runs N] [--seed N] [--dry]
                                                [--json]

It begins with the target's seeds and the kept corpus, follows what reaches new code, and then
keeps the few inputs that reach the most (corpus/). An input that breaks something is kept in
crashes/, where the tests replay it for ever. Exit status: 0 nothing found, 1 something found,
2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from . import corpus
from .inputs import Target, content_name
from .journal_target import place_in_memory
from .targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]

HANG_SECONDS = 20
"""An input that takes so long hangs: they take less than a hundredth of a second."""

MEMORY_MIB_MAX = 1024
"""A process that grows past this was grown by its input."""

_COUNT = re.compile(r"^stat::number_of_executed_units:\s+(\d+)", re.MULTILINE)
_PROGRESS = re.compile(r"^#\d+\s")
_OUTPUT_LINES_MAX = 60


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one guided run did. `found` are the inputs that broke something, where they are kept;
    `output` is the end of what the fuzzer said, when there are any or it ended badly.
    """

    target: str
    executions: int
    seconds: int
    corpus_files: int
    corpus_bytes: int
    lines: int
    lines_all: int
    found: list[str]
    output: str = ""

    @property
    def good(self) -> bool:
        """Tell whether nothing was found."""
        return not self.found and not self.output

    def summary(self) -> str:
        """Return the verdict in a line."""
        said = (
            f"{self.target}: {self.executions} executions in {self.seconds} s "
            f"({self.executions // max(1, self.seconds)} a second), "
            f"{self.lines} of {self.lines_all} lines "
            f"({100.0 * self.lines / self.lines_all:.1f} %) reached by "
            f"{self.corpus_files} inputs of {self.corpus_bytes} bytes"
        )
        return f"{said}: nothing found" if self.good else f"{said}: FOUND {', '.join(self.found)}"


def fuzz(
    target: Target, seconds: int, *, runs: int = 0, seed: int = 0, dry: bool = False
) -> Verdict:
    """Run one target for so long, or so many `runs` however long they take; grow its corpus unless
    it is a `dry` run. A `seed` of 0 draws one, which the output names.
    """
    before = [*target.seeds(), *corpus.kept(corpus.CORPUS, target)]
    before = [data for data in before if len(data) <= target.bytes_max]
    with tempfile.TemporaryDirectory(prefix="guided-", dir=place_in_memory()) as name:
        folder = Path(name)
        inputs, broken = folder / "inputs", folder / "broken"
        inputs.mkdir()
        broken.mkdir()
        for data in before:
            (inputs / content_name(data)).write_bytes(data)
        bound = f"-runs={runs}" if runs else f"-max_total_time={seconds}"
        begun = time.monotonic()
        output, status = _run_child(target, bound, seed, inputs, broken)
        seconds = round(time.monotonic() - begun)
        found = [corpus.keep(corpus.CRASHES, target, p.read_bytes()) for p in broken.iterdir()]
        if status == 0 and not found:
            grown = [path.read_bytes() for path in inputs.iterdir()]
            few = corpus.chosen(target, grown)
            if not dry:
                corpus.replace(target, few)
        else:
            few = corpus.kept(corpus.CORPUS, target)
    reach = corpus.reach(target, few)
    count = _COUNT.search(output)
    return Verdict(
        target=target.name,
        executions=int(count[1]) if count else 0,
        seconds=seconds,
        corpus_files=len(few),
        corpus_bytes=sum(map(len, few)),
        lines=reach.lines,
        lines_all=reach.lines_all,
        found=sorted(str(path.relative_to(ROOT)) for path in found),
        output="\n".join(output.splitlines()[-_OUTPUT_LINES_MAX:]) if status or found else "",
    )


def _run_child(
    target: Target, bound: str, seed: int, inputs: Path, broken: Path
) -> tuple[str, int]:
    """Run the fuzzer in a process of its own, passing its progress on to stderr; return what it
    said and its status.
    """
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.guided_child",
        target.name,
        str(inputs),
        f"-seed={seed}",
        bound,
        f"-max_len={target.bytes_max}",
        f"-artifact_prefix={broken}/",
        f"-timeout={HANG_SECONDS}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}",
        "-print_final_stats=1",
    ]
    path = os.pathsep.join((str(ROOT), str(ROOT / "src")))
    with subprocess.Popen(
        command,
        cwd=ROOT,
        # libFuzzer ends the process without any cleaning up: what it makes is in our folder.
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "TMPDIR": str(inputs.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        lines = []
        for line in child.stdout or ():
            if not _PROGRESS.match(line):
                lines.append(line)
            elif "REDUCE" not in line:
                print(f"{target.name} {line}", end="", file=sys.stderr)
        return "".join(lines), child.wait()


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="tests.fuzz.guided", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--runs", type=int, default=0, help="so many inputs, instead of seconds")
    parser.add_argument("--seed", type=int, default=0, help="the fuzzer's; 0 draws one")
    parser.add_argument("--dry", action="store_true", help="leave the kept corpus as it is")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    chosen = parser.parse_args()
    names = list(TARGETS) if chosen.target == "all" else [chosen.target]
    good = True
    try:
        for name in names:
            verdict = fuzz(
                TARGETS[name],
                chosen.seconds,
                runs=chosen.runs,
                seed=chosen.seed,
                dry=chosen.dry,
            )
            good = good and verdict.good
            if chosen.json:
                print(json.dumps({**msgspec.to_builtins(verdict), "good": verdict.good}))
            else:
                print(verdict.output or verdict.summary())
                if verdict.output:
                    print(verdict.summary())
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 1
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
