"""An exporter in trouble: work goes on, memory and stop are bounded, and what is lost is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from aiohttp import web
from opentelemetry import trace

from fluid.scheduler import TaskConsumer, TaskState
from telemetry import Telemetry, names
from telemetry.providers import Providers
from tests.support.lifeline import LOOPBACK, free_port
from tests.telemetry.conftest import greet
from tests.telemetry.logbook import Logbook
from tests.telemetry.scraping import scrape
from tests.telemetry.tracing import own_opentelemetry

Trouble = Literal["unreachable", "slow", "unavailable"]

LONG = "600"
"""Seconds that the exporter may go on for by itself: far more than a test may."""

QUEUE, BATCH = 20, 5


class Collector:
    """Takes what is sent, and answers as it is told to."""

    def __init__(self, trouble: Trouble) -> None:
        self.url = f"http://{LOOPBACK}:{free_port()}"
        self.trouble = trouble
        self.asked = asyncio.Event()
        self.answered = 0
        self._over = asyncio.Event()

    async def __aenter__(self) -> Collector:
        app = web.Application()
        app.router.add_post("/v1/{signal}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        if self.trouble != "unreachable":
            host, _, port = self.url.removeprefix("http://").partition(":")
            await web.TCPSite(self._runner, host, int(port)).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        await request.read()
        self.asked.set()
        if self.trouble == "slow":
            await self._over.wait()
        self.answered += self.trouble == "slow"
        return web.Response(status=503)


@pytest.fixture(params=["unreachable", "slow", "unavailable"])
async def collector(request: pytest.FixtureRequest) -> AsyncIterator[Collector]:
    async with Collector(request.param) as collector:
        yield collector


@pytest.fixture
def providers(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Providers]:
    with own_opentelemetry(
        monkeypatch,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_EXPORTER_OTLP_TIMEOUT=LONG,
        OTEL_BSP_MAX_QUEUE_SIZE=str(QUEUE),
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE=str(BATCH),
        OTEL_BSP_SCHEDULE_DELAY="1",
        OTEL_LOGS_EXPORTER="none",
    ) as providers:
        yield providers


async def test_work_goes_on_and_stops_in_time_and_every_span_that_is_not_delivered_is_counted(
    providers: Providers, collector: Collector, new_consumer: Callable[[], TaskConsumer]
) -> None:
    consumer = new_consumer()
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    async with consumer:
        runs = await consumer.queue_many(greet, [{}] * 200)
        ended = [await consumer.broker.wait_end(run.id, None) for run in runs]
        assert {record.state for record in ended if record} == {TaskState.success}
        assert collector.answered == 0
        told = await scrape(telemetry)
        assert told.value(names.SPANS_DROPPED, cause="queue_full") > 0
        held = 401 - told.value(names.SPANS_DROPPED)
        assert held <= QUEUE + BATCH
    # `create` and `process` for each, and one `send`
    await asyncio.to_thread(providers.close)
    assert sum(providers.dropped_spans.values()) == 2 * 200 + 1


async def test_every_line_that_is_not_delivered_is_counted_and_nobody_waits_for_it(
    providers: Providers,
    collector: Collector,
    new_consumer: Callable[[], TaskConsumer],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", str(QUEUE))
    monkeypatch.setenv("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", str(BATCH))
    logbook = Logbook(tmp_path / "log")
    logbook.begin()
    consumer = new_consumer()
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    async with consumer:
        runs = await consumer.queue_many(greet, [{}] * 100)
        ended = [await consumer.broker.wait_end(run.id, None) for run in runs]
        assert {record.state for record in ended if record} == {TaskState.success}
        assert (await scrape(telemetry)).value(names.RECORDS_DROPPED, cause="queue_full") > 0
    await asyncio.to_thread(logbook.end)
    await asyncio.to_thread(providers.close)
    assert collector.answered == 0
    # what the export says of itself is in the log only, and there once for spans and once for lines
    of_export = [line for line in logbook.lines if "cannot be sent: " in line["message"]]
    assert len(of_export) == (0 if collector.trouble == "slow" else 2)
    said = [line for line in logbook.lines if line not in of_export]
    assert len(said) > 2 * len(runs)
    assert sum(providers.dropped_records.values()) == len(said)


async def test_a_span_after_the_stop_is_counted_and_nothing_more(
    providers: Providers, new_consumer: Callable[[], TaskConsumer]
) -> None:
    Telemetry(server=False).attach(new_consumer())
    await asyncio.to_thread(providers.close)
    before = providers.dropped_spans["stopped"]
    trace.get_tracer("late").start_span("late").end()
    assert providers.dropped_spans["stopped"] == before + 1
