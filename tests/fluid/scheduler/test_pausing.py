"""The queue, or one task, is paused by anyone and resumed by anyone; consumers wait without asking again."""

from __future__ import annotations

import pytest

from fluid.errors import UnknownTaskError
from fluid.scheduler import RetryPolicy, TaskManager, TaskRun, TaskState, task
from tests.fluid.scheduler.consuming import Gate, consuming, managing, reasons
from tests.support.queues import OwnQueue
from tests.support.servers import Flavour, RedisServer

pytestmark = pytest.mark.usefixtures("key_leaks")


@task
async def idle(ctx: TaskRun) -> None: ...


@task
async def other(ctx: TaskRun) -> None: ...


async def test_a_paused_task_is_held_while_another_goes_on_and_goes_on_in_order(
    broker_queue: OwnQueue,
) -> None:
    async with (
        consuming(broker_queue.url, idle, other, max_concurrent_tasks=1) as (consumer, heard),
        managing(broker_queue.url, idle, other) as (manager, told),
    ):
        await manager.pause(idle)
        runs = await manager.queue_many(idle, [{}] * 3)
        await heard.wait_for("held", count=3)
        assert set(reasons(heard.of("held"))) == {"paused"}
        assert (await consumer.queue_and_wait(other, timeout=20)).state is TaskState.success
        assert heard.of("start", runs[0].id) == []
        snapshot = await manager.broker.snapshot()
        assert (snapshot.held, snapshot.paused_tasks, snapshot.books.unaccounted) == (3, ("idle",), 0)
        await manager.resume("idle")
        await heard.wait_for("success", count=4)
        started = [event.run.id for event in heard.of("start") if event.run and event.run.name == "idle"]
        assert started == [run.id for run in runs]
    facts = [
        (event.name, event.facts["task"])
        for name in ("paused", "resumed")
        for event in told.of(f"task_{name}")
    ]
    assert facts == [("task_paused", "idle"), ("task_resumed", "idle")]


async def test_an_attempt_that_runs_goes_on_and_its_retry_is_held(broker_queue: OwnQueue) -> None:
    gate = Gate()

    @task(retry=RetryPolicy(max_attempts=2, wait=0.001))
    async def second_time_lucky(ctx: TaskRun) -> None:
        await gate.wait()
        if ctx.attempt == 1:
            raise ValueError("not yet")

    async with consuming(broker_queue.url, second_time_lucky) as (consumer, heard):
        run = await consumer.queue(second_time_lucky)
        await gate.wait_for(1)
        await consumer.pause(second_time_lucky)
        gate.open()
        await heard.wait_for("held", run.id)
        assert (await consumer.get_run(run.id)).reason == "paused"
        await consumer.resume(second_time_lucky)
        await run.result(timeout=20)
        assert run.attempt == 2


async def test_held_runs_of_a_paused_task_cost_the_consumer_no_claims(broker_queue: OwnQueue) -> None:
    claims: list[str] = []
    async with consuming(broker_queue.url, idle, other) as (consumer, heard):
        await consumer.pause(idle)
        runs = await consumer.queue_many(idle, [{}] * 20)
        await heard.wait_for("held", count=20)
        consumer.broker.listeners.command.append(lambda move, *_: claims.append(move))
        for _ in range(5):
            await consumer.queue_and_wait(other, timeout=20)
        assert claims.count("claim") <= 30, "it does not wait at the bell, for the held runs' sake"
        assert len(heard.of("held")) == 20
        await consumer.resume(idle)
        for run in runs:
            await run.result(timeout=20)


async def test_a_pause_outlives_the_server_that_keeps_its_data(flavour: Flavour) -> None:
    with RedisServer(flavour, appendonly=True, settings={"appendfsync": "always"}) as server:
        async with managing(server.queue_url(), idle) as (manager, _):
            await manager.pause(idle)
        server.restart()
        async with managing(server.queue_url(), idle) as (manager, _):
            assert (await manager.broker.snapshot()).paused_tasks == ("idle",)


async def test_a_mistyped_task_is_refused_but_not_by_who_knows_none(broker_queue: OwnQueue) -> None:
    async with managing(broker_queue.url, idle) as (manager, told):
        for act in (manager.pause, manager.resume):
            with pytest.raises(UnknownTaskError, match="ilde"):
                await act("ilde")
        assert told.events == []
    async with TaskManager(broker_url=broker_queue.url) as stranger:
        await stranger.pause("idle")
        assert (await stranger.broker.snapshot()).paused_tasks == ("idle",)
        await stranger.resume("idle")


async def test_a_paused_queue_keeps_its_runs_ready(broker_queue: OwnQueue) -> None:
    async with consuming(broker_queue.url, idle) as (consumer, heard):
        await consumer.pause()
        run = await consumer.queue(idle)
        snapshot = await consumer.broker.snapshot()
        assert (snapshot.paused, snapshot.ready, snapshot.held) == (True, 1, 0)
        await consumer.resume()
        await run.result(timeout=20)
    assert [one.name for one in heard.events if one.name.startswith(("queue_", "task_"))] == [
        "queue_paused",
        "queue_resumed",
    ]
