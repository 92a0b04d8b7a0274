"""Consumers of the fleet: in a process, in a process that is started again, and in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from fluid.scheduler import TaskConsumer
from fluid.testing import Recorder
from tests.chaos import fleet
from tests.support.processes import PythonProcess


def consumer_process(url: str, output: Path, **settings: Any) -> PythonProcess:
    """A consumer of the fleet, in a process of its own.

    With `telemetry_port` it is scraped there; with `loud=False` it does not say what it announces.
    """
    return PythonProcess(
        "-m", "tests.chaos.fleet", url, msgspec.json.encode(settings).decode(), output=output
    )


@asynccontextmanager
async def consumer_here(url: str, **settings: Any) -> AsyncIterator[tuple[TaskConsumer, Recorder]]:
    """A consumer of the fleet, in this process."""
    consumer = TaskConsumer(broker_url=url, **settings)
    fleet.know_all(consumer)
    heard = Recorder(consumer)
    async with consumer:
        await heard.wait_for("consumer_started")
        yield consumer, heard


class Supervised:
    """A process that is started again whenever it has ended, as `async with`."""

    def __init__(self, make: Callable[[], PythonProcess]) -> None:
        self._make = make
        self.lives: list[PythonProcess] = []
        """All of them, oldest first; the last one is the one that lives."""

    def said(self, word: str) -> list[str]:
        """The lines that begin with this word, of all lives."""
        return [
            line for life in self.lives for line in life.output.splitlines() if line.partition(" ")[0] == word
        ]

    async def __aenter__(self) -> Self:
        self._keeping = asyncio.create_task(self._keep_up())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeping.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeping

    async def _keep_up(self) -> None:
        while True:
            async with self._make() as process:
                self.lives.append(process)
                await process.wait()
