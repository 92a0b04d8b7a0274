"""Consumers on one queue whose alerts go to receivers of the test's own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from fluid.scheduler import TaskConsumer, TaskRun, task
from fluid.testing import Recorder
from telemetry import Telemetry, names
from telemetry.alerts import Alerts
from telemetry.alerts.notifier import HANDLER
from tests.support.waiting import poll


class Moods:
    """What the bodies of `moody` do: they start only when `together` of them are there, and fail or not."""

    def __init__(self, together: int) -> None:
        self.barrier = asyncio.Barrier(together)
        self.failing = True


MOODS = [Moods(1)]
"""Those of the fleet that was made last."""


@task
async def moody(ctx: TaskRun) -> str:
    """Fail, or not."""
    (moods,) = MOODS
    await moods.barrier.wait()
    if moods.failing:
        raise ValueError("in a bad mood: token=T0P-SECRET")
    return "fine"


@task
async def greet(ctx: TaskRun) -> str:
    """Say hello."""
    return "hello"


class Fleet:
    """As `async with`: consumers of one slot each, so that `moody` runs once in each of them at a time."""

    def __init__(self, queue_url: str, alerts: Alerts, size: int = 3) -> None:
        self.consumers = [
            TaskConsumer(
                broker_url=queue_url, max_concurrent_tasks=1, name=f"consumer-{n}", stopping_grace_period=5
            )
            for n in range(size)
        ]
        self.telemetry = [Telemetry(server=False, alerts=alerts) for _ in self.consumers]
        self.recorder = Recorder(*self.consumers)
        self._running = AsyncExitStack()
        for consumer, telemetry in zip(self.consumers, self.telemetry, strict=True):
            consumer.register_from_dict({"moody": moody, "greet": greet})
            telemetry.attach(consumer)
        MOODS[:] = [Moods(size)]

    async def __aenter__(self) -> Self:
        for consumer in self.consumers:
            await self._running.enter_async_context(consumer)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._running.aclose()

    async def run_in_each(self, *, failing: bool) -> None:
        """A run of `moody` in every consumer, and its end."""
        MOODS[0].failing = failing
        before = len(self.recorder.of("end", task="moody"))
        await self.consumers[0].queue_many("moody", [{}] * len(self.consumers))
        await self.recorder.wait_for("end", task="moody", count=before + len(self.consumers))

    def sum_of(self, metric: names.Metric, **labels: str) -> float:
        """Over all consumers."""
        rows = [row for one in self.telemetry if one._attachment for row in one._attachment.notifier.rows()]
        children = [child for row in rows if row.metric is metric for child in row.children]
        return sum(
            float(value)
            for of, value in children
            if isinstance(value, int | float) and of == (*labels.values(),)
        )

    async def counted(self, metric: names.Metric, value: float, **labels: str) -> None:
        """Once the sum over all consumers is this."""

        async def look() -> float:
            return self.sum_of(metric, **labels)

        await poll(look, lambda seen: seen >= value, f"{metric.name} to be {value}")
        assert await look() == value

    async def heard_by(self, event: str, consumers: int) -> None:
        """Once so many consumers have a handler of ours for this event."""

        async def look() -> int:
            handlers = (one.handler_statistics() for one in self.consumers)
            return sum((event, HANDLER) in {(one.event, one.handler) for one in these} for these in handlers)

        await poll(look, lambda seen: seen == consumers, f"{event} to be heard by {consumers}")

    def outcomes(self, name: str) -> list[Any]:
        """The states in which runs of a task have ended."""
        return [str(one.run.state) for one in self.recorder.of("end", task=name) if one.run]
