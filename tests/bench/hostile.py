"""`python -m tests.bench.hostile`: what exporters and handlers in trouble cost those who work beside them.

Measured turn by turn, each round against its own healthy one, and written between two marks of a page.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles

from fluid.clock import now
from tests.bench import machine
from tests.bench.contenders import ours
from tests.bench.handlers import KINDS, Waits, beside
from tests.bench.measuring import Figures, drain
from tests.bench.processes import scene
from tests.bench.receivers import HEALTHY, RECEIVERS, exporting_to
from tests.bench.report import put, table
from tests.support.servers import RedisServer

BEGIN, END = "<!-- hostile -->", "<!-- /hostile -->"

Pairs = dict[str, list[tuple[float, float]]]
"""By what was in trouble, for each round: the figure without the trouble, and with it."""


def exporters(server: RedisServer, rounds: int, runs: int) -> tuple[Pairs, Pairs]:
    """Runs a second, and microseconds of CPU a run; every span is recorded, and sent to each receiver."""
    rates: Pairs = {kind: [] for kind in RECEIVERS}
    costs: Pairs = {kind: [] for kind in RECEIVERS}
    for number in range(rounds):
        figures: dict[str, Figures] = {}
        for kind in RECEIVERS if number % 2 == 0 else reversed(RECEIVERS):
            contender = replace(ours()[0], name=kind)
            with exporting_to(kind) as variables, scene(contender, server, variables) as stage:
                stage.queue("queue_many", runs)
                figures[kind], _ = drain(stage, runs)
            rate = figures[kind].drain_rate
            sys.stderr.write(f"round {number + 1}: exporter {kind}: {rate:,.0f} runs/s\n")
        for kind, one in figures.items():
            rates[kind].append((figures[HEALTHY].drain_rate, one.drain_rate))
            costs[kind].append((1000 * figures[HEALTHY].worker_cpu, 1000 * one.worker_cpu))
    return rates, costs


def handlers(server: RedisServer, rounds: int, runs: int) -> dict[str, Waits]:
    """How long runs took without each handler and beside it, all rounds together."""
    found = {kind: Waits([], []) for kind in KINDS}
    for number in range(rounds):
        for kind, waits in found.items():
            more = asyncio.run(beside(server, kind, runs))
            waits.without.extend(more.without)
            waits.beside.extend(more.beside)
            sys.stderr.write(f"round {number + 1}: {kind}: p50 {median(more.beside):.2f} ms\n")
    return found


def lines_of_waits(found: dict[str, Waits]) -> Iterator[tuple[str, ...]]:
    """A row for each handler: the median and the 99th percentile, and what they are to those without it."""
    for kind, waits in found.items():
        row = [kind, f"{len(waits.beside):,}"]
        for percentile in (50, 99):
            without, beside_it = (quantiles(one, n=100)[percentile - 1] for one in waits)
            row += [f"{without:.2f}", f"{beside_it:.2f}", f"{beside_it / without:.2f}"]
        yield tuple(row)


def lines(pairs: Pairs, form: str) -> Iterator[tuple[str, ...]]:
    """A row for each: the medians, and the median, least and most of the ratios of the rounds."""
    for kind, rounds in pairs.items():
        ratios = [harmed / well for well, harmed in rounds]
        yield (
            kind,
            format(median(well for well, _ in rounds), form),
            format(median(harmed for _, harmed in rounds), form),
            f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        )


def main() -> None:
    """Measure both, tell, and write the page if one is named."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hostile", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10_000, help="drained for each exporter in each round")
    parser.add_argument("--report", type=Path, help="the page whose tables are written anew")
    given = parser.parse_args()
    # told to end, it takes along what it has started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    waiting = os.getloadavg()[1]
    with RedisServer("redis") as server:
        rates, costs = exporters(server, given.rounds, given.runs)
        found = handlers(server, given.rounds, 1200)
    told = "\n".join(
        (
            f"Measured on {now():%Y-%m-%d}: {machine.about()}; Python {platform.python_version()}; "
            f"{given.rounds} rounds, turn by turn; ratios are those of each round: median (least to most). "
            f"When it began, {waiting:.1f} others wanted the {os.cpu_count()} processors.\n",
            table(("exporter", "healthy, runs/s", "so, runs/s", "ratio"), lines(rates, ",.0f")),
            table(("exporter", "healthy, CPU us a run", "so, CPU us a run", "ratio"), lines(costs, ".0f")),
            table(
                ("beside", "runs", "p50 without, ms", "with", "ratio", "p99 without, ms", "with", "ratio"),
                lines_of_waits(found),
            ),
        )
    )
    sys.stdout.write(told)
    if given.report:
        put(given.report, BEGIN, END, told)


if __name__ == "__main__":
    main()
