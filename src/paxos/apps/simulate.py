"""`paxos simulate`: the command's options. The work is in simulate_run.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paxos.core.errors import ConfigurationError


def simulate(
    seed: Annotated[
        int | None, typer.Option(help="The first seed; drawn and printed when not given.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, one after the other.")] = 100,
    minutes: Annotated[
        float | None, typer.Option(help="Go on with new seeds for so long instead.")
    ] = None,
    seconds: Annotated[
        float, typer.Option("--time", min=0.1, help="Simulated seconds of faults in each seed.")
    ] = 5.0,
    fault_names: Annotated[
        str,
        typer.Option("--faults", help="Kinds or groups of faults, by commas; 'list' tells them."),
    ] = "all",
    acceptors: Annotated[int, typer.Option(min=0, max=9, help="0: the seed chooses.")] = 0,
    proposers: Annotated[int, typer.Option(min=0, max=9, help="0: the seed chooses.")] = 0,
    learners: Annotated[int, typer.Option(min=1, max=9)] = 2,
    clients: Annotated[
        int, typer.Option(min=0, max=9, help="Client nodes (gateways); 0: the seed chooses.")
    ] = 0,
    users: Annotated[int, typer.Option(min=1, max=50, help="Client connections.")] = 5,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core.")] = 0,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Do not stop at the first seed that fails.")
    ] = False,
    shrink_failures: Annotated[
        bool, typer.Option("--shrink/--no-shrink", help="Shrink a failure and draw it.")
    ] = True,
    replay: Annotated[
        Path | None, typer.Option(help="Repeat one shrunk failure from its file.")
    ] = None,
    history_file: Annotated[
        Path | None,
        typer.Option("--history", help="Write the clients' history of one seed as JSON lines."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value.")] = False,
) -> None:
    """Run simulated clusters under faults and check every rule: one seed is one whole life.

    Ends with 0 when no rule broke, with 1 when one did: then it prints the seed, the command that
    repeats it, and what happened as a ladder diagram.
    """
    # Imported here: no other command needs the simulator.
    from paxos.sim.simulation import Options

    from . import simulate_run

    if fault_names == "list":
        simulate_run.list_faults(as_json)
        return
    if replay is not None:
        simulate_run.replay(replay, as_json)
        return
    if seed is not None and not 0 <= seed < simulate_run.SEED_MAX:
        raise ConfigurationError(f'--seed "{seed}": must be in 0..{simulate_run.SEED_MAX - 1}')
    options = Options(
        time_ms=seconds * 1000.0,
        clients=users,
        acceptors=acceptors,
        proposers=proposers,
        learners=learners,
        gateways=clients,
        kinds=simulate_run.kinds_of(fault_names),
    )
    if history_file is not None:
        simulate_run.write_history(seed or 0, options, history_file)
        return
    simulate_run.run_many(
        seed,
        None if minutes is not None else seeds,
        minutes,
        options,
        jobs=jobs,
        keep_going=keep_going,
        shrinking=shrink_failures,
        as_json=as_json,
    )
