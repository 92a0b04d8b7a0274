"""Runs queued from any thread: a backlog that a worker sends on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any

from fluid.errors import BrokerError, FluidError
from fluid.scheduler.run import TaskRun
from fluid.workers import Worker

logger = logging.getLogger("fluid")

LONGEST_BACKLOG = 100_000
TRY_AGAIN_SECONDS = 1.0

Handed = tuple[TaskRun[Any], Context]
"""A run, and the context of its caller."""


class SyncQueue(Worker):
    """Sends on what threads have put in, in order, many at a time, and on stop all of it."""

    def __init__(self, queue: Callable[[list[Handed]], Awaitable[None]], *, together: int) -> None:
        """`queue` takes out of the list what need not be tried again, also when it raises."""
        super().__init__(name="sync_queue", stage=5)
        self._queue = queue
        self._together = together
        self._backlog: deque[Handed] = deque()
        self._taken: list[Handed] = []
        """Out of the backlog, and being queued."""
        # made anew before each wait, for one belongs to the event loop in which it is waited for
        self._came = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._said_closed = False

    @property
    def backlog(self) -> int:
        """Runs that have not been queued yet."""
        return len(self._taken) + len(self._backlog)

    def put(self, run: TaskRun[Any]) -> None:
        """Add a run, from any thread. Raises `FluidError` when far too many wait already."""
        if len(self._backlog) >= LONGEST_BACKLOG:
            raise FluidError(f"{LONGEST_BACKLOG:,} runs wait to be queued: the broker does not take them")
        self._backlog.append((run, copy_context()))
        loop = self._loop  # a stop may take it away meanwhile
        if loop is not None:
            # one that has ended since has said what is left
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._came.set)
        elif not self._said_closed:
            self._said_closed = True
            logger.warning(
                "a run of %s waits in sync_queue, for its manager is not open: runs are queued once it is "
                "(`async with manager:`), and lost when the process ends before",
                run.name,
            )

    def gracefully_stop(self) -> None:
        """Send on what there is, then end."""
        super().gracefully_stop()
        self._came.set()

    async def on_startup(self) -> None:
        """Learn of the loop, so that threads can wake it."""
        self._loop = asyncio.get_running_loop()
        self._said_closed = False

    async def on_shutdown(self) -> None:
        """Say what could not be sent."""
        self._loop = None
        if self.backlog:
            logger.error("%d runs from sync_queue could not be queued before the stop", self.backlog)

    async def run(self) -> None:
        while True:
            if not self.backlog:
                if self.is_stopping():
                    return
                self._came = asyncio.Event()
                if not self._backlog:
                    await self._came.wait()
                continue
            while self._backlog and len(self._taken) < self._together:
                self._taken.append(self._backlog.popleft())
            try:
                await self._queue(self._taken)
            except BrokerError as error:
                # their ids make it safe to try again, whether or not they are in
                logger.warning("%d runs from sync_queue are not queued yet: %s", len(self._taken), error)
                if self.is_stopping() or await self.wait_for_stop(TRY_AGAIN_SECONDS):
                    return
            except FluidError as error:
                logger.error("%d runs from sync_queue cannot be queued: %s", len(self._taken), error)
                self._taken.clear()
