"""The consumer's slots: which are free, and which attempt is in which."""

from __future__ import annotations

import asyncio
import heapq
from typing import Any

import msgspec

from fluid.scheduler.moves import Claimed
from fluid.scheduler.run import TaskRun
from fluid.scheduler.task import Task


class Attempt(msgspec.Struct, eq=False):
    """One claimed run on its way through a slot."""

    claimed: Claimed
    run: TaskRun[Any]
    slot: int
    claimed_at: float
    """When the claim was answered, on the monotonic clock."""
    broker_now: float
    """The same moment by the broker's clock, in milliseconds since the epoch."""
    task: Task | None = None
    """What it is a run of, once that was found here."""
    body: asyncio.Task[Any] | None = None
    cancelled_because: str = ""
    """Why the body was cancelled by us; empty while it was not."""
    ended: bool = False
    """The body has ended and the slot is free; the outcome may still be on its way."""

    def __repr__(self) -> str:
        return f"Attempt({self.run.name!r}, {self.run.id!r}, slot={self.slot})"  # parameters may be secret

    def by_broker(self, instant: float) -> float:
        """An instant of the monotonic clock by the broker's, in milliseconds since the epoch."""
        return self.broker_now + 1000 * (instant - self.claimed_at)

    @property
    def name(self) -> str:
        """The worker it runs in."""
        return f"task-worker-{self.slot}"

    def cancel(self, because: str, *, again: bool = False) -> None:
        """Cancel the body, once; one that was cancelled for another reason before only if `again`."""
        if self.ended or (self.cancelled_because and not again):
            return
        self.cancelled_because = self.cancelled_because or because
        if self.body is not None:
            self.body.cancel()


class Slots:
    """`count` places; a place is free again when its body has ended."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(1, count + 1))
        self._taken: dict[int, Attempt] = {}
        # made by who waits, for one belongs to the event loop in which it is waited for
        self._freed: asyncio.Event | None = None
        self._emptied: asyncio.Event | None = None

    @property
    def free(self) -> int:
        """Places that are free."""
        return len(self._free)

    @property
    def busy(self) -> int:
        """Places that are taken."""
        return len(self._taken)

    def busy_with(self, task: str) -> int:
        """Places taken by runs of this task."""
        return sum(attempt.run.name == task for attempt in self._taken.values())

    @property
    def attempts(self) -> list[Attempt]:
        """What is in the taken places."""
        return list(self._taken.values())

    def take(self, claimed: Claimed, run: TaskRun[Any], claimed_at: float, broker_now: float) -> Attempt:
        """Put a claimed run into the lowest free place."""
        attempt = Attempt(claimed, run, heapq.heappop(self._free), claimed_at, broker_now)
        self._taken[attempt.slot] = attempt
        return attempt

    def release(self, attempt: Attempt) -> None:
        """Its body has ended."""
        attempt.ended = True
        attempt.body = None  # its result knows the attempt: no circle is left to the garbage collector
        del self._taken[attempt.slot]
        heapq.heappush(self._free, attempt.slot)
        self.wake()
        if not self._taken and self._emptied is not None:
            self._emptied.set()

    async def wait_for_change(self) -> None:
        """Until a place becomes free, or `wake` is called."""
        freed = self._freed = asyncio.Event()
        await freed.wait()

    def wake(self) -> None:
        """Let whoever waits for a change look again."""
        freed, self._freed = self._freed, None
        if freed is not None:
            freed.set()

    async def wait_until_empty(self) -> None:
        """Until every body has ended."""
        while self._taken:
            self._emptied = asyncio.Event()
            await self._emptied.wait()
