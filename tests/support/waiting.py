"""How a test waits: for something to hold, never for time to pass."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Seen = TypeVar("Seen")

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

    async def until(self, holds: Callable[[], bool], what: Callable[[], str]) -> None:
        """Return once `holds()`; AssertionError with `what()` when patience runs out."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds():
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiters.append(waiter)
                    await waiter
        except TimeoutError:
            raise AssertionError(f"waited {PATIENCE:g} s in vain for {what()}") from None


async def poll(
    look: Callable[[], Awaitable[Seen]], holds: Callable[[Seen], bool], what: str, *, every: float = 0.02
) -> Seen:
    """What `look` saw when it first held, looking `every` so many seconds.

    Only for what cannot tell of its changes: a file other processes write, a server that is asked.
    """
    last: object = None
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                last = seen = await look()
                if holds(seen):
                    return seen
                await asyncio.sleep(every)
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE:g} s in vain for {what}; last seen: {last}") from None
