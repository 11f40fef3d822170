"""How the system grows: which role is busy first, and what adding a node of each role does.

    .venv/bin/python -m benchmarks.scaling measure              what each step costs, by role
    .venv/bin/python -m benchmarks.scaling machine [LAYOUT..]   layouts, measured on this machine
    .venv/bin/python -m benchmarks.scaling simulate [LAYOUT..]  layouts, a machine for each node
    .venv/bin/python -m benchmarks.scaling check                what was measured, simulated
    .venv/bin/python -m benchmarks.scaling report               the tables of docs/scaling.md
    benchmarks/.venv/bin/python -m benchmarks.scaling plot      docs/scaling.svg

A LAYOUT is acceptors x gateways x learners, such as 3x2x2. Figures are kept in
scaling_figures.json. `measure` and `machine` start clusters and need the load generator, which
`./benchmarks/run` builds, and a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from . import scaling_figures
from .clusters.paxos import PaxosCluster
from .errors import BenchmarkError
from .generator import FEW_CONNECTIONS, Load
from .progress import say
from .scaling_cluster import Measured, measure
from .scaling_costs import Prices
from .scaling_figures import Check, Figures, Point
from .scaling_layout import Layout

DEFAULT = Layout()
CALIBRATION = (
    *(Load(op, n) for op in ("write", "read") for n in (1, 16, 64, 256, 1024)),
    *(Load(op, n, few=False) for op in ("write", "read") for n in (64, 256)),
    *(Load("write", n, value_bytes=4096) for n in (16, 64)),
)
CALIBRATION_S = 2.0
MACHINE_LAYOUTS = (
    DEFAULT,
    *(Layout(acceptors=n) for n in (5, 7)),
    *(Layout(gateways=n) for n in (1, 3, 4)),
    *(Layout(learners=n) for n in (1, 3, 4)),
    Layout(gateways=4, learners=4),
)
MACHINE_LOADS = tuple(Load(op, n) for op in ("write", "read") for n in (64, 256))
MACHINE_S = 3.0
SIMULATED_LAYOUTS = (
    *(Layout(gateways=g, learners=n) for g in (1, 2, 3, 4) for n in (1, 2, 3, 4)),
    *(Layout(a, n, n) for a in (5, 7) for n in (2, 4)),
)
SIMULATED_LOADS = (
    *((n, FEW_CONNECTIONS) for n in (64, 256, 1024, 4096)),
    *((n, n) for n in (64, 256, 1024)),
)
"""Requests outstanding and connections, per gateway."""
COMMANDS = ("measure", "machine", "simulate", "check", "report", "plot")
WARMUP_MS, SIMULATED_MS = 60.0, 150.0
SEEDS = 3
LOOPBACK_MS = 0.005


def do_measure(figures: Figures, data: Path) -> None:
    """Fit the prices and check them by simulating this machine's own clusters."""
    # Here, because the other commands do not need the system's own code.
    from . import scaling_fit, scaling_steps

    say("timing the roles' steps and the journal")
    figures.steps = scaling_steps.time_steps()
    sync = scaling_steps.time_syncs(data / "journal")
    say(f"loading a cluster of {DEFAULT.title}: {len(CALIBRATION)} loads")
    figures.calibration = measure(DEFAULT, list(CALIBRATION), data, CALIBRATION_S)
    figures.prices = scaling_fit.fit_loop(figures.steps, figures.calibration, sync)
    figures.commit = PaxosCluster(data).version()
    figures.cores = os.cpu_count() or 1
    do_check(figures)


def do_check(figures: Figures) -> None:
    """Simulate the measured loads on as many shared cores."""
    prices = figures.price_list()
    usual = [one for one in figures.calibration if one.value_bytes == 256]
    with ProcessPoolExecutor() as pool:
        figures.checks = list(
            pool.map(_check, usual, [prices] * len(usual), [figures.cores] * len(usual))
        )


