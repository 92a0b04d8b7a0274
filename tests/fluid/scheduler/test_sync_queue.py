"""Queueing from threads, without waiting for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import Context, ContextVar
from typing import Any

import pytest

from fluid.errors import InvalidParamsError, UnknownTaskError
from fluid.scheduler import TaskManager, TaskPriority, TaskRun, task
from fluid.scheduler.brokers.channel import LostError
from fluid.testing import Recorder
from tests.fluid.scheduler.consuming import consuming, managing
from tests.support.proxy import CuttingProxy


@task
async def noted(ctx: TaskRun) -> None: ...


def _put_in(manager: TaskManager, runs: list[TaskRun[Any]]) -> None:
    for run in runs:
        manager.sync_queue(run)


async def test_threads_queue_runs_and_each_is_executed_once(broker_url: str) -> None:
    async with consuming(broker_url, noted) as (consumer, heard):
        runs = [consumer.create_task_run(noted, n=n) for n in range(60)]
        threads = [
            threading.Thread(target=_put_in, args=(consumer, part))
            for part in (runs[:20], runs[20:40], runs[40:])
        ]
        for thread in threads:
            thread.start()
        await heard.wait_for("success", count=60)
        for thread in threads:
            thread.join()
        assert {event.run.id for event in heard.of("success") if event.run} == {run.id for run in runs}
        assert len(heard.of("start")) == 60


async def test_the_order_of_one_thread_is_kept(broker_url: str) -> None:
    async with managing(broker_url, noted) as (manager, heard):
        runs = [manager.create_task_run(noted, n=n) for n in range(20)]
        await asyncio.to_thread(_put_in, manager, runs)
        await heard.wait_for("queued", count=20)
        assert [event.run.id for event in heard.of("queued") if event.run] == [run.id for run in runs]


class Noting:
    """Notes, for each run, who was its caller as it was surrounded, and again as it was left."""

    def __init__(self) -> None:
        self.callers: dict[str, list[str]] = {}

    @contextmanager
    def queueing(self, runs: Sequence[TaskRun[Any]]) -> Iterator[None]:
        [run] = runs
        self.callers[run.id] = [CALLER.get()]
        yield
        self.callers[run.id].append(CALLER.get())

    def executing(self, run: TaskRun[Any]) -> nullcontext[None]:
        return nullcontext()


CALLER = ContextVar("caller", default="nobody")


async def test_each_run_is_queued_in_the_context_of_its_own_caller(broker_url: str) -> None:
    async with managing(broker_url, noted) as (manager, heard):
        noting = Noting()
        manager.interceptors.append(noting)
        runs = {name: manager.create_task_run(noted) for name in ("Ada", "Grace", "nobody")}
        for name, run in runs.items():
            context = Context()
            context.run(CALLER.set, name)
            context.run(manager.sync_queue, run)
        await heard.wait_for("queued", count=3)
    assert noting.callers == {run.id: [name, name] for name, run in runs.items()}


async def test_sync_priority_queue_queues_at_high_priority(broker_url: str) -> None:
    async with managing(broker_url, noted) as (manager, heard):
        await asyncio.to_thread(manager.sync_priority_queue, noted)
        await asyncio.to_thread(manager.sync_queue, "noted")
        await heard.wait_for("queued", count=2)
        priorities = [event.run.priority for event in heard.of("queued") if event.run]
        assert priorities == [TaskPriority.high, TaskPriority.medium]


async def test_what_waits_is_flushed_before_the_stop(broker_url: str) -> None:
    async with managing(broker_url, noted) as (manager, _):
        for n in range(50):
            manager.sync_queue(manager.create_task_run(noted, n=n))
    async with managing(broker_url, noted) as (manager, _):
        assert (await manager.broker.snapshot()).ready == 50


async def test_what_was_put_in_before_the_start_is_sent_after_it(broker_url: str) -> None:
    manager = TaskManager(broker_url=broker_url)
    manager.register_task(noted)
    manager.sync_queue(noted)
    async with manager:
        pass
    async with managing(broker_url, noted) as (other, _):
        assert (await other.broker.snapshot()).ready == 1


async def test_what_is_put_into_a_manager_that_nobody_opens_is_said_once(
    broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    manager = TaskManager(broker_url=broker_url)
    manager.register_task(noted)
    for _ in range(3):
        manager.sync_queue(noted)
    (said,) = [record.getMessage() for record in caplog.records if "sync_queue" in record.getMessage()]
    assert said.startswith("a run of noted waits in sync_queue, for its manager is not open")
    async with manager:
        pass
    manager.sync_queue(noted)
    assert sum("is not open" in record.getMessage() for record in caplog.records) == 2


async def test_of_what_a_thread_puts_in_during_the_stop_nothing_is_lost_in_silence(
    broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    stopped, put = threading.Event(), 0

    def keep_putting(manager: TaskManager) -> None:
        nonlocal put
        while not stopped.wait(0.0002):
            manager.sync_queue(noted)
            put += 1

    async with managing(broker_url, noted) as (manager, heard):
        thread = threading.Thread(target=keep_putting, args=(manager,))
        thread.start()
        await heard.wait_for("queued", count=20)
    stopped.set()
    thread.join()
    async with managing(broker_url, noted) as (other, _):
        sent = (await other.broker.snapshot()).ready
    assert 20 <= sent <= put
    said = [text for text in caplog.messages if "is not open" in text or "before the stop" in text]
    assert said or sent == put
    async with manager:
        pass
    async with managing(broker_url, noted) as (other, _):
        assert (await other.broker.snapshot()).ready == put


async def test_what_waits_together_is_sent_together(proxied_url: str, proxy: CuttingProxy) -> None:
    manager = TaskManager(broker_url=proxied_url)
    manager.register_task(noted)
    runs = [manager.create_task_run(noted, n=n) for n in range(1200)]
    _put_in(manager, runs)
    heard = Recorder(manager)
    async with manager:
        await heard.wait_for("queued", count=1200)
        assert proxy.commands["EVALSHA"] + proxy.commands["EVAL"] <= 4  # three chunks, and the script's text
    assert [event.run.id for event in heard.of("queued") if event.run] == [run.id for run in runs]


async def test_a_run_that_cannot_be_queued_stops_none_of_those_it_is_sent_with(
    broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    @task(unique=lambda params: str(params["user"]))
    async def per_user(ctx: TaskRun) -> None: ...

    manager = TaskManager(broker_url=broker_url)
    manager.register_from_dict({"noted": noted, "per_user": per_user})
    runs = [manager.create_task_run(per_user, user=user) for user in (1, 1, 2)]
    bad = manager.create_task_run(noted, n=object())
    _put_in(manager, [runs[0], bad, *runs[1:]])
    heard = Recorder(manager)
    async with manager:
        await heard.wait_for("queued", count=2)
    assert [heard.names(run.id)[-1] for run in runs] == ["queued", "refused", "queued"]
    assert heard.names(bad.id) == ["queue", "refused"]
    said = [record.getMessage() for record in caplog.records if "cannot be queued" in record.getMessage()]
    assert len(said) == 2
    assert f"with this unique key is open: {runs[0].id}" in said[1]


async def test_what_waits_survives_an_outage_and_is_queued_once(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    async with managing(proxied_url, noted, queue_timeout=0.2) as (manager, heard):
        await manager.queue(noted)
        proxy.refuse()
        await asyncio.to_thread(manager.sync_queue, noted)
        await heard.wait_for("refused")
        await proxy.accept()
        await heard.wait_for("queued", count=2)
        assert (await manager.broker.snapshot()).books.accepted == 2


async def test_a_run_that_cannot_be_written_is_told_of_once_however_often_the_others_are_tried(
    proxied_url: str, proxy: CuttingProxy, caplog: pytest.LogCaptureFixture
) -> None:
    async with managing(proxied_url, noted, queue_timeout=0.2) as (manager, heard):
        await manager.queue(noted)
        proxy.refuse()
        bad, good = manager.create_task_run(noted, n=object()), manager.create_task_run(noted)
        _put_in(manager, [bad, good])
        await heard.wait_for("refused", good)
        await proxy.accept()
        await heard.wait_for("queued", good)
    assert heard.names(bad) == ["queue", "refused"]
    assert sum("cannot be queued" in text for text in caplog.messages) == 1


async def test_large_runs_are_sent_in_parts_and_those_that_are_in_are_not_tried_again(
    broker_url: str,
) -> None:
    manager = TaskManager(broker_url=broker_url, queue_timeout=0.2)
    manager.register_task(noted)
    runs = [manager.create_task_run(noted, text="x" * 1_000_000) for _ in range(6)]
    _put_in(manager, runs)
    heard = Recorder(manager)

    async def lose_the_second_part(move: str, attempt: Callable[[], Awaitable[Any]]) -> Any:
        if move == "enqueue" and heard.of("queued") and not heard.of("refused"):
            raise LostError("the network is gone", sent=False)
        return await attempt()

    manager.broker.listeners.around.append(lose_the_second_part)
    async with manager:
        await heard.wait_for("queued", count=6)
    told = [heard.names(run) for run in runs]
    assert told == [["queue", "queued"]] * 4 + [["queue", "refused", "queue", "queued"]] * 2


async def test_a_fault_is_told_to_the_thread_that_made_it(broker_url: str) -> None:
    async with managing(broker_url, noted) as (manager, _):
        with pytest.raises(UnknownTaskError, match="'nobody'"):
            await asyncio.to_thread(manager.sync_queue, "nobody")


async def test_a_run_that_cannot_be_queued_harms_neither_the_manager_nor_the_next_run(
    broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    @task(unique=lambda params: str(params["user"]))
    async def per_user(ctx: TaskRun) -> None: ...

    async with managing(broker_url, noted, per_user) as (manager, heard):
        manager.sync_queue(manager.create_task_run(noted, n=object()))
        manager.sync_queue(manager.create_task_run(per_user))
        manager.sync_queue(noted)
        await heard.wait_for("queued")
        assert manager.running
        assert len(heard.of("refused")) == 2
    assert InvalidParamsError("noted", "").args[0][:20] in caplog.text
