"""A consumer as a process of its own: `python -m tests.chaos.fleet URL SETTINGS`.

It says what it announces, a line each. What its bodies do is in the ledger.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from fluid.scheduler import Event, TaskConsumer, TaskManager, TaskRun, task
from tests.support.ledger import Ledger


def _note(ctx: TaskRun[Any], what: str) -> None:
    Ledger(Path(ctx.params["ledger"])).write(ctx.id, ctx.name, what, ctx.attempt)


@task(timeout_seconds=0)
async def hold(ctx: TaskRun) -> None:
    """Run until the file `gate` is there."""
    _note(ctx, "start")
    while not Path(ctx.params["gate"]).exists():  # noqa: ASYNC110, ASYNC240 - a file tells nobody that it came
        await asyncio.sleep(0.02)
    _note(ctx, "end")


@task(timeout_seconds=0)
async def block(ctx: TaskRun) -> None:
    """Hold up the event loop for so many seconds."""
    _note(ctx, "start")
    time.sleep(ctx.params["seconds"])  # noqa: ASYNC251 - that is what is tried
    _note(ctx, "end")


@task
async def quick(ctx: TaskRun) -> None:
    """Start and end."""
    _note(ctx, "start")
    _note(ctx, "end")


def know_all(manager: TaskManager) -> None:
    """Register every task of this room."""
    manager.register_from_dict(globals())


def _say(event: Event) -> None:
    run_id = event.run.id if event.run else "-"
    print(event.name, run_id, event.owner or event.facts.get("consumer", "-"), flush=True)  # noqa: T201


def main(url: str, settings: str) -> None:
    consumer = TaskConsumer(broker_url=url, **msgspec.json.decode(settings))
    know_all(consumer)
    consumer.dispatcher.register_handler("*.say", _say)
    asyncio.run(consumer.safe_run())


if __name__ == "__main__":
    main(*sys.argv[1:])
