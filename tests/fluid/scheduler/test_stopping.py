"""How a consumer stops: claiming at once, bodies within the grace period, the rest handed back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fluid.errors import BrokerError, QueueUncertainError
from fluid.scheduler import Event, TaskConsumer, TaskManager, TaskRun, TaskState, task
from fluid.testing import Recorder
from tests.fluid.scheduler.consuming import Gate, consuming, eventually, managing
from tests.support.proxy import CuttingProxy

STOP_SECONDS = 3
"""Less than the longest wait at the bell, so that a stop that waits for it is found out."""


@task
async def idle(ctx: TaskRun) -> None: ...


async def test_an_idle_consumer_stops_without_waiting_for_its_bell(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    async with consuming(proxied_url, idle) as (consumer, heard):
        await consumer.queue_and_wait(idle)
        await proxy.wait_for_command("BLPOP", 2)
        async with asyncio.timeout(STOP_SECONDS):
            await consumer.shutdown()
        await heard.wait_for("consumer_stopped")
        assert proxy.commands["CLIENT"] > 0


async def test_a_consumer_that_has_just_been_started_stops_at_once(broker_url: str) -> None:
    async with asyncio.timeout(STOP_SECONDS):
        async with TaskConsumer(broker_url=broker_url) as consumer:
            assert consumer.running
    assert not consumer.running


async def test_a_stopping_consumer_claims_no_more_and_lets_its_bodies_finish(broker_url: str) -> None:
    gate = Gate()

    @task
    async def slow(ctx: TaskRun) -> str:
        await gate.wait()
        return "finished"

    async with managing(broker_url, slow) as (manager, _):
        async with consuming(broker_url, slow, max_concurrent_tasks=4) as (consumer, heard):
            first = await manager.queue(slow)
            await gate.wait_for()
            consumer.gracefully_stop()
            await heard.wait_for("consumer_stopping")
            assert consumer.claiming is False
            second = await manager.queue(slow)
            gate.open()
            await consumer.wait_for_exit()
            assert heard.names(first.id) == ["start", "end", "success"]
            assert heard.names(second.id) == []
        assert await first.result(timeout=1) == "finished"
        snapshot = await manager.broker.snapshot()
        assert (snapshot.ready, snapshot.running, snapshot.books.unaccounted) == (1, 0, 0)


async def test_what_is_handed_back_runs_elsewhere_with_the_same_attempt_number(broker_url: str) -> None:
    gate = Gate()
    attempts: list[tuple[str, int]] = []

    @task
    async def slow(ctx: TaskRun) -> None:
        attempts.append((ctx.id, ctx.attempt))
        await gate.wait()

    async with (
        managing(broker_url, slow) as (manager, _),
        consuming(broker_url, slow, stopping_grace_period=0.05) as (consumer, first),
    ):
        runs = await manager.queue_many(slow, [{}] * 5)
        await gate.wait_for(5)
        async with asyncio.timeout(STOP_SECONDS):
            await consumer.shutdown()
        assert len(first.of("interrupted")) == 5
        assert (await manager.broker.snapshot()).ready == 5
        gate.open()
        async with consuming(broker_url, slow) as (_, second):
            await second.wait_for("success", count=5)
        books = (await manager.broker.snapshot()).books
    assert (books.accepted, books.success, books.unaccounted) == (5, 5, 0)
    assert sorted(attempts) == sorted((run.id, 1) for run in runs for _ in range(2))


async def test_with_no_grace_bodies_are_handed_back_at_once(broker_url: str) -> None:
    gate = Gate()

    @task
    async def slow(ctx: TaskRun) -> None:
        await gate.wait()

    async with consuming(broker_url, slow, stopping_grace_period=0) as (consumer, heard):
        run = await consumer.queue(slow)
        await gate.wait_for()
        async with asyncio.timeout(STOP_SECONDS):
            await consumer.shutdown()
        assert heard.names(run.id)[-1] == "interrupted"


async def test_a_body_that_ignores_its_cancellation_cannot_hold_up_the_stop(broker_url: str) -> None:
    gate = Gate()

    @task
    async def deaf(ctx: TaskRun) -> None:
        while True:
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
            return

    async with consuming(broker_url, deaf, stopping_grace_period=0.05, lease_seconds=1) as (consumer, heard):
        await consumer.queue(deaf)
        await gate.wait_for()
        async with asyncio.timeout(15):
            await consumer.shutdown()
        await heard.wait_for("consumer_stopped")
        gate.open()
    async with consuming(broker_url, deaf, lease_seconds=1) as (_, second):
        await second.wait_for("success")


async def test_a_body_that_cleans_up_after_its_cancellation_is_cancelled_again_by_the_stop(
    broker_url: str,
) -> None:
    cleaning, cut_short = asyncio.Event(), asyncio.Event()

    @task
    async def tidy(ctx: TaskRun) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            try:
                await asyncio.Event().wait()
            finally:
                cut_short.set()

    async with consuming(broker_url, tidy, stopping_grace_period=0) as (consumer, heard):
        run = await consumer.queue(tidy)
        await heard.wait_for("start", run)
        await run.cancel()
        await cleaning.wait()
        await consumer.shutdown()
        assert cut_short.is_set()
        assert heard.of("aborted", run.id)[0].reason == "cancelled"


async def test_bodies_are_cancelled_also_when_a_frozen_broker_has_used_up_the_time(
    proxied_url: str, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the stop of claiming, which comes first, waits for an answer for longer than the whole stop may take
    monkeypatch.setattr("fluid.scheduler.host.FLUSH_SECONDS", 0.0)
    ended = asyncio.Event()

    @task
    async def slow(ctx: TaskRun) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with consuming(proxied_url, slow, stopping_grace_period=3) as (consumer, heard):
        run = await consumer.queue(slow)
        await heard.wait_for("start", run)
        proxy.freeze()
        await consumer.shutdown()
        await ended.wait()


async def test_outcomes_of_bodies_that_ended_are_settled_before_the_stop(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, _):
        async with consuming(broker_url, idle) as (consumer, heard):
            await manager.queue_many(idle, [{}] * 200)
            await heard.wait_for("start")
            await consumer.shutdown()
        started = len(heard.of("start"))
        books = (await manager.broker.snapshot()).books
        assert len(heard.of("success")) == books.success
        assert books.success + len(heard.of("interrupted")) == started
        assert books.unaccounted == 0
        assert await manager.broker.consumers() == []


async def test_async_handlers_are_drained_before_the_stop(broker_url: str) -> None:
    told: list[str] = []
    gate = Gate()

    async def slow(event: Event) -> None:
        await gate.wait()
        told.append(event.name)

    async with consuming(broker_url, idle) as (consumer, heard):
        consumer.register_async_handler("success.slow", slow)
        await consumer.queue_many(idle, [{}] * 10)
        await heard.wait_for("success", count=10)
        await gate.wait_for()
        stopping = asyncio.create_task(consumer.shutdown())
        await heard.wait_for("consumer_stopping")
        gate.open()
        await stopping
    assert told == ["success"] * 10


async def test_a_handler_that_hangs_cannot_hold_up_the_stop(broker_url: str) -> None:
    never = asyncio.Event()

    async def hangs(event: Event) -> None:
        await never.wait()

    async with consuming(broker_url, idle, stopping_grace_period=0.1) as (consumer, heard):
        consumer.register_async_handler("success.hangs", hangs)
        await consumer.queue_and_wait(idle)
        async with asyncio.timeout(10):
            await consumer.shutdown()
        await heard.wait_for("consumer_stopped")


@pytest.mark.parametrize("how", ["refused", "silent"])
async def test_a_stop_while_the_broker_is_away_is_bounded(
    proxied_url: str, proxy: CuttingProxy, how: str
) -> None:
    gate = Gate()

    @task
    async def slow(ctx: TaskRun) -> None:
        await gate.wait()

    consumer = TaskConsumer(broker_url=proxied_url, stopping_grace_period=0.1)
    consumer.register_task(slow)
    heard = Recorder(consumer)
    await consumer.start_running()
    await consumer.queue(slow)
    await gate.wait_for()
    if how == "refused":
        proxy.refuse()
    else:
        proxy.freeze()
    try:
        async with asyncio.timeout(25):
            await consumer.shutdown()
    finally:
        proxy.thaw()
    assert consumer.state.is_stopped
    assert len(heard.of("consumer_stopped")) == 1


async def test_async_handlers_hear_of_all_stages_of_a_life(broker_url: str) -> None:
    told: list[str] = []

    async def note(event: Event) -> None:
        told.append(event.name)

    consumer = TaskConsumer(broker_url=broker_url)
    heard = Recorder(consumer)
    for name in ("consumer_started", "consumer_stopping", "consumer_stopped"):
        consumer.register_async_handler(name, note)
    async with consumer:
        await heard.wait_for("consumer_started")
    assert told == ["consumer_started", "consumer_stopping", "consumer_stopped"]


async def test_a_step_of_the_stop_that_fails_keeps_no_other_from_being_taken(
    broker_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    life: list[str] = []

    class Breaks:
        def attach(self, host: Any) -> None: ...

        def detach(self) -> None:
            life.append("detached")
            raise RuntimeError("will not go")

    @asynccontextmanager
    async def connection() -> AsyncIterator[None]:
        yield
        life.append("left")
        raise OSError("will not close")

    async def no_more() -> None:
        life.append("processes stopped")
        raise ValueError("will not die")

    consumer = TaskConsumer(broker_url=broker_url)
    consumer.add_plugin(Breaks())
    consumer.add_plugin(Breaks())
    heard = Recorder(consumer)
    await consumer.start_running()
    await heard.wait_for("consumer_started")
    await consumer.enter_async_context(connection())
    monkeypatch.setattr(consumer._invoker, "close", no_more)
    close = consumer.broker.close

    async def closing() -> None:
        life.append("closed")
        await close()

    monkeypatch.setattr(consumer.broker, "close", closing)
    await consumer.shutdown()
    assert life == ["detached", "detached", "processes stopped", "left", "closed"]
    assert isinstance(consumer.error, ExceptionGroup)
    for said in ("will not go", "will not die", "will not close"):
        assert said in caplog.text


@pytest.mark.parametrize("how", ["refuses", "is silent"])
async def test_a_broker_that_cannot_be_left_holds_up_no_stop(
    broker_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    async def cannot_be_left(consumer: str) -> bool:
        if how == "refuses":
            raise BrokerError("not now")
        await asyncio.Event().wait()
        return True

    async with consuming(broker_url, idle) as (consumer, heard):
        monkeypatch.setattr(consumer.broker, "leave", cannot_be_left)
        async with asyncio.timeout(STOP_SECONDS):
            await consumer.shutdown()
        await heard.wait_for("consumer_stopped")
    assert "could not leave the broker" in caplog.text
    assert consumer.error is None


async def test_what_is_queued_by_nobody_any_more_holds_up_no_stop(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    manager = TaskManager(broker_url=broker_url, queue_timeout=0.1)
    manager.register_task(idle)
    await manager.start_running()
    monkeypatch.setattr(manager.broker, "enqueue", silent)
    with pytest.raises(QueueUncertainError):
        await manager.queue(idle)
    async with asyncio.timeout(STOP_SECONDS):
        await manager.shutdown()
    assert manager.error is None


@pytest.mark.slow
async def test_outcomes_that_could_not_be_told_before_the_stop_are_told_in_the_next_life(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    consumer = TaskConsumer(broker_url=proxied_url, stopping_grace_period=0)
    gate = Gate()

    @task
    async def hold(ctx: TaskRun) -> None:
        await gate.wait()

    consumer.register_task(hold)
    heard = Recorder(consumer)
    await consumer.start_running()
    await heard.wait_for("consumer_started")
    run = await consumer.queue(hold)
    await gate.wait_for(1)
    proxy.refuse()
    gate.open()
    await eventually(lambda: consumer.num_concurrent_tasks == 0, "the body to end")
    await consumer.shutdown()
    assert not heard.of("end")
    await proxy.accept()
    async with consumer:
        await heard.wait_for("success")
        books = (await consumer.broker.snapshot()).books
    assert [event.run.id for event in heard.of("end") if event.run] == [run.id]
    assert (books.success, books.unaccounted) == (1, 0)


async def test_a_stop_of_a_consumer_whose_broker_never_came_is_bounded(free_port: int) -> None:
    consumer = TaskConsumer(broker_url=f"redis://127.0.0.1:{free_port}", stopping_grace_period=0.1)
    heard = Recorder(consumer)
    await consumer.start_running()
    await heard.wait_for("broker_lost")
    assert consumer.running
    assert consumer.claiming is False
    async with asyncio.timeout(10):
        await consumer.shutdown()


async def test_a_manager_flushes_what_is_being_queued_before_it_closes(broker_url: str) -> None:
    manager = TaskManager(broker_url=broker_url)
    manager.register_task(idle)
    await manager.start_running()
    queueing = [asyncio.create_task(manager.queue(idle)) for _ in range(20)]
    await eventually(
        lambda: manager._producer._flushing is not None and not manager._producer.waiting,
        "the flush to begin",
    )
    await manager.shutdown()
    runs = await asyncio.gather(*queueing)
    assert {run.state for run in runs} == {TaskState.queued}
    async with managing(broker_url, idle) as (other, _):
        assert (await other.broker.snapshot()).ready == 20


async def test_a_stop_is_announced_once_also_when_the_claim_loop_ends_by_itself(broker_url: str) -> None:
    consumer = TaskConsumer(broker_url=broker_url, max_concurrent_tasks=1)
    heard = Recorder(consumer)

    @consumer.register_task
    @task
    async def stop(ctx: TaskRun) -> None:
        # the slot becomes free in the same turn of the loop: the claim loop wakes as well, and finds the stop
        consumer.gracefully_stop()

    async with consumer:
        await consumer.queue(stop)
        await consumer.wait_for_exit()
    assert len(heard.of("consumer_stopping")) == 1
