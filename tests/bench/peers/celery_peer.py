"""celery; `BENCH_MODE` is the pool: `prefork` with two processes, or `solo`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from celery import Celery

from tests.bench.peers import stage

app = Celery("bench", broker=stage.SERVER_URL)
app.conf.task_acks_late = True
app.conf.task_ignore_result = True
app.conf.worker_prefetch_multiplier = 32


@app.task(name="nothing")
def nothing() -> int:
    stage.begun()
    return 1


@app.task(name="stamped")
def stamped(called: float) -> None:
    stage.arrived(called)


def work() -> None:
    quiet = ["--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    app.worker_main(["worker", "--pool", stage.MODE or "prefork", "--concurrency", "2", *quiet])


async def one() -> Any:
    return nothing.delay()


async def one_stamped(called: float) -> Any:
    return stamped.delay(called)


@contextlib.asynccontextmanager
async def queueing() -> AsyncIterator[stage.Queueing]:
    await one()
    yield stage.Queueing(one=one, stamped=one_stamped, in_flight=1)


if __name__ == "__main__":
    stage.main(stage.Peer(work=work, queueing=queueing))
