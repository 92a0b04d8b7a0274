"""huey, with threads, no results."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from huey import RedisHuey

from tests.bench.peers import stage

THREADS = 8

huey = RedisHuey("bench", url=stage.SERVER_URL, results=False)


@huey.task()
def nothing() -> int:
    stage.begun()
    return 1


@huey.task()
def stamped(called: float) -> None:
    stage.arrived(called)


def work() -> None:
    logging.getLogger("huey").setLevel(logging.WARNING)
    huey.create_consumer(workers=THREADS, periodic=False).run()


async def one() -> Any:
    return nothing()


async def one_stamped(called: float) -> Any:
    return stamped(called)


@contextlib.asynccontextmanager
async def queueing() -> AsyncIterator[stage.Queueing]:
    await one()
    yield stage.Queueing(one=one, stamped=one_stamped, in_flight=1)


if __name__ == "__main__":
    stage.main(stage.Peer(work=work, queueing=queueing))
