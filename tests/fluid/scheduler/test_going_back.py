"""A server that comes back older than it was is announced, once by each process, whatever it did since."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from fluid.errors import QueueUncertainError
from fluid.scheduler import TaskManager, TaskRun, task
from fluid.scheduler.brokers import calls
from fluid.scheduler.brokers.keys import Keys
from fluid.testing import Recorder, losing_answers
from tests.fluid.scheduler.consuming import Gate, consuming, managing
from tests.support.lifeline import LOOPBACK
from tests.support.queues import OwnQueue
from tests.support.servers import Flavour, RedisServer
from tests.support.waiting import poll

FILES = "appendonlydir"


@task
async def idle(ctx: TaskRun) -> None: ...


@pytest.fixture
def server(flavour: Flavour) -> Iterator[RedisServer]:
    """A server that writes everything down before it answers."""
    with RedisServer(flavour, appendonly=True, settings={"appendfsync": "always"}) as server:
        yield server


class Past:
    """What a server had written down when this was made."""

    def __init__(self, server: RedisServer, directory: Path) -> None:
        self._server = server
        self._kept = directory / FILES
        shutil.copytree(server.directory / FILES, self._kept)

    def come_back(self) -> None:
        """Kill the server, and let it begin again here."""
        self._server.kill()
        shutil.rmtree(self._server.directory / FILES)
        shutil.copytree(self._kept, self._server.directory / FILES)
        self._server.start()


def queue_elsewhere(url: str, count: int) -> None:
    """Queue runs from another process, as it were, while the loop of this one stands still."""

    async def queue() -> None:
        async with TaskManager(broker_url=url) as manager:
            manager.register_task(idle)
            await manager.queue_many(idle, [{}] * count)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, queue()).result()


def answers(queue: OwnQueue, client: Redis) -> list[str]:
    """The keys under which producers' last answers are kept."""
    return [key for key in queue.keys(client) if key.startswith(Keys(queue.name)["flush"])]


def told(heard: Recorder) -> list[dict[str, Any]]:
    """The facts of each time that it was announced."""
    return [dict(event.facts) for event in heard.of("broker_rewound")]


# -- what is announced ---------------------------------------------------------------------


async def test_a_producer_announces_once_that_what_it_queued_was_taken_back(
    server: RedisServer, tmp_path: Path
) -> None:
    async with managing(server.queue_url(), idle) as (manager, heard):
        await manager.queue_many(idle, [{}] * 10)
        past = Past(server, tmp_path)
        await manager.queue_many(idle, [{}] * 5)
        past.come_back()
        queue_elsewhere(server.queue_url(), 20)
        for _ in range(3):
            await manager.queue(idle)
    assert told(heard) == [{"forgot": "runs", "before": 15, "after": 31}]


async def test_a_consumer_announces_once_that_outcomes_were_taken_back_though_the_total_has_not_fallen(
    server: RedisServer, tmp_path: Path
) -> None:
    gate = Gate()

    @task
    async def wait(ctx: TaskRun) -> None:
        await gate.wait()

    async with consuming(server.queue_url(), idle, wait) as (consumer, heard):
        await consumer.queue_many(wait, [{}] * 3)
        await gate.wait_for(3)
        past = Past(server, tmp_path)
        gate.open()
        await heard.wait_for("success", count=3)
        past.come_back()
        await consumer.queue_many(idle, [{}] * 2)
        await heard.wait_for("success", task=idle, count=2)
        await heard.wait_for("broker_rewound")
        await consumer.queue_and_wait(idle, timeout=20)
    [facts] = told(heard)
    assert facts["forgot"] == "outcomes"
    assert facts["before"] <= facts["after"]


async def test_who_queues_and_consumes_announces_once_what_both_would_find(
    server: RedisServer, tmp_path: Path
) -> None:
    async with consuming(server.queue_url(), idle) as (consumer, heard):
        await consumer.queue_many(idle, [{}] * 10)
        await heard.wait_for("success", count=10)
        past = Past(server, tmp_path)
        await consumer.queue_many(idle, [{}] * 5)
        await heard.wait_for("success", count=15)
        past.come_back()
        queue_elsewhere(server.queue_url(), 20)
        await consumer.queue_many(idle, [{}] * 5)
        await heard.wait_for("success", count=40)
        await consumer.broker.snapshot()
    [facts] = told(heard)
    assert facts["before"] <= facts["after"], "the total had not fallen by the time that anybody saw it"


