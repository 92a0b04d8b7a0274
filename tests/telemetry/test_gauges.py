"""The queue is read once per scrape, and when it cannot be read, nothing stale is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from fluid.errors import BrokerError, BrokerUnavailableError
from fluid.scheduler import (
    Event,
    QueueOptions,
    Snapshot,
    TaskConsumer,
    TaskManager,
    TaskPriority,
    TaskRun,
    task,
)
from fluid.testing import Recorder
from fluid.testing.waiting import PATIENCE
from telemetry import Telemetry, gauges, names
from telemetry.names import CATALOGUE, Scope
from tests.telemetry.conftest import TASKS
from tests.telemetry.scraping import scrape

FLEET = [row for row in CATALOGUE if row.scope is Scope.fleet]


@pytest.fixture
def telemetry(consumer: TaskConsumer) -> Telemetry:
    """Listens to the consumer, which does not run."""
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    return telemetry


async def test_depth_and_books_are_those_of_the_broker(consumer: TaskConsumer, telemetry: Telemetry) -> None:
    await consumer.queue("greet", TaskPriority.high)
    await consumer.queue("greet", TaskPriority.low)
    await consumer.queue("greet", TaskPriority.low, options=QueueOptions(delay=3600))
    seen = await scrape(telemetry)
    assert seen.value(names.QUEUE_RUNS, priority="high", status="ready") == 1
    assert seen.value(names.QUEUE_RUNS, priority="low", status="ready") == 1
    assert seen.value(names.QUEUE_RUNS, priority="low", status="scheduled") == 1
    assert seen.value(names.QUEUE_RUNS) == 3
    assert seen.value(names.BOOKS_RUNS, outcome="accepted") == 3
    assert seen.value(names.BOOKS_UNACCOUNTED) == 0
    assert seen.value(names.QUEUE_PAUSED) == 0
    assert seen.value(names.QUEUE_OLDEST, priority="medium") == 0
    assert seen.value(names.BROKER_UP) == 1


class Asked:
    """Stands between the scrape and the broker."""

    def __init__(self, host: TaskManager, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        self.error: Exception | None = None
        self.speaks = asyncio.Event()
        self.speaks.set()
        self._snapshot = host.broker.snapshot
        monkeypatch.setattr(host.broker, "snapshot", self)

    async def __call__(self) -> Snapshot:
        self.times += 1
        await self.speaks.wait()
        if self.error is not None:
            raise self.error
        return await self._snapshot()


@pytest.fixture
def asked(consumer: TaskConsumer, monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(consumer, monkeypatch)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Turns the hands of the clock that snapshots grow old by."""
    hands = [1000.0]
    monkeypatch.setattr(gauges, "elapsed", lambda: hands[0])

    def turn(seconds: float) -> None:
        hands[0] += seconds

    return turn


async def test_scrapes_at_one_time_share_one_question(
    asked: Asked, telemetry: Telemetry, clock: Callable[[float], None]
) -> None:
    await asyncio.gather(*(telemetry.expose() for _ in range(10)))
    assert asked.times == 1
    clock(gauges.SNAPSHOT_FRESH / 2)
    await telemetry.expose()
    assert asked.times == 1
    clock(gauges.SNAPSHOT_FRESH)
    await telemetry.expose()
    assert asked.times == 2


async def test_a_scraper_that_goes_away_takes_no_answer_from_others(
    asked: Asked, telemetry: Telemetry
) -> None:
    impatient = asyncio.create_task(telemetry.expose())
    patient = asyncio.create_task(scrape(telemetry))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).value(names.BROKER_UP) == 1
    assert asked.times == 1


