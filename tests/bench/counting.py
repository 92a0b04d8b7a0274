"""A consumer that counts what a run costs it: calls of functions, commands and round trips, not seconds.

Run as a process of its own, with `BENCH_URL` and `BENCH_MODE`; writes what it counted to a file, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import redis

from fluid.scheduler import TaskConsumer, TaskManager, TaskRun, task
from tests.bench.peers import stage
from tests.bench.peers.fluid_peer import URL, watched

WARM_UP = 480
RUNS = 1600
"""Counted, after those that warm it up: whole claims of 32."""


class Counter:
    """Counts from one run to another."""

    def __init__(self, server: redis.Redis) -> None:
        self._server = server
        self._begun = self._calls = 0
        self._commands = self._reads = 0
        self.over = asyncio.Event()

    def begun(self) -> None:
        """One more body has begun."""
        self._begun += 1
        if self._begun == WARM_UP:
            self._ask_server(-1)
            sys.setprofile(self._called)
        elif self._begun == WARM_UP + RUNS:
            sys.setprofile(None)
            self._ask_server(1)
            self.over.set()

    def _called(self, frame: FrameType, event: str, told: Any) -> None:
        if event in ("call", "c_call"):
            self._calls += 1

    def _ask_server(self, sign: int) -> None:
        told: dict[str, Any] = self._server.info("stats")
        self._commands += sign * told["total_commands_processed"]
        self._reads += sign * told["total_reads_processed"]

    def by_run(self) -> dict[str, float]:
        """What a run costs. Calls are of functions, in C too; a coroutine that goes on counts as one."""
        counted = {"calls": self._calls, "commands": self._commands, "round_trips": self._reads}
        return {what: number / RUNS for what, number in counted.items()}


async def count(server: redis.Redis) -> dict[str, float]:
    """Queue, work it off, and count."""
    counter = Counter(server)

    @task
    async def nothing(ctx: TaskRun) -> int:
        counter.begun()
        return 1

    async with TaskManager(broker_url=URL) as manager:
        manager.register_task(nothing)
        await manager.queue_many(nothing, [{}] * (WARM_UP + RUNS))
    consumer = TaskConsumer(broker_url=URL, max_concurrent_tasks=stage.SLOTS)
    consumer.register_task(nothing)
    watched(consumer)
    async with consumer:
        await counter.over.wait()
    return counter.by_run()


def main() -> None:
    """Count, and leave what was counted where it is looked for."""
    with redis.Redis.from_url(stage.SERVER_URL) as server:
        server.info("stats")  # the connection is made
        counted = asyncio.run(count(server))
    Path(sys.argv[1]).write_text(json.dumps(counted))


if __name__ == "__main__":
    main()
