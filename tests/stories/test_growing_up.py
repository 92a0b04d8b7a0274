"""Attempts, schedules, handlers, flows: what a service needs after the first week."""

from __future__ import annotations

import asyncio

import pytest

from fluid.errors import RunAbortedError
from fluid.scheduler import (
    Abort,
    Event,
    Retry,
    RetryPolicy,
    TaskConsumer,
    TaskRun,
    TaskScheduler,
    TaskState,
    chain,
    every,
    group,
    task,
)

# A task that may fail says how often it is tried, and how long to wait in between.

calls: list[str] = []


@task(retry=RetryPolicy(max_attempts=3, wait=0.01))
async def fetch(ctx: TaskRun) -> str:
    calls.append(ctx.id)
    if ctx.attempt < 3:
        raise ConnectionError("no answer")
    return f"at the {ctx.attempt}rd attempt"


async def test_another_attempt(broker_url: str) -> None:
    async with TaskConsumer(broker_url=broker_url) as consumer:
        run = await consumer.queue(fetch)
        assert await run.result(timeout=5) == "at the 3rd attempt"
        assert calls.count(run.id) == 3


# The body may know better than the policy.


@task(retry=RetryPolicy(max_attempts=2))
async def poll(ctx: TaskRun) -> str:
    if ctx.attempt == 1:
        raise Retry("not ready", delay=0.01)
    return "ready"


@task(retry=RetryPolicy(max_attempts=10))
async def ship(ctx: TaskRun) -> None:
    raise Abort("the order was cancelled")


async def test_a_body_asks_for_another_attempt_or_for_none(broker_url: str) -> None:
    async with TaskConsumer(broker_url=broker_url) as consumer:
        assert await (await consumer.queue(poll)).result(timeout=5) == "ready"
        with pytest.raises(RunAbortedError, match="the order was cancelled"):
            await (await consumer.queue(ship)).result(timeout=5)


# Somebody wants to know when something fails. A handler never slows a run down.


@task
async def backup(ctx: TaskRun) -> None:
    raise OSError("disk full")


async def test_somebody_is_told_of_a_failure(broker_url: str) -> None:
    pages: asyncio.Queue[str] = asyncio.Queue()

    async def page(event: Event) -> None:
        assert event.run is not None
        await pages.put(f"{event.run.name}: {event.run.error}")

    async with TaskConsumer(broker_url=broker_url) as consumer:
        consumer.register_async_handler("failure.pager", page)
        await consumer.queue(backup)
        async with asyncio.timeout(5):
            assert await pages.get() == "backup: OSError: disk full"


# What failed is kept, and can be given another chance.

fixed: list[bool] = []


@task
async def publish(ctx: TaskRun) -> str:
    if not fixed:
        raise RuntimeError("the template is broken")
    return "published"


async def test_a_failure_is_looked_at_mended_and_replayed(broker_url: str) -> None:
    fixed.clear()
    async with TaskConsumer(broker_url=broker_url) as consumer:
        failed = await consumer.queue_and_wait(publish, timeout=5)
        (listed,) = await consumer.list_runs(TaskState.failure)
        assert (listed.id, listed.error) == (failed.id, "RuntimeError: the template is broken")
        fixed.append(True)
        again = await consumer.replay(failed.id)
        assert again.from_run_id == failed.id
        assert await again.result(timeout=5) == "published"


# A scheduler is a consumer that also fires schedules, once in the whole fleet.


async def test_every_so_often(broker_url: str) -> None:
    ticks: asyncio.Queue[str] = asyncio.Queue()

    @task(schedule=every(0.2))
    async def heartbeat(ctx: TaskRun) -> None:
        await ticks.put(ctx.id)

    scheduler = TaskScheduler(broker_url=broker_url)
    scheduler.register_task(heartbeat)
    async with scheduler, asyncio.timeout(10):
        first, second = await ticks.get(), await ticks.get()
    assert first != second


# Runs that belong together.


@task
async def square(ctx: TaskRun) -> int:
    return int(ctx.params["n"]) ** 2


@task
async def total(ctx: TaskRun) -> int:
    parts = [await ctx.queue(square, n=n) for n in ctx.params["numbers"]]
    return sum(await group(parts).results(timeout=5))


async def test_a_run_queues_others_and_waits_for_them(broker_url: str) -> None:
    async with TaskConsumer(broker_url=broker_url) as consumer:
        run = await consumer.queue(total, numbers=[1, 2, 3])
        assert await run.result(timeout=10) == 14
        last = await chain(consumer, (square, {"n": 2}), (square, {"n": 3}), timeout=5)
        assert await last.result() == 9


# Changing one's mind.


async def test_a_run_is_cancelled_while_it_runs(broker_url: str) -> None:
    started = asyncio.Event()

    @task
    async def long_report(ctx: TaskRun) -> None:
        started.set()
        await asyncio.Event().wait()

    async with TaskConsumer(broker_url=broker_url) as consumer:
        run = await consumer.queue(long_report)
        await started.wait()
        assert await run.cancel()
        with pytest.raises(RunAbortedError, match="cancelled"):
            await run.result(timeout=5)


# A deploy loses nothing: what has not ended in time runs again elsewhere, and that costs no attempt.


async def test_a_deploy(broker_url: str) -> None:
    attempts: list[int] = []
    started, may_end = asyncio.Event(), asyncio.Event()

    @task
    async def migrate(ctx: TaskRun) -> str:
        attempts.append(ctx.attempt)
        started.set()
        await may_end.wait()
        return "migrated"

    async with TaskConsumer(broker_url=broker_url, stopping_grace_period=0.05) as old:
        run = await old.queue(migrate)
        await started.wait()
    may_end.set()
    async with TaskConsumer(broker_url=broker_url) as new:
        new.register_task(migrate)
        again = await new.get_run(run.id)
        assert await again.result(timeout=5) == "migrated"
    assert attempts == [1, 1]
