"""The census of `make run` in a bad hour: files are broken, gone or endless, and a consumer freezes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from examples.census import tasks
from fluid.scheduler import Snapshot, TaskManager, TaskRun, task
from tests.support.lifeline import LOOPBACK, free_port
from tests.support.processes import PythonProcess
from tests.support.waiting import poll

SLOTS = 4
"""Of one census."""
BIG_LINES = 5_000
MANY = 8
"""Runs of a kind."""


@task
async def weigh(ctx: TaskRun) -> None:
    """Be a task that no census knows."""


@task
async def scan(ctx: TaskRun) -> None:
    """Stand for the one of the census."""


class BadCensus:
    """Two processes of it on one queue, as `async with`; `begin` breaks what can be broken from outside.

    The second one comes when the first has its hands full, and does nothing but freeze: of a process that
    cannot be scraped any more, a board shows no gauge.
    """

    def __init__(self, broker_url: str, directory: Path, env: Mapping[str, str]) -> None:
        self._sources = directory / "sources"
        self._endless = directory / "endless.py"
        self._manager = TaskManager(broker_url=broker_url)
        self._manager.register_from_module(tasks)
        self._manager.register_from_dict({"weigh": weigh, "scan": scan})
        self._within = AsyncExitStack()
        told = {
            "FLUID_BROKER_URL": broker_url,
            "FLUID_LEASE_SECONDS": "2",
            "FLUID_MAX_DELIVERIES": "1",
            "FLUID_TELEMETRY_CANARY": "1",
            # there is no such directory, so the handler that writes it fails
            "CENSUS_REPORT": str(directory / "nowhere" / "report.txt"),
            **env,
        }
        ports = [free_port() for _ in range(2)]
        self.targets = [f"{LOOPBACK}:{port}" for port in ports]
        """Where each of them is scraped."""
        self._first, self._second = (
            PythonProcess(
                *("-m", "examples.census", self._sources, "--port", str(port)),
                output=directory / f"census-{port}.log",
                env=told,
            )
            for port in ports
        )

    async def __aenter__(self) -> Self:
        self._sources.mkdir()
        (self._sources / "small.py").write_text("number = 1\n", encoding="utf-8")
        (self._sources / "big.py").write_text("number = 1 + 2\n" * BIG_LINES, encoding="utf-8")
        (self._sources / "broken.py").write_text("print 'this was Python once'\n", encoding="utf-8")
        os.mkfifo(self._endless)
        try:
            await self._start(self._first)
            await self._within.enter_async_context(self._manager)
        except BaseException:
            await self._within.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._within.aclose()

    async def begin(self) -> None:
        """Have it all happen; it stays as bad as it is then."""
        queue = self._manager.queue
        before = (await self._manager.broker.snapshot()).books
        await queue(weigh)
        await queue(scan)
        for name in ("small.py", "broken.py", "gone.py"):
            await self._manager.queue_many(tasks.measure, [{"path": str(self._sources / name)}] * MANY)
        await self._until(
            lambda seen: (
                seen.held == 1
                and seen.books.success > before.success + MANY
                and seen.books.failure >= before.failure + 2 * MANY
            )
        )
        await self._fill(SLOTS)
        await self._start(self._second)
        await self._fill(2 * SLOTS)
        self._second.pause()
        await self._until(lambda seen: seen.dead >= 1)
        await queue(tasks.measure, path=str(self._sources / "small.py"))
        await self._until(lambda seen: seen.ready >= 1)

    async def _start(self, process: PythonProcess) -> None:
        await self._within.enter_async_context(process)
        await process.wait_for_line(r"^telemetry +http://")

    async def _fill(self, slots: int) -> None:
        """Have a file that never ends in each of so many slots."""
        for _ in range(SLOTS):
            await self._manager.queue(tasks.measure_big, path=str(self._endless))
        await self._until(lambda seen: seen.running == slots)

    async def _until(self, holds: Callable[[Snapshot], bool]) -> None:
        await poll(self._manager.broker.snapshot, holds, "the queue of the census to be that bad")
