"""The canary goes the whole road, once in each interval of a queue, and its absence can be seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest

from fluid.clock import elapsed, timestamp
from fluid.errors import ConfigurationError
from fluid.scheduler import Event, QueueOptions, Task, TaskConsumer, TaskManager, TaskPriority, TaskRun
from fluid.testing import Recorder
from telemetry import Telemetry, names
from telemetry.canary import CANARY, THE_ONE, Canary, CanarySeries
from telemetry.settings import TelemetrySettings
from tests.fluid.scheduler.consuming import Gate, eventually
from tests.house.reading import ROOT
from tests.support.servers import PrometheusServer
from tests.telemetry.scraping import scrape

OFTEN = 1.0
LATE = (
    "time() - max by (queue) (fluid_canary_last_success_timestamp_seconds)"
    " > 3 * (max by (queue) (fluid_canary_interval_seconds) > 0)"
)
"""What the page about the canary tells to alert on."""


def with_canary(consumer: TaskConsumer) -> Telemetry:
    """Telemetry that sends a canary, attached."""
    telemetry = Telemetry(TelemetrySettings(canary=OFTEN), server=False)
    telemetry.attach(consumer)
    return telemetry


def is_canary(event: Event) -> bool:
    return event.run is not None and event.run.name == CANARY.name


def waiting_at(gate: Gate) -> Task:
    """A task whose bodies keep their slots until the gate is open."""

    async def wait(ctx: TaskRun) -> None:
        await gate.wait()

    return Task(name="wait", executor=wait)


def series_of(telemetry: Telemetry) -> CanarySeries:
    """The canary's series, where a scrape looks them up."""
    assert telemetry._attachment is not None
    return telemetry._attachment.canary


async def test_it_is_off_unless_asked_for_and_its_series_stand_at_zero(consumer: TaskConsumer) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    seen = await scrape(telemetry)
    for metric in (row for row in names.CATALOGUE if row.name.startswith("fluid_canary_")):
        assert seen.value(metric) == 0
    assert {sample.labels["cause"] for sample in seen.of(names.CANARY_FAILURES)} == set(
        names.CANARY_FAULT.values
    )
    assert CANARY.name not in consumer.registry


async def test_a_manager_sends_none(queue_url: str, no_environment: None) -> None:
    manager = TaskManager(broker_url=queue_url)
    telemetry = Telemetry(TelemetrySettings(canary=OFTEN))
    telemetry.attach(manager)
    async with manager:
        assert (await scrape(telemetry)).value(names.CANARY_INTERVAL) == 0
        assert CANARY.name not in manager.registry
        telemetry.detach()


