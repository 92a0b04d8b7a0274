"""Fleet events: every process tells, anybody reads, and nobody who works notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

import msgspec
import pytest

from fluid.clock import now
from fluid.errors import UnknownEventError
from fluid.scheduler import FleetEvent, TaskManager, TaskRun, TaskState, fleet, task
from fluid.scheduler.brokers.keys import Keys
from fluid.testing import fainting
from fluid.testing.waiting import PATIENCE
from tests.fluid.scheduler.consuming import consuming, eventually, managing
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue

KEEP = 10_000


@task
async def idle(ctx: TaskRun) -> None: ...


@task
async def fail(ctx: TaskRun) -> None:
    raise ValueError(f"no such card: {ctx.params['card']}")


@pytest.fixture
def long_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no other call takes along stays where it is."""
    monkeypatch.setattr(fleet, "BEAT_SECONDS", 3600.0)


@asynccontextmanager
async def reading(url: str, **asked: object) -> AsyncIterator[AsyncGenerator[FleetEvent]]:
    """A reader of everything that is kept, and of what comes."""
    async with TaskManager(broker_url=url) as reader:
        asked = {"since": now() - timedelta(hours=1)} | asked
        async with aclosing(reader.events(**asked)) as events:  # type: ignore[arg-type] # as they are asked
            yield events


async def until(events: AsyncGenerator[FleetEvent], name: str, count: int = 1) -> list[FleetEvent]:
    """What is read until an event of this name has come so often."""
    found: list[FleetEvent] = []
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            found.append(event)
            count -= event.name == name
            if not count:
                break
    return found


async def kept(url: str) -> list[FleetEvent]:
    async with TaskManager(broker_url=url) as reader, aclosing(reader.events(follow=False)) as events:
        return [event async for event in events]


def of_run(events: list[FleetEvent], run: TaskRun, consumer: str) -> list[str]:
    return [event.name for event in events if event.run_id == run.id and event.consumer == consumer]


# -- what is told --------------------------------------------------------------------------


async def test_every_event_of_every_process_is_read_in_the_order_of_its_process(broker_url: str) -> None:
    async with (
        consuming(broker_url, idle, fleet_events=KEEP) as (consumer, _),
        managing(broker_url, idle, fleet_events=KEEP) as (manager, _),
        reading(broker_url) as events,
    ):
        run = await manager.queue(idle)
        told = await until(events, "success")
        told += [] if "queued" in of_run(told, run, manager._name_in_fleet) else await until(events, "queued")
        name = consumer.consumer_name
    assert of_run(told, run, manager._name_in_fleet) == ["queue", "queued"]
    assert of_run(told, run, name) == ["start", "end", "success"]
    assert [event.name for event in await kept(broker_url) if event.facts] == [
        "consumer_started",
        "consumer_stopping",
        "consumer_stopped",
    ]


async def test_an_event_says_what_is_known_of_the_run(broker_url: str) -> None:
    async with (
        consuming(broker_url, fail, fleet_events=KEEP) as (consumer, heard),
        reading(broker_url) as events,
    ):
        run = await consumer.queue(fail, card=4711)
        told = {event.name: event for event in await until(events, "failure")}
        name = consumer.consumer_name
    failure, start = told["failure"], told["start"]
    (announced,) = heard.of("failure")
    assert (failure.run_id, failure.task, failure.attempt) == (run.id, "fail", 1)
    assert (failure.state, failure.priority, failure.reason) == (TaskState.failure, run.priority, "error")
    assert (failure.ran, failure.latency) == (announced.ran, announced.latency)
    assert start.waited is not None
    assert failure.consumer == name
    assert failure.at > start.at > now() - timedelta(minutes=5)


@pytest.mark.usefixtures("key_leaks")
async def test_neither_parameters_nor_results_nor_errors_are_told(broker_queue: OwnQueue) -> None:
    @task
    async def charge(ctx: TaskRun) -> str:
        return f"charged {ctx.params['card']}"

    def raising(event: object) -> None:
        raise ValueError("token 4711")

    async with consuming(broker_queue.url, fail, charge, fleet_events=KEEP) as (consumer, _):
        consumer.dispatcher.register_handler("queue.raising", raising)
        await consumer.queue_and_wait(fail, timeout=20, card=4711)
        await consumer.queue_and_wait(charge, timeout=20, card=4711)
    with broker_queue.server.client() as client:
        stored = b"".join(fields[b"event"] for _, fields in client.xrange(Keys(broker_queue.name)["events"]))
    assert b"handler_failed" in stored
    assert b"charge" in stored
    assert b"4711" not in stored


async def test_what_is_executed_here_is_not_told(broker_url: str) -> None:
    async with managing(broker_url, idle, fleet_events=KEEP) as (manager, _):
        await manager.execute(idle)
    assert await kept(broker_url) == []


