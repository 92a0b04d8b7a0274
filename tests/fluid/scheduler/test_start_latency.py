"""How soon a queued run starts in an idle consumer, against what waking somebody by Redis takes at least.

The figures themselves are printed by `make latency`; here two ways are compared that meet the same machine.
"""

from __future__ import annotations

import asyncio
from statistics import median
from urllib.parse import urlsplit

from redis.asyncio import Redis

from fluid.clock import elapsed
from fluid.scheduler import TaskRun, task
from tests.fluid.scheduler.consuming import consuming

ROUNDS = 40
MOST = 10
"""Times as long as a bare wake-up; four in fact. Whoever polls, or waits for a timer, takes more."""


async def test_a_run_starts_by_a_wake_up_and_not_when_somebody_looks(broker_url: str) -> None:
    loop = asyncio.get_running_loop()
    started: asyncio.Future[float] = loop.create_future()

    @task
    async def note(ctx: TaskRun) -> None:
        started.set_result(elapsed())

    async def woken(sleeper: Redis, caller: Redis) -> float:
        """Seconds from the call to the answer of somebody who waits at a list."""
        waiting = asyncio.ensure_future(sleeper.blpop(["wake-up"], timeout=10))
        while (await caller.info("clients"))["blocked_clients"] < 2:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0)
        called = elapsed()
        await caller.rpush("wake-up", "now")
        await waiting
        return elapsed() - called

    ours, bare = [], []
    server = urlsplit(broker_url)
    host, port = server.hostname or "", server.port or 0
    async with (
        consuming(broker_url, note) as (consumer, heard),
        Redis(host=host, port=port) as sleeper,
        Redis(host=host, port=port) as caller,
    ):
        for round_ in range(1, ROUNDS + 1):
            bare.append(await woken(sleeper, caller))
            started = loop.create_future()
            called = elapsed()
            await consumer.queue(note)
            ours.append(await started - called)
            await heard.wait_for("end", count=round_)
    assert median(ours) < MOST * median(bare)
