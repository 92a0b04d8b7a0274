"""A queue in a bad hour: whatever a board can show happens to it, and lasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta

from fluid.scheduler import SLO, Event, RetryPolicy, Task, TaskPriority, TaskRun, TaskScheduler, every, task
from fluid.scheduler.brokers.redis import RedisBroker
from fluid.scheduler.moves import ClaimRequest
from fluid.testing import Recorder

SLOTS = 4
LEASE_SECONDS = 1.0
TICK = timedelta(seconds=0.5)
LOOP_BLOCKED_AFTER = 0.1
HOG_SECONDS = 1.6
"""Longer than some ticks, and than the loop may stand still."""


def tasks(over: asyncio.Event) -> Iterator[Task]:
    """Tasks that behave badly until it is over."""

    @task(
        retry=RetryPolicy(max_attempts=2, wait=0.01), slo=SLO(success=0.9, start_within=5, finish_within=60)
    )
    async def ship(ctx: TaskRun) -> None:
        if ctx.params.get("broken"):
            raise ValueError("as planned")

    @task(schedule=every(TICK), unique=lambda _: "one at a time")
    async def sweep(ctx: TaskRun) -> None:
        """Do nothing, often."""

    @task
    async def hog(ctx: TaskRun) -> None:
        time.sleep(HOG_SECONDS)  # noqa: ASYNC251 - that is the point

    @task
    async def linger(ctx: TaskRun) -> None:
        await over.wait()

    @task(max_concurrency=1)
    async def queue_up(ctx: TaskRun) -> None:
        await over.wait()

    @task(max_deliveries=1)
    async def doomed(ctx: TaskRun) -> None:
        """Never get here: the run is lost before."""

    yield from (ship, sweep, hog, linger, queue_up, doomed)


class BadHour:
    """A scheduler that suffers, and what is heard of it."""

    def __init__(self, broker_url: str) -> None:
        self.scheduler = TaskScheduler(
            broker_url=broker_url,
            max_concurrent_tasks=SLOTS,
            lease_seconds=LEASE_SECONDS,
            loop_blocked_after=LOOP_BLOCKED_AFTER,
        )
        self.heard = Recorder(self.scheduler)
        self.over = asyncio.Event()
        self.scheduler.register_from_dict({one.name: one for one in tasks(self.over)})
        self.scheduler.register_async_handler("end.stuck", self._be_stuck)
        self.scheduler.register_async_handler("success.broken", self._break)

    async def begin(self) -> None:
        """Have everything happen; it stays as bad as it is then, until it is `over`."""
        scheduler, heard = self.scheduler, self.heard
        for priority in TaskPriority:
            await scheduler.queue_many("ship", [{}, {}, {"broken": True}], priority)
        await heard.wait_for("failure", task="ship", count=3)
        await heard.wait_for("success", task="sweep")
        await heard.wait_for("handler_failed")
        await scheduler.queue("hog")
        await heard.wait_for("loop_blocked")
        await heard.wait_for("schedule_missed")
        await self._fill_the_slots()
        await self._lose_a_run()
        await scheduler.queue("ship", TaskPriority.low)
        # the run of the tick before waits for a slot like every other
        await heard.wait_for("refused", task="sweep")

    async def _fill_the_slots(self) -> None:
        await self.scheduler.queue_many("queue_up", [{}, {}], TaskPriority.high)
        await self.heard.wait_for("held", task="queue_up")
        await self.scheduler.queue_many("linger", [{}] * (SLOTS - 1), TaskPriority.high)
        await self.heard.wait_for("start", task="linger", count=SLOTS - 1)

    async def _lose_a_run(self) -> None:
        """Somebody claims it who is never heard of again."""
        run = await self.scheduler.queue("doomed", TaskPriority.high)
        broker = RedisBroker(self.scheduler.config.broker_url)
        await broker.open()
        claim = await broker.claim(ClaimRequest("gone", 1, lease=0.1))
        await broker.close()
        assert [claimed.id for claimed in claim.runs] == [run.id]
        await self.heard.wait_for("lost", task="doomed")
        await self.heard.wait_for("dead", task="doomed")

    async def _be_stuck(self, event: Event) -> None:
        await self.over.wait()

    async def _break(self, event: Event) -> None:
        raise ValueError("as planned")
