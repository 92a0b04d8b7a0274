"""Whatever a handler does, no run beside it waits for it, fails, repeats or is lost.

How quick they are is measured by `make hostile`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from fluid.scheduler import Event, TaskConsumer, TaskRun, TaskState, task
from fluid.testing import Recorder
from tests.fluid.scheduler.consuming import consuming

RUNS = 60

Handler = Callable[[Event], Awaitable[None]]


@task
async def idle(ctx: TaskRun) -> None: ...


async def hanging(event: Event) -> None:
    await asyncio.Event().wait()


async def raising(event: Event) -> None:
    raise RuntimeError("no pager")


def raising_in_line(event: Event) -> None:
    raise RuntimeError("no pager")


def flooding(consumer: TaskConsumer) -> Handler:
    """Every event makes a hundred more."""

    async def flood(event: Event) -> None:
        for _ in range(100):
            consumer._announcer.announce("queue_resumed")

    return flood


async def nothing_went_wrong(consumer: TaskConsumer, heard: Recorder, count: int) -> None:
    await heard.wait_for("success", count=count)
    assert {event.run.id for event in heard.of("success") if event.run} == {
        event.run.id for event in heard.of("queued") if event.run
    }
    assert len(heard.of("start")) == count
    for event in ("retry", "lost", "stale", "failure", "dead", "interrupted"):
        assert heard.of(event) == []
    assert (await consumer.broker.snapshot()).books.unaccounted == 0


@pytest.mark.parametrize("kind", ["hanging", "raising", "raising_in_line", "flooding"])
async def test_no_run_waits_for_a_harmful_handler(broker_url: str, kind: str) -> None:
    async with consuming(broker_url, idle, stopping_grace_period=0.2) as (consumer, heard):
        if kind == "raising_in_line":
            consumer.dispatcher.register_handler("*.harmful", raising_in_line)
        elif kind == "flooding":
            consumer.register_async_handler("queue_resumed.flooded", hanging)
            consumer.register_async_handler("end.harmful", flooding(consumer))
        else:
            consumer.register_async_handler("*.harmful", {"hanging": hanging, "raising": raising}[kind])
        for _ in range(RUNS):
            run = await consumer.queue_and_wait(idle, timeout=20)
            assert run.state is TaskState.success
        await nothing_went_wrong(consumer, heard, RUNS)


async def test_a_handler_that_blocks_the_loop_for_longer_than_a_lease_loses_no_run(broker_url: str) -> None:
    called: list[str] = []

    async def blocking(event: Event) -> None:
        if len(called) < 2:
            called.append(event.name)
            time.sleep(0.7)  # noqa: ASYNC251 - this is what handlers should not do

    async with consuming(broker_url, idle, lease_seconds=0.3) as (consumer, heard):
        consumer.register_async_handler("start.blocking", blocking)
        await consumer.queue_many(idle, [{}] * 40)
        await nothing_went_wrong(consumer, heard, 40)
    assert called == ["start"] * 2


async def test_a_handler_in_line_that_blocks_the_loop_loses_no_run(broker_url: str) -> None:
    called: list[str] = []

    def blocking(event: Event) -> None:
        if len(called) < 2:
            called.append(event.name)
            time.sleep(0.7)

    async with consuming(broker_url, idle, lease_seconds=0.3) as (consumer, heard):
        consumer.dispatcher.register_handler("start.blocking", blocking)
        await consumer.queue_many(idle, [{}] * 40)
        await nothing_went_wrong(consumer, heard, 40)
    assert called == ["start"] * 2


async def test_a_handler_that_ignores_its_cancellation_holds_up_neither_runs_nor_the_stop(
    broker_url: str,
) -> None:
    let_go = asyncio.Event()

    async def deaf(event: Event) -> None:
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await let_go.wait()

    async with consuming(broker_url, idle, stopping_grace_period=0.1) as (consumer, heard):
        consumer.register_async_handler("start.deaf", deaf)
        await consumer.queue_many(idle, [{}] * 20)
        await nothing_went_wrong(consumer, heard, 20)
    assert consumer.state.is_stopped
    let_go.set()
