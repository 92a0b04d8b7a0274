"""How a test waits: for something to hold, never for time to pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 30.0
"""Seconds after which waiting is given up as in vain; nothing is ever measured against it."""


class Watch:
    """Lets tests wait until something holds; whoever changes that something says `changed()`.

    It belongs to one event loop: another thread goes through `loop.call_soon_threadsafe`.
    """

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def changed(self) -> None:
        """Have everyone who waits look again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def change(self) -> None:
        """Return when something has changed."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    async def until(
        self, holds: Callable[[], bool], what: Callable[[], str], *, timeout: float = PATIENCE
    ) -> None:
        """Return once `holds()`; AssertionError with `what()` after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not holds():
                    await self.change()
        except TimeoutError:
            raise AssertionError(f"waited {timeout:g} s in vain for {what()}") from None
