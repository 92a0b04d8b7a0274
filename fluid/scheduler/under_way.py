"""Moves that this process has begun, which are finished and told of whoever may go meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from fluid.clock import elapsed

T = TypeVar("T")

logger = logging.getLogger("fluid")


class UnderWay:
    """Knows them until they have ended."""

    def __init__(self) -> None:
        self._begun: set[asyncio.Task[Any]] = set()

    async def finish(self, move: Coroutine[Any, Any, T]) -> T:
        """Its answer. When the caller is cancelled it goes on, in the caller's context."""
        begun = asyncio.create_task(move, name="fluid-under-way")
        self._begun.add(begun)
        begun.add_done_callback(self._begun.discard)
        try:
            await asyncio.wait({begun})
        except asyncio.CancelledError:
            begun.add_done_callback(_say_what_went_wrong)
            raise
        return begun.result()

    async def close(self, deadline: float) -> None:
        """Wait for them; those that have not ended by then are cancelled."""
        here = asyncio.get_running_loop()
        mine = {begun for begun in self._begun if begun.get_loop() is here}
        if mine:
            _, late = await asyncio.wait(mine, timeout=max(0.0, deadline - elapsed()))
            for begun in late:
                begun.cancel()


def _say_what_went_wrong(begun: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more who could be told."""
    if begun.cancelled():
        logger.warning("what was begun for a caller that has gone was stopped before the broker answered")
    elif (error := begun.exception()) is not None:
        logger.warning("what was begun for a caller that has gone went wrong: %s", error)
