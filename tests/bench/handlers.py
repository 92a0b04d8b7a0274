"""How soon runs end beside a handler that does harm, and without it, turn by turn in one consumer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import NamedTuple

from fluid.clock import elapsed
from fluid.scheduler import Event, TaskConsumer, TaskRun, task
from tests.support.servers import RedisServer

IN_FLIGHT = 8
"""Runs that are waited for at once."""

TURNS = 8
"""How often those without the handler and those beside it take turns within a round."""

BLOCKED_SECONDS = 0.02
"""What the handler that blocks takes of the loop, at every run that succeeds."""

GOOD, HANGING, RAISING, IN_LINE, FLOODING, BLOCKING = KINDS = (
    "an async handler that does nothing, to compare with",
    "an async handler that hangs",
    "an async handler that raises",
    "a sync handler that raises",
    "a handler that makes 100 events of each",
    f"a sync handler that blocks the loop for {1000 * BLOCKED_SECONDS:.0f} ms each time",
)


@task
async def idle(ctx: TaskRun) -> None:
    """Do nothing."""


async def listen(event: Event) -> None:
    """Do no harm."""


async def hang(event: Event) -> None:
    """Never return."""
    await asyncio.Event().wait()


async def fail(event: Event) -> None:
    """Raise."""
    raise RuntimeError("no pager")


def fail_in_line(event: Event) -> None:
    """Raise, in line."""
    raise RuntimeError("no pager")


def block(event: Event) -> None:
    """Keep the loop to itself."""
    time.sleep(BLOCKED_SECONDS)


@asynccontextmanager
async def harmed(consumer: TaskConsumer, kind: str) -> AsyncIterator[None]:
    """A handler of this kind is registered."""

    async def flood(event: Event) -> None:
        for _ in range(100):
            consumer.announce("loop_blocked", facts={})

    if kind == FLOODING:
        consumer.register_async_handler("loop_blocked.flooded", hang)
        consumer.register_async_handler("success.harmful", flood)
    elif kind in (GOOD, HANGING, RAISING):
        handler = {GOOD: listen, HANGING: hang, RAISING: fail}[kind]
        consumer.register_async_handler("*.harmful", handler)
    elif kind == IN_LINE:
        consumer.dispatcher.register_handler("*.harmful", fail_in_line)
    else:
        consumer.dispatcher.register_handler("success.harmful", block)
    try:
        yield
    finally:
        for registered in ("*.harmful", "success.harmful", "loop_blocked.flooded"):
            consumer.dispatcher.unregister_handler(registered)
            consumer.unregister_async_handler(registered)


async def waits(consumer: TaskConsumer, runs: int) -> list[float]:
    """Milliseconds, for each run, from the call that queues it to the answer that it has ended."""
    took: list[float] = []

    async def wait_for_some() -> None:
        for _ in range(runs // IN_FLIGHT):
            began = elapsed()
            await consumer.queue_and_wait(idle, timeout=60)
            took.append(1000 * (elapsed() - began))

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(wait_for_some())
    return took


class Waits(NamedTuple):
    """Milliseconds of every run."""

    without: list[float]
    beside: list[float]


async def beside(server: RedisServer, kind: str, runs: int) -> Waits:
    """Those of so many runs without the handler, and of so many beside it, in turns."""
    with server.client() as client:
        client.flushall()
    # what fails is logged, which is not what is measured here
    logging.getLogger("fluid").setLevel(logging.CRITICAL)
    consumer = TaskConsumer(broker_url=server.queue_url("hostile"), stopping_grace_period=0.2)
    consumer.register_task(idle)
    found = Waits([], [])
    async with consumer:
        await waits(consumer, IN_FLIGHT * 10)  # it is warm
        for turn in range(TURNS):
            # one follows the other as often as the other way round
            for harm in (turn % 2 == 0, turn % 2 == 1):
                async with harmed(consumer, kind) if harm else nullcontext():
                    (found.beside if harm else found.without).extend(await waits(consumer, runs // TURNS))
    return found
