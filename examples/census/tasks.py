"""One run measures one file: a small one in a thread of the consumer, a big one in another process."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from examples.census.measuring import Measurement, measure_file
from fluid.scheduler import SLO, RetryPolicy, TaskPriority, TaskRun, task

BIG_BYTES = 50_000
"""From here on, parsing holds the interpreter's lock for longer than the event loop should stand still."""

READ_AGAIN = RetryPolicy(max_attempts=3, retry_on=(OSError,))
"""A file that cannot be read may be readable soon. What Python cannot parse now, it never can."""


one_thread = ThreadPoolExecutor(1, thread_name_prefix="measuring")
"""One, for measuring is all interpreter: two threads would take turns, and the parser of Python 3.11 fails
now and then when two use it at once."""


@dataclass(frozen=True)
class SourceFile:
    """What a run is told."""

    path: str


PROMISED = SLO(success=0.95, start_within=30, finish_within=60)
"""Most files are Python, and a scan is through before the next one after it."""


@task(priority=TaskPriority.low, retry=READ_AGAIN, timeout_seconds=30, slo=PROMISED)
async def measure(ctx: TaskRun[SourceFile]) -> Measurement:
    """Measure a small source file."""
    # Neither reading nor counting may hold up the event loop, on which everything else here lives: a thread
    # does both. Parsing itself lets no other thread run, which for a file of this size takes milliseconds.
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(one_thread, measure_file, Path(ctx.params.path))


@task(priority=TaskPriority.low, retry=READ_AGAIN, timeout_seconds=120, cpu_bound=True)
def measure_big(ctx: TaskRun[SourceFile]) -> Measurement:
    """Measure a big source file."""
    return measure_file(Path(ctx.params.path))