@pytest.mark.parametrize("seconds", ["-1", "0.5", "601", "often"])
def test_an_interval_that_cannot_work_is_refused(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUID_TELEMETRY_CANARY", seconds)
    with pytest.raises(ConfigurationError, match="FLUID_TELEMETRY_CANARY"):
        TelemetrySettings()


async def test_an_idle_queue_is_tried_and_timed_end_to_end(consumer: TaskConsumer) -> None:
    before = timestamp()
    telemetry = with_canary(consumer)
    heard = Recorder(consumer)
    async with consumer:
        await heard.wait_for("success", task=CANARY.name)
        await eventually(lambda: series_of(telemetry).last_success[""] > 0, "the canary to be back")
        seen = await scrape(telemetry)
    assert seen.value(names.CANARY_INTERVAL) == OFTEN
    assert 0 < seen.value(names.CANARY_LAST) < OFTEN
    assert seen.value(names.CANARY_LAST_SUCCESS) >= before
    assert seen.value(names.CANARY_FAILURES) == 0
    started = heard.of("start")[0].run
    assert started is not None
    assert started.priority is TaskPriority.high


async def test_there_is_one_in_an_interval_however_many_consumers_there_are(
    new_consumer: Callable[[], TaskConsumer],
) -> None:
    consumers = [new_consumer() for _ in range(3)]
    heard = Recorder(*consumers)
    async with AsyncExitStack() as stack:
        for consumer in consumers:
            with_canary(consumer)
            await stack.enter_async_context(consumer)
        await heard.wait_for("end", task=CANARY.name, count=3)
        books = (await consumers[0].broker.snapshot()).books
    ended = [event for event in heard.of("end") if is_canary(event)]
    ticks = {event.run.id for event in ended if event.run}
    assert len(ticks) == len(ended)
    # Each is named by its tick, by the broker's clock, so these are all in different intervals.
    assert all(float(tick.rpartition("@")[2]) % (OFTEN * 1000) == 0 for tick in ticks)
    assert books.accepted - books.success in (0, 1)


async def test_a_canary_that_does_not_come_back_is_counted_and_taken_back(queue_url: str) -> None:
    gate = Gate()
    consumer = TaskConsumer(broker_url=queue_url, max_concurrent_tasks=2)
    heard = Recorder(consumer)
    async with consumer:
        await consumer.queue_many(waiting_at(gate), [{}, {}])
        await gate.wait_for(2)
        telemetry = with_canary(consumer)
        await heard.wait_for("aborted", task=CANARY.name, count=2)
        seen = await scrape(telemetry)
        assert seen.value(names.CANARY_FAILURES, cause="late") >= 1
        assert seen.value(names.CANARY_LAST_SUCCESS) == 0
        # However long it goes on, no more than the one of this interval waits.
        assert (await consumer.broker.snapshot()).ready <= 1
        gate.open()


async def test_a_canary_that_a_dead_consumer_has_left_makes_way(
    consumer: TaskConsumer, queue_url: str
) -> None:
    series = CanarySeries()
    async with TaskManager(broker_url=queue_url) as dead:
        options = QueueOptions(run_id="left", unique_key=THE_ONE)
        left = await dead.queue(CANARY, options=options)
        canary = Canary(consumer, series, OFTEN)
        sending = asyncio.create_task(canary._send(1.0, timestamp() + 60, elapsed() + 60))
        await eventually(lambda: canary._under_way is not None, "the next canary to be queued")
        assert (await dead.get_run(left.id)).reason == "replaced"
        assert (await dead.broker.snapshot()).ready == 1
        async with consumer:
            await sending
    assert series.last_success[""] > 0


async def test_a_stop_takes_back_the_canary_that_is_under_way(consumer: TaskConsumer, queue_url: str) -> None:
    async with TaskManager(broker_url=queue_url) as manager:
        await manager.pause()
        with_canary(consumer)
        heard = Recorder(consumer)
        async with consumer:
            await heard.wait_for("queued", task=CANARY.name)
        snapshot = await manager.broker.snapshot()
        assert (snapshot.ready, snapshot.books.aborted) == (0, snapshot.books.accepted)


async def test_a_broker_that_is_away_is_counted(free_port: int, no_environment: None) -> None:
    consumer = TaskConsumer(broker_url=f"redis://127.0.0.1:{free_port}")
    series = CanarySeries()
    assert await Canary(consumer, series, OFTEN).once() == OFTEN
    assert series.failures["unavailable"] == 1
    await consumer.broker.close()


async def test_it_is_a_task_of_its_own_whatever_the_budget_of_the_others(consumer: TaskConsumer) -> None:
    telemetry = Telemetry(TelemetrySettings(canary=OFTEN, max_tasks=1), server=False)
    telemetry.attach(consumer)
    run: TaskRun = TaskRun(id="1", name=CANARY.name, params={})
    consumer.dispatcher.dispatch("lost", Event(name="lost", run=run))
    seen = await scrape(telemetry)
    assert seen.value(names.RUNS_LOST, task=CANARY.name) == seen.value(names.RUNS_LOST) == 1
    assert {sample.labels["task"] for sample in seen.of(names.RUNS_LOST)} == {"greet", CANARY.name, "other"}


@pytest.mark.servers
@pytest.mark.slow
async def test_a_rule_tells_a_late_canary_when_every_slot_is_stuck(
    queue_url: str, no_environment: None
) -> None:
    assert LATE in (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    gate = Gate()
    consumer = TaskConsumer(broker_url=queue_url, max_concurrent_tasks=1)
    telemetry = Telemetry(TelemetrySettings(canary=OFTEN), port=0)
    telemetry.attach(consumer)
    async with consumer:
        assert telemetry.url is not None
        with PrometheusServer(urlsplit(telemetry.url).netloc) as prometheus:
            await prometheus.wait_until("fluid_canary_last_success_timestamp_seconds > 0", bool)
            assert await prometheus.query(LATE) == []
            await consumer.queue(waiting_at(gate))
            await gate.wait_for()
            (late,) = await prometheus.wait_until(LATE, bool)
            assert late.labels == {"queue": consumer.broker.queue}
        gate.open()
