"""taskiq, through a Redis stream; `BENCH_MODE=results` stores what bodies return."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from taskiq.__main__ import main as command
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from tests.bench.peers import stage

broker = RedisStreamBroker(stage.SERVER_URL)
if stage.MODE == "results":
    broker = broker.with_result_backend(RedisAsyncResultBackend(stage.SERVER_URL, result_ex_time=3600))


@broker.task
async def nothing() -> int:
    stage.begun()
    return 1


@broker.task
async def stamped(called: float) -> None:
    stage.arrived(called)


def work() -> None:
    sys.argv = ["taskiq", "worker", "tests.bench.peers.taskiq_peer:broker", "--workers", "1"]
    sys.argv += ["--max-async-tasks", str(stage.SLOTS), "--max-prefetch", str(stage.SLOTS)]
    sys.argv += ["--log-level", "WARNING"]
    os.environ["PYTHONPATH"] = str(Path.cwd())
    command()


@contextlib.asynccontextmanager
async def queueing() -> AsyncIterator[stage.Queueing]:
    await broker.startup()
    await nothing.kiq()
    yield stage.Queueing(one=nothing.kiq, stamped=stamped.kiq)
    await broker.shutdown()


if __name__ == "__main__":
    # the worker imports this room by its name, and so does who queues: a task is known by it
    from tests.bench.peers import taskiq_peer

    stage.main(stage.Peer(work=work, queueing=taskiq_peer.queueing))
