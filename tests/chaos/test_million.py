"""Runs without end go through a queue, and neither the broker nor the consumer grows.

50,000 of them, or as many as `FLUID_TEST_RUNS` says: `make million` asks for a million.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis import Redis

from fluid.scheduler import TaskManager
from fluid.scheduler.brokers.keys import Keys
from tests.chaos import fleet
from tests.chaos.cast import consumer_process
from tests.support.processes import PythonProcess
from tests.support.queues import OwnQueue
from tests.support.servers import RedisServer
from tests.support.waiting import poll

RUNS = int(os.environ.get("FLUID_TEST_RUNS", "50000"))
BATCH = 500
MOST_OPEN = 10 * BATCH
MEGABYTE = 1 << 20
GROWTH = 3 * MEGABYTE
"""Of a consumer between a quarter of the runs and all of them: noise. 85 bytes a run would be more."""


def resident(process: PythonProcess) -> int:
    """Bytes of memory that the process has."""
    told = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process.pid)], check=True, capture_output=True, text=True
    )
    return int(told.stdout) * 1024


class Flow:
    """What is put through a queue, and what it leaves there."""

    def __init__(self, manager: TaskManager, queue: OwnQueue, client: Redis) -> None:
        self._manager = manager
        self._queue = queue
        self._client = client
        self.queued = 0

    async def pass_through(self, runs: int) -> None:
        """Queue so many runs, never too many at once, and see them all end."""
        for _ in range(runs // BATCH):
            await self._manager.queue_many("nothing", [{}] * BATCH)
            self.queued += BATCH
            await self._until_open(MOST_OPEN)
        await self._until_open(0)

    async def _until_open(self, most: int) -> None:
        async def count() -> int:
            return self.queued - (await self._manager.broker.snapshot()).books.success

        await poll(count, lambda count: count <= most, "runs to end")

    async def kept(self) -> dict[str, int]:
        """The keys that are left and the bytes each takes, once the records of runs have expired."""

        async def keys() -> list[str]:
            return self._queue.keys(self._client)

        records = Keys(self._queue.name).run("")
        left = await poll(
            keys, lambda keys: not any(key.startswith(records) for key in keys), "records to go"
        )
        return {key: self._client.memory_usage(key, samples=0) or 0 for key in left}


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.timeout(120 + RUNS // 500)
async def test_a_million_runs_leave_broker_and_consumer_where_they_were(
    tmp_path: Path, free_port: int
) -> None:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer("redis"))
        queue = OwnQueue(server, "million")
        client = stack.enter_context(server.client())
        consumer = await stack.enter_async_context(
            consumer_process(queue.url, tmp_path / "said", loud=False, telemetry_port=free_port)
        )
        manager = await stack.enter_async_context(TaskManager(broker_url=queue.url))
        fleet.know_all(manager)
        flow = Flow(manager, queue, client)
        await flow.pass_through(RUNS // 4)
        kept, used, size = await flow.kept(), client.info("memory")["used_memory"], resident(consumer)
        await flow.pass_through(RUNS - RUNS // 4)
        kept_after, used_after = await flow.kept(), client.info("memory")["used_memory"]
        size_after = resident(consumer)
        books, leaks = (await manager.broker.snapshot()).books, queue.leaks()
    assert (books.accepted, books.success, books.unaccounted) == (flow.queued, flow.queued, 0)
    assert leaks == []
    assert sum(kept_after.values()) < sum(kept.values()) + MEGABYTE // 8
    assert used_after < used + MEGABYTE
    assert size_after < size + GROWTH