async def test_nothing_is_told_unless_asked_for(broker_queue: OwnQueue) -> None:
    async with consuming(broker_queue.url, idle) as (consumer, _):
        await consumer.queue_and_wait(idle, timeout=20)
        assert consumer.broker.fleet.told == consumer.broker.fleet.waiting == 0
    with broker_queue.server.client() as client:
        assert Keys(broker_queue.name)["events"] not in broker_queue.keys(client)


# -- how it is told ------------------------------------------------------------------------


@pytest.mark.usefixtures("long_beat")
async def test_under_load_no_call_is_made_for_events(broker_url: str) -> None:
    moves: list[str] = []
    async with consuming(broker_url, idle, fleet_events=KEEP) as (consumer, heard):
        consumer.broker.listeners.command.append(lambda move, *_: moves.append(move))
        for _ in range(50):
            await consumer.queue_and_wait(idle, timeout=20)
        assert "tell" not in moves
        stream = consumer.broker.fleet
        assert stream.told + stream.waiting == len(heard.events)
        assert stream.waiting <= 4, "those of the last run wait for the next call"
    assert moves.count("tell") == 1, "the stop tells what is left"
    assert len(await kept(broker_url)) == len(heard.events)


async def test_without_other_calls_events_are_told_all_the_same(broker_url: str) -> None:
    async with consuming(broker_url, idle, fleet_events=KEEP) as (consumer, _), reading(broker_url) as events:
        run = await consumer.queue(idle)
        told = await until(events, "success")
    assert [event.name for event in told if event.run_id == run.id][-2:] == ["end", "success"]


async def test_what_happens_while_the_broker_is_away_is_told_afterwards_and_nothing_twice(
    broker_url: str,
) -> None:
    async with (
        consuming(broker_url, idle, fleet_events=KEEP) as (consumer, heard),
        reading(broker_url) as events,
    ):
        await consumer.queue_and_wait(idle, timeout=20)
        async with fainting(consumer):
            await heard.wait_for("broker_lost")
            for _ in range(20):
                consumer._announcer.announce("queue_paused")
        await consumer.queue_and_wait(idle, timeout=20)
        told = await until(events, "success", 2)
    names = [event.name for event in told]
    assert names.count("queue_paused") == 20
    assert names == [event.name for event in heard.events][: len(names)]


async def test_a_broker_that_stays_away_costs_no_more_than_so_many_events(free_port: int) -> None:
    nowhere = f"redis://127.0.0.1:{free_port}"
    async with managing(nowhere, idle, fleet_events=KEEP, stopping_grace_period=0.1) as (manager, _):
        for _ in range(10_010):
            manager._announcer.announce("queue_paused")
        stream = manager.broker.fleet
        assert (stream.waiting, stream.dropped) == (10_000, 10)


async def test_an_answer_that_is_lost_tells_nothing_twice(
    broker_url: str, proxied_url: str, proxy: CuttingProxy
) -> None:
    async with consuming(proxied_url, idle, fleet_events=KEEP) as (consumer, heard):
        await consumer.queue_and_wait(idle, timeout=20)
        for cut in range(3):
            proxy.cut_next_answer(b'"name":"start"')
            await consumer.queue_and_wait(idle, timeout=20)
            await proxy.wait_for_cut(cut + 1)
        await heard.wait_for("success", count=4)
    assert [event.name for event in await kept(broker_url)] == [event.name for event in heard.events]


async def test_a_server_that_refuses_events_harms_no_run(
    broker_queue: OwnQueue, caplog: pytest.LogCaptureFixture
) -> None:
    with broker_queue.server.client() as client:
        client.set(Keys(broker_queue.name)["events"], "no stream")
    async with consuming(broker_queue.url, idle, fleet_events=KEEP) as (consumer, heard):
        await consumer.queue_many(idle, [{}] * 100)
        await heard.wait_for("success", count=100)
        assert heard.of("broker_lost") == heard.of("stale") == []
        assert consumer.broker.fleet.told == 0
        assert consumer.broker.fleet.waiting >= 500
    assert caplog.text.count("takes no events of the fleet") == 1


# -- how it is read ------------------------------------------------------------------------


async def test_a_reader_goes_on_where_another_one_stopped(broker_url: str) -> None:
    async with consuming(broker_url, idle, fleet_events=KEEP) as (consumer, _):
        await consumer.queue_and_wait(idle, timeout=20)
        async with reading(broker_url) as events:
            first = await until(events, "start")
        async with reading(broker_url, since=first[-1].id) as events:
            second = await until(events, "success")
    everything = [event.id for event in await kept(broker_url)]
    assert [event.id for event in first + second] == everything[: len(first + second)]
    assert not any(event.missed for event in first + second)


