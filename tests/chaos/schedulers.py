"""A scheduler with a wrong clock, in a process: `python -m tests.chaos.schedulers URL LEDGER SKEW`."""

from __future__ import annotations

import asyncio
import datetime
import sys
import time
from pathlib import Path

import fluid.clock
from fluid.scheduler import Task, TaskRun, TaskScheduler, crontab, every, task
from tests.support.ledger import Ledger

INTERVAL = 0.1
OFTEN = {f"often-{number}": number * INTERVAL / 5 for number in range(5)}
"""Schedules that tick so often, and their offsets."""
ZONE = "Europe/Berlin"
CLOCK_CHANGES = {
    # on the Sundays of the months in which the clock changes, around the hour in which it does
    "fixed": "30 2 * 3,10 SUN",
    "repeating": "*/20 2 * 3,10 SUN",
}


def ticking(ledger: Ledger) -> dict[str, Task]:
    """The tasks; a body writes down that it ran, and so which tick was fired."""

    async def tick(ctx: TaskRun) -> None:
        ledger.write(ctx.id, ctx.name, "tick", ctx.attempt)

    often = {name: every(INTERVAL, offset=offset, missed="all") for name, offset in OFTEN.items()}
    seldom = {name: crontab(text, timezone=ZONE, missed="all") for name, text in CLOCK_CHANGES.items()}
    return {name: task(name, schedule=schedule)(tick) for name, schedule in (often | seldom).items()}


def skew(seconds: float) -> None:
    """Set the clock of this process wrong, wherever the product reads it: in its one room for that."""
    real = time.time
    time.time = lambda: real() + seconds

    class Skewed(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Skewed:
            return cls.fromtimestamp(time.time(), tz)

    vars(fluid.clock)["datetime"] = Skewed


def main(url: str, ledger: str, wrong_by: str) -> None:
    skew(float(wrong_by))
    scheduler = TaskScheduler(broker_url=url, lease_seconds=1.0, max_deliveries=100)
    scheduler.register_from_dict(ticking(Ledger(Path(ledger))))
    asyncio.run(scheduler.safe_run())


if __name__ == "__main__":
    main(*sys.argv[1:])
