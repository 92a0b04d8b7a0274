"""Another chance for a failed or a dead run: under the same keys, and with as many deliveries, as before."""

from __future__ import annotations

from typing import Any

import pytest

from fluid.errors import UniqueRunError
from fluid.scheduler import QueueOptions, TaskManager, TaskRun, TaskState, task
from fluid.scheduler.moves import Kind
from tests.fluid.scheduler.brokers.desk import LONG, Desk, desk_at
from tests.fluid.scheduler.consuming import managing
from tests.support.queues import OwnQueue

DEAD_AFTER = 2


@task(unique=lambda params: "the one", max_deliveries=DEAD_AFTER, max_concurrency=1)
async def single(ctx: TaskRun) -> None: ...


async def _ended(manager: TaskManager, desk: Desk, kind: Kind) -> TaskRun[Any]:
    """A run that failed, or is dead."""
    run = await manager.queue(single, options=QueueOptions(concurrency_key="rome"))
    assert await desk.settle(await desk.take_one(), kind, reason="error", ttl=LONG)
    return run


@pytest.mark.parametrize("kind", [Kind.failure, Kind.dead])
async def test_a_replay_takes_its_unique_key_again(broker_queue: OwnQueue, kind: Kind) -> None:
    async with (
        managing(broker_queue.url, single) as (manager, _),
        desk_at(broker_queue.url, broker_queue) as desk,
    ):
        again = await manager.replay((await _ended(manager, desk, kind)).id)
        with pytest.raises(UniqueRunError) as taken:
            await manager.queue(single)
        assert taken.value.owner == again.id
        books = (await desk.balanced()).books
        assert (books.accepted, books.replayed) == (2 if kind is Kind.failure else 1, 1)


@pytest.mark.parametrize("kind", [Kind.failure, Kind.dead])
async def test_a_replay_whose_unique_key_is_taken_is_refused_and_the_run_stays_as_it_was(
    broker_queue: OwnQueue, kind: Kind
) -> None:
    async with (
        managing(broker_queue.url, single) as (manager, heard),
        desk_at(broker_queue.url, broker_queue) as desk,
    ):
        run = await _ended(manager, desk, kind)
        other = await manager.queue(single)
        with pytest.raises(UniqueRunError) as taken:
            await manager.replay(run.id)
        assert taken.value.owner == other.id
        state = TaskState.failure if kind is Kind.failure else TaskState.dead
        assert (await manager.get_run(run.id)).state is state
        refused = [event.reason for event in heard.of("refused")]
        assert refused == (["unique"] if kind is Kind.failure else [])
        assert (await desk.balanced()).books.replayed == 0


@pytest.mark.parametrize("kind", [Kind.failure, Kind.dead])
async def test_a_replay_is_dead_after_as_many_losses_as_its_task_allows(
    broker_queue: OwnQueue, kind: Kind
) -> None:
    async with (
        managing(broker_queue.url, single) as (manager, _),
        desk_at(broker_queue.url, broker_queue) as desk,
    ):
        again = await manager.replay((await _ended(manager, desk, kind)).id)
        await desk.lose_times(again.id, DEAD_AFTER - 1)
        assert (await manager.get_run(again.id)).state is TaskState.queued
        await desk.lose_times(again.id, 1)
        assert (await manager.get_run(again.id)).state is TaskState.dead


@pytest.mark.parametrize("kind", [Kind.failure, Kind.dead])
async def test_a_replay_shares_the_places_of_its_concurrency_key(broker_queue: OwnQueue, kind: Kind) -> None:
    async with (
        managing(broker_queue.url, single) as (manager, _),
        desk_at(broker_queue.url, broker_queue) as desk,
    ):
        again = await manager.replay((await _ended(manager, desk, kind)).id)
        record = await desk.broker.get_run(again.id)
        assert record is not None
        assert record.group == "rome"
