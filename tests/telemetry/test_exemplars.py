"""From a number to the trace of a run that it was made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from fluid.scheduler import RetryPolicy, TaskConsumer, TaskRun, task
from telemetry import Telemetry, names
from tests.support.servers import PrometheusServer
from tests.support.waiting import poll
from tests.telemetry.conftest import greet
from tests.telemetry.scraping import Scrape, scrape
from tests.telemetry.tracing import Tap, own_opentelemetry


@task(retry=RetryPolicy(max_attempts=2, wait=0.01))
async def fail(ctx: TaskRun) -> None:
    raise ValueError("as planned")


@pytest.fixture
async def tap() -> AsyncIterator[Tap]:
    async with Tap() as tap:
        yield tap


@pytest.fixture
def exporting(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with own_opentelemetry(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT=tap.url, OTEL_BSP_SCHEDULE_DELAY="20"):
        yield


def exemplars(told: Scrape, metric: names.Metric, task: str) -> list[Mapping[str, str]]:
    """Those of one task."""
    samples: list[Any] = told.of(metric)
    return [one.exemplar.labels for one in samples if one.exemplar and one.labels.get("task") == task]


@pytest.mark.parametrize(
    ("metric", "operation"),
    [
        (names.RUN_WAIT, greet),
        (names.RUN_DURATION, greet),
        (names.RUN_LATENCY, greet),
        (names.RUNS_ENDED, fail),
        (names.RUNS_RETRIED, fail),
    ],
    ids=lambda one: one.name,
)
async def test_what_was_observed_of_a_sampled_run_leads_to_its_attempt(
    metric: names.Metric, operation: Any, tap: Tap, exporting: None, consumer: TaskConsumer
) -> None:
    consumer.register_task(fail)
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    async with consumer:
        await consumer.queue_and_wait(operation)
        [*attempts] = await tap.wait_for("process", count=2 if operation is fail else 1)
        found = exemplars(await scrape(telemetry), metric, operation.name)
    attempt = attempts[0 if metric is names.RUNS_RETRIED else -1]
    assert {"trace_id": attempt.trace_id, "span_id": attempt.span_id} in found


async def test_text_has_no_exemplars_and_is_the_same_but_for_them(
    tap: Tap, exporting: None, consumer: TaskConsumer
) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    async with consumer:
        await consumer.queue_and_wait(greet)
        told = (await telemetry.expose("text/plain")).body.decode()
    assert "trace_id" not in told


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "always_off"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
    ],
    ids=["no endpoint", "not sampled", "disabled"],
)
async def test_a_run_that_is_not_sampled_is_no_example(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, new_consumer: Callable[[], TaskConsumer]
) -> None:
    with own_opentelemetry(monkeypatch, **variables):
        consumer, telemetry = new_consumer(), Telemetry(server=False)
        telemetry.attach(consumer)
        async with consumer:
            await consumer.queue_and_wait(greet)
            assert "trace_id" not in (await telemetry.expose("application/openmetrics-text")).body.decode()


@pytest.mark.servers
@pytest.mark.slow
async def test_an_exemplar_at_prometheus_is_a_trace_at_the_receiver(
    tap: Tap, exporting: None, consumer: TaskConsumer
) -> None:
    telemetry = Telemetry(port=0)
    telemetry.attach(consumer)
    async with consumer:
        assert telemetry.url is not None
        with PrometheusServer(urlsplit(telemetry.url).netloc) as prometheus:
            await prometheus.wait_until("fluid_slots", bool)
            run = await consumer.queue_and_wait(greet)
            [process] = await tap.wait_for("process", run_id=run.id)
            labels = {"trace_id": process.trace_id, "span_id": process.span_id}

            async def kept() -> list[Mapping[str, str]]:
                found = [
                    await prometheus.exemplars(f'{metric}_bucket{{task="greet"}}')
                    for metric in (names.RUN_WAIT.name, names.RUN_DURATION.name, names.RUN_LATENCY.name)
                ]
                return [one for labels in found for one in labels]

            await poll(kept, lambda found: found.count(labels) == 3, f"three times {labels}", every=0.1)
