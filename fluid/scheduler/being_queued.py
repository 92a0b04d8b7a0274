"""Runs that this process is queueing right now.

A consumer in the same process can have such a run in its hands before the producer has its answer.
It waits here, so that a run is told as `queued` before it is told as started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Self

from fluid.scheduler.run import TaskRun


class BeingQueued:
    """Knows them by their ids."""

    def __init__(self) -> None:
        # an event is made by who waits, which hardly anybody does
        self._told: dict[str, asyncio.Event | None] = {}

    def these(self, runs: Iterable[TaskRun[Any]]) -> UntilTold:
        """To be entered: they are being queued until what became of them has been told."""
        return UntilTold(self._told, [run.id for run in runs if run.id not in self._told])

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._told

    async def wait_for(self, run_id: str) -> None:
        """Until this run is not being queued any more; at once when it is not."""
        if run_id in self._told:
            told = self._told[run_id] = self._told[run_id] or asyncio.Event()
            await told.wait()


class UntilTold:
    """Some of them, for as long as it is entered."""

    __slots__ = ("_ids", "_told")

    def __init__(self, told: dict[str, asyncio.Event | None], ids: list[str]) -> None:
        self._told = told
        self._ids = ids

    def __enter__(self) -> Self:
        for run_id in self._ids:
            self._told.setdefault(run_id)
        return self

    def __exit__(self, *_: object) -> None:
        for run_id in self._ids:
            told = self._told.pop(run_id)
            if told is not None:
                told.set()

    def hand_over(self) -> UntilTold:
        """The same, for somebody else to enter and leave; what was entered here has no end any more."""
        handed, self._ids = self._ids, []
        return UntilTold(self._told, handed)
