"""Runs that belong together: wait for many, or queue one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from fluid.errors import RunError
from fluid.scheduler.options import QueueOptions
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskPriority

Step = tuple[Any, Mapping[str, Any]]
"""A task, or its name, and its parameters."""


class Queues(Protocol):
    """What can queue: a manager, or a run within its body."""

    async def queue(
        self,
        task: Any,
        priority: TaskPriority | None = None,
        *,
        options: QueueOptions | None = None,
        **params: Any,
    ) -> TaskRun[Any]:
        """Queue one run."""


class group:  # noqa: N801 - it reads as a verb: `await group(runs).results()`
    """Runs to wait for together."""

    def __init__(self, runs: Sequence[TaskRun[Any]]) -> None:
        self.runs = tuple(runs)

    async def wait(
        self, timeout: float | None = None, *, then: Callable[[Sequence[TaskRun[Any]]], None] | None = None
    ) -> tuple[TaskRun[Any], ...]:
        """Wait until every run has ended or is dead, however it ended; then `then` is called with them.

        Raises `ResultTimeoutError` when one has not ended within `timeout` seconds.
        """
        await self._outcomes(timeout)
        if then is not None:
            then(self.runs)
        return self.runs

    async def results(self, timeout: float | None = None) -> list[Any]:
        """What the bodies returned, in the order of the runs; raises the first `RunError` among them."""
        outcomes = await self._outcomes(timeout)
        for outcome in outcomes:
            if isinstance(outcome, RunError):
                raise outcome
        return outcomes

    async def _outcomes(self, timeout: float | None) -> list[Any]:
        async def outcome(run: TaskRun[Any]) -> Any:
            try:
                return await run.result(timeout)
            except RunError as error:
                return error

        async with asyncio.TaskGroup() as waiting:
            tasks = [waiting.create_task(outcome(run)) for run in self.runs]
        return [task.result() for task in tasks]


async def chain(queues: Queues, *steps: Step, timeout: float | None = None) -> TaskRun[Any]:
    """Queue each step when the one before has succeeded; the run of the last one, ended.

    Every run follows the one before it (`from_run_id`). Raises the `RunError` of the first step that did not
    succeed; the steps after it are not queued. `timeout` is seconds for each step.
    """
    source = queues
    run: TaskRun[Any] | None = None
    for task, params in steps:
        run = await source.queue(task, **params)
        await run.result(timeout)
        source = run
    if run is None:
        raise ValueError("chain() needs at least one step: chain(manager, (task, {'name': 'value'}))")
    return run
