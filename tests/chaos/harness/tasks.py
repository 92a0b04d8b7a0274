"""What the fleet runs: each body writes down by itself what it did, whatever the broker thinks of it."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta

from fluid.clock import elapsed
from fluid.scheduler import RetryPolicy, Task, TaskRun, every, task
from tests.support.ledger import Ledger

TICK = timedelta(milliseconds=500)
PLACES = {"limited": 3, "keyed": 2}
"""How many runs of a task, or of each key of it, may run at once."""
MOST_FAILURES = 3
TOXIC_DELIVERIES = 3
ROUNDING = 0.005
"""Seconds by which an instant may be off: the broker counts in milliseconds."""


def declare(ledger: Ledger) -> dict[str, Task]:
    """The tasks, with bodies that write into this ledger. A success returns the attempt that it was."""

    def note(ctx: TaskRun, what: str) -> None:
        key = ctx.params.get("key")
        ledger.write(ctx.id, f"{ctx.name}/{key}" if key else ctx.name, what, ctx.attempt)

    async def work(ctx: TaskRun) -> int:
        note(ctx, "begin")
        await asyncio.sleep(ctx.params.get("seconds", 0.0))
        note(ctx, "done")
        return ctx.attempt

    async def fail_at_first(ctx: TaskRun) -> int:
        note(ctx, "begin")
        if ctx.failures < ctx.params["failures"]:
            note(ctx, "failed")
            raise ValueError("as it was told")
        note(ctx, "done")
        return ctx.attempt

    async def wait_for_its_time(ctx: TaskRun) -> int:
        if elapsed() < ctx.params["not_before"] - ROUNDING:
            note(ctx, "early")
        return await work(ctx)

    async def kill_its_process(ctx: TaskRun) -> None:
        note(ctx, "begin")
        os.kill(os.getpid(), signal.SIGKILL)

    return {
        "plain": task("plain")(work),
        "long": task("long")(work),
        "limited": task("limited", max_concurrency=PLACES["limited"])(work),
        "keyed": task("keyed", max_concurrency=PLACES["keyed"])(work),
        "unique": task("unique")(work),
        "delayed": task("delayed")(wait_for_its_time),
        "flaky": task("flaky", retry=RetryPolicy(max_attempts=MOST_FAILURES, wait=0.1))(fail_at_first),
        "toxic": task("toxic", max_deliveries=TOXIC_DELIVERIES)(kill_its_process),
        "tick": task("tick", schedule=every(TICK, missed="all"))(work),
    }
