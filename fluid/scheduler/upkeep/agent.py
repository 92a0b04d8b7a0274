"""The one shape of every background agent: an interval, and one pass."""

from __future__ import annotations

import asyncio
import logging
import random
from abc import abstractmethod

from fluid.errors import BrokerError
from fluid.workers import Worker

logger = logging.getLogger("fluid")

LAST_SECONDS = 1.0
"""What a pass that is under way may still take when the agent is asked to stop."""


class Upkeep(Worker):
    """Makes a pass every `interval` seconds, give or take a tenth, until it is stopped."""

    def __init__(self, *, name: str, interval: float, stage: int = -5) -> None:
        super().__init__(name=name, critical=False, stage=stage)
        self.interval = interval

    @abstractmethod
    async def once(self) -> None:
        """One pass."""

    async def run(self) -> None:
        while not await self.wait_for_stop(self.interval * random.uniform(0.9, 1.1)):
            await self.pass_over()

    async def pass_over(self) -> None:
        """One pass. That the broker is away is no fault of ours, and no reason to stop slowly."""
        under_way = asyncio.ensure_future(self.once())
        stop = asyncio.ensure_future(self.wait_for_stop())
        try:
            await asyncio.wait({under_way, stop}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({under_way}, timeout=LAST_SECONDS)
            if under_way.done():
                under_way.result()
        except BrokerError as error:
            logger.warning("%s: this pass was not made: %s", self.worker_name, error)
        finally:
            stop.cancel()
            under_way.cancel()
