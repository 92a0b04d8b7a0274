"""aio-fluid. Its package has our name, so this room runs where ours is not found.

It reads the annotations of bodies, and none that are put off: so they are not here.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import uvloop
from pydantic import BaseModel

from fluid.scheduler import TaskConsumer, TaskManager, TaskRun, task
from tests.bench.peers import stage


class Stamp(BaseModel):
    """When it was called."""

    called: float


@task
async def nothing(context: Any) -> None:
    stage.begun()


@task
async def stamped(context: TaskRun[Stamp]) -> None:
    stage.arrived(context.params.called)


async def consume() -> None:
    consumer = TaskConsumer(max_concurrent_tasks=stage.SLOTS, broker_url=stage.SERVER_URL)
    consumer.register_task(nothing)
    consumer.register_task(stamped)
    await consumer.startup()
    await asyncio.Event().wait()


def work() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(consume())


@contextlib.asynccontextmanager
async def queueing() -> AsyncIterator[stage.Queueing]:
    async with TaskManager(broker_url=stage.SERVER_URL) as manager:
        manager.register_task(nothing)
        manager.register_task(stamped)
        await manager.queue("nothing")
        yield stage.Queueing(
            one=lambda: manager.queue("nothing"),
            stamped=lambda called: manager.queue("stamped", called=called),
        )


if __name__ == "__main__":
    stage.main(stage.Peer(work=work, queueing=queueing))
