"""streaq."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from streaq import Worker

from tests.bench.peers import stage

worker = Worker(redis_url=stage.SERVER_URL, concurrency=stage.SLOTS, anyio_kwargs={"use_uvloop": True})


@worker.task(silent=True)
async def nothing() -> int:
    stage.begun()
    return 1


@worker.task(silent=True)
async def stamped(called: float) -> None:
    stage.arrived(called)


async def one() -> None:
    await nothing.enqueue()


async def one_stamped(called: float) -> None:
    await stamped.enqueue(called)


@contextlib.asynccontextmanager
async def queueing() -> AsyncIterator[stage.Queueing]:
    async with worker:
        await one()
        yield stage.Queueing(
            one=one,
            stamped=one_stamped,
            many=lambda runs: worker.enqueue_many([nothing.enqueue() for _ in range(runs)]),
        )


if __name__ == "__main__":
    stage.main(stage.Peer(work=worker.run_sync, queueing=queueing))
