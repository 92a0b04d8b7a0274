"""A consumer as a process of its own: `python -m tests.chaos.fleet URL SETTINGS`.

It says what it announces, a line each. What its bodies do is in the ledger.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from fluid.scheduler import Event, TaskConsumer, TaskManager, TaskRun, task
from telemetry import Telemetry
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


@task(timeout_seconds=0)
async def stand(ctx: TaskRun) -> int:
    """Hold up the event loop until the file `gate` is there; the process that did it."""
    _note(ctx, "start")
    while not Path(ctx.params["gate"]).exists():  # noqa: ASYNC240 - it is meant to hold up the loop
        time.sleep(0.02)  # noqa: ASYNC251
    _note(ctx, "end")
    return os.getpid()


@task(timeout_seconds=0)
async def insist(ctx: TaskRun) -> int:
    """Run until the file `gate-<attempt>` is there, whoever cancels it; the attempt that it was."""
    _note(ctx, "start")
    gate = Path(f"{ctx.params['gate']}-{ctx.attempt}")
    while not gate.exists():  # noqa: ASYNC240
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.02)
    _note(ctx, "end")
    return ctx.attempt


@task(max_concurrency=1, timeout_seconds=0)
async def alone(ctx: TaskRun) -> None:
    """As `hold`, one at a time in the whole fleet."""
    await hold.executor(ctx)


@task(cpu_bound=True, timeout_seconds=0)
def crunch(ctx: TaskRun) -> None:
    """Hold up a process of its own, until somebody kills it."""
    _note(ctx, "start")
    time.sleep(600)


@task
async def nap(ctx: TaskRun) -> None:
    """Take a moment."""
    _note(ctx, "start")
    await asyncio.sleep(ctx.params["seconds"])
    _note(ctx, "end")


@task
async def poison(ctx: TaskRun) -> None:
    """Take the whole process along."""
    _note(ctx, "start")
    os.kill(os.getpid(), signal.SIGKILL)


@task(result_ttl=0.001)
async def nothing(ctx: TaskRun) -> None:
    """Do nothing, and leave nothing behind."""


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
    given = msgspec.json.decode(settings)
    port, loud = given.pop("telemetry_port", None), given.pop("loud", True)
    consumer = TaskConsumer(broker_url=url, **given)
    know_all(consumer)
    if loud:
        consumer.dispatcher.register_handler("*.say", _say)
    if port is not None:
        Telemetry(port=port).attach(consumer)
    asyncio.run(_work(consumer))


async def _work(consumer: TaskConsumer) -> None:
    """Until SIGTERM."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.gracefully_stop)
    await consumer.safe_run()


if __name__ == "__main__":
    main(*sys.argv[1:])