@pytest.mark.parametrize("error", [BrokerUnavailableError("away"), BrokerError("no"), ValueError("a fault")])
async def test_without_a_broker_the_fleet_is_absent_and_said_so(
    asked: Asked,
    telemetry: Telemetry,
    clock: Callable[[float], None],
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gauges, "AWAY_TIMEOUT", PATIENCE)
    asked.error = error
    seen = await scrape(telemetry)
    assert seen.value(names.BROKER_UP) == 0
    assert [row.name for row in FLEET if seen.of(row)] == []
    assert seen.value(names.SNAPSHOT_ERRORS) == 1
    assert seen.value("fluid_snapshot_seconds_count") == 1
    asked.error = None
    clock(2 * gauges.SNAPSHOT_FRESH)
    seen = await scrape(telemetry)
    assert seen.value(names.BROKER_UP) == 1
    assert [row.name for row in FLEET if not seen.of(row)] == []


async def test_a_broker_that_does_not_answer_is_given_up_on(
    asked: Asked, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "SNAPSHOT_TIMEOUT", 0.01)
    asked.speaks.clear()
    seen = await scrape(telemetry)
    assert seen.value(names.BROKER_UP) == 0
    assert seen.value(names.SNAPSHOT_ERRORS) == 1


async def test_a_broker_that_is_known_to_be_away_is_asked_again_but_not_waited_for(
    asked: Asked, telemetry: Telemetry, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "SNAPSHOT_TIMEOUT", 0.01)
    asked.speaks.clear()
    await scrape(telemetry)
    monkeypatch.setattr(gauges, "SNAPSHOT_TIMEOUT", PATIENCE)
    for _ in range(3):
        clock(2 * gauges.SNAPSHOT_FRESH)
        assert (await scrape(telemetry)).value(names.BROKER_UP) == 0
    assert asked.times == 2, "one question is under way at a time"
    monkeypatch.setattr(gauges, "AWAY_TIMEOUT", PATIENCE)
    asked.speaks.set()
    assert (await scrape(telemetry)).value(names.BROKER_UP) == 1
    assert asked.times == 2


async def test_slots_are_told_free_and_busy(consumer: TaskConsumer, telemetry: Telemetry) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @task
    async def linger(ctx: TaskRun) -> None:
        begun.set()
        await go.wait()

    consumer.register_task(linger)
    async with consumer:
        run = await consumer.queue("linger")
        await begun.wait()
        seen = await scrape(telemetry)
        go.set()
        await run.result(timeout=10)
    assert seen.value(names.SLOTS) == consumer.config.max_concurrent_tasks
    assert seen.value(names.SLOTS_BUSY) == seen.value(names.RUNS_ACTIVE, task="linger") == 1


async def test_a_manager_has_no_slots(queue_url: str) -> None:
    manager = TaskManager(broker_url=queue_url)
    telemetry = Telemetry()
    telemetry.attach(manager)
    seen = await scrape(telemetry)
    assert seen.value(names.SLOTS) == seen.value(names.SLOTS_BUSY) == 0
    assert seen.value(names.BROKER_UP) == 1
    await manager.broker.close()


async def test_a_paused_task_is_told(consumer: TaskConsumer, telemetry: Telemetry) -> None:
    stranger = TaskManager(broker_url=consumer.config.broker_url)
    async with stranger:
        await stranger.pause("nobody_here_knows")
        await stranger.pause("greet")
        seen = await scrape(telemetry)
        await stranger.resume("nobody_here_knows")
    paused = {one.labels["task"]: one.value for one in seen.of(names.TASK_PAUSED)}
    assert paused == {"greet": 1, "stumble": 0, "sweep": 0, "other": 1}


