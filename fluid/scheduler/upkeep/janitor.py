"""Leftovers leave."""

from __future__ import annotations

from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.upkeep.agent import Upkeep


class Janitor(Upkeep):
    """Once in ten leases one consumer of the fleet forgets the silent ones, and other leftovers."""

    def __init__(self, *, broker: TaskBroker, lease: float) -> None:
        super().__init__(name="janitor", interval=10 * lease)
        self._broker = broker
        self._lease = lease

    async def once(self) -> None:
        await self._broker.tidy(interval=5 * self._lease, silence=10 * self._lease)
