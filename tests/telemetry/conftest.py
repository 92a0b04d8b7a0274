"""Hosts to attach to, each on a queue of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta

import pytest
from opentelemetry import trace
from opentelemetry.trace import ProxyTracerProvider

from fluid.scheduler import TaskConsumer, TaskRun, TaskScheduler, every, task
from tests.support.queues import queue_of_its_own
from tests.support.servers import RedisServer


@task
async def greet(ctx: TaskRun) -> str:
    """Say hello."""
    return "hello"


@task
async def stumble(ctx: TaskRun) -> None:
    """Fail, always."""
    raise ValueError("stumbled")


@task(schedule=every(timedelta(days=1)))
async def sweep(ctx: TaskRun) -> None:
    """Do nothing, daily."""


TASKS = {one.name: one for one in (greet, stumble, sweep)}


@pytest.fixture
def queue_url(valkey_server: RedisServer) -> Iterator[str]:
    """A queue of the test's own."""
    with queue_of_its_own(valkey_server) as queue:
        yield queue.url


@pytest.fixture(autouse=True)
def no_tracing_left_behind() -> Iterator[None]:
    """A provider that is set for the whole process would trace later tests too: use `own_opentelemetry`."""
    yield
    assert isinstance(trace.get_tracer_provider(), ProxyTracerProvider)


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked for by the environment."""
    for name in ("HOST", "PORT", "TOKEN", "MAX_TASKS", "TRACES", "CANARY", "ALERTS"):
        monkeypatch.delenv(f"FLUID_TELEMETRY_{name}", raising=False)


@pytest.fixture
async def new_consumer(queue_url: str, no_environment: None) -> AsyncIterator[Callable[[], TaskConsumer]]:
    """Makes consumers that know `TASKS`; each is for the test to start, or not."""
    made: list[TaskConsumer] = []

    def make() -> TaskConsumer:
        consumer = TaskConsumer(broker_url=queue_url)
        consumer.register_from_dict(TASKS)
        made.append(consumer)
        return consumer

    yield make
    for consumer in made:
        await consumer.shutdown()
        # a scrape opens the broker of a consumer that was never started
        await consumer.broker.close()


@pytest.fixture
def consumer(new_consumer: Callable[[], TaskConsumer]) -> TaskConsumer:
    """A consumer that has not started."""
    return new_consumer()


@pytest.fixture
async def scheduler(queue_url: str, no_environment: None) -> AsyncIterator[TaskScheduler]:
    """A scheduler that has not started."""
    scheduler = TaskScheduler(broker_url=queue_url)
    scheduler.register_from_dict(TASKS)
    yield scheduler
    await scheduler.shutdown()
    await scheduler.broker.close()
