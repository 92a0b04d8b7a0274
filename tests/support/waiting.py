"""How a test waits for what cannot tell of its changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fluid.testing.waiting import PATIENCE

Seen = TypeVar("Seen")


async def poll(
    look: Callable[[], Awaitable[Seen]],
    holds: Callable[[Seen], bool],
    what: str,
    *,
    every: float = 0.02,
    patience: float = PATIENCE,
) -> Seen:
    """What `look` saw when it first held, looking `every` so many seconds.

    Only for a file that other processes write, a server that is asked, and the like: all else has a `Watch`.
    """
    last: object = None
    try:
        async with asyncio.timeout(patience):
            while True:
                last = seen = await look()
                if holds(seen):
                    return seen
                await asyncio.sleep(every)
    except TimeoutError:
        raise AssertionError(f"waited {patience:g} s in vain for {what}; last seen: {last}") from None
