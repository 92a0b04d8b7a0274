"""The broker is away for longer than a lease, with everybody's hands full."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fluid.clock import elapsed
from fluid.scheduler import TaskConsumer, TaskRun, task
from fluid.scheduler.brokers.keys import Keys
from fluid.testing import Recorder
from tests.fluid.scheduler.consuming import Gate, eventually, managing
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue
from tests.support.servers import Flavour, RedisServer
from tests.support.waiting import poll

LEASE = 1.0
AWAY = 3 * LEASE
IN_FLIGHT = 32


class Fleet:
    """Two consumers and what their bodies do."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.gate = Gate()
        self.starts: Counter[str] = Counter()
        self.consumers: list[tuple[TaskConsumer, Recorder]] = []
        fleet = self

        @task(timeout_seconds=0)
        async def hold(ctx: TaskRun) -> None:
            fleet.starts[ctx.id] += 1
            await fleet.gate.wait()

        self.hold = hold

    async def start(self, stack: AsyncExitStack) -> None:
        """Start both; each has room for all runs."""
        for _ in range(2):
            consumer = TaskConsumer(broker_url=self.url, lease_seconds=LEASE, stopping_grace_period=1)
            consumer.register_task(self.hold)
            heard = Recorder(consumer)
            await stack.enter_async_context(consumer)
            await heard.wait_for("consumer_started")
            self.consumers.append((consumer, heard))

    async def fill(self) -> list[TaskRun]:
        """Queue the runs, and wait until every one of them is in flight."""
        runs = await self.consumers[0][0].queue_many(self.hold, [{}] * IN_FLIGHT)
        await self.gate.wait_for(IN_FLIGHT)
        return runs

    def heard(self, event: str) -> int:
        """How often an event came, of both."""
        return sum(len(heard.of(event)) for _, heard in self.consumers)

    async def see_two_rescue_passes(self, server: RedisServer, queue: str) -> None:
        """Until rescuers have looked twice since now, so that what they would do is done."""

        with server.client() as client:

            async def last_pass() -> bytes | None:
                answer = client.hget(Keys(queue)["upkeep"], "rescued")
                assert answer is None or isinstance(answer, bytes)
                return answer

            seen = [await last_pass()]
            for _ in range(2):
                seen.append(await poll(last_pass, lambda now: now not in seen, "a rescue pass"))

    async def finish(self, runs: list[TaskRun]) -> None:
        """Let every body end, and see that each ran once."""
        self.gate.open()
        await eventually(lambda: self.heard("success") >= IN_FLIGHT, "every run to end")
        snapshot = await self.consumers[0][0].broker.snapshot()
        assert (self.heard("lost"), self.heard("stale")) == (0, 0)
        assert self.starts == {run.id: 1 for run in runs}
        assert (snapshot.books.success, snapshot.books.unaccounted) == (IN_FLIGHT, 0)
        assert (snapshot.ready, snapshot.running) == (0, 0)


@pytest.mark.slow
async def test_a_server_away_for_three_leases_doubles_no_run(
    broker_queue: OwnQueue, proxied_url: str, proxy: CuttingProxy
) -> None:
    fleet = Fleet(proxied_url)
    async with AsyncExitStack() as stack:
        await fleet.start(stack)
        runs = await fleet.fill()
        proxy.refuse()
        await _every_lease_has_run_out(broker_queue, by=AWAY - LEASE)
        await proxy.accept()
        for _, heard in fleet.consumers:
            await heard.wait_for("broker_recovered")
        await fleet.see_two_rescue_passes(broker_queue.server, broker_queue.name)
        await fleet.finish(runs)


async def _every_lease_has_run_out(queue: OwnQueue, *, by: float) -> None:
    """Until the last lease, by the server's clock, ended `by` seconds ago."""
    with queue.server.client() as client:

        async def look() -> float:
            ((_, expiry),) = client.zrange(Keys(queue.name)["leases"], -1, -1, withscores=True)
            seconds, microseconds = client.time()
            return float(seconds + microseconds / 1e6 - expiry / 1000)

        await poll(look, lambda ago: ago >= by, "every lease to run out", every=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["restart", "kill"])
async def test_a_server_that_comes_back_after_three_leases_doubles_no_run(flavour: Flavour, how: str) -> None:
    with RedisServer(flavour, appendonly=True, settings={"appendfsync": "always"}) as server:
        fleet = Fleet(server.queue_url("away"))
        async with AsyncExitStack() as stack:
            await fleet.start(stack)
            runs = await fleet.fill()
            gone = elapsed()
            await asyncio.to_thread(server.stop if how == "restart" else server.kill)

            async def look() -> float:
                return elapsed() - gone

            await poll(look, lambda away: away >= AWAY, "three leases to pass", every=0.1)
            await asyncio.to_thread(server.start)
            for _, heard in fleet.consumers:
                await heard.wait_for("broker_recovered")
            await fleet.see_two_rescue_passes(server, "away")
            await fleet.finish(runs)


@pytest.mark.slow
async def test_bodies_that_end_while_the_broker_is_away_are_settled_when_it_is_back(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    fleet = Fleet(proxied_url)
    async with AsyncExitStack() as stack:
        await fleet.start(stack)
        runs = await fleet.fill()
        proxy.refuse()
        fleet.gate.open()
        await eventually(
            lambda: all(consumer.num_concurrent_tasks == 0 for consumer, _ in fleet.consumers),
            "bodies to end",
        )
        assert fleet.heard("end") == 0, "nothing is announced that the broker has not agreed to"
        await proxy.accept()
        await fleet.finish(runs)


@pytest.mark.slow
async def test_queueing_and_claiming_go_on_by_themselves_after_many_short_outages(
    proxied_url: str, proxy: CuttingProxy, tmp_path: Path
) -> None:
    fleet = Fleet(proxied_url)
    fleet.gate.open()
    async with AsyncExitStack() as stack:
        await fleet.start(stack)
        async with managing(proxied_url, fleet.hold) as (manager, _):
            ids = set()
            for _ in range(5):
                batch = await manager.queue_many(fleet.hold, [{}] * 20)
                ids |= {run.id for run in batch}
                proxy.drop_all()
            await eventually(lambda: fleet.heard("success") >= 100, "every run to end")
            books = (await manager.broker.snapshot()).books
    assert len(ids) == 100
    assert set(fleet.starts) == ids
    assert (books.accepted, books.success, books.unaccounted) == (100, 100, 0)


@pytest.mark.slow
async def test_an_outage_is_told_once_by_each_consumer(
    broker_queue: OwnQueue, proxied_url: str, proxy: CuttingProxy
) -> None:
    fleet = Fleet(proxied_url)
    async with AsyncExitStack() as stack:
        await fleet.start(stack)
        runs = await fleet.fill()
        proxy.refuse()
        for _, heard in fleet.consumers:
            await heard.wait_for("broker_lost")
        await proxy.accept()
        for _, heard in fleet.consumers:
            await heard.wait_for("broker_recovered")
        # by then every connection of theirs has been used again
        await fleet.see_two_rescue_passes(broker_queue.server, broker_queue.name)
        await fleet.finish(runs)
        await fleet.consumers[0][0].queue_and_wait(fleet.hold, timeout=10)
        assert (fleet.heard("broker_lost"), fleet.heard("broker_recovered")) == (2, 2)
