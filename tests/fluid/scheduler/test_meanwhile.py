"""Bodies begin and ends are told while the broker answers the next question, whether it can or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fluid.scheduler import TaskManager, TaskRun, task
from fluid.scheduler.brokers import scripts
from fluid.scheduler.brokers.address import Address
from fluid.scheduler.brokers.channel import Channel, LostError
from fluid.scheduler.brokers.connecting import Connecting
from fluid.scheduler.brokers.keys import Keys
from fluid.testing import Recorder
from tests.fluid.scheduler.consuming import consuming, eventually, managing
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue

SLOTS = 8
RUNS = 40


@task
async def idle(ctx: TaskRun) -> None: ...


@pytest.fixture(params=[False, True], ids=["at_once", "gathering"])
async def channel(broker_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Channel]:
    connecting = Connecting(Address.parse(broker_url), start=False)
    made = Channel(connecting.connect, lambda: None, gathering=request.param)
    yield made
    await made.close()
    await connecting.close()


class Asked:
    """A question that waits at a list of its own before it is answered, and what was done meanwhile."""

    def __init__(self, channel: Channel, url: str) -> None:
        self._keys = Keys(Address.parse(url).queue)
        self._list = self._keys["bell"]
        self.done: list[bool] = []
        words = scripts.OPEN.command(self._keys, ())
        wait = ("BLPOP", self._list, 10)
        self.answer = asyncio.ensure_future(
            channel.script(scripts.OPEN, words, wait, meanwhile=self._work, timeout=20)
        )

    def _work(self) -> None:
        self.done.append(self.answer.done())

    async def let_answer(self, manager: TaskManager) -> Any:
        await manager.queue(idle)  # which rings
        return await self.answer


async def test_it_is_done_once_when_the_words_have_left(channel: Channel, broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, _):
        await channel.call("PING")
        asked = Asked(channel, broker_url)
        assert asked.done == []
        await eventually(lambda: bool(asked.done), "the words to leave")
        await asked.let_answer(manager)
    assert asked.done == [False]


async def test_it_is_done_at_once_when_there_is_no_connection_yet(channel: Channel, broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, _):
        asked = Asked(channel, broker_url)
        await asyncio.sleep(0)
        assert not channel.ready
        assert asked.done == [False]
        await asked.let_answer(manager)
    assert asked.done == [False]


async def test_it_does_not_wait_for_the_answers_of_others(channel: Channel, broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, _):
        await channel.call("PING")
        first = Asked(channel, broker_url)
        await eventually(lambda: bool(first.done), "the first to leave")
        second = Asked(channel, broker_url)
        await asyncio.sleep(0)
        assert second.done == [False]
        for asked in (first, second):
            await asked.let_answer(manager)
    assert second.done == [False]


async def test_at_load_the_next_claim_is_asked_for_before_bodies_begin(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbegun: list[int] = []
    async with consuming(broker_url, idle, max_concurrent_tasks=SLOTS) as (consumer, heard):
        claim = consumer.broker.claim

        async def claiming(*asked: Any, **how: Any) -> Any:
            unbegun.append(len(consumer._claiming._in_hand))
            return await claim(*asked, **how)

        monkeypatch.setattr(consumer.broker, "claim", claiming)
        await consumer.queue_many(idle, [{}] * RUNS)
        await heard.wait_for("end", count=RUNS)
    assert SLOTS // 2 in unbegun


class Stopping:
    """Freezes the proxy when a script has passed so many times."""

    def __init__(self, proxy: CuttingProxy, script: scripts.Script, times: int) -> None:
        self._proxy = proxy
        self._script = script
        self._left = times
        self.reached = asyncio.Event()
        proxy.cut_next_answer(self._see)

    def _see(self, request: bytes) -> bool:
        self._left -= self._script.sha.encode() in request
        if self._left == 0 and not self.reached.is_set():
            self._proxy.freeze()
            self.reached.set()
        return False


async def at_the_bell(queue: OwnQueue) -> None:
    """Return once the next claim has been sent, behind its wait."""
    with queue.server.client() as client:
        await eventually(lambda: client.info("clients")["blocked_clients"] == 1, "the wait at the bell")


@asynccontextmanager
async def at_work(
    broker_queue: OwnQueue, proxied_url: str, proxy: CuttingProxy, script: scripts.Script, times: int
) -> AsyncIterator[Recorder]:
    """A consumer behind a proxy that freezes when it has asked so often, and is given runs."""
    async with (
        managing(broker_queue.url, idle) as (manager, _),
        consuming(proxied_url, idle, max_concurrent_tasks=SLOTS) as (consumer, heard),
    ):
        await consumer.queue_and_wait(idle)  # the server has seen the scripts
        await at_the_bell(broker_queue)
        stopping = Stopping(proxy, script, times)
        await manager.queue_many(idle, [{}] * RUNS)
        await stopping.reached.wait()
        yield heard
        proxy.thaw()
        await heard.wait_for("end", count=1 + RUNS)


async def test_what_was_claimed_begins_though_the_next_claim_has_no_answer(
    broker_queue: OwnQueue, proxied_url: str, proxy: CuttingProxy
) -> None:
    async with at_work(broker_queue, proxied_url, proxy, scripts.CLAIM, times=1) as heard:
        await heard.wait_for("start", count=1 + SLOTS // 2)


async def test_what_was_settled_is_told_though_the_next_outcomes_have_no_answer(
    broker_queue: OwnQueue, proxied_url: str, proxy: CuttingProxy
) -> None:
    async with at_work(broker_queue, proxied_url, proxy, scripts.SETTLE, times=2) as heard:
        await heard.wait_for("end", count=1 + SLOTS // 2)


async def test_what_was_claimed_begins_though_the_next_claim_is_not_even_tried(
    broker_queue: OwnQueue,
) -> None:
    fainted = asyncio.Event()

    async def faint(move: str, attempt: Callable[[], Awaitable[Any]]) -> Any:
        if move == "claim" and not fainted.is_set():
            raise LostError("it has fainted", sent=False)
        return await attempt()

    async with consuming(broker_queue.url, idle, max_concurrent_tasks=SLOTS) as (consumer, heard):
        await consumer.queue_and_wait(idle)
        await at_the_bell(broker_queue)
        consumer.broker.listeners.around.append(faint)
        await consumer.queue_many(idle, [{}] * RUNS)
        await heard.wait_for("start", count=1 + SLOTS // 2)
        fainted.set()
        await heard.wait_for("end", count=1 + RUNS)
