"""This project. `BENCH_MODE` names the parts of telemetry that are on."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
from collections.abc import AsyncIterator

from fluid.collector import spare_the_collector
from fluid.scheduler import TaskConsumer, TaskManager, TaskRun, task
from telemetry import Telemetry, logs
from telemetry.settings import TelemetrySettings
from tests.bench.peers import stage

URL = f"{stage.SERVER_URL}?name=bench"
PARTS = frozenset(stage.MODE.split("+")) - {""}
"""Of `metrics`, `logs`, `traces`; metrics come with any of them."""


@task
async def nothing(ctx: TaskRun) -> int:
    stage.begun()
    return 1


@task
async def stamped(ctx: TaskRun) -> None:
    stage.arrived(ctx.params["called"])


def watched(host: TaskManager) -> TaskManager:
    """The host, with the parts of telemetry that were asked for."""
    if PARTS:
        logs.configure(format="json", runs="logs" in PARTS)
        traces = TelemetrySettings(port=int(os.environ.get("BENCH_PORT", "0"))) if "traces" in PARTS else None
        off = TelemetrySettings(port=int(os.environ.get("BENCH_PORT", "0")), traces="off")
        Telemetry(traces or off).attach(host)
    return host


async def consume() -> None:
    consumer = TaskConsumer(broker_url=URL, max_concurrent_tasks=stage.SLOTS)
    consumer.register_task(nothing)
    consumer.register_task(stamped)
    watched(consumer)
    await consumer.start_running()
    spare_the_collector()  # as `fluid run` does
    await consumer.wait_for_exit()


def work() -> None:
    uvloop = importlib.import_module("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(consume())


@contextlib.asynccontextmanager
async def queueing() -> AsyncIterator[stage.Queueing]:
    async with watched(TaskManager(broker_url=URL)) as manager:
        manager.register_task(nothing)
        manager.register_task(stamped)
        await manager.queue(nothing)  # the connection is made
        yield stage.Queueing(
            one=lambda: manager.queue(nothing),
            stamped=lambda called: manager.queue(stamped, called=called),
            many=lambda runs: manager.queue_many(nothing, [{}] * runs),
        )


if __name__ == "__main__":
    stage.main(stage.Peer(work=work, queueing=queueing))
