"""dramatiq, with threads."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.bench.peers import stage

THREADS = 8

dramatiq.set_broker(RedisBroker(url=stage.SERVER_URL))


@dramatiq.actor
def nothing() -> None:
    stage.begun()


@dramatiq.actor
def stamped(called: float) -> None:
    stage.arrived(called)


def work() -> None:
    worker = dramatiq.Worker(dramatiq.get_broker(), worker_threads=THREADS)
    worker.start()
    signal.pause()


async def one() -> Any:
    return nothing.send()


async def one_stamped(called: float) -> Any:
    return stamped.send(called)


@contextlib.asynccontextmanager
async def queueing() -> AsyncIterator[stage.Queueing]:
    await one()
    yield stage.Queueing(one=one, stamped=one_stamped, in_flight=1)


if __name__ == "__main__":
    stage.main(stage.Peer(work=work, queueing=queueing))
