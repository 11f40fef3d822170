"""The command line of ./benchmarks/run."""

from __future__ import annotations

import pytest
from benchmarks import options
from benchmarks.clusters.catalogue import CLUSTERS
from benchmarks.plan import FULL, GROUPS_BY_FORM, QUICK, SYSTEMS


def test_quick_is_what_is_run_without_a_word() -> None:
    wishes = options.wishes_of(options.parse([]))
    assert (wishes.form, wishes.rounds, wishes.systems) == (QUICK, 3, SYSTEMS)
    assert wishes.groups == GROUPS_BY_FORM[QUICK]


def test_full_measures_longer_and_loses_more_leaders() -> None:
    quick, full = (options.wishes_of(options.parse([form])) for form in (QUICK, FULL))
    assert full.measured_s > quick.measured_s
    assert (quick.failovers, full.failovers) == (5, 20)


def test_words_are_taken_in_their_own_order_whatever_was_typed() -> None:
    wishes = options.wishes_of(
        options.parse(["quick", "--only", "reads, writes", "--systems", "etcd,paxos"])
    )
    assert wishes.groups == {"writes", "reads"}
    assert wishes.systems == ("paxos", "etcd")


def test_numbers_are_kept() -> None:
    wishes = options.wishes_of(
        options.parse(["--rounds", "7", "--seconds", "1.5", "--failovers", "2"])
    )
    assert (wishes.rounds, wishes.measured_s, wishes.failovers) == (7, 1.5, 2)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--only", "speed"], "'speed' is none of writes"),
        (["--only", ","], "must be some of"),
        (["--systems", "redis"], "'redis' is none of paxos"),
        (["--rounds", "0"], "'0' is not a whole number, 1 to 1000"),
        (["--seconds", "fast"], "'fast' is not a number of seconds"),
        (["--seconds", "nan"], "'nan' is not a number of seconds"),
        (["slow"], "invalid choice: 'slow'"),
    ],
)
def test_wrong_words_end_with_status_2_and_say_what_would_be_good(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        options.parse(words)
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


def test_every_system_of_the_plan_has_a_cluster() -> None:
    assert tuple(CLUSTERS) == SYSTEMS
