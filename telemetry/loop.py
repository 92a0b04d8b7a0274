"""How late the event loop is."""

from __future__ import annotations

from fluid.clock import elapsed
from fluid.workers import Worker
from telemetry.series import Distribution

INTERVAL = 0.1
"""Seconds between two looks."""


class LoopLag(Worker):
    """Sleeps, and observes how much later than asked it was woken."""

    def __init__(self, lag: Distribution) -> None:
        super().__init__(name="loop-lag", critical=False, stage=-20)
        self._lag = lag

    async def run(self) -> None:
        """Sleep and look, until asked to stop."""
        while True:
            began = elapsed()
            if await self.wait_for_stop(INTERVAL):
                return
            self._lag.observe(max(0.0, elapsed() - began - INTERVAL))
