"""While a run with a unique key is open there is no other: it is refused, joined or replaced."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from fluid.errors import RunAbortedError, UniqueRunError
from fluid.scheduler import QueueOptions, TaskRun, TaskState, task
from fluid.scheduler.options import WhenTaken
from tests.fluid.scheduler.consuming import Gate, consuming, managing


def only(when_taken: WhenTaken = "reject", delay: float | None = None) -> QueueOptions:
    """The one key of every test here."""
    return QueueOptions(unique_key="the only one", when_taken=when_taken, delay=delay)


@task
async def report(ctx: TaskRun) -> str:
    return f"of {ctx.params['city']}"


async def test_a_second_run_is_refused_and_told_who_has_the_key(broker_url: str) -> None:
    async with managing(broker_url, report) as (manager, heard):
        first = await manager.queue(report, options=only(), city="Rome")
        with pytest.raises(UniqueRunError, match=first.id):
            await manager.queue(report, options=only(), city="Oslo")
        assert heard.of("refused")[0].reason == "unique"
        assert (await manager.broker.snapshot()).books.accepted == 1


async def test_who_joins_is_given_the_open_run_and_its_result(broker_url: str) -> None:
    gate = Gate()

    @task
    async def slow(ctx: TaskRun) -> str:
        await gate.wait()
        return str(ctx.params["city"])

    async with consuming(broker_url, slow) as (consumer, _), managing(broker_url, slow) as (manager, _):
        first = await consumer.queue(slow, options=only(), city="Rome")
        await gate.wait_for()
        joined = await manager.queue(slow, options=only("join"), city="Oslo")
        assert joined.id == first.id
        gate.open()
        assert await joined.result(timeout=20) == "Rome"
        after = await manager.queue(slow, options=only("join"), city="Oslo")
        assert after.id != first.id
        assert await after.result(timeout=20) == "Oslo"


@pytest.mark.parametrize("delay", [None, 600], ids=["queued", "scheduled"])
async def test_a_replacement_ends_a_run_that_has_not_started(broker_url: str, delay: float | None) -> None:
    async with managing(broker_url, report) as (manager, heard):
        first = await manager.queue(report, options=only(delay=delay), city="Rome")
        second = await manager.queue(report, options=only("replace"), city="Oslo")
        assert heard.of("aborted", first.id)[0].reason == "replaced"
        assert heard.names(second.id) == ["queue", "queued"]  # it was never refused in the end
        assert (second.state, second.reason) == (TaskState.queued, "")
        with pytest.raises(RunAbortedError, match="replaced"):
            await first.result(timeout=20)
        async with consuming(broker_url, report):
            assert await second.result(timeout=20) == "of Oslo"
        books = (await manager.broker.snapshot()).books
    assert (books.accepted, books.success, books.aborted, books.unaccounted) == (2, 1, 1, 0)


async def test_a_run_that_has_started_is_not_replaced(broker_url: str) -> None:
    gate = Gate()

    @task
    async def slow(ctx: TaskRun) -> str:
        await gate.wait()
        return "done"

    async with consuming(broker_url, slow) as (consumer, _):
        first = await consumer.queue(slow, options=only())
        await gate.wait_for()
        with pytest.raises(UniqueRunError, match=first.id):
            await consumer.queue(slow, options=only("replace"))
        gate.open()
        assert await first.result(timeout=20) == "done"


async def test_of_many_producers_at_once_one_gets_the_key(broker_url: str) -> None:
    async with managing(broker_url, report) as (one, _), managing(broker_url, report) as (two, _):
        runs = await asyncio.gather(
            *(manager.queue(report, options=only("join"), city="Rome") for manager in (one, two) * 50)
        )
        assert len({run.id for run in runs}) == 1
        assert (await one.broker.snapshot()).books.accepted == 1


async def test_many_replacements_at_once_leave_one_run_open(broker_url: str) -> None:
    async with managing(broker_url, report) as (one, _), managing(broker_url, report) as (two, _):
        runs = await asyncio.gather(
            *(manager.queue(report, options=only("replace"), city="Rome") for manager in (one, two) * 20)
        )
        states = Counter([(await one.get_run(run.id)).state for run in runs])
        snapshot = await one.broker.snapshot()
    assert states[TaskState.queued] == snapshot.ready == 1
    assert states[TaskState.aborted] == snapshot.books.aborted == len(runs) - 1
    assert snapshot.books.unaccounted == 0


async def test_a_function_of_the_parameters_is_the_tasks_own_key(broker_url: str) -> None:
    @task(unique=lambda params: params["city"])
    async def weather(ctx: TaskRun) -> None: ...

    async with managing(broker_url, weather) as (manager, _):
        rome = await manager.queue(weather, city="Rome")
        await manager.queue(weather, city="Oslo")
        with pytest.raises(UniqueRunError, match=rome.id):
            await manager.queue(weather, city="Rome")