def _check(one: Measured, prices: Prices, cores: int) -> Check:
    from .scaling_clients import Demand, simulate

    layout = Layout.parse(one.layout)
    gateways = min(layout.gateways, one.connections)
    demand = Demand(
        one.op,
        one.outstanding // gateways,
        one.connections // gateways,
        client_us=one.generator_us,
        gateways=gateways,
    )
    found = simulate(
        layout,
        demand,
        prices,
        warmup_ms=WARMUP_MS,
        measured_ms=2 * SIMULATED_MS,
        network_ms=LOOPBACK_MS,
        cores=cores,
    )
    measured_us = {role: did["cpu_us"] / one.rate for role, did in one.roles.items()}
    return Check(one.load, one.rate, found.rate, measured_us, found.cpu_us)


def do_machine(figures: Figures, layouts: list[Layout], data: Path) -> None:
    """Measure layouts here, and add what was found to what is known."""
    for number, layout in enumerate(layouts, 1):
        say(f"{number}/{len(layouts)} {layout.title}")
        figures.measured += measure(layout, list(MACHINE_LOADS), data, MACHINE_S)
        scaling_figures.save(figures)


def do_simulate(figures: Figures, layouts: list[Layout]) -> None:
    """Simulate layouts whose nodes have a machine each, and replace what was known of them."""
    runs = list(_runs(layouts))
    say(f"simulating {len(runs)} runs")
    prices = figures.price_list()
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(_simulate, runs, [prices] * len(runs), chunksize=4))
    titles = {layout.title for layout in layouts}
    kept = [one for one in figures.simulated if one.layout not in titles]
    figures.simulated = sorted([*kept, *found], key=_order)


def _order(one: Point) -> tuple[Layout, bool, bool, int]:
    return Layout.parse(one.layout), one.op == "read", not one.few, one.outstanding


def _runs(layouts: list[Layout]) -> Iterator[tuple[Layout, str, int, int]]:
    for layout in layouts:
        for op in ("write", "read"):
            for outstanding, connections in SIMULATED_LOADS:
                yield layout, op, outstanding, connections


def _simulate(run: tuple[Layout, str, int, int], prices: Prices) -> Point:
    """Return the run with the median rate of some seeds: whether gateways happen to send in step
    changes what a write costs.
    """
    _, op, outstanding, connections = run
    seeds = SEEDS if op == "write" and connections < outstanding else 1
    points = sorted(
        (_simulate_once(run, prices, seed) for seed in range(seeds)), key=lambda one: one.rate
    )
    return points[len(points) // 2]


def _simulate_once(run: tuple[Layout, str, int, int], prices: Prices, seed: int) -> Point:
    from .scaling_clients import Demand, simulate

    layout, op, outstanding, connections = run
    found = simulate(
        layout,
        Demand(op, outstanding, connections),
        prices,
        warmup_ms=WARMUP_MS,
        measured_ms=SIMULATED_MS,
        seed=seed,
    )
    return Point(
        layout=layout.title,
        op=op,
        outstanding=outstanding,
        connections=connections,
        rate=found.rate,
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        busy=found.busy,
        disk=found.disk,
        cpu_us=found.cpu_us,
    )


def main(words: list[str] | None = None) -> int:
    """Do one command; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("layouts", nargs="*", help="for `machine` and `simulate`; all by default")
    parser.add_argument("--again", action="store_true", help="`machine`: forget what was measured")
    parser.add_argument("--data", type=Path, help="where clusters keep their data")
    asked = parser.parse_args(words)
    try:
        figures = scaling_figures.load()
        with tempfile.TemporaryDirectory(dir=asked.data, prefix="scaling-") as folder:
            _do(asked, figures, Path(folder))
    except BenchmarkError as error:
        say(str(error))
        return 1
    return 0


def _do(asked: argparse.Namespace, figures: Figures, data: Path) -> None:
    layouts = [Layout.parse(text) for text in asked.layouts]
    match asked.command:
        case "measure":
            do_measure(figures, data)
        case "machine":
            if asked.again:
                figures.measured = []
            do_machine(figures, layouts or list(MACHINE_LAYOUTS), data)
        case "simulate":
            do_simulate(figures, layouts or list(SIMULATED_LAYOUTS))
        case "check":
            do_check(figures)
        case shown:
            # Each needs what the other's Python may not have.
            importlib.import_module(f"benchmarks.scaling_{shown}").write(figures)
            return
    scaling_figures.save(figures)


if __name__ == "__main__":
    sys.exit(main())