async def test_the_broker_is_told_as_the_consumer_last_saw_it(
    consumer: TaskConsumer, telemetry: Telemetry
) -> None:
    before = await scrape(telemetry)
    for row in (names.BROKER_UNSAFE, names.BROKER_DURABILITY, names.BROKER_MEMORY_USED):
        assert before.value(row) == 0
    heard = Recorder()
    consumer.dispatcher.register_handler("broker_unsafe.test", heard)
    async with consumer:
        await heard.wait_for("broker_unsafe")  # the servers of the tests keep nothing
        seen = await scrape(telemetry)
    unsafe = {one.labels["reason"]: one.value for one in seen.of(names.BROKER_UNSAFE)}
    assert unsafe == {
        "not_durable": 1,
        "eviction": 0,
        "memory": 0,
        "replica": 0,
        "clock_offset": 0,
    }
    durable = {one.labels["class"]: one.value for one in seen.of(names.BROKER_DURABILITY)}
    assert durable == {"none": 1, "rdb": 0, "aof_no": 0, "aof_everysec": 0, "aof_always": 0}
    assert seen.value(names.BROKER_MEMORY_USED) > 100_000
    assert seen.value(names.BROKER_MEMORY_LIMIT) == 0
    assert abs(seen.value(names.BROKER_CLOCK_OFFSET)) < 1


async def test_what_becomes_of_events_is_told_by_handler(
    consumer: TaskConsumer, telemetry: Telemetry
) -> None:
    heard = Recorder()

    async def listen(event: Event) -> None:
        heard(event)

    async def raise_always(event: Event) -> None:
        raise ValueError("no")

    def raise_in_line(event: Event) -> None:
        raise ValueError("no")

    consumer.register_async_handler("end.listen", listen)
    consumer.register_async_handler("end.raise", raise_always)
    consumer.dispatcher.register_handler("end.in_line", raise_in_line)
    for handler in ("raise", "in_line"):
        assert (await scrape(telemetry)).value(names.HANDLER_FAILURES, event="end", handler=handler) == 0
    failed = Recorder()
    consumer.dispatcher.register_handler("handler_failed.test", failed)
    async with consumer:
        await consumer.queue_and_wait("greet", timeout=10)
        await heard.wait_for("end")
        await failed.wait_for("handler_failed", count=2)
        seen = await scrape(telemetry)
    assert seen.value(names.HANDLER_HANDLED, event="end", handler="listen") == 1
    assert seen.value(names.HANDLER_FAILURES, event="end", handler="listen") == 0
    assert seen.value(names.HANDLER_FAILURES, event="end", handler="raise") == 1
    assert seen.value(names.HANDLER_FAILURES, event="end", handler="in_line") == 1
    assert seen.value(names.HANDLER_DROPPED, handler="listen") == 0
    assert seen.value(names.HANDLER_QUEUE, handler="listen") == 0
    assert seen.value(names.HANDLER_SECONDS, handler="listen") > 0


async def test_a_paused_handler_is_told_of_and_what_it_misses_is_counted(
    consumer: TaskConsumer, telemetry: Telemetry
) -> None:
    def raise_in_line(event: Event) -> None:
        raise ValueError("no")

    consumer.dispatcher.register_handler("queue.in_line", raise_in_line)
    in_line = {"event": "queue", "handler": "in_line"}
    seen = await scrape(telemetry)
    assert seen.value(names.HANDLER_PAUSED, **in_line) == seen.value(names.HANDLER_DROPPED, **in_line) == 0
    await consumer.queue_many("greet", [{}] * 20)
    seen = await scrape(telemetry)
    assert seen.value(names.HANDLER_PAUSED, **in_line) == 1
    assert seen.value(names.HANDLER_FAILURES, **in_line) == 5
    assert seen.value(names.HANDLER_DROPPED, **in_line) == 15


async def test_events_for_the_fleet_are_counted(queue_url: str) -> None:
    manager = TaskManager(broker_url=queue_url, fleet_events=1000)
    telemetry = Telemetry()
    telemetry.attach(manager)
    assert (await scrape(telemetry)).value(names.FLEET_EVENTS_TOLD) == 0
    manager.register_from_dict(TASKS)
    async with manager:
        heard = Recorder(manager)
        await manager.queue("greet")
        await heard.wait_for("queued")
    # what was left was told at the stop
    seen = await scrape(telemetry)
    await manager.broker.close()
    assert seen.value(names.FLEET_EVENTS_TOLD) == len(heard.events) == 2
    assert seen.value(names.FLEET_EVENTS_DROPPED) == 0
