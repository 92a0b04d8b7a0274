"""Somebody on call watches the whole fleet, and a program does it for them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

from fluid.clock import now
from fluid.scheduler import FleetEvent, RetryPolicy, TaskConsumer, TaskManager, TaskRun, task

# Consumers and producers tell what they do, because they are set to.


@task(retry=RetryPolicy(max_attempts=2, wait=0.01))
async def deliver(ctx: TaskRun) -> str:
    if ctx.attempt == 1:
        raise ConnectionError("the door is locked")
    return "delivered"


async def test_one_place_tells_what_all_processes_do(broker_url: str) -> None:
    seen: list[FleetEvent] = []

    async def watch() -> None:
        async with TaskManager(broker_url=broker_url) as onlooker:
            ago = now() - timedelta(minutes=5)
            async with aclosing(onlooker.events(task=deliver, since=ago)) as events:
                async for event in events:
                    seen.append(event)
                    if {"success", "queued"} <= {one.name for one in seen}:
                        return

    async with (
        TaskConsumer(broker_url=broker_url, fleet_events=1000) as consumer,
        TaskManager(broker_url=broker_url, fleet_events=1000) as shop,
        asyncio.timeout(30),
    ):
        consumer.register_task(deliver)
        run = await shop.queue(deliver, parcel=7)
        await watch()
        name = consumer.consumer_name
    done_there = [(event.name, event.attempt, event.reason) for event in seen if event.consumer == name]
    assert done_there == [
        ("start", 1, ""),
        ("retry", 1, "error"),
        ("start", 2, ""),
        ("end", 2, ""),
        ("success", 2, ""),
    ]
    assert {event.run_id for event in seen} == {run.id}


# They stop watching, and go on later where they were.


async def test_a_watcher_comes_back_and_has_missed_nothing(broker_url: str) -> None:
    async with TaskConsumer(broker_url=broker_url, fleet_events=1000) as consumer:
        await consumer.queue_and_wait(deliver, timeout=20)
        async with asyncio.timeout(30), aclosing(consumer.events(event="start", since="0-0")) as events:
            first = await anext(events)
        await consumer.queue_and_wait(deliver, timeout=20)
        async with asyncio.timeout(30), aclosing(consumer.events(event="start", since=first.id)) as events:
            attempts = [(await anext(events)).attempt for _ in range(3)]
    assert (first.attempt, attempts) == (1, [2, 1, 2])
