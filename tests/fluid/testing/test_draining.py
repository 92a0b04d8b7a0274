"""A queue is run until nothing is left to do, and a test is told what keeps it from that."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fluid.clock import now
from fluid.errors import BrokerUnavailableError
from fluid.scheduler import (
    Event,
    QueueOptions,
    RetryPolicy,
    Task,
    TaskConsumer,
    TaskManager,
    TaskRun,
    TaskState,
    task,
)
from fluid.testing import Recorder, fainting, make_due, run_until_idle
from fluid.workers import WorkerFunction
from tests.fluid.scheduler.consuming import consuming, managing

Make = Callable[..., TaskConsumer]


@task
async def ship(ctx: TaskRun) -> str:
    return f"shipped {ctx.params.get('order')}"


@task
async def order(ctx: TaskRun) -> None:
    for number in range(3):
        await ctx.queue(ship, order=number)


@task(retry=RetryPolicy(max_attempts=3, wait=3600.0))
async def stumble(ctx: TaskRun) -> int:
    if ctx.attempt < 3:
        raise ValueError("not yet")
    return ctx.attempt


@pytest.fixture
def make(broker_url: str) -> Make:
    """Makes a consumer that does not run yet."""

    def make(*tasks: Task, **settings: Any) -> TaskConsumer:
        consumer = TaskConsumer(broker_url=broker_url, **settings)
        consumer.register_from_dict({one.name: one for one in tasks})
        return consumer

    return make


async def test_what_runs_queue_is_run_too_and_the_consumer_has_stopped_then(make: Make) -> None:
    consumer = make(order, ship)
    await consumer.queue(order)
    ended = await run_until_idle(consumer)
    assert Counter(run.name for run in ended) == {"order": 1, "ship": 3}
    assert {run.state for run in ended} == {TaskState.success}
    assert not consumer.is_running()


async def test_it_can_be_done_again_and_again(make: Make, broker_url: str) -> None:
    consumer = make(ship)
    async with TaskManager(broker_url=broker_url) as web:
        for number in range(3):
            await web.queue(ship, order=number)
            (run,) = await run_until_idle(consumer)
            assert await web.execute(ship) is not None
            assert (await web.get_run(run.id)).state is TaskState.success


async def test_an_empty_queue_is_idle(make: Make) -> None:
    assert await run_until_idle(make(ship)) == []


async def test_a_consumer_that_ran_before_goes_on_running(broker_url: str) -> None:
    async with consuming(broker_url, ship) as (consumer, heard):
        run = await consumer.queue(ship)
        assert [ended.id for ended in await run_until_idle(consumer)] == [run.id]
        assert consumer.is_running()
        await run_until_idle(consumer)
        assert heard.names(run)[-1] == "success"


async def test_async_handlers_have_been_told_everything(broker_url: str) -> None:
    seen: list[str] = []

    async def note(event: Event) -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        assert event.run is not None
        seen.append(event.run.id)

    async with consuming(broker_url, ship) as (consumer, _):
        consumer.register_async_handler("end.note", note)
        runs = await consumer.queue_many(ship, [{}] * 5)
        await run_until_idle(consumer)
        assert sorted(seen) == sorted(run.id for run in runs)


async def test_what_a_handler_queues_is_run_too(make: Make) -> None:
    consumer = make(order, ship)

    async def follow(event: Event) -> None:
        if event.run is not None and event.run.name == "order":
            await consumer.queue(ship, order="by a handler")

    consumer.register_async_handler("success.follow", follow)
    await consumer.queue(order)
    ended = await run_until_idle(consumer)
    assert Counter(run.name for run in ended) == {"order": 1, "ship": 4}


async def test_what_threads_have_put_in_is_run_too(broker_url: str) -> None:
    async with consuming(broker_url, ship) as (consumer, _):
        await asyncio.to_thread(consumer.sync_queue, ship)
        assert len(await run_until_idle(consumer)) == 1


async def test_what_is_scheduled_for_later_stays(make: Make, broker_url: str) -> None:
    consumer = make(ship)
    await consumer.queue(ship, options=QueueOptions(delay=3600))
    assert await run_until_idle(consumer) == []
    async with managing(broker_url, ship) as (manager, _):
        assert (await manager.broker.snapshot()).scheduled == 1


async def test_what_is_scheduled_can_be_made_due(make: Make, broker_url: str) -> None:
    async with managing(broker_url, ship, order) as (manager, _):
        await manager.queue(ship, options=QueueOptions(delay=3600))
        await manager.queue(order, options=QueueOptions(at=now() + timedelta(days=1)))
        assert await make_due(manager, ship) == 1
        assert [run.name for run in await run_until_idle(make(ship, order))] == ["ship"]
        assert await make_due(manager) == 1
        assert len(await run_until_idle(make(ship, order))) == 4
        assert await make_due(manager) == 0


async def test_a_consumer_that_waits_is_woken_by_what_was_made_due(broker_url: str) -> None:
    async with consuming(broker_url, ship) as (consumer, heard):
        run = await consumer.queue(ship, options=QueueOptions(delay=3600))
        await run_until_idle(consumer)
        assert await make_due(consumer) == 1
        started = await heard.wait_for("start", run)
        assert started.waited is not None
        assert started.waited < 60


async def test_retries_are_run_at_once_when_they_are_made_due(make: Make) -> None:
    consumer = make(stumble)
    heard = Recorder(consumer)
    run = await consumer.queue(stumble)
    (ended,) = await run_until_idle(consumer, scheduled_too=True)
    assert (ended.id, ended.state, ended.attempt) == (run.id, TaskState.success, 3)
    assert heard.names(run).count("retry") == 2


@task(rate="1/h")
async def paced(ctx: TaskRun) -> None: ...


async def test_a_rate_is_waited_for_no_longer_when_its_runs_are_made_due(make: Make) -> None:
    consumer = make(paced)
    await consumer.queue_many(paced, [{}] * 3)
    assert len(await run_until_idle(consumer, scheduled_too=True)) == 3


async def test_a_body_that_does_not_end_is_named(make: Make) -> None:
    @task
    async def hang(ctx: TaskRun) -> None:
        await asyncio.Event().wait()

    consumer = make(hang, stopping_grace_period=0.0)
    run = await consumer.queue(hang)
    with pytest.raises(AssertionError) as raised:
        await run_until_idle(consumer, timeout=1.0)
    said = str(raised.value)
    assert said.startswith("not idle after 1 s: 1 running, 1 bodies run here\n  running: hang")
    assert run.id in said
    assert not consumer.is_running()


async def test_a_handler_that_does_not_end_is_named(broker_url: str) -> None:
    over = asyncio.Event()

    async def hang(event: Event) -> None:
        await over.wait()

    async with consuming(broker_url, ship) as (consumer, _):
        consumer.register_async_handler("end.hanging", hang)
        await consumer.queue(ship)
        with pytest.raises(AssertionError, match=r"handler end\.hanging has 1 events to take"):
            await run_until_idle(consumer, timeout=1.0)
        over.set()


async def test_a_paused_queue_is_named(make: Make) -> None:
    consumer = make(ship)
    await consumer.queue(ship)
    await consumer.pause()
    with pytest.raises(AssertionError, match="1 ready, the queue is paused"):
        await run_until_idle(consumer, timeout=1.0)


async def test_a_task_that_is_not_registered_is_named_at_once(make: Make, broker_url: str) -> None:
    async with managing(broker_url, ship) as (manager, _):
        await manager.queue(ship)
        with pytest.raises(AssertionError, match=r"cannot run ship \(unknown_task\).*registered here: order"):
            await run_until_idle(make(order))


async def test_a_consumer_that_stops_by_itself_says_why(make: Make) -> None:
    async def break_down() -> None:
        raise RuntimeError("out of ink")

    consumer = make(ship)
    await consumer.pause()
    await consumer.queue(ship)
    consumer.add_workers(WorkerFunction(break_down, name="printer"))
    with pytest.raises(AssertionError, match=r"stopped by itself: .*printer.*out of ink"):
        await run_until_idle(consumer)


async def test_a_broker_that_is_away_is_waited_for(make: Make) -> None:
    consumer = make(ship)
    heard = Recorder(consumer)
    await consumer.queue(ship)
    async with fainting(consumer):
        with pytest.raises(AssertionError, match="the broker cannot be asked"):
            await run_until_idle(consumer, timeout=0.5)
    assert heard.of("broker_lost")
    assert len(await run_until_idle(consumer)) == 1


async def test_a_scheduled_run_cannot_be_made_due_where_there_is_no_broker() -> None:
    manager = TaskManager(broker_url="redis://127.0.0.1:1")
    async with manager, fainting(manager):
        with pytest.raises(BrokerUnavailableError):
            async with asyncio.timeout(60):
                await make_due(manager)
