"""A manager or a consumer outlives the event loop that it was used in, and works in the next one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fluid.clock import elapsed
from fluid.errors import FluidError
from fluid.scheduler import TaskConsumer, TaskManager, TaskRun, TaskState, task
from fluid.testing import Recorder
from tests.support.queues import OwnQueue
from tests.support.servers import Flavour, RedisServer
from tests.support.waiting import poll

PATIENCE = 30.0


@task
async def noted(ctx: TaskRun) -> None: ...


def manager_at(url: str) -> TaskManager:
    manager = TaskManager(broker_url=url)
    manager.register_task(noted)
    return manager


async def many_at_once(manager: TaskManager) -> None:
    """Calls that wait for each other, on every connection that a manager has."""
    runs = await asyncio.gather(*(manager.queue(noted) for _ in range(20)))
    found = await asyncio.gather(*(manager.get_run(run.id) for run in runs))
    assert [run.state for run in found] == [TaskState.queued] * 20
    assert await manager.broker.wait_end(runs[0].id, elapsed()) is None


async def opened(manager: TaskManager) -> None:
    async with manager:
        await many_at_once(manager)


async def from_a_thread(manager: TaskManager) -> None:
    async with manager:
        heard = Recorder(manager)
        await asyncio.to_thread(manager.sync_queue, noted)
        await heard.wait_for("queued")
        heard.leave(manager)


@pytest.mark.parametrize(("use", "queued"), [(many_at_once, 20), (opened, 20), (from_a_thread, 1)])
def test_a_manager_works_in_one_loop_after_the_other(
    broker_queue: OwnQueue, use: Callable[[TaskManager], Awaitable[None]], queued: int
) -> None:
    manager = manager_at(broker_queue.url)
    for _ in range(3):
        asyncio.run(_bounded(use(manager)))
    assert asyncio.run(ready(manager)) == 3 * queued
    asyncio.run(manager.shutdown())


async def ready(manager: TaskManager) -> int:
    """Runs that are in the queue."""
    return (await manager.broker.snapshot()).ready


async def _bounded(using: Awaitable[None]) -> None:
    async with asyncio.timeout(PATIENCE):
        await using


def test_a_manager_works_in_loops_that_take_turns(broker_url: str) -> None:
    manager = manager_at(broker_url)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        for runner in (one, other, one, other):
            runner.run(_bounded(many_at_once(manager)))
        assert one.run(ready(manager)) == 4 * 20


@task(timeout_seconds=0.05)
async def hanging(ctx: TaskRun) -> None:
    await asyncio.Event().wait()


@task(timeout_seconds=0.04)
async def quick(ctx: TaskRun) -> None: ...


def manager_here() -> TaskManager:
    manager = TaskManager(broker_url="redis://nowhere.invalid")
    manager.register_from_dict({one.name: one for one in (hanging, quick)})
    return manager


async def begin(manager: TaskManager) -> asyncio.Task[TaskRun[Any]]:
    """A run of `hanging`, whose limit has begun."""
    running = asyncio.create_task(manager.execute(hanging))
    await asyncio.sleep(0)
    return running


async def end(running: asyncio.Task[TaskRun[Any]]) -> str:
    """Why it has ended."""
    async with asyncio.timeout(PATIENCE):
        return (await running).reason


async def test_the_time_limit_of_a_body_holds_while_another_is_executed_in_a_thread() -> None:
    manager = manager_here()
    running = await begin(manager)
    await asyncio.to_thread(manager.execute_sync, quick)
    assert await end(running) == "timeout"


def test_the_time_limit_of_a_body_holds_when_loops_take_turns() -> None:
    manager = manager_here()
    with asyncio.Runner() as one, asyncio.Runner() as other:
        running = one.run(begin(manager))
        other.run(manager.execute(quick))
        assert one.run(end(running)) == "timeout"


def test_a_loop_that_ends_takes_its_connections_along(flavour: Flavour) -> None:
    with RedisServer(flavour) as server, server.client() as client:
        manager = manager_at(server.queue_url("left"))

        async def connected() -> list[Any]:
            return [found for found in client.client_list() if found["name"] == "fluid"]

        asyncio.run(many_at_once(manager))
        assert asyncio.run(poll(connected, lambda found: not found, "connections to be closed")) == []


async def test_two_loops_that_run_at_once_are_told_to_have_a_manager_each(broker_url: str) -> None:
    faults: list[BaseException] = []

    def ask_from_another_loop(manager: TaskManager) -> None:
        try:
            asyncio.run(manager.get_run("a"))
        except FluidError as error:
            faults.append(error)

    async with manager_at(broker_url) as manager:
        await many_at_once(manager)
        thread = threading.Thread(target=ask_from_another_loop, args=(manager,))
        thread.start()
        await asyncio.to_thread(thread.join)
        await many_at_once(manager)
    (fault,) = faults
    assert "give each loop a manager of its own" in str(fault)


def test_a_consumer_made_outside_any_loop_runs_in_one_after_the_other(broker_url: str) -> None:
    consumer = TaskConsumer(broker_url=broker_url, max_concurrent_tasks=2)
    consumer.register_task(noted)

    async def live() -> None:
        heard = Recorder(consumer)
        async with consumer:
            await consumer.queue_many(noted, [{}] * 20)
            await heard.wait_for("success", count=20)
            ended = await consumer.queue_and_wait(noted, timeout=PATIENCE)
            assert ended.state is TaskState.success
        heard.leave(consumer)

    for _ in range(3):
        asyncio.run(_bounded(live()))
        assert consumer.state.is_stopped
        assert consumer.error is None
