"""From a number to the trace of a run that it was made of."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fluid.scheduler import RetryPolicy, TaskConsumer, TaskManager, TaskRun, task
from fluid.scheduler.moves import ClaimRequest
from fluid.testing import Recorder
from telemetry import Telemetry, names
from tests.support.servers import PrometheusServer
from tests.support.waiting import poll
from tests.telemetry.conftest import greet
from tests.telemetry.logbook import Logbook
from tests.telemetry.scraping import Scrape, scrape
from tests.telemetry.tracing import Tap, own_opentelemetry


@task(retry=RetryPolicy(max_attempts=2, wait=0.01))
async def fail(ctx: TaskRun) -> None:
    raise ValueError("as planned")


@task(max_deliveries=1)
async def fragile(ctx: TaskRun) -> None: ...


@task(retry=RetryPolicy(max_attempts=2, wait=0.01))
async def stumble_once(ctx: TaskRun) -> None:
    logging.getLogger("library").info("trying")
    if ctx.attempt == 1:
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


async def test_what_is_counted_of_a_lost_run_leads_to_the_attempt_that_was_lost(
    tap: Tap, exporting: None, queue_url: str, no_environment: None
) -> None:
    consumer = TaskConsumer(broker_url=queue_url, lease_seconds=0.3)
    telemetry = Telemetry(server=False)
    async with TaskManager(broker_url=queue_url) as manager:
        for host in (consumer, manager):
            host.register_task(fragile)
        Telemetry(server=False).attach(manager)
        telemetry.attach(consumer)
        heard = Recorder(consumer)
        run = await manager.queue(fragile)
        await manager.broker.claim(ClaimRequest("ghost", 1, lease=0.3))
        async with consumer:
            await heard.wait_for("dead", run.id)
            told = await scrape(telemetry)
    [rescue] = await tap.wait_for("rescue", run_id=run.id)
    for metric in (names.RUNS_LOST, names.RUNS_DEAD):
        [found] = exemplars(told, metric, "fragile")
        assert found == {"trace_id": rescue.trace_id, "span_id": rescue.parent_id}


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
async def test_an_exemplar_at_prometheus_leads_to_the_trace_at_the_receiver_and_to_that_attempt_s_lines(
    tap: Tap, exporting: None, consumer: TaskConsumer, tmp_path: Path
) -> None:
    logbook = Logbook(tmp_path / "log")
    logbook.begin()
    consumer.register_task(stumble_once)
    telemetry = Telemetry(port=0)
    telemetry.attach(consumer)
    try:
        async with consumer:
            assert telemetry.url is not None
            with PrometheusServer(urlsplit(telemetry.url).netloc) as prometheus:
                await prometheus.wait_until("fluid_slots", bool)
                run = await consumer.queue_and_wait(stumble_once, timeout=20)
                first, second = await tap.wait_for("process", count=2, run_id=run.id)
                for metric, attempt, ended in (
                    (names.RUNS_RETRIED.name, first, "attempt failed, another follows"),
                    (f"{names.RUN_DURATION.name}_bucket", second, "run succeeded"),
                    (f"{names.RUN_LATENCY.name}_bucket", second, "run succeeded"),
                ):
                    labels = {"trace_id": attempt.trace_id, "span_id": attempt.span_id}
                    query = f'{metric}{{task="stumble_once"}}'
                    await poll(
                        lambda query=query: prometheus.exemplars(query),  # type: ignore[misc]
                        lambda found, labels=labels: labels in found,  # type: ignore[misc]
                        f"{labels} in {query}",
                        every=0.1,
                    )
                    lines = [line for line in logbook.lines if line.get("trace_id") == attempt.trace_id]
                    assert [line["message"] for line in lines] == ["attempt started", "trying", ended]
                    number = attempt.attributes["fluid.attempt"]
                    assert {(line["run_id"], line["attempt"]) for line in lines} == {(run.id, number)}
    finally:
        logbook.end()
