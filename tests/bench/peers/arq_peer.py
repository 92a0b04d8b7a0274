"""arq."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker

from tests.bench.peers import stage

SETTINGS = RedisSettings.from_dsn(stage.SERVER_URL)


async def nothing(ctx: dict[Any, Any]) -> int:
    stage.begun()
    return 1


async def stamped(ctx: dict[Any, Any], called: float) -> None:
    stage.arrived(called)


async def consume() -> None:
    worker = Worker(
        functions=[nothing, stamped], redis_settings=SETTINGS, max_jobs=stage.SLOTS, poll_delay=0.01
    )
    await worker.async_run()


def work() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(consume())


@contextlib.asynccontextmanager
async def queueing() -> AsyncIterator[stage.Queueing]:
    pool = await create_pool(SETTINGS)
    await pool.enqueue_job("nothing")
    yield stage.Queueing(
        one=lambda: pool.enqueue_job("nothing"),
        stamped=lambda called: pool.enqueue_job("stamped", called),
    )
    await pool.aclose()


if __name__ == "__main__":
    stage.main(stage.Peer(work=work, queueing=queueing))
