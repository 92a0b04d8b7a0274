"""Time limits of bodies: one timer for all of a loop, since nearly every body ends long before its limit."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec

from fluid.clock import elapsed


class Limit(msgspec.Struct, eq=False):
    """What a body may take, of the asyncio task that entered it."""

    task: asyncio.Task[Any]
    at: float
    """On the monotonic clock."""
    cancellations: int
    """How often the task had been asked to stop before."""
    expired: bool = False

    @property
    def cancelled(self) -> bool:
        """It has passed, and nobody else has asked for a cancellation."""
        return self.expired and self.task.cancelling() <= self.cancellations + 1


class Deadlines:
    """The limits that are running in one event loop. A task whose limit has passed is cancelled, once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._limits: set[Limit] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._next = math.inf

    def begin(self, seconds: float) -> Limit:
        """Limit what the current task does until `end`."""
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a time limit needs an asyncio task that it can cancel")
        limit = Limit(task, elapsed() + seconds, task.cancelling())
        self._limits.add(limit)
        if limit.at < self._next:
            self._arm(limit.at)
        return limit

    def end(self, limit: Limit) -> None:
        """It has ended, in time or not. The timer stays: it is far off, and finds nothing."""
        self._limits.discard(limit)
        if limit.expired:
            limit.task.uncancel()

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = at
        self._timer = self._loop.call_later(max(0.0, at - elapsed()), self._look)

    def _look(self) -> None:
        self._timer, self._next = None, math.inf
        now = elapsed()
        for limit in self._limits:
            if limit.at <= now and not limit.expired:
                limit.expired = True
                limit.task.cancel()
        later = min((limit.at for limit in self._limits if not limit.expired), default=None)
        if later is not None:
            self._arm(later)
