"""The canary: a run of our own that goes the whole road now and then, so that an idle queue can be trusted.

Ticks are by the broker's clock, and the run of a tick is named by it, so that there is one for each tick of a
queue, whatever the number of consumers and whatever their clocks say.
"""

from __future__ import annotations

import asyncio
import logging
import random

from fluid.clock import elapsed, from_milliseconds, timestamp
from fluid.errors import (
    BrokerError,
    FluidError,
    ResultTimeoutError,
    RunError,
    UniqueRunError,
    UnknownRunError,
)
from fluid.scheduler import QueueOptions, Task, TaskConsumer, TaskPriority, TaskRun
from fluid.workers import Worker
from telemetry import names
from telemetry.series import Block

BROKER_SECONDS = 2.0
"""How long the broker may take to tell the time, or to take a cancel back."""

SPREAD = 0.1
"""Of an interval: consumers do not all ask at the same instant."""

KEPT_SECONDS = 1200.0
"""What the record of a canary run lives: longer than the longest interval, so that its id stays taken."""

THE_ONE = "the one"
"""The unique key of them all: there is at most one in a queue."""

logger = logging.getLogger("fluid")


async def _sing(ctx: TaskRun) -> None:
    """The body: that it is called is all that matters."""


CANARY = Task(
    name="fluid.canary",
    executor=_sing,
    priority=TaskPriority.high,
    timeout_seconds=10.0,
    result_ttl=KEPT_SECONDS,
    description="Goes the whole road, so that it is seen that it is open.",
)
"""High, for it asks whether the road is open, not how long the queue is."""


class CanarySeries(Block):
    """What is known of the canary, at zero where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.interval = self.counts(names.CANARY_INTERVAL)
        self.last = self.counts(names.CANARY_LAST)
        self.last_success = self.counts(names.CANARY_LAST_SUCCESS)
        self.failures = self.counts(names.CANARY_FAILURES)


class Canary(Worker):
    """Sends the canary of each tick that no other consumer has sent, and waits for it."""

    def __init__(self, host: TaskConsumer, series: CanarySeries, interval: float) -> None:
        """`interval`: seconds between ticks."""
        super().__init__(name="canary", critical=False, stage=20)
        self._host = host
        self._series = series
        self._interval = interval
        self._under_way: TaskRun | None = None
        self._well = True
        series.interval[""] = interval

    async def run(self) -> None:
        """Send and wait until asked to stop; what is under way then is taken back."""
        sending = asyncio.create_task(self._send_on_and_on(), name="canary-sending")
        stop = asyncio.create_task(self.wait_for_stop(), name="canary-stop")
        try:
            await asyncio.wait({sending, stop}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for one in (sending, stop):
                one.cancel()
            await asyncio.wait({sending, stop})
            await self._take_back()

    async def _send_on_and_on(self) -> None:
        pause = 0.0
        while not await self.wait_for_stop(pause):
            pause = await self.once() + random.uniform(0, SPREAD * self._interval)

    async def once(self) -> float:
        """See to the tick that is now; the seconds until the next one."""
        began = elapsed()
        try:
            async with asyncio.timeout(BROKER_SECONDS):
                now = (await self._host.broker.snapshot()).now / 1000
        except (BrokerError, TimeoutError) as error:
            self._failed("unavailable", error)
            return self._interval
        tick = now // self._interval * self._interval
        end = tick + self._interval
        # What was sent into the end of a tick would have no time to come back.
        if end - now >= self._interval / 2:
            await self._send(tick, end, began + (end - now))
        return max(0.0, end - now - (elapsed() - began))

    async def _send(self, tick: float, end: float, deadline: float) -> None:
        """`end` is an instant of the broker's, `deadline` the same on our monotonic clock."""
        run_id = f"{CANARY.name}@{int(tick * 1000)}"
        options = QueueOptions(
            run_id=run_id,
            # The one before may have been left by a consumer that died: then it makes way.
            unique_key=THE_ONE,
            when_taken="replace",
            expires=from_milliseconds(end * 1000),
        )
        began = elapsed()
        try:
            if await self._is_sent(run_id):
                self._series.last[""] = 0
                return
            self._under_way = await self._host.queue(CANARY, options=options)
        except BrokerError as error:
            self._failed("unavailable", error)
        except UniqueRunError as error:
            self._failed("late", error)
        else:
            await self._wait_for(self._under_way, began, deadline)

    async def _is_sent(self, run_id: str) -> bool:
        try:
            await self._host.get_run(run_id)
        except UnknownRunError:
            return False
        return True

    async def _wait_for(self, run: TaskRun, began: float, deadline: float) -> None:
        try:
            await run.result(timeout=max(0.0, deadline - elapsed()))
        except ResultTimeoutError as error:
            await self._take_back()
            self._failed("late", error)
        except RunError as error:
            self._failed("late" if run.reason in ("replaced", "expired") else "failed", error)
        else:
            self._series.last[""] = elapsed() - began
            self._series.last_success[""] = timestamp()
            if not self._well:
                logger.info("the canary of queue %s comes back again", self._host.broker.queue)
            self._well = True
        self._under_way = None

    def _failed(self, cause: str, error: Exception) -> None:
        self._series.failures.add(cause)
        if self._well:
            logger.warning("the canary of queue %s does not come back: %s", self._host.broker.queue, error)
        self._well = False

    async def _take_back(self) -> None:
        """Cancel the run that is under way, so that none is left in the queue."""
        run, self._under_way = self._under_way, None
        if run is None:
            return
        try:
            async with asyncio.timeout(BROKER_SECONDS):
                await run.cancel()
        except (FluidError, TimeoutError) as error:
            # It expires, or makes way for the next one.
            logger.debug("canary run %s could not be taken back: %s", run.id, error)
