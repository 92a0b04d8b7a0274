"""What a measured process does, whichever system it uses: it queues, or it works and leaves notes.

Only the standard library is imported here, for every peer runs it in an environment of its own. Notes are
instants of the monotonic clock, which on Linux is one clock for all processes.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import mmap
import os
import struct
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IN_FLIGHT = 32
"""Calls under way at once, when runs are queued one by one."""

BULK = 500
"""Runs in one bulk call."""

PAUSE = 0.02
"""Seconds between two runs whose latency is measured."""

NOTE = struct.Struct("qd")
"""Bodies begun, and the instant of the last one."""

SERVER_URL = os.environ.get("BENCH_URL", "redis://127.0.0.1:6379")
SLOTS = int(os.environ.get("BENCH_SLOTS", "32"))
MODE = os.environ.get("BENCH_MODE", "")
_NOTES = Path(os.environ.get("BENCH_NOTES", "."))


class _Notes:
    """How many bodies have begun in this process, and when, where the driver can read it."""

    def __init__(self) -> None:
        path = _NOTES / f"{os.getpid()}.begun"
        path.write_bytes(bytes(NOTE.size))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), NOTE.size)
        path.rename(path.with_suffix(".notes"))  # whole, when it is found
        self._count = 0

    def take(self) -> None:
        self._count += 1
        NOTE.pack_into(self._page, 0, self._count, time.monotonic())


_notes: _Notes | None = None
_one_at_a_time = threading.Lock()


def begun() -> None:
    """The first line of the body that does nothing else; of several threads, where a library has them."""
    global _notes
    with _one_at_a_time:
        if _notes is None:
            _notes = _Notes()
        _notes.take()


def arrived(called: float) -> None:
    """The first line of the body whose latency is measured."""
    waited = time.monotonic() - called
    with (_NOTES / "latency").open("a") as file:
        file.write(f"{waited}\n")


@dataclass(frozen=True)
class Queueing:
    """How a system queues; every call returns when the server has what was queued."""

    one: Callable[[], Awaitable[Any]]
    """One run of the body that does nothing."""
    stamped: Callable[[float], Awaitable[Any]]
    """One run of the body whose latency is measured, told when it was called."""
    many: Callable[[int], Awaitable[Any]] | None = None
    """So many runs by the system's own bulk call; None where it has none."""
    in_flight: int = IN_FLIGHT
    """1 for a library that is not asynchronous."""


@dataclass(frozen=True)
class Peer:
    """A measured system."""

    work: Callable[[], None]
    """Execute runs until the process is ended."""
    queueing: Callable[[], AbstractAsyncContextManager[Queueing]]


async def _queue(peer: Peer, runs: int) -> float:
    async with peer.queueing() as queueing:
        left = iter(range(runs))

        async def caller() -> None:
            for _ in left:
                await queueing.one()

        began = time.monotonic()
        await asyncio.gather(*(caller() for _ in range(queueing.in_flight)))
        return time.monotonic() - began


async def _queue_many(peer: Peer, runs: int) -> float | None:
    async with peer.queueing() as queueing:
        if queueing.many is None:
            return None
        began = time.monotonic()
        for start in range(0, runs, BULK):
            await queueing.many(min(BULK, runs - start))
        return time.monotonic() - began


async def _latency(peer: Peer, runs: int) -> None:
    async with peer.queueing() as queueing:
        for _ in range(runs):
            await queueing.stamped(time.monotonic())
            await asyncio.sleep(PAUSE)


def _run(work: Any) -> Any:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def main(peer: Peer) -> None:
    """What the driver asks for: `work`, or `queue`, `queue_many` or `latency` with a number of runs.

    The seconds that it took are the last line that is written.
    """
    what, runs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    if what == "work":
        peer.work()
        return
    take = {"queue": _queue, "queue_many": _queue_many, "latency": _latency}[what]
    seconds = _run(take(peer, runs))
    sys.stdout.write(json.dumps({"seconds": seconds}) + "\n")
