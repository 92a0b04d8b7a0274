"""A body run here, once, without the broker."""

from __future__ import annotations

import asyncio
from typing import Any

from fluid.clock import now
from fluid.errors import Abort
from fluid.scheduler.announcing import Announcer
from fluid.scheduler.execution import reason_of, words_of
from fluid.scheduler.invoking import Invoker
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskState
from fluid.scheduler.task import Task


async def execute_here(task: Task, run: TaskRun[Any], invoker: Invoker, announcer: Announcer) -> TaskRun[Any]:
    """The ended run. Its events are told with `run.local` true, so that totals leave it out."""
    run.local = True
    run.queued = run.start = now()
    run.move(TaskState.running)
    announcer.announce("start", run, waited=0.0, dispatched=0.0)
    begin = invoker.clock()
    state = TaskState.success
    try:
        with invoker.around(run):
            run.returned = await invoker.invoke(task, run)
    except (Exception, asyncio.CancelledError) as error:
        state = TaskState.aborted if isinstance(error, (Abort, asyncio.CancelledError)) else TaskState.failure
        run.reason, run.error = reason_of(error), words_of(error, run)
        if isinstance(error, asyncio.CancelledError):
            raise
    finally:
        ran = invoker.clock() - begin
        run.end = now()
        run.move(state)
        for name in ("end", str(state)):
            announcer.announce(name, run, reason=run.reason, ran=ran, latency=ran)
    return run
