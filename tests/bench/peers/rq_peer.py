"""rq; `BENCH_MODE` is `simple` (bodies in the worker's process) or `fork` (a process for each)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from redis import Redis
from rq import Queue, SimpleWorker, Worker

from tests.bench.peers import stage

connection = Redis.from_url(stage.SERVER_URL)
queue = Queue("bench", connection=connection)


def nothing() -> int:
    stage.begun()
    return 1


def stamped(called: float) -> None:
    stage.arrived(called)


def work() -> None:
    kind = Worker if stage.MODE == "fork" else SimpleWorker
    kind([queue], connection=connection).work(logging_level=logging.WARNING)


async def one() -> Any:
    return queue.enqueue("tests.bench.peers.rq_peer.nothing")


async def one_stamped(called: float) -> Any:
    return queue.enqueue("tests.bench.peers.rq_peer.stamped", called)


async def many(runs: int) -> Any:
    job = Queue.prepare_data("tests.bench.peers.rq_peer.nothing")
    return queue.enqueue_many([job] * runs)


@contextlib.asynccontextmanager
async def queueing() -> AsyncIterator[stage.Queueing]:
    await one()
    yield stage.Queueing(one=one, stamped=one_stamped, many=many, in_flight=1)


if __name__ == "__main__":
    stage.main(stage.Peer(work=work, queueing=queueing))
