"""The command line of ./benchmarks/run: what there is to ask for, checked whole.

It imports nothing that has to be set up first, so that --help works at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from .plan import FULL, GROUPS, GROUPS_BY_FORM, QUICK, SYSTEMS, Wishes

HERE = Path(__file__).parent
_COUNT_MAX = 1000
_SECONDS_MIN, _SECONDS_MAX = 0.5, 600.0
_ROUNDS = 3
_MEASURED_S = {QUICK: 3.0, FULL: 4.0}
_WARMUP_S = {QUICK: 1.0, FULL: 1.5}
_HEATING_S = {QUICK: 2.0, FULL: 5.0}
_FAILOVERS = {QUICK: 5, FULL: 20}


def parse(words: list[str]) -> argparse.Namespace:
    """Return the options. Ends the program with status 2 on a wrong one."""
    groups = "\n".join(f"  {name:10} {text}" for name, text in GROUPS.items())
    parser = argparse.ArgumentParser(
        prog="benchmarks/run",
        description="Measures this system and its peers under the same loads, in turn.",
        epilog=f"groups, for --only:\n{groups}\n\nquick is: "
        + ", ".join(name for name in GROUPS if name in GROUPS_BY_FORM[QUICK])
        + ", at the loads that have targets.\nfull is all of them, about an hour and a half.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("form", nargs="?", choices=(QUICK, FULL), default=QUICK)
    parser.add_argument("--only", type=_subset(tuple(GROUPS)), metavar="GROUP,GROUP...")
    parser.add_argument(
        "--systems", type=_subset(SYSTEMS), default=SYSTEMS, metavar=",".join(SYSTEMS)
    )
    parser.add_argument("--rounds", type=_count, default=_ROUNDS, help="3 by default")
    parser.add_argument(
        "--seconds", type=_seconds, help="measured per load: 3 by default, 4 in full"
    )
    parser.add_argument(
        "--failovers", type=_count, help="leaders lost of each kind: 5 by default, 20 in full"
    )
    parser.add_argument(
        "--output", type=Path, help="folder of the results; by default a new one in .results/"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=HERE / ".data",
        help="folder, on the disk to be measured, of all systems' data; .data/ by default",
    )
    parser.add_argument("--seed", type=int, default=1, help="of keys, values and random moments")
    return parser.parse_args(words)


def _subset(allowed: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """Return a reader of comma-separated words, which keeps the order of `allowed`."""

    def read(text: str) -> tuple[str, ...]:
        words = [word.strip() for word in text.split(",") if word.strip()]
        for word in words:
            if word not in allowed:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(allowed)}")
        if not words:
            raise argparse.ArgumentTypeError(f"must be some of {', '.join(allowed)}")
        return tuple(word for word in allowed if word in words)

    return read


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _COUNT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 to {_COUNT_MAX}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _SECONDS_MIN <= seconds <= _SECONDS_MAX:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds, {_SECONDS_MIN:g} to {_SECONDS_MAX:g}"
        )
    return seconds


def wishes_of(options: argparse.Namespace) -> Wishes:
    """Return what the options ask for."""
    form: str = options.form
    return Wishes(
        form=form,
        rounds=options.rounds,
        systems=options.systems,
        groups=frozenset(options.only) if options.only else GROUPS_BY_FORM[form],
        warmup_s=_WARMUP_S[form],
        measured_s=options.seconds or _MEASURED_S[form],
        heating_s=_HEATING_S[form],
        failovers=options.failovers or _FAILOVERS[form],
    )


if __name__ == "__main__":
    parse(sys.argv[1:])
