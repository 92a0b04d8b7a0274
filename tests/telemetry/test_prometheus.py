"""A real Prometheus scrapes a real consumer, and its numbers are those of the tasks' own ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fluid.scheduler import RetryPolicy, TaskConsumer, TaskPriority, TaskRun, TaskState, task
from telemetry import Telemetry
from telemetry.names import CATALOGUE, Kind, Scope
from tests.support.ledger import Ledger
from tests.support.servers import PrometheusServer, Sample

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def working(consumer: TaskConsumer, ledger: Ledger) -> TaskConsumer:
    """A consumer whose tasks write down what they do."""

    @task
    async def succeed(ctx: TaskRun) -> None:
        ledger.write(ctx.id, ctx.name, "succeed", ctx.attempt)

    @task(retry=RetryPolicy(max_attempts=3, wait=0.01))
    async def fail(ctx: TaskRun) -> None:
        ledger.write(ctx.id, ctx.name, "fail", ctx.attempt)
        raise ValueError("as planned")

    consumer.register_from_dict({"succeed": succeed, "fail": fail})
    return consumer


@pytest.fixture
async def prometheus(working: TaskConsumer) -> AsyncIterator[PrometheusServer]:
    """Scrapes the working consumer, which has done nothing yet."""
    telemetry = Telemetry(port=0)
    telemetry.attach(working)
    async with working:
        assert telemetry.url is not None
        with PrometheusServer(urlsplit(telemetry.url).netloc) as prometheus:
            yield prometheus


def number(samples: list[Sample]) -> float:
    return sum(sample.value for sample in samples)


def is_number(expected: float, samples: list[Sample]) -> bool:
    return bool(samples) and number(samples) == expected


async def test_counts_at_prometheus_equal_the_ledger(
    working: TaskConsumer, ledger: Ledger, prometheus: PrometheusServer
) -> None:
    runs = [await working.queue("succeed", TaskPriority.high) for _ in range(40)]
    runs += await working.queue_many("fail", [{} for _ in range(15)])
    ended = [await working.broker.wait_end(run.id, None) for run in runs]
    assert {record.state for record in ended if record} == {TaskState.success, TaskState.failure}

    did = ledger.counts()
    assert did == {"succeed": 40, "fail": 3 * 15}
    await prometheus.wait_until("sum(fluid_runs_ended_total)", lambda samples: number(samples) == len(runs))
    expected = {
        'fluid_runs_started_total{task="succeed"}': did["succeed"],
        'fluid_runs_started_total{task="fail"}': did["fail"],
        'fluid_runs_ended_total{task="succeed", state="success"}': 40,
        'fluid_runs_ended_total{task="fail", state="failure"}': 15,
        'fluid_runs_retried_total{task="fail", reason="error"}': did["fail"] - 15,
        'fluid_runs_queued_total{task="succeed", priority="high"}': 40,
        'fluid_run_duration_seconds_count{task="succeed", state="success"}': 40,
        "sum(fluid_run_wait_seconds_count)": did["succeed"] + did["fail"],
        "sum(fluid_run_latency_seconds_count)": len(runs),
        "sum(fluid_runs_active)": 0,
        'fluid_books_runs_total{outcome="accepted"}': len(runs),
        'fluid_books_runs_total{outcome="success"}': 40,
        'fluid_books_runs_total{outcome="failure"}': 15,
        "fluid_books_unaccounted": 0,
        "sum(fluid_queue_runs)": 0,
        "fluid_broker_up": 1,
        "up": 1,
    }
    for query, count in expected.items():
        await prometheus.wait_until(query, partial(is_number, count))


async def test_prometheus_knows_every_metric_of_the_catalogue_by_its_kind(
    prometheus: PrometheusServer,
) -> None:
    # in one query, for the next scrape may come between two
    told_is_scraped = "sum(fluid_series) == sum(scrape_samples_scraped)"
    await prometheus.wait_until(told_is_scraped, lambda samples: len(samples) == 1)
    for row in CATALOGUE:
        if row.scope is Scope.scheduler or any(label.name == "handler" for label in row.labels):
            continue
        name = f"{row.name}_bucket" if row.kind is Kind.histogram else row.name
        # a scrape leaves out what the broker could not be asked for in time
        await prometheus.wait_until(name, bool)
        family = row.name.removesuffix("_total") if row.kind is Kind.counter else row.name
        family = family.removesuffix("_info") if row.kind is Kind.info else family
        assert (await prometheus.kinds())[family] == row.kind, row.name
