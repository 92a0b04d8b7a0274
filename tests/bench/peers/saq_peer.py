"""SAQ."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import uvloop
from saq import Queue, Worker

from tests.bench.peers import stage


async def nothing(ctx: dict[str, Any]) -> int:
    stage.begun()
    return 1


async def stamped(ctx: dict[str, Any], *, called: float) -> None:
    stage.arrived(called)


async def consume() -> None:
    queue = Queue.from_url(stage.SERVER_URL)
    await Worker(queue, functions=[nothing, stamped], concurrency=stage.SLOTS).start()


def work() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(consume())


@contextlib.asynccontextmanager
async def queueing() -> AsyncIterator[stage.Queueing]:
    queue = Queue.from_url(stage.SERVER_URL)
    await queue.connect()
    await queue.enqueue("nothing")
    yield stage.Queueing(
        one=lambda: queue.enqueue("nothing"),
        stamped=lambda called: queue.enqueue("stamped", called=called),
    )
    await queue.disconnect()


if __name__ == "__main__":
    stage.main(stage.Peer(work=work, queueing=queueing))