async def test_a_reader_begins_with_what_comes_now(broker_url: str) -> None:
    async with consuming(broker_url, idle, fleet_events=KEEP) as (consumer, _):
        before = await consumer.queue_and_wait(idle, timeout=20)
        async with reading(broker_url) as events:
            await until(events, "success")
        async with reading(broker_url, since=None) as events:
            first = asyncio.create_task(anext(events))
            while not first.done():
                # nobody tells when the reader has begun
                await consumer.queue_and_wait(idle, timeout=20)
            assert (await first).run_id != before.id


async def test_only_what_is_asked_for_is_read(broker_url: str) -> None:
    async with consuming(broker_url, idle, fail, fleet_events=KEEP) as (consumer, _):
        await consumer.queue_and_wait(idle, timeout=20)
        await consumer.queue_and_wait(fail, timeout=20, card=1)
        async with reading(broker_url, task=fail) as events:
            assert {event.task for event in await until(events, "failure")} == {"fail"}
        async with reading(broker_url, event="start") as events:
            assert [event.task for event in await until(events, "start", 2)] == ["idle", "fail"]


async def test_an_event_that_is_never_announced_cannot_be_read(broker_url: str) -> None:
    async with TaskManager(broker_url=broker_url) as manager:
        with pytest.raises(UnknownEventError, match="no event 'failed'"):
            manager.events(event="failed")


async def test_a_reader_that_loses_its_connection_goes_on_and_misses_nothing(
    broker_url: str, proxied_url: str, proxy: CuttingProxy
) -> None:
    async with (
        consuming(broker_url, idle, fleet_events=KEEP) as (consumer, heard),
        reading(proxied_url) as events,
    ):
        await consumer.queue(idle)
        told = await until(events, "success")
        proxy.refuse()
        await consumer.queue_many(idle, [{}] * 10)
        await heard.wait_for("success", count=11)
        await proxy.accept()
        told += await until(events, "success", 10)
    names = [event.name for event in heard.events]
    assert [event.name for event in told] == names[: len(told)]
    assert not any(event.missed for event in told)


async def test_a_reader_that_falls_behind_is_told_how_many_it_missed(broker_url: str) -> None:
    async with managing(broker_url, idle, fleet_events=100) as (manager, _), reading(broker_url) as events:
        manager._announcer.announce("queue_paused")
        (first,) = await until(events, "queue_paused")
        for _ in range(3000):
            manager._announcer.announce("queue_resumed")
        await eventually(lambda: manager.broker.fleet.told == 3001, "all to be told")
        manager._announcer.announce("queue_paused")
        rest = await until(events, "queue_paused")
    assert first.missed == 0
    assert rest[0].missed > 2000
    assert sum(event.missed for event in rest) + len(rest) == 3001
    assert 100 <= len(await kept(broker_url)) < 400, "the stream is capped"


async def test_a_reader_that_does_not_read_keeps_nobody_from_working(broker_url: str) -> None:
    async with (
        consuming(broker_url, idle, fleet_events=KEEP) as (consumer, heard),
        reading(broker_url) as events,
    ):
        await consumer.queue(idle)
        await until(events, "queue")
        await consumer.queue_many(idle, [{}] * 200)
        await heard.wait_for("success", count=201)
        await eventually(lambda: consumer.broker.fleet.waiting == 0, "all to be told")
        told = await until(events, "success", 201)
    assert sum(event.name == "start" for event in told) == 201


async def test_a_stream_that_was_lost_and_begun_anew_is_read_on(
    broker_queue: OwnQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with managing(broker_queue.url, idle, fleet_events=KEEP) as (manager, _):
        manager._announcer.announce("queue_paused")
        async with reading(broker_queue.url) as events:
            (first,) = await until(events, "queue_paused")
        with broker_queue.server.client() as client:
            client.delete(Keys(broker_queue.name)["events"])
        instant, _, count = first.id.partition("-")
        ahead = f"{int(instant) + 3_600_000}-{count}"
        monkeypatch.setattr("fluid.scheduler.brokers.fleet_stream.WAIT_SECONDS", 0.05)
        async with reading(broker_queue.url, since=ahead) as events:
            manager._announcer.announce("queue_resumed")
            (again,) = await until(events, "queue_resumed")
    assert again.missed == 0


async def test_what_a_newer_release_tells_is_counted_as_missed(broker_queue: OwnQueue) -> None:
    newer = msgspec.json.encode(
        {"version": fleet.EVENT_VERSION + 1, "name": "end", "at": now(), "consumer": "x"}
    )
    async with managing(broker_queue.url, idle, fleet_events=KEEP) as (manager, _):
        for event in (newer, b"no JSON"):
            manager.broker.fleet.put(event)
        manager._announcer.announce("queue_paused")
        async with reading(broker_queue.url) as events:
            (told,) = await until(events, "queue_paused")
    assert told.missed == 2
