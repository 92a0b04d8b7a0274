"""Where users of other queues have been burnt, and no other test of ours has looked."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack

import pytest

from fluid.scheduler import QueueOptions, Snapshot, TaskRun, task
from fluid.scheduler.brokers.keys import Keys
from tests.fluid.scheduler.consuming import Gate, consuming, eventually
from tests.support.queues import OwnQueue
from tests.support.waiting import poll

LEASE = 0.5
LEASES = 4
"""How many of them pass while runs wait."""


async def rescue_passes(queue: OwnQueue, count: int) -> None:
    """Until so many more passes of the rescuer have been made: three in a lease."""
    with queue.server.client() as client:

        async def last() -> object:
            return client.hget(Keys(queue.name)["upkeep"], "rescued")

        seen = {await last()}
        for _ in range(count):
            seen.add(await poll(last, lambda now: now not in seen, "a rescue pass"))


@pytest.mark.slow
async def test_what_waits_or_runs_for_many_leases_is_delivered_once(broker_queue: OwnQueue) -> None:
    gate = Gate()
    starts: Counter[str] = Counter()

    @task(timeout_seconds=0)
    async def work(ctx: TaskRun) -> None:
        starts[ctx.id] += 1
        await gate.wait()

    @task(timeout_seconds=0, max_concurrency=1)
    async def alone(ctx: TaskRun) -> None:
        starts[ctx.id] += 1
        await gate.wait()

    async with AsyncExitStack() as stack:
        settings = {"lease_seconds": LEASE, "max_concurrent_tasks": 2}
        fleet = [
            await stack.enter_async_context(consuming(broker_queue.url, work, alone, **settings))
            for _ in range(2)
        ]
        (consumer, _), _ = fleet
        later = QueueOptions(delay=LEASE * LEASES)
        runs = [await consumer.queue(alone) for _ in range(2)]
        runs += await consumer.queue_many(work, [{}] * 10)
        runs += await consumer.queue_many(work, [{}] * 10, options=later)
        await gate.wait_for(4)

        def all_there(seen: Snapshot) -> bool:
            return (seen.running, seen.held, seen.ready, seen.scheduled) == (4, 1, 7, 10)

        await poll(consumer.broker.snapshot, all_there, "runs in every place")
        await rescue_passes(broker_queue, 3 * (LEASES + 1))
        assert starts.total() == 4, "nothing that waits was taken before there was room for it"
        gate.open()
        await eventually(lambda: sum(len(heard.of("success")) for _, heard in fleet) == 22, "22 runs to end")
        books = (await consumer.broker.snapshot()).books
        assert [event for _, heard in fleet for event in heard.of("lost")] == []
    assert starts == {run.id: 1 for run in runs}
    assert (books.accepted, books.success, books.unaccounted) == (22, 22, 0)
