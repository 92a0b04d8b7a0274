"""CPU-bound tasks, in a module that the processes of bodies can import."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fluid.errors import Abort, FluidError, Retry
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


class ParticularError(Exception):
    """One that cannot be made again from its text alone."""

    def __init__(self, code: int, *, page: str) -> None:
        super().__init__(f"page {page} says {code}")


@task(cpu_bound=True)
def is_particular(ctx: TaskRun) -> None:
    raise ParticularError(7, page="two")


@task(cpu_bound=True)
def raises_a_local_error(ctx: TaskRun) -> None:
    class NobodyKnowsError(Exception): ...

    raise NobodyKnowsError("who am I")


@task(cpu_bound=True, retry=RetryPolicy(max_attempts=2, wait=0, retry_on=(ParticularError,)))
def is_particular_once(ctx: TaskRun) -> int:
    if ctx.attempt == 1:
        raise ParticularError(7, page="two")
    return ctx.attempt


@task(cpu_bound=True)
def leaves(ctx: TaskRun) -> None:
    sys.exit(3)


@task(cpu_bound=True, timeout_seconds=0)
def slips_away(ctx: TaskRun) -> None:
    os._exit(0)


class Unspeakable:
    def __repr__(self) -> str:
        return "<unspeakable>"


@task(cpu_bound=True)
def talks(ctx: TaskRun) -> None:
    """Log in every way."""
    ctx.logger.warning("half of %d", 84)
    pages = logging.getLogger("pages")
    pages.debug("not wanted")
    pages.info("turned", extra={"page": 2, "who": Unspeakable()})
    try:
        raise LookupError("no such page")
    except LookupError:
        pages.exception("lost \udcff")
    pages.error("x" * 20_000)


@task(cpu_bound=True)
def counts_up(ctx: TaskRun) -> None:
    for number in range(1, 501):
        ctx.progress(number, 500, "counting")


@task(cpu_bound=True)
async def counts_and_awaits(ctx: TaskRun) -> None:
    await ctx.progress(1, 2, "half")


@task(cpu_bound=True)
async def asks_for_more(ctx: TaskRun) -> str:
    assert ctx.task is asks_for_more
    faults = []
    for ask in (lambda: ctx.queue("awaits"), ctx.cancel, ctx.result):
        try:
            await ask()
        except FluidError as error:
            faults.append(str(error))
    return "; ".join(faults)


TRACE: ContextVar[str] = ContextVar("trace", default="none")


@contextmanager
def traced(headers: Mapping[str, str]) -> Iterator[None]:
    token = TRACE.set(headers["trace"])
    try:
        yield
    finally:
        TRACE.reset(token)


def refuses(headers: Mapping[str, str]) -> AbstractContextManager[None]:
    raise RuntimeError("no trace today")


@task(cpu_bound=True)
async def is_traced(ctx: TaskRun) -> str:
    return TRACE.get()


@task(cpu_bound=True, timeout_seconds=0)
def waits_for_a_file(ctx: TaskRun) -> str:
    """Say who waits, and wait until the other file is there."""
    Path(ctx.params["pid_file"]).write_text(f"{os.getpid()}\n")
    while not Path(ctx.params["until"]).exists():
        time.sleep(0.01)
    return "seen"


@task(cpu_bound=True, timeout_seconds=0.2)
def is_quick(ctx: TaskRun) -> None: ...


@task(cpu_bound=True)
def writes_a_file_at_exit(ctx: TaskRun) -> int:
    atexit.register(Path(ctx.params["written"]).touch)
    return os.getpid()


@task(cpu_bound=True)
def is_stuck_at_exit(ctx: TaskRun) -> int:
    atexit.register(time.sleep, 1000)
    return os.getpid()
