"""A body run here, once, without the broker."""

from __future__ import annotations

import asyncio
from typing import Any

from fluid.clock import timestamp
from fluid.scheduler.announcing import Announcer
from fluid.scheduler.failing import failure_of
from fluid.scheduler.invoking import Invoker
from fluid.scheduler.retry import Decision
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskState
from fluid.scheduler.task import Task


async def execute_here(task: Task, run: TaskRun[Any], invoker: Invoker, announcer: Announcer) -> TaskRun[Any]:
    """The ended run. Its events are told with `run.local` true, so that totals leave it out.

    What the body raises is told by the run; only a cancellation and a KeyboardInterrupt get out.
    """
    run.local = True
    run.queued_at = 1000 * timestamp()
    async with invoker.place_for(task):
        run.started_at = 1000 * timestamp()
        run.move(TaskState.running)
        announcer.started(run, 0.0, 0.0)
        begin = invoker.clock()
        state = TaskState.failure
        try:
            with invoker.around(run):
                run.returned = await invoker.invoke(task, run)
            state = TaskState.success
        except BaseException as error:
            failure = failure_of(error, task.retry, run.failures + 1, run.params)
            run.reason, run.error = failure.reason, failure.error
            cancelled = isinstance(error, asyncio.CancelledError)
            if cancelled or failure.decision is Decision.ABORT:
                state = TaskState.aborted
            if cancelled or isinstance(error, (KeyboardInterrupt, GeneratorExit)):
                raise
        finally:
            ran = invoker.clock() - begin
            run.ended_at = 1000 * timestamp()
            run.move(state)
            announcer.ended(run, ran, ran)
    return run
