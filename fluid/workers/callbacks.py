"""Callbacks that a group calls later, once or again and again."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

logger = logging.getLogger("fluid")

Callback = Callable[[], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class LaterCall:
    """Call `callback` after `seconds` and up to `jitter` seconds more; again and again if `periodic`."""

    callback: Callback
    seconds: float
    jitter: float
    periodic: bool

    async def run(self) -> None:
        """Wait and call; a callback that raises is logged, and a periodic one called again all the same."""
        while True:
            await asyncio.sleep(self.seconds + random.uniform(0.0, self.jitter))
            try:
                answer = self.callback()
                if inspect.isawaitable(answer):
                    await answer
            except Exception:
                logger.exception("callback %r raised", self.callback)
            if not self.periodic:
                return


class Callbacks:
    """Keeps calls until it is started, and from then on schedules each right away."""

    def __init__(self) -> None:
        self._kept: list[LaterCall] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False

    def add(self, call: LaterCall) -> None:
        """Schedule the call, or keep it for the start."""
        if self._started:
            self._schedule(call)
        else:
            self._kept.append(call)

    def start(self) -> None:
        """Schedule what was kept."""
        self._started = True
        kept, self._kept = self._kept, []
        for call in kept:
            self._schedule(call)

    def cancel(self) -> None:
        """Cancel every call that is still to come, or in progress."""
        self._started = False
        for task in self._tasks:
            task.cancel()

    def _schedule(self, call: LaterCall) -> None:
        task = asyncio.create_task(call.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
