"""Many runs in one call: in chunks, with progress, and with the truth about each if it stops on its way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fluid.errors import (
    BrokerUnavailableError,
    FluidError,
    InvalidParamsError,
    PartlyQueuedError,
    QueueUncertainError,
)
from fluid.scheduler import QueueOptions, TaskManager, TaskRun, TaskState, task
from fluid.scheduler.brokers.scripts import ENQUEUE
from fluid.testing import Recorder
from tests.fluid.scheduler.consuming import managing
from tests.support.proxy import CuttingProxy
from tests.support.servers import Flavour, RedisServer

MANY = [{"n": n} for n in range(1200)]


@task
async def numbered(ctx: TaskRun) -> None: ...


@pytest.fixture
def server(flavour: Flavour) -> Iterator[RedisServer]:
    """A server that the test may fill up."""
    with RedisServer(flavour) as server:
        yield server


def fill(server: RedisServer, *, memory: str = "1") -> None:
    """From now on the server takes no runs."""
    with server.client() as client:
        client.config_set("maxmemory", memory)


def ids_told_as(heard: Recorder, event: str) -> list[str]:
    return [told.run.id for told in heard.of(event) if told.run]


async def test_progress_is_told_after_each_chunk(proxied_url: str, proxy: CuttingProxy) -> None:
    told: list[tuple[int, int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total, proxy.commands["EVALSHA"] - before))

    async with managing(proxied_url, numbered) as (manager, _):
        await manager.queue(numbered)
        before = proxy.commands["EVALSHA"]
        runs = await manager.queue_many(numbered, MANY, progress=progress)
        assert told == [(500, 1200, 1), (1000, 1200, 2), (1200, 1200, 3)]
        assert {run.state for run in runs} == {TaskState.queued}
        assert await manager.queue_many(numbered, [], progress=progress) == []
        assert len(told) == 3


async def test_a_chunk_is_bounded_in_bytes_as_well(broker_url: str) -> None:
    told: list[tuple[int, int]] = []
    async with managing(broker_url, numbered) as (manager, _):
        large = [{"n": n, "text": "x" * 1_000_000} for n in range(9)]
        await manager.queue_many(numbered, large, progress=lambda *done: told.append(done))
        assert (await manager.broker.snapshot()).ready == 9
    assert told == [(4, 9), (8, 9), (9, 9)]


async def test_a_batch_that_stops_on_its_way_says_which_runs_are_in_and_which_are_not(
    server: RedisServer,
) -> None:
    async with managing(server.queue_url("full"), numbered, queue_timeout=0.3) as (manager, heard):
        with pytest.raises(PartlyQueuedError, match="500 runs are queued, 700 runs are not sent") as partly:
            await manager.queue_many(numbered, MANY, progress=lambda done, total: fill(server))
        error = partly.value
        assert isinstance(error.__cause__, BrokerUnavailableError)
        fill(server, memory="0")
        assert error.queued == tuple(ids_told_as(heard, "queued"))
        assert (len(error.queued), len(error.unsent)) == (500, 700)
        assert not set(error.queued) & set(error.unsent)
        assert (await manager.get_run(error.queued[-1])).params == {"n": 499}
        assert (await manager.broker.snapshot()).books.accepted == 500
        again = await manager.queue_many(numbered, MANY[-len(error.unsent) :])
        assert again[0].params == {"n": 500}


async def test_a_batch_that_stops_uncertain_says_which_runs_nobody_knows_of(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    async with managing(proxied_url, numbered, queue_timeout=0.3) as (manager, heard):
        with pytest.raises(QueueUncertainError, match="500 runs, the first") as uncertain:
            await manager.queue_many(numbered, MANY, progress=lambda done, total: proxy.freeze())
        proxy.thaw()
        error = uncertain.value
        assert (len(error.queued), len(error.run_ids), len(error.unsent)) == (500, 500, 200)
        assert error.queued == tuple(ids_told_as(heard, "queued"))
        assert error.run_ids == tuple(ids_told_as(heard, "refused"))
        assert len({*error.queued, *error.run_ids, *error.unsent}) == 1200
        for number, run_id in enumerate(error.run_ids[:3], 500):
            await manager.queue(numbered, options=QueueOptions(run_id=run_id), n=number)
            assert (await manager.get_run(run_id)).params == {"n": number}


async def test_a_batch_of_which_nothing_was_sent_says_so(proxied_url: str, proxy: CuttingProxy) -> None:
    async with managing(proxied_url, numbered, queue_timeout=0.3) as (manager, _):
        proxy.refuse()
        with pytest.raises(BrokerUnavailableError):
            await manager.queue_many(numbered, MANY)
        await proxy.accept()
        assert (await manager.broker.snapshot()).books.accepted == 0


async def test_a_batch_that_meets_a_closed_manager_on_its_way_says_what_is_in(broker_url: str) -> None:
    manager = TaskManager(broker_url=broker_url)
    manager.register_task(numbered)
    async with manager:
        with pytest.raises(PartlyQueuedError, match="this manager is closed") as partly:
            # what a stop does first
            await manager.queue_many(
                numbered, MANY, progress=lambda done, total: setattr(manager._producer, "_closed", True)
            )
    assert (len(partly.value.queued), len(partly.value.unsent)) == (500, 700)


async def test_a_run_whose_key_was_taken_is_not_said_to_be_in(server: RedisServer) -> None:
    @task(unique=lambda params: str(params["n"] // 2))
    async def paired(ctx: TaskRun) -> None: ...

    async with managing(server.queue_url("full"), paired, queue_timeout=0.3) as (manager, heard):
        with pytest.raises(PartlyQueuedError) as partly:
            await manager.queue_many(paired, MANY, progress=lambda done, total: fill(server))
        assert partly.value.queued == tuple(ids_told_as(heard, "queued"))
        assert (len(partly.value.queued), len(partly.value.unsent)) == (250, 700)


async def test_a_fault_anywhere_in_a_long_batch_is_known_before_anything_is_sent(broker_url: str) -> None:
    async with managing(broker_url, numbered) as (manager, heard):
        with pytest.raises(InvalidParamsError):
            await manager.queue_many(numbered, [*MANY, {"n": object()}])
        assert (await manager.broker.snapshot()).books.accepted == 0
        assert len(heard.of("refused")) == len(MANY) + 1
        assert heard.of("queued") == []


async def test_a_batch_takes_nothing_that_it_would_have_to_ignore(broker_url: str) -> None:
    async with managing(broker_url, numbered) as (manager, _):
        with pytest.raises(FluidError, match="queue_many"):
            await manager.queue_many(numbered, [{}], options=QueueOptions(when_taken="join"))


async def test_a_lost_answer_in_the_middle_of_a_batch_costs_nothing(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    async with managing(proxied_url, numbered) as (manager, heard):
        cut = iter([True, False, False])

        def progress(done: int, total: int) -> None:
            if next(cut):
                proxy.cut_next_answer(ENQUEUE.sha.encode())

        runs = await manager.queue_many(numbered, MANY, progress=progress)
        assert proxy.cuts == 1
        assert ids_told_as(heard, "queued") == [run.id for run in runs]
        assert (await manager.broker.snapshot()).books.accepted == 1200
