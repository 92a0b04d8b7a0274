"""How workers wait: for events, never by looking again and again."""

from __future__ import annotations

import asyncio


async def any_of(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    if any(event.is_set() for event in events):
        return
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for the event, up to so many seconds (None: as long as it takes); whether it is set.

    It always lets the loop turn at least once, so no loop around it can spin alone.
    """
    if event.is_set() or (seconds is not None and seconds <= 0):
        await asyncio.sleep(0)
        return event.is_set()
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


async def ended_within(task: asyncio.Task[None], seconds: float) -> bool:
    """Wait for the task to end, up to so many seconds; whether it has. Leaves the task alone."""
    await asyncio.wait({task}, timeout=seconds)
    return task.done()


def being_cancelled() -> bool:
    """Whether somebody cancels the current task, rather than something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
