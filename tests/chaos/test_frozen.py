"""A peer that says nothing and does not close; and how little is said when there is nothing to say."""

from __future__ import annotations

import asyncio

import pytest

from fluid.clock import elapsed
from fluid.scheduler import TaskRun, task
from tests.fluid.scheduler.consuming import consuming, eventually, managing
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue
from tests.support.waiting import poll


@task
async def idle(ctx: TaskRun) -> None: ...


@pytest.mark.slow
async def test_claiming_resumes_after_a_peer_fell_silent_without_closing(
    broker_url: str, proxied_url: str, proxy: CuttingProxy
) -> None:
    async with consuming(proxied_url, idle) as (consumer, heard), managing(broker_url, idle) as (manager, _):
        await consumer.queue_and_wait(idle)
        await proxy.wait_for_command("BLPOP", 2)
        async with asyncio.timeout(15):
            connections = proxy.connections
            proxy.freeze()
            run = await manager.queue(idle)
            await eventually(lambda: proxy.connections > connections, "a new connection")
            proxy.thaw()
            await heard.wait_for("success", run.id)
        assert len(heard.of("start", run.id)) == 1


@pytest.mark.slow
async def test_a_server_that_stood_still_is_taken_for_lost_and_found_again(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    async with consuming(proxied_url, idle) as (consumer, heard):
        await consumer.queue_and_wait(idle)
        proxy.freeze()
        await heard.wait_for("broker_lost")
        proxy.thaw()
        await heard.wait_for("broker_recovered")
        await consumer.queue_and_wait(idle, timeout=10)
        assert consumer.running


WINDOW = 6.0
"""Seconds in which commands are counted: longer than the longest wait at the bell."""


@pytest.mark.slow
async def test_an_idle_consumer_sends_fewer_than_two_commands_a_second(
    broker_queue: OwnQueue, proxied_url: str, proxy: CuttingProxy
) -> None:
    async with consuming(proxied_url, idle) as (consumer, _):
        await consumer.queue_and_wait(idle)
        await proxy.wait_for_command("BLPOP", 2)
        before, begin = proxy.commands.total(), elapsed()

        async def look() -> float:
            return elapsed() - begin

        seconds = await poll(look, lambda passed: passed >= WINDOW, "the window to pass", every=0.5)
        sent = proxy.commands.total() - before
    assert sent / seconds < 2, dict(proxy.commands)
