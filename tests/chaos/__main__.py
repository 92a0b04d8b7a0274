"""`python -m tests.chaos --seed 1 --runs 20000 --minutes 2 --report FILE`: break it, and tell what held."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from fluid.clock import elapsed
from tests.chaos.harness.evidence import Evidence, Plan
from tests.chaos.harness.report import page
from tests.chaos.harness.verdict import judge
from tests.chaos.harness.world import Cast, opened
from tests.support.servers import Flavour

RUNS_A_MINUTE = 10_000


def main() -> int:
    """0 when every rule holds for every seed, else 1."""
    given = arguments()
    runs = round(RUNS_A_MINUTE * given.minutes) if given.runs is None else given.runs
    judged = []
    for seed in given.seed:
        asked = Plan(seed, runs, given.minutes * 60, given.lease, rewinds=given.rewinds)
        directory = given.ledgers and given.ledgers / f"seed-{seed}"
        if directory is not None:
            directory.mkdir(parents=True)
        evidence = asyncio.run(chaos(asked, given.broker, directory))
        judged.append((evidence, judge(evidence)))
    text = page(judged)
    if given.report is not None:
        given.report.write_text(text)
    print(text)  # noqa: T201
    return 0 if all(finding.good for _, findings in judged for finding in findings) else 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, nargs="+", default=[1], help="one or more, one after the other")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long things are broken")
    parser.add_argument("--runs", type=int, help=f"at least so many ({RUNS_A_MINUTE} a minute)")
    parser.add_argument("--lease", type=float, default=1.5, help="seconds")
    parser.add_argument("--broker", choices=("redis", "valkey"), default="redis")
    parser.add_argument(
        "--rewinds", action="store_true", help="cut the broker's file and promote a replica too"
    )
    parser.add_argument("--report", type=Path, help="where the report is written")
    parser.add_argument("--ledgers", type=Path, help="where ledgers and logs are left")
    return parser.parse_args()


async def chaos(asked: Plan, flavour: Flavour, directory: Path | None) -> Evidence:
    """Build the world, break it, and tell on the way how far it has come."""
    begin = elapsed()
    logging.basicConfig(level=logging.ERROR)

    def say(line: str) -> None:
        print(f"{elapsed() - begin:6.1f} s  {line}", file=sys.stderr, flush=True)  # noqa: T201

    async with opened(asked, Cast(), flavour=flavour, directory=directory) as world:
        return await world.run(say)


if __name__ == "__main__":
    sys.exit(main())
