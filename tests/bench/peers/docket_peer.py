"""docket (pydocket); `BENCH_MODE=tuned` looks for free slots every 5 ms."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import uvloop
from docket import Docket, Worker

from tests.bench.peers import stage


async def nothing() -> int:
    stage.begun()
    return 1


async def stamped(called: float) -> None:
    stage.arrived(called)


def docket() -> Docket:
    opened = Docket(name="bench", url=stage.SERVER_URL)
    opened.register(nothing)
    opened.register(stamped)
    return opened


async def consume() -> None:
    chosen: dict[str, Any] = {}
    if stage.MODE == "tuned":
        chosen["minimum_check_interval"] = timedelta(milliseconds=5)
    async with docket() as opened, Worker(opened, concurrency=stage.SLOTS, **chosen) as worker:
        await worker.run_forever()


def work() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(consume())


@contextlib.asynccontextmanager
async def queueing() -> AsyncIterator[stage.Queueing]:
    async with docket() as opened:
        await opened.add(nothing)()
        yield stage.Queueing(
            one=lambda: opened.add(nothing)(), stamped=lambda called: opened.add(stamped)(called)
        )


if __name__ == "__main__":
    # a task is known by the room it is in
    from tests.bench.peers import docket_peer

    stage.main(stage.Peer(work=docket_peer.work, queueing=docket_peer.queueing))
