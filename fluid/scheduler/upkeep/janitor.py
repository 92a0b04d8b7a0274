"""Leftovers leave."""

from __future__ import annotations

import logging

from fluid.scheduler.announcing import Announcer
from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.history import run_of_record
from fluid.scheduler.run import RunDoor
from fluid.scheduler.upkeep.agent import Upkeep

logger = logging.getLogger("fluid")

FORGET_AFTER_SECONDS = 5.0
"""The least silence for which a consumer is forgotten: with a short lease it may be no more than slow."""


class Janitor(Upkeep):
    """Once in ten leases one consumer of the fleet forgets those silent for as long, and other leftovers.

    What was held for one of those, as the last whose model the parameters could fit, is dead. What a server
    came back with that had carried out half a move is found, and rescued next.
    """

    def __init__(self, *, broker: TaskBroker, announcer: Announcer, door: RunDoor, lease: float) -> None:
        super().__init__(name="janitor", interval=10 * lease)
        self._broker = broker
        self._announcer = announcer
        self._door = door
        self._lease = lease

    async def once(self) -> None:
        silence = max(10 * self._lease, FORGET_AFTER_SECONDS)
        tidied = await self._broker.tidy(interval=5 * self._lease, silence=silence)
        for record in tidied.dead:
            run = run_of_record(record, self._door)
            run.reason = "invalid_params"
            self._announcer.announce("dead", run, reason=run.reason)
        swept = await self._broker.sweep(interval=5 * self._lease)
        if swept.stranded or swept.doubled:
            logger.warning(
                "the broker came back with half a move: runs without a lease, to deliver again: %d; runs in "
                "two places: %d; set aof-load-truncated no at the server",
                swept.stranded,
                swept.doubled,
            )
