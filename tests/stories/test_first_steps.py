"""Declare a task, queue it, wait for it: the first ten minutes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from pydantic import BaseModel, SecretStr

from fluid.errors import InvalidParamsError, RunFailedError, UnknownTaskError
from fluid.scheduler import QueueOptions, TaskConsumer, TaskManager, TaskPriority, TaskRun, TaskState, task

# A task is an async function that takes its run. What it returns is the result.


@task
async def greet(ctx: TaskRun) -> str:
    """Say hello."""
    return f"Hello, {ctx.params['name']}!"


async def test_a_consumer_runs_what_is_queued(broker_url: str) -> None:
    async with TaskConsumer(broker_url=broker_url) as consumer:
        consumer.register_task(greet)
        run = await consumer.queue(greet, name="Ada")
        assert await run.result(timeout=5) == "Hello, Ada!"


# A web process only queues: it has a manager. The two meet at the broker.


async def test_one_process_queues_and_another_works(broker_url: str) -> None:
    async with TaskManager(broker_url=broker_url) as web, TaskConsumer(broker_url=broker_url) as worker:
        web.register_task(greet)
        worker.register_task(greet)
        run = await web.queue_and_wait("greet", timeout=5, name="Grace")
        assert run.state is TaskState.success
        assert run.in_queue is not None
        assert run.duration is not None


# Parameters have a model if you give them one; it is checked before anything is queued.


class Charge(BaseModel):
    amount: int
    card: SecretStr


@task
async def charge(ctx: TaskRun[Charge]) -> int:
    return ctx.params.amount


@dataclass
class Parcel:
    to: str
    weight: float = 1.0


@task
async def send(ctx: TaskRun[Parcel]) -> str:
    return f"{ctx.params.weight:g} kg to {ctx.params.to}"


async def test_parameters_are_checked_at_the_door(broker_url: str) -> None:
    async with TaskConsumer(broker_url=broker_url) as consumer:
        with pytest.raises(InvalidParamsError, match="amount"):
            await consumer.queue(charge, amount="a lot", card="4111")
        run = await consumer.queue(charge, amount=12, card="4111")
        assert await run.result(timeout=5) == 12
        assert "4111" not in repr(run)
        parcel = await consumer.queue(send, to="Turin")
        assert await parcel.result(timeout=5) == "1 kg to Turin"


# A mistake is told in words, where it was made.


@task
async def divide(ctx: TaskRun) -> float:
    return float(ctx.params["a"] / ctx.params["b"])


async def test_what_goes_wrong_is_told(broker_url: str) -> None:
    async with TaskConsumer(broker_url=broker_url) as consumer:
        with pytest.raises(UnknownTaskError, match="'gret'"):
            await consumer.queue("gret", name="Ada")
        run = await consumer.queue(divide, a=1, b=0)
        with pytest.raises(RunFailedError, match="ZeroDivisionError"):
            await run.result(timeout=5)


# How a run is queued travels in one keyword, so parameters keep their names.


async def test_later_and_more_urgent(broker_url: str) -> None:
    async with TaskConsumer(broker_url=broker_url) as consumer:
        later = await consumer.queue(greet, options=QueueOptions(delay=0.1), name="tomorrow")
        urgent = await consumer.queue(greet, TaskPriority.high, name="now")
        assert later.state is TaskState.scheduled
        assert await urgent.result(timeout=5) == "Hello, now!"
        assert await later.result(timeout=5) == "Hello, tomorrow!"


# Many at once go in one round trip, and the books tell what became of them all.


async def test_many_at_once(broker_url: str) -> None:
    async with TaskConsumer(broker_url=broker_url) as consumer:
        runs = await consumer.queue_many(greet, [{"name": str(n)} for n in range(100)])
        assert [await run.result(timeout=10) for run in runs] == [f"Hello, {n}!" for n in range(100)]
        books = (await consumer.broker.snapshot()).books
        assert (books.accepted, books.success, books.unaccounted) == (100, 100, 0)


# A body can be tried without any broker.


def test_a_body_is_tried_here_without_a_broker() -> None:
    manager = TaskManager(broker_url="redis://127.0.0.1:1")
    run = manager.execute_sync(greet, name="nobody else")
    assert run.local
    assert run.returned == "Hello, nobody else!"
