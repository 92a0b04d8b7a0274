"""One loop that waits at the bell and claims runs for free slots, at most for half of all at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from fluid.clock import elapsed
from fluid.errors import BrokerError, BrokerUnavailableError
from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.execution import Execution
from fluid.scheduler.history import run_of_claim, run_of_record
from fluid.scheduler.keeper import Keeper
from fluid.scheduler.moves import Claim, Claimed, ClaimRequest, Limit
from fluid.scheduler.registry import TaskRegistry
from fluid.scheduler.run import RunDoor
from fluid.scheduler.settling import Settling
from fluid.scheduler.slots import Slots
from fluid.workers import Worker

LONGEST_WAIT = 5.0
"""Seconds at the bell; then a claim is made anyway, for a token can be lost with its consumer."""

UNBLOCK_SECONDS = 0.05
UNBLOCK_TRIES = 20


class Claiming(Worker):
    """Claims. The first worker to stop: from then on nothing new starts here."""

    def __init__(
        self,
        *,
        broker: TaskBroker,
        slots: Slots,
        settling: Settling,
        keeper: Keeper,
        execution: Execution,
        registry: TaskRegistry,
        door: RunDoor,
        consumer: Callable[[], str],
        lease: float,
        announce: Callable[..., None],
    ) -> None:
        super().__init__(name="claiming", stage=20)
        self._broker = broker
        self._slots = slots
        self._most = -(-slots.count // 2)
        """Runs in one claim: by halves, so that bodies run here while the broker finds the next ones."""
        self._settling = settling
        self._keeper = keeper
        self._execution = execution
        self._registry = registry
        self._door = door
        self._consumer = consumer
        self._lease = lease
        self._announce = announce
        self._in_hand: Sequence[Claimed] = ()
        """Claimed, and not begun yet."""
        self._came_at = 0.0, 0.0
        """When that was, on the monotonic clock and by the broker's."""
        self._held: tuple[str, ...] = ()
        self._cursor = ""
        self._in_vain: set[str] = set()
        self._asked_for_suspect = True
        self._limits_unsaid = False
        registry.on_register(self.limits_changed)
        broker.listeners.recovered.append(self.limits_changed)
        broker.listeners.rewound.append(self.limits_changed)
        self.active = False
        """The queue is open and the loop runs."""

    async def run(self) -> None:
        self.active = False
        loop_task = asyncio.get_running_loop().create_task(self._claim_on(), name="claiming-loop")
        stop = asyncio.get_running_loop().create_task(self.wait_for_stop(), name="claiming-stop")
        try:
            await asyncio.wait({loop_task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if self.is_stopping():
                self.active = False
                self._announce("consumer_stopping", facts={"consumer": self._consumer()})
            if not loop_task.done():
                await self._end_wait(loop_task)
        finally:
            self.active = False
            stop.cancel()
            if not loop_task.done():
                loop_task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loop_task

    async def _end_wait(self, loop_task: asyncio.Task[None]) -> None:
        """End the loop's wait, wherever it waits. Cancelled, it could lose what it was just given."""
        for _ in range(UNBLOCK_TRIES):
            self._slots.wake()
            self._settling.wake()
            try:
                await self._broker.stop_claiming(self._consumer())
            except BrokerError:
                return  # it cannot be reached, so nothing can be claimed either
            done, _ = await asyncio.wait({loop_task}, timeout=UNBLOCK_SECONDS)
            if done:
                return

    async def _claim_on(self) -> None:
        await self._broker.open()
        await self._set_limits()
        self.active = True
        self._announce("consumer_started", facts={"consumer": self._consumer()})
        wait = 0.0
        try:
            while not self.is_stopping():
                if self._in_hand and (wait or self._must_pause):
                    # else the next question leaves first, and bodies run meanwhile
                    self._begin_in_hand()
                    await asyncio.sleep(0)
                elif self._limits_unsaid:
                    await self._set_limits()
                elif self._settling.backlog >= self._slots.count:
                    await self._settling.wait_for_room()
                elif not self._free:
                    await self._slots.wait_for_change()
                else:
                    wait = self._take_up(await self._claim(wait))
        finally:
            self._begin_in_hand()

    @property
    def _must_pause(self) -> bool:
        """Nothing can be claimed right now."""
        return self._limits_unsaid or not self._free or self._settling.backlog >= self._slots.count

    @property
    def _free(self) -> int:
        """Slots for more than what is in hand."""
        return self._slots.free - len(self._in_hand)

    async def _set_limits(self) -> None:
        self._limits_unsaid = False
        limits = [Limit(task.name, task.max_concurrency, *task.pace) for task in self._registry.values()]
        try:
            await self._broker.set_limits(limits)
        except BrokerUnavailableError:
            self._limits_unsaid = True

    def limits_changed(self, *_: object) -> None:
        """Tell the limits again before the next claim: one is new, or the broker may have lost them."""
        self._limits_unsaid = True

    @property
    def _may_take_suspect(self) -> bool:
        """No suspect is here, so that one may come."""
        here = [*self._in_hand, *(attempt.claimed for attempt in self._slots.attempts)]
        return not any(claimed.suspect for claimed in here)

    async def _claim(self, wait: float) -> Claim:
        self._asked_for_suspect = self._may_take_suspect
        asked = ClaimRequest(
            self._consumer(),
            min(self._free, self._most),
            self._lease,
            wait,
            suspects=int(self._asked_for_suspect),
            held=self._held,
            cursor=self._cursor,
        )
        return await self._broker.claim(asked, meanwhile=self._begin_in_hand)

    def _take_up(self, claim: Claim) -> float:
        """Take what was claimed in hand; the seconds that the next claim may wait."""
        self._in_hand, self._came_at = claim.runs, (elapsed(), claim.now)
        for reason, record in claim.aside:
            self._announce("held", run_of_record(record, self._door), reason=reason)
        asked, self._held = self._held, tuple(name for name in claim.held_tasks if name in self._registry)
        self._cursor = claim.held_tasks[-1] if claim.held_tasks else ""
        # held runs of a task known here are asked for at once, but only once in vain before the next wait
        self._in_vain = set() if claim.runs else self._in_vain | set(asked)
        if claim.filled or (set(self._held) - self._in_vain) or (self._held and claim.runs):
            return 0.0
        self._in_vain.clear()
        if self._may_take_suspect and not self._asked_for_suspect:
            return 0.0  # the one that was here has ended while this claim waited
        if claim.next_due is not None:
            return min(LONGEST_WAIT, claim.next_due)
        return LONGEST_WAIT

    def _begin_in_hand(self) -> None:
        """Put what is in hand into slots, and begin it."""
        in_hand, self._in_hand = self._in_hand, ()
        for claimed in in_hand:
            attempt = self._slots.take(claimed, run_of_claim(claimed, self._door), *self._came_at)
            self._keeper.keep(attempt)
            self._execution.begin(attempt)
            if claimed.cancelled:
                attempt.cancel("cancelled")

    async def status(self) -> dict[str, Any]:
        return await super().status() | {"active": self.active, "held_tasks": list(self._held)}
