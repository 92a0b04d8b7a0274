"""A broker whose memory is full takes no runs, and lets those that it has end."""

from __future__ import annotations

import pytest
from redis import Redis

from fluid.errors import BrokerUnavailableError
from fluid.scheduler import TaskManager, TaskRun, TaskState, task
from tests.fluid.scheduler.consuming import consuming, managing
from tests.support.servers import Flavour, RedisServer

ROOM = 10_000_000


@task(max_concurrency=3)
async def parcel(ctx: TaskRun) -> None: ...


def used(client: Redis) -> int:
    return int(client.info("memory")["used_memory"])


async def fill(manager: TaskManager) -> str:
    """Queue until the broker takes no more; what it says then."""
    while True:
        try:
            await manager.queue_many(parcel, [{"content": "x" * 50_000}] * 20)
        except BrokerUnavailableError as error:
            return str(error)


async def test_a_consumer_that_starts_on_a_full_broker_drains_it(flavour: Flavour) -> None:
    with (
        RedisServer(flavour, settings={"maxmemory-policy": "noeviction"}) as server,
        server.client() as client,
    ):
        url = server.queue_url("full")
        async with managing(url, parcel, queue_timeout=0.3) as (manager, told):
            room = used(client) + ROOM
            client.config_set("maxmemory", room)
            said = await fill(manager)
            assert "nothing was queued" in said
            assert "memory is full" in said
            full = used(client)
            # and it is full all the while, whatever is freed
            client.config_set("maxmemory", 1)
            async with consuming(url, parcel) as (consumer, heard):
                accepted = (await consumer.broker.snapshot()).books.accepted
                assert accepted >= 20
                await heard.wait_for("success", count=accepted)
                books = (await consumer.broker.snapshot()).books
                assert (books.success, books.unaccounted) == (accepted, 0)
                assert not heard.of("broker_lost")
            assert await manager.broker.consumers() == []
            assert used(client) < full - ROOM / 2
            client.config_set("maxmemory", room)
            assert (await manager.queue(parcel)).state is TaskState.queued
            assert not told.of("broker_lost")


async def test_a_run_that_a_full_broker_refused_is_certainly_not_queued(flavour: Flavour) -> None:
    with RedisServer(flavour) as server, server.client() as client:
        async with managing(server.queue_url("full"), parcel, queue_timeout=0.3) as (manager, told):
            run = manager.create_task_run(parcel)
            client.config_set("maxmemory", 1)
            with pytest.raises(BrokerUnavailableError, match="memory is full"):
                await manager.queue(run)
            assert [event.reason for event in told.of("refused")] == ["unavailable"]
            client.config_set("maxmemory", 0)
            assert await manager.broker.get_run(run.id) is None
            assert (await manager.broker.snapshot()).books.accepted == 0
