"""A server in which runs cannot be kept is told at once, with what it is and what is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from fluid.clock import elapsed
from fluid.errors import UnfitServerError
from fluid.scheduler import TaskConsumer, TaskRun, task
from fluid.scheduler.brokers.redis import RedisBroker
from fluid.scheduler.brokers.requirements import needed
from tests.fluid.scheduler.brokers.desk import PATIENCE, submission
from tests.fluid.scheduler.consuming import managing
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue
from tests.support.servers import Flavour, RedisServer

OLD = r"is redis 6\.\d+\.\d+, which is too old: fluid needs Redis 7\.0 or newer, or Valkey"


@task
async def idle(ctx: TaskRun) -> None: ...


@pytest.fixture
def old_url(proxied_url: str, proxy: CuttingProxy) -> str:
    """Where the test's own queue is, behind a server that says it is an old one."""
    proxy.alter(b"redis_version:7.", b"redis_version:6.")
    proxy.alter(b"valkey_version:", b"former_version:")
    return proxied_url


class Reduced(RedisServer):
    """A server without two of its commands."""

    def arguments(self) -> Sequence[str]:
        removed = [word for name in ("XADD", "BLPOP") for word in ("--rename-command", name, "")]
        return [*super().arguments(), *removed]


@pytest.fixture
def reduced(flavour: Flavour) -> Iterator[RedisServer]:
    with Reduced(flavour) as server:
        yield server


async def test_an_old_server_is_told_to_whoever_opens_the_queue(old_url: str) -> None:
    broker = RedisBroker(old_url)
    for _ in range(2):
        with pytest.raises(UnfitServerError, match=OLD):
            await broker.open(elapsed() + PATIENCE)
    await broker.close()


async def test_an_old_server_is_told_to_whoever_queues(old_url: str) -> None:
    async with managing(old_url, idle) as (manager, heard):
        with pytest.raises(UnfitServerError, match=OLD):
            await manager.queue(idle)
    assert [event.reason for event in heard.of("refused")] == ["error"]


async def test_an_old_server_stops_the_start_of_a_consumer(old_url: str) -> None:
    consumer = TaskConsumer(broker_url=old_url)
    await consumer.safe_run()
    assert consumer.exit_code == 1
    assert "which is too old" in consumer.exit_reason


async def test_a_server_without_all_commands_is_told_with_those_that_are_missing(
    reduced: RedisServer,
) -> None:
    broker = RedisBroker(reduced.queue_url())
    with pytest.raises(UnfitServerError, match="has no BLPOP, XADD: fluid needs"):
        await broker.open(elapsed() + PATIENCE)
    await broker.close()


async def test_a_server_that_does_not_let_us_ask_is_taken_as_it_is(flavour: Flavour) -> None:
    with RedisServer(flavour) as server:
        with server.client() as client:
            client.acl_setuser("default", enabled=True, commands=["-info", "-command"])
        broker = RedisBroker(server.queue_url())
        await broker.open(elapsed() + PATIENCE)
        answer = await broker.enqueue([submission("a")], deadline=elapsed() + PATIENCE)
        assert answer.verdicts == [None]
        await broker.close()


async def test_a_server_is_asked_once_however_many_runs_and_connections_there_are(
    broker_queue: OwnQueue, proxied_url: str, proxy: CuttingProxy
) -> None:
    async with managing(proxied_url, idle) as (manager, _):
        for _ in range(3):
            await manager.queue(idle)
            await manager.broker.snapshot()
        proxy.drop_all()
        await manager.queue(idle)
    assert (proxy.commands["INFO"], proxy.commands["COMMAND"]) == (1, 1)
    assert proxy.connections > 1


def test_what_scripts_call_and_what_brings_them_is_needed() -> None:
    assert {"XADD", "ZADD", "XREADGROUP", "TIME", "PUBLISH", "BLPOP", "EVALSHA"} <= set(needed())
