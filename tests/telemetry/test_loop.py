"""The lag of the event loop is observed."""

from __future__ import annotations

import asyncio
import time

from fluid.scheduler import TaskConsumer
from telemetry import Telemetry, names
from telemetry.loop import INTERVAL, LoopLag
from telemetry.series import Distribution
from tests.support.waiting import poll
from tests.telemetry.scraping import scrape


async def test_a_loop_that_stood_still_is_late() -> None:
    lag = Distribution(names.CALL_SECONDS)
    async with LoopLag(lag):
        # Longer than the sleep it falls into: the sleeper is late by the rest at least.
        await asyncio.sleep(0)
        time.sleep(3 * INTERVAL)  # noqa: ASYNC251 - that is the point

        async def seen() -> tuple[int, float]:
            return lag.mark()

        _, seconds = await poll(seen, lambda mark: mark[0] > 0, "a look at the loop")
    assert seconds >= 1.9 * INTERVAL


async def test_a_consumer_tells_its_lag(consumer: TaskConsumer) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)

    async def looks() -> float:
        return (await scrape(telemetry)).value("fluid_loop_lag_seconds_count")

    async with consumer:
        assert await poll(looks, lambda count: count > 0, "a look at the loop") > 0
