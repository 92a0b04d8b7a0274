"""Tasks and a consumer for the processes that tests start: `tests.telemetry.jobs:consumer`."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from fluid.scheduler import TaskConsumer, TaskRun, task


@task
async def outlive(ctx: TaskRun) -> str:
    """Never end in the first attempt, so that the process can be killed meanwhile."""
    if ctx.losses:
        return "rescued"
    sys.stdout.write("begun\n")
    await ctx.progress(0, message="begun")
    await asyncio.Event().wait()
    return "never"


@task
async def block(ctx: TaskRun) -> None:
    """Block the loop until somebody writes into a named pipe."""
    sys.stdout.write("blocking\n")
    Path(ctx.params["gate"]).read_bytes()  # noqa: ASYNC240 - that is the point


@task
async def linger(ctx: TaskRun) -> None:
    """Leave the loop alone until somebody writes into a named pipe."""
    sys.stdout.write("lingering\n")
    await asyncio.to_thread(Path(ctx.params["gate"]).read_bytes)


@task
async def say(ctx: TaskRun) -> None:
    """Log a line as a library would."""
    logging.getLogger("library").info("said")


consumer = TaskConsumer()
consumer.register_from_dict(globals())
