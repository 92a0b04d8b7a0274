"""All runs that are meant are replayed or discarded: once, many at a time, and on from where it stopped."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from fluid.errors import FluidError, UniqueRunError
from fluid.scheduler import TaskManager, TaskRun, TaskState, task
from fluid.scheduler.deciding import DECIDED_AT_ONCE, Decided
from fluid.scheduler.moves import Kind
from fluid.testing import Recorder
from tests.fluid.scheduler.brokers.desk import LONG, Desk, desk_at
from tests.fluid.scheduler.consuming import managing
from tests.support.queues import OwnQueue

MANY = 2 * DECIDED_AT_ONCE + 50


@task
async def charge(ctx: TaskRun) -> None: ...


@task
async def mail(ctx: TaskRun) -> None: ...


@task(unique=lambda params: "the one")
async def single(ctx: TaskRun) -> None: ...


@asynccontextmanager
async def at_work(queue: OwnQueue) -> AsyncIterator[tuple[TaskManager, Desk, Recorder]]:
    """A manager, a desk behind it, and what the manager announces."""
    async with (
        managing(queue.url, charge, mail, single) as (manager, heard),
        desk_at(queue.url, queue) as desk,
    ):
        yield manager, desk, heard


async def ended(manager: TaskManager, desk: Desk, kind: Kind, count: int, of: Any = charge) -> set[str]:
    """So many runs that failed, or are dead."""
    runs = await manager.queue_many(of, [{}] * count)
    for claimed in await desk.take(count):
        assert await desk.settle(claimed, kind, reason="error", ttl=LONG)
    return {run.id for run in runs}


async def replayed(manager: TaskManager, state: TaskState, **filters: Any) -> list[Decided]:
    return [one async for one in manager.replay_all(state, **filters)]


async def successors(manager: TaskManager) -> Counter[str]:
    """How many queued runs follow each run."""
    return Counter(run.from_run_id for run in await manager.list_runs(TaskState.queued, limit=10_000))


async def test_all_dead_runs_are_ready_again_as_themselves(broker_queue: OwnQueue) -> None:
    async with at_work(broker_queue) as (manager, desk, _):
        dead = await ended(manager, desk, Kind.dead, MANY)
        calls: list[str] = []
        manager.broker.listeners.command.append(lambda move, *_: calls.append(move))
        decided = await replayed(manager, TaskState.dead)
        # three pages with runs in them, and a look at each of the two priorities that have none
        assert Counter(calls) <= Counter(list=3 + 2 * 3, replay=4)
        assert {one.id for one in decided} == {one.run.id for one in decided if one.run} == dead
        assert {one.run.state for one in decided if one.run} == {TaskState.queued}
        snapshot = await desk.balanced()
        assert (snapshot.ready, snapshot.dead, snapshot.books.replayed) == (MANY, 0, MANY)


async def test_all_failed_runs_are_replayed_once_however_often_it_is_asked(broker_queue: OwnQueue) -> None:
    async with at_work(broker_queue) as (manager, desk, heard):
        failed = await ended(manager, desk, Kind.failure, MANY)
        decided = await replayed(manager, TaskState.failure)
        assert {one.id for one in decided} == failed
        assert await successors(manager) == dict.fromkeys(failed, 1)
        assert await replayed(manager, TaskState.failure) == []
        snapshot = await desk.balanced()
        assert (snapshot.ready, snapshot.books.accepted, snapshot.books.replayed) == (MANY, 2 * MANY, MANY)
        assert Counter(event.name for event in heard.events if event.run)["refused"] == 0
        one = decided[0]
        assert one.run is not None
        assert (await manager.get_evidence(one.id))["replayed_as"] == one.run.id


async def test_who_is_stopped_on_the_way_goes_on_with_the_rest(broker_queue: OwnQueue) -> None:
    async with at_work(broker_queue) as (manager, desk, _):
        failed = await ended(manager, desk, Kind.failure, MANY)
        async with aclosing(manager.replay_all(TaskState.failure)) as decisions:
            await anext(decisions)
        assert sum((await successors(manager)).values()) == DECIDED_AT_ONCE
        await replayed(manager, TaskState.failure)
        assert await successors(manager) == dict.fromkeys(failed, 1)


async def test_two_who_replay_all_at_once_double_none(broker_queue: OwnQueue) -> None:
    async with at_work(broker_queue) as (manager, desk, _), managing(broker_queue.url, charge) as (other, _):
        failed = await ended(manager, desk, Kind.failure, MANY)
        found = await asyncio.gather(*(replayed(one, TaskState.failure) for one in (manager, other)))
        assert sorted(one.id for decided in found for one in decided) == sorted(failed)
        assert await successors(manager) == dict.fromkeys(failed, 1)
        assert (await desk.balanced()).books.replayed == MANY


async def test_one_that_a_person_has_replayed_is_left_out_but_a_person_may_again(
    broker_queue: OwnQueue,
) -> None:
    async with at_work(broker_queue) as (manager, desk, _):
        (failed,) = await ended(manager, desk, Kind.failure, 1)
        first = await manager.replay(failed)
        assert await replayed(manager, TaskState.failure) == []
        second = await manager.replay(failed)
        assert {first.id, second.id} == {run.id for run in await manager.list_runs(TaskState.queued)}
        assert (await manager.get_evidence(failed))["replayed_as"] == second.id


async def test_only_those_that_are_meant_are_decided_about(broker_queue: OwnQueue) -> None:
    async with at_work(broker_queue) as (manager, desk, _):
        charged = await ended(manager, desk, Kind.dead, 3)
        mailed = await ended(manager, desk, Kind.dead, 3, of=mail)
        assert await replayed(manager, TaskState.dead, reason="unheard_of") == []
        assert {one.id for one in await replayed(manager, TaskState.dead, task="mail")} == mailed
        assert {one.id async for one in manager.discard_all(task="charge", reason="error")} == charged


async def test_all_dead_runs_are_discarded_and_the_end_of_each_is_announced(broker_queue: OwnQueue) -> None:
    async with at_work(broker_queue) as (manager, desk, heard):
        dead = await ended(manager, desk, Kind.dead, MANY)
        decided = [one async for one in manager.discard_all()]
        assert {one.id for one in decided} == dead
        assert {(one.run.state, one.run.reason) for one in decided if one.run} == {
            (TaskState.aborted, "discarded")
        }
        assert len(heard.of("end")) == len(heard.of("aborted")) == MANY
        snapshot = await desk.balanced()
        assert (snapshot.dead, snapshot.books.aborted) == (0, MANY)
        assert [one async for one in manager.discard_all()] == []


async def test_the_end_of_each_is_announced_although_the_caller_does_not_come_back(
    broker_queue: OwnQueue,
) -> None:
    async with at_work(broker_queue) as (manager, desk, heard):
        dead = await ended(manager, desk, Kind.dead, 5)
        async with aclosing(manager.discard_all()) as decisions:
            await anext(decisions)
        assert (await desk.balanced()).books.aborted == 5
        assert {event.run.id for event in heard.of("aborted") if event.run} == dead


@pytest.mark.parametrize(("state", "kind"), [(TaskState.dead, Kind.dead), (TaskState.failure, Kind.failure)])
async def test_one_whose_unique_key_is_taken_stops_no_other(
    broker_queue: OwnQueue, state: TaskState, kind: Kind
) -> None:
    async with at_work(broker_queue) as (manager, desk, _):
        others = await ended(manager, desk, kind, 2)
        run = await manager.queue(single)
        assert await desk.settle(await desk.take_one(), kind, reason="error", ttl=LONG)
        owner = await manager.queue(single)
        decided = {one.id: one for one in await replayed(manager, state)}
        assert set(decided) == {run.id, *others}
        refused = decided[run.id].error
        assert isinstance(refused, UniqueRunError)
        assert refused.owner == owner.id
        assert all(decided[other].error is None for other in others)
        # once the key is free, it is replayed as well
        assert await manager.cancel_run(owner.id)
        assert [one.id for one in await replayed(manager, state)] == [run.id]


async def test_what_goes_wrong_again_meanwhile_is_not_met(broker_queue: OwnQueue) -> None:
    async with at_work(broker_queue) as (manager, desk, _):
        dead = await ended(manager, desk, Kind.dead, MANY)
        met = Counter[str]()
        async for one in manager.replay_all(TaskState.dead):
            met[one.id] += 1
            if met.total() % DECIDED_AT_ONCE == 0:
                for claimed in await desk.take(DECIDED_AT_ONCE):
                    assert await desk.settle(claimed, Kind.dead, reason="error")
        assert met == dict.fromkeys(dead, 1)


async def test_a_replay_writes_nothing_of_evidence_that_has_gone(broker_queue: OwnQueue) -> None:
    async with at_work(broker_queue) as (manager, desk, _):
        (failed,) = await ended(manager, desk, Kind.failure, 1)
        with broker_queue.server.client() as client:
            client.delete(desk.keys.run(failed))
            await desk.queue("again", replays=failed)
            assert not client.exists(desk.keys.run(failed))


async def test_only_dead_and_failed_runs_are_replayed(broker_queue: OwnQueue) -> None:
    async with at_work(broker_queue) as (manager, _, _):
        with pytest.raises(FluidError, match="runs that are held cannot be replayed"):
            await replayed(manager, TaskState.held)
