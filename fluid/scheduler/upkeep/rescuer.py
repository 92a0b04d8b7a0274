"""Lost runs come back."""

from __future__ import annotations

import uuid

from fluid.scheduler.announcing import Announcer
from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.history import run_of_record
from fluid.scheduler.moves import Fate, Rescued
from fluid.scheduler.run import RunDoor
from fluid.scheduler.upkeep.agent import Upkeep

SILENCE = 0.6
"""Of a lease: a longer pause between passes can have kept keepers from renewing. They renew every third,
so a lease that ran out meanwhile had two thirds to go when the pause began."""


class Rescuer(Upkeep):
    """Every third of a lease one consumer of the fleet looks for leases that ran out.

    After a connection was made or restored it holds off for half a lease, so that keepers renew
    first: an outage longer than a lease must not double every live run.
    """

    def __init__(
        self, *, broker: TaskBroker, announcer: Announcer, door: RunDoor, lease: float, max_deliveries: int
    ) -> None:
        super().__init__(name="rescuer", interval=lease / 3)
        self._broker = broker
        self._announcer = announcer
        self._door = door
        self._lease = lease
        self._max_deliveries = max_deliveries
        self._nonce = ""

    async def once(self) -> None:
        if self._broker.connected_for < self._lease / 2:
            return
        # an answer that was lost is asked for again by its nonce, in the next pass
        self._nonce = self._nonce or uuid.uuid4().hex[:16]
        rescued = await self._broker.rescue(
            nonce=self._nonce,
            interval=self._lease / 3,
            max_deliveries=self._max_deliveries,
            silence=self._lease * SILENCE,
        )
        self._nonce = ""
        for one in rescued:
            self._announce(one)

    def _announce(self, rescued: Rescued) -> None:
        run = run_of_record(rescued.record, self._door)
        announce = self._announcer.announce
        announce("lost", run, reason="stranded" if rescued.stranded else "", owner=rescued.owner)
        if rescued.fate is Fate.dead:
            run.reason = "lost_too_often"
            announce("dead", run, reason=run.reason, owner=rescued.owner)
        elif rescued.fate is Fate.aborted:
            run.reason = "cancelled"
            for name in ("end", "aborted"):
                announce(name, run, reason=run.reason, owner=rescued.owner)
