"""From the call of `queue` to the first line of the body, in an idle consumer of the same process.

`make latency` prints the median, the 99th percentile and the machine; absolute figures are this machine's.
"""

from __future__ import annotations

import asyncio
import platform
import sys

from fluid.clock import elapsed, now
from fluid.scheduler import TaskConsumer, TaskRun, task
from tests.support.servers import RedisServer

RUNS = 500
PAUSE = 0.01
"""Seconds between two runs, so that the consumer is idle again."""


async def measure(url: str) -> list[float]:
    """The seconds of each run, sorted."""
    loop = asyncio.get_running_loop()
    started: asyncio.Future[float] = loop.create_future()

    @task
    async def note(ctx: TaskRun) -> None:
        started.set_result(elapsed())

    seconds = []
    async with TaskConsumer(broker_url=url) as consumer:
        for _ in range(RUNS):
            started = loop.create_future()
            called = elapsed()
            await consumer.queue(note)
            seconds.append(await started - called)
            await asyncio.sleep(PAUSE)
    return sorted(seconds)


def main() -> None:
    """Measure against Debian's Redis, and print."""
    with RedisServer("redis") as server:
        seconds = asyncio.run(measure(server.queue_url("latency")))
    where = f"{platform.machine()}, Python {platform.python_version()}, {now():%Y-%m-%d}"
    half, most = seconds[len(seconds) // 2], seconds[len(seconds) * 99 // 100]
    sys.stdout.write(f"{RUNS} runs: median {half * 1000:.2f} ms, 99 % {most * 1000:.2f} ms ({where})\n")


if __name__ == "__main__":
    main()
