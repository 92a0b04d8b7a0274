"""One body, called once: with its timeout, here or in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import Any

from fluid.clock import elapsed
from fluid.errors import TaskTimeoutError
from fluid.scheduler.deadlines import Deadlines
from fluid.scheduler.interceptors import Interceptors, around_executing, places_in_process
from fluid.scheduler.offload import ProcessPool
from fluid.scheduler.run import TaskRun
from fluid.scheduler.task import Task

_HERE = nullcontext()


class Invoker:
    """Calls bodies."""

    def __init__(
        self,
        *,
        task_timeout: float,
        interceptors: Interceptors,
        clock: Callable[[], float] = elapsed,
    ) -> None:
        self._task_timeout = task_timeout
        self._interceptors = interceptors
        self._deadlines: dict[asyncio.AbstractEventLoop, Deadlines] = {}
        self._processes = ProcessPool(on_trouble=interceptors.trouble_in_process)
        self.clock = clock

    def timeout_of(self, task: Task) -> float | None:
        """Seconds the task's body may take; None is no limit."""
        seconds = self._task_timeout if task.timeout_seconds is None else task.timeout_seconds
        return seconds or None

    def around(self, run: TaskRun[Any]) -> AbstractContextManager[Any]:
        """What surrounds a call, and what is done with its result."""
        return around_executing(self._interceptors, run)

    def place_for(self, task: Task) -> AbstractAsyncContextManager[None]:
        """Where the body can be invoked: a CPU-bound one waits for a process, not started yet."""
        return self._processes.place if task.cpu_bound else _HERE

    async def invoke(self, task: Task, run: TaskRun[Any]) -> Any:
        """What the body returns; what it raises, or `TaskTimeoutError`. To be called in its place."""
        seconds = self.timeout_of(task)
        if task.cpu_bound:
            surroundings = places_in_process(self._interceptors)
            return await self._processes.call(task, run, seconds, surroundings)
        if seconds is None:
            return await task.executor(run)
        deadlines = self._deadlines.get(asyncio.get_running_loop()) or self._deadlines_here()
        limit = deadlines.begin(seconds)
        try:
            return await task.executor(run)
        except asyncio.CancelledError as error:
            if limit.cancelled:
                raise TaskTimeoutError(f"the body took longer than {seconds:g} s") from error
            raise
        finally:
            deadlines.end(limit)

    def _deadlines_here(self) -> Deadlines:
        """New ones for this loop: `execute_sync` may be called while another one runs, in another thread."""
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(loop)
        known = {one: its for one, its in list(self._deadlines.items()) if not one.is_closed()}
        self._deadlines = known | {loop: deadlines}
        return deadlines

    async def close(self) -> None:
        """Stop the processes of CPU-bound bodies."""
        await self._processes.close()
