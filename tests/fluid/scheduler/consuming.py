"""A consumer at work for the length of a test, and all that it announces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fluid.scheduler import Event, Task, TaskConsumer, TaskManager, TaskScheduler
from fluid.testing import Recorder
from tests.support.waiting import poll


@asynccontextmanager
async def consuming(url: str, *tasks: Task, **settings: Any) -> AsyncIterator[tuple[TaskConsumer, Recorder]]:
    """A consumer that knows these tasks and claims."""
    consumer = TaskConsumer(broker_url=url, **settings)
    consumer.register_from_dict({task.name: task for task in tasks})
    heard = Recorder(consumer)
    async with consumer:
        await heard.wait_for("consumer_started")
        yield consumer, heard


@asynccontextmanager
async def scheduling(
    url: str, *tasks: Task, **settings: Any
) -> AsyncIterator[tuple[TaskScheduler, Recorder]]:
    """A scheduler that knows these tasks and claims."""
    scheduler = TaskScheduler(broker_url=url, **settings)
    scheduler.register_from_dict({task.name: task for task in tasks})
    heard = Recorder(scheduler)
    async with scheduler:
        await heard.wait_for("consumer_started")
        yield scheduler, heard


@asynccontextmanager
async def managing(url: str, *tasks: Task, **settings: Any) -> AsyncIterator[tuple[TaskManager, Recorder]]:
    """A manager that knows these tasks."""
    manager = TaskManager(broker_url=url, **settings)
    manager.register_from_dict({task.name: task for task in tasks})
    heard = Recorder(manager)
    async with manager:
        yield manager, heard


async def eventually(holds: Callable[[], bool], what: str) -> None:
    """Return once it holds, for what announces nothing when it changes."""

    async def look() -> bool:
        return holds()

    await poll(look, bool, what, every=0.005)


async def slot_taken(consumer: TaskConsumer) -> None:
    """Return once a run is in a slot, and has had the turns of the loop that it needs to start."""
    await eventually(lambda: consumer.num_concurrent_tasks == 1, "a run to be claimed")
    for _ in range(10):
        await asyncio.sleep(0)


class Gate:
    """Bodies wait at it; the test sees how many do, and opens it."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        return self._waiting

    @property
    def is_open(self) -> bool:
        return self._opened.is_set()

    async def wait(self) -> None:
        """In a body: until the test opens the gate."""
        self._waiting += 1
        try:
            await self._opened.wait()
        finally:
            self._waiting -= 1

    def open(self) -> None:
        self._opened.set()

    async def wait_for(self, count: int = 1) -> None:
        """In the test: until so many bodies wait."""
        await eventually(lambda: self._waiting >= count, f"{count} bodies at the gate")


def reasons(events: list[Event]) -> list[str]:
    """Why each of these was told."""
    return [event.reason for event in events]
