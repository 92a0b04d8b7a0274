"""Who is broken: a consumer and a scheduler with steady work, and tasks that misbehave."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from typing import TypeVar

from fluid.errors import BrokerError
from fluid.scheduler import Event, TaskConsumer, TaskRun, TaskScheduler, every, task

TICK_SECONDS = 5
BEAT_SECONDS = 1.0
HOG_SECONDS = 0.6
HANDLING_SECONDS = 1.0
"""For each of thousands of events: far too slow."""
FLOOD = 3000
"""Events at once: more than may wait for a handler."""

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=TaskConsumer)


@task(schedule=every(TICK_SECONDS))
async def tick(ctx: TaskRun) -> None:
    """Happen now and then."""


@task
async def beat(ctx: TaskRun) -> None:
    """Be the ordinary work."""


@task
async def flood(ctx: TaskRun) -> None:
    """Be one of very many."""


@task
async def fail(ctx: TaskRun) -> None:
    """Fail, while it is broken."""
    if ctx.params["broken"]:
        raise ValueError("as planned")


@task(timeout_seconds=0)
async def linger(ctx: TaskRun) -> None:
    """Never end."""
    logger.warning("a run lingers here")
    await asyncio.Event().wait()


@task
async def hog(ctx: TaskRun) -> None:
    """Have the event loop stand still."""
    time.sleep(HOG_SECONDS)  # noqa: ASYNC251 - that is the point


@task(max_deliveries=1)
async def poison(ctx: TaskRun) -> None:
    """Take the whole process with it."""
    os.kill(os.getpid(), signal.SIGKILL)


TASKS = (tick, beat, flood, fail, linger, hog, poison)


def consumer() -> TaskConsumer:
    """For `fluid run`: executes, and does not fire schedules."""
    return at_work(TaskConsumer())


def scheduler() -> TaskScheduler:
    """For `fluid run`: fires schedules as well."""
    return at_work(TaskScheduler())


def at_work(one: C) -> C:
    """With tasks, steady work, and a handler that a flood drowns."""

    async def work() -> None:
        try:
            await one.queue(beat)
        except BrokerError:
            logger.warning("the broker is away")

    async def follow(event: Event) -> None:
        if event.run is not None and event.run.name == flood.name:
            await asyncio.sleep(HANDLING_SECONDS)

    one.register_from_dict({each.name: each for each in TASKS})
    one.register_callback(work, seconds=BEAT_SECONDS, periodic=True)
    one.register_async_handler("success.follow", follow)
    return one
