"""Which delivery a run is in, and what surrounds its body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fluid.scheduler import RetryPolicy, TaskRun, TaskState, task
from fluid.scheduler.history import evidence
from tests.fluid.scheduler.consuming import consuming


async def test_a_retry_and_an_interruption_are_deliveries_and_only_a_retry_is_an_attempt(
    broker_url: str,
) -> None:
    seen: list[tuple[int, int]] = []
    begun = asyncio.Event()

    @task(retry=RetryPolicy(max_attempts=2, wait=0.01))
    async def body(ctx: TaskRun) -> None:
        seen.append((ctx.delivery, ctx.attempt))
        if ctx.delivery == 1:
            raise ValueError("again")
        if ctx.delivery == 2:
            begun.set()
            await asyncio.Event().wait()

    async with consuming(broker_url, body, stopping_grace_period=0.0) as (consumer, _):
        run = await consumer.queue(body)
        await begun.wait()
    async with consuming(broker_url, body) as (consumer, _):
        ended = await consumer.broker.wait_end(run.id, None)
    assert ended is not None
    assert ended.state is TaskState.success
    assert seen == [(1, 1), (2, 2), (3, 2)]


async def test_a_result_that_cannot_be_kept_is_raised_within_the_interceptors(broker_url: str) -> None:
    raised: list[str] = []

    class Hears:
        @contextmanager
        def queueing(self, runs: Sequence[TaskRun[Any]]) -> Iterator[None]:
            yield

        @contextmanager
        def executing(self, run: TaskRun[Any]) -> Iterator[None]:
            try:
                yield
            except Exception as error:
                raised.append(type(error).__name__)
                raise

    @task
    async def overreach(ctx: TaskRun) -> object:
        return object()

    async with consuming(broker_url, overreach) as (consumer, _):
        consumer.interceptors.append(Hears())
        run = await consumer.queue_and_wait(overreach)
    assert run.reason == "result"
    assert raised == ["ResultError"]


async def test_what_is_kept_of_a_failure_has_the_trace_context_that_its_attempt_had(broker_url: str) -> None:
    @task
    async def fail(ctx: TaskRun) -> None:
        ctx.headers = ctx.headers | {"traceparent": "of the attempt"}
        raise ValueError("no")

    async with consuming(broker_url, fail) as (consumer, _):
        run = await consumer.queue_and_wait(fail)
        kept = await consumer.broker.get_run(run.id)
    assert kept is not None
    assert evidence(kept, None)["traceparent"] == "of the attempt"
