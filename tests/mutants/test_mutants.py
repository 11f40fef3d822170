"""Every mutant dies: each fault that is put into the source is found by each of its killers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.mutants import table
from tests.mutants.catalogue import MUTANTS
from tests.mutants.hunt import options_of
from tests.mutants.killing import hunt
from tests.mutants.mutant import (
    Change,
    Killer,
    Mutant,
    Simulator,
    UnitTest,
    World,
    change,
)
from tests.mutants.planting import NotThere, plant

from paxos.sim import simulation

KNOWN = {name: found for name, _, _, found in table.rows(table.README.read_text(encoding="utf-8"))}
"""What found each mutant the last time."""

RULES = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "11", "order", "liveness"}


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_mutant_dies_when_it_is_hunted(
    mutant: Mutant,
    tmp_path: Path,
    record_property: pytest.RecordProperty,
    request: pytest.FixtureRequest,
) -> None:
    """And the seed that finds it finds nothing in the source as it is: the fault was found, and
    nothing else.
    """
    known = "" if request.config.getoption("--rewrite") else KNOWN.get(mutant.name, "")
    kills = hunt(mutant, plant(mutant, tmp_path), known)
    record_property("mutant", [mutant.name, "; ".join(map(str, kills))])
    assert [kill.killer for kill in kills if not kill.by] == [], f"{mutant.name} survived"
    for kill in kills:
        if isinstance(kill.killer, Simulator):
            healthy = simulation.run(kill.took, options_of(dict(kill.killer.options)))
            assert healthy.violation == "", f"seed {kill.took} fails without {mutant.name} too"


HARMLESS = change("core/quorum.py", '"""Who is enough.\n', '"""Who is enough to decide.\n')


def a_mutant(*changes: Change, killers: tuple[Killer, ...] = ()) -> Mutant:
    return Mutant(name="made-up", rule="1", fault="None.", changes=changes, killers=killers)


def test_a_mutant_survives_when_it_changes_nothing(tmp_path: Path) -> None:
    """Or else the hunt kills whatever it is given."""
    killers = (
        Simulator(seeds_max=2, options={"time_ms": 500.0}),
        World(name="one-slot"),
        UnitTest(node="tests/core/test_quorum.py"),
    )
    kills = hunt(mutant := a_mutant(HARMLESS, killers=killers), plant(mutant, tmp_path))
    assert [kill.by for kill in kills] == ["", "", ""]
    assert [str(kill) for kill in kills] == ["SURVIVED"] * 3


def test_the_changed_text_is_what_runs_when_a_mutant_is_planted(tmp_path: Path) -> None:
    tree = plant(a_mutant(HARMLESS), tmp_path)
    assert "Who is enough to decide." in (tree / "paxos/core/quorum.py").read_text(encoding="utf-8")
    assert not list((tree / "paxos/core/__pycache__").glob("quorum.*"))
    assert (tree / "paxos/machine/kv.py").is_file()


def test_a_mutant_is_refused_when_its_text_is_not_in_the_source(tmp_path: Path) -> None:
    gone = a_mutant(change("core/quorum.py", "no such text", ""))
    with pytest.raises(NotThere, match=r"occurs 0 times in core/quorum\.py"):
        plant(gone, tmp_path)


def test_a_mutant_is_refused_when_its_text_is_there_twice(tmp_path: Path) -> None:
    twice = a_mutant(change("core/quorum.py", "return", "raise"))
    with pytest.raises(NotThere, match=r"occurs \d+ times in core/quorum\.py, not once"):
        plant(twice, tmp_path)


def test_a_mutant_is_refused_when_it_is_no_python(tmp_path: Path) -> None:
    broken = a_mutant(change("core/quorum.py", '"""Who is enough.\n', "(\n"))
    with pytest.raises(SyntaxError):
        plant(broken, tmp_path)


def test_every_mutant_has_a_name_of_its_own_and_a_killer() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)
    assert {mutant.rule for mutant in MUTANTS} == RULES
    assert [mutant.name for mutant in MUTANTS if not mutant.killers] == []


def test_the_table_of_the_readme_lists_every_mutant_as_it_is() -> None:
    """./test.sh tests/mutants --rewrite makes it anew."""
    told = table.rows(table.README.read_text(encoding="utf-8"))
    assert [row[:3] for row in told] == [(one.name, one.rule, one.fault) for one in MUTANTS]
    assert [name for name, _, _, found in told if not found or "SURVIVED" in found] == []