async def test_each_time_is_announced_and_no_more(server: RedisServer, tmp_path: Path) -> None:
    async with managing(server.queue_url(), idle) as (manager, heard):
        await manager.queue(idle)
        past = Past(server, tmp_path)
        for times in (1, 2):
            await manager.queue_many(idle, [{}] * 5)
            past.come_back()
            queue_elsewhere(server.queue_url(), 20)
            await manager.queue(idle)
            assert len(told(heard)) == times


async def test_a_server_that_forgot_everything_is_announced(broker_queue: OwnQueue) -> None:
    async with managing(broker_queue.url, idle) as (manager, heard):
        await manager.queue_many(idle, [{}] * 2)
        broker_queue.remove()
        await manager.queue_many(idle, [{}] * 7)
    assert told(heard) == [{"forgot": "runs", "before": 2, "after": 7}]


@pytest.mark.parametrize(("lags", "times"), [(False, 0), (True, 1)], ids=["up to date", "behind"])
async def test_a_replica_in_its_place_is_announced_only_if_it_was_behind(
    server: RedisServer, flavour: Flavour, lags: bool, times: int
) -> None:
    with RedisServer(flavour) as replica, replica.client() as copy, server.client() as original:
        async with managing(server.queue_url(), idle) as (manager, heard):
            await manager.queue(idle)
            copy.replicaof(LOOPBACK, server.port)

            async def has_it() -> bool:
                return bool(copy.exists(Keys(manager.broker.queue)["books"]))

            await poll(has_it, bool, "the replica to have the run")
            if lags:
                copy.replicaof("NO", "ONE")
            await manager.queue_many(idle, [{}] * 5)
            assert lags or original.wait(1, 20_000) == 1
            copy.save()
            server.kill()
            replica.kill()
            replica.port = server.port
            replica.start()
            queue_elsewhere(server.queue_url(), 20)
            for _ in range(2):
                await manager.queue(idle)
    assert len(told(heard)) == times


# -- what is not ---------------------------------------------------------------------------


async def test_an_ordinary_restart_is_none(server: RedisServer) -> None:
    async with consuming(server.queue_url(), idle) as (consumer, heard):
        for times, end in enumerate((server.stop, server.kill, server.stop), 1):
            await consumer.queue_many(idle, [{}] * 3)
            await heard.wait_for("success", count=3 * times)
            end()
            server.start()
        await consumer.queue_and_wait(idle, timeout=20)
    assert told(heard) == []


@pytest.mark.parametrize("move", ["enqueue", "settle"])
async def test_an_answer_that_was_lost_and_told_again_is_none(broker_url: str, move: str) -> None:
    async with consuming(broker_url, idle) as (consumer, heard):
        for times in (1, 2, 3):
            async with losing_answers(consumer, move, count=2) as lost:
                await consumer.queue(idle)
                await heard.wait_for("success", count=times)
                assert lost == [move] * 2
    assert told(heard) == []


async def test_a_flush_that_nobody_was_told_of_is_none(broker_url: str) -> None:
    async with managing(broker_url, idle, queue_timeout=0.5) as (manager, heard):
        for _ in range(2):
            await manager.queue(idle)
            async with losing_answers(manager):
                with pytest.raises(QueueUncertainError):
                    await manager.queue(idle)
        await manager.queue(idle)
    assert told(heard) == []


async def test_a_producer_that_rested_for_longer_than_its_answer_is_kept_announces_nothing(
    broker_queue: OwnQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "LEAST_KEPT", 0.0)
    async with managing(broker_queue.url, idle) as (manager, heard):
        await manager.queue(idle)
        with broker_queue.server.client() as client:
            assert client.delete(*answers(broker_queue, client)) == 1
        await manager.queue(idle)
    assert told(heard) == []


async def test_an_answer_is_kept_for_as_long_as_it_is_held_against_the_broker(broker_queue: OwnQueue) -> None:
    async with managing(broker_queue.url, idle, queue_timeout=1) as (manager, _):
        await manager.queue(idle)
    with broker_queue.server.client() as client:
        [answer] = answers(broker_queue, client)
        assert client.pttl(answer) > (calls.LEAST_KEPT - 60) * 1000
