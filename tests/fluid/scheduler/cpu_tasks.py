"""CPU-bound tasks, in a module that the processes of bodies can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fluid.errors import Abort, Retry
from fluid.scheduler import RetryPolicy, TaskRun, task


class Span(BaseModel):
    start: int
    stop: int


@task(cpu_bound=True)
def total(ctx: TaskRun[Span]) -> dict[str, int]:
    return {"total": sum(range(ctx.params.start, ctx.params.stop)), "pid": os.getpid()}


@task(cpu_bound=True)
async def awaits(ctx: TaskRun) -> str:
    return f"{ctx.name} {ctx.attempt}"


@task(cpu_bound=True)
def breaks(ctx: TaskRun) -> None:
    raise LookupError("no such page")


@task(cpu_bound=True, timeout_seconds=60)
def asks_somebody_slow(ctx: TaskRun) -> None:
    raise TimeoutError("the other side did not answer")


@task(cpu_bound=True)
def gives_a_file(ctx: TaskRun) -> Any:
    return Path.open


@task(cpu_bound=True)
def declines(ctx: TaskRun) -> None:
    raise Abort("not today")


@task(cpu_bound=True, retry=RetryPolicy(max_attempts=2))
def again(ctx: TaskRun) -> int:
    if ctx.attempt == 1:
        raise Retry("once more", delay=0.01)
    return ctx.attempt


@task(cpu_bound=True)
def dies(ctx: TaskRun) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task(cpu_bound=True, timeout_seconds=0)
def sleeps(ctx: TaskRun) -> None:
    """Say who sleeps, and then do not come back."""
    Path(ctx.params["pid_file"]).write_text(f"{os.getpid()}\n")
    time.sleep(600)


@task(cpu_bound=True, timeout_seconds=2)
def oversleeps(ctx: TaskRun) -> None:
    """Say who sleeps, and take too long."""
    Path(ctx.params["pid_file"]).write_text(f"{os.getpid()}\n")
    time.sleep(600)
