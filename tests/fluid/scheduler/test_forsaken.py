"""Whoever queues or ends a run may be cancelled meanwhile: what became of the run is told all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from fluid.errors import BrokerError
from fluid.scheduler import Event, QueueOptions, TaskManager, TaskRun, TaskState, task
from fluid.scheduler.brokers.channel import LostError
from fluid.scheduler.moves import Kind
from tests.fluid.scheduler.brokers.desk import LONG, desk_at
from tests.fluid.scheduler.consuming import Gate, consuming, managing, reasons, slot_taken
from tests.support.queues import OwnQueue


@task
async def idle(ctx: TaskRun) -> None: ...


@contextmanager
def answers_at(gate: Gate, manager: TaskManager, move: str = "enqueue") -> Iterator[None]:
    """Answers to this move wait at the gate: the broker has done it, and the manager does not know yet."""

    async def hold_back(called: str, attempt: Callable[[], Awaitable[Any]]) -> Any:
        answer = await attempt()
        if called == move:
            await gate.wait()
        return answer

    around = manager.broker.listeners.around
    around.append(hold_back)
    try:
        yield
    finally:
        around.remove(hold_back)


async def cancel(*queueing: asyncio.Task[Any]) -> None:
    for one in queueing:
        one.cancel()
    assert [type(left) for left in await asyncio.gather(*queueing, return_exceptions=True)] == [
        asyncio.CancelledError
    ] * len(queueing)


@asynccontextmanager
async def in_flight(
    manager: TaskManager, *runs: TaskRun[Any], **options: Any
) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """These are being queued: the first one is with the broker, the others wait for the next flush."""
    gate = Gate()
    with answers_at(gate, manager):
        queueing = [asyncio.create_task(manager.queue(runs[0], **options))]
        await gate.wait_for()
        queueing += [asyncio.create_task(manager.queue(run, **options)) for run in runs[1:]]
        yield queueing
        gate.open()


@pytest.mark.parametrize(("delay", "told"), [(0.0, "queued"), (60.0, "scheduled")])
async def test_a_run_whose_caller_goes_while_it_is_being_queued_is_told_as_what_it_is(
    broker_url: str, delay: float, told: str
) -> None:
    async with managing(broker_url, idle) as (manager, heard):
        run = manager.create_task_run(idle)
        async with in_flight(manager, run, options=QueueOptions(delay=delay)) as queueing:
            await cancel(*queueing)
            assert heard.names(run) == ["queue"]
        await heard.wait_for(told, run)
        assert run.state is TaskState(told)
        assert heard.names(run) == ["queue", told]


async def test_a_run_whose_caller_goes_before_it_is_sent_is_told_as_refused_and_is_not_sent(
    broker_url: str,
) -> None:
    async with managing(broker_url, idle) as (manager, heard):
        first, second = manager.create_task_run(idle), manager.create_task_run(idle)
        async with in_flight(manager, first, second) as (queueing_first, queueing_second):
            await heard.wait_for("queue", second)
            await cancel(queueing_second)
            await heard.wait_for("refused", second)
        await queueing_first
        assert reasons(heard.of("refused")) == ["cancelled"]
        assert heard.names(first) == ["queue", "queued"]
        assert (await manager.broker.snapshot()).books.accepted == 1


async def test_a_run_that_is_refused_after_its_caller_has_gone_is_told_with_the_reason(
    broker_url: str,
) -> None:
    async with managing(broker_url, idle) as (manager, heard):
        await manager.queue(idle, options=QueueOptions(unique_key="one"))
        run = manager.create_task_run(idle)
        async with in_flight(manager, run, options=QueueOptions(unique_key="one")) as queueing:
            await cancel(*queueing)
        await heard.wait_for("refused", run)
        assert (run.state, run.reason) == (TaskState.init, "unique")


async def test_a_run_of_which_nobody_knows_is_told_as_uncertain_although_its_caller_has_gone(
    broker_url: str,
) -> None:
    async with managing(broker_url, idle, queue_timeout=0.2) as (manager, heard):
        sent = asyncio.Event()

        async def lose(called: str, attempt: Callable[[], Awaitable[Any]]) -> Any:
            answer = await attempt()
            if called == "enqueue":
                sent.set()
                raise LostError("its answer was lost", sent=True)
            return answer

        manager.broker.listeners.around.append(lose)
        queueing = asyncio.create_task(manager.queue(idle))
        await sent.wait()
        await cancel(queueing)
        await heard.wait_for("refused")
        assert reasons(heard.of("refused")) == ["uncertain"]


async def test_whoever_goes_while_it_asks_for_the_run_that_has_the_key_leaves_nothing_untold(
    broker_url: str,
) -> None:
    async with managing(broker_url, idle) as (manager, heard):
        joining = QueueOptions(unique_key="one", when_taken="join")
        await manager.queue(idle, options=joining)
        run, gate = manager.create_task_run(idle), Gate()
        with answers_at(gate, manager, "show"):
            queueing = asyncio.create_task(manager.queue(run, options=joining))
            await gate.wait_for()
            await cancel(queueing)
            gate.open()
            await heard.wait_for("refused", run)
        assert reasons(heard.of("refused", run)) == ["unique"]


async def test_of_a_batch_whose_caller_goes_every_run_is_told(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, heard):
        gate = Gate()
        with answers_at(gate, manager):
            queueing = asyncio.create_task(manager.queue_many(idle, [{}] * 20))
            await gate.wait_for()
            await cancel(queueing)
            gate.open()
            await heard.wait_for("queued", count=20)
        assert (await manager.broker.snapshot()).ready == len(heard.of("queue")) == 20


async def test_a_forsaken_run_starts_only_after_it_was_told_as_queued(broker_url: str) -> None:
    async with consuming(broker_url, idle) as (consumer, heard):
        run = consumer.create_task_run(idle)
        async with in_flight(consumer, run) as queueing:
            await slot_taken(consumer)
            await cancel(*queueing)
            assert heard.names(run) == ["queue"]
        await heard.wait_for("success", run)
    assert heard.names(run) == ["queue", "queued", "start", "end", "success"]


async def test_what_became_of_a_forsaken_run_is_told_in_the_context_of_its_caller(broker_url: str) -> None:
    caller = ContextVar("caller", default="nobody")
    callers: list[str] = []

    def note(event: Event) -> None:
        callers.append(caller.get())

    async with managing(broker_url, idle) as (manager, heard):
        manager.dispatcher.register_handler("queued.note", note)
        caller.set("Ada")
        async with in_flight(manager, manager.create_task_run(idle)) as queueing:
            caller.set("Grace")
            await cancel(*queueing)
        await heard.wait_for("queued")
    assert callers == ["Ada"]


async def test_what_is_forsaken_is_told_before_the_stop(broker_url: str) -> None:
    async with (
        managing(broker_url, idle) as (manager, heard),
        in_flight(manager, manager.create_task_run(idle)) as queueing,
    ):
        await cancel(*queueing)
    assert len(heard.of("queued")) == 1


@asynccontextmanager
async def forsaken_while_it_ends(manager: TaskManager, ending: Awaitable[Any]) -> AsyncIterator[None]:
    """The broker has ended the run, and whoever asked for it goes before it is told so."""
    gate = Gate()
    with answers_at(gate, manager, "cancel"):
        asked = asyncio.ensure_future(ending)
        await gate.wait_for()
        asked.cancel()
        await asyncio.wait({asked})
        assert asked.cancelled()
        yield
        gate.open()


async def test_a_run_that_is_cancelled_by_one_who_goes_is_told_as_aborted(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, heard):
        run = await manager.queue(idle)
        async with forsaken_while_it_ends(manager, manager.cancel_run(run.id)):
            assert heard.names(run) == ["queue", "queued"]
        await heard.wait_for("aborted", run.id)
    assert heard.names(run) == ["queue", "queued", "end", "aborted"]
    assert reasons(heard.of("aborted")) == ["cancelled"]


async def test_runs_that_are_discarded_by_one_who_goes_are_told_as_aborted(broker_queue: OwnQueue) -> None:
    async with (
        managing(broker_queue.url, idle) as (manager, heard),
        desk_at(broker_queue.url, broker_queue) as desk,
    ):
        runs = await manager.queue_many(idle, [{}] * 3)
        for claimed in await desk.take(3):
            assert await desk.settle(claimed, Kind.dead, reason="invalid", ttl=LONG)
        async with forsaken_while_it_ends(manager, manager.discard(runs[0].id)):
            pass
        await heard.wait_for("aborted", runs[0].id)
        async with forsaken_while_it_ends(manager, anext(manager.discard_all())):
            pass
        await heard.wait_for("aborted", count=3)
    assert reasons(heard.of("aborted")) == ["discarded"] * 3


async def test_a_replacement_is_finished_although_its_caller_has_gone(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, heard):
        first = await manager.queue(idle, options=QueueOptions(unique_key="one"))
        second = manager.create_task_run(idle)
        replacing = QueueOptions(unique_key="one", when_taken="replace")
        async with forsaken_while_it_ends(manager, manager.queue(second, options=replacing)):
            assert heard.names(second) == ["queue"]
        await heard.wait_for("queued", second)
        assert reasons(heard.of("aborted", first)) == ["replaced"]
        assert heard.names(second) == ["queue", "queued"]
        assert (await manager.broker.snapshot()).ready == 1


async def test_what_is_ended_for_one_who_goes_is_told_before_the_stop(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, heard):
        run = await manager.queue(idle)
        async with forsaken_while_it_ends(manager, manager.cancel_run(run.id)):
            pass
    assert reasons(heard.of("aborted", run)) == ["cancelled"]


async def test_a_stop_waits_no_longer_for_what_is_under_way_than_for_what_is_being_queued(
    broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    never = Gate()
    async with managing(broker_url, idle, queue_timeout=0.1) as (manager, heard):
        run = await manager.queue(idle)
        with answers_at(never, manager, "cancel"):
            asked = asyncio.ensure_future(manager.cancel_run(run.id))
            await never.wait_for()
            await cancel(asked)
    assert never.waiting == 0
    assert "was stopped before the broker answered" in caplog.text
    assert not heard.of("aborted")


async def test_what_goes_wrong_for_one_who_has_gone_is_logged(
    broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with managing(broker_url, idle) as (manager, _):
        run = await manager.queue(idle)
        asked_for = asyncio.Event()

        async def refuse(called: str, attempt: Callable[[], Awaitable[Any]]) -> Any:
            if called == "cancel":
                asked_for.set()
                await asyncio.sleep(0)
                raise BrokerError("the broker refused a command")
            return await attempt()

        manager.broker.listeners.around.append(refuse)
        asked = asyncio.ensure_future(manager.cancel_run(run.id))
        await asked_for.wait()
        await cancel(asked)
    assert "went wrong: the broker refused a command" in caplog.text
