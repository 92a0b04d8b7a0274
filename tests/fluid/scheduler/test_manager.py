"""The producer's door: queueing alone, in batches, merged, twice, and while the broker is away."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from fluid.clock import now
from fluid.errors import (
    BrokerUnavailableError,
    DeclarationError,
    FluidError,
    QueueUncertainError,
    UniqueRunError,
)
from fluid.scheduler import QueueOptions, TaskManager, TaskPriority, TaskRun, TaskState, task
from fluid.scheduler.brokers.scripts import ENQUEUE
from tests.fluid.scheduler.consuming import Gate, consuming, managing
from tests.support.proxy import CuttingProxy


@task
async def idle(ctx: TaskRun) -> None: ...


async def test_when_queue_returns_the_broker_has_the_run(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, _):
        run = await manager.queue(idle, TaskPriority.high)
        assert run.state is TaskState.queued
        assert run.queued is not None
        found = await manager.get_run(run.id)
        assert (found.id, found.name, found.state, found.priority) == (
            run.id,
            "idle",
            TaskState.queued,
            TaskPriority.high,
        )
        snapshot = await manager.broker.snapshot()
        assert (snapshot.ready, snapshot.books.accepted, snapshot.books.unaccounted) == (1, 1, 0)
        assert snapshot.by_priority[TaskPriority.high].ready == 1


async def test_the_priority_is_the_tasks_unless_another_is_asked_for(broker_url: str) -> None:
    @task(priority=TaskPriority.low)
    async def later(ctx: TaskRun) -> None: ...

    async with managing(broker_url, later) as (manager, _):
        assert (await manager.queue(later)).priority is TaskPriority.low
        assert (await manager.queue(later, TaskPriority.high)).priority is TaskPriority.high


async def test_a_batch_is_queued_in_order_and_in_one_round_trip(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    order: list[int] = []

    @task
    async def numbered(ctx: TaskRun) -> None:
        order.append(ctx.params["n"])

    async with managing(proxied_url, numbered) as (manager, _):
        await manager.queue(numbered, n=0)
        before = proxy.commands["EVALSHA"]
        runs = await manager.queue_many(numbered, [{"n": n} for n in range(1, 101)])
        assert proxy.commands["EVALSHA"] - before == 1
        assert len(runs) == 100
    async with consuming(proxied_url, numbered, max_concurrent_tasks=1) as (_, heard):
        await heard.wait_for("success", count=101)
    assert order == list(range(101))


async def test_a_batch_with_one_bad_parameter_queues_nothing(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, _):
        with pytest.raises(FluidError):
            await manager.queue_many(idle, [{"a": 1}, {"a": object()}])
        assert (await manager.broker.snapshot()).books.accepted == 0
        assert await manager.queue_many(idle, []) == []


async def test_a_batch_takes_no_key_that_only_one_run_can_have(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, _):
        for options in (QueueOptions(run_id="mine"), QueueOptions(unique_key="mine")):
            with pytest.raises(FluidError, match="queue_many"):
                await manager.queue_many(idle, [{}], options=options)


async def test_concurrent_calls_are_merged_into_few_flushes(proxied_url: str, proxy: CuttingProxy) -> None:
    async with managing(proxied_url, idle) as (manager, _):
        await manager.queue(idle)
        before = proxy.commands["EVALSHA"]
        runs = await asyncio.gather(*(manager.queue(idle) for _ in range(200)))
        assert proxy.commands["EVALSHA"] - before <= 3
        assert len({run.id for run in runs}) == 200
        assert (await manager.broker.snapshot()).ready == 201


async def test_a_manager_needs_no_broker_to_start(free_port: int) -> None:
    async with TaskManager(broker_url=f"redis://127.0.0.1:{free_port}", queue_timeout=0.2) as manager:
        manager.register_task(idle)
        with pytest.raises(BrokerUnavailableError, match=r"nothing was queued|not sent"):
            await manager.queue(idle)


async def test_a_producer_is_told_within_its_own_timeout_that_the_broker_is_away(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    async with managing(proxied_url, idle, queue_timeout=0.3) as (manager, heard):
        await manager.queue(idle)
        proxy.refuse()
        async with asyncio.timeout(5):
            # on the connection that broke, nobody can know whether the run arrived
            with pytest.raises((BrokerUnavailableError, QueueUncertainError)):
                await manager.queue(idle)
            with pytest.raises(BrokerUnavailableError):
                await manager.queue(idle)
        assert heard.of("refused")[-1].reason == "unavailable"
        await heard.wait_for("broker_lost")
        await proxy.accept()
        await manager.queue(idle)
        assert (await manager.broker.snapshot()).books.unaccounted == 0
        recovered = await heard.wait_for("broker_recovered")
        assert recovered.facts["seconds"] > 0


async def test_an_answer_that_was_lost_leaves_the_run_queued_once(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    async with managing(proxied_url, idle) as (manager, heard):
        await manager.queue(idle)
        proxy.cut_next_answer(ENQUEUE.sha.encode())
        run = await manager.queue(idle)
        assert proxy.cuts == 1
        assert run.state is TaskState.queued
        assert heard.names(run.id) == ["queue", "queued"]
        snapshot = await manager.broker.snapshot()
        assert (snapshot.ready, snapshot.books.accepted, snapshot.books.unaccounted) == (2, 2, 0)
        assert (await manager.get_run(run.id)).state is TaskState.queued


async def test_a_producer_that_gives_up_says_how_to_queue_again_safely(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    async with managing(proxied_url, idle, queue_timeout=0.3) as (manager, heard):
        await manager.queue(idle)
        proxy.freeze()
        with pytest.raises(QueueUncertainError, match="queue it again") as uncertain:
            await manager.queue(idle)
        proxy.thaw()
        run = await manager.queue(idle, options=QueueOptions(run_id=uncertain.value.run_id))
        assert run.id == uncertain.value.run_id
        assert (await manager.broker.snapshot()).books.accepted == 2
        assert heard.of("refused")[0].reason == "uncertain"


async def test_a_run_that_is_made_is_queued_as_it_is(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, _):
        made = manager.create_task_run(idle, "mine", TaskPriority.high, n=1)
        run = await manager.queue(made, options=QueueOptions(delay=60, run_id="mine"))
        assert run is made
        found = await manager.get_run("mine")
        assert (found.state, found.priority, found.params) == (
            TaskState.scheduled,
            TaskPriority.high,
            {"n": 1},
        )


@pytest.mark.parametrize(
    ("extras", "named"),
    [
        ({"priority": TaskPriority.high}, "priority"),
        ({"n": 2, "m": 3}, "n, m"),
        ({"options": QueueOptions(run_id="other")}, r"options\.run_id"),
    ],
)
async def test_a_run_that_is_made_cannot_be_given_what_would_be_ignored(
    broker_url: str, extras: dict[str, Any], named: str
) -> None:
    async with managing(broker_url, idle) as (manager, _):
        run = manager.create_task_run(idle, n=1)
        with pytest.raises(FluidError, match=f"is made already.*: give {named} to create_task_run"):
            await manager.queue(run, **extras)
        assert (await manager.broker.snapshot()).books.accepted == 0


async def test_the_same_id_is_accepted_once(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, _):
        first = await manager.queue(idle, options=QueueOptions(run_id="mine"))
        again = await manager.queue(idle, options=QueueOptions(run_id="mine"))
        assert (first.id, again.id, again.state) == ("mine", "mine", TaskState.queued)
        assert (await manager.broker.snapshot()).books.accepted == 1


async def test_the_same_id_queued_twice_at_once_is_accepted_once(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, _):
        options = QueueOptions(run_id="mine")
        runs = await asyncio.gather(*(manager.queue(idle, options=options) for _ in range(3)))
        assert {run.id for run in runs} == {"mine"}
        assert (await manager.broker.snapshot()).books.accepted == 1


async def test_an_open_run_keeps_its_unique_key_and_an_ended_one_lets_go(broker_url: str) -> None:
    gate = Gate()

    @task(unique=lambda params: str(params["user"]))
    async def per_user(ctx: TaskRun) -> None:
        await gate.wait()

    async with consuming(broker_url, per_user) as (consumer, heard):
        first = await consumer.queue(per_user, user=1)
        await consumer.queue(per_user, user=2)
        with pytest.raises(UniqueRunError) as taken:
            await consumer.queue(per_user, user=1)
        assert taken.value.owner == first.id
        gate.open()
        await heard.wait_for("success", count=2)
        await consumer.queue(per_user, user=1)


async def test_a_run_for_later_is_scheduled_and_due_at_its_instant(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, heard):
        delayed = await manager.queue(idle, options=QueueOptions(delay=60))
        at = await manager.queue(idle, options=QueueOptions(at=now() + timedelta(seconds=60)))
        assert delayed.state is at.state is TaskState.scheduled
        assert heard.names(delayed.id) == ["queue", "scheduled"]
        snapshot = await manager.broker.snapshot()
        assert (snapshot.scheduled, snapshot.ready, snapshot.books.unaccounted) == (2, 0, 0)
        listed = await manager.list_runs(TaskState.scheduled)
        assert {run.id for run in listed} == {delayed.id, at.id}


@pytest.mark.parametrize(
    "given",
    [
        {"delay": -1},
        {"delay": float("nan")},
        {"delay": 1, "at": now()},
        {"at": now().replace(tzinfo=None)},
        {"expires": now().replace(tzinfo=None)},
        {"run_id": ""},
        {"run_id": "é"},
    ],
)
def test_options_that_cannot_work_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="QueueOptions"):
        QueueOptions(**given)


async def test_nothing_can_be_queued_through_a_manager_that_is_closed(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, _):
        await manager.queue(idle)
    with pytest.raises(FluidError, match="closed"):
        await manager.queue(idle)


async def test_a_manager_that_is_opened_again_queues_again(broker_url: str) -> None:
    manager = TaskManager(broker_url=broker_url)
    manager.register_task(idle)
    for _ in range(2):
        async with manager:
            run = await manager.queue(idle)
            assert run.state is TaskState.queued


async def test_runs_are_listed_by_state_and_task(broker_url: str) -> None:
    @task
    async def fails(ctx: TaskRun) -> None:
        raise ValueError(ctx.params["n"])

    @task
    async def other(ctx: TaskRun) -> None:
        raise ValueError

    async with consuming(broker_url, fails, other) as (consumer, _):
        ids = [(await consumer.queue_and_wait(fails, n=n)).id for n in range(3)]
        await consumer.queue_and_wait(other)
        found = await consumer.list_runs(TaskState.failure, task="fails")
        assert sorted(run.id for run in found) == sorted(ids)
        assert len(await consumer.list_runs(TaskState.failure)) == 4
        assert len(await consumer.list_runs(TaskState.failure, limit=2)) == 2
