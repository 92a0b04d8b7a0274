"""Runs that this process is queueing right now.

A consumer in the same process can have such a run in its hands before the producer has its answer.
It waits here, so that a run is told as `queued` before it is told as started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from fluid.scheduler.run import TaskRun


class BeingQueued:
    """Knows them by their ids."""

    def __init__(self) -> None:
        self._told: dict[str, asyncio.Event] = {}

    @contextmanager
    def these(self, runs: Iterable[TaskRun[Any]]) -> Iterator[None]:
        """They are being queued, until what became of them has been told."""
        mine = {run.id: asyncio.Event() for run in runs if run.id not in self._told}
        self._told |= mine
        try:
            yield
        finally:
            for run_id, told in mine.items():
                del self._told[run_id]
                told.set()

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._told

    async def wait_for(self, run_id: str) -> None:
        """Until this run is not being queued any more; at once when it is not."""
        told = self._told.get(run_id)
        if told is not None:
            await told.wait()
