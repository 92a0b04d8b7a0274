"""The one shape of every background agent: an interval, and one pass."""

from __future__ import annotations

import logging
import random
from abc import abstractmethod

from fluid.errors import BrokerError
from fluid.workers import Worker

logger = logging.getLogger("fluid")


class Upkeep(Worker):
    """Makes a pass every `interval` seconds, give or take a tenth, until it is stopped."""

    def __init__(self, *, name: str, interval: float) -> None:
        super().__init__(name=name, critical=False, stage=-5)
        self.interval = interval

    @abstractmethod
    async def once(self) -> None:
        """One pass."""

    async def pass_over(self) -> None:
        """One pass; that the broker was away is no fault of ours."""
        try:
            await self.once()
        except BrokerError as error:
            logger.warning("%s: this pass was not made: %s", self.worker_name, error)

    async def run(self) -> None:
        while not await self.wait_for_stop(self.interval * random.uniform(0.9, 1.1)):
            await self.pass_over()
